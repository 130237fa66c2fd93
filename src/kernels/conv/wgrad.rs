//! Which dispatches make a convolution's weight gradient?

use std::ops::Range;

use super::plain::Plain;
use super::problem::{WG, by_eights, by_fours};
use super::tile::{CPU_VECTOR, ChannelTile, WeightTile};
use crate::graph::{Conv, Shape};
use crate::kernels::call::{Call, Lowered, Operand, Target, fold, is_workgroup_size, parts};
use crate::kernels::candidate::{Algorithm, Tunable};
use crate::kernels::source::Value;

/// Subgroups that share a weight gradient whose lanes are channels: enough for
/// the processors of a workstation, of which the last to be done costs little.
const SUBGROUPS: usize = 256;

/// Weight gradient: inputs x and dy.
pub struct WeightGradient<'a> {
    pub conv: Conv,
    pub x: &'a Shape,
    pub dy: &'a Shape,
    pub dw: &'a Shape,
}

impl WeightGradient<'_> {
    /// Source and output channels of one group.
    pub fn channels(&self) -> (usize, usize) {
        let groups = self.conv.groups;
        (self.x.channels() / groups, self.dy.channels() / groups)
    }

    /// Strips of `px` output columns in a row.
    fn strips(&self, px: usize) -> usize {
        self.dy.plane().1.div_ceil(px)
    }

    /// Channels and planes, and how rows of `px` output columns are read.
    pub fn shape_constants(&self, px: usize) -> Vec<(&'static str, Value)> {
        let Conv {
            stride,
            padding,
            groups,
            ..
        } = self.conv;
        let (c, k) = self.channels();
        let (h, w) = self.x.plane();
        let (oh, ow) = self.dy.plane();
        vec![
            ("C", c.into()),
            ("H", h.into()),
            ("W", w.into()),
            ("K", k.into()),
            ("OH", oh.into()),
            ("OW", ow.into()),
            ("GROUPS", groups.into()),
            ("PADDING", padding.into()),
            ("PX", px.into()),
            ("X4", by_fours(self.x, px * stride).into()),
            ("DY4", by_fours(self.dy, px).into()),
        ]
    }

    /// Constants of a kernel that walks down strips of `px` output columns.
    fn constants(&self, px: usize) -> Vec<(&'static str, Value)> {
        let Conv {
            kernel,
            stride,
            padding,
            ..
        } = self.conv;
        let mut constants = self.shape_constants(px);
        constants.extend([
            ("KERNEL", kernel.into()),
            ("STRIDE", stride.into()),
            ("RIGHT", kernel.saturating_sub(padding + stride).into()),
        ]);
        constants
    }

    /// A kernel over the images `part` that writes to `partial` bytes of sums.
    pub fn call(
        &self,
        file: &'static str,
        constants: Vec<(&'static str, Value)>,
        part: &Range<usize>,
        partial: u64,
    ) -> Call {
        let (oh, ow) = self.dy.plane();
        let mut call = Call::new(file, "weight_grad", constants)
            .store("Stored", 1, self.x)
            .store("Stored4", 4, self.x)
            .bind_images(0, Operand::Input(0), self.x, part)
            .bind_images(1, Operand::Input(0), self.x, part)
            .bind_images(2, Operand::Input(1), self.dy, part)
            .bind_images(3, Operand::Input(1), self.dy, part)
            .bind(4, Operand::Scratch(0), partial)
            .bind_images(5, Operand::Input(0), self.x, part)
            .bind_images(6, Operand::Input(1), self.dy, part);
        call.macs = (self.dw.per_image() * oh * ow * part.len()) as u64;
        call
    }

    /// Adds up `partial` bytes of sums, which lie as `entry` has them, for
    /// `at_once` results in an invocation.
    pub fn merge(&self, entry: &'static str, at_once: usize, partial: u64, target: &Target) -> Call {
        Call::new("reduce", entry, vec![("WG", 64u32.into())])
            .bind(0, Operand::Scratch(0), partial)
            .bind(1, Operand::Output, self.dw.bytes(1))
            .over(self.dw.per_image() / at_once, 64, target)
    }
}

impl Tunable for WeightGradient<'_> {
    fn rule(&self, target: &Target) -> Algorithm {
        if let Some(product) = self.gemm_rule(target) {
            return product;
        }
        let (c, k) = self.channels();
        if let Some(first) = self.of_channels(target).first() {
            return *first;
        }
        Algorithm::Strip {
            tile: WeightTile::choose(&self.conv, c, k, self.dy.plane().1, target),
            splits: WeightTile::splits(target),
            lanes: WG,
        }
    }

    fn others(&self, target: &Target) -> Vec<Algorithm> {
        let (c, k) = self.channels();
        let splits = WeightTile::splits(target);
        let tiles = WeightTile::others(&self.conv, c, k, self.dy.plane().1, target);
        let strip = |tile: WeightTile, splits: usize, lanes: usize| Algorithm::Strip { tile, splits, lanes };
        let of_channels = self.of_channels(target);
        if !of_channels.is_empty() {
            // Strips whose lanes are images are hardly ever faster, and each
            // takes a second to compile.
            return of_channels;
        }
        let mut all: Vec<Algorithm> = tiles.iter().map(|&tile| strip(tile, splits, WG)).collect();
        if !target.cpu {
            let rule = WeightTile::choose(&self.conv, c, k, self.dy.plane().1, target);
            all.extend(self.gemms(target));
            all.extend([splits, 4 * splits, splits / 4].map(|splits| strip(rule, splits, WG)));
            all.extend(tiles.first().map(|&tile| strip(tile, splits, 2 * WG)));
        }
        all
    }

    fn lower(&self, candidate: &Algorithm, batch: usize, target: &Target) -> Option<Lowered> {
        match *candidate {
            Algorithm::Plain => {
                let plain = Plain {
                    conv: self.conv,
                    x: self.x,
                    y: self.dy,
                };
                Some(plain.weight_gradient(batch, target))
            }
            Algorithm::Strip { tile, splits, lanes } => {
                let fits = tile.fits(&self.conv) && is_workgroup_size(lanes);
                (fits || *candidate == self.rule(target)).then(|| strips(self, tile, splits, lanes, batch, target))
            }
            Algorithm::Gemm { tile, splits } => self.lower_gemm(tile, splits, batch, target),
            Algorithm::Channels { tile, splits, lanes } => self.walk(tile, splits, lanes, batch, target),
            Algorithm::WinogradChannels { tile, splits } => self.lower_winograd(tile, splits, batch, target),
            _ => None,
        }
    }
}

