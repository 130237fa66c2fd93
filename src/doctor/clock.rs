//! Do a device's times make sense? Twice the work takes about twice the time, and
//! its timestamps agree with the host's clock.

use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::gpu::{Binding, Dispatch, Gpu, GpuError};
use crate::graph::{Conv, Shape};
use crate::kernels::{Operand, Work};
use crate::schedule::{Quarantine, dispatch, target};

/// Seconds that the smaller of the two pieces of work takes at least: much longer
/// than a submission costs.
const LEAST: f64 = 0.02;
/// Rounds, of which the shortest times count.
const ROUNDS: usize = 5;
/// The most rounds, where other programs disturb.
const MOST_ROUNDS: usize = 40;
/// Most images of the smaller piece of work.
const MOST_IMAGES: usize = 4096;

/// Times of one piece of work, and of one twice as large.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Clock {
    /// Seconds of the work by the host's clock, and of twice the work.
    pub seconds: [f64; 2],
    /// The same by the device's timestamps; empty where it has none.
    pub device_seconds: Vec<f64>,
    /// Multiply-adds per second.
    pub rate: f64,
    /// How the process that measured ended; empty where it came back.
    pub problem: String,
}

impl Clock {
    /// What makes no sense.
    pub fn problems(&self) -> Vec<String> {
        if !self.problem.is_empty() {
            return vec![format!("a process that measured times failed: {}", self.problem)];
        }
        let mut problems = Vec::new();
        let factor = self.seconds[1] / self.seconds[0];
        // Another program may slow down either measurement.
        if !(1.3..=3.5).contains(&factor) {
            problems.push(format!("a dispatch twice as large takes {factor:.2} times as long"));
        }
        for (device, host) in self.device_seconds.iter().zip(self.seconds) {
            let share = device / host;
            if !(0.2..=1.25).contains(&share) {
                problems.push(format!(
                    "by the device's timestamps {:.1} ms pass in {:.1} ms of the host's clock",
                    1e3 * device,
                    1e3 * host
                ));
            }
        }
        problems
    }
}

/// Measures a convolution that takes some hundredths of a second, and one twice as
/// large.
///
/// # Errors
/// Where the device fails.
pub fn measure(gpu: &Gpu) -> Result<Clock, GpuError> {
    let mut images = 8;
    loop {
        let dispatches = convolution(gpu, images)?;
        // The first run may compile.
        run(gpu, &dispatches)?;
        let once = run(gpu, &dispatches)?;
        if once >= LEAST || images >= MOST_IMAGES {
            break;
        }
        images = (images as f64 * (1.5 * LEAST / once.max(1e-6)).clamp(2.0, 16.0)) as usize;
        images = images.min(MOST_IMAGES);
    }
    let both = [convolution(gpu, images)?, convolution(gpu, 2 * images)?];
    let mut clock = Clock {
        seconds: [f64::INFINITY; 2],
        device_seconds: [f64::INFINITY; 2].to_vec(),
        ..Clock::default()
    };
    for round in 0..=MOST_ROUNDS {
        // Where the times make no sense yet, other programs may be the cause.
        if round > ROUNDS && clock.problems().is_empty() {
            break;
        }
        for (index, dispatches) in both.iter().enumerate() {
            let host = run(gpu, dispatches)?;
            let all: Vec<&Dispatch> = dispatches.iter().collect();
            let device = gpu.time(&all)?.map(|times| times.iter().sum::<f64>());
            if round > 0 {
                clock.seconds[index] = clock.seconds[index].min(host);
                match device {
                    Some(device) => clock.device_seconds[index] = clock.device_seconds[index].min(device),
                    None => clock.device_seconds.clear(),
                }
            }
        }
    }
    let macs = MACS * 2 * images as u64;
    clock.rate = macs as f64 / clock.seconds[1];
    Ok(clock)
}

/// Multiply-adds of the convolution for one image.
const MACS: u64 = 64 * 64 * 9 * 16 * 16;

/// A 3×3 convolution from 64 to 64 channels on planes of 16×16.
fn convolution(gpu: &Gpu, images: usize) -> Result<Vec<Dispatch>, GpuError> {
    let conv = Conv {
        kernel: 3,
        stride: 1,
        padding: 1,
        groups: 1,
    };
    let (x, weight) = (Shape::batched(&[64, 16, 16]), Shape::fixed(&[64, 64, 3, 3]));
    // A default kernel that does not work may not come back.
    let (work, target) = (Work::Conv { conv, bias: false }, target(gpu));
    let lowered = Quarantine::of(gpu).lower(&work, &[&x, &weight], &x, images, &target);
    let whole = |label: &str, bytes: u64| Ok::<_, GpuError>(Binding::whole(&gpu.buffer(label, bytes)?));
    let inputs = [whole("clock", x.bytes(images))?, whole("clock", weight.bytes(1))?];
    let output = whole("clock", x.bytes(images))?;
    let scratch: Result<Vec<Binding>, GpuError> = lowered.scratch.iter().map(|&bytes| whole("clock", bytes)).collect();
    let scratch = scratch?;
    let place = |operand: Operand| match operand {
        Operand::Input(index) => inputs.get(index).cloned(),
        Operand::Output => Some(output.clone()),
        Operand::Scratch(index) => scratch.get(index).cloned(),
        _ => None,
    };
    lowered.calls.iter().map(|call| dispatch(gpu, call, place)).collect()
}

/// Seconds of one run by the host's clock.
fn run(gpu: &Gpu, dispatches: &[Dispatch]) -> Result<f64, GpuError> {
    gpu.wait_for_all()?;
    let began = Instant::now();
    let submission = gpu.submit(|recorder| {
        for dispatch in dispatches {
            recorder.dispatch(dispatch);
        }
    });
    gpu.wait(&submission)?;
    Ok(began.elapsed().as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_that_make_no_sense_are_named() {
        let clock = |seconds, device: &[f64]| Clock {
            seconds,
            device_seconds: device.to_vec(),
            rate: 1e9,
            problem: String::new(),
        };
        assert_eq!(clock([0.02, 0.04], &[0.019, 0.039]).problems(), [""; 0]);
        assert_eq!(clock([0.02, 0.045], &[]).problems(), [""; 0]);
        // A device that does nothing takes the same time for everything.
        assert_eq!(clock([0.02, 0.02], &[]).problems().len(), 1);
        // Ticks of another length.
        assert_eq!(clock([0.02, 0.04], &[0.2, 0.4]).problems().len(), 2);
        assert_eq!(clock([0.02, 0.04], &[0.0, 0.0]).problems().len(), 2);
        let problem = "it hung".to_string();
        assert_eq!(
            Clock {
                problem,
                ..Clock::default()
            }
            .problems()
            .len(),
            1
        );
    }
}
