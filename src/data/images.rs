//! How is a labelled set of images stored?

/// One of the two parts of a data set. They have no image in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Split {
    /// Images to train on.
    Train,
    /// Images to evaluate on.
    Test,
}

/// Images of one size with their labels.
///
/// Pixels are bytes, also on the device: they take a quarter of the memory of
/// f32. They are normalised when they are gathered into batches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageSet {
    /// The set's name for logs and records: `CIFAR-10 test`.
    pub name: String,
    /// C: number of colour planes of an image.
    pub channels: usize,
    /// H: height of an image in pixels.
    pub height: usize,
    /// W: width of an image in pixels.
    pub width: usize,
    /// The name of each class; a label is an index into it.
    pub class_names: Vec<String>,
    /// The pixels, (N, C, H, W), from 0 (black) to 255.
    pub images: Vec<u8>,
    /// The class of each image, (N).
    pub labels: Vec<u32>,
}

impl ImageSet {
    /// N: the number of images.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether the set has no images.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// The number of classes.
    pub fn classes(&self) -> usize {
        self.class_names.len()
    }

    /// C·H·W: the number of bytes of an image.
    pub fn image_size(&self) -> usize {
        self.channels * self.height * self.width
    }

    /// The pixels of an image, (C, H, W).
    ///
    /// # Panics
    /// If `index` is not less than [`len`](Self::len).
    pub fn image(&self, index: usize) -> &[u8] {
        let size = self.image_size();
        &self.images[index * size..][..size]
    }

    /// The first `limit` images, or all if there are fewer.
    pub fn take(mut self, limit: usize) -> Self {
        let kept = limit.min(self.len());
        self.images.truncate(kept * self.image_size());
        self.labels.truncate(kept);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn take_keeps_the_first_images() {
        let set = ImageSet {
            name: "three".into(),
            channels: 1,
            height: 1,
            width: 2,
            class_names: vec!["only".into()],
            images: vec![1, 2, 3, 4, 5, 6],
            labels: vec![0, 0, 0],
        };
        assert_eq!(set.clone().take(9), set);
        let two = set.take(2);
        assert_eq!((two.len(), two.image(1)), (2, &[3, 4][..]));
        assert!(two.take(0).is_empty());
    }
}
