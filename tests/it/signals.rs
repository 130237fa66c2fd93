//! Does a signal end a program with all that it has computed stored, so that it
//! goes on to the same bits?

use std::fs;
use std::path::Path;

use crate::support::metrics::without_time;
use crate::support::program::{failure, program};
use crate::support::run;
use residua::stop::StopToken;
use residua::studies::{Sweep, SweepEvent, SweepPoint};
use residua::train::{Adapter, Config, Event, RunDirectory};

/// Six steps in an epoch, two epochs.
fn config() -> Config {
    Config {
        model: "resnet8".into(),
        batch_size: 16,
        lr: 0.05,
        log_steps: true,
        log_gradients: true,
        ..Config::for_data("synthetic:96,32")
    }
}

/// Trains in `path`, and asks to stop when `asks` says so; whether the run was
/// stopped.
fn train(path: &Path, asks: impl FnMut(&Event) -> bool) -> bool {
    run::train(path, config(), &Adapter::default(), asks).stopped
}

/// What a run leaves that does not depend on time.
fn results(path: &Path) -> Vec<Vec<u8>> {
    let read = |name: &str| fs::read(path.join(name)).unwrap();
    let mut files = vec![without_time(path).join("\n").into_bytes()];
    for name in ["steps.csv", "gradients.csv", "last.safetensors", "best.safetensors"] {
        files.push(read(name));
    }
    files
}

#[test]
fn a_run_that_is_stopped_after_any_step_goes_on_to_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    let whole = folder.path().join("whole");
    assert!(!train(&whole, |_| false));
    let expected = results(&whole);
    let rows = |path: &Path| fs::read_to_string(path.join("steps.csv")).unwrap().lines().count() as u32;
    let path = folder.path().join("stopped-once");
    assert!(train(&path, |event| matches!(event, Event::Step { done: 1, .. })));
    assert_eq!(rows(&path), 1 + 1, "steps.csv has every step");
    assert!(!train(&path, |_| false));
    assert!(results(&path) == expected);
    // Steps 6 and 12 end an epoch: the stop interrupts its test.
    let path = folder.path().join("stopped-often");
    let every_third = |event: &Event| matches!(event, Event::Step { done, .. } if done % 3 == 0);
    for at in [3, 6, 9, 12] {
        assert!(train(&path, every_third), "step {at}");
        assert_eq!(rows(&path), at + 1);
    }
    assert!(!train(&path, every_third));
    assert!(results(&path) == expected);
}

#[test]
fn a_sweep_that_is_stopped_in_the_last_test_of_a_run_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let point = || SweepPoint::new(vec![("seed".into(), "0".into())], config());
    let sweep = |name: &str, stops: bool| {
        let sweep = Sweep::plan(vec![point()], &folder.path().join(name)).unwrap();
        let stop = StopToken::default();
        let trained = sweep.heed(stop.clone()).train(&Adapter::default(), &mut |progress| {
            let last = matches!(progress.event, SweepEvent::Training(Event::Step { done, of, .. }) if done == of);
            if stops && last {
                stop.stop();
            }
        });
        trained.map(|results| results.points.len())
    };
    assert_eq!(sweep("whole", false).unwrap(), 1);
    assert!(sweep("stopped", true).unwrap_err().is_stopped());
    let run = |name: &str| folder.path().join(name).join("runs").join(point().name);
    assert!(RunDirectory::open(&run("stopped")).unwrap().last().exists());
    assert_eq!(sweep("stopped", false).unwrap(), 1);
    assert_eq!(results(&run("stopped")), results(&run("whole")));
}

#[test]
fn losses_are_in_the_table_before_a_run_diverges() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let mut command = program("residua");
    command.args([
        "train",
        "--model",
        "resnet8",
        "--data",
        "synthetic:96,32",
        "--batch-size",
        "16",
    ]);
    command.args([
        "--lr",
        "1e6",
        "--schedule",
        "constant",
        "--epochs",
        "9",
        "--log-steps",
        "--out",
    ]);
    let (code, line) = failure(command.arg(&out));
    let words: Vec<&str> = line.split_whitespace().collect();
    let at = words.windows(2).find(|pair| pair[0] == "step").expect(&line)[1];
    let table = fs::read_to_string(out.join("steps.csv")).unwrap();
    assert_eq!(
        (code, table.lines().count()),
        (1, at.parse::<usize>().unwrap()),
        "{line}: {table}"
    );
}

