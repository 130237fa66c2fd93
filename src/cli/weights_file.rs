//! Which network is in a weights file, and with which weights?

use std::path::Path;

use super::args::NameArgs;
use super::network::model_spec;
use super::{CliError, note};
use crate::graph::Mode;
use crate::models::{InputShape, Model, ModelSpec, fitting};
use crate::shown::shown_path;
use crate::train::Record;
use crate::weights::{self, CanonicalWeights, Layout};

/// The contents of a weights file, under canonical names.
pub struct WeightsOfNetwork {
    /// What the file says about the network.
    pub record: Record,
    /// The network, where it is known.
    pub model: Option<Model>,
    /// The shape of its images.
    pub shape: InputShape,
    /// The tensors.
    pub weights: CanonicalWeights,
}

/// Reads `path`. `model` is what the user says; else the file says it, or its
/// tensors are those of one model only. What was found out is said in a line.
pub fn read(path: &Path, model: Option<&str>, reading: &NameArgs) -> Result<WeightsOfNetwork, CliError> {
    let given: Option<ModelSpec> = model.map(model_spec).transpose()?;
    let input = shown_path(path);
    let contents = weights::contents(path)?;
    let mut record = Record::read(&contents.facts, path)?;
    if let Some(given) = &given {
        record.check_model(&given.clone().into(), path)?;
    }
    let recorded = record.model.as_deref().and_then(|name| name.parse().ok());
    let mut model: Option<Model> = given.or(recorded).map(|spec: ModelSpec| spec.into());
    let shape = record.shape(&contents, model.as_ref().and_then(Model::spec));
    let layout = match &model {
        Some(model) => Some(Layout::of(&model.build(&shape, Mode::Eval)?.graph)),
        None => None,
    };
    let options = reading.options();
    let weights = weights::canonical(contents, &options, layout.as_ref()).map_err(|error| error.of(path))?;
    weights.check_finite(path)?;
    if let (Some(model), Some(layout)) = (&model, &layout) {
        layout
            .check(&weights.tensors)
            .map_err(|problem| CliError::failure(format!("{input} does not fit {model}: {problem}")))?;
    }
    for text in &weights.notes {
        note(format_args!("{input}: {text}"));
    }
    if model.is_none() && record.model.is_none() {
        // The names alone do not need a model; what is written may.
        let models = fitting(&weights.shapes());
        let names: Vec<String> = models.iter().map(ModelSpec::to_string).collect();
        match &models[..] {
            [] => {}
            [only] => {
                note(format_args!(
                    "{input}: the file does not say its model: it is {only} by its tensors"
                ));
                model = Some(only.clone().into());
            }
            _ => note(format_args!(
                "{input}: these models have its tensors: {}; --model says which it is",
                names.join(", ")
            )),
        }
    }
    record.complete(model.as_ref(), weights.normalization.clone());
    Ok(WeightsOfNetwork {
        record,
        model,
        shape,
        weights,
    })
}
