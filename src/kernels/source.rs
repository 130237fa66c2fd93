//! Which shader files are there, and which program does one make for given
//! values of its constants?

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock};

use super::specialise::{Line, specialise, with_imports};
use super::value::Value;
use crate::gpu::Program;

/// The path under `shaders/`, without extension, and the text of each file.
macro_rules! shader_files {
    ($($name:literal,)+) => {
        &[$(($name, include_str!(concat!("../../shaders/", $name, ".wgsl"))),)+]
    };
}

/// Files with entry points.
const FILES: &[(&str, &str)] = shader_files![
    "adamw",
    "average",
    "batch_norm",
    "channels",
    "conv/depthwise",
    "conv/direct",
    "conv/gemm",
    "conv/plain",
    "conv/subgroup",
    "conv/wgrad_strips",
    "conv/wgrad_subgroup",
    "conv/wgrad_winograd",
    "distort",
    "dropout",
    "gate",
    "gather",
    "lars",
    "linear",
    "loss",
    "loss_scale",
    "norms",
    "peak",
    "pointwise",
    "pool",
    "reduce",
    "sgd",
    "shards",
];

/// Files that others import.
const SHARED: &[(&str, &str)] = shader_files![
    "shared/columns",
    "shared/columns_load8",
    "shared/dy_row",
    "shared/dy_row_load8",
    "shared/flat_index",
    "shared/gradient_factor",
    "shared/grid",
    "shared/halo",
    "shared/images",
    "shared/load8",
    "shared/loss_scale_state",
    "shared/nan",
    "shared/philox",
    "shared/relu",
    "shared/segment",
    "shared/source_row",
    "shared/source_row_load8",
    "shared/step",
    "shared/weight",
    "shared/winograd_6x6",
    "shared/workgroup_sum",
];

/// Path and text of an imported file.
fn shared(name: &str) -> Option<(&'static str, &'static str)> {
    let found = SHARED
        .iter()
        .find(|(path, _)| path.strip_prefix("shared/") == Some(name));
    found.copied()
}

/// The lines of a shader file with its imports in front.
///
/// # Panics
///
/// Where an import is refused.
fn lines(file: &'static str, text: &str) -> Vec<Line> {
    with_imports(file, text, &shared).unwrap_or_else(|error| panic!("{error}"))
}

/// All shader files with entry points, by name, each with its imports in
/// front: valid WGSL on its own.
pub fn files() -> impl Iterator<Item = (&'static str, String)> {
    FILES.iter().map(|&(name, text)| {
        let lines = lines(name, text);
        (
            name,
            lines.into_iter().flat_map(|line| [line.text, "\n".into()]).collect(),
        )
    })
}

/// A shader file, one of its entry points, and values for its constants.
#[derive(Debug, Clone, PartialEq)]
pub struct Variant {
    /// File under `shaders/`, without extension, such as `conv/direct`.
    pub file: &'static str,
    /// Entry point.
    pub entry: &'static str,
    /// Values by name; what is not named keeps the file's own.
    pub constants: Vec<(&'static str, Value)>,
}

impl Variant {
    /// The program of this variant. Programs are cached: specialising a large
    /// register tile takes milliseconds, and networks repeat their shapes.
    ///
    /// # Panics
    ///
    /// Where file, entry point or a constant does not exist, or the file is
    /// not written in the dialect of `shaders/README.md`. These are errors of
    /// this program, not of its input, and the tests specialise every file.
    pub fn program(&self) -> Program {
        static PROGRAMS: OnceLock<Mutex<HashMap<String, Program>>> = OnceLock::new();
        let key = format!("{self:?}");
        let programs = PROGRAMS.get_or_init(Mutex::default);
        let lock = || programs.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(program) = lock().get(&key) {
            return program.clone();
        }
        let program = self.specialise();
        lock().insert(key, program.clone());
        program
    }

