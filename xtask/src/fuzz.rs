//! `cargo xtask fuzz`: every target of the folder `fuzz`, or one, for some seconds each.
//!
//! Fuzzing needs cargo-fuzz and a nightly compiler, which nothing else here does; it is no part of `ci`. Inputs that
//! failed stay in `fuzz/artifacts`.

use crate::workspace::{execute, output, program, root};
use anyhow::{Context, Result, ensure};

/// Arguments of `cargo xtask fuzz`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Targets; all of them when none is named.
    targets: Vec<String>,
    /// Seconds per target.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
}

/// Runs the targets one after another.
pub(crate) fn run(args: &Args) -> Result<()> {
    let known = targets()?;
    let unknown = args.targets.iter().find(|target| !known.contains(target));
    ensure!(unknown.is_none(), "no target {}; there are {}", unknown.map_or("", String::as_str), known.join(", "));
    output(program("cargo").args(["+nightly", "fuzz", "--version"])).context(
        "fuzzing needs a nightly compiler and cargo-fuzz: \
         run `rustup toolchain install nightly && cargo install cargo-fuzz`",
    )?;
    for target in if args.targets.is_empty() { &known } else { &args.targets } {
        println!("{target}, {} s", args.seconds);
        let mut fuzz = program("cargo");
        // The variable that pins the toolchain for us would win over `+nightly`.
        fuzz.env_remove("RUSTUP_TOOLCHAIN").env_remove("CARGO");
        let time = format!("-max_total_time={}", args.seconds);
        // What only Lua points to would be taken for lost.
        fuzz.args(["+nightly", "fuzz", "run", target, "--", &time, "-detect_leaks=0"]);
        // `resp_request` and `resp_value` share the dictionary `resp.dict`.
        let family = target.split('_').next().unwrap_or(target);
        let dictionary = root().join("fuzz").join(format!("{family}.dict"));
        if dictionary.is_file() {
            fuzz.arg(format!("-dict={}", dictionary.display()));
        }
        execute(&mut fuzz)?;
    }
    Ok(())
}

fn targets() -> Result<Vec<String>> {
    let folder = std::fs::read_dir(root().join("fuzz/fuzz_targets")).context("the folder fuzz/fuzz_targets")?;
    let paths = folder.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    let names = paths.iter().filter(|path| path.extension().is_some_and(|extension| extension == "rs"));
    let mut names: Vec<_> =
        names.filter_map(|path| path.file_stem()).map(|stem| stem.to_string_lossy().into_owned()).collect();
    names.sort();
    Ok(names)
}
