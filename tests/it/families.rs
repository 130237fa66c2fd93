//! Is a network of each family right, on a device and in the f64 reference? Its
//! results are compared with PyTorch's (`tests/fixtures/make_families.py`). On the
//! device it also trains within its planned memory, and a block is deleted.

use std::sync::Arc;

use crate::cli::real_data;
use crate::support::device;
use crate::support::family::{self, Case, DEVICE, MakeEngine, REFERENCE};
use crate::support::fixture::{self, Fixture};
use residua::data::{Draw, Normalization, Padding, Preparation, Resize, Source};
use residua::gpu::{AdapterOverrides, Gpu};
use residua::graph::{Mode, ParamId, StateId};
use residua::models::{InputShape, ModelSpec, Network};
use residua::schedule::{Footprint, ResidentSet, Update};
use residua::train::{DeviceEngine, Engine, ReferenceEngine, Split, StepPlan};

/// The largest binding of the software driver, and the smallest that WebGPU
/// guarantees.
const BINDING: u64 = 128 << 20;

fn device_engine(gpu: &Arc<Gpu>, train: Network, eval: Network) -> DeviceEngine {
    DeviceEngine::new(gpu.clone(), Some(train), eval, |_| true).unwrap()
}

/// Every network of a fixture, with the adapter's own kernels.
fn check(name: &str) {
    check_on(name, device::own);
}

/// Every network of a fixture, on the device that `open` gives. The largest ones take
/// what is asked of all tests: a processor's driver compiles minutes for each.
fn check_on(name: &str, open: fn(&AdapterOverrides) -> Arc<Gpu>) {
    let fixture = Fixture::load(&format!("families/{name}"));
    let gpu = open(&AdapterOverrides {
        binding: Some(BINDING),
        ..AdapterOverrides::default()
    });
    // What the device itself takes.
    let idle = gpu.reported().map_or(0, |reported| reported.used);
    let on_device: MakeEngine = &|train, eval| Box::new(device_engine(&gpu, train, eval));
    let in_reference: MakeEngine = &|train, eval| Box::new(ReferenceEngine::new(Some(train), eval, |_| true));
    for case in Case::all(&fixture) {
        for (kind, make, tolerance) in [('d', on_device, &DEVICE), ('r', in_reference, &REFERENCE)] {
            if !case.engines.contains(kind) {
                continue;
            }
            let found = family::check_network(&fixture, &case, make, tolerance);
            let worst = found
                .worst
                .iter()
                .map(|(what, by, tensor)| format!("{what} {by:.0e} ({tensor})"));
            let worst: Vec<String> = worst.collect();
            println!(
                "{}, {}: {}",
                case.model,
                if kind == 'd' { "device" } else { "reference" },
                worst.join(", ")
            );
            if kind == 'd' {
                trains_within_its_plan(&gpu, idle, &case);
            }
        }
    }
}

/// Trains on one batch: the loss falls, memory is as planned and does not grow, and
/// a deleted block changes the evaluation, the same way twice.
fn trains_within_its_plan(gpu: &Arc<Gpu>, idle: u64, case: &Case) {
    let held_before = gpu.allocated();
    let mut engine = device_engine(gpu, case.network(Mode::Train), case.network(Mode::Eval));
    case.prepare(&mut engine);
    let set = case.images();
    let images = ResidentSet::footprint(set.len(), [set.channels, set.height, set.width]);
    let planned = Footprint {
        images: 2 * images,
        ..engine.session().footprint(&[case.batch], &[case.batch])
    };
    let route = engine.graph().default_route();
    let draws = case.draws(0);
    let (mut losses, mut held) = (Vec::new(), Vec::new());
    for step in 0..6 {
        let plan = StepPlan {
            draws: &draws,
            padding: Padding::Zero,
            route: &route,
            update: Update {
                lr: 0.01,
                momentum: 0.9,
                weight_decay: 0.0,
                nesterov: false,
            },
            seed: 0,
            step,
        };
        engine.step(&plan).unwrap();
        engine
            .evaluate(Split::Test, &draws, std::slice::from_ref(&route))
            .unwrap();
        losses.push(engine.metrics(step..step + 1).unwrap()[0][0]);
        held.push(gpu.allocated() - held_before);
    }
    let model = &case.model;
    assert!(losses.iter().all(|loss| loss.is_finite()), "{model}: losses {losses:?}");
    assert!(losses[5] < losses[0], "{model}: losses {losses:?}");
    assert!(
        held[2..].iter().all(|&bytes| bytes == held[1]),
        "{model}: {held:?} bytes"
    );
    let deviation = |bytes: u64| bytes as f64 / planned.total() as f64 - 1.0;
    assert!(
        deviation(held[5]).abs() < 0.05,
        "{model}: {held:?} bytes held, {planned:?}"
    );
    println!(
        "{model}: losses {losses:.3?}, {} bytes, {:+.2} % of the plan",
        held[5],
        100.0 * deviation(held[5])
    );
    // Vulkan and DX12 report how much they allocated; Metal does not.
    if let Some(reported) = gpu.reported() {
        let deviation = deviation(reported.used.saturating_sub(idle));
        println!("    {:+.2} % by the device's account", 100.0 * deviation);
        assert!(
            deviation.abs() < 0.05,
            "{model}: {reported:?}, {idle} before, {planned:?}"
        );
    }

    let blocks = engine.graph().blocks.len();
    let middle = route.clone().deleting(&[blocks.div_ceil(2)]).unwrap();
    let mut results = |route| {
        engine
            .evaluate(Split::Test, &draws, std::slice::from_ref(route))
            .unwrap()
    };
    let (baseline, lesion, again) = (results(&route), results(&middle), results(&middle));
    assert_ne!(lesion, baseline, "{model}: a deleted block has no effect");
    assert_eq!(lesion, again, "{model}: the same lesion twice");
    assert_eq!(results(&route), baseline, "{model}: the network after a lesion");
}

