//! Which names do other programs use for the same tensor?
//!
//! Canonical names are torchvision's, which are those of post-activation
//! networks. Pre-activation and wide networks have a final batch norm, `bn`, in
//! addition: `conv1`, `bn1`, `layer{s}.{i}.{conv1,bn1,conv2,bn2,conv3,bn3}`,
//! `layer{s}.{i}.downsample.{0,1}`, `bn`, `fc`. Stages s count from 1, blocks i
//! from 0.

use std::fmt;
use std::str::FromStr;

use super::{TensorMap, WeightsError};

/// The prefix of all names that PyTorch's `DataParallel` saves.
const PARALLEL: &str = "module.";

/// Names for the tensors of residual networks, as one program uses them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// The names of this library.
    Canonical,
    /// torchvision and chenyaofo/pytorch-cifar-models: the canonical names of
    /// a post-activation network.
    Torchvision,
    /// akamaster/pytorch_resnet_cifar10: `linear`, `shortcut`, and the prefix
    /// `module.`.
    Akamaster,
    /// xternalz/WideResNet-pytorch: `block1.layer.0`, `convShortcut`, and a
    /// final `bn1`.
    Xternalz,
}

impl Dialect {
    pub(super) const CHOICES: &str = "canonical, torchvision, akamaster or xternalz";

    /// The dialect of these names; `None` if it is unknown. A prefix `module.`
    /// is ignored.
    pub fn detect<'a>(names: impl IntoIterator<Item = &'a str>) -> Option<Self> {
        let mut found = Clues::default();
        for name in names {
            found.note(without_parallel(name));
        }
        match found {
            Clues { wide: true, .. } => Some(Self::Xternalz),
            Clues { linear: true, .. } => Some(Self::Akamaster),
            Clues { last_bn: true, .. } => Some(Self::Canonical),
            Clues { layers: true, .. } => Some(Self::Torchvision),
            _ => None,
        }
    }

    /// The canonical name of the tensor `name` of this dialect. A name without
    /// a rule stays the same.
    fn canonical_of(self, name: &str) -> String {
        let name = without_parallel(name);
        match self {
            Self::Canonical | Self::Torchvision => name.to_owned(),
            Self::Akamaster => match name.strip_prefix("linear.") {
                Some(rest) => format!("fc.{rest}"),
                None => name.replacen(".shortcut.", ".downsample.", 1),
            },
            Self::Xternalz => match (name.strip_prefix("bn1."), wide_block(name)) {
                (Some(rest), _) => format!("bn.{rest}"),
                (None, Some((stage, block, rest))) => {
                    let rest = replace_prefix(rest, "convShortcut.", "downsample.0.");
                    format!("layer{stage}.{block}.{rest}")
                }
                (None, None) => name.to_owned(),
            },
        }
    }

    /// This dialect's name for the tensor with the canonical name; `None` if
    /// its networks have no such tensor.
    fn name_of(self, canonical: &str) -> Option<String> {
        let last_bn = canonical.strip_prefix("bn.");
        match self {
            Self::Canonical => Some(canonical.to_owned()),
            Self::Torchvision => last_bn.is_none().then(|| canonical.to_owned()),
            Self::Akamaster if last_bn.is_some() => None,
            Self::Akamaster => {
                let name = replace_prefix(canonical, "fc.", "linear.");
                let name = name.replacen(".downsample.", ".shortcut.", 1);
                Some(format!("{PARALLEL}{name}"))
            }
            Self::Xternalz => match (last_bn, layer_block(canonical)) {
                (Some(rest), _) => Some(format!("bn1.{rest}")),
                (None, Some((_, _, rest))) if rest.starts_with("downsample.1.") => None,
                (None, Some((stage, block, rest))) => {
                    let rest = replace_prefix(rest, "downsample.0.", "convShortcut.");
                    Some(format!("block{stage}.layer.{block}.{rest}"))
                }
                (None, None) if canonical.starts_with("bn1.") => None,
                (None, None) => Some(canonical.to_owned()),
            },
        }
    }
}

/// What the names of a file show about their dialect.
#[derive(Default)]
struct Clues {
    wide: bool,
    linear: bool,
    last_bn: bool,
    layers: bool,
}

