//! Where does a value lie on an axis, and which places get a tick label?

use super::figure::{Axis, Scale};

/// Values beyond this are not shown: differences of them could overflow.
const LARGEST: f64 = 1e300;
/// A range smaller than this share of its values counts as empty: it is close
/// to the precision of the values.
const FINEST: f64 = 1e-9;

/// What lies on an axis.
#[derive(Debug, Clone, Default)]
pub(super) struct AxisValues {
    /// Positions of marks and ends of their intervals.
    pub points: Vec<f64>,
    /// How far a mark extends to both sides of its position: half a bar, half
    /// a cell.
    pub half: f64,
    /// Whether the axis must include zero, where bars begin.
    pub from_zero: bool,
    /// Whether the axis includes zero where the values are near it.
    pub near_zero: bool,
}

/// The shown range of an axis, in the units of its scale (values, or their
/// decimal logarithms).
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Span {
    scale: Scale,
    from: f64,
    to: f64,
    whole: bool,
    descending: bool,
}

/// A place with a tick label, or with a grid line alone.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Tick {
    /// Its part of the way along the axis, from 0 to 1.
    pub part: f64,
    /// Its label; `None` for a fine line between two labelled ones.
    pub label: Option<Label>,
}

/// A number in text: `2×10` and `6` for 2 million.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Label {
    /// The text.
    pub text: String,
    /// The exponent, drawn as a superscript after the text; may be empty.
    pub power: String,
}

impl Label {
    fn plain(text: String) -> Self {
        Label {
            text,
            power: String::new(),
        }
    }
}

impl Span {
    /// The range that `axis` shows for `values`.
    pub fn of(axis: &Axis, values: &AxisValues) -> Span {
        let span = |from, to, whole| Span {
            scale: axis.scale,
            from,
            to,
            whole,
            descending: false,
        };
        let points: Vec<f64> = values
            .points
            .iter()
            .filter_map(|&v| coordinate(axis.scale, v))
            .collect();
        let whole = !points.is_empty()
            && axis.scale == Scale::Linear
            && values
                .points
                .iter()
                .all(|value| !value.is_finite() || value.fract() == 0.0);
        if let Some((from, to)) = axis.range.and_then(|range| given(axis.scale, range)) {
            return span(from, to, whole);
        }
        if !axis.names.is_empty() && axis.scale == Scale::Linear {
            return span(0.5, axis.names.len() as f64 + 0.5, true);
        }
        let low = points.iter().copied().fold(f64::INFINITY, f64::min);
        let high = points.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        if points.is_empty() {
            return span(0.0, 1.0, false);
        }
        let (from, to) = match axis.scale {
            Scale::Linear => linear_range(low, high, whole, values),
            Scale::Log => log_range(low, high, values),
        };
        span(from, to, whole)
    }

    /// The same range with the largest value at the beginning of the axis.
    pub fn descending(self) -> Span {
        Span {
            descending: true,
            ..self
        }
    }

    /// The part of the way along the axis, from 0 to 1, at which `value` lies;
    /// `None` where the axis does not show it.
    pub fn part(&self, value: f64) -> Option<f64> {
        let part = self.unbounded(value)?;
        // Rounding must not exclude a value at the end of the range.
        (-1e-9..=1.0 + 1e-9).contains(&part).then(|| part.clamp(0.0, 1.0))
    }

    /// Like [`Span::part`], with values outside the range moved to its end.
    pub fn clamped(&self, value: f64) -> Option<f64> {
        self.unbounded(value).map(|part| part.clamp(0.0, 1.0))
    }

    /// Like [`Span::part`], below 0 or above 1 for values outside the range.
    pub fn unbounded(&self, value: f64) -> Option<f64> {
        coordinate(self.scale, value).map(|place| self.place(place))
    }

    fn place(&self, place: f64) -> f64 {
        let part = (place - self.from) / (self.to - self.from);
        if self.descending { 1.0 - part } else { part }
    }

