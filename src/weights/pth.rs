//! How are files of `torch.save` read? They contain a pickle that describes
//! the tensors, and the tensors' bytes: in a zip archive since PyTorch 1.6, one
//! after the other before.

use std::collections::BTreeMap;

use super::error::Damage;
use super::float::Float;
use super::pickle::{Id, Object, Pickle};
use super::tensor::count;
use super::{Loaded, Tensor, TensorMap, zip};

const ZIP: &[u8] = b"PK\x03\x04";

/// The pickle of PyTorch's magic number: the older format begins with it.
const LEGACY: &[u8] = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.";

/// Names of the table of tensors in the files of training scripts that save
/// other values, too.
const TABLES: [&str; 5] = ["state_dict", "model_state_dict", "model_state", "model", "net"];

/// Whether the bytes begin like a file of `torch.save`.
pub(super) fn recognises(bytes: &[u8]) -> bool {
    bytes.starts_with(ZIP) || bytes.starts_with(LEGACY)
}

/// The floating-point tensors of a checkpoint; integer counters are left out.
/// Other numbers and texts (an epoch, an accuracy) become metadata.
pub(super) fn decode(bytes: &[u8]) -> Result<Loaded, Damage> {
    let checkpoint = if bytes.starts_with(ZIP) {
        from_zip(bytes)?
    } else {
        from_legacy(bytes)?
    };
    let pickle = &checkpoint.pickle;
    let root = checkpoint.table(pickle.root()).ok_or(Damage::NoTable)?;
    let inner = TABLES
        .iter()
        .find_map(|name| checkpoint.table(pickle.object(*root.get(name)?)));
    // Tensors may share bytes. The total number of values is limited to the
    // number of bytes of the file, so a damaged file cannot exhaust memory.
    let mut budget = bytes.len();
    let mut tensors = TensorMap::new();
    for (name, id) in inner.as_ref().unwrap_or(&root) {
        if let Some(tensor) = checkpoint.tensor(name, *id, &mut budget)? {
            tensors.insert((*name).to_owned(), tensor);
        }
    }
    let facts = root
        .iter()
        .filter_map(|(name, id)| Some(((*name).to_owned(), fact(pickle.object(*id))?)));
    Ok(Loaded {
        tensors,
        metadata: facts.collect(),
    })
}

fn fact(object: &Object) -> Option<String> {
    match object {
        Object::Int(value) => Some(value.to_string()),
        Object::Float(value) => Some(value.to_string()),
        Object::Text(text) => Some(text.clone()),
        _ => None,
    }
}

/// A pickle and the storages that it refers to, by their keys.
struct Checkpoint<'a> {
    pickle: Pickle,
    storages: BTreeMap<String, &'a [u8]>,
}

fn from_zip(bytes: &[u8]) -> Result<Checkpoint<'_>, Damage> {
    let files = zip::files(bytes)?;
    let folder = files.keys().find_map(|name| name.strip_suffix("data.pkl"));
    let folder = folder.ok_or("it holds no data.pkl")?;
    if files
        .get(format!("{folder}byteorder").as_str())
        .is_some_and(|order| *order != b"little")
    {
        return Err("it was saved on a big-endian machine".into());
    }
    let pickle = Pickle::parse(files[format!("{folder}data.pkl").as_str()])?;
    let data = format!("{folder}data/");
    let storages = files
        .iter()
        .filter_map(|(name, bytes)| Some((name.strip_prefix(&data)?.to_owned(), *bytes)));
    Ok(Checkpoint {
        storages: storages.collect(),
        pickle,
    })
}

/// The older format: five pickles (magic number, version, machine, tensors, keys
/// of the storages), then for each key the length and the bytes.
fn from_legacy(bytes: &[u8]) -> Result<Checkpoint<'_>, Damage> {
    let mut rest = bytes;
    let mut next = || {
        let pickle = Pickle::parse(rest)?;
        rest = &rest[pickle.size()..];
        Ok::<_, String>(pickle)
    };
    let (_magic, _version, _machine) = (next()?, next()?, next()?);
    let (pickle, keys) = (next()?, next()?);
    let Object::List(order) = keys.root() else {
        return Err("it does not list its storages".into());
    };
    let sizes = element_sizes(&pickle);
    let mut storages = BTreeMap::new();
    for id in order {
        let Object::Text(key) = keys.object(*id) else {
            return Err("it does not name its storages".into());
        };
        let element = sizes
            .get(key.as_str())
            .ok_or("it lists a storage that no tensor uses")?;
        let (length, data) = rest.split_first_chunk().ok_or("its storages are cut short")?;
        let size = usize::try_from(u64::from_le_bytes(*length)).ok();
        let size = size.and_then(|length| length.checked_mul(*element));
        let split = size.and_then(|size| data.split_at_checked(size));
        let (data, after) = split.ok_or("its storages are cut short")?;
        storages.insert(key.clone(), data);
        rest = after;
    }
    Ok(Checkpoint { pickle, storages })
}

