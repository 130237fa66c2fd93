//! The floating-point types that weights are stored in, as f32.

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
            Self::F16 => Some(from_f16(u16::from_le_bytes(*bytes.first_chunk()?))),
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

/// IEEE 754 binary16: 1 sign, 5 exponent and 10 fraction bits.
fn from_f16(bits: u16) -> f32 {
    const SMALLEST: f32 = 1.0 / (1 << 24) as f32;
    let fraction = u32::from(bits & 0x3ff);
    let magnitude = match u32::from(bits >> 10 & 0x1f) {
        0 => fraction as f32 * SMALLEST,
        31 => f32::from_bits(0x7f80_0000 | fraction << 13),
        exponent => f32::from_bits((exponent + 112) << 23 | fraction << 13),
    };
    if bits >> 15 == 1 { -magnitude } else { magnitude }
}

/// bfloat16: the upper half of an f32.
fn from_bf16(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f16_values_are_exact() {
        for (bits, value) in [
            (0x0000, 0.0),
            (0x3c00, 1.0),
            (0xc000, -2.0),
            (0x7bff, 65504.0),
            (0x0400, 6.103_515_6e-5),
            (0x0001, 5.960_464_5e-8),
            (0x03ff, 6.097_555e-5),
            (0x3555, 0.333_251_95),
            (0x7c00, f32::INFINITY),
            (0xfc00, f32::NEG_INFINITY),
        ] {
            assert_eq!(from_f16(bits), value, "{bits:#06x}");
        }
        assert!(from_f16(0x7e00).is_nan());
        assert!(from_f16(0x8000).is_sign_negative());
    }

    #[test]
    fn bf16_is_a_shortened_f32() {
        assert_eq!(from_bf16(0x3f80), 1.0);
        assert_eq!(from_bf16(0xc049), -3.140_625);
    }
}
