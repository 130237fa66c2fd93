//! How well do a network's logits classify images?
//!
//! Pure functions of logits and labels: the predicted class, the rank of the
//! true class, softmax probabilities, the confusion matrix, errors by class,
//! and the expected calibration error (Guo et al. 2017, arXiv:1706.04599).
//!
//! Ties and NaN. The predicted class is the first of the largest logits, as in
//! `shaders/loss.wgsl`: the first NaN wins, as in PyTorch's `argmax`. An image whose
//! loss is not finite is wrong, whatever its label. Of equal logits the class with the smaller index has the better rank;
//! PyTorch's `topk` leaves their order open. A NaN ranks before every number,
//! as in `topk`, except that the true class ranks last if its own logit is
//! NaN, and that rank 0 always means "predicted".

use serde::Serialize;

/// The number of bins of the expected calibration error, as in the paper.
pub const CALIBRATION_BINS: usize = 15;
/// Top-5 error is defined for networks with more classes than this.
pub const TOP5: usize = 5;

/// How one image was classified.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ImageResult {
    /// Cross-entropy, nats.
    pub loss: f32,
    /// The number of classes that come before the true one: 0 where the
    /// predicted class is right, less than 5 where the true class is among the
    /// five most probable.
    pub rank: u32,
    /// The class with the largest logit.
    pub predicted: u32,
}

impl ImageResult {
    /// The result of one image: its loss and error (0 or 1) as the engine
    /// computed them, and its logits, one for each class.
    pub fn new([loss, error]: [f32; 2], logits: &[f32], label: u32) -> Self {
        let wrong = error > 0.5;
        ImageResult {
            loss,
            rank: if wrong { rank(logits, label).max(1) } else { 0 },
            predicted: if wrong { predicted(logits) } else { label },
        }
    }

    /// Whether the predicted class is not the true one.
    pub fn is_wrong(&self) -> bool {
        self.rank > 0
    }

    /// Whether the true class is not among the five most probable.
    pub fn is_top5_wrong(&self) -> bool {
        self.rank >= TOP5 as u32
    }
}

/// The class that `logits` predict: the first NaN, or the first of the largest.
pub fn predicted(logits: &[f32]) -> u32 {
    let mut best = 0;
    for (class, logit) in logits.iter().enumerate() {
        if *logit > logits[best] || logit.is_nan() && !logits[best].is_nan() {
            best = class;
        }
    }
    best as u32
}

/// The number of classes that come before the class `label`.
pub fn rank(logits: &[f32], label: u32) -> u32 {
    let label = label as usize;
    if predicted(logits) as usize == label {
        return 0;
    }
    let Some(&own) = logits.get(label) else {
        return logits.len() as u32;
    };
    let before = |(class, &logit): (usize, &f32)| {
        class != label && (own.is_nan() || logit.is_nan() || logit > own || (logit == own && class < label))
    };
    let before = logits.iter().enumerate().filter(|&pair| before(pair)).count();
    before.max(1) as u32
}

/// The softmax of the logits of one image. NaN where a logit is NaN.
pub fn probabilities(logits: &[f32]) -> Vec<f64> {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let exponentials = logits
        .iter()
        .map(|&logit| (f64::from(logit) - f64::from(largest)).exp());
    let exponentials: Vec<f64> = exponentials.collect();
    let sum: f64 = exponentials.iter().sum();
    exponentials.into_iter().map(|value| value / sum).collect()
}

/// Predictions of one range of confidence.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct CalibrationBin {
    /// Images whose predicted probability lies in the bin.
    pub images: usize,
    /// Those of them that were classified right.
    pub right: usize,
    /// The sum of their predicted probabilities.
    pub confidence: f64,
}

/// How often predictions of a given confidence are right (Guo et al. 2017).
///
/// Bin m of M holds the images whose predicted probability lies in
/// ((m − 1)/M, m/M].
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Calibration {
    /// The bins, those with the least confidence first.
    pub bins: Vec<CalibrationBin>,
}

impl Calibration {
    /// Without any images, in `bins` bins.
    pub fn new(bins: usize) -> Self {
        Calibration {
            bins: vec![CalibrationBin::default(); bins],
        }
    }

