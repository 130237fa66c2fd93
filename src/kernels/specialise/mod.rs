//! How does the text of a shader become the program for one shape?
//!
//! `shaders/README.md` documents the dialect: plain WGSL with three directives
//! in comments and a fixed layout. Specialising a shader
//!
//! 1. puts the files that it imports in front of it,
//! 2. replaces the values of its `const` and `alias` declarations,
//! 3. keeps one entry point, renamed `main`,
//! 4. unrolls the loops marked `// unroll` and decides the conditions marked
//!    `// static`,
//! 5. drops every declaration that `main` does not use, and all comments,
//! 6. enables 16-bit floats where a type that is left is one.
//!
//! Register tiles live in arrays. A driver keeps an array in registers only
//! when every index is a literal, and no driver can be relied on to unroll.
//!
//! The specialiser works on lines, not on a syntax tree. So it refuses every
//! line that it cannot read for certain, instead of passing it on.

use std::collections::{HashMap, HashSet};

use super::expression::{Scope, evaluate};
use super::value::Value;
use crate::gpu::Access;

/// A line of a shader that the specialiser refuses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("shaders/{file}.wgsl:{line}: {problem}; {instead}")]
pub(super) struct DialectError {
    file: &'static str,
    line: usize,
    problem: String,
    /// What to write instead.
    instead: String,
}

type Result<T> = std::result::Result<T, DialectError>;

/// A line of a shader, and where it stands.
#[derive(Debug, Clone)]
pub(super) struct Line {
    pub text: String,
    file: &'static str,
    number: usize,
}

impl Line {
    /// The lines of a file, the first of which has number 1.
    fn all(file: &'static str, text: &str) -> Vec<Line> {
        let lines = text.lines().zip(1..);
        lines
            .map(|(text, number)| Line {
                text: text.to_string(),
                file,
                number,
            })
            .collect()
    }

    fn refuse<T>(&self, problem: impl Into<String>, instead: impl Into<String>) -> Result<T> {
        Err(DialectError {
            file: self.file,
            line: self.number,
            problem: problem.into(),
            instead: instead.into(),
        })
    }

    /// The line without its comment and the spaces at its end.
    fn code(&self) -> &str {
        self.text.split("//").next().unwrap_or_default().trim_end()
    }

    /// The directive that the line's comment is.
    fn directive(&self) -> Result<Option<Directive>> {
        let Some((code, comment)) = self.text.split_once("//") else {
            return Ok(None);
        };
        let code = code.trim();
        let words: Vec<&str> = comment.split_whitespace().collect();
        let directive = match words[..] {
            ["import", name] if code.is_empty() => Directive::Import(name.to_string()),
            ["unroll"] if code.starts_with("for (") && code.ends_with('{') => Directive::Unroll,
            ["static"] if code.starts_with("if (") && code.ends_with('{') => Directive::Static,
            ["static"] if code.starts_with("} else if") => {
                return self.refuse(
                    "an `else if` cannot be static",
                    "nest `if (…) { // static` in an `else {`",
                );
            }
            _ => return self.refuse_near_directives(code, &words),
        };
        let expected = format!("// {}", words.join(" "));
        let is_exact = match directive {
            Directive::Import(_) => self.text == expected,
            Directive::Unroll | Directive::Static => self.text.ends_with(&expected),
        };
        match is_exact {
            true => Ok(Some(directive)),
            false => self.refuse(
                "a directive with other spaces than it must have",
                format!("write exactly `{expected}`, an import at the beginning of its line"),
            ),
        }
    }

    /// Refuses a comment that looks like a directive but is none.
    fn refuse_near_directives(&self, code: &str, words: &[&str]) -> Result<Option<Directive>> {
        if code.ends_with('{') {
            return self.refuse(
                "a comment after `{` that is neither `// unroll` on a `for` nor `// static` on an `if`",
                "write prose on a line of its own",
            );
        }
        let near = |word: &str, directive: &str| edits(&word.to_lowercase(), directive) <= 2;
        let is_near = match *words {
            [word] => DIRECTIVES.into_iter().any(|directive| near(word, directive)),
            [word, _] => near(word, "import"),
            _ => words.first() == Some(&"import"),
        };
        match is_near {
            true => self.refuse(
                format!("the comment `{}` looks like a directive, but is none", words.join(" ")),
                "write `// import NAME` on a line of its own, `// unroll` after a `for`, `// static` after an `if`",
            ),
            false => Ok(None),
        }
    }
}

