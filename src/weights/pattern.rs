//! How is a name with numbers in it translated? `block{s}.layer.{i}.conv{n}`
//! matches `block1.layer.0.conv2`, and `layer{s}.{i}.conv{n}` writes the same
//! numbers in another place.
//!
//! In braces there is a letter, and perhaps how the written number follows from
//! the letter's value: `{s+1}`, `{s-1}`, `{s*2}`.

/// The values of the letters of a pattern.
pub(super) type Numbers = Vec<(char, usize)>;

/// A part of a pattern.
enum Part<'a> {
    Text(&'a str),
    Number {
        letter: char,
        /// The written number is value × factor + offset.
        factor: usize,
        offset: isize,
    },
}

fn parts(pattern: &str) -> impl Iterator<Item = Part<'_>> {
    let mut rest = pattern;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let Some(inner) = rest.strip_prefix('{') else {
            let (text, after) = rest.split_at(rest.find('{').unwrap_or(rest.len()));
            rest = after;
            return Some(Part::Text(text));
        };
        let (inner, after) = inner.split_once('}')?;
        rest = after;
        let (letter, formula) = inner.split_at(1);
        let letter = letter.chars().next()?;
        let number = |digits: &str| digits.parse::<isize>().unwrap_or_default();
        let (factor, offset) = match formula.split_at_checked(1) {
            Some(("+", digits)) => (1, number(digits)),
            Some(("-", digits)) => (1, -number(digits)),
            Some(("*", digits)) => (number(digits).unsigned_abs(), 0),
            _ => (1, 0),
        };
        Some(Part::Number { letter, factor, offset })
    })
}

/// The numbers in `name`; `None` if it does not match. Equal letters must have
/// equal values.
pub(super) fn read(pattern: &str, name: &str) -> Option<Numbers> {
    let mut numbers = Numbers::new();
    let mut rest = name;
    for part in parts(pattern) {
        match part {
            Part::Text(text) => rest = rest.strip_prefix(text)?,
            Part::Number { letter, factor, offset } => {
                let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
                let (digits, after) = rest.split_at(end);
                // Another spelling of a number, such as 01, would not come back
                // as it was.
                let written: usize = digits.parse().ok().filter(|n: &usize| n.to_string() == digits)?;
                let scaled = written.checked_add_signed(-offset)?;
                if !scaled.is_multiple_of(factor) {
                    return None;
                }
                let value = scaled / factor;
                match numbers.iter().find(|(known, _)| *known == letter) {
                    Some((_, known)) if *known != value => return None,
                    Some(_) => {}
                    None => numbers.push((letter, value)),
                }
                rest = after;
            }
        }
    }
    rest.is_empty().then_some(numbers)
}

/// The name with these numbers; `None` where one is missing or too small.
pub(super) fn write(pattern: &str, numbers: &Numbers) -> Option<String> {
    let mut name = String::new();
    for part in parts(pattern) {
        match part {
            Part::Text(text) => name.push_str(text),
            Part::Number { letter, factor, offset } => {
                let (_, value) = numbers.iter().find(|(known, _)| *known == letter)?;
                let written = value.checked_mul(factor)?.checked_add_signed(offset)?;
                name.push_str(&written.to_string());
            }
        }
    }
    Some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn translated(from: &str, to: &str, name: &str) -> Option<String> {
        write(to, &read(from, name)?)
    }

    #[test]
    fn numbers_move_to_other_places_and_back() {
        for (foreign, canonical, name, expected) in [
            (
                "block{s}.layer.{i}.conv{n}",
                "layer{s}.{i}.conv{n}",
                "block3.layer.11.conv2",
                "layer3.11.conv2",
            ),
            ("conv{s+1}_x.{i}", "layer{s}.{i}", "conv2_x.0", "layer1.0"),
            ("group{s-1}.block{i}", "layer{s}.{i}", "group0.block3", "layer1.3"),
            ("layers_{s*2}n.{i}", "layer{s}.{i}", "layers_6n.2", "layer3.2"),
        ] {
            assert_eq!(translated(foreign, canonical, name).as_deref(), Some(expected));
            assert_eq!(translated(canonical, foreign, expected).as_deref(), Some(name));
        }
    }

    #[test]
    fn other_names_do_not_match() {
        for (pattern, name) in [
            ("layer{s}.{i}", "layer1"),
            ("layer{s}.{i}", "layer1.0.conv1"),
            ("layer{s}.{i}", "layer1.00"),
            ("layer{s}.{i}", "layer1.x"),
            ("layers_{s*2}n", "layers_3n"),
            ("conv{s+1}_x", "conv0_x"),
            ("{s}.{s}", "1.2"),
            ("layer{s}", "layer99999999999999999999999"),
        ] {
            assert_eq!(read(pattern, name), None, "{pattern} {name}");
        }
        assert_eq!(write("{s-1}", &vec![('s', 0)]), None);
        assert_eq!(write("{i}", &vec![('s', 0)]), None);
    }
}
