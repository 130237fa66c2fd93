//! How much work may one submission have?
//!
//! Systems end work that takes too long, and often reset the device with it: Windows
//! after 2 seconds, Linux drivers after 5 (xe) or 10 (amdgpu). So a submission is cut
//! into several where its work would take longer than a budget, at the rate of past
//! submissions. The order of dispatches stays, and with it every bit.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::{AdapterKind, Gpu, GpuError};

/// The environment variable that sets the budget.
const VARIABLE: &str = "RESIDUA_SUBMISSION_SECONDS";
/// A quarter of what Windows allows, and less than a quarter of what others do: other
/// programs use the device as well.
const SECONDS: f64 = if cfg!(windows) { 0.5 } else { 1.0 };
/// Units of work per second before anything was measured: what a small integrated GPU
/// reaches.
const FIRST_RATE: f64 = 1e11;
/// Shorter work says more about the cost of a submission than about the rate.
const SHORTEST: f64 = 0.01;
/// The most submissions whose times are remembered while nobody waits.
const REMEMBERED: usize = 1024;

/// The budget of a device's submissions, and the rate at which it works.
#[derive(Debug)]
pub(super) struct Budget {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Seconds that a submission may take; `None` where there is no limit.
    seconds: Option<f64>,
    /// Units of work per second.
    rate: f64,
    /// Submissions that may still run: number, time, work.
    running: VecDeque<(u64, Instant, u64)>,
    /// The number of the next submission.
    next: u64,
    /// When the last one was known to be done.
    done: Option<Instant>,
}

impl Budget {
    /// The budget of an adapter that is really of the kind `kind`.
    ///
    /// # Errors
    /// Where the environment variable is no number of seconds.
    pub(super) fn of(kind: AdapterKind) -> Result<Self, GpuError> {
        let usual = match kind {
            // Nobody watches a driver on the processor.
            AdapterKind::Cpu => None,
            _ => Some(SECONDS),
        };
        let seconds = match std::env::var(VARIABLE) {
            Ok(text) => read(&text).ok_or(GpuError::Setting {
                variable: VARIABLE,
                value: text,
                needed: "a number of seconds, or none for no limit",
            })?,
            Err(_) => usual,
        };
        Ok(Budget {
            state: Mutex::new(State {
                seconds,
                rate: FIRST_RATE,
                running: VecDeque::new(),
                next: 0,
                done: None,
            }),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Units of work that one submission may have.
    pub(super) fn most_work(&self) -> u64 {
        let state = self.state();
        // The cast saturates.
        state.seconds.map_or(u64::MAX, |seconds| (seconds * state.rate) as u64)
    }

    /// A submission of `work` units begins now; returns its number.
    pub(super) fn begun(&self, work: u64) -> u64 {
        let mut state = self.state();
        let number = state.next;
        state.next += 1;
        if state.running.len() == REMEMBERED {
            state.running.pop_front();
        }
        state.running.push_back((number, Instant::now(), work));
        number
    }

    /// All submissions are done, or those up to the number `last`.
    pub(super) fn finished(&self, last: Option<u64>) {
        self.state().finished(last, Instant::now());
    }
}

impl State {
    fn finished(&mut self, last: Option<u64>, now: Instant) {
        let is_done = |number: u64| last.is_none_or(|last| number <= last);
        let Some(&(_, first, _)) = self.running.front().filter(|(number, ..)| is_done(*number)) else {
            return;
        };
        let mut work = 0;
        while let Some((_, _, own)) = self.running.pop_front_if(|(number, ..)| is_done(*number)) {
            work += own;
        }
        let began = self.done.map_or(first, |done| done.max(first));
        let seconds = now.duration_since(began).as_secs_f64();
        self.done = Some(now);
        if seconds < SHORTEST || work == 0 {
            return;
        }
        // Slower counts at once, faster only by and by: whoever waits may come late.
        let rate = work as f64 / seconds;
        self.rate = match rate < self.rate {
            true => rate,
            false => 0.5 * (self.rate + rate),
        };
    }
}

/// A number of seconds, or `none`; `None` for anything else.
fn read(text: &str) -> Option<Option<f64>> {
    match text {
        "none" => Some(None),
        number => {
            let seconds = number
                .parse()
                .ok()
                .filter(|seconds: &f64| seconds.is_finite() && *seconds > 0.0);
            seconds.map(Some)
        }
    }
}

impl Gpu {
    /// Seconds that one submission may take; `None` where there is no limit: on a
    /// driver on the processor, and where `RESIDUA_SUBMISSION_SECONDS` is `none`.
    pub fn submission_seconds(&self) -> Option<f64> {
        self.budget.state().seconds
    }

    /// From now on submissions are cut so that each takes about `seconds`, or are not
    /// cut at all.
    pub fn limit_submissions(&self, seconds: Option<f64>) {
        self.budget.state().seconds = seconds;
    }

    /// Units of work that one submission may have, at the rate measured so far: a
    /// dispatch with more is better divided. The unit is a multiply-add.
    pub fn most_work(&self) -> u64 {
        self.budget.most_work()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_rate_follows_past_submissions() {
        let budget = Budget::of(AdapterKind::Discrete).unwrap();
        assert_eq!(budget.most_work(), (SECONDS * FIRST_RATE) as u64);
        let start = Instant::now();
        let after = |seconds: f64| start + Duration::from_secs_f64(seconds);
        let mut state = budget.state();
        // Three submissions, one after the other; the second one ends with the third.
        state.running = VecDeque::from([(0, start, 1000), (1, start, 2000), (2, after(0.1), 2000)]);
        state.finished(Some(0), after(0.5));
        assert_eq!((state.rate, state.running.len()), (2000.0, 2));
        state.finished(None, after(1.5));
        assert_eq!((state.rate, state.running.len()), (0.5 * (2000.0 + 4000.0), 0));
        // Nothing runs, or it was too short to tell.
        state.finished(None, after(9.0));
        state.running.push_back((3, after(10.0), 1));
        state.finished(Some(3), after(10.001));
        assert_eq!(state.rate, 3000.0);
        // After a pause, time counts from the beginning.
        state.running.push_back((4, after(20.0), 100));
        state.finished(Some(4), after(21.0));
        assert_eq!(state.rate, 100.0);
    }

    #[test]
    fn a_budget_is_a_number_of_seconds_or_none() {
        assert_eq!((read("0.5"), read("none")), (Some(Some(0.5)), Some(None)));
        for other in ["", "0", "-1", "inf", "NaN", "much"] {
            assert_eq!(read(other), None, "{other}");
        }
        let budget = Budget::of(AdapterKind::Cpu).unwrap();
        assert_eq!(budget.most_work(), u64::MAX);
    }
}