const DIRECTIVES: [&str; 3] = ["import", "unroll", "static"];

#[derive(Debug, Clone, PartialEq, Eq)]
enum Directive {
    Import(String),
    Unroll,
    Static,
}

/// Single-character edits that make `a` into `b`.
fn edits(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, &to) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(from != to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

/// The lines of `file` with the files that it imports in front, each once, in
/// the order of the import lines. `shared` finds an imported file by the name
/// in its import line.
pub(super) fn with_imports(
    file: &'static str,
    text: &str,
    shared: &dyn Fn(&str) -> Option<(&'static str, &'static str)>,
) -> Result<Vec<Line>> {
    let mut all = Vec::new();
    collect(file, text, shared, &mut vec![file], &mut HashSet::new(), &mut all)?;
    Ok(all)
}

/// Appends what `file` imports, then its own lines. `open` are the files whose
/// imports are being collected.
fn collect(
    file: &'static str,
    text: &str,
    shared: &dyn Fn(&str) -> Option<(&'static str, &'static str)>,
    open: &mut Vec<&'static str>,
    done: &mut HashSet<&'static str>,
    all: &mut Vec<Line>,
) -> Result<()> {
    let mut own = Vec::new();
    let mut declares = false;
    for line in Line::all(file, text) {
        let Some(Directive::Import(name)) = line.directive()? else {
            declares |= !line.code().is_empty();
            own.push(line);
            continue;
        };
        if declares {
            return line.refuse("an import after a declaration", "write imports before all declarations");
        }
        let Some((imported, text)) = shared(&name) else {
            return line.refuse(
                format!("there is no file shaders/shared/{name}.wgsl"),
                "import one that `source.rs` lists",
            );
        };
        if open.contains(&imported) {
            return line.refuse(
                format!("an import that leads back to itself by way of {}", open.join(", ")),
                "move what both files need to a third one",
            );
        }
        if done.insert(imported) {
            open.push(imported);
            collect(imported, text, shared, open, done, all)?;
            open.pop();
        }
    }
    all.extend(own);
    Ok(())
}

/// A declaration at module scope.
#[derive(Debug, Clone)]
struct Item {
    kind: Kind,
    name: String,
    /// Its lines, without comments but for directives.
    lines: Vec<Line>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Const(Type),
    Alias,
    Binding(u32, Access),
    Workgroup,
    Struct,
    Function,
    Entry,
}

/// The types that a `const` may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Type {
    Uint,
    Float,
    Bool,
}

/// The declarations of the lines. Refuses every line that is not laid out as
/// the dialect demands.
fn items(lines: &[Line]) -> Result<Vec<Item>> {
    let mut items: Vec<Item> = Vec::new();
    let mut index = 0;
    while index < lines.len() {
        let line = &lines[index];
        let directive = line.directive()?;
        if line.text.contains("/*") {
            return line.refuse("a block comment", "write `//` on each line");
        }
        if directive.is_some() {
            return line.refuse("a directive outside of a function", "move it into one");
        }
        if line.code().is_empty() {
            index += 1;
            continue;
        }
        let (item, length) = item(&lines[index..])?;
        if let Some(other) = items.iter().find(|other| clash(other, &item)) {
            return line.refuse(
                format!("`{}` has the name or the binding number of `{}`", item.name, other.name),
                "choose another",
            );
        }
        items.push(item);
        index += length;
    }
    refuse_shadowed_bindings(&items)?;
    Ok(items)
}

fn clash(a: &Item, b: &Item) -> bool {
    let number = |item: &Item| match item.kind {
        Kind::Binding(number, _) => Some(number),
        _ => None,
    };
    a.name == b.name || number(a).is_some_and(|at| number(b) == Some(at))
}

