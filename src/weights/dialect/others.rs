//! How do programs name the layers of VGG, DenseNet, Dual Path and fractal networks?
//!
//! Canonical names are torchvision's, and for Dual Path Networks timm's.

use super::scheme::{Biases, Scheme, ShapeOf};

/// A rule for layers that a program names as this library does.
const fn same(name: &'static str) -> (&'static str, &'static str) {
    (name, name)
}

/// This library's fractal networks.
pub const OWN_FRACTALNET: Scheme = Scheme {
    layers: &[
        same("block{s}.join{j}.column{c}.conv{n}"),
        same("block{s}.join{j}.column{c}.bn{n}"),
    ],
    marks: &["block{s}.join{j}.column{c}.conv{n}"],
    ..Scheme::BASE
};

/// VGG with two hidden layers.
pub const VGG: Scheme = Scheme {
    layers: &[same("features.{n}"), same("classifier.0"), same("classifier.3")],
    head: ("classifier.6", "classifier.6"),
    marks: &["features.{n}"],
    needs: &["classifier.0", "classifier.3"],
    biases: Biases::All,
    ..Scheme::BASE
};

/// VGG with one linear layer.
pub const SHORT_VGG: Scheme = Scheme {
    layers: &[same("features.{n}")],
    head: ("classifier", "classifier"),
    needs: &[],
    ..VGG
};

/// timm has the hidden layers as convolutions.
pub const TIMM_VGG: Scheme = Scheme {
    layers: &[
        same("features.{n}"),
        ("pre_logits.fc1", "classifier.0"),
        ("pre_logits.fc2", "classifier.3"),
    ],
    head: ("head.fc", "classifier.6"),
    marks: &["pre_logits.fc1"],
    as_convs: &[("classifier.0", 7), ("classifier.3", 1)],
    ..VGG
};

pub const CADENE_VGG: Scheme = Scheme {
    layers: &[
        ("_features.{n}", "features.{n}"),
        ("linear0", "classifier.0"),
        ("linear1", "classifier.3"),
    ],
    head: ("last_linear", "classifier.6"),
    marks: &["_features.{n}"],
    ..VGG
};

/// DenseNet for ImageNet.
pub const DENSENET: Scheme = Scheme {
    layers: &[
        same("features.conv0"),
        same("features.norm0"),
        same("features.denseblock{b}.denselayer{l}.norm{n}"),
        same("features.denseblock{b}.denselayer{l}.conv{n}"),
        same("features.transition{b}.norm"),
        same("features.transition{b}.conv"),
        same("features.norm5"),
    ],
    head: ("classifier", "classifier"),
    marks: &["features.denseblock{b}.denselayer{l}.conv{n}"],
    needs: &["features.norm0", "features.norm5"],
    ..Scheme::BASE
};

/// This library's DenseNets, those for CIFAR as well.
pub const OWN_DENSENET: Scheme = Scheme {
    layers: &[
        same("features.conv0"),
        same("features.norm0"),
        same("features.denseblock{b}.denselayer{l}.norm{n}"),
        same("features.denseblock{b}.denselayer{l}.conv{n}"),
        same("features.transition{b}.norm"),
        same("features.transition{b}.conv"),
        same("features.norm5"),
        same("features.norm_final"),
    ],
    needs: &[],
    ..DENSENET
};

/// The names of torchvision's files of 2017.
pub const OLD_DENSENET: Scheme = Scheme {
    layers: &[
        same("features.conv0"),
        same("features.norm0"),
        (
            "features.denseblock{b}.denselayer{l}.norm.{n}",
            "features.denseblock{b}.denselayer{l}.norm{n}",
        ),
        (
            "features.denseblock{b}.denselayer{l}.conv.{n}",
            "features.denseblock{b}.denselayer{l}.conv{n}",
        ),
        same("features.transition{b}.norm"),
        same("features.transition{b}.conv"),
        same("features.norm5"),
    ],
    marks: &["features.denseblock{b}.denselayer{l}.conv.{n}"],
    counts: false,
    ..DENSENET
};

pub const CADENE_DENSENET: Scheme = Scheme {
    head: ("last_linear", "classifier"),
    ..DENSENET
};

/// DenseNet for CIFAR.
pub const BEARPAW_DENSENET: Scheme = Scheme {
    layers: &[
        ("conv1", "features.conv0"),
        ("dense{b}.{l-1}.bn{n}", "features.denseblock{b}.denselayer{l}.norm{n}"),
        ("dense{b}.{l-1}.conv{n}", "features.denseblock{b}.denselayer{l}.conv{n}"),
        ("trans{b}.bn1", "features.transition{b}.norm"),
        ("trans{b}.conv1", "features.transition{b}.conv"),
        ("bn", "features.norm_final"),
    ],
    head: ("fc", "classifier"),
    marks: &["dense{b}.{l-1}.conv{n}"],
    needs: &["features.norm_final"],
    ..DENSENET
};

/// This library's Dual Path Networks.
pub const OWN_DPN: Scheme = Scheme {
    layers: &[
        same("features.conv1_1.conv"),
        same("features.conv1_1.bn"),
        same("features.conv{s}_{i}.c1x1_w_s{t}.bn"),
        same("features.conv{s}_{i}.c1x1_w_s{t}.conv"),
        same("features.conv{s}_{i}.c1x1_a.bn"),
        same("features.conv{s}_{i}.c1x1_a.conv"),
        same("features.conv{s}_{i}.c3x3_b.bn"),
        same("features.conv{s}_{i}.c3x3_b.conv"),
        same("features.conv{s}_{i}.c1x1_c.bn"),
        same("features.conv{s}_{i}.c1x1_c.conv"),
        same("features.conv{s}_{i}.c1x1_c{h}"),
        same("features.conv5_bn_ac.bn"),
    ],
    head: ("classifier", "classifier"),
    marks: &["features.conv{s}_{i}.c3x3_b.conv"],
    ..Scheme::BASE
};

pub const TIMM_DPN: Scheme = Scheme {
    as_convs: &[("classifier", 1)],
    ..OWN_DPN
};

pub const CADENE_DPN: Scheme = Scheme {
    head: ("last_linear", "classifier"),
    ..TIMM_DPN
};

/// The port of Dual Path Networks for CIFAR. Its names are those of a ResNet.
pub const KUANGLIU_DPN: Scheme = Scheme {
    layers: &[
        same("conv1"),
        same("bn1"),
        same("layer{s}.{i}.conv{n}"),
        same("layer{s}.{i}.bn{n}"),
        same("layer{s}.{i}.shortcut.{n}"),
    ],
    head: ("linear", "linear"),
    marks: &["layer{s}.{i}.shortcut.{n}"],
    needs: &["bn1"],
    shapes: Some(is_dual_path),
    ..Scheme::BASE
};

/// Whether a unit reads more channels than the convolutions of the unit before
/// write: it reads the dense path, too.
fn is_dual_path(shape_of: &ShapeOf) -> bool {
    let written = shape_of("layer1.0.conv3").and_then(|shape| shape.first().copied());
    let read = shape_of("layer1.1.conv1").and_then(|shape| shape.get(1).copied());
    matches!((written, read), (Some(written), Some(read)) if read > written)
}
