//! Which data set of the literature are these test images, all of them?
//!
//! What counts is what the images are, not where they lie or how they were named:
//! their number, size, classes and labels.

use std::fmt;

use super::cifar::{CIFAR10, CIFAR100};
use super::{ImageSet, Preparation, digits};

/// A data set that papers report errors on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DataSet {
    /// CIFAR-10 (Krizhevsky 2009).
    Cifar10,
    /// CIFAR-100 with its 100 fine labels (Krizhevsky 2009).
    Cifar100,
    /// SVHN, 32×32 (Netzer et al. 2011).
    Svhn,
    /// ImageNet's 1000 classes and 50,000 validation images (Russakovsky et al.
    /// 2015).
    ImageNet,
}

/// [`ImageSet::fingerprint`] of CIFAR-10's test images, which stands for their
/// labels in the official order.
const CIFAR10_TEST: &str = "51a50c4cea171dc3425be401c02a6c78beeef979aa1a98e7fe9ac3e4742e3ce1";

/// The beginning of the names of CIFAR-10's test images with corruptions, which have
/// the labels of those without.
const CORRUPTED: &str = "CIFAR-10-C";

impl DataSet {
    /// Every data set.
    pub const ALL: [DataSet; 4] = [DataSet::Cifar10, DataSet::Cifar100, DataSet::Svhn, DataSet::ImageNet];

    /// A short name: `cifar10`, `cifar100`, `svhn`, `imagenet`.
    pub fn key(self) -> &'static str {
        match self {
            DataSet::Cifar10 => "cifar10",
            DataSet::Cifar100 => "cifar100",
            DataSet::Svhn => "svhn",
            DataSet::ImageNet => "imagenet",
        }
    }

    /// The usual shape of an image, (C, H, W).
    pub fn shape(self) -> [usize; 3] {
        match self {
            DataSet::ImageNet => [3, 224, 224],
            _ => [3, 32, 32],
        }
    }

    /// The number of classes.
    pub fn classes(self) -> usize {
        match self {
            DataSet::Cifar10 | DataSet::Svhn => 10,
            DataSet::Cifar100 => 100,
            DataSet::ImageNet => 1000,
        }
    }

    /// The number of test images.
    fn test_images(self) -> usize {
        match self {
            DataSet::Cifar10 | DataSet::Cifar100 => 10_000,
            DataSet::Svhn => 26_032,
            DataSet::ImageNet => 50_000,
        }
    }

    /// The data set whose test images `set` holds, each of them once and
    /// unchanged but for `preparation`; `None` for a part, and for other images.
    pub fn of(set: &ImageSet, preparation: &Preparation) -> Option<Self> {
        if set.name.starts_with(CORRUPTED) {
            return None;
        }
        let shape = [set.channels, set.height, set.width];
        Self::described(shape, &set.class_names, set.len(), &set.fingerprint(), preparation)
    }

    /// As [`Self::of`], for images that are only described: the shape (C, H, W) of
    /// each, the names of the classes, their number and their
    /// [fingerprint](ImageSet::fingerprint).
    pub fn described(
        shape: [usize; 3],
        classes: &[String],
        images: usize,
        fingerprint: &str,
        preparation: &Preparation,
    ) -> Option<Self> {
        let is = |set: &DataSet| {
            let same_classes = match set {
                DataSet::Cifar10 => fingerprint == CIFAR10_TEST && same_names(classes, &CIFAR10.class_list()),
                DataSet::Cifar100 => same_names(classes, &CIFAR100.class_list()),
                DataSet::Svhn => same_names(classes, &digits(10)),
                DataSet::ImageNet => classes.len() == 1000 && classes.iter().all(|name| is_synset(name)),
            };
            // Photographs are scaled and cropped for every network.
            let unchanged = *set == DataSet::ImageNet || preparation.is_none();
            same_classes && unchanged && shape == set.shape() && images == set.test_images()
        };
        Self::ALL.into_iter().find(|set| is(set))
    }
}

impl fmt::Display for DataSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DataSet::Cifar10 => "CIFAR-10",
            DataSet::Cifar100 => "CIFAR-100",
            DataSet::Svhn => "SVHN",
            DataSet::ImageNet => "ImageNet",
        })
    }
}

fn same_names(names: &[String], expected: &[String]) -> bool {
    let pairs = names.iter().zip(expected);
    names.len() == expected.len() && pairs.into_iter().all(|(one, other)| one.eq_ignore_ascii_case(other))
}

/// Whether a class is named by its number in WordNet, as `n01440764`.
fn is_synset(name: &str) -> bool {
    let digits = name.strip_prefix('n');
    digits.is_some_and(|digits| digits.len() == 8 && digits.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn described(set: DataSet, classes: &[String], images: usize) -> Option<DataSet> {
        DataSet::described(set.shape(), classes, images, CIFAR10_TEST, &Preparation::default())
    }

    #[test]
    fn a_data_set_is_known_by_number_shape_and_classes() {
        let synsets: Vec<String> = (0..1000).map(|class| format!("n{:08}", 1_440_764 + class)).collect();
        for (set, classes, images) in [
            (DataSet::Cifar10, CIFAR10.class_list(), 10_000),
            (DataSet::Cifar100, CIFAR100.class_list(), 10_000),
            (DataSet::Svhn, digits(10), 26_032),
            (DataSet::ImageNet, synsets, 50_000),
        ] {
            assert_eq!(described(set, &classes, images), Some(set));
            assert_eq!(described(set, &classes, images - 1), None, "a part of {set}");
            assert_eq!(described(set, &digits(classes.len() + 1), images), None, "{set}");
            let other = DataSet::described([1, 28, 28], &classes, images, CIFAR10_TEST, &Preparation::default());
            assert_eq!(other, None, "{set}");
        }
    }

    #[test]
    fn other_labels_and_changed_images_are_no_cifar_10() {
        let classes = CIFAR10.class_list();
        let of = |fingerprint: &str, preparation: &Preparation| {
            DataSet::described([3, 32, 32], &classes, 10_000, fingerprint, preparation)
        };
        assert_eq!(of(CIFAR10_TEST, &Preparation::default()), Some(DataSet::Cifar10));
        assert_eq!(of("00", &Preparation::default()), None);
        let smaller = Preparation {
            crop: Some(24),
            pad: 4,
            ..Preparation::default()
        };
        assert_eq!(of(CIFAR10_TEST, &smaller), None);
    }
}
