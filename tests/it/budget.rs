//! Are submissions cut where they would take too long, with the same bits? Are single
//! dispatches divided by batch, and grids at the edge of a dimension?

use std::sync::Arc;

use residua::gpu::{AdapterKind, AdapterOverrides, Binding, Gpu};
use residua::graph::{Graph, GraphError, Init, NodeId, Precision, Shape};
use residua::kernels::{Algorithm, Lowered, Operand, Target, Work};
use residua::schedule::{dispatch, read_values, target, write_values};

use crate::support::conv::conv;
use crate::support::device;
use crate::support::reference_run::ReferenceRun;
use crate::support::update::UPDATE;

/// A network with a block, batch norm and dropout.
fn network(graph: &mut Graph, images: NodeId) -> Result<NodeId, GraphError> {
    let x = graph.conv("stem", images, 8, conv(3, 1, 1), false, Init::Zero)?;
    let x = graph.batch_norm("bn", x, 1e-5, 0.1);
    let x = graph.relu(x);
    let y = graph.conv("second", x, 8, conv(3, 1, 1), true, Init::Zero)?;
    let x = graph.sum(x, y)?;
    let x = graph.dropout(x, 0.3)?;
    let x = graph.global_avg_pool(x);
    Ok(graph.linear("fc", x, 5, Init::Zero))
}

#[test]
fn a_submission_that_is_cut_anywhere_gives_the_same_bits() {
    for kind in device::KINDS {
        let mut outcomes = Vec::new();
        // No limit; a dispatch at a time; some at a time, at whatever rate is measured.
        for seconds in [None, Some(1e-12), Some(1e-6), Some(1e-4)] {
            let gpu = device::of_kind(kind);
            gpu.limit_submissions(seconds);
            assert_eq!(gpu.submission_seconds(), seconds);
            let mut run = ReferenceRun::new(&gpu, [3, 8, 8], 6, 3, &network);
            let route = run.default_route();
            outcomes.push((run.on_device(&route), run.trained(&route, UPDATE)));
        }
        assert!(outcomes.iter().all(|outcome| *outcome == outcomes[0]), "{kind:?}");
    }
}

/// The device counts its submissions: with `drop_after` all after the first `given` are
/// dropped, and a read says how many were to be done.
#[test]
fn a_step_with_too_much_work_is_several_submissions() {
    let submissions = |seconds| {
        let gpu = device::open(&AdapterOverrides {
            drop_after: Some(3),
            ..AdapterOverrides::default()
        });
        gpu.limit_submissions(seconds);
        let from = gpu.buffer("from", 64).unwrap();
        let to = gpu.buffer("to", 64).unwrap();
        let (x, y) = (Shape::batched(&[16]), Shape::batched(&[16]));
        let relu = Work::Pointwise(residua::kernels::Pointwise::Relu);
        let lowered = relu.lower(&[&x], &y, 1, &target(&gpu));
        let dispatches: Vec<_> = (0..8)
            .map(|_| {
                dispatch(&gpu, &lowered.calls[0], |operand| match operand {
                    Operand::Input(_) => Some(Binding::whole(&from)),
                    Operand::Output => Some(Binding::whole(&to)),
                    _ => None,
                })
                .unwrap()
            })
            .collect();
        assert!(dispatches[0].work() >= 8 * 128, "{}", dispatches[0].work());
        gpu.submit(|recorder| dispatches.iter().for_each(|dispatch| recorder.dispatch(dispatch)));
        match gpu.read::<u32>(&to, 0..64) {
            Ok(_) => 1,
            Err(residua::gpu::GpuError::Dropped { given, .. }) => given,
            Err(error) => panic!("{error}"),
        }
    };
    assert_eq!(submissions(None), 1);
    // The first dispatch of each never waits for the next.
    assert_eq!(submissions(Some(1e-12)), 8);
}

/// The values that `lowered` computes from random inputs.
fn output(gpu: &Gpu, lowered: &Lowered, inputs: [&Shape; 2], output: &Shape, batch: usize) -> Vec<f32> {
    let place = |shape: &Shape, number: usize| {
        let bytes = shape.bytes(batch);
        let place = Binding::new(&gpu.buffer("test", bytes).unwrap(), 0, bytes);
        let values: Vec<f32> = (0..shape.len(batch))
            .map(|index| ((index * 37 + number * 11) % 101) as f32 / 50.0 - 1.0)
            .collect();
        write_values(gpu, &place, Precision::F32, &values);
        place
    };
    let places = [place(inputs[0], 0), place(inputs[1], 1), place(output, 2)];
    let scratch = lowered.scratch.iter();
    let scratch: Vec<Binding> = scratch
        .map(|&bytes| Binding::new(&gpu.buffer("scratch", bytes).unwrap(), 0, bytes))
        .collect();
    let dispatches: Vec<_> = lowered
        .calls
        .iter()
        .map(|call| {
            dispatch(gpu, call, |operand| match operand {
                Operand::Input(index) => Some(places[index].clone()),
                Operand::Output => Some(places[2].clone()),
                Operand::Scratch(index) => Some(scratch[index].clone()),
                _ => None,
            })
            .unwrap()
        })
        .collect();
    gpu.submit(|recorder| dispatches.iter().for_each(|dispatch| recorder.dispatch(dispatch)));
    read_values(gpu, &places[2], Precision::F32, output.len(batch)).unwrap()
}