    /// Ticks at round numbers, about `count` of them with a label.
    pub fn ticks(&self, count: usize) -> Vec<Tick> {
        let count = count.max(2) as f64;
        match self.scale {
            Scale::Linear => self.linear_ticks(self.from, self.to, count, |value| value),
            Scale::Log => self.log_ticks(count),
        }
    }

    fn linear_ticks(&self, from: f64, to: f64, count: f64, place: impl Fn(f64) -> f64) -> Vec<Tick> {
        let mut step = round_step((to - from) / count);
        if self.whole {
            step = step.max(1.0);
        }
        let largest = from.abs().max(to.abs());
        let first = (from / step - 1e-6).ceil();
        let last = (to / step + 1e-6).floor();
        let number = (last - first).clamp(0.0, 1000.0) as usize;
        (0..=number)
            .filter(|_| last >= first)
            .map(|index| {
                let value = (first + index as f64) * step;
                Tick {
                    part: self.place(place(value)).clamp(0.0, 1.0),
                    label: Some(number_label(value, step, largest)),
                }
            })
            .collect()
    }

    fn log_ticks(&self, count: f64) -> Vec<Tick> {
        let (first, last) = ((self.from - 1e-9).ceil(), (self.to + 1e-9).floor());
        let decades = last - first + 1.0;
        if decades >= 3.0 {
            return self.decade_ticks(first, last, round_stride(decades / count));
        }
        for factors in [&[1, 2, 5][..], &[1, 2, 3, 4, 5, 6, 7, 8, 9]] {
            let ticks = self.factor_ticks(factors);
            if ticks.len() >= 3 {
                return ticks;
            }
        }
        let (from, to) = (10f64.powf(self.from), 10f64.powf(self.to));
        self.linear_ticks(from, to, count, f64::log10)
    }

    /// Every `stride`-th decade, and the lines between them where there is room.
    fn decade_ticks(&self, first: f64, last: f64, stride: usize) -> Vec<Tick> {
        let mut ticks = Vec::new();
        let short = first >= -3.0 && last <= 4.0;
        for index in 0..=(last - first) as usize {
            let decade = first + index as f64;
            let named = decade.rem_euclid(stride as f64) == 0.0;
            // Decades without a label get a line while there are few.
            if named || stride <= 3 {
                ticks.push(Tick {
                    part: self.place(decade).clamp(0.0, 1.0),
                    label: named.then(|| decade_label(decade, short)),
                });
            }
        }
        if stride == 1 && last - first <= 6.0 {
            let fine = |tick: Tick| Tick { label: None, ..tick };
            ticks.extend(self.factor_ticks(&[2, 3, 4, 5, 6, 7, 8, 9]).into_iter().map(fine));
        }
        ticks
    }

    /// The ticks m·10^n in the range, for the given m.
    fn factor_ticks(&self, factors: &[u32]) -> Vec<Tick> {
        let mut ticks = Vec::new();
        let mut decade = self.from.floor();
        while decade <= self.to {
            for &factor in factors {
                let place = decade + f64::from(factor).log10();
                if (self.from - 1e-9..=self.to + 1e-9).contains(&place) {
                    ticks.push(Tick {
                        part: self.place(place).clamp(0.0, 1.0),
                        label: Some(factor_label(factor, decade)),
                    });
                }
            }
            decade += 1.0;
        }
        ticks
    }
}

/// A value in the units of a scale; `None` where the scale cannot show it.
fn coordinate(scale: Scale, value: f64) -> Option<f64> {
    match scale {
        Scale::Linear => (value.abs() <= LARGEST).then_some(value),
        Scale::Log => (1.0 / LARGEST..=LARGEST).contains(&value).then(|| value.log10()),
    }
}

/// A range that the caller asked for; `None` where it is empty or not finite.
fn given(scale: Scale, (from, to): (f64, f64)) -> Option<(f64, f64)> {
    let (from, to) = (coordinate(scale, from)?, coordinate(scale, to)?);
    let (from, to) = (from.min(to), from.max(to));
    (to - from > FINEST * from.abs().max(to.abs()).max(1e-280)).then_some((from, to))
}

