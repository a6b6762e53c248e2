//! What a run of the clients tells, as a table on the terminal and as `docs/frameworks.md`.
//!
//! The page is written by `cargo xtask clients --all --write` and by nothing else: its rows and lists come from
//! the clients' table and from that run. What the numbers mean is said in [`INTRODUCTION`].

use super::table::{Client, Kind};
use super::{Outcome, Row};
use crate::oracle::Server;
use crate::workspace::root;
use anyhow::{Context, Result};
use std::collections::BTreeSet;
use std::fmt::Write;

const PATH: &str = "docs/frameworks.md";

const INTRODUCTION: &str = "# Clients and frameworks

What was run, in which version, doing what, and how it went, on Redpoll and, as partner, on redis-server 7.0. A script does with the library what
its users do: worker processes run jobs and are killed, applications keep sessions, servers exchange messages; it knows a host and a port and not which
server it talks to. What fails on both is the script's fault; what fails on Redpoll alone is ours. The libraries come from PyPI and npm, unmodified, in the
versions named here.

    cargo xtask clients --all             # all, on both servers
    cargo xtask clients celery bullmq     # these
    cargo xtask clients --all --write     # and writes this page

The scripts lie in `xtask/clients`, the list in `xtask/src/clients/table.rs`. The seconds measure no server: most of them are delays, retries and starts of workers that the
scripts ask for, the first column includes installing what was not installed yet, and Redpoll ran as a debug build.

";

const CRASHES: &str = "
## Killed and started again

`celery-crash` and `bullmq-crash` start their server themselves, with `--appendonly yes --appendfsync always`, and kill it (SIGKILL) in the middle of the work, as they
kill workers. What must hold: no acknowledged job is lost, each is completed, what was under way may run twice, and the workers come back without being told. With the
default, `--appendfsync everysec`, a power failure may cost the last second, as on redis-server; a killed process costs nothing, its writes are with the system.

Two things are Celery's and the same on every server: a task taken by a worker that died waits for its visibility timeout (an hour by default) and for the sweep
that looks for it (`unacked_restore_interval` times `unacked_restore_throttle`, 100 s by default); and a task that talks to the store while it is down has to retry by itself.
";

const ORDER: &str = "
## What differs

Redpoll serves connections on several threads. What one connection sends is served in order, and so is what is sent on another after the reply to it came; but of two
connections that send at the same moment either may be first, where a single thread takes them in the order of arrival. Libraries that subscribe on one connection and
publish on another without waiting for the subscription (the pub/sub layer of channels-redis does) can miss that first message; `--threads 1` gives the order of a single thread.

redis-py caches at the client's side only when the server reports version 7.4 or later, whatever its commands.
";

/// Prints a line a client, with its outcomes side by side.
pub(super) fn table(rows: &[Row], servers: &[Server]) -> String {
    let mut text = format!("\n{:<18}{:>8}", "client", "checks");
    for server in servers {
        let _ = write!(text, "  {:<14}", server.name());
    }
    text.push('\n');
    for row in rows {
        let _ = write!(text, "{:<18}{:>8}", row.client.name, checks(row));
        for outcome in &row.outcomes {
            let _ = write!(text, "  {:<14}", result(outcome));
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
    }
    text
}

/// Writes the page; the first outcome of a row is Redpoll's.
pub(super) fn write(rows: &[Row]) -> Result<()> {
    let path = root().join(PATH);
    std::fs::write(&path, page(rows)).with_context(|| format!("cannot write {}", path.display()))
}

fn page(rows: &[Row]) -> String {
    let mut text = INTRODUCTION.to_owned();
    text += "| client | versions | what is done | checks | Redpoll | redis-server |\n|---|---|---|---|---|---|\n";
    for row in rows {
        let versions = versions(row.client);
        let cells: Vec<String> = row.outcomes.iter().map(result).collect();
        let _ = writeln!(
            text,
            "| {} | {versions} | {} | {} | {} |",
            row.client.name,
            row.client.work,
            checks(row),
            cells.join(" | ")
        );
    }
    text += CRASHES;
    text += ORDER;
    text += "\n## Commands\n\nWhat Redpoll ran for each (`INFO commandstats`), in scripts or directly. FLUSHALL and some INFO are the test's own.\n\n";
    text += "| client | commands |\n|---|---|\n";
    for row in rows {
        if let Some(first) = row.outcomes.first().filter(|outcome| !outcome.commands.is_empty()) {
            let _ = writeln!(text, "| {} | {} |", row.client.name, list(&first.commands));
        }
    }
    text += &differences(rows);
    text
}

/// Tells where a client sent one server what it did not send the other, which it does when it looks at the version.
fn differences(rows: &[Row]) -> String {
    let mut text = String::new();
    for row in rows {
        if let [ours, theirs] = row.outcomes.as_slice()
            && ours.commands != theirs.commands
        {
            let only =
                |one: &Outcome, other: &Outcome| list(&one.commands.difference(&other.commands).cloned().collect());
            let _ = writeln!(text, "| {} | {} | {} |", row.client.name, only(ours, theirs), only(theirs, ours));
        }
    }
    if text.is_empty() {
        return text;
    }
    format!(
        "\nWhere the two servers' lists differ (CLIENT SETINFO came with 7.2; ZRANGEBYLEX is Redpoll's own services looking for work):\n\n| client | on Redpoll only | on redis-server only |\n|---|---|---|\n{text}"
    )
}

fn list(commands: &BTreeSet<String>) -> String {
    let names: Vec<String> = commands.iter().map(|name| name.to_ascii_uppercase().replace('|', " ")).collect();
    names.join(", ")
}

fn versions(client: &Client) -> String {
    match client.kind {
        Kind::Own(_) => "as installed".to_owned(),
        Kind::Inside(_) => "as in Cargo.lock".to_owned(),
        Kind::Python(_, packages) | Kind::PythonWithServer(_, packages) => packages.join(", ").replace("==", " "),
        Kind::Node(_, packages) | Kind::NodeWithServer(_, packages) | Kind::Browser(_, packages) => {
            let split =
                |package: &&str| package.rsplit_once('@').map_or_else(String::new, |(name, v)| format!("{name} {v}"));
            packages.iter().map(split).collect::<Vec<_>>().join(", ")
        }
    }
}

fn checks(row: &Row) -> String {
    match row.outcomes.iter().map(|outcome| outcome.checks).max() {
        None | Some(0) => "–".to_owned(),
        Some(checks) => checks.to_string(),
    }
}

fn result(outcome: &Outcome) -> String {
    match outcome.result {
        None => "–".to_owned(),
        Some(Ok(())) => format!("ok, {} s", outcome.seconds),
        Some(Err(_)) => format!("FAILED, {} s", outcome.seconds),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clients::table::CLIENTS;

    #[test]
    fn a_failure_shows() {
        let outcome = |result, name: &str| Outcome {
            result: Some(result),
            seconds: 3,
            checks: 7,
            commands: [name.to_owned()].into(),
        };
        let failed = Err(anyhow::anyhow!("it did"));
        let rows =
            [Row { client: &CLIENTS[1], outcomes: vec![outcome(failed, "client|setinfo"), outcome(Ok(()), "get")] }];
        let text = table(&rows, &[Server::Redpoll, Server::Redis]);
        assert!(text.ends_with("FAILED, 3 s     ok, 3 s\n"), "{text}");
        assert!(page(&rows).contains("| 7 | FAILED, 3 s | ok, 3 s |"));
        assert!(page(&rows).contains("| redis-py | CLIENT SETINFO | GET |"));
    }
}
