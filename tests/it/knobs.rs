//! Are arguments refused that can have no effect, and only those?

use crate::support::program::{failure, program};

#[test]
fn arguments_without_effect_exit_with_2_and_name_the_flag() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let cases = [
        ("train --warmup-lr 0.01", "--warmup-lr has no effect without --warmup"),
        (
            "train --depth-rule uniform",
            "--depth-rule has no effect without --stochastic-depth",
        ),
        (
            "train --depth-per sample",
            "--depth-per has no effect without --stochastic-depth",
        ),
        (
            "train --padding reflect --augment none",
            "--padding has no effect without --augment crop-flip",
        ),
        ("train --epochs 3 --steps 9", "--epochs has no effect with --steps"),
        (
            "train --nesterov --momentum 0",
            "--nesterov has no effect without momentum",
        ),
        (
            "train --decay weights --weight-decay 0",
            "--decay has no effect without weight decay",
        ),
        ("train --tuning f --no-autotune", "--no-autotune"),
        (
            "train --recompute blocks --adapter reference",
            "--recompute has no effect",
        ),
        (
            "sweep --grid lr=0.1,0.2 --lr 0.3",
            "--lr has no effect: --grid has the values of lr",
        ),
        ("sweep --grid depth-rule=linear,uniform", "--depth-rule has no effect"),
        (
            "stochastic-depth --depth-rule uniform",
            "--depth-rule has no effect here",
        ),
    ];
    for (line, part) in cases {
        let (code, error) = failure(program("residua").args(line.split(' ')).arg("--out").arg(&out));
        assert_eq!((code, error.contains(part)), (2, true), "{line}: {error}");
    }
    assert!(!out.exists(), "nothing is written");
    let cases = [
        (
            "eval --weights w --model resnet8 --data synthetic --checkpoint best",
            "--checkpoint has no effect",
        ),
        (
            "lesion --trials 5",
            "--trials has no effect without --delete-random or --reorder",
        ),
        ("paths --samples 0 --seed 3", "--seed has no effect with --samples 0"),
        (
            "inspect resnet8 --no-autotune",
            "--no-autotune has no effect without --data",
        ),
        ("tune resnet8 --list", "--list"),
        ("bench --peak --models resnet8", "--models has no effect"),
    ];
    for (line, part) in cases {
        let (code, error) = failure(program("residua").args(line.split(' ')));
        assert_eq!((code, error.contains(part)), (2, true), "{line}: {error}");
    }
}

#[test]
fn keys_of_a_file_may_have_no_effect_and_schedules_beyond_the_end_are_noted() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("run.toml");
    std::fs::write(
        &file,
        "model = 'resnet8'\ndata = 'synthetic:64,16'\nbatch-size = 16\nwarmup-lr = 0.01\ndepth-rule = 'uniform'\n\
         padding = 'reflect'\naugment = 'none'\nepochs = 7\nsteps = 2\nmomentum = 0.0\nnesterov = true\n",
    )
    .unwrap();
    let mut command = program("residua");
    command
        .arg("train")
        .arg("--config")
        .arg(&file)
        .arg("--out")
        .arg(folder.path().join("run"));
    // A flag can make use of a key, and be made use of.
    command.args(["--schedule", "multi-step:1,30@0.1", "--warmup", "5"]);
    let output = command.output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{text}");
    for part in [
        "the warm-up of 5 steps does not end within the run of 2 steps",
        "the learning rate does not fall at epoch 1, 30: the run ends after 0.5 epochs",
    ] {
        assert!(text.lines().any(|line| line == part), "{part} in {text}");
    }
}
