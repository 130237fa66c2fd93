//! Do tuned kernels compute the same as the default ones? Every algorithm of
//! every work is compared with the f64 reference; wrong ones are rejected;
//! chosen kernels are stored, replayed, and give the same bits again.

use crate::support::conv::conv;
use crate::support::device;
use crate::support::reference_run;
use std::sync::Arc;

use crate::support::reference_run::ReferenceRun;
use residua::gpu::{AdapterKind, Gpu};
use residua::graph::{Graph, GraphError, Init, Mode, NodeId, Recompute};
use residua::kernels::Algorithm;
use residua::models::{InputShape, ModelSpec};
use residua::schedule::{KernelChoices, Session, TunedKernel, step_request};
use residua::train::{DeviceEngine, choose_kernels};
use residua::tuning::{
    Budget, Job, KeptDefault, KernelSource, Rejected, Tuner, TuningCache, TuningError, TuningEvent, TuningKey,
    TuningProgress, TuningSummary, Workload, jobs, tune,
};

const DIMS: [usize; 3] = [3, 8, 8];
const BATCH: usize = 6;

/// Every kind of work that has several algorithms.
fn network(graph: &mut Graph, images: NodeId) -> Result<NodeId, GraphError> {
    let x = graph.conv("stem", images, 8, conv(3, 1, 1), true, Init::Zero)?;
    let x = graph.batch_norm("stem.bn", x, 1e-5, 0.1);
    let x = graph.relu(x);
    let x = graph.conv("grouped", x, 8, conv(3, 1, 2), false, Init::Zero)?;
    let x = graph.batch_norm("grouped.bn", x, 1e-5, 0.1);
    let x = graph.conv("strided", x, 12, conv(3, 2, 1), false, Init::Zero)?;
    let x = graph.relu(x);
    let x = graph.conv("narrow", x, 6, conv(1, 2, 1), false, Init::Zero)?;
    Ok(graph.linear("fc", x, 5, Init::Zero))
}

/// One convolution and a linear layer.
fn small(graph: &mut Graph, images: NodeId) -> Result<NodeId, GraphError> {
    let x = graph.conv("conv", images, 4, conv(3, 1, 1), false, Init::Zero)?;
    let pooled = graph.global_avg_pool(x);
    Ok(graph.linear("fc", pooled, 5, Init::Zero))
}

fn graph(mode: Mode, build: reference_run::Build) -> Graph {
    let mut graph = Graph::new(mode);
    let images = graph.images(DIMS[0], DIMS[1], DIMS[2]);
    let logits = build(&mut graph, images).unwrap();
    graph.cross_entropy(logits);
    graph
}

fn session(gpu: &Arc<Gpu>, build: reference_run::Build) -> Session {
    let (train, eval) = (graph(Mode::Train, build), graph(Mode::Eval, build));
    Session::new(gpu.clone(), Some(train), eval, |_| true).unwrap()
}

/// The jobs of the session's training step.
fn jobs_of(session: &Session) -> Vec<Job> {
    jobs(&session.request(true, BATCH), &residua::schedule::target(session.gpu()))
}

/// The algorithm at place `rank` of each job, or its last, and the largest
/// number of algorithms of a job.
fn choices_of_rank(session: &Session, rank: usize) -> (KernelChoices, usize) {
    let target = residua::schedule::target(session.gpu());
    let mut choices = KernelChoices::default();
    let mut most = 0;
    for job in jobs_of(session) {
        let algorithms = job.algorithms(BATCH, &target);
        most = most.max(algorithms.len());
        let algorithm = algorithms[rank.min(algorithms.len() - 1)].algorithm;
        choices.set(&job.signature(), BATCH, TunedKernel::untimed(algorithm));
    }
    (choices, most)
}

