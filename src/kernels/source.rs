//! How does a shader file become the program for one shape?
//!
//! Every file under `shaders/` is valid WGSL on its own. Specialising it
//!
//! 1. replaces the values of `const` and `alias` lines,
//! 2. keeps one entry point, renamed `main`,
//! 3. unrolls loops whose line ends in `// unroll`, and decides conditions
//!    whose line ends in `// static`,
//! 4. drops functions and bindings that nothing is left to use,
//! 5. asks for 16-bit floats where an alias is one.
//!
//! Register tiles live in arrays; a driver keeps an array in registers only
//! when every index is a literal, and no driver can be relied on to unroll.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock};

use super::expression::{Scope, evaluate};
use crate::gpu::{Access, Program};

/// The shader files, by name.
const FILES: [(&str, &str); 19] = [
    ("batch_norm", include_str!("../../shaders/batch_norm.wgsl")),
    ("channels", include_str!("../../shaders/channels.wgsl")),
    ("conv/direct", include_str!("../../shaders/conv/direct.wgsl")),
    ("conv/gemm", include_str!("../../shaders/conv/gemm.wgsl")),
    ("conv/plain", include_str!("../../shaders/conv/plain.wgsl")),
    ("conv/subgroup", include_str!("../../shaders/conv/subgroup.wgsl")),
    (
        "conv/wgrad_strips",
        include_str!("../../shaders/conv/wgrad_strips.wgsl"),
    ),
    (
        "conv/wgrad_subgroup",
        include_str!("../../shaders/conv/wgrad_subgroup.wgsl"),
    ),
    (
        "conv/wgrad_winograd",
        include_str!("../../shaders/conv/wgrad_winograd.wgsl"),
    ),
    ("dropout", include_str!("../../shaders/dropout.wgsl")),
    ("gather", include_str!("../../shaders/gather.wgsl")),
    ("linear", include_str!("../../shaders/linear.wgsl")),
    ("loss", include_str!("../../shaders/loss.wgsl")),
    ("loss_scale", include_str!("../../shaders/loss_scale.wgsl")),
    ("peak", include_str!("../../shaders/peak.wgsl")),
    ("pointwise", include_str!("../../shaders/pointwise.wgsl")),
    ("pool", include_str!("../../shaders/pool.wgsl")),
    ("reduce", include_str!("../../shaders/reduce.wgsl")),
    ("sgd", include_str!("../../shaders/sgd.wgsl")),
];

/// The text of all shader files by name, as they stand on disk.
pub fn files() -> impl Iterator<Item = (&'static str, &'static str)> {
    FILES.into_iter()
}

/// The value of one `const` or `alias` of a shader.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value {
    /// A `u32`.
    Uint(u32),
    /// An `f32`.
    Float(f32),
    /// A `bool`.
    Bool(bool),
    /// A type, for an `alias`.
    Type(&'static str),
}

impl From<usize> for Value {
    fn from(value: usize) -> Self {
        Value::Uint(value as u32)
    }
}

impl From<u32> for Value {
    fn from(value: u32) -> Self {
        Value::Uint(value)
    }
}

impl From<f32> for Value {
    fn from(value: f32) -> Self {
        Value::Float(value)
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Value::Bool(value)
    }
}

