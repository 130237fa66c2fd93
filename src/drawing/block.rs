//! How are the layers of a unit laid out?
//!
//! The longest chain of layers goes straight down. Every other chain begins and
//! ends at one that is placed, and has a column to the right: short chains near,
//! long ones, such as a shortcut, outside. A chain without layers between two
//! columns that are side by side has its line in the gap between them.

use super::label::{Shown, channels, shape, shown};
use super::units::{Unit, data_inputs};
use crate::graph::{Graph, NodeId, Op};
use crate::report::{Anchor, Diagram, Sign, Tone};

/// Vertical distance between two layers.
const GAP: f64 = 22.0;
/// The least vertical distance between two layers of a side chain.
const LEAST_GAP: f64 = 14.0;
/// Horizontal distance between two columns.
const COLUMN_GAP: f64 = 30.0;
/// Radius of the circle of a sum.
const RADIUS: f64 = 11.0;
/// Height of the words at both ends.
const END: f64 = 16.0;
/// Distance between lines that reach a layer from one side.
const SPREAD: f64 = 9.0;
/// The most lines from one side that are apart; more of them meet before the layer.
const MOST_APART: usize = 3;
/// The most chains for which every order of columns is tried.
const MOST_ORDERED: usize = 7;
/// What is written along a shortcut without layers.
const IDENTITY: &str = "identity";

/// The values from outside that the unit only appends to others: the features of
/// all earlier units.
fn appended(graph: &Graph, unit: &Unit) -> Vec<NodeId> {
    let only_appended = |source: &&NodeId| {
        let mut readers = unit
            .nodes
            .iter()
            .filter(|&&id| data_inputs(graph, id).contains(source))
            .peekable();
        readers.peek().is_some() && readers.all(|&id| graph.node(id).op == Op::Concat)
    };
    let others = unit.sources.iter().skip(1);
    others.filter(only_appended).copied().collect()
}

/// The channels of `whole`, a concatenation, that these values are, side by side:
/// the first one and their number.
fn part_of(graph: &Graph, whole: NodeId, values: &[NodeId]) -> Option<(usize, usize)> {
    let node = graph.node(whole);
    if node.op != Op::Concat {
        return None;
    }
    let first = node.inputs.iter().position(|input| Some(input) == values.first())?;
    let own = node.inputs.get(first..first + values.len())?;
    if own != values {
        return None;
    }
    let count = |ids: &[NodeId]| -> usize { ids.iter().map(|&id| graph.shape(id).channels()).sum() };
    Some((count(&node.inputs[..first]), count(own)))
}

/// Something that has a place.
#[derive(Debug, Clone, PartialEq)]
enum Item {
    /// A value that comes from outside, or is read there: its shape.
    End(String),
    Box(Tone, Vec<String>),
    Circle(Sign),
}

impl Item {
    fn size(&self) -> (f64, f64) {
        match self {
            Item::End(words) => (Diagram::note_width(words), END),
            Item::Box(_, lines) => Diagram::box_size(lines),
            Item::Circle(_) => (2.0 * RADIUS, 2.0 * RADIUS),
        }
    }
}

/// The items of a unit and the arrows between them, in the order of the graph.
struct Flow {
    items: Vec<Item>,
    /// What each item reads.
    inputs: Vec<Vec<usize>>,
    /// The number of sources, which come first.
    sources: usize,
}

