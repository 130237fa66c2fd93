//! How many images does a network get wrong that are corrupted?
//!
//! The mean corruption error of Hendrycks and Dietterich 2019 (arXiv:1903.12261):
//! the error of each corruption is the mean over its five severities, and the mean
//! corruption error the mean over corruptions. Relative to a baseline, the error of
//! each corruption is divided by that of the baseline before the mean is taken.

mod baseline;
mod report;

use std::collections::BTreeSet;

pub use baseline::Baseline;
use serde_json::{Value, json};

use super::statistics::{mean, wilson};

/// The corruptions that the mean corruption error is the mean of, in the order of
/// the paper. CIFAR-10-C has four more, which were published for choosing settings.
pub const CORRUPTIONS: [&str; 15] = [
    "gaussian_noise",
    "shot_noise",
    "impulse_noise",
    "defocus_blur",
    "glass_blur",
    "motion_blur",
    "zoom_blur",
    "snow",
    "frost",
    "fog",
    "brightness",
    "contrast",
    "elastic_transform",
    "pixelate",
    "jpeg_compression",
];

/// What was found for one corruption at one severity.
#[derive(Debug, Clone, PartialEq)]
pub struct SeverityError {
    /// The severity, from 1 to 5.
    pub severity: usize,
    /// Number of images.
    pub images: usize,
    /// Images that are not classified correctly.
    pub wrong: usize,
    /// Mean loss, nats.
    pub loss: f64,
}

impl SeverityError {
    /// The part of the images that is wrong.
    pub fn error(&self) -> f64 {
        self.wrong as f64 / self.images.max(1) as f64
    }
}

/// What was found for one corruption.
#[derive(Debug, Clone, PartialEq)]
pub struct CorruptionErrors {
    /// Its name: `fog`.
    pub corruption: String,
    /// Whether the mean corruption error counts it.
    pub counted: bool,
    /// Its error at each severity that was evaluated.
    pub severities: Vec<SeverityError>,
    /// Its error divided by that of the baseline, where there is one.
    pub relative: Option<f64>,
}

impl CorruptionErrors {
    /// The mean over severities.
    pub fn mean(&self) -> f64 {
        mean(&self.severities.iter().map(SeverityError::error).collect::<Vec<_>>())
    }
}

/// How a network classifies corrupted images.
#[derive(Debug, Clone, PartialEq)]
pub struct RobustnessFindings {
    /// The network.
    pub label: String,
    /// The corruptions, those of the paper first and in its order.
    pub corruptions: Vec<CorruptionErrors>,
    /// What the errors are compared with.
    pub baseline: Option<Baseline>,
}

impl RobustnessFindings {
    /// From the errors of each corruption at each severity, in any order.
    pub fn new(label: String, errors: Vec<(String, SeverityError)>) -> Self {
        let mut corruptions: Vec<CorruptionErrors> = Vec::new();
        for (name, error) in errors {
            match corruptions.iter_mut().find(|known| known.corruption == name) {
                Some(known) => known.severities.push(error),
                None => corruptions.push(CorruptionErrors {
                    corruption: name,
                    counted: false,
                    severities: vec![error],
                    relative: None,
                }),
            }
        }
        let place = |name: &str| CORRUPTIONS.iter().position(|known| *known == name);
        corruptions.sort_by_key(|one| {
            (
                place(&one.corruption).unwrap_or(CORRUPTIONS.len()),
                one.corruption.clone(),
            )
        });
        // Of a folder with other corruptions alone, those are the mean.
        let is_known = corruptions.iter().any(|one| place(&one.corruption).is_some());
        for one in &mut corruptions {
            one.counted = !is_known || place(&one.corruption).is_some();
            one.severities.sort_by_key(|error| error.severity);
        }
        RobustnessFindings {
            label,
            corruptions,
            baseline: None,
        }
    }

    /// Compares with `baseline`.
    ///
    /// # Errors
    /// Where it lacks a corruption or severity, or has no error there.
    pub fn compare(&mut self, baseline: Baseline) -> Result<(), super::StudyError> {
        for one in &mut self.corruptions {
            let severities: Vec<usize> = one.severities.iter().map(|error| error.severity).collect();
            one.relative = Some(one.mean() / baseline.mean_of(&one.corruption, &severities)?);
        }
        self.baseline = Some(baseline);
        Ok(())
    }

    fn counted(&self) -> impl Iterator<Item = &CorruptionErrors> {
        self.corruptions.iter().filter(|one| one.counted)
    }

    /// The mean corruption error, a fraction.
    pub fn mean_error(&self) -> f64 {
        mean(&self.counted().map(CorruptionErrors::mean).collect::<Vec<_>>())
    }

    /// The mean of the errors relative to the baseline, a fraction; `None` without
    /// one.
    pub fn relative_error(&self) -> Option<f64> {
        let relative: Option<Vec<f64>> = self.counted().map(|one| one.relative).collect();
        relative
            .map(|relative| mean(&relative))
            .filter(|_| self.baseline.is_some())
    }

    /// The severities that occur.
    fn severities(&self) -> Vec<usize> {
        let all = self.corruptions.iter().flat_map(|one| &one.severities);
        let all: BTreeSet<usize> = all.map(|error| error.severity).collect();
        all.into_iter().collect()
    }

