//! Statistics of studies: confidence intervals, quartiles, rank correlation.

/// The 97.5 % quantile of the normal distribution, for two-sided 95 %
/// intervals.
const Z: f64 = 1.959_963_984_540_054;

/// The 95 % confidence interval of an error rate, if `wrong` of `images` images
/// are wrong (Wilson 1927).
pub fn wilson(wrong: usize, images: usize) -> [f64; 2] {
    if images == 0 {
        return [0.0, 1.0];
    }
    let n = images as f64;
    let p = wrong as f64 / n;
    let denominator = 1.0 + Z * Z / n;
    let center = (p + Z * Z / (2.0 * n)) / denominator;
    let half = Z / denominator * (p * (1.0 - p) / n + Z * Z / (4.0 * n * n)).sqrt();
    [(center - half).max(0.0), (center + half).min(1.0)]
}

/// Smallest value, lower quartile, median, upper quartile, largest value, by
/// linear interpolation between ranks; zeros if there are no values.
pub fn five_numbers(values: &[f64]) -> [f64; 5] {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    [0.0, 0.25, 0.5, 0.75, 1.0].map(|fraction| quantile(&sorted, fraction))
}

fn quantile(sorted: &[f64], fraction: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else {
        return 0.0;
    };
    let rank = fraction * last as f64;
    let (low, high) = (sorted[rank.floor() as usize], sorted[rank.ceil() as usize]);
    low + (high - low) * rank.fract()
}

/// Arithmetic mean; 0 if there are no values.
pub fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

/// Kendall's rank correlation of `order`, a permutation, with the natural
/// order: 1 for the natural order, −1 for the reverse.
pub fn kendall_tau(order: &[usize]) -> f64 {
    let n = order.len();
    if n < 2 {
        return 1.0;
    }
    let pairs = (0..n).flat_map(|a| (a + 1..n).map(move |b| (a, b)));
    let inversions = pairs.filter(|&(a, b)| order[a] > order[b]).count();
    1.0 - 4.0 * inversions as f64 / (n * (n - 1)) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_those_of_wilsons_formula() {
        // 10 of 100, computed by hand from the formula, to four digits.
        let [low, high] = wilson(10, 100);
        assert!((low - 0.0552).abs() < 1e-4 && (high - 0.1744).abs() < 1e-4);
        let [low, high] = wilson(0, 50);
        assert!(low < 1e-12 && (high - 0.0713).abs() < 1e-4);
        assert!((wilson(50, 50)[1] - 1.0).abs() < 1e-12);
    }

    #[test]
    fn quartiles_interpolate() {
        assert_eq!(five_numbers(&[4.0, 1.0, 3.0, 2.0]), [1.0, 1.75, 2.5, 3.25, 4.0]);
        assert_eq!(five_numbers(&[7.0]), [7.0; 5]);
        assert_eq!(five_numbers(&[]), [0.0; 5]);
    }

    #[test]
    fn tau_counts_inversions() {
        assert_eq!(kendall_tau(&[0, 1, 2, 3]), 1.0);
        assert_eq!(kendall_tau(&[3, 2, 1, 0]), -1.0);
        assert!((kendall_tau(&[0, 2, 1, 3]) - (1.0 - 2.0 / 6.0)).abs() < 1e-12);
        assert_eq!(kendall_tau(&[0]), 1.0);
    }
}
