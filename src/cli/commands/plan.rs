//! `tools inspect --plan`: every dispatch of a training step, with what it
//! moves, computes and takes.

use std::fmt::Write as _;
use std::sync::Arc;

use crate::cli::CliError;
use crate::gpu::{AdapterChoice, Dispatch, Gpu};
use crate::graph::{Graph, Recompute};
use crate::schedule::{Session, SessionError};
use serde::Serialize;

/// One dispatch.
#[derive(Debug, Clone, Serialize)]
pub struct DispatchRow {
    kernel: String,
    workgroups: [u32; 3],
    bytes: u64,
    macs: u64,
    seconds: Option<f64>,
}

/// The dispatches of a training step with batches of `batch` images that
/// makes again what `recompute` says, timed where the adapter can: the
/// shortest of three runs.
pub fn dispatches(
    choice: &AdapterChoice,
    train: Graph,
    eval: Graph,
    batch: usize,
    recompute: Recompute,
) -> Result<(String, Vec<DispatchRow>), CliError> {
    let gpu = Arc::new(Gpu::open(choice)?);
    let route = eval.default_route();
    let mut session = Session::new(gpu.clone(), Some(train), eval, |_| true)?;
    session.set_recompute(recompute);
    let kernels = session.kernels(true, batch, &route)?;
    let ready: Vec<&Dispatch> = kernels.iter().map(|kernel| &kernel.dispatch).collect();
    let mut best: Option<Vec<f64>> = None;
    // The first run compiles; it is not looked at.
    for run in 0..4 {
        let times = gpu.time(&ready).map_err(SessionError::from)?;
        if run > 0 {
            best = match (best, times) {
                (Some(best), Some(times)) => Some(best.iter().zip(times).map(|(a, b)| a.min(b)).collect()),
                (None, times) => times,
                (best, None) => best,
            };
        }
    }
    let rows = kernels.iter().enumerate().map(|(index, kernel)| DispatchRow {
        kernel: kernel.dispatch.label().to_string(),
        workgroups: kernel.dispatch.workgroups(),
        bytes: kernel.bytes,
        macs: kernel.macs,
        seconds: best.as_ref().map(|times| times[index]),
    });
    Ok((gpu.info().to_string(), rows.collect()))
}

/// One line a dispatch, then one line a kernel.
pub fn table(adapter: &str, rows: &[DispatchRow]) -> String {
    let mut text = format!("\na training step on {adapter}\n");
    let _ = writeln!(
        text,
        "{:<28} {:>16}  {:>9} {:>9} {:>8}  {:>8}",
        "kernel", "workgroups", "MB", "MMAC", "ms", "rate"
    );
    for row in rows {
        let [x, y, z] = row.workgroups;
        line(
            &mut text,
            &row.kernel,
            &format!("{x}×{y}×{z}"),
            row.bytes,
            row.macs,
            row.seconds,
        );
    }
    let mut names: Vec<&str> = rows.iter().map(|row| row.kernel.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    text.push_str("\nin all\n");
    for name in names {
        let own = || rows.iter().filter(|row| row.kernel == name);
        let seconds: Option<f64> = own().map(|row| row.seconds).sum();
        let count = format!("× {}", own().count());
        line(
            &mut text,
            name,
            &count,
            own().map(|row| row.bytes).sum(),
            own().map(|row| row.macs).sum(),
            seconds,
        );
    }
    let seconds: Option<f64> = rows.iter().map(|row| row.seconds).sum();
    let (bytes, macs) = (
        rows.iter().map(|row| row.bytes).sum(),
        rows.iter().map(|row| row.macs).sum(),
    );
    line(
        &mut text,
        "the step",
        &format!("× {}", rows.len()),
        bytes,
        macs,
        seconds,
    );
    text
}

fn line(text: &mut String, name: &str, count: &str, bytes: u64, macs: u64, seconds: Option<f64>) {
    let rate = seconds.filter(|seconds| *seconds > 0.0).map(|seconds| {
        if macs > 0 {
            format!("{:.1} GFLOP/s", 2e-9 * macs as f64 / seconds)
        } else {
            format!("{:.2} GB/s", 1e-9 * bytes as f64 / seconds)
        }
    });
    let _ = writeln!(
        text,
        "{name:<28} {count:>16}  {:>9.2} {:>9.1} {:>8}  {}",
        bytes as f64 / 1e6,
        macs as f64 / 1e6,
        seconds.map_or_else(|| "-".to_string(), |seconds| format!("{:.3}", 1e3 * seconds)),
        rate.unwrap_or_default()
    );
}
