//! Which arguments can have no effect under the others?
//!
//! They are refused: who gives one expects it to change something. The keys of a
//! configuration file are not, because `run.toml` has all of them.

use std::ffi::OsStr;
use std::path::Path;

use clap::parser::ValueSource;
use clap::{Arg, ArgMatches};
use toml::Table;

use super::exit::CliError;
use super::network::is_network_file;
use crate::data::{Augment, Augmentation};
use crate::train::{Config, OptimizerKind};

/// A flag, and when it has an effect.
struct Knob {
    /// The commands that the rule is about.
    commands: &'static [&'static str],
    flag: &'static str,
    /// Whether the flag has an effect among `Given`; `None` where it never has one:
    /// the command does not list a flag that it shares with others.
    works: Option<fn(&Given) -> bool>,
    /// What is missing, or in the way: "without --plan".
    why: &'static str,
}

/// The arguments of a command that were given.
struct Given<'a>(&'a ArgMatches);

impl Given<'_> {
    fn has(&self, flag: &str) -> bool {
        self.0.value_source(&flag.replace('-', "_")) == Some(ValueSource::CommandLine)
    }

    fn any(&self, flags: &[&str]) -> bool {
        flags.iter().any(|flag| self.has(flag))
    }

    /// Whether the value of `flag` was given as `value`.
    fn is(&self, flag: &str, value: &str) -> bool {
        let raw = self.0.get_raw(&flag.replace('-', "_"));
        self.has(flag) && raw.into_iter().flatten().any(|raw| raw == value)
    }

    /// Whether `argument` is the path of something that exists and describes no
    /// network.
    fn is_path(&self, argument: &str) -> bool {
        let raw = self.0.get_raw(argument);
        let is_data = |raw: &OsStr| Path::new(raw).exists() && !raw.to_str().is_some_and(is_network_file);
        raw.into_iter().flatten().any(is_data)
    }

    /// Whether `bench` measures kernels, or networks.
    fn measures(&self, part: &str) -> bool {
        self.has(part) || !self.any(&["peak", "kernels", "networks"])
    }
}

const NETWORK: &[&str] = &["eval", "explain", "lesion", "paths", "features"];
const TRAINS: &[&str] = &["train", "sweep", "stochastic-depth"];
/// What `tune` does with the cache instead of tuning.
const CACHE: [&str; 4] = ["export", "import", "list", "clear"];
const TUNES: fn(&Given) -> bool = |given| !given.any(&CACHE);
const NOT_TUNED: &str = "with --export, --import, --list or --clear";
const SAMPLES: fn(&Given) -> bool = |given| !given.is("samples", "0");
const NOT_SAMPLED: &str = "with --samples 0";
const OF_MODEL: fn(&Given) -> bool = |given| !given.is_path("model");
const OF_FILE: &str = "on a file: it is for a model's name";

