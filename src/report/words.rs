//! How is text escaped, measured, wrapped and shortened for a drawing?

use super::advances::{ASCII_BOLD, ASCII_REGULAR, OTHERS};
use crate::shown::is_disturbing;

/// The advance of a character that no measured font has, in thousandths of the
/// font size: more than an ideograph, less than an emoji.
const UNKNOWN: u16 = 1100;
/// The advance of an emoji, in thousandths of the font size.
const EMOJI: u16 = 1400;

/// `text` for XML and HTML, inside elements and quoted attributes. Characters
/// that XML cannot hold become the replacement character.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\n' | '\r' | '\t' => escaped.push(' '),
            '\u{fffe}' | '\u{ffff}' => escaped.push('\u{fffd}'),
            other if is_disturbing(other) => escaped.push('\u{fffd}'),
            other => escaped.push(other),
        }
    }
    escaped
}

/// The width of `text` at font size `size`, in the widest of the sans-serif
/// families that viewers use: none of them draws it wider.
pub(super) fn width(text: &str, size: f64) -> f64 {
    text.chars().map(|character| advance(character, false)).sum::<f64>() * size
}

/// As [`width`], for bold text.
pub(super) fn bold_width(text: &str, size: f64) -> f64 {
    text.chars().map(|character| advance(character, true)).sum::<f64>() * size
}

/// The advance of a character as a share of the font size.
fn advance(character: char, bold: bool) -> f64 {
    let ascii = if bold { &ASCII_BOLD } else { &ASCII_REGULAR };
    let place = (character as usize).checked_sub(0x20);
    let thousandths = match place.and_then(|place| ascii.get(place)) {
        Some(&known) => known,
        None => match OTHERS.binary_search_by_key(&character, |row| row.0) {
            Ok(row) if bold => OTHERS[row].2,
            Ok(row) => OTHERS[row].1,
            Err(_) if character >= '\u{1f000}' => EMOJI,
            Err(_) => UNKNOWN,
        },
    };
    f64::from(thousandths) / 1000.0
}

/// `text` in lines that are at most `limit` wide by `measure`. A word that is
/// longer gets a line of its own.
pub(super) fn wrap(text: &str, limit: f64, measure: impl Fn(&str) -> f64) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in text.split_whitespace() {
        let longer = if line.is_empty() {
            word.to_string()
        } else {
            format!("{line} {word}")
        };
        if !line.is_empty() && measure(&longer) > limit {
            lines.push(std::mem::replace(&mut line, word.to_string()));
        } else {
            line = longer;
        }
    }
    if !line.is_empty() {
        lines.push(line);
    }
    lines
}

/// `text`, shortened with an ellipsis where it is wider than `limit` at font size
/// `size`.
pub(super) fn shorten(text: &str, size: f64, limit: f64) -> String {
    if width(text, size) <= limit {
        return text.to_string();
    }
    let room = limit - width("…", size);
    let mut used = 0.0;
    let fits = |character: &char| {
        used += advance(*character, false) * size;
        used <= room
    };
    let mut short: String = text.chars().take_while(fits).collect();
    short.push('…');
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_characters_can_be_searched() {
        assert!(OTHERS.is_sorted_by(|one, other| one.0 < other.0));
        // An em dash is as wide as the font is high, in every family.
        assert_eq!(width("—", 12.0), 12.0);
        assert_eq!(width("漢", 10.0), 11.0);
        assert!(bold_width("deleted", 1.0) > width("deleted", 1.0));
    }

    #[test]
    fn markup_cannot_get_out_of_a_text() {
        assert_eq!(escape("\u{202e}\u{1b}[2J"), "\u{fffd}\u{fffd}[2J");
        assert_eq!(escape("a<b & \"c\"\u{0}"), "a&lt;b &amp; &quot;c&quot;\u{fffd}");
    }

    #[test]
    fn lines_hold_what_fits() {
        let lines = wrap("one two three", 7.0, |line| line.chars().count() as f64);
        assert_eq!(lines, ["one two", "three"]);
        assert_eq!(wrap("immeasurable", 3.0, |line| line.len() as f64), ["immeasurable"]);
        assert!(wrap("", 3.0, |line| line.len() as f64).is_empty());
    }

    #[test]
    fn cut_text_says_so_and_fits() {
        let short = shorten("layer3.12.conv2.weight", 12.0, 60.0);
        assert!(short.ends_with('…') && width(&short, 12.0) <= 60.0, "{short}");
        assert_eq!(shorten("block 3", 12.0, 60.0), "block 3");
    }
}
