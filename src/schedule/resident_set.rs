//! How do images and labels lie on the device, and how is a batch gathered
//! from them?

use std::ops::Range;
use std::sync::{Arc, Weak};

use super::bind::{dispatch, target};
use super::error::SessionError;
use crate::gpu::{Binding, Buffer, Dispatch, Gpu};
use crate::graph::{Precision, Shape};
use crate::kernels::{
    GatherChanges, ImageDims, ImagePart, OPERATION_BYTES, Operand, distort, gather, stage, staged_bytes,
};

/// Images and labels that stay on the device.
#[derive(Debug)]
pub struct ResidentSet {
    bytes: Arc<Buffer>,
    /// The images in parts that each fit a binding.
    parts: Vec<PlacedPart>,
    labels: Arc<Buffer>,
    /// Scale and offset of each channel's normalization.
    scales: Arc<Buffer>,
    images: usize,
    dims: ImageDims,
}

/// A part of a set, and where it lies in the set's memory.
#[derive(Debug)]
struct PlacedPart {
    part: ImagePart,
    /// Its first byte.
    at: u64,
}

/// How images are padded for a random crop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Crop {
    /// Pixels added on every side.
    pub pad: usize,
    /// Whether the padding reflects the image; otherwise it is black.
    pub reflect: bool,
}

/// The images of one batch.
#[derive(Debug, Clone, Copy)]
pub struct Batch<'a> {
    /// The set that they are taken from.
    pub set: &'a ResidentSet,
    /// For each image: its index; the crop's x, y and a flip, a byte each.
    pub draws: &'a [[u32; 2]],
    /// How they are padded.
    pub crop: Crop,
}

impl ResidentSet {
    /// Bytes of device memory that `images` images with shape `dims`
    /// (C, H, W) and their labels take.
    pub fn footprint(images: usize, dims: ImageDims) -> u64 {
        images as u64 * (dims.iter().product::<usize>() as u64 + 4)
    }

    /// Bytes of device memory in which `slots` operations change each of `batch` images with
    /// shape `dims`, and the image before the first.
    pub fn staging_footprint(dims: ImageDims, slots: usize, batch: usize) -> u64 {
        match slots {
            0 => 0,
            slots => 2 * staged_bytes(dims, batch + 1) + OPERATION_BYTES * ((batch + 1) * slots) as u64,
        }
    }

    /// Channels, height and width of its images.
    pub fn dims(&self) -> ImageDims {
        self.dims
    }

    /// Height and width of its images.
    pub fn plane(&self) -> (usize, usize) {
        (self.dims[1], self.dims[2])
    }

    /// Copies images to `gpu`: `bytes` are N×C×H×W, one byte per channel of a
    /// pixel; `mean` and `std` have one value per channel, in units of pixel
    /// value / 255.
    ///
    /// # Errors
    /// Where the device has too little memory.
    pub fn load(
        gpu: &Gpu,
        bytes: &[u8],
        labels: &[u32],
        dims: ImageDims,
        mean: &[f32],
        std: &[f32],
    ) -> Result<Self, SessionError> {
        let image = dims.iter().product::<usize>();
        let images = labels.len();
        let limits = gpu.limits();
        // A part fits a binding, and begins at an aligned byte.
        let per_part = (limits.binding as usize / image).clamp(1, images.max(1));
        let distance = (per_part * image).next_multiple_of((limits.alignment as usize).max(16));
        let parts: Vec<PlacedPart> = (0..images.div_ceil(per_part))
            .map(|index| {
                let first = index * per_part;
                let bytes = ((first + per_part).min(images) - first) * image;
                PlacedPart {
                    part: ImagePart {
                        first,
                        bytes: bytes.next_multiple_of(4) as u64,
                    },
                    at: (index * distance) as u64,
                }
            })
            .collect();
        let end = parts.last().map_or(0, |last| last.at + last.part.bytes);
        let buffer = gpu.buffer("images", end)?;
        for (placed, bytes) in parts.iter().zip(bytes.chunks(per_part * image)) {
            let (words, rest) = bytes.split_at(bytes.len() / 4 * 4);
            gpu.write(&buffer, placed.at, words);
            if !rest.is_empty() {
                let mut tail = [0; 4];
                tail[..rest.len()].copy_from_slice(rest);
                gpu.write(&buffer, placed.at + words.len() as u64, &tail);
            }
        }
        let scale = |(mean, std): (&f32, &f32)| {
            let (mean, std) = (f64::from(*mean), f64::from(*std));
            [(1.0 / (255.0 * std)) as f32, (-mean / std) as f32]
        };
        let scales: Vec<[f32; 2]> = mean.iter().zip(std).map(scale).collect();
        let set = ResidentSet {
            parts,
            labels: gpu.buffer("labels", 4 * images as u64)?,
            scales: gpu.buffer("normalisation", 8 * scales.len() as u64)?,
            bytes: buffer,
            images,
            dims,
        };
        gpu.write(&set.labels, 0, labels);
        gpu.write(&set.scales, 0, &scales);
        Ok(set)
    }
}

