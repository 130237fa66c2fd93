//! How are the images of a batch changed and mixed after they are gathered? Also the
//! reference for the device's kernel.

use super::Draw;
use crate::random::{Draws, Philox, Stream};

/// Which changes there are beside crops and flips. The default changes nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Mixing {
    /// α of mixup (Zhang et al. 2018, arXiv:1710.09412); 0 for none.
    pub mixup: f64,
    /// α of CutMix (Yun et al. 2019, arXiv:1905.04899); 0 for none. With mixup, one of
    /// the two is drawn for each batch.
    pub cutmix: f64,
    /// Side of the square that is cut out of every image (DeVries and Taylor 2017,
    /// arXiv:1708.04552), in pixels; 0 for none. What is outside the image is lost.
    pub cutout: u32,
}

/// Which pixels of an image are mixed with those of another one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum MixKind {
    /// All, weighted.
    All,
    /// Those in a rectangle become those of the other image.
    Rectangle {
        /// The first column, and the one after the last.
        across: [u32; 2],
        /// The first row, and the one after the last.
        down: [u32; 2],
    },
}

/// How the images of one batch are mixed: each with the one before it, the first with
/// the last.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mix {
    /// Which pixels.
    pub kind: MixKind,
    /// The part of an image's target that is its own class, and of its pixels where all
    /// are mixed.
    pub keep: f32,
}

impl Mixing {
    /// Whether images are mixed with others.
    pub fn mixes(&self) -> bool {
        self.mixup > 0.0 || self.cutmix > 0.0
    }

    /// How the images, H×W pixels, of the training step `step` are mixed.
    pub fn draw(&self, seed: u64, step: u32, (height, width): (usize, usize)) -> Option<Mix> {
        let mut draws = Philox::new(seed).draws(Stream::Mix, step, 0);
        let is_cutmix = match (self.mixup > 0.0, self.cutmix > 0.0) {
            (false, false) => return None,
            (true, true) => draws.coin(),
            (_, cutmix) => cutmix,
        };
        if !is_cutmix {
            let keep = symmetric_beta(self.mixup, &mut draws) as f32;
            return Some(Mix {
                kind: MixKind::All,
                keep,
            });
        }
        // As in the paper: the rectangle has the shape of the image and the area of
        // the other part, before the image's edges cut it.
        let side = (1.0 - symmetric_beta(self.cutmix, &mut draws)).sqrt();
        let mut range = |size: usize| {
            let centre = draws.below(size as u32);
            let half = (0.5 * side * size as f64) as u32;
            [centre.saturating_sub(half), (centre + half).min(size as u32)]
        };
        let (across, down) = (range(width), range(height));
        let area = f64::from((across[1] - across[0]) * (down[1] - down[0]));
        Some(Mix {
            kind: MixKind::Rectangle { across, down },
            keep: (1.0 - area / (width * height) as f64) as f32,
        })
    }

    /// Cuts a square out of each of the normalised images of a batch, N×C×H×W, of the
    /// training step `step`: its pixels become 0, the mean.
    pub fn cut_out(&self, images: &mut [f32], [channels, height, width]: [usize; 3], seed: u64, step: u32) {
        if self.cutout == 0 {
            return;
        }
        let philox = Philox::new(seed);
        let range = |word: u32, size: usize| {
            let centre = (u64::from(word) * size as u64) >> 32;
            let first = centre as i64 - i64::from(self.cutout / 2);
            first..first + i64::from(self.cutout)
        };
        for (index, image) in (0u32..).zip(images.chunks_mut(channels * height * width)) {
            let words = philox.block([0, step, index, Stream::Cutout as u32]);
            let (rows, columns) = (range(words[0], height), range(words[1], width));
            for (at, pixel) in image.iter_mut().enumerate() {
                let (y, x) = (at / width % height, at % width);
                if rows.contains(&(y as i64)) && columns.contains(&(x as i64)) {
                    *pixel = 0.0;
                }
            }
        }
    }
}

impl Mix {
    /// Mixes the images of a batch, N×C×H×W.
    pub fn apply(&self, images: &mut [f32], [channels, height, width]: [usize; 3]) {
        let image = channels * height * width;
        let before = images.to_vec();
        let others = before[before.len() - image..].iter().chain(&before);
        for (at, (own, other)) in images.iter_mut().zip(others).enumerate() {
            match self.kind {
                MixKind::All => *own = self.keep * *own + (1.0 - self.keep) * other,
                MixKind::Rectangle { across, down } => {
                    let (y, x) = ((at / width % height) as u32, (at % width) as u32);
                    if (across[0]..across[1]).contains(&x) && (down[0]..down[1]).contains(&y) {
                        *own = *other;
                    }
                }
            }
        }
    }
}

/// The soft targets of the images `draws` of a set with these labels: for each its class,
/// the class of the image that is mixed in, and the bits of the share of that.
pub fn soft_targets(labels: &[u32], draws: &[Draw], mix: Option<Mix>) -> Vec<u32> {
    let class = |draw: &Draw| labels[draw.index as usize];
    let last = draws.last();
    let before = last.into_iter().chain(draws);
    let target = |(own, before): (&Draw, &Draw)| match mix {
        Some(mix) => [class(own), class(before), (1.0 - mix.keep).to_bits()],
        None => [class(own), class(own), 0],
    };
    draws.iter().zip(before).flat_map(target).collect()
}

