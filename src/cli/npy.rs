//! How are numbers written as a file of NumPy?

use std::io;
use std::path::Path;

use npyz::WriterBuilder as _;

use super::exit::CliError;
use crate::files::{AtomicFile, WriteError};
use crate::train::TrainError;

/// Writes an array of `shape` to `file`, whole or not at all: `fill` hands over its
/// numbers, in C order and in as many parts as it likes. `path` is the file's name.
///
/// # Errors
/// Where the file cannot be written, and those of `fill`.
pub fn write_npy<T: npyz::AutoSerialize + Copy>(
    path: &Path,
    mut file: AtomicFile,
    shape: &[u64],
    fill: impl FnOnce(&mut dyn FnMut(&[T]) -> Result<(), WriteError>) -> Result<(), TrainError>,
) -> Result<(), CliError> {
    let error = |source: io::Error| WriteError {
        path: path.to_path_buf(),
        source,
    };
    let options = npyz::WriteOptions::<T>::new().default_dtype().shape(shape);
    let mut writer = options.writer(&mut file).begin_nd().map_err(error)?;
    fill(&mut |values| writer.extend(values.iter().copied()).map_err(error))?;
    writer.finish().map_err(error)?;
    Ok(file.finish()?)
}
