//! How is WGSL compiled to a pipeline, once per program?

use std::borrow::Cow;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use super::{Gpu, GpuError};

/// Bytes of stack for naga and the driver's compiler, which go through a program
/// recursively. Mesa 25 and 26 take more than the 2 MiB that a thread usually has for
/// the longest kernels of processors. Memory that is not touched costs nothing.
const COMPILER_STACK: usize = 32 << 20;

/// How a kernel uses one of its bindings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Access {
    /// A storage buffer that is only read.
    Read,
    /// A storage buffer that is read and written.
    Write,
}

/// Complete WGSL and its interface. Equal programs share one pipeline.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Program {
    /// A name for profiles and error messages.
    pub label: String,
    /// WGSL with one entry point, `main`.
    pub source: Arc<str>,
    /// The binding numbers of group 0, and how each is used.
    pub bindings: Vec<(u32, Access)>,
}

/// A compiled program.
#[derive(Debug)]
pub struct Pipeline {
    pub(super) raw: wgpu::ComputePipeline,
    pub(super) layout: wgpu::BindGroupLayout,
    /// The program's label.
    pub label: String,
    /// The binding numbers of group 0, and how each is used.
    pub bindings: Vec<(u32, Access)>,
}

impl Gpu {
    /// The pipeline of `program`, compiled at its first use and then reused.
    ///
    /// # Errors
    /// When the device refuses the shader.
    pub fn pipeline(&self, program: &Program) -> Result<Arc<Pipeline>, GpuError> {
        let lock = || self.pipelines.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(pipeline) = lock().get(program) {
            return Ok(pipeline.clone());
        }
        if self.is_stopped() {
            return Err(GpuError::Stopped);
        }
        // The lock is not held here, so that threads compile in parallel.
        let start = Instant::now();
        let pipeline = Arc::new(with_large_stack(|| self.compile(program))?);
        log::debug!(
            "{}: compiled in {:.1} ms",
            program.label,
            1e3 * start.elapsed().as_secs_f64()
        );
        Ok(lock().entry(program.clone()).or_insert(pipeline).clone())
    }

    /// Whether [`Self::pipeline`] has compiled `program`.
    pub fn has_compiled(&self, program: &Program) -> bool {
        let pipelines = self.pipelines.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        pipelines.contains_key(program)
    }

    /// Stores what was compiled until now for the next run, where the graphics API
    /// can. This is done when the device is dropped, too: a program that is killed
    /// before would lose it.
    pub fn save_pipelines(&self) {
        if let Some(cache) = &self.cache {
            cache.save();
        }
    }

    fn compile(&self, program: &Program) -> Result<Pipeline, GpuError> {
        let label = Some(program.label.as_str());
        let scope = self.device.push_error_scope(wgpu::ErrorFilter::Validation);
        let (_, overrides) = &self.opened_as;
        let broken = overrides
            .broken
            .and_then(|broken| broken.source(&program.label, &program.source));
        let source = broken.map_or(Cow::Borrowed(&*program.source), Cow::Owned);
        let module = self.device.create_shader_module(wgpu::ShaderModuleDescriptor {
            label,
            source: wgpu::ShaderSource::Wgsl(source),
        });
        let entries: Vec<_> = program
            .bindings
            .iter()
            .map(|&(binding, access)| layout_entry(binding, access))
            .collect();
        let layout = self.device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
            label,
            entries: &entries,
        });
        let pipeline_layout = self.device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label,
            bind_group_layouts: &[Some(&layout)],
            immediate_size: 0,
        });
        let raw = self.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label,
            layout: Some(&pipeline_layout),
            module: &module,
            entry_point: Some("main"),
            compilation_options: wgpu::PipelineCompilationOptions {
                // Not needed: kernels write workgroup memory before they read it.
                zero_initialize_workgroup_memory: false,
                ..Default::default()
            },
            cache: self.cache.as_ref().map(|cache| &cache.raw),
        });
        if let Some(error) = pollster::block_on(scope.pop()) {
            return Err(GpuError::Validation(format!("kernel {}: {error}", program.label)));
        }
        Ok(Pipeline {
            raw,
            layout,
            label: program.label.clone(),
            bindings: program.bindings.clone(),
        })
    }
}

/// Runs `work` on a thread with a stack that is large enough for compilers, or on this one
/// where no thread is to be had.
fn with_large_stack<T: Send>(work: impl Fn() -> T + Sync) -> T {
    thread::scope(|scope| {
        let thread = thread::Builder::new().stack_size(COMPILER_STACK);
        match thread.spawn_scoped(scope, &work) {
            Ok(thread) => thread.join().unwrap_or_else(|panic| resume_unwind(panic)),
            Err(_) => work(),
        }
    })
}

fn layout_entry(binding: u32, access: Access) -> wgpu::BindGroupLayoutEntry {
    wgpu::BindGroupLayoutEntry {
        binding,
        visibility: wgpu::ShaderStages::COMPUTE,
        ty: wgpu::BindingType::Buffer {
            ty: wgpu::BufferBindingType::Storage {
                read_only: access == Access::Read,
            },
            has_dynamic_offset: false,
            min_binding_size: None,
        },
        count: None,
    }
}
