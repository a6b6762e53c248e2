//! Where unsafe code stands and what is said about it; unwrap outside tests.

use super::words::has_word;
use super::{Finding, Tree};

/// The only folder with unsafe code.
const UNSAFE_FOLDER: &str = "crates/structures/";
/// The comment that gives the reason.
const REASON: &str = "SAFETY:";
/// How many lines above an unsafe block its comment may start.
const REASON_DISTANCE: usize = 12;

pub(super) fn check_place(tree: &Tree) -> Vec<Finding> {
    let elsewhere = tree.rust().filter(|(path, _)| !path.starts_with(UNSAFE_FOLDER));
    let lines = elsewhere.flat_map(|(path, file)| file.lines().map(move |line| (path, line)));
    lines
        .filter(|(_, line)| has_word(line.code, "unsafe"))
        .map(|(path, line)| Finding::new(path, line.number, line.text.trim()))
        .collect()
}

/// Blocks and impls need a comment; an unsafe function or trait states its contract in its documentation instead.
pub(super) fn check_reason(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, file) in tree.rust() {
        let lines: Vec<_> = file.lines().collect();
        for (index, line) in lines.iter().enumerate() {
            let after = line.code.split("unsafe").nth(1).unwrap_or_default().trim_start();
            let declares = ["fn ", "extern ", "trait "].iter().any(|word| after.starts_with(word));
            if declares || !has_word(line.code, "unsafe") {
                continue;
            }
            let above = &lines[index.saturating_sub(REASON_DISTANCE)..=index];
            if !above.iter().any(|line| line.text.contains(REASON)) {
                findings.push(Finding::new(path, line.number, line.text.trim()));
            }
        }
    }
    findings
}

pub(super) fn check_unwrap(tree: &Tree) -> Vec<Finding> {
    let lines = tree.rust().flat_map(|(path, file)| file.lines().map(move |line| (path, line)));
    lines
        .filter(|(_, line)| !line.test && [".unwrap()", ".unwrap_err()"].iter().any(|call| line.code.contains(call)))
        .map(|(path, line)| Finding::new(path, line.number, line.text.trim()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::expect;

    #[test]
    fn unsafe_code_keeps_to_its_place() {
        let text = "// unsafe\nlet a = \"unsafe\";\nunsafe { a() }\nlet unsafely = 1;\n";
        expect(check_place, "crates/store/src/lib.rs", text, &[3]);
        expect(check_place, "crates/structures/src/lib.rs", text, &[]);
    }

    #[test]
    fn unsafe_code_gives_its_reason() {
        expect(check_reason, "a.rs", "// SAFETY: checked above\nunsafe { a() }\n", &[]);
        expect(check_reason, "a.rs", "// It is fine.\nunsafe { a() }\n", &[2]);
        expect(
            check_reason,
            "a.rs",
            &format!("// SAFETY: far\n{}unsafe impl Send for A {{}}\n", "x\n".repeat(12)),
            &[14],
        );
        expect(check_reason, "a.rs", "unsafe fn a() {}\nunsafe trait B {}\n", &[]);
    }

    #[test]
    fn unwrap_is_for_tests() {
        let text = "a.unwrap();\n// b.unwrap()\n#[cfg(test)]\nmod tests {\n    c.unwrap();\n}\n";
        expect(check_unwrap, "crates/a/src/lib.rs", text, &[1]);
        expect(check_unwrap, "crates/a/tests/a.rs", text, &[]);
    }
}
