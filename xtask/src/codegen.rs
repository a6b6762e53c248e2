//! `cargo xtask codegen`: files that are generated from the program's tables.
//!
//! The program itself prints them (it links the tables), this command writes them where they are read. `--check`
//! compares instead, so that a table cannot be changed without its reference page.

use crate::workspace::{Profile, build_redpoll, output, program, root};
use anyhow::{Context, Result, ensure};
use std::path::Path;

/// A generated file.
struct Generated {
    /// Where it stands, from the root.
    path: &'static str,
    /// What the program is asked to print it.
    args: &'static [&'static str],
}

/// All generated files.
#[rustfmt::skip]
const GENERATED: &[Generated] = &[
    Generated { path: "crates/http/tests/openapi.json", args: &["openapi"] },
    Generated { path: "docs/reference/commands.md",     args: &["reference", "commands"] },
    Generated { path: "docs/reference/settings.md",     args: &["reference", "settings"] },
];

/// Arguments of `cargo xtask codegen`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Compares the files with what would be written.
    #[arg(long)]
    check: bool,
}

/// Writes or compares.
pub(crate) fn run(args: &Args) -> Result<()> {
    if args.check { check() } else { write() }
}

/// Compares all files and names those that are out of date.
pub(crate) fn check() -> Result<()> {
    let stale: Vec<&str> = generate()?
        .into_iter()
        .filter(|(file, text)| std::fs::read_to_string(root().join(file.path)).ok().as_ref() != Some(text))
        .map(|(file, _)| file.path)
        .collect();
    ensure!(stale.is_empty(), "out of date, run `cargo xtask codegen`: {}", stale.join(", "));
    Ok(())
}

fn write() -> Result<()> {
    for (file, text) in generate()? {
        let path = root().join(file.path);
        std::fs::create_dir_all(path.parent().unwrap_or(Path::new(".")))?;
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        println!("{}", file.path);
    }
    Ok(())
}

fn generate() -> Result<Vec<(&'static Generated, String)>> {
    let binary = build_redpoll(Profile::Debug)?;
    GENERATED
        .iter()
        .map(|file| {
            let text = output(program(&binary.display().to_string()).args(file.args))?;
            ensure!(!text.is_empty(), "`redpoll {}` printed nothing", file.args.join(" "));
            Ok((file, text))
        })
        .collect()
}