/// The number of bytes per element of each storage, by the storage's key.
fn element_sizes(pickle: &Pickle) -> BTreeMap<&str, usize> {
    let storages = pickle.objects().iter().filter_map(|object| Storage::of(pickle, object));
    storages
        .filter_map(|storage| Some((storage.key, element_size(storage.class)?)))
        .collect()
}

fn element_size(class: &str) -> Option<usize> {
    match class {
        "torch.BoolStorage" | "torch.ByteStorage" | "torch.CharStorage" => Some(1),
        "torch.ShortStorage" | "torch.HalfStorage" | "torch.BFloat16Storage" => Some(2),
        "torch.IntStorage" | "torch.FloatStorage" => Some(4),
        "torch.LongStorage" | "torch.DoubleStorage" => Some(8),
        _ => None,
    }
}

/// The storage that a tensor is a view of, as a pickle describes it.
struct Storage<'a> {
    class: &'a str,
    key: &'a str,
}

impl<'a> Storage<'a> {
    /// From `('storage', class, key, location, length, …)`.
    fn of(pickle: &'a Pickle, object: &Object) -> Option<Self> {
        let Object::Stored(id) = object else { return None };
        let Object::Tuple(parts) = pickle.object(*id) else {
            return None;
        };
        let [_, class, key, ..] = parts[..] else {
            return None;
        };
        match (pickle.object(class), pickle.object(key)) {
            (Object::Global(class), Object::Text(key)) => Some(Self { class, key }),
            _ => None,
        }
    }
}

/// A tensor as a pickle describes it: elements of a storage from an offset on.
/// `shape` has their number along each axis, `strides` their distance.
struct View<'a> {
    storage: Storage<'a>,
    offset: usize,
    shape: Vec<usize>,
    strides: Vec<usize>,
}

impl Checkpoint<'_> {
    /// The entries of a table whose keys are texts.
    fn table(&self, object: &Object) -> Option<BTreeMap<&str, Id>> {
        let Object::Dict(pairs) = object else { return None };
        let entries = pairs.iter().filter_map(|(key, value)| match self.pickle.object(*key) {
            Object::Text(name) => Some((name.as_str(), *value)),
            _ => None,
        });
        Some(entries.collect())
    }

    /// The tensor of an object; `None` if it is no tensor, or an integer one.
    fn tensor(&self, name: &str, id: Id, budget: &mut usize) -> Result<Option<Tensor>, Damage> {
        let Some(view) = self.view(id) else {
            return Ok(None);
        };
        let float = match view.storage.class {
            "torch.HalfStorage" => Float::F16,
            "torch.BFloat16Storage" => Float::BF16,
            "torch.FloatStorage" => Float::F32,
            "torch.DoubleStorage" => Float::F64,
            "torch.LongStorage" | "torch.IntStorage" => return Ok(None),
            other => {
                return Err(Damage::Type {
                    tensor: name.to_owned(),
                    dtype: other.to_owned(),
                });
            }
        };
        let problem = || format!("tensor '{name}' reaches beyond the file");
        let bytes = self.storages.get(view.storage.key).ok_or_else(problem)?;
        *budget = count(&view.shape)
            .and_then(|count| budget.checked_sub(count))
            .ok_or_else(problem)?;
        let data = view.values(float, bytes).ok_or_else(problem)?;
        Ok(Some(Tensor {
            shape: view.shape,
            data,
        }))
    }

    /// The view of `_rebuild_tensor(storage, offset, shape, strides, …)`.
    fn view(&self, id: Id) -> Option<View<'_>> {
        let (function, arguments) = self.call(id)?;
        match (function, arguments) {
            ("torch._utils._rebuild_parameter", [tensor, ..]) => {
                let (function, arguments) = self.call(*tensor)?;
                self.rebuilt(function, arguments)
            }
            _ => self.rebuilt(function, arguments),
        }
    }

    fn rebuilt(&self, function: &str, arguments: &[Id]) -> Option<View<'_>> {
        let is_tensor = matches!(
            function,
            "torch._utils._rebuild_tensor" | "torch._utils._rebuild_tensor_v2"
        );
        let [storage, offset, shape, strides, ..] = *arguments else {
            return None;
        };
        is_tensor.then_some(View {
            storage: Storage::of(&self.pickle, self.pickle.object(storage))?,
            offset: self.whole(offset)?,
            shape: self.wholes(shape)?,
            strides: self.wholes(strides)?,
        })
    }

    fn call(&self, id: Id) -> Option<(&str, &[Id])> {
        let Object::Call { function, arguments } = self.pickle.object(id) else {
            return None;
        };
        match (self.pickle.object(*function), self.pickle.object(*arguments)) {
            (Object::Global(name), Object::Tuple(arguments)) => Some((name, arguments)),
            _ => None,
        }
    }

    fn whole(&self, id: Id) -> Option<usize> {
        match self.pickle.object(id) {
            Object::Int(value) => usize::try_from(*value).ok(),
            _ => None,
        }
    }

    fn wholes(&self, id: Id) -> Option<Vec<usize>> {
        match self.pickle.object(id) {
            Object::Tuple(items) => items.iter().map(|item| self.whole(*item)).collect(),
            _ => None,
        }
    }
}