impl Flow {
    fn of(graph: &Graph, unit: &Unit) -> Self {
        let mut flow = Flow {
            items: Vec::new(),
            inputs: Vec::new(),
            sources: 0,
        };
        // The item that holds the value of a node.
        let mut at = vec![None; graph.nodes.len()];
        let appended = appended(graph, unit);
        // The values that are one item: those that are only appended are shown as one.
        let alone = unit.sources.iter().filter(|source| !appended.contains(source));
        let mut groups: Vec<Vec<NodeId>> = alone.map(|&source| vec![source]).collect();
        groups.extend((!appended.is_empty()).then_some(appended));
        let mut parts = Vec::new();
        for group in groups {
            if let Some((from, count)) = part_of(graph, unit.sources[0], &group) {
                parts.push((group, from, count));
                continue;
            }
            let (rows, columns) = graph.shape(group[0]).plane();
            let channels: usize = group.iter().map(|&id| graph.shape(id).channels()).sum();
            let words = match group[..] {
                [one] => shape(graph, one),
                _ => format!("{channels}×{rows}×{columns}"),
            };
            let item = flow.add(Item::End(words), Vec::new());
            group.iter().for_each(|source| at[source.0] = Some(item));
        }
        flow.sources = flow.items.len();
        for (group, from, count) in parts {
            let item = match graph.shape(unit.sources[0]).channels() == count {
                true => 0,
                false => flow.add(Item::Box(Tone::Other, vec![channels(from, count)]), vec![0]),
            };
            group.iter().for_each(|source| at[source.0] = Some(item));
        }
        for &id in &unit.nodes {
            let item = match shown(graph, id) {
                Shown::Box(tone, lines) if !lines.is_empty() => Item::Box(tone, lines),
                Shown::Circle(sign) => Item::Circle(sign),
                Shown::As(same) => {
                    at[id.0] = at[same.0];
                    continue;
                }
                Shown::Box(..) => {
                    at[id.0] = data_inputs(graph, id).first().and_then(|input| at[input.0]);
                    continue;
                }
            };
            let mut inputs: Vec<usize> = data_inputs(graph, id)
                .into_iter()
                .filter_map(|input| at[input.0])
                .collect();
            let item = match (item, &inputs[..]) {
                // Two arrows from one place to a sum would look like one.
                (Item::Circle(Sign::Sum), [one, other]) if one == other => {
                    Item::Box(Tone::Other, vec!["× 2".to_string()])
                }
                (item, _) => item,
            };
            // What comes from outside in several parts is one value here.
            inputs.dedup();
            at[id.0] = Some(flow.add(item, inputs));
        }
        for &output in &unit.outputs {
            if let Some(item) = at[output.0] {
                flow.add(Item::End(shape(graph, output)), vec![item]);
            }
        }
        flow
    }

    fn add(&mut self, item: Item, inputs: Vec<usize>) -> usize {
        self.items.push(item);
        self.inputs.push(inputs);
        self.items.len() - 1
    }

    /// The number of arrows on the longest way from the first source to each
    /// item, where there is one.
    fn depths(&self) -> Vec<Option<usize>> {
        let mut depths: Vec<Option<usize>> = vec![None; self.items.len()];
        depths[0] = Some(0);
        for item in self.sources..self.items.len() {
            depths[item] = self.inputs[item]
                .iter()
                .filter_map(|&input| depths[input])
                .max()
                .map(|most| most + 1);
        }
        depths
    }

    /// The number of arrows on the longest way from each item to an end.
    fn heights(&self) -> Vec<usize> {
        let mut heights = vec![0; self.items.len()];
        for item in (0..self.items.len()).rev() {
            for &input in &self.inputs[item] {
                heights[input] = heights[input].max(heights[item] + 1);
            }
        }
        heights
    }

    /// The longest chain from the first source to an end.
    fn main_chain(&self) -> Vec<usize> {
        let depths = self.depths();
        let mut at = (0..self.items.len())
            .rev()
            .max_by_key(|&item| depths[item])
            .unwrap_or(0);
        let mut chain = vec![at];
        while depths[at] != Some(0) {
            // Of equal ways the first: the branch of a sum.
            let inputs = self.inputs[at].iter().copied().rev();
            let Some(next) = inputs.max_by_key(|&input| depths[input]) else {
                break;
            };
            chain.push(next);
            at = next;
        }
        chain.reverse();
        chain
    }

