//! Do paths of every kind work, or are they refused in one line before any work
//! begins? Does output that cannot be written fail?

use std::fs;

use crate::support::program::{failure, printed, program};

#[test]
fn a_negative_number_is_refused_by_the_name_of_its_flag() {
    for (arguments, part) in [
        (["train", "--epochs", "-1"], "'-1' for '--epochs <N>'"),
        (["train", "--batch-size", "-3"], "'-3' for '--batch-size <N>'"),
        (["lesion", "--trials", "-1"], "'-1' for '--trials <N>'"),
        (["paths", "--samples", "-1"], "'-1' for '--samples <N>'"),
        (["bench", "--batch-size", "-1"], "'-1' for '--batch-size <N>'"),
    ] {
        let (code, line) = failure(program("residua").args(arguments));
        assert_eq!((code, line.contains(part)), (2, true), "{line}");
    }
}

#[test]
fn folders_that_cannot_be_written_are_refused_before_any_work() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a file");
    fs::write(&file, b"mine").unwrap();
    let long = folder.path().join("a".repeat(300));
    let missing = folder.path().join("no/such/folder");
    let (file, long) = (file.to_str().unwrap(), long.to_str().unwrap());
    let missing = |name: &str| missing.join(name).to_str().unwrap().to_string();
    let (predictions, activations) = (missing("x.csv"), missing("x.npy"));
    // The run and the weights do not exist either: the output is checked first.
    let cases: &[&[&str]] = &[
        &["train", "--out", file],
        &["train", "--out", long],
        &["lesion", "--run", "none", "--out", file],
        &["lesion", "--run", "none", "--out", long],
        &["paths", "--run", "none", "--out", file],
        &["curves", "none", "--out", file],
        &["sweep", "--grid", "seed=0,1", "--out", file],
        &["stochastic-depth", "--out", file],
        &["bench", "--quick", "--out", file],
        &["eval", "--run", "none", "--predictions", &predictions],
        &["features", "--run", "none", "--block", "1", "--out", &activations],
    ];
    for arguments in cases {
        let (code, line) = failure(program("residua").args(*arguments));
        assert_eq!(code, 1, "{arguments:?}: {line}");
        let named = arguments.last().unwrap();
        assert!(line.contains(&named[..40.min(named.len())]), "{arguments:?}: {line}");
    }
    assert_eq!(fs::read(file).unwrap(), b"mine");
}

#[test]
fn odd_names_of_a_run_work() {
    let folder = tempfile::tempdir().unwrap();
    let odd = [
        "with  two spaces",
        "line\nbreak",
        "-dash",
        "ünï",
        "a'b\"c$d`e",
        "cifar10:x=y",
    ];
    let long = "n".repeat(200);
    let names = ["plain", &long].into_iter().chain(odd);
    let mut trained = None;
    for name in names {
        let out = folder.path().join(name);
        match &trained {
            // One run, under every name.
            None => {
                let small = [
                    "train",
                    "--model",
                    "resnet8",
                    "--data",
                    "synthetic:64,16",
                    "--epochs",
                    "1",
                    "--no-autotune",
                ];
                program("residua").args(small).arg("--out").arg(&out).assert().success();
            }
            Some(before) => fs::rename(before, &out).unwrap(),
        }
        // From beside it, a name that begins with a dash needs `=`.
        let run = format!("--run={name}");
        let study = format!("--out={name}-study");
        let mut lesion = program("residua");
        lesion
            .current_dir(folder.path())
            .args(["lesion", &run, &study, "--json"]);
        printed(&mut lesion);
        let report = folder.path().join(format!("{name}-study/report.html"));
        assert!(report.is_file(), "{name}");
        trained = Some(out);
    }
}

#[test]
fn a_tilde_that_no_shell_expanded_is_the_home_folder() {
    let home = tempfile::tempdir().unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let cache = std::env::var_os("XDG_CACHE_HOME").unwrap_or_else(|| home.path().join("cache").into());
    let mut man = program("residua");
    man.current_dir(elsewhere.path())
        .env("HOME", home.path())
        .env("USERPROFILE", home.path())
        .env("XDG_CACHE_HOME", cache)
        .args(["man", "--out=~/pages"]);
    man.assert().success();
    assert!(home.path().join("pages/residua.1").is_file());
    assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 0);
}

