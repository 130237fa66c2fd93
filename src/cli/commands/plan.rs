//! `residua inspect --plan`: how many bytes, multiply-adds and milliseconds does
//! each dispatch of a training step take?

use std::sync::Arc;

use crate::cli::CliError;
use crate::gpu::{AdapterChoice, Dispatch, Gpu};
use crate::graph::{Graph, Recompute};
use crate::report::{Column, Item, Table};
use crate::schedule::{Session, SessionError};
use serde::Serialize;
use serde_json::Value;

/// One dispatch.
#[derive(Debug, Clone, Serialize)]
pub struct DispatchRow {
    kernel: String,
    workgroups: [u32; 3],
    bytes: u64,
    macs: u64,
    seconds: Option<f64>,
}

/// The adapter's name, and the dispatches of a training step with `batch`
/// images that recomputes what `recompute` names. They are timed where the
/// adapter has a clock: the shortest of three runs.
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
    // The first run compiles and is not counted.
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

/// The dispatches in order, then all dispatches of each kernel together.
pub fn tables(adapter: &str, rows: &[DispatchRow]) -> Vec<Item> {
    let dispatch = |row: &DispatchRow| {
        let [x, y, z] = row.workgroups;
        cells(&row.kernel, format!("{x}×{y}×{z}"), row.bytes, row.macs, row.seconds)
    };
    let sum = |name: &str, rows: &[&DispatchRow]| {
        cells(
            name,
            rows.len().to_string(),
            rows.iter().map(|row| row.bytes).sum(),
            rows.iter().map(|row| row.macs).sum(),
            rows.iter().map(|row| row.seconds).sum(),
        )
    };
    let mut names: Vec<&str> = rows.iter().map(|row| row.kernel.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    let of_kernel = |name: &str| sum(name, &rows.iter().filter(|row| row.kernel == name).collect::<Vec<_>>());
    let mut sums: Vec<Vec<Value>> = names.into_iter().map(of_kernel).collect();
    sums.push(sum("the whole step", &rows.iter().collect::<Vec<_>>()));
    let step = format!("A training step on {adapter}");
    [
        table("dispatches", step, "workgroups", rows.iter().map(dispatch).collect()),
        table("kernels", "Dispatches by kernel".to_string(), "dispatches", sums),
    ]
    .map(Item::Table)
    .into()
}

fn table(name: &str, title: String, second: &str, rows: Vec<Vec<Value>>) -> Table {
    let mega = |key: &str, label: &str, digits: usize| Column {
        factor: 1e-6,
        ..Column::number(key, label, digits)
    };
    Table {
        name: name.to_string(),
        title,
        columns: vec![
            Column::plain("kernel", "kernel"),
            Column::plain(second, second),
            mega("bytes", "MB", 2),
            mega("macs", "million multiply-adds", 1),
            Column {
                factor: 1e3,
                ..Column::number("seconds", "ms", 3)
            },
            Column::number("gflops", "GFLOP/s", 1),
            Column::number("gb_per_second", "GB/s", 2),
        ],
        rows,
        file_only: false,
    }
}

/// The cells of a row. Work with multiply-adds is measured by them, other work
/// by the bytes that it moves.
fn cells(name: &str, second: String, bytes: u64, macs: u64, seconds: Option<f64>) -> Vec<Value> {
    let seconds = seconds.filter(|seconds| *seconds > 0.0);
    let per_second = |amount: f64| seconds.map(|seconds| 1e-9 * amount / seconds);
    vec![
        name.into(),
        second.into(),
        bytes.into(),
        macs.into(),
        seconds.into(),
        per_second(2.0 * macs as f64).filter(|_| macs > 0).into(),
        per_second(bytes as f64).filter(|_| macs == 0).into(),
    ]
}
