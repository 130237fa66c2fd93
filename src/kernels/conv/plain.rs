//! Which dispatches make a convolution and its gradients without tiles?

use super::problem::{Convolution, WeightGradient};
use crate::graph::{Conv, Shape};
use crate::kernels::call::{Call, Lowered, Operand, Target, parts};
use crate::kernels::value::Value;

const WORKGROUP_SIZE: usize = 64;

/// A convolution's forward shapes.
struct LinearLayer<'a> {
    conv: Conv,
    x: &'a Shape,
    y: &'a Shape,
}

/// A convolution: inputs x, weight and, where there is one, bias. Or its input
/// gradient: inputs dy and weight.
pub fn convolution(problem: &Convolution, batch: usize, target: &Target) -> Lowered {
    let (conv, source, dest) = (problem.conv, problem.source, problem.dest);
    if problem.is_input_gradient {
        let (x, y) = (dest, source);
        LinearLayer { conv, x, y }.input_gradient(batch, target)
    } else {
        let (x, y) = (source, dest);
        LinearLayer { conv, x, y }.forward(problem.bias, batch, target)
    }
}

/// A weight gradient: inputs x and dy.
pub fn weight_gradient(problem: &WeightGradient, batch: usize, target: &Target) -> Lowered {
    let layer = LinearLayer {
        conv: problem.conv,
        x: problem.x,
        y: problem.dy,
    };
    layer.weight_gradient(batch, target)
}

impl LinearLayer<'_> {
    fn weights(&self) -> usize {
        self.y.channels() * self.x.channels() / self.conv.groups * self.conv.kernel * self.conv.kernel
    }

    fn macs(&self, images: usize) -> u64 {
        (images * self.y.per_image() * self.weights() / self.y.channels()) as u64
    }

    fn call(&self, entry: &'static str, bias: bool, first_split: usize) -> Call {
        let Conv {
            kernel,
            stride,
            padding,
            groups,
        } = self.conv;
        let ((h, w), (oh, ow)) = (self.x.plane(), self.y.plane());
        let constants: Vec<(&'static str, Value)> = vec![
            ("C", (self.x.channels() / groups).into()),
            ("H", h.into()),
            ("W", w.into()),
            ("K", (self.y.channels() / groups).into()),
            ("OH", oh.into()),
            ("OW", ow.into()),
            ("GROUPS", groups.into()),
            ("KERNEL", kernel.into()),
            ("STRIDE", stride.into()),
            ("PADDING", padding.into()),
            ("BIAS", bias.into()),
            ("FIRST_SPLIT", first_split.into()),
            ("WG", WORKGROUP_SIZE.into()),
        ];
        Call::new("conv/plain", entry, constants).store("Stored", 1, self.x)
    }

    /// Inputs x, weight and, where `bias`, bias.
    fn forward(&self, bias: bool, batch: usize, target: &Target) -> Lowered {
        let calls = parts(batch, &[self.x, self.y], target).into_iter().map(|part| {
            let mut call = self
                .call("forward", bias, 0)
                .store("Out", 1, self.y)
                .bind_images(0, Operand::Input(0), self.x, &part)
                .bind(1, Operand::Input(1), 4 * self.weights() as u64)
                .bind(3, Operand::Input(2), 4 * self.y.channels() as u64)
                .bind_images(4, Operand::Output, self.y, &part)
                .over(self.y.len(part.len()), WORKGROUP_SIZE, target);
            call.macs = self.macs(part.len());
            call
        });
        Lowered::calls(calls.collect())
    }

    /// Inputs dy, weight.
    fn input_gradient(&self, batch: usize, target: &Target) -> Lowered {
        let calls = parts(batch, &[self.x, self.y], target).into_iter().map(|part| {
            let mut call = self
                .call("input_gradient", false, 0)
                .store("Out", 1, self.x)
                .bind(1, Operand::Input(1), 4 * self.weights() as u64)
                .bind_images(2, Operand::Input(0), self.y, &part)
                .bind_images(4, Operand::Output, self.x, &part)
                .over(self.x.len(part.len()), WORKGROUP_SIZE, target);
            call.macs = self.macs(part.len());
            call
        });
        Lowered::calls(calls.collect())
    }

    /// Inputs x, dy.
    fn weight_gradient(&self, batch: usize, target: &Target) -> Lowered {
        let bytes = 4 * self.weights() as u64;
        let parts = parts(batch, &[self.x, self.y], target);
        let scratch = bytes * parts.len() as u64;
        let call = |(index, part): (usize, &std::ops::Range<usize>)| {
            let mut call = self
                .call("weight_gradient", false, index)
                .bind_images(0, Operand::Input(0), self.x, part)
                .bind_images(2, Operand::Input(1), self.y, part)
                .bind(4, Operand::Scratch(0), scratch)
                .over(self.weights(), WORKGROUP_SIZE, target);
            call.macs = self.macs(part.len());
            call
        };
        let mut calls: Vec<Call> = parts.iter().enumerate().map(call).collect();
        calls.push(
            Call::new("reduce", "sum_rows", vec![("WG", WORKGROUP_SIZE.into())])
                .bind(0, Operand::Scratch(0), scratch)
                .bind(1, Operand::Output, bytes)
                .over(self.weights(), WORKGROUP_SIZE, target),
        );
        Lowered {
            calls,
            scratch: vec![scratch],
        }
    }
}
