//! Which dispatches make a convolution, forward and backward?

use super::Value;
use super::call::{Arg, Call, Lowered, Operand, Target, fold, parts};
use super::candidate::{Candidate, Tunable, is_workgroup};
use super::conv_plain::Plain;
use super::tile::{CPU_VECTOR, Destination, Tile, WeightTile};
use crate::graph::{Conv, Shape};

const WG: usize = 32;
/// Subgroups that share a weight gradient whose lanes are channels: enough for
/// the processors of a workstation, of which the last to be done costs little.
const SUBGROUPS: usize = 256;
/// Source channels that the table of places in immediate data can hold.
const PLACES: usize = 15 * 16;
/// Sums that one invocation of Winograd's scheme keeps, at most: four for a
/// pixel and channel.
const MOST_WINOGRAD_SUMS: usize = 1024;

/// One direction of a convolution: planes and channels of what is read and
/// what is written.
pub(super) struct Direction<'a> {
    conv: Conv,
    source: &'a Shape,
    dest: &'a Shape,
    /// Whether this is the gradient by the input.
    backward: bool,
    bias: bool,
}

impl<'a> Direction<'a> {
    /// Forward: inputs x, weight and, where `bias`, bias.
    pub fn forward(conv: Conv, bias: bool, x: &'a Shape, y: &'a Shape) -> Self {
        Direction {
            conv,
            source: x,
            dest: y,
            backward: false,
            bias,
        }
    }

    /// Gradient by the input: inputs dy and weight.
    pub fn backward(conv: Conv, dy: &'a Shape, dx: &'a Shape) -> Self {
        Direction {
            conv,
            source: dy,
            dest: dx,
            backward: true,
            bias: false,
        }
    }

    /// At stride 1 the transpose is a convolution by flipped weights: a layer
    /// with as many inputs as outputs has one program for both directions.
    fn is_flipped(&self) -> bool {
        self.backward && self.conv.stride == 1 && self.conv.padding < self.conv.kernel
    }

    /// The convolution that the tile sees.
    fn tiled_conv(&self) -> Conv {
        let mut conv = self.conv;
        if self.is_flipped() {
            conv.padding = conv.kernel - 1 - conv.padding;
        }
        conv
    }

    fn destination<'b>(&self, conv: &'b Conv) -> Destination<'b> {
        let (height, width) = self.dest.plane();
        Destination {
            conv,
            transposed: self.backward && !self.is_flipped(),
            channels: self.dest.channels() / conv.groups,
            height,
            width,
        }
    }
}

/// How a tile's sums come about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scheme {
    /// Tap by tap.
    Direct,
    /// By Winograd's F(2×2, 3×3), so many source channels at a time.
    Winograd { channels: usize },
}

impl Scheme {
    /// Entry points of the kernel and of the packing of its weights.
    fn entries(self) -> [&'static str; 2] {
        match self {
            Scheme::Direct => ["tile", "pack"],
            Scheme::Winograd { .. } => ["winograd", "pack_winograd"],
        }
    }

    /// Weights that stand for the taps of one kernel.
    fn taps(self, conv: &Conv) -> usize {
        match self {
            Scheme::Direct => conv.kernel * conv.kernel,
            Scheme::Winograd { .. } => 16,
        }
    }
}

