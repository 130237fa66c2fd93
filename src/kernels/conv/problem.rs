//! Which dispatches make a convolution, forward and backward?

use std::ops::Range;

use super::plain::Plain;
use super::tile::{Destination, Tile};
use crate::graph::{Conv, Precision, Shape};
use crate::kernels::call::{Call, Lowered, Operand, Target, fold, is_workgroup_size, parts};
use crate::kernels::candidate::{Algorithm, Tunable};
use crate::kernels::source::Value;

pub const WG: usize = 32;
/// The same of what packs weights: the less an invocation does, the more a
/// workgroup costs a processor's driver.
const PACKING_WG: usize = 256;
/// Sums that one invocation of Winograd's scheme keeps, at most: four for a
/// pixel and channel.
const MOST_WINOGRAD_SUMS: usize = 1024;

/// One direction of a convolution: planes and channels of what is read and
/// what is written.
pub struct Direction<'a> {
    pub conv: Conv,
    pub source: &'a Shape,
    pub dest: &'a Shape,
    /// Whether this is the input gradient.
    pub backward: bool,
    pub bias: bool,
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

    /// Input gradient: inputs dy and weight.
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
    pub fn is_flipped(&self) -> bool {
        self.backward && self.conv.stride == 1 && self.conv.padding < self.conv.kernel
    }

    /// Whether the tile sees the transpose of a convolution.
    pub fn is_transposed(&self) -> bool {
        self.backward && !self.is_flipped()
    }

    /// Source and destination channels of one group.
    pub fn group_channels(&self) -> (usize, usize) {
        let groups = self.conv.groups;
        (self.source.channels() / groups, self.dest.channels() / groups)
    }

    /// Values of all weights.
    pub fn weights(&self) -> usize {
        let Conv { kernel, groups, .. } = self.conv;
        self.source.channels() * self.dest.channels() / groups * kernel * kernel
    }

    /// Multiply-adds of so many images.
    pub fn macs(&self, images: usize) -> u64 {
        let outputs = if self.backward { self.source } else { self.dest };
        (images * outputs.per_image() * self.weights() / outputs.channels()) as u64
    }

    /// The convolution that the tile sees.
    pub fn tiled_conv(&self) -> Conv {
        let mut conv = self.conv;
        if self.is_flipped() {
            conv.padding = conv.kernel - 1 - conv.padding;
        }
        conv
    }

    pub fn destination<'b>(&self, conv: &'b Conv) -> Destination<'b> {
        let (height, width) = self.dest.plane();
        let (source_height, source_width) = self.source.plane();
        Destination {
            conv,
            transposed: self.is_transposed(),
            channels: self.group_channels().1,
            height,
            width,
            source_height,
            source_width,
        }
    }
}

/// Channels of one group, and planes, as the shaders name them.
pub fn shape_constants(conv: &Conv, source: &Shape, dest: &Shape) -> Vec<(&'static str, Value)> {
    let ((sh, sw), (dh, dw)) = (source.plane(), dest.plane());
    vec![
        ("SC", (source.channels() / conv.groups).into()),
        ("SH", sh.into()),
        ("SW", sw.into()),
        ("DC", (dest.channels() / conv.groups).into()),
        ("DH", dh.into()),
        ("DW", dw.into()),
        ("GROUPS", conv.groups.into()),
        ("KERNEL", conv.kernel.into()),
        ("STRIDE", conv.stride.into()),
        ("PADDING", conv.padding.into()),
    ]
}

/// Whether `columns` of a row of `shape` are read by fours.
pub fn by_fours(shape: &Shape, columns: usize) -> bool {
    shape.plane().1.is_multiple_of(4) && columns.is_multiple_of(4)
}

