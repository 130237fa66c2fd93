//! How are dispatches recorded, submitted, waited for and timed?

use std::ops::Range;
use std::sync::Arc;

use super::error::one_line;
use super::guard::guarded;
use super::{Binding, Buffer, Gpu, GpuError, Pipeline};

/// A pipeline with its bound buffers and its number of workgroups.
#[derive(Debug, Clone)]
pub struct Dispatch {
    pipeline: Arc<Pipeline>,
    group: wgpu::BindGroup,
    workgroups: [u32; 3],
    work: u64,
}

impl Dispatch {
    /// The label of the pipeline.
    pub fn label(&self) -> &str {
        &self.pipeline.label
    }

    /// Workgroups in x, y, z.
    pub fn workgroups(&self) -> [u32; 3] {
        self.workgroups
    }

    /// This dispatch with an estimate of its work, in multiply-adds: a submission with
    /// more work than a device may do at a time is cut into several.
    pub fn with_work(self, work: u64) -> Self {
        Dispatch { work, ..self }
    }

    /// The estimate of its work, in multiply-adds; 0 where there is none.
    pub fn work(&self) -> u64 {
        self.work
    }

    fn encode(&self, pass: &mut wgpu::ComputePass) {
        pass.set_pipeline(&self.pipeline.raw);
        pass.set_bind_group(0, &self.group, &[]);
        let [x, y, z] = self.workgroups;
        pass.dispatch_workgroups(x, y, z);
    }
}

/// Work that was submitted to the device.
#[derive(Debug, Clone)]
pub struct Submission {
    index: wgpu::SubmissionIndex,
    /// Its number, for the rate at which the device works.
    number: u64,
}

/// Records one submission. Consecutive dispatches share a compute pass; a clear
/// or copy between them ends it. Where the work of the dispatches would take longer
/// than the device's budget, the submission is cut into several.
pub struct Recorder<'a> {
    gpu: &'a Gpu,
    encoder: wgpu::CommandEncoder,
    pass: Option<wgpu::ComputePass<'static>>,
    /// Work since the last cut, work before it, and what may be submitted together.
    work: u64,
    before: u64,
    most: u64,
}

impl<'a> Recorder<'a> {
    fn new(gpu: &'a Gpu) -> Self {
        Recorder {
            gpu,
            encoder: gpu.encoder(),
            pass: None,
            work: 0,
            before: 0,
            most: gpu.most_work(),
        }
    }

    /// Fills `range` (in bytes, multiples of 4) with zeros.
    pub fn clear(&mut self, buffer: &Buffer, range: Range<u64>) {
        self.pass = None;
        self.encoder
            .clear_buffer(&buffer.raw, range.start, Some(range.end - range.start));
    }

    /// Copies `from` to `to`, which has the same size and lies in another buffer
    /// (in bytes, multiples of 4).
    pub fn copy(&mut self, from: &Binding, to: &Binding) {
        self.pass = None;
        let size = from.size.min(to.size);
        self.encoder
            .copy_buffer_to_buffer(&from.buffer.raw, from.offset, &to.buffer.raw, to.offset, Some(size));
    }

    /// Appends a dispatch.
    pub fn dispatch(&mut self, dispatch: &Dispatch) {
        if self.work > 0 && self.work.saturating_add(dispatch.work) > self.most {
            self.before += std::mem::take(&mut self.work);
            self.submit();
        }
        self.work += dispatch.work;
        self.append(dispatch);
    }

    /// Appends a dispatch to what is submitted next, however much that is.
    pub(super) fn append(&mut self, dispatch: &Dispatch) {
        let pass = self.pass.get_or_insert_with(|| {
            let descriptor = wgpu::ComputePassDescriptor::default();
            self.encoder.begin_compute_pass(&descriptor).forget_lifetime()
        });
        dispatch.encode(pass);
    }

    /// Submits what was recorded.
    fn submit(&mut self) -> wgpu::SubmissionIndex {
        let gpu = self.gpu;
        let Some(count) = &gpu.count else {
            return gpu.give(self.finish(), 0);
        };
        count.record(self);
        let commands = self.finish();
        let mut given = count.given();
        let index = gpu.give(commands, *given);
        *given = given.wrapping_add(1);
        index
    }

    /// The commands recorded so far. Recording goes on in others.
    fn finish(&mut self) -> wgpu::CommandBuffer {
        self.pass = None;
        std::mem::replace(&mut self.encoder, self.gpu.encoder()).finish()
    }
}

