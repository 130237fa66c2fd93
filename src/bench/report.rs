//! How are measurements presented as tables?

use serde_json::json;

use super::{BenchResults, Comparison, ComparisonRow, TimingSummary};
use crate::report::{Column, Item, Report, Table};

impl BenchResults {
    /// A report with the results as tables.
    pub fn report(&self) -> Report {
        let clock = if self.device_timestamps {
            "the device's timestamps"
        } else {
            "the program's clock around submission and wait"
        };
        let mut facts = vec![("command", self.command.clone()), ("adapter", self.adapter.to_string())];
        if let Some(machine) = &self.machine {
            let gib = machine.memory as f64 / f64::from(1 << 30);
            facts.extend([
                (
                    "machine",
                    format!("{}: {}, {gib:.1} GiB of memory", machine.host, machine.cpu),
                ),
                ("operating system", machine.os.clone()),
                ("date", machine.date.clone()),
            ]);
        }
        facts.extend([
            ("precision", self.precision.to_string()),
            (
                "networks",
                if self.tuned {
                    "with the kernels that tuning chose".to_string()
                } else {
                    "with the default kernels".to_string()
                },
            ),
            ("kernels timed by", clock.to_string()),
            ("version", format!("{} {}", self.program, self.version)),
        ]);
        let mut items = Vec::new();
        if let Some(text) = self.peak_text() {
            items.extend([Item::heading("Peak rates"), Item::text(text)]);
        }
        for (heading, table) in [("Kernels", self.kernel_table()), ("Networks", self.network_table())] {
            if !table.rows.is_empty() {
                items.extend([Item::heading(heading), Item::Table(table)]);
            }
        }
        Report {
            title: format!("Speed of {}", self.adapter.name),
            finding: self.finding(),
            items,
            cost: format!(
                "{} interleaved rounds on {}; tables have the best and the median of them.",
                self.rounds, self.adapter
            ),
            facts: facts
                .into_iter()
                .map(|(name, value)| (name.to_string(), value))
                .collect(),
        }
    }

    /// How fast the device is, in one or two sentences: the largest network, the
    /// peak rates, and how near to them the kernels are.
    fn finding(&self) -> String {
        let mut sentences = Vec::new();
        let name = &self.adapter.name;
        let largest = self.networks.iter().max_by(|one, other| {
            let work = |network: &super::NetworkRates| network.training_gflops / network.training_images_per_second;
            work(one).total_cmp(&work(other))
        });
        if let Some(network) = largest {
            sentences.push(format!(
                "{name} trains {} at {:.1} images a second in batches of {} ({:.1} GFLOP/s).",
                network.model, network.training_images_per_second, network.batch, network.training_gflops
            ));
        }
        if let Some(peak) = &self.peak {
            let subject = if sentences.is_empty() { name.as_str() } else { "It" };
            sentences.push(format!(
                "{subject} reaches at most {:.1} GFLOP/s and {:.2} GB/s.",
                peak.gflops, peak.gbps
            ));
        }
        let by_share = |one: &&super::KernelRates, other: &&super::KernelRates| {
            one.percent_of_peak.total_cmp(&other.percent_of_peak)
        };
        if let (Some(least), Some(most)) = (
            self.kernels.iter().min_by(by_share),
            self.kernels.iter().max_by(by_share),
        ) {
            sentences.push(format!(
                "Its kernels reach from {:.1} % ({}) to {:.1} % ({}) of these rates.",
                least.percent_of_peak, least.name, most.percent_of_peak, most.name
            ));
        }
        sentences.join(" ")
    }

    fn peak_text(&self) -> Option<String> {
        let peak = self.peak.as_ref()?;
        Some(format!(
            "Peak: {:.1} GFLOP/s of 32-bit multiply-adds (best of {} kernels); {:.2} GB/s, read and written, of copies and \
             sums, {:.2} GB/s where the arrays are too large for a cache (best of {}). Per cent of the peak is the larger \
             of the two shares.",
            peak.gflops, peak.multiply_add_candidates, peak.gbps, peak.memory_gbps, peak.stream_candidates
        ))
    }

    fn kernel_table(&self) -> Table {
        let rows = self.kernels.iter().map(|kernel| {
            let by = if kernel.tuned { "tuned" } else { "default" };
            vec![
                json!(kernel.name),
                json!(kernel.shape),
                json!(
                    kernel
                        .algorithm
                        .as_ref()
                        .map_or(String::new(), |name| format!("{name}, {by}"))
                ),
                json!(kernel.seconds),
                json!(kernel.median_seconds),
                json!(kernel.gflops),
                json!(kernel.gbps),
                json!(kernel.percent_of_peak),
            ]
        });
        Table::new(
            "kernels",
            "Kernels",
            vec![
                Column::plain("name", "kernel"),
                Column::plain("shape", "shape"),
                Column::plain("way", "algorithm"),
                microseconds("seconds", "best (µs)"),
                microseconds("median_seconds", "median (µs)"),
                Column::number("gflops", "GFLOP/s", 1),
                Column::number("gbps", "GB/s", 2),
                Column::number("percent_of_peak", "% of peak", 1),
            ],
            rows.collect(),
        )
    }