impl Batch<'_> {
    /// The images `part` of this batch.
    pub(super) fn part(&self, part: &Range<usize>) -> Self {
        Batch {
            draws: &self.draws[part.clone()],
            ..*self
        }
    }

    /// The draw of the image before the one at `position`, before the first that of the
    /// last: the one that is mixed with it.
    pub(super) fn before(&self, position: usize) -> [u32; 2] {
        let draws = self.draws;
        let before = position.checked_sub(1).or(draws.len().checked_sub(1));
        before.map_or([0; 2], |before| draws[before])
    }

    /// Checks that the set has every image of the batch.
    ///
    /// # Errors
    /// [`SessionError::NoSuchImage`].
    pub(super) fn check(&self) -> Result<(), SessionError> {
        let images = self.set.images;
        match self.draws.iter().find(|draw| draw[0] as usize >= images) {
            Some(draw) => Err(SessionError::NoSuchImage { index: draw[0], images }),
            None => Ok(()),
        }
    }

    /// A key that differs between two sets that exist at the same time, and
    /// between two kinds of padding.
    pub(super) fn gather_key(&self) -> (usize, Crop) {
        (Arc::as_ptr(&self.set.bytes) as usize, self.crop)
    }
}

/// The memory in which operations change the images of a batch before they are
/// normalised.
#[derive(Debug)]
pub(super) struct Staging {
    images: [Arc<Buffer>; 2],
    operations: Arc<Buffer>,
    dims: ImageDims,
    /// The operations of each image.
    slots: usize,
    batch: usize,
}

impl Staging {
    /// Memory for batches of at most `batch` images of shape `dims` with `slots`
    /// operations each, and for the image before the first.
    ///
    /// # Errors
    /// Where the device has too little memory, or a batch exceeds its largest binding.
    pub(super) fn new(gpu: &Gpu, dims: ImageDims, slots: usize, batch: usize) -> Result<Self, SessionError> {
        let (bytes, binding) = (staged_bytes(dims, batch + 1), gpu.limits().binding);
        if bytes > binding {
            let most = (binding / staged_bytes(dims, 1)) as usize;
            return Err(SessionError::BatchTooLarge {
                batch,
                most: most.saturating_sub(1),
            });
        }
        Ok(Staging {
            images: [
                gpu.buffer("staged images", bytes)?,
                gpu.buffer("altered images", bytes)?,
            ],
            operations: gpu.buffer("operations", OPERATION_BYTES * ((batch + 1) * slots) as u64)?,
            dims,
            slots,
            batch,
        })
    }

    /// Whether batches of `batch` images of shape `dims` fit.
    pub(super) fn fits(&self, dims: ImageDims, batch: usize) -> bool {
        dims == self.dims && batch <= self.batch
    }

    /// Writes the operations of the images of the next batch.
    pub(super) fn write(&self, gpu: &Gpu, operations: &[[i32; 8]]) {
        gpu.write(&self.operations, 0, operations);
    }

    /// The images of the draws of `batch`, and that of the one before the first, before the
    /// operation number `slot`, and after the last one.
    fn images(&self, batch: &Batch, slot: usize) -> Binding {
        let bytes = staged_bytes(batch.set.dims, batch.draws.len() + 1);
        Binding::new(&self.images[slot % 2], 0, bytes)
    }

