//! What are the error and the loss of a network under many routes, at the
//! least cost?
//!
//! Routes with a common beginning are evaluated together: for each batch,
//! what they share from the input on is computed once. Results are recorded,
//! so that no route is evaluated twice, even if the study is interrupted.

use std::path::PathBuf;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::error::StudyError;
use super::recalibrate::Recalibration;
use super::result_log::ResultLog;
use super::statistics::wilson;
use crate::files::write_atomic;
use crate::graph::{Graph, Route};
use crate::train::{Engine, Outcome, Split, TrainError, TrainedNetwork, evaluate};

/// Number of routes evaluated together. It is large enough to share most of
/// what can be shared, and small enough that an interruption loses little.
const TOGETHER: usize = 64;

/// A route to evaluate, under a name that no other route has.
#[derive(Debug, Clone, PartialEq)]
pub struct NamedRoute {
    /// What was changed in the network: "whole", "delete 3 7". The result log
    /// uses it as key.
    pub name: String,
    /// The route.
    pub route: Route,
}

/// The error and the loss of a network under one route.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// Number of images.
    pub images: usize,
    /// Number of images whose largest logit was not the label's.
    pub wrong: usize,
    /// `wrong / images`.
    pub error: f64,
    /// The 95 % confidence interval of the error (Wilson 1927).
    pub interval: [f64; 2],
    /// Mean cross-entropy in nats.
    pub loss: f64,
    /// For each class, the number of its images that were classified wrongly.
    pub wrong_by_class: Vec<usize>,
    /// Seconds that the evaluation took. Routes that were evaluated together
    /// share the time evenly.
    pub seconds: f64,
}

/// How far a study is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StudyProgress {
    /// The current phase: "deleting pairs".
    pub phase: &'static str,
    /// Units of work of this phase that are done: images, or paths.
    pub done: u64,
    /// Units of work of this phase in total; 0 while it is not known.
    pub total: u64,
}

/// Evaluates routes of one network on its test images.
pub struct Evaluator<'a> {
    network: &'a mut TrainedNetwork,
    log: ResultLog,
    recalibration: Option<Recalibration>,
    images_directory: Option<PathBuf>,
    phase: &'static str,
    progress: Option<&'a mut dyn FnMut(&StudyProgress)>,
    /// Whether the kernels are compiled. Their compilation must not count in
    /// [`Evaluation::seconds`].
    warm: bool,
}

impl<'a> Evaluator<'a> {
    /// An evaluator of `network` that keeps its results in memory.
    pub fn new(network: &'a mut TrainedNetwork) -> Self {
        Evaluator {
            network,
            log: ResultLog::default(),
            recalibration: None,
            images_directory: None,
            phase: "evaluating",
            progress: None,
            warm: false,
        }
    }

    /// Records results in `log` and uses those that are in it.
    #[must_use]
    pub fn result_log(mut self, log: ResultLog) -> Self {
        self.log = log;
        self
    }

    /// Recomputes the statistics of batch norms for every route.
    #[must_use]
    pub fn recalibrate(mut self, recalibration: Option<Recalibration>) -> Self {
        self.recalibration = recalibration;
        self
    }

    /// Writes label, loss and error of every image to a CSV file per route in
    /// `directory`.
    #[must_use]
    pub fn save_images(mut self, directory: Option<PathBuf>) -> Self {
        self.images_directory = directory;
        self
    }

    /// Reports progress to `progress`.
    #[must_use]
    pub fn progress(mut self, progress: &'a mut dyn FnMut(&StudyProgress)) -> Self {
        self.progress = Some(progress);
        self
    }

    /// Names the phase of the study that begins now, for progress reports.
    pub fn begin(&mut self, phase: &'static str) {
        self.phase = phase;
        self.report(0, 0);
    }

    /// The network.
    pub fn network(&mut self) -> &mut TrainedNetwork {
        self.network
    }

    /// The network's graph.
    pub fn graph(&self) -> &Graph {
        self.network.engine.graph()
    }

