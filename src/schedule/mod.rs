//! From a graph to dispatches: fusion, the memory plan, routes that skip what
//! they leave out, and the recording of a step.

mod fuse;
mod memory;
mod plan;
mod session;
mod weights;

pub use memory::{Layout, Piece, Pool};
pub use plan::{Kernel, MemoryPlan, Plan, Request, dispatch, target};
pub use session::{Batch, Crop, ResidentSet, Session, SessionError, Update, memory};
pub use weights::Weights;