    /// The mean over the counted corruptions at one severity.
    fn mean_at(&self, severity: usize) -> f64 {
        let errors = self.counted().flat_map(|one| &one.severities);
        let errors = errors.filter(|error| error.severity == severity);
        mean(&errors.map(SeverityError::error).collect::<Vec<_>>())
    }

    /// Whether the mean is that of the paper: of its 15 corruptions at five
    /// severities.
    pub fn is_whole(&self) -> bool {
        let counted = self.counted().count();
        counted == CORRUPTIONS.len()
            && self.corruptions.iter().any(|one| one.corruption == CORRUPTIONS[0])
            && self.counted().all(|one| one.severities.len() == 5)
    }

    /// The results as fields of a JSON object.
    pub fn json(&self) -> Value {
        let severity = |error: &SeverityError| {
            let mut value = json!({
                "severity": error.severity,
                "images": error.images,
                "wrong": error.wrong,
                "error": error.error(),
                "interval": wilson(error.wrong, error.images),
            });
            if error.loss.is_finite() {
                value["loss"] = error.loss.into();
            }
            value
        };
        let corruption = |one: &CorruptionErrors| {
            let mut value = json!({
                "corruption": one.corruption,
                "counted": one.counted,
                "error": one.mean(),
                "severities": one.severities.iter().map(severity).collect::<Vec<_>>(),
            });
            if let Some(relative) = one.relative {
                value["relative_error"] = relative.into();
            }
            value
        };
        let mut value = json!({
            "mean_corruption_error": self.mean_error(),
            "corruptions": self.corruptions.iter().map(corruption).collect::<Vec<_>>(),
        });
        if let (Some(relative), Some(baseline)) = (self.relative_error(), &self.baseline) {
            value["relative_mean_corruption_error"] = relative.into();
            value["baseline"] = baseline.name.clone().into();
        }
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(names: &[&str]) -> RobustnessFindings {
        let errors = names.iter().enumerate().flat_map(|(at, name)| {
            (1..=5).rev().map(move |severity| {
                let error = SeverityError {
                    severity,
                    images: 100,
                    wrong: 10 * at + severity,
                    loss: 1.0,
                };
                (name.to_string(), error)
            })
        });
        RobustnessFindings::new("net".to_string(), errors.collect())
    }

    #[test]
    fn the_mean_is_over_severities_and_the_corruptions_of_the_paper() {
        let found = findings(&["spatter", "fog", "gaussian_noise"]);
        let order: Vec<&str> = found.corruptions.iter().map(|one| &one.corruption[..]).collect();
        assert_eq!(order, ["gaussian_noise", "fog", "spatter"]);
        assert_eq!(
            found.corruptions.iter().map(|one| one.counted).collect::<Vec<_>>(),
            [true, true, false]
        );
        assert_eq!(found.corruptions[0].severities[0].wrong, 21, "severities are in order");
        // The means are 0.03, 0.13 and 0.23; spatter is not counted.
        assert!((found.mean_error() - 0.18).abs() < 1e-12);
        assert!((found.mean_at(5) - 0.2).abs() < 1e-12);
        assert!(!found.is_whole() && findings(&CORRUPTIONS).is_whole());
        let own = findings(&["rain", "dust"]);
        assert!(
            (own.mean_error() - 0.08).abs() < 1e-12,
            "without known ones, all are counted"
        );
        assert_eq!(found.relative_error(), None);
    }

    #[test]
    fn each_corruption_is_divided_by_that_of_the_baseline() {
        let mut found = findings(&["fog", "snow"]);
        let baseline = |text: &str| Baseline::parse("base", text).unwrap();
        // Five severities of 0.5 for fog (0.03 here), and of 0.26 for snow (0.13).
        let of = |name: &str, error: f64| {
            let severities: Vec<Value> = (1..=5).map(|at| json!({"severity": at, "error": error})).collect();
            json!({"corruption": name, "severities": severities})
        };
        let text = json!({"corruptions": [of("fog", 0.5), of("snow", 0.26)]}).to_string();
        found.compare(baseline(&text)).unwrap();
        assert!((found.relative_error().unwrap() - (0.06 + 0.5) / 2.0).abs() < 1e-12);
        assert!(found.json()["relative_mean_corruption_error"].is_number());
        let one = json!({"corruptions": [of("fog", 0.5)]}).to_string();
        let error = found.compare(baseline(&one)).unwrap_err().to_string();
        assert!(error.contains("snow") && error.contains("base"), "{error}");
        let none = json!({"corruptions": [of("fog", 0.5), of("snow", 0.0)]}).to_string();
        let error = found.compare(baseline(&none)).unwrap_err().to_string();
        assert!(error.contains("no error"), "{error}");
        for text in ["", "{}", "{\"corruptions\": [{}]}", "[1]", "{\"corruptions\": []}"] {
            let error = Baseline::parse("base", text).unwrap_err().to_string();
            assert!(error.starts_with("base: ") && !error.contains('\n'), "{error}");
        }
    }

    #[test]
    fn the_report_says_which_corruptions_are_missing() {
        let some = findings(&["fog", "snow"]).finding();
        assert!(some.contains("2 of the 15 corruptions"), "{some}");
        let all = findings(&CORRUPTIONS).finding();
        assert!(!all.contains(" of the 15"), "{all}");
    }
}
