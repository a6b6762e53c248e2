//! Names of functions and files.

use super::source::function_name;
use super::{Finding, Tree};

/// Names in which `get` is the verb of the subject, not a prefix: of the standard library, and of reading a cache.
const VERBS: &[&str] = &["get_mut", "get_or_", "get_many"];
/// Names of drawers for odds and ends.
const DRAWERS: &[&str] = &["util", "utils", "helper", "helpers", "misc", "common", "shared", "stuff"];

pub(super) fn check_functions(tree: &Tree) -> Vec<Finding> {
    let lines = tree.rust().flat_map(|(path, file)| file.lines().map(move |line| (path, line)));
    let named = lines.filter_map(|(path, line)| Some((path, line.number, function_name(line.code)?)));
    let verb = |name: &str| VERBS.iter().any(|verb| name.starts_with(verb));
    let getters = named.filter(|(_, _, name)| name.starts_with("get_") && !verb(name));
    getters.map(|(path, line, name)| Finding::new(path, line, format!("fn {name}: drop the `get_`"))).collect()
}

/// A folder is named by its module, so every part of the path counts.
pub(super) fn check_files(tree: &Tree) -> Vec<Finding> {
    let named_badly = |path: &&String| {
        let mut parts = path.split('/').map(|part| part.split('.').next().unwrap_or(part));
        parts.any(|stem| DRAWERS.contains(&stem) || stem.ends_with("_more") || is_numbered(stem))
    };
    let code =
        tree.paths.iter().filter(|path| path.ends_with(".rs") || path.ends_with(".lua") || path.ends_with(".py"));
    code.filter(named_badly).map(|path| Finding::new(path, 0, "name it after what it is about")).collect()
}

/// `store_2` and `store_v2` were split by number; `crc64` and `resp3` are names.
fn is_numbered(stem: &str) -> bool {
    let digits = stem.trim_end_matches(|symbol: char| symbol.is_ascii_digit());
    digits.len() < stem.len() && ["_", "_v", "_part"].iter().any(|ending| digits.ends_with(ending))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::expect;

    #[test]
    fn getters_are_named_after_what_they_give() {
        expect(
            check_functions,
            "a.rs",
            "pub fn get_key() {}\nfn get() {}\n// fn get_x() {}\n    fn forget_it() {}\nfn get_or_set() {}\n",
            &[1],
        );
    }

    #[test]
    fn drawers_and_numbers_are_no_names() {
        for path in
            ["src/utils.rs", "src/common/mod.rs", "a/helpers.py", "src/store_more.rs", "src/store_v2.rs", "src/b_2.rs"]
        {
            expect(check_files, path, "", &[0]);
        }
        for path in ["src/crc64.rs", "src/resp3.rs", "docs/common.md", "src/commons_law.rs"] {
            expect(check_files, path, "", &[]);
        }
    }
}
