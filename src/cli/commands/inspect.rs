//! `tools inspect`: what is a model made of, and what will it need?

use std::fmt::Write as _;

use crate::cli::{AdapterArgs, CliError};
use crate::graph::{Block, Graph, Mode, NodeId, Precision, Recompute};
use crate::kernels::Target;
use crate::models::{InputShape, ModelSpec};
use crate::schedule::{footprint, memory};
use crate::train::{Adapter, batch_size};
use serde::Serialize;

use super::plan;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Model name, as in `residua train --help`
    model: String,
    /// Channels × height × width of the images
    #[arg(long, value_name = "CxHxW", default_value = "3x32x32")]
    input: String,
    /// Number of classes
    #[arg(long, value_name = "N", default_value_t = 10)]
    classes: usize,
    /// Images in a batch, for the memory plan
    #[arg(long, value_name = "N", default_value_t = 128)]
    batch_size: usize,
    /// What training makes again for the way back instead of keeping it: see
    /// `residua train --help`
    #[arg(long, value_name = "WHAT", value_enum, default_value_t)]
    recompute: Recompute,
    /// How activations and their gradients are stored, for the memory plan and
    /// --plan
    #[arg(long, value_name = "WHAT", value_enum, default_value_t)]
    precision: Precision,
    /// Every dispatch of a training step, with bytes, multiply-adds and time on
    /// the adapter
    #[arg(long)]
    plan: bool,
    #[command(flatten)]
    adapter: AdapterArgs,
    /// One JSON object on standard output
    #[arg(long)]
    json: bool,
}

/// One block, as it is shown.
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
    batch_size(args.batch_size)?;
    let spec: ModelSpec = args.model.parse()?;
    let mut input: InputShape = args.input.parse()?;
    input.classes = args.classes;
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
        return Ok(format!(
            "{}\n",
            serde_json::json!({
                "model": spec.to_string(),
                "input": [input.channels, input.height, input.width],
                "classes": input.classes,
                "parameters": eval.parameter_count(),
                "macs": eval.macs(),
                "blocks": blocks,
                "memory": memory,
                "plan": dispatches.map(|(_, rows)| rows),
            })
        ));
    }
    let mut text = table(&spec, &input, &eval, &blocks, &memory);
    if let Some((adapter, rows)) = dispatches {
        text.push_str(&plan::table(&adapter, &rows));
    }
    Ok(text)
}

fn row(graph: &Graph, index: usize, block: &Block) -> BlockRow {
    // The branch and the shortcut: what lies between entry and join.
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

/// The nodes that the block's join depends on and its input does not.
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

/// What training and evaluation take besides the images, planned for the
/// limits of a software Vulkan device, which are the tightest: 128 MiB a
/// binding.
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

fn table(spec: &ModelSpec, input: &InputShape, graph: &Graph, blocks: &[BlockRow], memory: &MemoryRow) -> String {
    let mut text = String::new();
    let _ = writeln!(
        text,
        "{spec} for {}×{}×{} images and {} classes",
        input.channels, input.height, input.width, input.classes
    );
    let _ = writeln!(
        text,
        "{} parameters, {} multiply-adds an image, {} blocks\n",
        thousands(graph.parameter_count() as u64),
        thousands(graph.macs()),
        blocks.len()
    );
    let _ = writeln!(
        text,
        "block  name              input        output       parameters   multiply-adds"
    );
    for row in blocks {
        let _ = writeln!(
            text,
            "{:>5}  {:<16}  {:<11}  {:<11}  {:>10}  {:>14}{}",
            row.number,
            row.name,
            row.input,
            row.output,
            thousands(row.parameters as u64),
            thousands(row.macs),
            if row.downsamples { "  downsamples" } else { "" }
        );
    }
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let _ = writeln!(
        text,
        "\nmemory with batches of {}: {:.1} MiB at the peak of training, besides the images ({:.1} MiB of activations and \
         their gradients in {} buffers, the rest for parameters, gradients and momenta); {:.1} MiB of activations in \
         evaluation",
        memory.batch_size,
        mib(memory.peak_training),
        mib(memory.activations_training),
        memory.buffers,
        mib(memory.activations_evaluation)
    );
    text
}

/// `1234567` as `1 234 567`.
fn thousands(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}
