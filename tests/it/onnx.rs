//! Do exported ONNX models have the operators of their networks, and do other
//! programs compute the same logits?

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use residua::graph::{BlockId, Gains, Graph, Mode, ParamKind, Route};
use residua::models::{InputShape, ModelSpec};
use residua::onnx::{OnnxOptions, export};
use residua::reference::{Inputs, run};
use residua::weights::{Tensor, TensorMap};

/// A network of each kind of block, with the side of its images.
const MODELS: [(&str, usize); 14] = [
    ("resnet8", 16),
    ("resnet8:shortcut=A-avg", 16),
    ("resnet8:shortcut=B", 15),
    ("preact-11", 16),
    ("preact-8:shortcut=B", 16),
    ("plain-8", 16),
    ("wrn-10-2", 16),
    ("resnext-29-2x4d", 16),
    ("densenet-bc-16-4", 16),
    ("vgg11-bn", 32),
    ("fractalnet-2", 32),
    ("dmrnet-8", 16),
    ("se-resnet50", 64),
    ("dpn68", 64),
];
const IMAGES: usize = 2;
const CLASSES: usize = 10;
/// Names a Python with onnx and onnxruntime.
const PYTHON: &str = "RESIDUA_ONNX";

/// Values that differ everywhere, in [-1, 1).
fn values(count: usize, seed: u32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(1);
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

/// Weights by which values keep their size; variances are positive.
fn tensors(graph: &Graph) -> TensorMap {
    let mut tensors = TensorMap::new();
    let mut seed = 0;
    let mut add = |name: String, shape: Vec<usize>, change: &dyn Fn(f32) -> f32| {
        seed += 1;
        let data = values(shape.iter().product(), seed).into_iter().map(change).collect();
        tensors.insert(name, Tensor { shape, data });
    };
    for param in &graph.params {
        let fan_in: usize = param.dims[1..].iter().product();
        let scale = match param.kind {
            ParamKind::ConvWeight | ParamKind::LinearWeight => (4.0 / fan_in.max(1) as f32).sqrt(),
            _ => 0.3,
        };
        for (index, (name, shape)) in param.tensors().into_iter().enumerate() {
            let is_gamma = param.kind == ParamKind::BatchNorm && index == 0;
            add(name, shape, &|value| {
                if is_gamma { 1.0 + 0.3 * value } else { scale * value }
            });
        }
    }
    for state in &graph.states {
        let [mean, variance] = state.tensors();
        add(mean, vec![state.channels], &|value| 0.3 * value);
        add(variance, vec![state.channels], &|value| 1.0 + 0.5 * value);
    }
    tensors
}

/// The logits of the f64 reference.
fn truth(graph: &Graph, route: &Route, tensors: &TensorMap, images: &[f32]) -> Vec<f64> {
    let wide = |names: Vec<String>| -> Vec<f64> {
        let values = names.iter().flat_map(|name| &tensors[name].data);
        values.map(|&value| value.into()).collect()
    };
    let params: Vec<Vec<f64>> = graph
        .params
        .iter()
        .map(|param| wide(param.tensors().into_iter().map(|(name, _)| name).collect()))
        .collect();
    let mut states: Vec<Vec<f64>> = graph
        .states
        .iter()
        .map(|state| wide(state.tensors().to_vec()))
        .collect();
    let images: Vec<f64> = images.iter().map(|&value| value.into()).collect();
    let logits = graph.logits().unwrap();
    let inputs = Inputs {
        images: &images,
        labels: &[0; IMAGES],
        params: &params,
        states: &mut states,
        batch: IMAGES,
        first: 0,
        of: IMAGES,
        seed: 0,
        step: 0,
    };
    run(graph, route, &[logits], inputs)
        .unwrap()
        .get(logits)
        .unwrap()
        .to_vec()
}

/// The fields of a message: number, and the bytes of those that have a length.
fn fields(bytes: &[u8]) -> Vec<(u64, &[u8])> {
    let mut found = Vec::new();
    let mut rest = bytes;
    let number = |rest: &mut &[u8]| {
        let mut value = 0;
        for place in 0.. {
            let byte = rest[0];
            *rest = &rest[1..];
            value |= u64::from(byte & 0x7f) << (7 * place);
            if byte < 0x80 {
                break;
            }
        }
        value
    };
    while !rest.is_empty() {
        let key = number(&mut rest);
        let size = match key & 7 {
            0 => {
                number(&mut rest);
                0
            }
            2 => number(&mut rest) as usize,
            5 => 4,
            other => panic!("a field of type {other}"),
        };
        found.push((key >> 3, &rest[..size]));
        rest = &rest[size..];
    }
    found
}

/// How often each operator is in the model.
fn operators(model: &[u8]) -> BTreeMap<String, usize> {
    let graph = fields(model).into_iter().find(|(field, _)| *field == 7).unwrap().1;
    let mut counts = BTreeMap::new();
    for (_, node) in fields(graph).into_iter().filter(|(field, _)| *field == 1) {
        let name = fields(node).into_iter().find(|(field, _)| *field == 4).unwrap().1;
        *counts.entry(String::from_utf8(name.to_vec()).unwrap()).or_default() += 1;
    }
    counts
}

fn graph(model: &str, side: usize) -> Graph {
    let spec: ModelSpec = model.parse().unwrap();
    let input = InputShape {
        channels: 3,
        height: side,
        width: side,
        classes: CLASSES,
    };
    spec.build(&input, Mode::Eval).unwrap().graph
}

#[test]
fn the_operators_are_those_of_the_network() {
    let graph = graph("resnet8", 16);
    let tensors = tensors(&graph);
    let route = graph.default_route();
    let options = OnnxOptions::default();
    let plain = operators(&export(&graph, &route, &tensors, &options).unwrap());
    assert_eq!(
        (plain["Conv"], plain["BatchNormalization"], plain["Add"], plain["Gemm"]),
        (7, 7, 3, 1)
    );
    // Two shortcuts subsample and pad.
    assert_eq!((plain["Slice"], plain["Pad"]), (2, 2));
    let folded = OnnxOptions {
        fold_batch_norm: true,
        normalization: Some([vec![0.5; 3], vec![0.25; 3]]),
        ..options.clone()
    };
    let folded = operators(&export(&graph, &route, &tensors, &folded).unwrap());
    assert_eq!((folded["Conv"], folded.get("BatchNormalization")), (7, None));
    assert_eq!((folded["Sub"], folded["Div"]), (1, 1));
    // A deleted block has no operators, a scaled one has a product more.
    let mut route = route;
    route.set(BlockId(0), Gains::DELETED);
    route.set(BlockId(1), Gains::both(0.5, 1.0));
    let routed = operators(&export(&graph, &route, &tensors, &options).unwrap());
    assert_eq!((routed["Conv"], routed["Add"], routed["Mul"]), (5, 2, 1));
    let mut missing = tensors.clone();
    missing.remove("fc.bias");
    let error = export(&graph, &route, &missing, &options).unwrap_err();
    assert!(error.to_string().contains("fc.bias"), "{error}");
}

#[test]
fn every_family_is_written() {
    for (model, side) in MODELS {
        let graph = graph(model, side);
        let (tensors, route) = (tensors(&graph), graph.default_route());
        for fold_batch_norm in [false, true] {
            let options = OnnxOptions {
                fold_batch_norm,
                ..OnnxOptions::default()
            };
            let written = export(&graph, &route, &tensors, &options);
            assert!(written.is_ok(), "{model}: {}", written.unwrap_err());
        }
    }
}

#[test]
fn onnxruntime_computes_the_same() {
    let Some(python) = std::env::var_os(PYTHON) else {
        println!("SKIPPED: {PYTHON} names no Python with onnx and onnxruntime");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/onnx_logits.py");
    for (model, side) in MODELS {
        let graph = graph(model, side);
        let tensors = tensors(&graph);
        let mut route = graph.default_route();
        if graph.means.is_empty() {
            route.set(BlockId(graph.blocks.len() - 1), Gains::both(0.75, 1.0));
        }
        let images = values(IMAGES * 3 * side * side, 77);
        let expected = truth(&graph, &route, &tensors, &images);
        let paths = ["model.onnx", "images.raw", "logits.raw"].map(|name| folder.path().join(name));
        std::fs::write(
            &paths[1],
            images.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>(),
        )
        .unwrap();
        for fold_batch_norm in [false, true] {
            let options = OnnxOptions {
                fold_batch_norm,
                ..OnnxOptions::default()
            };
            std::fs::write(&paths[0], export(&graph, &route, &tensors, &options).unwrap()).unwrap();
            let output = Command::new(&python).arg(&script).args(&paths).output().unwrap();
            assert!(
                output.status.success(),
                "{model}: {}",
                String::from_utf8_lossy(&output.stderr)
            );
            let bytes = std::fs::read(&paths[2]).unwrap();
            let logits: Vec<f64> = bytes
                .chunks_exact(4)
                .map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap()).into())
                .collect();
            assert_eq!(logits.len(), expected.len(), "{model}");
            let square = |values: &mut dyn Iterator<Item = f64>| values.map(|value| value * value).sum::<f64>().sqrt();
            let norm = square(&mut expected.iter().copied());
            let difference = square(&mut logits.iter().zip(&expected).map(|(a, b)| a - b)) / norm;
            println!("{model}, folded {fold_batch_norm}: {difference:.1e} of the norm {norm:.2e}");
            assert!(difference < 1e-5, "{model}, folded {fold_batch_norm}: {difference}");
        }
    }
}