impl Clues {
    fn note(&mut self, name: &str) {
        let layer = layer_block(name);
        self.wide |= wide_block(name).is_some();
        self.linear |= name.starts_with("linear.") || layer.is_some_and(|(_, _, rest)| rest.starts_with("shortcut."));
        self.last_bn |= name.starts_with("bn.");
        self.layers |= layer.is_some();
    }
}

/// Renames the tensors of a file to canonical names; also returns the dialect
/// of the file.
///
/// # Errors
/// If the names are of no known dialect, or two names stand for one tensor.
pub fn to_canonical(tensors: TensorMap) -> Result<(TensorMap, Dialect), WeightsError> {
    let Some(dialect) = Dialect::detect(tensors.keys().map(String::as_str)) else {
        let first = tensors.into_keys().next().unwrap_or_default();
        return Err(WeightsError::UnknownDialect { first });
    };
    let mut renamed = TensorMap::new();
    for (name, tensor) in tensors {
        let name = dialect.canonical_of(&name);
        if renamed.contains_key(&name) {
            return Err(WeightsError::Duplicate { name });
        }
        renamed.insert(name, tensor);
    }
    Ok((renamed, dialect))
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

fn without_parallel(name: &str) -> &str {
    name.strip_prefix(PARALLEL).unwrap_or(name)
}

fn replace_prefix(name: &str, from: &str, to: &str) -> String {
    match name.strip_prefix(from) {
        Some(rest) => format!("{to}{rest}"),
        None => name.to_owned(),
    }
}

/// The parts of `layer{stage}.{block}.{rest}`.
fn layer_block(name: &str) -> Option<(&str, &str, &str)> {
    let (stage, rest) = name.strip_prefix("layer")?.split_once('.')?;
    let (block, rest) = rest.split_once('.')?;
    (is_number(stage) && is_number(block)).then_some((stage, block, rest))
}

/// The parts of `block{stage}.layer.{block}.{rest}`.
fn wide_block(name: &str) -> Option<(&str, &str, &str)> {
    let (stage, rest) = name.strip_prefix("block")?.split_once(".layer.")?;
    let (block, rest) = rest.split_once('.')?;
    (is_number(stage) && is_number(block)).then_some((stage, block, rest))
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

impl fmt::Display for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Canonical => "canonical",
            Self::Torchvision => "torchvision",
            Self::Akamaster => "akamaster",
            Self::Xternalz => "xternalz",
        })
    }
}

impl FromStr for Dialect {
    type Err = WeightsError;

    fn from_str(word: &str) -> Result<Self, WeightsError> {
        match word {
            "canonical" => Ok(Self::Canonical),
            "torchvision" => Ok(Self::Torchvision),
            "akamaster" => Ok(Self::Akamaster),
            "xternalz" => Ok(Self::Xternalz),
            _ => Err(WeightsError::NoDialect { given: word.to_owned() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::weights::Tensor;
    use proptest::prelude::*;

    const ALL: [Dialect; 4] = [
        Dialect::Canonical,
        Dialect::Torchvision,
        Dialect::Akamaster,
        Dialect::Xternalz,
    ];

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

    fn renamed(names: &[&str]) -> (Vec<String>, Dialect) {
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
        assert_eq!(dialect, Dialect::Akamaster);
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
        assert_eq!(dialect, Dialect::Xternalz);
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
        for names in [&["encoder.weight"][..], &[]] {
            let error = to_canonical(map(names)).unwrap_err();
            assert!(matches!(error, WeightsError::UnknownDialect { .. }));
        }
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
        for dialect in ALL {
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
                    let prefixed = |(name, tensor)| (format!("{PARALLEL}{name}"), tensor);
                    foreign = foreign.into_iter().map(prefixed).collect();
                }
                prop_assert_eq!(to_canonical(foreign).unwrap(), (tensors.clone(), dialect));
            }
        }

        #[test]
        fn no_name_panics(names in prop::collection::vec(NEARLY_A_NAME, 0..6)) {
            if let Ok((tensors, _)) = to_canonical(map(names)) {
                for dialect in ALL {
                    let _ = from_canonical(tensors.clone(), dialect);
                }
            }
        }
    }
}