/// Whether they are read by eights.
pub fn by_eights(shape: &Shape, columns: usize, target: &Target) -> bool {
    let whole = shape.plane().1.is_multiple_of(8) && columns.is_multiple_of(8);
    target.eights && shape.precision == Precision::F32 && whole
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
    /// Constants of a kernel of such tiles.
    pub fn constants(&self, tile: Tile, lanes: usize) -> Vec<(&'static str, Value)> {
        let conv = self.tiled_conv();
        let reach = tile.reach(&conv, self.is_transposed());
        let mut constants = shape_constants(&conv, self.source, self.dest);
        constants.extend([
            ("TRANSPOSED", self.is_transposed().into()),
            ("BIAS", self.bias.into()),
            ("PX", tile.px.into()),
            ("PY", tile.py.into()),
            ("KB", tile.kb.into()),
            ("LEFT", reach.left.into()),
            ("RIGHT", reach.right.into()),
            ("INNER_X", reach.inner_x.into()),
            ("INNER_Y", reach.inner_y.into()),
            ("SOURCE4", by_fours(self.source, reach.inner_x).into()),
            ("DEST4", by_fours(self.dest, tile.px).into()),
            ("WG", lanes.into()),
        ]);
        constants
    }

    /// Lays the weights out as `packed` values for a kernel of `constants`,
    /// `at_once` in an invocation.
    pub fn packing(
        &self,
        [file, entry]: [&'static str; 2],
        mut constants: Vec<(&'static str, Value)>,
        [packed, at_once]: [usize; 2],
        target: &Target,
    ) -> Call {
        constants.retain(|(name, _)| *name != "WG");
        constants.extend([
            ("EXCHANGED", self.backward.into()),
            ("FLIPPED", self.is_flipped().into()),
            ("WG", PACKING_WG.into()),
        ]);
        Call::new(file, entry, constants)
            .bind(6, Operand::Input(1), 4 * self.weights() as u64)
            .bind(7, Operand::Scratch(0), 4 * packed as u64)
            .over(packed / at_once, PACKING_WG, target)
    }

    /// A kernel over the images `part` that reads `packed` weights.
    pub fn call(
        &self,
        [file, entry]: [&'static str; 2],
        constants: Vec<(&'static str, Value)>,
        part: &Range<usize>,
        packed: usize,
    ) -> Call {
        let Direction { source, dest, .. } = *self;
        let mut call = Call::new(file, entry, constants)
            .store("Stored", 1, dest)
            .store("Stored4", 4, dest)
            .bind_images(0, Operand::Input(0), source, part)
            .bind_images(1, Operand::Input(0), source, part)
            .bind(2, Operand::Scratch(0), 4 * packed as u64)
            .bind(3, Operand::Input(2), 4 * dest.channels() as u64)
            .bind_images(4, Operand::Output, dest, part)
            .bind_images(5, Operand::Output, dest, part);
        call.macs = self.macs(part.len());
        call
    }

    /// Whether Winograd's scheme can do this.
    pub fn suits_winograd(&self) -> bool {
        let conv = self.tiled_conv();
        conv.kernel == 3 && conv.stride == 1 && !self.is_transposed() && conv.padding <= 2
    }

    /// Whether it can in such tiles, each by itself.
    fn suits_winograd_tile(&self, tile: &Tile, channels: usize) -> bool {
        let conv = self.tiled_conv();
        let (source, _) = self.group_channels();
        let small = tile.px * tile.py * tile.kb <= MOST_WINOGRAD_SUMS / 4;
        self.suits_winograd()
            && tile.is_even()
            && small
            && (1..=2).contains(&channels)
            && source.is_multiple_of(channels)
            && tile.fits(&self.destination(&conv))
    }

    /// Winograd's ways that may be fast.
    fn winograds(&self, target: &Target) -> Vec<Algorithm> {
        // On processors tiles that share halos do it faster: docs/notes.md has
        // the figures.
        let shapes: &[[usize; 3]] = if target.cpu {
            &[]
        } else {
            &[[4, 2, 4], [4, 4, 4], [2, 2, 8]]
        };
        let (height, width) = self.dest.plane();
        let divides = |tile: &Tile| width.is_multiple_of(tile.px) && height.is_multiple_of(tile.py);
        let tiles = shapes.iter().map(|&[px, py, kb]| Tile { px, py, kb });
        let channels = if self.group_channels().0.is_multiple_of(2) {
            2
        } else {
            1
        };
        tiles
            .filter(|tile| divides(tile) && self.suits_winograd_tile(tile, channels))
            .map(|tile| Algorithm::Winograd {
                tile,
                channels,
                lanes: WG,
            })
            .collect()
    }
}

impl Tunable for Direction<'_> {
    fn rule(&self, target: &Target) -> Algorithm {
        if let Some(product) = self.gemm_rule(target) {
            return product;
        }
        let shared = if target.cpu { self.shared(target) } else { Vec::new() };
        shared.first().copied().unwrap_or_else(|| Algorithm::Tile {
            tile: Tile::choose(&self.destination(&self.tiled_conv()), target),
            lanes: WG,
        })
    }

    fn others(&self, target: &Target) -> Vec<Algorithm> {
        let conv = self.tiled_conv();
        let dest = self.destination(&conv);
        let tiles = Tile::others(&dest, target);
        let with = |lanes: usize| move |tile: &Tile| Algorithm::Tile { tile: *tile, lanes };
        let mut all = self.winograds(target);
        if target.cpu {
            all.extend(self.shared(target));
            // Where tiles share halos, those that do not are hardly faster,
            // and each takes a second to compile.
            let many = match all.len() {
                0 => tiles.len(),
                1..=2 => 1,
                _ => 0,
            };
            all.extend(tiles.iter().take(many).map(with(WG)));
            return all;
        }
        all.extend(self.gemms(target));
        all.push(with(WG)(&Tile::choose(&dest, target)));
        all.extend(tiles.iter().map(with(WG)));
        all.extend(tiles.iter().take(3).map(with(2 * WG)));
        all
    }

    fn lower(&self, candidate: &Algorithm, batch: usize, target: &Target) -> Option<Lowered> {
        match *candidate {
            Algorithm::Plain => {
                let plain = |x, y| Plain { conv: self.conv, x, y };
                Some(if self.backward {
                    plain(self.dest, self.source).input_gradient(batch, target)
                } else {
                    plain(self.source, self.dest).forward(self.bias, batch, target)
                })
            }
            Algorithm::Tile { tile, lanes } => {
                // The rules' choice is one even of a kernel that no tile suits.
                let fits = tile.fits(&self.destination(&self.tiled_conv())) && is_workgroup_size(lanes);
                let scheme = Scheme::Direct;
                (fits || *candidate == self.rule(target)).then(|| tiled(self, tile, scheme, lanes, batch, target))
            }
            Algorithm::Gemm { tile, .. } => self.lower_gemm(tile, batch, target),
            Algorithm::Lanes { .. } => self.lower_lanes(candidate, batch, target),
            Algorithm::Winograd { tile, channels, lanes } => {
                let scheme = Scheme::Winograd { channels };
                let fits = self.suits_winograd_tile(&tile, channels) && is_workgroup_size(lanes);
                fits.then(|| tiled(self, tile, scheme, lanes, batch, target))
            }
            _ => None,
        }
    }
}

fn tiled(direction: &Direction, tile: Tile, scheme: Scheme, lanes: usize, batch: usize, target: &Target) -> Lowered {
    let Direction { source, dest, .. } = *direction;
    let conv = direction.tiled_conv();
    let (dh, dw) = dest.plane();
    let (sc, dc) = direction.group_channels();
    let mut constants = direction.constants(tile, lanes);
    let blocks = conv.groups * dc.div_ceil(tile.kb);
    let block = sc * scheme.taps(&conv) * tile.kb;
    if let Scheme::Winograd { channels } = scheme {
        constants.push(("CHANNELS", channels.into()));
    }
    let [entry, packing_entry] = scheme.entries();
    let packed = blocks * block;
    // One invocation packs a weight, or all sixteen that stand for a kernel.
    let packed_together = match scheme {
        Scheme::Direct => 1,
        Scheme::Winograd { .. } => scheme.taps(&conv),
    };
    let sizes = [packed, packed_together];
    let mut calls = vec![direction.packing(["conv/direct", packing_entry], constants.clone(), sizes, target)];
    let tiles = dh.div_ceil(tile.py) * dw.div_ceil(tile.px);
    for part in parts(batch, &[source, dest], target) {
        let mut call = direction.call(["conv/direct", entry], constants.clone(), &part, packed);
        let [x, z, _] = fold((part.len() * tiles).div_ceil(lanes), target.workgroups);
        call.workgroups = [x, blocks as u32, z];
        calls.push(call);
    }
    Lowered {
        calls,
        scratch: vec![4 * packed as u64],
    }
}
