//! Which experiments does a lesion study run on a network?

use std::num::NonZeroUsize;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use super::{
    ComparedNetwork, Lesion, LesionFindings, RandomDeletions, Reordering, Trials, all_pairs, delete, delete_random,
    deletion, greedy, reorder, responses, without_shortcut,
};
use crate::data::{DataError, Source};
use crate::graph::{Block, BlockId, Route};
use crate::studies::error::StudyError;
use crate::studies::evaluator::{Evaluator, StudyProgress};
use crate::studies::part::Part;
use crate::studies::recalibrate::Recalibration;
use crate::studies::result_log::ResultLog;
use crate::train::TrainedNetwork;

/// The largest number of images that responses of blocks are measured on.
const RESPONSE_IMAGES: usize = 1000;
/// Images per batch there. It is small because both sides of all blocks stay
/// in memory.
const RESPONSE_BATCH: NonZeroUsize = NonZeroUsize::new(32).unwrap();

/// The name of the result log, without its ending.
const RESULTS: &str = "results";

/// The name of the result log of the network number `number`, from 1, that is compared.
fn beside(number: usize) -> String {
    format!("beside-{number}")
}

/// What was found by experiments whose routes do not depend on results. All lists are
/// empty after a part of a study.
struct Experiments {
    lesions: Vec<Lesion>,
    random: Vec<RandomDeletions>,
    reorderings: Vec<Reordering>,
    pairs: Vec<Lesion>,
    without_shortcut: Vec<Lesion>,
}

/// A lesion study: which blocks to delete, which further experiments to run,
/// and where to record results.
///
/// ```no_run
/// use residua::studies::{LesionStudy, StudyError};
/// use residua::train::TrainedNetworkOptions;
///
/// # fn main() -> Result<(), StudyError> {
/// let mut network = TrainedNetworkOptions::from_run("runs/resnet20").open()?;
/// let findings = LesionStudy::default().run(&mut network, &mut |_| {})?;
/// for lesion in &findings.lesions {
///     println!("{}: {:.2} %", lesion.names.join(" "), 100.0 * lesion.evaluation.error);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LesionStudy {
    /// Blocks to delete.
    pub deletions: Deletions,
    /// Numbers of blocks to delete at random. Numbers that exceed the number
    /// of blocks are left out.
    pub random: Option<RangeInclusive<usize>>,
    /// The blocks that random deletions choose from.
    pub random_from: BlockPool,
    /// Numbers of random pairs of blocks of one shape whose parameters are
    /// exchanged.
    pub reorder: Option<RangeInclusive<usize>>,
    /// Random choices for each number of blocks or pairs.
    pub trials: u32,
    /// The seed of all random choices.
    pub seed: u64,
    /// Whether to delete every pair of blocks, for the matrix of their
    /// interactions.
    pub pairs: bool,
    /// Number of blocks to delete one after the other, each time the block
    /// whose deletion increases the loss least.
    pub greedy: usize,
    /// Whether to remove each block's shortcut instead of its branch, as a
    /// control.
    pub without_shortcut: bool,
    /// Whether to measure the contribution of each block: ‖F(x)‖/‖x‖, the
    /// angle between F(x) and x, and the standard deviation of F(x).
    pub responses: bool,
    /// Number of training images for recomputing the statistics of batch norms
    /// under each lesion; `None` uses the running statistics as they are. The
    /// network must be opened with its training images.
    pub recalibrate: Option<usize>,
    /// Directory of the result log. An interrupted study continues there. With
    /// `None`, results are kept in memory only.
    pub out: Option<PathBuf>,
    /// Whether to write label, loss and error of every image to `images/` in
    /// that directory, a CSV file per lesion.
    pub save_images: bool,
}

/// Blocks to delete.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Deletions {
    /// Each block alone, unless another experiment is asked for that does not
    /// need this.
    #[default]
    Unspecified,
    /// Each block alone.
    Each,
    /// These blocks together, by number from 1.
    Together(Vec<usize>),
}

/// A set of blocks to choose from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BlockPool {
    /// All blocks.
    All,
    /// The blocks that do not downsample.
    Plain,
    /// Both sets, one after the other.
    #[default]
    Both,
}