    /// All other chains: what each begins at, its own items, what it ends at.
    fn side_chains(&self, main: &[usize]) -> Vec<Chain> {
        let heights = self.heights();
        let mut placed = vec![false; self.items.len()];
        main.iter().for_each(|&item| placed[item] = true);
        let mut drawn: Vec<(usize, usize)> = main.windows(2).map(|pair| (pair[0], pair[1])).collect();
        let mut chains = Vec::new();
        loop {
            let edges = (0..self.items.len()).flat_map(|to| self.inputs[to].iter().map(move |&from| (from, to)));
            let open: Vec<(usize, usize)> = edges.filter(|edge| !drawn.contains(edge)).collect();
            // The longest one that begins at an item that is placed, or at a source.
            let begins = open.iter().filter(|(from, _)| placed[*from] || *from < self.sources);
            let longest = begins.min_by_key(|&&(from, to)| (std::cmp::Reverse(heights[to]), from, to));
            let Some(&(from, to)) = longest else { break };
            let mut chain = Chain {
                start: placed[from].then_some(from),
                items: if placed[from] { Vec::new() } else { vec![from] },
                end: None,
            };
            placed[from] = true;
            let mut edge = (from, to);
            loop {
                drawn.push(edge);
                if placed[edge.1] {
                    chain.end = Some(edge.1);
                    break;
                }
                placed[edge.1] = true;
                chain.items.push(edge.1);
                let readers = open.iter().filter(|next| next.0 == edge.1).copied();
                match readers.max_by_key(|next| heights[next.1]) {
                    Some(next) => edge = next,
                    None => break,
                }
            }
            chains.push(chain);
        }
        chains
    }
}

/// Items one below the other, between two that have a place already.
#[derive(Debug)]
struct Chain {
    start: Option<usize>,
    items: Vec<usize>,
    end: Option<usize>,
}

/// Where the items are.
struct Layout {
    flow: Flow,
    /// The vertical middle of each item.
    rows: Vec<f64>,
    /// The column of each item.
    columns: Vec<usize>,
    /// The side chains with their lanes.
    chains: Vec<(Chain, Lane)>,
    main: Vec<usize>,
}

/// Where the chains of a layout can be.
struct Places {
    /// The column of each item.
    columns: Vec<usize>,
    /// The lane of each chain.
    lanes: Vec<Lane>,
    /// The number of places where lines are not clear.
    faults: usize,
}

/// The gap for a chain without items between two columns side by side.
fn gap(chain: &Chain, columns: &[usize]) -> Option<usize> {
    let (start, end) = chain.start.zip(chain.end).filter(|_| chain.items.is_empty())?;
    let [left, right] = [start, end].map(|item| columns[item]);
    (left.abs_diff(right) == 1).then_some(left.min(right))
}

/// The next order of numbers, as words follow each other in a dictionary; `false`
/// after the last one.
fn next_permutation(order: &mut [usize]) -> bool {
    let Some(place) = order.windows(2).rposition(|pair| pair[0] < pair[1]) else {
        return false;
    };
    let later = order.iter().rposition(|&number| number > order[place]).unwrap_or(place);
    order.swap(place, later);
    order[place + 1..].reverse();
    true
}

/// Where the line of a chain goes down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lane {
    Column(usize),
    /// Right of this column.
    Gap(usize),
}

impl Lane {
    /// Whether a line from here to a column comes from the right.
    fn is_right_of(self, column: usize) -> bool {
        match self {
            Lane::Column(own) => own > column,
            Lane::Gap(left) => left >= column,
        }
    }
}

impl Layout {
    fn of(flow: Flow) -> Self {
        let main = flow.main_chain();
        let mut rows = vec![0.0; flow.items.len()];
        let mut y = 0.0;
        for &item in &main {
            let high = flow.items[item].size().1;
            rows[item] = y + high / 2.0;
            y += high + GAP;
        }
        let chains = flow.side_chains(&main);
        let columns = vec![0; flow.items.len()];
        let mut layout = Layout {
            flow,
            rows,
            columns,
            chains: Vec::new(),
            main,
        };
        layout.make_room(&chains);
        layout.place_rows(&chains);
        layout.place_columns(chains);
        layout
    }

    fn high(&self, item: usize) -> f64 {
        self.flow.items[item].size().1
    }

    fn bottom(&self, item: usize) -> f64 {
        self.rows[item] + self.high(item) / 2.0
    }

    /// Where a chain leaves the item that it begins at.
    fn departure(&self, item: usize) -> f64 {
        self.bottom(item) + GAP / 2.0
    }

    /// The first and the last row that a chain needs.
    fn span(&self, chain: &Chain) -> (f64, f64) {
        let first = self.main[0];
        let last = self.main[self.main.len() - 1];
        let top = chain
            .start
            .map_or(self.rows[first] - END, |start| self.departure(start));
        let bottom = chain.end.map_or(self.rows[last] + END, |end| self.rows[end]);
        (top, bottom)
    }

