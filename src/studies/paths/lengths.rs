//! How many paths does a network have, and how long are they?
//!
//! A path leads from the images to the logits along the edges of the graph. At a
//! join it comes from the branch or from the shortcut, where the network has both;
//! at a sum or a concatenation from any of the inputs. A slice of a concatenation
//! continues the paths of those inputs that it takes channels of. A gate is a
//! factor, like a weight: paths do not lead through it. One pass over the graph
//! counts them: the paths to a node are those to its inputs.

use std::rc::Rc;

use crate::graph::{Graph, NodeId, Op};

/// What the length of a path counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LengthUnit {
    /// The branches of blocks that it takes.
    Blocks,
    /// The convolutions on it, also those of the stem and of projections.
    Convolutions,
}

/// The paths of a network by length.
#[derive(Debug, Clone, PartialEq)]
pub struct PathLengths {
    /// The share of all paths of each length, from length 0.
    pub shares: Vec<f64>,
    /// The binary logarithm of the number of paths: 54 for 2⁵⁴ paths; -∞ if no path
    /// leads from the images to the logits.
    pub log2_paths: f64,
}

/// Counts the paths of `graph` by length. Numbers up to 2⁵³ and powers of two are
/// exact.
pub fn path_lengths(graph: &Graph, unit: LengthUnit) -> PathLengths {
    let end = graph.logits().unwrap_or(NodeId(graph.nodes.len().saturating_sub(1)));
    let mut readers: Vec<usize> = graph.consumers().iter().map(Vec::len).collect();
    let mut values: Vec<Option<Value>> = vec![None; graph.nodes.len()];
    for id in graph.ids().take_while(|&id| id <= end) {
        values[id.0] = value_of(graph, unit, id, &values);
        // The lengths of a deep network take much memory.
        for input in &graph.node(id).inputs {
            readers[input.0] -= 1;
            if readers[input.0] == 0 {
                values[input.0] = None;
            }
        }
    }
    let counts = values[end.0].as_ref().map(merge).unwrap_or_default();
    let mut shares: Vec<f64> = counts.by_length.iter().map(|count| count / counts.total).collect();
    while shares.len() > 1 && shares.last() == Some(&0.0) {
        shares.pop();
    }
    PathLengths {
        shares,
        log2_paths: counts.total.log2() + f64::from(counts.exponent),
    }
}

/// The first block (position from 0) that is not on every path. In a chain of
/// blocks there is none: a path is a choice between branch and shortcut of each.
pub(super) fn off_the_chain(graph: &Graph) -> Option<usize> {
    let end = graph.logits()?;
    let mut reached = vec![false; graph.nodes.len()];
    let mut useful = vec![false; graph.nodes.len()];
    useful[end.0] = true;
    for id in (0..=end.0).rev().map(NodeId) {
        if useful[id.0] {
            sources(graph, id).for_each(|source| useful[source.0] = true);
        }
    }
    // How far the edges reach that begin at the nodes so far. A node that one
    // of them passes over is not on every path.
    let mut furthest = vec![0; graph.nodes.len()];
    for id in graph.ids().take_while(|&id| id <= end) {
        reached[id.0] = graph.node(id).op == Op::Images || sources(graph, id).any(|source| reached[source.0]);
        if useful[id.0] {
            for source in sources(graph, id).filter(|source| reached[source.0]) {
                furthest[source.0] = furthest[source.0].max(id.0);
            }
        }
    }
    let passed_over = |join: NodeId| furthest[..join.0].iter().any(|reach| *reach > join.0);
    let is_off = |join: NodeId| !reached[join.0] || !useful[join.0] || passed_over(join);
    graph.blocks.iter().position(|block| is_off(block.join))
}

/// The inputs of a node through which paths lead to it.
fn sources(graph: &Graph, id: NodeId) -> impl Iterator<Item = NodeId> + '_ {
    let node = graph.node(id);
    let open = move |index: usize| match node.op {
        Op::Join(block) => {
            let gains = graph.blocks[block.0].default;
            [gains.branch, gains.shortcut][index] != 0.0
        }
        Op::Sum | Op::Concat => true,
        Op::Zeros | Op::BatchStats(_) | Op::RunningStats(_) => false,
        // The others are weights, statistics and gates.
        _ => index == 0,
    };
    (0..node.inputs.len())
        .filter(move |&index| open(index))
        .map(|index| node.inputs[index])
}

/// The paths to a value, for each of the concatenated parts that it still
/// consists of.
type Value = Rc<Vec<Part>>;

#[derive(Debug, Clone)]
struct Part {
    channels: usize,
    counts: Rc<Counts>,
}

