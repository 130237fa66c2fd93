//! Are the drawings in `docs/networks.md` what the program draws?

use std::path::Path;

use crate::support::program::{failure, printed, program};

/// The words after `residua draw` in the commands of the document, and the file that
/// each makes.
fn commands() -> Vec<(Vec<String>, String)> {
    let text = std::fs::read_to_string(root().join("docs/networks.md")).unwrap();
    let commands = text.lines().filter_map(|line| line.strip_prefix("    residua draw "));
    let of_a_file = commands.filter_map(|command| command.split_once(" --out docs/"));
    of_a_file
        .map(|(words, file)| (words.split(' ').map(str::to_string).collect(), format!("docs/{file}")))
        .collect()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn the_drawings_in_the_documents_are_those_of_the_program() {
    let commands = commands();
    assert!(commands.len() > 10, "{commands:?}");
    let drawn: Vec<&String> = commands.iter().map(|(_, file)| file).collect();
    for entry in std::fs::read_dir(root().join("docs/networks")).unwrap() {
        let file = format!("docs/networks/{}", entry.unwrap().file_name().to_str().unwrap());
        assert!(drawn.contains(&&file), "{file}: docs/networks.md has no command for it");
    }
    for (words, file) in &commands {
        let found = printed(program("residua").arg("draw").args(words));
        let kept = std::fs::read_to_string(root().join(file)).unwrap_or_default();
        assert!(
            found == kept,
            "{file} is not what `residua draw {}` draws: remove it, and run the command of docs/networks.md again",
            words.join(" ")
        );
    }
}

#[test]
fn a_drawing_is_a_file_that_replaces_none() {
    let folder = tempfile::tempdir().unwrap();
    let draw = |file: &str| {
        let mut draw = program("residua");
        draw.args(["draw", "resnet8", "--out"]).arg(folder.path().join(file));
        draw
    };
    for file in ["drawing.svg", "drawing.png"] {
        printed(&mut draw(file));
        assert!(folder.path().join(file).exists());
        let (code, error) = failure(&mut draw(file));
        assert!(code == 1 && error.contains("exists"), "{code}: {error}");
    }
    let pixels = std::fs::read(folder.path().join("drawing.png")).unwrap();
    assert!(pixels.starts_with(b"\x89PNG"));
    for (file, reason) in [("drawing.pdf", ".svg or .png"), ("drawing", ".svg or .png")] {
        let (code, error) = failure(&mut draw(file));
        assert!(code == 2 && error.contains(reason), "{code}: {error}");
    }
    let (code, error) = failure(program("residua").args(["draw", "resnet9"]));
    assert!(code == 2 && error.contains("resnet9"), "{code}: {error}");
}
