//! How many threads does the machine let this program have?
//!
//! A container may allow fewer than there are cores. The pool of threads would
//! then fail at its first use, so it is made at the start, with what there is.

use std::num::NonZero;
use std::sync::mpsc::channel;
use std::thread;

use rayon::ThreadPoolBuilder;

use super::progress::note;

/// Makes the pool of threads. Where there are fewer than cores, it has one
/// thread, or only the one that runs the program, and a line says so.
pub fn prepare() {
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    let pool = ThreadPoolBuilder::new();
    let pool = if can_start(cores) {
        pool.num_threads(cores)
    } else {
        note(format_args!(
            "{cores} threads are not to be had here (a limit of the container, or `ulimit -u`): the processor's part \
             of the work runs on one"
        ));
        match can_start(1) {
            true => pool.num_threads(1),
            false => pool.num_threads(1).use_current_thread(),
        }
    };
    if let Err(error) = pool.build_global() {
        log::debug!("the pool of threads: {error}");
    }
}

/// Whether `count` threads can run at the same time.
fn can_start(count: usize) -> bool {
    let mut started = Vec::with_capacity(count);
    for _ in 0..count {
        // A thread waits until its sender is dropped.
        let (hold, released) = channel::<()>();
        let waits = move || released.recv().is_ok();
        match thread::Builder::new().stack_size(64 << 10).spawn(waits) {
            Ok(thread) => started.push((hold, thread)),
            Err(_) => break,
        }
    }
    let all = started.len() == count;
    for (hold, thread) in started {
        drop(hold);
        // It only waited: there is no panic to hand on.
        let _ = thread.join();
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_that_were_tried_have_ended() {
        assert!(can_start(2));
        assert!(can_start(2), "the first ones have ended");
    }
}
