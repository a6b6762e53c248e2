//! A flag for every setting of the store, under the name it has in `redis.conf`.
//!
//! The flags are made from the settings table, so a new row there is a new flag here, with its help and its check; what
//! people type for redis-server (`--maxmemory 2gb --maxmemory-policy allkeys-lru`) works as typed. Settings that the
//! program itself needs have flags of their own and are left out.

use clap::{Arg, ArgAction, ArgMatches, Command};
use redpoll_store::commands::settings::{self, SETTINGS, SettingKind, SettingRow};

/// Settings with a flag of their own.
const DEDICATED: &[&str] = &["bind", "port", "dir", "appendonly"];

/// Settings whose value is several words, as in `--save 900 1`; checked when all words are together.
const SEVERAL_WORDS: &[&str] = &["save", "client-output-buffer-limit"];

/// The settings that were given, by name, in the order of the table.
#[derive(Debug, Default)]
pub(crate) struct SettingFlags {
    given: Vec<(&'static str, String)>,
}

impl SettingFlags {
    /// Returns the settings that were given.
    pub(crate) fn given(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.given.iter().map(|(name, value)| (*name, value.as_str()))
    }
}

fn rows() -> impl Iterator<Item = &'static SettingRow> {
    SETTINGS.iter().filter(|row| !DEDICATED.contains(&row.name))
}

fn flag(row: &'static SettingRow) -> Arg {
    let words = match row.kind {
        SettingKind::Choice(words) => format!(" [possible values: {}]", words.join(", ")),
        SettingKind::Bool => " [possible values: yes, no]".to_owned(),
        _ => String::new(),
    };
    let default = if row.default.is_empty() { String::new() } else { format!(" [default: {}]", row.default) };
    let check = move |text: &str| match SEVERAL_WORDS.contains(&row.name) {
        true => Ok(text.to_owned()),
        false => settings::parse(row, text.as_bytes()).map(|_| text.to_owned()),
    };
    let arg = Arg::new(row.name)
        .long(row.name)
        .value_name(value_name(row))
        .value_parser(check)
        .action(ArgAction::Append)
        .hide_short_help(true)
        .help_heading("Settings of the store, as in redis.conf")
        .help(format!("{}{words}{default}", row.summary));
    let arg = match row.older_name() {
        Some(older) => arg.alias(older),
        None => arg,
    };
    if SEVERAL_WORDS.contains(&row.name) { arg.num_args(1..) } else { arg.allow_hyphen_values(true) }
}

fn value_name(row: &SettingRow) -> &'static str {
    match row.kind {
        SettingKind::Int { .. } => "NUMBER",
        SettingKind::Memory { .. } => "BYTES",
        SettingKind::Bool => "YES|NO",
        SettingKind::Choice(_) => "WORD",
        SettingKind::Events => "LETTERS",
        SettingKind::Text => "TEXT",
        SettingKind::OutputLimits => "KIND BYTES BYTES SECONDS",
    }
}

impl clap::Args for SettingFlags {
    fn augment_args(command: Command) -> Command {
        rows().fold(command, |command, row| command.arg(flag(row)))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl clap::FromArgMatches for SettingFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<SettingFlags, clap::Error> {
        let given = rows().filter_map(|row| {
            let values: Vec<&String> = matches.get_many(row.name)?.collect();
            let value = match SEVERAL_WORDS.contains(&row.name) {
                true => values.into_iter().map(String::as_str).collect::<Vec<_>>().join(" "),
                // As with redis-server, the last one counts.
                false => (*values.last()?).clone(),
            };
            Some((row.name, value))
        });
        Ok(SettingFlags { given: given.collect() })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use clap::{Args, FromArgMatches};

    use super::*;

    fn parse(line: &[&str]) -> Result<Vec<(&'static str, String)>, clap::Error> {
        let command = SettingFlags::augment_args(Command::new("test").no_binary_name(true));
        SettingFlags::from_arg_matches(&command.try_get_matches_from(line)?).map(|flags| flags.given)
    }

    #[test]
    fn settings_are_taken_as_typed_for_redis() {
        let line = [
            "--maxmemory",
            "2gb",
            "--maxmemory-policy",
            "allkeys-lru",
            "--save",
            "900",
            "1",
            "--client-output-buffer-limit",
            "pubsub",
            "32mb",
            "8mb",
            "60",
            "--databases",
            "32",
            "--hash-max-ziplist-entries",
            "10",
            "--list-max-listpack-size",
            "-2",
            "--requirepass",
            "-x",
            "--timeout",
            "1",
            "--timeout",
            "2",
        ];
        let given = parse(&line).unwrap();
        let find = |name: &str| given.iter().find(|(key, _)| *key == name).map(|(_, value)| value.as_str());
        assert_eq!(find("maxmemory"), Some("2gb"));
        assert_eq!(find("maxmemory-policy"), Some("allkeys-lru"));
        assert_eq!(find("save"), Some("900 1"));
        assert_eq!(find("client-output-buffer-limit"), Some("pubsub 32mb 8mb 60"));
        assert_eq!(find("databases"), Some("32"));
        assert_eq!(find("hash-max-listpack-entries"), Some("10"));
        assert_eq!(find("list-max-listpack-size"), Some("-2"));
        assert_eq!(find("requirepass"), Some("-x"));
        assert_eq!(find("timeout"), Some("2"));
        assert_eq!(given.len(), 9);
    }

    #[test]
    fn values_are_checked_by_the_table() {
        for line in [["--maxmemory", "lots"], ["--databases", "0"], ["--appendfsync", "sometimes"], ["--nonsense", "1"]]
        {
            let error = parse(&line).unwrap_err().to_string();
            assert!(error.contains(line[0]), "{error}");
        }
    }

    #[test]
    fn every_setting_has_exactly_one_flag() {
        for name in DEDICATED.iter().chain(SEVERAL_WORDS) {
            assert!(settings::find(name).is_some(), "{name}");
        }
        SettingFlags::augment_args(Command::new("test")).debug_assert();
    }
}
