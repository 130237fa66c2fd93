//! How is device memory allocated, written and read?

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{Gpu, GpuError};

/// Counts the bytes of device memory in use.
#[derive(Debug, Default)]
pub(super) struct MemoryCounter {
    bytes: AtomicU64,
}

impl MemoryCounter {
    pub(super) fn now(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}

/// A buffer in device memory, filled with zeros when new.
#[derive(Debug)]
pub struct Buffer {
    pub(super) raw: wgpu::Buffer,
    counter: Arc<MemoryCounter>,
}

impl Buffer {
    /// A short-lived buffer of `size` bytes, for timestamp queries.
    pub(super) fn transient(gpu: &Gpu, size: u64, usage: wgpu::BufferUsages) -> Self {
        let raw = gpu.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("transient"),
            size,
            usage,
            mapped_at_creation: false,
        });
        gpu.memory.bytes.fetch_add(size, Ordering::Relaxed);
        Buffer {
            raw,
            counter: gpu.memory.clone(),
        }
    }

    /// Size in bytes.
    pub fn size(&self) -> u64 {
        self.raw.size()
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.counter.bytes.fetch_sub(self.raw.size(), Ordering::Relaxed);
    }
}

/// A range of a buffer, as a kernel sees it.
#[derive(Debug, Clone)]
pub struct Binding {
    /// The buffer.
    pub buffer: Arc<Buffer>,
    /// First byte; a multiple of the adapter's alignment.
    pub offset: u64,
    /// Bytes.
    pub size: u64,
}

impl Binding {
    /// `size` bytes of `buffer` from `offset`.
    pub fn new(buffer: &Arc<Buffer>, offset: u64, size: u64) -> Self {
        Binding {
            buffer: buffer.clone(),
            offset,
            size,
        }
    }

    /// All of `buffer`.
    pub fn whole(buffer: &Arc<Buffer>) -> Self {
        Self::new(buffer, 0, buffer.size())
    }

    /// The part `range` of this binding, in bytes from its start.
    pub fn part(&self, range: Range<u64>) -> Self {
        Self::new(&self.buffer, self.offset + range.start, range.end - range.start)
    }
}

impl Gpu {
    /// A buffer of `size` bytes, rounded up to a multiple of 16 and filled with
    /// zeros.
    ///
    /// # Errors
    /// When `size` is over the adapter's limit, or memory is used up.
    pub fn buffer(&self, label: &str, size: u64) -> Result<Arc<Buffer>, GpuError> {
        let size = size.max(16).next_multiple_of(16);
        if size > self.limits.buffer {
            return Err(GpuError::TooLarge {
                bytes: size,
                limit: self.limits.buffer,
            });
        }
        let (_, overrides) = &self.opened_as;
        let refused = overrides.memory.is_some_and(|limit| self.allocated() + size > limit);
        let scope = self.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let raw = self.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some(label),
            size,
            usage: wgpu::BufferUsages::STORAGE
                | wgpu::BufferUsages::UNIFORM
                | wgpu::BufferUsages::COPY_DST
                | wgpu::BufferUsages::COPY_SRC,
            mapped_at_creation: false,
        });
        if pollster::block_on(scope.pop()).is_some() || refused {
            return Err(GpuError::OutOfMemory {
                what: format!(
                    "{label}: {} MiB, in addition to {} MiB in use",
                    size >> 20,
                    self.allocated() >> 20
                ),
            });
        }
        self.memory.bytes.fetch_add(size, Ordering::Relaxed);
        Ok(Arc::new(Buffer {
            raw,
            counter: self.memory.clone(),
        }))
    }

    /// Writes `data` at byte `offset`, before the next submission runs. Offset
    /// and length are multiples of 4 bytes.
    pub fn write<T: bytemuck::NoUninit>(&self, buffer: &Buffer, offset: u64, data: &[T]) {
        // In parts, because wgpu allocates a staging buffer as large as the write.
        const PART: usize = 32 << 20;
        for (index, part) in bytemuck::cast_slice::<T, u8>(data).chunks(PART).enumerate() {
            self.queue
                .write_buffer(&buffer.raw, offset + (index * PART) as u64, part);
            if part.len() == PART {
                self.queue.submit([]);
            }
        }
    }

    /// Waits for all submitted work and reads `range` (in bytes, multiples of 4).
    ///
    /// # Errors
    /// When the device is lost, has reported an error, or has not done all that was
    /// submitted.
    pub fn read<T: bytemuck::Pod>(&self, buffer: &Buffer, range: Range<u64>) -> Result<Vec<T>, GpuError> {
        let size = range.end - range.start;
        let staging = self.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("read back"),
            size: size + 4,
            usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        let mut encoder = self
            .device
            .create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        encoder.copy_buffer_to_buffer(&buffer.raw, range.start, &staging, 0, size);
        let guard = self.count.as_ref().map(|count| {
            // With the data comes the number of submissions that the device has done.
            encoder.copy_buffer_to_buffer(&count.done().raw, 0, &staging, size, 4);
            count.given()
        });
        let given = guard.as_deref().copied();
        self.give(encoder.finish(), given.unwrap_or(0));
        drop(guard);
        staging.slice(..).map_async(wgpu::MapMode::Read, |_| {});
        self.wait_for_all()?;
        let mapped = staging.slice(..).get_mapped_range();
        let mapped = mapped.map_err(|error| GpuError::Lost {
            reason: error.to_string(),
        })?;
        if let Some(given) = given {
            let done = bytemuck::pod_read_unaligned(&mapped[size as usize..]);
            if done != given {
                return Err(GpuError::Dropped { done, given });
            }
        }
        let count = size as usize / size_of::<T>();
        let mut values = vec![T::zeroed(); count];
        bytemuck::cast_slice_mut::<T, u8>(&mut values).copy_from_slice(&mapped[..count * size_of::<T>()]);
        Ok(values)
    }
}
