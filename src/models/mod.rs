//! Which network does a name stand for? `wrn-28-10:dropout=0.3` is read as a
//! [`ModelSpec`], which builds the [`Graph`] for images of an [`InputShape`].
//! A network of your own is a [`NetworkFile`] or an [`Architecture`]; a [`Model`]
//! is any of them.
//!
//! One file per family of networks. It defines the family's names and options
//! and builds its blocks from the [`layers`] that all families share. The
//! module does not depend on GPUs, data or weights.
//!
//! Conventions of every family, unless its file says otherwise:
//!
//! * Parameter names are torchvision's (`conv1`, `layer2.0.bn1`,
//!   `layer2.0.downsample.0`, `fc`), and a block has the common first part of
//!   its parameters' names (`layer2.0`).
//! * Convolutions have no bias. Their weights are drawn from
//!   N(0, √(2 / fan-in)), where fan-in is input channels × kernel area (He et
//!   al. 2015, arXiv:1502.01852).
//! * Batch norm has ε = 1e-5, momentum 0.1, and initially γ = 1, β = 0.
//! * The head is global average pooling and one linear layer. Its weights are
//!   drawn uniformly from ±1/√fan-in (PyTorch's default); its bias is 0.

mod architecture;
mod densenet;
mod design;
mod dpn;
mod error;
mod excite;
mod family;
mod file;
mod fit;
mod fractalnet;
mod fusenet;
mod input;
pub mod layers;
mod limits;
mod merge_run;
mod plain;
mod preact;
pub mod published;
mod request;
mod residual;
mod resnet;
mod resnet_imagenet;
mod resnext;
mod shortcut;
mod skip;
mod spelling;
mod stem;
mod unit;
mod vgg;
mod vgg_imagenet;
mod wrn;

use std::{fmt, str::FromStr};

use crate::graph::{Graph, GraphError, Mode, NodeId, Op};
use family::{Family, Reader};
use request::{Choice, ModelRequest, written};

pub use architecture::{Architecture, Model};
pub use error::ModelError;
pub use fit::{fitting, shapes_of};
pub use input::InputShape;

/// The options of all families. A sweep can vary each of them like a setting of
/// training.
pub const OPTIONS: &[&str] = &[
    "bias",
    "block",
    "drop-global",
    "drop-path",
    "dropout",
    "dropout-at",
    "gate-bias",
    "head",
    "l",
    "last-norm",
    "last-pool",
    "order",
    "pool",
    "project",
    "se",
    "shortcut",
    "skip",
    "stem",
    "stride-at",
    "variant",
];

