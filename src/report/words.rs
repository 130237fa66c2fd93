//! How is text escaped, measured, wrapped and shortened for a drawing?

/// The average advance of a sans-serif font as a share of its size. A little
/// too wide, because the reader's font is unknown.
const AVERAGE: f64 = 0.57;

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
            '\u{0}'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{fffe}' | '\u{ffff}' => escaped.push('\u{fffd}'),
            other => escaped.push(other),
        }
    }
    escaped
}

/// An estimate of the width of `text` at font size `size`.
pub(super) fn width(text: &str, size: f64) -> f64 {
    text.chars().map(advance).sum::<f64>() * size
}

fn advance(character: char) -> f64 {
    match character {
        'i' | 'j' | 'l' | '.' | ',' | ':' | ';' | '|' | '!' | '\'' => 0.28,
        ' ' | 'f' | 't' | 'r' | 'I' | '(' | ')' | '[' | ']' | '/' | '-' => 0.36,
        'm' | 'w' | 'M' | 'W' | '%' | '@' => 0.9,
        'A'..='Z' => 0.7,
        other if other as u32 >= 0x2e80 => 1.0,
        _ => AVERAGE,
    }
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
        used += advance(*character) * size;
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
    fn markup_cannot_get_out_of_a_text() {
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
