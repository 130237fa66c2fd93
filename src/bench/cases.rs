//! Which kernels are measured, at which shapes?
//!
//! Those of a training step of ResNet-20, of WRN-16-4 and of the first stage
//! of WRN-28-10, the grouped convolutions of ResNeXt, a depthwise one, and the
//! stem of networks for ImageNet. They are the same on every device, so that results can be
//! compared. In names, `-dgrad` is the input gradient and `-wgrad` the weight
//! gradient.

use super::BenchError;
use super::workbench::KernelWorkload;
use crate::graph::{Conv, Precision, Shape};
use crate::kernels::{Algorithm, GatherChanges, ImagePart, Operand, Pointwise, Pooling, Target, Work, gather, sgd};
use crate::schedule::KernelChoices;

/// A kernel at a shape.
#[derive(Debug, Clone)]
pub struct Case {
    /// Its dispatches, under its name.
    pub workload: KernelWorkload,
    /// The shapes of its inputs and output, for people.
    pub shape: String,
    /// Bytes of inputs and outputs, each counted once; twice for what is changed
    /// in place.
    pub bytes: u64,
    /// Multiply-adds of a convolution or linear layer.
    pub macs: u64,
    /// The algorithm, where there are several.
    pub algorithm: Option<CaseAlgorithm>,
}

/// One of several algorithms for an operation.
#[derive(Debug, Clone)]
pub struct CaseAlgorithm {
    /// The kernel.
    pub kernel: Algorithm,
    /// Whether it was chosen by timing; otherwise it is the default algorithm.
    pub tuned: bool,
    work: Work,
    inputs: Vec<Shape>,
    output: Shape,
    batch: usize,
}

impl Case {
    /// This case with the kernel of `choices`, where that is another one.
    fn tuned(&self, choices: &KernelChoices, target: &Target) -> Option<Case> {
        let algorithm = self.algorithm.as_ref()?;
        let inputs: Vec<&Shape> = algorithm.inputs.iter().collect();
        let signature = algorithm.work.signature(&inputs, &algorithm.output);
        let kernel = choices
            .algorithm(&signature, algorithm.batch)
            .filter(|kernel| *kernel != algorithm.kernel)?;
        let lowered = algorithm
            .work
            .lower_as(&kernel, &inputs, &algorithm.output, algorithm.batch, target)?;
        let mut case = self.clone();
        case.workload.name.push_str("-tuned");
        case.workload.calls = lowered.calls;
        case.algorithm = Some(CaseAlgorithm {
            kernel,
            tuned: true,
            ..algorithm.clone()
        });
        Some(case)
    }
}

/// `cases`, and after each the same with the kernel of `choices`, where that is
/// not the default algorithm.
pub fn with_choices(cases: Vec<Case>, choices: &KernelChoices, target: &Target) -> Vec<Case> {
    let both = |case: Case| {
        let tuned = case.tuned(choices, target);
        std::iter::once(case).chain(tuned)
    };
    cases.into_iter().flat_map(both).collect()
}

/// All cases, lowered for `target` as in training with activations in `precision`.
pub fn cases(target: &Target, precision: Precision) -> Vec<Case> {
    let setting = &Setting { target, precision };
    let mut cases: Vec<Case> = CONVOLUTIONS.iter().flat_map(|layer| layer.cases(setting)).collect();
    for (channels, side) in [(16, 32), (64, 8)] {
        cases.extend(norms(channels, side, setting));
    }
    cases.extend(pointwise(setting));
    cases.extend(head(setting));
    for parameters in [272_474, 2_748_890] {
        cases.push(update(parameters, target));
    }
    cases.push(gathering(setting));
    cases
}

/// What the cases are lowered for.
struct Setting<'a> {
    target: &'a Target,
    precision: Precision,
}

impl Setting<'_> {
    /// An activation, N × `dims`.
    fn activation(&self, dims: &[usize]) -> Shape {
        Shape::batched(dims).stored_in(self.precision)
    }
}

/// The name of a case in this version. Earlier ones wrote `input` for the input
/// gradient and `weights` for the weight gradient.
pub(super) fn current_name(name: &str) -> String {
    name.replace("input", "dgrad").replace("weights", "wgrad")
}