    /// Counts one image: the probability of the predicted class, and whether
    /// that class is right. A NaN counts in the lowest bin, with confidence 0.
    pub fn add(&mut self, probability: f64, right: bool) {
        let count = self.bins.len();
        let bin = ((probability * count as f64).ceil() as usize).clamp(1, count) - 1;
        self.bins[bin].images += 1;
        self.bins[bin].right += usize::from(right);
        self.bins[bin].confidence += if probability.is_nan() { 0.0 } else { probability };
    }

    /// The expected calibration error, from 0 to 1: the mean over all images
    /// of |accuracy − mean confidence| of their bin. 0 without images.
    pub fn error(&self) -> f64 {
        let images: usize = self.bins.iter().map(|bin| bin.images).sum();
        let gaps = self.bins.iter().map(|bin| (bin.right as f64 - bin.confidence).abs());
        gaps.sum::<f64>() / images.max(1) as f64
    }
}

/// How a set of images was classified.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ClassificationReport {
    /// Images.
    pub images: usize,
    /// Images whose true class is not among the five most probable. `None` for
    /// networks with five classes or fewer.
    pub top5_wrong: Option<usize>,
    /// Images by true class (row) and predicted class (column).
    pub confusion: Vec<Vec<usize>>,
    /// Confidence against accuracy.
    pub calibration: Calibration,
}

impl ClassificationReport {
    /// Without any images yet, for a network with `classes` classes.
    pub fn new(classes: usize) -> Self {
        ClassificationReport {
            images: 0,
            top5_wrong: (classes > TOP5).then_some(0),
            confusion: vec![vec![0; classes]; classes],
            calibration: Calibration::new(CALIBRATION_BINS),
        }
    }

    /// Counts one image of class `label` (less than the number of classes)
    /// with the probabilities that [`probabilities`] gives.
    pub fn add(&mut self, result: &ImageResult, probabilities: &[f64], label: u32) {
        self.images += 1;
        self.confusion[label as usize][result.predicted as usize] += 1;
        if let Some(wrong) = &mut self.top5_wrong {
            *wrong += usize::from(result.is_top5_wrong());
        }
        let confidence = probabilities[result.predicted as usize];
        self.calibration.add(confidence, !result.is_wrong());
    }

    /// Images whose predicted class is not the true one.
    pub fn wrong(&self) -> usize {
        (0..self.confusion.len()).map(|class| self.wrong_of(class)).sum()
    }

    /// Images of the class `class`.
    pub fn images_of(&self, class: usize) -> usize {
        self.confusion[class].iter().sum()
    }

    /// Images of the class `class` with another predicted class.
    pub fn wrong_of(&self, class: usize) -> usize {
        self.images_of(class) - self.confusion[class][class]
    }

    /// Images of other classes for which `class` was predicted.
    pub fn taken_for(&self, class: usize) -> usize {
        let predicted: usize = self.confusion.iter().map(|row| row[class]).sum();
        predicted - self.confusion[class][class]
    }

    /// The fraction of images with a wrong top 5, where that is defined.
    pub fn top5_error(&self) -> Option<f64> {
        let images = self.images.max(1) as f64;
        self.top5_wrong.map(|wrong| wrong as f64 / images)
    }

