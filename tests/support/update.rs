//! What steps of the tests do to parameters.

use residua::schedule::Update;

/// Stochastic gradient descent with all its terms.
pub const UPDATE: Update = Update {
    lr: 0.05,
    momentum: 0.9,
    weight_decay: 5e-3,
    nesterov: true,
};
