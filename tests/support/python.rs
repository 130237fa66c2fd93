//! Which Python has the packages that a test compares with?

use std::path::{Path, PathBuf};
use std::process::Command;

/// The Python that was `asked` for: the path of one that has `packages`, or `1` to
/// install them in a virtual environment `target/PLACE`. The error says why there is
/// none.
pub fn python_with(asked: &str, place: &str, packages: &[&str]) -> Result<PathBuf, String> {
    if asked != "1" {
        return Ok(asked.into());
    }
    let place = Path::new(env!("CARGO_MANIFEST_DIR")).join("target").join(place);
    let python = place.join("bin/python");
    let run = |command: &mut Command| {
        let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        let last = error.lines().last().unwrap_or_default().to_owned();
        output.status.success().then_some(()).ok_or(last)
    };
    run(Command::new("python3").args(["-m", "venv"]).arg(&place))?;
    run(Command::new(&python)
        .args(["-m", "pip", "install", "--quiet"])
        .args(packages))?;
    Ok(python)
}
