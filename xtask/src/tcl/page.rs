//! What was measured, as the tables of `docs/compat.md`.
//!
//! The page is written by hand but for the parts between two comments, `<!-- name -->` and `<!-- end -->`: a table of
//! files for each mode, and the list of losses with their reasons.

use super::expected::Expected;
use super::{Mode, UnitResult};
use crate::workspace::root;
use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::fmt::Write;

/// Where the page stands, from the root.
const PAGE: &str = "docs/compat.md";

/// Writes the table of a mode and the list of losses into the page.
pub(super) fn record(mode: Mode, results: &[UnitResult], expected: &Expected) -> Result<()> {
    let path = root().join(PAGE);
    let page = std::fs::read_to_string(&path).with_context(|| format!("cannot read {PAGE}"))?;
    let page = replace(&page, mode.name(), &table(results))?;
    let page = replace(&page, "losses", &losses(expected))?;
    std::fs::write(&path, page).with_context(|| format!("cannot write {PAGE}"))
}

fn table(results: &[UnitResult]) -> String {
    let mut text = "| file | passed | redis-server | lost |\n|---|---:|---:|---:|\n".to_owned();
    let mut row = |name: &str, passed: usize, baseline: usize, lost: usize| {
        writeln!(text, "| {name} | {passed} | {baseline} | {lost} |").expect("a string takes all text");
    };
    for result in results {
        row(&result.unit, result.passed, result.baseline, result.lost());
    }
    let sum = |count: fn(&UnitResult) -> usize| results.iter().map(count).sum::<usize>();
    row("**all**", sum(|result| result.passed), sum(|result| result.baseline), sum(UnitResult::lost));
    text
}

fn losses(expected: &Expected) -> String {
    let mut text = String::new();
    for reason in &expected.reasons {
        let mut files: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (unit, name) in reason.tests.iter().filter_map(|test| test.split_once(": ")) {
            files.entry(unit).or_default().push(name);
        }
        let sometimes = if reason.varies { " (sometimes)" } else { "" };
        writeln!(text, "**{}**{sometimes}\n", reason.why).expect("a string takes all text");
        for (unit, names) in files {
            writeln!(text, "- {unit}: {}", names.join("; ")).expect("a string takes all text");
        }
        text.push('\n');
    }
    text.trim_end().to_owned() + "\n"
}

/// Puts text between the comments of a name.
fn replace(page: &str, name: &str, text: &str) -> Result<String> {
    let (start, end) = (format!("<!-- {name} -->\n"), "<!-- end -->");
    let (before, rest) = page.split_once(&start).with_context(|| format!("{PAGE} has no {}", start.trim_end()))?;
    let (_, after) = rest.split_once(end).with_context(|| format!("{PAGE}: {} has no end", start.trim_end()))?;
    Ok(format!("{before}{start}\n{text}\n{end}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_between_the_comments_is_replaced() {
        let page = "# Page\n<!-- a -->\nold\n<!-- end -->\nwords\n<!-- b -->\nkept\n<!-- end -->\n";
        let done = replace(page, "a", "new\n").unwrap();
        assert_eq!(done, "# Page\n<!-- a -->\n\nnew\n\n<!-- end -->\nwords\n<!-- b -->\nkept\n<!-- end -->\n");
        assert!(replace(page, "c", "new").is_err());
    }

    #[test]
    fn the_list_of_losses_on_the_page_is_that_of_the_file() {
        let page = std::fs::read_to_string(root().join(PAGE)).unwrap();
        assert!(page.contains(&losses(&Expected::load().unwrap())), "run `cargo xtask tcl --record`");
    }
}