const KNOBS: &[Knob] = &[
    knob(NETWORK, "checkpoint", |given| !given.has("weights"), "with --weights"),
    knob(
        &["eval", "explain", "paths", "features"],
        "table",
        |given| given.has("weights"),
        "without --weights",
    ),
    knob(
        &["eval", "explain", "paths", "features"],
        "rename",
        |given| given.has("weights"),
        "without --weights",
    ),
    knob(
        &["lesion"],
        "table",
        |given| given.any(&["weights", "beside"]),
        "without --weights or --beside",
    ),
    knob(
        &["lesion"],
        "rename",
        |given| given.any(&["weights", "beside"]),
        "without --weights or --beside",
    ),
    knob(
        &["lesion"],
        "trials",
        |given| given.any(&["delete-random", "reorder"]),
        "without --delete-random or --reorder",
    ),
    knob(
        &["lesion"],
        "random-from",
        |given| given.has("delete-random"),
        "without --delete-random",
    ),
    knob(
        &["lesion"],
        "seed",
        |given| given.any(&["delete-random", "reorder", "recalibrate"]),
        "without --delete-random, --reorder or --recalibrate",
    ),
    knob(&["paths"], "lengths", SAMPLES, NOT_SAMPLED),
    knob(&["paths"], "sample-images", SAMPLES, NOT_SAMPLED),
    knob(&["paths"], "batch-norm", SAMPLES, NOT_SAMPLED),
    knob(&["paths"], "seed", SAMPLES, NOT_SAMPLED),
    never(
        &["paths"],
        "batch-size",
        "here; --sample-images is the number of images of a pass",
    ),
    never(&["paths"], "limit-test", "here: paths are measured on training images"),
    knob(
        &["inspect"],
        "adapter",
        |given| given.any(&["plan", "data"]),
        "without --plan or --data",
    ),
    knob(
        &["inspect"],
        "no-autotune",
        |given| given.has("data"),
        "without --data: --plan lists the default algorithms",
    ),
    knob(&["inspect"], "limit-test", |given| given.has("data"), "without --data"),
    knob(&["inspect"], "input", OF_MODEL, OF_FILE),
    knob(&["inspect"], "classes", OF_MODEL, OF_FILE),
    knob(&["inspect"], "batch-size", OF_MODEL, OF_FILE),
    knob(&["inspect"], "recompute", OF_MODEL, OF_FILE),
    knob(&["inspect"], "precision", OF_MODEL, OF_FILE),
    never(&["tune"], "no-autotune", "here: the command tunes"),
    never(&["doctor"], "no-autotune", "here: kernels of both kinds are examined"),
    knob(&["tune"], "run", TUNES, NOT_TUNED),
    knob(
        &["tune"],
        "input",
        |given| TUNES(given) && !given.has("run"),
        "with --run, --export, --import, --list or --clear",
    ),
    knob(
        &["tune"],
        "classes",
        |given| TUNES(given) && !given.has("run"),
        "with --run, --export, --import, --list or --clear",
    ),
    knob(&["tune"], "batch-size", TUNES, NOT_TUNED),
    knob(&["tune"], "precision", TUNES, NOT_TUNED),
    knob(&["tune"], "again", TUNES, NOT_TUNED),
    knob(&["tune"], "adapter", TUNES, NOT_TUNED),
    knob(
        &["tune"],
        "json",
        |given| !given.any(&["export", "import", "clear"]),
        "with --export, --import or --clear",
    ),
    knob(
        &["bench"],
        "only",
        |given| given.measures("kernels"),
        "where kernels are not measured: add --kernels",
    ),
    knob(
        &["bench"],
        "models",
        |given| given.measures("networks"),
        "where networks are not measured: add --networks",
    ),
    knob(
        &["bench"],
        "batch-size",
        |given| given.measures("networks"),
        "where networks are not measured: add --networks",
    ),
    knob(
        &["bench"],
        "no-autotune",
        |given| (given.measures("kernels") || given.measures("networks")) && !given.has("compare"),
        "where only peak rates are measured: add --kernels or --networks",
    ),
    knob(
        &["bench"],
        "precision",
        |given| given.measures("kernels") || given.measures("networks"),
        "where only peak rates are measured: add --kernels or --networks",
    ),
    knob(
        TRAINS,
        "recompute",
        |given| !given.is("adapter", "reference"),
        "with --adapter reference, which stores everything",
    ),
    knob(
        &["train"],
        "auto-resume",
        |given| !given.is("adapter", "reference"),
        "with --adapter reference, which no driver can lose",
    ),
    knob(
        &["train"],
        "tuning",
        |given| !given.is("adapter", "reference"),
        "with --adapter reference, which has no kernels",
    ),
    never(
        &["stochastic-depth"],
        "depth-rule",
        "here; --rule names the rules to compare",
    ),
];

const fn knob(
    commands: &'static [&'static str],
    flag: &'static str,
    works: fn(&Given) -> bool,
    why: &'static str,
) -> Knob {
    Knob {
        commands,
        flag,
        works: Some(works),
        why,
    }
}

const fn never(commands: &'static [&'static str], flag: &'static str, why: &'static str) -> Knob {
    Knob {
        commands,
        flag,
        works: None,
        why,
    }
}