/// The cases whose names contain one of `wanted`; all cases where `wanted` is
/// empty.
pub fn select(cases: Vec<Case>, wanted: &[String]) -> Result<Vec<Case>, BenchError> {
    let wanted: Vec<(&String, String)> = wanted.iter().map(|part| (part, current_name(part))).collect();
    for (given, part) in &wanted {
        if !cases.iter().any(|case| case.workload.name.contains(part.as_str())) {
            let names: Vec<&str> = cases.iter().map(|case| case.workload.name.as_str()).collect();
            return Err(BenchError::NoSuchCase {
                wanted: (*given).clone(),
                names: names.join(", "),
            });
        }
    }
    let is_wanted = |case: &Case| {
        wanted.is_empty()
            || wanted
                .iter()
                .any(|(_, part)| case.workload.name.contains(part.as_str()))
    };
    Ok(cases.into_iter().filter(is_wanted).collect())
}

/// A convolution of a network, with the padding that keeps the plane.
struct Layer {
    name: &'static str,
    batch: usize,
    /// Input and output channels.
    channels: (usize, usize),
    kernel: usize,
    stride: usize,
    groups: usize,
    /// Input rows and columns.
    side: usize,
    /// Whether it is the first layer, whose input gradient is not needed.
    stem: bool,
}

const fn layer(name: &'static str, batch: usize, channels: (usize, usize), side: usize) -> Layer {
    Layer {
        name,
        batch,
        channels,
        kernel: 3,
        stride: 1,
        groups: 1,
        side,
        stem: false,
    }
}

const fn grouped(name: &'static str, batch: usize, channels: usize, side: usize, groups: usize) -> Layer {
    Layer {
        groups,
        ..layer(name, batch, (channels, channels), side)
    }
}

const CONVOLUTIONS: [Layer; 19] = [
    Layer {
        stem: true,
        ..layer("conv-stem", 128, (3, 16), 32)
    },
    layer("conv-16ch-32", 128, (16, 16), 32),
    layer("conv-32ch-16", 128, (32, 32), 16),
    layer("conv-64ch-8", 128, (64, 64), 8),
    layer("conv-160ch-32", 16, (160, 160), 32),
    Layer {
        stride: 2,
        ..layer("conv-16-32ch-32-s2", 128, (16, 32), 32)
    },
    Layer {
        stride: 2,
        ..layer("conv-32-64ch-16-s2", 128, (32, 64), 16)
    },
    Layer {
        kernel: 1,
        stride: 2,
        ..layer("conv1x1-16-32ch-32-s2", 128, (16, 32), 32)
    },
    Layer {
        kernel: 1,
        ..layer("conv1x1-16-64ch-32", 32, (16, 64), 32)
    },
    Layer {
        kernel: 1,
        stride: 2,
        ..layer("conv1x1-64-128ch-32-s2", 32, (64, 128), 32)
    },
    // Each stage of ResNeXt-29 4×64d, and the convolution without groups that
    // has as many multiply-adds.
    grouped("conv-256ch-32-g4", 16, 256, 32, 4),
    layer("conv-128ch-32", 16, (128, 128), 32),
    grouped("conv-512ch-16-g4", 16, 512, 16, 4),
    layer("conv-256ch-16", 16, (256, 256), 16),
    grouped("conv-1024ch-8-g4", 16, 1024, 8, 4),
    layer("conv-512ch-8", 16, (512, 512), 8),
    // The first stage of ResNeXt-50 32×4d.
    grouped("conv-128ch-56-g32", 4, 128, 56, 32),
    grouped("conv-128ch-32-depthwise", 32, 128, 32, 128),
    // The stem of networks for ImageNet.
    Layer {
        kernel: 7,
        stride: 2,
        stem: true,
        ..layer("conv7x7-3-64ch-224-s2", 4, (3, 64), 224)
    },
];

