//! How are measurements presented as tables?

use serde_json::{Value, json};

use super::{BenchResults, Comparison, ComparisonSource};
use crate::report::{Column, Item, Report, Table};

impl BenchResults {
    /// A report with the results as tables.
    pub fn report(&self) -> Report {
        let clock = if self.device_timestamps {
            "the device's timestamps"
        } else {
            "the program's clock around submission and wait"
        };
        let facts = [
            ("command", self.command.clone()),
            ("adapter", self.adapter.to_string()),
            ("kernels timed by", clock.to_string()),
            ("version", format!("residua {}", self.version)),
        ];
        let mut items = vec![Item::Text {
            text: format!("{}, {} interleaved rounds: best and median.", self.adapter, self.rounds),
        }];
        items.extend(self.peak_text().map(|text| Item::Text { text }));
        let tables = [self.kernel_table(), self.network_table()];
        items.extend(
            tables
                .into_iter()
                .filter(|table| !table.rows.is_empty())
                .map(Item::Table),
        );
        Report {
            title: format!("Speed of {}", self.adapter.name),
            facts: facts.map(|(name, value)| (name.to_string(), value)).to_vec(),
            items,
        }
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
        table(
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
        table(
            "networks",
            "Networks, images a second",
            vec![
                Column::plain("model", "model"),
                Column::plain("batch", "batch"),
                Column::number("training_images_per_second", "training", 1),
                Column::number("training_images_per_second_median", "median", 1),
                Column::number("training_gflops", "GFLOP/s", 1),
                Column::number("inference_images_per_second", "inference", 1),
                Column::number("inference_images_per_second_median", "median", 1),
                Column::number("inference_gflops", "GFLOP/s", 1),
                mebibytes("bytes", "MiB"),
                mebibytes("planned_bytes", "MiB planned"),
                Column::percent("recording_share", "% recording"),
            ],
            rows.collect(),
        )
    }
}

impl Comparison {
    /// A report with both results in one table.
    pub fn report(&self) -> Report {
        let rows = self.lines.iter().map(|line| {
            let note = match (line.a, line.b) {
                (Some(_), None) => "only in A",
                (None, Some(_)) => "only in B",
                _ => "",
            };
            vec![
                json!(line.part),
                json!(line.name),
                json!(line.shape),
                json!(line.unit),
                json!(line.a),
                json!(line.b),
                json!(line.ratio),
                json!(note),
            ]
        });
        let columns = vec![
            Column::plain("part", "part"),
            Column::plain("name", "name"),
            Column::plain("shape", "shape"),
            Column::plain("unit", "unit"),
            Column::number("a", "A", 2),
            Column::number("b", "B", 2),
            Column::number("ratio", "B/A", 3),
            Column::plain("note", ""),
        ];
        let facts = [("A", &self.a), ("B", &self.b)].map(|(name, side)| {
            let ComparisonSource {
                file,
                adapter,
                version,
                command,
            } = side;
            (
                name.to_string(),
                format!("{file}: {adapter}, residua {version}, {command}"),
            )
        });
        let text = facts.iter().map(|(name, value)| Item::Text {
            text: format!("{name}: {value}"),
        });
        let mut items: Vec<Item> = text.collect();
        items.push(Item::Table(table(
            "comparison",
            "Best rates; B/A above 1: B is faster",
            columns,
            rows.collect(),
        )));
        Report {
            title: "Two measurements of speed".to_string(),
            facts: facts.to_vec(),
            items,
        }
    }
}

fn table(name: &str, title: &str, columns: Vec<Column>, rows: Vec<Vec<Value>>) -> Table {
    Table {
        name: name.to_string(),
        title: title.to_string(),
        columns,
        rows,
        file_only: false,
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
