//! Which shape do the images have that a network is built for?

use std::{fmt, str::FromStr};

use super::ModelError;

/// The largest number of channels, and of pixels along a side.
const MAX_SIDE: usize = 4096;
/// The largest number of classes.
const MAX_CLASSES: usize = 100_000;

/// The shape of one image, and the number of classes.
///
/// As text it is `CxHxW` (`3x32x32`), and text is read with 10 classes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct InputShape {
    /// Colour channels.
    pub channels: usize,
    /// Pixels from top to bottom.
    pub height: usize,
    /// Pixels from left to right.
    pub width: usize,
    /// Number of classes.
    pub classes: usize,
}

impl InputShape {
    /// ImageNet as usually cropped: 3×224×224, 1000 classes.
    pub const IMAGENET: InputShape = InputShape {
        channels: 3,
        height: 224,
        width: 224,
        classes: 1000,
    };

    /// Checks that every number is in its range.
    ///
    /// # Errors
    /// [`ModelError::Input`] for the first number that is 0 or too large: at
    /// most 4096 channels or pixels along a side, and 100,000 classes.
    pub fn check(&self) -> Result<(), ModelError> {
        for (what, value, most) in [
            ("image channels", self.channels, MAX_SIDE),
            ("image height", self.height, MAX_SIDE),
            ("image width", self.width, MAX_SIDE),
            ("number of classes", self.classes, MAX_CLASSES),
        ] {
            if !(1..=most).contains(&value) {
                return Err(ModelError::Input { what, value, most });
            }
        }
        Ok(())
    }
}

impl Default for InputShape {
    /// CIFAR-10: 3×32×32, 10 classes.
    fn default() -> Self {
        InputShape {
            channels: 3,
            height: 32,
            width: 32,
            classes: 10,
        }
    }
}

impl FromStr for InputShape {
    type Err = ModelError;

    fn from_str(text: &str) -> Result<Self, ModelError> {
        let syntax = || ModelError::InputSyntax { text: text.to_string() };
        let numbers: Result<Vec<usize>, _> = text.split(['x', '×']).map(|part| part.trim().parse()).collect();
        let Ok([channels, height, width]) = numbers.as_deref() else {
            return Err(syntax());
        };
        let input = InputShape {
            channels: *channels,
            height: *height,
            width: *width,
            ..InputShape::default()
        };
        input.check().map(|()| input)
    }
}

impl fmt::Display for InputShape {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}x{}x{}", self.channels, self.height, self.width)
    }
}
