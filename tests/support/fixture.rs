//! What is compared with PyTorch? Initial weights, images and labels, drawn by the
//! formulas of `tests/fixtures/make_parity.py`, and the fixtures that this script
//! wrote. `tests/fixtures/README.md` describes the files.

use std::path::Path;

use residua::graph::Graph;
use residua::random::Philox;
use safetensors::{Dtype, SafeTensors};
use sha2::{Digest, Sha256};

/// Seed of everything drawn here.
const SEED: u64 = 2016;

/// Last counter word of each kind of draw.
const WEIGHTS: u32 = 1;
const PATTERN: u32 = 2;
const NOISE: u32 = 3;
const LABELS: u32 = 4;
const SIGNS: u32 = 5;
const VARIED: u32 = 6;

/// Channel means of CIFAR-10.
pub const MEAN: [f32; 3] = [0.4914, 0.4822, 0.4465];
/// Channel standard deviations of CIFAR-10.
pub const STD: [f32; 3] = [0.2470, 0.2435, 0.2616];

/// Images are `3×SIDE×SIDE`.
pub const SIDE: usize = 32;
/// Number of classes.
pub const CLASSES: usize = 10;

/// Initial value of the tensor `name` (`layer1.0.conv1.weight`): uniform within
/// `√(6 / fan_in)` for the weights of convolutions and within `1 / √in` for those
/// of linear layers; γ = 1, β and biases 0. The name selects the random stream,
/// so the order of tensors does not matter.
pub fn weight(name: &str, dims: &[usize]) -> Vec<f32> {
    let count: usize = dims.iter().product();
    let fan_in = dims[1..].iter().product::<usize>() as f64;
    let bound = match dims.len() {
        1 => return vec![if name.ends_with(".weight") { 1.0 } else { 0.0 }; count],
        2 => 1.0 / fan_in.sqrt(),
        _ => (6.0 / fan_in).sqrt(),
    };
    let stream = fnv1a(name);
    let words = (0..count.div_ceil(4) as u32).flat_map(|quad| draw([quad, stream, 0, WEIGHTS]));
    let unit = |word: u32| f64::from(word >> 8) * 2f64.powi(-23) - 1.0;
    words.take(count).map(|word| (unit(word) * bound) as f32).collect()
}

/// As [`weight`] for weights; γ from ¾ to 1¼, β and biases from −¼ to ¼, so that
/// none of them is without effect.
pub fn varied(name: &str, dims: &[usize]) -> Vec<f32> {
    if dims.len() > 1 {
        return weight(name, dims);
    }
    let stream = fnv1a(name);
    let words = (0..dims[0].div_ceil(4) as u32).flat_map(|quad| draw([quad, stream, 0, VARIED]));
    let centre = if name.ends_with(".weight") { 1.0 } else { 0.0 };
    let unit = |word: u32| f64::from(word >> 8) * 2f64.powi(-23) - 1.0;
    words
        .take(dims[0])
        .map(|word| (unit(word) / 4.0 + centre) as f32)
        .collect()
}

/// The Euclidean norm of a tensor, and its products with three vectors of signs
/// that belong to its name. The mean square of the products with a difference of
/// two tensors is on average the square of that difference's norm.
pub fn sketch(name: &str, values: &[f64]) -> [f64; 4] {
    let stream = fnv1a(name);
    let mut sums = [0.0; 4];
    for (quad, four) in (0u32..).zip(values.chunks(4)) {
        for (value, word) in four.iter().zip(draw([quad, stream, 0, SIGNS])) {
            sums[0] += value * value;
            for (bit, sum) in sums[1..].iter_mut().enumerate() {
                *sum += if word >> bit & 1 == 0 { *value } else { -value };
            }
        }
    }
    sums[0] = sums[0].sqrt();
    sums
}

/// Initial values of every parameter of `graph`, by `ParamId` and in its
/// layout.
pub fn params(graph: &Graph) -> Vec<Vec<f32>> {
    let values = |tensors: Vec<(String, Vec<usize>)>| tensors.iter().flat_map(|(n, d)| weight(n, d)).collect();
    graph.params.iter().map(|param| values(param.tensors())).collect()
}

/// Running states before the first step, by `StateId`: means 0, variances 1.
pub fn states(graph: &Graph) -> Vec<Vec<f32>> {
    let fresh = |channels: usize| {
        (0..2 * channels)
            .map(|i| if i < channels { 0.0 } else { 1.0 })
            .collect()
    };
    graph.states.iter().map(|state| fresh(state.channels)).collect()
}

