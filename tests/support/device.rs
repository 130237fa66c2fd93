//! Devices for tests: the adapter of this machine as it is, or taken for
//! another, so that the kernels of every kind of adapter run on any.

use std::sync::Arc;

use residua::gpu::{AdapterChoice, AdapterKind, AdapterOverrides, Gpu};

/// The kinds of adapter that have kernels of their own.
pub const KINDS: [AdapterKind; 2] = [AdapterKind::Cpu, AdapterKind::Discrete];

/// This machine's adapter, taken for what `overrides` says.
///
/// # Panics
/// Where there is none: these tests are worth nothing without a device, so
/// they fail instead of passing untested.
pub fn open(overrides: &AdapterOverrides) -> Arc<Gpu> {
    let gpu = Gpu::open_as(&AdapterChoice::Best, overrides);
    Arc::new(gpu.unwrap_or_else(|error| {
        panic!(
            "these tests need a device with Vulkan, Metal or DX12; a software driver will do \
             (Debian and Ubuntu: apt install mesa-vulkan-drivers): {error}"
        )
    }))
}

/// This machine's adapter with the kernels of `kind`.
pub fn of_kind(kind: AdapterKind) -> Arc<Gpu> {
    open(&AdapterOverrides {
        kind: Some(kind),
        ..AdapterOverrides::default()
    })
}
