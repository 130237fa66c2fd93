//! How is an algorithm written as text?
//!
//! Tuning caches hold these texts, and programs show them. A text has a name
//! (that of the algorithm's file, and a variant where there are several), then
//! its tile as sizes joined by `x`, then keys with one value each, always all
//! of them and in this order:
//!
//! | text | tile |
//! |---|---|
//! | `plain` | |
//! | `direct 8x4x16 wg 32` | columns, rows, destination channels |
//! | `direct winograd 4x2x4 channels 2 wg 32` | the same |
//! | `subgroup output-stationary 8x4x16 channels 2 wg 32` | the same |
//! | `subgroup input-stationary 8x4x64 channels 16 wg 8` | the same |
//! | `subgroup winograd 8x4x64 channels 16 wg 8` | the same |
//! | `depthwise 16x4 wg 32` | columns, rows |
//! | `gemm 64x32x16 reg 4x4 buffers 1 splits 1` | rows, columns, depth |
//! | `wgrad strips 8x8x2 splits 2048 wg 32` | columns, output channels, source channels |
//! | `wgrad subgroup 8x4x16x1 splits 256 wg 32` | columns, rows, output channels, source channels of a lane |
//! | `wgrad winograd 16x16x1 splits 128` | columns, rows, images |
//! | `linear 4x4 wg 64` | rows, columns |
//! | `reduce splits 64 wg 64` | |
//!
//! `wg` is the workgroup size, `channels` the number of source channels taken
//! at a time, `reg` the register tile of one invocation, `buffers` the number
//! of tiles in workgroup memory, `splits` the number of parts that a sum is
//! split into.

use std::fmt;

/// The parameters of one algorithm. `Display` writes its text.
pub trait AlgorithmConfig: Copy + fmt::Display {
    /// Reads the parameters from the words of a text; `None` where the text names
    /// another algorithm. They need not fit any problem: [`lower`] checks that.
    ///
    /// [`lower`]: super::algorithm::Problem::lower
    fn parse(words: &[&str]) -> Option<Self>;
}

/// A number of at least 1. No size here is larger than 2²⁰, so that products
/// of sizes fit a `usize`.
pub fn number(text: &str) -> Option<usize> {
    let number = text.parse().ok()?;
    (1..=1 << 20).contains(&number).then_some(number)
}

/// N numbers joined by `x`.
pub fn sizes<const N: usize>(text: &str) -> Option<[usize; N]> {
    let sizes: Option<Vec<usize>> = text.split('x').map(number).collect();
    sizes?.try_into().ok()
}
