//! Which dispatches change the parameters at the end of a step?

use super::call::{Call, Operand, Target, arena_parts};
use super::loss_scale::LOSS_SCALE_BYTES;
use super::segment::{SEGMENT_BYTES, Segments};
use super::step::STEP_BYTES;

const WORKGROUP_SIZE: usize = 64;
/// Bytes of the norm of all gradients and of the factor that limits it.
pub const NORM_BYTES: u64 = 8;

/// How parameters follow from gradients. Learning rate, weight decay and, where the
/// optimiser has one, momentum are of each step.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Optimizer {
    /// Stochastic gradient descent with momentum, as PyTorch defines it.
    #[default]
    Sgd,
    /// Adam with decoupled weight decay (Loshchilov and Hutter 2019).
    AdamW {
        /// The part of the mean gradient that stays in a step.
        beta1: f64,
        /// The part of the mean square that stays.
        beta2: f64,
        /// Added to the root of the mean square.
        eps: f64,
    },
    /// Layer-wise adaptive rates (You, Gitman and Ginsburg 2017), of the weights of
    /// convolutions and linear layers.
    Lars {
        /// The rate is this times the norm of the weights over that of the gradient.
        trust: f64,
        /// Added to the norm of the gradient.
        eps: f64,
    },
}

/// Everything about the end of a step that is the same in all steps. The default is SGD.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct UpdateRule {
    /// How parameters follow from gradients.
    pub optimizer: Optimizer,
    /// The largest norm of all gradients together, without weight decay; `None`: any.
    pub clip: Option<f64>,
    /// The part of the moving average of parameters and running states that stays in a
    /// step; `None`: there is no average.
    pub average: Option<f64>,
}

impl UpdateRule {
    /// Whether it needs the norm of all gradients, or of each tensor.
    pub fn needs_norms(&self) -> bool {
        self.clip.is_some() || matches!(self.optimizer, Optimizer::Lars { .. })
    }
}

impl Optimizer {
    /// `1 / (1 − βᵗ)` of the first and the second moment for the update number `t`,
    /// from 1.
    pub fn unbias(&self, t: u32) -> [f64; 2] {
        match self {
            Optimizer::AdamW { beta1, beta2, .. } => [beta1, beta2].map(|beta| 1.0 / (1.0 - beta.powf(t.into()))),
            _ => [1.0; 2],
        }
    }
}

/// Where an update finds what it reads and writes, beside [`Operand::Step`] and
/// [`Operand::LossScale`]: inputs by these numbers.
pub mod operand {
    use super::Operand;

    /// All parameters.
    pub const PARAMS: Operand = Operand::Input(0);
    /// Their gradients.
    pub const GRADS: Operand = Operand::Input(1);
    /// Their momenta, or first moments.
    pub const MOMENTA: Operand = Operand::Input(2);
    /// Second moments.
    pub const SECOND: Operand = Operand::Input(3);
    /// The segments of the tensors.
    pub const SEGMENTS: Operand = Operand::Input(4);
    /// The sums of squares of each segment.
    pub const SQUARES: Operand = Operand::Input(5);
    /// The norm of all gradients, and the factor that limits it.
    pub const NORM: Operand = Operand::Input(6);
}

/// Updates all parameters, whose arena has `bytes`, by `rule`. Weight decay acts on the
/// first `decayed` bytes. Where `scaled`, gradients are divided by the loss scale, and a
/// step that overflowed changes nothing. The moving average is not part of it
/// ([`average`]).
pub fn update(
    rule: &UpdateRule,
    bytes: u64,
    decayed: u64,
    segments: &Segments,
    scaled: bool,
    target: &Target,
) -> Vec<Call> {
    let mut calls = Vec::new();
    if rule.needs_norms() {
        let with_params = matches!(rule.optimizer, Optimizer::Lars { .. });
        calls.extend(squares(bytes, segments, with_params, target));
    }
    if let Some(limit) = rule.clip {
        let constants = vec![
            ("LIMIT", (limit as f32).into()),
            ("SCALED", scaled.into()),
            ("WG", WORKGROUP_SIZE.into()),
        ];
        let call = Call::new("norms", "clip", constants)
            .bind(4, operand::SQUARES, 8 * segments.all.len() as u64)
            .bind(5, operand::NORM, NORM_BYTES)
            .bind(6, Operand::LossScale, LOSS_SCALE_BYTES);
        calls.push(call);
    }
    let clipped = rule.clip.is_some();
    calls.extend(match rule.optimizer {
        Optimizer::Sgd => sgd(bytes, decayed, clipped, scaled, target),
        Optimizer::AdamW { beta1, beta2, eps } => {
            let constants = vec![
                ("DECAYED", ((decayed / 16) as u32).into()),
                ("BETA1", (beta1 as f32).into()),
                ("BETA2", (beta2 as f32).into()),
                ("NEW1", ((1.0 - beta1) as f32).into()),
                ("NEW2", ((1.0 - beta2) as f32).into()),
                ("EPS", (eps as f32).into()),
                ("CLIPPED", clipped.into()),
                ("SCALED", scaled.into()),
                ("WG", WORKGROUP_SIZE.into()),
            ];
            let [params, grads, momenta] = ARENAS;
            let arenas = [params, grads, momenta, (6, operand::SECOND)];
            by_elements("adamw", &constants, &arenas, bytes, target)
        }
        Optimizer::Lars { trust, eps } => {
            let constants = vec![
                ("TRUST", (trust as f32).into()),
                ("EPS", (eps as f32).into()),
                ("CLIPPED", clipped.into()),
                ("SCALED", scaled.into()),
                ("WG", WORKGROUP_SIZE.into()),
            ];
            lars(&constants, bytes, segments, target)
        }
    });
    calls
}

