//! `cargo xtask tidy`: the rules of docs/style.md that a machine can check.
//!
//! Each rule is a row: a name, the reason it exists, and a function from the files of the workspace to findings. Rules
//! see files as text (with comments and strings told apart from code, see [`source`]), so they are quick and need no
//! compiler. Sizes are ratchets: what was too large when a rule came stands in `tidy.toml` with its size and may
//! only shrink; `--ratchet` lowers the entries, nothing raises them but a person with a reason.
//!
//! What clippy can say is left to clippy.

mod edges;
mod names;
mod pages;
mod safety;
mod sizes;
mod source;
mod words;

use crate::workspace::{output, program, root};
use anyhow::{Context, Result, bail};
use source::Source;
use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

/// Files that hold no text of ours.
const FOREIGN: &[&str] = &["vendor/", "compat/", "fuzz/corpus/", "fuzz/artifacts/"];
/// Extensions of files that are read.
const READ: &[&str] = &["rs", "md", "toml", "lua", "py", "pyi", "sh", "html", "css", "js", "yml", "yaml"];

/// Arguments of `cargo xtask tidy`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Lowers the entries of tidy.toml to today's sizes and drops those that are no longer needed.
    #[arg(long)]
    ratchet: bool,
}

/// A rule.
struct Rule {
    name: &'static str,
    reason: &'static str,
    check: fn(&Tree) -> Vec<Finding>,
}

#[rustfmt::skip]
const RULES: &[Rule] = &[
    Rule { name: "crate edges",     check: edges::check,              reason: "the table in ARCHITECTURE.md is the architecture; a new edge needs a design note" },
    Rule { name: "file size",       check: sizes::check_files,        reason: "a file is one idea; past 500 lines ask why, past 1,000 split it by responsibility" },
    Rule { name: "function size",   check: sizes::check_functions,    reason: "a function fits a screen of 70 lines" },
    Rule { name: "unsafe place",    check: safety::check_place,       reason: "unsafe code stands in crates/structures only" },
    Rule { name: "unsafe reason",   check: safety::check_reason,      reason: "every unsafe block says above it, in a SAFETY comment, why it is sound" },
    Rule { name: "unwrap",          check: safety::check_unwrap,      reason: "outside tests, expect(\"why this holds\") tells the reader what unwrap does not" },
    Rule { name: "unfinished work", check: words::check_unfinished,   reason: "what is not done is left out, not marked" },
    Rule { name: "foreign words",   check: words::check_foreign,      reason: "sources speak of the program, not of the machine or the tools that wrote them" },
    Rule { name: "sleeps in tests", check: words::check_sleeps,       reason: "a test waits for a state, not for a time; exceptions stand in tidy.toml with their reason" },
    Rule { name: "function names",  check: names::check_functions,    reason: "a function that gives something is named after it" },
    Rule { name: "file names",      check: names::check_files,        reason: "a file is named after what it is about; a drawer for odds and ends is about nothing" },
    Rule { name: "module essays",   check: pages::check_essays,       reason: "every module opens by saying what it is, why, and what it is not" },
    Rule { name: "links",           check: pages::check_links,        reason: "a relative link leads somewhere" },
    Rule { name: "pages",           check: pages::check_required,     reason: "a reader finds the way in" },
];

/// Something that breaks a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Finding {
    path: String,
    /// Counted from 1; 0 when the file as a whole is meant.
    line: usize,
    message: String,
}

impl Finding {
    fn new(path: &str, line: usize, message: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line, message: message.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, line, message } = self;
        if *line == 0 { write!(to, "{path}: {message}") } else { write!(to, "{path}:{line}: {message}") }
    }
}

/// What the rules look at.
#[derive(Debug, Default)]
struct Tree {
    /// Files by their path from the root.
    files: BTreeMap<String, Source>,
    /// Paths of all files, also of those that are not read.
    paths: Vec<String>,
    exceptions: Exceptions,
    /// Each crate of ours with what it depends on, as cargo sees it.
    crates: BTreeMap<String, edges::Dependencies>,
}

/// The contents of `tidy.toml`.
#[derive(Debug, Default, PartialEq, Eq)]
struct Exceptions {
    file_lines: BTreeMap<String, usize>,
    function_lines: BTreeMap<String, usize>,
    sleeps: BTreeMap<String, String>,
}

/// Checks, or lowers the ratchets.
pub(crate) fn run(args: &Args) -> Result<()> {
    if !args.ratchet {
        return check();
    }
    let mut tree = Tree::read(&root())?;
    tree.exceptions = sizes::tightened(&tree);
    let path = root().join("tidy.toml");
    std::fs::write(&path, tree.exceptions.print()).with_context(|| format!("cannot write {}", path.display()))
}

/// Checks all rules and prints what breaks them.
pub(crate) fn check() -> Result<()> {
    let tree = Tree::read(&root())?;
    let mut broken = 0;
    for rule in RULES {
        let findings = (rule.check)(&tree);
        if !findings.is_empty() {
            broken += 1;
            println!("{}: {}", rule.name, rule.reason);
            findings.iter().for_each(|finding| println!("  {finding}"));
        }
    }
    if broken > 0 {
        bail!("{broken} of {} rules are broken", RULES.len());
    }
    println!("{} rules hold in {} files", RULES.len(), tree.files.len());
    Ok(())
}

