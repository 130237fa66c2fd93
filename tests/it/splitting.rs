//! Are a batch with tensors larger than the binding limit, and weights larger
//! than it, split without changing the result? The adapter gets a small limit,
//! and the device refuses every larger binding.

use std::sync::Arc;

use crate::support::device;
use crate::support::reference_run;
use crate::support::reference_run::{Build, ReferenceRun};
use crate::support::update::UPDATE;
use residua::gpu::{AdapterKind, AdapterOverrides, Gpu};
use residua::graph::{BlockInfo, Conv, Gains, Graph, GraphError, Init, NodeId, PadShortcut, Pool, Precision};
use residua::kernels::ImageDims;
use residua::models::{Architecture, ModelSpec};

/// Splitting changes the order of sums and nothing else. The division in batch
/// norm and the loss of a single image amplify the differences in the last
/// bits. Both runs are also compared with the f64 reference.
const TOLERANCE: [f64; 3] = [1e-5, 5e-5, 1e-5];

fn conv(kernel: usize, stride: usize) -> Conv {
    Conv {
        kernel,
        stride,
        padding: kernel / 2,
        groups: 1,
    }
}

/// A residual network with every operation that is split at the limit.
fn network(graph: &mut Graph, images: NodeId) -> Result<NodeId, GraphError> {
    let pool = Pool {
        kernel: 3,
        stride: 2,
        padding: 1,
    };
    let x = graph.conv("stem", images, 4, conv(3, 1), true, Init::Zero)?;
    let x = graph.batch_norm("stem.bn", x, 1e-5, 0.1);
    let x = graph.relu(x);
    let y = graph.conv("a.conv1", x, 4, conv(3, 1), false, Init::Zero)?;
    let y = graph.batch_norm("a.bn1", y, 1e-5, 0.1);
    let y = graph.relu(y);
    let y = graph.dropout(y, 0.3)?;
    let y = graph.conv("a.conv2", y, 4, conv(1, 1), false, Init::Zero)?;
    let y = graph.batch_norm("a.bn2", y, 1e-5, 0.1);
    let info = |name, input, downsamples, relu| BlockInfo {
        name,
        stage: 1,
        input,
        downsamples,
        default: Gains::RESIDUAL,
        relu,
    };
    let x = graph.block(&info("a", x, false, true), y, x)?;
    let pad = PadShortcut {
        stride: 2,
        average: false,
        before: 2,
        after: 2,
    };
    let shortcut = graph.pad_shortcut(x, pad)?;
    let y = graph.conv("b.conv", x, 8, conv(3, 2), true, Init::Zero)?;
    let y = graph.relu(y);
    let x = graph.block(&info("b", x, true, true), y, shortcut)?;
    let parts = [graph.slice(x, 0, 4)?, graph.slice(x, 4, 4)?];
    let a = graph.max_pool(parts[0], pool)?;
    let b = graph.avg_pool(parts[1], pool)?;
    let x = graph.concat(&[b, a])?;
    let hidden = graph.linear("hidden", x, 64, Init::Zero);
    let hidden = graph.relu(hidden);
    let hidden = graph.dropout(hidden, 0.2)?;
    Ok(graph.linear("fc", hidden, 4, Init::Zero))
}

/// A network whose weights, their gradients and momenta exceed the limit.
fn large_weights(graph: &mut Graph, images: NodeId) -> Result<NodeId, GraphError> {
    let x = graph.conv("a", images, 12, conv(3, 1), true, Init::Zero)?;
    let x = graph.relu(x);
    let x = graph.conv("b", x, 128, conv(3, 1), true, Init::Zero)?;
    let x = graph.batch_norm("b.bn", x, 1e-5, 0.1);
    let x = graph.relu(x);
    let x = graph.conv("c", x, 200, conv(1, 1), false, Init::Zero)?;
    let x = graph.relu(x);
    let x = graph.conv("d", x, 72, conv(3, 2), true, Init::Zero)?;
    let x = graph.relu(x);
    let x = graph.linear("hidden", x, 100, Init::Zero);
    let x = graph.relu(x);
    Ok(graph.linear("fc", x, 61, Init::Zero))
}

fn limited(kind: AdapterKind, binding: Option<u64>) -> Arc<Gpu> {
    device::open(&AdapterOverrides {
        kind: Some(kind),
        binding,
        ..AdapterOverrides::default()
    })
}

