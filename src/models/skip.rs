//! What is done to the identity of a shortcut? The variants of He et al. 2016,
//! arXiv:1603.05027, table 1. All but the identity train to a larger error.

use super::ModelError;
use super::layers::conv_init;
use super::request::{Choice, ModelRequest, name_of};
use super::unit::Unit;
use crate::graph::{Conv, Graph, GraphError, Init, NodeId};

/// A factor of the shortcut, and of the residual branch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Skip {
    kind: Kind,
    /// Initial bias of gates.
    gate_bias: f32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Identity,
    /// Half of the shortcut.
    Half,
    /// Half of the shortcut and of the branch.
    HalfBoth,
    /// g(x) · F(x) + (1 − g(x)) · shortcut, where g is a 1×1 convolution with
    /// bias and a sigmoid (as in highway networks).
    ExclusiveGate,
    /// F(x) + (1 − g(x)) · shortcut.
    ShortcutGate,
    /// Dropout of one half on the shortcut.
    Dropout,
}

const KINDS: [(&str, Kind); 6] = [
    ("identity", Kind::Identity),
    ("half", Kind::Half),
    ("half-both", Kind::HalfBoth),
    ("exclusive-gate", Kind::ExclusiveGate),
    ("shortcut-gate", Kind::ShortcutGate),
    ("dropout", Kind::Dropout),
];

/// The bias with the paper's smallest error for both gates.
const GATE_BIAS: f32 = -6.0;

impl Skip {
    /// The shortcut as it is.
    pub const IDENTITY: Skip = Skip {
        kind: Kind::Identity,
        gate_bias: GATE_BIAS,
    };

    /// Reads the options `skip` and `gate-bias`.
    pub fn read(request: &mut ModelRequest) -> Result<Skip, ModelError> {
        let kind = request.choose("skip", &KINDS)?.unwrap_or(Kind::Identity);
        let finite = |value: &str| value.parse().ok().filter(|bias: &f32| bias.abs() <= 100.0);
        let bias = request.take("gate-bias", "a number from -100 to 100", finite)?;
        let skip = Skip {
            kind,
            gate_bias: bias.unwrap_or(GATE_BIAS),
        };
        if bias.is_some() && !skip.is_gated() {
            return Err(ModelError::Conflict {
                model: request.name.clone(),
                first: "gate-bias",
                second: "a shortcut without a gate",
            });
        }
        Ok(skip)
    }

    /// The values of its options. Without a gate there is no `gate-bias`.
    pub fn choices(&self) -> Vec<Choice> {
        let mut choices = vec![Choice::new("skip", name_of(self.kind, &KINDS), "identity")];
        if self.is_gated() {
            choices.push(Choice::new(
                "gate-bias",
                self.gate_bias.to_string(),
                &GATE_BIAS.to_string(),
            ));
        }
        choices
    }

    fn is_gated(&self) -> bool {
        matches!(self.kind, Kind::ExclusiveGate | Kind::ShortcutGate)
    }

    /// Branch and shortcut of `unit` with input `x`, from their values without
    /// factors.
    pub fn apply(
        &self,
        g: &mut Graph,
        unit: &Unit,
        x: NodeId,
        [branch, shortcut]: [NodeId; 2],
    ) -> Result<(NodeId, NodeId), GraphError> {
        Ok(match self.kind {
            Kind::Identity => (branch, shortcut),
            Kind::Half => (branch, g.scale(shortcut, 0.5)),
            Kind::HalfBoth => (g.scale(branch, 0.5), g.scale(shortcut, 0.5)),
            Kind::ExclusiveGate => {
                let gate = self.gate(g, unit, x)?;
                let open = g.sigmoid(gate);
                (g.multiply(branch, open)?, shut(g, gate, shortcut)?)
            }
            Kind::ShortcutGate => {
                let gate = self.gate(g, unit, x)?;
                (branch, shut(g, gate, shortcut)?)
            }
            Kind::Dropout => (branch, g.dropout(shortcut, 0.5)?),
        })
    }

    /// The gate before its sigmoid, with the shape of the unit's output.
    fn gate(&self, g: &mut Graph, unit: &Unit, x: NodeId) -> Result<NodeId, GraphError> {
        let conv = Conv {
            kernel: 1,
            stride: unit.stride,
            padding: 0,
            groups: 1,
        };
        let init = conv_init(g, x, 1);
        g.conv_with("gate", x, unit.width, conv, init, Some(Init::Constant(self.gate_bias)))
    }
}

/// (1 − sigmoid(gate)) · shortcut; 1 − sigmoid(z) is sigmoid(−z).
fn shut(g: &mut Graph, gate: NodeId, shortcut: NodeId) -> Result<NodeId, GraphError> {
    let negated = g.scale(gate, -1.0);
    let factor = g.sigmoid(negated);
    g.multiply(shortcut, factor)
}
