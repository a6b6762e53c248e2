//! Crate edges: the table under `## Crates` in ARCHITECTURE.md against what cargo knows.
//!
//! The first column names crates, the second what they depend on, all in backticks. The two must be equal, in both
//! directions: a promised edge that no crate has is as untrue as a crate's edge that nobody promised. Edges of tests
//! may lead to testkit, or to what a crate may reach anyway.

use super::{Finding, Tree};
use crate::workspace::{cargo, output};
use anyhow::{Context, Result};
use std::collections::{BTreeMap, BTreeSet};

/// The page that holds the table.
const PAGE: &str = "ARCHITECTURE.md";
const HEADING: &str = "## Crates";
/// The folder of crates.
const CRATES: &str = "crates";
/// The crate that any test may use.
const TEST_CRATE: &str = "testkit";

/// What a crate depends on, among our own crates.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Dependencies {
    /// To be built.
    pub(super) normal: BTreeSet<String>,
    /// To be tested.
    pub(super) dev: BTreeSet<String>,
}

type Edges = BTreeMap<String, BTreeSet<String>>;

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let Some(page) = tree.files.get(PAGE) else { return vec![Finding::new(PAGE, 0, "is missing")] };
    let table = match parse(&page.text) {
        Ok(table) => table,
        Err(finding) => return vec![finding],
    };
    let promised: BTreeSet<&String> = table.keys().collect();
    let existing: BTreeSet<&String> = tree.crates.keys().collect();
    let mut messages: Vec<String> =
        existing.difference(&promised).map(|name| format!("the crate `{name}` has no row")).collect();
    messages.extend(promised.difference(&existing).map(|name| format!("there is no crate `{name}`")));
    for (name, dependencies) in &tree.crates {
        let Some(row) = table.get(name) else { continue };
        let extra = dependencies.normal.difference(row);
        messages.extend(extra.map(|to| format!("`{name}` depends on `{to}`, which the table does not allow")));
        let missing = row.difference(&dependencies.normal);
        messages.extend(missing.map(|to| format!("`{name}` does not depend on `{to}`, as the table says")));
        let reachable = reachable(&table, name);
        let dev = dependencies.dev.iter().filter(|to| *to != TEST_CRATE && !reachable.contains(*to));
        messages.extend(dev.map(|to| format!("tests of `{name}` depend on `{to}`, which `{name}` may not reach")));
    }
    messages.into_iter().map(|message| Finding::new(PAGE, 0, message)).collect()
}

/// Reads the first two columns of the table.
fn parse(page: &str) -> Result<Edges, Finding> {
    let mut table = Edges::new();
    let section = page.lines().enumerate().skip_while(|(_, line)| line.trim() != HEADING).skip(1);
    for (index, line) in section.take_while(|(_, line)| !line.starts_with("## ")) {
        let Some(row) = line.trim().strip_prefix('|') else { continue };
        let mut cells = row.split('|');
        let (crates, depends) = (names(cells.next()), names(cells.next()));
        for name in crates {
            if table.insert(name.clone(), depends.iter().cloned().collect()).is_some() {
                return Err(Finding::new(PAGE, index + 1, format!("`{name}` has two rows")));
            }
        }
    }
    if table.is_empty() {
        return Err(Finding::new(PAGE, 0, format!("no table of crates under `{HEADING}`")));
    }
    Ok(table)
}

fn names(cell: Option<&str>) -> Vec<String> {
    cell.unwrap_or_default().split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

fn reachable(table: &Edges, from: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut open = vec![from.to_owned()];
    while let Some(name) = open.pop() {
        let further = table.get(&name).into_iter().flatten().filter(|to| found.insert((*to).clone()));
        open.extend(further.cloned().collect::<Vec<_>>());
    }
    found
}

/// Asks cargo for the crates of the workspace. Packages are called by their folders.
pub(super) fn from_cargo() -> Result<BTreeMap<String, Dependencies>> {
    let text = output(&mut cargo(&["metadata", "--no-deps", "--format-version", "1", "--offline"]))?;
    let metadata: serde_json::Value = serde_json::from_str(&text)?;
    let packages = metadata["packages"].as_array().context("cargo metadata lists no packages")?;
    let mut folders = BTreeMap::new();
    for package in packages {
        let manifest = package["manifest_path"].as_str().context("a package without manifest")?;
        let mut parts = manifest.rsplit('/').skip(1);
        let folder = parts.next().context("a manifest without folder")?;
        // This program automates the others and is none of them.
        if parts.next() != Some(CRATES) {
            continue;
        }
        folders.insert(package["name"].as_str().context("a package without name")?, folder);
    }
    let mut crates = BTreeMap::new();
    for package in packages {
        let mut dependencies = Dependencies::default();
        for dependency in package["dependencies"].as_array().context("a package without dependencies")? {
            let Some(folder) = dependency["name"].as_str().and_then(|name| folders.get(name)) else { continue };
            let dev = dependency["kind"].as_str() == Some("dev");
            let set = if dev { &mut dependencies.dev } else { &mut dependencies.normal };
            set.insert((*folder).to_owned());
        }
        if let Some(folder) = package["name"].as_str().and_then(|name| folders.get(name)) {
            crates.insert((*folder).to_owned(), dependencies);
        }
    }
    Ok(crates)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "## Crates\n| crate | depends on | what |\n|---|---|---|\n| `a` | ∅ | x |\n| `b` | `a` | `c` |\n\
                         | `c`, `testkit` | `b` | |\n## Next\n| `d` | `a` |\n";

    #[track_caller]
    fn check_with(crates: &[(&str, &[&str], &[&str])], expect: &[&str]) {
        let mut tree = Tree::of(&[(PAGE, TABLE)]);
        for (name, normal, dev) in crates {
            let set = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
            tree.crates.insert((*name).to_owned(), Dependencies { normal: set(normal), dev: set(dev) });
        }
        let messages: Vec<String> = check(&tree).into_iter().map(|finding| finding.message).collect();
        assert_eq!(messages, expect);
    }

    #[test]
    fn table_and_cargo_must_say_the_same() {
        let (a, c, testkit) =
            (("a", &[][..], &["testkit"][..]), ("c", &["b"][..], &["a"][..]), ("testkit", &["b"][..], &[][..]));
        check_with(&[a, ("b", &["a"], &[]), c, testkit], &[]);
        check_with(
            &[a, ("b", &["a", "c"], &["c"]), c, testkit],
            &[
                "`b` depends on `c`, which the table does not allow",
                "tests of `b` depend on `c`, which `b` may not reach",
            ],
        );
        check_with(&[a, ("b", &[], &[]), c, testkit], &["`b` does not depend on `a`, as the table says"]);
        check_with(
            &[a, ("b", &["a"], &[]), ("e", &[], &[]), testkit],
            &["the crate `e` has no row", "there is no crate `c`"],
        );
    }

    #[test]
    fn a_page_without_table_is_no_pass() {
        assert_eq!(check(&Tree::of(&[(PAGE, "# Architecture\n")])).len(), 1);
        assert_eq!(check(&Tree::of(&[])).len(), 1);
        assert_eq!(check(&Tree::of(&[(PAGE, "## Crates\n| `a` | |\n| `a` | |\n")])).len(), 1);
    }
}
