//! What happens where wgpu panics? It does so when a driver reports the loss of a
//! device during a wait. For this program that is an error like others.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

thread_local! {
    static GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// Whether this thread is within a call whose panic becomes an error: a hook of
/// panics should print nothing then.
pub fn panics_become_errors() -> bool {
    GUARDED.get()
}

/// The result of `call`, or the message of its panic.
pub(super) fn guarded<T>(call: impl FnOnce() -> T) -> Result<T, String> {
    GUARDED.set(true);
    // Safe to assert: after a panic the device counts as lost, and is only dropped.
    let result = catch_unwind(AssertUnwindSafe(call));
    GUARDED.set(false);
    result.map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        text.unwrap_or("wgpu panicked").to_string()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_its_message() {
        assert_eq!(guarded(|| 3), Ok(3));
        // Not shown: the hook of the test program prints it otherwise.
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(|_| assert!(panics_become_errors())));
        let lost = guarded(|| -> () { panic!("device {}", "lost") });
        std::panic::set_hook(hook);
        assert_eq!(lost, Err("device lost".to_string()));
        assert!(!panics_become_errors());
    }
}
