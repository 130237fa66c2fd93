//! How are runs that differ only in their seed aggregated?
//!
//! Papers report the median of several runs: "median of 5" (Zagoruyko and
//! Komodakis 2016, arXiv:1605.07146).

use super::TrainedPoint;
use super::grid::SEED;

/// Runs with the same settings apart from the seed.
#[derive(Debug, Clone)]
pub struct SeedGroup<'a> {
    /// The settings that vary, without the seed.
    pub values: Vec<(String, String)>,
    /// The runs, in the order of the sweep.
    pub runs: Vec<&'a TrainedPoint>,
}

/// Median, smallest and largest of some numbers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MedianRange {
    /// The median; the mean of the two middle numbers for an even count.
    pub median: f64,
    /// The smallest number.
    pub least: f64,
    /// The largest number.
    pub most: f64,
}

/// Median, smallest and largest of `values`; `None` if there are no values.
pub fn median_range(values: impl IntoIterator<Item = f64>) -> Option<MedianRange> {
    let mut sorted: Vec<f64> = values.into_iter().collect();
    sorted.sort_by(f64::total_cmp);
    let (least, most) = (*sorted.first()?, *sorted.last()?);
    let middle = sorted.len() / 2;
    let median = match sorted.len() % 2 {
        0 => (sorted[middle - 1] + sorted[middle]) / 2.0,
        _ => sorted[middle],
    };
    Some(MedianRange { median, least, most })
}

/// Groups the runs by all their values but the seed, in the order of first
/// appearance.
pub fn groups(results: &[TrainedPoint]) -> Vec<SeedGroup<'_>> {
    let mut groups: Vec<SeedGroup> = Vec::new();
    for run in results {
        let mut values = run.point.values.clone();
        values.retain(|(key, _)| key != SEED);
        match groups.iter_mut().find(|group| group.values == values) {
            Some(group) => group.runs.push(run),
            None => groups.push(SeedGroup {
                values,
                runs: vec![run],
            }),
        }
    }
    groups
}

impl SeedGroup<'_> {
    /// Median, smallest and largest of `of` over the runs that have it.
    pub fn median_range(&self, of: impl Fn(&TrainedPoint) -> Option<f64>) -> Option<MedianRange> {
        median_range(self.runs.iter().filter_map(|run| of(run)))
    }

    /// The median of `of` over the runs that have it.
    pub fn median(&self, of: impl Fn(&TrainedPoint) -> Option<f64>) -> Option<f64> {
        self.median_range(of).map(|range| range.median)
    }

    /// The value of the setting `key`, if it varies.
    pub fn value(&self, key: &str) -> Option<&str> {
        let found = self.values.iter().find(|(own, _)| own == key);
        found.map(|(_, value)| value.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::trained;
    use super::*;

    #[test]
    fn the_median_is_the_middle_value() {
        let three = median_range([0.3, 0.1, 0.2]).unwrap();
        assert_eq!((three.median, three.least, three.most), (0.2, 0.1, 0.3));
        assert_eq!(median_range([4.0, 1.0, 2.0, 3.0]).unwrap().median, 2.5);
        assert_eq!(median_range([]), None);
    }

    #[test]
    fn runs_that_differ_only_in_the_seed_are_one_group() {
        let run = |model: &str, seed: &str, error: f64| trained(&[("model", model), ("seed", seed)], &[error]);
        let mut results = vec![
            run("a", "0", 0.5),
            run("b", "0", 0.9),
            run("a", "1", 0.1),
            run("a", "2", 0.2),
            run("b", "1", 0.7),
        ];
        let groups = groups(&results);
        assert_eq!(groups.len(), 2);
        assert_eq!(groups[0].values, [("model".to_string(), "a".to_string())]);
        let errors = groups[0].median_range(TrainedPoint::test_error).unwrap();
        assert_eq!((errors.median, errors.least, errors.most), (0.2, 0.1, 0.5));
        assert_eq!(groups[1].median(TrainedPoint::test_error), Some(0.8));
        // A run that diverged has no error. The others still have one.
        results[1].diverged = Some(3);
        let groups = super::groups(&results);
        assert_eq!(groups[1].median(TrainedPoint::test_error), Some(0.7));
    }
}
