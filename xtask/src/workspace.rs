//! The workspace as the commands see it: its root, cargo, and programs run from the root.

use anyhow::{Context, Result, ensure};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Gives the root of the workspace.
pub(crate) fn root() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().expect("xtask is a folder of the workspace").to_owned()
}

/// Gives a folder of ours in the build directory.
pub(crate) fn build_folder(name: &str) -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    root().join(target).join(name)
}

/// What `cargo run` says about the program it runs. Build scripts that look at these, as ring's does, would think that
/// something changed, and half the dependencies would be built anew after every turn of cargo by hand.
const ABOUT_US: &[&str] =
    &["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_CRATE_NAME", "CARGO_BIN_NAME", "CARGO_PRIMARY_PACKAGE"];

/// Prepares cargo, the one that runs us, in the root of the workspace.
pub(crate) fn cargo(args: &[&str]) -> Command {
    let mut command = program(&std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned()));
    let about_us = |name: &str| ABOUT_US.iter().any(|start| name.starts_with(start));
    std::env::vars_os().filter(|(name, _)| name.to_str().is_some_and(about_us)).for_each(|(name, _)| {
        command.env_remove(name);
    });
    command.args(args);
    command
}

/// Prepares a program in the root of the workspace.
pub(crate) fn program(name: &str) -> Command {
    let mut command = Command::new(name);
    command.current_dir(root());
    command
}

/// Runs a command to its end, its output being ours.
pub(crate) fn execute(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot run {}", show(command)))?;
    ensure!(status.success(), "{} failed: {status}", show(command));
    Ok(())
}

/// Runs a command to its end and gives its standard output.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let done = command.output().with_context(|| format!("cannot run {}", show(command)))?;
    let errors = String::from_utf8_lossy(&done.stderr);
    ensure!(done.status.success(), "{} failed: {}\n{errors}", show(command), done.status);
    String::from_utf8(done.stdout).with_context(|| format!("{} printed what is no text", show(command)))
}

fn show(command: &Command) -> String {
    let name = Path::new(command.get_program()).file_name().unwrap_or_default();
    let words = std::iter::once(name).chain(command.get_args());
    words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}

/// Builds the program and gives the path of its binary.
pub(crate) fn build_redpoll(profile: Profile) -> Result<PathBuf> {
    let mut build = cargo(&["build", "--package", "redpoll", "--message-format", "json-render-diagnostics"]);
    if profile == Profile::Release {
        build.arg("--release");
    }
    build.stderr(std::process::Stdio::inherit());
    let messages = output(&mut build)?;
    let executable = messages
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|message| message["target"]["name"] == "redpoll")
        .find_map(|message| message["executable"].as_str().map(PathBuf::from));
    executable.context("cargo build of the package redpoll gave no executable")
}

/// How to build.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Profile {
    Debug,
    Release,
}
