//! Module essays, links, and the pages a reader starts from.

use super::{Finding, Tree};

/// Pages that must exist.
const REQUIRED: &[&str] = &[
    "README.md",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "LICENSE-MIT",
    "LICENSE-APACHE",
    "docs/style.md",
];
/// The longest ARCHITECTURE.md, in lines.
const ARCHITECTURE_LIMIT: usize = 300;

/// The essay is the first thing in a file but for attributes of the crate.
pub(super) fn check_essays(tree: &Tree) -> Vec<Finding> {
    let files = tree.rust().filter(|(path, _)| !path.ends_with("build.rs"));
    files
        .filter(|(_, file)| {
            let first = file.text.lines().find(|line| !line.trim().is_empty() && !line.starts_with("#!["));
            first.and_then(|line| line.strip_prefix("//!")).is_none_or(|text| text.trim().is_empty())
        })
        .map(|(path, _)| Finding::new(path, 1, "does not open with //!"))
        .collect()
}

pub(super) fn check_links(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, file) in tree.pages() {
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        let mut in_code = false;
        for line in file.lines() {
            in_code ^= line.text.trim_start().starts_with("```");
            let dead = links(line.text).into_iter().filter(|link| !in_code && !leads_somewhere(tree, folder, link));
            findings.extend(dead.map(|link| Finding::new(path, line.number, link)));
        }
    }
    findings
}

/// Lists the targets of `[text](target)`.
fn links(line: &str) -> Vec<&str> {
    line.split("](").skip(1).filter_map(|rest| rest.split([')', ' ']).next()).collect()
}

fn leads_somewhere(tree: &Tree, folder: &str, link: &str) -> bool {
    let target = link.split('#').next().unwrap_or_default();
    if target.is_empty() || target.contains("://") || target.starts_with("mailto:") {
        return true;
    }
    let mut parts: Vec<&str> = if target.starts_with('/') { Vec::new() } else { folder.split('/').collect() };
    for part in target.split('/') {
        match part {
            "." | "" => {}
            ".." => _ = parts.pop(),
            name => parts.push(name),
        }
    }
    let path = parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("/");
    path.is_empty() || tree.paths.iter().any(|file| *file == path || file.starts_with(&format!("{path}/")))
}

pub(super) fn check_required(tree: &Tree) -> Vec<Finding> {
    let missing = REQUIRED.iter().filter(|page| !tree.paths.iter().any(|path| path == *page));
    let mut findings: Vec<Finding> = missing.map(|page| Finding::new(page, 0, "is missing")).collect();
    let lines = tree.files.get("ARCHITECTURE.md").map_or(0, |page| page.text.lines().count());
    if lines > ARCHITECTURE_LIMIT {
        let message = format!("{lines} lines; a page read in one go has {ARCHITECTURE_LIMIT} at most");
        findings.push(Finding::new("ARCHITECTURE.md", 0, message));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::expect;

    #[test]
    fn modules_open_with_an_essay() {
        expect(check_essays, "src/a.rs", "//! What it is.\n", &[]);
        expect(check_essays, "src/a.rs", "#![no_main]\n\n//! What it is.\n", &[]);
        for text in ["", "use a;\n//! late\n", "//!\n", "// what it is\n", "/// what it is\n"] {
            expect(check_essays, "src/a.rs", text, &[1]);
        }
    }

    #[test]
    fn links_lead_to_files_and_folders() {
        let page = "[a](../src/a.rs#L3) [b](#b) [c](https://a.b) [d](/src) [e](..)\n[x](b.md) ![y](img/y.png \"y\")\n```\n[z](z)\n```\n";
        let tree = Tree::of(&[("docs/page.md", page), ("src/a.rs", "")]);
        let found: Vec<String> = check_links(&tree).into_iter().map(|finding| finding.message).collect();
        assert_eq!(found, ["b.md", "img/y.png"]);
    }

    #[test]
    fn the_way_in_exists_and_is_short() {
        let long = "x\n".repeat(301);
        let mut files: Vec<(&str, &str)> = REQUIRED.iter().map(|page| (*page, "")).collect();
        assert!(check_required(&Tree::of(&files)).is_empty());
        files[1].1 = &long;
        assert_eq!(check_required(&Tree::of(&files[1..])).len(), 2);
    }
}
