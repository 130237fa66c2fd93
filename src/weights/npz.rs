//! How are NumPy's `.npz` archives read? They are zip archives of `.npy` files,
//! whose headers say type, order and shape (`numpy.lib.format`).

use super::container::{Container, Format, LeftOut, Table};
use super::error::Damage;
use super::tables::{fortran_strides, numpy_type};
use super::view::{MOST_AXES, Type, Values, View};
use crate::formats::npy::{LONGEST_HEADER, MAGIC, after, sizes};
use crate::formats::source::{Budget, Content, FormatError, Source, damaged};
use crate::formats::zip::Archive;

const ENDING: &str = ".npy";
/// Memory of an entry of a table beside its name.
const ENTRY: u64 = 300;

/// Whether an archive has nothing but `.npy` files.
pub(super) fn recognises(archive: &Archive) -> bool {
    archive.names().next().is_some() && archive.names().all(|name| name.ends_with(ENDING))
}

/// All arrays of an archive.
pub(super) fn read(archive: &Archive, budget: &Budget) -> Result<Container, Damage> {
    let mut table = Table::default();
    for file in archive.names() {
        let name = file.strip_suffix(ENDING).unwrap_or(file).to_owned();
        if !budget.take(ENTRY + name.len() as u64) {
            return Err(FormatError::Repeats("it has too many arrays".into()).into());
        }
        let Some(content) = archive.read(file, budget)? else {
            continue;
        };
        let (view, source) = array(content.source())?;
        match (&view.kind, view.values(&name, source, budget)?) {
            (Type::Other(kind), _) => drop(table.left_out.insert(name, LeftOut::Type(kind.clone()))),
            (_, Values::Tensor(tensor)) => drop(table.tensors.insert(name, tensor)),
            (_, Values::Problem(problem)) => drop(table.left_out.insert(name, LeftOut::Problem(problem))),
        }
        if let Content::Owned(bytes) = content {
            budget.give_back(bytes.len() as u64);
        }
    }
    Ok(Container {
        format: Format::Npz,
        tables: vec![table],
        facts: Default::default(),
        notes: Vec::new(),
    })
}

/// What the header of an array says, and the bytes behind it.
fn array(source: Source) -> Result<(View, Source), FormatError> {
    let beginning = source.beginning(12)?;
    let (length, start) = match beginning.strip_prefix(MAGIC) {
        Some([1, _, low, high, ..]) => (usize::from(u16::from_le_bytes([*low, *high])), 10),
        Some([2 | 3, _, a, b, c, d]) => (u32::from_le_bytes([*a, *b, *c, *d]) as usize, 12),
        _ => return damaged("an array in it is no .npy file"),
    };
    if length > LONGEST_HEADER {
        return damaged("the header of an array in it is too long");
    }
    let header = source.read(start, length)?;
    let header = String::from_utf8_lossy(&header);
    let Some(view) = view(&header) else {
        return damaged("the header of an array in it is damaged");
    };
    let start = start + length as u64;
    match source.part(start, source.size() - start) {
        Some(bytes) => Ok((view, bytes)),
        None => damaged("an array in it is cut short"),
    }
}

/// From `{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }`.
fn view(header: &str) -> Option<View> {
    let descr = after(header, "descr")?;
    // The type of a structure is a list.
    let descr = match descr.strip_prefix(['\'', '"']) {
        Some(name) => name.split(['\'', '"']).next()?,
        None => "V",
    };
    let is_fortran = after(header, "fortran_order")?.starts_with("True");
    let sizes = sizes(after(header, "shape")?)?;
    let shape: Vec<i64> = sizes.take(MOST_AXES + 1).collect::<Option<_>>()?;
    (shape.len() <= MOST_AXES).then(|| View {
        kind: numpy_type(descr),
        big_endian: descr.starts_with('>'),
        offset: 0,
        strides: if is_fortran {
            Some(fortran_strides(&shape))
        } else {
            None
        },
        shape,
    })
}
