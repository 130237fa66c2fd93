//! What does a configuration need before it can train? Its images, its
//! network on a device, and a directory.

use super::TrainError;
use super::config::Config;
use super::directory::{MadeBy, RunDirectory};
use super::engine::Engine;
use super::open::{Adapter, open};
use super::run::Run;
use super::settings::Settings;
use super::tuning::{choose_kernels, replay_run};
use crate::data::{ImageSet, Splits};
use crate::models::{InputShape, Model, ModelSpec};
use crate::schedule::{Footprint, KernelChoices, ResidentSet};
use crate::tuning::{KernelSource, TuningCache, TuningEvent, TuningKey, Workload};

/// A configuration with its images loaded and its network on a device.
/// Nothing has been written yet.
pub struct Trainer {
    config: Config,
    /// What the configuration says.
    pub settings: Settings,
    /// The images.
    pub splits: Splits,
    /// The network, without weights as yet.
    pub engine: Box<dyn Engine>,
    choices: KernelChoices,
}

impl Trainer {
    /// Loads the images of `config` and opens the built-in network that it
    /// names on `adapter`.
    ///
    /// # Errors
    /// For values out of range, images that cannot be read, and devices that
    /// cannot be opened.
    pub fn open(config: Config, adapter: &Adapter) -> Result<Self, TrainError> {
        let model: ModelSpec = config.model.parse()?;
        Self::open_model(model.into(), config, adapter)
    }

    /// As [`Trainer::open`], with `model` instead of the one that `config`
    /// names: the way to train a network of one's own ([`Model::own`]). The
    /// run is stored under the model's name.
    ///
    /// # Errors
    /// As [`Trainer::open`].
    pub fn open_model(model: Model, mut config: Config, adapter: &Adapter) -> Result<Self, TrainError> {
        // The name of a built-in network is stored as it was written.
        if model
            .spec()
            .is_none_or(|spec| config.model.parse().as_ref() != Ok(spec))
        {
            config.model = model.name();
        }
        let settings = config.settings_for(model)?;
        Self::open_checked(config, settings, adapter)
    }

    /// As [`Trainer::open`], with typed settings. Their network may be one of
    /// your own.
    ///
    /// # Errors
    /// As [`Trainer::open`].
    pub fn open_settings(settings: Settings, adapter: &Adapter) -> Result<Self, TrainError> {
        settings.check()?;
        Self::open_checked(Config::from(&settings), settings, adapter)
    }

    fn open_checked(config: Config, settings: Settings, adapter: &Adapter) -> Result<Self, TrainError> {
        let splits = settings.load()?;
        let input = input_of(&splits.train);
        let engine = open(adapter, &settings.model, &input, Some(settings.train_options()))?;
        Ok(Trainer {
            config,
            settings,
            splits,
            engine,
            choices: KernelChoices::default(),
        })
    }

    /// Takes the kernels that `source` names, for the run to come; without
    /// this they are the default ones. A resumed run replays its own.
    ///
    /// # Errors
    /// As [`choose_kernels`].
    pub fn choose_kernels(
        &mut self,
        source: &KernelSource,
        report: &mut dyn FnMut(&TuningEvent),
    ) -> Result<(), TrainError> {
        let batch = self.settings.batch_size.get();
        let per_epoch = self.splits.train.len().div_ceil(batch) as u32;
        let work = Workload {
            training: true,
            batch,
            images: u64::from(self.config.total_steps(per_epoch)) * batch as u64,
        };
        self.choices = choose_kernels(self.engine.as_mut(), source, &work, report)?;
        Ok(())
    }

    /// The configuration.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The device memory that the run to come takes; `None` without a device.
    pub fn footprint(&mut self) -> Option<Footprint> {
        let batch = self.settings.batch_size.get();
        let sizes = |set: &ImageSet| {
            let (full, rest) = (set.len() / batch, set.len() % batch);
            let sizes = [batch, rest].into_iter();
            let sizes = sizes
                .zip([full > 0, rest > 0])
                .filter_map(|(size, any)| any.then_some(size));
            sizes.collect::<Vec<_>>()
        };
        let images = |set: &ImageSet| ResidentSet::footprint(set.len(), [set.channels, set.height, set.width]);
        let Splits { train, test, .. } = &self.splits;
        let session = self.engine.device_session()?;
        Some(Footprint {
            images: images(train) + images(test),
            ..session.footprint(&sizes(train), &sizes(test))
        })
    }

    /// What trains, for the record.
    pub fn made_by(&self) -> MadeBy {
        MadeBy {
            version: env!("CARGO_PKG_VERSION").to_string(),
            adapter: self.engine.name(),
        }
    }

    /// The run in `directory`, ready to train: a new one, which is written
    /// down there, or, to `resume`, the one that is there.
    ///
    /// # Errors
    /// As [`Run::prepare`].
    pub fn run<'a>(&'a mut self, directory: &'a RunDirectory, resume: bool) -> Result<Run<'a>, TrainError> {
        let made_by = self.made_by();
        if resume {
            replay_run(self.engine.as_mut(), directory)?;
        }
        let tuning = self.tuning();
        let run = Run::prepare(
            self.engine.as_mut(),
            &self.config,
            self.settings.clone(),
            directory,
            &self.splits,
            resume,
        )?;
        // Not before the run is known to be possible.
        if !resume {
            directory.write_tuning(tuning.as_ref())?;
            directory.write_config(&self.config, &made_by)?;
        }
        Ok(run)
    }

    /// The kernels that were chosen, for the record.
    fn tuning(&mut self) -> Option<TuningCache> {
        let session = self.engine.device_session()?;
        let key = TuningKey::of(session.gpu().info());
        (!self.choices.is_empty()).then(|| TuningCache::of(&key, &self.choices))
    }
}

/// The shape of a data set's images, and its number of classes.
pub fn input_of(set: &ImageSet) -> InputShape {
    InputShape {
        channels: set.channels,
        height: set.height,
        width: set.width,
        classes: set.classes(),
    }
}
