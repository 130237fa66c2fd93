//! How is a labelled set of images stored?

use sha2::{Digest, Sha256};

use crate::hex::hex;

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

    /// The SHA-256 of the labels and the sizes, in hexadecimal: whether files
    /// that were moved hold the same set. Pixels and class names are not
    /// hashed.
    ///
    /// The hashed bytes are C, H, W, N and the number of classes as 64-bit
    /// little-endian numbers, then the labels as 32-bit ones.
    pub fn fingerprint(&self) -> String {
        let mut hash = Sha256::new();
        for size in [self.channels, self.height, self.width, self.len(), self.classes()] {
            hash.update((size as u64).to_le_bytes());
        }
        for label in &self.labels {
            hash.update(label.to_le_bytes());
        }
        hex(&hash.finalize())
    }

    /// The SHA-256 of all pixels, (N, C, H, W), followed by the labels as 32-bit
    /// little-endian numbers, in hexadecimal.
    pub fn content_hash(&self) -> String {
        let mut hash = Sha256::new();
        hash.update(&self.images);
        for label in &self.labels {
            hash.update(label.to_le_bytes());
        }
        hex(&hash.finalize())
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

    fn three() -> ImageSet {
        ImageSet {
            name: "three".into(),
            channels: 1,
            height: 1,
            width: 2,
            class_names: vec!["a".into(), "b".into()],
            images: vec![1, 2, 3, 4, 5, 6],
            labels: vec![0, 1, 0],
        }
    }

    #[test]
    fn the_fingerprint_is_that_of_labels_and_sizes() {
        let fingerprint = three().fingerprint();
        // hashlib.sha256(struct.pack('<5Q3I', 1, 1, 2, 3, 2, 0, 1, 0)).hexdigest()
        assert_eq!(
            fingerprint,
            "5d28512302516d8136696dd2fd60c67da8ef4f97efbab9bdf75d9f86d27ebf5a"
        );
        let mut changed = [three(), three(), three(), three().take(2)];
        changed[0].labels[2] = 1;
        (changed[1].height, changed[1].width) = (2, 1);
        changed[2].class_names.push("c".into());
        assert!(changed.iter().all(|set| set.fingerprint() != fingerprint));
        let mut same = three();
        same.name = "moved".into();
        same.class_names[0] = "A".into();
        assert_eq!(same.fingerprint(), fingerprint);
    }

    #[test]
    fn take_keeps_the_first_images() {
        let set = three();
        assert_eq!(set.clone().take(9), set);
        let two = set.take(2);
        assert_eq!((two.len(), two.image(1)), (2, &[3, 4][..]));
        assert!(two.take(0).is_empty());
    }
}
