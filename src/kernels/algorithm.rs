//! Which algorithms solve a piece of work, and which of them is the default?
//!
//! The default algorithm is good on every adapter. An adapter and a shape may
//! have a faster one, which only timing finds.

use std::fmt;
use std::str::FromStr;

use super::call::{Lowered, Target};
use super::text::AlgorithmConfig;
use super::{chunked_sum, conv, linear};

/// Defines [`Algorithm`] as the sum of the configurations of all algorithms.
macro_rules! algorithms {
    ($($(#[$doc:meta])* $name:ident($config:ty),)+) => {
        /// An algorithm for a piece of work, with its parameters. Its text,
        /// such as `direct 8x4x16 wg 32`, is what tuning caches hold.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Algorithm {
            /// One invocation for each output (or for each channel of a sum),
            /// no tiles: slow, and too simple to be wrong.
            Plain,
            $($(#[$doc])* $name($config),)+
        }

        impl fmt::Display for Algorithm {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    Algorithm::Plain => f.write_str("plain"),
                    $(Algorithm::$name(config) => config.fmt(f),)+
                }
            }
        }

        fn parse(words: &[&str]) -> Option<Algorithm> {
            if words == ["plain"] {
                return Some(Algorithm::Plain);
            }
            $(if let Some(config) = <$config>::parse(words) {
                return Some(Algorithm::$name(config));
            })+
            None
        }
    };
}

algorithms! {
    /// Convolution by register tiles.
    Direct(conv::direct::Direct),
    /// Convolution by register tiles that share halos and weights within a
    /// subgroup.
    Subgroup(conv::subgroup::Subgroup),
    /// Depthwise convolution by tiles of one channel.
    Depthwise(conv::depthwise::Depthwise),
    /// Matrix product by tiles in workgroup memory: a convolution, its
    /// gradients, or a linear layer.
    Gemm(conv::gemm::Gemm),
    /// Weight gradient, where each invocation walks down a strip of columns.
    WgradStrips(conv::wgrad_strips::WgradStrips),
    /// Weight gradient, where a subgroup walks down a strip and each lane has
    /// source channels of its own.
    WgradSubgroup(conv::wgrad_subgroup::WgradSubgroup),
    /// Weight gradient of a 3×3 kernel by Winograd's minimal filtering, where
    /// each lane has a source channel of its own.
    WgradWinograd(conv::wgrad_winograd::WgradWinograd),
    /// Linear layer by square register tiles.
    Linear(linear::register_tile::RegisterTile),
    /// Sum over batch and plane in chunks of images.
    Reduce(chunked_sum::ChunkedSum),
}

/// A text that names no algorithm of this version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{}' names no kernel of this version", crate::shown::shown(.0))]
pub struct UnknownAlgorithm(pub String);

impl FromStr for Algorithm {
    type Err = UnknownAlgorithm;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let words: Vec<&str> = text.split(' ').collect();
        parse(&words).ok_or_else(|| UnknownAlgorithm(text.chars().take(60).collect()))
    }
}

/// A piece of work with its shapes, and the algorithms that solve it.
pub trait Problem {
    /// The algorithm that is used where nothing was timed.
    fn default_algorithm(&self, target: &Target) -> Algorithm;

    /// Other algorithms that may be faster, the most promising first.
    fn alternatives(&self, _target: &Target) -> Vec<Algorithm> {
        Vec::new()
    }

    /// The dispatches of `algorithm`; `None` where it does not solve this
    /// problem.
    fn lower(&self, algorithm: &Algorithm, batch: usize, target: &Target) -> Option<Lowered>;
}

/// A problem that one algorithm solves: a function from batch size and target
/// to dispatches. It counts as plain.
pub struct Single<F>(pub F);

impl<F: Fn(usize, &Target) -> Lowered> Problem for Single<F> {
    fn default_algorithm(&self, _target: &Target) -> Algorithm {
        Algorithm::Plain
    }

    fn lower(&self, algorithm: &Algorithm, batch: usize, target: &Target) -> Option<Lowered> {
        (*algorithm == Algorithm::Plain).then(|| (self.0)(batch, target))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_read_back() {
        let texts = [
            "plain",
            "direct 8x4x16 wg 32",
            "direct winograd 4x2x4 channels 2 wg 32",
            "subgroup output-stationary 8x4x16 channels 2 wg 32",
            "subgroup input-stationary 8x4x64 channels 16 wg 8",
            "subgroup winograd 8x4x64 channels 16 wg 32",
            "depthwise 16x4 wg 32",
            "gemm 64x32x8 reg 4x8 buffers 1 splits 1",
            "gemm 64x32x8 reg 4x8 buffers 2 splits 32",
            "wgrad strips 8x8x2 splits 2048 wg 64",
            "wgrad subgroup 8x4x16x2 splits 256 wg 32",
            "wgrad winograd 8x8x4 splits 256",
            "linear 4x4 wg 64",
            "reduce splits 64 wg 32",
        ];
        let mut algorithms: Vec<Algorithm> = Vec::new();
        for text in texts {
            let algorithm: Algorithm = text.parse().unwrap();
            assert_eq!(algorithm.to_string(), text);
            assert!(!algorithms.contains(&algorithm), "{text}");
            algorithms.push(algorithm);
        }
    }

    #[test]
    fn other_texts_name_no_algorithm() {
        for text in [
            "",
            "direct",
            "direct 8x4 wg 32",
            "direct 8x0x4 wg 32",
            "direct 8x4x16 wg 32 ",
            "direct 8x4x16 wg 2000000",
            "subgroup 8x4x16 channels 2 wg 32",
            "depthwise 16x4x4 wg 32",
            "gemm 64x64x8",
            "gemm 64x64x8 reg 4x4 buffers 2",
            "gemm 64x64x8 reg 4x4 splits 32 buffers 2",
            "linear -1x-1 wg 64",
            "linear 4x8 wg 64",
            "directs 8x4x16 wg 32",
            "tile 8x4x16 by 32",
        ] {
            assert!(text.parse::<Algorithm>().is_err(), "{text}");
        }
    }
}