    /// The expected calibration error, from 0 to 1.
    pub fn ece(&self) -> f64 {
        self.calibration.error()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_count_the_classes_before_the_true_one() {
        let logits = [0.5, 2.0, -1.0, 2.0, 0.5, 0.0];
        assert_eq!(predicted(&logits), 1);
        let ranks: Vec<u32> = (0..6).map(|label| rank(&logits, label)).collect();
        assert_eq!(ranks, [2, 0, 5, 1, 3, 4]);
        let result = |label: u32| ImageResult::new([1.0, f32::from(label != 1)], &logits, label);
        assert!(!result(1).is_wrong() && result(3).is_wrong());
        assert!(!result(5).is_top5_wrong() && result(2).is_top5_wrong());
        assert_eq!((result(2).predicted, result(1).predicted), (1, 1));
    }

    #[test]
    fn not_a_number_is_treated_as_the_kernel_treats_it() {
        const NAN: f32 = f32::NAN;
        // The first NaN is the largest, as in PyTorch's `argmax`.
        assert_eq!(predicted(&[NAN, 1.0, NAN]), 0);
        assert_eq!(predicted(&[1.0, NAN, 2.0]), 1);
        assert_eq!(rank(&[1.0, NAN, 2.0], 2), 1);
        assert_eq!(rank(&[1.0, NAN, 2.0], 0), 2);
        assert_eq!(rank(&[1.0, NAN, 2.0], 1), 0);
        // The image is wrong all the same: its loss is not finite.
        assert!(ImageResult::new([NAN, 1.0], &[1.0, NAN, 2.0], 1).is_wrong());
        assert_eq!(rank(&[NAN, NAN, NAN], 0), 0);
        assert_eq!(rank(&[NAN, 1.0, 0.0], 1), 1);
        assert!(probabilities(&[1.0, NAN]).iter().all(|p| p.is_nan()));
        assert_eq!(rank(&[1.0, 2.0], 7), 2);
    }

    #[test]
    fn probabilities_are_the_softmax() {
        let found = probabilities(&[0.0, 3.0_f32.ln(), f32::NEG_INFINITY]);
        for (found, truth) in found.iter().zip([0.25, 0.75, 0.0]) {
            assert!((found - truth).abs() < 1e-7, "{found} is not {truth}");
        }
        let shifted = probabilities(&[1000.0, 1000.0]);
        assert_eq!(shifted, [0.5, 0.5]);
    }

    #[test]
    fn calibration_error_is_the_gap_of_each_bin() {
        let mut calibration = Calibration::new(10);
        // 0.8 belongs to (0.7, 0.8], and 1 and 0 to the outermost bins.
        for (probability, right) in [(0.8, true), (0.75, false), (0.95, true), (1.0, true), (0.0, false)] {
            calibration.add(probability, right);
        }
        let images: Vec<usize> = calibration.bins.iter().map(|bin| bin.images).collect();
        assert_eq!(images, [1, 0, 0, 0, 0, 0, 0, 2, 0, 2]);
        // 2/5 · |1/2 − 0.775| + 2/5 · |1 − 0.975| + 1/5 · |0 − 0|
        let truth = 0.4 * 0.275 + 0.4 * 0.025;
        assert!((calibration.error() - truth).abs() < 1e-12, "{}", calibration.error());
        assert_eq!(Calibration::new(15).error(), 0.0);
        calibration.add(f64::NAN, false);
        assert!(calibration.error().is_finite());
    }

    #[test]
    fn a_report_counts_by_class() {
        let mut report = ClassificationReport::new(3);
        let images: [(u32, [f32; 3]); 4] = [
            (0, [4.0, 0.0, 0.0]),
            (0, [0.0, 4.0, 0.0]),
            (2, [0.0, 4.0, 0.0]),
            (2, [0.0, 0.0, 4.0]),
        ];
        for (label, logits) in images {
            let error = f32::from(predicted(&logits) != label);
            let result = ImageResult::new([0.0, error], &logits, label);
            report.add(&result, &probabilities(&logits), label);
        }
        assert_eq!(report.confusion, [[1, 1, 0], [0, 0, 0], [0, 1, 1]]);
        assert_eq!((report.images, report.wrong(), report.top5_wrong), (4, 2, None));
        assert_eq!([0, 1, 2].map(|class| report.images_of(class)), [2, 0, 2]);
        assert_eq!([0, 1, 2].map(|class| report.wrong_of(class)), [1, 0, 1]);
        assert_eq!([0, 1, 2].map(|class| report.taken_for(class)), [0, 2, 0]);
        // Every image has the confidence e⁴ / (e⁴ + 2); half of them are right.
        let confidence = 4f64.exp() / (4f64.exp() + 2.0);
        assert!((report.ece() - (confidence - 0.5)).abs() < 1e-12);
        assert_eq!(ClassificationReport::new(10).top5_error(), Some(0.0));
    }
}