/// The declaration that the first line begins, and its number of lines.
fn item(lines: &[Line]) -> Result<(Item, usize)> {
    let line = &lines[0];
    let code = line.code();
    let one = |kind: Kind, name: &str| {
        let mut line = line.clone();
        line.text = code.to_string();
        let (name, lines) = (name.to_string(), vec![line]);
        (Item { kind, name, lines }, 1)
    };
    let first = code.split([' ', '<', '(']).next().unwrap_or_default();
    match first {
        "const" => match constant(code) {
            Some((name, kind)) => Ok(one(Kind::Const(kind), name)),
            None => line.refuse(
                "a constant that cannot be read",
                "write `const NAME: TYPE = VALUE;` on one line, where TYPE is u32, f32 or bool",
            ),
        },
        "alias" => match alias(code) {
            Some(name) => Ok(one(Kind::Alias, name)),
            None => line.refuse("an alias that cannot be read", "write `alias NAME = TYPE;` on one line"),
        },
        "@group" | "@binding" => match binding(code) {
            Some((number, access, name)) => Ok(one(Kind::Binding(number, access), name)),
            None => line.refuse(
                "a binding that cannot be read",
                "write `@group(0) @binding(NUMBER) var<storage, ACCESS> NAME: TYPE;` on one line, \
                 where ACCESS is read or read_write",
            ),
        },
        "var" => match workgroup_variable(code) {
            Some(name) => Ok(one(Kind::Workgroup, name)),
            None => line.refuse(
                "a variable that cannot be read",
                "write `var<workgroup> NAME: TYPE;` on one line",
            ),
        },
        "struct" => block(lines, 0, Kind::Struct),
        "fn" => block(lines, 0, Kind::Function),
        "@compute" => {
            let size = code.strip_prefix("@compute @workgroup_size(");
            let is_size = size.and_then(|rest| rest.strip_suffix(')')).is_some_and(is_identifier);
            match is_size && lines.get(1).is_some_and(|next| next.text.starts_with("fn ")) {
                true => block(lines, 1, Kind::Entry),
                false => line.refuse(
                    "an entry point that cannot be read",
                    "write `@compute @workgroup_size(NAME)` on one line and `fn` at the beginning of the next",
                ),
            }
        }
        _ => line.refuse(
            "a line that begins no declaration",
            "begin `const`, `alias`, `@group`, `var`, `struct`, `fn` and `@compute` in column 0, \
             and indent everything within them",
        ),
    }
}

/// The struct or function that begins in line `head` of the lines and ends
/// with the next `}` in column 0.
fn block(lines: &[Line], head: usize, kind: Kind) -> Result<(Item, usize)> {
    let first = &lines[head];
    let words = first.code().split(['(', '{']).next().unwrap_or_default();
    let name = words.split_once(' ').map(|(_, name)| name.trim()).unwrap_or_default();
    if !is_identifier(name) {
        return first.refuse("a declaration without a name", "write `fn NAME(` or `struct NAME {`");
    }
    let mut depth = 0;
    let mut kept = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        let directive = line.directive()?;
        let code = line.code();
        let is_end = code == "}";
        if index > head && !is_end && !code.is_empty() && !code.starts_with(' ') {
            return line.refuse(
                format!("`{name}` is not closed before this line"),
                "indent what it contains, and end it with `}` in column 0",
            );
        }
        if line.text.contains("/*") {
            return line.refuse("a block comment", "write `//` on each line");
        }
        depth += code.matches('{').count();
        let closed = code.matches('}').count();
        if closed > depth {
            return line.refuse("a brace that closes nothing", "remove it");
        }
        depth -= closed;
        if closed > 0 && (depth == 0) != is_end {
            return line.refuse(
                format!("this brace does not end `{name}` where its column says so"),
                "write the brace that ends a function or struct in column 0, and no other there",
            );
        }
        if !code.is_empty() {
            let mut line = line.clone();
            if directive.is_none() {
                line.text = code.to_string();
            }
            kept.push(line);
        }
        if is_end {
            let (name, lines) = (name.to_string(), kept);
            return Ok((Item { kind, name, lines }, index + 1));
        }
    }
    first.refuse(format!("`{name}` does not end"), "end it with `}` in column 0")
}

fn is_identifier(text: &str) -> bool {
    !text.is_empty() && text.chars().all(is_word)
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// The part of `text` between `start` and `end`.
fn between<'a>(text: &'a str, start: &str, end: &str) -> Option<&'a str> {
    text.strip_prefix(start)?.strip_suffix(end)
}

/// Name and type of a constant.
fn constant(code: &str) -> Option<(&str, Type)> {
    let (declaration, value) = between(code, "const ", ";")?.split_once(" = ")?;
    let (name, kind) = declaration.split_once(": ")?;
    let kind = match kind {
        "u32" => Type::Uint,
        "f32" => Type::Float,
        "bool" => Type::Bool,
        _ => return None,
    };
    (is_identifier(name) && !value.contains(';')).then_some((name, kind))
}

/// Name of an alias.
fn alias(code: &str) -> Option<&str> {
    let (name, value) = between(code, "alias ", ";")?.split_once(" = ")?;
    (is_identifier(name) && !value.contains(';')).then_some(name)
}