impl Layer {
    /// Forward, input gradient, weight gradient.
    fn cases(&self, setting: &Setting) -> Vec<Case> {
        let conv = Conv {
            kernel: self.kernel,
            stride: self.stride,
            padding: self.kernel / 2,
            groups: self.groups,
        };
        let (c, k) = (self.channels.0 / self.groups, self.channels.1);
        let side = self.side.div_ceil(self.stride);
        let x = setting.activation(&[self.channels.0, self.side, self.side]);
        let y = setting.activation(&[k, side, side]);
        let weight = Shape::fixed(&[k, c, self.kernel, self.kernel]);
        let window = match (self.kernel, self.stride) {
            (kernel, 1) => format!("{kernel}×{kernel}"),
            (kernel, stride) => format!("{kernel}×{kernel}/{stride}"),
        };
        let groups = match self.groups {
            1 => String::new(),
            groups => format!(", {groups} groups"),
        };
        let shape = format!("{} → {}, {window}{groups}", dims(&x, self.batch), dims(&y, self.batch));
        let macs = (self.batch * y.per_image() * c * self.kernel * self.kernel) as u64;
        let case = |suffix: &str, work: Work, inputs: &[&Shape], output: &Shape| Case {
            shape: shape.clone(),
            macs,
            ..case(
                &format!("{}{suffix}", self.name),
                work,
                inputs,
                output,
                self.batch,
                setting,
            )
        };
        let mut cases = vec![case("", Work::Conv { conv, bias: false }, &[&x, &weight], &y)];
        if !self.stem {
            cases.push(case("-dgrad", Work::ConvInputGradient(conv), &[&y, &weight], &x));
        }
        cases.push(case("-wgrad", Work::ConvWeightGradient(conv), &[&x, &y], &weight));
        cases
    }
}

/// `128×16×32×32`.
fn dims(shape: &Shape, batch: usize) -> String {
    shape.to_string().replace('N', &batch.to_string())
}

/// The case of `work` for `batch` images. Its shape is that of the output.
fn case(name: &str, work: Work, inputs: &[&Shape], output: &Shape, batch: usize, setting: &Setting) -> Case {
    let target = setting.target;
    let read: u64 = inputs.iter().map(|shape| shape.bytes(batch)).sum();
    let default = work.algorithms(inputs, output, target).first().copied();
    Case {
        algorithm: default.map(|kernel| CaseAlgorithm {
            kernel,
            tuned: false,
            work,
            inputs: inputs.iter().copied().cloned().collect(),
            output: output.clone(),
            batch,
        }),
        workload: KernelWorkload {
            name: name.to_string(),
            calls: work.lower(inputs, output, batch, target).calls,
            contents: Vec::new(),
        },
        shape: dims(output, batch),
        bytes: read + output.bytes(batch),
        macs: 0,
    }
}

/// Batch norm as in blocks, forward and backward.
fn norms(channels: usize, side: usize, setting: &Setting) -> Vec<Case> {
    const BATCH: usize = 128;
    let x = &setting.activation(&[channels, side, side]);
    let rows = &Shape::fixed(&[2, channels]);
    let case = |kind: &str, work: Work, inputs: &[&Shape], output: &Shape| Case {
        shape: dims(x, BATCH),
        ..case(
            &format!("norm-{kind}-{channels}ch-{side}"),
            work,
            inputs,
            output,
            BATCH,
            setting,
        )
    };
    let normalize = |relu: bool, join: Option<bool>| Work::Normalize { relu, join };
    vec![
        case(
            "statistics",
            Work::BatchStats {
                eps: 1e-5,
                momentum: 0.1,
            },
            &[x],
            rows,
        ),
        case("relu", normalize(true, None), &[x, rows, rows], x),
        case("join-relu", normalize(false, Some(true)), &[x, rows, rows, x], x),
        case(
            "sums",
            Work::NormParamGradients { relu: true },
            &[x, x, rows, rows],
            rows,
        ),
        case(
            "dgrad",
            Work::NormInputGradient {
                relu: true,
                batch_stats: true,
            },
            &[x, x, rows, rows, rows],
            x,
        ),
    ]
}

/// Elementwise kernels, on the largest activation of ResNet-20.
fn pointwise(setting: &Setting) -> Vec<Case> {
    const BATCH: usize = 128;
    let x = &setting.activation(&[16, 32, 32]);
    let case = |name: &str, kernel: Pointwise, inputs: &[&Shape]| {
        case(
            &format!("{name}-16ch-32"),
            Work::Pointwise(kernel),
            inputs,
            x,
            BATCH,
            setting,
        )
    };
    vec![
        case("relu", Pointwise::Relu, &[x]),
        case("relu-dgrad", Pointwise::ReluGrad, &[x, x]),
        case("join-relu", Pointwise::Join { relu: true }, &[x, x]),
        case("add", Pointwise::Add, &[x, x]),
        // It also reads its output.
        case("accumulate", Pointwise::Accumulate, &[x, x]),
    ]
}

