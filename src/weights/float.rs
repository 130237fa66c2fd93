//! The floating-point types that weights are stored in, as f32.

use crate::half;

/// A floating-point type, little-endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Float {
    F16,
    BF16,
    F32,
    F64,
}

impl Float {
    /// The bytes of a value.
    pub(super) fn size(self) -> usize {
        match self {
            Self::F16 | Self::BF16 => 2,
            Self::F32 => 4,
            Self::F64 => 8,
        }
    }

    /// The value whose bytes these begin with; none where there are too few.
    pub(super) fn decode(self, bytes: &[u8]) -> Option<f32> {
        match self {
            Self::F16 => Some(half::widen(u16::from_le_bytes(*bytes.first_chunk()?))),
            Self::BF16 => Some(from_bf16(u16::from_le_bytes(*bytes.first_chunk()?))),
            Self::F32 => Some(f32::from_le_bytes(*bytes.first_chunk()?)),
            Self::F64 => Some(f64::from_le_bytes(*bytes.first_chunk()?) as f32),
        }
    }

    /// As many values as the bytes hold.
    pub(super) fn decode_all(self, bytes: &[u8]) -> Vec<f32> {
        let values = bytes.chunks_exact(self.size());
        values.filter_map(|value| self.decode(value)).collect()
    }
}

/// bfloat16: the upper half of an f32.
fn from_bf16(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bf16_is_a_shortened_f32() {
        assert_eq!(from_bf16(0x3f80), 1.0);
        assert_eq!(from_bf16(0xc049), -3.140_625);
    }
}
