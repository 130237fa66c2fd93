//! Is every shader portable? The files as they stand, and every variant that
//! a few networks need on processors and GPUs, are valid WGSL without special
//! capabilities, within the default limits of wgpu, without atomic floats and
//! without arrays that a driver could not keep in registers, and naga writes
//! them as SPIR-V, MSL and HLSL. Two exceptions, for processors only: some files
//! use subgroups, and some variants load eight values at once as 64-bit
//! integers. No device is needed.

use std::collections::{BTreeMap, BTreeSet};

use naga::back::{hlsl, msl, spv};
use naga::proc::Layouter;
use naga::valid::{Capabilities, FunctionInfo, ModuleInfo, ValidationFlags, Validator};
use naga::{AddressSpace, Expression, Function, Handle, Module, Scalar, ScalarKind, TypeInner};
use rayon::prelude::*;
use residua::graph::{Conv, Graph, Init, Mode, NodeId, Pool, Precision, Recompute, Shape};
use residua::kernels::{
    self, Call, GatherChanges, ImagePart, MultiplyAddShape, Pointwise, StreamShape, Target, Value, Variant, Work,
};
use residua::models::{InputShape, ModelSpec};
use residua::schedule;
use residua::tuning;

use crate::support::variants;

/// wgpu's default limits, which every adapter has.
const STORAGE_BUFFERS: usize = 8;
const WORKGROUP_MEMORY: u32 = 16 << 10;
const INVOCATIONS: u32 = 256;
const WORKGROUPS: u32 = 65_535;

/// Networks that together use every kernel but those of `others`.
const MODELS: [(&str, [usize; 3]); 8] = [
    ("resnet20", [3, 32, 32]),
    ("resnet20:shortcut=A-avg", [3, 32, 32]),
    ("resnet8:shortcut=A-end", [3, 28, 28]),
    ("resnet20:shortcut=B", [3, 32, 32]),
    ("resnet20:shortcut=C", [3, 32, 32]),
    ("wrn-16-2:dropout=0.3", [3, 32, 32]),
    ("preact-164", [3, 8, 8]),
    ("vgg15-128", [3, 16, 16]),
];

/// How activations may be stored.
const PRECISIONS: [Precision; 2] = [Precision::F32, Precision::F16];

/// GPUs, and processors with vectors of every width, for which everything that the
/// tuner may choose is checked.
fn tuned_targets() -> Vec<Target> {
    let processor = |subgroup_size| Target {
        subgroup_size,
        wide_loads: true,
        ..Target::portable(true)
    };
    let gpu = Target::portable(false);
    vec![gpu, processor(4), processor(8), processor(16)]
}

/// A processor, one with load8, one without subgroups, and a GPU.
fn targets() -> [Target; 4] {
    let processor = Target::portable(true);
    let wide = Target {
        wide_loads: true,
        ..processor
    };
    let alone = Target {
        subgroup_size: 0,
        ..processor
    };
    [processor, wide, alone, Target::portable(false)]
}

fn parse(source: &str) -> Result<Module, String> {
    naga::front::wgsl::parse_str(source).map_err(|error| error.emit_to_string(source))
}

/// Capabilities that the variant of `call` may need.
fn needed(call: &Call) -> Capabilities {
    let constants = &call.variant.constants;
    let loads_eight = |(name, value): &(&str, Value)| name.ends_with('8') && *value == Value::Bool(true);
    let mut all = Capabilities::empty();
    all.set(Capabilities::SUBGROUP, variants::exchanges(call.variant.file));
    all.set(Capabilities::SHADER_FLOAT16, has_halves(call));
    all.set(Capabilities::SHADER_INT64, constants.iter().any(loads_eight));
    all
}

/// Whether the variant of `call` reads or writes 16-bit floats.
fn has_halves(call: &Call) -> bool {
    let is_half = |value: &Value| matches!(value, Value::Type(name) if name.contains("f16"));
    call.variant.constants.iter().any(|(_, value)| is_half(value))
}

fn validate(source: &str, module: &Module, capabilities: Capabilities) -> Result<ModuleInfo, String> {
    let mut validator = Validator::new(ValidationFlags::all(), capabilities);
    let info = validator.validate(module);
    info.map_err(|error| error.emit_to_string(source))
}

