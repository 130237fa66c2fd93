//! From a graph to dispatches: fusion, the memory plan, routes that skip what
//! they leave out, and the recording of a step.

mod choice_file;
mod choices;
mod footprint;
mod fuse;
mod job;
mod live_ranges;
mod memory;
mod plan;
mod segments;
mod session;
mod tune;
mod tuner;
mod weights;

pub use choice_file::{add_choices, choice_file, clear_choices, read_choices};
pub use choices::{Book, Choices, Device, TunedKernel};
pub use footprint::Footprint;
pub use fuse::{Action, Task, tasks};
pub use job::{Job, Trial};
pub use memory::{Layout, Piece, Pool};
pub use plan::{Kernel, MemoryPlan, Plan, PlanRequest, dispatch, target};
pub use session::{Batch, Crop, ResidentSet, Session, SessionError, Update, footprint, jobs, memory};
pub use tune::{Budget, Kept, Progress, tune};
pub use tuner::{Aside, Tuned, Tuner};
pub use weights::Weights;
