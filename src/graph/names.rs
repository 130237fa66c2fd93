//! Which node does the name of a layer or of a block stand for?
//!
//! A layer has the name of its parameters (`conv1`, `layer2.0.bn1`, `fc`) and
//! stands for the output of its operation, before any ReLU that follows. A
//! block has a name (`layer2.0`) and a number from 1, and stands for its
//! output.

use super::{BlockId, Graph, NodeId, Op};

/// Names that an error lists at most; the others are counted.
const LISTED: usize = 60;

/// A value that cannot be read from a network.
#[derive(Debug, thiserror::Error, Clone, PartialEq, Eq)]
pub enum NameError {
    /// No block has the name or number.
    #[error("no block is named '{name}'; the network has the blocks {known} (or numbers from 1 to {blocks})")]
    Block {
        /// The name asked for.
        name: String,
        /// The names that exist.
        known: String,
        /// The number of blocks.
        blocks: usize,
    },
    /// The network has no blocks.
    #[error("block '{name}': the network has no blocks; name a layer instead")]
    NoBlocks {
        /// The name asked for.
        name: String,
    },
    /// No layer has the name.
    #[error("no layer is named '{name}'; the network has the layers {known}")]
    Layer {
        /// The name asked for.
        name: String,
        /// The names that exist.
        known: String,
    },
    /// A node that is missing, or that does not hold one value per image.
    #[error("node {node} is no activation: it must be one of the {nodes} nodes and have one value per image")]
    NotAnActivation {
        /// The position asked for.
        node: usize,
        /// The number of nodes.
        nodes: usize,
    },
}

impl Graph {
    /// The loss, N×2: cross-entropy in nats, and 1 where the largest logit is
    /// not the label's. `None` in a graph without a loss.
    pub fn loss(&self) -> Option<NodeId> {
        self.find(|op| matches!(op, Op::CrossEntropy | Op::SoftCrossEntropy { .. }))
    }

    /// The logits, N×classes: the input of the loss.
    pub fn logits(&self) -> Option<NodeId> {
        Some(self.node(self.loss()?).inputs[0])
    }

    /// The named layers in the order of the forward pass: every convolution,
    /// batch norm and linear layer under the name of its parameters, the
    /// global average pooling as `pool`, and the last linear layer also as
    /// `logits`.
    pub fn layers(&self) -> Vec<(&str, NodeId)> {
        let mut layers: Vec<(&str, NodeId)> = self.ids().filter_map(|id| Some((self.layer_name(id)?, id))).collect();
        layers.extend(self.logits().map(|id| ("logits", id)));
        layers
    }

    fn layer_name(&self, id: NodeId) -> Option<&str> {
        let node = self.node(id);
        let parameter = match node.op {
            Op::Conv(_) | Op::Linear => 1,
            Op::BatchNorm => 2,
            Op::GlobalAvgPool => return Some("pool"),
            _ => return None,
        };
        let param = self.param_of(node.inputs[parameter])?;
        Some(&self.params[param.0].name)
    }

    /// The output of the layer `name`, N×C×H×W or N×F.
    ///
    /// # Errors
    /// Lists the layers where none has the name.
    pub fn layer_output(&self, name: &str) -> Result<NodeId, NameError> {
        let layers = self.layers();
        let found = layers.iter().find(|(layer, _)| *layer == name);
        found.map(|&(_, id)| id).ok_or_else(|| NameError::Layer {
            name: name.to_string(),
            known: list(layers.iter().map(|&(layer, _)| layer)),
        })
    }

    /// The output of the block with the name or number (from 1) `name`,
    /// N×C×H×W.
    ///
    /// # Errors
    /// Lists the blocks where none has the name.
    pub fn block_output(&self, name: &str) -> Result<NodeId, NameError> {
        Ok(self.blocks[self.block_named(name)?.0].output)
    }

    fn block_named(&self, name: &str) -> Result<BlockId, NameError> {
        let named = self.blocks.iter().position(|block| block.name == name);
        let numbered = || name.parse::<usize>().ok()?.checked_sub(1);
        let index = named.or_else(numbered).filter(|&index| index < self.blocks.len());
        index.map(BlockId).ok_or_else(|| match self.blocks.len() {
            0 => NameError::NoBlocks { name: name.to_string() },
            blocks => NameError::Block {
                name: name.to_string(),
                known: list(self.blocks.iter().map(|block| &block.name[..])),
                blocks,
            },
        })
    }

