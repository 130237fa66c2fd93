//! Which operators of ONNX compute a node of the graph?

use super::proto::{self, Attribute};
use super::{OnnxError, OnnxOptions};
use crate::formats::protobuf::Message;
use crate::graph::{Active, Graph, Node, NodeId, Op, PadShortcut, Param, Pool, Route};
use crate::weights::TensorMap;

/// A constant: its dimensions and values.
type Constant = (Vec<usize>, Vec<f32>);

/// The graph as it is written so far.
pub(super) struct Lowering<'a> {
    graph: &'a Graph,
    route: &'a Route,
    tensors: &'a TensorMap,
    options: &'a OnnxOptions,
    /// The running nodes that read each value.
    readers: Vec<Vec<NodeId>>,
    /// The name of each value; `None` where it is zero, or has none of its own.
    names: Vec<Option<String>>,
    nodes: Vec<Message>,
    initializers: Vec<Message>,
    /// Constants that were written.
    constants: usize,
}

impl<'a> Lowering<'a> {
    pub(super) fn new(
        graph: &'a Graph,
        route: &'a Route,
        tensors: &'a TensorMap,
        active: &Active,
        options: &'a OnnxOptions,
    ) -> Self {
        let mut readers = graph.consumers();
        readers
            .iter_mut()
            .for_each(|readers| readers.retain(|&id| active.runs(id)));
        Lowering {
            graph,
            route,
            tensors,
            options,
            readers,
            names: vec![None; graph.nodes.len()],
            nodes: Vec::new(),
            initializers: Vec::new(),
            constants: 0,
        }
    }

    /// The graph with its nodes and constants; `logits` gets its name.
    pub(super) fn finish(mut self, logits: NodeId) -> Result<Message, OnnxError> {
        let name = self.read(logits, "loss")?;
        self.nodes.push(proto::node("Identity", &[name], "logits", &[]));
        let message = self
            .nodes
            .iter()
            .fold(Message::default(), |message, node| message.message(1, node));
        Ok(self
            .initializers
            .iter()
            .fold(message, |message, tensor| message.message(5, tensor)))
    }

    /// Writes the node `id`, whose inputs are written.
    pub(super) fn add(&mut self, id: NodeId) -> Result<(), OnnxError> {
        let node = self.graph.node(id);
        let operation = node.op.name();
        let input = |lowering: &Self, index: usize| lowering.read(node.inputs[index], operation);
        let name = match &node.op {
            Op::Images => Some(self.images(id)),
            // They are written with the nodes that read them.
            Op::Param(_) | Op::RunningStats(_) | Op::Zeros => None,
            Op::Conv(_) if self.is_folded(id) => None,
            Op::Conv(_) => Some(self.convolution(id, None)?),
            Op::BatchNorm => Some(self.batch_norm(id)?),
            Op::Relu => Some(self.operator(id, "Relu", &[input(self, 0)?], &[])),
            Op::Sigmoid => Some(self.operator(id, "Sigmoid", &[input(self, 0)?], &[])),
            Op::MaxPool(pool) => Some(self.operator(id, "MaxPool", &[input(self, 0)?], &windows(pool))),
            Op::AvgPool(pool) => {
                let mut attributes = windows(pool).to_vec();
                attributes.push(("count_include_pad", Attribute::Integer(1)));
                Some(self.operator(id, "AveragePool", &[input(self, 0)?], &attributes))
            }
            Op::GlobalAvgPool => {
                let attributes = [
                    ("axes", Attribute::Integers(vec![2, 3])),
                    ("keepdims", Attribute::Integer(0)),
                ];
                Some(self.operator(id, "ReduceMean", &[input(self, 0)?], &attributes))
            }
            Op::Scale { factor } => {
                let x = input(self, 0)?;
                Some(self.scaled(id, x, *factor))
            }
            Op::Multiply => Some(self.multiply(id, node)?),
            Op::Linear => Some(self.linear(id, node)?),
            Op::Join(block) => {
                let gains = self.route.gains(*block);
                self.sum(id, node, [gains.branch, gains.shortcut])
            }
            Op::Sum => self.sum(id, node, [1.0, 1.0]),
            Op::Concat => {
                let inputs: Result<Vec<String>, OnnxError> =
                    node.inputs.iter().map(|&input| self.read(input, operation)).collect();
                Some(self.operator(id, "Concat", &inputs?, &[("axis", Attribute::Integer(1))]))
            }
            Op::Slice { from, count } => {
                let bounds = [*from, from + count].map(|bound| self.integers(&[bound as i64]));
                let inputs = [vec![input(self, 0)?], bounds.to_vec(), vec![self.integers(&[1])]].concat();
                Some(self.operator(id, "Slice", &inputs, &[]))
            }
            Op::PadShortcut(pad) => {
                let x = input(self, 0)?;
                Some(self.pad_shortcut(id, x, pad))
            }
            _ => return Err(OnnxError::Operation { operation }),
        };
        self.names[id.0] = name;
        Ok(())
    }