impl Tree {
    /// Reads the files that git knows or would know.
    fn read(root: &Path) -> Result<Self> {
        let mut git = program("git");
        let listed = match output(git.args(["ls-files", "--cached", "--others", "--exclude-standard"])) {
            Ok(listed) => listed,
            // An unpacked archive has no git directory, and a foreign one is not trusted.
            Err(_) => walk(root, "")?,
        };
        let ours =
            |path: &&str| !FOREIGN.iter().any(|part| path.starts_with(part) || path.contains(&format!("/{part}")));
        // A deleted file stays in git's list until the deletion is committed.
        let paths = listed.lines().filter(ours).filter(|path| root.join(path).is_file());
        let mut tree = Self { paths: paths.map(str::to_owned).collect(), ..Self::default() };
        for path in &tree.paths {
            let extension = path.rsplit_once('.').map_or("", |(_, extension)| extension);
            if READ.contains(&extension) || Path::new(path).extension().is_none() {
                let bytes = std::fs::read(root.join(path)).with_context(|| format!("cannot read {path}"))?;
                tree.files.insert(path.clone(), Source::new(path, String::from_utf8_lossy(&bytes).into_owned()));
            }
        }
        tree.exceptions = match tree.files.get("tidy.toml") {
            Some(file) => Exceptions::parse(&file.text)?,
            None => Exceptions::default(),
        };
        tree.crates = edges::from_cargo()?;
        Ok(tree)
    }

    fn rust(&self) -> impl Iterator<Item = (&str, &Source)> {
        self.files.iter().filter(|(path, _)| path.ends_with(".rs")).map(|(path, file)| (path.as_str(), file))
    }

    fn pages(&self) -> impl Iterator<Item = (&str, &Source)> {
        self.files.iter().filter(|(path, _)| path.ends_with(".md")).map(|(path, file)| (path.as_str(), file))
    }
}

/// Lists the files below a folder as git would print them, without hidden and built ones.
fn walk(root: &Path, folder: &str) -> Result<String> {
    let mut listed = String::new();
    for entry in std::fs::read_dir(root.join(folder)).with_context(|| format!("cannot read {folder}"))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = if folder.is_empty() { name.clone() } else { format!("{folder}/{name}") };
        if name.starts_with('.') || name == "target" {
            continue;
        }
        if entry.file_type()?.is_dir() {
            listed += &walk(root, &path)?;
        } else {
            listed += &format!("{path}\n");
        }
    }
    Ok(listed)
}

impl Exceptions {
    fn parse(text: &str) -> Result<Self> {
        let table: toml::Table = text.parse().context("tidy.toml")?;
        let mut exceptions = Self::default();
        for (section, entries) in &table {
            for (name, value) in entries.as_table().with_context(|| format!("tidy.toml: {section} is no table"))? {
                let lines = || value.as_integer().and_then(|lines| usize::try_from(lines).ok());
                let reason = || value.as_str().filter(|reason| !reason.is_empty()).map(str::to_owned);
                let wrong = || format!("tidy.toml: {section}, {name}");
                let lines = || lines().with_context(wrong);
                match section.as_str() {
                    "file_lines" => drop(exceptions.file_lines.insert(name.clone(), lines()?)),
                    "function_lines" => drop(exceptions.function_lines.insert(name.clone(), lines()?)),
                    "sleeps" => drop(exceptions.sleeps.insert(name.clone(), reason().with_context(wrong)?)),
                    _ => bail!("tidy.toml: the section {section} is unknown"),
                }
            }
        }
        Ok(exceptions)
    }

    fn print(&self) -> String {
        let mut text =
            "# Exceptions from the rules of `cargo xtask tidy`. Sizes may only shrink: `--ratchet` lowers them.\n"
                .to_owned();
        for (section, sizes) in [("file_lines", &self.file_lines), ("function_lines", &self.function_lines)] {
            text += &format!("\n[{section}]\n");
            sizes.iter().for_each(|(name, lines)| text += &format!("{name:?} = {lines}\n"));
        }
        text += "\n[sleeps]\n";
        self.sleeps.iter().for_each(|(path, reason)| text += &format!("{path:?} = {reason:?}\n"));
        text
    }
}

/// Small trees for the tests of the rules.
#[cfg(test)]
impl Tree {
    fn of(files: &[(&str, &str)]) -> Self {
        let mut tree = Self::default();
        for (path, text) in files {
            tree.paths.push((*path).to_owned());
            tree.files.insert((*path).to_owned(), Source::new(path, (*text).to_owned()));
        }
        tree
    }
}

/// Asserts which lines of a tree of one file break a rule.
#[cfg(test)]
#[track_caller]
fn expect(rule: fn(&Tree) -> Vec<Finding>, path: &str, text: &str, lines: &[usize]) {
    let found = rule(&Tree::of(&[(path, text)]));
    assert_eq!(found.iter().map(|finding| finding.line).collect::<Vec<_>>(), lines, "{found:?}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exceptions_are_read_and_written_alike() {
        let text = "[file_lines]\n\"a.rs\" = 600\n[function_lines]\n\"a.rs::run\" = 80\n[sleeps]\n\"b.rs\" = \"why\"\n";
        let exceptions = Exceptions::parse(text).unwrap();
        assert_eq!(exceptions.file_lines["a.rs"], 600);
        assert_eq!(Exceptions::parse(&exceptions.print()).unwrap(), exceptions);
        for wrong in ["[sleeps]\n\"b.rs\" = \"\"", "[more]\na = 1", "[file_lines]\na = -1", "a = 1"] {
            assert!(Exceptions::parse(wrong).is_err(), "{wrong}");
        }
    }
}
