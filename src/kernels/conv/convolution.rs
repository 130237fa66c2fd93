//! Which algorithms compute a convolution or its input gradient?

use super::depthwise::Depthwise;
use super::direct::Direct;
use super::gemm::Gemm;
use super::plain;
use super::problem::Convolution;
use super::subgroup::Subgroup;
use crate::kernels::algorithm::{Algorithm, Problem};
use crate::kernels::call::{Lowered, Target};
use crate::kernels::output_parts::{Weighted, WeightedPass};

impl Problem for Convolution<'_> {
    fn default_algorithm(&self, target: &Target) -> Algorithm {
        let depthwise = || Depthwise::algorithms(self, target).into_iter().next();
        let product = Gemm::default_for(self, target).map(Algorithm::Gemm);
        let subgroup = || {
            let all = if target.cpu {
                Subgroup::algorithms(self, target)
            } else {
                Vec::new()
            };
            all.into_iter().next().map(Algorithm::Subgroup)
        };
        depthwise()
            .map(Algorithm::Depthwise)
            .or(product)
            .or_else(subgroup)
            .unwrap_or_else(|| Algorithm::Direct(Direct::default_for(self, target)))
    }

    fn alternatives(&self, target: &Target) -> Vec<Algorithm> {
        let depthwise = Depthwise::algorithms(self, target);
        if !depthwise.is_empty() {
            return depthwise.into_iter().map(Algorithm::Depthwise).collect();
        }
        let winograd = Direct::winograd_alternatives(self, target).into_iter();
        let direct = Direct::alternatives(self, target).into_iter();
        let mut all: Vec<Algorithm> = winograd.map(Algorithm::Direct).collect();
        if target.cpu {
            all.extend(Subgroup::algorithms(self, target).into_iter().map(Algorithm::Subgroup));
            // Next to these, direct tiles are hardly ever faster, and each
            // takes a second to compile.
            let most = match all.len() {
                0 => usize::MAX,
                1..=2 => 1,
                _ => 0,
            };
            all.extend(direct.take(most).map(Algorithm::Direct));
        } else {
            all.extend(Gemm::alternatives(self, target).into_iter().map(Algorithm::Gemm));
            all.push(Algorithm::Direct(Direct::default_for(self, target)));
            all.extend(direct.map(Algorithm::Direct));
        }
        all
    }

    fn lower(&self, algorithm: &Algorithm, batch: usize, target: &Target) -> Option<Lowered> {
        let whole = self.lower_in_parts(algorithm, batch, target)?;
        let longest = whole.calls.iter().map(|call| call.macs).max().unwrap_or(0);
        if longest <= target.dispatch_macs {
            return Some(whole);
        }
        // Each image is computed by itself, so its bits do not depend on the parts.
        let target = Target {
            images: self.images_of_parts(batch, target.dispatch_macs, longest, target),
            ..*target
        };
        self.lower_in_parts(algorithm, batch, &target)
    }
}

impl Convolution<'_> {
    /// The dispatches of `algorithm` for at most as many images each as `target` says.
    fn lower_in_parts(&self, algorithm: &Algorithm, batch: usize, target: &Target) -> Option<Lowered> {
        if self.conv.groups > 1 {
            return self.by(algorithm, batch, target);
        }
        self.weighted()
            .lower(algorithm, batch, target, |outputs, inputs, algorithm| {
                let (source, dest) = if self.is_input_gradient {
                    (outputs, inputs)
                } else {
                    (inputs, outputs)
                };
                let part = Convolution { source, dest, ..*self };
                let algorithm = algorithm.copied().unwrap_or_else(|| part.default_algorithm(target));
                part.by(&algorithm, batch, target)
            })
    }

    /// Images of the parts of a batch, of which the largest dispatch has `longest`
    /// multiply-adds and may have `most`: every part must begin at an aligned offset.
    fn images_of_parts(&self, batch: usize, most: u64, longest: u64, target: &Target) -> usize {
        let wanted = (u128::from(most) * batch as u128 / u128::from(longest)).max(1) as usize;
        let is_aligned = |images: &usize| {
            let shapes = [self.source, self.dest].into_iter();
            let mut bytes = shapes.map(|shape| shape.bytes(*images));
            bytes.all(|bytes| bytes.is_multiple_of(target.alignment))
        };
        let fewer = (1..=wanted).rev().find(is_aligned);
        fewer.or_else(|| (wanted..batch).find(is_aligned)).unwrap_or(batch)
    }

    fn weighted(&self) -> Weighted<'_> {
        let (pass, outputs, inputs) = if self.is_input_gradient {
            (WeightedPass::InputGradient, self.source, self.dest)
        } else {
            (WeightedPass::Forward { bias: self.bias }, self.dest, self.source)
        };
        Weighted {
            pass,
            outputs,
            inputs,
            row: self.weights() / outputs.channels(),
        }
    }

    /// The dispatches of `algorithm`, whether their bindings fit or not.
    fn by(&self, algorithm: &Algorithm, batch: usize, target: &Target) -> Option<Lowered> {
        match algorithm {
            Algorithm::Plain => Some(plain::convolution(self, batch, target)),
            Algorithm::Direct(direct) => direct.lower(self, batch, target),
            Algorithm::Depthwise(depthwise) => depthwise.lower(self, batch, target),
            Algorithm::Subgroup(subgroup) => subgroup.lower(self, batch, target),
            Algorithm::Gemm(gemm) => gemm.lower(self, batch, target),
            _ => None,
        }
    }
}