impl Default for LesionStudy {
    /// Deletes each block alone.
    fn default() -> Self {
        LesionStudy {
            deletions: Deletions::default(),
            random: None,
            random_from: BlockPool::default(),
            reorder: None,
            trials: 100,
            seed: 0,
            pairs: false,
            greedy: 0,
            without_shortcut: false,
            responses: false,
            recalibrate: None,
            out: None,
            save_images: false,
        }
    }
}

impl LesionStudy {
    /// Runs all experiments on `network` and reports to `progress`.
    ///
    /// # Errors
    /// Where the settings do not fit together or do not fit the network, or as
    /// [`Evaluator::evaluate`].
    pub fn run(
        &self,
        network: &mut TrainedNetwork,
        progress: &mut dyn FnMut(&StudyProgress),
    ) -> Result<LesionFindings, StudyError> {
        self.run_with_log(network, RESULTS, progress)
    }

    /// Evaluates a part of the routes of all experiments, and records the results in a
    /// file of the directory. [`Self::run`] then reads them. Greedy deletions and
    /// responses have no parts: they are left to it. Returns the number of results in the
    /// part's file.
    ///
    /// # Errors
    /// As [`Self::run`], and without a directory.
    pub fn run_part(
        &self,
        network: &mut TrainedNetwork,
        part: Part,
        progress: &mut dyn FnMut(&StudyProgress),
    ) -> Result<usize, StudyError> {
        self.part_with_log(network, RESULTS, part, progress)
    }

    /// As [`Self::run_part`], for the network number `number`, from 1, that
    /// [`Self::compare`] is called with.
    ///
    /// # Errors
    /// As [`Self::run_part`].
    pub fn compare_part(
        &self,
        number: usize,
        other: &mut TrainedNetwork,
        part: Part,
        progress: &mut dyn FnMut(&StudyProgress),
    ) -> Result<usize, StudyError> {
        self.comparison()?.part_with_log(other, &beside(number), part, progress)
    }

