//! How does a test train a run, stop it, and go on?

use std::path::Path;

use residua::stop::StopToken;
use residua::train::{Adapter, Config, Event, RunDirectory, TestResult, Trainer};

/// How a training ended.
pub struct Ended {
    /// Whether it was asked to stop.
    pub stopped: bool,
    /// The test of the best weights, where the run has validation images.
    pub test: Option<TestResult>,
}

/// Begins the run in `path`, or continues it, and asks it to stop when `asks` says so.
pub fn train(path: &Path, config: Config, adapter: &Adapter, mut asks: impl FnMut(&Event) -> bool) -> Ended {
    let mut trainer = Trainer::open_config(config, adapter).unwrap();
    let stop = StopToken::default();
    trainer.heed(stop.clone());
    let mut run = match RunDirectory::resume(path) {
        Ok(directory) => trainer.resume(&directory).unwrap(),
        Err(_) => trainer.start(&RunDirectory::create(path).unwrap()).unwrap(),
    };
    let trained = run.train(|event| {
        if asks(event) {
            stop.stop();
        }
    });
    if let Err(error) = &trained {
        assert!(error.is_stopped(), "{error}");
    }
    Ended {
        stopped: trained.is_err(),
        test: run.test().cloned(),
    }
}

/// Whether `event` is the end of the step number `step`, from 1.
pub fn ends(event: &Event, step: u32) -> bool {
    matches!(event, Event::Step { done, .. } if *done == step)
}