fn every_algorithm_agrees_with_the_f64_reference(kind: AdapterKind) {
    let gpu = device::of_kind(kind);
    let mut run = ReferenceRun::new(&gpu, DIMS, BATCH, 5, &network);
    let route = run.default_route();
    let truth = run.on_device(&route);
    let mut rank = 0;
    let mut others = 0;
    loop {
        let (choices, most) = choices_of_rank(&run.session, rank);
        if rank == most {
            break;
        }
        run.session.set_choices(choices.clone());
        let deviation = run.check(&route);
        println!("{kind:?}, algorithm {rank} of {most}: {deviation}");
        // Another order of sums than the default algorithm, and the same bits
        // each time.
        let found = run.on_device(&route);
        others += usize::from(found != truth);
        if rank % 3 == 1 {
            let mut again = ReferenceRun::new(&device::of_kind(kind), DIMS, BATCH, 5, &network);
            again.session.set_choices(choices);
            assert_eq!(again.on_device(&route), found, "algorithm {rank}");
        }
        rank += 1;
    }
    assert!(
        rank > 3 && others > 0,
        "{others} of {rank} algorithms differ from the default one"
    );
    let target = residua::schedule::target(&gpu);
    let jobs = jobs_of(&run.session);
    let kernels = || jobs.iter().flat_map(|job| job.algorithms(BATCH, &target));
    let winograds = kernels().filter(|one| matches!(one.algorithm, Algorithm::Direct(direct) if direct.is_winograd()));
    let gemms = kernels().filter(|one| matches!(one.algorithm, Algorithm::Gemm(_)));
    for count in [winograds.count(), gemms.count()] {
        assert_eq!(count > 3, kind == AdapterKind::Discrete);
    }
}

#[test]
fn every_algorithm_agrees_with_the_f64_reference_on_processors() {
    every_algorithm_agrees_with_the_f64_reference(AdapterKind::Cpu);
}

#[test]
fn every_algorithm_agrees_with_the_f64_reference_on_gpus() {
    every_algorithm_agrees_with_the_f64_reference(AdapterKind::Discrete);
}

/// The shapes that matrix products must handle: kernels of 1×1 to 7×7 with
/// strides of 1 to 3, groups, odd planes, more channels than a tile has and
/// fewer, planes that a stride does not divide.
fn of_all_shapes(graph: &mut Graph, images: NodeId) -> Result<NodeId, GraphError> {
    let x = graph.conv("large", images, 20, conv(7, 2, 1), true, Init::Zero)?;
    let x = graph.relu(x);
    let x = graph.conv("many", x, 72, conv(3, 1, 1), false, Init::Zero)?;
    let x = graph.batch_norm("many.bn", x, 1e-5, 0.1);
    let x = graph.conv("one", x, 68, conv(1, 1, 1), true, Init::Zero)?;
    let x = graph.conv("grouped", x, 40, conv(3, 2, 4), false, Init::Zero)?;
    let x = graph.batch_norm("grouped.bn", x, 1e-5, 0.1);
    let x = graph.conv("apart", x, 64, conv(1, 2, 1), false, Init::Zero)?;
    let x = graph.relu(x);
    let x = graph.conv("three", x, 9, conv(5, 3, 1), true, Init::Zero)?;
    Ok(graph.linear("fc", x, 5, Init::Zero))
}

#[test]
fn matrix_products_agree_with_the_f64_reference_in_all_shapes() {
    let gpu = device::of_kind(AdapterKind::Discrete);
    let target = residua::schedule::target(&gpu);
    let mut run = ReferenceRun::new(&gpu, [3, 17, 15], BATCH, 5, &of_all_shapes);
    let route = run.default_route();
    let by_default = run.on_device(&route);
    let is_gemm = |algorithm: &Algorithm| matches!(algorithm, Algorithm::Gemm(_));
    let works: Vec<(String, Vec<Algorithm>)> = jobs_of(&run.session)
        .iter()
        .map(|job| {
            let all = job.algorithms(BATCH, &target).into_iter().map(|one| one.algorithm);
            (job.signature(), all.filter(is_gemm).collect())
        })
        .filter(|(_, gemms): &(_, Vec<_>)| !gemms.is_empty())
        .collect();
    // Six layers and the head, each with two gradients; the first layer has no
    // input gradient.
    assert_eq!(works.len(), 20);
    let most = works.iter().map(|(_, gemms)| gemms.len()).max().unwrap_or(0);
    for rank in 0..most {
        let mut choices = KernelChoices::default();
        for (signature, gemms) in &works {
            let algorithm = gemms[rank % gemms.len()];
            choices.set(signature, BATCH, TunedKernel::untimed(algorithm));
        }
        run.session.set_choices(choices);
        println!("products {rank} of {most}: {}", run.check(&route));
        // Another order of sums.
        assert!(run.on_device(&route) != by_default);
    }
    // With one split there are no partial sums; with more splits than terms
    // there are as many as terms.
    for splits in [1, 3, 1 << 20] {
        let mut choices = KernelChoices::default();
        for (signature, gemms) in &works {
            let Algorithm::Gemm(mut gemm) = gemms[0] else {
                panic!("{:?} is no product", gemms[0]);
            };
            gemm.splits = splits;
            let algorithm = Algorithm::Gemm(gemm);
            choices.set(signature, BATCH, TunedKernel::untimed(algorithm));
        }
        run.session.set_choices(choices);
        println!("{splits} splits: {}", run.check(&route));
    }
}