#[cfg(unix)]
mod programs {
    use std::io::Read as _;
    use std::path::Path;
    use std::process::{Child, Command, Stdio};
    use std::time::{Duration, Instant};

    use super::*;

    /// A program that was started, and is ended with its test.
    struct Started(Child);

    impl Started {
        fn new(arguments: &[&str], out: &Path) -> Self {
            let mut command = Command::new(env!("CARGO_BIN_EXE_residua"));
            command.args(arguments).arg("--out").arg(out);
            command
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::piped());
            Started(command.spawn().unwrap())
        }

        fn signal(&self, name: &str) {
            let sent = Command::new("kill")
                .args(["-s", name, &self.0.id().to_string()])
                .status();
            assert!(sent.unwrap().success());
        }

        /// Waits until `is_so`.
        fn wait_until(&mut self, mut is_so: impl FnMut() -> bool) {
            let began = Instant::now();
            while !is_so() {
                assert!(began.elapsed() < Duration::from_secs(600), "it hangs");
                assert!(self.0.try_wait().unwrap().is_none(), "{}", self.text());
                std::thread::sleep(Duration::from_millis(20));
            }
        }

        fn text(&mut self) -> String {
            let mut text = String::new();
            self.0.stderr.take().unwrap().read_to_string(&mut text).unwrap();
            text
        }

