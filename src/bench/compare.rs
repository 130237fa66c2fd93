//! How are results compared: of several devices, versions, or programs?

use std::path::Path;

use serde::Serialize;

use super::cases::current_name;
use super::{AdapterRecord, BenchError, BenchResults, MachineRecord};
use crate::files::{SETTINGS_LIMIT, read_text};

/// One measurement. All values are rates: more is faster.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ComparisonRow {
    /// What was measured: "peak", "kernel", "training" or "inference".
    pub part: String,
    /// The kernel, or the model.
    pub name: String,
    /// The kernel's shape, or the network's batch.
    pub shape: String,
    /// The unit of the rates: "GFLOP/s", "GB/s" or "images/s".
    pub unit: String,
    /// The best rate in each result that has this measurement.
    pub rates: Vec<Option<f64>>,
    /// The same, where two results are compared.
    #[serde(flatten)]
    pub pair: Option<PairOfRates>,
}

impl ComparisonRow {
    /// The rate in result `index` as a multiple of that in the first, if both are
    /// there: above 1, that result is faster.
    pub fn ratio(&self, index: usize) -> Option<f64> {
        let rate = |index: usize| self.rates.get(index).copied().flatten();
        rate(index).zip(rate(0)).map(|(rate, first)| rate / first)
    }
}

/// One measurement in two results.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct PairOfRates {
    /// The best rate in the first result, if it has this measurement.
    pub a: Option<f64>,
    /// The best rate in the second result, if it has this measurement.
    pub b: Option<f64>,
    /// `b / a`, if both are there: above 1, the second is faster.
    pub ratio: Option<f64>,
}

/// The origin of one of the compared results.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ComparisonSource {
    /// Its file.
    pub file: String,
    /// The device.
    pub adapter: AdapterRecord,
    /// The machine and the day, where the result names them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub machine: Option<MachineRecord>,
    /// The program that measured.
    pub program: String,
    /// Its version.
    pub version: String,
    /// The command that measured it.
    pub command: String,
    /// How values were stored.
    pub precision: String,
    /// Whether the kernels were those that tuning chose.
    pub tuned: bool,
}

impl std::fmt::Display for ComparisonSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kernels = if self.tuned { ", tuned" } else { "" };
        write!(
            f,
            "{}: {}, {}{kernels}, {} {}",
            self.file, self.adapter, self.precision, self.program, self.version
        )?;
        match &self.machine {
            Some(machine) => write!(f, ", {} ({})", machine.cpu, machine.date),
            None => Ok(()),
        }
    }
}

/// Two or more results, measurement by measurement.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// The results, in the order in which they were named.
    pub results: Vec<ComparisonSource>,
    /// The same, where there are two.
    #[serde(flatten)]
    pub pair: Option<PairOfSources>,
    /// All measurements: those of the first result in its order, then those that
    /// only later ones have.
    pub lines: Vec<ComparisonRow>,
}

/// The origins of two compared results.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PairOfSources {
    /// The first.
    pub a: ComparisonSource,
    /// The second.
    pub b: ComparisonSource,
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

/// Compares `results`, each with the name of its file.
pub fn compare(results: &[(&Path, BenchResults)]) -> Comparison {
    let sources: Vec<ComparisonSource> = results.iter().map(|(file, results)| source(file, results)).collect();
    let mut rows: Vec<(Rate, Vec<Option<f64>>)> = Vec::new();
    for (index, (_, result)) in results.iter().enumerate() {
        for rate in rates(result) {
            let same = rows
                .iter()
                .position(|(other, values)| other.is_same(&rate) && values[index].is_none());
            let row = same.unwrap_or_else(|| {
                rows.push((rate.clone(), vec![None; results.len()]));
                rows.len() - 1
            });
            rows[row].1[index] = Some(rate.rate);
        }
    }
    let pair = match &sources[..] {
        [a, b] => Some(PairOfSources {
            a: a.clone(),
            b: b.clone(),
        }),
        _ => None,
    };
    Comparison {
        results: sources,
        pair,
        lines: rows.into_iter().map(|(rate, rates)| rate.row(rates)).collect(),
    }
}

fn source(file: &Path, results: &BenchResults) -> ComparisonSource {
    ComparisonSource {
        file: file.display().to_string(),
        adapter: results.adapter.clone(),
        machine: results.machine.clone(),
        program: results.program.clone(),
        version: results.version.clone(),
        command: results.command.clone(),
        precision: results.precision.to_string(),
        tuned: results.tuned,
    }
}

/// One rate of a result.
#[derive(Clone)]
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

    fn row(self, rates: Vec<Option<f64>>) -> ComparisonRow {
        let pair = match rates[..] {
            [a, b] => Some(PairOfRates {
                a,
                b,
                ratio: a.zip(b).map(|(a, b)| b / a),
            }),
            _ => None,
        };
        ComparisonRow {
            part: self.part.to_string(),
            name: self.name,
            shape: self.shape,
            unit: self.unit.to_string(),
            rates,
            pair,
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
