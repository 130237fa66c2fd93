//! How is a network of your own trained and studied like a built-in one?

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::{InputShape, ModelError, ModelSpec, Network, limits};
use crate::graph::{Block, Graph, GraphError, Mode, NodeId, Op, Param, Shape};

/// A network as a function from images to class scores, under a name.
///
/// [`ModelSpec`] implements it for the built-in networks. Implement it to
/// train a network of your own, and wrap it by [`Model::own`]:
///
/// ```
/// use residua::graph::{Graph, GraphError, NodeId, ResidualBlock};
/// use residua::models::{Architecture, Model, layers};
///
/// /// A stem and one residual block.
/// #[derive(Debug)]
/// struct Small {
///     channels: usize,
/// }
///
/// impl Architecture for Small {
///     fn name(&self) -> String {
///         format!("small-{}", self.channels)
///     }
///
///     fn forward(&self, g: &mut Graph, images: NodeId, classes: usize) -> Result<NodeId, GraphError> {
///         let stem = layers::conv(g, "conv1", images, self.channels, 3, 1)?;
///         let x = layers::batch_norm_relu(g, "bn1", stem);
///         let block = ResidualBlock {
///             name: "layer1.0",
///             stage: 1,
///             input: x,
///             relu: true,
///         };
///         let x = g.residual(&block, |g| {
///             let y = layers::conv(g, "conv1", x, self.channels, 3, 1)?;
///             Ok((layers::batch_norm(g, "bn1", y), x))
///         })?;
///         Ok(layers::head(g, x, classes))
///     }
/// }
///
/// let model = Model::own(Small { channels: 16 })?;
/// assert_eq!(model.name(), "small-16");
/// # Ok::<(), residua::models::ModelError>(())
/// ```
pub trait Architecture: fmt::Debug + Send + Sync {
    /// The name under which runs and checkpoints are stored. It must say
    /// everything that the graph depends on besides the images: two networks
    /// with different parameters need different names.
    fn name(&self) -> String;

    /// Adds the layers to `graph`, from the batch of `images` (N×C×H×W) to the
    /// logits (N×`classes`), and returns the logits. Whether `graph` is built
    /// for training or evaluation is in [`Graph::mode`]; parameters, their
    /// names and their order must be the same for both.
    ///
    /// # Errors
    /// Where a layer does not fit its input.
    fn forward(&self, graph: &mut Graph, images: NodeId, classes: usize) -> Result<NodeId, GraphError>;
}

/// The network of a run: a built-in one, or one of your own.
///
/// Cheap to clone. Two models are equal if their names are.
#[derive(Debug, Clone)]
pub struct Model {
    kind: Kind,
    /// Whether dropout layers drop in training mode.
    dropout: bool,
}

#[derive(Debug, Clone)]
enum Kind {
    BuiltIn(ModelSpec),
    Own(Arc<dyn Architecture>),
}

/// A built-in network by its name, or the text of a network in a file.
impl FromStr for Model {
    type Err = ModelError;

    fn from_str(name: &str) -> Result<Self, ModelError> {
        Ok(name.parse::<ModelSpec>()?.into())
    }
}

impl From<ModelSpec> for Model {
    fn from(spec: ModelSpec) -> Self {
        Model {
            kind: Kind::BuiltIn(spec),
            dropout: true,
        }
    }
}

impl Model {
    /// A network of your own.
    ///
    /// # Errors
    /// [`ModelError::OwnName`] where its name is that of a built-in family, or
    /// cannot be stored: a name has 1 to 100 characters out of ASCII letters,
    /// digits and `-_.:=,()`.
    pub fn own(architecture: impl Architecture + 'static) -> Result<Self, ModelError> {
        let name = architecture.name();
        check_own_name(&name)?;
        Ok(Model {
            kind: Kind::Own(Arc::new(architecture)),
            dropout: true,
        })
    }

    /// The name.
    pub fn name(&self) -> String {
        self.architecture().name()
    }

    /// The text that [`Model::from_str`] reads as this model, as `run.toml` stores
    /// it: its name, or the description of a network in a file.
    pub fn text(&self) -> String {
        self.spec().map_or_else(|| self.name(), ModelSpec::text)
    }

    /// The built-in network's name and options; `None` for one of your own.
    pub fn spec(&self) -> Option<&ModelSpec> {
        match &self.kind {
            Kind::BuiltIn(spec) => Some(spec),
            Kind::Own(_) => None,
        }
    }

    /// This model, whose dropout layers let everything pass in training mode
    /// too. Its name stays the same: dropout has no parameters.
    pub fn without_dropout(&self) -> Self {
        Model {
            kind: self.kind.clone(),
            dropout: false,
        }
    }

