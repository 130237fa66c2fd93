//! Which names does the user translate, before a dialect is looked for?

use std::fmt;
use std::str::FromStr;

use super::{TensorMap, WeightsError};

/// A translation of names, written `FROM=TO`: of the tensor or layer that is
/// named so, and of everything below it (`encoder` stands for
/// `encoder.conv1.weight`, too). A FROM that ends with a dot or an underscore is
/// a beginning of names. TO may be empty.
///
/// ```
/// use residua::weights::Rename;
///
/// let rename: Rename = "first_layer=conv1".parse()?;
/// assert_eq!(rename.apply("first_layer.weight").as_deref(), Some("conv1.weight"));
/// assert_eq!(rename.apply("first_layer2.weight"), None);
/// # Ok::<(), residua::weights::WeightsError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rename {
    from: String,
    to: String,
}

impl Rename {
    /// The new name of a tensor; `None` if this is not about it.
    pub fn apply(&self, name: &str) -> Option<String> {
        let rest = name.strip_prefix(&self.from)?;
        let whole = rest.is_empty() || rest.starts_with('.') || self.from.ends_with(['.', '_']);
        let rest = if self.to.is_empty() {
            rest.trim_start_matches('.')
        } else {
            rest
        };
        whole.then(|| format!("{}{rest}", self.to))
    }
}

impl FromStr for Rename {
    type Err = WeightsError;

    fn from_str(text: &str) -> Result<Self, WeightsError> {
        match text.split_once('=') {
            Some((from, to)) if !from.is_empty() => Ok(Self {
                from: from.to_owned(),
                to: to.to_owned(),
            }),
            _ => Err(WeightsError::NoRename { given: text.to_owned() }),
        }
    }
}

impl fmt::Display for Rename {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.from, self.to)
    }
}

/// Renames tensors; the first translation that is about a name decides.
///
/// # Errors
/// If a translation is about no tensor, or two tensors get one name.
pub(super) fn rename(tensors: TensorMap, renames: &[Rename]) -> Result<TensorMap, WeightsError> {
    if let Some(idle) = renames
        .iter()
        .find(|rename| !tensors.keys().any(|name| rename.apply(name).is_some()))
    {
        return Err(WeightsError::IdleRename {
            rename: idle.to_string(),
        });
    }
    let mut renamed = TensorMap::new();
    for (name, tensor) in tensors {
        let name = new_name(&name, renames);
        if renamed.contains_key(&name) {
            return Err(WeightsError::Duplicate { name });
        }
        renamed.insert(name, tensor);
    }
    Ok(renamed)
}

/// The name after all translations.
pub(super) fn new_name(name: &str, renames: &[Rename]) -> String {
    let new = renames.iter().find_map(|rename| rename.apply(name));
    new.unwrap_or_else(|| name.to_owned())
}
