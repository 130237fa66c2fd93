//! How do the kernels of a weight gradient share the batch, and which kernel
//! adds up their partial sums?

use std::ops::Range;

use super::problem::{WeightGradient, loads_vec4};
use super::tile::CPU_VECTOR;
use crate::graph::Conv;
use crate::kernels::call::{Call, Lowered, Operand, Target, grid_2d, parts};
use crate::kernels::value::Value;

/// Bytes of partial sums, at most, unless one split has more.
const PARTIAL_BYTES: u64 = 16 << 20;

impl WeightGradient<'_> {
    /// The number of strips of `px` output columns that cover a row.
    pub fn strips(&self, px: usize) -> usize {
        self.dy.plane().1.div_ceil(px)
    }

    /// Channels and planes, and how rows of `px` output columns are loaded.
    pub fn strip_constants(&self, px: usize) -> Vec<(&'static str, Value)> {
        let Conv {
            stride,
            padding,
            groups,
            ..
        } = self.conv;
        let (c, k) = self.group_channels();
        let (h, w) = self.x.plane();
        let (oh, ow) = self.dy.plane();
        vec![
            ("SC", c.into()),
            ("SH", h.into()),
            ("SW", w.into()),
            ("DC", k.into()),
            ("DH", oh.into()),
            ("DW", ow.into()),
            ("GROUPS", groups.into()),
            ("PADDING", padding.into()),
            ("PX", px.into()),
            ("SOURCE_VEC4", loads_vec4(self.x, px * stride).into()),
            ("DY_VEC4", loads_vec4(self.dy, px).into()),
        ]
    }

    /// A kernel over the images `part` that writes `partial` bytes of partial
    /// sums.
    pub fn call(
        &self,
        file: &'static str,
        constants: Vec<(&'static str, Value)>,
        part: &Range<usize>,
        partial: u64,
    ) -> Call {
        let (oh, ow) = self.dy.plane();
        let mut call = Call::new(file, "weight_gradient", constants)
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

    /// The call that adds up `partial` bytes of partial sums, `at_once` results
    /// in each invocation. The layout of the sums is that of `entry`.
    pub fn add_partial_sums(&self, entry: &'static str, at_once: usize, partial: u64, target: &Target) -> Call {
        Call::new("reduce", entry, vec![("WG", 64u32.into())])
            .bind(0, Operand::Scratch(0), partial)
            .bind(1, Operand::Output, self.dw.bytes(1))
            .over(self.dw.per_image() / at_once, 64, target)
    }
}

/// The number of images that one invocation walks through: few enough to
/// have `wanted` invocations, and enough that the partial sums, `bytes` for
/// each walk, stay small. `per_image` is the number of invocations for one
/// image. A CPU runs invocations with different images and `strips` as the
/// lanes of one vector, so there must be enough of them to fill it.
pub fn images_per_invocation(
    batch: usize,
    strips: usize,
    per_image: usize,
    wanted: usize,
    bytes: u64,
    target: &Target,
) -> usize {
    let vectors = if target.cpu { batch * strips / CPU_VECTOR } else { batch };
    let busy = (batch * per_image / wanted).min(vectors);
    busy.max(fewest_images(batch, bytes, target)).clamp(1, batch)
}

/// The same where a subgroup walks, with one channel in each lane.
pub fn images_per_subgroup(batch: usize, per_image: usize, wanted: usize, bytes: u64, target: &Target) -> usize {
    let busy = batch * per_image / wanted;
    busy.max(fewest_images(batch, bytes, target)).clamp(1, batch)
}

/// The number of images that must share partial sums of `bytes`, for all
/// partial sums to stay small.
fn fewest_images(batch: usize, bytes: u64, target: &Target) -> usize {
    let most = target.binding.min(PARTIAL_BYTES);
    (batch as u64 * bytes).div_ceil(most.max(bytes)) as usize
}

/// A kernel that walks down strips of columns, one image after the other, and
/// writes partial sums.
pub struct Walk {
    /// The shader file.
    pub file: &'static str,
    /// Columns of a strip.
    pub px: usize,
    /// Images of one walk.
    pub images: usize,
    /// Blocks of channels.
    pub blocks: usize,
}

impl Walk {
    /// The number of walks over `images` images.
    pub fn splits(&self, problem: &WeightGradient, images: usize) -> usize {
        images.div_ceil(self.images) * problem.strips(self.px)
    }

    /// The dispatches for a batch, in workgroups of `workgroup_size`
    /// invocations and `per_workgroup` walks, with the constants `own` of this
    /// kernel.
    pub fn lower(
        &self,
        problem: &WeightGradient,
        batch: usize,
        own: &[(&'static str, Value)],
        [workgroup_size, per_workgroup]: [usize; 2],
        target: &Target,
    ) -> Lowered {
        let Conv {
            kernel,
            stride,
            padding,
            ..
        } = problem.conv;
        let parts = parts(batch, &[problem.x, problem.dy], target);
        let splits: usize = parts.iter().map(|part| self.splits(problem, part.len())).sum();
        let partial = splits as u64 * problem.dw.bytes(1);
        let mut calls = Vec::new();
        let mut first_split = 0;
        for part in parts {
            let mut constants = problem.strip_constants(self.px);
            constants.extend([
                ("KERNEL", kernel.into()),
                ("STRIDE", stride.into()),
                ("RIGHT", kernel.saturating_sub(padding + stride).into()),
            ]);
            constants.extend(own);
            constants.extend([
                ("IMAGES", self.images.into()),
                ("FIRST_SPLIT", first_split.into()),
                ("WG", workgroup_size.into()),
            ]);
            let mut call = problem.call(self.file, constants, &part, partial);
            let [x, z, _] = grid_2d(self.blocks, target.workgroups);
            let splits = self.splits(problem, part.len());
            call.workgroups = [x, splits.div_ceil(per_workgroup) as u32, z];
            first_split += splits;
            calls.push(call);
        }
        calls.push(problem.add_partial_sums("sum_rows", 1, partial, target));
        Lowered {
            calls,
            scratch: vec![partial],
        }
    }
}