impl std::fmt::Display for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Value::Uint(value) => write!(f, "{value}u"),
            // The shortest text that reads back as the same bits.
            Value::Float(value) => write!(f, "{value:e}f"),
            Value::Bool(value) => write!(f, "{value}"),
            Value::Type(name) => f.write_str(name),
        }
    }
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
    /// The program of this variant. Programs are kept: specialising a large
    /// register tile takes milliseconds, and networks repeat their shapes.
    ///
    /// # Panics
    ///
    /// Where file, entry point or a constant does not exist, or a marked loop
    /// cannot be unrolled: errors of this program, not of its input, which
    /// the tests of every kernel find.
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
            .into_iter()
            .find(|(name, _)| *name == self.file)
            .expect("a shader file of that name");
        let (head, scope) = self.replace_constants(text);
        let lines: Vec<&str> = head.lines().collect();
        let kept = drop_unused_functions(keep_entry(&lines, self.entry));
        let mut expanded = String::new();
        expand(&kept, &scope, &mut expanded);
        // Decided conditions leave functions that nobody calls any more.
        let kept = drop_unused_functions(expanded.lines().map(str::to_string).collect());
        let mut source = String::new();
        if self.has_halves() {
            source.push_str("enable f16;\n");
        }
        source.extend(kept.into_iter().flat_map(|line| [line, "\n".into()]));
        let (source, bindings) = drop_unused_bindings(&source);
        Program {
            label: format!("{}/{}", self.file, self.entry),
            source: Arc::from(source),
            bindings,
        }
    }

    /// Whether some of its memory holds 16-bit floats.
    fn has_halves(&self) -> bool {
        let is_half = |value: &Value| matches!(value, Value::Type(name) if name.contains("f16"));
        self.constants.iter().any(|(_, value)| is_half(value))
    }

    /// The text with this variant's constants, and the integer value of each.
    fn replace_constants(&self, text: &str) -> (String, Scope) {
        let mut scope = Scope::new();
        let mut replaced = 0;
        let mut result = String::with_capacity(text.len());
        for line in text.lines() {
            let Some((declaration, value)) = constant(line) else {
                result.push_str(line);
                result.push('\n');
                continue;
            };
            let name = declaration.split([' ', ':']).nth(1).unwrap_or_default();
            let own = self.constants.iter().find(|(constant, _)| *constant == name);
            let value = own.map_or_else(|| value.to_string(), |(_, value)| value.to_string());
            replaced += usize::from(own.is_some());
            let integer = match value.as_str() {
                "true" => Some(1),
                "false" => Some(0),
                _ => evaluate(&value, &scope),
            };
            scope.extend(integer.map(|integer| (name.to_string(), integer)));
            result.push_str(&format!("{declaration} = {value};\n"));
        }
        assert_eq!(
            replaced,
            self.constants.len(),
            "constants of {self:?} that the file lacks"
        );
        (result, scope)
    }
}

/// Declaration and value of a `const` or `alias` line at top level.
fn constant(line: &str) -> Option<(&str, &str)> {
    if !line.starts_with("const ") && !line.starts_with("alias ") {
        return None;
    }
    let (declaration, value) = line.split_once(" = ")?;
    Some((declaration, value.split(';').next()?.trim()))
}

/// The lines without all entry points but `entry`, which is renamed `main`.
fn keep_entry(lines: &[&str], entry: &str) -> Vec<String> {
    let mut kept = Vec::new();
    let mut index = 0;
    let mut found = false;
    while index < lines.len() {
        if !lines[index].starts_with("@compute") {
            kept.push(lines[index].to_string());
            index += 1;
            continue;
        }
        let end = index
            + lines[index..]
                .iter()
                .position(|line| *line == "}")
                .expect("the end of an entry point");
        let name = lines[index + 1]
            .trim_start_matches("fn ")
            .split('(')
            .next()
            .unwrap_or_default();
        if name == entry {
            found = true;
            kept.extend(lines[index..=end].iter().map(|line| (*line).to_string()));
            let declaration = kept.len() - (end - index);
            kept[declaration] = kept[declaration].replacen(entry, "main", 1);
        }
        index = end + 1;
    }
    assert!(found, "no entry point {entry}");
    kept
}

/// The lines without the functions that nobody calls: what they read must not
/// be bound.
fn drop_unused_functions(mut lines: Vec<String>) -> Vec<String> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let calls = |line: &String, name: &str| {
        let code = line.split("//").next().unwrap_or_default();
        code.split(|c| !is_word(c)).any(|word| word == name)
    };
    loop {
        let unused = lines.iter().enumerate().find_map(|(start, line)| {
            let name = line.strip_prefix("fn ")?.split('(').next()?;
            let length = lines[start..].iter().position(|line| line == "}")? + 1;
            let (before, after) = (&lines[..start], &lines[start + length..]);
            let called = before.iter().chain(after).any(|line| calls(line, name));
            (name != "main" && !called).then_some(start..start + length)
        });
        match unused {
            Some(range) => drop(lines.drain(range)),
            None => return lines,
        }
    }
}

