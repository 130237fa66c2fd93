//! Which adapters does the system have, and which one is opened?

use serde::Serialize;

use super::GpuError;

/// The kind of an adapter's hardware; kernels choose tile sizes by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum AdapterKind {
    /// A graphics card with memory of its own.
    Discrete,
    /// A GPU that shares the processor's memory.
    Integrated,
    /// A GPU that a hypervisor provides.
    Virtual,
    /// Not known.
    Other,
    /// A software driver on the processor (lavapipe, SwiftShader, WARP).
    Cpu,
}

/// An adapter as the system describes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AdapterInfo {
    /// The marketing name.
    pub name: String,
    /// What kind of device it is.
    pub kind: AdapterKind,
    /// The graphics API: Vulkan, Metal or Dx12.
    pub backend: String,
    /// The driver's name.
    pub driver: String,
    /// The driver's version.
    pub driver_info: String,
    /// Largest storage binding in bytes.
    pub max_binding: u64,
    /// Largest buffer in bytes.
    pub max_buffer: u64,
    /// Smallest and largest subgroup size.
    pub subgroup: (u32, u32),
    /// Whether shaders can use 16-bit floats.
    pub f16: bool,
    /// Whether dispatches can be timed on the device.
    pub timestamps: bool,
}

/// Drivers on the processor whose compiler, LLVM, takes seconds for thousands of
/// operations in a row. SwiftShader's takes minutes, and programs for WARP go through
/// HLSL, with texts of a megabyte.
const LONG_PROGRAMS: [&str; 1] = ["llvmpipe"];

impl AdapterInfo {
    /// Whether kernels for processors, with thousands of operations in a row, are
    /// compiled in time: by the drivers that are known to. Every other driver on a
    /// processor gets the short kernels of GPUs.
    pub fn compiles_long_programs(&self) -> bool {
        self.kind != AdapterKind::Cpu || LONG_PROGRAMS.contains(&&*self.driver)
    }

    /// The subgroup size where all subgroups have the same one, a power of two;
    /// otherwise 0.
    pub(super) fn subgroup_size(&self) -> u32 {
        let (smallest, largest) = self.subgroup;
        if smallest == largest && smallest.is_power_of_two() {
            smallest
        } else {
            0
        }
    }
}

impl std::fmt::Display for AdapterInfo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} ({}, {} {})",
            self.name, self.backend, self.driver, self.driver_info
        )
    }
}

/// Which adapter to open.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum AdapterChoice {
    /// The adapter that `WGPU_ADAPTER_NAME` names, if set; otherwise the best
    /// one: a hardware GPU before a software driver.
    #[default]
    Best,
    /// The position in [`adapters`], or a part of the name; case is ignored.
    Named(String),
}

/// All adapters, the one that [`AdapterChoice::Best`] opens first.
pub fn adapters() -> Vec<AdapterInfo> {
    enumerate().iter().map(describe).collect()
}

/// Disables Mesa's device-selection layer, unless the user has set its variable
/// (`NODEVICE_SELECT`) already. The layer chooses a device by the desktop
/// session, which this program does by itself, and it writes to standard error
/// where there is no desktop.
///
/// # Safety
///
/// Changes an environment variable. This is undefined behaviour while another
/// thread may read one: call it at the beginning of `main`, before any thread is
/// started.
pub unsafe fn prepare_environment() {
    const NO_LAYER: &str = "NODEVICE_SELECT";
    if std::env::var_os(NO_LAYER).is_none() {
        // SAFETY: the caller promises that no other thread runs yet.
        unsafe { std::env::set_var(NO_LAYER, "1") };
    }
}

fn enumerate() -> Vec<wgpu::Adapter> {
    let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle();
    descriptor.backends = wgpu::Backends::PRIMARY;
    descriptor.flags = wgpu::InstanceFlags::empty();
    let instance = wgpu::Instance::new(descriptor.with_env());
    let mut adapters = pollster::block_on(instance.enumerate_adapters(wgpu::Backends::all()));
    adapters.retain(|adapter| adapter.get_info().backend != wgpu::Backend::Noop);
    adapters.sort_by_key(|adapter| kind(adapter.get_info().device_type));
    adapters
}

