//! Which layers does a network have, in which order, and which of them belong
//! together? Of a model ([`Layout::of`]), and of the tensors of a file.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::TensorMap;
use super::dialect::{is_head, split};
use crate::graph::{BlockId, Graph, NodeId, Op, ParamKind};
use crate::shown::shown;

/// What a layer computes, and the shape of its weights.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LayerKind {
    /// A convolution: output channels, input channels per group, height, width.
    Conv([usize; 4]),
    /// A batch norm: channels.
    Norm(usize),
    /// A linear layer: outputs, inputs.
    Linear([usize; 2]),
}

/// A layer with parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    /// Its name, which the names of its tensors begin with.
    pub name: String,
    /// What it computes.
    pub kind: LayerKind,
}

/// The layers of a network in the order of its forward pass.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Layout {
    /// The layers under their canonical names.
    pub layers: Vec<Layer>,
    /// Layers that belong together, such as those of a block: their positions.
    pub groups: Vec<BTreeSet<usize>>,
    /// The batch norm that directly follows a convolution, which no other layer
    /// reads.
    pub norm_after: BTreeMap<String, String>,
    /// Names of tensors that are biases of convolutions.
    pub conv_biases: BTreeSet<String>,
}

impl Layout {
    /// The layers of a model.
    pub fn of(graph: &Graph) -> Self {
        let dims: HashMap<(&str, bool), &[usize]> = graph
            .params
            .iter()
            .map(|param| ((&param.name[..], param.kind == ParamKind::Bias), &param.dims[..]))
            .collect();
        let consumers = graph.consumers();
        // Only the forward pass shows what follows what.
        let end = graph.loss().unwrap_or(NodeId(graph.nodes.len()));
        let readers = |id: NodeId| -> Vec<NodeId> {
            let readers = consumers[id.0].iter().copied().filter(|&reader| reader < end);
            readers
                .filter(|&reader| !matches!(graph.node(reader).op, Op::BatchStats(_)))
                .collect()
        };
        let names: HashMap<NodeId, &str> = graph.layers().into_iter().rev().map(|(name, id)| (id, name)).collect();
        let mut layout = Self::default();
        for (name, id) in graph.layers() {
            let Some(dims) = dims.get(&(name, false)) else { continue };
            let kind = match (graph.node(id).op, dims) {
                (Op::Conv(_), &&[k, c, height, width]) => LayerKind::Conv([k, c, height, width]),
                (Op::BatchNorm, &&[_, channels]) => LayerKind::Norm(channels),
                (Op::Linear, &&[outputs, inputs]) if name != "logits" => LayerKind::Linear([outputs, inputs]),
                _ => continue,
            };
            if let (LayerKind::Conv(_), &[only]) = (&kind, &readers(id)[..])
                && graph.node(only).op == Op::BatchNorm
                && let Some(&norm) = names.get(&only)
            {
                layout.norm_after.insert(name.to_owned(), norm.to_owned());
            }
            layout.layers.push(Layer {
                name: name.to_owned(),
                kind,
            });
        }
        let biased = graph.params.iter().filter(|param| param.kind == ParamKind::Bias);
        let biased: BTreeSet<&str> = biased.map(|param| param.name.as_str()).collect();
        let convs = layout
            .layers
            .iter()
            .filter(|layer| matches!(layer.kind, LayerKind::Conv(_)));
        let convs = convs.filter(|layer| biased.contains(&layer.name[..]));
        layout.conv_biases = convs.map(|layer| format!("{}.bias", layer.name)).collect();
        let at: HashMap<String, usize> = layout.positions();
        for block in 0..graph.blocks.len() {
            let names = graph.block_params(BlockId(block)).into_iter();
            let names = names.map(|id| graph.params[id.0].name.as_str());
            layout
                .groups
                .push(names.filter_map(|name| at.get(name).copied()).collect());
        }
        layout.complete()
    }

    /// A layout of these layers in post- or pre-activation order.
    pub(super) fn new(layers: Vec<Layer>, norm_after: BTreeMap<String, String>) -> Self {
        let layout = Self {
            layers,
            norm_after,
            ..Self::default()
        };
        layout.complete()
    }

