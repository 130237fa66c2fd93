//! How is an examination presented?

use serde_json::json;

use super::{Examined, Findings, Outcome};
use crate::gpu::AdapterInfo;
use crate::report::{Column, Item, Report, Table};

/// The slowest pipelines that are listed.
const SLOWEST: usize = 5;

impl Findings {
    /// A report for people, and for those who maintain the driver. `command` is what
    /// examined, `reproduce` gives the command that examines one case alone.
    pub fn report(&self, command: &str, reproduce: &dyn Fn(&Examined) -> String) -> Report {
        let mut items = vec![
            Item::heading("Adapter"),
            Item::Table(self.adapter_table()),
            Item::Table(self.capability_table()),
        ];
        let failures: Vec<&Examined> = self.failures().collect();
        if !failures.is_empty() {
            items.push(Item::heading("Kernels that do not work"));
            items.push(Item::Table(failure_table(&failures)));
            for case in &failures {
                items.push(Item::text(format!("{}: {}", case.name, reproduce(case))));
            }
        }
        items.push(Item::heading("Kernels"));
        items.push(Item::text(self.kernels_in_words()));
        items.push(Item::Table(self.slowest_table()));
        let problems = self.clock.iter().flat_map(super::Clock::problems);
        let measured = self.clock.iter().filter(|clock| clock.problem.is_empty());
        let clock = measured.map(|clock| {
            let [once, twice] = clock.seconds.map(|seconds| 1e3 * seconds);
            let device: Vec<String> = clock
                .device_seconds
                .iter()
                .map(|seconds| format!("{:.1} ms", 1e3 * seconds))
                .collect();
            let device = match device.is_empty() {
                true => "it has no timestamps".to_string(),
                false => format!("by the device's timestamps {}", device.join(" and ")),
            };
            format!(
                "A convolution takes {once:.1} ms, one twice as large {twice:.1} ms ({:.1} GFLOP/s); {device}.",
                2e-9 * clock.rate
            )
        });
        let memory = self
            .memory
            .iter()
            .map(|memory| match (memory.problem.as_str(), memory.refused) {
                ("", true) => format!(
                    "Asked for memory, the device gave {} MiB and refused more.",
                    memory.bytes >> 20
                ),
                ("", false) => format!(
                    "Asked for memory, the device gave {} MiB; it was not asked for more.",
                    memory.bytes >> 20
                ),
                (problem, _) => format!("Wrong: a process that asked for memory failed: {problem}."),
            });
        let rest: Vec<String> = clock
            .chain(problems.map(|problem| format!("Wrong: {problem}.")))
            .chain(memory)
            .collect();
        if !rest.is_empty() {
            items.push(Item::heading("Clock and memory"));
            items.extend(rest.into_iter().map(Item::text));
        }
        if !self.steps.is_empty() {
            items.push(Item::heading("Submissions"));
            items.push(Item::text(match self.submission_seconds {
                Some(seconds) => format!(
                    "A submission may take {seconds} s; longer steps are cut. At the rate above, in multiply-adds alone:"
                ),
                None => "Submissions have no time limit. At the rate above, in multiply-adds alone:".to_string(),
            }));
            items.push(Item::Table(self.step_table()));
        }
        if !self.quarantine.is_empty() {
            items.push(Item::heading("Quarantine"));
            items.push(Item::text(
                "These kernels are not used on this adapter and driver, neither by default nor by tuning:",
            ));
            items.push(Item::Table(self.quarantine_table()));
        }
        let facts = [
            ("command", command.to_string()),
            ("adapter", self.adapter.to_string()),
            ("kind", format!("{:?}", self.adapter.kind)),
            ("seed", self.seed.to_string()),
            ("shaders", self.shaders.to_string()),
            ("version", format!("residua {}", env!("CARGO_PKG_VERSION"))),
        ];
        Report {
            title: format!("Examination of {}", self.adapter.name),
            finding: self.finding(),
            items,
            cost: format!("The kernels took {:.1} s.", self.seconds),
            facts: facts.map(|(name, value)| (name.to_string(), value)).to_vec(),
        }
    }

    /// The verdict in one or two sentences.
    pub fn finding(&self) -> String {
        let failures = self.failures().count();
        let others = self.problems().len() - failures;
        let examined = self.examined.len();
        let name = &self.adapter.name;
        match (failures, others) {
            (0, 0) => {
                format!("{name} is sound: all {examined} kernels that were examined agree with the f64 reference.")
            }
            (0, _) => format!("{name} is not sound, although {examined} kernels agree with the f64 reference."),
            _ => format!("{name} is not sound: {failures} of {examined} kernels do not work."),
        }
    }