/// Reasons why `source` does not run on every adapter with `capabilities`. A
/// `specialised` shader must also stay within the limits, and keep its arrays
/// in registers.
fn problems(source: &str, specialised: bool, capabilities: Capabilities) -> Vec<String> {
    let module = match parse(source) {
        Ok(module) => module,
        Err(error) => return vec![error],
    };
    let info = match validate(source, &module, capabilities) {
        Ok(info) => info,
        Err(error) => return vec![error],
    };
    // A file has bindings for all widths of loads, a variant only those it uses.
    let mut problems = match specialised {
        true => over_the_limits(&module, &info),
        false => Vec::new(),
    };
    for (_, ty) in module.types.iter() {
        if let TypeInner::Atomic(Scalar {
            kind: ScalarKind::Float | ScalarKind::AbstractFloat,
            ..
        }) = ty.inner
        {
            problems.push("an atomic float".into());
        }
    }
    if specialised {
        let entries = module.entry_points.iter().map(|entry| &entry.function);
        for function in module.functions.iter().map(|(_, function)| function).chain(entries) {
            problems.extend(indexed_at_run_time(&module, function));
        }
    }
    problems.extend(computed_in_halves(&module, &info));
    problems.extend(unwritable(&module, &info));
    problems
}

fn over_the_limits(module: &Module, info: &ModuleInfo) -> Vec<String> {
    let mut problems = Vec::new();
    let mut layouter = Layouter::default();
    layouter.update(module.to_ctx()).expect("a valid module has a layout");
    for (index, entry) in module.entry_points.iter().enumerate() {
        let uses = info.get_entry_point(index);
        let used = module
            .global_variables
            .iter()
            .filter(|(handle, _)| !uses[*handle].is_empty());
        let (mut buffers, mut memory) = (0, 0);
        for (_, variable) in used {
            match variable.space {
                AddressSpace::Storage { .. } => buffers += 1,
                AddressSpace::WorkGroup => memory += layouter[variable.ty].size,
                _ => {}
            }
        }
        let name = &entry.name;
        if buffers > STORAGE_BUFFERS {
            problems.push(format!("{name}: {buffers} storage buffers"));
        }
        if memory > WORKGROUP_MEMORY {
            problems.push(format!("{name}: {memory} bytes of workgroup memory"));
        }
        let invocations: u32 = entry.workgroup_size.iter().product();
        if invocations > INVOCATIONS {
            problems.push(format!("{name}: {invocations} invocations"));
        }
    }
    problems
}

/// Arrays of a function whose index is not constant.
fn indexed_at_run_time(module: &Module, function: &Function) -> Vec<String> {
    let is_array = |ty| matches!(module.types[ty].inner, TypeInner::Array { .. });
    let array_in = |mut base: Handle<Expression>| loop {
        match function.expressions[base] {
            Expression::LocalVariable(variable) => return is_array(function.local_variables[variable].ty),
            Expression::Access { base: inner, .. } | Expression::AccessIndex { base: inner, .. } => base = inner,
            Expression::Load { pointer } => base = pointer,
            _ => return false,
        }
    };
    let dynamic = function
        .expressions
        .iter()
        .filter_map(|(_, expression)| match *expression {
            Expression::Access { base, .. } if array_in(base) => {
                let name = function.name.as_deref().unwrap_or("main");
                Some(format!("{name}: an array of a function is indexed at run time"))
            }
            _ => None,
        });
    dynamic.collect::<BTreeSet<_>>().into_iter().collect()
}

/// Arithmetic in 16 bits: these are a storage format only.
fn computed_in_halves(module: &Module, info: &ModuleInfo) -> Vec<String> {
    let of = |function: &Function, types: &FunctionInfo| -> Option<String> {
        let is_half = |handle: Handle<Expression>| {
            let scalar = types[handle].ty.inner_with(&module.types).scalar();
            scalar.is_some_and(|scalar| scalar.kind == ScalarKind::Float && scalar.width == 2)
        };
        let computes = |expression: &Expression| match *expression {
            Expression::Unary { expr, .. } => is_half(expr),
            Expression::Binary { left, .. } => is_half(left),
            Expression::Math { arg, .. } => is_half(arg),
            _ => false,
        };
        let found = function.expressions.iter().any(|(_, expression)| computes(expression));
        found.then(|| "arithmetic in 16 bits".to_string())
    };
    let functions = module
        .functions
        .iter()
        .filter_map(|(handle, function)| of(function, &info[handle]));
    let entries = module.entry_points.iter().enumerate();
    let entries = entries.filter_map(|(index, entry)| of(&entry.function, info.get_entry_point(index)));
    functions.chain(entries).collect()
}

