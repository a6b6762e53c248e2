//! The list of losses: which tests of the suite are lost, and why.
//!
//! Each reason stands once, with the tests it explains as `file: name of the test`. Numbers of many digits in names are
//! drawn by the tests and written `N` (see [`Outcome`](super::unit::Outcome)). `varies` marks what is lost only
//! sometimes, so that passing is no news. `skipped` marks what is not run, because it would wait for ever and take the rest
//! of its file along.

use crate::workspace::root;
use anyhow::{Context, Result, ensure};

/// Where the list stands, from the root.
pub(super) const FILE: &str = "xtask/tcl/expected.toml";

/// The list.
pub(super) struct Expected {
    /// In the order of the file.
    pub(super) reasons: Vec<Reason>,
}

/// Tests that are lost for the same reason.
pub(super) struct Reason {
    /// Says it in a sentence or two.
    pub(super) why: String,
    /// Whether the tests are lost only sometimes.
    pub(super) varies: bool,
    /// Whether the tests are not even run.
    skipped: bool,
    /// Each as `file: name`.
    pub(super) tests: Vec<String>,
}

impl Expected {
    /// Reads the list.
    pub(super) fn load() -> Result<Self> {
        let text = std::fs::read_to_string(root().join(FILE)).with_context(|| format!("cannot read {FILE}"))?;
        Self::parse(&text).with_context(|| format!("{FILE} is no list of losses"))
    }

    pub(super) fn parse(text: &str) -> Result<Self> {
        let table: toml::Table = text.parse()?;
        let reasons = table.get("reason").and_then(toml::Value::as_array).context("there is no [[reason]]")?;
        Ok(Self { reasons: reasons.iter().map(Reason::parse).collect::<Result<_>>()? })
    }

    /// Tells whether a test is expected to be lost.
    pub(super) fn lists(&self, unit: &str, name: &str) -> bool {
        self.reasons.iter().any(|reason| reason.lists(unit, name))
    }

    /// Tells whether a test is lost only sometimes.
    pub(super) fn varies(&self, unit: &str, name: &str) -> bool {
        self.reasons.iter().any(|reason| reason.varies && reason.lists(unit, name))
    }

    /// Returns the tests of a file that are not to be run.
    pub(super) fn skipped<'a>(&'a self, unit: &'a str) -> impl Iterator<Item = &'a str> {
        let all = self.reasons.iter().filter(|reason| reason.skipped).flat_map(|reason| &reason.tests);
        all.filter_map(|test| test.split_once(": ")).filter(move |(file, _)| *file == unit).map(|(_, name)| name)
    }
}

impl Reason {
    fn parse(value: &toml::Value) -> Result<Self> {
        let why = value.get("why").and_then(toml::Value::as_str).context("a reason without `why`")?.trim().to_owned();
        ensure!(!why.is_empty(), "a reason that says nothing");
        let is = |name| value.get(name).and_then(toml::Value::as_bool).unwrap_or(false);
        let (varies, skipped) = (is("varies"), is("skipped"));
        let tests = value.get("tests").and_then(toml::Value::as_array).context("a reason without `tests`")?;
        let tests: Vec<String> = tests.iter().filter_map(toml::Value::as_str).map(str::to_owned).collect();
        ensure!(tests.iter().all(|test| test.contains(": ")), "a test is written `file: name`");
        Ok(Self { why, varies, skipped, tests })
    }

    fn lists(&self, unit: &str, name: &str) -> bool {
        self.tests.iter().any(|test| test.split_once(": ") == Some((unit, name)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_of_the_repository_is_one() {
        let expected = Expected::load().unwrap();
        let mut all: Vec<&String> = expected.reasons.iter().flat_map(|reason| &reason.tests).collect();
        all.sort();
        let twice: Vec<_> = all.windows(2).filter(|pair| pair[0] == pair[1]).collect();
        assert!(twice.is_empty(), "a test is lost for one reason: {twice:?}");
    }

    #[test]
    fn a_reason_says_something() {
        assert!(Expected::parse("[[reason]]\nwhy = ' '\ntests = []\n").is_err());
        assert!(Expected::parse("[[reason]]\nwhy = 'x'\ntests = ['no file']\n").is_err());
        assert!(Expected::parse("").is_err());
    }
}
