//! Which algorithms compute the weight gradient of a convolution?

use super::gemm::Gemm;
use super::plain;
use super::problem::WeightGradient;
use super::wgrad_strips::WgradStrips;
use super::wgrad_subgroup::WgradSubgroup;
use super::wgrad_winograd::WgradWinograd;
use crate::kernels::algorithm::{Algorithm, Problem};
use crate::kernels::call::{Lowered, Target};
use crate::kernels::output_parts::{Weighted, WeightedPass};

/// Algorithms whose lanes are source channels, the most promising first.
fn with_channels_in_lanes(problem: &WeightGradient, target: &Target) -> Vec<Algorithm> {
    let (c, _) = problem.group_channels();
    // With fewer channels, most lanes would have none.
    if !target.cpu || 2 * c <= target.subgroup_size {
        return Vec::new();
    }
    let winograd = WgradWinograd::algorithms(problem, target).into_iter();
    let by_taps = WgradSubgroup::algorithms(problem, target).into_iter();
    winograd
        .map(Algorithm::WgradWinograd)
        .chain(by_taps.map(Algorithm::WgradSubgroup))
        .collect()
}

impl Problem for WeightGradient<'_> {
    fn default_algorithm(&self, target: &Target) -> Algorithm {
        let product = Gemm::wgrad_default_for(self, target).map(Algorithm::Gemm);
        product
            .or_else(|| with_channels_in_lanes(self, target).first().copied())
            .unwrap_or_else(|| Algorithm::WgradStrips(WgradStrips::default_for(self, target)))
    }

    fn alternatives(&self, target: &Target) -> Vec<Algorithm> {
        let mut all = with_channels_in_lanes(self, target);
        // Next to these, strips are hardly ever faster, and each takes a
        // second to compile.
        if all.is_empty() {
            let tiles = WgradStrips::alternatives(self, target).into_iter();
            all.extend(tiles.map(Algorithm::WgradStrips));
            if !target.cpu {
                let products = Gemm::wgrad_alternatives(self, target).into_iter();
                all.extend(products.map(Algorithm::Gemm));
                let workgroups = WgradStrips::other_workgroups(self, target).into_iter();
                all.extend(workgroups.map(Algorithm::WgradStrips));
            }
        }
        all
    }

    fn lower(&self, algorithm: &Algorithm, batch: usize, target: &Target) -> Option<Lowered> {
        if self.conv.groups > 1 {
            return self.by(algorithm, batch, target);
        }
        let weighted = Weighted {
            pass: WeightedPass::WeightGradient,
            outputs: self.dy,
            inputs: self.x,
            row: self.dw.per_image() / self.dy.channels(),
        };
        weighted.lower(algorithm, batch, target, |dy, x, algorithm| {
            let mut dw = self.dw.clone();
            dw.dims[0] = dy.channels();
            let part = WeightGradient {
                x,
                dy,
                dw: &dw,
                ..*self
            };
            let algorithm = algorithm.copied().unwrap_or_else(|| part.default_algorithm(target));
            part.by(&algorithm, batch, target)
        })
    }
}

impl WeightGradient<'_> {
    /// The dispatches of `algorithm`, whether their bindings fit or not.
    fn by(&self, algorithm: &Algorithm, batch: usize, target: &Target) -> Option<Lowered> {
        match algorithm {
            Algorithm::Plain => Some(plain::weight_gradient(self, batch, target)),
            Algorithm::WgradStrips(strips) => strips.lower(self, batch, target),
            Algorithm::WgradSubgroup(subgroup) => subgroup.lower(self, batch, target),
            Algorithm::WgradWinograd(winograd) => winograd.lower(self, batch, target),
            Algorithm::Gemm(gemm) => gemm.lower_wgrad(self, batch, target),
            _ => None,
        }
    }
}