    /// The name of a value that is there.
    fn read(&self, id: NodeId, reader: &'static str) -> Result<String, OnnxError> {
        self.names[id.0].clone().ok_or(OnnxError::Zero { operation: reader })
    }

    /// Writes an operator whose output is the value `id`; its name.
    fn operator(&mut self, id: NodeId, operation: &str, inputs: &[String], attributes: &[(&str, Attribute)]) -> String {
        self.part(id, "", operation, inputs, attributes)
    }

    /// Writes an operator whose output is the part `part` of the value `id`.
    fn part(
        &mut self,
        id: NodeId,
        part: &str,
        operation: &str,
        inputs: &[String],
        attributes: &[(&str, Attribute)],
    ) -> String {
        let name = format!("{}_{}{part}", self.graph.node(id).op.name(), id.0);
        self.nodes.push(proto::node(operation, inputs, &name, attributes));
        name
    }

    /// A constant of floats; its name.
    fn floats(&mut self, dims: &[usize], values: &[f32]) -> String {
        let name = format!("constant_{}", self.constants);
        self.constants += 1;
        self.initializers.push(proto::floats(&name, dims, values));
        name
    }

    fn integers(&mut self, values: &[i64]) -> String {
        let name = format!("constant_{}", self.constants);
        self.constants += 1;
        self.initializers.push(proto::integers(&name, values));
        name
    }

    fn images(&mut self, id: NodeId) -> String {
        let images = "images".to_string();
        let Some([mean, std]) = &self.options.normalization else {
            return images;
        };
        let [mean, std] = [mean, std].map(|values| self.floats(&[1, values.len(), 1, 1], values));
        let centred = self.part(id, "_centred", "Sub", &[images, mean], &[]);
        self.operator(id, "Div", &[centred, std], &[])
    }

    fn scaled(&mut self, id: NodeId, x: String, factor: f32) -> String {
        let factor = self.floats(&[], &[factor]);
        self.operator(id, "Mul", &[x, factor], &[])
    }

    /// The sum of two values with these gains, without those that are zero.
    fn sum(&mut self, id: NodeId, node: &Node, gains: [f32; 2]) -> Option<String> {
        let mut terms = Vec::new();
        for (index, gain) in gains.into_iter().enumerate() {
            match self.names[node.inputs[index].0].clone() {
                Some(name) if gain == 1.0 => terms.push(name),
                Some(name) if gain != 0.0 => {
                    let gain = self.floats(&[], &[gain]);
                    terms.push(self.part(id, &format!("_side{index}"), "Mul", &[name, gain], &[]));
                }
                _ => {}
            }
        }
        match &terms[..] {
            [] => None,
            [only] => Some(only.clone()),
            _ => Some(self.operator(id, "Add", &terms, &[])),
        }
    }