/// What follows the last block of ResNet-20.
fn head(setting: &Setting) -> Vec<Case> {
    const BATCH: usize = 128;
    const CLASSES: usize = 10;
    const FEATURES: usize = 64;
    let plane = &setting.activation(&[FEATURES, 8, 8]);
    let x = &setting.activation(&[FEATURES]);
    // Logits stay in 32 bits.
    let logits = &Shape::batched(&[CLASSES]);
    let weight = &Shape::fixed(&[CLASSES, FEATURES]);
    let bias = &Shape::fixed(&[CLASSES]);
    let case =
        |name: &str, work: Work, inputs: &[&Shape], output: &Shape| case(name, work, inputs, output, BATCH, setting);
    let linear = |name: &str, work: Work, inputs: &[&Shape], output: &Shape| Case {
        shape: format!("{} → {}", dims(x, BATCH), dims(logits, BATCH)),
        macs: (BATCH * FEATURES * CLASSES) as u64,
        ..case(name, work, inputs, output)
    };
    let pool = |name: &str, work: Pooling, input: &Shape, output: &Shape| Case {
        shape: dims(plane, BATCH),
        ..case(name, Work::Pool(work), &[input], output)
    };
    vec![
        pool("pool", Pooling::Global, plane, x),
        pool("pool-dgrad", Pooling::GlobalGrad, x, plane),
        linear("linear", Work::Linear { bias: true }, &[x, weight, bias], logits),
        linear("linear-dgrad", Work::LinearInputGradient, &[logits, weight], x),
        linear("linear-wgrad", Work::LinearWeightGradient, &[x, logits], weight),
    ]
}

/// The update of all parameters of a network: ResNet-20 or WRN-16-4.
fn update(parameters: u64, target: &Target) -> Case {
    let bytes = (4 * parameters).next_multiple_of(16);
    Case {
        workload: KernelWorkload {
            name: format!("sgd-{parameters}"),
            calls: sgd(bytes, bytes, false, false, target),
            contents: Vec::new(),
        },
        shape: parameters.to_string(),
        // Parameters and momenta are read and written, gradients read.
        bytes: 5 * bytes,
        macs: 0,
        algorithm: None,
    }
}

