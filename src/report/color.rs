//! Which colours does a figure use, on a light and on a dark ground?
//!
//! Series use the palette of Okabe and Ito (2008), whose colours people with any
//! kind of colour vision can tell apart. A matrix of magnitudes goes from the
//! ground's lightness to its opposite in even steps (OKLab), so that it can be
//! read in greyscale print. A matrix of signed values has a neutral middle for
//! zero, and goes to blue below and to red above it, equally far for equal
//! amounts.
//!
//! A drawing contains the colours for a light ground. Rules of a style sheet
//! replace them where the reader prefers dark: renderers without style sheets
//! for media, such as that of the PNG files, stay light.

use std::fmt::Write;

/// The ground, and outlines that separate marks from what is below them.
pub(super) const GROUND: &str = "#ffffff";
/// Text and axes.
pub(super) const INK: &str = "#222222";
/// Tick labels, and levels that belong to no series.
pub(super) const FAINT: &str = "#555555";
/// Grid lines.
pub(super) const GRID: &str = "#e6e6e6";
/// Outlines of shaded ranges in the legend.
pub(super) const RIM: &str = "#bbbbbb";
/// Shaded ranges, in order.
pub(super) const SHADES: [&str; 3] = ["#f1f1f1", "#e3edf7", "#f6ecdc"];

const SERIES: [&str; 6] = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#4d4d4d"];

/// Each colour that is not of a matrix: on a light ground, on a dark one.
const PAIRS: [(&str, &str); 14] = [
    (GROUND, "#16181b"),
    (INK, "#e8e8e8"),
    (FAINT, "#a9adb3"),
    (GRID, "#2c3036"),
    (RIM, "#5d636b"),
    (SHADES[0], "#22262b"),
    (SHADES[1], "#1b2a3a"),
    (SHADES[2], "#33291a"),
    (SERIES[0], "#4fa8e0"),
    (SERIES[1], "#f0b030"),
    (SERIES[2], "#2cc196"),
    (SERIES[3], "#e39ac2"),
    (SERIES[4], "#a5dcff"),
    (SERIES[5], "#b9bcc0"),
];

/// Number of the steps of a matrix's colours, from one end to the other.
pub(super) const STEPS: usize = 64;

/// Lightest, middle and darkest colour of magnitudes in OKLab; their lightness
/// is evenly spaced. A dark ground reverses the order.
const MAGNITUDES: [[f64; 3]; 3] = [[0.95, -0.02, 0.06], [0.62, -0.065, -0.045], [0.29, 0.015, -0.11]];
/// The most negative value, zero, and the most positive value in OKLab.
const SIGNED: [[f64; 3]; 3] = [[0.47, -0.045, -0.125], [0.965, 0.0, 0.0], [0.47, 0.13, 0.085]];
/// The same on a dark ground.
const SIGNED_DARK: [[f64; 3]; 3] = [[0.80, -0.06, -0.09], [0.30, 0.0, 0.0], [0.80, 0.09, 0.10]];

/// The colour of a series, by its number.
pub(super) fn series(number: usize) -> &'static str {
    SERIES[number % SERIES.len()]
}

/// What the colours of a matrix mean.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct HeatScale {
    /// The smallest value.
    pub low: f64,
    /// The largest value.
    pub high: f64,
    /// Whether values have a sign: then zero is in the middle of the range.
    pub signed: bool,
}

impl HeatScale {
    /// The colour of `value`.
    pub fn color(&self, value: f64) -> String {
        let part = (value - self.low) / (self.high - self.low);
        step(self.signed, (part.clamp(0.0, 1.0) * STEPS as f64).round() as usize)
    }
}

/// Red, green and blue of a signed value between -1 and 1.
pub(super) fn rgb(value: f64) -> [u8; 3] {
    let number = ((value + 1.0) / 2.0 * STEPS as f64).round() as usize;
    from_oklab(mixed(&SIGNED, number.min(STEPS)))
}

/// The colour of a step of a matrix.
fn step(signed: bool, number: usize) -> String {
    hex(mixed(if signed { &SIGNED } else { &MAGNITUDES }, number))
}