impl Direction<'_> {
    /// Whether Winograd's scheme can do this in such tiles.
    fn suits_winograd(&self, tile: &Tile, channels: usize) -> bool {
        let conv = self.tiled_conv();
        let source = self.source.channels() / conv.groups;
        let transposed = self.backward && !self.is_flipped();
        let even = tile.px.is_multiple_of(2) && tile.py.is_multiple_of(2);
        let small = tile.px * tile.py * tile.kb <= MOST_WINOGRAD_SUMS / 4;
        let shape = conv.kernel == 3 && conv.stride == 1 && !transposed && conv.padding <= 2;
        shape
            && even
            && small
            && (1..=2).contains(&channels)
            && source.is_multiple_of(channels)
            && tile.fits(&self.destination(&conv))
    }

    /// Winograd's ways that may be fast.
    fn winograds(&self, target: &Target) -> Vec<Candidate> {
        // On processors it ties with the best tiles, whose code is as long:
        // docs/notes.md has the figures. Trying it there costs seconds.
        let shapes: &[[usize; 3]] = if target.cpu {
            &[]
        } else {
            &[[4, 2, 4], [4, 4, 4], [2, 2, 8]]
        };
        let (height, width) = self.dest.plane();
        let divides = |tile: &Tile| width.is_multiple_of(tile.px) && height.is_multiple_of(tile.py);
        let tiles = shapes.iter().map(|&[px, py, kb]| Tile { px, py, kb });
        let channels = if (self.source.channels() / self.conv.groups).is_multiple_of(2) {
            2
        } else {
            1
        };
        tiles
            .filter(|tile| divides(tile) && self.suits_winograd(tile, channels))
            .map(|tile| Candidate::Winograd {
                tile,
                channels,
                lanes: WG,
            })
            .collect()
    }
}

impl Tunable for Direction<'_> {
    fn rule(&self, target: &Target) -> Candidate {
        let conv = self.tiled_conv();
        let dest = self.destination(&conv);
        let shared = Tile::choose_lanes(&dest, target).filter(|_| target.cpu);
        match shared {
            Some(tile) => Candidate::Lanes { tile, lanes: WG },
            None => Candidate::Tile {
                tile: Tile::choose(&dest, target),
                lanes: WG,
            },
        }
    }

    fn others(&self, target: &Target) -> Vec<Candidate> {
        let conv = self.tiled_conv();
        let dest = self.destination(&conv);
        let tiles = Tile::others(&dest, target);
        let with = |lanes: usize| move |tile: &Tile| Candidate::Tile { tile: *tile, lanes };
        let mut all = self.winograds(target);
        if target.cpu {
            let shared = Tile::other_lanes(&dest, target).into_iter();
            all.extend(shared.map(|tile| Candidate::Lanes { tile, lanes: WG }));
            // Where tiles share halos, those that do not are hardly faster,
            // and each takes a second to compile.
            let many = if all.is_empty() { tiles.len() } else { 1 };
            all.extend(tiles.iter().take(many).map(with(WG)));
            return all;
        }
        all.extend(tiles.iter().map(with(WG)));
        all.extend(tiles.iter().take(3).map(with(2 * WG)));
        all
    }

    fn lower(&self, candidate: &Candidate, batch: usize, target: &Target) -> Option<Lowered> {
        match *candidate {
            Candidate::Plain => {
                let plain = |x, y| Plain { conv: self.conv, x, y };
                Some(if self.backward {
                    plain(self.dest, self.source).input_gradient(batch, target)
                } else {
                    plain(self.source, self.dest).forward(self.bias, batch, target)
                })
            }
            Candidate::Tile { tile, lanes } => {
                // The rules' choice is one even of a kernel that no tile suits.
                let fits = tile.fits(&self.destination(&self.tiled_conv())) && is_workgroup(lanes);
                let scheme = Scheme::Direct;
                (fits || *candidate == self.rule(target)).then(|| tiled(self, tile, scheme, lanes, batch, target))
            }
            Candidate::Lanes { tile, lanes } => {
                let conv = self.tiled_conv();
                let fits = tile.fits_lanes(&self.destination(&conv), target)
                    && is_workgroup(lanes)
                    && lanes.is_multiple_of(target.subgroup);
                fits.then(|| shared(self, tile, lanes, batch, target))
            }
            Candidate::Winograd { tile, channels, lanes } => {
                let scheme = Scheme::Winograd { channels };
                let fits = self.suits_winograd(&tile, channels) && is_workgroup(lanes);
                fits.then(|| tiled(self, tile, scheme, lanes, batch, target))
            }
            _ => None,
        }
    }
}

