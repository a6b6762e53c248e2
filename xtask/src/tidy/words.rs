//! Words that do not belong into a finished source, and sleeps in tests.
//!
//! The words stand here in halves, so that this file keeps the rules itself.

use super::{Finding, Tree};

/// Marks of unfinished work, as whole words.
const UNFINISHED: &[&str] = &[concat!("TO", "DO"), concat!("FIX", "ME"), concat!("X", "XX"), concat!("HA", "CK")];
/// The same as code.
const UNFINISHED_CODE: &[&str] =
    &[concat!("to", "do!("), concat!("unimpl", "emented!("), concat!("#[ign", "ore"), concat!("db", "g!(")];
/// Pages that speak about these words.
const ABOUT_WORDS: &[&str] = &["docs/style.md", "CONTRIBUTING.md"];
/// Traces of a machine or a tool, in lower case.
const FOREIGN: &[&str] = &[
    concat!("/wo", "rk/"),
    concat!("/ro", "ot/"),
    concat!("clau", "de"),
    concat!("chat", "gpt"),
    concat!("copi", "lot"),
    concat!("language ", "model"),
    concat!("ai ", "agent"),
    concat!("sub", "agent"),
    concat!("as an ", "ai"),
];

pub(super) fn check_unfinished(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, file) in tree.files.iter().filter(|(path, _)| !ABOUT_WORDS.contains(&path.as_str())) {
        for line in file.lines() {
            let word = UNFINISHED.iter().find(|word| has_word(line.text, word));
            let code = UNFINISHED_CODE.iter().find(|code| path.ends_with(".rs") && line.code.contains(**code));
            findings.extend(word.or(code).map(|found| Finding::new(path, line.number, *found)));
        }
    }
    findings
}

pub(super) fn check_foreign(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, file) in &tree.files {
        for line in file.lines() {
            let lower = line.text.to_lowercase();
            let found = FOREIGN.iter().find(|word| lower.contains(**word));
            findings.extend(found.map(|word| Finding::new(path, line.number, *word)));
        }
    }
    findings
}

pub(super) fn check_sleeps(tree: &Tree) -> Vec<Finding> {
    let allowed = &tree.exceptions.sleeps;
    let mut findings = Vec::new();
    for (path, file) in tree.rust() {
        let mut sleeps = file.lines().filter(|line| line.test && has_word(line.code, "sleep(")).peekable();
        match (allowed.contains_key(path), sleeps.peek()) {
            (false, _) => findings.extend(sleeps.map(|line| Finding::new(path, line.number, line.text.trim()))),
            (true, None) => findings.push(Finding::new("tidy.toml", 0, format!("sleeps: {path} has none"))),
            (true, Some(_)) => {}
        }
    }
    let gone = allowed.keys().filter(|path| !tree.files.contains_key(*path));
    findings.extend(gone.map(|path| Finding::new("tidy.toml", 0, format!("sleeps: {path} does not exist"))));
    findings
}

/// Says whether `text` holds `word` with no letter, digit or underscore beside it.
pub(super) fn has_word(text: &str, word: &str) -> bool {
    let part_of_word = |symbol: char| symbol.is_alphanumeric() || symbol == '_';
    let ends_open = word.ends_with(part_of_word);
    text.match_indices(word).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let after = text[at + word.len()..].chars().next();
        let separate = |beside: Option<char>| beside.is_none_or(|symbol| !part_of_word(symbol));
        separate(before) && (!ends_open || separate(after))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::expect;

    #[test]
    fn unfinished_work_is_found() {
        let mark = UNFINISHED[0];
        expect(check_unfinished, "a.md", &format!("# A\n{mark}: more\n{mark}S\n"), &[2]);
        expect(check_unfinished, "docs/style.md", mark, &[]);
        let code: String = UNFINISHED_CODE.iter().map(|code| format!("{code}\n")).collect();
        expect(check_unfinished, "a.rs", &code, &[1, 2, 3, 4]);
        expect(check_unfinished, "a.rs", &format!("let a = \"{}\";\n", UNFINISHED_CODE[0]), &[]);
    }

    #[test]
    fn foreign_words_are_found_in_any_file() {
        for word in FOREIGN {
            expect(check_foreign, "a.toml", &format!("a\n# {}\n", word.to_uppercase()), &[2]);
        }
        expect(check_foreign, "a.rs", "// the User-Agent header of an agent of a workflow\n", &[]);
    }

    #[test]
    fn tests_do_not_sleep_without_reason() {
        let text = "std::thread::sleep(a);\n#[cfg(test)]\nmod tests {\n    fn a() { tokio::time::sleep(b).await; asleep(c) }\n}\n";
        expect(check_sleeps, "crates/a/src/lib.rs", text, &[4]);
        expect(check_sleeps, "crates/a/tests/b.rs", text, &[1, 4]);
        let mut tree = Tree::of(&[("crates/a/src/lib.rs", text), ("b.rs", "")]);
        let reason = "it fakes a slow network".to_owned();
        tree.exceptions.sleeps.insert("crates/a/src/lib.rs".to_owned(), reason.clone());
        assert!(check_sleeps(&tree).is_empty());
        tree.exceptions.sleeps.insert("b.rs".to_owned(), reason.clone());
        tree.exceptions.sleeps.insert("c.rs".to_owned(), reason);
        assert_eq!(check_sleeps(&tree).len(), 2);
    }
}
