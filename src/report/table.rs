//! What does a table hold?

use serde::Serialize;
use serde_json::Value;

use crate::shown::shown_sentence;

/// Rows of values under named columns.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Table {
    /// Its file name without the extension.
    pub name: String,
    /// What it holds, in one line.
    pub title: String,
    /// The columns.
    pub columns: Vec<Column>,
    /// The rows, each as long as `columns`: numbers and text.
    pub rows: Vec<Vec<Value>>,
    /// Whether only the CSV file has its rows, because there are too many.
    pub file_only: bool,
}

impl Table {
    /// A table whose rows are on pages, too.
    pub fn new(name: &str, title: impl Into<String>, columns: Vec<Column>, rows: Vec<Vec<Value>>) -> Self {
        Table {
            name: name.to_string(),
            title: title.into(),
            columns,
            rows,
            file_only: false,
        }
    }
}

/// One column.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Column {
    /// Its name in the CSV file, such as `test_error`.
    pub key: String,
    /// Its heading on pages, with the unit: "test error (%)".
    pub label: String,
    /// Factor for numbers on pages (100 for per cent). The CSV file has the
    /// values without it.
    pub factor: f64,
    /// Number of decimals on pages. The CSV file has the values unrounded.
    pub digits: usize,
    /// Whether whole numbers are grouped on pages: 1 234 567.
    #[serde(skip)]
    pub grouped: bool,
}

impl Column {
    /// A column of names or whole numbers.
    pub fn plain(key: &str, label: &str) -> Self {
        Column::number(key, label, 0)
    }

    /// A column of numbers shown with `digits` decimals.
    pub fn number(key: &str, label: &str, digits: usize) -> Self {
        Column {
            key: key.to_string(),
            label: label.to_string(),
            factor: 1.0,
            digits,
            grouped: false,
        }
    }

    /// A column of large whole numbers, shown as 1 234 567.
    pub fn count(key: &str, label: &str) -> Self {
        Column {
            grouped: true,
            ..Column::plain(key, label)
        }
    }

    /// A column of fractions shown in per cent.
    pub fn percent(key: &str, label: &str) -> Self {
        Column {
            factor: 100.0,
            ..Column::number(key, label, 2)
        }
    }
}

/// `columns` with a number after every key and label that an earlier column has.
/// For columns whose names come from data, such as classes.
pub fn distinct(mut columns: Vec<Column>) -> Vec<Column> {
    for index in 1..columns.len() {
        let (before, rest) = columns.split_at_mut(index);
        let free = |wanted: &str, of: fn(&Column) -> &String| {
            let taken = |name: &str| before.iter().any(|column| of(column) == name);
            let numbered = (2..).map(|number| format!("{wanted} ({number})"));
            std::iter::once(wanted.to_string())
                .chain(numbered)
                .find(|name| !taken(name))
        };
        let column = &mut rest[0];
        let key = free(&column.key, |column| &column.key);
        let label = free(&column.label, |column| &column.label);
        column.key = key.unwrap_or_default();
        column.label = label.unwrap_or_default();
    }
    columns
}

impl Table {
    /// The table as a CSV file: the columns' keys, then the values unrounded.
    pub fn csv(&self) -> String {
        let line = |cells: Vec<String>| cells.join(",") + "\n";
        let mut text = line(self.columns.iter().map(|column| quoted(&column.key)).collect());
        for row in &self.rows {
            text.push_str(&line(row.iter().map(raw).collect()));
        }
        text
    }

    /// The rows as text for pages, each with one cell for each column.
    pub(super) fn shown(&self) -> Vec<Vec<String>> {
        let cell = |row: &[Value], index: usize| {
            let value = row.get(index).unwrap_or(&Value::Null);
            self.columns[index].show(value)
        };
        let row = |row: &Vec<Value>| (0..self.columns.len()).map(|index| cell(row, index)).collect();
        self.rows.iter().map(row).collect()
    }

    /// Whether a column holds numbers, which are aligned to the right.
    pub(super) fn is_number(&self, column: usize) -> bool {
        let mut values = self
            .rows
            .iter()
            .filter_map(|row| row.get(column))
            .filter(|value| !value.is_null());
        let number = |value: &Value| value.is_number() || value.as_str().is_some_and(|text| not_finite(text).is_some());
        values.next().is_some_and(number) && values.all(number)
    }
}