        /// The exit code, and what was written to standard error.
        fn end(mut self) -> (Option<i32>, String) {
            let text = self.text();
            (self.0.wait().unwrap().code(), text)
        }
    }

    impl Drop for Started {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    /// An epoch takes many seconds: lines of progress are written within it.
    const LONG: [&str; 13] = [
        "train",
        "--model",
        "resnet8",
        "--data",
        "synthetic:9600,32",
        "--batch-size",
        "16",
        "--epochs",
        "9999",
        "--no-autotune",
        "--log-steps",
        "--log-every",
        "1",
    ];

    #[test]
    fn training_ends_with_the_code_of_the_signal_and_says_how_to_go_on() {
        let folder = tempfile::tempdir().unwrap();
        for (signal, code) in [("INT", 130), ("TERM", 143), ("HUP", 129)] {
            let out = folder.path().join(signal);
            let mut run = Started::new(&LONG, &out);
            run.wait_until(|| fs::read_to_string(out.join("steps.csv")).is_ok_and(|text| text.lines().count() > 20));
            // A line of progress is written each second, and twenty steps may take less.
            std::thread::sleep(Duration::from_secs(2));
            run.signal(signal);
            let (found, text) = run.end();
            assert_eq!(found, Some(code), "{signal}: {text}");
            let last = text.lines().last().unwrap();
            let resume = format!("train --resume {}", out.display());
            assert!(
                last.starts_with("stopped after step") && last.contains(&resume),
                "{text}"
            );
            assert!(!text.contains("panicked"), "{text}");
            assert!(
                text.lines()
                    .any(|line| line.starts_with("step ") && line.contains("loss")),
                "{text}"
            );
            let step: usize = last.split_whitespace().nth(3).unwrap().parse().unwrap();
            let rows = fs::read_to_string(out.join("steps.csv")).unwrap().lines().count();
            assert_eq!(rows, step + 1);
        }
    }

    /// Under a scheduler, the same command begins a run, goes on, and asks to be started
    /// again.
    #[test]
    fn a_run_that_a_scheduler_ends_asks_to_be_started_again() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("run");
        let rows = || fs::read_to_string(out.join("steps.csv")).map_or(0, |text| text.lines().count());
        let command: Vec<&str> = LONG.iter().copied().chain(["--continue"]).collect();
        for _ in 0..2 {
            let before = rows();
            let mut run = Started::new(&command, &out);
            run.wait_until(|| rows() > before + 20);
            run.signal("TERM");
            let (found, text) = run.end();
            assert_eq!(found, Some(75), "{text}");
            assert!(text.lines().last().unwrap().starts_with("stopped after step"), "{text}");
        }
        let mut other = program("residua");
        let (code, line) = failure(other.args(&command).args(["--lr", "0.5", "--out"]).arg(&out));
        assert_eq!((code, line.contains("lr is 0.1, not 0.5")), (1, true), "{line}");
        let foreign = folder.path().join("foreign");
        fs::create_dir(&foreign).unwrap();
        fs::write(foreign.join("run.toml"), "mine = 1").unwrap();
        let (code, line) = failure(program("residua").args(&command).arg("--out").arg(&foreign));
        assert_eq!(code, 1, "{line}");
        assert_eq!(fs::read_to_string(foreign.join("run.toml")).unwrap(), "mine = 1");
        let (code, line) = failure(program("residua").args(["train", "--continue"]));
        assert_eq!((code, line.contains("--out")), (2, true), "{line}");
    }

    #[test]
    fn programs_that_are_killed_lose_nothing() {
        let programs = Path::new(env!("CARGO_BIN_EXE_residua")).parent().unwrap();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/kill-test.sh");
        let test = Command::new("bash")
            .arg(script)
            .arg("6")
            .arg(programs)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&test.stdout);
        assert!(test.status.success() && text.ends_with("0 failures\n"), "{text}");
    }

    #[test]
    fn a_second_signal_ends_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("run");
        // A step takes seconds: it is not over when the second signal comes.
        let slow = [
            "train",
            "--model",
            "resnet110",
            "--data",
            "synthetic:1024,32",
            "--batch-size",
            "1024",
            "--no-autotune",
        ];
        let mut run = Started::new(&slow, &out);
        run.wait_until(|| out.join("run.toml").exists());
        run.signal("TERM");
        run.signal("INT");
        run.0.wait().unwrap();
        let (code, text) = run.end();
        // Signals that come together may be delivered in any order.
        assert!(code == Some(130) || code == Some(143), "{text}");
        assert!(!text.contains("stopped after"), "{text}");
        assert!(!out.join("last.safetensors").exists());
    }

    #[test]
    fn commands_that_store_nothing_end_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let mut bench = Started::new(&["bench", "--networks"], &folder.path().join("bench"));
        // The handlers are there once the program has opened its device.
        std::thread::sleep(Duration::from_secs(2));
        bench.wait_until(|| true);
        bench.signal("INT");
        let (code, text) = bench.end();
        assert_eq!(code, Some(130), "{text}");
    }

    #[test]
    fn a_study_keeps_its_results_and_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let (run, out) = (folder.path().join("run"), folder.path().join("paths"));
        let small = [
            "train",
            "--model",
            "resnet8",
            "--data",
            "synthetic:96,32",
            "--epochs",
            "1",
            "--out",
        ];
        program("residua").args(small).arg(&run).assert().success();
        let path = run.to_str().unwrap();
        let paths = ["paths", "--samples", "1000000", "--run", path];
        let log = || fs::read_to_string(out.join("results.jsonl")).unwrap_or_default();
        let mut study = Started::new(&paths, &out);
        study.wait_until(|| log().lines().count() > 10);
        study.signal("TERM");
        let (code, text) = study.end();
        assert_eq!(code, Some(143), "{text}");
        let last = text.lines().last().unwrap();
        assert!(
            last.contains("the results so far are in") && last.contains("continues there"),
            "{text}"
        );
        let before = log();
        assert!(before.ends_with('\n'));
        let mut again = Started::new(&paths, &out);
        again.wait_until(|| log().len() > before.len());
        assert!(log().starts_with(&before), "results are kept");
        again.signal("INT");
        assert_eq!(again.end().0, Some(130));
    }
}