    /// Moves the main chain apart where a side chain needs more room.
    fn make_room(&mut self, chains: &[Chain]) {
        let place = |end: Option<usize>, other: usize| match end {
            Some(item) => self.main.iter().position(|&main| main == item),
            None => Some(other),
        };
        let spans: Vec<(usize, usize, f64)> = chains
            .iter()
            .filter_map(|chain| {
                let used: f64 = chain.items.iter().map(|&item| self.high(item)).sum();
                let room = used + LEAST_GAP * (chain.items.len() + 1) as f64;
                let last = self.main.len() - 1;
                Some((place(chain.start, 0)?, place(chain.end, last)?, room))
            })
            .collect();
        for (start, end, room) in spans {
            let (from, to) = (self.main[start], self.main[end]);
            let missing = room - (self.rows[to] - self.departure(from));
            if missing > 0.0 {
                for place in end..self.main.len() {
                    self.rows[self.main[place]] += missing;
                }
            }
        }
    }

    /// Spreads the items of each chain evenly between its ends.
    fn place_rows(&mut self, chains: &[Chain]) {
        let (first, last) = (self.main[0], self.main[self.main.len() - 1]);
        for chain in chains {
            let mut items = &chain.items[..];
            let (mut top, mut bottom) = self.span(chain);
            // Words at the ends of the unit are in one row.
            if let (None, [source, rest @ ..]) = (chain.start, items) {
                self.rows[*source] = self.rows[first];
                top = self.bottom(*source);
                items = rest;
            }
            if let (None, [rest @ .., end]) = (chain.end, items) {
                self.rows[*end] = self.rows[last];
                bottom = self.rows[last] - END / 2.0;
                items = rest;
            }
            let used: f64 = items.iter().map(|&item| self.high(item)).sum();
            let gap = (bottom - top - used) / (items.len() + 1) as f64;
            let mut y = top;
            for &item in items {
                y += gap + self.high(item) / 2.0;
                self.rows[item] = y;
                y += self.high(item) / 2.0;
            }
        }
    }

    /// Gives every chain a column or a gap: the first column that is free where the
    /// chain is, short chains first. Where lines would then go through layers, or
    /// over each other, it takes the order of chains with the fewest such places.
    fn place_columns(&mut self, chains: Vec<Chain>) {
        let is_between = |chain: &Chain| {
            let on_side = |item: Option<usize>| item.is_some_and(|item| !self.main.contains(&item));
            chain.items.is_empty() && (on_side(chain.start) || on_side(chain.end))
        };
        let length = |chain: &Chain| {
            let (top, bottom) = self.span(chain);
            bottom - top
        };
        let (mut last, mut chains): (Vec<Chain>, Vec<Chain>) = chains.into_iter().partition(is_between);
        chains.sort_by(|one, other| length(one).total_cmp(&length(other)));
        last.sort_by(|one, other| length(one).total_cmp(&length(other)));
        let ordered = chains.len();
        chains.append(&mut last);

        let mut order: Vec<usize> = (0..ordered).collect();
        let mut best = self.places(&chains, &order);
        while best.faults > 0 && ordered <= MOST_ORDERED && next_permutation(&mut order) {
            let other = self.places(&chains, &order);
            if other.faults < best.faults {
                best = other;
            }
        }
        self.columns = best.columns;
        self.chains = chains.into_iter().zip(best.lanes).collect();
    }

    /// Where the chains are if those in `order` are placed first.
    fn places(&self, chains: &[Chain], order: &[usize]) -> Places {
        let mut places = Places {
            columns: vec![0; self.flow.items.len()],
            lanes: vec![Lane::Column(0); chains.len()],
            faults: 0,
        };
        let mut taken: Vec<Vec<(f64, f64)>> = Vec::new();
        for number in order.iter().copied().chain(order.len()..chains.len()) {
            let chain = &chains[number];
            if let Some(left) = gap(chain, &places.columns) {
                places.lanes[number] = Lane::Gap(left);
                continue;
            }
            let span = self.span(chain);
            let is_free = |spans: &Vec<(f64, f64)>| spans.iter().all(|other| span.1 <= other.0 || other.1 <= span.0);
            let free = taken.iter().position(is_free).unwrap_or(taken.len());
            if free == taken.len() {
                taken.push(Vec::new());
            }
            taken[free].push(span);
            chain.items.iter().for_each(|&item| places.columns[item] = free + 1);
            places.lanes[number] = Lane::Column(free + 1);
        }
        places.faults = self.faults(chains, &places);
        places
    }

