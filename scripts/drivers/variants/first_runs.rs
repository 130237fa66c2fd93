//! How long does a driver take from a program to its first result?

use std::collections::BTreeSet;
use std::error::Error;
use std::time::Instant;

use residua::gpu::{AdapterChoice, Binding, Gpu};
use residua::graph::{Mode, Recompute};
use residua::kernels::Call;
use residua::models::ModelSpec;
use residua::schedule;
use serde_json::json;

/// Images of a batch.
const BATCH: usize = 128;
/// The most bytes that are bound for one argument: the first workgroup of a kernel
/// needs no more, and drivers bound all accesses.
const MOST_BYTES: u64 = 1 << 20;

/// Runs one workgroup of every default kernel of `model`, for a training step and
/// an evaluation, and prints for each the milliseconds of its pipeline and of its
/// first two runs.
pub fn print(model: &str) -> Result<(), Box<dyn Error>> {
    let gpu = Gpu::open(&AdapterChoice::Best)?;
    let target = schedule::target(&gpu);
    let spec: ModelSpec = model.parse()?;
    let mut seen = BTreeSet::new();
    for mode in [Mode::Train, Mode::Eval] {
        let graph = spec.build(&spec.usual_input(), mode)?.graph;
        let memory = schedule::memory(&graph, mode == Mode::Train, BATCH, Recompute::None, &target);
        for call in memory.calls() {
            let program = call.variant.program();
            if seen.insert(program.source.clone()) {
                time(&gpu, call)?;
            }
        }
    }
    Ok(())
}

fn time(gpu: &Gpu, call: &Call) -> Result<(), Box<dyn Error>> {
    let program = call.variant.program();
    let began = Instant::now();
    let pipeline = gpu.pipeline(&program)?;
    let made = began.elapsed();
    let mut bindings = Vec::new();
    for &(binding, _) in &program.bindings {
        let arg = call.args.iter().find(|arg| arg.binding == binding);
        let size = arg.map_or(16, |arg| arg.size).min(MOST_BYTES);
        bindings.push((binding, Binding::whole(&gpu.buffer("argument", size)?)));
    }
    let dispatch = gpu.dispatch(&pipeline, &bindings, [1, 1, 1])?;
    let mut runs = Vec::new();
    for _ in 0..2 {
        let began = Instant::now();
        let submission = gpu.submit(|recorder| recorder.dispatch(&dispatch));
        gpu.wait(&submission)?;
        runs.push(1e3 * began.elapsed().as_secs_f64());
    }
    let line = json!({
        "program": program.label,
        "constants": format!("{:?}", call.variant.constants),
        "wgsl": program.source.len(),
        "pipeline": 1e3 * made.as_secs_f64(),
        "first": runs[0],
        "second": runs[1],
    });
    println!("{line}");
    Ok(())
}
