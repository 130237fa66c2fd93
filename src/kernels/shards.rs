//! Which dispatches put together what the shards of a batch computed?

use super::call::{Call, Operand, Target, arena_parts};
use super::step::STEP_BYTES;

const WORKGROUP_SIZE: usize = 64;

/// Adds the gradients in input 0 to those in input 1, arenas of `bytes`.
pub fn add_gradients(bytes: u64, target: &Target) -> Vec<Call> {
    of_arenas("add", 1, bytes, target)
}

/// Input 1 becomes the mean over the images of the shards so far: of itself, for those
/// before this shard, and of input 0, the running states that this shard left. Both are
/// arenas of `bytes`.
pub fn average_states(bytes: u64, target: &Target) -> Vec<Call> {
    of_arenas("average", 2, bytes, target)
}

fn of_arenas(entry: &'static str, written: u32, bytes: u64, target: &Target) -> Vec<Call> {
    let calls = arena_parts(bytes, target).map(|(offset, size)| {
        let mut call = Call::new("shards", entry, vec![("WG", WORKGROUP_SIZE.into())])
            .bind(0, Operand::Input(0), size)
            .bind(written, Operand::Input(1), size);
        call.args.iter_mut().for_each(|arg| arg.offset = offset);
        call.bind(3, Operand::Step, STEP_BYTES)
            .over((size / 16) as usize, WORKGROUP_SIZE, target)
    });
    calls.collect()
}