    /// The number of places where a horizontal line goes through a layer, or over
    /// one that begins elsewhere.
    fn faults(&self, chains: &[Chain], places: &Places) -> usize {
        let column = |item: usize| places.columns[item] as f64;
        let mut lines: Vec<(f64, f64, f64, Option<usize>)> = Vec::new();
        for (chain, lane) in chains.iter().zip(&places.lanes) {
            let lane = match *lane {
                Lane::Column(column) => column as f64,
                Lane::Gap(left) => left as f64 + 0.5,
            };
            let mut add =
                |row: f64, end: f64, start: Option<usize>| lines.push((row, lane.min(end), lane.max(end), start));
            if let Some(start) = chain.start {
                add(self.departure(start), column(start), chain.start);
            }
            if let Some(end) = chain.end {
                add(self.rows[end], column(end), None);
            }
        }
        let through = lines.iter().map(|&(row, left, right, _)| {
            let items = 0..self.flow.items.len();
            let hit = |item: &usize| {
                let is_between = left < column(*item) && column(*item) < right;
                is_between && (row - self.rows[*item]).abs() < self.high(*item) / 2.0 + 2.0
            };
            items.filter(hit).count()
        });
        let over = lines.iter().enumerate().map(|(number, one)| {
            let is_over = |other: &&(f64, f64, f64, Option<usize>)| {
                let elsewhere = one.3.is_some() && other.3.is_some() && one.3 != other.3;
                elsewhere && (one.0 - other.0).abs() < 2.0 && one.1.max(other.1) < one.2.min(other.2)
            };
            lines[number + 1..].iter().filter(is_over).count()
        });
        through.sum::<usize>() + over.sum::<usize>()
    }

    /// Whether a chain is the shortcut of a sum without layers.
    fn is_identity(&self, chain: &Chain) -> bool {
        let sum = |end: usize| self.flow.items[end] == Item::Circle(Sign::Sum);
        let source = |start: usize| start < self.flow.sources;
        chain.items.is_empty() && chain.end.is_some_and(sum) && chain.start.is_some_and(source)
    }

    /// The middle of each column, and of the gap to its right.
    fn middles(&self) -> Vec<(f64, f64)> {
        let last = |lane: &Lane| match lane {
            Lane::Column(column) => *column,
            Lane::Gap(left) => left + 1,
        };
        let columns = self.chains.iter().map(|(_, lane)| last(lane) + 1).max().unwrap_or(1);
        let mut widths = vec![0.0_f64; columns];
        for (item, &column) in self.columns.iter().enumerate() {
            widths[column] = widths[column].max(self.flow.items[item].size().0);
        }
        for (chain, lane) in &self.chains {
            if let (true, Lane::Column(column)) = (self.is_identity(chain), *lane) {
                widths[column] = widths[column].max(Diagram::note_width(IDENTITY) + 8.0);
            }
        }
        let mut right = -COLUMN_GAP;
        let place = |wide: f64| {
            let middle = right + COLUMN_GAP + wide / 2.0;
            right = middle + wide / 2.0;
            (middle, right + COLUMN_GAP / 2.0)
        };
        widths.into_iter().map(place).collect()
    }
}

