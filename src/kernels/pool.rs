//! Which dispatches make pooling, forward and backward?

use super::call::{Call, Lowered, Operand, Target, parts};
use super::value::Value;
use crate::graph::{Pool, Shape};

const WORKGROUP_SIZE: usize = 64;

/// A kernel of `pool.wgsl`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Pooling {
    /// Windowed maximum: input x.
    Max(Pool),
    /// Its gradient: inputs dy and x.
    MaxGrad(Pool),
    /// Windowed mean: input x.
    Avg(Pool),
    /// Its gradient: input dy.
    AvgGrad(Pool),
    /// Mean of the plane: input x.
    Global,
    /// Its gradient: input dy.
    GlobalGrad,
}

impl Pooling {
    /// Whether the output is the smaller plane.
    pub fn is_forward(self) -> bool {
        matches!(self, Pooling::Max(_) | Pooling::Avg(_) | Pooling::Global)
    }
}

/// Lowers `kernel`. `wide` is the shape before pooling, `narrow` the one after
/// it.
pub fn pooling(kernel: Pooling, wide: &Shape, narrow: &Shape, batch: usize, target: &Target) -> Lowered {
    let (entry, pool) = match kernel {
        Pooling::Max(pool) => ("max_pool", Some(pool)),
        Pooling::MaxGrad(pool) => ("max_pool_gradient", Some(pool)),
        Pooling::Avg(pool) => ("avg_pool", Some(pool)),
        Pooling::AvgGrad(pool) => ("avg_pool_gradient", Some(pool)),
        Pooling::Global => ("global_avg_pool", None),
        Pooling::GlobalGrad => ("global_avg_pool_gradient", None),
    };
    let ((h, w), (oh, ow)) = (wide.plane(), narrow.plane());
    let forward = kernel.is_forward();
    let x = if matches!(kernel, Pooling::MaxGrad(_)) { 1 } else { 0 };
    let calls = parts(batch, &[wide, narrow], target).into_iter().map(|part| {
        let mut constants: Vec<(&'static str, Value)> = vec![
            ("H", h.into()),
            ("W", w.into()),
            ("OH", oh.into()),
            ("OW", ow.into()),
            ("WG", WORKGROUP_SIZE.into()),
        ];
        if let Some(pool) = pool {
            constants.extend([
                ("KERNEL", pool.kernel.into()),
                ("STRIDE", pool.stride.into()),
                ("PADDING", pool.padding.into()),
            ]);
        }
        let written = if forward { narrow } else { wide };
        Call::new("pool", entry, constants)
            .store("Stored", 1, wide)
            .bind_images(0, Operand::Input(x), wide, &part)
            .bind_images(1, Operand::Input(0), narrow, &part)
            .bind_images(2, Operand::Output, narrow, &part)
            .bind_images(3, Operand::Output, wide, &part)
            .over(written.len(part.len()), WORKGROUP_SIZE, target)
    });
    Lowered::calls(calls.collect())
}
