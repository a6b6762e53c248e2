//! Sizes of files and functions, as ratchets.
//!
//! A file weighs its lines without the tests below its code and without tables laid out by hand. What is over the
//! limit must stand in `tidy.toml` with its exact size: larger is a finding, and so is smaller, because an entry that
//! is not lowered would let the file grow back.

use super::{Exceptions, Finding, Tree};
use std::collections::BTreeMap;

const FILE_LIMIT: usize = 500;
/// No exception goes beyond this.
const FILE_HARD_LIMIT: usize = 1_000;
const FUNCTION_LIMIT: usize = 70;

/// Something with a size: where it starts and how many lines it has.
type Sizes = BTreeMap<String, (usize, usize)>;

pub(super) fn check_files(tree: &Tree) -> Vec<Finding> {
    let sizes = file_sizes(tree);
    let mut findings = check(&sizes, &tree.exceptions.file_lines, FILE_LIMIT, "file_lines");
    let huge = sizes.iter().filter(|(_, (_, lines))| *lines > FILE_HARD_LIMIT);
    findings.extend(huge.map(|(path, (_, lines))| {
        Finding::new(path, 0, format!("{lines} lines; {FILE_HARD_LIMIT} is the limit without exception"))
    }));
    findings
}

pub(super) fn check_functions(tree: &Tree) -> Vec<Finding> {
    check(&function_sizes(tree), &tree.exceptions.function_lines, FUNCTION_LIMIT, "function_lines")
}

fn file_sizes(tree: &Tree) -> Sizes {
    tree.rust().map(|(path, file)| (path.to_owned(), (0, file.weight()))).collect()
}

/// Functions by path and name; of several with one name in a file the longest.
fn function_sizes(tree: &Tree) -> Sizes {
    let mut sizes = Sizes::new();
    for (path, file) in tree.rust() {
        for (line, name, lines) in file.functions() {
            let entry = sizes.entry(format!("{path}::{name}")).or_insert((line, lines));
            if lines > entry.1 {
                *entry = (line, lines);
            }
        }
    }
    sizes
}

fn check(sizes: &Sizes, exceptions: &BTreeMap<String, usize>, limit: usize, section: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (name, &(line, lines)) in sizes {
        let message = match exceptions.get(name) {
            None if lines <= limit => continue,
            Some(&allowed) if lines == allowed && lines > limit => continue,
            None => format!("{lines} lines, the limit is {limit}"),
            Some(&allowed) if lines > allowed => format!("grew from {allowed} to {lines} lines; split it"),
            Some(_) => format!("shrank to {lines} lines; run `cargo xtask tidy --ratchet`"),
        };
        let path = name.split("::").next().unwrap_or(name);
        let subject = name.strip_prefix(path).unwrap_or_default().trim_start_matches("::");
        let message = if subject.is_empty() { message } else { format!("{subject}: {message}") };
        findings.push(Finding::new(path, line, message));
    }
    let gone = exceptions.keys().filter(|name| !sizes.contains_key(*name));
    findings.extend(gone.map(|name| Finding::new("tidy.toml", 0, format!("{section}: {name} does not exist"))));
    findings
}

/// Gives the exceptions with every size lowered to today's, and without those that are no longer needed.
pub(super) fn tightened(tree: &Tree) -> Exceptions {
    let lower = |exceptions: &BTreeMap<String, usize>, sizes: &Sizes, limit: usize| {
        let today =
            exceptions.iter().filter_map(|(name, &allowed)| Some((name.clone(), allowed.min(sizes.get(name)?.1))));
        today.filter(|&(_, lines)| lines > limit).collect()
    };
    Exceptions {
        file_lines: lower(&tree.exceptions.file_lines, &file_sizes(tree), FILE_LIMIT),
        function_lines: lower(&tree.exceptions.function_lines, &function_sizes(tree), FUNCTION_LIMIT),
        sleeps: tree.exceptions.sleeps.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::expect;

    fn with_exception(lines: usize, allowed: usize) -> Vec<Finding> {
        let mut tree = Tree::of(&[("a.rs", &"x\n".repeat(lines))]);
        tree.exceptions.file_lines.insert("a.rs".to_owned(), allowed);
        check_files(&tree)
    }

    #[test]
    fn large_files_and_functions_are_found() {
        expect(check_files, "a.rs", &"x\n".repeat(500), &[]);
        expect(check_files, "a.rs", &"x\n".repeat(501), &[0]);
        let function = |lines: usize| format!("\nfn f() {{\n{}}}\n", "    x;\n".repeat(lines - 2));
        expect(check_functions, "a.rs", &function(70), &[]);
        expect(check_functions, "a.rs", &function(71), &[2]);
    }

    #[test]
    fn exceptions_hold_exactly_and_never_beyond_the_hard_limit() {
        assert!(with_exception(600, 600).is_empty());
        assert!(with_exception(601, 600)[0].message.contains("grew"));
        assert!(with_exception(599, 600)[0].message.contains("shrank"));
        assert!(with_exception(400, 600)[0].message.contains("shrank"));
        assert!(with_exception(1001, 1001)[0].message.contains("without exception"));
        let mut gone = Tree::of(&[]);
        gone.exceptions.file_lines.insert("b.rs".to_owned(), 600);
        assert_eq!(check_files(&gone).len(), 1);
    }

    #[test]
    fn ratchets_only_tighten() {
        let mut tree = Tree::of(&[("a.rs", &"x\n".repeat(600)), ("b.rs", &"x\n".repeat(600)), ("c.rs", "x\n")]);
        for (path, lines) in [("a.rs", 700), ("b.rs", 550), ("c.rs", 600), ("d.rs", 600)] {
            tree.exceptions.file_lines.insert(path.to_owned(), lines);
        }
        let lowered: Vec<_> = tightened(&tree).file_lines.into_iter().collect();
        assert_eq!(lowered, [("a.rs".to_owned(), 600), ("b.rs".to_owned(), 550)]);
    }
}
