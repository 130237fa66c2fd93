//! Is a batch with tensors larger than the binding limit split without
//! changing the result? The adapter gets a small limit, and the device refuses
//! every larger binding.

use crate::support::device;
use crate::support::reference_run;
use crate::support::reference_run::ReferenceRun;
use residua::gpu::{AdapterKind, AdapterOverrides};
use residua::graph::{BlockInfo, Conv, Gains, Graph, GraphError, Init, NodeId, PadShortcut, Pool};

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

fn split_and_whole_agree(kind: AdapterKind) {
    // The tensors of 48 images take up to 48 KiB.
    let limited = |binding| {
        device::open(&AdapterOverrides {
            kind: Some(kind),
            binding,
            ..AdapterOverrides::default()
        })
    };
    let dims = [3, 8, 8];
    let (whole, parts) = (limited(None), limited(Some(20 << 10)));
    let mut whole = ReferenceRun::new(&whole, dims, 48, 11, &network);
    let mut parts = ReferenceRun::new(&parts, dims, 48, 11, &network);
    let route = whole.default_route();
    let count = |run: &mut ReferenceRun| run.session.kernels(true, 48, &route).unwrap().len();
    let (few, many) = (count(&mut whole), count(&mut parts));
    assert!(many > few * 3 / 2, "{few} dispatches whole, {many} in parts");
    for route in [route.clone(), route.deleting(&[1]).unwrap()] {
        let (truth, found) = (whole.on_device(&route), parts.on_device(&route));
        let name = |index: usize| format!("parameter {index}");
        let deviation = reference_run::compare(&found, &truth, TOLERANCE, &name);
        println!("{kind:?}: {deviation}");
        parts.check(&route);
    }
}

#[test]
fn a_split_batch_gives_the_same_result_on_processors() {
    split_and_whole_agree(AdapterKind::Cpu);
}

#[test]
fn a_split_batch_gives_the_same_result_on_gpus() {
    split_and_whole_agree(AdapterKind::Discrete);
}