fn linear_range(low: f64, high: f64, whole: bool, values: &AxisValues) -> (f64, f64) {
    let (mut from, mut to) = (low - values.half, high + values.half);
    if values.from_zero {
        (from, to) = (from.min(0.0), to.max(0.0));
    } else if values.near_zero && low > 0.0 && low < 0.4 * high {
        from = 0.0;
    }
    let largest = from.abs().max(to.abs());
    if to - from <= FINEST * largest || to - from < 1e-280 {
        let room = if whole {
            1.0
        } else {
            0.1 * largest.max(f64::from(largest == 0.0) * 10.0)
        };
        return (
            from - room.max(FINEST * largest * 10.0),
            to + room.max(FINEST * largest * 10.0),
        );
    }
    // Cells, bars and boxes have a margin already.
    if values.half > 0.0 {
        return (from, to);
    }
    let margin = 0.05 * (to - from);
    // Counts and errors are never negative: no margin below zero.
    let below = if from >= 0.0 {
        (from - margin).max(0.0)
    } else {
        from - margin
    };
    let above = if values.from_zero && to <= 0.0 {
        0.0
    } else {
        to + margin
    };
    (below, above)
}

fn log_range(low: f64, high: f64, values: &AxisValues) -> (f64, f64) {
    if high - low < FINEST {
        return (low - 0.5, high + 0.5);
    }
    let margin = 0.05 * (high - low);
    let below = if values.from_zero {
        low.floor().min(low - margin)
    } else {
        low - margin
    };
    (below, high + margin)
}

/// The smallest of 1, 2 and 5 times a power of ten that is at least 0.7 times
/// `wanted`.
fn round_step(wanted: f64) -> f64 {
    let power = 10f64.powf(wanted.log10().floor());
    let round = [1.0, 2.0, 5.0].into_iter().find(|round| round * power >= 0.7 * wanted);
    round.unwrap_or(10.0) * power
}

/// The smallest round number of decades that is not below `least`.
fn round_stride(least: f64) -> usize {
    let round = [1, 2, 3, 5, 10, 20, 50, 100]
        .into_iter()
        .find(|&round| f64::from(round) >= least);
    round.unwrap_or(200) as usize
}

/// `value` with enough digits to tell it from its neighbours `step` away.
fn number_label(value: f64, step: f64, largest: f64) -> Label {
    let last = (step.log10() + 1e-9).floor();
    if value.abs() < 0.5 * step {
        return Label::plain("0".to_string());
    }
    if (1e-3..1e6).contains(&largest) && last >= -6.0 {
        let digits = (-last).max(0.0) as usize;
        return Label::plain(signed(&format!("{value:.digits$}")));
    }
    let first = largest.log10().floor();
    let digits = (first - last).clamp(0.0, 15.0) as usize;
    Label {
        text: signed(&format!("{:.digits$}×10", value / 10f64.powf(first))),
        power: signed(&format!("{first:.0}")),
    }
}

fn decade_label(decade: f64, short: bool) -> Label {
    if short {
        factor_label(1, decade)
    } else {
        Label {
            text: "10".to_string(),
            power: signed(&format!("{decade:.0}")),
        }
    }
}

fn factor_label(factor: u32, decade: f64) -> Label {
    if (-4.0..=4.0).contains(&decade) {
        let digits = (-decade).max(0.0) as usize;
        let value = f64::from(factor) * 10f64.powf(decade);
        return Label::plain(format!("{value:.digits$}"));
    }
    let text = if factor == 1 {
        "10".to_string()
    } else {
        format!("{factor}×10")
    };
    Label {
        text,
        power: signed(&format!("{decade:.0}")),
    }
}