/// The bindings of the arenas that every update has.
const ARENAS: [(u32, Operand); 3] = [(0, operand::PARAMS), (1, operand::GRADS), (2, operand::MOMENTA)];

type Constants = [(&'static str, super::Value)];

/// As [`update`] by SGD, after the norm was computed where gradients are `clipped`.
pub fn sgd(bytes: u64, decayed: u64, clipped: bool, scaled: bool, target: &Target) -> Vec<Call> {
    let constants = [
        ("DECAYED", ((decayed / 16) as u32).into()),
        ("CLIPPED", clipped.into()),
        ("SCALED", scaled.into()),
        ("WG", WORKGROUP_SIZE.into()),
    ];
    by_elements("sgd", &constants, &ARENAS, bytes, target)
}

/// A dispatch of `file` for each part of the arenas, which are at the bindings `arenas`.
fn by_elements(
    file: &'static str,
    constants: &Constants,
    arenas: &[(u32, Operand)],
    bytes: u64,
    target: &Target,
) -> Vec<Call> {
    let calls = arena_parts(bytes, target).map(|(offset, size)| {
        let first = [("FIRST", ((offset / 16) as u32).into())];
        let mut call = Call::new(file, "update", [&first, constants].concat());
        for &(binding, arena) in arenas {
            call = call.bind(binding, arena, size);
        }
        call.args.iter_mut().for_each(|arg| arg.offset = offset);
        call.bind(3, Operand::Step, STEP_BYTES)
            .bind(4, Operand::LossScale, LOSS_SCALE_BYTES)
            .bind(5, operand::NORM, NORM_BYTES)
            .over((size / 16) as usize, WORKGROUP_SIZE, target)
    });
    calls.collect()
}

fn lars(constants: &Constants, bytes: u64, segments: &Segments, target: &Target) -> Vec<Call> {
    let sizes = (SEGMENT_BYTES * segments.all.len() as u64, 8 * segments.all.len() as u64);
    by_segments(bytes, segments, target, |first, end, offset, size| {
        let range = [("FIRST", first.into()), ("END", end.into())];
        let mut call = Call::new("lars", "update", [&range, constants].concat())
            .bind(0, operand::PARAMS, size)
            .bind(1, operand::GRADS, size)
            .bind(2, operand::MOMENTA, size)
            .bind(3, Operand::Step, STEP_BYTES)
            .bind(4, Operand::LossScale, LOSS_SCALE_BYTES)
            .bind(5, operand::NORM, NORM_BYTES)
            .bind(6, operand::SEGMENTS, sizes.0)
            .bind(7, operand::SQUARES, sizes.1);
        call.args[..3].iter_mut().for_each(|arg| arg.offset = offset);
        call
    })
}

/// The sums of squares of every segment, of gradients and perhaps of parameters.
fn squares(bytes: u64, segments: &Segments, with_params: bool, target: &Target) -> Vec<Call> {
    let count = segments.all.len() as u64;
    by_segments(bytes, segments, target, |first, end, offset, size| {
        let constants = vec![
            ("FIRST", first.into()),
            ("END", end.into()),
            ("WITH_PARAMS", with_params.into()),
            ("WG", WORKGROUP_SIZE.into()),
        ];
        let mut call = Call::new("norms", "squares", constants)
            .bind(0, operand::PARAMS, size)
            .bind(1, operand::GRADS, size)
            .bind(2, operand::SEGMENTS, SEGMENT_BYTES * count)
            .bind(3, operand::SQUARES, 8 * count);
        call.args[..2].iter_mut().for_each(|arg| arg.offset = offset);
        call
    })
}

/// A dispatch for each part of the arenas with a workgroup for each of its segments.
/// `call` gets the first segment, the one after the last, and the part's first byte and
/// size.
fn by_segments(
    bytes: u64,
    segments: &Segments,
    target: &Target,
    call: impl Fn(usize, usize, u64, u64) -> Call,
) -> Vec<Call> {
    let parts = arena_parts(bytes, target).zip(&segments.parts);
    let filled = parts.filter(|(_, range)| !range.is_empty());
    let calls =
        filled.map(|((offset, size), range)| call(range.start, range.end, offset, size).over(range.len(), 1, target));
    calls.collect()
}

/// Adds to a moving average, of which the part `decay` stays. Inputs: values and their
/// averages, `bytes` each.
pub fn average(decay: f64, bytes: u64, target: &Target) -> Vec<Call> {
    let constants = [
        ("DECAY", (decay as f32).into()),
        ("NEW", ((1.0 - decay) as f32).into()),
        ("WG", WORKGROUP_SIZE.into()),
    ];
    of_arenas("average", &constants, [0, 1], bytes, target)
}

/// Exchanges inputs 0 and 1, `bytes` each.
pub fn exchange(bytes: u64, target: &Target) -> Vec<Call> {
    of_arenas("exchange", &[("WG", WORKGROUP_SIZE.into())], [2, 1], bytes, target)
}

fn of_arenas(entry: &'static str, constants: &Constants, bindings: [u32; 2], bytes: u64, target: &Target) -> Vec<Call> {
    let calls = arena_parts(bytes, target).map(|(offset, size)| {
        let mut call = Call::new("average", entry, constants.to_vec())
            .bind(bindings[0], Operand::Input(0), size)
            .bind(bindings[1], Operand::Input(1), size)
            .over((size / 16) as usize, WORKGROUP_SIZE, target);
        call.args.iter_mut().for_each(|arg| arg.offset = offset);
        call
    });
    calls.collect()
}
