//! Which shader variants may an adapter be given? All that the default algorithms
//! and the tuner choose from, for the networks of `residua models`, in both
//! precisions, for training and evaluation.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rayon::prelude::*;
use residua::gpu::Program;
use residua::graph::{Graph, Mode, Precision, Recompute, Shape};
use residua::kernels::{
    self, ArenaTensor, Call, GatherChanges, ImagePart, MultiplyAddShape, Optimizer, Pointwise, Segments, StreamShape,
    Target, UpdateRule, Value, Variant, Work,
};
use residua::models::ModelSpec;
use residua::models::published::Catalogue;
use residua::schedule::{self, Action};
use residua::tuning::Job;

/// Networks for whose layers everything is listed that the tuner may choose: layers of
/// every kind, and of the widths that the literature has.
pub const TUNED: [&str; 5] = [
    "resnet20",
    "preact-164",
    "wrn-16-4",
    "resnext-50-32x4d",
    "densenet-40-12",
];

/// Images of a batch: the default of training.
const BATCH: usize = 128;

/// A variant, and who may choose it.
#[derive(Debug, Clone)]
pub struct Known {
    /// The variant.
    pub variant: Variant,
    /// Its program.
    pub program: Program,
    /// The networks that have it without tuning; for each the first name of its
    /// family is enough to see where it is from.
    pub models: BTreeSet<String>,
    /// The algorithms of the tuner that have it.
    pub algorithms: BTreeSet<String>,
    /// The largest number of workgroups along a dimension.
    pub workgroups: u32,
}

impl Known {
    /// Whether an adapter gets it without tuning.
    pub fn is_default(&self) -> bool {
        !self.models.is_empty()
    }

    /// Whether it reads or writes 16-bit floats.
    pub fn f16(&self) -> bool {
        self.variant
            .constants
            .iter()
            .any(|(_, value)| matches!(value, Value::Type(name) if name.contains("f16")))
    }

    /// Whether it loads eight values at once, as 64-bit integers.
    pub fn int64(&self) -> bool {
        let loads = |(name, value): &(&str, Value)| name.ends_with('8') && *value == Value::Bool(true);
        self.variant.constants.iter().any(loads)
    }

    /// Whether its lanes exchange values.
    pub fn subgroup(&self) -> bool {
        exchanges(self.variant.file)
    }
}

/// Whether `file` uses subgroups.
pub fn exchanges(file: &str) -> bool {
    ["conv/subgroup", "conv/wgrad_subgroup", "conv/wgrad_winograd"].contains(&file)
}

/// Variants by the text that identifies them.
#[derive(Default)]
struct Collected(BTreeMap<String, Entry>);

struct Entry {
    variant: Variant,
    models: BTreeSet<String>,
    algorithms: BTreeSet<String>,
    workgroups: u32,
}

impl Collected {
    fn add(&mut self, model: Option<&str>, algorithm: Option<&str>, calls: impl IntoIterator<Item = Call>) {
        for call in calls {
            let entry = self.0.entry(format!("{:?}", call.variant)).or_insert_with(|| Entry {
                variant: call.variant,
                models: BTreeSet::new(),
                algorithms: BTreeSet::new(),
                workgroups: 0,
            });
            entry.models.extend(model.map(str::to_string));
            entry.algorithms.extend(algorithm.map(str::to_string));
            entry.workgroups = entry.workgroups.max(call.workgroups.into_iter().max().unwrap_or(0));
        }
    }

    fn merge(mut self, other: Self) -> Self {
        for (key, entry) in other.0 {
            match self.0.get_mut(&key) {
                Some(own) => {
                    own.models.extend(entry.models);
                    own.algorithms.extend(entry.algorithms);
                    own.workgroups = own.workgroups.max(entry.workgroups);
                }
                None => {
                    self.0.insert(key, entry);
                }
            }
        }
        self
    }
}

/// A piece of work of some network, with its shapes.
#[derive(Debug, Clone)]
struct Piece {
    work: Work,
    inputs: Vec<Shape>,
    output: Shape,
    model: String,
}

impl Piece {
    /// What tells it apart from others.
    fn key(&self) -> String {
        format!("{:?} {:?} {:?}", self.work, self.inputs, self.output)
    }

