//! Where do random numbers come from? From a counter, not from a state.
//!
//! Philox4x32-10 (Salmon, Moraes, Dror & Shaw, "Parallel random numbers: as
//! easy as 1, 2, 3", SC 2011) turns a 128-bit counter and a 64-bit key into
//! 128 random bits. A draw depends on its counter only: the GPU draws a dropout
//! mask again in the backward pass instead of storing it, and a resumed run
//! draws the same numbers as an uninterrupted one.
//!
//! The key is the run's seed. The counter has four words:
//!
//! | word | meaning |
//! |---|---|
//! | 0 | element: the index of a value in a tensor, or of a draw in a sequence |
//! | 1 | step: the training step or epoch, its low 32 bits |
//! | 2 | index: the layer, parameter, block or image |
//! | 3 | stream: the purpose, a [`Stream`] |
//!
//! The last word separates purposes: two of them never have a draw in common,
//! whatever the other words are.

use std::f64::consts::TAU;

/// The purpose of random numbers: the last word of the counter.
///
/// Shaders use the same numbers. New ones may be added. Existing ones never
/// change: runs would not be reproducible.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Stream {
    /// Initial weights; index: the parameter.
    Init = 1,
    /// The order of the images in an epoch; step: the epoch.
    Shuffle = 2,
    /// Crops and flips; step: the epoch, index: the position in the epoch.
    Augment = 3,
    /// Dropout masks; index: the layer, element: the activation.
    Dropout = 4,
    /// Which blocks run in a training step; index: the block.
    StochasticDepth = 5,
    /// The built-in data set; step: the split, index: the image.
    Synthetic = 6,
    /// Random choices of studies: blocks to delete, paths; index: the trial.
    Study = 7,
    /// Inputs on which kernels are timed; index: the input.
    Tuning = 8,
    /// Numbers with which a device is tested when it is opened.
    Proof = 9,
    /// Networks and inputs on which kernels are examined; step: the network, index: the
    /// value.
    Doctor = 10,
    /// How the images of a training step are mixed; step: the training step.
    Mix = 11,
    /// The place of the square that is cut out of an image; step: the training step,
    /// index: the position in the batch.
    Cutout = 12,
    /// Which training images are held out.
    Validation = 13,
    /// Operations that change whole images; step: the epoch, index: the position in the
    /// epoch.
    Distortion = 14,
}

const MULTIPLIERS: [u32; 2] = [0xD251_1F53, 0xCD9E_8D57];
const WEYL: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];
const ROUNDS: usize = 10;

/// The Philox4x32-10 generator with one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Philox {
    key: [u32; 2],
}

impl Philox {
    /// The generator of a run with this seed.
    pub fn new(seed: u64) -> Self {
        Self {
            key: [seed as u32, (seed >> 32) as u32],
        }
    }

    /// The four random words of `counter` (element, step, index, stream).
    pub fn block(&self, counter: [u32; 4]) -> [u32; 4] {
        let mut words = counter;
        let mut key = self.key;
        for _ in 0..ROUNDS {
            words = round(words, key);
            key[0] = key[0].wrapping_add(WEYL[0]);
            key[1] = key[1].wrapping_add(WEYL[1]);
        }
        words
    }

    /// A sequence of draws: the words of elements 0, 1, 2, … with the given
    /// stream, step and index.
    pub fn draws(&self, stream: Stream, step: u32, index: u32) -> Draws {
        Draws {
            philox: *self,
            counter: [0, step, index, stream as u32],
            words: [0; 4],
            used: 4,
        }
    }
}

fn round(words: [u32; 4], key: [u32; 2]) -> [u32; 4] {
    let first = u64::from(MULTIPLIERS[0]) * u64::from(words[0]);
    let second = u64::from(MULTIPLIERS[1]) * u64::from(words[2]);
    let high = |product: u64| (product >> 32) as u32;
    [
        high(second) ^ words[1] ^ key[0],
        second as u32,
        high(first) ^ words[3] ^ key[1],
        first as u32,
    ]
}

/// A sequence of draws, from [`Philox::draws`].
#[derive(Clone, Debug)]
pub struct Draws {
    philox: Philox,
    counter: [u32; 4],
    words: [u32; 4],
    used: usize,
}

impl Draws {
    /// The next 32 random bits.
    pub fn word(&mut self) -> u32 {
        if self.used == self.words.len() {
            self.words = self.philox.block(self.counter);
            self.counter[0] = self.counter[0].wrapping_add(1);
            self.used = 0;
        }
        let word = self.words[self.used];
        self.used += 1;
        word
    }

    /// A number in [0, 1).
    pub fn unit(&mut self) -> f32 {
        unit(self.word())
    }

    /// A number in [`low`, `high`).
    pub fn between(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * self.unit()
    }

    /// True with probability ½.
    pub fn coin(&mut self) -> bool {
        self.word() >> 31 == 1
    }

    /// Chooses `count` of `items` at random and moves them to the front, in
    /// random order: a partial Fisher–Yates shuffle.
    pub fn choose<T>(&mut self, items: &mut [T], count: usize) {
        for place in 0..count.min(items.len()) {
            let other = place + self.below((items.len() - place) as u32) as usize;
            items.swap(place, other);
        }
    }

