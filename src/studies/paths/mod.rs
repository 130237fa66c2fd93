//! How long are the paths of a network, and which lengths carry the gradient?
//!
//! A chain of n residual blocks is a sum over 2ⁿ paths. Each path takes the
//! branch or the shortcut of every block (Veit, Wilber and Belongie 2016,
//! arXiv:1605.06431). In other networks, too, paths are counted (`lengths.rs`);
//! the gradient on single paths is for chains. [`PathStudy`] runs the whole study.

mod gradient;
mod lengths;
mod report;
mod study;

use std::ops::RangeInclusive;

use crate::graph::Graph;

pub use gradient::{PathNorms, PathSampling, path_norms};
pub use lengths::{LengthUnit, PathLengths, path_lengths};
pub use report::PathFindings;
pub use study::PathStudy;

/// The share of paths of each length, from length 0. The length of a path is
/// the number of branches it takes. The distribution is binomial if the blocks
/// are residual and form a chain. A layer without a shortcut is part of every
/// path.
pub fn lengths_in_blocks(graph: &Graph) -> Vec<f64> {
    path_lengths(graph, LengthUnit::Blocks).shares
}

/// As [`lengths_in_blocks`], but the length is the number of convolutions on
/// the path. Convolutions in projections and outside blocks count.
pub fn lengths_in_convolutions(graph: &Graph) -> Vec<f64> {
    path_lengths(graph, LengthUnit::Convolutions).shares
}

/// The contribution of each length to the gradient: its share of paths times
/// the mean norm of the gradient on such a path, divided by the sum over all
/// lengths. A length without a norm contributes 0.
pub fn contributions(lengths: &[f64], norms: &[Option<f64>]) -> Vec<f64> {
    let product = |(probability, norm): (&f64, &Option<f64>)| probability * norm.unwrap_or(0.0);
    let products: Vec<f64> = lengths.iter().zip(norms).map(product).collect();
    let sum: f64 = products.iter().sum();
    products
        .iter()
        .map(|product| if sum > 0.0 { product / sum } else { 0.0 })
        .collect()
}

/// The shortest range of lengths that holds at least `share` of the sum of
/// `parts`. If there are several, the one that holds most.
pub fn effective_range(parts: &[f64], share: f64) -> RangeInclusive<usize> {
    let count = parts.len();
    let held = |range: &RangeInclusive<usize>| parts[range.clone()].iter().sum::<f64>();
    // Because of rounding, the range of all lengths could miss the share.
    let enough = share.min(1.0) * parts.iter().sum::<f64>() * (1.0 - 1e-12);
    (1..=count)
        .find_map(|length| {
            let ranges = (0..=count - length).map(|first| first..=first + length - 1);
            ranges
                .filter(|range| held(range) >= enough)
                .max_by(|a, b| held(a).total_cmp(&held(b)))
        })
        .unwrap_or(0..=count.saturating_sub(1))
}

/// The share of all paths whose length is in `range`.
pub fn share_of_paths(lengths: &[f64], range: &RangeInclusive<usize>) -> f64 {
    let end = lengths.len().min(range.end() + 1);
    lengths[(*range.start()).min(end)..end].iter().sum()
}

/// Slope and intercept of the least-squares line through `points`; `None` if
/// there are fewer than two different x.
pub fn line_through(points: &[(f64, f64)]) -> Option<(f64, f64)> {
    let n = points.len() as f64;
    let mean = |value: fn(&(f64, f64)) -> f64| points.iter().map(value).sum::<f64>() / n;
    let (x, y) = (mean(|point| point.0), mean(|point| point.1));
    let variance: f64 = points.iter().map(|point| (point.0 - x).powi(2)).sum();
    let covariance: f64 = points.iter().map(|point| (point.0 - x) * (point.1 - y)).sum();
    (variance > 0.0).then(|| (covariance / variance, y - covariance / variance * x))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Mode;
    use crate::models::{InputShape, ModelSpec};

    fn graph(model: &str) -> Graph {
        let spec: ModelSpec = model.parse().unwrap();
        spec.build(&InputShape::default(), Mode::Eval).unwrap().graph
    }

    #[test]
    fn the_share_of_effective_paths_is_that_of_the_paper() {
        let lengths = lengths_in_blocks(&graph("preact-110"));
        assert_eq!(lengths.len(), 55);
        assert!((lengths.iter().sum::<f64>() - 1.0).abs() < 1e-12);
        // Veit et al. 2016, section 4.3: 0.45 % of all paths.
        assert!((share_of_paths(&lengths, &(5..=17)) - 0.004_536_7).abs() < 5e-8);
        assert!((share_of_paths(&lengths, &(19..=35)) - 0.9802).abs() < 5e-5);
        assert!((share_of_paths(&lengths, &(20..=34)) - 0.9598).abs() < 5e-5);
    }

    #[test]
    fn convolutions_of_projections_count() {
        // The stem, then three blocks with two convolutions each. Two blocks
        // have a projection as shortcut: 1 + {0,2} + {1,2} + {1,2}.
        let lengths = lengths_in_convolutions(&graph("resnet8:shortcut=B"));
        let eighth = |paths: f64| paths / 8.0;
        let expected = [0.0, 0.0, 0.0, 1.0, 2.0, 2.0, 2.0, 1.0].map(eighth);
        assert_eq!(lengths, expected);
        // Without projections, every length is 1 (the stem) plus an even number.
        let lengths = lengths_in_convolutions(&graph("resnet8"));
        assert_eq!(lengths, [0.0, 1.0, 0.0, 3.0, 0.0, 3.0, 0.0, 1.0].map(eighth));
        // A chain has one path.
        let lengths = lengths_in_blocks(&graph("plain-8"));
        assert_eq!(lengths.iter().filter(|share| **share > 0.0).count(), 1);
    }

    #[test]
    fn the_effective_range_is_the_shortest() {
        let parts = [0.02, 0.5, 0.3, 0.16, 0.02];
        assert_eq!(effective_range(&parts, 0.95), 1..=3);
        assert_eq!(effective_range(&parts, 0.5), 1..=1);
        assert_eq!(effective_range(&parts, 1.0), 0..=4);
        assert_eq!(effective_range(&[0.4, 0.1, 0.5], 0.5), 2..=2);
        let shares = contributions(&[0.25, 0.5, 0.25], &[Some(4.0), Some(1.0), None]);
        assert!((shares[0] - 2.0 / 3.0).abs() < 1e-12 && (shares[1] - 1.0 / 3.0).abs() < 1e-12);
        assert_eq!(shares[2], 0.0);
    }

    #[test]
    fn least_squares_finds_the_line() {
        let (slope, intercept) = line_through(&[(0.0, 1.0), (1.0, 3.0), (2.0, 5.0)]).unwrap();
        assert!((slope - 2.0).abs() < 1e-12 && (intercept - 1.0).abs() < 1e-12);
        assert_eq!(line_through(&[(1.0, 1.0)]), None);
    }
}
