//! Which arguments do several commands share?

use std::ops::RangeInclusive;
use std::path::PathBuf;

use clap::Args;

use crate::data::{ArgumentError, Preparation};
use crate::models::{InputShape, ModelError, ModelSpec};
use crate::train::Adapter;
use crate::tuning::{KernelSource, cache_path};
use crate::weights::{NameOptions, Rename};

/// Which device computes, and with which kernels.
#[derive(Debug, Clone, Args)]
pub struct AdapterArgs {
    /// Adapter: its number in `residua devices` or a part of its name; reference
    /// computes in 64 bits on the processor, slowly and without a driver
    /// [default: WGPU_ADAPTER_NAME, else the best: a GPU before software]
    #[arg(long, value_name = "NAME|INDEX")]
    pub adapter: Option<String>,
    /// Use the default algorithm of every kernel [default: those that `residua
    /// tune` or a long training run found to be the fastest on this device]
    #[arg(long)]
    pub no_autotune: bool,
}

impl AdapterArgs {
    /// The adapter that the arguments name.
    pub fn choice(&self) -> Adapter {
        let named = self
            .adapter
            .as_deref()
            .map(|name| name.parse().unwrap_or_else(|never| match never {}));
        named.unwrap_or_default()
    }

    /// Where the algorithms of kernels come from.
    pub fn kernels(&self) -> KernelSource {
        if self.no_autotune {
            KernelSource::Default
        } else {
            KernelSource::Tuned { file: cache_path() }
        }
    }
}

/// How the names in a weights file are to be understood.
#[derive(Debug, Clone, Args)]
pub struct NameArgs {
    /// Key of the table of tensors, such as state_dict or model.state_dict, or the
    /// first part of their names, such as student [default: the most usual one]
    #[arg(long, value_name = "KEY")]
    pub table: Option<String>,
    /// Read the tensors or layers named FROM as TO; may be repeated. A FROM that
    /// ends with a dot is a beginning of names [default: none]
    #[arg(long, value_name = "FROM=TO", action = clap::ArgAction::Append)]
    pub rename: Vec<Rename>,
}

impl NameArgs {
    /// The options that these arguments stand for.
    pub fn options(&self) -> NameOptions {
        NameOptions {
            table: self.table.clone(),
            renames: self.rename.clone(),
        }
    }
}

/// A trained network: a run, or weights and a model's name.
#[derive(Debug, Clone, Args)]
pub struct NetworkArgs {
    /// Directory of a run [default: without --weights, the newest run under runs/]
    #[arg(long, value_name = "DIR", conflicts_with = "weights")]
    pub run: Option<PathBuf>,
    /// The run's last weights, or its best: those with the smallest test error, or
    /// validation error where the run has validation images
    #[arg(long, value_name = "WHICH", default_value = "last", value_parser = ["last", "best"])]
    pub checkpoint: String,
    /// Weights file (.safetensors, or .pth of PyTorch); parameter names of other
    /// programs are translated [default: the run's]
    #[arg(long, value_name = "FILE")]
    pub weights: Option<PathBuf>,
    /// Model of the weights, where their file does not say it; names as in
    /// `residua train --help` [default: what the file says]
    #[arg(long, value_name = "NAME|FILE")]
    pub model: Option<String>,
    /// Images: synthetic, a folder or file, or KIND:PATH, as cifar10:DIR; `residua
    /// data --help` lists the kinds [default: those of
    /// the training, where the file says it]
    #[arg(long, value_name = "SPEC")]
    pub data: Option<String>,
    /// How the names in the weights file are to be understood.
    #[command(flatten)]
    pub names: NameArgs,
    /// The number of images, and their normalisation.
    #[command(flatten)]
    pub images: ImageArgs,
}

/// The number of images, and their normalisation.
#[derive(Debug, Clone, Args)]
pub struct ImageArgs {
    /// Use only the first N test images [default: the run's, else all]
    #[arg(long, value_name = "N")]
    pub limit_test: Option<usize>,
    /// Mean of each channel, of pixel values in [0, 1], as in 0.485,0.456,0.406;
    /// or a named set: cifar10, cifar10-legacy, cifar100, svhn, mnist,
    /// fashion-mnist, stl10, tiny-imagenet, imagenet, none
    /// [default: what the file says, also with another --data; else the data set's]
    #[arg(long, value_name = "LIST|NAME", allow_hyphen_values = true)]
    pub mean: Option<String>,
    /// Standard deviation of each channel, or a named set [default: as for --mean]
    #[arg(long, value_name = "LIST|NAME", allow_hyphen_values = true)]
    pub std: Option<String>,
    /// How images are changed when they are loaded.
    #[command(flatten)]
    pub preparation: PreparationArgs,
    /// Images in a batch
    #[arg(long, value_name = "N", default_value_t = 128)]
    pub batch_size: u32,
}

/// How every image is changed when it is loaded.
#[derive(Debug, Clone, Args)]
pub struct PreparationArgs {
    /// Scale every image: its shorter side to N pixels, or to HxW, as in 32x32
    /// [default: the run's, else as it is]
    #[arg(long, value_name = "N|HxW")]
    resize: Option<String>,
    /// Cut N×N pixels out of the middle of every image, after --resize [default:
    /// the run's, else all of it]
    #[arg(long, value_name = "N")]
    crop: Option<usize>,
    /// Add N black pixels on each side of every image, after --crop [default: the
    /// run's, else 0]
    #[arg(long, value_name = "N")]
    pad: Option<usize>,
    /// Number of channels of every image: 3 repeats a single channel, 1 makes images
    /// grey [default: the run's, else the data set's]
    #[arg(long, value_name = "1|3")]
    channels: Option<usize>,
}

impl PreparationArgs {
    /// Whether any of them was given.
    pub fn is_given(&self) -> bool {
        self.resize.is_some() || self.crop.is_some() || self.pad.is_some() || self.channels.is_some()
    }

    /// `base` with what was given.
    ///
    /// # Errors
    /// For values out of their range.
    pub fn over(&self, base: Preparation) -> Result<Preparation, ArgumentError> {
        let resize = self.resize.as_deref().map(str::parse).transpose()?;
        let preparation = Preparation {
            resize: resize.or(base.resize),
            crop: self.crop.or(base.crop),
            pad: self.pad.unwrap_or(base.pad),
            channels: self.channels.or(base.channels),
        };
        preparation.check()?;
        Ok(preparation)
    }
}

/// `3` or `1..20`, both ends included.
pub fn range(text: &str) -> Result<RangeInclusive<usize>, String> {
    let number = |text: &str| text.parse::<usize>().ok().filter(|&number| number <= 100_000);
    let ends = match text.split_once("..") {
        Some((from, to)) => number(from).zip(number(to.trim_start_matches('='))),
        None => number(text).map(|one| (one, one)),
    };
    let ends = ends.filter(|(from, to)| from <= to);
    ends.map(|(from, to)| from..=to)
        .ok_or_else(|| "a number or a range such as 1..20 is needed".to_string())
}

/// The images that `--input` and `--classes` describe, by default those that
/// `model` is made for.
///
/// # Errors
/// Where `input` is no shape.
pub fn input_for(model: &ModelSpec, input: Option<&str>, classes: Option<usize>) -> Result<InputShape, ModelError> {
    let usual = model.usual_input();
    let shape = input.map_or(Ok(usual), str::parse)?;
    Ok(InputShape {
        classes: classes.unwrap_or(usual.classes),
        ..shape
    })
}
