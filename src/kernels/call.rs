//! What does a kernel room hand to the schedule? Calls: a shader variant, the
//! byte ranges that it binds, and its number of workgroups.

use std::ops::Range;

use super::source::{Value, Variant};
use crate::graph::{Precision, Shape};

/// What kernels need to know of the adapter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target {
    /// Whether a processor runs the shaders: loads are dear there, and
    /// register tiles want to be huge.
    pub cpu: bool,
    /// Largest binding in bytes.
    pub binding: u64,
    /// Binding offsets are multiples of this many bytes.
    pub alignment: u64,
    /// Workgroups along one dimension.
    pub workgroups: u32,
    /// Invocations of every subgroup, a power of two; 0 where that is not
    /// known or there are no exchanges between them.
    pub subgroup: usize,
    /// Whether eight neighbours are loaded at once, as 64-bit integers: on a
    /// processor whose driver knows them.
    pub eights: bool,
}

impl Target {
    /// A target that all adapters are at least: a software driver, with
    /// vectors of eight lanes, or a GPU of which nothing is known.
    pub const fn portable(cpu: bool) -> Self {
        Target {
            cpu,
            binding: 128 << 20,
            alignment: 256,
            workgroups: 65_535,
            subgroup: if cpu { 8 } else { 0 },
            eights: false,
        }
    }
}

/// The memory that an argument refers to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operand {
    /// An input of the task.
    Input(usize),
    /// Its output.
    Output,
    /// Its second output, of work that has two.
    Second,
    /// Memory that lives only during the task.
    Scratch(usize),
    /// The batch norm's running state.
    Running,
    /// The gains of the task's block.
    Gains,
    /// The step's record: seed, step number, learning rate.
    Step,
    /// The loss scale and what it depends on.
    LossScale,
}

/// One bound range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arg {
    /// Binding number.
    pub binding: u32,
    /// What is bound.
    pub operand: Operand,
    /// First byte.
    pub offset: u64,
    /// Bytes.
    pub size: u64,
}

/// One dispatch.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    /// The shader.
    pub variant: Variant,
    /// Its bindings; those that the variant does not use are ignored.
    pub args: Vec<Arg>,
    /// Workgroups in x, y, z.
    pub workgroups: [u32; 3],
    /// Multiply-adds of a convolution or linear layer.
    pub macs: u64,
}

impl Call {
    /// A call of `entry` in `file` without arguments yet.
    pub fn new(file: &'static str, entry: &'static str, constants: Vec<(&'static str, Value)>) -> Self {
        Call {
            variant: Variant { file, entry, constants },
            args: Vec::new(),
            workgroups: [1; 3],
            macs: 0,
        }
    }

    /// Makes the shader's alias `name`, an f32 or four as the files stand,
    /// what `width` (1 or 4) neighbours of `shape` are in memory.
    pub fn store(mut self, name: &'static str, width: usize, shape: &Shape) -> Self {
        if shape.precision == Precision::F16 {
            let half = if width == 4 { "vec4<f16>" } else { "f16" };
            self.variant.constants.push((name, Value::Type(half)));
        }
        self
    }

    /// Binds `size` bytes of `operand`.
    pub fn bind(mut self, binding: u32, operand: Operand, size: u64) -> Self {
        self.args.push(Arg {
            binding,
            operand,
            offset: 0,
            size,
        });
        self
    }

    /// Binds the images `range` of `operand`, whose shape is `shape`.
    pub fn bind_images(mut self, binding: u32, operand: Operand, shape: &Shape, range: &Range<usize>) -> Self {
        let (offset, size) = if shape.batched {
            (shape.bytes(range.start), shape.bytes(range.len()))
        } else {
            (0, shape.bytes(1))
        };
        self.args.push(Arg {
            binding,
            operand,
            offset,
            size,
        });
        self
    }

    /// Enough workgroups of `per_group` invocations in x, folded into y.
    pub fn over(mut self, invocations: usize, per_group: usize, target: &Target) -> Self {
        self.workgroups = fold(invocations.div_ceil(per_group), target.workgroups);
        self
    }

    /// Bytes that the call reads and writes at least: the size of all ranges
    /// it binds, once.
    pub fn bytes(&self) -> u64 {
        let mut seen: Vec<(Operand, u64)> = Vec::new();
        for arg in &self.args {
            if !seen.contains(&(arg.operand, arg.offset)) {
                seen.push((arg.operand, arg.offset));
            }
        }
        let size = |&(operand, offset): &(Operand, u64)| {
            let same = self
                .args
                .iter()
                .filter(|arg| (arg.operand, arg.offset) == (operand, offset));
            same.map(|arg| arg.size).max().unwrap_or(0)
        };
        seen.iter().map(size).sum()
    }
}

/// Whether `size` can be the number of invocations of a workgroup on every adapter.
pub fn is_workgroup_size(size: usize) -> bool {
    size.is_power_of_two() && size <= 256
}

/// `groups` workgroups as x and y, where x alone may not hold them. The grid
/// may be a little larger: kernels compare their index with the length of
/// what they write.
pub fn fold(groups: usize, limit: u32) -> [u32; 3] {
    let groups = groups.max(1);
    let y = groups.div_ceil(limit as usize);
    let x = groups.div_ceil(y);
    [x as u32, y as u32, 1]
}

/// What a task becomes.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Lowered {
    /// Dispatches in order.
    pub calls: Vec<Call>,
    /// Bytes of each scratch buffer.
    pub scratch: Vec<u64>,
}

