//! Does a run that continues notice what was changed, lost or cut short since
//! its checkpoint? Edits of every file of a run, and what must be said.

use std::fs;
use std::path::{Path, PathBuf};

use residua::train::{Adapter, Config, RunDirectory, TrainError, Trainer};

/// Three epochs of two steps. The learning rate is so small that the first epoch
/// stays the best one.
fn config() -> Config {
    Config {
        model: "resnet8".into(),
        batch_size: 2,
        epochs: 3,
        lr: 1e-9,
        schedule: "constant".into(),
        log_steps: true,
        log_gradients: true,
        ..Config::for_data("synthetic:4,2")
    }
}

fn begin(path: &Path) -> Result<(), TrainError> {
    let mut trainer = Trainer::open_config(config(), &Adapter::Reference)?;
    trainer.start(&RunDirectory::create(path)?)?.train(|_| {})
}

/// Opens the run as `train --resume` does; returns what it says.
fn resume(path: &Path) -> Result<Vec<String>, TrainError> {
    let directory = RunDirectory::resume(path)?;
    directory.read_model()?;
    let mut trainer = Trainer::open_config(directory.read_config()?, &Adapter::Reference)?;
    let mut run = trainer.resume(&directory)?;
    run.train(|_| {})?;
    Ok(run.notes().to_vec())
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

/// A change of one file.
enum Edit {
    /// The file is gone.
    Lost,
    /// It is empty.
    Empty,
    /// Its second half is gone.
    Half,
    /// The part from this text on is gone.
    CutAt(&'static str),
    /// A text in it is another one.
    Replaced(&'static str, &'static str),
    /// The line with this number, from 0, is gone.
    WithoutLine(usize),
    /// The lines from this number on are gone.
    WithoutLinesFrom(usize),
    /// The line with this number is there twice.
    Doubled(usize),
    /// This text is added at its end.
    Added(&'static str),
    /// A bit of the byte at this place, from the end, is another one.
    Flipped(usize),
    /// It is a copy of another file of the run.
    CopyOf(&'static str),
}

impl Edit {
    fn apply(&self, path: &Path) {
        let read = || fs::read_to_string(path).unwrap();
        let lines = || read().lines().map(|line| format!("{line}\n")).collect::<Vec<String>>();
        match *self {
            Edit::Lost => fs::remove_file(path).unwrap(),
            Edit::Empty => fs::write(path, "").unwrap(),
            Edit::Half => {
                let bytes = fs::read(path).unwrap();
                fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
            }
            Edit::CutAt(text) => {
                let whole = read();
                fs::write(path, &whole[..whole.find(text).unwrap()]).unwrap();
            }
            Edit::Replaced(from, to) => {
                let whole = read();
                assert!(whole.contains(from), "{from} in {whole}");
                fs::write(path, whole.replacen(from, to, 1)).unwrap();
            }
            Edit::WithoutLine(number) => {
                let mut lines = lines();
                lines.remove(number);
                fs::write(path, lines.concat()).unwrap();
            }
            Edit::WithoutLinesFrom(number) => fs::write(path, lines()[..number].concat()).unwrap(),
            Edit::Doubled(number) => {
                let mut lines = lines();
                lines.insert(number, lines[number].clone());
                fs::write(path, lines.concat()).unwrap();
            }
            Edit::Added(text) => {
                let mut bytes = fs::read(path).unwrap_or_default();
                bytes.extend(text.as_bytes());
                fs::write(path, bytes).unwrap();
            }
            Edit::Flipped(from_end) => {
                let mut bytes = fs::read(path).unwrap();
                let place = bytes.len() - 1 - from_end;
                bytes[place] ^= 4;
                fs::write(path, bytes).unwrap();
            }
            Edit::CopyOf(other) => {
                fs::copy(path.with_file_name(other), path).unwrap();
            }
        }
    }
}

#[test]
fn every_edit_of_a_runs_files_is_refused_or_said() {
    use Edit::*;
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    begin(&run).unwrap();
    assert_eq!(resume(&run).unwrap(), Vec::<String>::new());

    // The file, its edit, and a part of the error; it names the file.
    let refused: &[(&str, Edit, &str)] = &[
        ("run.toml", Lost, "no run is there"),
        ("run.toml", Empty, "made-by"),
        ("run.toml", Half, "run.toml"),
        ("run.toml", CutAt("[made-by]"), "made-by"),
        ("run.toml", CutAt("adapter = "), "adapter"),
        ("run.toml", Replaced("seed = 0", "seed = 1"), "seed is 1"),
        ("run.toml", Replaced("lr = 0.000000001", "lr = 0.5"), "lr is 0.5"),
        (
            "run.toml",
            Replaced("momentum = 0.9", "momentum = 0.8"),
            "momentum is 0.8",
        ),
        (
            "run.toml",
            Replaced("nesterov = false", "nesterov = true"),
            "nesterov is true",
        ),
        (
            "run.toml",
            Replaced("batch-size = 2", "batch-size = 1"),
            "batch-size is 1",
        ),
        (
            "run.toml",
            Replaced("\"constant\"", "\"cosine\""),
            "schedule is \"cosine\"",
        ),
        ("run.toml", Replaced("\"crop-flip\"", "\"flip\""), "augment is \"flip\""),
        (
            "run.toml",
            Replaced("shuffle = true", "shuffle = false"),
            "shuffle is false",
        ),
        (
            "run.toml",
            Replaced("model = \"resnet8\"", "model = \"resnet14\""),
            "resnet8",
        ),
        ("run.toml", Replaced("synthetic:4,2", "synthetic:4,3"), "the images"),
        (
            "run.toml",
            Replaced("log-steps = true", "log-steps = false"),
            "log-steps is false",
        ),
        (
            "run.toml",
            Replaced("log-gradients = true", "log-gradients = false"),
            "log-gradients is false",
        ),
        ("metrics.csv", Lost, "the file is missing"),
        ("metrics.csv", Empty, "0 rows"),
        ("metrics.csv", Half, "metrics.csv"),
        ("metrics.csv", WithoutLinesFrom(1), "0 rows"),
        ("metrics.csv", WithoutLinesFrom(3), "2 rows"),
        ("metrics.csv", WithoutLine(0), "metrics.csv"),
        ("metrics.csv", WithoutLine(1), "2 rows"),
        ("metrics.csv", Doubled(2), "not those"),
        ("metrics.csv", Replaced("\n2,", "\n3,"), "not those"),
        (
            "metrics.csv",
            Replaced("\n2,", "\n2,x"),
            "line 3 of metrics.csv is damaged",
        ),
        ("steps.csv", Lost, "the file is missing"),
        ("steps.csv", WithoutLinesFrom(4), "3 rows"),
        ("steps.csv", WithoutLine(2), "5 rows"),
        ("steps.csv", Replaced("\n2,", "\n2,1"), "not those"),
        ("gradients.csv", Lost, "the file is missing"),
        ("gradients.csv", WithoutLinesFrom(2), "1 rows"),
        ("last.safetensors", Lost, "the file is missing"),
        ("last.safetensors", Empty, "last.safetensors"),
        ("last.safetensors", Half, "last.safetensors"),
        ("last.safetensors", Flipped(0), "checksum"),
        ("last.safetensors", Flipped(4000), "checksum"),
        ("last.safetensors", CopyOf("best.safetensors"), "no checkpoint"),
        ("best.safetensors", Lost, "the file is missing"),
        ("best.safetensors", Empty, "not the file that the run wrote"),
        ("best.safetensors", Half, "not the file that the run wrote"),
        ("best.safetensors", Flipped(0), "not the file that the run wrote"),
        (
            "best.safetensors",
            CopyOf("last.safetensors"),
            "not the file that the run wrote",
        ),
        ("tuning.toml", Added("version = 99\n"), "tuning.toml"),
        ("tuning.toml", Added("nonsense"), "tuning.toml"),
    ];
    // Edits that change no step that is taken.
    let said: &[(&str, Edit, Option<&str>)] = &[
        ("run.toml", Replaced("version = \"", "version = \"0."), None),
        (
            "run.toml",
            Replaced("epochs = 3", "epochs = 4"),
            Some("begun for 6 steps, continues to step 8"),
        ),
        (
            "run.toml",
            Replaced("recompute = \"none\"", "recompute = \"blocks\""),
            None,
        ),
        ("steps.csv", Added("7,0.5,0.5,0.1\n"), None),
        ("curves.svg", Lost, None),
    ];
    let edited = |number: usize, name: &str, edit: &Edit| -> PathBuf {
        let path = folder.path().join(format!("edited-{number}"));
        copy(&run, &path);
        edit.apply(&path.join(name));
        path
    };
    for (number, (name, edit, part)) in refused.iter().enumerate() {
        let path = edited(number, name, edit);
        let before = names(&path);
        let Err(error) = resume(&path) else {
            panic!("edit {number} of {name} passes; {part} is expected");
        };
        let message = error.to_string();
        assert!(message.contains(part), "edit {number} of {name}: {message}");
        assert!(!message.contains('\n'), "{message}");
        assert_eq!(names(&path), before, "nothing is written");
    }
    for (number, (name, edit, note)) in said.iter().enumerate() {
        let path = edited(100 + number, name, edit);
        let notes = resume(&path).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(notes.first().map(String::as_str), *note, "{name}");
    }
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}