fn tiled(direction: &Direction, tile: Tile, scheme: Scheme, lanes: usize, batch: usize, target: &Target) -> Lowered {
    let Direction { source, dest, .. } = *direction;
    let conv = direction.tiled_conv();
    let flipped = direction.is_flipped();
    let transposed = direction.backward && !flipped;
    let (sh, sw) = source.plane();
    let (dh, dw) = dest.plane();
    let (sc, dc) = (source.channels() / conv.groups, dest.channels() / conv.groups);
    let reach = tile.reach(&conv, transposed);
    let mut constants = vec![
        ("SC", sc.into()),
        ("SH", sh.into()),
        ("SW", sw.into()),
        ("DC", dc.into()),
        ("DH", dh.into()),
        ("DW", dw.into()),
        ("GROUPS", conv.groups.into()),
        ("KERNEL", conv.kernel.into()),
        ("STRIDE", conv.stride.into()),
        ("PADDING", conv.padding.into()),
        ("TRANSPOSED", transposed.into()),
        ("BIAS", direction.bias.into()),
        ("PX", tile.px.into()),
        ("PY", tile.py.into()),
        ("KB", tile.kb.into()),
        ("LEFT", reach.left.into()),
        ("RIGHT", reach.right.into()),
        ("INNER_X", reach.inner_x.into()),
        ("INNER_Y", reach.inner_y.into()),
        (
            "SOURCE4",
            (sw.is_multiple_of(4) && reach.inner_x.is_multiple_of(4)).into(),
        ),
        ("DEST4", (dw.is_multiple_of(4) && tile.px.is_multiple_of(4)).into()),
        ("WG", lanes.into()),
    ];
    let blocks = conv.groups * dc.div_ceil(tile.kb);
    let block = sc * scheme.taps(&conv) * tile.kb;
    if let Scheme::Winograd { channels } = scheme {
        constants.push(("CHANNELS", channels.into()));
    }
    let [entry, packing_entry] = scheme.entries();
    let direct = scheme == Scheme::Direct;
    let uniform = direct && target.cpu && 4 * block as u64 <= target.uniform && sc <= PLACES;
    let stride = if uniform {
        block.next_multiple_of(target.alignment as usize / 4)
    } else {
        block
    };
    constants.extend([
        ("UNIFORM", uniform.into()),
        ("BLOCK4", (block / 4).into()),
        ("BLOCK_STRIDE", stride.into()),
    ]);
    let packed = blocks * stride;
    let weights = Shape::fixed(&[conv.groups * dc * sc * conv.kernel * conv.kernel]);
    let mut packing = constants.clone();
    packing.extend([("EXCHANGED", direction.backward.into()), ("FLIPPED", flipped.into())]);
    // One invocation packs a weight, or all sixteen that stand for a kernel.
    let packed_together = match scheme {
        Scheme::Direct => 1,
        Scheme::Winograd { .. } => scheme.taps(&conv),
    };
    let pack = Call::new("conv", packing_entry, packing)
        .bind(6, Operand::Input(1), weights.bytes(1))
        .bind(7, Operand::Scratch(0), 4 * packed as u64)
        .over(blocks * block / packed_together, lanes, target);

    let mut calls = vec![pack];
    let tiles = dh.div_ceil(tile.py) * dw.div_ceil(tile.px);
    let forward_outputs = if direction.backward { source } else { dest };
    let per_output = weights.per_image() / forward_outputs.channels();
    for part in parts(batch, &[source, dest], target) {
        let mut call = Call::new("conv", entry, constants.clone())
            .bind_images(0, Operand::Input(0), source, &part)
            .bind_images(1, Operand::Input(0), source, &part)
            .bind(2, Operand::Scratch(0), 4 * packed as u64)
            .bind(3, Operand::Input(2), 4 * dest.channels() as u64)
            .bind_images(4, Operand::Output, dest, &part)
            .bind_images(5, Operand::Output, dest, &part);
        let [x, z, _] = fold((part.len() * tiles).div_ceil(lanes), target.workgroups);
        call.workgroups = [x, blocks as u32, z];
        call.macs = (part.len() * forward_outputs.per_image() * per_output) as u64;
        if uniform {
            let per_channel = block / sc / 4;
            calls.extend((0..blocks).map(|index| one_block(&call, index, blocks, 4 * stride, per_channel)));
        } else {
            calls.push(call);
        }
    }
    Lowered {
        calls,
        scratch: vec![4 * packed as u64],
    }
}

