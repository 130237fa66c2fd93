use residua::{data::*, gpu::*, graph::*, models::*, schedule::Update, train::*};
use std::sync::Arc;
fn main() {
    let args: Vec<String> = std::env::args().collect();
    if std::env::var("WIDE").is_ok() {
        unsafe { prefer_wide_vectors() };
    }
    let gpu = Arc::new(Gpu::open(&Choice::Best).unwrap());
    println!("{}", gpu.info());
    let spec: ModelSpec = args[1].parse().unwrap();
    let n: usize = args[2].parse().unwrap();
    let steps: u32 = args[3].parse().unwrap();
    let input = InputShape::default();
    let train = spec.build(&input, Mode::Train).unwrap();
    let eval = spec.build(&input, Mode::Eval).unwrap();
    let mut e = DeviceEngine::new(gpu.clone(), Some(train), eval, |_| true).unwrap();
    initialise(&mut e, 0);
    let splits = Source::default().load(None, None, 0).unwrap();
    e.load(Part::Train, &splits.train, &splits.normalization).unwrap();
    let route = e.graph().default_route();
    for s in 0..steps {
        let draws: Vec<Draw> = (0..n)
            .map(|i| Draw::unchanged(((i + s as usize * n) % splits.train.len()) as u32))
            .collect();
        let t = std::time::Instant::now();
        e.step(&StepPlan {
            draws: &draws,
            padding: Padding::Zero,
            route: &route,
            update: Update {
                lr: 0.05,
                momentum: 0.9,
                weight_decay: 5e-4,
                nesterov: false,
            },
            seed: 0,
            step: s,
        })
        .unwrap();
        let m = e.metrics(s..s + 1).unwrap();
        println!(
            "step {s} loss {:.5} wrong {} {:.3}s {:.1} img/s mem {} MiB",
            m[0][0],
            m[0][1],
            t.elapsed().as_secs_f64(),
            n as f64 / t.elapsed().as_secs_f64(),
            gpu.allocated() >> 20
        );
    }
    let kernels = e.session().kernels(true, n, &route).unwrap();
    let d: Vec<&Dispatch> = kernels.iter().map(|k| &k.dispatch).collect();
    if let Some(times) = gpu.time(&d).unwrap() {
        let mut by: std::collections::BTreeMap<String, (f64, usize, u64, u64)> = Default::default();
        for (k, t) in kernels.iter().zip(&times) {
            let e = by.entry(k.dispatch.label().to_string()).or_default();
            e.0 += t;
            e.1 += 1;
            e.2 += k.macs;
            e.3 += k.bytes;
        }
        let total: f64 = times.iter().sum();
        println!("total {:.1} ms", total * 1e3);
        for (l, (t, c, macs, bytes)) in by {
            println!(
                "{l:32} x{c:3} {:8.2} ms {:5.1}% {:7.1} GFLOP/s {:6.2} GB/s",
                t * 1e3,
                100.0 * t / total,
                2e-9 * macs as f64 / t,
                1e-9 * bytes as f64 / t
            );
        }
        if args.len() > 4 {
            for (k, t) in kernels.iter().zip(&times) {
                if k.macs > 0 {
                    println!(
                        "{:28} {:?} {:8.2} ms {:7.1} GFLOP/s {:?}",
                        k.dispatch.label(),
                        k.output,
                        t * 1e3,
                        2e-9 * k.macs as f64 / t,
                        e.session().graph().nodes.get(k.output.0).map(|n| n.shape.to_string())
                    );
                }
            }
        }
    }
}
