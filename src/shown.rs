//! How is text from files and arguments shown, so that it cannot disturb what
//! stands around it?

use std::path::Path;

/// The longest name that is shown whole, in characters. The longest canonical
/// name has about 30.
const LONGEST: usize = 120;
/// The characters that are shown of a longer one, at its beginning and end.
const ENDS: (usize, usize) = (70, 40);
/// The longest path that is shown whole, in characters.
const LONGEST_PATH: usize = 1000;

/// A name from a file in one short line: control characters and those that
/// change the direction of text are escaped, and the middle of a very long name
/// is left out.
pub fn shown(text: &str) -> String {
    within(text, LONGEST)
}

/// A path in one line, as [`shown`].
pub fn shown_path(path: &Path) -> String {
    within(&path.to_string_lossy(), LONGEST_PATH)
}

/// A sentence that quotes a file, in one line, as [`shown`].
pub fn shown_sentence(text: &str) -> String {
    within(text, LONGEST_PATH)
}

/// `text` in one line: what would disturb it is escaped, nothing is left out.
pub fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    text.chars().for_each(|character| push(&mut line, character));
    line
}

fn within(text: &str, longest: usize) -> String {
    let count = text.chars().count();
    if count <= longest {
        return one_line(text);
    }
    let (first, last) = ENDS;
    let mut line = String::new();
    text.chars()
        .take(first)
        .for_each(|character| push(&mut line, character));
    line.push('…');
    text.chars()
        .skip(count - last)
        .for_each(|character| push(&mut line, character));
    line.push_str(&format!(" ({count} characters)"));
    line
}

fn push(line: &mut String, character: char) {
    if is_disturbing(character) {
        line.extend(character.escape_default());
    } else {
        line.push(character);
    }
}

/// Control characters (Unicode's class Cc), line and paragraph separators, and
/// invisible characters that change the direction of text or have no width.
pub fn is_disturbing(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_names_stay() {
        for name in ["layer1.0.conv1.weight", "", "Flugzeug ✈ 飛行機", "a\\b'c"] {
            assert_eq!(shown(name), name);
        }
    }

    #[test]
    fn what_could_disturb_is_escaped() {
        assert_eq!(
            shown("a\x1b[2J\nerror: fine\r\t\0\u{202e}"),
            "a\\u{1b}[2J\\nerror: fine\\r\\t\\u{0}\\u{202e}"
        );
        assert_eq!(shown_path(Path::new("a\nb/c")), "a\\nb/c");
    }

    #[test]
    fn a_long_name_is_shortened_in_its_middle() {
        let long = format!("layer1.{}.weight", "A".repeat(1_000_000));
        let short = shown(&long);
        assert!(short.starts_with("layer1.AAA"), "{short}");
        assert!(short.ends_with("AAA.weight (1000014 characters)"), "{short}");
        assert!(short.chars().count() < 140);
        assert_eq!(shown(&"é".repeat(LONGEST)).chars().count(), LONGEST);
        assert!(shown(&"\x1b".repeat(5_000_000)).len() < 1000);
    }
}