impl Gpu {
    /// Binds buffers to `pipeline`, by binding number. Numbers that the pipeline
    /// does not use are ignored.
    ///
    /// # Errors
    /// When the device refuses the bindings.
    pub fn dispatch(
        &self,
        pipeline: &Arc<Pipeline>,
        bindings: &[(u32, Binding)],
        workgroups: [u32; 3],
    ) -> Result<Dispatch, GpuError> {
        let used = |number: u32| pipeline.bindings.iter().any(|&(binding, _)| binding == number);
        let entries: Vec<_> = bindings
            .iter()
            .filter(|(number, _)| used(*number))
            .map(|(number, binding)| wgpu::BindGroupEntry {
                binding: *number,
                resource: wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                    buffer: &binding.buffer.raw,
                    offset: binding.offset,
                    size: std::num::NonZeroU64::new(binding.size),
                }),
            })
            .collect();
        let scope = self.device.push_error_scope(wgpu::ErrorFilter::Validation);
        let group = self.device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some(&pipeline.label),
            layout: &pipeline.layout,
            entries: &entries,
        });
        if let Some(error) = pollster::block_on(scope.pop()) {
            return Err(GpuError::Validation(format!("bindings of {}: {error}", pipeline.label)));
        }
        Ok(Dispatch {
            pipeline: pipeline.clone(),
            group,
            workgroups,
            work: 0,
        })
    }

    /// Records a submission with `record` and submits it.
    pub fn submit(&self, record: impl FnOnce(&mut Recorder)) -> Submission {
        let mut recorder = Recorder::new(self);
        record(&mut recorder);
        let number = self.budget.begun(recorder.before + recorder.work);
        Submission {
            index: recorder.submit(),
            number,
        }
    }

    fn encoder(&self) -> wgpu::CommandEncoder {
        let descriptor = wgpu::CommandEncoderDescriptor::default();
        self.device.create_command_encoder(&descriptor)
    }

    /// Gives `commands` to the device after `given` other submissions.
    pub(super) fn give(&self, commands: wgpu::CommandBuffer, given: u32) -> wgpu::SubmissionIndex {
        self.lose_after(given);
        let (_, overrides) = &self.opened_as;
        let dropped = overrides.drop_after.is_some_and(|most| given >= most);
        self.queue.submit((!dropped).then_some(commands))
    }

    /// Waits until `submission` is done.
    ///
    /// # Errors
    /// When the device is lost or has reported an error.
    pub fn wait(&self, submission: &Submission) -> Result<(), GpuError> {
        self.poll(wgpu::PollType::Wait {
            submission_index: Some(submission.index.clone()),
            timeout: None,
        })?;
        self.budget.finished(Some(submission.number));
        Ok(())
    }

    /// Waits until all submitted work is done.
    ///
    /// # Errors
    /// When the device is lost or has reported an error.
    pub fn wait_for_all(&self) -> Result<(), GpuError> {
        self.poll(wgpu::PollType::wait_indefinitely())?;
        self.budget.finished(None);
        Ok(())
    }

    fn poll(&self, poll: wgpu::PollType) -> Result<(), GpuError> {
        // After a loss nothing more can be waited for.
        self.check()?;
        let polled = guarded(|| {
            self.panic_where_lost();
            self.device.poll(poll)
        });
        self.check()?;
        let lost = match polled {
            Ok(Ok(_)) => return Ok(()),
            Ok(Err(error)) => error.to_string(),
            Err(panic) => panic,
        };
        let error = GpuError::Lost {
            reason: one_line(&lost),
        };
        self.fault.store(error.clone());
        Err(error)
    }

    /// Runs each dispatch in a compute pass of its own and returns the seconds
    /// that the device took for each; `None` where the adapter has no timestamps.
    pub fn time(&self, dispatches: &[&Dispatch]) -> Result<Option<Vec<f64>>, GpuError> {
        let passes: Vec<&[&Dispatch]> = dispatches.iter().map(std::slice::from_ref).collect();
        self.time_passes(&passes)
    }

    /// Runs the dispatches of each pass one after the other and returns the
    /// seconds that the device took for each pass; `None` where the adapter has
    /// no timestamps.
    pub fn time_passes(&self, passes: &[&[&Dispatch]]) -> Result<Option<Vec<f64>>, GpuError> {
        if !self.timestamps {
            return Ok(None);
        }
        let mut seconds = Vec::with_capacity(passes.len());
        // A query set holds at most 4096 timestamps.
        for part in passes.chunks(1024) {
            seconds.extend(self.time_part(part)?);
        }
        Ok(Some(seconds))
    }

    fn time_part(&self, passes: &[&[&Dispatch]]) -> Result<Vec<f64>, GpuError> {
        let count = 2 * passes.len() as u32;
        let queries = self.device.create_query_set(&wgpu::QuerySetDescriptor {
            label: Some("timing"),
            ty: wgpu::QueryType::Timestamp,
            count,
        });
        let size = u64::from(count) * 8;
        let usage = wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC;
        let resolved = Buffer::transient(self, size, usage);
        let mut encoder = self
            .device
            .create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        for (index, dispatches) in passes.iter().enumerate() {
            let first = 2 * index as u32;
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor {
                label: None,
                timestamp_writes: Some(wgpu::ComputePassTimestampWrites {
                    query_set: &queries,
                    beginning_of_pass_write_index: Some(first),
                    end_of_pass_write_index: Some(first + 1),
                }),
            });
            for dispatch in *dispatches {
                dispatch.encode(&mut pass);
            }
        }
        encoder.resolve_query_set(&queries, 0..count, &resolved.raw, 0);
        self.queue.submit([encoder.finish()]);
        let ticks: Vec<u64> = self.read(&resolved, 0..size)?;
        let period = f64::from(self.queue.get_timestamp_period()) * 1e-9;
        // Some drivers report an end before the beginning: count that as 0.
        Ok(ticks
            .chunks_exact(2)
            .map(|pair| pair[1].saturating_sub(pair[0]) as f64 * period)
            .collect())
    }
}
