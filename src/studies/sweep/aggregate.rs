//! What do runs that differ in their seed alone say together?
//!
//! Papers report the median of several runs: "median of 5" (Zagoruyko and
//! Komodakis 2016).

use super::Trained;
use super::grid::SEED;

/// The runs of one point for all its seeds.
#[derive(Debug, Clone)]
pub struct Group<'a> {
    /// The settings that vary, without the seed.
    pub values: Vec<(String, String)>,
    /// Its runs, in the order of the sweep.
    pub runs: Vec<&'a Trained>,
}

/// The middle and the ends of some numbers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    /// The middle one; between two in the middle, their mean.
    pub median: f64,
    /// The smallest.
    pub least: f64,
    /// The largest.
    pub most: f64,
}

/// The middle and the ends of `values`; none of no values.
pub fn spread(values: impl IntoIterator<Item = f64>) -> Option<Spread> {
    let mut sorted: Vec<f64> = values.into_iter().collect();
    sorted.sort_by(f64::total_cmp);
    let (least, most) = (*sorted.first()?, *sorted.last()?);
    let middle = sorted.len() / 2;
    let median = match sorted.len() % 2 {
        0 => (sorted[middle - 1] + sorted[middle]) / 2.0,
        _ => sorted[middle],
    };
    Some(Spread { median, least, most })
}

/// The runs by their values without the seed, in the order of first
/// appearance.
pub fn groups(results: &[Trained]) -> Vec<Group<'_>> {
    let mut groups: Vec<Group> = Vec::new();
    for run in results {
        let mut values = run.point.values.clone();
        values.retain(|(key, _)| key != SEED);
        match groups.iter_mut().find(|group| group.values == values) {
            Some(group) => group.runs.push(run),
            None => groups.push(Group {
                values,
                runs: vec![run],
            }),
        }
    }
    groups
}

impl Group<'_> {
    /// The middle and the ends of what `of` says of each run.
    pub fn spread(&self, of: impl Fn(&Trained) -> Option<f64>) -> Option<Spread> {
        spread(self.runs.iter().filter_map(|run| of(run)))
    }

    /// The median of what `of` says of each run.
    pub fn median(&self, of: impl Fn(&Trained) -> Option<f64>) -> Option<f64> {
        self.spread(of).map(|spread| spread.median)
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
    fn the_median_is_the_middle() {
        let three = spread([0.3, 0.1, 0.2]).unwrap();
        assert_eq!((three.median, three.least, three.most), (0.2, 0.1, 0.3));
        assert_eq!(spread([4.0, 1.0, 2.0, 3.0]).unwrap().median, 2.5);
        assert_eq!(spread([]), None);
    }

    #[test]
    fn runs_that_differ_in_the_seed_alone_are_one_group() {
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
        let errors = groups[0].spread(Trained::test_error).unwrap();
        assert_eq!((errors.median, errors.least, errors.most), (0.2, 0.1, 0.5));
        assert_eq!(groups[1].median(Trained::test_error), Some(0.8));
        // A run that diverged has no error; the others still do.
        results[1].diverged = Some(3);
        let groups = super::groups(&results);
        assert_eq!(groups[1].median(Trained::test_error), Some(0.7));
    }
}
