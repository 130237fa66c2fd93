//! How does a kernel's call become a dispatch on a device, and which
//! properties of the device do kernels depend on?

use crate::gpu::{AdapterKind, Binding, Dispatch, Gpu, GpuError};
use crate::kernels::{Call, Operand, Target};

/// The properties of `gpu` that kernels depend on.
pub fn target(gpu: &Gpu) -> Target {
    let limits = gpu.limits();
    let cpu = gpu.info().kind == AdapterKind::Cpu;
    Target {
        cpu,
        binding: limits.binding,
        alignment: limits.alignment.max(16),
        workgroups: limits.workgroups,
        subgroup_size: limits.subgroup as usize,
        wide_loads: cpu && limits.int64,
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
    gpu.dispatch(&pipeline, &bindings, call.workgroups)
}
