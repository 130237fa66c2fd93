//! With which values do parameters start?

use super::engine::Engine;
use crate::graph::{Init, Param, ParamId, StateId};
use crate::random::{Philox, Stream};

/// Draws all parameters of `engine` from `seed`, and sets the running states to
/// mean 0 and variance 1. Each tensor has its own random stream, so a change to
/// one layer does not change the initial values of the others.
pub fn initialise(engine: &mut dyn Engine, seed: u64) {
    let params = engine.graph().params.clone();
    for (index, param) in params.iter().enumerate() {
        engine.set_param(ParamId(index), &values(param, index as u32, seed));
    }
    let channels: Vec<usize> = engine.graph().states.iter().map(|state| state.channels).collect();
    for (index, channels) in channels.into_iter().enumerate() {
        engine.set_state(StateId(index), &rows(channels, 0.0, 1.0));
    }
}

fn values(param: &Param, index: u32, seed: u64) -> Vec<f32> {
    let mut draws = Philox::new(seed).draws(Stream::Init, 0, index);
    match param.init {
        Init::Zero => vec![0.0; param.len()],
        Init::Constant(value) => vec![value; param.len()],
        Init::UnitAffine => rows(param.dims[1], 1.0, 0.0),
        Init::Uniform(bound) => (0..param.len()).map(|_| draws.between(-bound, bound)).collect(),
        Init::Normal(deviation) => {
            let pairs = std::iter::repeat_with(|| draws.normals()).flatten();
            pairs
                .take(param.len())
                .map(|normal| (normal * f64::from(deviation)) as f32)
                .collect()
        }
    }
}

/// Two rows of `length` constants, one after the other.
fn rows(length: usize, first: f32, second: f32) -> Vec<f32> {
    let mut rows = vec![first; length];
    rows.resize(2 * length, second);
    rows
}
