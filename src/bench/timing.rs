//! How are several times of one thing summarised?

/// The shortest and the median of several times.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TimingSummary {
    /// The shortest time, in seconds: the least disturbed one.
    pub best: f64,
    /// The median, in seconds; of an even number of times the lower of the two
    /// in the middle, so that it is a measured time.
    pub median: f64,
}

impl TimingSummary {
    /// The summary of `seconds`; `None` where there are none.
    pub fn of(seconds: &[f64]) -> Option<Self> {
        let mut sorted = seconds.to_vec();
        sorted.sort_by(f64::total_cmp);
        let middle = sorted.len().checked_sub(1)? / 2;
        Some(TimingSummary {
            best: sorted[0],
            median: sorted[middle],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn best_and_median_are_of_the_sample() {
        let timing = TimingSummary::of(&[5.0, 1.0, 4.0, 2.0]).unwrap();
        assert_eq!((timing.best, timing.median), (1.0, 2.0));
        assert_eq!(TimingSummary::of(&[3.0]).unwrap().median, 3.0);
        assert_eq!(TimingSummary::of(&[]), None);
    }
}
