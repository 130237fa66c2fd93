//! Which optimiser do the settings ask for?

use serde::{Deserialize, Serialize};

use super::TrainError;
use crate::kernels::Optimizer;

/// The optimisers by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[serde(rename_all = "lowercase")]
pub enum OptimizerKind {
    /// Stochastic gradient descent with momentum.
    #[default]
    Sgd,
    /// Adam with decoupled weight decay (Loshchilov and Hutter 2019, arXiv:1711.05101).
    #[cfg_attr(feature = "cli", value(name = "adamw"))]
    AdamW,
    /// Layer-wise adaptive rates (You, Gitman and Ginsburg 2017, arXiv:1708.03888).
    Lars,
}

impl OptimizerKind {
    /// The learning rate where none is given.
    pub fn learning_rate(self) -> f64 {
        match self {
            OptimizerKind::Sgd => 0.1,
            OptimizerKind::AdamW => 0.001,
            OptimizerKind::Lars => 1.0,
        }
    }

    /// The weight decay where none is given.
    pub fn weight_decay(self) -> f64 {
        match self {
            OptimizerKind::Sgd | OptimizerKind::Lars => 5e-4,
            OptimizerKind::AdamW => 0.01,
        }
    }
}

/// An optimiser with its numbers, as settings have them. Those that it does not use are
/// without effect.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OptimizerSettings {
    /// Which one.
    pub kind: OptimizerKind,
    /// AdamW: the part of the mean gradient that stays in a step, below 1.
    pub beta1: f64,
    /// AdamW: the part of the mean square that stays, below 1.
    pub beta2: f64,
    /// AdamW: added to the root of the mean square; LARS: to the norm of the gradient.
    pub eps: f64,
    /// LARS: the rate of a tensor is this times the norm of its weights over that of
    /// their gradient.
    pub trust: f64,
}

impl Default for OptimizerSettings {
    /// SGD; the other numbers as in PyTorch's AdamW and the paper on LARS.
    fn default() -> Self {
        OptimizerSettings {
            kind: OptimizerKind::Sgd,
            beta1: 0.9,
            beta2: 0.999,
            eps: 1e-8,
            trust: 0.001,
        }
    }
}

impl OptimizerSettings {
    /// What the end of a step needs.
    pub fn optimizer(&self) -> Optimizer {
        let OptimizerSettings {
            kind,
            beta1,
            beta2,
            eps,
            trust,
        } = *self;
        match kind {
            OptimizerKind::Sgd => Optimizer::Sgd,
            OptimizerKind::AdamW => Optimizer::AdamW { beta1, beta2, eps },
            OptimizerKind::Lars => Optimizer::Lars { trust, eps },
        }
    }

    /// Checks the ranges.
    ///
    /// # Errors
    /// [`TrainError::Value`] for the first number outside of its range.
    pub fn check(&self) -> Result<(), TrainError> {
        for (setting, value) in [("beta1", self.beta1), ("beta2", self.beta2)] {
            if !(0.0..1.0).contains(&value) {
                return Err(TrainError::value(
                    setting,
                    format!("{value} is not 0 or more, and below 1"),
                ));
            }
        }
        for (setting, value) in [("eps", self.eps), ("trust", self.trust)] {
            if !(value > 0.0 && value <= 1.0) {
                return Err(TrainError::value(
                    setting,
                    format!("{value} is not above 0, and at most 1"),
                ));
            }
        }
        Ok(())
    }
}