    /// Deletes each block of another network alone and adds the results to
    /// `findings`, for comparison. The other network should be opened on the
    /// same images.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub fn compare(
        &self,
        findings: &mut LesionFindings,
        other: &mut TrainedNetwork,
        progress: &mut dyn FnMut(&StudyProgress),
    ) -> Result<(), StudyError> {
        let number = findings.compared.len() + 1;
        let found = self.comparison()?.run_with_log(other, &beside(number), progress)?;
        findings.compared.push(ComparedNetwork {
            downsampling: (1..=found.blocks.len())
                .filter(|number| found.blocks[number - 1].downsamples)
                .collect(),
            label: found.label,
            whole: found.whole,
            single: found.lesions,
        });
        Ok(())
    }

    /// Checks the settings that do not depend on a network.
    ///
    /// # Errors
    /// For the first setting that does not fit the others.
    pub fn check(&self) -> Result<(), StudyError> {
        if self.recalibrate == Some(0) {
            return Err(StudyError::value(
                "recalibrate",
                "0: at least one training image is needed",
            ));
        }
        if let Some(images) = self.recalibrate.filter(|_| self.reorder.is_some()) {
            return Err(StudyError::value(
                "recalibrate",
                format!("{images}: cannot be combined with other orders of blocks"),
            ));
        }
        if self.save_images && self.out.is_none() {
            return Err(StudyError::value("save-images", "needs a directory for the results"));
        }
        self.check_each("pairs", self.pairs)?;
        self.check_each("without-shortcut", self.without_shortcut)
    }

    /// An error where `setting` is used without deleting each block alone.
    fn check_each(&self, setting: &'static str, used: bool) -> Result<(), StudyError> {
        if used && matches!(self.deletions, Deletions::Together(_)) {
            return Err(StudyError::value(setting, "needs each block deleted alone, too"));
        }
        Ok(())
    }

    /// The study of a network that is compared.
    fn comparison(&self) -> Result<LesionStudy, StudyError> {
        self.check_each("comparison", true)?;
        Ok(LesionStudy {
            deletions: Deletions::Each,
            recalibrate: self.recalibrate,
            seed: self.seed,
            out: self.out.clone(),
            ..LesionStudy::default()
        })
    }

    fn run_with_log(
        &self,
        network: &mut TrainedNetwork,
        stem: &str,
        progress: &mut dyn FnMut(&StudyProgress),
    ) -> Result<LesionFindings, StudyError> {
        let label = network.label();
        let route = network.route.clone();
        let evaluator = &mut self.evaluator(network, stem, None, progress)?;
        evaluator.begin("nothing deleted");
        let whole = evaluator.evaluate_finite(&deletion(&route, &[])?)?;
        let found = self.experiments(evaluator, &route)?;
        evaluator.begin("deleting one after the other");
        let greedy = greedy(evaluator, &route, self.greedy)?;
        evaluator.begin("measuring responses");
        let blocks = evaluator.graph().blocks.clone();
        let network = evaluator.network();
        let responses = if self.responses {
            let images = network.images().min(RESPONSE_IMAGES);
            responses(network.engine.as_mut(), &route, images, RESPONSE_BATCH)?
        } else {
            Vec::new()
        };
        let test = &network.test.images;
        Ok(LesionFindings {
            label,
            class_images: class_images(&test.labels, test.classes()),
            classes: test.class_names.clone(),
            blocks,
            whole,
            lesions: found.lesions,
            random: found.random,
            reorderings: found.reorderings,
            pairs: found.pairs,
            greedy,
            without_shortcut: found.without_shortcut,
            responses,
            compared: Vec::new(),
        })
    }

    fn part_with_log(
        &self,
        network: &mut TrainedNetwork,
        stem: &str,
        part: Part,
        progress: &mut dyn FnMut(&StudyProgress),
    ) -> Result<usize, StudyError> {
        let route = network.route.clone();
        let evaluator = &mut self.evaluator(network, stem, Some(part), progress)?;
        evaluator.begin("nothing deleted");
        evaluator.evaluate(&[deletion(&route, &[])?])?;
        self.experiments(evaluator, &route)?;
        Ok(evaluator.recorded())
    }

    /// Evaluates routes of `network` as the settings say, of `part` those only.
    fn evaluator<'a>(
        &self,
        network: &'a mut TrainedNetwork,
        stem: &str,
        part: Option<Part>,
        progress: &'a mut dyn FnMut(&StudyProgress),
    ) -> Result<Evaluator<'a>, StudyError> {
        self.check()?;
        if let Some(images) = self.recalibrate.filter(|_| network.training_images == 0) {
            return Err(StudyError::value(
                "recalibrate",
                format!("{images}: the network must be opened with its training images"),
            ));
        }
        let log = self.log(network, stem, part)?;
        let recalibration = self.recalibrate.map(|images| Recalibration {
            images,
            batch_size: network.batch_size,
            available: network.training_images,
            seed: self.seed,
        });
        let source: Source = network.source.parse().map_err(DataError::from)?;
        let corrupted = source.corruptions(network.images())?.unwrap_or_default();
        let images = self.out.as_ref().filter(|_| self.save_images);
        Ok(Evaluator::new(network)
            .result_log(log)
            .recalibrate(recalibration)
            .save_images(images.map(|out| out.join("images")))
            .corrupted(corrupted)
            .part(part)
            .progress(progress))
    }

    /// Opens the result log in the directory, or one in memory.
    fn log(&self, network: &TrainedNetwork, stem: &str, part: Option<Part>) -> Result<ResultLog, StudyError> {
        ResultLog::open_in(self.out.as_deref(), stem, part, || {
            let mut identity = network.identity()?;
            identity.insert("recalibrate".into(), self.recalibrate.into());
            identity.insert("seed".into(), self.recalibrate.map(|_| self.seed).into());
            Ok(identity)
        })
    }

    /// The experiments whose routes are known before any of them is evaluated.
    fn experiments(&self, evaluator: &mut Evaluator, route: &Route) -> Result<Experiments, StudyError> {
        let blocks = evaluator.graph().blocks.clone();
        let trials = |counts: &RangeInclusive<usize>| Trials {
            counts: counts.clone(),
            trials: self.trials,
            seed: self.seed,
        };
        evaluator.begin("deleting blocks");
        let lesions = delete(evaluator, route, &self.lists(blocks.len()))?;
        let mut random = Vec::new();
        if let Some(counts) = &self.random {
            for (name, pool) in self.random_from.pools(&blocks) {
                evaluator.begin("deleting many blocks");
                let lesions = delete_random(evaluator, route, &pool, &trials(counts))?;
                random.push(RandomDeletions { pool: name, lesions });
            }
        }
        evaluator.begin("reordering blocks");
        let reorderings = match &self.reorder {
            Some(counts) => reorder(evaluator, route, &trials(counts))?,
            None => Vec::new(),
        };
        evaluator.begin("deleting pairs");
        let pairs = if self.pairs {
            delete(evaluator, route, &all_pairs(blocks.len()))?
        } else {
            Vec::new()
        };
        evaluator.begin("removing shortcuts");
        let without_shortcut = if self.without_shortcut {
            let with_shortcut = |number: &usize| evaluator.graph().has_shortcut(BlockId(number - 1));
            let numbers: Vec<usize> = (1..=blocks.len()).filter(with_shortcut).collect();
            without_shortcut(evaluator, route, &numbers)?
        } else {
            Vec::new()
        };
        Ok(Experiments {
            lesions,
            random,
            reorderings,
            pairs,
            without_shortcut,
        })
    }

    /// The lists of blocks to delete from a network with `blocks` blocks.
    fn lists(&self, blocks: usize) -> Vec<Vec<usize>> {
        let each = || (1..=blocks).map(|number| vec![number]).collect();
        match &self.deletions {
            Deletions::Each => each(),
            Deletions::Together(numbers) => vec![numbers.clone()],
            Deletions::Unspecified if self.pairs || self.without_shortcut => each(),
            Deletions::Unspecified
                if self.random.is_some() || self.reorder.is_some() || self.greedy > 0 || self.responses =>
            {
                Vec::new()
            }
            Deletions::Unspecified => each(),
        }
    }
}