/// The number with a minus sign (U+2212) instead of a hyphen.
fn signed(number: &str) -> String {
    number.replacen('-', "−", 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn names(axis: &Axis, points: &[f64], count: usize) -> Vec<String> {
        let values = AxisValues {
            points: points.to_vec(),
            ..AxisValues::default()
        };
        let label = |tick: Tick| tick.label.map(|label| label.text + &label.power);
        Span::of(axis, &values)
            .ticks(count)
            .into_iter()
            .filter_map(label)
            .collect()
    }

    #[test]
    fn ticks_are_round() {
        assert_eq!(names(&Axis::linear(""), &[0.0, 9.3], 5), ["0", "2", "4", "6", "8"]);
        assert_eq!(
            names(&Axis::linear(""), &[-0.1, 0.1], 4),
            ["−0.10", "−0.05", "0", "0.05", "0.10"]
        );
        assert_eq!(
            names(&Axis::linear("").within(0.0, 3e7), &[], 3),
            ["0", "1×107", "2×107", "3×107"]
        );
    }

    #[test]
    fn whole_numbers_get_whole_ticks() {
        assert_eq!(names(&Axis::linear(""), &[1.0, 2.0, 3.0], 10), ["1", "2", "3"]);
        assert_eq!(names(&Axis::linear(""), &[7.0], 10), ["6", "7", "8"]);
    }

    #[test]
    fn logarithms_get_decades_or_what_fits() {
        assert_eq!(
            names(&Axis::log(""), &[0.01, 100.0], 6),
            ["0.01", "0.1", "1", "10", "100"]
        );
        assert_eq!(
            names(&Axis::log(""), &[1e-8, 1.0], 5),
            ["10−8", "10−6", "10−4", "10−2", "100"]
        );
        assert_eq!(names(&Axis::log(""), &[1.0, 30.0], 6), ["1", "2", "5", "10", "20"]);
        assert!(names(&Axis::log(""), &[1.0, 1.05], 5).len() >= 3);
    }

    #[test]
    fn what_has_no_place_is_left_out() {
        let span = Span::of(&Axis::log(""), &AxisValues::default());
        assert_eq!(span.part(0.0), None);
        assert_eq!(span.part(-1.0), None);
        assert_eq!(span.part(f64::NAN), None);
        assert_eq!(span.part(f64::INFINITY), None);
        assert_eq!(span.part(1.0), Some(0.0));
    }

    #[test]
    fn a_descending_axis_begins_with_the_largest_value() {
        let span = Span::of(&Axis::linear("").within(0.0, 4.0), &AxisValues::default()).descending();
        assert_eq!(
            [span.part(4.0), span.part(3.0), span.part(0.0)],
            [0.0, 0.25, 1.0].map(Some)
        );
        assert_eq!(span.part(5.0), None);
        assert!(span.ticks(4).windows(2).all(|pair| pair[0].part > pair[1].part));
    }

    #[test]
    fn a_range_that_is_none_is_not_taken() {
        for (from, to) in [(1.0, 1.0), (f64::NAN, 1.0), (0.0, f64::INFINITY)] {
            let span = Span::of(&Axis::linear("").within(from, to), &AxisValues::default());
            assert_eq!(span.part(0.5), Some(0.5));
        }
        let turned = Span::of(&Axis::linear("").within(4.0, 0.0), &AxisValues::default());
        assert_eq!(turned.part(1.0), Some(0.25));
    }

    proptest! {
        #[test]
        fn any_values_have_a_place_and_few_ticks(
            points in proptest::collection::vec(proptest::num::f64::ANY, 0..6),
            log in any::<bool>(),
        ) {
            let axis = if log { Axis::log("") } else { Axis::linear("") };
            let span = Span::of(&axis, &AxisValues { points: points.clone(), ..AxisValues::default() });
            for &point in &points {
                prop_assert_eq!(span.part(point).is_some(), coordinate(axis.scale, point).is_some());
            }
            let ticks = span.ticks(6);
            prop_assert!(ticks.len() <= 80, "{} ticks", ticks.len());
            prop_assert!(ticks.iter().all(|tick| (0.0..=1.0).contains(&tick.part)));
        }
    }
}