    /// A gate of shape N×C multiplies the planes of its channels.
    fn multiply(&mut self, id: NodeId, node: &Node) -> Result<String, OnnxError> {
        let [x, mut gate] = [
            self.read(node.inputs[0], "multiply")?,
            self.read(node.inputs[1], "multiply")?,
        ];
        let [planes, of_gate] = [0, 1].map(|index| self.graph.shape(node.inputs[index]).dims.len());
        if planes > of_gate {
            let axes = self.integers(&[2, 3]);
            gate = self.part(id, "_gate", "Unsqueeze", &[gate, axes], &[]);
        }
        Ok(self.operator(id, "Mul", &[x, gate], &[]))
    }

    fn linear(&mut self, id: NodeId, node: &Node) -> Result<String, OnnxError> {
        let mut x = self.read(node.inputs[0], "linear")?;
        if self.graph.shape(node.inputs[0]).dims.len() > 1 {
            x = self.part(id, "_flat", "Flatten", &[x], &[("axis", Attribute::Integer(1))]);
        }
        let mut inputs = vec![x];
        for &parameter in &node.inputs[1..] {
            let (dims, values) = self.parameter(parameter)?.remove(0);
            inputs.push(self.floats(&dims, &values));
        }
        Ok(self.operator(id, "Gemm", &inputs, &[("transB", Attribute::Integer(1))]))
    }

    fn pad_shortcut(&mut self, id: NodeId, mut x: String, pad: &PadShortcut) -> String {
        let PadShortcut {
            stride,
            average,
            before,
            after,
        } = *pad;
        if average {
            let window = Pool {
                kernel: stride,
                stride,
                padding: 0,
            };
            x = self.part(id, "_mean", "AveragePool", &[x], &windows(&window));
        } else if stride > 1 {
            let places = [[0, 0], [i64::MAX, i64::MAX], [2, 3], [stride as i64; 2]];
            let places = places.map(|values| self.integers(&values));
            let inputs = [vec![x], places.to_vec()].concat();
            x = self.part(id, "_pixels", "Slice", &inputs, &[]);
        }
        let sizes = self.integers(&[0, before as i64, 0, 0, 0, after as i64, 0, 0]);
        self.operator(id, "Pad", &[x, sizes], &[])
    }

    /// The tensors of a parameter: dimensions and values.
    fn parameter(&self, id: NodeId) -> Result<Vec<Constant>, OnnxError> {
        let Op::Param(param) = self.graph.node(id).op else {
            return Err(OnnxError::Operation {
                operation: self.graph.node(id).op.name(),
            });
        };
        let param: &Param = &self.graph.params[param.0];
        let read = |(name, dims): (String, Vec<usize>)| Ok((dims, self.tensor(&name)?));
        param.tensors().into_iter().map(read).collect()
    }

    fn tensor(&self, name: &str) -> Result<Vec<f32>, OnnxError> {
        let tensor = self.tensors.get(name);
        tensor
            .map(|tensor| tensor.data.clone())
            .ok_or_else(|| OnnxError::NoTensor { name: name.to_string() })
    }

    /// The values of a batch norm.
    fn norm_values(&self, norm: &Node) -> Result<Norm, OnnxError> {
        let operation = norm.op.name();
        let Op::RunningStats(state) = self.graph.node(norm.inputs[1]).op else {
            return Err(OnnxError::Operation { operation });
        };
        let mut affine = self.parameter(norm.inputs[2])?.into_iter().map(|(_, values)| values);
        let (Some(gamma), Some(beta)) = (affine.next(), affine.next()) else {
            return Err(OnnxError::Operation { operation });
        };
        let state = &self.graph.states[state.0];
        let [mean, variance] = state.tensors();
        Ok(Norm {
            rows: [gamma, beta, self.tensor(&mean)?, self.tensor(&variance)?],
            eps: state.eps,
        })
    }

    /// Whether the convolution `id` becomes one with the batch norm that reads it.
    fn is_folded(&self, id: NodeId) -> bool {
        let is_norm = |reader: &NodeId| self.graph.node(*reader).op == Op::BatchNorm;
        self.options.fold_batch_norm && matches!(&self.readers[id.0][..], [only] if is_norm(only))
    }

