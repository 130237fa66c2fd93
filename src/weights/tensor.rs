//! How are named tensors stored in memory?

use std::collections::BTreeMap;
use std::path::Path;

use super::WeightsError;

/// An array of f32 with its shape; the last axis is contiguous.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// The size of each axis: (output channels, input channels per group, H, W)
    /// for a convolution, (outputs, inputs) for a linear layer, (C) for a vector.
    pub shape: Vec<usize>,
    /// The values; their number is the product of the shape.
    pub data: Vec<f32>,
}

/// Tensors by name, sorted by name.
pub type TensorMap = BTreeMap<String, Tensor>;

/// The contents of a weights file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Loaded {
    /// The tensors by their names in the file.
    pub tensors: TensorMap,
    /// Other values of the file, as text.
    pub metadata: BTreeMap<String, String>,
}

/// Refuses values that are infinite or not a number. `path` is the file that
/// the tensors are read from or written to.
pub(super) fn check_finite(path: &Path, tensors: &TensorMap) -> Result<(), WeightsError> {
    for (name, tensor) in tensors {
        if let Some(&value) = tensor.data.iter().find(|value| !value.is_finite()) {
            return Err(WeightsError::NonFinite {
                path: path.to_path_buf(),
                tensor: name.clone(),
                value,
            });
        }
    }
    Ok(())
}

/// Refuses tensors whose number of values does not fit their shape.
pub(super) fn check_shapes(tensors: &TensorMap) -> Result<(), WeightsError> {
    for (name, Tensor { shape, data }) in tensors {
        if count(shape) != Some(data.len()) {
            return Err(WeightsError::Shape {
                tensor: name.clone(),
                shape: shape.clone(),
                values: data.len(),
            });
        }
    }
    Ok(())
}

/// The number of values of a tensor with this shape; `None` if it exceeds
/// `usize`.
pub(super) fn count(shape: &[usize]) -> Option<usize> {
    shape
        .iter()
        .try_fold(1usize, |count, &extent| count.checked_mul(extent))
}