pub(super) fn select(choice: &AdapterChoice) -> Result<wgpu::Adapter, GpuError> {
    let mut all = enumerate();
    if all.is_empty() {
        return Err(GpuError::NoAdapter);
    }
    let wanted = match choice {
        AdapterChoice::Named(wanted) => wanted.clone(),
        AdapterChoice::Best => std::env::var("WGPU_ADAPTER_NAME").unwrap_or_default(),
    };
    let position = match wanted.parse::<usize>() {
        Ok(index) if matches!(choice, AdapterChoice::Named(_)) => (index < all.len()).then_some(index),
        _ => {
            let wanted = wanted.to_lowercase();
            all.iter()
                .position(|adapter| adapter.get_info().name.to_lowercase().contains(&wanted))
        }
    };
    let Some(position) = position else {
        let names = all
            .iter()
            .enumerate()
            .map(|(index, adapter)| format!("{index} {}", adapter.get_info().name));
        let found = names.collect::<Vec<_>>().join(", ");
        return Err(GpuError::NoSuchAdapter { wanted, found });
    };
    Ok(all.swap_remove(position))
}

pub(super) fn describe(adapter: &wgpu::Adapter) -> AdapterInfo {
    let info = adapter.get_info();
    let limits = adapter.limits();
    let features = adapter.features();
    AdapterInfo {
        name: info.name,
        kind: kind(info.device_type),
        backend: format!("{:?}", info.backend),
        driver: info.driver,
        driver_info: info.driver_info,
        max_binding: limits.max_storage_buffer_binding_size,
        max_buffer: limits.max_buffer_size,
        subgroup: (info.subgroup_min_size, info.subgroup_max_size),
        f16: features.contains(wgpu::Features::SHADER_F16),
        timestamps: features.contains(wgpu::Features::TIMESTAMP_QUERY),
    }
}

/// Bytes of the memory that a graphics card has for itself, or of what a GPU without
/// its own may use, where the graphics API tells.
pub(super) fn memory(adapter: &wgpu::Adapter) -> Option<u64> {
    // A driver on the processor allocates from the memory of all programs, whatever
    // size it tells.
    if adapter.get_info().device_type == wgpu::DeviceType::Cpu {
        return None;
    }
    heaps(adapter).filter(|&bytes| bytes > 0)
}

#[cfg(not(target_vendor = "apple"))]
fn heaps(adapter: &wgpu::Adapter) -> Option<u64> {
    /// `VK_MEMORY_HEAP_DEVICE_LOCAL_BIT`.
    const DEVICE_LOCAL: u32 = 1;
    // SAFETY: the guard is only asked for handles, and nothing is destroyed.
    let vulkan = unsafe { adapter.as_hal::<wgpu::hal::api::Vulkan>() }?;
    let instance = vulkan.shared_instance().raw_instance();
    // SAFETY: the physical device is one of this instance, and the guard keeps both.
    let memory = unsafe { instance.get_physical_device_memory_properties(vulkan.raw_physical_device()) };
    let heaps = &memory.memory_heaps[..memory.memory_heap_count as usize];
    let local = heaps.iter().filter(|heap| heap.flags.as_raw() & DEVICE_LOCAL != 0);
    Some(local.map(|heap| heap.size).sum())
}

#[cfg(target_vendor = "apple")]
fn heaps(_adapter: &wgpu::Adapter) -> Option<u64> {
    None
}

fn kind(device_type: wgpu::DeviceType) -> AdapterKind {
    match device_type {
        wgpu::DeviceType::DiscreteGpu => AdapterKind::Discrete,
        wgpu::DeviceType::IntegratedGpu => AdapterKind::Integrated,
        wgpu::DeviceType::VirtualGpu => AdapterKind::Virtual,
        wgpu::DeviceType::Cpu => AdapterKind::Cpu,
        wgpu::DeviceType::Other => AdapterKind::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_drivers_on_processors_lavapipe_alone_gets_long_programs() {
        let adapter = |kind: AdapterKind, driver: &str| AdapterInfo {
            name: "a".into(),
            kind,
            backend: "Vulkan".into(),
            driver: driver.into(),
            driver_info: String::new(),
            max_binding: 1 << 27,
            max_buffer: 1 << 28,
            subgroup: (4, 4),
            f16: false,
            timestamps: false,
        };
        let long = |kind, driver| adapter(kind, driver).compiles_long_programs();
        assert!(long(AdapterKind::Cpu, "llvmpipe"));
        assert!(!long(AdapterKind::Cpu, "SwiftShader driver"));
        assert!(long(AdapterKind::Discrete, "any"));
    }
}