/// `argument` of `command`, without a line in its help where it never has an
/// effect.
pub fn listed(command: &str, argument: Arg) -> Arg {
    let never = |knob: &Knob| {
        knob.works.is_none()
            && knob.commands.contains(&command)
            && argument.get_id().as_str() == knob.flag.replace('-', "_")
    };
    let hidden = KNOBS.iter().any(never);
    argument.hide(hidden)
}

/// Refuses an argument of `command` that can have no effect among `matches`.
///
/// # Errors
/// For the first one.
pub fn check(command: &str, matches: &ArgMatches) -> Result<(), CliError> {
    let given = Given(matches);
    let silent = |knob: &&Knob| {
        knob.commands.contains(&command) && given.has(knob.flag) && !knob.works.is_some_and(|works| works(&given))
    };
    match KNOBS.iter().find(silent) {
        Some(knob) => Err(no_effect(knob.flag, knob.why)),
        None => Ok(()),
    }
}

fn no_effect(flag: &str, why: &str) -> CliError {
    CliError::argument(format!("--{flag} has no effect {why}"))
}

/// A setting of training, and when it has an effect.
struct SettingKnob {
    flag: &'static str,
    works: fn(&Config) -> bool,
    why: &'static str,
}

const SETTINGS: &[SettingKnob] = &[
    SettingKnob {
        flag: "epochs",
        works: |config| config.steps.is_none(),
        why: "with --steps",
    },
    SettingKnob {
        flag: "warmup",
        works: |config| config.warmup_epochs.is_none(),
        why: "with --warmup-epochs",
    },
    SettingKnob {
        flag: "warmup-lr",
        works: |config| config.warmup_epochs.map_or(config.warmup > 0, |epochs| epochs > 0.0),
        why: "without --warmup",
    },
    SettingKnob {
        flag: "momentum",
        works: |config| config.optimizer != OptimizerKind::AdamW,
        why: "with --optimizer adamw, which has --beta1",
    },
    SettingKnob {
        flag: "nesterov",
        works: |config| config.momentum != 0.0 && config.optimizer != OptimizerKind::AdamW,
        why: "without momentum",
    },
    SettingKnob {
        flag: "beta1",
        works: |config| config.optimizer == OptimizerKind::AdamW,
        why: "without --optimizer adamw",
    },
    SettingKnob {
        flag: "beta2",
        works: |config| config.optimizer == OptimizerKind::AdamW,
        why: "without --optimizer adamw",
    },
    SettingKnob {
        flag: "eps",
        works: |config| config.optimizer != OptimizerKind::Sgd,
        why: "without --optimizer adamw or lars",
    },
    SettingKnob {
        flag: "trust",
        works: |config| config.optimizer == OptimizerKind::Lars,
        why: "without --optimizer lars",
    },
    SettingKnob {
        flag: "decay",
        works: |config| config.weight_decay != 0.0,
        why: "without weight decay",
    },
    SettingKnob {
        flag: "depth-rule",
        works: |config| config.stochastic_depth.is_some(),
        why: "without --stochastic-depth",
    },
    SettingKnob {
        flag: "depth-per",
        works: |config| config.stochastic_depth.is_some(),
        why: "without --stochastic-depth",
    },
    SettingKnob {
        flag: "table",
        works: |config| config.init.is_some(),
        why: "without --init",
    },
    SettingKnob {
        flag: "rename",
        works: |config| config.init.is_some(),
        why: "without --init",
    },
    SettingKnob {
        flag: "padding",
        works: |config| {
            let parsed = config.augment.parse::<Augmentation>();
            parsed.map_or(true, |augmentation| augmentation.augment == Augment::CropFlip)
        },
        why: "without --augment crop-flip",
    },
    SettingKnob {
        flag: "tensorboard-histograms",
        works: |config| config.tensorboard,
        why: "without --tensorboard",
    },
];

