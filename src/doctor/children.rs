//! How are kernels examined where a driver may hang or crash? In other processes,
//! each with a time limit.
//!
//! A child opens the adapter, then reads the name of a case from its standard input,
//! examines it and writes the outcome as a line of JSON, until its input ends. The
//! case that a child was given last is the one that it hangs or crashes in: a new
//! child goes on with the next.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::cases::{Networks, Outcome, examine};
use super::{Clock, DoctorError, clock, memory};
use crate::gpu::Gpu;

/// Seconds in which a child must have opened the adapter.
const OPENING: Duration = Duration::from_secs(60);
/// The time in which a child ends when it is no longer needed.
const ENDING: Duration = Duration::from_secs(5);
/// What a child is asked for that is no case: the device memory that it gets (the
/// most bytes to ask for follow), and the device's times.
const MEMORY: &str = "memory ";
const CLOCK: &str = "clock";

/// What a child writes.
#[derive(Debug, Serialize, Deserialize)]
enum Line {
    /// The adapter is open.
    Ready,
    /// The outcome of a case.
    Outcome(Outcome),
    /// There is no such case.
    NoCase,
    /// The device memory that it got.
    Memory(memory::Ceiling),
    /// The device's times.
    Clock(Clock),
    /// The device failed as a whole.
    Failed(String),
}

/// What a child process does: it examines the cases that it reads from `input`, on
/// `gpu` and at the shapes of `seed`, and writes the outcomes to `output`.
///
/// # Errors
/// Where `output` cannot be written.
pub fn serve(gpu: &Arc<Gpu>, seed: u64, input: &mut dyn BufRead, output: &mut dyn Write) -> std::io::Result<()> {
    let mut write = |line: &Line| {
        let text = serde_json::to_string(line).map_err(std::io::Error::other)?;
        writeln!(output, "{text}").and_then(|()| output.flush())
    };
    write(&Line::Ready)?;
    let mut networks = Networks::default();
    for name in input.lines() {
        let name = name?;
        let most = name.strip_prefix(MEMORY).and_then(|most| most.parse().ok());
        write(&match most {
            Some(most) => Line::Memory(memory::ceiling(gpu, most)),
            None if name == CLOCK => match clock::measure(gpu) {
                Ok(clock) => Line::Clock(clock),
                Err(error) => Line::Failed(error.to_string()),
            },
            None => match examine(gpu, &mut networks, seed, &name) {
                Ok(Some(outcome)) => Line::Outcome(outcome),
                Ok(None) => Line::NoCase,
                Err(error) => Line::Failed(error.to_string()),
            },
        })?;
    }
    Ok(())
}

/// How children are started, and how long each case may take.
pub struct Children<'a> {
    /// The command of a child process, which calls [`serve`].
    pub command: &'a (dyn Fn() -> Command + Sync),
    /// The most seconds of one case.
    pub timeout: Duration,
    /// Children at the same time.
    pub workers: usize,
}

/// A running child.
struct Served {
    child: Child,
    input: Option<ChildStdin>,
    lines: Receiver<Line>,
    /// The last line that it wrote to standard error.
    complaint: Option<thread::JoinHandle<String>>,
    /// Whether it did not answer in time.
    hangs: bool,
}

/// Why a child gave no line.
enum Silence {
    TooLong,
    Ended,
}