/// A kernel that walks down strips of columns, image after image, and leaves
/// partial sums.
struct Walk {
    file: &'static str,
    /// Columns of a strip.
    px: usize,
    /// Images of one walk.
    images: usize,
    /// Blocks of channels.
    blocks: usize,
}

impl Walk {
    /// Walks over `images` images.
    fn splits(&self, gradient: &WeightGradient, images: usize) -> usize {
        images.div_ceil(self.images) * gradient.strips(self.px)
    }

    /// The dispatches over `parts` of a batch, in workgroups of `lanes`
    /// invocations and `per_group` walks, with `own` constants.
    fn lower(
        &self,
        gradient: &WeightGradient,
        parts: Vec<Range<usize>>,
        own: &[(&'static str, Value)],
        [lanes, per_group]: [usize; 2],
        target: &Target,
    ) -> Lowered {
        let splits: usize = parts.iter().map(|part| self.splits(gradient, part.len())).sum();
        let partial = splits as u64 * gradient.dw.bytes(1);
        let mut calls = Vec::new();
        let mut first_split = 0;
        for part in parts {
            let mut constants = gradient.constants(self.px);
            constants.extend(own);
            constants.extend([
                ("IMAGES", self.images.into()),
                ("FIRST_SPLIT", first_split.into()),
                ("WG", lanes.into()),
            ]);
            let mut call = gradient.call(self.file, constants, &part, partial);
            let [x, z, _] = fold(self.blocks, target.workgroups);
            let splits = self.splits(gradient, part.len());
            call.workgroups = [x, splits.div_ceil(per_group) as u32, z];
            first_split += splits;
            calls.push(call);
        }
        calls.push(gradient.merge("rows", 1, partial, target));
        Lowered {
            calls,
            scratch: vec![partial],
        }
    }
}

/// The dispatches of strips whose lanes are images and strips.
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
    let strips = gradient.strips(tile.px);
    let blocks = conv.groups * k.div_ceil(tile.kb) * c.div_ceil(tile.cb);
    let bytes = dw.bytes(1) * strips as u64;
    let walk = Walk {
        file: "conv/wgrad_strips",
        px: tile.px,
        images: WeightTile::images(batch, strips, strips * blocks, wanted, bytes, target),
        blocks,
    };
    let parts = parts(batch, &[x, dy], target);
    let splits: usize = parts.iter().map(|part| walk.splits(gradient, part.len())).sum();
    // Lanes that have no split cost a processor as much as those that have one.
    let lanes = match target.cpu {
        true => lanes.min(splits.next_power_of_two().max(CPU_VECTOR)),
        false => lanes,
    };
    let own = [("KB", tile.kb.into()), ("CB", tile.cb.into())];
    walk.lower(gradient, parts, &own, [lanes, lanes], target)
}

impl WeightGradient<'_> {
    /// Ways whose lanes are source channels, the likeliest first.
    fn of_channels(&self, target: &Target) -> Vec<Algorithm> {
        let (c, k) = self.channels();
        if !target.cpu || 2 * c <= target.subgroup {
            // Most lanes would have none.
            return Vec::new();
        }
        let (splits, lanes) = (SUBGROUPS, WG.max(target.subgroup));
        let direct = ChannelTile::choose(&self.conv, [c, k], self.dy.plane(), target).into_iter();
        let direct = direct.filter(|tile| tile.fits(&self.conv, target));
        let mut ways = self.winograds(target);
        ways.extend(direct.map(|tile| Algorithm::Channels { tile, splits, lanes }));
        ways
    }

    /// The dispatches of strips whose lanes are source channels.
    fn walk(&self, tile: ChannelTile, wanted: usize, lanes: usize, batch: usize, target: &Target) -> Option<Lowered> {
        let fits = tile.fits(&self.conv, target) && is_workgroup_size(lanes) && lanes.is_multiple_of(target.subgroup);
        if !fits {
            return None;
        }
        let WeightGradient { conv, x, dy, dw } = *self;
        let (c, k) = self.channels();
        let ChannelTile { px, py, kb, cb } = tile;
        let strips = self.strips(px);
        let blocks = conv.groups * k.div_ceil(kb) * c.div_ceil(target.subgroup * cb);
        let bytes = dw.bytes(1) * strips as u64;
        let walk = Walk {
            file: "conv/wgrad_subgroup",
            px,
            images: WeightTile::images_of_subgroup(batch, strips * blocks, wanted, bytes, target),
            blocks,
        };
        let own = [
            ("PY", py.into()),
            ("KB", kb.into()),
            ("CB", cb.into()),
            ("X8", by_eights(x, px * conv.stride, target).into()),
            ("DY8", by_eights(dy, px, target).into()),
            ("LANES", target.subgroup.into()),
        ];
        let sides = [lanes, lanes / target.subgroup];
        Some(walk.lower(self, parts(batch, &[x, dy], target), &own, sides, target))
    }
}