impl BlockPool {
    /// The sets of block numbers, with their names.
    fn pools(self, blocks: &[Block]) -> Vec<(String, Vec<usize>)> {
        let all: Vec<usize> = (1..=blocks.len()).collect();
        let is_plain = |number: &usize| !blocks[number - 1].downsamples;
        let plain: Vec<usize> = all.iter().copied().filter(is_plain).collect();
        let all = ("all blocks".to_string(), all);
        let plain = ("blocks that do not downsample".to_string(), plain);
        match self {
            BlockPool::All => vec![all],
            BlockPool::Plain => vec![plain],
            BlockPool::Both => vec![all, plain],
        }
    }
}

/// Number of images of each class.
fn class_images(labels: &[u32], classes: usize) -> Vec<usize> {
    let mut counts = vec![0; classes];
    for &label in labels {
        if let Some(count) = counts.get_mut(label as usize) {
            *count += 1;
        }
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Mode;
    use crate::models::{InputShape, ModelSpec};

    #[test]
    fn blocks_are_deleted_alone_unless_only_other_experiments_are_asked_for() {
        let each = vec![vec![1], vec![2]];
        let lists = |study: LesionStudy| study.lists(2);
        assert_eq!(lists(LesionStudy::default()), each);
        let greedy = LesionStudy {
            greedy: 2,
            ..LesionStudy::default()
        };
        assert!(lists(greedy.clone()).is_empty());
        let with_pairs = LesionStudy {
            pairs: true,
            ..greedy.clone()
        };
        assert_eq!(lists(with_pairs), each, "pairs are compared with single deletions");
        let explicit = LesionStudy {
            deletions: Deletions::Each,
            ..greedy
        };
        assert_eq!(lists(explicit), each);
        let together = LesionStudy {
            deletions: Deletions::Together(vec![1, 2]),
            ..LesionStudy::default()
        };
        assert_eq!(lists(together), [[1, 2]]);
    }

    #[test]
    fn the_plain_pool_has_no_downsampling_blocks() {
        let spec: ModelSpec = "resnet20".parse().unwrap();
        let blocks = spec.build(&InputShape::default(), Mode::Eval).unwrap().graph.blocks;
        let pools = BlockPool::Both.pools(&blocks);
        assert_eq!(pools[0].1, (1..=9).collect::<Vec<usize>>());
        assert_eq!(pools[1].1, [1, 2, 3, 5, 6, 8, 9]);
        assert_eq!(BlockPool::Plain.pools(&blocks), pools[1..]);
    }

    #[test]
    fn images_are_counted_by_class() {
        assert_eq!(class_images(&[0, 2, 2, 1, 2], 4), [1, 1, 3, 0]);
    }
}
