//! How fast is each kernel, with criterion's statistics?
//!
//! The same cases and the same clock as `residua bench --kernels`, and criterion's
//! comparison with the previous run: `cargo bench`, or `cargo bench -- conv-16ch`
//! for some of them.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, Throughput};
use residua::bench::{BenchError, Case, Workbench, cases};
use residua::gpu::{AdapterChoice, Gpu};
use residua::graph::Precision;
use residua::schedule::target;

/// Time for one kernel, besides criterion's estimates.
const WARM_UP: Duration = Duration::from_millis(200);
const MEASUREMENT: Duration = Duration::from_millis(500);

/// Two operations for each multiply-add of convolutions and linear layers, so that
/// Gelem/s are GFLOP/s; bytes for the other kernels.
fn throughput(case: &Case) -> Throughput {
    if case.macs > 0 {
        Throughput::Elements(2 * case.macs)
    } else {
        Throughput::BytesDecimal(case.bytes)
    }
}

fn kernels(criterion: &mut Criterion) -> Result<(), BenchError> {
    let gpu = Arc::new(Gpu::open(&AdapterChoice::Best)?);
    let cases = cases(&target(&gpu), Precision::F32);
    let workloads: Vec<_> = cases.iter().map(|case| case.workload.clone()).collect();
    let bench = Workbench::new(&gpu, &workloads, Precision::F32)?;
    let mut group = criterion.benchmark_group("kernels");
    let mut failure = None;
    for (index, case) in cases.iter().enumerate() {
        group.throughput(throughput(case));
        group.bench_function(&case.workload.name, |bencher| {
            bencher.iter_custom(|repetitions| {
                // Criterion accepts no errors: store the first one, after which
                // the results do not matter.
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
