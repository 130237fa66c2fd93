//! What are the error and the loss of a network under many routes, at the
//! least cost?
//!
//! Routes with a common beginning are evaluated together: for each batch,
//! what they share from the input on is computed once. Results are recorded,
//! so that no route is evaluated twice, even if the study is interrupted.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Instant;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::error::StudyError;
use super::part::Part;
use super::recalibrate::Recalibration;
use super::result_log::ResultLog;
use super::statistics::wilson;
use crate::data::Corrupted;
use crate::files::write_atomic;
use crate::graph::{Graph, Route};
use crate::hex::hex;
use crate::train::{
    Engine, ImageResult, Outcome, Split, TrainError, TrainedNetwork, evaluate, first_not_finite, rank_images,
};

/// Number of routes evaluated together. It is large enough to share most of
/// what can be shared, and small enough that an interruption loses little.
const TOGETHER: usize = 64;

/// Number of routes of a long list that are made at a time, to be ordered by what
/// they share.
const WINDOW: usize = 4096;

/// The longest name of a file of images, in bytes, without its ending. File
/// systems allow 255.
const LONGEST_NAME: usize = 200;

/// Top-5 errors are reported for data sets with more classes than this.
const MOST_CLASSES_WITHOUT_TOP5: usize = 10;

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
    /// Mean cross-entropy in nats. Not finite, and left out of JSON, if the
    /// network diverges under this route.
    #[serde(default = "nan", skip_serializing_if = "is_not_finite")]
    pub loss: f64,
    /// Whether the network diverges under this route: the loss of an image is not
    /// finite. Only then in JSON.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub diverged: bool,
    /// The number of images whose loss is not finite; they count as wrong. In JSON
    /// only where the network diverges.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub images_not_finite: usize,
    /// Number of images whose label is not among the five largest logits; `None`
    /// for data sets with 10 classes or fewer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top5_wrong: Option<usize>,
    /// `top5_wrong / images`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top5_error: Option<f64>,
    /// For each class, the number of its images that were classified wrongly.
    pub wrong_by_class: Vec<usize>,
    /// On images of CIFAR-10-C, the errors at each severity; otherwise empty, and not
    /// in JSON.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub by_severity: Vec<SeverityCount>,
    /// Seconds that the evaluation took. Routes that were evaluated together
    /// share the time evenly.
    pub seconds: f64,
}

/// How many images of one severity are wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeverityCount {
    /// The severity, from 1 to 5.
    pub severity: usize,
    /// Number of images.
    pub images: usize,
    /// Images that are classified wrongly.
    pub wrong: usize,
}

impl SeverityCount {
    /// The part that is wrong.
    pub fn error(&self) -> f64 {
        self.wrong as f64 / self.images.max(1) as f64
    }
}

