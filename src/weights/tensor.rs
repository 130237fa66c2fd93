//! Named arrays of numbers.

use std::collections::BTreeMap;
use std::path::Path;

use super::WeightsError;

/// An array of f32 with its shape, the last axis contiguous.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// The extent of each axis: (O, I, H, W) for a convolution, with I per
    /// group; (out, in) for a linear layer; (C) for a vector.
    pub shape: Vec<usize>,
    /// The values, as many as the product of the shape.
    pub data: Vec<f32>,
}

/// Tensors by name, in the order of their names.
pub type TensorMap = BTreeMap<String, Tensor>;

/// What a file of weights holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Loaded {
    /// The tensors under the names of the file.
    pub tensors: TensorMap,
    /// What else the file says, as words.
    pub metadata: BTreeMap<String, String>,
}

/// Refuses values that no trained network should have; `path` is where the
/// tensors come from or go to.
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

/// Refuses tensors whose data do not fill their shapes.
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

/// How many values a tensor of that shape has; none where no machine could
/// count them.
pub(super) fn count(shape: &[usize]) -> Option<usize> {
    shape
        .iter()
        .try_fold(1usize, |count, &extent| count.checked_mul(extent))
}