/// Name of a variable of the workgroup.
fn workgroup_variable(code: &str) -> Option<&str> {
    let (name, kind) = between(code, "var<workgroup> ", ";")?.split_once(": ")?;
    (is_identifier(name) && !kind.contains(';')).then_some(name)
}

/// Number, access and name of a binding.
fn binding(code: &str) -> Option<(u32, Access, &str)> {
    let (number, rest) = between(code, "@group(0) @binding(", ";")?.split_once(") var<storage, ")?;
    let (access, rest) = rest.split_once("> ")?;
    let access = match access {
        "read" => Access::Read,
        "read_write" => Access::Write,
        _ => return None,
    };
    let (name, kind) = rest.split_once(": ")?;
    let is_whole = is_identifier(name) && !kind.contains(';');
    Some((number.parse().ok()?, access, name)).filter(|_| is_whole)
}

/// Refuses a parameter or variable of a function with the name of a binding:
/// then the words of the function would not tell whether it uses the binding.
fn refuse_shadowed_bindings(items: &[Item]) -> Result<()> {
    let bindings: HashSet<&str> = items
        .iter()
        .filter(|item| matches!(item.kind, Kind::Binding(..)))
        .map(|item| item.name.as_str())
        .collect();
    for item in items {
        if !matches!(item.kind, Kind::Function | Kind::Entry) {
            continue;
        }
        let mut in_head = true;
        for line in &item.lines {
            let code = line.code();
            let words: Vec<&str> = code.split(|c| !is_word(c)).filter(|word| !word.is_empty()).collect();
            let pairs = words
                .windows(2)
                .filter(|pair| matches!(pair[0], "let" | "var" | "const"));
            let mut declared: Vec<&str> = pairs.map(|pair| pair[1]).collect();
            if in_head {
                let names = code.split([',', '(']).filter_map(|part| part.split_once(':'));
                declared.extend(names.filter_map(|(name, _)| name.split([' ', ')']).next_back()));
                in_head = !code.ends_with('{');
            }
            if let Some(name) = declared.into_iter().find(|name| bindings.contains(name)) {
                return line.refuse(
                    format!("`{name}` is also the name of a binding"),
                    "give the variable another name",
                );
            }
        }
    }
    Ok(())
}