impl Column {
    /// A value as text for pages.
    pub fn show(&self, value: &Value) -> String {
        match value {
            Value::Null => "–".to_string(),
            Value::Bool(true) => "yes".to_string(),
            Value::Bool(false) => "no".to_string(),
            Value::String(text) => shown_sentence(not_finite(text).unwrap_or(text)),
            Value::Number(number) => self.number_text(number),
            Value::Array(_) | Value::Object(_) => value.to_string(),
        }
    }

    fn number_text(&self, number: &serde_json::Number) -> String {
        // Integers may have more digits than an f64 can hold.
        if self.factor == 1.0 && self.digits == 0 && !number.is_f64() {
            return match (self.grouped, number.as_u64()) {
                (true, Some(count)) => grouped(count),
                _ => number.to_string(),
            };
        }
        let Some(value) = number.as_f64() else {
            return number.to_string();
        };
        let text = format!("{:.*}", self.digits, value * self.factor);
        match text.strip_prefix('-') {
            Some(positive) if positive.chars().all(|digit| matches!(digit, '0' | '.')) => positive.to_string(),
            _ => text,
        }
    }
}

/// `value` for a table. A value that is not finite becomes the word "inf", "-inf"
/// or "NaN", which programs that read CSV files know; pages show "∞", "−∞" and
/// "not a number".
pub fn number_or_word(value: f64) -> Value {
    if value.is_finite() {
        Value::from(value)
    } else {
        Value::String(value.to_string())
    }
}

/// What a page shows for a word of [`number_or_word`]; `None` for other text.
fn not_finite(text: &str) -> Option<&'static str> {
    match text {
        "inf" => Some("∞"),
        "-inf" => Some("−∞"),
        "NaN" => Some("not a number"),
        _ => None,
    }
}

/// A value in a CSV file; null is an empty cell.
fn raw(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => quoted(text),
        other => quoted(&other.to_string()),
    }
}

/// Text in a CSV file (RFC 4180).
fn quoted(text: &str) -> String {
    let special = text.contains([',', '"', '\n', '\r']) || text.trim() != text;
    if special {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_string()
    }
}

/// `1234567` as `1 234 567`.
pub(crate) fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn table() -> Table {
        Table {
            name: "blocks".to_string(),
            title: "Blocks".to_string(),
            columns: vec![
                Column::plain("block", "block"),
                Column::percent("error", "error (%)"),
                Column::plain("images", "images"),
            ],
            rows: vec![
                vec![json!("a, \"b\""), json!(0.0875), json!(u64::MAX)],
                vec![json!("c\nd"), json!(null), json!(3)],
            ],
            file_only: false,
        }
    }

    #[test]
    fn csv_holds_the_values_as_they_are() {
        let text = table().csv();
        assert_eq!(
            text,
            "block,error,images\n\"a, \"\"b\"\"\",0.0875,18446744073709551615\n\"c\nd\",,3\n"
        );
    }

    #[test]
    fn people_read_rounded_numbers() {
        assert_eq!(table().shown()[0], ["a, \"b\"", "8.75", "18446744073709551615"]);
        assert_eq!(table().shown()[1][1], "–");
        assert_eq!(Column::percent("", "").show(&json!(-0.00001)), "0.00");
        assert!(table().is_number(1) && !table().is_number(0));
    }

    #[test]
    fn numbers_that_are_not_finite_are_words() {
        let mut table = table();
        table.rows[0][1] = number_or_word(f64::INFINITY);
        table.rows[1][1] = number_or_word(f64::NAN);
        assert!(
            table.csv().contains(",inf,") && table.csv().contains(",NaN,"),
            "{}",
            table.csv()
        );
        assert_eq!([&table.shown()[0][1], &table.shown()[1][1]], ["∞", "not a number"]);
        assert!(table.is_number(1), "the column is still one of numbers");
        assert_eq!(number_or_word(0.5), json!(0.5));
    }

    #[test]
    fn names_of_columns_are_made_distinct() {
        let columns = ["block", "cat", "block", "cat", "cat"].map(|name| Column::plain(name, name));
        let columns = distinct(columns.to_vec());
        let keys: Vec<&str> = columns.iter().map(|column| column.key.as_str()).collect();
        assert_eq!(keys, ["block", "cat", "block (2)", "cat (2)", "cat (3)"]);
        assert!(columns.iter().all(|column| column.key == column.label));
    }

    #[test]
    fn short_rows_have_empty_cells() {
        let mut table = table();
        table.rows[0].truncate(1);
        assert_eq!(table.shown()[0], ["a, \"b\"", "–", "–"]);
    }
}
