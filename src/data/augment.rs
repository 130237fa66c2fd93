//! How is an image changed at random each time it is used?

use std::fmt;
use std::str::FromStr;

use super::ArgumentError;
use crate::random::Draws;

/// Padding on each side of an image before it is cropped to its own size, in
/// pixels: 4, as in the papers on CIFAR since He et al. 2015.
pub const PAD: u8 = 4;

/// Random changes to an image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Augment {
    /// No change.
    None,
    /// Mirrored left to right with probability ½.
    Flip,
    /// A random crop of the image padded by [`PAD`] pixels, then a flip.
    #[default]
    CropFlip,
}

impl Augment {
    /// Draws the changes to the image `index`.
    pub(super) fn draw(self, index: u32, draws: &mut Draws) -> Draw {
        let unchanged = Draw::unchanged(index);
        let offset = |draws: &mut Draws| draws.below(2 * u32::from(PAD) + 1) as u8;
        match self {
            Self::None => unchanged,
            Self::Flip => Draw {
                flip: draws.coin(),
                ..unchanged
            },
            Self::CropFlip => Draw {
                dx: offset(draws),
                dy: offset(draws),
                flip: draws.coin(),
                ..unchanged
            },
        }
    }
}

impl fmt::Display for Augment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Flip => "flip",
            Self::CropFlip => "crop-flip",
        })
    }
}

impl FromStr for Augment {
    type Err = ArgumentError;

    fn from_str(word: &str) -> Result<Self, ArgumentError> {
        match word {
            "none" => Ok(Self::None),
            "flip" => Ok(Self::Flip),
            "crop-flip" => Ok(Self::CropFlip),
            _ => Err(ArgumentError::UnknownWord {
                what: "augmentation",
                given: word.to_owned(),
                choices: "none, flip or crop-flip",
            }),
        }
    }
}

/// The pixels outside an image that is cropped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Padding {
    /// Black: byte 0, before normalisation (He et al. 2015, torchvision).
    #[default]
    Zero,
    /// The image mirrored at its edge pixels, which are not repeated
    /// (Zagoruyko and Komodakis 2016).
    Reflect,
}

impl fmt::Display for Padding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Zero => "zero",
            Self::Reflect => "reflect",
        })
    }
}

impl FromStr for Padding {
    type Err = ArgumentError;

    fn from_str(word: &str) -> Result<Self, ArgumentError> {
        match word {
            "zero" => Ok(Self::Zero),
            "reflect" => Ok(Self::Reflect),
            _ => Err(ArgumentError::UnknownWord {
                what: "padding",
                given: word.to_owned(),
                choices: "zero or reflect",
            }),
        }
    }
}

/// One image of a batch: which one, and how it is changed.
///
/// The image is padded by [`PAD`] pixels on each side. A window of the image's
/// size with its top left corner at (`dx`, `dy`) is cut out. With `flip`, the
/// window is mirrored left to right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Draw {
    /// The image's index in its set.
    pub index: u32,
    /// The window's left edge in the padded image, 0 to 2·[`PAD`].
    pub dx: u8,
    /// The window's upper edge in the padded image, 0 to 2·[`PAD`].
    pub dy: u8,
    /// Whether the window is mirrored.
    pub flip: bool,
    /// The epoch that uses the image.
    pub epoch: u32,
    /// The image's position in that epoch: with the epoch, it determines the operations
    /// that [`Distortions`](super::Distortions) draws.
    pub position: u32,
}

impl Draw {
    /// The image without changes.
    pub fn unchanged(index: u32) -> Self {
        Self {
            index,
            dx: PAD,
            dy: PAD,
            flip: false,
            epoch: 0,
            position: 0,
        }
    }

    /// The form that the device reads:
    /// `[index, dx | dy << 8 | flip << 16]`.
    pub fn pack(self) -> [u32; 2] {
        let flip = u32::from(self.flip);
        [self.index, u32::from(self.dx) | u32::from(self.dy) << 8 | flip << 16]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_come_back_as_they_were_written() {
        for word in ["none", "flip", "crop-flip"] {
            assert_eq!(word.parse::<Augment>().unwrap().to_string(), word);
        }
        for word in ["zero", "reflect"] {
            assert_eq!(word.parse::<Padding>().unwrap().to_string(), word);
        }
        let error = "crop".parse::<Augment>().unwrap_err().to_string();
        assert_eq!(error, "unknown augmentation 'crop': choose none, flip or crop-flip");
        assert!("edge".parse::<Padding>().is_err());
    }

    #[test]
    fn packs_into_two_words() {
        assert_eq!(Draw::unchanged(9).pack(), [9, 0x0404]);
        let draw = Draw {
            index: 70_000,
            dx: 8,
            dy: 1,
            flip: true,
            ..Draw::unchanged(0)
        };
        assert_eq!(draw.pack(), [70_000, 0x1_0108]);
    }
}
