//! How are the programs of a plan compiled on several cores?
//!
//! Most drivers compile when a pipeline is created: then threads create pipelines
//! of one device at the same time. Lavapipe compiles in the first run, in the one
//! thread of a device's queue, and stores the result on disk, where its other
//! devices find it. So where a first run takes long, the device is opened once per
//! core, and each of these runs one workgroup of its share of the programs, on
//! buffers that nobody reads.

use std::collections::HashSet;
use std::num::NonZero;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use rayon::prelude::*;

use crate::gpu::{Binding, Buffer, Gpu, GpuError, Program};
use crate::kernels::{Call, Target};

/// The most devices that compile at the same time: each has its own threads.
const MOST_DEVICES: usize = 8;
/// Programs with fewer bytes of WGSL compile in no time.
const LONG: usize = 8 << 10;
/// With fewer bytes of WGSL in all long programs, opening more devices does not
/// pay.
const MUCH: usize = 128 << 10;
/// The longest programs that are tried on the plan's own device.
const TRIED: usize = 3;
/// A first run that takes longer than this has compiled.
const COMPILED: Duration = Duration::from_millis(50);
/// Bytes of the buffer that stands for an argument. A driver bounds every access.
const ARGUMENT_BYTES: u64 = 64 << 10;

/// Compiles the programs of `calls` that `gpu` has not compiled yet. What a plan
/// computes does not depend on it.
///
/// # Errors
/// Where the device refuses a program, or is lost.
pub(super) fn compile_all<'a>(
    gpu: &Gpu,
    calls: impl Iterator<Item = &'a Call>,
    target: &Target,
) -> Result<(), GpuError> {
    let mut seen = HashSet::new();
    let programs = calls.map(|call| call.variant.program());
    let mut programs: Vec<Program> = programs
        .filter(|program| !gpu.has_compiled(program) && seen.insert(program.source.clone()))
        .collect();
    if programs.is_empty() {
        return Ok(());
    }
    programs.sort_by_key(|program| std::cmp::Reverse(program.source.len()));
    programs
        .par_iter()
        .try_for_each(|program| gpu.pipeline(program).map(|_| ()))?;
    if target.cpu {
        programs.retain(|program| program.source.len() >= LONG);
        first_runs(gpu, &programs)?;
    }
    gpu.save_pipelines();
    Ok(())
}

/// Runs `programs`, the longest first, for the first time, on several devices if
/// that takes long.
fn first_runs(gpu: &Gpu, programs: &[Program]) -> Result<(), GpuError> {
    let cores = thread::available_parallelism()
        .map_or(1, NonZero::get)
        .min(MOST_DEVICES);
    let bytes: usize = programs.iter().map(|program| program.source.len()).sum();
    if bytes < MUCH || cores == 1 {
        return Ok(());
    }
    let (tried, rest) = programs.split_at(TRIED.min(programs.len()));
    let mut own = Arguments::default();
    let mut slow = false;
    for program in tried {
        let began = Instant::now();
        own.run(gpu, program)?;
        slow |= began.elapsed() > COMPILED;
    }
    if !slow {
        return Ok(());
    }
    let waiting = Mutex::new(rest.iter());
    let next = || waiting.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).next();
    thread::scope(|scope| {
        for _ in 1..cores {
            // What another device cannot compile, the plan's own one does.
            scope.spawn(|| -> Result<(), GpuError> {
                let other = gpu.open_again()?;
                let mut arguments = Arguments::default();
                while let Some(program) = next() {
                    if gpu.is_stopped() {
                        break;
                    }
                    arguments.run(&other, program)?;
                }
                Ok(())
            });
        }
        while let Some(program) = next() {
            own.run(gpu, program)?;
        }
        Ok(())
    })
}

/// Buffers that stand for the arguments of programs on one device.
#[derive(Default)]
struct Arguments(Vec<std::sync::Arc<Buffer>>);

impl Arguments {
    /// Runs one workgroup of `program`.
    fn run(&mut self, gpu: &Gpu, program: &Program) -> Result<(), GpuError> {
        let pipeline = gpu.pipeline(program)?;
        while self.0.len() < program.bindings.len() {
            // The limit may be smaller.
            let bytes = ARGUMENT_BYTES.min(gpu.limits().binding);
            self.0.push(gpu.buffer("argument", bytes)?);
        }
        let numbers = program.bindings.iter().map(|&(binding, _)| binding);
        let bindings: Vec<_> = numbers.zip(self.0.iter().map(Binding::whole)).collect();
        let dispatch = gpu.dispatch(&pipeline, &bindings, [1, 1, 1])?;
        let began = Instant::now();
        let submission = gpu.submit(|recorder| recorder.dispatch(&dispatch));
        gpu.wait(&submission)?;
        log::debug!(
            "first run of {}, {} bytes: {:.2} s",
            program.label,
            program.source.len(),
            began.elapsed().as_secs_f64()
        );
        Ok(())
    }
}
