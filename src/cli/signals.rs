//! How does a signal end a program?
//!
//! Training, studies and evaluations stop between two steps, store what they
//! have, and end with 130 (SIGINT, Ctrl-C), 143 (SIGTERM) or 129 (SIGHUP). A
//! second signal ends the program at once, with its own code; so does the
//! first one in all other commands. A command that a scheduler is to start again
//! ends with 75 after SIGTERM, which schedulers send before they end a job.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use crate::stop::StopToken;

/// What signals of this process have asked for.
#[derive(Debug, Default)]
struct Signals {
    stop: StopToken,
    /// The exit code of the signal that came; 0 before.
    code: Arc<AtomicUsize>,
    /// Whether a scheduler starts this command again.
    is_requeued: AtomicBool,
}

/// The code of SIGTERM, in the way of shells: 128 and the signal's number.
const TERMINATED: u8 = 143;

/// "Try again later", EX_TEMPFAIL of sysexits.h.
const TRY_AGAIN: u8 = 75;

/// A process has one set of signal handlers.
static SIGNALS: OnceLock<Signals> = OnceLock::new();

/// The token that the first signal sets.
pub fn stop() -> StopToken {
    SIGNALS.get_or_init(Signals::default).stop.clone()
}

/// The exit code of the signal that has come.
pub fn exit_code() -> u8 {
    let signals = SIGNALS.get_or_init(Signals::default);
    let code = signals.code.load(Ordering::SeqCst);
    match u8::try_from(code).ok().filter(|&code| code > 0).unwrap_or(130) {
        TERMINATED if signals.is_requeued.load(Ordering::SeqCst) => TRY_AGAIN,
        code => code,
    }
}

/// From now on, SIGTERM ends the command with the exit code that asks a scheduler to
/// start it again.
pub fn expect_requeue() {
    let signals = SIGNALS.get_or_init(Signals::default);
    signals.is_requeued.store(true, Ordering::SeqCst);
}

/// Installs the handlers. With `gently` the first signal only sets the token
/// of [`stop`].
///
/// # Errors
/// Where the system refuses a handler.
pub fn install(gently: bool) -> std::io::Result<()> {
    handle(SIGNALS.get_or_init(Signals::default), gently)
}

#[cfg(unix)]
fn handle(signals: &Signals, gently: bool) -> std::io::Result<()> {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    use signal_hook::flag;

    for signal in [SIGINT, SIGTERM, SIGHUP] {
        // Under `nohup` a program survives its terminal.
        if signal == SIGHUP && is_ignored(signal) {
            continue;
        }
        let code = 128 + signal;
        // The first action ends the program where its flag is set already: the
        // last action of the first signal sets it.
        let ends = match gently {
            true => signals.stop.flag(),
            false => Arc::new(AtomicBool::new(true)),
        };
        flag::register_conditional_shutdown(signal, code, ends)?;
        flag::register_usize(signal, signals.code.clone(), code as usize)?;
        flag::register(signal, signals.stop.flag())?;
    }
    Ok(())
}

/// Whether whoever started this program wants it to ignore `signal`.
#[cfg(unix)]
fn is_ignored(signal: i32) -> bool {
    // SAFETY: `sigaction` is plain data, for which zeros are a value. Without a
    // new action, the call only writes the current one to `now`, which lives
    // longer than the call.
    unsafe {
        let mut now = std::mem::zeroed::<libc::sigaction>();
        libc::sigaction(signal, std::ptr::null(), &mut now) == 0 && now.sa_sigaction == libc::SIG_IGN
    }
}

#[cfg(windows)]
fn handle(signals: &Signals, gently: bool) -> std::io::Result<()> {
    const CODE: i32 = 130;
    let (stop, code) = (signals.stop.clone(), signals.code.clone());
    ctrlc::set_handler(move || {
        if !gently || stop.is_stopped() {
            std::process::exit(CODE);
        }
        code.store(CODE as usize, Ordering::SeqCst);
        stop.stop();
    })
    .map_err(std::io::Error::other)
}