    fn network_table(&self) -> Table {
        let rows = self.networks.iter().map(|network| {
            vec![
                json!(network.model),
                json!(network.batch),
                json!(network.training_images_per_second),
                json!(network.training_images_per_second_median),
                json!(network.training_gflops),
                json!(network.inference_images_per_second),
                json!(network.inference_images_per_second_median),
                json!(network.inference_gflops),
                json!(network.bytes),
                json!(network.planned_bytes),
                json!(network.recording_share),
            ]
        });
        Table::new(
            "networks",
            "Networks",
            vec![
                Column::plain("model", "model"),
                Column::plain("batch", "batch"),
                Column::number("training_images_per_second", "training (images/s)", 1),
                Column::number("training_images_per_second_median", "training, median", 1),
                Column::number("training_gflops", "training (GFLOP/s)", 1),
                Column::number("inference_images_per_second", "inference (images/s)", 1),
                Column::number("inference_images_per_second_median", "inference, median", 1),
                Column::number("inference_gflops", "inference (GFLOP/s)", 1),
                mebibytes("bytes", "memory (MiB)"),
                mebibytes("planned_bytes", "planned (MiB)"),
                Column::percent("recording_share", "time to record (%)"),
            ],
            rows.collect(),
        )
    }
}

impl Comparison {
    /// A report with all results in one table.
    pub fn report(&self) -> Report {
        let labels: Vec<String> = (0..self.results.len()).map(label).collect();
        let mut columns = vec![
            Column::plain("part", "part"),
            Column::plain("name", "name"),
            Column::plain("shape", "shape"),
            Column::plain("unit", "unit"),
        ];
        columns.extend(
            labels
                .iter()
                .map(|label| Column::number(&label.to_lowercase(), label, 2)),
        );
        columns.extend(labels.iter().skip(1).map(|label| {
            let key = if labels.len() == 2 {
                "ratio".to_string()
            } else {
                format!("ratio_{}", label.to_lowercase())
            };
            Column::number(&key, &format!("{label}/{}", labels[0]), 3)
        }));
        columns.push(Column::plain("note", "note"));
        let rows = self.lines.iter().map(|line| {
            let mut row = vec![json!(line.part), json!(line.name), json!(line.shape), json!(line.unit)];
            row.extend(line.rates.iter().map(|rate| json!(rate)));
            row.extend((1..line.rates.len()).map(|index| json!(line.ratio(index))));
            row.push(json!(note(line, &labels)));
            row
        });
        let table = Table::new(
            "comparison",
            "Best rates; a ratio above 1: that result is faster than A",
            columns,
            rows.collect(),
        );
        let facts = labels.iter().zip(&self.results);
        let facts: Vec<(String, String)> = facts
            .map(|(label, source)| (label.clone(), format!("{source}: {}", source.command)))
            .collect();
        let sources = labels.iter().zip(&self.results);
        let sources: Vec<String> = sources.map(|(label, source)| format!("{label} is {source}.")).collect();
        Report {
            title: match self.results.len() {
                2 => "Two measurements of speed".to_string(),
                count => format!("{count} measurements of speed"),
            },
            finding: self.finding(&labels),
            items: vec![Item::text(sources.join(" ")), Item::Table(table)],
            cost: String::new(),
            facts,
        }
    }

    /// For each result after the first, the ratio of the rates in the median and
    /// the extremes, one sentence each.
    fn finding(&self, labels: &[String]) -> String {
        let sentence = |index: usize| {
            let (first, label) = (&labels[0], &labels[index]);
            let mut ratios: Vec<(f64, &str)> = self
                .lines
                .iter()
                .filter_map(|line| Some((line.ratio(index)?, line.name.as_str())))
                .collect();
            ratios.sort_by(|one, other| one.0.total_cmp(&other.0));
            let values: Vec<f64> = ratios.iter().map(|(ratio, _)| *ratio).collect();
            let (Some(least), Some(most), Some(summary)) = (ratios.first(), ratios.last(), TimingSummary::of(&values))
            else {
                return format!("{label} and {first} have no measurement in common.");
            };
            format!(
                "{label}'s rates are {:.3} times {first}'s in the median of {} measurements, from {:.3} ({}) to {:.3} ({}).",
                summary.median,
                values.len(),
                least.0,
                least.1,
                most.0,
                most.1
            )
        };
        (1..labels.len()).map(sentence).collect::<Vec<_>>().join(" ")
    }
}

/// The name of result `index`: A to Z, then AA, AB and so on.
fn label(index: usize) -> String {
    let last = char::from(b'A' + (index % 26) as u8);
    match index / 26 {
        0 => last.to_string(),
        before => format!("{}{last}", label(before - 1)),
    }
}

/// Which results have the measurement, where not all do.
fn note(line: &ComparisonRow, labels: &[String]) -> String {
    let own = line.rates.iter().zip(labels).filter(|(rate, _)| rate.is_some());
    let own: Vec<&str> = own.map(|(_, label)| label.as_str()).collect();
    if own.len() == labels.len() {
        String::new()
    } else {
        format!("only in {}", own.join(", "))
    }
}

fn microseconds(key: &str, label: &str) -> Column {
    Column {
        factor: 1e6,
        ..Column::number(key, label, 1)
    }
}

fn mebibytes(key: &str, label: &str) -> Column {
    Column {
        factor: 1.0 / f64::from(1 << 20),
        ..Column::number(key, label, 1)
    }
}
