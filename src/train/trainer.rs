//! What do settings need before they can train? Their images, their network
//! on an adapter, and a directory.

use std::num::NonZeroUsize;
use std::ops::Range;
use std::thread;
use std::time::{Duration, Instant};

use super::TrainError;
use super::config::Config;
use super::directory::{MadeBy, RunDirectory};
use super::engine::{Engine, StepPlan};
use super::init::initialise;
use super::open::{Adapter, open};
use super::origin::Origin;
use super::read_weights::ReadWeights;
use super::run::{Begin, Run};
use super::settings::Settings;
use super::tuning::{choose_kernels, replay_run};
use crate::data::{ImageSet, Split, Splits};
use crate::gpu::GpuError;
use crate::models::InputShape;
use crate::schedule::{Footprint, KernelChoices, ResidentSet, SessionError, Update, shards_of};
use crate::stop::StopToken;
use crate::tuning::{KernelSource, TuningCache, TuningEvent, TuningKey, Workload};

/// The first and the last pause before a device that was lost is opened again.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LAST_PAUSE: Duration = Duration::from_secs(8);
/// The most steps that are timed, and the time after which no other one is.
const TIMED_STEPS: usize = 10;
const TIMED_SECONDS: f64 = 3.0;

/// The network of `settings` on `adapter`, for the images of `splits`.
fn open_engine(settings: &Settings, splits: &Splits, adapter: &Adapter) -> Result<Box<dyn Engine>, TrainError> {
    let input = input_of(&splits.train);
    open(adapter, &settings.model, &input, Some(settings.train_options()))
}

/// Settings with their images loaded and their network on an adapter. Nothing
/// has been written yet.
pub struct Trainer {
    config: Config,
    /// The settings.
    pub settings: Settings,
    /// The images.
    pub splits: Splits,
    /// The network; [`Trainer::start`] and [`Trainer::resume`] set its weights.
    pub engine: Box<dyn Engine>,
    choices: KernelChoices,
    /// The weights to start from, where they were read already.
    init: Option<ReadWeights>,
    stop: StopToken,
}

impl Trainer {
    /// Loads the images of `settings` and opens their network, a built-in one
    /// or one of your own, on `adapter`.
    ///
    /// # Errors
    /// For values out of range, images that cannot be read, and devices that
    /// cannot be opened.
    pub fn open(settings: Settings, adapter: &Adapter) -> Result<Self, TrainError> {
        settings.check()?;
        Self::open_checked(Config::from(&settings), settings, adapter)
    }

    /// As [`Trainer::open`], with settings as text and a built-in network. The
    /// run stores them as they are written.
    ///
    /// # Errors
    /// As [`Trainer::open`], and for values that cannot be read.
    pub fn open_config(config: Config, adapter: &Adapter) -> Result<Self, TrainError> {
        let settings = config.settings()?;
        Self::open_checked(config, settings, adapter)
    }

    fn open_checked(config: Config, settings: Settings, adapter: &Adapter) -> Result<Self, TrainError> {
        let splits = settings.load()?;
        let engine = open_engine(&settings, &splits, adapter)?;
        Ok(Trainer {
            config,
            settings,
            splits,
            engine,
            choices: KernelChoices::default(),
            init: None,
            stop: StopToken::default(),
        })
    }

    /// The weights of the settings' `init`, which were read already: they are not
    /// read again.
    pub fn start_from(&mut self, init: ReadWeights) {
        self.init = Some(init);
    }

    /// From now on training and tuning end once `stop` asks to: a run writes its
    /// checkpoint and tables, and returns [`TrainError::Stopped`].
    pub fn heed(&mut self, stop: StopToken) {
        self.engine.heed(stop.clone());
        self.stop = stop;
    }

    /// This trainer with its network on a fresh device, where its own was lost.
    /// [`Trainer::resume`] goes on from the last checkpoint.
    ///
    /// # Errors
    /// Where the adapter cannot be opened for a quarter of a minute: a driver that was
    /// reset needs some seconds.
    pub fn reopen(self, adapter: &Adapter) -> Result<Self, TrainError> {
        // The memory of the lost device.
        drop(self.engine);
        let mut pause = FIRST_PAUSE;
        let mut engine = loop {
            match open_engine(&self.settings, &self.splits, adapter) {
                Err(TrainError::Session(SessionError::Gpu(_))) if pause <= LAST_PAUSE && !self.stop.is_stopped() => {
                    thread::sleep(pause);
                    pause *= 2;
                }
                opened => break opened?,
            }
        };
        engine.heed(self.stop.clone());
        Ok(Trainer { engine, ..self })
    }