/// Refuses a setting of `given`, flags or keys of a grid, that has no effect in
/// any of `configs`, the settings that are trained.
///
/// # Errors
/// For the first one.
pub fn check_settings<'a>(given: &Table, configs: impl Iterator<Item = &'a Config> + Clone) -> Result<(), CliError> {
    let silent = |knob: &&SettingKnob| given.contains_key(knob.flag) && !configs.clone().any(knob.works);
    match SETTINGS.iter().find(silent) {
        Some(knob) => Err(no_effect(knob.flag, knob.why)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::commands::command_named;

    fn checked(line: &str) -> Result<(), CliError> {
        let words = std::iter::once("residua").chain(line.split_whitespace());
        let matches = command_named("residua")
            .try_get_matches_from(words)
            .unwrap_or_else(|error| panic!("{error}"));
        let (command, matches) = matches.subcommand().unwrap();
        check(command, matches)
    }

    /// For each rule a command line that it refuses, and one that it accepts if
    /// there is one.
    const LINES: &[(&str, &str)] = &[
        (
            "eval --weights w --model m --data d --checkpoint best",
            "eval --run r --checkpoint best",
        ),
        (
            "eval --run r --table t",
            "eval --weights w --model m --data d --table t",
        ),
        (
            "features --block 1 --out x.npy --rename a=b",
            "features --block 1 --out x.npy --weights w --model m --rename a=b",
        ),
        ("lesion --table t", "lesion --table t --beside m=w"),
        ("lesion --rename a=b", "lesion --rename a=b --weights w --model m"),
        ("lesion --trials 3", "lesion --trials 3 --reorder 1"),
        (
            "lesion --random-from all --reorder 1",
            "lesion --random-from all --delete-random 1",
        ),
        ("lesion --seed 1", "lesion --seed 1 --recalibrate 9"),
        ("paths --samples 0 --lengths 1..2", "paths --lengths 1..2"),
        (
            "paths --samples 0 --sample-images 2",
            "paths --samples 1 --sample-images 2",
        ),
        ("paths --samples 0 --batch-norm batch", "paths --batch-norm batch"),
        ("paths --samples 0 --seed 1", "paths --seed 1"),
        ("paths --batch-size 3", ""),
        ("paths --limit-test 3", ""),
        ("inspect resnet8 --adapter 0", "inspect resnet8 --adapter 0 --plan"),
        (
            "inspect resnet8 --plan --no-autotune",
            "inspect w --data d --no-autotune",
        ),
        ("inspect w --limit-test 3", "inspect w --data d --limit-test 3"),
        ("inspect README.md --input 3x8x8", "inspect resnet8 --input 3x8x8"),
        ("inspect README.md --classes 3", "inspect resnet8 --classes 3"),
        ("inspect README.md --batch-size 3", "inspect resnet8 --batch-size 3"),
        ("inspect README.md --recompute none", "inspect resnet8 --recompute none"),
        ("inspect README.md --precision f16", "inspect resnet8 --precision f16"),
        ("tune resnet8 --no-autotune", ""),
        ("doctor --no-autotune", ""),
        ("tune --run r --clear", "tune --run r"),
        ("tune --run r --input 3x8x8", "tune resnet8 --input 3x8x8"),
        ("tune --list --classes 3", "tune resnet8 --classes 3"),
        ("tune --list --batch-size 3", "tune --run r --batch-size 3"),
        ("tune --list --precision f16", "tune --run r --precision f16"),
        ("tune --import f --again", "tune resnet8 --again"),
        ("tune --export f --adapter 0", "tune resnet8 --adapter 0"),
        ("tune --clear --json", "tune --list --json"),
        ("bench --networks --only conv", "bench --networks --kernels --only conv"),
        ("bench --peak --models resnet8", "bench --models resnet8"),
        ("bench --kernels --batch-size 8", "bench --batch-size 8"),
        ("bench --peak --no-autotune", "bench --networks --no-autotune"),
        ("bench --peak --precision f16", "bench --kernels --precision f16"),
        (
            "train --recompute blocks --adapter reference",
            "train --recompute blocks",
        ),
        ("train --auto-resume --adapter reference", "train --auto-resume"),
        ("train --tuning f --adapter reference", "train --tuning f"),
        (
            "stochastic-depth --out o --depth-rule uniform",
            "train --depth-rule uniform",
        ),
    ];

    #[test]
    fn every_rule_refuses_and_accepts() {
        assert_eq!(LINES.len(), KNOBS.len());
        for (knob, (refused, accepted)) in KNOBS.iter().zip(LINES) {
            let line = checked(refused).expect_err(refused).line();
            let expected = format!("--{} has no effect {}", knob.flag, knob.why);
            assert!(line.contains(&expected), "{refused}: {line}");
            if !accepted.is_empty() {
                assert!(checked(accepted).is_ok(), "{accepted}");
            }
            // A rule names arguments that its commands have.
            for name in knob.commands {
                let mut program = command_named("residua");
                let command = program.find_subcommand_mut(name).expect("a command");
                let id = knob.flag.replace('-', "_");
                let argument = command
                    .get_arguments()
                    .find(|argument| argument.get_id() == id.as_str());
                let argument = argument.unwrap_or_else(|| panic!("{name} {id}"));
                assert_eq!(argument.is_hide_set(), knob.works.is_none(), "{name} {id}");
            }
        }
        for command in [
            "train",
            "eval",
            "lesion",
            "paths",
            "devices",
            "bench",
            "sweep --grid a=b --out o",
        ] {
            assert!(checked(command).is_ok(), "{command}");
        }
    }

    #[test]
    fn every_setting_is_refused_where_it_has_no_effect() {
        type Change = fn(&mut Config);
        let sgd: Change = |c| c.optimizer = OptimizerKind::Sgd;
        let adamw: Change = |c| c.optimizer = OptimizerKind::AdamW;
        let without: &[(&str, Change, Change)] = &[
            ("epochs", |c| c.steps = Some(3), |c| c.steps = None),
            ("warmup", |c| c.warmup_epochs = Some(1.0), |c| c.warmup_epochs = None),
            ("warmup-lr", |c| c.warmup = 0, |c| c.warmup = 5),
            ("momentum", adamw, sgd),
            ("nesterov", |c| c.momentum = 0.0, |c| c.momentum = 0.9),
            ("beta1", sgd, adamw),
            ("beta2", sgd, adamw),
            ("eps", sgd, adamw),
            ("trust", adamw, |c| c.optimizer = OptimizerKind::Lars),
            ("decay", |c| c.weight_decay = 0.0, |c| c.weight_decay = 1e-4),
            (
                "depth-rule",
                |c| c.sample_blocks = Some(1),
                |c| c.stochastic_depth = Some(0.5),
            ),
            (
                "depth-per",
                |c| c.stochastic_depth = None,
                |c| c.stochastic_depth = Some(0.5),
            ),
            ("table", |c| c.init = None, |c| c.init = Some("file".into())),
            ("rename", |c| c.init = None, |c| c.init = Some("file".into())),
            (
                "padding",
                |c| c.augment = "flip".into(),
                |c| c.augment = "crop-flip".into(),
            ),
            (
                "tensorboard-histograms",
                |c| c.tensorboard = false,
                |c| c.tensorboard = true,
            ),
        ];
        assert_eq!(without.len(), SETTINGS.len());
        for (flag, off, on) in without {
            let given = Table::from_iter([(flag.to_string(), toml::Value::Boolean(true))]);
            let with = |change: &Change| {
                let mut config = Config::default();
                change(&mut config);
                config
            };
            let (off, on) = (with(off), with(on));
            let line = check_settings(&given, [&off].into_iter()).unwrap_err().line();
            assert!(line.contains(&format!("--{flag} has no effect")), "{line}");
            assert!(check_settings(&given, [&off, &on].into_iter()).is_ok(), "{flag}");
            assert!(check_settings(&Table::new(), [&off].into_iter()).is_ok(), "{flag}");
        }
    }

    #[test]
    fn padding_has_an_effect_with_every_augmentation_that_crops() {
        let padding = SETTINGS.iter().find(|knob| knob.flag == "padding").unwrap();
        for (augment, works) in [
            ("crop-flip", true),
            ("autoaugment", true),
            ("crop-flip+color-jitter:0.4", true),
            ("flip+trivialaugment", false),
            ("resized-crop", false),
            ("none", false),
        ] {
            let config = Config {
                augment: augment.into(),
                ..Config::default()
            };
            assert_eq!((padding.works)(&config), works, "{augment}");
        }
    }
}
