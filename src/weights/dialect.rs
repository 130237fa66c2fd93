//! Which names do other programs use for the same tensor?
//!
//! Canonical names are torchvision's, which are those of post-activation
//! networks. Pre-activation and wide networks have a final batch norm, `bn`, in
//! addition: `conv1`, `bn1`, `layer{s}.{i}.{conv1,bn1,conv2,bn2,conv3,bn3}`,
//! `layer{s}.{i}.downsample.{0,1}`, `bn`, `fc`. Stages s count from 1, blocks i
//! from 0.
//!
//! A dialect is a table of rules for the names of layers. To add one: a variant
//! of [`Dialect`], its entry in [`Dialect::ALL`], and its table in
//! `Dialect::rules`.

use std::fmt;
use std::str::FromStr;

use super::pattern;
use super::{TensorMap, WeightsError};

/// Names for the tensors of residual networks, as one program uses them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// The names of this library.
    Canonical,
    /// torchvision and chenyaofo/pytorch-cifar-models: the canonical names of
    /// a post-activation network.
    Torchvision,
    /// akamaster/pytorch_resnet_cifar10: `linear`, `shortcut`, and the prefix
    /// `module.`. kuangliu/pytorch-cifar has the same names without the prefix.
    Akamaster,
    /// xternalz/WideResNet-pytorch: `block1.layer.0`, `convShortcut`, and a
    /// final `bn1`.
    Xternalz,
    /// szagoruyko/wide-residual-networks (PyTorch): `group0.block0.conv0`, and
    /// convolutions without `.weight`.
    Szagoruyko,
    /// weiaicunzai/pytorch-cifar100: `conv2_x.0.residual_function.0`.
    Weiaicunzai,
    /// Hugging Face transformers, `ResNetForImageClassification`.
    Transformers,
    /// dnddnjs/pytorch-cifar10: `layers_2n.0`, `fc_out`.
    Dnddnjs,
    /// Layers that are `Sequential(conv, bn, relu)`: `conv_bn_relu1.0`.
    Sequential,
    /// A stem that is named `conv` and `bn`.
    UnnumberedStem,
}

/// How a dialect names layers.
struct Rules {
    /// How users name the dialect.
    word: &'static str,
    /// Its name of each layer but the last, and the canonical one. The first
    /// rule that fits decides.
    layers: &'static [(&'static str, &'static str)],
    /// Its name of the last linear layer.
    head: &'static str,
    /// The rules without which names are not of this dialect: one of them fits
    /// at least one name.
    marks: &'static [&'static str],
    /// What it writes before every name, and before every name but the head's.
    prefix: [&'static str; 2],
    /// Whether the name of a convolution is the name of its weights.
    bare: bool,
}

const PLAIN: [&str; 2] = ["", ""];

const CANONICAL: Rules = Rules {
    word: "canonical",
    layers: &[
        ("layer{s}.{i}.conv{n}", "layer{s}.{i}.conv{n}"),
        ("layer{s}.{i}.bn{n}", "layer{s}.{i}.bn{n}"),
        ("layer{s}.{i}.downsample.{n}", "layer{s}.{i}.downsample.{n}"),
        ("bn", "bn"),
        ("conv{n}", "conv{n}"),
        ("bn{n}", "bn{n}"),
    ],
    head: "fc",
    marks: &["bn", "layer{s}.{i}.conv{n}", "conv{n}"],
    prefix: PLAIN,
    bare: false,
};

const TORCHVISION: Rules = Rules {
    word: "torchvision",
    layers: &[
        ("conv1", "conv1"),
        ("bn1", "bn1"),
        ("layer{s}.{i}.conv{n}", "layer{s}.{i}.conv{n}"),
        ("layer{s}.{i}.bn{n}", "layer{s}.{i}.bn{n}"),
        ("layer{s}.{i}.downsample.{n}", "layer{s}.{i}.downsample.{n}"),
    ],
    head: "fc",
    marks: &["layer{s}.{i}.conv{n}", "layer{s}.{i}.bn{n}"],
    prefix: PLAIN,
    bare: false,
};

