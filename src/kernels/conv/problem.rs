//! What do a convolution and its gradients compute, apart from the algorithm?

use crate::graph::{Conv, Precision, Shape};
use crate::kernels::call::Target;
use crate::kernels::value::Value;

/// A convolution or its input gradient: planes and channels of the tensor that
/// is read (`source`) and of the one that is written (`dest`).
pub struct Convolution<'a> {
    /// Kernel, stride, padding and groups of the layer.
    pub conv: Conv,
    /// x; for the input gradient, dy.
    pub source: &'a Shape,
    /// y; for the input gradient, dx.
    pub dest: &'a Shape,
    /// Whether this is the input gradient.
    pub is_input_gradient: bool,
    /// Whether a bias is added.
    pub bias: bool,
}

impl<'a> Convolution<'a> {
    /// Forward: inputs x, weight and, where `bias`, bias.
    pub fn forward(conv: Conv, bias: bool, x: &'a Shape, y: &'a Shape) -> Self {
        Convolution {
            conv,
            source: x,
            dest: y,
            is_input_gradient: false,
            bias,
        }
    }

    /// Input gradient: inputs dy and weight.
    pub fn input_gradient(conv: Conv, dy: &'a Shape, dx: &'a Shape) -> Self {
        Convolution {
            conv,
            source: dy,
            dest: dx,
            is_input_gradient: true,
            bias: false,
        }
    }

    /// Whether this is an input gradient that is computed as a convolution by
    /// flipped weights. At stride 1 the two are the same, and a layer with as
    /// many input as output channels needs one program for both directions.
    pub fn is_flipped(&self) -> bool {
        self.is_input_gradient && self.conv.stride == 1 && self.conv.padding < self.conv.kernel
    }

    /// Whether kernels compute the transpose of a convolution.
    pub fn is_transposed(&self) -> bool {
        self.is_input_gradient && !self.is_flipped()
    }

    /// Source and destination channels of one group.
    pub fn group_channels(&self) -> (usize, usize) {
        let groups = self.conv.groups;
        (self.source.channels() / groups, self.dest.channels() / groups)
    }

    /// The number of weights.
    pub fn weights(&self) -> usize {
        let Conv { kernel, groups, .. } = self.conv;
        self.source.channels() * self.dest.channels() / groups * kernel * kernel
    }

    /// Multiply-adds for this number of images.
    pub fn macs(&self, images: usize) -> u64 {
        let outputs = if self.is_input_gradient { self.source } else { self.dest };
        (images * outputs.per_image() * self.weights() / outputs.channels()) as u64
    }

    /// The convolution, or its transpose, that kernels compute: the layer's,
    /// with the padding of the flipped one where weights are flipped.
    pub fn computed(&self) -> Conv {
        let mut conv = self.conv;
        if self.is_flipped() {
            conv.padding = conv.kernel - 1 - conv.padding;
        }
        conv
    }

    /// What tiles have to cover.
    pub fn destination(&self) -> Destination {
        let (height, width) = self.dest.plane();
        let (source_height, source_width) = self.source.plane();
        Destination {
            conv: self.computed(),
            transposed: self.is_transposed(),
            channels: self.group_channels().1,
            height,
            width,
            source_height,
            source_width,
        }
    }

    /// Whether Winograd's minimal filtering for 3×3 kernels can compute this.
    pub fn suits_winograd(&self) -> bool {
        let conv = self.computed();
        conv.kernel == 3 && conv.stride == 1 && !self.is_transposed() && conv.padding <= 2
    }
}

/// What tiles have to cover: the destination of a convolution or of its
/// transpose.
#[derive(Debug, Clone, Copy)]
pub struct Destination {
    /// The convolution.
    pub conv: Conv,
    /// Whether its transpose is computed.
    pub transposed: bool,
    /// Channels of one group.
    pub channels: usize,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// Rows of the source.
    pub source_height: usize,
    /// Columns of the source.
    pub source_width: usize,
}

impl Destination {
    /// Every tile begins at a multiple of this number of pixels.
    pub fn unit(&self) -> usize {
        if self.transposed { self.conv.stride } else { 1 }
    }

    /// The largest number of taps that one pixel takes.
    pub fn taps(&self) -> usize {
        (self.conv.kernel * self.conv.kernel).div_ceil(self.unit() * self.unit())
    }
}

/// The weight gradient of a convolution: inputs x and dy.
pub struct WeightGradient<'a> {
    /// Kernel, stride, padding and groups of the layer.
    pub conv: Conv,
    /// N, C, H, W.
    pub x: &'a Shape,
    /// N, K, OH, OW.
    pub dy: &'a Shape,
    /// K, C / groups, kernel, kernel.
    pub dw: &'a Shape,
}

impl WeightGradient<'_> {
    /// Source and output channels of one group.
    pub fn group_channels(&self) -> (usize, usize) {
        let groups = self.conv.groups;
        (self.x.channels() / groups, self.dy.channels() / groups)
    }

    /// Whether Winograd's minimal filtering for 3×3 kernels can compute this.
    pub fn suits_winograd(&self) -> bool {
        self.conv.kernel == 3 && self.conv.stride == 1 && self.conv.padding <= 2
    }
}

/// Channels of one group, and planes, under the names that the shaders give
/// them.
pub fn shape_constants(conv: &Conv, source: &Shape, dest: &Shape) -> Vec<(&'static str, Value)> {
    let ((sh, sw), (dh, dw)) = (source.plane(), dest.plane());
    vec![
        ("SC", (source.channels() / conv.groups).into()),
        ("SH", sh.into()),
        ("SW", sw.into()),
        ("DC", (dest.channels() / conv.groups).into()),
        ("DH", dh.into()),
        ("DW", dw.into()),
        ("GROUPS", conv.groups.into()),
        ("KERNEL", conv.kernel.into()),
        ("STRIDE", conv.stride.into()),
        ("PADDING", conv.padding.into()),
    ]
}

/// Whether runs of `columns` in rows of `shape` are loaded as vec4.
pub fn loads_vec4(shape: &Shape, columns: usize) -> bool {
    shape.plane().1.is_multiple_of(4) && columns.is_multiple_of(4)
}

/// Whether they are loaded by load8.
pub fn loads_wide(shape: &Shape, columns: usize, target: &Target) -> bool {
    let whole = shape.plane().1.is_multiple_of(8) && columns.is_multiple_of(8);
    target.wide_loads && shape.precision == Precision::F32 && whole
}

/// Destinations of many shapes, for the tests of tiles.
#[cfg(test)]
pub fn destinations() -> Vec<Destination> {
    let mut all = Vec::new();
    for kernel in [1, 3, 5, 7] {
        for stride in [1, 2] {
            for size in [1, 2, 4, 7, 8, 14, 16, 28, 32, 56, 112] {
                for channels in [1, 3, 4, 16, 64, 160] {
                    for transposed in [false, true] {
                        all.push(Destination {
                            conv: Conv {
                                kernel,
                                stride,
                                padding: kernel / 2,
                                groups: 1,
                            },
                            transposed,
                            channels,
                            height: size,
                            width: size,
                            source_height: size,
                            source_width: size,
                        });
                    }
                }
            }
        }
    }
    all
}
