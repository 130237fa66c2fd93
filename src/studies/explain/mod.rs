//! Which pixels does a network look at?
//!
//! Four methods, for the score of a class (its logit, before the softmax): the
//! gradient, integrated gradients, Grad-CAM and occlusion. They use the engine's own
//! gradients, on every device and in the f64 reference, and follow a route: a network
//! with deleted blocks can be explained.

mod integrated;
mod occlusion;
mod report;
mod scores;

use scores::{LARGEST, Scores};

use super::error::StudyError;
use super::evaluator::StudyProgress;
use crate::data::ImageSet;
use crate::graph::{Graph, NodeId, Op};
use crate::train::{Adapter, TrainError, TrainedNetwork, predicted, probabilities};

/// How a score is explained.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// The gradient of the score with respect to the image (Simonyan et al. 2014).
    Gradient,
    /// Integrated gradients (Sundararajan et al. 2017).
    Integrated,
    /// Grad-CAM (Selvaraju et al. 2017).
    GradCam,
    /// Occlusion (Zeiler and Fergus 2014).
    Occlusion,
}

impl Method {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Gradient, Self::Integrated, Self::GradCam, Self::Occlusion];

    /// Its name in arguments and files.
    pub fn name(self) -> &'static str {
        match self {
            Method::Gradient => "gradient",
            Method::Integrated => "integrated",
            Method::GradCam => "grad-cam",
            Method::Occlusion => "occlusion",
        }
    }
}

/// The class whose score is explained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Target {
    /// The class that the network predicts.
    #[default]
    Predicted,
    /// The label of the image.
    Label,
    /// The same class for every image.
    Class(u32),
}

/// What covers pixels and is the beginning of integrated gradients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Baseline {
    /// Black.
    #[default]
    Black,
    /// The mean colour, by which images are normalised.
    Mean,
}

/// What to explain, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct ExplainStudy {
    /// The test images, by their index from 0.
    pub images: Vec<usize>,
    /// The methods.
    pub methods: Vec<Method>,
    /// Which class.
    pub target: Target,
    /// Blocks that are deleted, by number from 1.
    pub deleted: Vec<usize>,
    /// Points of integrated gradients.
    pub steps: usize,
    /// Side of the window of occlusion, pixels; `None` is a quarter of the image's.
    pub window: Option<usize>,
    /// Pixels from one window to the next; `None` is half a window.
    pub stride: Option<usize>,
    /// The colour of the baseline.
    pub baseline: Baseline,
    /// The layer or block of Grad-CAM; `None` is what the last pooling reads.
    pub layer: Option<String>,
}

impl Default for ExplainStudy {
    fn default() -> Self {
        ExplainStudy {
            images: (0..8).collect(),
            methods: Method::ALL.to_vec(),
            target: Target::default(),
            deleted: Vec::new(),
            steps: 50,
            window: None,
            stride: None,
            baseline: Baseline::default(),
            layer: None,
        }
    }
}

/// The values of one method for all images.
#[derive(Debug, Clone, PartialEq)]
pub struct Attribution {
    /// The method.
    pub method: Method,
    /// The shape of the values of an image: C×H×W, or H×W.
    pub shape: Vec<usize>,
    /// The values, N times that shape: how much each raises the score.
    pub values: Vec<f32>,
}

/// An image and its class.
#[derive(Debug, Clone, PartialEq)]
pub struct ExplainedImage {
    /// Its index in the test set, from 0.
    pub index: usize,
    /// Its label.
    pub label: u32,
    /// The class that the network predicts.
    pub predicted: u32,
    /// The class whose score is explained.
    pub class: u32,
    /// The score: the logit.
    pub score: f32,
    /// Its probability.
    pub probability: f64,
    /// With integrated gradients: the score of the baseline, and the sum of all values,
    /// which is the difference of the two scores but for the error of the integral.
    pub integral: Option<[f64; 2]>,
}

/// What was found.
#[derive(Debug, Clone)]
pub struct Explanations {
    /// The network.
    pub label: String,
    /// The images.
    pub images: Vec<ExplainedImage>,
    /// The methods in the order that was asked for.
    pub attributions: Vec<Attribution>,
    /// The pixels of the images, (N, C, H, W).
    pub set: ImageSet,
    /// The name of the value that Grad-CAM reads.
    pub layer: String,
    /// Blocks that were deleted.
    pub deleted: Vec<usize>,
}