    fn specialise(&self) -> Program {
        let (_, text) = FILES
            .iter()
            .find(|(name, _)| *name == self.file)
            .unwrap_or_else(|| panic!("there is no file shaders/{}.wgsl", self.file));
        let (source, bindings) =
            specialise(&lines(self.file, text), self.entry, &self.constants).unwrap_or_else(|error| panic!("{error}"));
        Program {
            label: format!("{}/{}", self.file, self.entry),
            source: Arc::from(source),
            bindings,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use crate::gpu::Access;

    #[test]
    fn every_file_is_valid_wgsl_on_its_own() {
        for (name, text) in files() {
            let module = naga::front::wgsl::parse_str(&text);
            let module = module.unwrap_or_else(|error| panic!("{name}: {}", error.emit_to_string(&text)));
            let capabilities = naga::valid::Capabilities::SUBGROUP | naga::valid::Capabilities::SHADER_INT64;
            let mut validator = naga::valid::Validator::new(naga::valid::ValidationFlags::all(), capabilities);
            validator
                .validate(&module)
                .unwrap_or_else(|error| panic!("{name}: {}", error.emit_to_string(&text)));
        }
    }

    /// Path and text of all files, those without entry points too.
    fn all_files() -> impl Iterator<Item = (&'static str, &'static str)> {
        FILES.iter().chain(SHARED).copied()
    }

    #[test]
    fn the_readme_lists_every_constant_and_its_files() {
        let mut declared = BTreeMap::<&str, BTreeSet<&str>>::new();
        for (file, text) in all_files() {
            let lines = text.lines();
            let names = lines.filter_map(|line| line.strip_prefix("const ").or(line.strip_prefix("alias ")));
            for name in names.filter_map(|rest| rest.split([':', ' ']).next()) {
                declared.entry(name).or_default().insert(file);
            }
        }
        let readme = include_str!("../../shaders/README.md");
        let (_, table) = readme.split_once("## Constants").expect("a list of constants");
        let mut listed = BTreeMap::new();
        for row in table.lines().filter_map(|line| line.strip_prefix("| `")) {
            let cells: Vec<&str> = row.trim_end_matches(" |").split(" | ").collect();
            assert!(cells.len() == 3 && !cells[1].is_empty(), "{row}");
            let files: BTreeSet<&str> = cells[2].split(", ").collect();
            assert_eq!(listed.insert(cells[0].trim_end_matches('`'), files), None, "{row}");
        }
        let unlike = declared.iter().filter(|(name, files)| listed.get(*name) != Some(files));
        let rows: Vec<String> = unlike
            .map(|(name, files)| {
                format!(
                    "| `{name}` | … | {} |",
                    Vec::from_iter(files.iter().copied()).join(", ")
                )
            })
            .collect();
        assert!(
            rows.is_empty(),
            "rows of shaders/README.md must be:\n{}",
            rows.join("\n")
        );
        let gone: Vec<&&str> = listed.keys().filter(|name| !declared.contains_key(*name)).collect();
        assert!(
            gone.is_empty(),
            "shaders/README.md lists constants that no file has: {gone:?}"
        );
    }

    /// The line of `text` that mixes operators which WGSL allows only with
    /// parentheses. naga accepts them, other compilers do not. Operators
    /// stand between spaces, which tells them from `array<f32>` and `&x`.
    fn mixed_operators(text: &str) -> Option<usize> {
        const LOGICAL: [&str; 2] = ["&&", "||"];
        const BITWISE: [&str; 3] = ["&", "|", "^"];
        const SHIFTS: [&str; 2] = ["<<", ">>"];
        const RELATIONS: [&str; 6] = ["==", "!=", "<", ">", "<=", ">="];
        const ARITHMETIC: [&str; 5] = ["+", "-", "*", "/", "%"];
        let mixed = |operators: &[&str]| {
            if operators.iter().any(|operator| BITWISE.contains(operator)) {
                return operators.iter().any(|operator| *operator != operators[0]);
            }
            let all: BTreeSet<&str> = operators.iter().copied().filter(|one| LOGICAL.contains(one)).collect();
            let mut parts = operators.split(|one| LOGICAL.contains(one));
            all.len() > 1
                || parts.any(|part| {
                    let relations = part.iter().filter(|one| RELATIONS.contains(one)).count();
                    let mut sides = part.split(|one| RELATIONS.contains(one));
                    let mut in_side = |side: &[&str]| side.len() > 1 && side.iter().any(|one| SHIFTS.contains(one));
                    relations > 1 || sides.any(&mut in_side)
                })
        };
        let is_operator = |word: &str| {
            let mut all = LOGICAL
                .iter()
                .chain(&BITWISE)
                .chain(&SHIFTS)
                .chain(&RELATIONS)
                .chain(&ARITHMETIC);
            all.any(|operator| *operator == word)
        };
        // Operators of the expressions that are open, the innermost last.
        let mut open: Vec<Vec<&str>> = vec![Vec::new()];
        let code = text.lines().map(|line| line.split("//").next().unwrap_or_default());
        let words = code
            .zip(1..)
            .flat_map(|(line, number)| line.split_whitespace().map(move |word| (word, number)));
        for (word, number) in words {
            if is_operator(word) {
                open.last_mut().expect("an expression").push(word);
                continue;
            }
            for c in word.chars() {
                let ends = matches!(c, ')' | ']' | ',' | ';' | '{' | '}' | '=');
                if ends && mixed(open.last().expect("an expression")) {
                    return Some(number);
                }
                match c {
                    '(' | '[' => open.push(Vec::new()),
                    ')' | ']' => drop(open.pop()),
                    _ if ends => open.last_mut().expect("an expression").clear(),
                    _ => {}
                }
            }
        }
        None
    }

    #[test]
    fn operators_are_mixed_only_as_wgsl_allows() {
        for (file, text) in all_files() {
            assert_eq!(mixed_operators(text), None, "{file}");
        }
        for forbidden in [
            "a >> 8u & 255u;",
            "f(a << 2u + b);",
            "a || b && c;",
            "a < b == c;",
            "x[a & b | c];",
        ] {
            assert_eq!(mixed_operators(forbidden), Some(1), "{forbidden}");
        }
        for allowed in [
            "(a >> 8u) & 255u;",
            "a ^ b ^ c;",
            "a < b && c != d + 1u;",
            "a * b + c >= 2u;",
            "1u << n < m;",
        ] {
            assert_eq!(mixed_operators(allowed), None, "{allowed}");
        }
    }

    #[test]
    fn only_the_entry_points_own_bindings_stay() {
        let variant = Variant {
            file: "conv/direct",
            entry: "pack",
            constants: vec![("KB", Value::Uint(8))],
        };
        let program = variant.program();
        assert_eq!(program.bindings, [(6, Access::Read), (7, Access::Write)]);
        assert!(program.source.contains("fn main("));
    }

    #[test]
    fn what_only_other_entry_points_call_goes_with_them() {
        let variant = |entry| Variant {
            file: "pool",
            entry,
            constants: Vec::new(),
        };
        let gradient = variant("global_avg_pool_gradient").program();
        assert_eq!(gradient.bindings, [(1, Access::Read), (3, Access::Write)]);
        let gradient = variant("max_pool_gradient").program();
        assert!(gradient.source.contains("fn winner(") && gradient.source.contains("fn windows("));
    }
}
