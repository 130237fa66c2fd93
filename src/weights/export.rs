//! How do the tensors of a network go to another program: under which names, with
//! which biases, counters and shapes?

use std::collections::BTreeMap;

use super::dialect::{Biases, Scheme, split};
use super::fold::{fold_biases, norms_by_name};
use super::layout::Layout;
use super::{Dialect, Tensor, TensorMap, WeightsError};

/// Tensors under the names of another program.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Exported {
    /// The tensors by their names there.
    pub tensors: TensorMap,
    /// Integers without a shape: PyTorch's `num_batches_tracked`.
    pub counters: BTreeMap<String, i64>,
    /// What a user should know, one line each.
    pub notes: Vec<String>,
}

/// The tensors with the canonical names of one network under the names of
/// `dialect`, so that a module of its program accepts them in strict mode.
/// `layout` is the network's, where it is known; `steps` is the number of steps
/// that the network was trained for.
///
/// # Errors
/// Where the dialect has no name for a tensor, its networks have a layer that
/// this one lacks, or a bias or a shape cannot be that of the program.
pub fn to_dialect(
    mut tensors: TensorMap,
    dialect: Dialect,
    layout: Option<&Layout>,
    steps: u64,
) -> Result<Exported, WeightsError> {
    if dialect == Dialect::Canonical {
        let exported = Exported {
            tensors,
            ..Exported::default()
        };
        return Ok(exported);
    }
    let scheme = choose(&tensors, dialect)?;
    let notes = with_biases_of(&mut tensors, scheme, layout, dialect)?;
    let mut exported = Exported {
        notes,
        ..Exported::default()
    };
    let steps = i64::try_from(steps).unwrap_or(i64::MAX);
    for (name, tensor) in tensors {
        let (layer, part) = split(&name);
        let no_name = || WeightsError::NoName {
            name: name.clone(),
            dialect,
        };
        if part == "running_mean" && scheme.counts {
            let layer = scheme.layer_name(layer).ok_or_else(no_name)?;
            exported.counters.insert(format!("{layer}.num_batches_tracked"), steps);
        }
        let tensor = match scheme.conv_of(layer) {
            Some(kernel) if part == "weight" => as_conv(&name, tensor, kernel, dialect)?,
            _ => tensor,
        };
        exported
            .tensors
            .insert(scheme.name_of(&name).ok_or_else(no_name)?, tensor);
    }
    Ok(exported)
}

/// The names of the dialect that fit these tensors.
fn choose(tensors: &TensorMap, dialect: Dialect) -> Result<&'static Scheme, WeightsError> {
    let has = |layer: &str| tensors.contains_key(&format!("{layer}.weight"));
    let mut nearest: Option<(usize, WeightsError)> = None;
    for &scheme in dialect.schemes() {
        let unnamed: Vec<&String> = tensors.keys().filter(|name| scheme.name_of(name).is_none()).collect();
        let error = match (unnamed.first(), scheme.needs.iter().find(|layer| !has(layer))) {
            (None, None) => return Ok(scheme),
            (Some(name), _) => WeightsError::NoName {
                name: (*name).clone(),
                dialect,
            },
            (None, Some(layer)) => WeightsError::NoLayer { layer, dialect },
        };
        if nearest.as_ref().is_none_or(|(fewest, _)| unnamed.len() < *fewest) {
            nearest = Some((unnamed.len(), error));
        }
    }
    Err(nearest.map_or(WeightsError::Empty, |(_, error)| error))
}

/// Adds biases of convolutions that the program has, and lets those that it lacks
/// become part of the batch norm behind them. Returns notes.
fn with_biases_of(
    tensors: &mut TensorMap,
    scheme: &Scheme,
    layout: Option<&Layout>,
    dialect: Dialect,
) -> Result<Vec<String>, WeightsError> {
    let convs = tensors.iter().filter(|(_, tensor)| tensor.shape.len() == 4);
    let convs: Vec<(String, usize)> = convs
        .map(|(name, tensor)| (format!("{}.bias", split(name).0), tensor.shape[0]))
        .collect();
    let mut notes = Vec::new();
    match scheme.biases {
        Biases::All => {
            let mut added = 0;
            for (name, channels) in convs {
                tensors.entry(name).or_insert_with(|| {
                    added += 1;
                    Tensor {
                        shape: vec![channels],
                        data: vec![0.0; channels],
                    }
                });
            }
            if added > 0 {
                notes.push(format!(
                    "{dialect}'s convolutions have biases: {added} are added, all zero"
                ));
            }
        }
        Biases::None if convs.iter().any(|(name, _)| tensors.contains_key(name)) => {
            let follows = Layout {
                norm_after: layout.map_or_else(|| norms_by_name(tensors), |layout| layout.norm_after.clone()),
                ..Layout::default()
            };
            notes.extend(fold_biases(tensors, &follows));
            for (name, _) in convs {
                let is_zero = |bias: &Tensor| bias.data.iter().all(|&value| value == 0.0);
                match tensors.get(&name).map(is_zero) {
                    None => {}
                    Some(true) => drop(tensors.remove(&name)),
                    Some(false) => return Err(WeightsError::NoBias { tensor: name, dialect }),
                }
            }
        }
        Biases::None => {}
    }
    Ok(notes)
}

/// The weights of a linear layer as those of a convolution.
fn as_conv(name: &str, mut tensor: Tensor, kernel: usize, dialect: Dialect) -> Result<Tensor, WeightsError> {
    let area = kernel * kernel;
    match tensor.shape[..] {
        [outputs, inputs] if inputs.is_multiple_of(area) => {
            tensor.shape = vec![outputs, inputs / area, kernel, kernel];
            Ok(tensor)
        }
        _ => Err(WeightsError::NoForm {
            tensor: name.to_owned(),
            shape: tensor.shape,
            kernel,
            dialect,
        }),
    }
}
