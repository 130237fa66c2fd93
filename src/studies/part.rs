//! Which share of a study does one process compute, where several share it?

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// The most parts that a study has.
const MOST: usize = 100_000;

/// One of the parts of a study: part `number`, from 1, of `of`.
///
/// The parts of a study are computed by several processes in any order; each
/// stores its results in a file of its own. The study without a part reads them
/// all and computes what is missing.
///
/// ```
/// use residua::studies::Part;
///
/// let part: Part = "2/3".parse().unwrap();
/// assert_eq!(part.range(7), 2..4);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    number: usize,
    of: usize,
}

impl Part {
    /// Part `number`, from 1, of `of`; `None` where there is no such part.
    pub fn new(number: usize, of: usize) -> Option<Self> {
        ((1..=of).contains(&number) && of <= MOST).then_some(Part { number, of })
    }

    /// Its number, from 1.
    pub fn number(self) -> usize {
        self.number
    }

    /// The number of parts.
    pub fn of(self) -> usize {
        self.of
    }

    /// Its share of a list of `count` things: the parts follow each other without a
    /// gap, and their lengths differ by one at most.
    pub fn range(self, count: usize) -> Range<usize> {
        let begin = |number: usize| (count as u128 * number as u128 / self.of as u128) as usize;
        begin(self.number - 1)..begin(self.number)
    }

    /// The file in `out` with its results of the log `stem`: `results.2-of-3.jsonl`.
    pub(super) fn log(self, out: &Path, stem: &str) -> PathBuf {
        out.join(format!("{stem}.{}-of-{}.jsonl", self.number, self.of))
    }
}

impl FromStr for Part {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let numbers = text.split_once('/').and_then(|(number, of)| {
            let number = number.trim().parse().ok()?;
            Part::new(number, of.trim().parse().ok()?)
        });
        numbers.ok_or_else(|| format!("a part and the number of parts are needed, at most {MOST}, as in 1/4"))
    }
}

/// The files of all parts of the log `stem` in `out`, in the order of their names.
pub(super) fn logs_of_parts(out: &Path, stem: &str) -> std::io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(out)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        let between = name.and_then(|name| name.strip_prefix(stem)?.strip_prefix('.')?.strip_suffix(".jsonl"));
        let part = between.and_then(|between| {
            let (number, of) = between.split_once("-of-")?;
            Part::new(number.parse().ok()?, of.parse().ok()?)
        });
        if part.is_some_and(|part| part.log(out, stem) == path) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_cover_a_list_without_gap_and_overlap() {
        for count in [0, 1, 2, 7, 64, 4096] {
            for of in [1, 2, 3, 5, 100] {
                let mut next = 0;
                for number in 1..=of {
                    let range = Part::new(number, of).unwrap().range(count);
                    assert_eq!(range.start, next, "{number} of {of}, {count}");
                    assert!(range.len().abs_diff(count / of) <= 1, "{number} of {of}, {count}");
                    next = range.end;
                }
                assert_eq!(next, count);
            }
        }
    }

    #[test]
    fn what_is_no_part_is_refused() {
        assert_eq!("3/4".parse::<Part>(), Ok(Part { number: 3, of: 4 }));
        for text in [
            "", "3", "0/4", "5/4", "1/0", "-1/4", "1/4/2", "a/b", "1/100001", "1.5/2",
        ] {
            assert!(text.parse::<Part>().unwrap_err().contains("1/4"), "{text}");
        }
    }

    #[test]
    fn files_of_parts_are_found_by_their_names() {
        let folder = tempfile::tempdir().unwrap();
        let names = [
            "results.1-of-2.jsonl",
            "results.2-of-2.jsonl",
            "results.jsonl",
            "results.3-of-2.jsonl",
            "results.01-of-2.jsonl",
            "results.1-of-2.json",
            "beside-1.1-of-2.jsonl",
        ];
        for name in names {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        let found = logs_of_parts(folder.path(), "results").unwrap();
        assert_eq!(found, [folder.path().join(names[0]), folder.path().join(names[1])]);
    }
}
