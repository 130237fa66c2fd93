//! How are a network's weights written to a file and read back?
//!
//! A checkpoint is a weights file with canonical names. It also has the momenta
//! as `momentum.…`, second moments as `exp_avg_sq.…`, and the position of training in its
//! metadata. Where training averages its weights, the averages have the canonical names,
//! in every file, and the values that training goes on with are `unaveraged.…`. It holds
//! no date: equal training gives equal bytes.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::TrainError;
use super::engine::Engine;
use super::origin::{Origin, TableRows};
use super::read_weights::ReadWeights;
use super::record::Record;
use super::trained::agree;
use crate::graph::{Graph, Op, ParamId, StateId};
use crate::kernels::LossScale;
use crate::models::{Model, ModelSpec};
use crate::schedule::Slot;
use crate::shown::shown_path;
use crate::weights::{
    self, CanonicalWeights, Layout, Loaded, MOMENTUM, NameOptions, SECOND_MOMENT, Tensor, TensorMap, UNAVERAGED, beside,
};

/// How far training has progressed.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Position {
    /// Steps taken.
    pub step: u32,
    /// Sum of the losses of this epoch's images, so far.
    pub epoch_loss: f64,
    /// Errors in this epoch, so far.
    pub epoch_wrong: f64,
    /// Images seen in this epoch, so far.
    pub epoch_images: u64,
    /// The smallest test error after an epoch; `None` before the first.
    pub best_error: Option<f64>,
    /// Images per second and seconds of an epoch whose steps are taken, and
    /// whose test was stopped before its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub untested: Option<[f64; 2]>,
    /// The norm of the gradients in the last step of such an epoch, where it is finite.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gradient_norm: Option<f32>,
    /// The step after which that error was measured.
    #[serde(default)]
    pub best_step: u32,
    /// The SHA-256 of `best.safetensors`. It is written after the checkpoint of
    /// its own step, which therefore does not have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub best_hash: Option<String>,
    /// The loss scale, where gradients are stored in 16 bits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss_scale: Option<LossScale>,
    /// The rows of `metrics.csv`.
    #[serde(default)]
    pub epochs: TableRows,
    /// The rows of `steps.csv`, where it is written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steps: Option<TableRows>,
    /// The rows of `gradients.csv`, where it is written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gradients: Option<TableRows>,
    /// What the run depends on; `None` in checkpoints of older versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
}

/// Name and shape of a tensor in a file.
type Part = (String, Vec<usize>);

/// Every slot of the network, with the names and shapes of the tensors that it
/// is stored as.
fn slots(graph: &Graph) -> Vec<(Slot, Vec<Part>)> {
    let mut slots = Vec::new();
    for (index, param) in graph.params.iter().enumerate() {
        let (id, parts) = (ParamId(index), param.tensors());
        slots.push((Slot::Momentum(id), named(MOMENTUM, &parts)));
        slots.push((Slot::Second(id), named(SECOND_MOMENT, &parts)));
        slots.push((Slot::Average(id), named(UNAVERAGED, &parts)));
        slots.push((Slot::Param(id), parts.to_vec()));
    }
    for (index, state) in graph.states.iter().enumerate() {
        let (id, parts) = (StateId(index), state.tensors().map(|name| (name, vec![state.channels])));
        slots.push((Slot::AverageState(id), named(UNAVERAGED, &parts)));
        slots.push((Slot::State(id), parts.to_vec()));
    }
    slots
}

/// `parts` with `prefix` before every name.
fn named(prefix: &str, parts: &[Part]) -> Vec<Part> {
    let named = |(name, shape): &Part| (format!("{prefix}{name}"), shape.clone());
    parts.iter().map(named).collect()
}

/// Whether a file of weights alone has `slot`.
fn is_weight(slot: Slot) -> bool {
    matches!(slot, Slot::Param(_) | Slot::State(_))
}

