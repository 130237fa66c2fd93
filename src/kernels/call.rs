//! What do the kernel modules give to the schedule? Calls: a shader variant,
//! the byte ranges that it binds, and its number of workgroups.

use std::ops::Range;

use super::source::Variant;
use super::value::Value;
use crate::graph::{Precision, Shape};

/// What kernels need to know about the adapter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target {
    /// Whether a CPU runs the shaders, whose driver compiles long programs in time:
    /// loads are expensive there, and large register tiles are faster.
    pub cpu: bool,
    /// Largest binding in bytes.
    pub binding: u64,
    /// Binding offsets are multiples of this many bytes.
    pub alignment: u64,
    /// The largest number of workgroups along one dimension.
    pub workgroups: u32,
    /// Invocations of every subgroup, a power of two; 0 where the size is not
    /// known or the adapter has no subgroup operations.
    pub subgroup_size: usize,
    /// Whether eight adjacent values are loaded at once, as 64-bit integers
    /// (load8): on a CPU whose driver has them.
    pub wide_loads: bool,
    /// Multiply-adds that one dispatch of a convolution or of its input gradient may
    /// have: more of them are divided by batch.
    pub dispatch_macs: u64,
    /// The most images of a dispatch.
    pub images: usize,
}

impl Target {
    /// What every adapter has at least: a software driver, with vectors of
    /// eight lanes, or a GPU about which nothing is known.
    pub const fn portable(cpu: bool) -> Self {
        Target {
            cpu,
            binding: 128 << 20,
            alignment: 256,
            workgroups: 65_535,
            subgroup_size: if cpu { 8 } else { 0 },
            wide_loads: false,
            dispatch_macs: u64::MAX,
            images: usize::MAX,
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
    /// Its second output, for work that has two.
    Second,
    /// Memory that is used only during the task.
    Scratch(usize),
    /// The batch norm's running state.
    Running,
    /// The gains of the task's block.
    Gains,
    /// The step's record: seed, step number, learning rate.
    Step,
    /// The loss scale and its state.
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
    /// Its bindings. Those that the variant does not use are ignored.
    pub args: Vec<Arg>,
    /// Workgroups in x, y, z.
    pub workgroups: [u32; 3],
    /// Multiply-adds of a convolution or linear layer.
    pub macs: u64,
}

impl Call {
    /// A call of `entry` in `file`, without arguments.
    pub fn new(file: &'static str, entry: &'static str, constants: Vec<(&'static str, Value)>) -> Self {
        Call {
            variant: Variant { file, entry, constants },
            args: Vec::new(),
            workgroups: [1; 3],
            macs: 0,
        }
    }

    /// Sets the shader's alias `name` to the type of `width` (1 or 4) adjacent
    /// elements of `shape` in memory. In the files it is `f32` or `vec4f`.
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

    /// Binds the images `range` of `operand`, which has the shape `shape`.
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

    /// Sets the grid: enough workgroups of `per_group` for `invocations`, in x
    /// and y.
    pub fn over(mut self, invocations: usize, per_group: usize, target: &Target) -> Self {
        self.workgroups = grid_2d(invocations.div_ceil(per_group), target.workgroups);
        self
    }

    /// A lower bound for the bytes that the call reads and writes: the size of
    /// all ranges that it binds, each counted once.
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

/// `groups` workgroups in x and y, for x alone is limited to `limit`. The grid
/// may be a little larger than asked for: kernels compare their index with the
/// length of what they write.
pub fn grid_2d(groups: usize, limit: u32) -> [u32; 3] {
    let groups = groups.max(1);
    let y = groups.div_ceil(limit as usize);
    let x = groups.div_ceil(y);
    [x as u32, y as u32, 1]
}

/// The dispatches of a task.
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

    /// Whether each binding is at most as large as `target` allows.
    pub fn fits(&self, target: &Target) -> bool {
        let mut args = self.calls.iter().flat_map(|call| &call.args);
        args.all(|arg| arg.size <= target.binding)
    }

    /// The same work where an input and the output are the same memory. The
    /// kernel then reads the input through the output's binding, because a
    /// buffer that is written cannot be bound twice.
    pub fn in_place(mut self) -> Self {
        for call in &mut self.calls {
            call.variant.constants.push(("IN_PLACE", true.into()));
        }
        self
    }
}

/// Splits a batch into parts such that no tensor of `shapes` exceeds the
/// binding limit, and every part begins at an aligned offset of each tensor.
pub fn parts(batch: usize, shapes: &[&Shape], target: &Target) -> Vec<Range<usize>> {
    let batched = || shapes.iter().filter(|shape| shape.batched);
    let largest = batched().map(|shape| shape.bytes(1)).max().unwrap_or(1);
    let fitting = ((target.binding / largest.max(1)) as usize).min(target.images).max(1);
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

/// Splits an arena of `bytes` into parts that fit a binding: first byte and
/// size of each.
pub fn arena_parts(bytes: u64, target: &Target) -> impl Iterator<Item = (u64, u64)> + use<> {
    // 4096 is a multiple of every alignment that an adapter may have.
    let part = (target.binding / 4096 * 4096).max(4096);
    (0..bytes)
        .step_by(part as usize)
        .map(move |offset| (offset, part.min(bytes - offset)))
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
    fn grids_cover_their_work() {
        for groups in [1, 65_535, 65_536, 70_000, 65_535 * 65_535] {
            let [x, y, _] = grid_2d(groups, 65_535);
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