const AKAMASTER: Rules = Rules {
    word: "akamaster",
    layers: &[
        ("conv1", "conv1"),
        ("bn1", "bn1"),
        ("layer{s}.{i}.conv{n}", "layer{s}.{i}.conv{n}"),
        ("layer{s}.{i}.bn{n}", "layer{s}.{i}.bn{n}"),
        ("layer{s}.{i}.shortcut.{n}", "layer{s}.{i}.downsample.{n}"),
    ],
    head: "linear",
    marks: &["linear", "layer{s}.{i}.shortcut.{n}"],
    prefix: ["module.", ""],
    bare: false,
};

const XTERNALZ: Rules = Rules {
    word: "xternalz",
    layers: &[
        ("conv1", "conv1"),
        ("bn1", "bn"),
        ("block{s}.layer.{i}.conv{n}", "layer{s}.{i}.conv{n}"),
        ("block{s}.layer.{i}.bn{n}", "layer{s}.{i}.bn{n}"),
        ("block{s}.layer.{i}.convShortcut", "layer{s}.{i}.downsample.0"),
    ],
    head: "fc",
    marks: &["block{s}.layer.{i}.conv{n}", "block{s}.layer.{i}.bn{n}"],
    prefix: PLAIN,
    bare: false,
};

const SZAGORUYKO: Rules = Rules {
    word: "szagoruyko",
    layers: &[
        ("conv0", "conv1"),
        ("bn", "bn"),
        ("group{s-1}.block{i}.conv{n-1}", "layer{s}.{i}.conv{n}"),
        ("group{s-1}.block{i}.bn{n-1}", "layer{s}.{i}.bn{n}"),
        ("group{s-1}.block{i}.convdim", "layer{s}.{i}.downsample.0"),
    ],
    head: "fc",
    marks: &["group{s-1}.block{i}.conv{n-1}", "group{s-1}.block{i}.bn{n-1}"],
    prefix: PLAIN,
    bare: true,
};

const WEIAICUNZAI: Rules = Rules {
    word: "weiaicunzai",
    layers: &[
        ("conv1.0", "conv1"),
        ("conv1.1", "bn1"),
        ("conv{s+1}_x.{i}.residual_function.0", "layer{s}.{i}.conv1"),
        ("conv{s+1}_x.{i}.residual_function.1", "layer{s}.{i}.bn1"),
        ("conv{s+1}_x.{i}.residual_function.3", "layer{s}.{i}.conv2"),
        ("conv{s+1}_x.{i}.residual_function.4", "layer{s}.{i}.bn2"),
        ("conv{s+1}_x.{i}.residual_function.6", "layer{s}.{i}.conv3"),
        ("conv{s+1}_x.{i}.residual_function.7", "layer{s}.{i}.bn3"),
        ("conv{s+1}_x.{i}.shortcut.{n}", "layer{s}.{i}.downsample.{n}"),
    ],
    head: "fc",
    marks: &["conv{s+1}_x.{i}.residual_function.0"],
    prefix: PLAIN,
    bare: false,
};

const TRANSFORMERS: Rules = Rules {
    word: "transformers",
    layers: &[
        ("embedder.embedder.convolution", "conv1"),
        ("embedder.embedder.normalization", "bn1"),
        (
            "encoder.stages.{s-1}.layers.{i}.layer.{n-1}.convolution",
            "layer{s}.{i}.conv{n}",
        ),
        (
            "encoder.stages.{s-1}.layers.{i}.layer.{n-1}.normalization",
            "layer{s}.{i}.bn{n}",
        ),
        (
            "encoder.stages.{s-1}.layers.{i}.shortcut.convolution",
            "layer{s}.{i}.downsample.0",
        ),
        (
            "encoder.stages.{s-1}.layers.{i}.shortcut.normalization",
            "layer{s}.{i}.downsample.1",
        ),
    ],
    head: "classifier.1",
    marks: &["encoder.stages.{s-1}.layers.{i}.layer.{n-1}.convolution"],
    prefix: ["", "resnet."],
    bare: false,
};

const DNDDNJS: Rules = Rules {
    word: "dnddnjs",
    layers: &[
        ("conv1", "conv1"),
        ("bn1", "bn1"),
        ("layers_{s*2}n.{i}.conv{n}", "layer{s}.{i}.conv{n}"),
        ("layers_{s*2}n.{i}.bn{n}", "layer{s}.{i}.bn{n}"),
    ],
    head: "fc_out",
    marks: &["layers_{s*2}n.{i}.conv{n}"],
    prefix: PLAIN,
    bare: false,
};