/// The tensors with their values in 64 bits, from an engine that computes in
/// them.
fn exact_tensors(engine: &dyn Engine) -> BTreeMap<String, Vec<f64>> {
    let mut tensors = BTreeMap::new();
    for (slot, parts) in slots(engine.graph()) {
        let mut rest = engine.exact(slot).unwrap_or_default();
        for (name, shape) in parts {
            let Some((own, later)) = rest.split_at_checked(shape.iter().product()) else {
                break;
            };
            tensors.insert(name, own.to_vec());
            rest = later;
        }
    }
    tensors
}

/// Sets the values in 64 bits, in an engine that computes in them.
fn set_exact_tensors(engine: &mut dyn Engine, tensors: &BTreeMap<String, Vec<f64>>) {
    for (slot, parts) in slots(&engine.graph().clone()) {
        let values: Option<Vec<&[f64]>> = parts
            .iter()
            .map(|(name, _)| tensors.get(name).map(Vec::as_slice))
            .collect();
        if let Some(values) = values {
            engine.set_exact(slot, &values.concat());
        }
    }
}

/// All tensors of the network by canonical name, and with `training` what only training
/// needs: momenta, second moments, and the other values where weights are averages.
pub fn tensors(engine: &mut dyn Engine, training: bool) -> Result<TensorMap, TrainError> {
    let mut tensors = TensorMap::new();
    for (slot, parts) in slots(&engine.graph().clone()) {
        if (training || is_weight(slot))
            && let Some(values) = engine.slot(slot)?
        {
            split(&parts, values, &mut tensors);
        }
    }
    Ok(tensors)
}

/// Splits `values` into the tensors of `parts`, in their order.
fn split(parts: &[Part], values: Vec<f32>, tensors: &mut TensorMap) {
    let mut rest = &values[..];
    for (name, shape) in parts {
        let (own, later) = rest.split_at(shape.iter().product());
        tensors.insert(
            name.clone(),
            Tensor {
                shape: shape.clone(),
                data: own.to_vec(),
            },
        );
        rest = later;
    }
}

/// Sets all weights of the network from `tensors` (canonical names), and with
/// `training` what only training needs. If any tensor does not fit, or a
/// running variance is negative, nothing is set.
pub fn set_tensors(
    engine: &mut dyn Engine,
    tensors: &TensorMap,
    training: bool,
    path: &Path,
    model: &str,
) -> Result<(), TrainError> {
    let graph = engine.graph().clone();
    let misfit = |problem: String| TrainError::Misfit {
        path: path.to_path_buf(),
        problem,
        model: model.to_string(),
    };
    let join = |parts: &[Part]| -> Result<Vec<f32>, TrainError> {
        let mut values = Vec::new();
        for (name, shape) in parts {
            let tensor = tensors
                .get(name)
                .ok_or_else(|| misfit(format!("tensor {name} is missing")))?;
            if tensor.shape != *shape {
                return Err(misfit(format!("tensor {name} is {:?}, not {shape:?}", tensor.shape)));
            }
            values.extend_from_slice(&tensor.data);
        }
        Ok(values)
    };
    let mut found = Vec::new();
    for (slot, parts) in slots(&graph) {
        // Momenta exist in every engine that trains; others only where the rules have
        // them.
        if is_weight(slot) || training && engine.slot(slot)?.is_some() {
            found.push((slot, join(&parts)?));
        }
    }
    if let Some(unknown) = unknown_tensor(&graph, tensors) {
        return Err(misfit(format!("the model has no tensor {unknown}")));
    }
    for (slot, values) in &found {
        let (Slot::State(id) | Slot::AverageState(id)) = slot else {
            continue;
        };
        let state = &graph.states[id.0];
        let [_, variance] = state.tensors();
        if let Some(value) = values[state.channels..].iter().find(|value| **value < 0.0) {
            return Err(TrainError::NegativeVariance {
                path: path.to_path_buf(),
                tensor: variance,
                value: *value,
            });
        }
    }
    for (slot, values) in &found {
        engine.set_slot(*slot, values);
    }
    Ok(())
}

