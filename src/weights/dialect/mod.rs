//! Which names do other programs use for the same tensor?
//!
//! Canonical names are torchvision's, for Dual Path Networks timm's. A dialect is
//! a list of schemes, one for each family of networks that the program has; a
//! scheme is a table of rules for the names of layers.
//!
//! To add a dialect: a variant of [`Dialect`], its entry in [`Dialect::ALL`], and
//! an arm in `Dialect::about`. To add a family: its schemes, in a file of this
//! folder, and their names in the dialects that have it. A family of this
//! library's own names needs a rule in [`residual::OWN`] for layers that no other
//! family has, so that its files are read where nothing says their model.

mod others;
mod residual;
mod scheme;

use std::fmt;
use std::str::FromStr;

use super::WeightsError;
pub(super) use scheme::{Biases, Scheme, is_head, is_linear, split};

/// Names for the tensors of networks, as one program uses them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// The names of this library.
    Canonical,
    /// torchvision: ResNet, ResNeXt, wide ResNet, VGG, DenseNet.
    Torchvision,
    /// torchvision's files of DenseNets of 2017: `denselayer1.norm.1`.
    TorchvisionOld,
    /// timm: torchvision's, squeeze and excitation, Dual Path Networks, and VGG
    /// with its hidden layers as convolutions.
    Timm,
    /// chenyaofo/pytorch-cifar-models: torchvision's for CIFAR.
    Chenyaofo,
    /// akamaster/pytorch_resnet_cifar10: `linear`, `shortcut`, and the prefix
    /// `module.`.
    Akamaster,
    /// kuangliu/pytorch-cifar: the same without the prefix; pre-activation
    /// networks, VGG, its port of Dual Path Networks.
    Kuangliu,
    /// xternalz/WideResNet-pytorch: `block1.layer.0`, `convShortcut`, and a
    /// final `bn1`.
    Xternalz,
    /// meliketoy/wide-resnet.pytorch: a final `bn1`, `linear`, and biases of all
    /// convolutions.
    Meliketoy,
    /// szagoruyko/wide-residual-networks (PyTorch): `group0.block0.conv0`, and
    /// convolutions without `.weight`.
    Szagoruyko,
    /// bearpaw/pytorch-classification: pre-activation ResNet, ResNeXt, DenseNet
    /// and VGG for CIFAR.
    Bearpaw,
    /// prlz77/ResNeXt.pytorch: `stage_1.stage_1_bottleneck_0.conv_reduce`.
    Prlz77,
    /// Cadene/pretrained-models.pytorch: torchvision's with `last_linear`, Dual
    /// Path Networks.
    Cadene,
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

/// What a dialect is called, and the networks that it has names for.
struct About {
    /// How users name the dialect.
    word: &'static str,
    /// Which networks it has.
    networks: &'static str,
    schemes: &'static [&'static Scheme],
}

impl Dialect {
    /// All dialects, in the order in which names are compared with them: the
    /// names of a later one may be those of an earlier one, too.
    pub const ALL: [Self; 18] = [
        Self::Xternalz,
        Self::Szagoruyko,
        Self::Weiaicunzai,
        Self::Transformers,
        Self::Dnddnjs,
        Self::Sequential,
        Self::UnnumberedStem,
        Self::Prlz77,
        Self::Akamaster,
        Self::Kuangliu,
        Self::Meliketoy,
        Self::Torchvision,
        Self::TorchvisionOld,
        Self::Timm,
        Self::Cadene,
        Self::Canonical,
        Self::Chenyaofo,
        Self::Bearpaw,
    ];

    /// The words of all dialects, for messages.
    pub fn choices() -> String {
        let words: Vec<&str> = Self::ALL.iter().map(|dialect| dialect.about().word).collect();
        match words.split_last() {
            Some((last, others)) => format!("{} or {last}", others.join(", ")),
            None => String::new(),
        }
    }

