//! Is a device that computes nothing, or not all, found out? Its submissions are
//! dropped without an error, as some drivers do.

use std::sync::Arc;

use residua::gpu::{AdapterChoice, AdapterOverrides, Binding, Gpu, GpuError};
use residua::graph::{Graph, Init, Mode};
use residua::schedule::{Batch, Crop, Session, SessionError, Update};

use crate::support::conv::conv;

/// This machine's adapter; submissions after the first `given` are dropped.
fn dropping(given: u32) -> Result<Gpu, GpuError> {
    let overrides = AdapterOverrides {
        drop_after: Some(given),
        ..AdapterOverrides::default()
    };
    Gpu::open_as(&AdapterChoice::Best, &overrides)
}

#[test]
fn a_device_that_computes_nothing_is_not_opened() {
    let error = dropping(0).unwrap_err();
    assert!(
        matches!(error, GpuError::Wrong { wrong, of: 512, found: 0, .. } if wrong > 500),
        "{error:?}"
    );
    assert!(error.to_string().contains("does not compute"), "{error}");
}

#[test]
fn what_is_read_after_a_dropped_submission_is_an_error() {
    let words = [7_u32, 8, 9, 10];
    let read_after = |given: u32| {
        let gpu = dropping(given).unwrap();
        let from = gpu.buffer("from", 16).unwrap();
        let to = gpu.buffer("to", 16).unwrap();
        gpu.write(&from, 0, &words);
        for _ in 0..3 {
            gpu.submit(|recorder| recorder.copy(&Binding::whole(&from), &Binding::whole(&to)));
        }
        gpu.read::<u32>(&to, 0..16)
    };
    for given in 1..3 {
        let error = read_after(given).unwrap_err();
        assert_eq!(error, GpuError::Dropped { done: 0, given: 3 }, "{given}");
    }
    assert_eq!(read_after(4).unwrap(), words);
}

/// Mean loss of a training step, and the loss of each image afterwards. All weights
/// are 0, and the step's learning rate too: every loss is ln 5.
fn losses(gpu: Gpu) -> Result<Vec<f32>, SessionError> {
    let network = |mode| {
        let mut graph = Graph::new(mode);
        let images = graph.images(3, 4, 4);
        let features = graph.conv("conv", images, 4, conv(3, 1, 1), false, Init::Zero).unwrap();
        let pooled = graph.global_avg_pool(features);
        let logits = graph.linear("fc", pooled, 5, Init::Zero);
        graph.cross_entropy(logits);
        graph
    };
    let mut session = Session::new(Arc::new(gpu), Some(network(Mode::Train)), network(Mode::Eval), |_| true)?;
    let set = session.load(&[100; 2 * 48], &[0, 4], [3, 4, 4], &[0.5; 3], &[0.25; 3])?;
    let batch = Batch {
        set: &set,
        draws: &[[0, 0], [1, 0]],
        crop: Crop { pad: 0, reflect: false },
    };
    let route = session.graph().default_route();
    session.train_step(batch, &route, Update::default(), 1, 0)?;
    let trained = session.metrics(0..1)?;
    let evaluated = session.evaluate(batch, &[route])?.concat();
    Ok(trained.into_iter().chain(evaluated).map(|[loss, _]| loss).collect())
}

#[test]
fn a_loss_is_right_or_an_error_whatever_is_dropped() {
    let mut ends = Vec::new();
    for given in 1.. {
        match losses(dropping(given).unwrap()) {
            Ok(losses) => {
                assert!(losses.iter().all(|loss| (loss - 5_f32.ln()).abs() < 1e-6), "{losses:?}");
                break;
            }
            Err(SessionError::Gpu(GpuError::Dropped { done, given })) => {
                assert!(done < given);
                ends.push(given);
            }
            Err(error) => panic!("{error}"),
        }
    }
    // After the step, and after the evaluation.
    assert!(ends.contains(&1) && ends.contains(&2), "{ends:?}");
}
