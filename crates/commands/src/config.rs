//! CONFIG: reading and changing the settings.

use redpoll_structures::glob;

use crate::args::Args;
use crate::command::{ADMIN, Command, Family, LOADING, NOSCRIPT, STALE, WHOLE, cmd, container};
use crate::cx::Cx;
use crate::error::{Error, SYNTAX};
use crate::help;
use crate::settings::{self, Mutability, SETTINGS, Setting, SettingRow, SettingValue};

#[rustfmt::skip]
const COMMANDS: &[Command] = &[
    cmd("CONFIG", container, 0, "2.0.0", "Depends on subcommand.", "A container for server configuration commands.").subcommands(&[
        cmd("CONFIG GET parameter [parameter ...]", get, ADMIN | NOSCRIPT | LOADING | STALE, "2.0.0", "O(N) when N is the number of configuration parameters provided", "Returns the effective values of configuration parameters."),
        cmd("CONFIG HELP", help, LOADING | STALE, "5.0.0", "O(1)", "Returns helpful text about the different subcommands."),
        cmd("CONFIG RESETSTAT", resetstat, ADMIN | NOSCRIPT | LOADING | STALE | WHOLE, "2.0.0", "O(1)", "Resets the server's statistics."),
        cmd("CONFIG REWRITE", rewrite, ADMIN | NOSCRIPT | LOADING | STALE, "2.8.0", "O(1)", "Persists the effective configuration to file."),
        cmd("CONFIG SET parameter value [parameter value ...]", set, ADMIN | NOSCRIPT | LOADING | STALE | WHOLE, "2.0.0", "O(N) when N is the number of configuration parameters provided", "Sets configuration parameters in-flight."),
    ]),
];

/// Settings.
pub(crate) const FAMILY: Family = Family { group: "server", commands: COMMANDS };

const HELP: &[&str] = &[
    "GET <pattern>",
    "    Return parameters matching the glob-like <pattern> and their values.",
    "SET <directive> <value>",
    "    Set the configuration <directive> to <value>.",
    "RESETSTAT",
    "    Reset statistics reported by the INFO command.",
    "REWRITE",
    "    Rewrite the configuration file.",
];

/// CONFIG GET parameter [parameter ...]
fn get(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    let mut found: Vec<(String, String)> = Vec::new();
    for row in SETTINGS {
        let names = std::iter::once(row.name.to_owned()).chain(row.older_name());
        let wanted =
            |name: &String| args.from(2).iter().any(|pattern| glob::matches_ignore_case(pattern, name.as_bytes()));
        found.extend(names.filter(wanted).map(|name| (name, cx.engine.settings.text(row.setting))));
    }
    cx.out.map(found.len());
    for (name, value) in found {
        cx.out.bulk(name.as_bytes());
        cx.out.bulk(value.as_bytes());
    }
    Ok(())
}

/// CONFIG HELP
fn help(cx: &mut Cx<'_, '_>, _: Args<'_>) -> Result<(), Error> {
    help::reply(cx.out, "CONFIG", HELP);
    Ok(())
}

/// CONFIG RESETSTAT
fn resetstat(cx: &mut Cx<'_, '_>, _: Args<'_>) -> Result<(), Error> {
    cx.engine.stats.reset();
    cx.db.reset_counters();
    cx.out.ok();
    Ok(())
}

/// CONFIG REWRITE
fn rewrite(_: &mut Cx<'_, '_>, _: Args<'_>) -> Result<(), Error> {
    Err(Error::Text("ERR The server is running without a config file"))
}

/// CONFIG SET parameter value [parameter value ...]
fn set(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    if !args.len().is_multiple_of(2) {
        return Err(SYNTAX);
    }
    // All are checked before any is put in place.
    let mut checked: Vec<(&SettingRow, SettingValue)> = Vec::new();
    for pair in args.from(2).chunks_exact(2) {
        let name = String::from_utf8_lossy(pair[0]).into_owned();
        let row = settings::find(&name).ok_or_else(|| {
            // redis-server repeats it as a C string.
            let shown = pair[0].split(|&byte| byte == 0).next().unwrap_or_default();
            Error::of(&[b"ERR Unknown option or number of arguments for CONFIG SET - '", shown, b"'"])
        })?;
        let refuse = |reason: &str| {
            Error::from(format!("ERR CONFIG SET failed (possibly related to argument '{name}') - {reason}"))
        };
        if checked.iter().any(|(other, _)| other.name == row.name) {
            return Err(refuse("duplicate parameter"));
        }
        let value = settings::parse(row, pair[1]).map_err(|reason| refuse(&reason))?;
        // Setting what is set already is no change.
        if row.mutability == Mutability::AtStart && cx.engine.settings.value(row) != value {
            return Err(refuse("can't set immutable config"));
        }
        checked.push((row, value));
    }
    let password = checked.iter().any(|(row, _)| row.setting == Setting::Requirepass);
    let memory_limit = checked.iter().any(|(row, _)| row.setting == Setting::Maxmemory);
    for (row, value) in checked {
        cx.engine.settings.put(row, value);
    }
    if password {
        cx.engine.users.require_password(&cx.engine.settings.text(Setting::Requirepass));
    }
    if memory_limit {
        let (_, used) = cx.db.totals();
        cx.engine.judge_memory(used);
    }
    cx.out.ok();
    Ok(())
}