#[test]
fn wide_layers_are_matrix_products_by_default_on_gpus() {
    let gpu = device::of_kind(AdapterKind::Discrete);
    let mut run = ReferenceRun::new(&gpu, [3, 5, 4], BATCH, 5, &|graph, images| {
        let x = graph.conv("stem", images, 64, conv(3, 1, 1), false, Init::Zero)?;
        let x = graph.conv("one", x, 64, conv(1, 1, 1), false, Init::Zero)?;
        let x = graph.conv("strided", x, 64, conv(3, 2, 1), false, Init::Zero)?;
        Ok(graph.linear("fc", x, 5, Init::Zero))
    });
    let target = residua::schedule::target(&gpu);
    let jobs = jobs_of(&run.session);
    let defaults = jobs
        .iter()
        .map(|job| (job.signature(), job.algorithms(BATCH, &target)[0].algorithm));
    let products = defaults.filter(|(_, default)| matches!(default, Algorithm::Gemm(_)));
    // Forward and both gradients of the 1×1 layer, and both gradients of the
    // layer with a stride.
    assert_eq!(products.count(), 5);
    let route = run.default_route();
    println!("default algorithms: {}", run.check(&route));
}

#[test]
fn wrong_and_impossible_kernels_are_rejected_on_processors() {
    wrong_and_impossible_kernels_are_rejected(AdapterKind::Cpu);
}

#[test]
fn wrong_and_impossible_kernels_are_rejected_on_gpus() {
    wrong_and_impossible_kernels_are_rejected(AdapterKind::Discrete);
}

fn wrong_and_impossible_kernels_are_rejected(kind: AdapterKind) {
    let gpu = device::of_kind(kind);
    let session = session(&gpu, &small);
    let target = residua::schedule::target(&gpu);
    let jobs = jobs_of(&session);
    let job = jobs
        .iter()
        .find(|job| job.signature().starts_with("convolution"))
        .unwrap();
    let mut algorithms = job.algorithms(BATCH, &target);
    // Computes only the first images: very fast, and wrong.
    let mut lazy = algorithms[0].clone();
    lazy.algorithm = "linear 2x2 wg 32".parse().unwrap();
    for call in lazy.lowered.calls.iter_mut().skip(1) {
        call.args.iter_mut().for_each(|arg| {
            if arg.operand == residua::kernels::Operand::Output {
                arg.size /= BATCH as u64;
            }
        });
    }
    // Computes nothing at all.
    let mut idle = algorithms[0].clone();
    idle.algorithm = "linear 8x8 wg 32".parse().unwrap();
    idle.lowered.calls.truncate(1);
    // The device refuses it: its output is not bound.
    let mut broken = algorithms[0].clone();
    broken.algorithm = "linear 4x4 wg 32".parse().unwrap();
    for call in &mut broken.lowered.calls {
        call.args.clear();
    }
    let wrong = [&lazy, &idle, &broken].map(|one| one.algorithm);
    algorithms.splice(1..1, [lazy, idle, broken]);
    let mut tuner = Tuner::new(&gpu, &Budget::default()).unwrap();
    let tuned = tuner.job(job, BATCH, &algorithms).unwrap();
    for (algorithm, result) in &tuned.results {
        println!("{algorithm}: {result:?}");
        assert_eq!(result.is_err(), wrong.contains(algorithm), "{algorithm}: {result:?}");
    }
    assert!(matches!(tuned.results[1].1, Err(Rejected::Disagrees(off)) if off > 0.1));
    assert!(matches!(tuned.results[2].1, Err(Rejected::Disagrees(_))));
    assert!(matches!(tuned.results[3].1, Err(Rejected::Failed(_))));
    assert!(!wrong.contains(&tuned.choice.algorithm) && tuned.choice.timing.is_some());
    assert_eq!(residua::cli::rejected_lines(&tuned).len(), 3);
    // The default algorithm may be wrong as well: then the plain one is taken.
    let mut algorithms = job.algorithms(BATCH, &target);
    algorithms.drain(1..algorithms.len() - 1);
    algorithms[0].lowered.calls.truncate(1);
    let tuned = tuner.job(job, BATCH, &algorithms).unwrap();
    assert_eq!(tuned.choice.algorithm, Algorithm::Plain, "{tuned:?}");
    // The device still works.
    gpu.check().unwrap();
}