fn value_of(graph: &Graph, unit: LengthUnit, id: NodeId, values: &[Option<Value>]) -> Option<Value> {
    let node = graph.node(id);
    let channels = |counts: Counts| {
        Some(Rc::new(vec![Part {
            channels: graph.shape(id).dims.first().copied().unwrap_or(1),
            counts: Rc::new(counts),
        }]))
    };
    let input = |index: usize| node.inputs.get(index).and_then(|input| values[input.0].as_ref());
    match node.op {
        Op::Images => channels(Counts::one()),
        Op::Join(block) => {
            let gains = graph.blocks[block.0].default;
            let mut counts = Counts::default();
            if let Some(branch) = input(0).filter(|_| gains.branch != 0.0) {
                counts.add(&merge(branch).longer(unit == LengthUnit::Blocks));
            }
            if let Some(shortcut) = input(1).filter(|_| gains.shortcut != 0.0) {
                counts.add(&merge(shortcut));
            }
            channels(counts)
        }
        Op::Sum => {
            let mut counts = Counts::default();
            (0..2).filter_map(input).for_each(|value| counts.add(&merge(value)));
            channels(counts)
        }
        Op::Concat => {
            let part = |(index, id): (usize, &NodeId)| match input(index) {
                Some(value) => value.to_vec(),
                None => vec![Part {
                    channels: graph.shape(*id).channels(),
                    counts: Rc::default(),
                }],
            };
            Some(Rc::new(node.inputs.iter().enumerate().flat_map(part).collect()))
        }
        Op::Slice { from, count } => Some(Rc::new(slice(input(0)?, from, count))),
        Op::Conv(_) => channels(merge(input(0)?).longer(unit == LengthUnit::Convolutions)),
        Op::Linear | Op::PadShortcut(_) => channels(merge(input(0)?)),
        // These compute each channel from the same channel of the first input.
        Op::BatchNorm
        | Op::Relu
        | Op::Scale { .. }
        | Op::Sigmoid
        | Op::Multiply
        | Op::MaxPool(_)
        | Op::AvgPool(_)
        | Op::GlobalAvgPool
        | Op::Dropout { .. }
        | Op::DropPath { .. } => input(0).cloned(),
        _ => None,
    }
}

/// The paths to all parts.
fn merge(value: &Value) -> Counts {
    let mut counts = Counts::default();
    value.iter().for_each(|part| counts.add(&part.counts));
    counts
}

/// The parts with channels in `from..from + count`.
fn slice(value: &Value, from: usize, count: usize) -> Vec<Part> {
    let mut first = 0;
    let overlap = |part: &Part| {
        let range = first..first + part.channels;
        first = range.end;
        let channels = range.end.min(from + count).saturating_sub(range.start.max(from));
        (channels > 0).then(|| Part {
            channels,
            counts: part.counts.clone(),
        })
    };
    value.iter().filter_map(overlap).collect()
}

/// Numbers of paths: `by_length[l] · 2^exponent` of length l.
#[derive(Debug, Clone, Default, PartialEq)]
struct Counts {
    by_length: Vec<f64>,
    /// Their sum. It is kept apart, because adding up rounded numbers would not
    /// give a power of two where the exact ones do.
    total: f64,
    exponent: i32,
}

/// Numbers above this are scaled down by it.
const LARGE: i32 = 500;

impl Counts {
    /// One path of length 0.
    fn one() -> Self {
        Counts {
            by_length: vec![1.0],
            total: 1.0,
            exponent: 0,
        }
    }

    /// The same paths, one longer if `longer`.
    fn longer(mut self, longer: bool) -> Self {
        if longer {
            self.by_length.insert(0, 0.0);
        }
        self
    }

    fn add(&mut self, other: &Counts) {
        let exponent = self.exponent.max(other.exponent);
        self.scale_to(exponent);
        let factor = 2_f64.powi(other.exponent - exponent);
        let length = self.by_length.len().max(other.by_length.len());
        self.by_length.resize(length, 0.0);
        for (own, other) in self.by_length.iter_mut().zip(&other.by_length) {
            *own += factor * other;
        }
        self.total += factor * other.total;
        if self.total > 2_f64.powi(LARGE) {
            self.scale_to(exponent + LARGE);
        }
    }

