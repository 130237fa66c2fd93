//! Which paths of a network does a path study measure?

use std::num::NonZeroUsize;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use super::lengths::off_the_chain;
use super::{LengthUnit, PathFindings, PathLengths, PathNorms, PathSampling, path_lengths, path_norms};
use crate::graph::{BlockId, Graph, Mode};
use crate::studies::error::StudyError;
use crate::studies::evaluator::StudyProgress;
use crate::studies::part::Part;
use crate::studies::result_log::ResultLog;
use crate::train::TrainedNetwork;

/// A study of the paths of a network: how long they are, and which of them
/// carry the gradient (Veit, Wilber and Belongie 2016, section 4).
///
/// ```no_run
/// use residua::studies::{PathStudy, StudyError};
/// use residua::train::TrainedNetworkOptions;
///
/// # fn main() -> Result<(), StudyError> {
/// let options = TrainedNetworkOptions::from_run("runs/resnet20").training_images(true);
/// let findings = PathStudy::default().run(&mut options.open()?, &mut |_| {})?;
/// println!("{:#}", findings.json());
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathStudy {
    /// Paths to sample for each length; 0 gives the distribution of lengths
    /// alone.
    pub samples: u32,
    /// Lengths to sample, in blocks; `None` is all.
    pub lengths: Option<RangeInclusive<usize>>,
    /// Training images that each path is measured on.
    pub sample_images: NonZeroUsize,
    /// Statistics of batch norm in the forward and the backward pass: the
    /// running ones ([`Mode::Eval`]), or the batch's ([`Mode::Train`]), whose
    /// own gradient then counts.
    pub batch_norm: Mode,
    /// The seed of images and paths.
    pub seed: u64,
    /// Directory of the result log. An interrupted study continues there. With
    /// `None`, results are kept in memory only.
    pub out: Option<PathBuf>,
}

impl Default for PathStudy {
    /// Samples 1000 paths of each length, each on 8 training images.
    fn default() -> Self {
        PathStudy {
            samples: 1000,
            lengths: None,
            sample_images: NonZeroUsize::new(8).unwrap_or(NonZeroUsize::MIN),
            batch_norm: Mode::Eval,
            seed: 0,
            out: None,
        }
    }
}

impl PathStudy {
    /// Counts and samples the paths of `network`, which must be opened with
    /// its training images; reports to `progress` how many paths are done.
    ///
    /// # Errors
    /// Where a setting does not fit the network, or as [`path_norms`].
    pub fn run(
        &self,
        network: &mut TrainedNetwork,
        progress: &mut dyn FnMut(&StudyProgress),
    ) -> Result<PathFindings, StudyError> {
        let graph = network.engine.graph().clone();
        let (lengths, paths) = self.lengths_of(network)?;
        let PathLengths {
            shares: in_blocks,
            log2_paths,
        } = paths;
        let has_shortcut = |index: &usize| graph.has_shortcut(BlockId(*index));
        let residual_blocks = (0..graph.blocks.len()).filter(has_shortcut).count();
        let off = off_the_chain(&graph);
        let sampled = match self.samples {
            0 => None,
            _ => {
                let (norms, _) = self.sample(network, lengths.clone(), None, progress)?;
                Some((lengths, norms))
            }
        };
        Ok(PathFindings {
            label: network.label(),
            blocks: graph.blocks.len(),
            residual_blocks,
            is_chain: off.is_none(),
            log2_paths,
            in_convolutions: path_lengths(&graph, LengthUnit::Convolutions).shares,
            in_blocks,
            sampled,
            post_activation: graph.blocks.iter().any(|block| block.output != block.join),
        })
    }

    /// Samples a part of the paths, and records the results in a file of the directory.
    /// [`Self::run`] then reads them. Returns the number of results in the part's file.
    ///
    /// # Errors
    /// As [`Self::run`], and without a directory or paths to sample.
    pub fn run_part(
        &self,
        network: &mut TrainedNetwork,
        part: Part,
        progress: &mut dyn FnMut(&StudyProgress),
    ) -> Result<usize, StudyError> {
        if self.samples == 0 {
            return Err(StudyError::value("samples", "0: there is nothing to divide into parts"));
        }
        let (lengths, _) = self.lengths_of(network)?;
        Ok(self.sample(network, lengths, Some(part), progress)?.1)
    }

