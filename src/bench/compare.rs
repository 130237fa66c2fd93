//! How are two results compared: of two devices, or of two versions?

use std::path::Path;

use serde::Serialize;

use super::cases::current_name;
use super::{AdapterRecord, BenchError, BenchResults};
use crate::files::{SETTINGS_LIMIT, read_text};

/// One measurement in both results. All values are rates: more is faster.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ComparisonRow {
    /// What was measured: "peak", "kernel", "training" or "inference".
    pub part: String,
    /// The kernel, or the model.
    pub name: String,
    /// The kernel's shape, or the network's batch.
    pub shape: String,
    /// The unit of `a` and `b`: "GFLOP/s", "GB/s" or "images/s".
    pub unit: String,
    /// The best rate in the first result, if it has this measurement.
    pub a: Option<f64>,
    /// The best rate in the second result, if it has this measurement.
    pub b: Option<f64>,
    /// `b / a`, if both are there: above 1, the second is faster.
    pub ratio: Option<f64>,
}

/// The origin of one of two compared results.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ComparisonSource {
    /// Its file.
    pub file: String,
    /// The device.
    pub adapter: AdapterRecord,
    /// The program's version.
    pub version: String,
    /// The command that measured it.
    pub command: String,
}

/// Two results, measurement by measurement.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// The first.
    pub a: ComparisonSource,
    /// The second.
    pub b: ComparisonSource,
    /// All measurements: those of the first result in its order, then those that
    /// only the second has.
    pub lines: Vec<ComparisonRow>,
}

/// Reads the `bench.json` at `path`.
///
/// # Errors
/// When the file cannot be read, is not a result, or has a rate that is not above
/// 0.
pub fn read(path: &Path) -> Result<BenchResults, BenchError> {
    let problem = |problem: String| BenchError::File {
        path: path.display().to_string(),
        problem,
    };
    let text = read_text(path, SETTINGS_LIMIT).map_err(|error| problem(format!("cannot be read: {error}")))?;
    let results: BenchResults = serde_json::from_str(&text).map_err(|error| {
        problem(format!(
            "not a result of this version's bench command ({error}); measure again"
        ))
    })?;
    let is_rate = |line: &Rate| line.rate.is_finite() && line.rate > 0.0;
    match rates(&results).into_iter().find(|line| !is_rate(line)) {
        Some(line) => Err(problem(format!(
            "the rate of {} is {}, not above 0",
            line.name, line.rate
        ))),
        None => Ok(results),
    }
}

/// Compares `a` and `b`, which come from the files `names`.
pub fn compare(a: &BenchResults, b: &BenchResults, names: [&Path; 2]) -> Comparison {
    let side = |results: &BenchResults, name: &Path| ComparisonSource {
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
struct Rate {
    part: &'static str,
    name: String,
    shape: String,
    unit: &'static str,
    rate: f64,
}

impl Rate {
    fn is_same(&self, other: &Rate) -> bool {
        (self.part, &self.name, &self.shape, self.unit) == (other.part, &other.name, &other.shape, other.unit)
    }

    fn line(&self, a: Option<f64>, b: Option<f64>) -> ComparisonRow {
        ComparisonRow {
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
fn rates(results: &BenchResults) -> Vec<Rate> {
    let mut rates = Vec::new();
    let mut push = |part, name: &str, shape: String, unit, rate| {
        rates.push(Rate {
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
        push("kernel", &current_name(&kernel.name), kernel.shape.clone(), unit, rate);
    }
    for network in &results.networks {
        let batch = format!("batch {}", network.batch);
        let (training, inference) = (network.training_images_per_second, network.inference_images_per_second);
        push("training", &network.model, batch.clone(), "images/s", training);
        push("inference", &network.model, batch, "images/s", inference);
    }
    rates
}
