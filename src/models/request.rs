//! Which model is asked for? Its name and options as they are written, before
//! a family interprets them.

use std::{fmt, str::FromStr};

use super::{ModelError, spelling};

/// A name, and the options that the family has not read yet.
#[derive(Debug)]
pub(super) struct ModelRequest {
    /// The name in lower case, with hyphens for underscores: `wrn-28-10`.
    pub name: String,
    options: Vec<(String, String)>,
    /// Every option that the family has looked for: those that it knows.
    known: Vec<&'static str>,
}

/// The longest name with its options, in bytes; far longer than any model's.
const LONGEST: usize = 1000;

impl FromStr for ModelRequest {
    type Err = ModelError;

    fn from_str(text: &str) -> Result<Self, ModelError> {
        if text.len() > LONGEST {
            return Err(ModelError::UnknownModel { name: text.to_owned() });
        }
        let (name, list) = match text.split_once(':') {
            Some((name, list)) => (name, split_outside_parentheses(list)),
            None => (text, Vec::new()),
        };
        let mut options: Vec<(String, String)> = Vec::new();
        for text in list {
            let (option, value) = read_option(text)?;
            if options.iter().any(|(earlier, _)| *earlier == option) {
                return Err(ModelError::Duplicate { option });
            }
            options.push((option, value));
        }
        Ok(ModelRequest {
            name: spelling::usual(name),
            options,
            known: Vec::new(),
        })
    }
}

/// Splits at commas, but not inside parentheses: `B(1,3),l=2` has two parts.
/// After a parenthesis that is never closed there is no split; the option's
/// reader refuses the result.
fn split_outside_parentheses(list: &str) -> Vec<&str> {
    let mut open = 0_usize;
    list.split(|c| {
        match c {
            '(' => open += 1,
            ')' => open = open.saturating_sub(1),
            _ => {}
        }
        c == ',' && open == 0
    })
    .collect()
}

fn read_option(text: &str) -> Result<(String, String), ModelError> {
    match text.split_once('=') {
        Some((option, value)) if !option.trim().is_empty() && !value.trim().is_empty() => {
            Ok((option.trim().to_ascii_lowercase(), value.trim().to_string()))
        }
        _ => Err(ModelError::Malformed {
            text: text.trim().to_string(),
        }),
    }
}

impl ModelRequest {
    /// A request with these options.
    pub fn new(name: &str, options: impl Iterator<Item = (String, String)>) -> Self {
        ModelRequest {
            name: name.to_string(),
            options: options.collect(),
            known: Vec::new(),
        }
    }

    /// The numbers in a name of `family`: 28 and 10 for `wrn-28-10`. `None` if
    /// the name is not the family's or has not N numbers. The first hyphen may
    /// be left out, and `x` may replace the others.
    pub fn sizes<const N: usize>(&self, family: &str) -> Option<[usize; N]> {
        self.sizes_in(&self.name, family)
    }

    /// As [`Self::sizes`], for a part of the name.
    pub fn sizes_in<const N: usize>(&self, name: &str, family: &str) -> Option<[usize; N]> {
        let rest = name.strip_prefix(family)?;
        let rest = rest.strip_prefix('-').unwrap_or(rest);
        let sizes: Option<Vec<usize>> = rest.split(['-', 'x']).map(number).collect();
        sizes?.try_into().ok()
    }

    /// Sets `option` to `value`, and replaces a value that it had.
    pub fn set(&mut self, option: &str, value: &str) {
        let option = option.trim().to_ascii_lowercase();
        self.options.retain(|(earlier, _)| *earlier != option);
        self.options.push((option, value.trim().to_string()));
    }

    /// Removes `option` and returns its value as `read` reads it; `None` if
    /// the option is not given. `expected` says which values `read` accepts.
    pub fn take<T>(
        &mut self,
        option: &'static str,
        expected: impl fmt::Display,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, ModelError> {
        self.known.push(option);
        let Some(index) = self.options.iter().position(|(given, _)| given == option) else {
            return Ok(None);
        };
        let (_, value) = self.options.remove(index);
        match read(&value) {
            Some(read) => Ok(Some(read)),
            None => Err(ModelError::Value {
                model: self.name.clone(),
                option,
                value,
                expected: expected.to_string(),
            }),
        }
    }

    /// As [`Self::take`], for an option whose values are the names in
    /// `choices`.
    pub fn choose<T: Copy>(
        &mut self,
        option: &'static str,
        choices: &[(&'static str, T)],
    ) -> Result<Option<T>, ModelError> {
        let names: Vec<&str> = choices.iter().map(|&(name, _)| name).collect();
        self.take(option, names.join(" or "), |value| {
            let chosen = choices.iter().find(|(name, _)| name.eq_ignore_ascii_case(value));
            chosen.map(|&(_, choice)| choice)
        })
    }

    /// As [`Self::take`], for an option that is `yes` or `no`.
    pub fn yes_or_no(&mut self, option: &'static str) -> Result<Option<bool>, ModelError> {
        self.choose(option, &[("yes", true), ("no", false)])
    }

    /// As [`Self::take`], for the probability of a zero.
    pub fn probability(&mut self, option: &'static str) -> Result<Option<f32>, ModelError> {
        let expected = "a probability of at least 0 and less than 1";
        self.take(option, expected, |value| {
            value.parse().ok().filter(|p| (0.0..1.0).contains(p))
        })
    }

    /// Ends the reading: an option that is left is unknown to the family.
    pub fn finish(mut self) -> Result<(), ModelError> {
        match self.options.pop() {
            None => Ok(()),
            Some((option, _)) => Err(ModelError::UnknownOption {
                model: self.name,
                option,
                known: self.known,
            }),
        }
    }
}

/// A number in decimal digits. A number too large for the type becomes the
/// type's largest: every limit is far smaller, so it is refused later.
fn number(digits: &str) -> Option<usize> {
    let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| digits.parse().unwrap_or(usize::MAX))
}

/// The name of `choice` that [`ModelRequest::choose`] reads.
pub(super) fn name_of<T: PartialEq>(choice: T, choices: &[(&'static str, T)]) -> &'static str {
    let found = choices.iter().find(|(_, other)| *other == choice);
    found.map_or("", |&(name, _)| name)
}

/// The value of one option of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Choice {
    /// The option: `shortcut`.
    pub option: &'static str,
    /// Its value: `A-avg`.
    pub value: String,
    /// Whether the model has this value where the option is not given.
    pub is_default: bool,
}

impl Choice {
    /// The `value` of `option`, which is `default` where it is not given.
    pub fn new(option: &'static str, value: impl Into<String>, default: &str) -> Self {
        let value = value.into();
        let is_default = value == default;
        Choice {
            option,
            value,
            is_default,
        }
    }
}

impl Choice {
    /// The value of an option that is `yes` or `no`.
    pub fn yes_or_no(option: &'static str, value: bool, default: bool) -> Self {
        let text = |value| if value { "yes" } else { "no" };
        Choice::new(option, text(value), text(default))
    }
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}={}", self.option, self.value)
    }
}

/// A name and options as [`ModelRequest`] reads them.
pub(super) fn written<'a>(name: &str, options: impl IntoIterator<Item = &'a Choice>) -> String {
    let options: Vec<String> = options.into_iter().map(Choice::to_string).collect();
    match options.is_empty() {
        true => name.to_string(),
        false => format!("{name}:{}", options.join(",")),
    }
}