fn nan() -> f64 {
    f64::NAN
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_not_finite(value: &f64) -> bool {
    !value.is_finite()
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(count: &usize) -> bool {
    *count == 0
}

impl Evaluation {
    /// The loss, or infinity where the network diverges: no route costs more.
    pub fn cost(&self) -> f64 {
        if self.diverged { f64::INFINITY } else { self.loss }
    }
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
    /// Which test images are corrupted, and how much.
    corrupted: Vec<Corrupted>,
    part: Option<Part>,
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
            corrupted: Vec::new(),
            part: None,
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

    /// Also counts errors by severity: `corrupted` says which test images have which.
    #[must_use]
    pub fn corrupted(mut self, corrupted: Vec<Corrupted>) -> Self {
        self.corrupted = corrupted;
        self
    }

    /// Evaluates only this part of every list of routes, in the order in which they share
    /// most. The results are recorded, and none is returned.
    #[must_use]
    pub(super) fn part(mut self, part: Option<Part>) -> Self {
        self.part = part;
        self
    }

    /// The number of recorded results.
    pub(super) fn recorded(&self) -> usize {
        self.log.len()
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

    /// Evaluates `routes`; the results are in the same order. There are none where only a
    /// part of them is evaluated.
    ///
    /// # Errors
    /// Where the adapter fails, or a result cannot be written.
    pub fn evaluate(&mut self, routes: &[NamedRoute]) -> Result<Vec<Evaluation>, StudyError> {
        self.evaluate_window(routes, 0, None)
    }

    /// As [`Self::evaluate`], for `count` routes that are made one after the other:
    /// only those that are evaluated next are in memory. Routes share what they
    /// can with those next to them.
    ///
    /// # Errors
    /// As [`Self::evaluate`], and those of `routes`.
    pub fn evaluate_all(
        &mut self,
        count: usize,
        mut routes: impl Iterator<Item = Result<NamedRoute, StudyError>>,
    ) -> Result<Vec<Evaluation>, StudyError> {
        let images = self.network.images() as u64;
        let total = count as u64 * images;
        let (mut all, mut done) = (Vec::new(), 0);
        loop {
            let next: Vec<NamedRoute> = routes.by_ref().take(WINDOW).collect::<Result<_, _>>()?;
            if next.is_empty() {
                return Ok(all);
            }
            all.extend(self.evaluate_window(&next, done * images, Some(total))?);
            done += next.len() as u64;
        }
    }

    /// Evaluates `routes` after work of `done` images, out of `total`; `None` is
    /// the work of these routes alone.
    fn evaluate_window(
        &mut self,
        routes: &[NamedRoute],
        mut done: u64,
        total: Option<u64>,
    ) -> Result<Vec<Evaluation>, StudyError> {
        let mut missing: Vec<&NamedRoute> = routes.iter().collect();
        missing.sort_by(|a, b| a.route.compare(&b.route).then_with(|| a.name.cmp(&b.name)));
        missing.dedup_by(|a, b| a.name == b.name);
        // What is known does not decide about the part: it grows while parts are computed.
        if let Some(part) = self.part {
            missing = missing[part.range(missing.len())].to_vec();
        }
        missing.retain(|route| self.known(route).is_none());
        let together = if self.recalibration.is_some() { 1 } else { TOGETHER };
        if let Some(first) = missing.first().filter(|_| !self.warm) {
            self.warm_up(first, together)?;
        }
        let images = self.network.images();
        let total = total.unwrap_or((missing.len() * images) as u64);
        for chunk in missing.chunks(together) {
            let began = Instant::now();
            let outcomes = self.outcomes(chunk, done, total)?;
            let seconds = began.elapsed().as_secs_f64() / chunk.len() as f64;
            for (route, outcome) in chunk.iter().zip(&outcomes) {
                self.save_each(route, &outcome.outcome)?;
                let evaluation = self.evaluation(outcome, seconds);
                self.log.record(&route.name, &evaluation)?;
            }
            done += (chunk.len() * images) as u64;
        }
        if self.part.is_some() {
            return Ok(Vec::new());
        }
        let evaluation = |route| self.known(route).expect("every route has just been evaluated");
        Ok(routes.iter().map(evaluation).collect())
    }

    /// As [`Self::evaluate`] for one route under which the network must not
    /// diverge.
    ///
    /// # Errors
    /// As [`Self::evaluate`], and [`TrainError::NotFinite`] with the first image
    /// and layer.
    pub fn evaluate_finite(&mut self, route: &NamedRoute) -> Result<Evaluation, StudyError> {
        let evaluation = self.evaluate(std::slice::from_ref(route))?.remove(0);
        if evaluation.diverged {
            let (images, size) = (self.network.images(), self.network.batch_size);
            let engine = self.network.engine.as_mut();
            if let Some(found) = first_not_finite(engine, Split::Test, images, size, &route.route)? {
                return Err(TrainError::from(found).into());
            }
        }
        Ok(evaluation)
    }

    fn report(&mut self, done: u64, total: u64) {
        let phase = self.phase;
        if let Some(progress) = &mut self.progress {
            progress(&StudyProgress { phase, done, total });
        }
    }

    /// The recorded result of `route`, if it is complete. Result logs of older
    /// versions have no top-5 errors.
    fn known(&self, route: &NamedRoute) -> Option<Evaluation> {
        let saved = self.images_path(route).is_none_or(|path| path.exists());
        let known: Option<Evaluation> = self.log.get(&route.name);
        let has_severities = |known: &Evaluation| known.by_severity.is_empty() == self.corrupted.is_empty();
        known.filter(|known| saved && known.top5_wrong.is_some() == self.has_top5() && has_severities(known))
    }

    /// The errors at each severity.
    fn by_severity(&self, each: &[[f32; 2]]) -> Vec<SeverityCount> {
        let mut counts: Vec<SeverityCount> = Vec::new();
        for part in &self.corrupted {
            let images = each.get(part.images.clone()).unwrap_or_default();
            let wrong = images.iter().filter(|result| result[1] > 0.5).count();
            match counts.iter_mut().find(|count| count.severity == part.severity) {
                Some(count) => {
                    count.images += images.len();
                    count.wrong += wrong;
                }
                None => counts.push(SeverityCount {
                    severity: part.severity,
                    images: images.len(),
                    wrong,
                }),
            }
        }
        counts
    }

    fn has_top5(&self) -> bool {
        self.network.test.images.classes() > MOST_CLASSES_WITHOUT_TOP5
    }

    /// Compiles the kernels for one route and, where several routes are
    /// evaluated together, of several.
    fn warm_up(&mut self, route: &NamedRoute, together: usize) -> Result<(), TrainError> {
        let images = self.network.batch_size.get().min(self.network.images());
        let with_top5 = self.has_top5();
        for count in 1..=together.min(2) {
            let routes = vec![route.route.clone(); count];
            let TrainedNetwork {
                engine,
                test,
                batch_size,
                ..
            } = &mut *self.network;
            let labels = &test.images.labels[..images];
            outcomes(engine.as_mut(), labels, *batch_size, &routes, with_top5, &mut |_| {})?;
        }
        self.warm = true;
        Ok(())
    }

    fn outcomes(&mut self, chunk: &[&NamedRoute], done: u64, total: u64) -> Result<Vec<RouteOutcome>, TrainError> {
        let routes: Vec<Route> = chunk.iter().map(|route| route.route.clone()).collect();
        let with_top5 = self.has_top5();
        let (phase, progress) = (self.phase, &mut self.progress);
        let mut report = |images: usize| {
            if let Some(progress) = progress {
                let done = done + chunk.len() as u64 * images as u64;
                progress(&StudyProgress { phase, done, total });
            }
        };
        let TrainedNetwork {
            engine,
            test,
            batch_size,
            ..
        } = &mut *self.network;
        let labels = &test.images.labels;
        let mut run = |engine: &mut dyn Engine| outcomes(engine, labels, *batch_size, &routes, with_top5, &mut report);
        match &self.recalibration {
            None => run(engine.as_mut()),
            Some(recalibration) => recalibration.with(engine.as_mut(), &routes[0], run),
        }
    }

    fn evaluation(&self, RouteOutcome { outcome, top5_wrong }: &RouteOutcome, seconds: f64) -> Evaluation {
        let test = &self.network.test.images;
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
            diverged: outcome.not_finite() > 0,
            images_not_finite: outcome.not_finite(),
            top5_wrong: *top5_wrong,
            top5_error: top5_wrong.map(|wrong| wrong as f64 / outcome.images.max(1) as f64),
            wrong_by_class,
            by_severity: self.by_severity(&outcome.each),
            seconds,
        }
    }

    fn images_path(&self, route: &NamedRoute) -> Option<PathBuf> {
        let directory = self.images_directory.as_ref()?;
        let mut name = route.name.replace(' ', "-");
        if name.len() > LONGEST_NAME {
            // The names of routes are ASCII, and this one is still its own.
            let hash = hex(&Sha256::digest(&name)[..8]);
            name.truncate(LONGEST_NAME - hash.len() - 1);
            name = format!("{name}-{hash}");
        }
        Some(directory.join(format!("{name}.csv")))
    }

    /// Writes label, loss and error of every image.
    fn save_each(&self, route: &NamedRoute, outcome: &Outcome) -> Result<(), StudyError> {
        let Some(path) = self.images_path(route) else {
            return Ok(());
        };
        let mut text = String::from("image,label,loss,wrong\n");
        for (image, (result, label)) in outcome.each.iter().zip(&self.network.test.images.labels).enumerate() {
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

/// The results of all images under one route.
struct RouteOutcome {
    outcome: Outcome,
    top5_wrong: Option<usize>,
}

/// Evaluates the first test images, whose classes are `labels`, under each of
/// `routes`; `with_top5` also reads back the logits and counts top-5 errors.
fn outcomes(
    engine: &mut dyn Engine,
    labels: &[u32],
    batch_size: NonZeroUsize,
    routes: &[Route],
    with_top5: bool,
    report: &mut dyn FnMut(usize),
) -> Result<Vec<RouteOutcome>, TrainError> {
    if !with_top5 {
        let outcomes = evaluate(engine, Split::Test, labels.len(), batch_size, routes, report)?;
        let without = |outcome| RouteOutcome {
            outcome,
            top5_wrong: None,
        };
        return Ok(outcomes.into_iter().map(without).collect());
    }
    let ranked = rank_images(engine, Split::Test, labels, batch_size, routes, report)?;
    let with = |images: Vec<ImageResult>| RouteOutcome {
        outcome: Outcome::ranked(&images),
        top5_wrong: Some(images.iter().filter(|image| image.is_top5_wrong()).count()),
    };
    Ok(ranked.into_iter().map(with).collect())
}
