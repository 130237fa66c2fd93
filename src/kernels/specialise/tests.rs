use super::*;

/// The program that `main` of `text` makes with these constants, its words
/// separated by single spaces.
fn program(text: &str, constants: &[(&'static str, Value)]) -> Result<String> {
    let (source, _) = specialise(&Line::all("test", text), "main", constants)?;
    let words: Vec<&str> = source.split_whitespace().collect();
    Ok(words.join(" "))
}

/// The declaration of an entry point with this body.
fn entry(body: &str) -> String {
    format!("@compute @workgroup_size(1)\nfn main() {{\n{body}}}\n")
}

/// Asserts that line `line` of `text` is refused, and that the message says
/// what is wrong and what to write instead.
#[track_caller]
fn refused(text: &str, line: usize, problem: &str, instead: &str) {
    let error = program(text, &[("N", Value::Uint(3))]).expect_err(problem);
    let message = error.to_string();
    assert!(message.starts_with(&format!("shaders/test.wgsl:{line}: ")), "{message}");
    assert!(message.contains(problem), "{message}");
    assert!(error.instead.contains(instead), "{message}");
}

const N: &str = "const N: u32 = 1u;\n";

#[test]
fn loops_unroll_and_conditions_are_decided() {
    let body = "    for (var i = 0u; i < N; i++) { // unroll
        if (i % 2u == 0u) { // static
            a[i * 2u] += b.i + ii;
        } else {
            skip(i);
        }
    }
";
    let source = program(&(N.to_string() + &entry(body)), &[("N", Value::Uint(3))]).unwrap();
    assert_eq!(
        source,
        "@compute @workgroup_size(1) fn main() { { a[0] += b.i + ii; } { skip(1u); } { a[4] += b.i + ii; } }"
    );
}

#[test]
fn only_what_the_entry_point_uses_is_left() {
    let text = "\
// A comment.
const N: u32 = 1u; // images
const M: u32 = N + 1u;
alias Stored = f32;
struct Step {
    number: u32, // a comment
}
@group(0) @binding(0) var<storage, read> x: array<Stored>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@group(0) @binding(2) var<storage, read> step: Step;
var<workgroup> sums: array<f32, N>;

fn read(at: u32) -> f32 {
    return f32(x[at]);
}

fn unused() -> f32 {
    return read(0u) + sums[0];
}

@compute @workgroup_size(1)
fn other() {
    y[0] = unused();
}

@compute @workgroup_size(1)
fn main() {
    if (N == 2u) { // static
        y[0] = read(step.number);
    }
    y[M] = y.x;
}
";
    let lines = Line::all("test", text);
    let bindings = |n: u32| {
        let constants = [("N", Value::Uint(n)), ("Stored", Value::Type("f16"))];
        specialise(&lines, "main", &constants).unwrap()
    };
    let (source, used) = bindings(1);
    assert_eq!(used, [(1, Access::Write)]);
    assert_eq!(
        source,
        "@group(0) @binding(1) var<storage, read_write> y: array<f32>;\n\
         @compute @workgroup_size(1)\nfn main() {\n    y[2] = y.x;\n}\n"
    );
    let (source, used) = bindings(2);
    assert_eq!(used, [(0, Access::Read), (1, Access::Write), (2, Access::Read)]);
    assert!(
        source.starts_with("enable f16;\nalias Stored = f16;\nstruct Step {\n"),
        "{source}"
    );
}

#[test]
fn imports_stand_in_front_once_each() {
    let shared = |name: &str| match name {
        "a" => Some(("shared/a", "// import b\nconst A: u32 = B;\n")),
        "b" => Some(("shared/b", "const B: u32 = 2u;\n")),
        "round" => Some(("shared/round", "// import there\n")),
        "there" => Some(("shared/there", "\n// import round\n")),
        _ => None,
    };
    let all = |text: &str| with_imports("test", text, &shared);
    let texts = |text: &str| -> Vec<String> { all(text).unwrap().into_iter().map(|line| line.text).collect() };
    let own = "const C: u32 = A + B;";
    let wanted = ["const B: u32 = 2u;", "const A: u32 = B;", own];
    assert_eq!(texts(&format!("// import a\n// import b\n{own}\n")), wanted);
    assert_eq!(
        texts(&format!("// import b\n// import a\n// import b\n{own}\n")),
        wanted
    );
    let message = |text: &str| all(text).unwrap_err().to_string();
    let unknown = message("// Prose.\n// import c\n");
    assert!(
        unknown.starts_with("shaders/test.wgsl:2: there is no file shaders/shared/c.wgsl"),
        "{unknown}"
    );
    let circle = message("// import round\n");
    assert!(
        circle.starts_with("shaders/shared/there.wgsl:2: an import that leads back to itself"),
        "{circle}"
    );
    let late = message("const A: u32 = 1u;\n// import b\n");
    assert!(
        late.starts_with("shaders/test.wgsl:2: an import after a declaration"),
        "{late}"
    );
}

#[test]
fn misspelt_directives_are_refused() {
    let looped =
        |comment: &str| N.to_string() + &entry(&format!("    for (var i = 0u; i < N; i++) {{{comment}\n    }}\n"));
    refused(
        &looped(" // unrol"),
        4,
        "a comment after `{`",
        "prose on a line of its own",
    );
    refused(&looped(" // static"), 4, "a comment after `{`", "prose");
    refused(&looped(" //unroll"), 4, "other spaces", "`// unroll`");
    refused(&looped(" // unroll this"), 4, "a comment after `{`", "prose");
    refused(
        &looped("\n        // unroll"),
        5,
        "looks like a directive",
        "`// unroll` after a `for`",
    );
    refused(
        &looped("\n        x = 1u; // statik"),
        5,
        "looks like a directive",
        "`// static` after an `if`",
    );
    let above = |comment: &str| format!("{comment}\n{N}") + &entry("");
    refused(
        &above("// imports step"),
        1,
        "looks like a directive",
        "`// import NAME`",
    );
    refused(
        &above("// Import step"),
        1,
        "looks like a directive",
        "`// import NAME`",
    );
    refused(
        &above("// import step and loss_scale"),
        1,
        "looks like a directive",
        "`// import NAME`",
    );
    refused(
        &above(" // import step"),
        1,
        "other spaces",
        "at the beginning of its line",
    );
    refused(
        &above("x = 1u; // import step"),
        1,
        "looks like a directive",
        "on a line of its own",
    );
    // Imports were put in front: one that is left stands where none may.
    refused(
        &above("// import step"),
        1,
        "a directive outside of a function",
        "move it",
    );
}

#[test]
fn declarations_that_cannot_be_read_are_refused() {
    let with = |declaration: &str| format!("{N}{declaration}\n") + &entry("");
    let bindings = [
        "@group(0) @binding(0)\nvar<storage, read> x: array<f32>;",
        "@group(0) @binding(0) var<storage, read>\n    x: array<f32>;",
        "@group(1) @binding(0) var<storage, read> x: array<f32>;",
        "@group(0) @binding(0) var<uniform> x: vec4f;",
        "@binding(0) @group(0) var<storage, read> x: array<f32>;",
        "@group(0) @binding(0) var<storage,read> x: array<f32>;",
    ];
    for binding in bindings {
        refused(&with(binding), 2, "a binding that cannot be read", "on one line");
    }
    let constants = [
        "const M = 1u;",
        "const M: i32 = 1;",
        "const M: u32 =\n    1u;",
        "const M: u32 = 1u; const L: u32 = 2u;",
        "const M:u32 = 1u;",
    ];
    for constant in constants {
        refused(
            &with(constant),
            2,
            "a constant that cannot be read",
            "const NAME: TYPE = VALUE;",
        );
    }
    refused(
        &with("const M: u32 = N << 2u;"),
        2,
        "the value `N << 2u` of `M`",
        "use literals",
    );
    refused(&with("const M: u32 = L;"), 2, "cannot be computed", "declared above");
    refused(
        &with("alias Stored =\n    f32;"),
        2,
        "an alias that cannot be read",
        "on one line",
    );
    refused(
        &with("var<workgroup> sums:\n    array<f32, 4>;"),
        2,
        "a variable that cannot be read",
        "on one line",
    );
    refused(
        &with("var<private> sum: f32;"),
        2,
        "a variable that cannot be read",
        "var<workgroup>",
    );
    refused(&with("override M: u32 = 1u;"), 2, "begins no declaration", "`const`");
    refused(&with("enable f16;"), 2, "begins no declaration", "column 0");
    refused(&with("    const M: u32 = 1u;"), 2, "begins no declaration", "column 0");
    refused(&with("/* Prose. */"), 2, "a block comment", "`//`");
    refused(&with("const N: u32 = 1u;"), 2, "has the name", "choose another");
    let two = "@group(0) @binding(0) var<storage, read> a: array<f32>;\n\
               @group(0) @binding(0) var<storage, read> b: array<f32>;";
    refused(&with(two), 3, "the binding number of `a`", "choose another");
}

#[test]
fn blocks_that_are_laid_out_otherwise_are_refused() {
    let with = |function: &str| N.to_string() + function + &entry("");
    refused(&with("fn f() { return; }\n"), 2, "does not end `f`", "column 0");
    refused(
        &with("fn f() {\n    return;\n    }\n"),
        4,
        "does not end `f`",
        "column 0",
    );
    refused(
        &with("fn f() {\n    if (true) {\n}\n}\n"),
        4,
        "does not end `f`",
        "column 0",
    );
    refused(&with("fn f() {\n"), 3, "`f` is not closed", "`}` in column 0");
    refused(&with("fn f() {\nreturn;\n}\n"), 3, "`f` is not closed", "indent");
    refused(&with("fn f()\n{\n}\n"), 3, "`f` is not closed", "indent");
    refused(&with("fn () {\n}\n"), 2, "without a name", "fn NAME(");
    refused(&with("fn f() {\n    } /* closed */\n}\n"), 3, "a block comment", "`//`");
    refused(
        &with("@compute @workgroup_size(1) fn f() {\n}\n"),
        2,
        "an entry point",
        "beginning of the next",
    );
    refused(
        &with("@compute @workgroup_size(8, 8)\nfn f() {\n}\n"),
        2,
        "an entry point",
        "workgroup_size(NAME)",
    );
    let unended = format!("{N}struct S {{\n    a: u32,\n");
    refused(&unended, 2, "`S` does not end", "`}` in column 0");
}

#[test]
fn loops_that_cannot_be_unrolled_are_refused() {
    let head = |head: &str| N.to_string() + &entry(&format!("    {head} // unroll\n    }}\n"));
    let heads = [
        "for (var i = 0u; i <= N; i++) {",
        "for (var i = N; i > 0u; i--) {",
        "for (var i = 0u; i < N; i += 2u) {",
        "for (var i: u32 = 0u; i < N; i++) {",
        "for (var i = 0u; j < N; i++) {",
        "for (var i = 0u; i < N; j++) {",
    ];
    for text in heads {
        refused(&head(text), 4, "a loop that cannot be unrolled", "i < END; i++");
    }
    refused(
        &head("for (var i = 0u; i < n; i++) {"),
        4,
        "the bound `n`",
        "module constants",
    );
    refused(&head("while (true) {"), 4, "neither `// unroll` on a `for`", "prose");
    let body = |body: &str| N.to_string() + &entry(&format!("    for (var i = 0u; i < N; i++) {{ // unroll\n{body}"));
    refused(
        &body("        if (x) { break; }\n    }\n"),
        5,
        "a `break` or `continue`",
        "write an `if`",
    );
    refused(
        &body("        continue;\n    }\n"),
        5,
        "a `break` or `continue`",
        "write an `if`",
    );
    refused(&body("        f(); }\n"), 5, "ends within a line", "on a line alone");
    // A loop within has its own.
    let inner = body("        for (var j = 0u; j < 2u; j++) {\n            break;\n        }\n    }\n");
    assert!(program(&inner, &[]).unwrap().contains("break;"));
}

#[test]
fn conditions_that_cannot_be_decided_are_refused() {
    let with = |lines: &str| N.to_string() + &entry(lines);
    let start = "    if (N == 1u) { // static\n        f();\n";
    let after = |rest: &str| with(&format!("{start}{rest}"));
    refused(
        &with("    if (n == 1u) { // static\n    }\n"),
        4,
        "not constant",
        "module constants",
    );
    refused(
        &with("    if (N > 1.5) { // static\n    }\n"),
        4,
        "not constant",
        "u32 or bool",
    );
    refused(
        &after("    } else if (N == 2u) {\n    }\n"),
        6,
        "continues in an unknown way",
        "nest an `else if`",
    );
    refused(
        &after("    } else if (N == 2u) { // static\n    }\n"),
        6,
        "cannot be static",
        "in an `else {`",
    );
    refused(
        &after("    } f();\n"),
        6,
        "continues in an unknown way",
        "on a line alone",
    );
    refused(
        &after("    } else {\n        f(); }\n"),
        7,
        "ends within a line",
        "on a line alone",
    );
}

#[test]
fn names_that_hide_a_binding_are_refused() {
    let binding = "@group(0) @binding(0) var<storage, read> sums: array<f32>;\n";
    let with = |function: &str| format!("{N}{binding}{function}") + &entry("");
    let problem = "`sums` is also the name of a binding";
    refused(&with("fn f() {\n    var sums = 0u;\n}\n"), 4, problem, "another name");
    refused(
        &with("fn f(at: u32,\n     sums: u32) {\n}\n"),
        4,
        problem,
        "another name",
    );
    refused(
        &with("fn f() {\n    for (var sums = 0u; sums < 2u; sums++) {\n    }\n}\n"),
        4,
        problem,
        "another name",
    );
    assert!(program(&with("fn f(all_sums: u32) {\n    let sums_of = 0u;\n}\n"), &[]).is_ok());
}

#[test]
fn values_that_do_not_suit_are_refused() {
    let text = format!("{N}const RATE: f32 = 0.5;\nalias Stored = f32;\n") + &entry("");
    let message = |name, value| program(&text, &[(name, value)]).unwrap_err().to_string();
    assert!(message("N", Value::Bool(true)).contains("wgsl:1: `N` is given Bool(true)"));
    assert!(message("RATE", Value::Uint(1)).contains("wgsl:2: `RATE` is given Uint(1)"));
    assert!(message("Stored", Value::Float(1.0)).contains("wgsl:3: `Stored` is given"));
    assert!(message("M", Value::Uint(1)).contains("M is given twice or not declared"));
    let twice = program(&text, &[("N", Value::Uint(1)), ("N", Value::Uint(2))]).unwrap_err();
    assert!(twice.to_string().contains("given twice"));
    let missing = specialise(&Line::all("test", &text), "mian", &[]).unwrap_err();
    assert!(missing.to_string().contains("there is no entry point `mian`"));
}