/// The first tensor that the model does not have.
fn unknown_tensor<'a>(graph: &Graph, tensors: &'a TensorMap) -> Option<&'a str> {
    let of_params = graph
        .params
        .iter()
        .flat_map(|param| param.tensors())
        .map(|(name, _)| name);
    let known: std::collections::HashSet<String> = of_params
        .chain(graph.states.iter().flat_map(|state| state.tensors()))
        .collect();
    let own = |name: &&String| known.contains(beside(name).unwrap_or(name));
    tensors.keys().find(|name| !own(name)).map(String::as_str)
}

/// Writes all weights, their averages where there are any, and in a checkpoint, momenta
/// and `position`.
pub fn save(
    engine: &mut dyn Engine,
    path: &Path,
    record: &Record,
    position: Option<&Position>,
) -> Result<(), TrainError> {
    with_averages(engine, |engine| save_present(engine, path, record, position))
}

/// What `act` does while parameters and running states are their averages, where there
/// are any.
pub fn with_averages<T>(engine: &mut dyn Engine, act: impl FnOnce(&mut dyn Engine) -> T) -> T {
    engine.exchange_average();
    let done = act(engine);
    engine.exchange_average();
    done
}

fn save_present(
    engine: &mut dyn Engine,
    path: &Path,
    record: &Record,
    position: Option<&Position>,
) -> Result<(), TrainError> {
    let tensors = tensors(engine, position.is_some())?;
    let mut metadata = record.metadata();
    if let Some(position) = position {
        let position = serde_json::to_string(position).expect("plain numbers are JSON");
        metadata.insert("position".to_string(), position);
    }
    // What training continues from is stored as it is; other files are for
    // programs that compute in 32 bits.
    let exact = match position {
        Some(_) => exact_tensors(engine),
        None => BTreeMap::new(),
    };
    weights::write_exact(path, &tensors, &exact, &metadata)?;
    log::debug!("{}: {} tensors written", path.display(), tensors.len());
    Ok(())
}

/// How a weights file was read.
pub(super) struct Read {
    /// Mean and standard deviation of the images, where the file holds them.
    pub normalization: Option<[Vec<f32>; 2]>,
    /// What a user should know about it, one line each.
    pub notes: Vec<String>,
}

/// Reads the weights of the file `path` into the network, whatever its program
/// names the tensors.
pub(super) fn set_read(
    engine: &mut dyn Engine,
    read: ReadWeights,
    path: &Path,
    model: &str,
    names: &NameOptions,
) -> Result<Read, TrainError> {
    let weights = canonical(engine.graph(), read, path, names)?;
    set_tensors(engine, &weights.tensors, false, path, model)?;
    Ok(Read {
        normalization: weights.normalization,
        notes: weights.notes,
    })
}

fn canonical(
    graph: &Graph,
    read: ReadWeights,
    path: &Path,
    names: &NameOptions,
) -> Result<CanonicalWeights, TrainError> {
    let weights = match read {
        ReadWeights::Canonical(weights) => weights,
        ReadWeights::Contents(contents) => {
            weights::canonical(contents, names, Some(&Layout::of(graph))).map_err(|error| error.of(path))?
        }
    };
    weights.check_finite(path)?;
    Ok(weights)
}