    /// The variants of its default algorithm, and with `all` those of every other.
    fn variants(&self, all: bool, target: &Target) -> Collected {
        let mut found = Collected::default();
        let inputs: Vec<&Shape> = self.inputs.iter().collect();
        let lowered = self.work.lower(&inputs, &self.output, BATCH, target);
        if self.work.overwrites().is_some() {
            found.add(Some(&self.model), None, lowered.clone().in_place().calls);
        }
        found.add(Some(&self.model), None, lowered.calls);
        let work = self.work.first();
        if all && !work.algorithms(&inputs, &self.output, target).is_empty() {
            let job = Job {
                work,
                inputs: self.inputs.clone(),
                output: self.output.clone(),
                batch: BATCH,
                count: 1,
                share: 1.0,
            };
            for one in job.algorithms(job.images(target), target) {
                found.add(None, Some(&one.algorithm.to_string()), one.lowered.calls);
            }
        }
        found
    }
}

/// The work of a training step, or else an evaluation, with the graph `graph`.
fn pieces(model: &str, graph: &Graph) -> Vec<Piece> {
    let request = schedule::step_request(graph, graph.mode == Mode::Train, BATCH, Recompute::None);
    let graph = &request.graph;
    let mut found = Vec::new();
    for task in schedule::tasks(graph, &request.keep, request.scaled) {
        let mut add = |work: Work| {
            found.push(Piece {
                work,
                inputs: task.inputs.iter().map(|&input| graph.shape(input).clone()).collect(),
                output: graph.shape(task.output).clone(),
                model: model.to_string(),
            });
        };
        match task.action {
            Action::Work(work) => add(work),
            // A route may leave out either value.
            Action::Sum => {
                for input in 0..2 {
                    add(Work::Pointwise(Pointwise::Copy { input }));
                }
                add(Work::Pointwise(Pointwise::Add));
                add(Work::Pointwise(Pointwise::Accumulate));
            }
            Action::Alias => {}
        }
    }
    found
}

/// Pieces that differ in nothing but their numbers of channels, at most this many:
/// every layer of a DenseNet has its own.
const MOST_ALIKE: usize = 4;

/// Of pieces that differ in their channels only, the narrowest, the widest, and some
/// between.
fn sampled(pieces: Vec<Piece>) -> Vec<Piece> {
    let mut alike: BTreeMap<String, Vec<Piece>> = BTreeMap::new();
    for piece in pieces {
        // Weights are O, I, kernel, kernel; values are C, H, W.
        let plane = |shape: &Shape| {
            let channels = if shape.batched { 1 } else { 2 };
            format!("{:?} {:?}", shape.dims.get(channels..), shape.precision)
        };
        let planes: BTreeSet<String> = piece.inputs.iter().chain([&piece.output]).map(plane).collect();
        let text = format!("{:?}", piece.work);
        // These have the number of their layer, or of a channel.
        let numbered = ["Dropout", "DropPath", "Slice", "PadShortcut", "Gate"];
        let work = match numbered.iter().find(|name| text.starts_with(**name)) {
            Some(name) => name,
            None => &*text,
        };
        let key = format!("{work} {planes:?}");
        alike.entry(key).or_default().push(piece);
    }
    let mut kept = Vec::new();
    for mut group in alike.into_values() {
        group.sort_by_key(|piece| (piece.output.per_image(), piece.key()));
        let (count, last) = (group.len(), group.len() - 1);
        let chosen: BTreeSet<usize> = (0..MOST_ALIKE.min(count))
            .map(|i| i * last / (MOST_ALIKE.min(count) - 1).max(1))
            .collect();
        let numbered = group.into_iter().enumerate();
        kept.extend(
            numbered
                .filter(|(index, _)| chosen.contains(index))
                .map(|(_, piece)| piece),
        );
    }
    kept
}

/// What every network needs besides its layers, and what is measured of an
/// adapter.
fn of_every_network(target: &Target) -> Collected {
    let mut found = Collected::default();
    let every = Some("every network");
    for precision in [Precision::F32, Precision::F16] {
        for (reflect, dims) in [(false, [3, 32, 32]), (true, [3, 32, 32]), (false, [3, 224, 224])] {
            let part = ImagePart {
                first: 0,
                bytes: 1 << 24,
            };
            let shape = Shape::batched(&dims).stored_in(precision);
            found.add(
                every,
                None,
                kernels::gather(
                    &part,
                    5000,
                    &shape,
                    (4, reflect),
                    GatherChanges::default(),
                    BATCH,
                    target,
                ),
            );
        }
        found.add(every, None, updates(precision == Precision::F16, target));
    }
    for dims in [[3, 32, 32], [3, 224, 224]] {
        let part = ImagePart {
            first: 0,
            bytes: 1 << 24,
        };
        let stage = kernels::stage(&part, dims, (4, false), BATCH, target);
        found.add(every, None, [stage, kernels::distort(dims, 0, 1, BATCH, target)]);
    }
    found.add(every, None, kernels::update_loss_scale(1 << 20, target));
    found.add(every, None, [kernels::record(1024, BATCH)]);
    let probes = MultiplyAddShape::all().into_iter().map(|shape| shape.call(target));
    found.add(None, Some("peak"), probes);
    let streams = StreamShape::all(target).into_iter().map(|shape| shape.call(target));
    found.add(None, Some("peak"), streams);
    found
}