/// Appends `lines` to `out` with marked loops unrolled and marked conditions
/// decided.
fn expand(lines: &[String], scope: &Scope, out: &mut String) {
    let mut index = 0;
    while index < lines.len() {
        let line = &lines[index];
        if let Some(head) = line.strip_suffix("// unroll") {
            let end = block_end(lines, index);
            unroll(head, &lines[index + 1..end], scope, out);
            index = end + 1;
        } else if let Some(head) = line.strip_suffix("// static") {
            index = decide(head, lines, index, scope, out);
        } else {
            out.push_str(&fold_indices(line, scope));
            out.push('\n');
            index += 1;
        }
    }
}

/// The line that closes the block which line `start` opens.
fn block_end(lines: &[String], start: usize) -> usize {
    let mut depth = 0;
    for (offset, line) in lines[start..].iter().enumerate() {
        for c in line.chars() {
            depth += i32::from(c == '{') - i32::from(c == '}');
            if depth == 0 && c == '}' {
                return start + offset;
            }
        }
    }
    panic!("no end of the block that begins with: {}", lines[start]);
}

/// Repeats `body` with the loop variable replaced by each of its values.
fn unroll(head: &str, body: &[String], scope: &Scope, out: &mut String) {
    let (name, from, to) = loop_parts(head).unwrap_or_else(|| panic!("a loop that cannot be unrolled: {head}"));
    let value = |text: &str| evaluate(text, scope).unwrap_or_else(|| panic!("not constant: '{text}' in: {head}"));
    for step in value(from)..value(to) {
        let lines: Vec<String> = body.iter().map(|line| substitute(line, name, step)).collect();
        // Indented, for a brace alone ends a function.
        out.push_str("    {\n");
        expand(&lines, scope, out);
        out.push_str("    }\n");
    }
}

/// Name, first value and bound of `for (var i = A; i < B; i++) {`.
fn loop_parts(head: &str) -> Option<(&str, &str, &str)> {
    let inner = head.trim().strip_prefix("for (var ")?;
    let mut parts = inner.split(';');
    let (name, from) = parts.next()?.split_once(" = ")?;
    let to = parts.next()?.split_once(" < ")?.1;
    Some((name, from, to))
}

/// Keeps the branch of `if (…) { // static` that the constants choose;
/// returns the line behind it.
fn decide(head: &str, lines: &[String], start: usize, scope: &Scope, out: &mut String) -> usize {
    let condition = head
        .trim()
        .strip_prefix("if (")
        .and_then(|rest| rest.strip_suffix(") {"));
    let chosen = condition.and_then(|text| evaluate(text, scope));
    let chosen = chosen.unwrap_or_else(|| panic!("a condition that is not constant: {head}")) != 0;
    let middle = block_end_or_else(lines, start);
    if chosen {
        expand(&lines[start + 1..middle], scope, out);
    }
    if !lines[middle].trim().starts_with("} else {") {
        return middle + 1;
    }
    let end = block_end_or_else(lines, middle);
    if !chosen {
        expand(&lines[middle + 1..end], scope, out);
    }
    end + 1
}

/// The line that closes, or continues by `else`, the block of line `start`.
fn block_end_or_else(lines: &[String], start: usize) -> usize {
    let mut depth = 1;
    for (offset, line) in lines[start + 1..].iter().enumerate() {
        for c in line.chars() {
            depth += i32::from(c == '{') - i32::from(c == '}');
            if depth == 0 {
                return start + 1 + offset;
            }
        }
    }
    panic!("no end of the block that begins with: {}", lines[start]);
}