/// The built-in families: the module and the type of each. A family's module
/// has its `NAMES` for messages and its reader.
macro_rules! families {
    ($(#[$spec:meta])+ pub enum ModelSpec { $($(#[$about:meta])+ $module:ident::$family:ident,)+ }) => {
        $(pub use $module::$family;)+

        $(#[$spec])+
        #[derive(Debug, Clone, PartialEq)]
        pub enum ModelSpec {
            $($(#[$about])+ $family($family),)+
        }

        impl ModelSpec {
            fn family(&self) -> &dyn Family {
                match self {
                    $(ModelSpec::$family(network) => network,)+
                }
            }
        }

        /// Every family's reader.
        const READERS: &[Reader] = &[$($module::read),+];

        /// The names of built-in networks, for error messages and help.
        pub fn names() -> String {
            let names = [$($module::NAMES),+].join(", ");
            format!("{names}; for example resnet20, plain-56, preact-164, wrn-28-10, resnext-29-8x64d, vgg15-128")
        }
    };
}

families! {
    /// A built-in network: its name and options, checked.
    ///
    /// Written as `name` or `name:key=value,key=value`; commas inside parentheses
    /// belong to the value. [`fmt::Display`] writes the canonical form, which has
    /// only the options that differ from their default. Reading it gives the same
    /// spec, except for a network in a file: [`ModelSpec::text`] describes it.
    ///
    /// ```
    /// use residua::models::ModelSpec;
    ///
    /// let spec: ModelSpec = "wrn-40-2:dropout=0.30,block=B(1,3,1)".parse()?;
    /// assert_eq!(spec.to_string(), "wrn-40-2:block=B(1,3,1),dropout=0.3");
    /// # Ok::<(), residua::models::ModelError>(())
    /// ```
    pub enum ModelSpec {
        /// ResNet for small images (He et al. 2015).
        resnet::ResNet,
        /// ResNet-18 to -152, and wide ones (He et al. 2015, Zagoruyko and
        /// Komodakis 2016).
        resnet_imagenet::ImageNetResNet,
        /// ResNeXt (Xie et al. 2017).
        resnext::ResNeXt,
        /// The same layers without shortcuts.
        plain::Plain,
        /// Pre-activation ResNet (He et al. 2016).
        preact::PreAct,
        /// Wide residual network (Zagoruyko and Komodakis 2016).
        wrn::WideResNet,
        /// The VGG of equal widths of the lesion study (Veit et al. 2016).
        vgg::Vgg,
        /// VGG-11 to -19 (Simonyan and Zisserman 2014).
        vgg_imagenet::ImageNetVgg,
        /// DenseNet and DenseNet-BC (Huang et al. 2017).
        densenet::DenseNet,
        /// Dual path networks (Chen et al. 2017).
        dpn::DualPath,
        /// Fused and merge-and-run networks (Zhao et al. 2017).
        fusenet::FuseNet,
        /// The merge-and-run network for ImageNet (Zhao et al. 2017).
        merge_run::ImageNetMergeRun,
        /// FractalNet (Larsson et al. 2017).
        fractalnet::FractalNet,
        /// A network that a file describes.
        file::NetworkFile,
    }
}

/// How programs show the model that `text` stands for: a network in a file by its
/// name and a hash, any other by `text` itself.
pub fn shown_name(text: &str) -> String {
    match text.parse() {
        Ok(ModelSpec::NetworkFile(file)) => file.base(),
        _ => text.to_string(),
    }
}

/// The graph of a network, from the images to the loss.
#[derive(Debug, Clone, PartialEq)]
pub struct Network {
    /// The forward graph, up to the loss.
    pub graph: Graph,
    /// The input, `N × channels × height × width`.
    pub images: NodeId,
    /// The class scores, `N × classes`.
    pub logits: NodeId,
    /// Cross-entropy (nats) and error (0 or 1) of each image, `N × 2`.
    pub loss: NodeId,
}

impl Network {
    /// This network after `change` inserted nodes into its graph.
    pub fn changed(mut self, change: impl FnOnce(&mut Graph)) -> Self {
        change(&mut self.graph);
        let images = self.graph.find(|op| *op == Op::Images);
        if let (Some(images), Some(loss)) = (images, self.graph.loss()) {
            (self.images, self.loss) = (images, loss);
            self.logits = self.graph.node(loss).inputs[0];
        }
        self
    }
}

impl ModelSpec {
    /// This model with `option` set to `value`: `wrn-16-1` with `dropout` set
    /// to `0.3` is `wrn-16-1:dropout=0.3`.
    ///
    /// # Errors
    /// As [`ModelSpec::from_str`]: the model has no such option, or the
    /// option no such value.
    pub fn with(&self, option: &str, value: &str) -> Result<ModelSpec, ModelError> {
        if let ModelSpec::NetworkFile(file) = self {
            return file.with(option, value).map(ModelSpec::NetworkFile);
        }
        let mut request: ModelRequest = self.to_string().parse()?;
        request.set(option, value);
        Self::read(request)
    }

    /// Builds the network for images of shape `input`. Parameters and their
    /// order are the same in both modes.
    ///
    /// # Errors
    /// Where `input` is out of range or too small for the network's windows,
    /// or the network would have too many parameters.
    pub fn build(&self, input: &InputShape, mode: Mode) -> Result<Network, ModelError> {
        Model::from(self.clone()).build(input, mode)
    }

    /// The images that the network is made for: those of CIFAR-10 or ImageNet.
    pub fn usual_input(&self) -> InputShape {
        self.family().usual_input()
    }

    /// What the name leaves open and images of shape `input` decide, as a line
    /// for users: which stem or head.
    pub fn note(&self, input: &InputShape) -> Option<String> {
        self.family().note(input)
    }

    /// The name with every option, also those that have their default:
    /// `plain-8`, `vgg16:head=auto,bias=yes,last-pool=yes`. A file that stores it means the same network
    /// whatever the defaults become.
    ///
    /// ```
    /// use residua::models::ModelSpec;
    ///
    /// let spec: ModelSpec = "vgg16".parse()?;
    /// assert_eq!(spec.in_full(), "vgg16:head=auto,bias=yes,last-pool=yes");
    /// # Ok::<(), residua::models::ModelError>(())
    /// ```
    pub fn in_full(&self) -> String {
        match self {
            ModelSpec::NetworkFile(file) => file.text(),
            _ => written(&self.base(), &self.choices()),
        }
    }

    /// The text that [`ModelSpec::from_str`] reads as this network: its name, or
    /// the whole description of a network in a file.
    pub fn text(&self) -> String {
        match self {
            ModelSpec::NetworkFile(file) => file.text(),
            _ => self.to_string(),
        }
    }

    /// This network as a file describes it, under its name. Where the name
    /// leaves open for which images it is, it is the one for
    /// [`Self::usual_input`].
    ///
    /// # Errors
    /// [`ModelError::NoFile`] for a network that is not made of residual units
    /// in a row.
    ///
    /// ```
    /// use residua::models::ModelSpec;
    ///
    /// let spec: ModelSpec = "resnet20".parse()?;
    /// let file = spec.in_file()?;
    /// assert_eq!(file.text().parse(), Ok(file));
    /// # Ok::<(), residua::models::ModelError>(())
    /// ```
    pub fn in_file(&self) -> Result<NetworkFile, ModelError> {
        match self {
            ModelSpec::NetworkFile(file) => Ok(file.clone()),
            _ => NetworkFile::of_spec(self).ok_or_else(|| ModelError::NoFile {
                model: self.to_string(),
            }),
        }
    }

    /// What this model and `other` say where they differ: their names, else
    /// the options with other values, as in `shortcut=A` and `shortcut=B`.
    /// `None` if they are the same network, which can have two names:
    /// `wrn-10-1` is also `preact-8:shortcut=B`.
    pub fn difference(&self, other: &ModelSpec) -> Option<(String, String)> {
        if self.base() != other.base() {
            let graph = |spec: &ModelSpec| {
                spec.build(&InputShape::default(), Mode::Train)
                    .map(|network| network.graph)
            };
            let same = matches!((graph(self), graph(other)), (Ok(own), Ok(others)) if own == others);
            return (!same).then(|| match (self, other) {
                (ModelSpec::NetworkFile(own), ModelSpec::NetworkFile(others)) => own.difference(others),
                _ => (self.to_string(), other.to_string()),
            });
        }
        let (own, others) = (self.choices(), other.choices());
        let only_in = |these: &[Choice], those: &[Choice]| -> String {
            let only = these.iter().filter(|choice| !those.contains(choice));
            only.map(Choice::to_string).collect::<Vec<_>>().join(",")
        };
        (own != others).then(|| (only_in(&own, &others), only_in(&others, &own)))
    }

    /// Whether `other` is this network but for its dropout and drop-path, which
    /// have no parameters and no effect after training.
    pub fn is_but_for_dropout(&self, other: &ModelSpec) -> bool {
        if let (ModelSpec::NetworkFile(own), ModelSpec::NetworkFile(others)) = (self, other) {
            return own.is_but_for_dropout(others);
        }
        let lasting = |spec: &ModelSpec| {
            let mut choices = spec.choices();
            choices.retain(|choice| !choice.option.starts_with("drop"));
            (spec.base(), choices)
        };
        lasting(self) == lasting(other)
    }

    /// The other built-in models with the same tensors, of the same names and
    /// shapes, that compute something else. Weights alone do not show which of
    /// them they belong to.
    pub fn look_alikes(&self) -> Vec<ModelSpec> {
        self.family().look_alikes()
    }

    /// The name without options.
    fn base(&self) -> String {
        self.family().base()
    }

    /// The value of every option, in the order in which they are written.
    fn choices(&self) -> Vec<Choice> {
        self.family().choices()
    }

    fn read(mut request: ModelRequest) -> Result<ModelSpec, ModelError> {
        let Some(spec) = READERS.iter().find_map(|read| read(&mut request)) else {
            return Err(ModelError::UnknownModel { name: request.name });
        };
        let spec = spec?;
        request.finish()?;
        Ok(spec)
    }
}

impl Architecture for ModelSpec {
    fn name(&self) -> String {
        self.to_string()
    }

    fn forward(&self, graph: &mut Graph, images: NodeId, classes: usize) -> Result<NodeId, GraphError> {
        self.family().forward(graph, images, classes)
    }
}

impl Default for ModelSpec {
    /// `wrn-16-1`: 175,066 parameters, trains within minutes on a CPU.
    fn default() -> Self {
        ModelSpec::WideResNet(WideResNet::default())
    }
}

impl FromStr for ModelSpec {
    type Err = ModelError;

    /// Reads the name of a network, or the text of one in a file. Reads no file:
    /// [`NetworkFile::read`] does.
    fn from_str(text: &str) -> Result<Self, ModelError> {
        if NetworkFile::is_text(text) {
            return Ok(ModelSpec::NetworkFile(text.parse()?));
        }
        Self::read(text.parse()?)
    }
}

impl fmt::Display for ModelSpec {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let choices = self.choices();
        let unusual = choices.iter().filter(|choice| !choice.is_default);
        f.write_str(&written(&self.base(), unusual))
    }
}

#[cfg(test)]
mod tests;