    /// Refuses a run that needs more memory than the device has, before its images and
    /// activations are allocated.
    fn check_memory(&mut self) -> Result<(), TrainError> {
        let session = self.engine.device_session();
        let limit = session.and_then(|session| session.gpu().limits().memory);
        match limit.and_then(|limit| self.out_of_memory(limit)) {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    /// `error`; where it says that the device is out of memory, with the planned peak
    /// and the batch size that fits what the device gave.
    pub fn explained(&mut self, error: TrainError) -> TrainError {
        let TrainError::Session(SessionError::Gpu(GpuError::OutOfMemory { .. })) = &error else {
            return error;
        };
        let held = self.engine.device_session().map(|session| session.gpu().allocated());
        held.and_then(|held| self.out_of_memory(held)).unwrap_or(error)
    }

    /// That `limit` bytes are too few; `None` where they are enough.
    fn out_of_memory(&mut self, limit: u64) -> Option<TrainError> {
        let [batch, shards] = [self.settings.batch_size, self.settings.shards].map(NonZeroUsize::get);
        let planned = self.footprint_of(batch, shards)?.total();
        if planned <= limit {
            return None;
        }
        let mut fits = |batch, shards| {
            let footprint = self.footprint_of(batch, shards);
            footprint.is_some_and(|footprint| footprint.total() <= limit)
        };
        let largest = first(1..batch, |images| !fits(images, shards)) - 1;
        let more = first(shards + 1..batch + 1, |shards| fits(batch, shards));
        Some(TrainError::OutOfMemory {
            batch,
            shards,
            planned,
            limit,
            fits: (largest > 0).then_some(largest),
            fitting_shards: (more <= batch).then_some(more),
        })
    }

    /// Chooses the kernels of the next new run as `source` says. Without this
    /// call they are the default ones. A resumed run uses its own again.
    ///
    /// # Errors
    /// As [`choose_kernels`].
    pub fn choose_kernels(
        &mut self,
        source: &KernelSource,
        report: &mut dyn FnMut(&TuningEvent),
    ) -> Result<(), TrainError> {
        let (_, steps) = self.steps();
        let work = Workload {
            training: true,
            batch: self.settings.shard_size().get(),
            images: u64::from(steps) * self.settings.batch_size.get() as u64,
        };
        self.choices = choose_kernels(self.engine.as_mut(), source, &work, report)?;
        Ok(())
    }

    /// The settings as text, as `run.toml` stores them.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The device memory that a run will take, in bytes; `None` on the CPU
    /// reference.
    pub fn footprint(&mut self) -> Option<Footprint> {
        self.footprint_of(self.settings.batch_size.get(), self.settings.shards.get())
    }

    /// The same with batches of `batch` images in `shards` parts.
    fn footprint_of(&mut self, batch: usize, shards: usize) -> Option<Footprint> {
        let sizes = |set: &ImageSet, batch: usize| {
            let (full, rest) = (set.len() / batch, set.len() % batch);
            let sizes = [batch, rest].into_iter();
            let sizes = sizes
                .zip([full > 0, rest > 0])
                .filter_map(|(size, any)| any.then_some(size));
            sizes.collect::<Vec<_>>()
        };
        let count = NonZeroUsize::new(shards)?;
        let of_batch = |images: usize| shards_of(images, count).into_iter().map(|shard| shard.len());
        let Splits {
            train,
            validation,
            test,
            ..
        } = &self.splits;
        let mut at_a_time: Vec<usize> = sizes(train, batch).into_iter().flat_map(of_batch).collect();
        // The order in which a session makes its plans.
        at_a_time.sort_unstable_by(|a, b| b.cmp(a));
        at_a_time.dedup();
        // At the end, the test images are there before the validation images have gone.
        let sets = [validation.as_ref(), Some(test)].into_iter().flatten();
        let mut evaluated = Vec::new();
        for size in sets.clone().flat_map(|set| sizes(set, batch.div_ceil(shards))) {
            if !evaluated.contains(&size) {
                evaluated.push(size);
            }
        }
        let images = |set: &ImageSet| ResidentSet::footprint(set.len(), [set.channels, set.height, set.width]);
        let staging = ResidentSet::staging_footprint(
            [train.channels, train.height, train.width],
            self.settings.distortions.operations(),
            at_a_time.first().copied().unwrap_or(0),
        );
        let session = self.engine.device_session()?;
        let mut footprint = session.footprint(&at_a_time, &evaluated);
        // A session for one shard has no memory for the sums of several.
        if shards > 1 && self.settings.shards.get() == 1 {
            footprint.weights += session.shard_memory();
        }
        footprint.images = images(train) + sets.map(images).sum::<u64>() + staging;
        Some(footprint)
    }

    /// The steps of an epoch, and those of the whole run.
    pub fn steps(&self) -> (u32, u32) {
        let per_epoch = self.settings.batches(self.splits.train.len()).per_epoch() as u32;
        (per_epoch, self.config.total_steps(per_epoch))
    }

    /// The seconds that a training step takes: the mean of a few after the first, which
    /// compiles. Weights are drawn from the seed and do not change; nothing is written.
    ///
    /// # Errors
    /// Where the images do not fit, or the device fails.
    pub fn time_steps(&mut self) -> Result<f64, TrainError> {
        self.check_memory()?;
        let normalization = self.config.normalization(&self.splits.normalization)?;
        let engine = self.engine.as_mut();
        self.settings.check_blocks(engine.graph())?;
        engine.load(Split::Train, &self.splits.train, &normalization)?;
        initialise(engine, self.settings.seed);
        let epoch = self.settings.batches(self.splits.train.len()).epoch(0);
        let draws = epoch.batches().next().unwrap_or_default();
        let mut took = Vec::new();
        for step in 0.. {
            engine.check_stop()?;
            let route = self
                .settings
                .depth
                .training_route(engine.graph(), self.settings.seed, step);
            let began = Instant::now();
            engine.step(&StepPlan {
                draws,
                padding: self.settings.padding,
                route: &route,
                update: Update::default(),
                seed: self.settings.seed,
                step,
            })?;
            engine.metrics(step..step + 1)?;
            if step > 0 {
                took.push(began.elapsed().as_secs_f64());
            }
            let all = took.iter().sum::<f64>();
            if took.len() >= TIMED_STEPS || !took.is_empty() && all > TIMED_SECONDS {
                return Ok(all / took.len() as f64);
            }
        }
        unreachable!("the steps end once they were timed")
    }

    /// The version and the adapter, as `run.toml` stores them.
    pub fn made_by(&self) -> MadeBy {
        MadeBy {
            version: env!("CARGO_PKG_VERSION").to_string(),
            adapter: self.engine.name(),
            extended: Vec::new(),
        }
    }

    /// Prepares a new run in `directory`, and writes its settings there.
    ///
    /// # Errors
    /// As [`Run::prepare`], and where another process owns the directory.
    pub fn start<'a>(&'a mut self, directory: &RunDirectory) -> Result<Run<'a>, TrainError> {
        self.run(directory, false)
    }