    /// The output of the block or layer `name`. A network without shortcuts
    /// has blocks with the names of layers: there the block is meant.
    ///
    /// # Errors
    /// Lists the layers where neither a block nor a layer has the name.
    pub fn activation(&self, name: &str) -> Result<NodeId, NameError> {
        self.block_output(name).or_else(|_| self.layer_output(name))
    }

    /// Refuses nodes that do not hold one value per image.
    ///
    /// # Errors
    /// For the first such node.
    pub fn check_activations(&self, nodes: &[NodeId]) -> Result<(), NameError> {
        let is_activation = |id: &NodeId| {
            let node = self.nodes.get(id.0);
            node.is_some_and(|node| node.shape.batched && node.op != Op::Labels)
        };
        match nodes.iter().find(|id| !is_activation(id)) {
            Some(&NodeId(node)) => Err(NameError::NotAnActivation {
                node,
                nodes: self.nodes.len(),
            }),
            None => Ok(()),
        }
    }
}

fn list<'a>(names: impl ExactSizeIterator<Item = &'a str>) -> String {
    let more = names.len().saturating_sub(LISTED);
    let mut listed = names.take(LISTED).collect::<Vec<_>>().join(", ");
    if more > 0 {
        listed.push_str(&format!(" and {more} more"));
    }
    listed
}

#[cfg(test)]
mod tests {
    use crate::graph::{Graph, Mode, NodeId, Op};
    use crate::models::{InputShape, ModelSpec};

    fn graph(model: &str) -> Graph {
        let model: ModelSpec = model.parse().unwrap();
        model.build(&InputShape::default(), Mode::Eval).unwrap().graph
    }

    #[test]
    fn layers_and_blocks_have_names() {
        let graph = graph("resnet8");
        let op = |id| graph.node(id).op;
        let dims = |id| graph.shape(id).dims.clone();
        assert!(matches!(op(graph.layer_output("conv1").unwrap()), Op::Conv(_)));
        assert!(matches!(op(graph.layer_output("layer2.0.bn2").unwrap()), Op::BatchNorm));
        let logits = graph.layer_output("logits").unwrap();
        assert_eq!(graph.layer_output("fc").unwrap(), logits);
        assert_eq!(dims(logits), [10]);
        assert_eq!(dims(graph.layer_output("pool").unwrap()), [64]);
        let second = graph.block_output("layer2.0").unwrap();
        assert_eq!(graph.block_output("2").unwrap(), second);
        assert_eq!(graph.activation("layer2.0").unwrap(), second);
        assert_eq!(dims(second), [32, 16, 16]);
        assert!(matches!(op(second), Op::Relu));
        let names: Vec<&str> = graph.layers().iter().map(|&(name, _)| name).collect();
        assert_eq!((names[0], names[1], names[names.len() - 1]), ("conv1", "bn1", "logits"));
        graph.check_activations(&[second, logits]).unwrap();
    }

    #[test]
    fn a_block_comes_before_the_layer_of_the_same_name() {
        let graph = graph("plain-8");
        let name = "layer1.0.conv1";
        assert_eq!(graph.activation(name), graph.block_output(name));
        assert_ne!(graph.activation(name), graph.layer_output(name));
    }

    #[test]
    fn unknown_names_are_answered_with_those_that_exist() {
        let graph = graph("resnet8");
        for (name, parts) in [
            ("layer4.0", ["layer1.0, layer2.0, layer3.0", "1 to 3"]),
            ("0", ["'0'", "1 to 3"]),
            ("4", ["'4'", "1 to 3"]),
        ] {
            let error = graph.block_output(name).unwrap_err().to_string();
            assert!(parts.iter().all(|part| error.contains(part)), "{error}");
        }
        let error = graph.activation("conv9").unwrap_err().to_string();
        assert!(
            error.contains("'conv9'") && error.contains("conv1, bn1, layer1.0.conv1"),
            "{error}"
        );
        let error = self::graph("resnet110").layer_output("x").unwrap_err().to_string();
        assert!(error.ends_with("more") && !error.contains('\n'), "{error}");
        let weights = graph.find(|op| matches!(op, Op::Param(_))).unwrap();
        let labels = graph.find(|op| *op == Op::Labels).unwrap();
        for node in [weights, labels, NodeId(100_000)] {
            assert!(graph.check_activations(&[node]).is_err());
        }
    }
}
