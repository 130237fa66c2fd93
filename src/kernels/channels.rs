//! Which dispatches copy channels between tensors: option-A shortcuts (He et
//! al. 2016), concatenations and slices?

use super::call::{Call, Lowered, Operand, Target, parts};
use crate::graph::{PadShortcut, Shape};

const WORKGROUP_SIZE: usize = 64;

/// A copy between a tensor with few channels and one with more, and where the
/// first one stands in the second.
struct ChannelCopy<'a> {
    narrow: &'a Shape,
    wide: &'a Shape,
    /// Channels of `wide` before those of `narrow`.
    before: usize,
    /// Pixels of `narrow` for one of `wide`, in each dimension.
    stride: usize,
    /// Whether the mean of these pixels is taken, instead of the first.
    average: bool,
}

impl ChannelCopy<'_> {
    /// A call of `entry`, which reads a tensor stored like `from` and writes one
    /// stored like `to`.
    fn call(&self, entry: &'static str, from: &Shape, to: &Shape) -> Call {
        let ((h, w), (oh, ow)) = (self.narrow.plane(), self.wide.plane());
        let constants = vec![
            ("C", self.narrow.channels().into()),
            ("H", h.into()),
            ("W", w.into()),
            ("WIDE_C", self.wide.channels().into()),
            ("FIRST_CHANNEL", self.before.into()),
            ("OH", oh.into()),
            ("OW", ow.into()),
            ("STRIDE", self.stride.into()),
            ("AVERAGE", self.average.into()),
            ("WG", WORKGROUP_SIZE.into()),
        ];
        Call::new("channels", entry, constants)
            .store("Stored", 1, from)
            .store("Out", 1, to)
    }

    fn widen(&self, batch: usize, target: &Target) -> Lowered {
        let calls = parts(batch, &[self.narrow, self.wide], target).into_iter().map(|part| {
            self.call("pad", self.narrow, self.wide)
                .bind_images(0, Operand::Input(0), self.narrow, &part)
                .bind_images(1, Operand::Output, self.wide, &part)
                .over(self.wide.len(part.len()), WORKGROUP_SIZE, target)
        });
        Lowered::calls(calls.collect())
    }

    fn narrow(&self, batch: usize, target: &Target) -> Lowered {
        let calls = parts(batch, &[self.narrow, self.wide], target).into_iter().map(|part| {
            self.call("pad_gradient", self.wide, self.narrow)
                .bind_images(0, Operand::Input(0), self.wide, &part)
                .bind_images(1, Operand::Output, self.narrow, &part)
                .over(self.narrow.len(part.len()), WORKGROUP_SIZE, target)
        });
        Lowered::calls(calls.collect())
    }
}

/// Option-A shortcut: input x.
pub fn pad(pad: PadShortcut, x: &Shape, y: &Shape, batch: usize, target: &Target) -> Lowered {
    shortcut(pad, x, y).widen(batch, target)
}

/// Its gradient: input dy.
pub fn pad_gradient(pad: PadShortcut, dy: &Shape, dx: &Shape, batch: usize, target: &Target) -> Lowered {
    shortcut(pad, dx, dy).narrow(batch, target)
}

fn shortcut<'a>(pad: PadShortcut, narrow: &'a Shape, wide: &'a Shape) -> ChannelCopy<'a> {
    ChannelCopy {
        narrow,
        wide,
        before: pad.before,
        stride: pad.stride,
        average: pad.average,
    }
}

/// The channels from number `from`: input x.
pub fn slice(from: usize, x: &Shape, y: &Shape, batch: usize, target: &Target) -> Lowered {
    let slice = ChannelCopy {
        narrow: y,
        wide: x,
        before: from,
        stride: 1,
        average: false,
    };
    slice.narrow(batch, target)
}

/// The channels of x, to those of y from number `from` on: input x.
pub fn place(from: usize, x: &Shape, y: &Shape, batch: usize, target: &Target) -> Lowered {
    Lowered::calls(placing(0, from, x, y, batch, target))
}

/// The channels of all inputs, one input after the other.
pub fn concat(inputs: &[&Shape], y: &Shape, batch: usize, target: &Target) -> Lowered {
    let mut before = 0;
    let mut calls = Vec::new();
    for (index, x) in inputs.iter().enumerate() {
        calls.extend(placing(index, before, x, y, batch, target));
        before += x.channels();
    }
    Lowered::calls(calls)
}

/// The dispatches that copy input number `index` to the channels from number
/// `before` on.
fn placing(index: usize, before: usize, x: &Shape, y: &Shape, batch: usize, target: &Target) -> Vec<Call> {
    let copy = ChannelCopy {
        narrow: x,
        wide: y,
        before,
        stride: 1,
        average: false,
    };
    let calls = parts(batch, &[x, y], target).into_iter().map(|part| {
        copy.call("place", x, y)
            .bind_images(0, Operand::Input(index), x, &part)
            .bind_images(1, Operand::Output, y, &part)
            .over(x.len(part.len()), WORKGROUP_SIZE, target)
    });
    calls.collect()
}
