//! Which dispatches sum over batch and plane for each channel?

use super::algorithm::{Algorithm, Problem};
use super::call::{Call, Lowered, Operand, Target, parts};
use super::chunked_sum::{ChunkedSum, chunks};
use crate::graph::Shape;

const WORKGROUP_SIZE: usize = 64;

/// The default and the alternatives of a sum over batch and plane.
pub fn sum_algorithms(workgroup_size: usize, target: &Target) -> (Algorithm, Vec<Algorithm>) {
    let default = ChunkedSum::default_for(workgroup_size, target);
    let others = ChunkedSum::alternatives(workgroup_size, target);
    (
        Algorithm::Reduce(default),
        others.into_iter().map(Algorithm::Reduce).collect(),
    )
}

/// How `algorithm` splits a sum over batch and plane; `None` where it does not
/// compute one.
pub fn chunked_sum(algorithm: &Algorithm) -> Option<ChunkedSum> {
    match *algorithm {
        Algorithm::Plain => Some(ChunkedSum::PLAIN),
        Algorithm::Reduce(sum) if sum.fits() => Some(sum),
        _ => None,
    }
}

/// Sum over batch and plane for each channel: input dy.
pub struct ChannelSum<'a> {
    /// N, C, H, W.
    pub dy: &'a Shape,
}

impl Problem for ChannelSum<'_> {
    fn default_algorithm(&self, target: &Target) -> Algorithm {
        sum_algorithms(WORKGROUP_SIZE, target).0
    }

    fn alternatives(&self, target: &Target) -> Vec<Algorithm> {
        sum_algorithms(WORKGROUP_SIZE, target).1
    }

    fn lower(&self, algorithm: &Algorithm, batch: usize, target: &Target) -> Option<Lowered> {
        let ChunkedSum { splits, workgroup_size } = chunked_sum(algorithm)?;
        let chunks = (splits / self.dy.channels()).clamp(1, batch);
        let images = batch.div_ceil(chunks);
        Some(channel_sum(self.dy, images, workgroup_size, batch, target))
    }
}

fn channel_sum(dy: &Shape, images: usize, workgroup_size: usize, batch: usize, target: &Target) -> Lowered {
    let channels = dy.channels();
    let (height, width) = dy.plane();
    let (parts, all) = chunks(parts(batch, &[dy], target), images);
    let partial = 4 * (all * channels) as u64;
    let mut calls = Vec::new();
    for part in parts {
        let constants = vec![
            ("C", channels.into()),
            ("PLANE", (height * width).into()),
            ("IMAGES", images.into()),
            ("FIRST_CHUNK", part.first.into()),
            ("WG", workgroup_size.into()),
        ];
        let mut call = Call::new("reduce", "channel_sum", constants)
            .store("Stored", 1, dy)
            .bind_images(0, Operand::Input(0), dy, &part.images)
            .bind(1, Operand::Scratch(0), partial);
        call.workgroups = [part.count as u32, channels as u32, 1];
        calls.push(call);
    }
    calls.push(
        Call::new("reduce", "sum_rows", vec![("WG", WORKGROUP_SIZE.into())])
            .bind(0, Operand::Scratch(0), partial)
            .bind(1, Operand::Output, 4 * channels as u64)
            .over(channels, WORKGROUP_SIZE, target),
    );
    Lowered {
        calls,
        scratch: vec![partial],
    }
}
