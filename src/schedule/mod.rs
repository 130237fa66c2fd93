//! From a graph to dispatches: fusion, the memory plan, routes that skip what
//! they leave out, and the recording of a step.

mod choice_file;
mod choices;
mod fuse;
mod memory;
mod plan;
mod session;
mod tune;
mod weights;

pub use choice_file::{add_choices, choice_file, clear_choices, read_choices};
pub use choices::{Book, Choice, Choices, Device};
pub use fuse::{Action, Task, tasks};
pub use memory::{Layout, Piece, Pool};
pub use plan::{Kernel, MemoryPlan, Plan, Request, dispatch, target};
pub use session::{Batch, Crop, ResidentSet, Session, SessionError, Update, jobs, memory};
pub use tune::{Aside, Budget, Job, Progress, Trial, Tuned, Tuner, tune};
pub use weights::Weights;
