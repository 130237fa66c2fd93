//! How do PNG and JPEG files become a set of images of one size?

use std::io::Cursor;
use std::path::Path;

use image::{ImageReader, Limits};
use rayon::prelude::*;

use super::arrays::planes;
use super::picture::{Picture, Preparation};
use super::{FileError, ImageSet};

/// The largest side of a file's image, in pixels.
const MOST_PIXELS: u32 = 1 << 15;
/// The most memory to decode an image.
const MOST_MEMORY: u64 = 1 << 29;
/// The memory to decode any image, and more for each byte of its file: no file
/// that shows anything has more pixels. A damaged header may claim them.
const MEMORY: u64 = 4 << 20;
const MEMORY_PER_BYTE: u64 = 1000;

/// The decoded image of a file with these bytes, as red, green and blue. A grey
/// image becomes three equal channels, and transparency is left out, as in
/// torchvision's `ImageFolder`.
fn decode(bytes: &[u8]) -> Result<Picture<'static>, String> {
    let damaged = |error: image::ImageError| format!("it is no PNG or JPEG image that can be read: {error}");
    let mut reader = ImageReader::new(Cursor::new(bytes))
        .with_guessed_format()
        .map_err(|error| error.to_string())?;
    let mut limits = Limits::default();
    limits.max_image_width = Some(MOST_PIXELS);
    limits.max_image_height = Some(MOST_PIXELS);
    limits.max_alloc = Some(MOST_MEMORY.min(MEMORY + MEMORY_PER_BYTE * bytes.len() as u64));
    reader.limits(limits);
    let colours = reader.decode().map_err(damaged)?.into_rgb8();
    let (width, height) = (colours.width() as usize, colours.height() as usize);
    let pixels = colours.into_raw();
    let mut bytes = vec![0; pixels.len()];
    planes(&mut bytes, &pixels, 3);
    Ok(Picture {
        shape: [3, height, width],
        bytes: bytes.into(),
    })
}

/// Decodes and prepares all images on all processor cores. `read` returns the
/// bytes of an item's file, and `path` names it in messages.
pub(super) fn decode_all<T: Sync>(
    items: &[T],
    read: impl Fn(&T) -> Result<Vec<u8>, FileError> + Sync,
    path: impl Fn(&T) -> std::path::PathBuf + Sync,
    preparation: &Preparation,
) -> Result<ImageSet, FileError> {
    let prepared = |item: &T| -> Result<Picture<'static>, FileError> {
        let wrong = |problem: String| FileError::content(&path(item), problem);
        decode(&read(item)?)
            .and_then(|picture| picture.prepared(preparation))
            .map_err(wrong)
    };
    let Some(first) = items.first() else {
        return Ok(ImageSet {
            name: String::new(),
            channels: 0,
            height: 0,
            width: 0,
            class_names: Vec::new(),
            images: Vec::new(),
            labels: Vec::new(),
        });
    };
    let first_shape = prepared(first)?.shape;
    let [channels, height, width] = first_shape;
    let size = channels * height * width;
    let mut images = room_for(items.len(), size, &path(first))?;
    // The error of the first image that has one, whichever thread is the fastest.
    let problem = images
        .par_chunks_exact_mut(size)
        .zip(items)
        .filter_map(|(to, item)| {
            let picture = match prepared(item) {
                Ok(picture) => picture,
                Err(error) => return Some(error),
            };
            if picture.shape == first_shape {
                to.copy_from_slice(&picture.bytes);
                return None;
            }
            let [_, tall, wide] = picture.shape;
            let problem = format!(
                "it has {tall}×{wide} pixels, but {} has {height}×{width}: scale the images to one size",
                path(first).display()
            );
            Some(FileError::content(&path(item), problem))
        })
        .find_first(|_| true);
    match problem {
        Some(error) => Err(error),
        None => Ok(ImageSet {
            name: String::new(),
            channels,
            height,
            width,
            class_names: Vec::new(),
            images,
            labels: Vec::new(),
        }),
    }
}

