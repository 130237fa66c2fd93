//! Which dispatches make batch norm, forward and backward?

use super::algorithm::{Algorithm, Problem};
use super::call::{Call, Lowered, Operand, Target, parts};
use super::chunked_sum::{ChunkedSum, chunks};
use super::reduce::{chunked_sum, sum_algorithms};
use super::value::Value;
use crate::graph::Shape;

const WORKGROUP_SIZE: usize = 64;

/// How a plane is split among invocations.
struct PlaneSplit {
    /// Elements of the shader's vector `V`: 4, or 1 where planes are not a
    /// multiple of 4.
    width: usize,
    /// Vectors of one plane.
    plane: usize,
    /// Vectors of one invocation.
    items: usize,
}

impl PlaneSplit {
    fn of(shape: &Shape, target: &Target) -> Self {
        let (height, width) = shape.plane();
        let size = height * width;
        let width = if size.is_multiple_of(4) { 4 } else { 1 };
        let plane = size / width;
        // The channel's constants cost as much to load as the data, and an
        // iteration of a loop as much as a load. On a CPU as many elements as
        // possible share them.
        let most = if target.cpu { 8 } else { 2 };
        let items = (1..=most).rev().find(|items| plane.is_multiple_of(*items)).unwrap_or(1);
        PlaneSplit { width, plane, items }
    }

    fn constants(&self, channels: usize, workgroup_size: usize) -> Vec<(&'static str, Value)> {
        vec![
            ("V", Value::Type(if self.width == 4 { "vec4f" } else { "f32" })),
            ("Bits", Value::Type(if self.width == 4 { "vec4i" } else { "i32" })),
            ("WIDTH", self.width.into()),
            ("C", channels.into()),
            ("PLANE", self.plane.into()),
            ("ITEMS", self.items.into()),
            ("WG", workgroup_size.into()),
        ]
    }

    fn invocations(&self, images: usize, channels: usize) -> usize {
        images * channels * self.plane / self.items
    }

    /// The number of images that one workgroup sums.
    fn chunk(&self, batch: usize, channels: usize, sum: ChunkedSum) -> usize {
        let chunks = (sum.splits / channels).clamp(1, batch);
        // No invocation is without work, as far as the batch allows.
        let most = (sum.workgroup_size * self.items / self.plane).min(batch);
        batch.div_ceil(chunks).max(most).max(1)
    }
}

/// Mean and 1/σ of the batch, and the update of the running state: input x.
pub struct BatchStats<'a> {
    pub x: &'a Shape,
    pub eps: f32,
    pub momentum: f32,
}

impl Problem for BatchStats<'_> {
    fn default_algorithm(&self, target: &Target) -> Algorithm {
        sum_algorithms(WORKGROUP_SIZE, target).0
    }

    fn alternatives(&self, target: &Target) -> Vec<Algorithm> {
        sum_algorithms(WORKGROUP_SIZE, target).1
    }

    fn lower(&self, algorithm: &Algorithm, batch: usize, target: &Target) -> Option<Lowered> {
        Some(batch_stats(self, chunked_sum(algorithm)?, batch, target))
    }
}

fn batch_stats(of: &BatchStats, sum: ChunkedSum, batch: usize, target: &Target) -> Lowered {
    let x = of.x;
    let split = PlaneSplit::of(x, target);
    let channels = x.channels();
    let images = split.chunk(batch, channels, sum);
    let (parts, all) = chunks(parts(batch, &[x], target), images);
    let moments = 16 * (all * channels) as u64;
    let mut calls = Vec::new();
    for part in parts {
        let mut constants = split.constants(channels, sum.workgroup_size);
        constants.extend([("IMAGES", images.into()), ("FIRST_CHUNK", part.first.into())]);
        let mut call = Call::new("batch_norm", "chunk_moments", constants)
            .store("Stored", split.width, x)
            .bind_images(0, Operand::Input(0), x, &part.images)
            .bind(4, Operand::Scratch(0), moments);
        call.workgroups = [part.count as u32, channels as u32, 1];
        calls.push(call);
    }
    calls.push(merge_moments(of, Operand::Scratch(0), moments, target));
    Lowered {
        calls,
        scratch: vec![moments],
    }
}

/// Invocations that merge the chunks of one channel. On a GPU, 32 would leave half of
/// a subgroup of 64 idle.
fn merging_size(target: &Target) -> usize {
    if target.cpu { 32 } else { WORKGROUP_SIZE }
}

/// Merges chunks of moments, `bytes` in `chunks`, into the statistics and the
/// running state.
pub fn merge_moments(of: &BatchStats, chunks: Operand, bytes: u64, target: &Target) -> Call {
    let channels = of.x.channels();
    let rows = 8 * channels as u64;
    let constants = vec![
        ("C", channels.into()),
        ("EPS", of.eps.into()),
        ("MOMENTUM", of.momentum.into()),
        ("WG", merging_size(target).into()),
    ];
    let mut merge = Call::new("batch_norm", "merge_moments", constants)
        .bind(5, chunks, bytes)
        .bind(6, Operand::Output, rows)
        .bind(7, Operand::Running, rows);
    merge.workgroups = [channels as u32, 1, 1];
    merge
}