    /// Evaluates `routes`; the results are in the same order.
    ///
    /// # Errors
    /// Where the adapter fails, or a result cannot be written.
    pub fn evaluate(&mut self, routes: &[NamedRoute]) -> Result<Vec<Evaluation>, StudyError> {
        let mut missing: Vec<&NamedRoute> = routes.iter().filter(|route| self.known(route).is_none()).collect();
        missing.sort_by(|a, b| a.route.compare(&b.route).then_with(|| a.name.cmp(&b.name)));
        missing.dedup_by(|a, b| a.name == b.name);
        let together = if self.recalibration.is_some() { 1 } else { TOGETHER };
        if let Some(first) = missing.first().filter(|_| !self.warm) {
            self.warm_up(first, together)?;
        }
        let images = self.network.images();
        let total = (missing.len() * images) as u64;
        let mut done = 0;
        for chunk in missing.chunks(together) {
            let began = Instant::now();
            let outcomes = self.outcomes(chunk, done, total)?;
            let seconds = began.elapsed().as_secs_f64() / chunk.len() as f64;
            for (route, outcome) in chunk.iter().zip(&outcomes) {
                self.save_each(route, outcome)?;
                let evaluation = self.evaluation(outcome, seconds);
                self.log.record(&route.name, &evaluation)?;
            }
            done += (chunk.len() * images) as u64;
        }
        let evaluation = |route| self.known(route).expect("every route has just been evaluated");
        Ok(routes.iter().map(evaluation).collect())
    }

    fn report(&mut self, done: u64, total: u64) {
        let phase = self.phase;
        if let Some(progress) = &mut self.progress {
            progress(&StudyProgress { phase, done, total });
        }
    }

    fn known(&self, route: &NamedRoute) -> Option<Evaluation> {
        let saved = self.images_path(route).is_none_or(|path| path.exists());
        self.log.get(&route.name).filter(|_| saved)
    }

    /// Compiles the kernels of one route and, where several routes are
    /// evaluated together, of several.
    fn warm_up(&mut self, route: &NamedRoute, together: usize) -> Result<(), TrainError> {
        let batch_size = self.network.batch_size;
        let images = batch_size.get().min(self.network.images());
        for count in 1..=together.min(2) {
            let routes = vec![route.route.clone(); count];
            let engine = self.network.engine.as_mut();
            evaluate(engine, Split::Test, images, batch_size, &routes, &mut |_| {})?;
        }
        self.warm = true;
        Ok(())
    }

    fn outcomes(&mut self, chunk: &[&NamedRoute], done: u64, total: u64) -> Result<Vec<Outcome>, TrainError> {
        let routes: Vec<Route> = chunk.iter().map(|route| route.route.clone()).collect();
        let (images, batch_size) = (self.network.images(), self.network.batch_size);
        let (phase, progress) = (self.phase, &mut self.progress);
        let mut report = |images: usize| {
            if let Some(progress) = progress {
                let done = done + chunk.len() as u64 * images as u64;
                progress(&StudyProgress { phase, done, total });
            }
        };
        let mut run = |engine: &mut dyn Engine| evaluate(engine, Split::Test, images, batch_size, &routes, &mut report);
        let engine = self.network.engine.as_mut();
        match &self.recalibration {
            None => run(engine),
            Some(recalibration) => recalibration.with(engine, &routes[0], run),
        }
    }

    fn evaluation(&self, outcome: &Outcome, seconds: f64) -> Evaluation {
        let test = &self.network.test.test;
        let mut wrong_by_class = vec![0; test.classes()];
        for (result, &label) in outcome.each.iter().zip(&test.labels) {
            if let Some(count) = wrong_by_class.get_mut(label as usize) {
                *count += usize::from(result[1] > 0.5);
            }
        }
        Evaluation {
            images: outcome.images,
            wrong: outcome.wrong,
            error: outcome.error,
            interval: wilson(outcome.wrong, outcome.images),
            loss: outcome.loss,
            wrong_by_class,
            seconds,
        }
    }

    fn images_path(&self, route: &NamedRoute) -> Option<PathBuf> {
        let directory = self.images_directory.as_ref()?;
        Some(directory.join(format!("{}.csv", route.name.replace(' ', "-"))))
    }

    /// Writes label, loss and error of every image.
    fn save_each(&self, route: &NamedRoute, outcome: &Outcome) -> Result<(), StudyError> {
        let Some(path) = self.images_path(route) else {
            return Ok(());
        };
        let mut text = String::from("image,label,loss,wrong\n");
        for (image, (result, label)) in outcome.each.iter().zip(&self.network.test.test.labels).enumerate() {
            let wrong = u8::from(result[1] > 0.5);
            text.push_str(&format!("{image},{label},{},{wrong}\n", result[0]));
        }
        if let Some(directory) = path.parent() {
            std::fs::create_dir_all(directory).map_err(|error| StudyError::File {
                path: directory.to_path_buf(),
                problem: error.to_string(),
            })?;
        }
        Ok(write_atomic(&path, text.as_bytes())?)
    }
}