/// Batch number `step` (from 0): the bytes of `batch` images, `N×3×32×32`,
/// and their labels. A pixel is the mean of noise and of a coarse pattern of its
/// class (2×2 cells of equal size, for each colour).
pub fn image_batch(step: usize, batch: usize) -> (Vec<u8>, Vec<u32>) {
    images_of(SIDE, step, batch)
}

/// The same with images `N×3×side×side`; `side` is a multiple of 4.
pub fn images_of(side: usize, step: usize, batch: usize) -> (Vec<u8>, Vec<u32>) {
    let image = 3 * side * side;
    let pattern: Vec<Vec<u8>> = (0..CLASSES as u32).map(|class| bytes(1, [class, 0, PATTERN])).collect();
    let mut images = Vec::with_capacity(batch * image);
    let mut labels = Vec::with_capacity(batch);
    for n in (step * batch..(step + 1) * batch).map(|n| n as u32) {
        let label = draw([n, 0, 0, LABELS])[0] % CLASSES as u32;
        let coarse = |i: usize| {
            let (channel, row, column) = (i / side / side, i / side % side, i % side);
            let half = side / 2;
            pattern[label as usize][channel * 4 + row / half * 2 + column / half]
        };
        let noise = bytes(image as u32 / 16, [n, 0, NOISE]);
        let mixed = noise.iter().enumerate();
        images.extend(mixed.map(|(i, &noise)| ((u16::from(coarse(i)) + u16::from(noise)) / 2) as u8));
        labels.push(label);
    }
    (images, labels)
}

/// `(b/255 − mean) / std` in f32.
pub fn normalise(images: &[u8]) -> Vec<f32> {
    let channel = |i: usize| i / (SIDE * SIDE) % 3;
    let value = |(i, &byte): (usize, &u8)| (f32::from(byte) / 255.0 - MEAN[channel(i)]) / STD[channel(i)];
    images.iter().enumerate().map(value).collect()
}

fn draw(counter: [u32; 4]) -> [u32; 4] {
    Philox::new(SEED).block(counter)
}

/// The bytes, little-endian, of the draws `0..blocks` under the other three
/// counter words.
fn bytes(blocks: u32, [a, b, c]: [u32; 3]) -> Vec<u8> {
    (0..blocks)
        .flat_map(|block| draw([block, a, b, c]))
        .flat_map(u32::to_le_bytes)
        .collect()
}