    /// The networks that the dialect has names for, in words.
    pub fn networks(self) -> &'static str {
        self.about().networks
    }

    /// What the program's own code computes, where models with the same names may
    /// compute something else: options of models, and their values there.
    pub fn function(self) -> &'static [(&'static str, &'static [&'static str])] {
        match self {
            Self::Torchvision | Self::Timm | Self::Cadene | Self::Chenyaofo => {
                &[("shortcut", &["B"]), ("skip", &["identity"]), ("last-pool", &["yes"])]
            }
            Self::Akamaster => &[("shortcut", &["A", "B"]), ("skip", &["identity"])],
            Self::Kuangliu => &[
                ("shortcut", &["B"]),
                ("skip", &["identity"]),
                ("project", &["activated"]),
            ],
            Self::Weiaicunzai | Self::Transformers => &[("shortcut", &["B"]), ("skip", &["identity"])],
            Self::Xternalz | Self::Szagoruyko => &[("project", &["activated"]), ("stride-at", &["first"])],
            Self::Meliketoy => &[("project", &["raw"]), ("stride-at", &["last"])],
            Self::Bearpaw => &[
                ("shortcut", &["B"]),
                ("project", &["raw"]),
                ("stride-at", &["3x3"]),
                ("skip", &["identity"]),
            ],
            Self::Canonical
            | Self::TorchvisionOld
            | Self::Prlz77
            | Self::Dnddnjs
            | Self::Sequential
            | Self::UnnumberedStem => &[],
        }
    }

    fn about(self) -> About {
        use others::*;
        use residual as res;
        let (word, networks, schemes): (_, _, &'static [&'static Scheme]) = match self {
            Self::Canonical => (
                "canonical",
                "all networks",
                &[
                    &res::OWN,
                    &OWN_DENSENET,
                    &VGG,
                    &SHORT_VGG,
                    &OWN_DPN,
                    &KUANGLIU_DPN,
                    &OWN_FRACTALNET,
                ],
            ),
            Self::Torchvision => (
                "torchvision",
                "ResNet, ResNeXt, VGG with hidden layers, and DenseNet for ImageNet",
                &[&res::TORCHVISION, &DENSENET, &VGG],
            ),
            Self::TorchvisionOld => ("torchvision-old", "DenseNet for ImageNet", &[&OLD_DENSENET]),
            Self::Timm => (
                "timm",
                "ResNet, ResNeXt, squeeze and excitation, VGG and DenseNet for ImageNet, Dual Path Networks",
                &[&res::TORCHVISION, &res::TIMM, &DENSENET, &TIMM_VGG, &TIMM_DPN],
            ),
            Self::Chenyaofo => (
                "chenyaofo",
                "ResNet and VGG with hidden layers",
                &[&res::TORCHVISION, &VGG],
            ),
            Self::Akamaster => ("akamaster", "ResNet", &[&res::AKAMASTER]),
            Self::Kuangliu => (
                "kuangliu",
                "ResNet, ResNeXt, pre-activation networks without a norm before the head, VGG with one linear layer, \
                 and its own Dual Path Networks",
                &[&KUANGLIU_DPN, &res::KUANGLIU, &res::KUANGLIU_PREACT, &SHORT_VGG],
            ),
            Self::Xternalz => ("xternalz", "wide residual networks", &[&res::XTERNALZ]),
            Self::Meliketoy => ("meliketoy", "wide residual networks", &[&res::MELIKETOY]),
            Self::Szagoruyko => ("szagoruyko", "wide residual networks", &[&res::SZAGORUYKO]),
            Self::Bearpaw => (
                "bearpaw",
                "ResNet, pre-activation ResNet, ResNeXt, VGG with one linear layer, and DenseNet for CIFAR",
                &[
                    &res::BEARPAW_PREACT,
                    &BEARPAW_DENSENET,
                    &SHORT_VGG,
                    &res::PRLZ77,
                    &res::TORCHVISION,
                ],
            ),
            Self::Prlz77 => ("prlz77", "ResNeXt", &[&res::PRLZ77]),
            Self::Cadene => (
                "cadene",
                "ResNet, VGG and DenseNet for ImageNet, Dual Path Networks",
                &[&res::CADENE, &CADENE_DENSENET, &CADENE_VGG, &CADENE_DPN],
            ),
            Self::Weiaicunzai => ("weiaicunzai", "ResNet", &[&res::WEIAICUNZAI]),
            Self::Transformers => ("transformers", "ResNet", &[&res::TRANSFORMERS]),
            Self::Dnddnjs => ("dnddnjs", "ResNet with option A", &[&res::DNDDNJS]),
            Self::Sequential => ("sequential", "ResNet", &[&res::SEQUENTIAL]),
            Self::UnnumberedStem => ("unnumbered-stem", "ResNet", &[&res::UNNUMBERED_STEM]),
        };
        About {
            word,
            networks,
            schemes,
        }
    }

    /// Its names for each family, the usual one first.
    pub(super) fn schemes(self) -> &'static [&'static Scheme] {
        self.about().schemes
    }

    /// Every dialect with each of its schemes, in the order of [`Self::ALL`].
    pub(super) fn all_schemes() -> impl Iterator<Item = (Self, &'static Scheme)> {
        Self::ALL
            .into_iter()
            .flat_map(|dialect| dialect.schemes().iter().map(move |scheme| (dialect, *scheme)))
    }
}

impl fmt::Display for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.about().word)
    }
}

impl FromStr for Dialect {
    type Err = WeightsError;

    fn from_str(word: &str) -> Result<Self, WeightsError> {
        let named = Self::ALL.into_iter().find(|dialect| dialect.about().word == word);
        named.ok_or_else(|| WeightsError::NoDialect { given: word.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::weights::tests::container;
    use crate::weights::{NameOptions, Naming, Tensor, TensorMap, canonical, to_dialect};
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

    fn from_canonical(tensors: TensorMap, dialect: Dialect) -> Result<TensorMap, WeightsError> {
        Ok(to_dialect(tensors, dialect, None, 0)?.tensors)
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
        assert_eq!(renamed(&post).1, Naming::Dialect(Dialect::Torchvision));
        let pre = ["bn.weight", "layer1.0.conv1.weight", "fc.weight"];
        assert_eq!(renamed(&pre).1, Naming::Dialect(Dialect::Canonical));
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
