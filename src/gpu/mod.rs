//! How are adapters, buffers, pipelines, submissions and timestamps handled?
//!
//! The only module that uses wgpu. It knows nothing about tensors or networks.

mod adapter;
mod budget;
mod buffer;
mod cache;
mod error;
mod fault;
mod guard;
mod pipeline;
mod proof;
mod quarantine;
mod record;

use std::collections::HashMap;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};

pub use adapter::{AdapterChoice, AdapterInfo, AdapterKind, adapters, prepare_environment};
pub use buffer::{Binding, Buffer};
pub(crate) use cache::folder as cache_folder;
pub use error::GpuError;
pub use fault::{BrokenKernels, KernelFault};
pub use guard::panics_become_errors;
pub use pipeline::{Access, Pipeline, Program};
pub use quarantine::{QuarantinedKernel, change_quarantine, quarantine_path, read_quarantine};
pub use record::{Dispatch, Recorder, Submission};

use crate::stop::StopToken;
use budget::Budget;
use buffer::MemoryCounter;
use error::Fault;
use proof::SubmissionCount;

/// The limits of an opened device, as far as this crate needs them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Largest storage binding, in bytes.
    pub binding: u64,
    /// Largest buffer, in bytes.
    pub buffer: u64,
    /// Alignment of binding offsets, in bytes.
    pub alignment: u64,
    /// Most workgroups along one dimension of a dispatch.
    pub workgroups: u32,
    /// Largest workgroup size: invocations in one workgroup.
    pub invocations: u32,
    /// Workgroup memory, in bytes.
    pub workgroup_memory: u32,
    /// The subgroup size, a power of two; 0 where it is not fixed or shaders
    /// cannot use subgroup operations.
    pub subgroup: u32,
    /// Whether shaders can use 64-bit integers.
    pub int64: bool,
    /// Whether the driver compiles long programs in time
    /// ([`AdapterInfo::compiles_long_programs`]).
    pub long_programs: bool,
    /// Device memory in bytes; `None` where the graphics API does not tell, and for
    /// drivers on the processor.
    pub memory: Option<u64>,
}

/// Device memory as wgpu's allocator counts it, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reported {
    /// Used by all buffers, including those that wgpu needs for itself.
    pub used: u64,
    /// Reserved from the driver: the blocks in which buffers are placed.
    pub reserved: u64,
}

/// An opened device with its compiled pipelines.
pub struct Gpu {
    opened_as: (AdapterChoice, AdapterOverrides),
    info: AdapterInfo,
    limits: Limits,
    device: wgpu::Device,
    queue: wgpu::Queue,
    fault: Arc<Fault>,
    memory: Arc<MemoryCounter>,
    pipelines: Mutex<HashMap<Program, Arc<Pipeline>>>,
    cache: Option<cache::DiskCache>,
    timestamps: bool,
    stop: Mutex<StopToken>,
    /// `None` until the device has proven that it computes.
    count: Option<SubmissionCount>,
    budget: Budget,
    /// Whether a test lost the device.
    lost_by_test: AtomicBool,
    /// Kernels that must not run on this adapter.
    quarantined: Arc<[QuarantinedKernel]>,
}

impl std::fmt::Debug for Gpu {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gpu").field("info", &self.info).finish_non_exhaustive()
    }
}

/// Properties that replace those of an adapter. Tests use this to treat their
/// adapter as another kind, or as one with lower limits, so that one adapter runs
/// the kernels of all. The device enforces the lower limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AdapterOverrides {
    /// The adapter's kind, by which kernels choose tile sizes.
    pub kind: Option<AdapterKind>,
    /// The largest storage binding, in bytes.
    pub binding: Option<u64>,
    /// Most workgroups along one dimension.
    pub workgroups: Option<u32>,
    /// Whether shaders cannot use 16-bit floats.
    pub no_f16: bool,
    /// Whether shaders cannot use 64-bit integers.
    pub no_int64: bool,
    /// The number of submissions after which all others are dropped without an
    /// error, as some drivers do after one that took too long.
    pub drop_after: Option<u32>,
    /// The number of submissions after which the device is lost.
    pub lose_after: Option<u32>,
    /// The device memory that buffers can have, in bytes.
    pub memory: Option<u64>,
    /// Kernels that do not work.
    pub broken: Option<BrokenKernels>,
}

impl Gpu {
    /// Opens the adapter that `choice` names.
    ///
    /// # Errors
    /// When there is no such adapter, it cannot be opened, or it does not compute.
    pub fn open(choice: &AdapterChoice) -> Result<Self, GpuError> {
        Self::open_as(choice, &AdapterOverrides::default())
    }

    /// Opens the adapter that `choice` names, with properties replaced by
    /// `overrides`.
    ///
    /// # Errors
    /// When there is no such adapter, it cannot be opened, or it does not compute.
    pub fn open_as(choice: &AdapterChoice, overrides: &AdapterOverrides) -> Result<Self, GpuError> {
        let adapter = adapter::select(choice)?;
        Self::from_adapter(&adapter, choice, &fault::asked_for(*overrides))
    }

    /// Opens the same adapter again: a second device with its own queue and
    /// pipelines, which are not stored on disk.
    ///
    /// # Errors
    /// When the adapter cannot be opened.
    pub fn open_again(&self) -> Result<Self, GpuError> {
        let (choice, overrides) = &self.opened_as;
        let mut gpu = Self::open_as(choice, overrides)?;
        gpu.cache = None;
        gpu.quarantined = self.quarantined.clone();
        Ok(gpu)
    }

