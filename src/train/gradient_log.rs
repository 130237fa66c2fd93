//! Which gradients are kept, of which steps?
//!
//! The gradient that reaches the first convolution has come through every
//! block: its mean magnitude over training is what stochastic depth is said
//! to keep up (Huang et al. 2016, section 5).

use crate::graph::{Graph, ParamId, ParamKind};

/// Steps of an epoch that are looked at: reading a gradient waits for the
/// device, which a step otherwise does not.
const AN_EPOCH: u64 = 16;

/// Whether the step at `position` (from 0) of an epoch of `per_epoch` steps is
/// looked at: 16 of them, evenly spaced, the last among them; all where there
/// are fewer.
pub fn is_sampled(position: u32, per_epoch: u32) -> bool {
    let passed = |steps: u64| steps * AN_EPOCH / u64::from(per_epoch.max(1));
    passed(u64::from(position) + 1) > passed(u64::from(position))
}

/// The weights of the first convolution that the forward pass meets.
pub fn first_convolution(graph: &Graph) -> Option<ParamId> {
    let is_convolution = |param: &crate::graph::Param| param.kind == ParamKind::ConvWeight;
    graph.params.iter().position(is_convolution).map(ParamId)
}

/// The mean absolute value.
pub fn mean_abs(values: &[f32]) -> f64 {
    let sum: f64 = values.iter().map(|&value| f64::from(value).abs()).sum();
    sum / values.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sixteen_steps_an_epoch_are_looked_at() {
        for (per_epoch, expected) in [(1, 1), (15, 15), (16, 16), (17, 16), (391, 16), (1_000_000, 16)] {
            let sampled: Vec<u32> = (0..per_epoch).filter(|&at| is_sampled(at, per_epoch)).collect();
            assert_eq!(sampled.len(), expected, "{per_epoch}");
            assert_eq!(sampled.last(), Some(&(per_epoch - 1)));
            let gaps: Vec<u32> = sampled.windows(2).map(|pair| pair[1] - pair[0]).collect();
            let (least, most) = (gaps.iter().min(), gaps.iter().max());
            assert!(
                most.zip(least).is_none_or(|(most, least)| most - least <= 1),
                "{gaps:?}"
            );
        }
    }

    #[test]
    fn the_mean_is_of_magnitudes() {
        assert_eq!(mean_abs(&[-1.0, 2.0, 0.0]), 1.0);
        assert_eq!(mean_abs(&[]), 0.0);
    }
}
