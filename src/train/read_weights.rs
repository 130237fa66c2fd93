//! Of which model are the weights of a file that does not say it?

use std::path::Path;

use super::TrainError;
use super::error::Unsaid;
use crate::models::{ModelSpec, fitting};
use crate::weights::{self, CanonicalWeights, Container, NameOptions, WeightsError};

/// The weights of a file that was read.
pub enum ReadWeights {
    /// Under the names of the file.
    Contents(Container),
    /// Under canonical names.
    Canonical(CanonicalWeights),
}

/// The only built-in model that has the tensors of the file at `path`, which holds
/// `contents`; the weights under its names; and a line for users.
///
/// # Errors
/// [`TrainError::Unsaid`] where no model has them or the names say nothing, and
/// [`TrainError::SeveralModels`] where several have them.
pub fn only_model(
    contents: Container,
    names: &NameOptions,
    path: &Path,
) -> Result<(ModelSpec, CanonicalWeights, String), TrainError> {
    let unsaid = || TrainError::Unsaid {
        path: path.to_path_buf(),
        what: Unsaid::Model,
    };
    let weights = match weights::canonical(contents, names, None) {
        Ok(weights) => weights,
        // The order of a model's layers may say what the names do not.
        Err(WeightsError::UnknownDialect { .. }) => return Err(unsaid()),
        Err(error) => return Err(error.of(path).into()),
    };
    let models = fitting(&weights.shapes());
    match &models[..] {
        [] => Err(unsaid()),
        [model] => {
            let model = model.clone();
            let note = format!("the file does not say its model: it is {model} by its tensors");
            Ok((model, weights, note))
        }
        _ => Err(TrainError::SeveralModels {
            path: path.to_path_buf(),
            models: models.iter().map(ModelSpec::to_string).collect::<Vec<_>>().join(", "),
        }),
    }
}