    fn from_adapter(
        adapter: &wgpu::Adapter,
        choice: &AdapterChoice,
        overrides: &AdapterOverrides,
    ) -> Result<Self, GpuError> {
        let mut info = adapter::describe(adapter);
        let budget = Budget::of(info.kind)?;
        let long_programs = info.compiles_long_programs();
        info.kind = overrides.kind.unwrap_or(info.kind);
        info.f16 &= !overrides.no_f16;
        // Request the adapter's own limits: the images and activations of large
        // batches exceed wgpu's portable defaults by far.
        let mut required = adapter.limits();
        let binding = &mut required.max_storage_buffer_binding_size;
        *binding = overrides.binding.unwrap_or(*binding).min(*binding);
        let workgroups = &mut required.max_compute_workgroups_per_dimension;
        *workgroups = overrides.workgroups.unwrap_or(*workgroups).min(*workgroups);
        let mut wanted = wgpu::Features::PIPELINE_CACHE
            | wgpu::Features::TIMESTAMP_QUERY
            | wgpu::Features::SUBGROUP
            | wgpu::Features::SHADER_F16
            | wgpu::Features::SHADER_INT64;
        wanted.set(wgpu::Features::SHADER_F16, !overrides.no_f16);
        wanted.set(wgpu::Features::SHADER_INT64, !overrides.no_int64);
        let features = adapter.features() & wanted;
        let descriptor = wgpu::DeviceDescriptor {
            label: Some("residua"),
            required_features: features,
            required_limits: required,
            experimental_features: wgpu::ExperimentalFeatures::disabled(),
            // A plan allocates its buffers once and keeps them: larger blocks
            // would stay half empty.
            memory_hints: wgpu::MemoryHints::Manual {
                suballocated_device_memory_block_size: (8 << 20)..(16 << 20),
            },
            trace: wgpu::Trace::Off,
        };
        let request = pollster::block_on(adapter.request_device(&descriptor));
        let (device, queue) = request.map_err(|error| GpuError::Open {
            adapter: info.name.clone(),
            reason: error.to_string(),
        })?;
        log::debug!("{info}: opened");
        let fault = Fault::watch(&device);
        let limits = device.limits();
        let cache = features
            .contains(wgpu::Features::PIPELINE_CACHE)
            .then(|| cache::DiskCache::open(&device, adapter))
            .flatten();
        let mut gpu = Gpu {
            opened_as: (choice.clone(), *overrides),
            limits: Limits {
                binding: limits.max_storage_buffer_binding_size,
                buffer: limits.max_buffer_size,
                alignment: limits.min_storage_buffer_offset_alignment.into(),
                workgroups: limits.max_compute_workgroups_per_dimension,
                invocations: limits.max_compute_invocations_per_workgroup,
                workgroup_memory: limits.max_compute_workgroup_storage_size,
                subgroup: if features.contains(wgpu::Features::SUBGROUP) {
                    info.subgroup_size()
                } else {
                    0
                },
                int64: features.contains(wgpu::Features::SHADER_INT64),
                long_programs,
                memory: overrides.memory.or_else(|| adapter::memory(adapter)),
            },
            budget,
            lost_by_test: AtomicBool::new(false),
            quarantined: quarantine::of_adapter(&info).into(),
            info,
            device,
            queue,
            fault,
            memory: Arc::default(),
            pipelines: Mutex::default(),
            cache,
            timestamps: features.contains(wgpu::Features::TIMESTAMP_QUERY),
            stop: Mutex::default(),
            count: None,
        };
        gpu.prove()?;
        Ok(gpu)
    }

    /// From now on no kernel is compiled once `stop` asks to stop.
    pub fn heed(&self, stop: StopToken) {
        *self.stop.lock().unwrap_or_else(PoisonError::into_inner) = stop;
    }

    /// Whether the token of [`Self::heed`] asks to stop.
    pub fn is_stopped(&self) -> bool {
        self.stop.lock().unwrap_or_else(PoisonError::into_inner).is_stopped()
    }

    /// The adapter that was opened.
    pub fn info(&self) -> &AdapterInfo {
        &self.info
    }

    /// The device's limits.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// Whether dispatches can be timed on the device.
    pub fn has_timestamps(&self) -> bool {
        self.timestamps
    }

    /// Whether compiled pipelines are stored between runs.
    pub fn stores_pipelines(&self) -> bool {
        self.cache.is_some()
    }

    /// Bytes of device memory in this device's buffers now.
    pub fn allocated(&self) -> u64 {
        self.memory.now()
    }

    /// The device memory in use as wgpu's allocator counts it; `None` on graphics
    /// APIs where wgpu has no such count.
    pub fn reported(&self) -> Option<Reported> {
        let report = self.device.generate_allocator_report()?;
        Some(Reported {
            used: report.total_allocated_bytes,
            reserved: report.total_reserved_bytes,
        })
    }

    /// Returns the first error that the device has reported, if any.
    ///
    /// # Errors
    /// That error.
    pub fn check(&self) -> Result<(), GpuError> {
        self.fault.check()
    }
}

impl Drop for Gpu {
    fn drop(&mut self) {
        self.save_pipelines();
    }
}
