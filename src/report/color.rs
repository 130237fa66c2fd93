//! Which colours does a figure use?
//!
//! Series use the palette of Okabe and Ito (2008), whose colours people with any
//! kind of colour vision can tell apart; vermilion is reserved for the marks that
//! the caption refers to. A matrix goes from light to dark in even steps of
//! lightness (OKLab), so that it can be read in greyscale print.

/// Text and axes.
pub(super) const INK: &str = "#222222";
/// Tick labels and levels.
pub(super) const FAINT: &str = "#555555";
/// Grid lines.
pub(super) const GRID: &str = "#e6e6e6";
/// Marks that the caption refers to.
pub(super) const STRONG: &str = "#d55e00";
/// Shaded ranges, in order.
pub(super) const SHADES: [&str; 3] = ["#f1f1f1", "#e3edf7", "#f6ecdc"];

const SERIES: [&str; 6] = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#4d4d4d"];

/// Lightest, middle and darkest colour of a matrix in OKLab; their lightness
/// is evenly spaced.
const HEAT: [[f64; 3]; 3] = [[0.95, -0.02, 0.06], [0.62, -0.065, -0.045], [0.29, 0.015, -0.11]];

/// The colour of a series, by its number.
pub(super) fn series(number: usize) -> &'static str {
    SERIES[number % SERIES.len()]
}

/// The colour of a matrix at `part` of its range, from 0 to 1.
pub(super) fn heat(part: f64) -> String {
    let place = 2.0 * part.clamp(0.0, 1.0);
    let (low, high) = if place < 1.0 {
        (HEAT[0], HEAT[1])
    } else {
        (HEAT[1], HEAT[2])
    };
    let weight = if place < 1.0 { place } else { place - 1.0 };
    let mixed: [f64; 3] = std::array::from_fn(|axis| low[axis] + weight * (high[axis] - low[axis]));
    let [red, green, blue] = from_oklab(mixed);
    format!("#{red:02x}{green:02x}{blue:02x}")
}

/// OKLab to sRGB with eight bits each (Ottosson 2020).
fn from_oklab([lightness, a, b]: [f64; 3]) -> [u8; 3] {
    let long = (lightness + 0.396_337_777_4 * a + 0.215_803_757_3 * b).powi(3);
    let medium = (lightness - 0.105_561_345_8 * a - 0.063_854_172_8 * b).powi(3);
    let short = (lightness - 0.089_484_177_5 * a - 1.291_485_548_0 * b).powi(3);
    let linear = [
        4.076_741_662_1 * long - 3.307_711_591_3 * medium + 0.230_969_929_2 * short,
        -1.268_438_004_6 * long + 2.609_757_401_1 * medium - 0.341_319_396_5 * short,
        -0.004_196_086_3 * long - 0.703_418_614_7 * medium + 1.707_614_701_0 * short,
    ];
    linear.map(|value| {
        let value = value.clamp(0.0, 1.0);
        let coded = if value <= 0.003_130_8 {
            12.92 * value
        } else {
            1.055 * value.powf(1.0 / 2.4) - 0.055
        };
        (255.0 * coded).round() as u8
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn oklab_meets_known_colours() {
        assert_eq!(from_oklab([1.0, 0.0, 0.0]), [255, 255, 255]);
        assert_eq!(from_oklab([0.0, 0.0, 0.0]), [0, 0, 0]);
        assert_eq!(from_oklab([0.627_955, 0.224_863, 0.125_846]), [255, 0, 0]);
    }

    #[test]
    fn a_matrix_darkens_all_the_way() {
        let brightness = |step: u32| -> u32 {
            let colour = heat(f64::from(step) / 20.0);
            (0..3)
                .map(|channel| u32::from_str_radix(&colour[1 + 2 * channel..3 + 2 * channel], 16).unwrap())
                .zip([3, 6, 1])
                .map(|(value, weight)| value * weight)
                .sum()
        };
        let steps: Vec<u32> = (0..=20).map(brightness).collect();
        assert!(steps.windows(2).all(|pair| pair[1] < pair[0]), "{steps:?}");
    }
}
