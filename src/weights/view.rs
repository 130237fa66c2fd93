//! How are the values of an array read that is described by a type, an offset, a
//! shape and strides?

use super::Tensor;
use super::float::Float;
use crate::formats::source::{Budget, FormatError, Source};

/// The most axes that an array may have: PyTorch and NumPy allow no more.
pub(super) const MOST_AXES: usize = 64;

/// The type of the elements of an array.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Type {
    Float(Float),
    /// Another type, by the name that safetensors gives it, if it has one.
    Other(String),
}

/// An array: elements of a sequence of bytes, from an offset on.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct View {
    pub kind: Type,
    pub big_endian: bool,
    /// The number of elements before the first.
    pub offset: i64,
    /// The number of elements along each axis.
    pub shape: Vec<i64>,
    /// The distance between neighbours along each axis, in elements; `None` for
    /// the last axis first, without gaps.
    pub strides: Option<Vec<i64>>,
}

/// What a view gives: values, or why it has none.
pub(super) enum Values {
    Tensor(Tensor),
    /// What is wrong, after the words "tensor NAME".
    Problem(String),
}

impl View {
    /// The values, with their memory from the budget. `name` is for messages.
    pub(super) fn values(&self, name: &str, source: Source, budget: &Budget) -> Result<Values, FormatError> {
        let Type::Float(float) = self.kind else {
            return Ok(Values::Problem("is no tensor of floating-point numbers".into()));
        };
        let layout = match self.layout(float, source.size()) {
            Ok(layout) => layout,
            Err(problem) => return Ok(Values::Problem(problem)),
        };
        let repeats = || FormatError::Repeats(format!("tensor '{}' needs too much", crate::shown::shown(name)));
        let memory = layout.count.checked_mul(4).ok_or_else(repeats)?;
        if !budget.take(memory) {
            return Err(repeats());
        }
        let data = self.decode(float, &layout, source, budget)?;
        Ok(Values::Tensor(Tensor {
            shape: layout.shape,
            data,
        }))
    }

    fn layout(&self, float: Float, size: u64) -> Result<Layout, String> {
        let negative = |numbers: &[i64]| numbers.iter().any(|&number| number < 0);
        let strides = match &self.strides {
            Some(strides) => strides.clone(),
            None => dense(&self.shape).ok_or("is larger than its file")?,
        };
        if negative(&self.shape) || self.offset < 0 {
            return Err("has a negative size or offset".into());
        }
        if negative(&strides) {
            return Err("has a negative stride".into());
        }
        if strides.len() != self.shape.len() {
            return Err(format!("has {} axes but {} strides", self.shape.len(), strides.len()));
        }
        let shape: Vec<usize> = self.shape.iter().map(|&extent| extent as usize).collect();
        let beyond = || "reaches beyond its storage".to_owned();
        let count = super::tensor::count(&shape).ok_or_else(beyond)?;
        let mut span = 0_u64;
        if count > 0 {
            let ends = self.shape.iter().zip(&strides);
            let mut ends = ends.map(|(&extent, &stride)| (extent as u64 - 1).checked_mul(stride as u64));
            span = ends
                .try_fold(0_u64, |sum, end| sum.checked_add(end?))
                .and_then(|last| last.checked_add(1))
                .ok_or_else(beyond)?;
            let end = span.checked_add(self.offset as u64);
            let end = end.and_then(|end| end.checked_mul(float.size() as u64));
            if end.is_none_or(|end| end > size) {
                return Err(beyond());
            }
        }
        let is_dense = dense(&self.shape).is_some_and(|dense| {
            // The stride of an axis with one element does not matter.
            let mut axes = self.shape.iter().zip(strides.iter().zip(&dense));
            axes.all(|(&extent, (stride, dense))| extent == 1 || stride == dense)
        });
        Ok(Layout {
            is_dense: is_dense || count == 0,
            count: count as u64,
            span,
            strides: strides.iter().map(|&stride| stride as u64).collect(),
            shape,
        })
    }

    fn decode(&self, float: Float, layout: &Layout, source: Source, budget: &Budget) -> Result<Vec<f32>, FormatError> {
        let size = float.size() as u64;
        let mut data = Vec::with_capacity(layout.count as usize);
        let value = |bytes: &[u8]| float.decode(bytes, self.big_endian).unwrap_or(f32::NAN);
        let start = self.offset as u64 * size;
        // `layout` has checked that the view lies within the source.
        let Some(part) = source.part(start, layout.span * size) else {
            return Ok(data);
        };
        if layout.is_dense {
            part.each_part(|bytes| data.extend(bytes.chunks_exact(float.size()).map(value)))?;
        } else if part.is_in_memory() || part.size() <= 8 * size * layout.count {
            let borrowed = if part.is_in_memory() { 0 } else { part.size() };
            if !budget.take(borrowed) {
                return Err(FormatError::Repeats("a tensor with gaps needs too much".into()));
            }
            let bytes = part.read(0, part.size() as usize)?;
            layout.each_element(|at| {
                data.push(value(&bytes[(at * size) as usize..]));
                Ok(())
            })?;
            budget.give_back(borrowed);
        } else {
            layout.each_element(|at| {
                data.push(value(&part.read(at * size, float.size())?));
                Ok(())
            })?;
        }
        Ok(data)
    }
}