/// `call` for one of `blocks` blocks of channels, whose weights come by way of
/// a uniform buffer: `stride` bytes from block to block, `per_channel` fours
/// for a source channel.
fn one_block(call: &Call, index: usize, blocks: usize, stride: usize, per_channel: usize) -> Call {
    let mut call = call.clone();
    let bytes = call.variant.constants.iter().find(|(name, _)| *name == "BLOCK4");
    let Some((_, Value::Uint(fours))) = bytes else {
        unreachable!("the size of a block is one of the tile's constants");
    };
    call.args.push(Arg {
        binding: 8,
        operand: Operand::Scratch(0),
        offset: (index * stride) as u64,
        size: 16 * u64::from(*fours),
    });
    let low = (0..16).map(|c| c * per_channel);
    let high = (0..15).map(|c| 16 * c * per_channel);
    call.immediates = low.chain(high).chain([index]).map(|place| place as u32).collect();
    call.workgroups[1] = 1;
    call.macs /= blocks as u64;
    call
}

/// The dispatches of tiles that share halos and weights within a subgroup.
fn shared(direction: &Direction, tile: Tile, lanes: usize, batch: usize, target: &Target) -> Lowered {
    let Direction { conv, source, dest, .. } = *direction;
    let (height, width) = dest.plane();
    let (sc, dc) = (source.channels() / conv.groups, dest.channels() / conv.groups);
    let across = tile.across(width);
    let constants = vec![
        ("SC", sc.into()),
        ("DC", dc.into()),
        ("H", height.into()),
        ("W", width.into()),
        ("GROUPS", conv.groups.into()),
        ("BIAS", direction.bias.into()),
        ("PX", tile.px.into()),
        ("PY", tile.py.into()),
        ("KB", tile.kb.into()),
        ("LANES", target.subgroup.into()),
        ("ACROSS", across.into()),
        ("FOURS", (width.is_multiple_of(4) && tile.px.is_multiple_of(4)).into()),
        ("WG", lanes.into()),
    ];
    let blocks = conv.groups * dc.div_ceil(tile.kb);
    let packed = blocks * sc * (9 * tile.kb).next_multiple_of(4 * target.subgroup);
    let weights = Shape::fixed(&[conv.groups * dc * sc * 9]);
    let mut packing = constants.clone();
    packing.extend([
        ("EXCHANGED", direction.backward.into()),
        ("FLIPPED", direction.is_flipped().into()),
    ]);
    let pack = Call::new("conv_lanes", "pack", packing)
        .bind(6, Operand::Input(1), weights.bytes(1))
        .bind(7, Operand::Scratch(0), 4 * packed as u64)
        .over(packed, lanes, target);
    let mut calls = vec![pack];
    let down = target.subgroup / across;
    for part in parts(batch, &[source, dest], target) {
        let mut call = Call::new("conv_lanes", "tile", constants.clone())
            .bind_images(0, Operand::Input(0), source, &part)
            .bind_images(1, Operand::Input(0), source, &part)
            .bind(2, Operand::Scratch(0), 4 * packed as u64)
            .bind(3, Operand::Input(2), 4 * dest.channels() as u64)
            .bind_images(4, Operand::Output, dest, &part)
            .bind_images(5, Operand::Output, dest, &part);
        let subgroups = (part.len() * height.div_ceil(tile.py)).div_ceil(down);
        let [x, z, _] = fold(subgroups.div_ceil(lanes / target.subgroup), target.workgroups);
        call.workgroups = [x, blocks as u32, z];
        call.macs = (part.len() * dest.per_image() * sc * 9) as u64;
        calls.push(call);
    }
    Lowered {
        calls,
        scratch: vec![4 * packed as u64],
    }
}

/// Gradient by the weights: inputs x and dy.
pub(super) struct WeightGradient<'a> {
    pub conv: Conv,
    pub x: &'a Shape,
    pub dy: &'a Shape,
    pub dw: &'a Shape,
}