#[cfg(unix)]
mod unix {
    use std::ffi::OsString;
    use std::fs::File;
    use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn names_that_are_no_text_are_refused_in_one_line() {
        let folder = tempfile::tempdir().unwrap();
        let bad = folder.path().join(OsString::from_vec(b"\xff\xfe".to_vec()));
        fs::create_dir(&bad).unwrap();
        let cases: &[&[&str]] = &[
            &["train", "--out"],
            &["train", "--resume"],
            &["train", "--init"],
            &["train", "--config"],
            &["train", "--tuning"],
            &["train", "--data"],
            &["train", "--model"],
            &["eval", "--run"],
            &["lesion", "--run", "x", "--out"],
            &["lesion", "--beside"],
            &["curves"],
            &["convert", "x"],
            &["features", "--block", "1", "--out"],
            &["sweep", "--grid", "seed=0,1", "--out"],
            &["tune", "--export"],
            &["bench", "--compare", "x"],
            &["man", "--out"],
            &["inspect"],
        ];
        for arguments in cases {
            let (code, line) = failure(program("residua").args(*arguments).arg(&bad));
            assert_eq!(
                (code, line.contains("is not UTF-8")),
                (2, true),
                "{arguments:?}: {line}"
            );
        }
        // The folder that a program runs in has such a name: paths below it are
        // recorded as they were given, or refused.
        let mut inside = program("residua");
        let small = [
            "train",
            "--model",
            "resnet8",
            "--data",
            "synthetic:64,16",
            "--epochs",
            "1",
            "--json",
        ];
        inside.current_dir(&bad).args(small);
        printed(&mut inside);
        let (code, line) = failure(
            program("residua")
                .current_dir(&bad)
                .args(["train", "--init", "w.safetensors"]),
        );
        assert!(code > 0, "{line}");
        let (code, line) = failure(
            program("residua")
                .current_dir(&bad)
                .args(["train", "--data", "cifar10:x"]),
        );
        assert!(code > 0, "{line}");
        assert!(bad.as_os_str().as_bytes().ends_with(b"\xff\xfe"));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn output_that_cannot_be_written_is_an_error_and_a_closed_pipe_is_none() {
        for arguments in [
            &["inspect", "resnet8", "--json"][..],
            &["inspect", "resnet8"],
            &["devices", "--json"],
            &["completions", "bash"],
            &["man"],
            &["tune", "--list"],
            &["--help"],
            &["--version"],
        ] {
            let residua = || {
                let mut command = Command::new(env!("CARGO_BIN_EXE_residua"));
                command.args(arguments).stderr(Stdio::piped());
                command
            };
            let full = File::options().write(true).open("/dev/full").unwrap();
            let output = residua().stdout(full).output().unwrap();
            let text = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(1), "{arguments:?}: {text}");
            assert!(text.starts_with("error: standard output cannot be written"), "{text}");
            assert_eq!(text.lines().count(), 1, "{text}");
            let (reader, writer) = std::io::pipe().unwrap();
            drop(reader);
            let output = residua().stdout(writer).output().unwrap();
            assert_eq!(output.status.code(), Some(0), "{arguments:?}");
            assert!(output.stderr.is_empty(), "{arguments:?}");
        }
    }

    #[test]
    fn a_folder_that_may_only_be_read_is_refused() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o555)).unwrap();
        let made = File::create(folder.path().join("probe"));
        if made.is_ok() {
            eprintln!("RUNS AS A USER WHO MAY WRITE EVERYWHERE: read-only folders are not tried");
            return;
        }
        let (code, line) = failure(program("residua").args(["curves", "none", "--out"]).arg(folder.path()));
        assert_eq!((code, line.contains("cannot write")), (1, true), "{line}");
    }
}
