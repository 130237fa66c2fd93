//! How does one program name the layers of one family of networks?

use crate::weights::pattern;

/// The names of the layers of one family of networks. Patterns are those of
/// [`pattern`]. [`Scheme::BASE`] has what most programs do.
pub(in crate::weights) struct Scheme {
    /// The program's name of each layer but the last, and the canonical one. The
    /// first rule that fits decides.
    pub layers: &'static [(&'static str, &'static str)],
    /// The program's name of the last linear layer, and the canonical one.
    pub head: (&'static str, &'static str),
    /// The program's names without which a file is not of this scheme: one of
    /// them fits at least one name.
    pub marks: &'static [&'static str],
    /// Canonical layers that every network of the family has.
    pub needs: &'static [&'static str],
    /// What the program writes before every name, and before every name but the
    /// head's.
    pub prefix: [&'static str; 2],
    /// Whether the name of a convolution is the name of its weights.
    pub bare: bool,
    /// Canonical names of linear layers that the program has as convolutions, and
    /// the kernel size.
    pub as_convs: &'static [(&'static str, usize)],
    /// Which convolutions have biases.
    pub biases: Biases,
    /// Whether batch norms count their batches: those of PyTorch do.
    pub counts: bool,
    /// Whether the shapes are those of the family, where its names are those of
    /// another one, too. It gets a function from canonical names of layers to
    /// the shapes of their weights.
    pub shapes: Option<ShapeTest>,
}

/// Whether the shapes are those of a family.
pub(in crate::weights) type ShapeTest = fn(&ShapeOf) -> bool;
/// The shape of the weights of a canonical layer.
pub(in crate::weights) type ShapeOf<'a> = dyn Fn(&str) -> Option<&'a [usize]> + 'a;

/// Which convolutions of a program's networks have biases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::weights) enum Biases {
    None,
    All,
}

impl Scheme {
    /// Names of a module of PyTorch.
    pub const BASE: Self = Self {
        layers: &[],
        head: ("fc", "fc"),
        marks: &[],
        needs: &[],
        prefix: ["", ""],
        bare: false,
        as_convs: &[],
        biases: Biases::None,
        counts: true,
        shapes: None,
    };

    /// The canonical name of the tensor `name`; `None` if it has no rule. Every
    /// known name of the last layer is understood.
    pub fn canonical_of(&self, name: &str) -> Option<String> {
        let (layer, part) = split(name);
        let translated = match layer == self.head.0 || is_head(layer) && !self.has_rule(layer) {
            true => self.head.1.to_owned(),
            false => translate(self.layers.iter().copied(), layer)?,
        };
        let part = match part {
            "" if self.bare && is_convolution(&translated) => "weight",
            "" => return None,
            part => part,
        };
        Some(format!("{translated}.{part}"))
    }

    fn has_rule(&self, layer: &str) -> bool {
        self.layers.iter().any(|(own, _)| pattern::read(own, layer).is_some())
    }

    /// This program's name of the layer with the canonical name `layer`; `None`
    /// if its networks have no such layer.
    pub fn layer_name(&self, layer: &str) -> Option<String> {
        let [prefix, of_body] = self.prefix;
        if layer == self.head.1 {
            return Some(format!("{prefix}{}", self.head.0));
        }
        let rules = self.layers.iter().map(|&(own, canonical)| (canonical, own));
        Some(format!("{prefix}{of_body}{}", translate(rules, layer)?))
    }

    /// This program's name of the tensor with the canonical name.
    pub fn name_of(&self, canonical: &str) -> Option<String> {
        let (layer, part) = split(canonical);
        let name = self.layer_name(layer)?;
        match (self.bare && is_convolution(layer), part) {
            (_, "") => None,
            (true, "weight") => Some(name),
            _ => Some(format!("{name}.{part}")),
        }
    }

    /// Whether one of the names, which have no common prefix, is a mark.
    pub fn is_marked(&self, names: &[&str]) -> bool {
        let marked = |name: &&str| {
            let (layer, _) = split(name);
            let is_mark = self.marks.iter().any(|mark| pattern::read(mark, layer).is_some());
            is_mark && (!is_head(layer) || layer == self.head.0)
        };
        names.iter().any(marked)
    }

    /// The kernel size of the convolution that this program has for the canonical
    /// linear layer `layer`; `None` where it has a linear layer, too.
    pub fn conv_of(&self, layer: &str) -> Option<usize> {
        let found = self
            .as_convs
            .iter()
            .find(|(own, _)| pattern::read(own, layer).is_some());
        found.map(|(_, kernel)| *kernel)
    }
}

/// The name that the first rule which fits gives.
fn translate<'a>(rules: impl Iterator<Item = (&'a str, &'a str)>, layer: &str) -> Option<String> {
    rules
        .into_iter()
        .find_map(|(from, to)| pattern::write(to, &pattern::read(from, layer)?))
}

/// Whether the canonical name is that of a convolution.
fn is_convolution(layer: &str) -> bool {
    let last = layer.rsplit('.').next().unwrap_or_default();
    last.starts_with("conv") || layer.ends_with("downsample.0")
}

/// Whether the canonical name is that of a linear layer.
pub(in crate::weights) fn is_linear(layer: &str) -> bool {
    let last = layer.rsplit('.').next().unwrap_or_default();
    last.starts_with("fc") || matches!(layer.split('.').next(), Some("linear" | "classifier"))
}

/// Names of the last linear layer in programs whose other names may be those of
/// any dialect.
const HEADS: [&str; 12] = [
    "fc",
    "linear",
    "classifier",
    "head",
    "head.fc",
    "fc_out",
    "classifier.1",
    "last_linear",
    "output",
    "out",
    "logits",
    "fc_layer",
];

/// The last parts of the names of tensors.
const PARTS: [&str; 4] = ["weight", "bias", "running_mean", "running_var"];

/// The name of a tensor's layer, and which of its tensors it is; nothing where
/// the name has no such last part.
pub(in crate::weights) fn split(name: &str) -> (&str, &str) {
    match name.rsplit_once('.') {
        Some((layer, part)) if PARTS.contains(&part) => (layer, part),
        _ => (name, ""),
    }
}

/// Whether some program names the last linear layer so.
pub(in crate::weights) fn is_head(layer: &str) -> bool {
    HEADS.contains(&layer)
}