impl WeightGradient<'_> {
    /// Source and output channels of one group.
    fn channels(&self) -> (usize, usize) {
        let groups = self.conv.groups;
        (self.x.channels() / groups, self.dy.channels() / groups)
    }

    /// Constants of a kernel that walks down strips of `px` output columns.
    fn constants(&self, px: usize) -> Vec<(&'static str, Value)> {
        let Conv {
            kernel,
            stride,
            padding,
            groups,
        } = self.conv;
        let (c, k) = self.channels();
        let (h, w) = self.x.plane();
        let (oh, ow) = self.dy.plane();
        let fours = |width: usize, columns: usize| width.is_multiple_of(4) && columns.is_multiple_of(4);
        vec![
            ("C", c.into()),
            ("H", h.into()),
            ("W", w.into()),
            ("K", k.into()),
            ("OH", oh.into()),
            ("OW", ow.into()),
            ("GROUPS", groups.into()),
            ("KERNEL", kernel.into()),
            ("STRIDE", stride.into()),
            ("PADDING", padding.into()),
            ("PX", px.into()),
            ("RIGHT", kernel.saturating_sub(padding + stride).into()),
            ("X4", fours(w, px * stride).into()),
            ("DY4", fours(ow, px).into()),
        ]
    }

    /// A kernel over the images `part` that writes to `partial` bytes of sums.
    fn call(
        &self,
        file: &'static str,
        constants: Vec<(&'static str, Value)>,
        part: &std::ops::Range<usize>,
        partial: u64,
    ) -> Call {
        let (oh, ow) = self.dy.plane();
        let mut call = Call::new(file, "weight_grad", constants)
            .bind_images(0, Operand::Input(0), self.x, part)
            .bind_images(1, Operand::Input(0), self.x, part)
            .bind_images(2, Operand::Input(1), self.dy, part)
            .bind_images(3, Operand::Input(1), self.dy, part)
            .bind(4, Operand::Scratch(0), partial);
        call.macs = (self.dw.per_image() * oh * ow * part.len()) as u64;
        call
    }

    /// Adds up `partial` bytes of sums.
    fn merge(&self, partial: u64, target: &Target) -> Call {
        Call::new("reduce", "rows", vec![("WG", 64u32.into())])
            .bind(0, Operand::Scratch(0), partial)
            .bind(1, Operand::Output, self.dw.bytes(1))
            .over(self.dw.per_image(), 64, target)
    }
}

impl Tunable for WeightGradient<'_> {
    fn rule(&self, target: &Target) -> Candidate {
        let (c, k) = self.channels();
        if let Some([px, kb]) = WeightTile::choose_channels(&self.conv, c, k, self.dy.plane().1, target) {
            return Candidate::Channels {
                px,
                kb,
                splits: SUBGROUPS,
                lanes: WG,
            };
        }
        Candidate::Strip {
            tile: WeightTile::choose(&self.conv, c, k, self.dy.plane().1, target),
            splits: WeightTile::splits(target),
            lanes: WG,
        }
    }

    fn others(&self, target: &Target) -> Vec<Candidate> {
        let (c, k) = self.channels();
        let splits = WeightTile::splits(target);
        let tiles = WeightTile::others(&self.conv, c, k, self.dy.plane().1, target);
        let strip = |tile: WeightTile, splits: usize, lanes: usize| Candidate::Strip { tile, splits, lanes };
        let mut all: Vec<Candidate> = tiles.iter().map(|&tile| strip(tile, splits, WG)).collect();
        if !target.cpu {
            let rule = WeightTile::choose(&self.conv, c, k, self.dy.plane().1, target);
            all.extend([strip(rule, 4 * splits, WG), strip(rule, splits / 4, WG)]);
            all.extend(tiles.first().map(|&tile| strip(tile, splits, 2 * WG)));
        }
        all
    }

    fn lower(&self, candidate: &Candidate, batch: usize, target: &Target) -> Option<Lowered> {
        match *candidate {
            Candidate::Plain => {
                let plain = Plain {
                    conv: self.conv,
                    x: self.x,
                    y: self.dy,
                };
                Some(plain.weight_gradient(batch, target))
            }
            Candidate::Strip { tile, splits, lanes } => {
                let fits = tile.fits(&self.conv) && is_workgroup(lanes);
                (fits || *candidate == self.rule(target)).then(|| strips(self, tile, splits, lanes, batch, target))
            }
            Candidate::Channels { px, kb, splits, lanes } => {
                let fits = WeightTile::fits_channels(&self.conv, [px, kb], target)
                    && is_workgroup(lanes)
                    && lanes.is_multiple_of(target.subgroup);
                fits.then(|| channels(self, [px, kb], splits, lanes, batch, target))
            }
            _ => None,
        }
    }
}