impl Served {
    /// A child that has opened the adapter.
    fn start(children: &Children) -> Result<Self, DoctorError> {
        let mut command = (children.command)();
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|error| DoctorError::Child {
            problem: format!("cannot be started: {error}"),
            is_crash: false,
        })?;
        let (send, lines) = channel();
        if let Some(output) = child.stdout.take() {
            thread::spawn(move || {
                let lines = BufReader::new(output).lines().map_while(Result::ok);
                let lines = lines.filter_map(|line| serde_json::from_str(&line).ok());
                // Nobody listens to a child that is given up.
                let _ = lines.map(|line| send.send(line)).find(Result::is_err);
            });
        }
        let complaint = child.stderr.take().map(|mut errors| {
            thread::spawn(move || {
                let mut text = String::new();
                let _ = errors.read_to_string(&mut text);
                let last = text.lines().rfind(|line| !line.trim().is_empty());
                last.unwrap_or_default().to_string()
            })
        });
        let mut served = Served {
            input: child.stdin.take(),
            child,
            lines,
            complaint,
            hangs: false,
        };
        let patience = OPENING.max(children.timeout);
        let (problem, is_crash) = match served.line(patience) {
            Ok(Line::Ready) => return Ok(served),
            Ok(_) | Err(Silence::Ended) => served.end(),
            Err(Silence::TooLong) => {
                let seconds = patience.as_secs_f64();
                (format!("did not open the adapter within {seconds:.0} s"), true)
            }
        };
        Err(DoctorError::Child { problem, is_crash })
    }

    /// The next line of the child.
    fn line(&mut self, timeout: Duration) -> Result<Line, Silence> {
        self.lines.recv_timeout(timeout).map_err(|error| match error {
            RecvTimeoutError::Timeout => {
                self.hangs = true;
                Silence::TooLong
            }
            RecvTimeoutError::Disconnected => Silence::Ended,
        })
    }

    /// Asks for `what` and waits for the answer.
    fn ask(&mut self, what: &str, timeout: Duration) -> Result<Line, Silence> {
        if let Some(input) = &mut self.input {
            // A child that has ended reads nothing, which its silence shows.
            let _ = writeln!(input, "{what}").and_then(|()| input.flush());
        }
        self.line(timeout)
    }

    /// How a child ended, in a few words, and whether it did not end by itself.
    fn end(&mut self) -> (String, bool) {
        self.input = None;
        let status = self.child.wait();
        // This program ends with 1 or 2 where it says what is wrong.
        let code = status.as_ref().ok().and_then(|status| status.code());
        let status = status.map_or("an unknown status".to_string(), |status| status.to_string());
        let complaint = self.complaint.take().and_then(|thread| thread.join().ok());
        let words = match complaint.filter(|complaint| !complaint.is_empty()) {
            None => status,
            Some(complaint) => format!("{status} ({complaint})"),
        };
        (words, !matches!(code, Some(0..=2)))
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // A child ends with its input, and then stores what it compiled.
        self.input = None;
        let end = Instant::now() + ENDING;
        while !self.hangs && Instant::now() < end {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            thread::sleep(Duration::from_millis(10));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Children<'_> {
    /// Examines the cases `names` until `deadline`; reports each outcome with its
    /// place in the list. Failures are examined once more in a child of their own.
    ///
    /// # Errors
    /// Where children cannot be started, or do not open the adapter.
    pub fn examine(
        &self,
        names: &[&str],
        deadline: Option<Instant>,
        report: &(dyn Fn(usize, Outcome) + Sync),
    ) -> Result<(), DoctorError> {
        let queue: Mutex<VecDeque<usize>> = Mutex::new((0..names.len()).collect());
        let next = || {
            let is_over = deadline.is_some_and(|deadline| Instant::now() > deadline);
            let mut queue = queue.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            queue.pop_front().filter(|_| !is_over)
        };
        let work = || -> Result<(), DoctorError> {
            let mut served = None;
            while let Some(index) = next() {
                let name = names[index];
                let child = match &mut served {
                    Some(child) => child,
                    empty => empty.insert(Served::start(self)?),
                };
                let first = self.outcome(child, name)?;
                let outcome = match first {
                    Outcome::Agrees { .. } => first,
                    Outcome::Hung { .. } => {
                        served = None;
                        first
                    }
                    _ => {
                        served = None;
                        self.again(name, first)?
                    }
                };
                report(index, outcome);
            }
            Ok(())
        };
        thread::scope(|scope| {
            let threads: Vec<_> = (1..self.workers.min(names.len())).map(|_| scope.spawn(work)).collect();
            let own = work();
            let others = threads.into_iter().map(|thread| {
                let result = thread.join();
                result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            });
            std::iter::once(own).chain(others).collect()
        })
    }

    /// The outcome of a case that failed with `first` among others: it is examined
    /// alone.
    fn again(&self, name: &str, first: Outcome) -> Result<Outcome, DoctorError> {
        let alone = self.outcome(&mut Served::start(self)?, name)?;
        Ok(match alone {
            Outcome::Agrees { .. } => Outcome::Wrong {
                problem: format!("alone it agrees, and after other kernels it {first}"),
            },
            confirmed => confirmed,
        })
    }

    fn outcome(&self, child: &mut Served, name: &str) -> Result<Outcome, DoctorError> {
        Ok(match child.ask(name, self.timeout) {
            Ok(Line::Outcome(outcome)) => outcome,
            Ok(Line::Failed(problem)) => Outcome::Crashed { problem },
            Ok(Line::NoCase) => {
                return Err(DoctorError::NoSuchCase {
                    wanted: name.to_string(),
                });
            }
            Ok(Line::Ready | Line::Memory(_) | Line::Clock(_)) => {
                return Err(DoctorError::Child {
                    problem: "answered something else than was asked".to_string(),
                    is_crash: false,
                });
            }
            Err(Silence::TooLong) => Outcome::Hung {
                seconds: self.timeout.as_secs_f64(),
            },
            Err(Silence::Ended) => Outcome::Crashed { problem: child.end().0 },
        })
    }

    /// The device memory that a child gets, of `most` bytes that it asks for.
    ///
    /// # Errors
    /// Where no child can be started.
    pub fn memory(&self, most: u64) -> Result<memory::Ceiling, DoctorError> {
        let problem = match self.ask_new(&format!("{MEMORY}{most}"))? {
            Ok(Line::Memory(ceiling)) => return Ok(ceiling),
            other => no_answer(other),
        };
        Ok(memory::Ceiling {
            bytes: 0,
            refused: true,
            problem,
        })
    }

    /// The times of a device in a child. Kernels in quarantine are left out.
    ///
    /// # Errors
    /// Where no child can be started.
    pub fn clock(&self) -> Result<Clock, DoctorError> {
        Ok(match self.ask_new(CLOCK)? {
            Ok(Line::Clock(clock)) => clock,
            other => Clock {
                problem: no_answer(other),
                ..Clock::default()
            },
        })
    }

    /// Whether a child opens the adapter, or ends with an error of its own. What a
    /// driver does to it would happen to this process as well.
    ///
    /// # Errors
    /// Where the child hangs or crashes.
    pub fn check_opening(&self) -> Result<(), DoctorError> {
        match Served::start(self) {
            Err(DoctorError::Child { is_crash: false, .. }) => Ok(()),
            started => started.map(drop),
        }
    }

    /// What a new child answers to `what`, or how it failed.
    fn ask_new(&self, what: &str) -> Result<Result<Line, String>, DoctorError> {
        let mut child = Served::start(self)?;
        Ok(match child.ask(what, self.timeout) {
            Ok(line) => Ok(line),
            Err(Silence::TooLong) => Err(format!(
                "it did not come back within {:.0} s",
                self.timeout.as_secs_f64()
            )),
            Err(Silence::Ended) => Err(format!("it ended with {}", child.end().0)),
        })
    }
}

/// Why a child did not answer what it was asked.
fn no_answer(answer: Result<Line, String>) -> String {
    match answer {
        Ok(Line::Failed(problem)) | Err(problem) => problem,
        Ok(_) => "it answered something else than was asked".to_string(),
    }
}
