//! Which device do tests use? The adapter of this machine as it is, or treated
//! as another one, so that the kernels of every kind of adapter run on any
//! machine.

use std::sync::Arc;

use residua::gpu::{AdapterChoice, AdapterInfo, AdapterKind, AdapterOverrides, Gpu, adapters};

/// The kinds of adapter that have kernels of their own.
pub const KINDS: [AdapterKind; 2] = [AdapterKind::Cpu, AdapterKind::Discrete];

/// This machine's adapter with the properties in `overrides`.
///
/// # Panics
/// Where there is no adapter. Without one these tests check nothing, so they
/// fail instead of being skipped.
pub fn open(overrides: &AdapterOverrides) -> Arc<Gpu> {
    let gpu = Gpu::open_as(&AdapterChoice::Best, overrides);
    Arc::new(gpu.unwrap_or_else(|error| {
        panic!(
            "these tests need a device with Vulkan, Metal or DX12; a software driver will do \
             (Debian and Ubuntu: apt install mesa-vulkan-drivers): {error}"
        )
    }))
}

/// This machine's adapter with its own kernels, whatever kind `RESIDUA_TEST_DEVICE`
/// asks of adapters in general, and with the properties in `overrides`.
pub fn own(overrides: &AdapterOverrides) -> Arc<Gpu> {
    let opened = open(overrides);
    let info = opened.info();
    let same = |other: &AdapterInfo| (&other.name, &other.backend) == (&info.name, &info.backend);
    let kind = adapters().into_iter().find(same).map(|adapter| adapter.kind);
    if kind.is_none_or(|kind| kind == info.kind) {
        return opened;
    }
    open(&AdapterOverrides { kind, ..*overrides })
}

/// This machine's adapter with the kernels of `kind`.
pub fn of_kind(kind: AdapterKind) -> Arc<Gpu> {
    open(&AdapterOverrides {
        kind: Some(kind),
        ..AdapterOverrides::default()
    })
}