impl View<'_> {
    /// The values in the order of the shape, the last axis fastest.
    fn values(&self, float: Float, bytes: &[u8]) -> Option<Vec<f32>> {
        if self.shape.len() != self.strides.len() {
            return None;
        }
        let values = (0..count(&self.shape)?).map(|position| {
            let start = self.element(position)?.checked_mul(float.size())?;
            float.decode(bytes.get(start..)?)
        });
        values.collect()
    }

    /// The index in the storage of the value at a position of the tensor.
    fn element(&self, mut position: usize) -> Option<usize> {
        let mut element = self.offset;
        for (extent, stride) in std::iter::zip(&self.shape, &self.strides).rev() {
            element = element.checked_add((position % extent).checked_mul(*stride)?)?;
            position /= extent;
        }
        Some(element)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SMALL: &[u8] = include_bytes!("fixtures/small.pth");
    const SMALL_LEGACY: &[u8] = include_bytes!("fixtures/small_legacy.pth");

    fn check(loaded: &Loaded) {
        let names: Vec<&str> = loaded.tensors.keys().map(String::as_str).collect();
        assert_eq!(
            names,
            [
                "bfloat",
                "double",
                "empty",
                "float",
                "half",
                "parameter",
                "scalar",
                "slice",
                "transposed"
            ]
        );
        let tensor = |name: &str| (&loaded.tensors[name].shape[..], &loaded.tensors[name].data[..]);
        for name in ["bfloat", "double", "float", "half", "parameter"] {
            assert_eq!(tensor(name), (&[2, 3][..], &[0., 1., 2., 3., 4., 5.][..]), "{name}");
        }
        assert_eq!(tensor("transposed"), (&[3, 2][..], &[0., 3., 1., 4., 2., 5.][..]));
        assert_eq!(tensor("slice"), (&[2][..], &[4., 5.][..]));
        assert_eq!(tensor("scalar"), (&[][..], &[2.5][..]));
        assert_eq!(tensor("empty"), (&[0, 3][..], &[][..]));
        assert_eq!(loaded.metadata["epoch"], "12");
        assert_eq!(loaded.metadata["arch"], "small");
    }

    #[test]
    fn reads_both_forms() {
        check(&decode(SMALL).unwrap());
        check(&decode(SMALL_LEGACY).unwrap());
    }

    #[test]
    fn every_truncation_is_an_error() {
        for whole in [SMALL, SMALL_LEGACY] {
            for length in 0..whole.len() {
                assert!(decode(&whole[..length]).is_err(), "{length}");
            }
        }
    }

    proptest! {
        #[test]
        fn damaged_bytes_never_panic(position: prop::sample::Index, byte: u8) {
            for whole in [SMALL, SMALL_LEGACY] {
                let mut bytes = whole.to_vec();
                bytes[position.index(whole.len())] = byte;
                let _ = decode(&bytes);
            }
        }
    }
}
