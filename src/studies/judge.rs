//! How does the network do under many routes, at the least cost?
//!
//! Routes that begin alike are judged together: what they have in common from
//! the input on is computed once for each batch. What is judged is kept, so
//! that no route is judged twice, not even by a study that was interrupted.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::ledger::Ledger;
use super::recalibrate::Recalibration;
use super::statistics::wilson;
use crate::files::write_atomic;
use crate::graph::{Graph, Route};
use crate::train::{Engine, Outcome, Split, TrainError, evaluate};

/// Routes judged together: enough to share almost all there is to share, few
/// enough that an interruption loses little.
const TOGETHER: usize = 64;

/// A route to be judged, under a key that tells it from all others.
#[derive(Debug, Clone, PartialEq)]
pub struct Case {
    /// What was done to the network: "whole", "delete 3 7".
    pub key: String,
    /// The route.
    pub route: Route,
}

/// How a network does under one route.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// Images seen.
    pub images: usize,
    /// Images whose largest logit was not the label's.
    pub wrong: usize,
    /// `wrong / images`.
    pub error: f64,
    /// The 95 % interval of the error (Wilson).
    pub interval: [f64; 2],
    /// Mean cross-entropy in nats.
    pub loss: f64,
    /// For each class, how many of its images were taken for another.
    pub wrong_by_class: Vec<usize>,
    /// Seconds that it took: its share, where it was judged with others.
    pub seconds: f64,
}

/// Judges routes of one network on one set of test images.
pub struct Judge<'a> {
    /// The network.
    pub engine: &'a mut dyn Engine,
    /// The class of each image.
    pub labels: &'a [u32],
    /// Number of classes.
    pub classes: usize,
    /// Images computed at once.
    pub batch_size: NonZeroUsize,
    /// What is known already.
    pub ledger: Ledger,
    /// Batch-norm statistics anew for every route, from so many images.
    pub recalibration: Option<Recalibration>,
    /// Where the results of each image go, a file a case.
    pub each_image: Option<PathBuf>,
    /// Whether kernels are compiled: not within the times that verdicts tell.
    pub warm: bool,
    /// Told how many images have been judged, of how many.
    pub progress: &'a mut dyn FnMut(u64, u64),
}

impl Judge<'_> {
    /// The network's graph.
    pub fn graph(&self) -> &Graph {
        self.engine.graph()
    }

    /// Judges `cases`, in their order.
    pub fn judge(&mut self, cases: &[Case]) -> Result<Vec<Verdict>, TrainError> {
        let mut missing: Vec<&Case> = cases.iter().filter(|case| self.known(case).is_none()).collect();
        missing.sort_by(|a, b| a.route.compare(&b.route).then_with(|| a.key.cmp(&b.key)));
        missing.dedup_by(|a, b| a.key == b.key);
        let together = if self.recalibration.is_some() { 1 } else { TOGETHER };
        if let Some(case) = missing.first().filter(|_| !self.warm) {
            self.warm_up(case, together)?;
        }
        let of = (missing.len() * self.labels.len()) as u64;
        let mut done = 0;
        for chunk in missing.chunks(together) {
            let began = Instant::now();
            let outcomes = self.outcomes(chunk, done, of)?;
            let seconds = began.elapsed().as_secs_f64() / chunk.len() as f64;
            for (case, outcome) in chunk.iter().zip(&outcomes) {
                self.save_each(case, outcome)?;
                let verdict = self.verdict(outcome, seconds);
                self.ledger.keep(&case.key, &verdict)?;
            }
            done += (chunk.len() * self.labels.len()) as u64;
        }
        let verdict = |case| self.known(case).expect("every case has just been judged");
        Ok(cases.iter().map(verdict).collect())
    }

    fn known(&self, case: &Case) -> Option<Verdict> {
        let saved = self
            .each_image
            .as_ref()
            .is_none_or(|_| self.each_path(case).is_some_and(|path| path.exists()));
        self.ledger.get(&case.key).filter(|_| saved)
    }

    /// Compiles the kernels of one route and, where `together` are judged, of
    /// several.
    fn warm_up(&mut self, case: &Case, together: usize) -> Result<(), TrainError> {
        let images = self.batch_size.get().min(self.labels.len());
        for count in 1..=together.min(2) {
            let routes = vec![case.route.clone(); count];
            evaluate(self.engine, Split::Test, images, self.batch_size, &routes, &mut |_| {})?;
        }
        self.warm = true;
        Ok(())
    }

    fn outcomes(&mut self, chunk: &[&Case], done: u64, of: u64) -> Result<Vec<Outcome>, TrainError> {
        let routes: Vec<Route> = chunk.iter().map(|case| case.route.clone()).collect();
        let images = self.labels.len();
        let each = chunk.len() as u64;
        let (batch_size, progress) = (self.batch_size, &mut *self.progress);
        let mut tell = |images: usize| progress(done + each * images as u64, of);
        match &self.recalibration {
            None => evaluate(self.engine, Split::Test, images, batch_size, &routes, &mut tell),
            Some(recalibration) => recalibration.with(self.engine, &routes[0], |engine| {
                evaluate(engine, Split::Test, images, batch_size, &routes, &mut tell)
            }),
        }
    }

    fn verdict(&self, outcome: &Outcome, seconds: f64) -> Verdict {
        let mut wrong_by_class = vec![0; self.classes];
        for (result, &label) in outcome.each.iter().zip(self.labels) {
            if let Some(count) = wrong_by_class.get_mut(label as usize) {
                *count += usize::from(result[1] > 0.5);
            }
        }
        Verdict {
            images: outcome.images,
            wrong: outcome.wrong,
            error: outcome.error,
            interval: wilson(outcome.wrong, outcome.images),
            loss: outcome.loss,
            wrong_by_class,
            seconds,
        }
    }

    fn each_path(&self, case: &Case) -> Option<PathBuf> {
        Some(
            self.each_image
                .as_ref()?
                .join(format!("{}.csv", case.key.replace(' ', "-"))),
        )
    }

    /// Writes label, loss and error of every image.
    fn save_each(&self, case: &Case, outcome: &Outcome) -> Result<(), TrainError> {
        let Some(path) = self.each_path(case) else {
            return Ok(());
        };
        let mut text = String::from("image,label,loss,wrong\n");
        for (image, (result, label)) in outcome.each.iter().zip(self.labels).enumerate() {
            let wrong = u8::from(result[1] > 0.5);
            text.push_str(&format!("{image},{label},{},{wrong}\n", result[0]));
        }
        if let Some(directory) = path.parent() {
            std::fs::create_dir_all(directory).map_err(|error| TrainError::Run {
                path: directory.to_path_buf(),
                problem: error.to_string(),
            })?;
        }
        Ok(write_atomic(&path, text.as_bytes())?)
    }
}
