//! `inspect`: which blocks does a model have, and how much memory does it need?
//! A file is for [`inspect_file`].

use std::ffi::OsString;
use std::path::Path;

use crate::cli::args::NameArgs;
use crate::cli::network::{is_network_file, model_spec};
use crate::cli::{self, AdapterArgs, CliError};
use crate::graph::{Block, Graph, Mode, NodeId, Precision, Recompute};
use crate::kernels::Target;
use crate::models::{InputShape, ModelSpec};
use crate::report::{Column, Item, Report, Table};
use crate::schedule::{footprint, memory};
use crate::train::{Adapter, batch_size};
use serde::Serialize;

use super::{inspect_file, plan};
use crate::shown::shown_path;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Model, with a name or file as in `residua train --help`; or a weights file or
    /// its folder
    #[arg(value_name = "MODEL|FILE")]
    model: OsString,
    /// Channels × height × width of the images, in pixels [default: those that the
    /// model is made for, 3x32x32 or 3x224x224]
    #[arg(long, value_name = "CxHxW")]
    input: Option<String>,
    /// Number of classes [default: those that the model is made for, 10 or 1000]
    #[arg(long, value_name = "N")]
    classes: Option<usize>,
    /// Images in a batch, for the memory plan
    #[arg(long, value_name = "N", default_value_t = 128)]
    batch_size: usize,
    /// What the backward pass recomputes instead of reading it from memory: less
    /// memory, more time, the same bits
    #[arg(long, value_name = "WHAT", value_enum, default_value_t)]
    recompute: Recompute,
    /// How activations and their gradients are stored
    #[arg(long, value_name = "WHAT", value_enum, default_value_t)]
    precision: Precision,
    /// Also list every dispatch of a training step, with bytes, multiply-adds and
    /// time on the adapter
    #[arg(long)]
    plan: bool,
    /// Of a file: evaluate the models that it fits, with several normalisations, on
    /// these images; as in `residua eval --help` [default: none]
    #[arg(long, value_name = "SPEC")]
    pub(super) data: Option<String>,
    /// Of a file: use only the first N test images of --data
    #[arg(long, value_name = "N", default_value_t = 500)]
    pub(super) limit_test: usize,
    #[command(flatten)]
    pub(super) names: NameArgs,
    #[command(flatten)]
    pub(super) adapter: AdapterArgs,
    /// One JSON object on standard output
    #[arg(long)]
    pub(super) json: bool,
}

/// A block, as `--json` shows it.
#[derive(Debug, Serialize)]
struct BlockRow {
    number: usize,
    name: String,
    stage: usize,
    input: String,
    output: String,
    downsamples: bool,
    parameters: usize,
    macs: u64,
}

#[derive(Debug, Serialize)]
struct MemoryRow {
    batch_size: usize,
    recompute: Recompute,
    precision: Precision,
    activations_training: u64,
    activations_evaluation: u64,
    parameters: u64,
    peak_training: u64,
    buffers: usize,
}

pub fn inspect(args: &Args) -> Result<String, CliError> {
    let path = Path::new(&args.model);
    let name = args.model.to_string_lossy();
    if path.exists() && !is_network_file(&name) {
        if args.plan {
            return Err(CliError::argument("--plan is for a model, not for a file"));
        }
        return inspect_file::inspect(path, args);
    }
    if args.data.is_some() || args.names.table.is_some() || !args.names.rename.is_empty() {
        let name = shown_path(path);
        return Err(CliError::argument(format!(
            "--data, --table and --rename are for a weights file, and there is no file {name}"
        )));
    }
    batch_size(args.batch_size)?;
    let spec = model_spec(&name)?;
    let input = cli::args::input_for(&spec, args.input.as_deref(), args.classes)?;
    if let Some(line) = spec.note(&input) {
        cli::note(line);
    }
    let mut train = spec.build(&input, Mode::Train)?.graph;
    let mut eval = spec.build(&input, Mode::Eval)?.graph;
    let blocks: Vec<BlockRow> = eval
        .blocks
        .iter()
        .enumerate()
        .map(|(index, block)| row(&eval, index, block))
        .collect();
    train.store_in(args.precision);
    eval.store_in(args.precision);
    let memory = memory_of(&train, &eval, args.batch_size, args.recompute);
    let dispatches = if args.plan {
        let Adapter::Device(choice) = args.adapter.choice() else {
            return Err(CliError::argument(
                "--plan needs a device: the reference has no dispatches",
            ));
        };
        Some(plan::dispatches(
            &choice,
            train,
            eval.clone(),
            args.batch_size,
            args.recompute,
        )?)
    } else {
        None
    };
    if args.json {
        return cli::json_line(&serde_json::json!({
            "model": spec.to_string(),
            "input": [input.channels, input.height, input.width],
            "classes": input.classes,
            "parameters": eval.parameter_count(),
            "macs": eval.macs(),
            "blocks": blocks,
            "memory": memory,
            "plan": dispatches.map(|(_, rows)| rows),
        }));
    }
    let mut report = report(&spec, &input, &eval, &blocks, &memory);
    if let Some((adapter, rows)) = dispatches {
        report.items.extend(plan::tables(&adapter, &rows));
    }
    Ok(report.text())
}