const SEQUENTIAL: Rules = Rules {
    word: "sequential",
    layers: &[
        ("conv1.0", "conv1"),
        ("conv1.1", "bn1"),
        ("conv1.0.1", "bn1"),
        ("layer{s}.{i}.conv_bn_relu{n}.0", "layer{s}.{i}.conv{n}"),
        ("layer{s}.{i}.conv_bn_relu{n}.1", "layer{s}.{i}.bn{n}"),
        ("layer{s}.{i}.conv_bn{n}.0", "layer{s}.{i}.conv{n}"),
        ("layer{s}.{i}.conv_bn{n}.1", "layer{s}.{i}.bn{n}"),
        ("layer{s}.{i}.downsample.{n}", "layer{s}.{i}.downsample.{n}"),
    ],
    head: "fc",
    marks: &["layer{s}.{i}.conv_bn_relu{n}.0"],
    prefix: PLAIN,
    bare: false,
};

const UNNUMBERED_STEM: Rules = Rules {
    word: "unnumbered-stem",
    layers: &[
        ("conv", "conv1"),
        ("bn", "bn1"),
        ("layer{s}.{i}.conv{n}", "layer{s}.{i}.conv{n}"),
        ("layer{s}.{i}.bn{n}", "layer{s}.{i}.bn{n}"),
        ("layer{s}.{i}.shortcut.{n}", "layer{s}.{i}.downsample.{n}"),
        ("layer{s}.{i}.downsample.{n}", "layer{s}.{i}.downsample.{n}"),
    ],
    head: "linear",
    marks: &["conv"],
    prefix: PLAIN,
    bare: false,
};

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
pub(super) fn split(name: &str) -> (&str, &str) {
    match name.rsplit_once('.') {
        Some((layer, part)) if PARTS.contains(&part) => (layer, part),
        _ => (name, ""),
    }
}

/// Whether some program names the last linear layer so.
pub(super) fn is_head(layer: &str) -> bool {
    HEADS.contains(&layer)
}

impl Dialect {
    /// All dialects, in the order in which names are compared with them: the
    /// names of a later one may be those of an earlier one, too.
    pub const ALL: [Self; 10] = [
        Self::Xternalz,
        Self::Szagoruyko,
        Self::Weiaicunzai,
        Self::Transformers,
        Self::Dnddnjs,
        Self::Sequential,
        Self::UnnumberedStem,
        Self::Akamaster,
        Self::Torchvision,
        Self::Canonical,
    ];

    pub(super) const CHOICES: &str = "canonical, torchvision, akamaster, xternalz, szagoruyko, weiaicunzai, \
                                      transformers, dnddnjs, sequential or unnumbered-stem";

    fn rules(self) -> &'static Rules {
        match self {
            Self::Canonical => &CANONICAL,
            Self::Torchvision => &TORCHVISION,
            Self::Akamaster => &AKAMASTER,
            Self::Xternalz => &XTERNALZ,
            Self::Szagoruyko => &SZAGORUYKO,
            Self::Weiaicunzai => &WEIAICUNZAI,
            Self::Transformers => &TRANSFORMERS,
            Self::Dnddnjs => &DNDDNJS,
            Self::Sequential => &SEQUENTIAL,
            Self::UnnumberedStem => &UNNUMBERED_STEM,
        }
    }

    /// The dialect of these names, which have no common prefix; `None` if some
    /// name has no rule in every dialect.
    pub fn detect<'a>(names: impl IntoIterator<Item = &'a str>) -> Option<Self> {
        let names: Vec<&str> = names.into_iter().collect();
        Self::ALL.into_iter().find(|dialect| dialect.fits(&names))
    }

    /// Whether every name has a rule, and one of them is a mark of the dialect.
    pub(super) fn fits(self, names: &[&str]) -> bool {
        let Rules { marks, head, .. } = self.rules();
        let marked = |name: &&str| {
            let (layer, _) = split(name);
            marks.iter().any(|mark| pattern::read(mark, layer).is_some()) && (is_head(layer) <= (layer == *head))
        };
        names.iter().any(marked) && names.iter().all(|name| self.canonical_of(name).is_some())
    }

    /// The canonical name of the tensor `name` of this dialect; `None` if it
    /// has no rule. Every known name of the last layer is understood.
    pub(super) fn canonical_of(self, name: &str) -> Option<String> {
        let rules = self.rules();
        let (layer, part) = split(name);
        let translated = match layer == rules.head || is_head(layer) {
            true => "fc".to_owned(),
            false => translate(rules.layers.iter().copied(), layer)?,
        };
        let part = match part {
            "" if rules.bare && is_convolution(&translated) => "weight",
            "" => return None,
            part => part,
        };
        Some(format!("{translated}.{part}"))
    }

    /// This dialect's name for the tensor with the canonical name; `None` if
    /// its networks have no such tensor.
    fn name_of(self, canonical: &str) -> Option<String> {
        let rules = self.rules();
        let (layer, part) = split(canonical);
        let [prefix, of_body] = rules.prefix;
        if layer == "fc" {
            return Some(format!("{prefix}{}.{part}", rules.head));
        }
        let translated = translate(
            rules.layers.iter().map(|&(foreign, canonical)| (canonical, foreign)),
            layer,
        )?;
        Some(match (rules.bare && is_convolution(layer), part) {
            (true, "weight") => format!("{prefix}{of_body}{translated}"),
            (_, "") => return None,
            _ => format!("{prefix}{of_body}{translated}.{part}"),
        })
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

/// Renames tensors from canonical names to those of `dialect`.
///
/// # Errors
/// If the dialect's networks have no such tensor: a final `bn` for torchvision,
/// a batch norm in the shortcut for xternalz.
pub fn from_canonical(tensors: TensorMap, dialect: Dialect) -> Result<TensorMap, WeightsError> {
    tensors
        .into_iter()
        .map(|(name, tensor)| match dialect.name_of(&name) {
            Some(renamed) => Ok((renamed, tensor)),
            None => Err(WeightsError::NoName { name, dialect }),
        })
        .collect()
}

impl fmt::Display for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.rules().word)
    }
}