#[test]
fn a_wrong_plain_kernel_is_found_by_the_f64_reference() {
    for kind in device::KINDS {
        let gpu = device::of_kind(kind);
        let session = session(&gpu, &network);
        let target = residua::schedule::target(&gpu);
        let mut tuner = Tuner::new(&gpu, &Budget::default()).unwrap();
        let mut compared = 0;
        for job in jobs_of(&session) {
            let Some((images, mut plain)) = job.plain_for_reference(&target) else {
                continue;
            };
            tuner.compare_with_reference(&job, images, &plain).unwrap();
            // The last dispatch is missing: as if a device left it out.
            plain.lowered.calls.pop();
            let error = tuner.compare_with_reference(&job, images, &plain).unwrap_err();
            assert!(
                matches!(&error, TuningError::Wrong { work, distance, .. } if *work == job.signature() && *distance > 0.5),
                "{error}"
            );
            compared += 1;
        }
        assert!(compared >= 10, "{compared}");
    }
}

#[test]
fn without_time_the_default_algorithms_are_kept() {
    let gpu = device::of_kind(AdapterKind::Cpu);
    let session = session(&gpu, &small);
    let target = residua::schedule::target(&gpu);
    let jobs = jobs_of(&session);
    let mut left = 0;
    let budget = Budget {
        compile: 5.0,
        total: 0.0,
    };
    let choices = tune(&gpu, &jobs, &budget, &mut |progress| match progress {
        TuningProgress::KeptDefault { jobs, .. } => left += jobs,
        progress => panic!("{progress:?}"),
    });
    let choices = choices.unwrap();
    assert_eq!((left, choices.len()), (jobs.len(), jobs.len()));
    for job in &jobs {
        let choice = choices.exact(&job.signature(), BATCH).unwrap();
        assert_eq!(choice.algorithm, job.algorithms(BATCH, &target)[0].algorithm);
        assert_eq!(choice.timing, None);
    }
    // No algorithm compiles within this budget: only the default ones are
    // timed.
    let mut tuner = Tuner::new(
        &gpu,
        &Budget {
            compile: -1.0,
            total: 60.0,
        },
    )
    .unwrap();
    let tuned = tuner.job(&jobs[0], BATCH, &jobs[0].algorithms(BATCH, &target)).unwrap();
    let compiles = |(_, result): &&(_, Result<f64, Rejected>)| matches!(result, Err(Rejected::SlowToCompile(_)));
    assert!(tuned.results.iter().filter(compiles).count() >= 1, "{tuned:?}");
    assert!(tuned.results[0].1.is_ok());
}

#[test]
fn small_work_keeps_the_default_algorithm() {
    let gpu = device::of_kind(AdapterKind::Cpu);
    let target = residua::schedule::target(&gpu);
    let spec: ModelSpec = "resnet20".parse().unwrap();
    let input: InputShape = "3x32x32".parse().unwrap();
    let graph = spec.build(&input, Mode::Train).unwrap().graph;
    let jobs = jobs(&step_request(&graph, true, 128, Recompute::None), &target);
    // All work, the most expensive first, tuned with full batches.
    assert!((jobs.iter().map(|job| job.share).sum::<f64>() - 1.0).abs() < 1e-9);
    assert!(jobs.is_sorted_by(|a, b| a.share >= b.share));
    assert!(jobs.iter().all(|job| job.images(&target) == 128));
    let small: Vec<_> = jobs.into_iter().filter(|job| !job.matters()).collect();
    let kinds: Vec<String> = small.iter().map(|job| job.signature()).collect();
    assert_eq!(small.len(), 4, "{kinds:?}");
    assert!(
        kinds
            .iter()
            .all(|kind| kind.starts_with("linear") || kind.starts_with("channel sum"))
    );
    let mut kept = Vec::new();
    let choices = tune(&gpu, &small, &Budget::default(), &mut |progress| match progress {
        TuningProgress::KeptDefault { jobs, reason, share } => kept.push((*jobs, *reason, *share < 0.004)),
        progress => panic!("{progress:?}"),
    });
    assert_eq!(kept, [(4, KeptDefault::TooSmall, true)]);
    assert!(choices.unwrap().iter().all(|(_, _, choice)| choice.timing.is_none()));
}

