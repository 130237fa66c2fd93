//! How do two devices, or two states of this program, stand side by side?

use std::path::Path;

use serde::Serialize;

use super::{Adapter, BenchError, Results};

/// One measurement in both results. Rates: more is faster.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Line {
    /// What was measured: "peak", "kernel", "training" or "inference".
    pub part: String,
    /// The kernel, or the model.
    pub name: String,
    /// The kernel's shape, or the network's batch.
    pub shape: String,
    /// What `a` and `b` are: "GFLOP/s", "GB/s" or "images/s".
    pub unit: String,
    /// The best rate in the first result, where it is there.
    pub a: Option<f64>,
    /// The best rate in the second.
    pub b: Option<f64>,
    /// b / a, where both are there: above 1, the second is faster.
    pub ratio: Option<f64>,
}

/// Where one of two results comes from.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Side {
    /// Its file.
    pub file: String,
    /// The device.
    pub adapter: Adapter,
    /// The program's version.
    pub version: String,
    /// The command that measured.
    pub command: String,
}

/// Two results, line by line.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// The first.
    pub a: Side,
    /// The second.
    pub b: Side,
    /// All that is in either, the first's order first.
    pub lines: Vec<Line>,
}

/// Reads the `bench.json` at `path`.
pub fn read(path: &Path) -> Result<Results, BenchError> {
    let problem = |problem: String| BenchError::File {
        path: path.display().to_string(),
        problem,
    };
    let text = std::fs::read_to_string(path).map_err(|error| problem(format!("cannot be read: {error}")))?;
    let results: Results = serde_json::from_str(&text).map_err(|error| {
        problem(format!(
            "not a result of this version's `tools bench` ({error}); measure again with --out or --json"
        ))
    })?;
    let is_rate = |line: &RateOf| line.rate.is_finite() && line.rate > 0.0;
    match rates(&results).into_iter().find(|line| !is_rate(line)) {
        Some(line) => Err(problem(format!(
            "the rate of {} is {}, not above 0",
            line.name, line.rate
        ))),
        None => Ok(results),
    }
}

/// Puts `a` and `b`, which come from the files `names`, side by side.
pub fn compare(a: &Results, b: &Results, names: [&Path; 2]) -> Comparison {
    let side = |results: &Results, name: &Path| Side {
        file: name.display().to_string(),
        adapter: results.adapter.clone(),
        version: results.version.clone(),
        command: results.command.clone(),
    };
    let (of_a, mut of_b) = (rates(a), rates(b));
    let mut lines = Vec::new();
    for rate in of_a {
        let same = of_b.iter().position(|other| other.is_same(&rate));
        let other = same.map(|index| of_b.remove(index).rate);
        lines.push(rate.line(Some(rate.rate), other));
    }
    lines.extend(of_b.iter().map(|rate| rate.line(None, Some(rate.rate))));
    Comparison {
        a: side(a, names[0]),
        b: side(b, names[1]),
        lines,
    }
}

/// One rate of a result.
struct RateOf {
    part: &'static str,
    name: String,
    shape: String,
    unit: &'static str,
    rate: f64,
}

impl RateOf {
    fn is_same(&self, other: &RateOf) -> bool {
        (self.part, &self.name, &self.shape, self.unit) == (other.part, &other.name, &other.shape, other.unit)
    }

    fn line(&self, a: Option<f64>, b: Option<f64>) -> Line {
        Line {
            part: self.part.to_string(),
            name: self.name.clone(),
            shape: self.shape.clone(),
            unit: self.unit.to_string(),
            a,
            b,
            ratio: a.zip(b).map(|(a, b)| b / a),
        }
    }
}

/// All rates of `results`, in order.
fn rates(results: &Results) -> Vec<RateOf> {
    let mut rates = Vec::new();
    let mut push = |part, name: &str, shape: String, unit, rate| {
        rates.push(RateOf {
            part,
            name: name.to_string(),
            shape,
            unit,
            rate,
        });
    };
    if let Some(peak) = &results.peak {
        push("peak", "multiply-adds", String::new(), "GFLOP/s", peak.gflops);
        push("peak", "streams", String::new(), "GB/s", peak.gbps);
        push("peak", "streams of memory", String::new(), "GB/s", peak.memory_gbps);
    }
    for kernel in &results.kernels {
        let (unit, rate) = match kernel.gflops {
            Some(gflops) => ("GFLOP/s", gflops),
            None => ("GB/s", kernel.gbps),
        };
        push("kernel", &kernel.name, kernel.shape.clone(), unit, rate);
    }
    for network in &results.networks {
        let batch = format!("batch {}", network.batch);
        let (training, inference) = (network.training_images_per_second, network.inference_images_per_second);
        push("training", &network.model, batch.clone(), "images/s", training);
        push("inference", &network.model, batch, "images/s", inference);
    }
    rates
}