fn unwritable(module: &Module, info: &ModuleInfo) -> Vec<String> {
    let mut problems = Vec::new();
    if let Err(error) = spv::write_vec(module, info, &spv::Options::default(), None) {
        problems.push(format!("SPIR-V: {error}"));
    }
    // Metal 2.0, of 2017, has all that compute shaders need.
    let options = msl::Options {
        lang_version: (2, 0),
        ..msl::Options::default()
    };
    if let Err(error) = msl::write_string(module, info, &options, &msl::PipelineOptions::default()) {
        problems.push(format!("MSL: {error}"));
    }
    let options = hlsl::Options::default();
    let pipeline = hlsl::PipelineOptions::default();
    let mut text = String::new();
    if let Err(error) = hlsl::Writer::new(&mut text, &options, &pipeline).write(module, info, None) {
        problems.push(format!("HLSL: {error}"));
    }
    problems
}

/// A network of the operations that no model has.
fn others(mode: Mode) -> Graph {
    let build = || {
        let mut graph = Graph::new(mode);
        let pool = Pool {
            kernel: 3,
            stride: 2,
            padding: 1,
        };
        let conv = |kernel, stride, padding, groups| Conv {
            kernel,
            stride,
            padding,
            groups,
        };
        let x = graph.images(3, 15, 13);
        let x = graph.conv("stem", x, 12, conv(7, 2, 3, 1), true, Init::Zero)?;
        let x = graph.batch_norm("bn", x, 1e-5, 0.1);
        let a = graph.max_pool(x, pool)?;
        let b = graph.avg_pool(x, pool)?;
        let b = graph.slice(b, 3, 8)?;
        let x = graph.concat(&[a, b])?;
        let x = graph.conv("grouped", x, 12, conv(5, 1, 2, 4), false, Init::Zero)?;
        let x = graph.relu(x);
        let x = graph.conv("even", x, 12, conv(3, 1, 1, 1), true, Init::Zero)?;
        let x = graph.conv("depthwise", x, 12, conv(3, 1, 1, 12), true, Init::Zero)?;
        let x = graph.conv("strided", x, 10, conv(3, 3, 0, 2), false, Init::Zero)?;
        let gate = graph.sigmoid(x);
        let x = graph.multiply(x, gate)?;
        let pooled = graph.global_avg_pool(x);
        let gate = graph.scale(pooled, 0.5);
        let gated = graph.multiply(x, gate)?;
        let zeros = graph.zeros_like(x);
        let x = graph.sum(gated, zeros)?;
        let logits: NodeId = graph.linear("fc", x, 7, Init::Zero);
        graph.cross_entropy(logits);
        Ok::<_, residua::graph::GraphError>(graph)
    };
    build().unwrap()
}

