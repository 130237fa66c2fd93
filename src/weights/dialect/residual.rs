//! How do programs name the layers of residual networks: ResNet, ResNeXt,
//! pre-activation and wide networks?
//!
//! Canonical names are torchvision's. Pre-activation and wide networks have a
//! final batch norm, `bn`, in addition. Stages s count from 1, blocks i from 0.

use super::scheme::{Biases, Scheme};

/// A rule for layers that a program names as this library does.
const fn same(name: &'static str) -> (&'static str, &'static str) {
    (name, name)
}

const CONV: (&str, &str) = same("layer{s}.{i}.conv{n}");
const NORM: (&str, &str) = same("layer{s}.{i}.bn{n}");
const DOWNSAMPLE: (&str, &str) = same("layer{s}.{i}.downsample.{n}");
const SHORTCUT: (&str, &str) = ("layer{s}.{i}.shortcut.{n}", "layer{s}.{i}.downsample.{n}");
/// Squeeze and excitation.
const EXCITE: (&str, &str) = same("layer{s}.{i}.se.fc{n}");
const STEM: (&str, &str) = same("conv1");
const STEM_NORM: (&str, &str) = same("bn1");

/// This library's own networks with stages, and its VGG of equal widths. The
/// branches of fused networks have names of their own.
pub const OWN: Scheme = Scheme {
    layers: &[
        CONV,
        NORM,
        DOWNSAMPLE,
        EXCITE,
        same("layer{s}.{i}.gate"),
        same("bn"),
        same("conv{n}"),
        same("bn{n}"),
        same("layer{s}.{i}.conv"),
        same("layer{s}.{i}.bn"),
        same("layer{s}.{i}.branch.conv{n}"),
        same("layer{s}.{i}.branch.bn{n}"),
        same("layer{s}.{i}.branch{b}.conv{n}"),
        same("layer{s}.{i}.branch{b}.bn{n}"),
        same("layer{s}.{i}.line{b}.conv{n}"),
        same("layer{s}.{i}.line{b}.bn{n}"),
        same("layer{s}.{i}.shortcut.conv"),
        same("layer{s}.{i}.shortcut.bn"),
        same("layer{s}.{i}.shortcut{b}.conv"),
        same("layer{s}.{i}.shortcut{b}.bn"),
    ],
    marks: &["bn", "layer{s}.{i}.conv{n}", "conv{n}"],
    ..Scheme::BASE
};

pub const TORCHVISION: Scheme = Scheme {
    layers: &[STEM, STEM_NORM, CONV, NORM, DOWNSAMPLE],
    marks: &["layer{s}.{i}.conv{n}", "layer{s}.{i}.bn{n}"],
    needs: &["bn1"],
    ..Scheme::BASE
};

/// torchvision's names, and squeeze and excitation.
pub const TIMM: Scheme = Scheme {
    layers: &[STEM, STEM_NORM, CONV, NORM, DOWNSAMPLE, EXCITE],
    as_convs: &[("layer{s}.{i}.se.fc{n}", 1)],
    ..TORCHVISION
};

pub const CADENE: Scheme = Scheme {
    head: ("last_linear", "fc"),
    ..TORCHVISION
};

pub const KUANGLIU: Scheme = Scheme {
    layers: &[STEM, STEM_NORM, CONV, NORM, SHORTCUT],
    head: ("linear", "fc"),
    marks: &["linear", "layer{s}.{i}.shortcut.{n}"],
    needs: &["bn1"],
    ..Scheme::BASE
};

pub const AKAMASTER: Scheme = Scheme {
    prefix: ["module.", ""],
    ..KUANGLIU
};

/// A pre-activation network without a norm before its head.
pub const KUANGLIU_PREACT: Scheme = Scheme {
    layers: &[STEM, CONV, NORM, SHORTCUT],
    needs: &[],
    ..KUANGLIU
};

/// A pre-activation network. bearpaw's names are this library's.
pub const BEARPAW_PREACT: Scheme = Scheme {
    layers: &[STEM, CONV, NORM, DOWNSAMPLE, same("bn")],
    marks: &["bn"],
    needs: &["bn"],
    ..Scheme::BASE
};

