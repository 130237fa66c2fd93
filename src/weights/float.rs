//! How are the floating-point types of weights files converted to f32?

use half::{bf16, f16};

/// A floating-point type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Float {
    F16,
    BF16,
    F32,
    F64,
}

impl Float {
    /// The number of bytes of a value.
    pub(super) fn size(self) -> usize {
        match self {
            Self::F16 | Self::BF16 => 2,
            Self::F32 => 4,
            Self::F64 => 8,
        }
    }

    /// The value of the first bytes, the least significant byte last if
    /// `big_endian`; `None` if there are too few.
    pub(super) fn decode(self, bytes: &[u8], big_endian: bool) -> Option<f32> {
        let mut value = [0; 8];
        let value = &mut value[..self.size()];
        value.copy_from_slice(bytes.get(..self.size())?);
        if big_endian {
            value.reverse();
        }
        match self {
            Self::F16 => Some(f16::from_le_bytes(*value.first_chunk()?).to_f32()),
            Self::BF16 => Some(bf16::from_le_bytes(*value.first_chunk()?).to_f32()),
            Self::F32 => Some(f32::from_le_bytes(*value.first_chunk()?)),
            Self::F64 => Some(f64::from_le_bytes(*value.first_chunk()?) as f32),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sixteen_bit_types_are_decoded_exactly() {
        for (bits, value) in [
            (0x3c00_u16, 1.0),
            (0xc000, -2.0),
            (0x7bff, 65504.0),
            (0x0400, 6.103_515_6e-5),
            (0x0001, 5.960_464_5e-8),
            (0x3555, 0.333_251_95),
            (0xfc00, f32::NEG_INFINITY),
        ] {
            assert_eq!(
                Float::F16.decode(&bits.to_le_bytes(), false),
                Some(value),
                "{bits:#06x}"
            );
        }
        for (bits, value) in [(0x3f80_u16, 1.0), (0xc049, -3.140_625)] {
            assert_eq!(
                Float::BF16.decode(&bits.to_le_bytes(), false),
                Some(value),
                "{bits:#06x}"
            );
        }
        assert_eq!(Float::F16.decode(&[0], false), None);
    }
}
