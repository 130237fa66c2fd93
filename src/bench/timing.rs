//! How are several times of one thing summarised?

/// The shortest and the median of several times.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TimingSummary {
    /// The shortest time, in seconds: the least disturbed one.
    pub best: f64,
    /// The median, in seconds; of an even number of times the mean of the two in
    /// the middle.
    pub median: f64,
}

impl TimingSummary {
    /// The summary of `seconds`; `None` where there are none.
    pub fn of(seconds: &[f64]) -> Option<Self> {
        let mut sorted = seconds.to_vec();
        sorted.sort_by(f64::total_cmp);
        let last = sorted.len().checked_sub(1)?;
        Some(TimingSummary {
            best: sorted[0],
            median: 0.5 * (sorted[last / 2] + sorted[sorted.len() / 2]),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn best_and_median_are_of_the_sample() {
        let timing = TimingSummary::of(&[5.0, 1.0, 4.0, 2.0]).unwrap();
        assert_eq!((timing.best, timing.median), (1.0, 3.0));
        assert_eq!(TimingSummary::of(&[5.0, 1.0, 4.0]).unwrap().median, 4.0);
        assert_eq!(TimingSummary::of(&[3.0]).unwrap().median, 3.0);
        assert_eq!(TimingSummary::of(&[]), None);
    }
}
