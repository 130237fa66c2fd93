//! Which trained network do the arguments name?

use std::path::Path;

use super::args::{AdapterArgs, NetworkArgs};
use super::exit::CliError;
use super::network::model_text;
use super::signals;
use super::train::note_measured;
use super::tuning::TuningReporter;
use crate::data::DataError;
use crate::shown::shown_path;
use crate::train::{RunDirectory, TrainedNetwork, TrainedNetworkOptions, input_of};

/// The folder of runs, unless another is given.
pub const RUNS: &str = "runs";

impl NetworkArgs {
    /// The options that these arguments stand for.
    ///
    /// # Errors
    /// Where an argument is missing, or no run is there to be the default.
    pub fn options(&self, adapter: &AdapterArgs) -> Result<TrainedNetworkOptions, CliError> {
        let mut options = match (&self.weights, &self.run) {
            (Some(weights), _) => TrainedNetworkOptions::from_file(weights),
            (None, Some(run)) => TrainedNetworkOptions::from_run(run),
            (None, None) => TrainedNetworkOptions::from_run(RunDirectory::newest(Path::new(RUNS))?.path()),
        };
        if let Some(model) = &self.model {
            options = options.model_name(model_text(model)?);
        }
        if let Some(data) = &self.data {
            options = options.data(data);
        }
        if self.images.preparation.is_given() {
            let base = options.recorded_preparation()?;
            let preparation = self.images.preparation.over(base).map_err(DataError::from)?;
            options = options.preparation(preparation);
        }
        if let Some(images) = self.images.limit_test {
            options = options.limit_test(images);
        }
        if let Some(mean) = &self.images.mean {
            options = options.mean(mean);
        }
        if let Some(std) = &self.images.std {
            options = options.std(std);
        }
        let options = options
            .names(self.names.options())
            .best(self.checkpoint == "best")
            .batch_size(self.images.batch_size);
        let options = options.adapter(adapter.choice()).kernels(adapter.kernels());
        Ok(options.heed(signals::stop()))
    }

    /// Opens the network that these arguments name.
    ///
    /// # Errors
    /// As [`Self::options`] and [`TrainedNetworkOptions::open`].
    pub fn open(&self, adapter: &AdapterArgs) -> Result<TrainedNetwork, CliError> {
        open_network(&self.options(adapter)?)
    }
}

/// Opens the network of `options`; reports on standard error while kernels
/// are chosen.
///
/// # Errors
/// As [`TrainedNetworkOptions::open`].
pub fn open_network(options: &TrainedNetworkOptions) -> Result<TrainedNetwork, CliError> {
    let found = options.find()?;
    let mut reporter = TuningReporter::new(&found.model().to_string());
    let network = found.open(&mut |event| reporter.report(event))?;
    network
        .notes
        .iter()
        .for_each(|note| super::note(format_args!("{}: {note}", shown_path(&network.weights))));
    let spec = network.model.spec();
    if let Some(line) = spec.and_then(|spec| spec.note(&input_of(&network.test.images))) {
        super::note(line);
    }
    if network.test.measured && network.normalization == network.test.normalization {
        note_measured(&network.normalization, "data set's");
    }
    Ok(network)
}