impl FromStr for Dialect {
    type Err = WeightsError;

    fn from_str(word: &str) -> Result<Self, WeightsError> {
        let named = Self::ALL.into_iter().find(|dialect| dialect.rules().word == word);
        named.ok_or_else(|| WeightsError::NoDialect { given: word.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::weights::tests::container;
    use crate::weights::{NameOptions, Naming, Tensor, canonical};
    use proptest::prelude::*;

    fn map<S: AsRef<str>>(names: impl IntoIterator<Item = S>) -> TensorMap {
        // Each tensor has a value of its own, so that an exchange is noticed.
        let tensor = |value| Tensor {
            shape: vec![],
            data: vec![value as f32],
        };
        let names = names.into_iter().enumerate();
        names
            .map(|(number, name)| (name.as_ref().to_owned(), tensor(number)))
            .collect()
    }

    fn to_canonical(tensors: TensorMap) -> Result<(TensorMap, Naming), WeightsError> {
        let weights = canonical(container(tensors), &NameOptions::default(), None)?;
        Ok((weights.tensors, weights.naming))
    }

    fn renamed(names: &[&str]) -> (Vec<String>, Naming) {
        let (tensors, dialect) = to_canonical(map(names)).unwrap();
        (tensors.into_keys().collect(), dialect)
    }

    #[test]
    fn recognises_akamaster() {
        let names = [
            "module.conv1.weight",
            "module.layer2.0.shortcut.0.weight",
            "module.layer2.0.shortcut.1.running_var",
            "module.linear.bias",
        ];
        let (names, dialect) = renamed(&names);
        assert_eq!(dialect, Naming::Dialect(Dialect::Akamaster));
        assert_eq!(
            names,
            [
                "conv1.weight",
                "fc.bias",
                "layer2.0.downsample.0.weight",
                "layer2.0.downsample.1.running_var",
            ]
        );
    }

    #[test]
    fn recognises_xternalz() {
        let names = [
            "module.bn1.running_mean",
            "module.block1.layer.0.bn1.weight",
            "module.block3.layer.11.convShortcut.weight",
            "module.conv1.weight",
            "module.fc.weight",
        ];
        let (names, dialect) = renamed(&names);
        assert_eq!(dialect, Naming::Dialect(Dialect::Xternalz));
        assert_eq!(
            names,
            [
                "bn.running_mean",
                "conv1.weight",
                "fc.weight",
                "layer1.0.bn1.weight",
                "layer3.11.downsample.0.weight",
            ]
        );
    }

    #[test]
    fn canonical_and_torchvision_differ_by_the_last_norm() {
        let post = ["bn1.weight", "layer1.0.conv1.weight", "fc.weight"];
        assert_eq!(Dialect::detect(post), Some(Dialect::Torchvision));
        let pre = ["bn.weight", "layer1.0.conv1.weight", "fc.weight"];
        assert_eq!(Dialect::detect(pre), Some(Dialect::Canonical));
    }

    #[test]
    fn unknown_and_doubled_names_are_errors() {
        let error = to_canonical(map(["encoder.weight"])).unwrap_err();
        assert!(matches!(error, WeightsError::UnknownDialect { .. }));
        let error = to_canonical(TensorMap::new()).unwrap_err();
        assert!(matches!(error, WeightsError::Empty));
        let error = to_canonical(map(["linear.bias", "fc.bias"])).unwrap_err();
        assert_eq!(error.to_string(), "two tensors stand for 'fc.bias': remove one of them");
    }

    #[test]
    fn what_a_dialect_cannot_say_is_an_error() {
        for (name, dialect) in [
            ("bn.weight", Dialect::Torchvision),
            ("bn.weight", Dialect::Akamaster),
            ("bn1.weight", Dialect::Xternalz),
            ("layer2.0.downsample.1.bias", Dialect::Xternalz),
        ] {
            let error = from_canonical(map([name]), dialect).unwrap_err();
            assert!(error.to_string().contains(name), "{error}");
        }
    }

    #[test]
    fn words_come_back_as_they_were_written() {
        for dialect in Dialect::ALL {
            assert_eq!(dialect.to_string().parse::<Dialect>().unwrap(), dialect);
        }
        assert!("caffe".parse::<Dialect>().is_err());
    }

    /// The tensors of one layer: a convolution or a batch norm.
    fn layer(name: &str) -> Vec<String> {
        let of_norm = ["weight", "bias", "running_mean", "running_var"];
        let parts = if name.contains("bn") || name.ends_with("downsample.1") {
            &of_norm[..]
        } else {
            &of_norm[..1]
        };
        parts.iter().map(|part| format!("{name}.{part}")).collect()
    }

    /// The canonical names of a network; `blocks` has the number of blocks of
    /// each stage.
    fn network(blocks: &[usize], wide: bool, bottleneck: bool) -> Vec<String> {
        let mut layers = vec!["conv1".to_owned()];
        layers.push(if wide { "bn" } else { "bn1" }.to_owned());
        let per_block = if bottleneck { 3 } else { 2 };
        for (stage, &count) in std::iter::zip(1.., blocks) {
            for block in 0..count {
                let name = |part: String| format!("layer{stage}.{block}.{part}");
                for part in 1..=per_block {
                    layers.extend([name(format!("conv{part}")), name(format!("bn{part}"))]);
                }
                if block == 0 {
                    layers.push(name("downsample.0".into()));
                    layers.extend((!wide).then(|| name("downsample.1".into())));
                }
            }
        }
        let mut names: Vec<String> = layers.iter().flat_map(|name| layer(name)).collect();
        names.extend(["fc.weight".to_owned(), "fc.bias".to_owned()]);
        names
    }

    const NEARLY_A_NAME: &str = r"(module\.)?(layer|block|bn|linear)?[0-9]?\.?(layer\.)?[0-9]?[.a-z]{0,8}";

    proptest! {
        #[test]
        fn names_survive_the_way_there_and_back(
            blocks in prop::collection::vec(1usize..12, 1..5),
            wide: bool,
            bottleneck: bool,
            parallel: bool,
        ) {
            let tensors = map(network(&blocks, wide, bottleneck));
            let dialects = if wide {
                [Dialect::Canonical, Dialect::Xternalz]
            } else {
                [Dialect::Torchvision, Dialect::Akamaster]
            };
            for dialect in dialects {
                let mut foreign = from_canonical(tensors.clone(), dialect).unwrap();
                if parallel && dialect != Dialect::Akamaster {
                    let prefixed = |(name, tensor)| (format!("module.{name}"), tensor);
                    foreign = foreign.into_iter().map(prefixed).collect();
                }
                prop_assert_eq!(to_canonical(foreign).unwrap(), (tensors.clone(), Naming::Dialect(dialect)));
            }
        }

        #[test]
        fn no_name_panics(names in prop::collection::vec(NEARLY_A_NAME, 0..6)) {
            if let Ok((tensors, _)) = to_canonical(map(names)) {
                for dialect in Dialect::ALL {
                    let _ = from_canonical(tensors.clone(), dialect);
                }
            }
        }
    }
}
