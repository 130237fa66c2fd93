//! Which images are in which batch?

use std::fmt;
use std::num::NonZeroUsize;

use super::{Augment, Draw};
use crate::random::{Philox, Stream, permutation};

/// The order of the images in an epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ImageOrder {
    /// A new random order in each epoch.
    #[default]
    Shuffled,
    /// The order of the set in each epoch.
    Sequential,
}

impl fmt::Display for ImageOrder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Shuffled => "shuffled",
            Self::Sequential => "sequential",
        })
    }
}

/// How the images of a set are divided into batches, in every epoch.
///
/// An epoch depends on these fields and its number only, so a resumed run gets
/// the same batches as an uninterrupted one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batches {
    /// The number of images in the set.
    pub images: u32,
    /// The number of images in a batch; the last batch of an epoch may have
    /// fewer.
    pub batch_size: NonZeroUsize,
    /// The order of the images.
    pub order: ImageOrder,
    /// Random changes to each image.
    pub augment: Augment,
    /// The seed of the run.
    pub seed: u64,
}

impl Batches {
    /// Every image once, in the order of the set and unchanged, as for an
    /// evaluation.
    pub fn plain(images: u32, batch_size: NonZeroUsize) -> Self {
        Self {
            images,
            batch_size,
            order: ImageOrder::Sequential,
            augment: Augment::None,
            seed: 0,
        }
    }

    /// The number of batches in an epoch.
    pub fn per_epoch(&self) -> usize {
        (self.images as usize).div_ceil(self.batch_size.get())
    }

    /// The draws of the epoch with this number, from 0.
    ///
    /// The changes to an image depend on the seed, the epoch and its position
    /// in the epoch only, not on the batch size.
    pub fn epoch(&self, epoch: u32) -> Epoch {
        let order = match self.order {
            ImageOrder::Shuffled => permutation(self.images, self.seed, epoch),
            ImageOrder::Sequential => (0..self.images).collect(),
        };
        let philox = Philox::new(self.seed);
        let draws = std::iter::zip(0.., order)
            .map(|(position, index)| {
                let mut draws = philox.draws(Stream::Augment, epoch, position);
                Draw {
                    epoch,
                    position,
                    ..self.augment.draw(index, &mut draws)
                }
            })
            .collect();
        Epoch {
            draws,
            batch_size: self.batch_size,
        }
    }
}

/// The images of one epoch in their order, from [`Batches::epoch`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Epoch {
    draws: Vec<Draw>,
    batch_size: NonZeroUsize,
}

impl Epoch {
    /// All draws of the epoch.
    pub fn draws(&self) -> &[Draw] {
        &self.draws
    }

    /// The draws batch by batch; the last batch may be smaller. To resume
    /// within an epoch, skip the batches that are done.
    pub fn batches(&self) -> impl ExactSizeIterator<Item = &[Draw]> {
        self.draws.chunks(self.batch_size.get())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::PAD;

    fn batches(images: u32, batch_size: usize) -> Batches {
        Batches {
            images,
            batch_size: NonZeroUsize::new(batch_size).unwrap(),
            order: ImageOrder::Shuffled,
            augment: Augment::CropFlip,
            seed: 3,
        }
    }

    #[test]
    fn an_epoch_sees_every_image_once() {
        let epoch = batches(1000, 64).epoch(5);
        let mut seen: Vec<u32> = epoch.draws().iter().map(|draw| draw.index).collect();
        seen.sort_unstable();
        assert!(seen.into_iter().eq(0..1000));
    }

    #[test]
    fn the_last_batch_is_what_is_left() {
        let batches = batches(130, 64);
        let epoch = batches.epoch(0);
        let sizes: Vec<usize> = epoch.batches().map(<[Draw]>::len).collect();
        assert_eq!(sizes, [64, 64, 2]);
        assert_eq!(batches.per_epoch(), 3);
    }

    #[test]
    fn no_image_means_no_batch() {
        let batches = batches(0, 64);
        assert_eq!(batches.per_epoch(), 0);
        assert_eq!(batches.epoch(0).batches().len(), 0);
    }

    #[test]
    fn batch_size_changes_no_draw_but_the_epoch_changes_all() {
        let epoch = batches(500, 64).epoch(1);
        assert_eq!(epoch.draws(), batches(500, 7).epoch(1).draws());
        assert_ne!(epoch.draws(), batches(500, 64).epoch(2).draws());
    }

    #[test]
    fn plain_batches_change_nothing() {
        let epoch = Batches::plain(10, NonZeroUsize::new(4).unwrap()).epoch(8);
        let packed = epoch.draws().iter().map(|draw| draw.pack());
        assert!(packed.eq((0..10).map(|index| Draw::unchanged(index).pack())));
    }

    #[test]
    fn crops_reach_every_offset_and_flips_are_even() {
        let epoch = batches(9000, 100).epoch(0);
        let mut offsets = [[0u32; 2]; 2 * PAD as usize + 1];
        let mut flips = 0u32;
        for draw in epoch.draws() {
            offsets[usize::from(draw.dx)][0] += 1;
            offsets[usize::from(draw.dy)][1] += 1;
            flips += u32::from(draw.flip);
        }
        // Five standard deviations around means of 1,000 and 4,500.
        assert!(offsets.iter().flatten().all(|count| count.abs_diff(1000) < 150));
        assert!(flips.abs_diff(4500) < 240);
    }

    #[test]
    fn flips_alone_do_not_crop() {
        let mut batches = batches(100, 10);
        batches.augment = Augment::Flip;
        let epoch = batches.epoch(0);
        assert!(epoch.draws().iter().all(|draw| (draw.dx, draw.dy) == (PAD, PAD)));
        assert!(epoch.draws().iter().any(|draw| draw.flip));
    }
}
