//! `residua data`: what does a folder or file of images hold?

use serde_json::{Value, json};

use crate::cli::CliError;
use crate::cli::args::PreparationArgs;
use crate::cli::json::json_line_where;
use crate::data::{DataError, FileError, ImageSet, Normalization, Preparation, Source, Split};

const AFTER_HELP: &str = "\
SPEC is a folder or file, or KIND:PATH; ~ in front of PATH is your own folder. Without KIND it is recognised by what lies \
at PATH. Kinds:
  cifar10, cifar100  binary or Python version: the folder, a folder that holds it, or the .tar.gz unopened
  svhn               train_32x32.mat, test_32x32.mat; svhn-extra trains on extra_32x32.mat, too
  mnist              train-images-idx3-ubyte and so on, .gz or not; fashion-mnist the same
  stl10              stl10_binary: train_X.bin, train_y.bin, test_X.bin, test_y.bin
  tiny-imagenet      tiny-imagenet-200: train/, val/, wnids.txt
  imagefolder        train/CLASS/ and val/CLASS/ or test/CLASS/ with PNG and JPEG files
  hf                 Hugging Face's parquet files: train-*.parquet, test-*.parquet
  cifar10-c          labels.npy and a .npy for each corruption: the folder, or one of them; fog@3 is severity 3
  cifar10.1          cifar10.1_v6_data.npy, cifar10.1_v6_labels.npy
  npz                x_train, y_train, x_test and y_test in one .npz, or as .npy files in a folder

Prints the kind, and for each split the number of images, two SHA-256 (of labels and sizes, and of pixels and labels), \
mean and standard deviation. --json has the names of the classes, too.";

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct Args {
    /// The images: a folder, a file, or KIND:PATH
    #[arg(value_name = "SPEC")]
    spec: String,
    #[command(flatten)]
    preparation: PreparationArgs,
    /// One JSON object on standard output
    #[arg(long)]
    json: bool,
}

pub fn data(args: &Args) -> Result<String, CliError> {
    let preparation = args.preparation.over(Preparation::default()).map_err(DataError::from)?;
    let source: Source = args.spec.parse().map_err(DataError::from)?;
    let source = source.with_preparation(preparation).map_err(DataError::from)?;
    let (train, test) = match [split(&source, Split::Train)?, split(&source, Split::Test)?] {
        [Err(error), Err(_)] => return Err(CliError::failure(error)),
        [train, test] => (train.ok(), test.ok()),
    };
    let kind = match &source {
        Source::Synthetic { .. } => "synthetic".to_owned(),
        Source::Files(files) => files.open()?.0.to_string(),
    };
    let measured = |set: &Option<ImageSet>| set.as_ref().map(Normalization::measured);
    let used = match [&train, &test].into_iter().flatten().next() {
        Some(set) => source.normalization_of(set)?,
        None => return Err(CliError::failure("there are no images")),
    };
    let first = train.as_ref().or(test.as_ref());
    let (shape, classes) = first.map_or(([0; 3], &[][..]), |set| {
        ([set.channels, set.height, set.width], &set.class_names[..])
    });
    if args.json {
        let value = json!({
            "kind": kind,
            "data": source.to_string(),
            "shape": shape,
            "classes": classes,
            "mean": used.0.mean(),
            "std": used.0.std(),
            "measured": used.1,
            "train": train.as_ref().map(in_json),
            "test": test.as_ref().map(in_json),
        });
        // A folder may lack one of the two.
        return json_line_where(&value, &["train", "test"]);
    }
    let mut text = format!(
        "{kind}: images of {}×{}×{}, {} classes\n",
        shape[0],
        shape[1],
        shape[2],
        classes.len()
    );
    for (set, values) in [(&train, measured(&train)), (&test, measured(&test))] {
        if let Some((set, values)) = set.as_ref().zip(values) {
            text.push_str(&format!(
                "{}: {} images; mean {}, std {}\n  labels and sizes {}\n  pixels and labels {}\n",
                set.name,
                set.len(),
                list(values.mean()),
                list(values.std()),
                set.fingerprint(),
                set.content_hash()
            ));
        }
    }
    let origin = if used.1 { "measured" } else { "published" };
    text.push_str(&format!(
        "normalised by mean {}, std {} ({origin})\n",
        list(used.0.mean()),
        list(used.0.std())
    ));
    Ok(text)
}

/// The images of a split; an inner error where the data set has none.
fn split(source: &Source, split: Split) -> Result<Result<ImageSet, FileError>, CliError> {
    match source.load_split(split, None, 0) {
        Ok(set) => Ok(Ok(set)),
        Err(DataError::File(error @ (FileError::NoSplit { .. } | FileError::NoFile { .. }))) => Ok(Err(error)),
        Err(error) => Err(error.into()),
    }
}

fn in_json(set: &ImageSet) -> Value {
    let measured = Normalization::measured(set);
    json!({
        "name": set.name,
        "images": set.len(),
        "mean": measured.mean(),
        "std": measured.std(),
        "fingerprint": set.fingerprint(),
        "sha256": set.content_hash(),
    })
}

fn list(values: &[f32]) -> String {
    let words: Vec<String> = values.iter().map(|value| format!("{value:.4}")).collect();
    words.join(",")
}
