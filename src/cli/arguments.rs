//! Which arguments does the program get to see?
//!
//! Paths are recorded in `run.toml`, results and reports, which are text: an
//! argument that is no text is refused before any work begins. A `~` that no
//! shell has expanded, as in `--out=~/run` or `cifar10:~/data`, is the home
//! folder.

use std::ffi::OsString;

use super::exit::CliError;

/// `arguments` as text, with the home folder in place of `~`.
///
/// # Errors
/// Where an argument is not UTF-8, or needs a home folder and there is none.
pub fn read(arguments: impl Iterator<Item = OsString>) -> Result<Vec<String>, CliError> {
    let text = |argument: OsString| {
        let argument = argument.into_string().map_err(|argument| {
            CliError::argument(format!(
                "the argument '{}' is not UTF-8, and results could not record it; rename the file or folder",
                argument.display()
            ))
        })?;
        expand(&argument)
    };
    arguments.map(text).collect()
}

/// `text` with the home folder in place of a `~` that begins it, or begins what
/// follows the first `=` or `:`.
///
/// # Errors
/// Where there is such a `~` and no home folder.
pub fn expand(text: &str) -> Result<String, CliError> {
    let Some(at) = tilde(text) else {
        return Ok(text.to_string());
    };
    let home = std::env::home_dir().and_then(|home| home.into_os_string().into_string().ok());
    match home.filter(|home| !home.is_empty()) {
        Some(home) => Ok(format!("{}{home}{}", &text[..at], &text[at + 1..])),
        None => Err(CliError::argument(format!(
            "'{text}' needs a home folder, and there is none; set HOME, or write the whole path"
        ))),
    }
}

/// Where the `~` of [`expand`] stands.
fn tilde(text: &str) -> Option<usize> {
    let begins = |at: usize| matches!(text.as_bytes()[at..], [b'~'] | [b'~', b'/' | b'\\', ..]);
    let after = |mark: char| text.find(mark).map(|at| at + 1);
    [Some(0), after('='), after(':'), text.rfind([':', '=']).map(|at| at + 1)]
        .into_iter()
        .flatten()
        .find(|&at| at < text.len() && begins(at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tilde_is_found_where_a_path_begins() {
        for (text, at) in [
            ("~", Some(0)),
            ("~/run", Some(0)),
            ("--out=~/run", Some(6)),
            ("--out=~", Some(6)),
            ("cifar10:~/data", Some(8)),
            ("--data=cifar10:~/data", Some(15)),
            ("resnet20:shortcut=B=~/w.pth", Some(20)),
            ("~somebody/run", None),
            ("a~/b", None),
            ("runs/~/b", None),
            ("", None),
            ("--out=", None),
        ] {
            assert_eq!(tilde(text), at, "{text}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn what_is_no_text_is_refused() {
        use std::os::unix::ffi::OsStringExt as _;
        let arguments = [OsString::from("train"), OsString::from_vec(b"ru\xffn".to_vec())];
        let error = read(arguments.into_iter()).unwrap_err();
        assert!(error.line().contains("is not UTF-8"), "{}", error.line());
        assert_eq!(error.exit_code(), 2);
    }
}