impl ExplainStudy {
    /// Explains images of `network`, on `adapter`.
    ///
    /// # Errors
    /// Where an image, a class, a layer or a block does not exist, a window is larger
    /// than the images, or the device fails.
    pub fn run(
        &self,
        network: &mut TrainedNetwork,
        adapter: &Adapter,
        progress: &mut dyn FnMut(&StudyProgress),
    ) -> Result<Explanations, StudyError> {
        let mut set = self.chosen(&network.test.images)?;
        let side = set.height.min(set.width);
        let window = self.window.unwrap_or_else(|| (side / 4).max(1));
        let stride = self.stride.unwrap_or_else(|| (window / 2).max(1));
        if window == 0 || window > side {
            let problem = format!("{window} is not between 1 and the {side} pixels of the images");
            return Err(StudyError::value("window", problem));
        }
        if stride == 0 || stride > window {
            let problem =
                format!("{stride} is not between 1 and the {window} pixels of the window: pixels would be left out");
            return Err(StudyError::value("stride", problem));
        }
        if self.steps == 0 {
            return Err(StudyError::value("steps", "0 is too few: at least one is needed"));
        }
        let route = network.route.clone().deleting(&self.deleted)?;
        let normalization = network.normalization.clone();
        let label = network.label();
        let mut scores = Scores::open(network, route, adapter)?;
        let (at, layer) = self.layer_of(scores.graph())?;
        if scores.graph().shape(at) != network.engine.graph().shape(at) {
            let problem = format!("{layer} has a plane for each class: Grad-CAM needs a value before the logits");
            return Err(StudyError::value("layer", problem));
        }
        scores.load(&set, &normalization)?;
        let logits = scores.logits()?;
        let labels = std::mem::take(&mut set.labels);
        let mut images = Vec::with_capacity(labels.len());
        for ((&index, &label), logits) in self.images.iter().zip(&labels).zip(&logits) {
            if let Some(logit) = logits.iter().find(|logit| **logit > LARGEST) {
                let problem = format!("{index} has a logit of {logit}: those above {LARGEST} cannot be explained");
                return Err(StudyError::value("images", problem));
            }
            let predicted = predicted(logits);
            let class = match self.target {
                Target::Predicted => predicted,
                Target::Label => label,
                Target::Class(class) => class,
            };
            let Some(&score) = logits.get(class as usize) else {
                let problem = format!("{class} does not exist: there are {} classes", logits.len());
                return Err(StudyError::value("class", problem));
            };
            set.labels.push(class);
            images.push(ExplainedImage {
                index,
                label,
                predicted,
                class,
                score,
                probability: probabilities(logits)[class as usize],
                integral: None,
            });
        }
        let colours: Vec<f32> = match self.baseline {
            Baseline::Black => vec![0.0; set.channels],
            Baseline::Mean => normalization.mean().to_vec(),
        };
        let bytes: Vec<u8> = colours.iter().map(|colour| (255.0 * colour).round() as u8).collect();
        let work = |method: &Method| match method {
            Method::Gradient | Method::GradCam => 1,
            Method::Integrated => self.steps,
            Method::Occlusion => occlusion::windows(&set, window, stride),
        };
        let total = self.methods.iter().map(work).sum::<usize>() as u64;
        let mut passes = 0;
        let mut done = || {
            passes += 1;
            progress(&StudyProgress {
                phase: "explaining",
                done: passes,
                total,
            });
        };
        let plane = vec![set.height, set.width];
        let whole = [&[set.channels], &plane[..]].concat();
        let mut attributions = Vec::new();
        for &method in &self.methods {
            let (shape, values) = match method {
                Method::Gradient => {
                    scores.load(&set, &normalization)?;
                    let values = scores.image_gradients()?;
                    done();
                    (whole.clone(), values)
                }
                Method::Integrated => {
                    let (values, at_baseline) = integrated::integrated_gradients(
                        &mut scores,
                        &set,
                        &normalization,
                        &colours,
                        self.steps,
                        &mut done,
                    )?;
                    let sums = values
                        .chunks(set.image_size())
                        .map(|image| image.iter().map(|&value| f64::from(value)).sum());
                    for ((image, baseline), sum) in images.iter_mut().zip(at_baseline).zip(sums) {
                        image.integral = Some([baseline.into(), sum]);
                    }
                    (whole.clone(), values)
                }
                Method::GradCam => {
                    scores.load(&set, &normalization)?;
                    let dims = scores.graph().shape(at).dims.clone();
                    let [gradients, activations] = scores.value_gradients(at)?;
                    done();
                    (dims[1..].to_vec(), class_map(&gradients, &activations, &dims))
                }
                Method::Occlusion => {
                    let before: Vec<f32> = images.iter().map(|image| image.score).collect();
                    let values = occlusion::occlusion(
                        &mut scores,
                        &set,
                        &before,
                        &normalization,
                        &bytes,
                        (window, stride),
                        &mut done,
                    )?;
                    (plane.clone(), values)
                }
            };
            attributions.push(Attribution { method, shape, values });
        }
        set.labels = labels;
        Ok(Explanations {
            label,
            images,
            attributions,
            set,
            layer,
            deleted: self.deleted.clone(),
        })
    }