fn row(graph: &Graph, index: usize, block: &Block) -> BlockRow {
    // The branch and the shortcut: the nodes between the block's input and join.
    let within: Vec<NodeId> = inside(graph, block);
    let parameters = within
        .iter()
        .filter_map(|&id| graph.param_of(id))
        .map(|id| graph.params[id.0].len())
        .sum();
    let image = |id: NodeId| {
        graph
            .shape(id)
            .dims
            .iter()
            .map(usize::to_string)
            .collect::<Vec<_>>()
            .join("×")
    };
    BlockRow {
        number: index + 1,
        name: block.name.clone(),
        stage: block.stage,
        input: image(block.input),
        output: image(block.output),
        downsamples: block.downsamples,
        parameters,
        macs: within.iter().map(|&id| graph.forward_macs(id)).sum(),
    }
}

/// The nodes that the block's join depends on and that its input does not.
fn inside(graph: &Graph, block: &Block) -> Vec<NodeId> {
    let mut seen = vec![false; graph.nodes.len()];
    let mut open = vec![block.join];
    let mut found = Vec::new();
    seen[block.input.0] = true;
    while let Some(id) = open.pop() {
        if !std::mem::replace(&mut seen[id.0], true) {
            found.push(id);
            open.extend(&graph.node(id).inputs);
        }
    }
    found
}

/// The memory of training and evaluation without the images, planned for the
/// limits of a software Vulkan device, which are the smallest: 128 MiB a binding.
fn memory_of(train: &Graph, eval: &Graph, batch: usize, recompute: Recompute) -> MemoryRow {
    let target = Target::portable(true);
    let training = memory(train, true, batch, recompute, &target);
    let evaluation = memory(eval, false, batch, recompute, &target);
    MemoryRow {
        batch_size: batch,
        recompute,
        precision: train.precision(),
        activations_training: training.bytes(),
        activations_evaluation: evaluation.bytes(),
        parameters: 4 * eval.parameter_count() as u64,
        buffers: training.sizes().len(),
        peak_training: footprint(eval, training, evaluation, &target).total(),
    }
}

/// What is printed without `--json`.
fn report(spec: &ModelSpec, input: &InputShape, graph: &Graph, blocks: &[BlockRow], memory: &MemoryRow) -> Report {
    let row = |row: &BlockRow| {
        let downsamples = if row.downsamples { "downsamples" } else { "" };
        vec![
            row.number.into(),
            row.name.as_str().into(),
            row.input.as_str().into(),
            row.output.as_str().into(),
            row.parameters.into(),
            row.macs.into(),
            downsamples.into(),
        ]
    };
    let table = Table {
        name: "blocks".into(),
        title: "Blocks".into(),
        columns: vec![
            Column::plain("block", "block"),
            Column::plain("name", "name"),
            Column::plain("input", "input"),
            Column::plain("output", "output"),
            Column::count("parameters", "parameters"),
            Column::count("macs", "multiply-adds"),
            Column::plain("downsamples", "note"),
        ],
        rows: blocks.iter().map(row).collect(),
        file_only: false,
    };
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let grouped = |count: u64| Column::count("", "").show(&count.into());
    let text = |text: String| Item::Text { text };
    Report {
        title: format!("{spec} for {}×{}×{} images", input.channels, input.height, input.width),
        finding: format!(
            "{spec} for {}×{}×{} images and {} classes: {} parameters, {} multiply-adds an image, {} blocks",
            input.channels,
            input.height,
            input.width,
            input.classes,
            grouped(graph.parameter_count() as u64),
            grouped(graph.macs()),
            blocks.len()
        ),
        items: vec![
            Item::Table(table),
            text(format!(
                "memory with batches of {} images: {:.1} MiB at the peak of training, without the images ({:.1} MiB of \
                 activations and their gradients in {} buffers, the rest for parameters, gradients and momenta); {:.1} \
                 MiB of activations in evaluation",
                memory.batch_size,
                mib(memory.peak_training),
                mib(memory.activations_training),
                memory.buffers,
                mib(memory.activations_evaluation)
            )),
        ],
        ..Report::default()
    }
}
