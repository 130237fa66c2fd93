//! Which network does `--model` name? `FILE.toml` is read here, so that
//! everything else knows a network by its text alone.

use std::path::Path;

use super::arguments::expand;
use super::exit::CliError;
use crate::models::{ModelSpec, NetworkFile};

/// The extension of a file that describes a network.
const EXTENSION: &str = ".toml";

/// Whether `text` is the name of a file that describes a network, with or
/// without options.
pub fn is_network_file(text: &str) -> bool {
    parts(text).is_some()
}

/// The file and the options of `FILE.toml:option=value,option=value`.
fn parts(text: &str) -> Option<(&Path, &str)> {
    if NetworkFile::is_text(text) {
        return None;
    }
    let lower = text.to_ascii_lowercase();
    let (path, options) = match lower.find(&format!("{EXTENSION}:")) {
        Some(at) => (&text[..at + EXTENSION.len()], &text[at + EXTENSION.len() + 1..]),
        None if lower.ends_with(EXTENSION) => (text, ""),
        None => return None,
    };
    Some((Path::new(path), options))
}

/// The text of the model that `--model` says: a name as it is, and what is in the
/// file `FILE.toml`.
///
/// # Errors
/// Where the file cannot be read, describes no network, or has no such option.
pub fn model_text(text: &str) -> Result<String, CliError> {
    let text = expand(text)?;
    match parts(&text) {
        None => Ok(text),
        Some((path, options)) => Ok(network(path, options)?.text()),
    }
}

/// The model that `--model` says.
///
/// # Errors
/// As [`model_text`], and where no model has the name.
pub fn model_spec(text: &str) -> Result<ModelSpec, CliError> {
    Ok(model_text(text)?.parse::<ModelSpec>()?)
}

fn network(path: &Path, options: &str) -> Result<ModelSpec, CliError> {
    let mut spec = ModelSpec::from(NetworkFile::read(path)?);
    for option in options.split(',').filter(|option| !option.is_empty()) {
        let Some((option, value)) = option.split_once('=') else {
            return Err(CliError::argument(format!(
                "'{option}' is not an option: write {}:key=value,key=value",
                path.display()
            )));
        };
        spec = spec.with(option, value)?;
    }
    Ok(spec)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_file_is_told_from_a_name() {
        for text in ["a.toml", "dir/A.TOML", "net.toml:dropout=0.3", "C:\\x\\net.toml"] {
            assert!(is_network_file(text), "{text}");
        }
        for text in [
            "resnet20",
            "wrn-28-10:dropout=0.3",
            "a.toml.pth",
            "name = 'a'\nx = 'b.toml'\n",
        ] {
            assert!(!is_network_file(text), "{text}");
        }
    }

    #[test]
    fn options_change_the_network_of_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("own.toml");
        std::fs::write(
            &path,
            "[stem]\nwidth = 8\n[[stage]]\nblocks = 1\nkernels = [[3, 8], [3, 8]]\n",
        )
        .unwrap();
        let path = path.to_str().unwrap();
        let plain = model_spec(path).unwrap();
        assert!(plain.to_string().starts_with("own@"), "{plain}");
        let dropped = model_text(&format!("{path}:dropout=0.3")).unwrap();
        assert!(dropped.contains("dropout = 0.3"), "{dropped}");
        assert_ne!(dropped.parse::<ModelSpec>().unwrap().to_string(), plain.to_string());
        assert_eq!(model_text("resnet20").unwrap(), "resnet20");
        let wrong = |text: &str| model_text(text).unwrap_err().line();
        assert!(wrong(&format!("{path}:depth")).contains("'depth' is not an option"));
        assert!(wrong(&format!("{path}:stem=cifar")).contains("has no option 'stem'"));
        assert!(wrong("no-such-file.toml").contains("no-such-file.toml: it cannot be read"));
    }
}