    /// The images that are asked for.
    fn chosen(&self, test: &ImageSet) -> Result<ImageSet, StudyError> {
        if let Some(index) = self.images.iter().find(|index| **index >= test.len()) {
            let problem = format!("{index} does not exist: there are {} test images, from 0", test.len());
            return Err(StudyError::value("images", problem));
        }
        let pixels = self.images.iter().flat_map(|&index| test.image(index));
        // Not a copy of all test images, of which few are kept.
        Ok(ImageSet {
            name: test.name.clone(),
            channels: test.channels,
            height: test.height,
            width: test.width,
            class_names: test.class_names.clone(),
            images: pixels.copied().collect(),
            labels: self.images.iter().map(|&index| test.labels[index]).collect(),
        })
    }

    /// The value that Grad-CAM reads, and its name.
    fn layer_of(&self, graph: &Graph) -> Result<(NodeId, String), StudyError> {
        let has_plane = |id: &NodeId| graph.shape(*id).batched && graph.shape(*id).dims.len() == 3;
        if let Some(name) = &self.layer {
            let id = graph.activation(name).map_err(TrainError::from)?;
            return match has_plane(&id) {
                true => Ok((id, name.clone())),
                false => Err(StudyError::value("layer", format!("{name} has no plane of pixels"))),
            };
        }
        // Earlier ones belong to squeeze-and-excitation.
        let pooled = graph
            .ids()
            .rfind(|id| graph.node(*id).op == Op::GlobalAvgPool)
            .map(|id| graph.node(id).inputs[0]);
        let last = graph.ids().rfind(has_plane);
        let id = pooled
            .or(last)
            .ok_or_else(|| StudyError::value("layer", "is needed: the network has no value with a plane of pixels"))?;
        Ok((id, "what the last pooling reads".to_string()))
    }
}

/// Grad-CAM: the channels of a value, each times the mean of its gradient, where their
/// sum is positive; N×H×W. `dims` is C, H and W.
fn class_map(gradients: &[f32], activations: &[f32], dims: &[usize]) -> Vec<f32> {
    let plane: usize = dims[1..].iter().product();
    let size = dims[0] * plane;
    let of_image = |(gradients, activations): (&[f32], &[f32])| {
        let mut sum = vec![0.0_f64; plane];
        for (gradient, activation) in gradients.chunks(plane).zip(activations.chunks(plane)) {
            let weight = gradient.iter().map(|&value| f64::from(value)).sum::<f64>() / plane as f64;
            for (sum, &value) in sum.iter_mut().zip(activation) {
                *sum += weight * f64::from(value);
            }
        }
        sum.into_iter().map(|value| value.max(0.0) as f32).collect::<Vec<f32>>()
    };
    gradients
        .chunks(size)
        .zip(activations.chunks(size))
        .flat_map(of_image)
        .collect()
}