/// Mean and 1/σ from the running state: no input.
pub fn running_stats(stats: &Shape, eps: f32, target: &Target) -> Lowered {
    let channels = stats.dims[1];
    let rows = 8 * channels as u64;
    let call = Call::new(
        "batch_norm",
        "running_stats",
        vec![
            ("C", channels.into()),
            ("EPS", eps.into()),
            ("WG", WORKGROUP_SIZE.into()),
        ],
    )
    .bind(6, Operand::Output, rows)
    .bind(7, Operand::Running, rows)
    .over(channels, WORKGROUP_SIZE, target);
    Lowered::calls(vec![call])
}

/// Normalisation, then perhaps a ReLU, a join and another ReLU: inputs x,
/// stats, affine and, for a join, the shortcut.
pub fn normalize(relu: bool, join: Option<bool>, y: &Shape, batch: usize, target: &Target) -> Lowered {
    let split = PlaneSplit::of(y, target);
    let channels = y.channels();
    let rows = 8 * channels as u64;
    let calls = parts(batch, &[y], target).into_iter().map(|part| {
        let mut constants = split.constants(channels, WORKGROUP_SIZE);
        constants.extend([
            ("RELU", relu.into()),
            ("JOIN", join.is_some().into()),
            ("JOIN_RELU", join.unwrap_or(false).into()),
        ]);
        Call::new("batch_norm", "normalize", constants)
            .store("Stored", split.width, y)
            .bind_images(0, Operand::Input(0), y, &part)
            .bind(2, Operand::Input(1), rows)
            .bind(3, Operand::Input(2), rows)
            .bind_images(8, Operand::Output, y, &part)
            .bind_images(9, Operand::Input(3), y, &part)
            .bind(10, Operand::Gains, 16)
            .over(split.invocations(part.len(), channels), WORKGROUP_SIZE, target)
    });
    Lowered::calls(calls.collect())
}

/// Gradients of γ and β: inputs dy, x, stats and, where a ReLU follows,
/// affine.
pub struct ParamGradients<'a> {
    pub relu: bool,
    pub x: &'a Shape,
}

impl Problem for ParamGradients<'_> {
    fn default_algorithm(&self, target: &Target) -> Algorithm {
        sum_algorithms(WORKGROUP_SIZE, target).0
    }

    fn alternatives(&self, target: &Target) -> Vec<Algorithm> {
        sum_algorithms(WORKGROUP_SIZE, target).1
    }

    fn lower(&self, algorithm: &Algorithm, batch: usize, target: &Target) -> Option<Lowered> {
        Some(param_gradients(self, chunked_sum(algorithm)?, batch, target))
    }
}

fn param_gradients(of: &ParamGradients, sum: ChunkedSum, batch: usize, target: &Target) -> Lowered {
    let ParamGradients { relu, x } = *of;
    let split = PlaneSplit::of(x, target);
    let channels = x.channels();
    let images = split.chunk(batch, channels, sum);
    let (parts, all) = chunks(parts(batch, &[x], target), images);
    let products = 8 * (all * channels) as u64;
    let rows = 8 * channels as u64;
    let mut calls = Vec::new();
    for part in parts {
        let mut constants = split.constants(channels, sum.workgroup_size);
        constants.extend([
            ("IMAGES", images.into()),
            ("FIRST_CHUNK", part.first.into()),
            ("RELU", relu.into()),
        ]);
        let mut call = Call::new("batch_norm", "chunk_sums", constants)
            .store("Stored", split.width, x)
            .bind_images(0, Operand::Input(1), x, &part.images)
            .bind_images(1, Operand::Input(0), x, &part.images)
            .bind(2, Operand::Input(2), rows)
            .bind(3, Operand::Input(3), rows)
            .bind(11, Operand::Scratch(0), products);
        call.workgroups = [part.count as u32, channels as u32, 1];
        calls.push(call);
    }
    let mut merge = Call::new(
        "batch_norm",
        "merge_sums",
        vec![("C", channels.into()), ("WG", merging_size(target).into())],
    )
    .bind(12, Operand::Scratch(0), products)
    .bind(13, Operand::Output, rows);
    merge.workgroups = [channels as u32, 1, 1];
    calls.push(merge);
    Lowered {
        calls,
        scratch: vec![products],
    }
}

/// Input gradient: inputs dy, x, stats, affine and the gradients of γ and β.
pub fn input_gradient(relu: bool, batch_stats: bool, x: &Shape, batch: usize, target: &Target) -> Lowered {
    let split = PlaneSplit::of(x, target);
    let channels = x.channels();
    let rows = 8 * channels as u64;
    let (height, width) = x.plane();
    let count = (batch * height * width) as f64;
    let calls = parts(batch, &[x], target).into_iter().map(|part| {
        let mut constants = split.constants(channels, WORKGROUP_SIZE);
        constants.extend([
            ("RELU", relu.into()),
            ("BATCH_STATS", batch_stats.into()),
            ("PER_COUNT", ((1.0 / count) as f32).into()),
        ]);
        Call::new("batch_norm", "input_gradient", constants)
            .store("Stored", split.width, x)
            .bind_images(0, Operand::Input(1), x, &part)
            .bind_images(1, Operand::Input(0), x, &part)
            .bind(2, Operand::Input(2), rows)
            .bind(3, Operand::Input(3), rows)
            .bind_images(8, Operand::Output, x, &part)
            .bind(14, Operand::Input(4), rows)
            .over(split.invocations(part.len(), channels), WORKGROUP_SIZE, target)
    });
    Lowered::calls(calls.collect())
}
