//! How many threads does the machine let this program have?
//!
//! A container may allow fewer than there are cores. The pool of threads would
//! then fail at its first use, so it is made with what there is.

use std::num::NonZero;
use std::sync::{Arc, Barrier};
use std::thread;

use super::progress::note;

/// Prepares the pool of threads. Where there are fewer than cores, it has one
/// thread, or only the one that runs the program, and a line says so.
pub fn prepare() {
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    if can_start(cores) {
        return;
    }
    note(format_args!(
        "{cores} threads are not to be had here (a limit of the container, or `ulimit -u`): the processor's part of \
         the work runs on one"
    ));
    let one = rayon::ThreadPoolBuilder::new().num_threads(1);
    let one = if can_start(1) { one } else { one.use_current_thread() };
    if let Err(error) = one.build_global() {
        log::debug!("the pool of threads exists already: {error}");
    }
}

/// Whether `count` threads can run at the same time.
fn can_start(count: usize) -> bool {
    let all_run = Arc::new(Barrier::new(count + 1));
    // Threads that started wait for the others, or for the end of the program
    // where one of them did not start: they take no time.
    let start = |_| {
        let all_run = all_run.clone();
        thread::Builder::new().stack_size(64 << 10).spawn(move || {
            all_run.wait();
        })
    };
    let started: Result<Vec<_>, _> = (0..count).map(start).collect();
    if started.is_ok() {
        all_run.wait();
    }
    started.is_ok()
}