#[test]
fn a_summary_reports_what_was_tuned_kept_and_rejected() {
    let mut summary = TuningSummary {
        tuned: 20,
        faster: 3,
        share: 0.954,
        algorithms: 80,
        seconds: 44.6,
        ..TuningSummary::default()
    };
    let first = "tuned 20 of 20 kernels, 95.4 % of the work that has several algorithms, in 45 s: 3 faster than \
                 the default algorithm";
    assert_eq!(residua::cli::summary_lines(&summary), [first]);
    (summary.small, summary.no_time) = (4, 2);
    (summary.wrong, summary.slow_to_compile, summary.untried) = (0, 1, 5);
    assert_eq!(
        residua::cli::summary_lines(&summary)[1..],
        [
            "kept the default algorithm: 4 too small to matter, 2 for lack of time",
            "rejected of 80 algorithms: 1 too slow to compile, 5 not tried for lack of time"
        ]
    );
}

#[test]
fn a_device_is_tuned_once_and_its_kernels_replayed() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tuning.toml");
    let engine = || {
        let network = |mode| {
            let spec: ModelSpec = "resnet8".parse().unwrap();
            let input = InputShape {
                channels: DIMS[0],
                height: DIMS[1],
                width: DIMS[2],
                classes: 5,
            };
            spec.build(&input, mode)
                .unwrap()
                .changed(|own| *own = graph(mode, &small))
        };
        let gpu = device::of_kind(AdapterKind::Cpu);
        DeviceEngine::new(gpu, Some(network(Mode::Train)), network(Mode::Eval), |_| true).unwrap()
    };
    let choose = |source: &KernelSource, images: u64| {
        let mut engine = engine();
        let work = Workload {
            training: true,
            batch: BATCH,
            images,
        };
        let (mut jobs, mut short) = (0, 0);
        let choices = choose_kernels(&mut engine, source, &work, &mut |event| match event {
            TuningEvent::Progress(TuningProgress::Job { .. }) => jobs += 1,
            TuningEvent::TooShort { .. } => short += 1,
            _ => {}
        });
        (choices.unwrap(), jobs, short)
    };
    let chosen = KernelSource::Tuned {
        file: Some(file.clone()),
    };
    // Too short to pay tuning back: nothing is timed or written.
    let (choices, jobs, short) = choose(&chosen, 100);
    assert_eq!((choices.len(), jobs, short), (0, 0, 1));
    assert!(!file.exists());
    let (first, jobs, short) = choose(&chosen, u64::MAX);
    assert!(jobs > 3 && first.len() == jobs && short == 0, "{jobs} jobs, {first:?}");
    let (second, jobs, short) = choose(&chosen, u64::MAX);
    assert_eq!((jobs, short), (0, 0), "the second run times nothing");
    let kernels =
        |choices: &KernelChoices| -> Vec<Algorithm> { choices.iter().map(|(_, _, choice)| choice.algorithm).collect() };
    assert_eq!(kernels(&second), kernels(&first));
    assert_eq!(choose(&KernelSource::Default, u64::MAX).0, KernelChoices::default());
    // The kernels of another driver are not used from the cache, but they can
    // be replayed from a file.
    let text = std::fs::read_to_string(&file).unwrap();
    let other = text.replace("driver-version = \"", "driver-version = \"other ");
    std::fs::write(&file, &other).unwrap();
    assert_eq!(choose(&chosen, 100).0, KernelChoices::default());
    let cache = TuningCache::from_text(&other).unwrap();
    assert_eq!(kernels(&choose(&KernelSource::Replay(cache), 100).0), kernels(&first));
    assert_eq!(
        TuningCache::from_text(&text).unwrap().entries[0].0,
        TuningKey::of(engine().session().gpu().info())
    );
}