/// Runs `network` on `batch` images of `dims` with the adapter's bindings, and
/// with bindings of `kib` KiB at most, under the default route and without
/// block 1, if it has blocks. Both also take a training step. The run in parts
/// agrees with the f64 reference.
fn split_and_whole_agree(kind: AdapterKind, network: Build, (dims, batch): (ImageDims, usize), kib: u64) {
    let mut whole = ReferenceRun::new(&limited(kind, None), dims, batch, 11, network);
    let mut parts = ReferenceRun::new(&limited(kind, Some(kib << 10)), dims, batch, 11, network);
    let route = whole.default_route();
    let count = |run: &mut ReferenceRun| run.session.kernels(true, batch, &route).unwrap().len();
    let (few, many) = (count(&mut whole), count(&mut parts));
    assert!(many > few * 3 / 2, "{few} dispatches whole, {many} in parts");
    let mut routes = vec![route.clone()];
    if !route.is_empty() {
        routes.push(route.clone().deleting(&[1]).unwrap());
    }
    for route in &routes {
        let (truth, found) = (whole.on_device(route), parts.on_device(route));
        let name = |index: usize| format!("parameter {index}");
        let deviation = reference_run::compare(&found, &truth, TOLERANCE, &name);
        println!("{kind:?}, {few} and {many} dispatches: {deviation}");
        parts.check(route);
    }
    let (found, truth) = (parts.trained(&route, UPDATE), whole.trained(&route, UPDATE));
    for (index, (found, truth)) in found.iter().zip(&truth).enumerate() {
        let deviation = reference_run::distance(found, truth) / reference_run::norm(truth);
        assert!(
            deviation <= TOLERANCE[1],
            "parameter {index} after a step: off by {deviation:.1e}"
        );
    }
}

// The tensors of 48 images take up to 48 KiB.
const SMALL: (ImageDims, usize) = ([3, 8, 8], 48);

#[test]
fn a_split_batch_gives_the_same_result_on_processors() {
    split_and_whole_agree(AdapterKind::Cpu, &network, SMALL, 20);
}

#[test]
fn a_split_batch_gives_the_same_result_on_gpus() {
    split_and_whole_agree(AdapterKind::Discrete, &network, SMALL, 20);
}

// Weights take up to 506 KiB, and the activations of one image 12.5 KiB.
#[test]
fn split_weights_give_the_same_result_on_processors() {
    split_and_whole_agree(AdapterKind::Cpu, &large_weights, ([3, 4, 4], 5), 48);
}

#[test]
fn split_weights_give_the_same_result_on_gpus() {
    split_and_whole_agree(AdapterKind::Discrete, &large_weights, ([3, 4, 4], 5), 48);
}

/// In 16 bits, the parts of an input gradient are added in 32 bits.
#[test]
fn split_weights_in_16_bits_stay_close_to_the_reference() {
    for kind in device::KINDS {
        let gpu = limited(kind, Some(48 << 10));
        if !gpu.info().f16 {
            println!("{}: no 16-bit floats, nothing to compare", gpu.info().name);
            return;
        }
        let mut run = ReferenceRun::stored_in(Precision::F16, &gpu, ([3, 4, 4], 5), 11, &large_weights);
        let route = run.default_route();
        println!("{kind:?}: {}", run.check_within(&route, [5e-3, 0.05, 5e-3]));
    }
}

/// Statistics cover the whole batch in every family: in concatenations, dense
/// and residual halves, and after the stem for large images. The kernels are
/// those of GPUs, which compile faster.
#[test]
fn a_split_batch_gives_the_same_result_in_every_family() {
    for (name, side, kib) in [
        ("resnet18:stem=imagenet", 32, 150),
        ("resnext-11-4x16d", 16, 900),
        ("densenet-bc-16-4", 16, 20),
        ("dpn26:variant=kuangliu", 16, 700),
        ("vgg11-bn:head=hidden", 32, 600),
    ] {
        let spec: ModelSpec = name.parse().unwrap();
        let build = |graph: &mut Graph, images: NodeId| spec.forward(graph, images, 10);
        let run = |binding| {
            let gpu = limited(AdapterKind::Discrete, binding);
            ReferenceRun::new(&gpu, [3, side, side], 4, 11, &build)
        };
        let (mut whole, mut parts) = (run(None), run(Some(kib << 10)));
        let route = whole.default_route();
        let count = |run: &mut ReferenceRun| run.session.kernels(true, 4, &route).unwrap().len();
        let (few, many) = (count(&mut whole), count(&mut parts));
        assert!(many > few * 9 / 8, "{name}: {few} dispatches whole, {many} in parts");
        // Batch norms of few values amplify the differences in the last bits:
        // whole, gradients of the dual path network are off by 1e-2 from the
        // f64 reference. A part that is missing changes a gradient by as much
        // as its norm.
        let (truth, found) = (whole.on_device(&route), parts.on_device(&route));
        let name_of = |index: usize| format!("{name}, parameter {index}");
        let deviation = reference_run::compare(&found, &truth, [1e-4, 5e-2, 1e-4], &name_of);
        println!("{name}, {few} and {many} dispatches: {deviation}");
    }
}