    /// Adds the groups that the names show, and each convolution with the norm
    /// that follows it, where every convolution has one.
    fn complete(mut self) -> Self {
        self.groups.extend(groups_of(&self.layers));
        let convs = self
            .layers
            .iter()
            .filter(|layer| matches!(layer.kind, LayerKind::Conv(_)));
        if convs.count() == self.norm_after.len() {
            let at = self.positions();
            let pairs = self
                .norm_after
                .iter()
                .filter_map(|(conv, norm)| Some([*at.get(conv)?, *at.get(norm)?]));
            self.groups.extend(pairs.map(BTreeSet::from));
        }
        self
    }

    /// The canonical names and the shapes of all tensors.
    pub fn tensors(&self) -> BTreeMap<String, Vec<usize>> {
        let mut tensors = BTreeMap::new();
        for Layer { name, kind } in &self.layers {
            let mut add = |part: &str, shape: &[usize]| drop(tensors.insert(format!("{name}.{part}"), shape.to_vec()));
            match kind {
                LayerKind::Norm(channels) => {
                    for part in ["weight", "bias", "running_mean", "running_var"] {
                        add(part, &[*channels]);
                    }
                }
                LayerKind::Conv(dims) => {
                    add("weight", dims);
                    if self.conv_biases.contains(&format!("{name}.bias")) {
                        add("bias", &dims[..1]);
                    }
                }
                LayerKind::Linear(dims) => {
                    add("weight", dims);
                    add("bias", &dims[..1]);
                }
            }
        }
        tensors
    }

    /// Compares tensors of canonical names with the model's.
    ///
    /// # Errors
    /// Says which tensor is missing, has another shape, or is not the model's.
    pub fn check(&self, tensors: &TensorMap) -> Result<(), String> {
        let own = self.tensors();
        for (name, shape) in &own {
            match tensors.get(name) {
                None => return Err(format!("tensor {name} is missing")),
                Some(tensor) if tensor.shape != *shape => {
                    return Err(format!("tensor {name} is {:?}, not {shape:?}", tensor.shape));
                }
                Some(_) => {}
            }
        }
        match tensors.keys().find(|name| !own.contains_key(*name)) {
            Some(name) => Err(format!("the model has no tensor {}", shown(name))),
            None => Ok(()),
        }
    }

    fn positions(&self) -> HashMap<String, usize> {
        let layers = self.layers.iter().enumerate();
        layers.map(|(at, layer)| (layer.name.clone(), at)).collect()
    }
}

/// The layers whose names begin with the same parts, for each such beginning.
pub(super) fn groups_of(layers: &[Layer]) -> Vec<BTreeSet<usize>> {
    let mut groups: BTreeMap<&str, BTreeSet<usize>> = BTreeMap::new();
    for (at, layer) in layers.iter().enumerate() {
        for (end, _) in layer.name.match_indices('.') {
            groups.entry(&layer.name[..end]).or_default().insert(at);
        }
    }
    groups.into_values().collect()
}

/// The layers that the tensors of a file belong to, in the order of `order`
/// (names of tensors), and the names of tensors that belong to no known layer.
pub(super) fn layers_of<'a>(tensors: &'a TensorMap, order: impl Iterator<Item = &'a str>) -> (Vec<Layer>, Vec<String>) {
    let mut layers: Vec<Layer> = Vec::new();
    let mut unknown = Vec::new();
    let mut known: BTreeSet<&str> = BTreeSet::new();
    for name in order {
        let (layer, part) = split(name);
        let shape = tensors[name].shape.as_slice();
        if part != "weight" && !(part.is_empty() && shape.len() == 4) {
            continue;
        }
        let kind = match *shape {
            [outputs, inputs, 1, 1] if is_head(layer) => LayerKind::Linear([outputs, inputs]),
            [k, c, height, width] => LayerKind::Conv([k, c, height, width]),
            [outputs, inputs] => LayerKind::Linear([outputs, inputs]),
            [channels] if tensors.contains_key(&format!("{layer}.running_mean")) => LayerKind::Norm(channels),
            _ => continue,
        };
        known.insert(layer);
        layers.push(Layer {
            name: layer.to_owned(),
            kind,
        });
    }
    for name in tensors.keys() {
        let (layer, _) = split(name);
        if !known.contains(layer) {
            unknown.push(name.clone());
        }
    }
    (layers, unknown)
}