/// The drawing of a unit, with its top left corner at the origin.
pub fn draw(graph: &Graph, unit: &Unit) -> Diagram {
    let layout = Layout::of(Flow::of(graph, unit));
    let middles = layout.middles();
    let mut drawing = Diagram::default();
    let x = |item: usize| middles[layout.columns[item]].0;
    let down = |drawing: &mut Diagram, from: usize, to: usize| {
        let top = layout.rows[to] - layout.high(to) / 2.0;
        drawing.arrow(&[(x(from), layout.bottom(from)), (x(to), top)]);
    };
    for pair in layout.main.windows(2) {
        down(&mut drawing, pair[0], pair[1]);
    }
    for (chain, place) in &layout.chains {
        let lane = match *place {
            Lane::Column(column) => middles[column].0,
            Lane::Gap(left) => middles[left].1,
        };
        let mut points = Vec::new();
        if let Some(start) = chain.start {
            let y = layout.departure(start);
            points.extend([(x(start), layout.bottom(start)), (x(start), y), (lane, y)]);
        }
        if let [first, ..] = chain.items[..] {
            if chain.start.is_some() {
                points.push((lane, layout.rows[first] - layout.high(first) / 2.0));
                drawing.arrow(&points);
            }
            for pair in chain.items.windows(2) {
                down(&mut drawing, pair[0], pair[1]);
            }
            points = chain
                .items
                .last()
                .map(|&last| (lane, layout.bottom(last)))
                .into_iter()
                .collect();
        }
        if let Some(end) = chain.end {
            let (y, side) = arrival(&layout, chain, *place, end);
            points.extend([(lane, y), (x(end) + side, y)]);
            drawing.arrow(&points);
        }
        if layout.is_identity(chain) && matches!(place, Lane::Column(_)) {
            let (top, bottom) = layout.span(chain);
            drawing.note_on_line((lane, (top + bottom) / 2.0), IDENTITY);
        }
    }
    for (item, what) in layout.flow.items.iter().enumerate() {
        let centre = (x(item), layout.rows[item]);
        match what {
            Item::End(words) => drawing.note((centre.0, centre.1 + 4.0), Anchor::Middle, words),
            Item::Box(tone, lines) => drawing.boxed(centre, what.size(), *tone, lines),
            Item::Circle(sign) => drawing.circle(centre, RADIUS, *sign),
        }
    }
    drawing
}

/// The row in which a chain reaches the item that it ends at, and the distance of
/// the item's edge from its middle.
fn arrival(layout: &Layout, chain: &Chain, lane: Lane, end: usize) -> (f64, f64) {
    let from_right = |lane: Lane| lane.is_right_of(layout.columns[end]);
    let same: Vec<*const Chain> = layout
        .chains
        .iter()
        .filter(|(other, own)| other.end == Some(end) && from_right(*own) == from_right(lane))
        .map(|(other, _)| std::ptr::from_ref(other))
        .collect();
    let place = same.iter().position(|&other| std::ptr::eq(other, chain)).unwrap_or(0);
    let offset = match same.len() {
        0..=MOST_APART => (place as f64 - (same.len() - 1) as f64 / 2.0) * SPREAD,
        _ => 0.0,
    };
    let half = match layout.flow.items[end] {
        Item::Circle(_) => (RADIUS * RADIUS - offset * offset).max(0.0).sqrt(),
        ref item => item.size().0 / 2.0,
    };
    (layout.rows[end] + offset, if from_right(lane) { half } else { -half })
}

/// The convolutions of a unit's longest chain, one after the other.
pub fn convolutions(graph: &Graph, unit: &Unit) -> Vec<String> {
    let flow = Flow::of(graph, unit);
    let chain = flow.main_chain().into_iter();
    let words = chain.filter_map(|item| match &flow.items[item] {
        Item::Box(Tone::Weights, lines) => Some(lines.join(", ")),
        _ => None,
    });
    words.filter(|words| words.contains("conv")).collect()
}

/// What makes units of the same kind: their layers and how these are joined,
/// without numbers of channels.
pub fn kind(graph: &Graph, unit: &Unit) -> String {
    let flow = Flow::of(graph, unit);
    let word = |item: &Item| match item {
        Item::End(_) => String::new(),
        Item::Circle(sign) => format!("{sign:?}"),
        Item::Box(_, lines) => {
            let without = |line: &String| match line.split_once(", ") {
                Some((layer, _)) if layer.contains("conv") || layer.contains("linear") => layer.to_string(),
                _ if line.contains("channels") || line.contains("concatenate") => String::new(),
                _ => line.clone(),
            };
            lines.iter().map(without).collect::<Vec<_>>().join("/")
        }
    };
    let items: Vec<String> = flow.items.iter().map(word).collect();
    format!("{items:?} {:?}", flow.inputs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permutations_are_all_different_and_all_there() {
        let mut order = vec![0, 1, 2, 3];
        let mut seen = vec![order.clone()];
        while next_permutation(&mut order) {
            seen.push(order.clone());
        }
        assert!(seen.is_sorted() && seen.windows(2).all(|pair| pair[0] != pair[1]));
        assert_eq!(seen.len(), 24);
    }
}
