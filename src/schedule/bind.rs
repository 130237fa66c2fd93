//! How does a kernel's call become a dispatch on a device, and which
//! properties of the device do kernels depend on?

use crate::gpu::{AdapterKind, Binding, Dispatch, Gpu, GpuError};
use crate::kernels::{Call, Operand, Target};

/// Multiply-adds that take as long as reading or writing one byte of memory. The
/// number is about the same on processors and on GPUs: GPUs are faster at both.
pub const MACS_PER_BYTE: u64 = 8;

/// The properties of `gpu` that kernels depend on.
pub fn target(gpu: &Gpu) -> Target {
    let limits = gpu.limits();
    let cpu = gpu.info().kind == AdapterKind::Cpu && limits.long_programs;
    Target {
        cpu,
        binding: limits.binding,
        alignment: limits.alignment.max(16),
        workgroups: limits.workgroups,
        subgroup_size: limits.subgroup as usize,
        wide_loads: cpu && limits.int64,
        dispatch_macs: gpu.most_work(),
        images: usize::MAX,
    }
}

/// Compiles `call` for `gpu` and binds its operands; `resolve` gives the
/// memory of each operand. Operands that it gives `None` for stay unbound.
///
/// # Errors
/// Where the pipeline cannot be created, or a binding is missing.
pub fn dispatch(gpu: &Gpu, call: &Call, resolve: impl Fn(Operand) -> Option<Binding>) -> Result<Dispatch, GpuError> {
    let pipeline = gpu.pipeline(&call.variant.program())?;
    let mut bindings = Vec::with_capacity(call.args.len());
    for arg in &call.args {
        if let Some(whole) = resolve(arg.operand) {
            bindings.push((arg.binding, whole.part(arg.offset..arg.offset + arg.size)));
        }
    }
    let dispatch = gpu.dispatch(&pipeline, &bindings, call.workgroups)?;
    Ok(dispatch.with_work(call.macs + MACS_PER_BYTE * call.bytes()))
}
