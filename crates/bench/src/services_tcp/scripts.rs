//! The Lua steps of other rate limiters, read from their npm packages.
//!
//! `cargo xtask bench -- services-tcp` installs the packages into the build directory and names the folder in `REDPOLL_BENCH_PACKAGES`. Nothing of them is
//! kept here, so what is measured is what their users run, with one exception: the flag `allow-key-locking`, which the scripts of @upstash/ratelimit
//! carry for Upstash's own server, is taken off, since redis-server refuses flags that it does not know.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

/// The folder of installed packages.
const PACKAGES: &str = "REDPOLL_BENCH_PACKAGES";

/// A flag of Upstash's server.
const FLAG: &str = "#!lua flags=allow-key-locking\n";

/// Reads the script that a file of a package assigns to a name.
pub(super) fn read(file: &str, name: &str) -> Result<String> {
    let folder = std::env::var_os(PACKAGES).map(PathBuf::from);
    let path =
        folder.with_context(|| format!("{PACKAGES} is not set; run `cargo xtask bench -- services-tcp`"))?.join(file);
    let source = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let script = template(&source, name).with_context(|| format!("no script {name} in {file}"))?;
    Ok(script.strip_prefix(FLAG).map(|rest| format!("#!lua\n{rest}")).unwrap_or(script))
}

/// Takes the text of a template literal of JavaScript that is assigned to a name.
fn template(source: &str, name: &str) -> Result<String> {
    let (_, rest) = source.split_once(&format!(" {name} = `")).context("it is not assigned")?;
    let (text, _) = rest.split_once('`').context("it does not end")?;
    // A backslash at the end of a line takes both away.
    let text = text.replace("\\\n", "");
    ensure!(!text.contains('\\') && !text.contains("${"), "it is more than text");
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates() {
        let source = "var other = `x`;\nconst step = `return \\\n1 \\\n`;\nvar made = `${step}`, odd = `\\n`, open = `";
        assert_eq!(template(source, "step").unwrap(), "return 1 ");
        for name in ["ste", "tep", "made", "odd", "open"] {
            assert!(template(source, name).is_err(), "{name}");
        }
    }
}