    /// An integer in 0..`n`, uniformly distributed; 0 if `n` is 0.
    ///
    /// Multiply-high with rejection: Lemire, "Fast random integer generation
    /// in an interval", TOMACS 2019.
    pub fn below(&mut self, n: u32) -> u32 {
        if n == 0 {
            return 0;
        }
        let biased = n.wrapping_neg() % n;
        loop {
            let product = u64::from(self.word()) * u64::from(n);
            if product as u32 >= biased {
                return (product >> 32) as u32;
            }
        }
    }

    /// Two independent standard normal numbers.
    pub fn normals(&mut self) -> [f64; 2] {
        normals(self.word(), self.word())
    }
}

/// A number in [0, 1) from a random word: its upper 24 bits, as an f32 would
/// round more of them up to 1.
pub fn unit(word: u32) -> f32 {
    const STEP: f32 = 1.0 / (1 << 24) as f32;
    (word >> 8) as f32 * STEP
}

/// Two independent standard normal numbers from two random words, by the
/// transform of Box and Muller (1958). In f64, so that values up to 6.6 occur.
pub fn normals(first: u32, second: u32) -> [f64; 2] {
    const WORDS: f64 = 4_294_967_296.0;
    // In (0, 1], so that the logarithm is finite.
    let open = (f64::from(first) + 1.0) / WORDS;
    let radius = (-2.0 * open.ln()).sqrt();
    let (sin, cos) = (TAU * f64::from(second) / WORDS).sin_cos();
    [radius * cos, radius * sin]
}

/// The numbers 0..`n` in the random order of an epoch (Fisher–Yates shuffle).
pub fn permutation(n: u32, seed: u64, epoch: u32) -> Vec<u32> {
    let mut draws = Philox::new(seed).draws(Stream::Shuffle, epoch, 0);
    let mut order: Vec<u32> = (0..n).collect();
    for last in (1..n).rev() {
        let chosen = draws.below(last + 1);
        order.swap(last as usize, chosen as usize);
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_as_random123_does() {
        let zeros = Philox { key: [0; 2] }.block([0; 4]);
        assert_eq!(zeros, [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        let ones = Philox { key: [u32::MAX; 2] }.block([u32::MAX; 4]);
        assert_eq!(ones, [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]);
        let pi = Philox {
            key: [0xa409_3822, 0x299f_31d0],
        }
        .block([0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344]);
        assert_eq!(pi, [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]);
    }

    #[test]
    fn seed_fills_both_words_of_the_key() {
        assert_eq!(Philox::new(0x299f_31d0_a409_3822).key, [0xa409_3822, 0x299f_31d0]);
    }

    #[test]
    fn draws_walk_through_the_blocks() {
        let philox = Philox::new(7);
        let mut draws = philox.draws(Stream::Study, 3, 5);
        let words: Vec<u32> = (0..8).map(|_| draws.word()).collect();
        assert_eq!(words[..4], philox.block([0, 3, 5, Stream::Study as u32]));
        assert_eq!(words[4..], philox.block([1, 3, 5, Stream::Study as u32]));
    }

    #[test]
    fn unit_stays_below_one() {
        assert_eq!(unit(0), 0.0);
        assert!(unit(u32::MAX) < 1.0);
        assert_eq!(unit(1 << 31), 0.5);
    }

    #[test]
    fn below_reaches_every_number_equally() {
        let mut draws = Philox::new(1).draws(Stream::Study, 0, 0);
        let mut counts = [0u32; 9];
        for _ in 0..90_000 {
            counts[draws.below(9) as usize] += 1;
        }
        // Five standard deviations of a binomial count of mean 10,000.
        assert!(counts.iter().all(|count| count.abs_diff(10_000) < 475));
        assert_eq!(draws.below(0), 0);
        assert_eq!(draws.below(1), 0);
    }

    #[test]
    fn normals_have_the_moments_of_a_normal() {
        let mut draws = Philox::new(2).draws(Stream::Init, 0, 0);
        let values: Vec<f64> = (0..50_000).flat_map(|_| draws.normals()).collect();
        let moment = |power| values.iter().map(|v| v.powi(power)).sum::<f64>() / 1e5;
        assert!(moment(1).abs() < 0.02);
        assert!((moment(2) - 1.0).abs() < 0.03);
        assert!((moment(4) - 3.0).abs() < 0.2);
        assert!(normals(0, 0)[0].is_finite());
    }

    #[test]
    fn permutation_holds_every_number_once_and_differs_by_epoch() {
        let first = permutation(1000, 9, 0);
        let mut sorted = first.clone();
        sorted.sort_unstable();
        assert!(sorted.into_iter().eq(0..1000));
        assert_eq!(first, permutation(1000, 9, 0));
        assert_ne!(first, permutation(1000, 9, 1));
        assert_ne!(first, permutation(1000, 10, 0));
        assert!(permutation(0, 9, 0).is_empty());
    }
}
