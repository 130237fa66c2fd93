//! Is a network of one's own trained, resumed and studied as a built-in one?

use std::path::Path;

use residua::graph::{Graph, GraphError, NodeId, ResidualBlock};
use residua::models::{Architecture, Model, layers};
use residua::studies::LesionStudy;
use residua::train::{
    Adapter, RunDirectory, Schedule, Settings, TrainError, TrainedNetworkOptions, Trainer, batch_size,
};

use crate::support::program::{failure, program};

/// Two blocks at a quarter of the resolution, with dropout in the second.
#[derive(Debug)]
struct Tiny {
    dropout: f32,
}

impl Architecture for Tiny {
    fn name(&self) -> String {
        format!("tiny-net:dropout={}", self.dropout)
    }

    fn forward(&self, g: &mut Graph, images: NodeId, classes: usize) -> Result<NodeId, GraphError> {
        let mut x = layers::conv(g, "stem", images, 4, 3, 4)?;
        for (index, p) in [0.0, self.dropout].into_iter().enumerate() {
            let block = ResidualBlock {
                name: &format!("layer1.{index}"),
                stage: 1,
                input: x,
                relu: true,
            };
            x = g.residual(&block, |g| {
                let y = g.dropout(x, p)?;
                let y = layers::conv(g, "conv1", y, 4, 3, 1)?;
                Ok((layers::batch_norm(g, "bn1", y), x))
            })?;
        }
        Ok(layers::head(g, x, classes))
    }
}

fn settings(model: Model, steps: u32) -> Result<Settings, TrainError> {
    Ok(Settings {
        model,
        data: "synthetic:48,20".parse().map_err(residua::data::DataError::from)?,
        batch_size: batch_size(16)?,
        steps: Some(steps),
        // As `steps` differs, a schedule over the run would too.
        schedule: Schedule::Constant,
        ..Settings::default()
    })
}

/// Trains `model` in `path`, or continues the run there.
fn train(model: &Model, steps: u32, path: &Path, resume: bool) -> Result<(), TrainError> {
    let directory = if resume {
        RunDirectory::open(path)?
    } else {
        RunDirectory::create(path)?
    };
    let mut trainer = Trainer::open(settings(model.clone(), steps)?, &Adapter::Reference)?;
    let mut run = if resume {
        trainer.resume(&directory)?
    } else {
        trainer.start(&directory)?
    };
    run.train(|_| {})
}

#[test]
fn it_trains_resumes_and_is_studied_under_its_own_name() {
    let folder = tempfile::tempdir().unwrap();
    let (whole, cut) = (folder.path().join("whole"), folder.path().join("cut"));
    let model = Model::own(Tiny { dropout: 0.25 }).unwrap();

    train(&model, 6, &whole, false).unwrap();
    train(&model, 3, &cut, false).unwrap();
    train(&model, 6, &cut, true).unwrap();
    // The reference computes in 64 bits, and its checkpoints have them all.
    let bytes = |run: &Path| std::fs::read(run.join("last.safetensors")).unwrap();
    assert!(bytes(&whole) == bytes(&cut), "the checkpoints differ");
    let tensors = residua::weights::read(&whole.join("last.safetensors")).unwrap().tensors;
    assert!(tensors.contains_key("layer1.1.conv1.weight"));

    let directory = RunDirectory::open(&whole).unwrap();
    assert_eq!(directory.read_config().unwrap().model, "tiny-net:dropout=0.25");
    let other = Model::own(Tiny { dropout: 0.5 }).unwrap();
    let refused = train(&other, 6, &cut, true).unwrap_err().to_string();
    assert!(refused.contains("checkpoint of tiny-net:dropout=0.25"), "{refused}");

    let options = TrainedNetworkOptions::from_run(&whole).adapter(Adapter::Reference);
    let refused = options.clone().with_model(other).open().err().unwrap().to_string();
    assert!(
        refused.contains("the file says tiny-net:dropout=0.25, not tiny-net:dropout=0.5"),
        "{refused}"
    );
    let foreign = options.open().err().unwrap();
    assert!(matches!(foreign, TrainError::ForeignNetwork { .. }), "{foreign}");

    let mut network = options.with_model(model).training_images(true).open().unwrap();
    assert_eq!(network.label(), "tiny-net:dropout=0.25 (whole)");
    let findings = LesionStudy::default().run(&mut network, &mut |_| {}).unwrap();
    let names: Vec<&str> = findings.lesions.iter().map(|lesion| &lesion.names[0][..]).collect();
    assert_eq!(names, ["layer1.0", "layer1.1"]);
    assert_eq!(findings.whole.images, 20);
}

#[test]
fn the_program_says_that_it_does_not_know_the_network() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let model = Model::own(Tiny { dropout: 0.0 }).unwrap();
    train(&model, 1, &run, false).unwrap();
    for command in [&["eval", "--run"][..], &["train", "--resume"], &["lesion", "--run"]] {
        let (code, line) = failure(program("residua").args(command).arg(&run));
        assert_eq!(code, 1, "{command:?}: {line}");
        assert!(line.contains("'tiny-net:dropout=0'"), "{command:?}: {line}");
        assert!(line.contains("by the program that defines"), "{command:?}: {line}");
    }
}
