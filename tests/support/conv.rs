//! Which convolutions do the networks of the tests have?

use residua::graph::Conv;

/// A convolution whose padding keeps the plane at stride 1.
pub fn conv(kernel: usize, stride: usize, groups: usize) -> Conv {
    Conv {
        kernel,
        stride,
        padding: kernel / 2,
        groups,
    }
}
