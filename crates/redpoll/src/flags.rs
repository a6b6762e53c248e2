//! A flag for every setting of the store, under the name it has in `redis.conf`.
//!
//! The flags are made from the settings table, so a new row there is a new flag here, with its help and its check; what
//! people type for redis-server (`--maxmemory 2gb --maxmemory-policy allkeys-lru`) works as typed. Settings that the
//! program itself needs have flags of their own and are left out.

use clap::{Arg, ArgAction, ArgMatches, Command};
use redpoll_store::commands::settings::{self, SETTINGS, SettingKind, SettingRow};

/// Where the flags stand in the help.
const HEADING: &str = "Settings of the store, as in redis.conf";

/// Settings with a flag of their own.
const DEDICATED: &[&str] = &["bind", "port", "dir", "appendonly"];

/// Settings that are no rows of the table, may be given several times and take several words: name, placeholder, help.
const LISTS: &[(&str, &str, &str)] = &[
    ("user", "NAME RULE", "A user and what it may do, as for ACL SETUSER"),
    ("rename-command", "OLD NEW", "Gives a command another name; `\"\"` takes it away"),
];

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
    // Several words are checked when all are together.
    let check = move |text: &str| match row.kind.takes_several_words() {
        true => Ok(text.to_owned()),
        false => settings::parse(row, text.as_bytes()).map(|_| text.to_owned()),
    };
    let arg = Arg::new(row.name)
        .long(row.name)
        .value_name(value_name(row))
        .value_parser(check)
        .action(ArgAction::Append)
        .hide_short_help(true)
        .hide(!row.mutability.has_effect())
        .help_heading(HEADING)
        .help(format!("{}{words}{default}", row.summary));
    let arg = match row.older_name() {
        Some(older) => arg.alias(older),
        None => arg,
    };
    if row.kind.takes_several_words() { arg.num_args(1..) } else { arg.allow_hyphen_values(true) }
}

/// A word as it stands in a line of settings: the shell has taken the quotes of an empty one.
fn quoted(word: &str) -> String {
    if word.is_empty() { "\"\"".to_owned() } else { word.to_owned() }
}

fn value_name(row: &SettingRow) -> &'static str {
    match row.kind {
        SettingKind::Int { .. } | SettingKind::Octal => "NUMBER",
        SettingKind::Memory { .. } | SettingKind::MemoryOrPercent => "BYTES",
        SettingKind::Bool => "YES|NO",
        SettingKind::Choice(_) => "WORD",
        SettingKind::Events => "LETTERS",
        SettingKind::Text => "TEXT",
        SettingKind::Words(_) => "WORDS",
        SettingKind::OutputLimits => "KIND BYTES BYTES SECONDS",
    }
}

impl clap::Args for SettingFlags {
    fn augment_args(command: Command) -> Command {
        let command = rows().fold(command, |command, row| command.arg(flag(row)));
        LISTS.iter().fold(command, |command, (name, value, help)| {
            let arg = Arg::new(*name).long(*name).value_name(*value).num_args(1..).action(ArgAction::Append);
            command.arg(arg.hide_short_help(true).help_heading(HEADING).help(*help))
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl clap::FromArgMatches for SettingFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<SettingFlags, clap::Error> {
        let given = rows().filter_map(|row| {
            let values: Vec<&String> = matches.get_many(row.name)?.collect();
            let value = match row.kind.takes_several_words() {
                true => values.into_iter().map(String::as_str).collect::<Vec<_>>().join(" "),
                // As with redis-server, the last one counts.
                false => (*values.last()?).clone(),
            };
            Some((row.name, value))
        });
        let lists = LISTS.iter().flat_map(|(name, ..)| {
            let given = matches.get_occurrences::<String>(name).into_iter().flatten();
            given.map(|words| (*name, words.map(|word| quoted(word)).collect::<Vec<_>>().join(" ")))
        });
        Ok(SettingFlags { given: given.chain(lists).collect() })
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
    fn users_and_new_names_can_be_given_several_times() {
        let line = [
            "--user",
            "alice",
            "on",
            ">x",
            "~*",
            "--rename-command",
            "FLUSHALL",
            "",
            "--user",
            "bob",
            "--databases",
            "2",
        ];
        let given = parse(&line).unwrap();
        let users: Vec<&str> = given.iter().filter(|(name, _)| *name == "user").map(|(_, value)| &**value).collect();
        assert_eq!(users, ["alice on >x ~*", "bob"]);
        assert!(given.contains(&("rename-command", "FLUSHALL \"\"".to_owned())));
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
        for name in DEDICATED {
            assert!(settings::find(name).is_some(), "{name}");
        }
        SettingFlags::augment_args(Command::new("test")).debug_assert();
    }
}
