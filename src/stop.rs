//! How is a run asked to stop from outside?

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A request to stop, shared by those who may ask and those who heed it.
///
/// Clones share one request. Training heeds it after each step, an evaluation
/// after each batch, tuning after each kernel. What was computed until then is
/// stored, and the call returns an error for which
/// [`TrainError::is_stopped`](crate::train::TrainError::is_stopped) is true.
/// The library never asks by itself and handles no signals.
///
/// ```
/// use residua::stop::StopToken;
///
/// let (asking, heeding) = (StopToken::default(), StopToken::default());
/// let shared = asking.clone();
/// asking.stop();
/// assert!(shared.is_stopped() && !heeding.is_stopped());
/// ```
#[derive(Debug, Clone, Default)]
pub struct StopToken(Arc<AtomicBool>);

impl PartialEq for StopToken {
    /// Whether both share one request.
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for StopToken {}

impl StopToken {
    /// Asks to stop. The request cannot be taken back.
    pub fn stop(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    /// Whether somebody has asked.
    pub fn is_stopped(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }

    /// The flag that is the request: true when somebody has asked. Signal
    /// handlers set it.
    pub fn flag(&self) -> Arc<AtomicBool> {
        self.0.clone()
    }
}