impl Lowered {
    /// Dispatches without scratch memory.
    pub fn calls(calls: Vec<Call>) -> Self {
        Lowered {
            calls,
            scratch: Vec::new(),
        }
    }

    /// The same work where an input is the output's memory: its elements are
    /// read from there, for a buffer cannot be bound twice to be written.
    pub fn in_place(mut self) -> Self {
        for call in &mut self.calls {
            call.variant.constants.push(("IN_PLACE", true.into()));
        }
        self
    }
}

/// The parts of a batch such that no tensor of `shapes` passes the binding
/// limit, and every part begins at an aligned offset of each.
pub fn parts(batch: usize, shapes: &[&Shape], target: &Target) -> Vec<Range<usize>> {
    let batched = || shapes.iter().filter(|shape| shape.batched);
    let largest = batched().map(|shape| shape.bytes(1)).max().unwrap_or(1);
    let fitting = (target.binding / largest.max(1)).max(1) as usize;
    if fitting >= batch {
        return std::iter::once(0..batch).collect();
    }
    let aligned = |images: usize| batched().all(|shape| shape.bytes(images).is_multiple_of(target.alignment));
    let size = (1..=fitting).rev().find(|&images| aligned(images)).unwrap_or(fitting);
    (0..batch)
        .step_by(size)
        .map(|first| first..(first + size).min(batch))
        .collect()
}

/// The parts of an arena of `bytes` that fit a binding: first byte and bytes.
pub fn arena_parts(bytes: u64, target: &Target) -> impl Iterator<Item = (u64, u64)> + use<> {
    // A part ends at a multiple of every alignment there is.
    let part = (target.binding / 4096 * 4096).max(4096);
    (0..bytes)
        .step_by(part as usize)
        .map(move |offset| (offset, part.min(bytes - offset)))
}

/// A dispatch's part of a sum over the batch: a workgroup sums each chunk of
/// images, and another kernel merges the chunks of all dispatches.
pub struct Chunks {
    /// The images of this dispatch.
    pub images: Range<usize>,
    /// Chunks of the dispatches before.
    pub first: usize,
    /// Its own chunks.
    pub count: usize,
}

/// `parts` of a batch in chunks of `size` images, and the number of all chunks.
pub fn chunks(parts: Vec<Range<usize>>, size: usize) -> (Vec<Chunks>, usize) {
    let mut all = 0;
    let chunked = parts.into_iter().map(|images| {
        let (first, count) = (all, images.len().div_ceil(size));
        all += count;
        Chunks { images, first, count }
    });
    (chunked.collect(), all)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TARGET: Target = Target {
        binding: 1000,
        alignment: 64,
        ..Target::portable(true)
    };

    #[test]
    fn folded_grids_cover_their_work() {
        for groups in [1, 65_535, 65_536, 70_000, 65_535 * 65_535] {
            let [x, y, _] = fold(groups, 65_535);
            assert!(x <= 65_535 && y <= 65_535);
            assert!(x as usize * y as usize >= groups);
        }
    }

    #[test]
    fn parts_fit_the_limit_and_cover_the_batch() {
        let shape = Shape::batched(&[5, 4]); // 80 bytes an image
        let parts = parts(30, &[&shape], &TARGET);
        assert_eq!(parts, [0..12, 12..24, 24..30]);
        for part in parts {
            assert!(shape.bytes(part.len()) <= TARGET.binding);
            assert!(shape.bytes(part.start).is_multiple_of(TARGET.alignment));
        }
    }
}