/// A batch of crops from resident images.
fn gathering(setting: &Setting) -> Case {
    const BATCH: usize = 128;
    const IMAGES: usize = 1024;
    let dims = [3, 32, 32];
    let pixels = dims.iter().product::<usize>();
    let part = ImagePart {
        first: 0,
        bytes: (IMAGES * pixels) as u64,
    };
    // Images from all parts of the set, with all crops; every second one is
    // flipped.
    let draw = |index: u32| {
        let (across, down, flip) = (index % 9, index / 9 % 9, index % 2);
        [index * 389 % IMAGES as u32, across | down << 8 | flip << 16]
    };
    let scale = [0.02_f32.to_bits(), (-2.0_f32).to_bits()];
    Case {
        workload: KernelWorkload {
            name: "gather".to_string(),
            calls: gather(
                &part,
                IMAGES,
                &setting.activation(&dims),
                (4, false),
                GatherChanges::default(),
                BATCH,
                setting.target,
            ),
            contents: vec![
                (Operand::Input(0), (0..(IMAGES * pixels / 4) as u32).collect()),
                (Operand::Input(1), (0..IMAGES as u32).map(|index| index % 10).collect()),
                (Operand::Input(2), (0..BATCH as u32).flat_map(draw).collect()),
                (Operand::Input(3), scale.repeat(3)),
            ],
        },
        shape: format!("{BATCH}×3×32×32"),
        // For each value one byte is read and one value is written; then draws
        // and labels.
        bytes: (BATCH * (pixels + 8 + 8)) as u64 + setting.activation(&dims).bytes(BATCH),
        macs: 0,
        algorithm: None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::schedule::TunedKernel;

    #[test]
    fn the_work_is_what_the_kernels_report() {
        let settings = [true, false].map(|cpu| [(cpu, Precision::F32), (cpu, Precision::F16)]);
        for (cpu, precision) in settings.into_iter().flatten() {
            for case in cases(&Target::portable(cpu), precision) {
                let macs: u64 = case.workload.calls.iter().map(|call| call.macs).sum();
                // Kernels that divide a layer may lose the remainder.
                assert!(
                    case.macs.abs_diff(macs) <= case.macs / 1000,
                    "{}: {} and {macs}",
                    case.workload.name,
                    case.macs
                );
                assert!(
                    !case.workload.calls.is_empty() && case.bytes > 0,
                    "{}",
                    case.workload.name
                );
            }
        }
    }

    #[test]
    fn names_are_distinct_and_the_same_everywhere() {
        let names = |cpu| {
            cases(&Target::portable(cpu), Precision::F32)
                .into_iter()
                .map(|case| case.workload.name)
        };
        let cpu: Vec<String> = names(true).collect();
        assert_eq!(cpu, names(false).collect::<Vec<_>>());
        assert_eq!(cpu.iter().collect::<HashSet<_>>().len(), cpu.len());
    }

    #[test]
    fn chosen_kernels_follow_the_default_ones() {
        let target = Target::portable(true);
        let wanted = ["conv-16ch-32-wgrad".into(), "linear-wgrad".into(), "add-16ch".into()];
        let defaults = select(cases(&target, Precision::F32), &wanted).unwrap();
        let kernel = |index: usize| defaults[index].algorithm.as_ref().map(|algorithm| algorithm.kernel);
        assert_eq!((defaults.len(), kernel(1)), (3, None));
        let mut choices = KernelChoices::default();
        let work = "weight gradient 3x3 stride 1 padding 1, N×16×32×32 to N×16×32×32";
        let strip: Algorithm = "wgrad strips 4x4x2 splits 64 wg 64".parse().unwrap();
        choices.set(work, 128, TunedKernel::untimed(strip));
        // A default algorithm that was also chosen is measured once.
        let square = kernel(2).unwrap();
        choices.set(
            "linear weight gradient, N×64 to N×10",
            128,
            TunedKernel::untimed(square),
        );
        let both = with_choices(defaults, &choices, &target);
        let algorithms = both.iter().map(|case| {
            (
                case.workload.name.as_str(),
                case.algorithm.as_ref().map(|algorithm| algorithm.tuned),
            )
        });
        assert_eq!(
            algorithms.collect::<Vec<_>>(),
            [
                ("conv-16ch-32-wgrad", Some(false)),
                ("conv-16ch-32-wgrad-tuned", Some(true)),
                ("add-16ch-32", None),
                ("linear-wgrad", Some(false)),
            ]
        );
        assert_eq!(
            both[1].algorithm.as_ref().map(|algorithm| algorithm.kernel),
            Some(strip)
        );
        assert!(both[1].workload.calls != both[0].workload.calls && both[1].macs == both[0].macs);
    }

    #[test]
    fn parts_of_names_choose_cases() {
        let chosen = select(
            cases(&Target::portable(true), Precision::F32),
            &["conv-16ch-32".into(), "sgd-27".into()],
        )
        .unwrap();
        let names: Vec<&str> = chosen.iter().map(|case| case.workload.name.as_str()).collect();
        assert_eq!(
            names,
            [
                "conv-16ch-32",
                "conv-16ch-32-dgrad",
                "conv-16ch-32-wgrad",
                "sgd-272474",
                "sgd-2748890"
            ]
        );
        // Names of an earlier version, too.
        let earlier = ["conv-16ch-32-weights".into(), "pool-input".into()];
        let chosen = select(cases(&Target::portable(true), Precision::F32), &earlier).unwrap();
        let names: Vec<&str> = chosen.iter().map(|case| case.workload.name.as_str()).collect();
        assert_eq!(names, ["conv-16ch-32-wgrad", "pool-dgrad"]);
        let error = select(cases(&Target::portable(true), Precision::F32), &["lstm".into()])
            .unwrap_err()
            .to_string();
        assert!(error.contains("'lstm'") && error.contains("conv-stem"), "{error}");
    }
}
