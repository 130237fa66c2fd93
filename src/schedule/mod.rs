//! How does a graph become dispatches? By fusion, the memory plan, routes that leave
//! parts of the network out, and the recording of a step.
//!
//! The modules build on each other in this order: `request` (what must be
//! computed) → `live_ranges` (when each value is needed) → `memory_plan`
//! (where it is stored) → `plan` (dispatches) → `pass` (what a training step
//! or an evaluation asks of a plan) → `session` (one network on one device).

mod bind;
mod compile;
mod error;
mod footprint;
mod fuse;
mod kernel_choices;
mod live_ranges;
mod memory;
mod memory_plan;
mod pass;
mod plan;
mod quarantine;
mod request;
mod resident_set;
mod segments;
mod session;
mod shards;
mod values;
mod weights;

pub(crate) use bind::MACS_PER_BYTE;
pub use bind::{dispatch, target};
pub use error::SessionError;
pub use footprint::Footprint;
pub use fuse::{Action, Task, tasks};
pub use kernel_choices::{KernelChoices, Timing, TunedKernel};
pub use memory_plan::MemoryPlan;
pub use pass::{footprint, memory, step_request};
pub use plan::Kernel;
pub use quarantine::{Quarantine, kernel_name, shaders_version, training_name};
pub use request::PlanRequest;
pub use resident_set::{Batch, Crop, ResidentSet};
pub use session::{Session, Update};
pub use shards::shards_of;
pub use values::{read_values, write_values};
pub use weights::Slot;