/// A number from the distribution Beta(α, α).
fn symmetric_beta(alpha: f64, draws: &mut Draws) -> f64 {
    let (one, other) = (log_gamma_variate(alpha, draws), log_gamma_variate(alpha, draws));
    1.0 / (1.0 + (other - one).exp())
}

/// The logarithm of a number from the distribution Gamma(α, 1) (Marsaglia and Tsang
/// 2000). For a small α the number itself can be too small for an f64.
fn log_gamma_variate(alpha: f64, draws: &mut Draws) -> f64 {
    // In (0, 1).
    let open = |draws: &mut Draws| (f64::from(draws.word()) + 0.5) / 4_294_967_296.0;
    // Gamma(α) is Gamma(α + 1) · U^(1/α).
    let (shape, factor) = match alpha < 1.0 {
        true => (alpha + 1.0, open(draws).ln() / alpha),
        false => (alpha, 0.0),
    };
    let d = shape - 1.0 / 3.0;
    let c = 1.0 / (9.0 * d).sqrt();
    loop {
        let normal = draws.normals()[0];
        let v = (1.0 + c * normal).powi(3);
        if v > 0.0 && open(draws).ln() < 0.5 * normal * normal + d - d * v + d * v.ln() {
            return (d * v).ln() + factor;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: Mixing = Mixing {
        mixup: 0.2,
        cutmix: 1.0,
        cutout: 0,
    };

    #[test]
    fn betas_have_their_moments() {
        // The variance of Beta(α, α) is 1 / (4 (2α + 1)).
        for alpha in [0.05, 0.2, 1.0, 4.0] {
            let mut draws = Philox::new(5).draws(Stream::Mix, 0, 0);
            let values: Vec<f64> = (0..20_000).map(|_| symmetric_beta(alpha, &mut draws)).collect();
            assert!(values.iter().all(|value| (0.0..=1.0).contains(value)));
            let mean = values.iter().sum::<f64>() / 20_000.0;
            let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / 20_000.0;
            let truth = 0.25 / (2.0 * alpha + 1.0);
            assert!((mean - 0.5).abs() < 0.02, "{alpha}: mean {mean}");
            assert!((variance / truth - 1.0).abs() < 0.05, "{alpha}: variance {variance}");
        }
    }

    #[test]
    fn draws_depend_on_seed_and_step_only_and_both_kinds_come() {
        let kinds = |mixing: Mixing| -> (usize, usize) {
            let mixes: Vec<Mix> = (0..200).filter_map(|step| mixing.draw(3, step, (8, 12))).collect();
            let all = mixes.iter().filter(|mix| mix.kind == MixKind::All).count();
            (all, mixes.len() - all)
        };
        let (all, rectangles) = kinds(BOTH);
        assert!(all > 70 && rectangles > 70, "{all} and {rectangles}");
        assert_eq!(kinds(Mixing { cutmix: 0.0, ..BOTH }), (200, 0));
        assert_eq!(kinds(Mixing { mixup: 0.0, ..BOTH }), (0, 200));
        assert_eq!(kinds(Mixing::default()), (0, 0));
        assert_eq!(BOTH.draw(3, 9, (8, 12)), BOTH.draw(3, 9, (8, 12)));
        assert_ne!(BOTH.draw(3, 9, (8, 12)), BOTH.draw(4, 9, (8, 12)));
    }

    #[test]
    fn a_rectangle_takes_the_share_of_the_target_that_it_has_of_the_image() {
        let mixing = Mixing { mixup: 0.0, ..BOTH };
        for step in 0..50 {
            let mix = mixing.draw(1, step, (6, 10)).unwrap();
            // Image 0 is black, image 1 white.
            let mut images = [vec![0.0_f32; 60], vec![1.0; 60]].concat();
            mix.apply(&mut images, [1, 6, 10]);
            let white = images[..60].iter().sum::<f32>() / 60.0;
            assert!((white - (1.0 - mix.keep)).abs() < 1e-6, "{white} and {}", mix.keep);
            assert!(images[..60].iter().zip(&images[60..]).all(|(a, b)| a + b == 1.0));
        }
    }

    #[test]
    fn squares_are_cut_at_all_places_and_at_the_edges() {
        let mixing = Mixing {
            cutout: 4,
            ..Mixing::default()
        };
        let mut images = vec![1.0_f32; 400 * 2 * 8 * 8];
        mixing.cut_out(&mut images, [2, 8, 8], 1, 2);
        let sizes: Vec<usize> = images
            .chunks(64)
            .map(|plane| plane.iter().filter(|pixel| **pixel == 0.0).count())
            .collect();
        assert!(sizes.chunks(2).all(|planes| planes[0] == planes[1]));
        assert_eq!((sizes.iter().min(), sizes.iter().max()), (Some(&4), Some(&16)));
        let holes = |at: usize| images.chunks(128).filter(|image| image[at] == 0.0).count();
        assert!((0..64).all(|at| holes(at) > 10), "every pixel is cut out sometimes");
    }

    #[test]
    fn targets_name_the_image_before() {
        let draws: Vec<Draw> = [2, 0, 1].map(Draw::unchanged).into();
        let mix = Mix {
            kind: MixKind::All,
            keep: 0.75,
        };
        let share = 0.25_f32.to_bits();
        let mixed = soft_targets(&[5, 6, 7], &draws, Some(mix));
        assert_eq!(mixed, [7, 6, share, 5, 7, share, 6, 5, share]);
        assert_eq!(soft_targets(&[5, 6, 7], &draws[..1], None), [7, 7, 0]);
    }
}