/// Reads the weights file `path` into a network of `model` that is to be
/// trained; `read` has what was read of it already. Where the file has another
/// number of classes, the last linear layer keeps the values that it has. Returns
/// what a user should know, one line each.
///
/// # Errors
/// Where the file says that it is of another model, but for dropout, or its
/// tensors do not fit.
pub(super) fn start_from(
    engine: &mut dyn Engine,
    path: &Path,
    model: &Model,
    names: &NameOptions,
    read: Option<ReadWeights>,
) -> Result<Vec<String>, TrainError> {
    let read = match read {
        Some(read) => read,
        None => ReadWeights::Contents(weights::contents(path)?),
    };
    let recorded = match &read {
        ReadWeights::Contents(contents) => Record::read(&contents.facts, path)?.model,
        ReadWeights::Canonical(_) => None,
    };
    if let Some(recorded) = &recorded {
        let but_for_dropout = match (recorded.parse::<ModelSpec>(), model.spec()) {
            (Ok(said), Some(spec)) => said.is_but_for_dropout(spec),
            _ => false,
        };
        if !but_for_dropout {
            agree(recorded, model, path)?;
        }
    }
    let CanonicalWeights {
        mut tensors, mut notes, ..
    } = canonical(engine.graph(), read, path, names)?;
    let own = head(engine)?;
    let classes = |tensors: &TensorMap| own.keys().find_map(|name| tensors.get(name)?.shape.first().copied());
    if let (Some(found), Some(needed)) = (classes(&tensors), classes(&own))
        && found != needed
    {
        notes.push(format!(
            "the last layer starts anew, because {} has {found} classes and the images have {needed}",
            shown_path(path)
        ));
        tensors.extend(own);
    }
    set_tensors(engine, &tensors, false, path, &model.to_string())?;
    Ok(notes)
}

/// The tensors of the last linear layer with their present values; none if the
/// network does not end with one.
fn head(engine: &mut dyn Engine) -> Result<TensorMap, TrainError> {
    let graph = engine.graph();
    let last = graph.logits().map(|id| graph.node(id));
    let inputs = last
        .filter(|node| node.op == Op::Linear)
        .map(|node| node.inputs.clone());
    let params: Vec<ParamId> = inputs
        .unwrap_or_default()
        .into_iter()
        .filter_map(|input| graph.param_of(input))
        .collect();
    let mut tensors = TensorMap::new();
    for id in params {
        let parts = engine.graph().params[id.0].tensors();
        split(&parts, engine.param(id)?, &mut tensors);
    }
    Ok(tensors)
}

/// A checkpoint that was read, once for all that is taken from it.
pub struct Checkpoint<'a> {
    path: &'a Path,
    bytes: Vec<u8>,
    loaded: Loaded,
}

impl<'a> Checkpoint<'a> {
    /// Reads the checkpoint at `path`.
    pub fn read(path: &'a Path) -> Result<Self, TrainError> {
        let bytes = weights::bytes_of(path)?;
        let loaded = weights::read_bytes(path, &bytes)?;
        Ok(Checkpoint { path, bytes, loaded })
    }

    /// What it says about the training.
    pub fn record(&self) -> Result<Record, TrainError> {
        Record::read(&self.loaded.metadata, self.path)
    }

    /// Sets weights, their averages, momenta and loss scale of the network, which is of `model`.
    /// Returns the position of training.
    pub fn resume(&self, engine: &mut dyn Engine, model: &str) -> Result<Position, TrainError> {
        let position = position_of(&self.loaded.metadata, self.path, model)?;
        set_tensors(engine, &self.loaded.tensors, true, self.path, model)?;
        set_exact_tensors(engine, &weights::exact(&self.bytes));
        // The averages have the names of the weights.
        engine.exchange_average();
        if let Some(loss_scale) = position.loss_scale {
            engine.set_loss_scale(loss_scale);
        }
        Ok(position)
    }
}

/// The position of training of `model` in the checkpoint at `path`.
pub fn position(path: &Path, model: &str) -> Result<Position, TrainError> {
    position_of(&weights::read(path)?.metadata, path, model)
}

fn position_of(metadata: &BTreeMap<String, String>, path: &Path, model: &str) -> Result<Position, TrainError> {
    let own = metadata.get("model").map(String::as_str);
    if own != Some(model) {
        return Err(TrainError::Misfit {
            path: path.to_path_buf(),
            problem: format!("it is a checkpoint of {}", own.unwrap_or("an unnamed model")),
            model: model.to_string(),
        });
    }
    let position = metadata
        .get("position")
        .and_then(|text| serde_json::from_str(text).ok());
    position.ok_or_else(|| TrainError::Misfit {
        path: path.to_path_buf(),
        problem: "it has no position of training, so it is no checkpoint".to_string(),
        model: model.to_string(),
    })
}