    fn scale_to(&mut self, exponent: i32) {
        let factor = 2_f64.powi(self.exponent - exponent);
        self.by_length.iter_mut().for_each(|count| *count *= factor);
        self.total *= factor;
        self.exponent = exponent;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Mode;
    use crate::models::{InputShape, ModelSpec};

    fn graph(model: &str) -> Graph {
        let spec: ModelSpec = model.parse().unwrap();
        spec.build(&InputShape::default(), Mode::Eval).unwrap().graph
    }

    /// The number of paths of each length.
    fn counts(model: &str, unit: LengthUnit) -> Vec<u64> {
        let PathLengths { shares, log2_paths } = path_lengths(&graph(model), unit);
        let count = |share: &f64| {
            let count = share * log2_paths.exp2();
            assert!(
                (count - count.round()).abs() < 1e-6 * count.max(1.0),
                "{model}: {count}"
            );
            count.round() as u64
        };
        shares.iter().map(count).collect()
    }

    /// The coefficients of a product of polynomials.
    fn product(factors: impl IntoIterator<Item = Vec<u64>>) -> Vec<u64> {
        factors.into_iter().fold(vec![1], |product, factor| {
            let mut next = vec![0; product.len() + factor.len() - 1];
            for (i, a) in product.iter().enumerate() {
                for (j, b) in factor.iter().enumerate() {
                    next[i + j] += a * b;
                }
            }
            next
        })
    }

    fn power(factor: &[u64], exponent: usize) -> Vec<u64> {
        product(vec![factor.to_vec(); exponent])
    }

    #[test]
    fn paths_of_small_networks_are_those_counted_by_hand() {
        use LengthUnit::{Blocks, Convolutions};
        // A layer of a dense block is taken or not: three blocks of two layers.
        assert_eq!(counts("densenet-10-4", Blocks), power(&[1, 1], 6));
        // The stem and two transitions are on every path.
        let outside = vec![0, 0, 0, 1];
        assert_eq!(
            counts("densenet-10-4", Convolutions),
            product([outside, power(&[1, 1], 6)])
        );
        // The fractal of three columns: x + x² for two columns, then
        // (x + x²)² + x, in each of five blocks.
        for model in ["fractalnet-3-4", "fractalnet-3-4:pool=join"] {
            assert_eq!(counts(model, Convolutions), power(&[0, 1, 1, 2, 1], 5));
            // In blocks, column 3 and column 2 are one between two joins.
            assert_eq!(counts(model, Blocks), power(&[0, 1, 4], 5));
        }
        assert_eq!(counts("fractalnet-2-4", Convolutions), power(&[0, 1, 1], 5));
        // Merge and run, three units. In the first both lines are the stem s, and
        // the mean has two paths: each line is xs + 2s. In the second each is
        // x(x + 2) + 2(x + 2). The last adds both branches to the mean.
        assert_eq!(counts("fusenet-cross-14", Blocks), [8, 16, 10, 2]);
        // A branch has two convolutions, a projection one.
        let units = [vec![2, 0, 1], vec![0, 2, 1], vec![0, 2, 2]];
        assert_eq!(
            counts("fusenet-cross-14", Convolutions),
            product([vec![0, 1]].into_iter().chain(units))
        );
        // A dual path network: the first unit of a stage projects its input to both
        // paths and adds to both, each other unit adds to both.
        let stage = |units: usize| product([vec![2, 2], power(&[1, 2], units - 1)]);
        assert_eq!(
            counts("dpn26:variant=kuangliu", Blocks),
            product([2, 2, 2, 2].map(stage))
        );
        assert_eq!(counts("dpn68", Blocks), product([3, 4, 12, 3].map(stage)));
        // Half: identity and two branches in each of three blocks.
        assert_eq!(counts("fusenet-half-14", Blocks), power(&[1, 2], 3));
        // A chain has one path. A gate is no way for one.
        assert_eq!(counts("plain-8", Blocks), [0, 0, 0, 0, 1]);
        assert_eq!(counts("resnet8:skip=shortcut-gate,se=4", Blocks), [1, 3, 3, 1]);
    }

    #[test]
    fn numbers_too_large_for_a_float_have_logarithms() {
        let lengths = path_lengths(&graph("preact-1001"), LengthUnit::Blocks);
        assert_eq!(lengths.log2_paths, 333.0);
        // Near the middle the binomial distribution is a normal one.
        let middle = lengths.shares[166] * (std::f64::consts::PI * 333.0 / 2.0).sqrt();
        assert!((middle - 1.0).abs() < 0.01, "{middle}");
        let deep = path_lengths(&graph("cifar-resnet3602"), LengthUnit::Blocks);
        assert_eq!(deep.log2_paths, 1800.0);
        assert!((deep.shares.iter().sum::<f64>() - 1.0).abs() < 1e-12);
    }

    #[test]
    fn only_in_a_chain_is_every_block_on_every_path() {
        for name in [
            "resnet8:shortcut=C",
            "preact-8:shortcut=B",
            "plain-8",
            "resnet8:skip=exclusive-gate",
            "vgg5-8",
        ] {
            assert_eq!(off_the_chain(&graph(name)), None, "{name}");
        }
        for (name, block) in [
            ("dmrnet-8", 0),
            ("fusenet-half-14", 0),
            ("densenet-10-4", 0),
            ("dpn26:variant=kuangliu", 0),
            ("fractalnet-2-4", 0),
        ] {
            assert_eq!(off_the_chain(&graph(name)), Some(block), "{name}");
        }
    }
}