/// The calls of training and evaluation of all models on all targets.
fn all_calls() -> Vec<Call> {
    let mut calls = Vec::new();
    for target in targets() {
        let mut calls_of = Vec::new();
        let mut graphs = Vec::new();
        for mode in [Mode::Train, Mode::Eval] {
            // Variants with load8 differ little from shape to shape, and large
            // bodies take long to check.
            let models = if target.wide_loads { &MODELS[..1] } else { &MODELS[..] };
            for &(name, [channels, height, width]) in models {
                let input = InputShape {
                    channels,
                    height,
                    width,
                    classes: 10,
                };
                let spec: ModelSpec = name.parse().unwrap();
                graphs.push(spec.build(&input, mode).unwrap().graph);
            }
            graphs.push(others(mode));
        }
        for (index, graph) in graphs.iter_mut().enumerate() {
            let training = graph.mode == Mode::Train;
            for precision in PRECISIONS {
                graph.store_in(precision);
                // A batch that divides by four, and one that does not.
                let memory = schedule::memory(graph, training, [32, 5][index % 2], Recompute::None, &target);
                calls_of.extend(memory.calls().cloned());
            }
        }
        let shapes =
            PRECISIONS.map(|precision| [[16, 8, 8], [3, 5, 7]].map(|dims| Shape::batched(&dims).stored_in(precision)));
        for shape in shapes.iter().flatten() {
            for kernel in [
                Pointwise::Relu,
                Pointwise::ReluGrad,
                Pointwise::Join { relu: false },
                Pointwise::Join { relu: true },
                Pointwise::Scale { gain: 2 },
                Pointwise::Scale { gain: 3 },
                Pointwise::Add,
                Pointwise::Accumulate,
                Pointwise::Copy { input: 1 },
            ] {
                calls_of.extend(Work::Pointwise(kernel).lower(&[], shape, 3, &target).calls);
            }
        }
        // What the tuner may choose instead.
        for precision in PRECISIONS {
            let mut graph = others(Mode::Train);
            graph.store_in(precision);
            for job in tuning::jobs(&schedule::step_request(&graph, true, 5, Recompute::None), &target) {
                let algorithms = job.algorithms(5, &target);
                calls_of.extend(algorithms.into_iter().flat_map(|one| one.lowered.calls));
            }
            for reflect in [false, true] {
                let part = ImagePart { first: 64, bytes: 4096 };
                let shape = Shape::batched(&[3, 8, 8]).stored_in(precision);
                for (cutout, staged) in [(0, false), (5, false), (5, true)] {
                    for (soft, mixed_in) in [(false, false), (true, false), (true, true)] {
                        let changes = GatherChanges {
                            cutout,
                            soft,
                            mixed_in,
                            staged,
                        };
                        calls_of.extend(kernels::gather(&part, 128, &shape, (4, reflect), changes, 16, &target));
                    }
                }
                calls_of.push(kernels::stage(&part, [3, 8, 8], (4, reflect), 16, &target));
                for channels in [1, 3] {
                    calls_of.push(kernels::distort([channels, 8, 8], 1, 2, 16, &target));
                }
            }
            let scaled = precision == Precision::F16;
            calls_of.extend(variants::updates(scaled, &target));
            let logits = Shape::batched(&[10]);
            for work in [
                Work::SoftCrossEntropy { smoothing: 0.1 },
                Work::SoftCrossEntropyGrad { smoothing: 0.1, scaled },
            ] {
                calls_of.extend(work.lower(&[&logits], &logits, 16, &target).calls);
            }
        }
        calls_of.extend(kernels::update_loss_scale(1 << 20, &target));
        calls_of.extend(MultiplyAddShape::all().iter().map(|shape| shape.call(&target)));
        calls_of.extend(StreamShape::all(&target).iter().map(|shape| shape.call(&target)));
        calls_of.push(kernels::record(1024, 16));
        let exchanging = |call: &Call| variants::exchanges(call.variant.file);
        assert_eq!(calls_of.iter().any(exchanging), target.subgroup_size > 0, "{target:?}");
        let loads_eight = |call: &Call| needed(call).contains(Capabilities::SHADER_INT64);
        assert_eq!(calls_of.iter().any(loads_eight), target.wide_loads, "{target:?}");
        calls.extend(calls_of);
    }
    calls
}

/// Capabilities that the file `name` may need as it stands.
fn needed_by_file(name: &str) -> Capabilities {
    match variants::exchanges(name) {
        true => Capabilities::SUBGROUP | Capabilities::SHADER_INT64,
        false => Capabilities::empty(),
    }
}

#[test]
fn every_file_is_portable_as_it_stands() {
    for (name, text) in kernels::files() {
        assert_eq!(
            problems(&text, false, needed_by_file(name)),
            [] as [String; 0],
            "{name}"
        );
    }
}