#[test]
fn residual_networks_for_small_images() {
    check("resnet");
}

#[test]
fn residual_networks_for_photographs() {
    check("imagenet");
}

#[test]
fn pre_activation_networks() {
    check("preact");
}

#[test]
fn wide_residual_networks() {
    check("wrn");
}

#[test]
fn networks_with_grouped_convolutions_and_excitation() {
    check_on("resnext", device::open);
}

#[test]
fn networks_without_shortcuts() {
    check("vgg");
}

#[test]
fn densely_connected_networks() {
    check("densenet");
}

#[test]
fn dual_path_networks() {
    check_on("dpn", device::open);
}

#[test]
fn fused_and_merge_and_run_networks() {
    check("fusenet");
}

#[test]
fn fractal_networks() {
    check("fractalnet");
}

/// The weights are those of `make_families.py`, the pixels this program's own:
/// decoders of JPEG differ by a few levels (`make_photos.py`). The pixels of all
/// twenty photographs are compared; the network runs on every seventh, or on every
/// `EVERY_PHOTOGRAPH`-th: `EVERY_PHOTOGRAPH=1` takes minutes on a processor.
#[test]
fn resnet_50_on_photographs() {
    let Some(data) = real_data() else { return };
    let fixture = Fixture::load("photos");
    let folder = tempfile::tempdir().unwrap();
    let mut files: Vec<_> = std::fs::read_dir(data.join("imagenet-samples"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "JPEG"))
        .collect();
    files.sort();
    for split in ["train", "test"] {
        for (index, file) in files.iter().enumerate() {
            let place = folder.path().join(split).join(format!("{index:02}"));
            std::fs::create_dir_all(&place).unwrap();
            std::fs::copy(file, place.join("photo.jpeg")).unwrap();
        }
    }
    let source: Source = format!("imagefolder:{}", folder.path().display()).parse().unwrap();
    let preparation = Preparation {
        resize: Some(Resize::Side(256)),
        crop: Some(224),
        ..Preparation::default()
    };
    let photos = source.with_preparation(preparation).unwrap();
    let photos = photos.load_test(None, 0).unwrap().images;
    let pixels = fixture::digest(photos.images.iter().map(|&byte| [byte]));
    assert_eq!(
        pixels,
        fixture.note("pixels_sha256"),
        "pixels of {} photographs",
        photos.len()
    );

    let spec: ModelSpec = "resnet50".parse().unwrap();
    let network = spec.build(&InputShape::IMAGENET, Mode::Eval).unwrap();
    let gpu = device::open(&AdapterOverrides::default());
    let mut engine = DeviceEngine::new(gpu, None, network, |_| true).unwrap();
    let graph = engine.graph().clone();
    let weights = family::initial(&graph);
    family::check_weights(&graph, &weights, &fixture.note("weights_sha256"));
    for (index, values) in weights.iter().enumerate() {
        engine.set_param(ParamId(index), values);
    }
    for (index, values) in fixture::states(&graph).iter().enumerate() {
        engine.set_state(StateId(index), values);
    }
    let normalization = Normalization::named("imagenet", 3).unwrap();
    engine.load(Split::Test, &photos, &normalization).unwrap();
    let truth = fixture.tensor("logits");
    let classes = truth.len() / photos.len();
    let every: usize = std::env::var("EVERY_PHOTOGRAPH").map_or(7, |number| number.parse().unwrap());
    let draws: Vec<Draw> = (0..photos.len() as u32).step_by(every).map(Draw::unchanged).collect();
    let route = graph.default_route();
    let logits = family::to_f64(&engine.logits(Split::Test, &draws, &route).unwrap());
    assert_eq!(logits.len(), draws.len() * classes);
    for (found, draw) in logits.chunks(classes).zip(&draws) {
        let index = draw.index as usize;
        let apart = family::distance(found, &truth[index * classes..][..classes]);
        println!("{}: logits within {apart:.0e}", files[index].display());
        assert!(apart < 1e-4, "logits of photograph {index} off by {apart:.1e}");
    }
}
