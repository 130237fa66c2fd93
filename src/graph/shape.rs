//! Which dimensions does a tensor have, and how many bytes?

use super::Precision;

/// The dimensions and the storage format of one value. The batch dimension N is
/// open: one graph serves every batch size.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Shape {
    /// Whether there is a batch dimension N before `dims`.
    pub batched: bool,
    /// The dimensions after N: `[C, H, W]` for images.
    pub dims: Vec<usize>,
    /// The number format in device memory.
    pub precision: Precision,
}

impl Shape {
    /// N × `dims`.
    pub fn batched(dims: &[usize]) -> Self {
        Shape {
            batched: true,
            dims: dims.to_vec(),
            precision: Precision::F32,
        }
    }

    /// `dims`, the same for every batch size.
    pub fn fixed(dims: &[usize]) -> Self {
        Shape {
            batched: false,
            dims: dims.to_vec(),
            precision: Precision::F32,
        }
    }

    /// The same dimensions, stored in `precision`.
    pub fn stored_in(self, precision: Precision) -> Self {
        Shape { precision, ..self }
    }

    /// Scalars per image; all scalars for a shape without batch dimension.
    pub fn per_image(&self) -> usize {
        self.dims.iter().product()
    }

    /// Scalars for a batch of `batch` images.
    pub fn len(&self, batch: usize) -> usize {
        self.per_image() * if self.batched { batch } else { 1 }
    }

    /// Bytes for a batch of `batch` images, rounded up to a multiple of four as
    /// bindings require.
    pub fn bytes(&self, batch: usize) -> u64 {
        (self.precision.bytes() * self.len(batch) as u64).next_multiple_of(4)
    }

    /// Channels C of `[C, H, W]` or features of `[C]`.
    pub fn channels(&self) -> usize {
        self.dims[0]
    }

    /// Height and width of `[C, H, W]`; 1 × 1 for `[C]`.
    pub fn plane(&self) -> (usize, usize) {
        match self.dims[..] {
            [_, height, width] => (height, width),
            _ => (1, 1),
        }
    }
}

impl std::fmt::Display for Shape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let dims = self.dims.iter().map(usize::to_string);
        let all: Vec<String> = self.batched.then(|| "N".into()).into_iter().chain(dims).collect();
        f.write_str(&all.join("×"))?;
        match self.precision {
            Precision::F32 => Ok(()),
            Precision::F16 => f.write_str(" in f16"),
        }
    }
}

/// The number of windows with length `kernel` at distance `stride` along `size`
/// elements with `padding` on both sides; `None` where not even one fits.
pub fn window_count(size: usize, kernel: usize, stride: usize, padding: usize) -> Option<usize> {
    let room = (size + 2 * padding).checked_sub(kernel)?;
    (stride > 0 && kernel > 0).then(|| room / stride + 1)
}