/// 32-bit FNV-1a.
fn fnv1a(name: &str) -> u32 {
    let step = |value: u32, byte: u8| (value ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    name.bytes().fold(0x811C_9DC5, step)
}

/// What PyTorch computed for one network.
pub struct Fixture {
    file: Vec<u8>,
}

impl Fixture {
    /// The fixture of the network `name`.
    pub fn load(name: &str) -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
        let file = std::fs::read(folder.join(format!("{name}.safetensors"))).unwrap();
        Fixture { file }
    }

    fn read(&self) -> SafeTensors<'_> {
        SafeTensors::deserialize(&self.file).unwrap()
    }

    /// A metadata entry.
    pub fn note(&self, key: &str) -> String {
        let (_, metadata) = SafeTensors::read_metadata(&self.file).unwrap();
        metadata.metadata().as_ref().unwrap()[key].clone()
    }

    /// Images in a batch.
    pub fn batch(&self) -> usize {
        self.note("batch").parse().unwrap()
    }

    /// Number of steps that the losses cover.
    pub fn steps(&self) -> usize {
        self.note("steps").parse().unwrap()
    }

    /// A tensor of any stored type, in f64.
    pub fn tensor(&self, name: &str) -> Vec<f64> {
        let file = self.read();
        let view = file.tensor(name).unwrap_or_else(|error| panic!("{name}: {error}"));
        let data = view.data();
        match view.dtype() {
            Dtype::F64 => data.as_chunks().0.iter().map(|b| f64::from_le_bytes(*b)).collect(),
            Dtype::F32 => data
                .as_chunks()
                .0
                .iter()
                .map(|b| f32::from_le_bytes(*b).into())
                .collect(),
            Dtype::I16 => data
                .as_chunks()
                .0
                .iter()
                .map(|b| i16::from_le_bytes(*b).into())
                .collect(),
            other => panic!("{name}: type {other:?} is not used in fixtures"),
        }
    }

    /// The same, if the fixture has it.
    pub fn optional(&self, name: &str) -> Option<Vec<f64>> {
        let exists = self.read().tensor(name).is_ok();
        exists.then(|| self.tensor(name))
    }

    /// Mean losses of each step in PyTorch's f32 run.
    pub fn losses_f32(&self) -> Vec<f64> {
        self.tensor("losses")
    }

    /// Mean losses of each step in PyTorch's f64 run.
    pub fn losses_f64(&self) -> Vec<f64> {
        self.tensor("losses64")
    }

    /// The batch of the gradients, as arguments of [`image_batch`]: a small one
    /// in which no ReLU has an input close to 0, so that f32 can be compared
    /// with small tolerances.
    pub fn probe(&self) -> (usize, usize) {
        let number = |key| self.note(key).parse().unwrap();
        (number("probe_step"), number("probe_batch"))
    }

    /// The mean loss of the probe, under the initial weights, from the f64 run.
    pub fn probe_loss(&self) -> f64 {
        self.tensor("probe_loss")[0]
    }

    /// The gradient of the probe's mean loss with respect to a tensor (`images`:
    /// to the first image) with the initial weights, from the f64 run: exact in
    /// the small fixtures, within peak/65534 in the large ones.
    pub fn gradient(&self, tensor: &str) -> Vec<f64> {
        let scale = self.optional(&format!("scale.{tensor}")).map_or(1.0, |scale| scale[0]);
        let values = self.tensor(&format!("grad.{tensor}"));
        values.iter().map(|value| value * scale).collect()
    }

    /// The difference of PyTorch's own f32 gradient to [`Fixture::gradient`]: the
    /// largest difference over the largest magnitude.
    pub fn f32_error(&self, tensor: &str) -> f64 {
        self.tensor(&format!("f32_error.{tensor}"))[0]
    }

    /// The Euclidean norm of a tensor's gradient at the first step, on the
    /// whole batch, from the f64 run.
    pub fn first_step_norm(&self, tensor: &str) -> f64 {
        self.tensor(&format!("norm.{tensor}"))[0]
    }

    /// The mean loss of the first batch in evaluation, with the initial weights
    /// and the running statistics after the first step.
    pub fn eval_loss(&self) -> f64 {
        self.tensor("eval_loss")[0]
    }

    /// Panics unless the values drawn here are those that PyTorch was given: bytes
    /// and labels of all steps, the first normalised batch, and the initial
    /// weights of `graph`.
    pub fn check_digests(&self, graph: &Graph) {
        let batches: Vec<_> = (0..self.steps()).map(|step| image_batch(step, self.batch())).collect();
        let normalised = normalise(&batches[0].0);
        let mut tensors: Vec<_> = graph.params.iter().flat_map(|param| param.tensors()).collect();
        tensors.sort();
        let weights = tensors.iter().flat_map(|(name, dims)| weight(name, dims));
        let digests = [
            (
                "images",
                digest(batches.iter().flat_map(|(images, _)| images.iter().map(|&b| [b]))),
            ),
            (
                "labels",
                digest(
                    batches
                        .iter()
                        .flat_map(|(_, labels)| labels.iter().map(|l| l.to_le_bytes())),
                ),
            ),
            ("normalised", digest(normalised.iter().map(|x| x.to_le_bytes()))),
            ("weights", digest(weights.map(f32::to_le_bytes))),
        ];
        for (what, digest) in digests {
            assert_eq!(
                digest,
                self.note(&format!("{what}_sha256")),
                "{what} differ from PyTorch's"
            );
        }
    }
}

/// SHA-256 in hexadecimal digits.
pub fn digest<const N: usize>(values: impl Iterator<Item = [u8; N]>) -> String {
    let bytes: Vec<u8> = values.flatten().collect();
    Sha256::digest(&bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// Largest difference over largest magnitude of `truth`.
pub fn peak_error(found: &[f64], truth: &[f64]) -> f64 {
    assert_eq!(found.len(), truth.len());
    let peak = truth.iter().fold(0.0, |peak: f64, value| peak.max(value.abs()));
    let apart = found.iter().zip(truth).map(|(found, truth)| (found - truth).abs());
    let worst = apart.fold(
        0.0,
        |worst: f64, next| if next > worst || next.is_nan() { next } else { worst },
    );
    worst / peak.max(f64::MIN_POSITIVE)
}
