//! Does the doctor find kernels that are wrong, hang or crash, and are they then not
//! chosen any more?

use std::path::Path;
use std::sync::Arc;

use assert_cmd::Command;
use residua::doctor::{Outcome, Rank, cases};
use residua::gpu::{
    AdapterKind, AdapterOverrides, BrokenKernels, Gpu, GpuError, KernelFault, QuarantinedKernel, read_quarantine,
};
use residua::graph::{Graph, Init, Mode};
use residua::kernels::{Algorithm, Target};
use residua::schedule::{Session, SessionError, shaders_version, target};
use residua::tuning::{Budget, Job, Rejected, Tuner, TuningError, jobs, tune};
use serde_json::Value;

use crate::support::conv::conv;
use crate::support::device;
use crate::support::program::{printed, program};

/// `residua doctor` with its files in `cache`, on a device with the faults `faults`.
fn doctor(cache: &Path, faults: &str, arguments: &[&str]) -> Command {
    let mut command = program("residua");
    command.env("XDG_CACHE_HOME", cache).env("RESIDUA_TEST_DEVICE", faults);
    command.arg("doctor").args(arguments);
    command
}

/// What `doctor --json` prints, and its exit code.
fn findings(command: &mut Command) -> (Value, i32, String) {
    let output = command.output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    let found = serde_json::from_slice(&output.stdout).unwrap_or_else(|problem| panic!("{problem}: {error}"));
    (found, output.status.code().unwrap(), error)
}

const SOME: [&str; 5] = ["--only", "relu f32 @", "--only", "dropout f32", "--json"];

#[test]
fn sound_kernels_agree_with_the_reference() {
    let cache = tempfile::tempdir().unwrap();
    let (found, code, error) = findings(&mut doctor(cache.path(), "", &SOME));
    assert_eq!((code, &found["verdict"]), (0, &Value::from("sound")), "{error}");
    let examined = found["examined"].as_array().unwrap();
    assert!(examined.len() >= 3 && found["cases"] == examined.len(), "{found}");
    for case in examined {
        assert_eq!(case["verdict"], "agrees", "{case}");
        assert!(case["distance"].as_f64().unwrap() < 1e-6, "{case}");
    }
    assert_eq!(found["quarantine"], Value::from([(); 0].map(|()| 0).to_vec()));
    assert!(!cache.path().join("residua/quarantine.toml").exists());
}

#[test]
fn a_kernel_that_is_wrong_hangs_or_crashes_is_put_in_quarantine() {
    for (fault, verdict) in [
        ("alter=pointwise/relu|<=|>=", "wrong"),
        ("alter=pointwise/relu|bitcast|no_such_function", "refused"),
        ("hang=pointwise/relu", "hung"),
        ("crash=pointwise/relu", "crashed"),
    ] {
        let cache = tempfile::tempdir().unwrap();
        let report = cache.path().join("report.md");
        let mut command = doctor(cache.path(), fault, &SOME);
        command.args(["--timeout", "6", "--report"]).arg(&report);
        let (found, code, error) = findings(&mut command);
        assert_eq!(
            (code, &found["verdict"]),
            (1, &Value::from("unsound")),
            "{fault}: {error}"
        );
        let last = error.lines().last().unwrap();
        assert!(last.starts_with("error: ") && last.contains("is not sound"), "{error}");
        let examined = found["examined"].as_array().unwrap();
        let mut failed = 0;
        for case in examined {
            let is_relu = case["kernel"] == "relu f32";
            let expected = if is_relu { verdict } else { "agrees" };
            assert_eq!(case["verdict"], expected, "{fault}: {case}");
            failed += usize::from(is_relu);
            if is_relu {
                let name = case["name"].as_str().unwrap();
                assert_eq!(case["reproduce"], format!("residua doctor --only '{name}'"));
            }
        }
        assert!(failed > 0 && failed < examined.len(), "{found}");
        let text = std::fs::read_to_string(&report).unwrap();
        assert!(
            text.contains("## Kernels that do not work") && text.contains("residua doctor --only 'relu f32"),
            "{text}"
        );
        let file = cache.path().join("residua/quarantine.toml");
        let entries = read_quarantine(&file).unwrap();
        assert_eq!(entries.len(), 1, "{entries:?}");
        assert_eq!(
            (entries[0].kernel.as_str(), entries[0].shaders.as_str()),
            ("relu f32", shaders_version())
        );
        let forgotten = printed(&mut doctor(cache.path(), "", &["--forget"]));
        assert!(
            forgotten.ends_with("kernels no longer in quarantine: 1\n"),
            "{forgotten}"
        );
        assert_eq!(read_quarantine(&file), Ok(Vec::new()));
    }
}

/// A network with a convolution and a linear layer on `gpu`.
fn session(gpu: &Arc<Gpu>) -> Session {
    let network = |mode| {
        let mut graph = Graph::new(mode);
        let images = graph.images(3, 8, 8);
        let x = graph
            .conv("conv", images, 16, conv(3, 1, 1), false, Init::Zero)
            .unwrap();
        let pooled = graph.global_avg_pool(x);
        let logits = graph.linear("fc", pooled, 5, Init::Zero);
        graph.cross_entropy(logits);
        graph
    };
    Session::new(gpu.clone(), Some(network(Mode::Train)), network(Mode::Eval), |_| true).unwrap()
}

fn broken(kind: AdapterKind, label: &'static str, fault: KernelFault) -> Arc<Gpu> {
    device::open(&AdapterOverrides {
        kind: Some(kind),
        broken: Some(BrokenKernels { label, fault }),
        ..AdapterOverrides::default()
    })
}

