//! Do readers survive inputs that nobody would write? Every reader of files and
//! arguments gets altered inputs. None may panic, take long, need more memory than
//! twice the input and 20 MB, or give an error of more than one line.
//!
//! `cargo test` runs a short form with a fixed seed. `make fuzz` runs for
//! `RESIDUA_FUZZ_SECONDS` (60) from `RESIDUA_FUZZ_SEED` (the time), and prints the
//! counts of each reader. `RESIDUA_FUZZ_READER` chooses readers by a part of
//! their names.

mod allocator;
mod archive;
mod mutate;
mod readers;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::exit;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use allocator::peak_of;
use mutate::Random;
use readers::{Outcome, Reader};

/// The memory that a reader may need beside twice its input.
const ROOM: usize = 20_000_000;
/// The time that an input may take; inputs are small.
const LONGEST: Duration = Duration::from_secs(10);
/// The longest error.
const LONGEST_ERROR: usize = 4000;
/// The inputs of each reader in the short form.
const SHORT: u64 = 200;

/// What is read now, since when: for the thread that ends the program where a
/// reader does not end.
static NOW: Mutex<Option<(&str, u64, Instant)>> = Mutex::new(None);

/// What was seen of a reader.
#[derive(Default)]
struct Seen {
    inputs: u64,
    read: u64,
    /// The most memory, in bytes.
    memory: usize,
    slowest: Duration,
    time: Duration,
}

#[test]
fn no_input_makes_a_reader_panic_hang_or_use_up_memory() {
    let variable = |name: &str| std::env::var(name).ok();
    let seconds: Option<u64> = variable("RESIDUA_FUZZ_SECONDS").and_then(|text| text.parse().ok());
    let since_1970 = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let seed = match (
        variable("RESIDUA_FUZZ_SEED").and_then(|text| text.parse().ok()),
        seconds,
    ) {
        (Some(seed), _) => seed,
        (None, Some(_)) => since_1970.as_secs(),
        (None, None) => 14,
    };
    let wanted = variable("RESIDUA_FUZZ_READER").unwrap_or_default();
    let mut all = readers::all();
    all.retain(|reader| reader.name.contains(&wanted));
    assert!(!all.is_empty(), "no reader is named {wanted}");

    thread::spawn(watch);
    // The panics are expected to be none, and are reported with their input.
    std::panic::set_hook(Box::new(|_| {}));
    let share = seconds.map(|seconds| Duration::from_secs(seconds) / all.len() as u32);
    println!("seed {seed}");
    println!(
        "{:<24} {:>9} {:>9} {:>9} {:>9} {:>9}",
        "reader", "inputs", "read", "MB most", "ms most", "seconds"
    );
    let mut total = Seen::default();
    for reader in &all {
        let seen = fuzz(reader, seed, share);
        print(reader.name, &seen);
        total.inputs += seen.inputs;
        total.read += seen.read;
        total.memory = total.memory.max(seen.memory);
        total.slowest = total.slowest.max(seen.slowest);
        total.time += seen.time;
    }
    print("all", &total);
    drop(std::panic::take_hook());
}

fn print(name: &str, seen: &Seen) {
    println!(
        "{name:<24} {:>9} {:>9} {:>9.2} {:>9.1} {:>9.1}",
        seen.inputs,
        seen.read,
        seen.memory as f64 / 1e6,
        seen.slowest.as_secs_f64() * 1e3,
        seen.time.as_secs_f64()
    );
}

fn fuzz(reader: &Reader, seed: u64, share: Option<Duration>) -> Seen {
    let folder = scratch();
    let mut seen = Seen::default();
    let begun = Instant::now();
    // What does not need to be altered is read as well.
    for bytes in &reader.inputs {
        try_input(reader, bytes, folder.path(), u64::MAX, &mut seen);
    }
    while share.map_or(seen.inputs < SHORT, |share| begun.elapsed() < share) {
        let number = seen.inputs;
        let mut random = Random(seed ^ number.wrapping_mul(0x2545_f491_4f6c_dd1d));
        let mut bytes = random.pick(&reader.inputs).clone();
        (reader.alter)(&mut bytes, reader, &mut random);
        try_input(reader, &bytes, folder.path(), number, &mut seen);
    }
    seen.time = begun.elapsed();
    seen
}

/// A folder for the readers of files, in memory where the system has such a place.
fn scratch() -> tempfile::TempDir {
    let in_memory = Path::new("/dev/shm");
    let folder = if in_memory.is_dir() {
        tempfile::tempdir_in(in_memory)
    } else {
        tempfile::tempdir()
    };
    folder.expect("a temporary folder")
}

fn try_input(reader: &Reader, bytes: &[u8], folder: &Path, number: u64, seen: &mut Seen) {
    let begun = Instant::now();
    *NOW.lock().expect("no reader panics while it is locked") = Some((reader.name, number, begun));
    let (result, memory) = peak_of(|| catch_unwind(AssertUnwindSafe(|| (reader.read)(bytes, folder))));
    *NOW.lock().expect("no reader panics while it is locked") = None;
    let time = begun.elapsed();
    let problem = match &result {
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            Some(format!("panics: {}", text.unwrap_or_default()))
        }
        Ok(_) if memory > 2 * bytes.len() + ROOM => Some(format!("needs {memory} bytes of memory")),
        Ok(_) if time > LONGEST => Some(format!("takes {time:?}")),
        Ok(outcome) => wrong_error(outcome),
    };
    if let Some(problem) = problem {
        let kept = keep(bytes);
        drop(std::panic::take_hook());
        panic!(
            "{}, input {number} of {} bytes, {problem}; kept as {}",
            reader.name,
            bytes.len(),
            kept.display()
        );
    }
    seen.inputs += 1;
    seen.read += u64::from(matches!(result, Ok(Ok(()))));
    seen.memory = seen.memory.max(memory);
    seen.slowest = seen.slowest.max(time);
}

/// What is wrong with the text of an error.
fn wrong_error(outcome: &Outcome) -> Option<String> {
    let text = outcome.as_ref().err()?;
    if text.is_empty() || text.len() > LONGEST_ERROR {
        return Some(format!("gives an error of {} bytes", text.len()));
    }
    text.chars()
        .any(char::is_control)
        .then(|| format!("gives an error with control characters: {text:?}"))
}

/// Stores an input that a reader did not survive.
fn keep(bytes: &[u8]) -> PathBuf {
    let path = std::env::temp_dir().join(format!("residua-fuzz-{}", std::process::id()));
    match std::fs::write(&path, bytes) {
        Ok(()) => path,
        Err(_) => PathBuf::from("nothing: the folder for temporary files cannot be written"),
    }
}

/// Ends the program where a reader does not end.
fn watch() {
    loop {
        thread::sleep(Duration::from_secs(1));
        let now = NOW.lock().map(|now| *now).unwrap_or_default();
        if let Some((name, number, begun)) = now
            && begun.elapsed() > 6 * LONGEST
        {
            eprintln!("{name} does not end with input {number}");
            exit(1);
        }
    }
}
