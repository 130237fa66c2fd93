//! 16-bit floats (IEEE 754 binary16), as their bits: 1 sign, 5 exponent and
//! 10 fraction bits.

/// The value of `bits`, exactly.
pub fn widen(bits: u16) -> f32 {
    const SMALLEST: f32 = 1.0 / (1 << 24) as f32;
    let fraction = u32::from(bits & 0x3ff);
    let magnitude = match u32::from(bits >> 10 & 0x1f) {
        0 => fraction as f32 * SMALLEST,
        31 => f32::from_bits(0x7f80_0000 | fraction << 13),
        exponent => f32::from_bits((exponent + 112) << 23 | fraction << 13),
    };
    if bits >> 15 == 1 { -magnitude } else { magnitude }
}

/// The nearest 16-bit float, of two equally near ones the even one. From
/// 65520 on that is infinity.
pub fn narrow(value: f32) -> u16 {
    /// The smallest normal number, 2⁻¹⁴; below it steps are all of 2⁻²⁴.
    const NORMAL: f32 = 1.0 / (1 << 14) as f32;
    let sign = (value.to_bits() >> 16) as u16 & 0x8000;
    let magnitude = value.abs();
    let bits = if magnitude.is_nan() {
        0x7e00
    } else if magnitude >= 65_520.0 {
        0x7c00
    } else if magnitude < NORMAL {
        (magnitude * (1 << 24) as f32).round_ties_even() as u16
    } else {
        let bits = magnitude.to_bits();
        // Half a step, less a little where the last bit kept is even.
        let rounded = bits + 0xfff + (bits >> 13 & 1);
        ((rounded >> 13) - (112 << 10)) as u16
    };
    sign | bits
}

/// [`narrow`] of each value, and a zero where they are an odd number: devices
/// take words of two.
pub fn pack(values: &[f32]) -> Vec<u16> {
    let mut halves: Vec<u16> = values.iter().map(|&value| narrow(value)).collect();
    halves.resize(values.len().next_multiple_of(2), 0);
    halves
}

/// [`widen`] of each value.
pub fn unpack(halves: &[u16]) -> Vec<f32> {
    halves.iter().map(|&bits| widen(bits)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_exact() {
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
            assert_eq!(widen(bits), value, "{bits:#06x}");
        }
        assert!(widen(0x7e00).is_nan());
        assert!(widen(0x8000).is_sign_negative());
    }

    #[test]
    fn every_value_is_its_own_nearest() {
        for bits in 0..=u16::MAX {
            let value = widen(bits);
            if value.is_nan() {
                assert!(widen(narrow(value)).is_nan());
            } else {
                assert_eq!(narrow(value), bits, "{value}");
            }
        }
    }

    #[test]
    fn what_lies_between_goes_to_the_nearest_and_ties_to_the_even() {
        for bits in 0..0x7bff_u16 {
            let (low, high) = (widen(bits), widen(bits + 1));
            let middle = 0.5 * (low + high);
            let even = bits + (bits & 1);
            assert_eq!(narrow(middle), even);
            assert_eq!(narrow(-middle), even | 0x8000);
            assert_eq!(narrow(middle.next_up()), bits + 1);
            assert_eq!(narrow(middle.next_down()), bits);
        }
        assert_eq!(narrow(65_519.996), 0x7bff);
        assert_eq!(narrow(65_520.0), 0x7c00);
        assert_eq!(narrow(f32::NEG_INFINITY), 0xfc00);
    }
}
