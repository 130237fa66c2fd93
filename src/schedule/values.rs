//! How are values written to device memory and read back, in the precision
//! that they are stored in?

use half::f16;

use crate::gpu::{Binding, Gpu, GpuError};
use crate::graph::Precision;

/// Writes `values` to `place`, stored in `precision`, before the next
/// submission runs. 16-bit values are rounded to the nearest, ties to even.
pub fn write_values(gpu: &Gpu, place: &Binding, precision: Precision, values: &[f32]) {
    match precision {
        Precision::F32 => gpu.write(&place.buffer, place.offset, values),
        Precision::F16 => gpu.write(&place.buffer, place.offset, &to_f16_bits(values)),
    }
}

/// Waits for all submitted work and reads the first `count` values of `place`,
/// which are stored in `precision`.
///
/// # Errors
/// Where the device is lost or has reported an error.
pub fn read_values(gpu: &Gpu, place: &Binding, precision: Precision, count: usize) -> Result<Vec<f32>, GpuError> {
    let range = place.offset..place.offset + place.size;
    match precision {
        Precision::F32 => {
            let mut values: Vec<f32> = gpu.read(&place.buffer, range)?;
            values.truncate(count);
            Ok(values)
        }
        Precision::F16 => {
            let bits: Vec<u16> = gpu.read(&place.buffer, range)?;
            let values = bits.iter().take(count);
            Ok(values.map(|&bits| f16::from_bits(bits).to_f32()).collect())
        }
    }
}

/// The bits of `values` as 16-bit floats. Where they are an odd number, a zero
/// follows: devices read them two at a time.
fn to_f16_bits(values: &[f32]) -> Vec<u16> {
    let mut bits: Vec<u16> = values.iter().map(|&value| f16::from_f32(value).to_bits()).collect();
    bits.resize(values.len().next_multiple_of(2), 0);
    bits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_round_to_the_nearest_and_ties_to_even() {
        let bits = |value: f32| to_f16_bits(&[value])[0];
        for low in 0..0x7bff_u16 {
            let middle = 0.5 * (f16::from_bits(low).to_f32() + f16::from_bits(low + 1).to_f32());
            let even = low + (low & 1);
            assert_eq!(bits(middle), even);
            assert_eq!(bits(-middle), even | 0x8000);
            assert_eq!(bits(middle.next_up()), low + 1);
            assert_eq!(bits(middle.next_down()), low);
        }
        assert_eq!(bits(65_519.996), 0x7bff);
        assert_eq!(bits(65_520.0), 0x7c00);
        assert_eq!(bits(f32::NEG_INFINITY), 0xfc00);
    }

    #[test]
    fn an_odd_number_of_values_ends_with_a_zero() {
        assert_eq!(to_f16_bits(&[1.0, -2.0, 65504.0]), [0x3c00, 0xc000, 0x7bff, 0]);
        assert_eq!(to_f16_bits(&[1.0, 5.960_464_5e-8]), [0x3c00, 0x0001]);
    }
}