    /// The dispatches that crop and flip `batch`, and then change its images.
    fn dispatches(
        &self,
        gpu: &Gpu,
        batch: &Batch,
        resolve: &dyn Fn(&PlacedPart) -> [Option<Binding>; 3],
    ) -> Result<Vec<Dispatch>, SessionError> {
        let target = target(gpu);
        let (dims, size) = (batch.set.dims, batch.draws.len() + 1);
        let crop = (batch.crop.pad, batch.crop.reflect);
        let mut dispatches = Vec::new();
        for part in &batch.set.parts {
            let [bytes, labels, draws] = resolve(part);
            let operands = [bytes, labels, draws, None, None, None, Some(self.images(batch, 0))];
            let call = stage(&part.part, dims, crop, size, &target);
            dispatches.push(dispatch(gpu, &call, |operand| match operand {
                Operand::Input(index) => operands[index].clone(),
                _ => None,
            })?);
        }
        let bytes = OPERATION_BYTES * (size * self.slots) as u64;
        let operations = Binding::new(&self.operations, 0, bytes);
        for slot in 0..self.slots {
            let operands = [
                self.images(batch, slot),
                self.images(batch, slot + 1),
                operations.clone(),
            ];
            let call = distort(dims, slot, self.slots, size, &target);
            dispatches.push(dispatch(gpu, &call, |operand| match operand {
                Operand::Input(index) => Some(operands[index].clone()),
                _ => None,
            })?);
        }
        Ok(dispatches)
    }
}

/// The dispatches that gather a batch from one set.
#[derive(Debug)]
pub(super) struct Gathering {
    /// While this reference exists, no other set can have the same address.
    set: Weak<Buffer>,
    pub(super) dispatches: Vec<Dispatch>,
}

impl Gathering {
    /// Prepares the gathering of batches like `batch` into the memory
    /// `images` and `labels`, in a pass over the set for each of `changes`. The draws are
    /// read from `draws`, the step's record from `step`, and images are stored in
    /// `precision`. With `staging`, operations change the images first.
    pub(super) fn new(
        gpu: &Gpu,
        batch: Batch,
        changes: &[GatherChanges],
        [draws, images, labels, step]: [Option<&Binding>; 4],
        precision: Precision,
        staging: Option<&Staging>,
    ) -> Result<Self, SessionError> {
        let target = target(gpu);
        let shape = Shape::batched(&batch.set.dims).stored_in(precision);
        let Crop { pad, reflect } = batch.crop;
        let set_of = |placed: &PlacedPart| {
            [
                Some(Binding::new(&batch.set.bytes, placed.at, placed.part.bytes)),
                Some(Binding::whole(&batch.set.labels)),
                draws.cloned(),
            ]
        };
        // Staged images are of all parts.
        let (mut dispatches, parts) = match staging {
            Some(staging) => (
                staging.dispatches(gpu, &batch, &set_of)?,
                &batch.set.parts[..batch.set.parts.len().min(1)],
            ),
            None => (Vec::new(), &batch.set.parts[..]),
        };
        let passes = changes
            .iter()
            .flat_map(|changes| parts.iter().map(move |part| (*changes, part)));
        for (changes, part) in passes {
            let [bytes, classes, draws] = set_of(part);
            let operands = [
                bytes,
                classes,
                draws,
                Some(Binding::whole(&batch.set.scales)),
                images.cloned(),
                labels.cloned(),
                staging.map(|staging| staging.images(&batch, staging.slots)),
            ];
            let changes = GatherChanges {
                staged: staging.is_some(),
                ..changes
            };
            let size = batch.draws.len();
            for call in gather(
                &part.part,
                batch.set.images,
                &shape,
                (pad, reflect),
                changes,
                size,
                &target,
            ) {
                dispatches.push(dispatch(gpu, &call, |operand| match operand {
                    Operand::Input(index) => operands[index].clone(),
                    Operand::Step => step.cloned(),
                    _ => None,
                })?);
            }
        }
        let set = Arc::downgrade(&batch.set.bytes);
        Ok(Gathering { set, dispatches })
    }

    /// Whether its set still exists.
    pub(super) fn is_alive(&self) -> bool {
        self.set.strong_count() > 0
    }
}