#[test]
fn every_specialised_variant_is_portable() {
    let mut sources = BTreeMap::new();
    let mut entries = BTreeSet::new();
    for call in all_calls() {
        entries.insert((call.variant.file, call.variant.entry));
        sources
            .entry(call.variant.program().source)
            .or_insert_with(|| (format!("{:?}", call.variant), needed(&call)));
        let within = call.workgroups.iter().all(|&count| (1..=WORKGROUPS).contains(&count));
        assert!(within, "{:?}: grid {:?}", call.variant, call.workgroups);
    }
    let names = variants::TUNED.map(str::to_string);
    for target in tuned_targets() {
        // Bodies for processors are large, and take long to check.
        let names = &names[..if target.cpu { 1 } else { 2 }];
        for known in variants::of_models(names, names, &target) {
            let mut needed = Capabilities::empty();
            needed.set(Capabilities::SUBGROUP, known.subgroup());
            needed.set(Capabilities::SHADER_FLOAT16, known.f16());
            needed.set(Capabilities::SHADER_INT64, known.int64());
            assert!(
                known.workgroups <= WORKGROUPS,
                "{:?}: {}",
                known.variant,
                known.workgroups
            );
            sources
                .entry(known.program.source)
                .or_insert_with(|| (format!("{:?}", known.variant), needed));
        }
    }
    let halves = sources
        .values()
        .filter(|(_, needed)| needed.contains(Capabilities::SHADER_FLOAT16));
    println!(
        "{} variants of {} entry points, {} with 16-bit storage",
        sources.len(),
        entries.len(),
        halves.count()
    );
    sources.par_iter().for_each(|(source, (variant, capabilities))| {
        assert_eq!(problems(source, true, *capabilities), [] as [String; 0], "{variant}");
    });
    // Every entry point of every file is tested.
    let mut there = BTreeSet::new();
    for (name, text) in kernels::files() {
        there.extend(
            parse(&text)
                .unwrap()
                .entry_points
                .iter()
                .map(|entry| (name, entry.name.clone())),
        );
    }
    let tested: BTreeSet<_> = entries.iter().map(|&(file, entry)| (file, entry.to_string())).collect();
    assert_eq!(tested, there);
}

#[test]
fn wide_convolutions_stay_within_the_grid() {
    // The last stage of a bottleneck network on 224 × 224 pixels.
    let (narrow, wide) = (Shape::batched(&[1024, 14, 14]), Shape::batched(&[2048, 7, 7]));
    let conv = Conv {
        kernel: 1,
        stride: 2,
        padding: 0,
        groups: 1,
    };
    let weights = Shape::fixed(&[2048, 1024, 1, 1]);
    for target in targets() {
        let lowered = [
            Work::Conv { conv, bias: false }.lower(&[&narrow, &weights], &wide, 256, &target),
            Work::ConvInputGradient(conv).lower(&[&wide, &weights], &narrow, 256, &target),
            Work::ConvWeightGradient(conv).lower(&[&narrow, &wide], &weights, 256, &target),
        ];
        for call in lowered.iter().flat_map(|lowered| &lowered.calls) {
            let within = call.workgroups.iter().all(|&count| count <= WORKGROUPS);
            assert!(within, "{}: {:?}", call.variant.entry, call.workgroups);
            let largest = call.args.iter().map(|arg| arg.size).max().unwrap();
            assert!(largest <= target.binding, "{}: {largest} bytes", call.variant.entry);
        }
    }
}

