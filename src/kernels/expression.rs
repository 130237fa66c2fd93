//! What is the value of a constant expression of WGSL? Integers and booleans
//! only: sizes, loop bounds and static conditions need no more.

use std::collections::HashMap;

/// Values of the names in scope. Booleans are 0 and 1.
pub type Scope = HashMap<String, i64>;

/// Evaluates `text`; `None` where it is not a constant integer or boolean
/// expression over the names in `scope`.
pub fn evaluate(text: &str, scope: &Scope) -> Option<i64> {
    let tokens = tokens(text)?;
    let mut parser = Parser { tokens: &tokens, scope };
    let value = parser.binary(0)?;
    parser.tokens.is_empty().then_some(value)
}

#[derive(Debug, Clone, PartialEq)]
enum Token {
    Number(i64),
    Name(String),
    Sign(&'static str),
}

/// Longest first: otherwise `<=` would be read as `<`.
const SIGNS: [&str; 18] = [
    "||", "&&", "==", "!=", "<=", ">=", "<", ">", "+", "-", "*", "/", "%", "(", ")", ",", "!", ".",
];

fn tokens(text: &str) -> Option<Vec<Token>> {
    let mut rest = text.trim_start();
    let mut tokens = Vec::new();
    while let Some(first) = rest.chars().next() {
        let length = |accept: fn(char) -> bool| rest.find(|c| !accept(c)).unwrap_or(rest.len());
        let taken = if first.is_ascii_digit() {
            let length = length(|c| c.is_ascii_alphanumeric());
            tokens.push(Token::Number(rest[..length].trim_end_matches(['u', 'i']).parse().ok()?));
            length
        } else if first.is_ascii_alphabetic() || first == '_' {
            let length = length(|c| c.is_ascii_alphanumeric() || c == '_');
            tokens.push(Token::Name(rest[..length].to_string()));
            length
        } else {
            let sign = SIGNS.into_iter().find(|sign| rest.starts_with(sign))?;
            tokens.push(Token::Sign(sign));
            sign.len()
        };
        rest = rest[taken..].trim_start();
    }
    Some(tokens)
}

struct Parser<'a> {
    tokens: &'a [Token],
    scope: &'a Scope,
}

/// Operators by precedence, the lowest first.
const LEVELS: [&[&str]; 6] = [
    &["||"],
    &["&&"],
    &["==", "!="],
    &["<=", ">=", "<", ">"],
    &["+", "-"],
    &["*", "/", "%"],
];

impl Parser<'_> {
    fn accept(&mut self, signs: &[&str]) -> Option<&'static str> {
        let (first, rest) = self.tokens.split_first()?;
        match first {
            Token::Sign(sign) if signs.contains(sign) => {
                self.tokens = rest;
                Some(sign)
            }
            _ => None,
        }
    }

    fn binary(&mut self, level: usize) -> Option<i64> {
        let Some(signs) = LEVELS.get(level) else {
            return self.unary();
        };
        let mut left = self.binary(level + 1)?;
        while let Some(sign) = self.accept(signs) {
            let right = self.binary(level + 1)?;
            left = apply(sign, left, right)?;
        }
        Some(left)
    }

    fn unary(&mut self) -> Option<i64> {
        if self.accept(&["!"]).is_some() {
            return Some(i64::from(self.unary()? == 0));
        }
        if self.accept(&["-"]).is_some() {
            return Some(-self.unary()?);
        }
        if self.accept(&["("]).is_some() {
            let value = self.binary(0)?;
            self.accept(&[")"])?;
            return Some(value);
        }
        let (first, rest) = self.tokens.split_first()?;
        self.tokens = rest;
        match first {
            Token::Number(value) => Some(*value),
            Token::Name(name) => self.name(name),
            Token::Sign(_) => None,
        }
    }

    fn name(&mut self, name: &str) -> Option<i64> {
        if self.accept(&["("]).is_none() {
            return match name {
                "true" => Some(1),
                "false" => Some(0),
                _ => self.scope.get(name).copied(),
            };
        }
        let mut arguments = vec![self.binary(0)?];
        while self.accept(&[","]).is_some() {
            arguments.push(self.binary(0)?);
        }
        self.accept(&[")"])?;
        match (name, &arguments[..]) {
            ("min", &[a, b]) => Some(a.min(b)),
            ("max", &[a, b]) => Some(a.max(b)),
            ("select", &[no, yes, condition]) => Some(if condition != 0 { yes } else { no }),
            _ => None,
        }
    }
}

fn apply(sign: &str, a: i64, b: i64) -> Option<i64> {
    Some(match sign {
        "||" => i64::from(a != 0 || b != 0),
        "&&" => i64::from(a != 0 && b != 0),
        "==" => i64::from(a == b),
        "!=" => i64::from(a != b),
        "<=" => i64::from(a <= b),
        ">=" => i64::from(a >= b),
        "<" => i64::from(a < b),
        ">" => i64::from(a > b),
        "+" => a.checked_add(b)?,
        "-" => a.checked_sub(b)?,
        "*" => a.checked_mul(b)?,
        "/" => a.checked_div(b)?,
        "%" => a.checked_rem(b)?,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn precedence_and_functions() {
        let scope = Scope::from([("A".to_string(), 6), ("B".to_string(), 4)]);
        for (text, value) in [
            ("A + B * 2u", 14),
            ("(A + B) % 4u", 2),
            ("A == 6u && !(B > 4)", 1),
            ("max(A, B) - min(A, 3i)", 3),
            ("select(1u, A, B == 4u)", 6),
            ("0u + 1u - 2u", -1),
            ("A == 6u || false", 1),
            ("true && !false", 1),
        ] {
            assert_eq!(evaluate(text, &scope), Some(value), "{text}");
        }
        for text in ["", "A +", "unknown", "1.5", "A / 0u", "f(A)", "a[0]"] {
            assert_eq!(evaluate(text, &scope), None, "{text}");
        }
    }
}
