//! How do weights go to a file of another program?

use std::path::Path;

use super::record::Record;
use super::survival::fold_survival;
use super::{Depth, TrainError};
use crate::graph::Mode;
use crate::models::{InputShape, Model};
use crate::weights::{Dialect, Exported, Layout, TensorMap, to_dialect};

/// Renames `tensors` (canonical names) of `model` to those of `dialect`, and
/// changes `record` to what then describes them.
///
/// Only this program scales branches at test time by their survival
/// probabilities. For every other one, the factor becomes part of the weights.
///
/// # Errors
/// Where a name has no counterpart, the model of weights that were trained with
/// stochastic depth is not known, or its branches cannot take the factor; then
/// the message names `path`.
pub fn export(
    mut tensors: TensorMap,
    dialect: Dialect,
    record: &mut Record,
    model: Option<&Model>,
    input: &InputShape,
    path: &Path,
) -> Result<Exported, TrainError> {
    let graph = match model {
        Some(model) => Some(model.build(input, Mode::Eval)?.graph),
        None => None,
    };
    let depth = record.depth()?;
    if dialect != Dialect::Canonical && depth != Depth::Constant {
        let refuse = |problem: String| TrainError::Record {
            path: path.to_path_buf(),
            problem,
        };
        let Some(graph) = &graph else {
            return Err(refuse(
                "it has survival probabilities, but no model of this program".to_string(),
            ));
        };
        fold_survival(graph, &depth.test_route(graph), &mut tensors).map_err(|problem| {
            refuse(format!(
                "its survival probabilities cannot become part of the weights: {problem}; use the canonical names"
            ))
        })?;
        record.set_depth(Depth::Constant);
    }
    let layout = graph.as_ref().map(Layout::of);
    Ok(to_dialect(
        tensors,
        dialect,
        layout.as_ref(),
        record.step.unwrap_or(0).into(),
    )?)
}