    fn kernels_in_words(&self) -> String {
        let worst = |precision: &str| {
            let distances = self.examined.iter().filter_map(|case| match case.outcome {
                Outcome::Agrees { distance, .. } if case.name.contains(&format!("@{precision}.")) => Some(distance),
                _ => None,
            });
            distances.reduce(f64::max)
        };
        let mut text = format!(
            "{} of {} kernels were examined at random shapes",
            self.examined.len(),
            self.cases
        );
        for (precision, words) in [("f32", "32 bits"), ("f16", "16 bits")] {
            if let Some(worst) = worst(precision) {
                text += &format!("; in {words} they are off by at most {worst:.1e} of the output's norm");
            }
        }
        text.push('.');
        if self.examined.len() < self.cases {
            text += " The time was up before the others: --all examines them.";
        }
        let mut seconds: Vec<f64> = self.compile_seconds().map(|(seconds, _)| seconds).collect();
        seconds.sort_by(f64::total_cmp);
        if let Some(longest) = seconds.last() {
            text += &format!(
                " To compile and run one for the first time takes {:.0} ms in the median, {:.0} ms at most, {:.1} s in sum.",
                1e3 * seconds[seconds.len() / 2],
                1e3 * longest,
                seconds.iter().sum::<f64>()
            );
        }
        text
    }

    fn compile_seconds(&self) -> impl Iterator<Item = (f64, &Examined)> {
        self.examined.iter().filter_map(|case| match case.outcome {
            Outcome::Agrees { compile_seconds, .. } => Some((compile_seconds, case)),
            _ => None,
        })
    }

    fn adapter_table(&self) -> Table {
        let examined = |adapter: &AdapterInfo| if *adapter == self.adapter { "this one" } else { "" };
        let row = |adapter: &AdapterInfo| {
            vec![
                json!(format!("{adapter}")),
                json!(format!("{:?}", adapter.kind)),
                json!(examined(adapter)),
            ]
        };
        Table::new(
            "adapters",
            "Adapters of this system",
            vec![
                Column::plain("adapter", "adapter"),
                Column::plain("kind", "kind"),
                Column::plain("examined", "examined"),
            ],
            self.adapters.iter().map(row).collect(),
        )
    }

    fn capability_table(&self) -> Table {
        let rows = self.capabilities.iter();
        Table::new(
            "capabilities",
            "What the adapter has, and what is given up",
            vec![
                Column::plain("name", "property"),
                Column::plain("value", "here"),
                Column::plain("gives_up", "given up"),
            ],
            rows.map(|row| vec![json!(row.name), json!(row.value), json!(row.gives_up)])
                .collect(),
        )
    }

    fn slowest_table(&self) -> Table {
        let mut slowest: Vec<(f64, &Examined)> = self.compile_seconds().collect();
        slowest.sort_by(|(a, _), (b, _)| b.total_cmp(a));
        slowest.truncate(SLOWEST);
        Table::new(
            "slowest",
            "The longest to compile",
            vec![
                Column::plain("name", "kernel"),
                Column::plain("shape", "shape"),
                Column {
                    factor: 1e3,
                    ..Column::number("seconds", "first run (ms)", 0)
                },
            ],
            slowest
                .into_iter()
                .map(|(seconds, case)| vec![json!(case.name), json!(case.shape), json!(seconds)])
                .collect(),
        )
    }

    fn step_table(&self) -> Table {
        Table::new(
            "steps",
            "Training steps, estimated",
            vec![
                Column::plain("model", "model"),
                Column::plain("batch", "batch"),
                Column::number("seconds", "step (s)", 2),
                Column::number("longest_seconds", "longest dispatch (s)", 3),
                Column::plain("submissions", "submissions"),
            ],
            self.steps
                .iter()
                .map(|step| {
                    vec![
                        json!(step.model),
                        json!(step.batch),
                        json!(step.seconds),
                        json!(step.longest_seconds),
                        json!(step.submissions),
                    ]
                })
                .collect(),
        )
    }

    fn quarantine_table(&self) -> Table {
        Table::new(
            "quarantine",
            "Kernels in quarantine",
            vec![Column::plain("kernel", "kernel"), Column::plain("problem", "problem")],
            self.quarantine
                .iter()
                .map(|entry| vec![json!(entry.kernel), json!(entry.problem)])
                .collect(),
        )
    }
}

fn failure_table(failures: &[&Examined]) -> Table {
    Table::new(
        "failures",
        "Kernels that do not work",
        vec![
            Column::plain("name", "kernel"),
            Column::plain("shape", "shape"),
            Column::plain("problem", "problem"),
        ],
        failures
            .iter()
            .map(|case| vec![json!(case.name), json!(case.shape), json!(case.outcome.to_string())])
            .collect(),
    )
}
