//! What is left of several measurements of one thing?

/// The best and the middle of several times.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    /// The shortest, seconds: what the device does when nothing disturbs it.
    pub best: f64,
    /// The median, seconds (of an even number, the lower one): a time that
    /// was measured.
    pub median: f64,
}

impl Spread {
    /// Of `seconds`; `None` where there are none.
    pub fn of(seconds: &[f64]) -> Option<Self> {
        let mut sorted = seconds.to_vec();
        sorted.sort_by(f64::total_cmp);
        let middle = sorted.len().checked_sub(1)? / 2;
        Some(Spread {
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
        let spread = Spread::of(&[5.0, 1.0, 4.0, 2.0]).unwrap();
        assert_eq!((spread.best, spread.median), (1.0, 2.0));
        assert_eq!(Spread::of(&[3.0]).unwrap().median, 3.0);
        assert_eq!(Spread::of(&[]), None);
    }
}
