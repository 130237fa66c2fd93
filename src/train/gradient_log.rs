//! Which gradients are logged, and in which steps?
//!
//! The gradient of the first convolution has passed through every block. Huang
//! et al. 2016 (section 5) report that its mean magnitude stays larger with
//! stochastic depth.

use super::TrainError;
use super::engine::Engine;
use crate::graph::{Graph, ParamId, ParamKind};

/// The number of steps in an epoch whose gradient is read: a read waits for the
/// device, which a step does not do otherwise.
const PER_EPOCH: u64 = 16;

/// Whether the gradient is read in the step at `position` (from 0) of an epoch
/// with `per_epoch` steps: in 16 evenly spaced steps, with the last one among
/// them; in all steps of a shorter epoch.
pub fn is_sampled(position: u32, per_epoch: u32) -> bool {
    let passed = |steps: u64| steps * PER_EPOCH / u64::from(per_epoch.max(1));
    passed(u64::from(position) + 1) > passed(u64::from(position))
}

/// The weights of the first convolution of the forward pass.
pub fn first_convolution(graph: &Graph) -> Option<ParamId> {
    let is_convolution = |param: &crate::graph::Param| param.kind == ParamKind::ConvWeight;
    graph.params.iter().position(is_convolution).map(ParamId)
}

/// The norm of the gradients of all parameters together in the last step, of the loss
/// alone and before it is limited; `None` where a gradient is not finite. It is read
/// once for an epoch: no kernel of a step computes it.
///
/// # Errors
/// Where the device fails.
pub fn norm(engine: &mut dyn Engine) -> Result<Option<f32>, TrainError> {
    let mut sum = 0.0;
    for index in 0..engine.graph().params.len() {
        let squares = |values: Vec<f32>| values.into_iter().map(|value| f64::from(value).powi(2)).sum::<f64>();
        sum += squares(engine.gradient(ParamId(index))?);
    }
    let norm = sum.sqrt() as f32;
    Ok(norm.is_finite().then_some(norm))
}

/// The mean absolute value; 0 for no values.
pub fn mean_abs(values: &[f32]) -> f64 {
    let sum: f64 = values.iter().map(|&value| f64::from(value).abs()).sum();
    sum / values.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sixteen_steps_of_an_epoch_are_read() {
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