    /// The lengths to sample, and how long the paths of `network` are.
    ///
    /// # Errors
    /// Where they have no length, or a setting does not fit them.
    fn lengths_of(&self, network: &TrainedNetwork) -> Result<(RangeInclusive<usize>, PathLengths), StudyError> {
        let graph = network.engine.graph();
        if graph.blocks.is_empty() {
            return Err(StudyError::value(
                "model",
                format!("{}: it has no blocks, so its paths have no length", network.model),
            ));
        }
        let paths = path_lengths(graph, LengthUnit::Blocks);
        if !paths.log2_paths.is_finite() {
            return Err(StudyError::value(
                "model",
                format!("{}: no path leads from its images to its logits", network.model),
            ));
        }
        let longest = paths.shares.len() - 1;
        let lengths = self.lengths.clone().unwrap_or(0..=longest);
        if *lengths.end() > longest {
            let (from, to) = (lengths.start(), lengths.end());
            return Err(StudyError::value(
                "lengths",
                format!("{from}..{to}: the longest path has {longest} blocks"),
            ));
        }
        if self.samples > 0
            && let Some(reason) = no_single_paths(graph, off_the_chain(graph))
        {
            return Err(StudyError::value(
                "samples",
                format!(
                    "{}: {} has no single paths to sample: {reason}; sample 0 paths for their lengths alone",
                    self.samples, network.model
                ),
            ));
        }
        Ok((lengths, paths))
    }

    /// The statistics of batch norm, in words.
    pub fn batch_norm_name(&self) -> &'static str {
        match self.batch_norm {
            Mode::Eval => "running statistics",
            Mode::Train => "the batch's statistics",
        }
    }

    /// Samples paths of these lengths, of `part` only; also gives the number of results
    /// that are recorded.
    fn sample(
        &self,
        network: &mut TrainedNetwork,
        lengths: RangeInclusive<usize>,
        part: Option<Part>,
        progress: &mut dyn FnMut(&StudyProgress),
    ) -> Result<(PathNorms, usize), StudyError> {
        if network.training_images == 0 {
            return Err(StudyError::value(
                "samples",
                format!("{}: the network must be opened with its training images", self.samples),
            ));
        }
        let mut log = self.log(network, &lengths, part)?;
        let sampling = PathSampling {
            lengths,
            samples: self.samples,
            images: self.sample_images,
            available: network.training_images,
            batch_norm: self.batch_norm,
            seed: self.seed,
        };
        let route = network.route.clone();
        let mut report = |done, total| {
            progress(&StudyProgress {
                phase: "sampling paths",
                done,
                total,
            });
        };
        let all = sampling.passes();
        let passes = part.map_or(0..all, |part| part.range(all));
        let norms = path_norms(
            network.engine.as_mut(),
            &route,
            &sampling,
            passes,
            &mut log,
            &mut report,
        )?;
        Ok((norms, log.len()))
    }

    /// Opens the result log in the directory, or one in memory.
    fn log(
        &self,
        network: &TrainedNetwork,
        lengths: &RangeInclusive<usize>,
        part: Option<Part>,
    ) -> Result<ResultLog, StudyError> {
        ResultLog::open_in(self.out.as_deref(), "results", part, || {
            let mut identity = network.identity()?;
            identity.insert("lengths".into(), vec![*lengths.start(), *lengths.end()].into());
            identity.insert("sample-images".into(), self.sample_images.get().into());
            identity.insert("batch-norm".into(), self.batch_norm_name().into());
            identity.insert("seed".into(), self.seed.into());
            Ok(identity)
        })
    }
}

/// Why a choice between branch and shortcut of each block is no single path;
/// `off` is a block that is not on every path.
fn no_single_paths(graph: &Graph, off: Option<usize>) -> Option<String> {
    let named = |index: usize| format!("block {} ({})", index + 1, graph.blocks[index].name);
    let plain = (0..graph.blocks.len()).find(|&index| !graph.has_shortcut(BlockId(index)));
    let plain = plain.map(|index| format!("{} has no shortcut", named(index)));
    plain.or_else(|| Some(format!("its blocks are no chain, {} is not on every path", named(off?))))
}