fn strips(
    gradient: &WeightGradient,
    tile: WeightTile,
    wanted: usize,
    lanes: usize,
    batch: usize,
    target: &Target,
) -> Lowered {
    let WeightGradient { conv, x, dy, dw } = *gradient;
    let (c, k) = gradient.channels();
    let strips = dy.plane().1.div_ceil(tile.px);
    let blocks = conv.groups * k.div_ceil(tile.kb) * c.div_ceil(tile.cb);
    let images = WeightTile::images(
        batch,
        strips,
        strips * blocks,
        wanted,
        dw.bytes(1) * strips as u64,
        target,
    );
    let parts = parts(batch, &[x, dy], target);
    let splits = |part: &std::ops::Range<usize>| part.len().div_ceil(images) * strips;
    let all_splits: usize = parts.iter().map(splits).sum();
    // Lanes that have no split cost a processor as much as those that have one.
    let lanes = match target.cpu {
        true => lanes.min(all_splits.next_power_of_two().max(CPU_VECTOR)),
        false => lanes,
    };
    let partial = all_splits as u64 * dw.bytes(1);
    let mut calls = Vec::new();
    let mut first_split = 0;
    for part in parts {
        let mut constants = gradient.constants(tile.px);
        constants.extend([
            ("KB", tile.kb.into()),
            ("CB", tile.cb.into()),
            ("IMAGES", images.into()),
            ("FIRST_SPLIT", first_split.into()),
            ("WG", lanes.into()),
        ]);
        let mut call = gradient.call("conv_weights", constants, &part, partial);
        let [y, z, _] = fold(blocks, target.workgroups);
        call.workgroups = [splits(&part).div_ceil(lanes) as u32, y, z];
        first_split += splits(&part);
        calls.push(call);
    }
    calls.push(gradient.merge(partial, target));
    Lowered {
        calls,
        scratch: vec![partial],
    }
}

/// The dispatches of strips whose lanes are source channels.
fn channels(
    gradient: &WeightGradient,
    [px, kb]: [usize; 2],
    wanted: usize,
    lanes: usize,
    batch: usize,
    target: &Target,
) -> Lowered {
    let WeightGradient { conv, x, dy, dw } = *gradient;
    let (c, k) = gradient.channels();
    let strips = dy.plane().1.div_ceil(px);
    let blocks = conv.groups * k.div_ceil(kb) * c.div_ceil(target.subgroup);
    let bytes = dw.bytes(1) * strips as u64;
    let images = WeightTile::images_of_subgroup(batch, strips * blocks, wanted, bytes, target);
    let parts = parts(batch, &[x, dy], target);
    let splits = |part: &std::ops::Range<usize>| part.len().div_ceil(images) * strips;
    let all_splits: usize = parts.iter().map(splits).sum();
    let partial = all_splits as u64 * dw.bytes(1);
    let mut calls = Vec::new();
    let mut first_split = 0;
    for part in parts {
        let mut constants = gradient.constants(px);
        constants.extend([
            ("KB", kb.into()),
            ("IMAGES", images.into()),
            ("FIRST_SPLIT", first_split.into()),
            ("LANES", target.subgroup.into()),
            ("WG", lanes.into()),
        ]);
        let mut call = gradient.call("conv_weights_lanes", constants, &part, partial);
        let [y, z, _] = fold(blocks, target.workgroups);
        call.workgroups = [splits(&part).div_ceil(lanes / target.subgroup) as u32, y, z];
        first_split += splits(&part);
        calls.push(call);
    }
    calls.push(gradient.merge(partial, target));
    Lowered {
        calls,
        scratch: vec![partial],
    }
}
