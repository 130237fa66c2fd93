//! Which sizes may a network have?
//!
//! Building a graph takes memory before anything is trained. So sizes that are
//! far too large are refused when the name is read.

use std::fmt;

use super::{Architecture, ModelError};

/// The largest depth: number of layers, as a name counts them.
pub(super) const MAX_DEPTH: usize = 10_000;
/// The largest number of channels of a layer.
pub(super) const MAX_CHANNELS: usize = 4096;
/// The longest file that describes a network, in bytes.
pub(super) const MAX_FILE: u64 = 1 << 16;
/// The most stages of a network in a file.
pub(super) const MAX_STAGES: usize = 64;
/// The most convolutions of a block in a file.
pub(super) const MAX_CONVS: usize = 16;
/// The largest kernel height and width in a file.
pub(super) const MAX_KERNEL: usize = 31;
/// The largest stride in a file.
pub(super) const MAX_STRIDE: usize = 16;
/// The largest number of trained scalars: 8 GiB in single precision.
pub(super) const MAX_PARAMETERS: usize = 1 << 31;

/// The depths `step · n + rest`, n ≥ 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Depths {
    /// Number of layers that one more unit in every stage adds.
    pub step: usize,
    /// Number of layers outside the stages.
    pub rest: usize,
}

impl Depths {
    /// The n that gives `depth`; `None` if there is none.
    pub fn units(&self, depth: usize) -> Option<usize> {
        let layers = depth.checked_sub(self.rest)?;
        (layers > 0 && layers.is_multiple_of(self.step)).then_some(layers / self.step)
    }

    /// The largest depth below `depth` and the smallest above it.
    fn neighbours(&self, depth: usize) -> (Option<usize>, usize) {
        let units = depth.saturating_sub(self.rest) / self.step;
        let at = |units| self.step * units + self.rest;
        ((units > 0).then(|| at(units)), at(units + 1))
    }
}

impl fmt::Display for Depths {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self.rest {
            0 => write!(f, "{}n", self.step),
            rest => write!(f, "{}n+{rest}", self.step),
        }
    }
}

/// Refuses a `depth` that none of `rules` gives, or that exceeds
/// [`MAX_DEPTH`].
pub(super) fn check_depth(model: &str, depth: usize, rules: &[Depths]) -> Result<(), ModelError> {
    let model = model.to_string();
    if depth > MAX_DEPTH {
        return Err(ModelError::TooDeep { model });
    }
    if rules.iter().any(|rule| rule.units(depth).is_some()) {
        return Ok(());
    }
    let below = rules.iter().filter_map(|rule| rule.neighbours(depth).0).max();
    let above = rules.iter().map(|rule| rule.neighbours(depth).1).min();
    let formulas: Vec<String> = rules.iter().map(Depths::to_string).collect();
    Err(ModelError::Depth {
        model,
        depth,
        rule: formulas.join(" or "),
        nearest: below
            .into_iter()
            .chain(above.filter(|&depth| depth <= MAX_DEPTH))
            .collect(),
    })
}

/// Refuses a `width` of 0 or more than `most`; `what` names it in the message.
pub(super) fn check_width(model: &str, what: &'static str, width: usize, most: usize) -> Result<(), ModelError> {
    if (1..=most).contains(&width) {
        return Ok(());
    }
    Err(ModelError::Width {
        model: model.to_string(),
        what,
        most,
    })
}

/// Refuses a network with too many parameters: depth and width may be in
/// range, but not their combination.
pub(super) fn check_parameters(model: &dyn Architecture, parameters: usize) -> Result<(), ModelError> {
    if parameters <= MAX_PARAMETERS {
        return Ok(());
    }
    Err(ModelError::TooLarge {
        model: model.name(),
        parameters,
    })
}