    fn batch_norm(&mut self, id: NodeId) -> Result<String, OnnxError> {
        let node = self.graph.node(id);
        let input = node.inputs[0];
        if matches!(self.graph.node(input).op, Op::Conv(_)) && self.is_folded(input) {
            let affine = self.norm_values(node)?.affine();
            return self.convolution(input, Some(&affine));
        }
        let x = self.read(input, "batch-norm")?;
        let Norm { rows, eps } = self.norm_values(node)?;
        let constants = rows.map(|values| self.floats(&[values.len()], &values));
        let inputs = [vec![x], constants.to_vec()].concat();
        let attributes = [("epsilon", Attribute::Float(eps))];
        Ok(self.operator(id, "BatchNormalization", &inputs, &attributes))
    }

    /// A convolution, followed by `affine` for each channel if there is one.
    fn convolution(&mut self, id: NodeId, affine: Option<&[[f64; 2]]>) -> Result<String, OnnxError> {
        let node = self.graph.node(id);
        let Op::Conv(conv) = node.op else {
            return Err(OnnxError::Operation {
                operation: node.op.name(),
            });
        };
        let x = self.read(node.inputs[0], "conv")?;
        let (dims, mut weights) = self.parameter(node.inputs[1])?.remove(0);
        let mut bias = match node.inputs.get(2) {
            Some(&bias) => Some(self.parameter(bias)?.remove(0).1),
            None => None,
        };
        if let Some(affine) = affine {
            let size = weights.len() / affine.len().max(1);
            let own = bias.unwrap_or_else(|| vec![0.0; affine.len()]);
            for (channel, [scale, _]) in affine.iter().enumerate() {
                for weight in &mut weights[channel * size..][..size] {
                    *weight = (f64::from(*weight) * scale) as f32;
                }
            }
            let shifted = own
                .iter()
                .zip(affine)
                .map(|(&bias, [scale, shift])| (f64::from(bias) * scale + shift) as f32);
            bias = Some(shifted.collect());
        }
        let mut inputs = vec![x, self.floats(&dims, &weights)];
        if let Some(bias) = bias {
            inputs.push(self.floats(&[bias.len()], &bias));
        }
        let [kernel, stride, padding] = [conv.kernel, conv.stride, conv.padding].map(|size| size as i64);
        let attributes = [
            ("kernel_shape", Attribute::Integers(vec![kernel; 2])),
            ("strides", Attribute::Integers(vec![stride; 2])),
            ("pads", Attribute::Integers(vec![padding; 4])),
            ("group", Attribute::Integer(conv.groups as i64)),
        ];
        Ok(self.operator(id, "Conv", &inputs, &attributes))
    }
}

/// A batch norm: γ, β, mean and variance of each channel.
struct Norm {
    rows: [Vec<f32>; 4],
    eps: f32,
}

impl Norm {
    /// Scale and shift for each channel, γ/σ and β − μγ/σ, in f64.
    fn affine(&self) -> Vec<[f64; 2]> {
        let [gamma, beta, mean, variance] = &self.rows;
        let each = (0..gamma.len()).map(|channel| {
            let scale = f64::from(gamma[channel]) / (f64::from(variance[channel]) + f64::from(self.eps)).sqrt();
            [scale, f64::from(beta[channel]) - f64::from(mean[channel]) * scale]
        });
        each.collect()
    }
}

/// The attributes of windows.
fn windows(pool: &Pool) -> [(&'static str, Attribute); 3] {
    let [kernel, stride, padding] = [pool.kernel, pool.stride, pool.padding].map(|size| size as i64);
    [
        ("kernel_shape", Attribute::Integers(vec![kernel; 2])),
        ("strides", Attribute::Integers(vec![stride; 2])),
        ("pads", Attribute::Integers(vec![padding; 4])),
    ]
}
