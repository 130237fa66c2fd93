//! Which errors of another network are the errors of corruptions relative to?

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

use crate::files::{TEXT_LIMIT, read_text};
use crate::studies::StudyError;
use crate::studies::statistics::mean;

/// The errors of another network on corrupted images.
#[derive(Debug, Clone, PartialEq)]
pub struct Baseline {
    /// Where they are from.
    pub name: String,
    /// The error of each corruption at each severity.
    errors: BTreeMap<(String, usize), f64>,
}

/// The part of the results of an evaluation that is needed.
#[derive(Deserialize)]
struct Results {
    corruptions: Vec<Corruption>,
}

#[derive(Deserialize)]
struct Corruption {
    corruption: String,
    severities: Vec<Severity>,
}

#[derive(Deserialize)]
struct Severity {
    severity: usize,
    error: f64,
}

impl Baseline {
    /// Reads the results of an earlier evaluation of CIFAR-10-C: its `results.json`,
    /// or what it printed with `--json`.
    ///
    /// # Errors
    /// Where the file cannot be read, or holds none.
    pub fn read(path: &Path) -> Result<Self, StudyError> {
        let text = read_text(path, TEXT_LIMIT).map_err(|error| StudyError::File {
            path: path.to_path_buf(),
            problem: error.to_string(),
        })?;
        Self::parse(&path.display().to_string(), &text)
    }

    /// From the text of a file `name`.
    pub(super) fn parse(name: &str, text: &str) -> Result<Self, StudyError> {
        let results: Option<Results> = serde_json::from_str(text).ok();
        let errors: BTreeMap<(String, usize), f64> = results
            .into_iter()
            .flat_map(|results| results.corruptions)
            .flat_map(|one| {
                let name = one.corruption;
                one.severities
                    .into_iter()
                    .map(move |at| ((name.clone(), at.severity), at.error))
            })
            .collect();
        let is_valid = !errors.is_empty() && errors.values().all(|error| (0.0..=1.0).contains(error));
        match is_valid {
            true => Ok(Baseline {
                name: name.to_string(),
                errors,
            }),
            false => Err(problem(
                name,
                "it holds no errors by corruption; give the results.json of an evaluation of CIFAR-10-C",
            )),
        }
    }

    /// The mean error of a corruption over `severities`.
    pub(super) fn mean_of(&self, corruption: &str, severities: &[usize]) -> Result<f64, StudyError> {
        let errors = severities.iter().map(|&severity| {
            let error = self.errors.get(&(corruption.to_string(), severity)).copied();
            error.ok_or_else(|| {
                problem(
                    &self.name,
                    &format!("it has no error of {corruption} at severity {severity}"),
                )
            })
        });
        match mean(&errors.collect::<Result<Vec<f64>, _>>()?) {
            error if error > 0.0 => Ok(error),
            _ => Err(problem(
                &self.name,
                &format!("it has no error with {corruption}, so that nothing can be relative to it"),
            )),
        }
    }
}

fn problem(name: &str, problem: &str) -> StudyError {
    StudyError::File {
        path: name.into(),
        problem: problem.to_string(),
    }
}