/// The names of all networks that `residua models` lists.
pub fn listed() -> Vec<String> {
    let entries = Catalogue::built_in().entries();
    entries.map(|(_, entry)| entry.name.clone()).collect()
}

/// The work of the networks `names`, each piece once.
fn work_of(names: &[String]) -> Vec<Piece> {
    let of_one = |name: &String| {
        let spec: ModelSpec = name.parse().unwrap_or_else(|error| panic!("{name}: {error}"));
        let mut found = BTreeMap::new();
        for mode in [Mode::Train, Mode::Eval] {
            let network = spec.build(&spec.usual_input(), mode);
            let mut graph = network.unwrap_or_else(|error| panic!("{name}: {error}")).graph;
            for precision in [Precision::F32, Precision::F16] {
                graph.store_in(precision);
                found.extend(pieces(name, &graph).into_iter().map(|piece| (piece.key(), piece)));
            }
        }
        found
    };
    let merged = names.par_iter().map(of_one).reduce(BTreeMap::new, |mut all, one| {
        for (key, piece) in one {
            all.entry(key).or_insert(piece);
        }
        all
    });
    sampled(merged.into_values().collect())
}

/// The variants that `target` may be given: those of the default algorithms for the
/// networks `names`, and all that the tuner tries for the networks `tuned`. Each text
/// once, in the order of the texts.
///
/// # Panics
/// Where a name is not one of a network, or its network is not built.
pub fn of_models(names: &[String], tuned: &[String], target: &Target) -> Vec<Known> {
    let variants_of = |names: &[String], all: bool| {
        let found = work_of(names).into_par_iter().map(|piece| piece.variants(all, target));
        found.reduce(Collected::default, Collected::merge)
    };
    let found = variants_of(names, false).merge(variants_of(tuned, true));
    let mut found = found.merge(of_every_network(target));
    found.0.retain(|_, entry| !tuned.is_empty() || !entry.models.is_empty());
    let entries: Vec<Entry> = found.0.into_values().collect();
    let known = entries.into_par_iter().map(|entry| Known {
        program: entry.variant.program(),
        variant: entry.variant,
        models: entry.models,
        algorithms: entry.algorithms,
        workgroups: entry.workgroups,
    });
    // Constants that an entry point does not use give the same text.
    let mut by_text: BTreeMap<Arc<str>, Known> = BTreeMap::new();
    for one in known.collect::<Vec<_>>() {
        match by_text.get_mut(&one.program.source) {
            Some(own) => {
                own.models.extend(one.models);
                own.algorithms.extend(one.algorithms);
                own.workgroups = own.workgroups.max(one.workgroups);
            }
            None => {
                by_text.insert(one.program.source.clone(), one);
            }
        }
    }
    by_text.into_values().collect()
}

/// The dispatches of updates by every optimiser, with and without a limit of the norm,
/// of moving averages, and of what puts shards together.
pub fn updates(scaled: bool, target: &Target) -> Vec<Call> {
    let bytes = 1 << 20;
    let tensor = |start: u64| ArenaTensor {
        range: start..start + (1 << 19) - 4,
        decays: start == 0,
        adapts: start == 0,
    };
    let segments = Segments::new(bytes, &[tensor(0), tensor(1 << 19)], target);
    let adamw = Optimizer::AdamW {
        beta1: 0.9,
        beta2: 0.999,
        eps: 1e-8,
    };
    let lars = Optimizer::Lars {
        trust: 0.001,
        eps: 1e-8,
    };
    let mut calls = Vec::new();
    for optimizer in [Optimizer::Sgd, adamw, lars] {
        for clip in [None, Some(1.0)] {
            let rule = UpdateRule {
                optimizer,
                clip,
                average: None,
            };
            calls.extend(kernels::update(&rule, bytes, 1 << 19, &segments, scaled, target));
        }
    }
    calls.extend(kernels::average(0.999, bytes, target));
    calls.extend(kernels::exchange(bytes, target));
    calls.extend(kernels::add_gradients(bytes, target));
    calls.extend(kernels::average_states(bytes, target));
    calls
}