/// `line` with the identifier `name` replaced by the literal `value`.
fn substitute(line: &str, name: &str, value: i64) -> String {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut result = String::with_capacity(line.len());
    let mut copied = 0;
    for (at, _) in line.match_indices(name) {
        let before = line[..at].chars().next_back().is_some_and(|c| is_word(c) || c == '.');
        let after = line[at + name.len()..].chars().next().is_some_and(is_word);
        if !before && !after {
            result.push_str(&line[copied..at]);
            result.push_str(&format!("{value}u"));
            copied = at + name.len();
        }
    }
    result + &line[copied..]
}

/// `line` with every innermost `[…]` that is constant replaced by its value:
/// the shader compiler is spared the arithmetic, thousands of times.
fn fold_indices(line: &str, scope: &Scope) -> String {
    let mut result = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(close) = rest.find(']') {
        let Some(open) = rest[..close].rfind('[') else { break };
        result.push_str(&rest[..=open]);
        match evaluate(&rest[open + 1..close], scope) {
            Some(value) => result.push_str(&value.to_string()),
            None => result.push_str(&rest[open + 1..close]),
        }
        result.push(']');
        rest = &rest[close + 1..];
    }
    result + rest
}

/// The source without the bindings that it does not use, and those that it
/// does.
fn drop_unused_bindings(source: &str) -> (String, Vec<(u32, Access)>) {
    let mut words: HashMap<&str, usize> = HashMap::new();
    for line in source.lines() {
        let code = line.split("//").next().unwrap_or_default();
        // A word behind a dot is a component, not a name.
        for word in code.split(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '.') {
            *words.entry(word.split('.').next().unwrap_or_default()).or_default() += 1;
        }
    }
    let mut kept = String::with_capacity(source.len());
    let mut bindings = Vec::new();
    for line in source.lines() {
        if let Some((number, access, name)) = binding(line) {
            if words[name] < 2 {
                continue;
            }
            bindings.push((number, access));
        }
        kept.push_str(line);
        kept.push('\n');
    }
    (kept, bindings)
}

/// Number, access and name of a line that declares a binding.
fn binding(line: &str) -> Option<(u32, Access, &str)> {
    let rest = line.strip_prefix("@group(0) @binding(")?;
    let (number, rest) = rest.split_once(") var<")?;
    let (access, rest) = rest.split_once("> ")?;
    let access = match access {
        "storage, read" => Access::Read,
        _ => Access::Write,
    };
    Some((number.parse().ok()?, access, rest.split(':').next()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loops_unroll_and_conditions_are_decided() {
        let text = "\
for (var i = 0u; i < N; i++) { // unroll
    if (i % 2u == 0u) { // static
        a[i * 2u] += b.i + ii;
    } else {
        skip(i);
    }
}";
        let lines: Vec<String> = text.lines().map(String::from).collect();
        let mut out = String::new();
        expand(&lines, &Scope::from([("N".into(), 3)]), &mut out);
        let words: Vec<&str> = out.split_whitespace().collect();
        assert_eq!(
            words.join(" "),
            "{ a[0] += b.i + ii; } { skip(1u); } { a[4] += b.i + ii; }"
        );
    }

    #[test]
    fn every_file_is_valid_wgsl_on_its_own() {
        for (name, text) in files() {
            let module = naga::front::wgsl::parse_str(text);
            let module = module.unwrap_or_else(|error| panic!("{name}: {}", error.emit_to_string(text)));
            let capabilities = naga::valid::Capabilities::SUBGROUP | naga::valid::Capabilities::SHADER_INT64;
            let mut validator = naga::valid::Validator::new(naga::valid::ValidationFlags::all(), capabilities);
            validator
                .validate(&module)
                .unwrap_or_else(|error| panic!("{name}: {}", error.emit_to_string(text)));
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
        let gradient = variant("global_avg_pool_grad").program();
        assert_eq!(gradient.bindings, [(1, Access::Read), (3, Access::Write)]);
        let gradient = variant("max_pool_grad").program();
        assert!(gradient.source.contains("fn winner(") && gradient.source.contains("fn windows("));
    }
}