/// Strides without gaps, the last axis the fastest; `None` if they are too large.
fn dense(shape: &[i64]) -> Option<Vec<i64>> {
    let mut strides = vec![1_i64; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis].checked_mul(shape[axis].max(1))?;
    }
    Some(strides)
}

/// Where the elements of a view lie.
struct Layout {
    shape: Vec<usize>,
    strides: Vec<u64>,
    /// The number of elements.
    count: u64,
    /// The number of elements of the storage from the first to the last of the
    /// view.
    span: u64,
    is_dense: bool,
}

impl Layout {
    /// The positions of all elements after the first, in the order of the array.
    fn each_element(&self, mut receive: impl FnMut(u64) -> Result<(), FormatError>) -> Result<(), FormatError> {
        let mut index = vec![0; self.shape.len()];
        let mut at = 0;
        for _ in 0..self.count {
            receive(at)?;
            for axis in (0..self.shape.len()).rev() {
                index[axis] += 1;
                at += self.strides[axis];
                if index[axis] < self.shape[axis] {
                    break;
                }
                at -= self.strides[axis] * index[axis] as u64;
                index[axis] = 0;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn view(offset: i64, shape: &[i64], strides: &[i64]) -> View {
        View {
            kind: Type::Float(Float::F32),
            big_endian: false,
            offset,
            shape: shape.to_vec(),
            strides: Some(strides.to_vec()),
        }
    }

    fn storage() -> Vec<u8> {
        (0..100).flat_map(|value| (value as f32).to_le_bytes()).collect()
    }

    /// The values from memory and from a file, which are the same.
    fn values(view: &View) -> Result<Vec<f32>, String> {
        let bytes = storage();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&bytes).unwrap();
        let of = |source| match view.values("w", source, &Budget::of(1 << 20)) {
            Ok(Values::Tensor(tensor)) => Ok(tensor.data),
            Ok(Values::Problem(problem)) => Err(problem),
            Err(FormatError::Repeats(problem)) => Err(problem),
            Err(error) => panic!("{error:?}"),
        };
        let memory = of(Source::of_bytes(&bytes));
        assert_eq!(of(Source::of_file(&file, bytes.len() as u64)), memory);
        memory
    }

    #[test]
    fn views_are_read_in_their_order() {
        assert_eq!(values(&view(4, &[2, 2], &[2, 1])).unwrap(), [4., 5., 6., 7.]);
        assert_eq!(values(&view(0, &[2, 3], &[1, 2])).unwrap(), [0., 2., 4., 1., 3., 5.]);
        assert_eq!(values(&view(9, &[2], &[90])).unwrap(), [9., 99.], "far apart");
        assert_eq!(values(&view(7, &[3], &[0])).unwrap(), [7.; 3]);
        assert_eq!(values(&view(99, &[1, 1], &[1000, 7])).unwrap(), [99.]);
        assert_eq!(values(&view(3, &[], &[])).unwrap(), [3.]);
        assert_eq!(values(&view(0, &[0, 5], &[5, 1])).unwrap(), Vec::<f32>::new());
    }

    #[test]
    fn views_that_cannot_be_are_named() {
        for (view, problem) in [
            (view(0, &[101], &[1]), "reaches beyond its storage"),
            (view(1, &[2], &[99]), "reaches beyond its storage"),
            (view(i64::MAX, &[2], &[i64::MAX]), "reaches beyond its storage"),
            (view(0, &[1 << 40, 1 << 40], &[1, 1]), "reaches beyond its storage"),
            (view(1, &[2], &[-1]), "has a negative stride"),
            (view(-1, &[2], &[1]), "has a negative size or offset"),
            (view(0, &[2], &[1, 1]), "has 1 axes but 2 strides"),
            (view(0, &[1 << 31], &[0]), "tensor 'w' needs too much"),
        ] {
            assert_eq!(values(&view).unwrap_err(), problem, "{view:?}");
        }
    }

    #[test]
    fn big_endian_values_are_turned() {
        let view = View {
            big_endian: true,
            ..view(0, &[1], &[1])
        };
        let bytes = 1.5_f32.to_be_bytes();
        match view.values("w", Source::of_bytes(&bytes), &Budget::of(100)).unwrap() {
            Values::Tensor(tensor) => assert_eq!(tensor.data, [1.5]),
            Values::Problem(problem) => panic!("{problem}"),
        }
    }
}
