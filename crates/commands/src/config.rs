//! CONFIG: reading and changing the settings.

use std::sync::atomic::Ordering;

use redpoll_structures::glob;

use crate::args::{Args, before_nul};
use crate::client::Client;
use crate::command::{ADMIN, Command, Family, LOADING, NOSCRIPT, STALE, WHOLE, cmd, container};
use crate::config_file::{self, Scope};
use crate::cx::Cx;
use crate::engine::Engine;
use crate::error::{Error, LOADING as STILL_LOADING, SYNTAX};
use crate::evict;
use crate::help;
use crate::settings::{self, SETTINGS, Setting, SettingRow, SettingValue};
use crate::{persistence, tracking};

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
        let matches = |pattern: &&[u8], name: &str| match row.is_hidden() {
            true => pattern.eq_ignore_ascii_case(name.as_bytes()),
            false => glob::matches_ignore_case(pattern, name.as_bytes()),
        };
        let wanted = |name: &String| args.from(2).iter().any(|pattern| matches(pattern, name));
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
    cx.engine.disposal.reset();
    cx.engine.memory_peak.store(0, Ordering::Relaxed);
    cx.engine.evictor.reset();
    cx.db.reset_counters();
    cx.out.ok();
    Ok(())
}

/// CONFIG REWRITE
fn rewrite(cx: &mut Cx<'_, '_>, _: Args<'_>) -> Result<(), Error> {
    write_file(cx.engine, Scope::Needed)?;
    cx.out.ok();
    Ok(())
}

/// Brings the configuration file up to date.
pub(crate) fn write_file(engine: &Engine, scope: Scope) -> Result<(), Error> {
    let (Some(path), Some(system)) = (engine.config_file.get(), engine.system.get()) else {
        return Err(Error::Text("ERR The server is running without a config file"));
    };
    let refuse = |error: std::io::Error| {
        tracing::warn!(%error, "CONFIG REWRITE failed");
        Error::from(format!("ERR Rewriting config file: {error}"))
    };
    let old = match system.read(path) {
        Ok(old) => old,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(refuse(error)),
    };
    system.write(path, &config_file::rewrite(engine, &old, scope)).map_err(refuse)?;
    tracing::info!("CONFIG REWRITE executed with success.");
    Ok(())
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
            let shown = before_nul(pair[0]);
            Error::of(&[b"ERR Unknown option or number of arguments for CONFIG SET - '", shown, b"'"])
        })?;
        let refuse = |reason: &str| {
            Error::from(format!("ERR CONFIG SET failed (possibly related to argument '{name}') - {reason}"))
        };
        if checked.iter().any(|(other, _)| other.name == row.name) {
            return Err(refuse("duplicate parameter"));
        }
        if cx.engine.load_state.is_on() && OF_DATA_FILES.contains(&row.setting) {
            return Err(STILL_LOADING);
        }
        if row.is_protected() && !permits(cx.engine, Setting::EnableProtectedConfigs, &cx.session.client) {
            return Err(refuse("can't set protected config"));
        }
        let value = settings::parse(row, pair[1]);
        // Setting what is set already is no change.
        if row.mutability.is_fixed() && value.as_ref().ok() != Some(&cx.engine.settings.value(row)) {
            return Err(refuse("can't set immutable config"));
        }
        let value = value.map_err(|reason| refuse(&reason))?;
        if row.setting == Setting::Appendonly && cx.engine.snapshots.get().is_none() {
            return Err(refuse("there is no data directory"));
        }
        if let (Setting::EncryptionKeyFile, SettingValue::Text(path)) = (row.setting, &value) {
            persistence::check_keys(cx.engine, path).map_err(|reason| refuse(&reason))?;
        }
        checked.push((row, value));
    }
    let (doors, others): (Vec<_>, Vec<_>) = checked.into_iter().partition(|(row, _)| DOORS.contains(&row.setting));
    move_doors(cx.engine, doors)?;
    for (row, value) in others {
        cx.engine.settings.put(row, value);
        take_effect(cx, row.setting);
    }
    cx.out.ok();
    Ok(())
}

/// Settings that say where data files are and in which form, which stays as it is while they are loaded.
const OF_DATA_FILES: [Setting; 3] = [Setting::Dir, Setting::Appendonly, Setting::EncryptionKeyFile];

/// Settings that say where clients come in.
const DOORS: [Setting; 3] = [Setting::Bind, Setting::Port, Setting::TlsPort];

/// Lets clients come in where the settings are about to say, if that is elsewhere and possible; otherwise nothing has changed.
fn move_doors(engine: &Engine, wanted: Vec<(&SettingRow, SettingValue)>) -> Result<(), Error> {
    let settings = &engine.settings;
    let before: Vec<_> = wanted.iter().map(|(row, _)| (*row, settings.value(row))).collect();
    let Some((changed, _)) = before.iter().zip(&wanted).find(|(old, new)| old.1 != new.1).map(|(old, _)| old) else {
        return Ok(());
    };
    wanted.into_iter().for_each(|(row, value)| settings.put(row, value));
    let moved = match &*engine.listener.read() {
        Some(listener) => listener.listen(settings),
        None => Err("nobody listens here".into()),
    };
    moved.map_err(|reason| {
        tracing::warn!(%reason, "CONFIG SET {} failed", changed.name);
        for (row, value) in &before {
            settings.put(row, value.clone());
        }
        let told = match changed.setting {
            Setting::Bind => "Failed to bind to specified addresses.",
            _ => "Unable to listen on this port. Check server logs.",
        };
        Error::from(format!("ERR CONFIG SET failed (possibly related to argument '{}') - {told}", changed.name))
    })
}

/// Does what a changed setting asks for at once, beyond being looked up when it matters.
fn take_effect(cx: &mut Cx<'_, '_>, changed: Setting) {
    let engine = cx.engine;
    match changed {
        Setting::Requirepass => engine.users.require_password(&engine.settings.text(Setting::Requirepass)),
        Setting::Maxmemory => {
            evict::limit_changed(cx);
            engine.bound_clients_anew();
        }
        Setting::MaxmemoryPolicy | Setting::NonEvictablePrefixes => evict::limit_changed(cx),
        Setting::MaxmemoryClients => engine.bound_clients_anew(),
        Setting::TrackingTableMaxKeys => tracking::make_room(engine),
        Setting::Appendonly => persistence::switch_log(cx),
        Setting::EncryptionKeyFile => persistence::change_keys(engine),
        Setting::AofDisableAutoGc => persistence::remove_history(engine),
        Setting::Appendfsync => {
            if let Some(log) = engine.log() {
                log.change_policy(engine);
            }
        }
        _ => {}
    }
}

/// Tells whether a setting that says who may do something (nobody, clients on this machine, everybody) allows it to this client.
pub(crate) fn permits(engine: &Engine, who: Setting, client: &Client) -> bool {
    match engine.settings.text(who).as_str() {
        "yes" => true,
        "local" => client.is_local(),
        _ => false,
    }
}
