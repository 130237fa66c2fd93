//! How do the training steps of the tests update parameters?

use residua::schedule::Update;

/// Stochastic gradient descent with all its terms.
pub const UPDATE: Update = Update {
    lr: 0.05,
    momentum: 0.9,
    weight_decay: 5e-3,
    nesterov: true,
};