/// Memory for `count` images of `size` bytes.
fn room_for(count: usize, size: usize, path: &Path) -> Result<Vec<u8>, FileError> {
    let mut images = Vec::new();
    let bytes = count.checked_mul(size);
    let reserved = bytes.is_some_and(|bytes| images.try_reserve_exact(bytes).is_ok());
    match (reserved, bytes) {
        (true, Some(bytes)) => {
            images.resize(bytes, 0);
            Ok(images)
        }
        _ => Err(FileError::content(
            path,
            format!("{count} images of {size} bytes do not fit in memory: use fewer, or make them smaller"),
        )),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use image::{DynamicImage, ImageFormat};
    use proptest::prelude::*;

    /// A PNG file of an image whose pixels all have this value.
    pub(in crate::data) fn png(height: u32, width: u32, value: u8) -> Vec<u8> {
        encoded(
            DynamicImage::ImageRgb8(image::RgbImage::from_pixel(width, height, image::Rgb([value, 0, 9]))),
            ImageFormat::Png,
        )
    }

    fn encoded(image: DynamicImage, format: ImageFormat) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        image.write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    }

    fn all(files: &[Vec<u8>], preparation: &Preparation) -> Result<ImageSet, FileError> {
        let items: Vec<usize> = (0..files.len()).collect();
        let path = |&at: &usize| format!("{at}.png").into();
        decode_all(&items, |&at| Ok(files[at].clone()), path, preparation)
    }

    #[test]
    fn colours_become_planes_and_grey_becomes_colours() {
        let grey = encoded(
            DynamicImage::ImageLuma8(image::GrayImage::from_pixel(2, 1, image::Luma([5]))),
            ImageFormat::Png,
        );
        let set = all(&[png(1, 2, 7), grey], &Preparation::default()).unwrap();
        assert_eq!((set.channels, set.height, set.width), (3, 1, 2));
        assert_eq!(set.images, [7, 7, 0, 0, 9, 9, 5, 5, 5, 5, 5, 5]);
    }

    #[test]
    fn jpeg_is_recognised_by_its_bytes() {
        let bytes = encoded(
            DynamicImage::ImageLuma8(image::GrayImage::from_pixel(8, 8, image::Luma([200]))),
            ImageFormat::Jpeg,
        );
        let set = all(&[bytes], &Preparation::default()).unwrap();
        assert!(set.images.iter().all(|&byte| byte.abs_diff(200) <= 1));
    }

    #[test]
    fn other_sizes_are_named_unless_they_are_scaled() {
        let files = [png(4, 4, 1), png(4, 4, 2), png(6, 5, 3), png(9, 9, 4)];
        let error = all(&files, &Preparation::default()).unwrap_err().to_string();
        assert!(
            error.contains("2.png") && error.contains("6×5") && error.contains("4×4"),
            "{error}"
        );
        let preparation = Preparation {
            resize: Some("4".parse().unwrap()),
            crop: Some(4),
            ..Preparation::default()
        };
        assert_eq!(all(&files, &preparation).unwrap().images.len(), 4 * 48);
    }

    #[test]
    fn damaged_files_are_named() {
        let files = [png(2, 2, 1), b"GIF89a".to_vec()];
        let error = all(&files, &Preparation::default()).unwrap_err().to_string();
        assert!(error.contains("1.png") && error.contains("no PNG or JPEG"), "{error}");
        assert!(!error.contains('\n'));
        assert_eq!(all(&[], &Preparation::default()).unwrap().len(), 0);
    }

    proptest! {
        #[test]
        fn no_bytes_panic(start in prop::sample::select(vec![&b"\x89PNG\r\n\x1a\n"[..], b"\xff\xd8\xff"]), bytes: Vec<u8>) {
            let _ = decode(&[start, &bytes].concat());
        }

        #[test]
        fn no_change_of_a_byte_panics(at in 0_usize..80, byte: u8) {
            let mut bytes = png(3, 3, 1);
            if let Some(place) = bytes.get_mut(at) {
                *place = byte;
            }
            let _ = decode(&bytes);
        }
    }
}