    /// Prepares the run that is in `directory` to continue from its last
    /// checkpoint. A run that was interrupted before its first checkpoint
    /// begins again.
    ///
    /// The settings may have another length (epochs or steps) than the run's. It
    /// then goes on as a run of that length: with a learning rate that does not
    /// depend on it ([`Schedule::depends_on_length`](super::Schedule::depends_on_length)),
    /// to the weights of a run that had it from the start; with another, by the
    /// rates that such a run has from here on. `run.toml` records it. A run that
    /// ended within an epoch was tested there, and that test counts for the best
    /// weights.
    ///
    /// # Errors
    /// As [`Run::prepare`], where the run has taken more steps already, and where another process owns the directory.
    pub fn resume<'a>(&'a mut self, directory: &RunDirectory) -> Result<Run<'a>, TrainError> {
        self.run(directory, true)
    }

    fn run<'a>(&'a mut self, directory: &RunDirectory, resume: bool) -> Result<Run<'a>, TrainError> {
        // The run owns its directory until it is dropped.
        let directory = &directory.owned()?;
        let made_by = self.made_by();
        let tuning = match resume {
            true => {
                // A file that was cut short could be read, with other settings.
                directory.read_made_by()?;
                replay_run(self.engine.as_mut(), directory)?;
                Some(directory.read_tuning()?)
            }
            false => self.tuning(),
        };
        self.check_memory()?;
        let kernels = tuning.clone().unwrap_or_default();
        let origin = Origin::new(&self.config, &made_by, &self.splits, &kernels);
        let begin = match resume {
            true => Begin::Resumed,
            false => Begin::New(self.init.take()),
        };
        let run = Run::prepare(
            self.engine.as_mut(),
            &self.config,
            self.settings.clone(),
            directory.clone(),
            &self.splits,
            origin,
            begin,
        )?;
        // Only now is the run known to be possible.
        if !resume {
            directory.clear()?;
            directory.write_tuning(tuning.as_ref())?;
            directory.write_config(&self.config, &made_by)?;
        } else {
            let mut made_by = directory.read_made_by()?;
            let extension = run.extension()?;
            // Images that have moved are looked for there the next time.
            let moved = directory.read_config()?.data != self.config.data;
            if extension.is_none() && !moved {
                return Ok(run);
            }
            made_by.extended.extend(extension);
            directory.write_config(&self.config, &made_by)?;
        }
        Ok(run)
    }

    /// The chosen kernels, as `tuning.toml` stores them.
    fn tuning(&mut self) -> Option<TuningCache> {
        let session = self.engine.device_session()?;
        let key = TuningKey::of(session.gpu().info());
        (!self.choices.is_empty()).then(|| TuningCache::of(&key, &self.choices))
    }
}

/// The first number of `range` from which on `holds` is true; its end where there is none.
fn first(mut range: Range<usize>, mut holds: impl FnMut(usize) -> bool) -> usize {
    while !range.is_empty() {
        let middle = range.start + range.len() / 2;
        match holds(middle) {
            true => range.end = middle,
            false => range.start = middle + 1,
        }
    }
    range.start
}

/// The shape of a data set's images, and its number of classes.
pub(crate) fn input_of(set: &ImageSet) -> InputShape {
    InputShape {
        channels: set.channels,
        height: set.height,
        width: set.width,
        classes: set.classes(),
    }
}