#[test]
fn what_is_not_portable_is_found() {
    let nine: String = (0..9)
        .map(|i| format!("@group(0) @binding({i}) var<storage, read_write> b{i}: array<u32>;\n"))
        .collect();
    let sum: String = (0..9).map(|i| format!("b{i}[0] = 1u;\n")).collect();
    let main = |size: u32, body: &str| format!("@compute @workgroup_size({size})\nfn main() {{\n{body}}}\n");
    let cases = [
        ("storage buffers", nine.clone() + &main(64, &sum)),
        ("invocations", main(512, "")),
        (
            "workgroup memory",
            format!("var<workgroup> w: array<f32, 4097>;\n{}", main(64, "w[0] = 1.0;\n")),
        ),
        (
            "indexed at run time",
            format!(
                "@group(0) @binding(0) var<storage, read_write> b: array<f32>;\n{}",
                main(
                    64,
                    "var a: array<f32, 4>;\nfor (var i = 0u; i < 4u; i++) { a[i] = b[i]; }\nb[0] = a[1];\n"
                )
            ),
        ),
        // Needs a capability, and so is not even valid.
        (
            "",
            format!("var<workgroup> a: atomic<f32>;\n{}", main(64, "atomicAdd(&a, 1.0);\n")),
        ),
        ("", "fn main() { let x: f32 = 1u; }".to_string()),
        (
            "arithmetic in 16 bits",
            format!(
                "enable f16;\n@group(0) @binding(0) var<storage, read_write> b: array<f16>;\n{}",
                main(64, "b[0] = b[1] * b[2];\n")
            ),
        ),
    ];
    for (expected, source) in cases {
        let mut capabilities = Capabilities::empty();
        capabilities.set(Capabilities::SHADER_FLOAT16, source.starts_with("enable f16;"));
        let found = problems(&source, true, capabilities);
        assert!(found.len() == 1 && found[0].contains(expected), "{expected}: {found:?}");
    }
    // Bindings that an entry point does not use do not count.
    assert_eq!(
        problems(&(nine + &main(64, "b0[0] = 1u;\n")), true, Capabilities::empty()),
        [] as [String; 0]
    );
}

/// Specialised shaders of different kinds, with small tiles. A change of a
/// shader or of the specialiser shows as a difference of these texts: check it,
/// then accept it by `INSTA_UPDATE=always cargo test --test it shaders::`.
#[test]
fn specialised_shaders_are_as_in_their_snapshots() {
    let variant = |file, entry, constants: &[(&'static str, Value)]| {
        let constants = constants.to_vec();
        let program = Variant { file, entry, constants }.program();
        program.source.to_string()
    };
    let source = variant(
        "conv/direct",
        "tile",
        &[
            ("PX", Value::Uint(2)),
            ("PY", Value::Uint(1)),
            ("INNER_X", Value::Uint(2)),
            ("INNER_Y", Value::Uint(1)),
            ("SOURCE_VEC4", Value::Bool(false)),
            ("DEST_VEC4", Value::Bool(false)),
            ("BIAS", Value::Bool(true)),
        ],
    );
    insta::assert_snapshot!("conv_direct", source);
    let source = variant(
        "conv/subgroup",
        "input_stationary",
        &[
            ("SC", Value::Uint(2)),
            ("KB", Value::Uint(2)),
            ("CHANNELS", Value::Uint(1)),
            ("WINOGRAD", Value::Bool(true)),
            ("ACCUMULATORS", Value::Uint(1)),
            ("SUBGROUP_SIZE", Value::Uint(4)),
            ("EXCHANGES", Value::Uint(2)),
            ("WG", Value::Uint(4)),
        ],
    );
    insta::assert_snapshot!("conv_subgroup_winograd", source);
    let source = variant(
        "conv/gemm",
        "gemm",
        &[
            ("TM", Value::Uint(16)),
            ("TN", Value::Uint(16)),
            ("WG", Value::Uint(16)),
            ("BUFFERS", Value::Uint(2)),
            ("TRANSPOSED", Value::Bool(true)),
            ("STRIDE", Value::Uint(2)),
            ("Source", Value::Type("f16")),
        ],
    );
    insta::assert_snapshot!("conv_gemm", source);
    let source = variant(
        "conv/wgrad_winograd",
        "weight_gradient",
        &[
            ("PX", Value::Uint(4)),
            ("PY", Value::Uint(4)),
            ("SUBGROUP_SIZE", Value::Uint(4)),
        ],
    );
    insta::assert_snapshot!("conv_wgrad_winograd", source);
    let source = variant(
        "batch_norm",
        "normalize",
        &[
            ("ITEMS", Value::Uint(2)),
            ("RELU", Value::Bool(true)),
            ("JOIN", Value::Bool(true)),
            ("JOIN_RELU", Value::Bool(true)),
            ("IN_PLACE", Value::Bool(true)),
            ("Stored", Value::Type("vec4<f16>")),
        ],
    );
    insta::assert_snapshot!("batch_norm_relu_join", source);
    let source = variant("loss", "record", &[("WG", Value::Uint(32))]);
    insta::assert_snapshot!("loss_record", source);
}
