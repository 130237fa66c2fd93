//! How fast is each kernel, by criterion's statistics? The same cases under the
//! same clock as `tools bench --kernels`, with criterion's comparison to the
//! run before: `cargo bench`, or `cargo bench -- conv-16ch` for some of them.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, Throughput};
use residua::bench::{BenchError, Case, Workbench, cases};
use residua::gpu::{AdapterChoice, Gpu};
use residua::schedule::target;

/// What criterion may take for one kernel, beside its estimates.
const WARM_UP: Duration = Duration::from_millis(200);
const MEASUREMENT: Duration = Duration::from_millis(500);

/// Operations of convolutions and linear layers, two for each multiply-add, so
/// that Gelem/s are GFLOP/s; bytes of the others.
fn throughput(case: &Case) -> Throughput {
    if case.macs > 0 {
        Throughput::Elements(2 * case.macs)
    } else {
        Throughput::BytesDecimal(case.bytes)
    }
}

fn kernels(criterion: &mut Criterion) -> Result<(), BenchError> {
    let gpu = Arc::new(Gpu::open(&AdapterChoice::Best)?);
    let cases = cases(&target(&gpu));
    let pieces: Vec<_> = cases.iter().map(|case| case.piece.clone()).collect();
    let bench = Workbench::new(&gpu, &pieces)?;
    let mut group = criterion.benchmark_group("kernels");
    let mut failure = None;
    for (index, case) in cases.iter().enumerate() {
        group.throughput(throughput(case));
        group.bench_function(&case.piece.name, |bencher| {
            bencher.iter_custom(|repetitions| {
                // Criterion takes no errors: the first one is kept, and the
                // rest of its answers do not matter.
                let seconds = bench.seconds(index, repetitions as usize);
                let seconds = seconds.unwrap_or_else(|error| {
                    failure.get_or_insert(error);
                    1.0
                });
                Duration::from_secs_f64(seconds)
            });
        });
    }
    group.finish();
    failure.map_or(Ok(()), |error| Err(error.into()))
}

fn main() -> ExitCode {
    let mut criterion = Criterion::default()
        .sample_size(10)
        .warm_up_time(WARM_UP)
        .measurement_time(MEASUREMENT)
        .configure_from_args();
    let result = kernels(&mut criterion);
    criterion.final_summary();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
