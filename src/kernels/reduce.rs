//! Which dispatches sum over batch and plane, in chunks of images?

use super::call::{Call, Lowered, Operand, Target, chunks, is_workgroup_size, parts};
use super::candidate::{Algorithm, Tunable};
use crate::graph::Shape;

const WG: usize = 64;

/// The rules' choice for a sum over batch and plane: enough workgroups to
/// keep the device busy.
pub(super) fn chunk_rule(lanes: usize, target: &Target) -> Algorithm {
    let groups = if target.cpu { 64 } else { 1024 };
    Algorithm::Chunks { groups, lanes }
}

/// Other choices for a sum over batch and plane.
pub(super) fn chunk_others(lanes: usize, target: &Target) -> Vec<Algorithm> {
    let chunks = |(groups, lanes)| Algorithm::Chunks { groups, lanes };
    if target.cpu {
        [(256, lanes), (64, lanes / 2)].map(chunks).to_vec()
    } else {
        [(1024, 4 * lanes), (4096, lanes), (256, 4 * lanes), (1024, lanes / 2)]
            .map(chunks)
            .to_vec()
    }
}

/// Workgroups and invocations of a sum over batch and plane, where
/// `candidate` is one: one for each channel, if it is plain.
pub(super) fn chunk_parameters(candidate: &Algorithm) -> Option<(usize, usize)> {
    match *candidate {
        Algorithm::Plain => Some((1, 1)),
        Algorithm::Chunks { groups, lanes } if is_workgroup_size(lanes) => Some((groups, lanes)),
        _ => None,
    }
}

/// Sum over batch and plane for each channel: input dy.
pub(super) struct ChannelSum<'a> {
    pub dy: &'a Shape,
}

impl Tunable for ChannelSum<'_> {
    fn rule(&self, target: &Target) -> Algorithm {
        chunk_rule(WG, target)
    }

    fn others(&self, target: &Target) -> Vec<Algorithm> {
        chunk_others(WG, target)
    }

    fn lower(&self, candidate: &Algorithm, batch: usize, target: &Target) -> Option<Lowered> {
        let (groups, lanes) = chunk_parameters(candidate)?;
        let chunks = (groups / self.dy.channels()).clamp(1, batch);
        Some(channel_sum(self.dy, batch.div_ceil(chunks), lanes, batch, target))
    }
}

fn channel_sum(dy: &Shape, images: usize, lanes: usize, batch: usize, target: &Target) -> Lowered {
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
            ("WG", lanes.into()),
        ];
        let mut call = Call::new("reduce", "channel_sum", constants)
            .store("Stored", 1, dy)
            .bind_images(0, Operand::Input(0), dy, &part.images)
            .bind(1, Operand::Scratch(0), partial);
        call.workgroups = [part.count as u32, channels as u32, 1];
        calls.push(call);
    }
    calls.push(
        Call::new("reduce", "rows", vec![("WG", WG.into())])
            .bind(0, Operand::Scratch(0), partial)
            .bind(1, Operand::Output, 4 * channels as u64)
            .over(channels, WG, target),
    );
    Lowered {
        calls,
        scratch: vec![partial],
    }
}
