//! What happens when the disk is full? A test makes the n-th operation on files
//! fail.
//!
//! Builds without debug assertions have none of this.

use std::io;

/// Stands before every operation that writes to the disk.
///
/// # Errors
/// "No space left on device", where a test asked for it.
pub fn check() -> io::Result<()> {
    #[cfg(debug_assertions)]
    return injected::check();
    #[cfg(not(debug_assertions))]
    Ok(())
}

#[cfg(debug_assertions)]
mod injected {
    use std::cell::Cell;
    use std::io;

    thread_local! {
        /// Operations until one fails; `None` where none does.
        static LEFT: Cell<Option<u64>> = Cell::new(from_environment());
    }

    /// `RESIDUA_TEST_FAIL_WRITE=3`: the third operation of this program's main
    /// thread fails. Only tests set it.
    fn from_environment() -> Option<u64> {
        std::env::var("RESIDUA_TEST_FAIL_WRITE").ok()?.parse().ok()
    }

    pub fn check() -> io::Result<()> {
        let Some(left) = LEFT.get() else {
            return Ok(());
        };
        LEFT.set(left.checked_sub(1).filter(|&left| left > 0));
        if left == 1 {
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        Ok(())
    }

    /// Lets the operation `number` (from 1) of this thread fail, in `run`. Says
    /// with the result whether it came to that.
    #[cfg(test)]
    pub fn with<T>(number: u64, run: impl FnOnce() -> T) -> (T, bool) {
        LEFT.set(Some(number));
        let result = run();
        (result, LEFT.take().is_none())
    }
}

#[cfg(test)]
pub(crate) use injected::with;
