//! Which training images are held out for validation?

use super::{ArgumentError, ImageSet, Splits};
use crate::random::{Philox, Stream};

impl Splits {
    /// These splits with `count` of the training images, drawn by `seed`, as
    /// validation images. Both sets keep the order of the data set.
    ///
    /// They are drawn, because the last images of many data sets are of one class. The
    /// mean and standard deviation stay those of all training images.
    ///
    /// # Errors
    /// [`ArgumentError::HeldOut`] where no image would be left to train on.
    pub fn hold_out(self, count: usize, seed: u64) -> Result<Self, ArgumentError> {
        let images = self.train.len();
        if count >= images {
            return Err(ArgumentError::HeldOut { count, images });
        }
        let mut order: Vec<usize> = (0..images).collect();
        Philox::new(seed)
            .draws(Stream::Validation, 0, 0)
            .choose(&mut order, count);
        let mut is_held = vec![false; images];
        order[..count].iter().for_each(|&image| is_held[image] = true);
        let mut validation = part(&self.train, &is_held, true);
        validation.name = format!("{}, validation", self.train.name);
        Ok(Splits {
            train: part(&self.train, &is_held, false),
            validation: Some(validation),
            ..self
        })
    }

    /// The images that a run evaluates after each epoch: the validation images where
    /// there are some, else the test images.
    pub fn evaluated(&self) -> &ImageSet {
        self.validation.as_ref().unwrap_or(&self.test)
    }
}

/// The images of `set` that are `held`, or those that are not.
fn part(set: &ImageSet, is_held: &[bool], held: bool) -> ImageSet {
    let chosen = || (0..set.len()).filter(|&image| is_held[image] == held);
    let mut images = Vec::with_capacity(chosen().count() * set.image_size());
    chosen().for_each(|image| images.extend_from_slice(set.image(image)));
    ImageSet {
        name: set.name.clone(),
        class_names: set.class_names.clone(),
        images,
        labels: chosen().map(|image| set.labels[image]).collect(),
        ..*set
    }
}

#[cfg(test)]
mod tests {
    use crate::data::{Source, Splits};

    fn splits() -> Splits {
        "synthetic:40,4".parse::<Source>().unwrap().load(None, None, 1).unwrap()
    }

    #[test]
    fn every_image_is_in_one_set_and_the_seed_says_in_which() {
        let all = splits();
        let held = all.clone().hold_out(15, 3).unwrap();
        let validation = held.validation.as_ref().unwrap();
        assert_eq!((held.train.len(), validation.len(), held.test.len()), (25, 15, 4));
        let images = |set: &crate::data::ImageSet| -> Vec<(Vec<u8>, u32)> {
            (0..set.len())
                .map(|image| (set.image(image).to_vec(), set.labels[image]))
                .collect()
        };
        let (train, validation) = (images(&held.train), images(validation));
        // Both keep the order: a merge of the two gives the set again.
        let (mut one, mut other) = (train.iter().peekable(), validation.iter().peekable());
        for image in images(&all.train) {
            let next = one.next_if_eq(&&image).or_else(|| other.next_if_eq(&&image));
            assert!(next.is_some());
        }
        let with = |seed| all.clone().hold_out(15, seed).unwrap().validation;
        assert_eq!(with(3), held.validation);
        assert_ne!(with(4), held.validation);
        assert_eq!(held.evaluated(), held.validation.as_ref().unwrap());
        assert_eq!(all.evaluated(), &all.test);
        // A smaller set is a part of a larger one: draws do not depend on the count.
        let few = images(&all.clone().hold_out(5, 3).unwrap().validation.unwrap());
        assert!(few.iter().all(|image| validation.contains(image)));
    }

    #[test]
    fn an_image_is_left_to_train_on() {
        assert_eq!(splits().hold_out(39, 0).unwrap().train.len(), 1);
        let error = splits().hold_out(40, 0).unwrap_err().to_string();
        assert!(error.contains("40") && !error.contains('\n'), "{error}");
    }
}