    /// Builds the network for images of shape `input`.
    ///
    /// # Errors
    /// Where `input` is out of range or too small for the network's windows,
    /// or the network would have too many parameters. For a network of your
    /// own also where its logits are not N×classes or do not depend on one of
    /// its layers, two of its parameters have one name, or its blocks overlap.
    pub fn build(&self, input: &InputShape, mode: Mode) -> Result<Network, ModelError> {
        input.check()?;
        let mut graph = Graph::new(mode);
        if !self.dropout {
            graph.ignore_dropout();
        }
        let architecture = self.architecture();
        let images = graph.images(input.channels, input.height, input.width);
        let logits = architecture
            .forward(&mut graph, images, input.classes)
            .map_err(|error| ModelError::Fit {
                model: architecture.name(),
                input: *input,
                error: Box::new(error),
            })?;
        limits::check_parameters(architecture, graph.parameter_count())?;
        if let Kind::Own(_) = self.kind {
            check_own_graph(&self.name(), &graph, logits, input.classes)?;
        }
        let loss = graph.cross_entropy(logits);
        Ok(Network {
            graph,
            images,
            logits,
            loss,
        })
    }

    fn architecture(&self) -> &dyn Architecture {
        match &self.kind {
            Kind::BuiltIn(spec) => spec,
            Kind::Own(architecture) => architecture.as_ref(),
        }
    }
}

impl PartialEq for Model {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name() && self.dropout == other.dropout
    }
}

impl fmt::Display for Model {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&self.name())
    }
}

/// Refuses a name that a program would read as a built-in network's, and one
/// that does not fit in a line of a file.
fn check_own_name(name: &str) -> Result<(), ModelError> {
    let refuse = |problem| {
        Err(ModelError::OwnName {
            name: name.to_string(),
            problem,
        })
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.:=,()".contains(c);
    if name.is_empty() || name.len() > 100 || !name.chars().all(plain) {
        return refuse("a name has 1 to 100 characters out of letters, digits and -_.:=,()");
    }
    let family = name.split(':').next().unwrap_or_default();
    match family.parse::<ModelSpec>() {
        Err(ModelError::UnknownModel { .. }) => Ok(()),
        _ => refuse("it is the name of a built-in network; choose another"),
    }
}

/// What the graph builder cannot know: that a finished graph can be trained,
/// stored and studied.
fn check_own_graph(model: &str, graph: &Graph, logits: NodeId, classes: usize) -> Result<(), ModelError> {
    let refuse = |problem| {
        Err(ModelError::OwnGraph {
            model: model.to_string(),
            problem,
        })
    };
    let (shape, wanted) = (graph.shape(logits), Shape::batched(&[classes]));
    if *shape != wanted {
        return refuse(format!("its logits have shape {shape}, not {wanted}"));
    }
    let is_end = |op: &Op| matches!(op, Op::Images | Op::Labels | Op::CrossEntropy);
    if graph.nodes.iter().filter(|node| is_end(&node.op)).count() != 1 {
        return refuse("it adds images or a loss; both are added for it".to_string());
    }
    if let Some(param) = unused_param(graph, logits) {
        return refuse(format!("its logits do not depend on layer '{}'", param.name));
    }
    let tensors = graph.params.iter().flat_map(|param| param.tensors());
    let names = tensors.map(|(name, _)| name);
    if let Some(name) = repeated(names.chain(graph.states.iter().flat_map(|state| state.tensors()))) {
        return refuse(format!("two of its tensors are named '{name}'"));
    }
    if let Some(name) = repeated(graph.blocks.iter().map(|block| block.name.clone())) {
        return refuse(format!("two of its blocks are named '{name}'"));
    }
    // A lesion study evaluates what several routes share up to a block's input
    // once, so everything after that input must depend on earlier blocks
    // through it.
    let overlap = |pair: &&[Block]| pair[1].input < pair[0].output;
    match graph.blocks.windows(2).find(overlap) {
        Some(pair) => refuse(format!(
            "block '{}' begins before block '{}' ends",
            pair[1].name, pair[0].name
        )),
        None => Ok(()),
    }
}

/// The first parameter that `logits` do not depend on.
fn unused_param(graph: &Graph, logits: NodeId) -> Option<&Param> {
    let mut used = vec![false; graph.nodes.len()];
    used[logits.0] = true;
    for id in graph.ids().rev() {
        if used[id.0] {
            graph.node(id).inputs.iter().for_each(|input| used[input.0] = true);
        }
    }
    let unused = graph.ids().filter(|id| !used[id.0]);
    let params = unused.filter_map(|id| graph.param_of(id));
    params.map(|id| &graph.params[id.0]).next()
}

/// The first name that occurs twice.
fn repeated(names: impl Iterator<Item = String>) -> Option<String> {
    let mut names: Vec<String> = names.collect();
    names.sort_unstable();
    names
        .windows(2)
        .find(|pair| pair[0] == pair[1])
        .map(|pair| pair[0].clone())
}
