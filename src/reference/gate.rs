//! Which operations multiply values by gates?

/// `1 / (1 + e⁻ˣ)`.
pub(super) fn sigmoid(x: &[f64]) -> Vec<f64> {
    x.iter().map(|x| 1.0 / (1.0 + (-x).exp())).collect()
}

/// `dy · y · (1 − y)`, where `y` is the sigmoid's output.
pub(super) fn sigmoid_gradient(dy: &[f64], y: &[f64]) -> Vec<f64> {
    dy.iter().zip(y).map(|(dy, y)| dy * y * (1.0 - y)).collect()
}

/// `x · gate`. One element of the gate multiplies as many neighbours of x as x
/// has more elements.
pub(super) fn multiply(x: &[f64], gate: &[f64]) -> Vec<f64> {
    let plane = x.len() / gate.len();
    let scaled = |(x, gate): (&[f64], &f64)| -> Vec<f64> { x.iter().map(|x| x * gate).collect() };
    x.chunks(plane).zip(gate).flat_map(scaled).collect()
}

/// `Σ dy · x` over each plane with `area` elements.
pub(super) fn plane_dot(dy: &[f64], x: &[f64], area: usize) -> Vec<f64> {
    let dot = |(dy, x): (&[f64], &[f64])| dy.iter().zip(x).map(|(dy, x)| dy * x).sum();
    dy.chunks(area).zip(x.chunks(area)).map(dot).collect()
}