/// ResNeXt. bearpaw's code is prlz77's.
pub const PRLZ77: Scheme = Scheme {
    layers: &[
        ("conv_1_3x3", "conv1"),
        ("bn_1", "bn1"),
        ("stage_{s}.stage_{s}_bottleneck_{i}.conv_reduce", "layer{s}.{i}.conv1"),
        ("stage_{s}.stage_{s}_bottleneck_{i}.bn_reduce", "layer{s}.{i}.bn1"),
        ("stage_{s}.stage_{s}_bottleneck_{i}.conv_conv", "layer{s}.{i}.conv2"),
        ("stage_{s}.stage_{s}_bottleneck_{i}.bn", "layer{s}.{i}.bn2"),
        ("stage_{s}.stage_{s}_bottleneck_{i}.conv_expand", "layer{s}.{i}.conv3"),
        ("stage_{s}.stage_{s}_bottleneck_{i}.bn_expand", "layer{s}.{i}.bn3"),
        (
            "stage_{s}.stage_{s}_bottleneck_{i}.shortcut.shortcut_conv",
            "layer{s}.{i}.downsample.0",
        ),
        (
            "stage_{s}.stage_{s}_bottleneck_{i}.shortcut.shortcut_bn",
            "layer{s}.{i}.downsample.1",
        ),
    ],
    head: ("classifier", "fc"),
    marks: &["stage_{s}.stage_{s}_bottleneck_{i}.conv_conv"],
    needs: &["bn1", "layer1.0.conv3"],
    ..Scheme::BASE
};

pub const XTERNALZ: Scheme = Scheme {
    layers: &[
        STEM,
        ("bn1", "bn"),
        ("block{s}.layer.{i}.conv{n}", "layer{s}.{i}.conv{n}"),
        ("block{s}.layer.{i}.bn{n}", "layer{s}.{i}.bn{n}"),
        ("block{s}.layer.{i}.convShortcut", "layer{s}.{i}.downsample.0"),
    ],
    marks: &["block{s}.layer.{i}.conv{n}", "block{s}.layer.{i}.bn{n}"],
    needs: &["bn"],
    ..Scheme::BASE
};

/// A wide network whose final norm is `bn1`, with biases.
pub const MELIKETOY: Scheme = Scheme {
    layers: &[
        STEM,
        ("bn1", "bn"),
        CONV,
        NORM,
        ("layer{s}.{i}.shortcut.0", "layer{s}.{i}.downsample.0"),
    ],
    head: ("linear", "fc"),
    marks: &["linear", "layer{s}.{i}.shortcut.0"],
    needs: &["bn"],
    biases: Biases::All,
    ..Scheme::BASE
};

pub const SZAGORUYKO: Scheme = Scheme {
    layers: &[
        ("conv0", "conv1"),
        same("bn"),
        ("group{s-1}.block{i}.conv{n-1}", "layer{s}.{i}.conv{n}"),
        ("group{s-1}.block{i}.bn{n-1}", "layer{s}.{i}.bn{n}"),
        ("group{s-1}.block{i}.convdim", "layer{s}.{i}.downsample.0"),
    ],
    marks: &["group{s-1}.block{i}.conv{n-1}", "group{s-1}.block{i}.bn{n-1}"],
    needs: &["bn"],
    bare: true,
    counts: false,
    ..Scheme::BASE
};

pub const WEIAICUNZAI: Scheme = Scheme {
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
    marks: &["conv{s+1}_x.{i}.residual_function.0"],
    needs: &["bn1"],
    ..Scheme::BASE
};

pub const TRANSFORMERS: Scheme = Scheme {
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
    head: ("classifier.1", "fc"),
    marks: &["encoder.stages.{s-1}.layers.{i}.layer.{n-1}.convolution"],
    needs: &["bn1"],
    prefix: ["", "resnet."],
    ..Scheme::BASE
};

pub const DNDDNJS: Scheme = Scheme {
    layers: &[
        STEM,
        STEM_NORM,
        ("layers_{s*2}n.{i}.conv{n}", "layer{s}.{i}.conv{n}"),
        ("layers_{s*2}n.{i}.bn{n}", "layer{s}.{i}.bn{n}"),
    ],
    head: ("fc_out", "fc"),
    marks: &["layers_{s*2}n.{i}.conv{n}"],
    needs: &["bn1"],
    ..Scheme::BASE
};

pub const SEQUENTIAL: Scheme = Scheme {
    layers: &[
        ("conv1.0", "conv1"),
        ("conv1.1", "bn1"),
        ("conv1.0.1", "bn1"),
        ("layer{s}.{i}.conv_bn_relu{n}.0", "layer{s}.{i}.conv{n}"),
        ("layer{s}.{i}.conv_bn_relu{n}.1", "layer{s}.{i}.bn{n}"),
        ("layer{s}.{i}.conv_bn{n}.0", "layer{s}.{i}.conv{n}"),
        ("layer{s}.{i}.conv_bn{n}.1", "layer{s}.{i}.bn{n}"),
        DOWNSAMPLE,
    ],
    marks: &["layer{s}.{i}.conv_bn_relu{n}.0"],
    needs: &["bn1"],
    ..Scheme::BASE
};

pub const UNNUMBERED_STEM: Scheme = Scheme {
    layers: &[("conv", "conv1"), ("bn", "bn1"), CONV, NORM, SHORTCUT, DOWNSAMPLE],
    head: ("linear", "fc"),
    marks: &["conv"],
    needs: &["bn1"],
    ..Scheme::BASE
};