/// Text and bindings of the program that entry point `entry` of the lines
/// makes with these values of its constants.
pub(super) fn specialise(
    lines: &[Line],
    entry: &str,
    constants: &[(&'static str, Value)],
) -> Result<(String, Vec<(u32, Access)>)> {
    let mut items = items(lines)?;
    let scope = replace_constants(&mut items, lines, constants)?;
    keep_entry(&mut items, lines, entry)?;
    drop_unused(&mut items);
    for item in &mut items {
        if matches!(item.kind, Kind::Function | Kind::Entry) {
            let mut expanded = Vec::new();
            expand(&item.lines, &scope, &mut expanded)?;
            item.lines = expanded;
        }
    }
    // Decided conditions leave declarations that nothing uses any more.
    drop_unused(&mut items);
    let mut source = String::new();
    let has_halves = |item: &Item| item.kind == Kind::Alias && item.lines[0].text.contains("f16");
    if items.iter().any(has_halves) {
        source.push_str("enable f16;\n");
    }
    let mut bindings = Vec::new();
    for item in &items {
        if let Kind::Binding(number, access) = item.kind {
            bindings.push((number, access));
        }
        for line in &item.lines {
            source.push_str(&line.text);
            source.push('\n');
        }
    }
    Ok((source, bindings))
}

/// Gives constants and aliases their values; returns the values of all that
/// are integers or booleans.
fn replace_constants(items: &mut [Item], lines: &[Line], constants: &[(&'static str, Value)]) -> Result<Scope> {
    let own: HashMap<&str, &Value> = constants.iter().map(|(name, value)| (*name, value)).collect();
    let mut scope = Scope::new();
    let mut replaced = 0;
    for item in items {
        let line = &mut item.lines[0];
        let wanted = own.get(item.name.as_str()).copied();
        let suits = match (item.kind, wanted) {
            (Kind::Const(Type::Uint), None | Some(Value::Uint(_)))
            | (Kind::Const(Type::Float), None | Some(Value::Float(_)))
            | (Kind::Const(Type::Bool), None | Some(Value::Bool(_)))
            | (Kind::Alias, None | Some(Value::Type(_))) => true,
            (Kind::Const(_) | Kind::Alias, Some(_)) => false,
            _ => continue,
        };
        if let (Some(value), false) = (wanted, suits) {
            return line.refuse(
                format!("`{}` is given {value:?}", item.name),
                "give it a value of the type that is declared",
            );
        }
        replaced += usize::from(wanted.is_some());
        let (declaration, value) = line.text.split_once(" = ").unwrap_or_default();
        let value = wanted.map_or_else(|| value.trim_end_matches(';').to_string(), Value::to_string);
        let text = format!("{declaration} = {value};");
        if matches!(item.kind, Kind::Const(Type::Uint | Type::Bool)) {
            let Some(integer) = evaluate(&value, &scope) else {
                return line.refuse(
                    format!("the value `{value}` of `{}` cannot be computed", item.name),
                    "use literals, constants declared above, + - * / %, comparisons, && || !, min, max and select",
                );
            };
            scope.insert(item.name.clone(), integer);
        }
        line.text = text;
    }
    match replaced == own.len() && own.len() == constants.len() {
        true => Ok(scope),
        false => {
            let names: Vec<&str> = constants.iter().map(|(name, _)| *name).collect();
            last(lines).refuse(
                format!(
                    "one of the constants {} is given twice or not declared",
                    names.join(", ")
                ),
                "declare it",
            )
        }
    }
}

/// The last line of a file, where errors are reported that have no line.
fn last(lines: &[Line]) -> &Line {
    lines.last().expect("a shader has lines")
}

/// Drops all entry points but `entry`, which is renamed `main`.
fn keep_entry(items: &mut Vec<Item>, lines: &[Line], entry: &str) -> Result<()> {
    items.retain(|item| item.kind != Kind::Entry || item.name == entry);
    let Some(main) = items.iter_mut().find(|item| item.kind == Kind::Entry) else {
        return last(lines).refuse(format!("there is no entry point `{entry}`"), "declare it");
    };
    let declaration = &mut main.lines[1].text;
    *declaration = declaration.replacen(entry, "main", 1);
    main.name = "main".to_string();
    Ok(())
}

/// Drops every declaration that the entry point does not use, also by way of
/// others: what only these read must not be bound.
fn drop_unused(items: &mut Vec<Item>) {
    let by_name: HashMap<&str, usize> = items.iter().map(|item| item.name.as_str()).zip(0..).collect();
    let mut used = vec![false; items.len()];
    let mut open: Vec<usize> = (0..items.len()).filter(|&at| items[at].kind == Kind::Entry).collect();
    while let Some(at) = open.pop() {
        if std::mem::replace(&mut used[at], true) {
            continue;
        }
        let lines = items[at].lines.iter();
        // A word after a dot is a component, not a name.
        let words = lines.flat_map(|line| line.code().split(|c: char| !is_word(c) && c != '.'));
        let names = words.map(|word| word.split('.').next().unwrap_or_default());
        open.extend(names.filter_map(|name| by_name.get(name)).filter(|&&at| !used[at]));
    }
    let mut used = used.into_iter();
    items.retain(|_| used.next().unwrap_or_default());
}

/// Appends `lines` to `out` with marked loops unrolled and marked conditions
/// decided.
fn expand(lines: &[Line], scope: &Scope, out: &mut Vec<Line>) -> Result<()> {
    let mut index = 0;
    while index < lines.len() {
        let line = &lines[index];
        if line.text.ends_with("// unroll") {
            let end = index + block_end(&lines[index..])?;
            if lines[end].code().trim() != "}" {
                return lines[end].refuse(
                    "an unrolled loop that ends within a line",
                    "write its `}` on a line alone",
                );
            }
            unroll(line, &lines[index + 1..end], scope, out)?;
            index = end + 1;
        } else if line.text.ends_with("// static") {
            index += decide(&lines[index..], scope, out)?;
        } else {
            out.push(Line {
                text: fold_indices(&line.text, scope),
                ..*line
            });
            index += 1;
        }
    }
    Ok(())
}

/// The line that closes, or continues by `else`, the block that the first line
/// opens.
fn block_end(lines: &[Line]) -> Result<usize> {
    let mut depth = 1;
    for (offset, line) in lines.iter().enumerate().skip(1) {
        for c in line.code().chars() {
            depth += i32::from(c == '{') - i32::from(c == '}');
            if depth == 0 {
                return Ok(offset);
            }
        }
    }
    lines[0].refuse("a block that does not end", "close it")
}

/// Repeats `body` with the loop variable replaced by each of its values.
fn unroll(head: &Line, body: &[Line], scope: &Scope, out: &mut Vec<Line>) -> Result<()> {
    let Some((name, from, to)) = loop_parts(head.code()) else {
        return head.refuse(
            "a loop that cannot be unrolled",
            "write `for (var i = FIRST; i < END; i++) { // unroll`",
        );
    };
    let value = |text: &str| match evaluate(text, scope) {
        Some(value) => Ok(value),
        None => head.refuse(
            format!("the bound `{text}` of an unrolled loop is not constant"),
            "use literals, module constants and variables of unrolled loops around it",
        ),
    };
    refuse_jumps(body)?;
    for step in value(from)?..value(to)? {
        let lines: Vec<Line> = body
            .iter()
            .map(|line| Line {
                text: substitute(&line.text, name, step),
                ..*line
            })
            .collect();
        let brace = |text: &str| Line {
            text: text.to_string(),
            ..*head
        };
        // Indented: a `}` in column 0 ends a function.
        out.push(brace("    {"));
        expand(&lines, scope, out)?;
        out.push(brace("    }"));
    }
    Ok(())
}

/// Name, first value and bound of `for (var i = A; i < B; i++) {`.
fn loop_parts(head: &str) -> Option<(&str, &str, &str)> {
    let inner = between(head.trim(), "for (var ", ") {")?;
    let mut parts = inner.split("; ");
    let (name, from) = parts.next()?.split_once(" = ")?;
    let to = parts.next()?.strip_prefix(name)?.strip_prefix(" < ")?;
    let steps_by_one = parts.next()?.strip_suffix("++") == Some(name);
    (is_identifier(name) && steps_by_one && parts.next().is_none()).then_some((name, from, to))
}

/// Refuses what would leave an unrolled loop: there is none to leave.
fn refuse_jumps(body: &[Line]) -> Result<()> {
    let mut index = 0;
    while index < body.len() {
        let line = &body[index];
        let mut words = line.code().split(|c| !is_word(c)).filter(|word| !word.is_empty());
        let first = words.clone().next().unwrap_or_default();
        let is_inner = matches!(first, "for" | "while" | "loop" | "switch") && line.code().ends_with('{');
        if is_inner && !line.text.ends_with("// unroll") {
            index += block_end(&body[index..])?;
        } else if words.any(|word| word == "break" || word == "continue") {
            return line.refuse(
                "a `break` or `continue` of an unrolled loop",
                "write an `if` around what is left out",
            );
        }
        index += 1;
    }
    Ok(())
}

/// Appends the branch of `if (…) { // static` that the constants choose, and
/// returns the number of lines that the condition takes.
fn decide(lines: &[Line], scope: &Scope, out: &mut Vec<Line>) -> Result<usize> {
    let head = &lines[0];
    let condition = between(head.code().trim(), "if (", ") {");
    let Some(chosen) = condition.and_then(|text| evaluate(text, scope)) else {
        return head.refuse(
            "a static condition that is not constant",
            "use literals, module constants of type u32 or bool and variables of unrolled loops around it",
        );
    };
    let middle = block_end(lines)?;
    let has_else = match lines[middle].code().trim() {
        "}" => false,
        "} else {" => true,
        _ => {
            return lines[middle].refuse(
                "a static condition that continues in an unknown way",
                "write `}` or `} else {` on a line alone, and nest an `else if`",
            );
        }
    };
    if chosen != 0 {
        expand(&lines[1..middle], scope, out)?;
    }
    if !has_else {
        return Ok(middle + 1);
    }
    let end = middle + block_end(&lines[middle..])?;
    if lines[end].code().trim() != "}" {
        return lines[end].refuse("an `else` that ends within a line", "write its `}` on a line alone");
    }
    if chosen == 0 {
        expand(&lines[middle + 1..end], scope, out)?;
    }
    Ok(end + 1)
}

/// `line` with the identifier `name` replaced by the literal `value`.
fn substitute(line: &str, name: &str, value: i64) -> String {
    let mut result = String::with_capacity(line.len());
    let mut copied = 0;
    for (at, _) in line.match_indices(name) {
        let before = line[..at].ends_with(|c| is_word(c) || c == '.');
        let after = line[at + name.len()..].starts_with(is_word);
        if !before && !after {
            result.push_str(&line[copied..at]);
            result.push_str(&format!("{value}u"));
            copied = at + name.len();
        }
    }
    result + &line[copied..]
}

/// `line` with every innermost `[…]` that is constant replaced by its value:
/// that saves the shader compiler the arithmetic, thousands of times.
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

#[cfg(test)]
mod tests;