#[test]
fn a_dispatch_with_too_much_work_is_divided_by_batch_with_the_same_bits() {
    let gpu = device::of_kind(AdapterKind::Discrete);
    let whole = target(&gpu);
    let layer = conv(3, 1, 1);
    let (x, y) = (Shape::batched(&[16, 8, 8]), Shape::batched(&[24, 8, 8]));
    let weight = Shape::fixed(&[24, 16, 3, 3]);
    let batch = 9;
    let macs = 16 * 24 * 9 * 64;
    for (work, inputs, dest) in [
        (
            Work::Conv {
                conv: layer,
                bias: false,
            },
            [&x, &weight],
            &y,
        ),
        (Work::ConvInputGradient(layer), [&y, &weight], &x),
    ] {
        let mut algorithms = work.algorithms(&inputs, dest, &whole);
        // One of each kind: their texts begin with different words.
        algorithms.sort_by_key(Algorithm::to_string);
        algorithms.dedup_by_key(|algorithm| algorithm.to_string()[..6.min(algorithm.to_string().len())].to_string());
        for algorithm in algorithms {
            let truth = work.lower_as(&algorithm, &inputs, dest, batch, &whole).unwrap();
            let truth = output(&gpu, &truth, inputs, dest, batch);
            for images in [1_u64, 4] {
                let limited = Target {
                    dispatch_macs: images * macs,
                    ..whole
                };
                let parts = work.lower_as(&algorithm, &inputs, dest, batch, &limited).unwrap();
                let longest = parts.calls.iter().map(|call| call.macs).max().unwrap();
                assert!(longest <= images * macs, "{algorithm}: {longest}");
                let found = output(&gpu, &parts, inputs, dest, batch);
                assert!(found == truth, "{work:?}, {algorithm}, {images} images at a time");
            }
        }
    }
}

/// Elements around the largest number of workgroups of one dimension, with a small limit
/// and with the limit of every adapter: none is left out, and none is written beside.
#[test]
fn grids_at_the_edge_of_a_dimension_cover_all_elements() {
    let check = |gpu: &Arc<Gpu>, elements: usize| {
        let shape = Shape::batched(&[elements]);
        let relu = Work::Pointwise(residua::kernels::Pointwise::Relu);
        let lowered = relu.lower(&[&shape], &shape, 1, &target(gpu));
        let limit = gpu.limits().workgroups;
        assert!(
            lowered.calls[0]
                .workgroups
                .iter()
                .all(|&count| (1..=limit).contains(&count))
        );
        let bytes = shape.bytes(1);
        let from = Binding::new(&gpu.buffer("from", bytes).unwrap(), 0, bytes);
        // More memory than is bound: what lies behind stays.
        let to = Binding::whole(&gpu.buffer("to", bytes + 256).unwrap());
        let values: Vec<f32> = (0..elements).map(|index| index as f32 - 3.0).collect();
        write_values(gpu, &from, Precision::F32, &values);
        gpu.write(&to.buffer, 0, &vec![-7.0_f32; elements + 64]);
        let call = &lowered.calls[0];
        let relu = dispatch(gpu, call, |operand| match operand {
            Operand::Input(_) => Some(from.clone()),
            Operand::Output => Some(to.part(0..bytes)),
            _ => None,
        });
        let relu = relu.unwrap();
        gpu.submit(|recorder| recorder.dispatch(&relu));
        let found: Vec<f32> = gpu.read(&to.buffer, 0..bytes + 256).unwrap();
        let wrong = (0..elements).find(|&index| found[index] != values[index].max(0.0));
        assert_eq!(wrong, None, "of {elements} elements");
        assert!(found[elements..].iter().all(|&value| value == -7.0), "{elements}");
    };
    for kind in device::KINDS {
        let few = device::open(&AdapterOverrides {
            kind: Some(kind),
            workgroups: Some(7),
            ..AdapterOverrides::default()
        });
        // A workgroup has 64 invocations, each with 2 or 8 vectors of 4.
        let items = if kind == AdapterKind::Cpu { 8 } else { 2 };
        let group = 64 * items * 4;
        for groups in [1, 6, 7, 8, 14, 48] {
            for more in [-4_i64, 0, 4] {
                check(&few, (groups * group + more) as usize);
            }
        }
    }
    // Without vectors, on a GPU 128 elements a workgroup: 65,535 and one more.
    let gpu = device::of_kind(AdapterKind::Discrete);
    for elements in [65_535 * 128 - 1, 65_535 * 128 + 1] {
        check(&gpu, elements);
    }
}