/// What replaces [`step`] on a dark ground.
fn dark_step(signed: bool, number: usize) -> String {
    if signed {
        hex(mixed(&SIGNED_DARK, number))
    } else {
        hex(mixed(&MAGNITUDES, STEPS - number))
    }
}

fn mixed(ends: &[[f64; 3]; 3], number: usize) -> [f64; 3] {
    let place = 2.0 * number as f64 / STEPS as f64;
    let (low, high, weight) = if place < 1.0 {
        (ends[0], ends[1], place)
    } else {
        (ends[1], ends[2], place - 1.0)
    };
    std::array::from_fn(|axis| low[axis] + weight * (high[axis] - low[axis]))
}

fn hex(color: [f64; 3]) -> String {
    let [red, green, blue] = from_oklab(color);
    format!("#{red:02x}{green:02x}{blue:02x}")
}

/// The rules of a style sheet that replace the colours of `drawing` on a dark
/// ground, for elements in `scope` (a selector with a space after it, or empty).
pub(super) fn dark_rules(scope: &str, drawing: &str) -> String {
    let steps = [false, true]
        .into_iter()
        .flat_map(|signed| (0..=STEPS).map(move |number| (step(signed, number), dark_step(signed, number))));
    let fixed = PAIRS.iter().map(|(light, dark)| (light.to_string(), dark.to_string()));
    let mut rules = String::new();
    for (light, dark) in fixed.chain(steps) {
        for property in ["fill", "stroke"] {
            if drawing.contains(&format!("{property}=\"{light}\"")) {
                let _ = write!(rules, "{scope}[{property}=\"{light}\"]{{{property}:{dark}}}");
            }
        }
    }
    format!("@media screen and (prefers-color-scheme:dark){{{rules}}}")
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

    /// The lightness of a colour: a weighted sum of its parts.
    fn brightness(color: &str) -> u32 {
        let part = |place: usize| u32::from_str_radix(&color[1 + 2 * place..3 + 2 * place], 16).unwrap();
        3 * part(0) + 6 * part(1) + part(2)
    }

    #[test]
    fn magnitudes_darken_all_the_way_on_light_and_brighten_on_dark() {
        let light: Vec<u32> = (0..=STEPS).map(|number| brightness(&step(false, number))).collect();
        let dark: Vec<u32> = (0..=STEPS)
            .map(|number| brightness(&dark_step(false, number)))
            .collect();
        assert!(light.windows(2).all(|pair| pair[1] < pair[0]), "{light:?}");
        assert!(dark.windows(2).all(|pair| pair[1] > pair[0]), "{dark:?}");
    }

    #[test]
    fn zero_is_neutral_and_both_signs_are_equally_strong() {
        let scale = HeatScale {
            low: -4.0,
            high: 4.0,
            signed: true,
        };
        assert_eq!(scale.color(0.0), step(true, STEPS / 2));
        assert_eq!(scale.color(4.0), step(true, STEPS));
        assert_eq!(scale.color(-1.0), step(true, 3 * STEPS / 8));
        let middle = &step(true, STEPS / 2)[1..];
        assert!(middle[0..2] == middle[2..4], "{middle} has no hue");
        for number in 0..STEPS / 2 {
            let (below, above) = (step(true, number), step(true, STEPS - number));
            let nearer = step(true, number + 1);
            assert!(brightness(&below) < brightness(&nearer), "step {number}");
            assert!(below != above);
        }
    }

    #[test]
    fn every_colour_has_one_replacement() {
        let fixed = PAIRS.iter().map(|pair| pair.0.to_string());
        let steps = [false, true]
            .into_iter()
            .flat_map(|signed| (0..=STEPS).map(move |number| step(signed, number)));
        let all: Vec<String> = fixed.chain(steps).collect();
        let different: std::collections::HashSet<&String> = all.iter().collect();
        assert_eq!(different.len(), all.len());
    }

    #[test]
    fn rules_are_written_for_the_colours_that_are_used() {
        let rules = dark_rules(".plot ", r##"<path fill="#222222" stroke="#0072b2"/>"##);
        assert_eq!(
            rules,
            "@media screen and (prefers-color-scheme:dark){.plot [fill=\"#222222\"]{fill:#e8e8e8}\
             .plot [stroke=\"#0072b2\"]{stroke:#4fa8e0}}"
        );
    }
}