const TEXT: KernelFault = KernelFault::Altered { from: " + ", to: " - " };

/// The kernels of a training step's convolutions and linear layers, by label.
fn labels(session: &mut Session) -> Vec<String> {
    let route = session.graph().default_route();
    let kernels = session.kernels(true, 6, &route).unwrap();
    kernels
        .iter()
        .map(|kernel| kernel.dispatch.label().to_string())
        .collect()
}

#[test]
fn a_broken_kernel_is_rejected_by_the_tuner_and_the_plain_one_by_the_reference() {
    for kind in device::KINDS {
        let whole = device::of_kind(kind);
        let mut session = session(&whole);
        let own = labels(&mut session);
        let jobs = jobs(&session.request(true, 6), &target(&whole));
        let job = jobs.iter().find(|job| job.work.name() == "convolution").unwrap();
        let target = target(&whole);
        let algorithms = job.algorithms(6, &target);
        // The last call of the default algorithm.
        let label = algorithms[0].lowered.calls.last().unwrap().variant.program().label;
        assert!(own.contains(&label), "{label} in {own:?}");
        let label: &'static str = String::leak(label);
        let gpu = broken(kind, label, TEXT);
        let tuned = Tuner::new(&gpu, &Budget::default())
            .unwrap()
            .job(job, 6, &algorithms)
            .unwrap();
        let (default, result) = &tuned.results[0];
        println!(
            "{kind:?}: {label}, {default}: {result:?}, {} chosen",
            tuned.choice.algorithm
        );
        assert!(
            matches!(result, Err(Rejected::Disagrees(_) | Rejected::Failed(_))),
            "{result:?}"
        );
        assert_ne!(tuned.choice.algorithm, *default);
        let of_choice = algorithms
            .iter()
            .find(|one| one.algorithm == tuned.choice.algorithm)
            .unwrap();
        let mut labels = of_choice.lowered.calls.iter().map(|call| call.variant.program().label);
        assert!(labels.all(|own| own != label));
        // The one that all others are compared with.
        let gpu = broken(kind, "conv/plain", TEXT);
        let tuned = Tuner::new(&gpu, &Budget::default()).unwrap().job(job, 6, &algorithms);
        assert!(matches!(tuned, Err(TuningError::Wrong { .. })), "{tuned:?}");
    }
}

#[test]
fn kernels_in_quarantine_are_neither_default_nor_tuned_nor_replayed() {
    for kind in device::KINDS {
        let open = |kernels: &[String]| {
            let overrides = AdapterOverrides {
                kind: Some(kind),
                ..AdapterOverrides::default()
            };
            let mut gpu = Gpu::open_as(&residua::gpu::AdapterChoice::Best, &overrides).unwrap();
            let entry = |kernel: &String| QuarantinedKernel::new(gpu.info(), shaders_version(), kernel, "a test");
            let entries = kernels.iter().map(entry).collect();
            gpu.set_quarantined(entries);
            Arc::new(gpu)
        };
        let whole = open(&[]);
        let target = target(&whole);
        let jobs = jobs(&session(&whole).request(true, 6), &target);
        let name = |job: &Job, algorithm: &Algorithm| {
            let inputs: Vec<_> = job.inputs.iter().collect();
            residua::schedule::kernel_name(&job.work, &inputs, &job.output, Some(algorithm))
        };
        // The default algorithm of everything is banned.
        let banned: Vec<String> = jobs
            .iter()
            .map(|job| name(job, &job.algorithms(6, &target)[0].algorithm))
            .collect();
        let gpu = open(&banned);
        let mut session = session(&gpu);
        let by_default = labels(&mut self::session(&whole));
        assert_ne!(labels(&mut session), by_default, "other kernels are the default");
        let budget = Budget {
            total: 0.0,
            ..Budget::default()
        };
        let untimed = tune(&gpu, &jobs, &budget, &mut |_| {}).unwrap();
        for (job, banned) in jobs.iter().zip(&banned) {
            let chosen = untimed.exact(&job.signature(), 6).unwrap().algorithm;
            assert_ne!(name(job, &chosen), *banned);
        }
        // Kernels of a file, too.
        let replayed = tune(&whole, &jobs, &budget, &mut |_| {}).unwrap();
        let before = labels(&mut session);
        session.set_choices(replayed);
        assert_eq!(labels(&mut session), before);
        // Where nothing is left, the kernel is named.
        let all = jobs[0].algorithms(6, &target);
        let all: Vec<String> = all.iter().map(|one| name(&jobs[0], &one.algorithm)).collect();
        let mut session = self::session(&open(&all));
        let route = session.graph().default_route();
        let error = session.kernels(true, 6, &route).unwrap_err();
        assert!(
            matches!(&error, SessionError::Gpu(GpuError::Quarantined { kernel }) if *kernel == all[0]),
            "{error}"
        );
    }
}

#[test]
fn cases_have_default_kernels_first_and_outcomes_are_said_in_words() {
    let cases = cases(&Target::portable(false), false, 3);
    assert!(cases.is_sorted_by_key(|case| case.rank) && cases[0].rank == Rank::Default);
    assert!(
        cases
            .iter()
            .all(|case| case.name.starts_with(&case.kernel) && case.name.contains("@f32."))
    );
    let hung = Outcome::Hung { seconds: 30.0 };
    assert_eq!(hung.to_string(), "did not come back within 30 s");
    assert!(!hung.is_sound());
}
