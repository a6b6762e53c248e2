//! The language of ACL SETUSER: reading rules into rights, and writing rights out so that they read back the same.
//!
//! | rule | effect |
//! |---|---|
//! | `on` `off` `nopass` `resetpass` `>p` `<p` `#h` `!h` | logging in |
//! | `~p` `%R~p` `%W~p` `%RW~p` `allkeys` `resetkeys` | key patterns |
//! | `&p` `allchannels` `resetchannels` | channel patterns |
//! | `+c` `-c` `+c\|sub` `-c\|sub` `+@cat` `-@cat` `allcommands` `nocommands` | commands |
//! | `(…)` `clearselectors` | selectors |
//! | `reset` `sanitize-payload` `skip-sanitize-payload` | |
//!
//! Commands are kept twice: as one bit per row of the registry, which is what checks read, and as the rules that led there, which is what ACL LIST
//! shows. As since Redis 7.2 the rules are kept in the order given, less those that a later one makes void. Whether payloads are sanitized is kept for
//! show: RESTORE always checks.

use redpoll_structures::glob;

use super::{PasswordHash, hash};
use crate::args::before_nul;
use crate::command_admin::categories;
use crate::digest::hex;
use crate::engine::Engine;
use crate::registry::{Registry, Resolved};
use crate::settings::Setting;

/// Names of the categories, in the order of ACL CAT.
pub(crate) const CATEGORIES: &[&str] = &[
    "keyspace",
    "read",
    "write",
    "set",
    "sortedset",
    "list",
    "hash",
    "string",
    "bitmap",
    "hyperloglog",
    "geo",
    "stream",
    "pubsub",
    "admin",
    "fast",
    "slow",
    "blocking",
    "dangerous",
    "connection",
    "transaction",
    "scripting",
];

/// The most of anything in one user: passwords, selectors, patterns or rules.
const PARTS_MAX: usize = 10_000;

const SYNTAX: &str = "Syntax error";
pub(super) const UNKNOWN: &str = "Unknown command or category name in ACL";
const BAD_HASH: &str =
    "The password hash must be exactly 64 characters and contain only lowercase hexadecimal characters";
const NO_SUCH_PASSWORD: &str = "The password you are trying to remove from the user does not exist";
const TOO_MANY: &str = "Too many rules";

/// What rules are read against.
#[derive(Clone, Copy)]
pub(crate) struct Basis<'a> {
    /// The commands there are.
    pub(crate) registry: &'a Registry,
    /// Who is told nothing about channels may use all of them (`acl-pubsub-default`).
    pub(crate) all_channels: bool,
}

impl<'a> Basis<'a> {
    /// Returns what rules mean by the settings of now.
    pub(crate) fn of(engine: &'a Engine) -> Basis<'a> {
        let all_channels = engine.settings.text(Setting::AclPubsubDefault) == "allchannels";
        Basis { registry: &engine.registry, all_channels }
    }
}

/// What a user may do.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rights {
    pub(crate) enabled: bool,
    pub(crate) nopass: bool,
    /// As given: yes, no, or not at all.
    sanitize: Option<bool>,
    pub(super) passwords: Vec<PasswordHash>,
    pub(super) root: Selector,
    pub(super) selectors: Vec<Selector>,
}

/// Commands, keys and channels that go together.
#[derive(Clone, Debug, Default)]
pub(crate) struct Selector {
    /// Starts from all commands rather than from none.
    all_commands: bool,
    /// One bit per row of the registry.
    allowed: Vec<u64>,
    /// First arguments with which a command is allowed that is not in general, by its row.
    pub(super) first_args: Vec<(usize, Vec<u8>)>,
    rules: Vec<CommandRule>,
    pub(super) all_keys: bool,
    pub(super) keys: Vec<KeyPattern>,
    pub(super) all_channels: bool,
    pub(super) channels: Vec<Box<[u8]>>,
}

/// A rule about commands, as shown.
#[derive(Clone, Debug, PartialEq, Eq)]
struct CommandRule {
    sign: char,
    what: String,
}

/// A pattern of keys and what may be done to them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct KeyPattern {
    pub(super) read: bool,
    pub(super) write: bool,
    pub(super) pattern: Box<[u8]>,
}

impl Rights {
    /// The rights of a user who may do nothing.
    pub(crate) fn none() -> Rights {
        Rights::default()
    }

    /// The rights the default user starts with: all, without a password.
    pub(crate) fn of_the_default_user(registry: &Registry) -> Rights {
        let mut rights = Rights { enabled: true, nopass: true, ..Rights::default() };
        rights.root.allow_all_commands(registry);
        rights.root.all_keys = true;
        rights.root.all_channels = true;
        rights
    }

    /// The rights a new user starts with.
    pub(crate) fn of_a_new_user(basis: Basis<'_>) -> Rights {
        Rights { root: Selector::new(basis), ..Rights::default() }
    }

    /// Tells whether everything is allowed.
    pub(crate) fn are_total(&self) -> bool {
        let root = &self.root;
        root.all_commands && root.all_keys && root.all_channels && root.rules.is_empty()
    }

    /// Replaces all passwords by one, or by none needed.
    pub(super) fn require_password(&mut self, password: &[u8]) {
        self.passwords.clear();
        self.nopass = password.is_empty();
        if !password.is_empty() {
            self.passwords.push(hash(password));
        }
    }

    /// Applies rules in order; the error is the text for the client.
    pub(super) fn apply_all(&mut self, basis: Basis<'_>, rules: &[&[u8]]) -> Result<(), Vec<u8>> {
        let unmatched = |first: &[u8]| {
            [b"ERR Unmatched parenthesis in acl selector starting at '".as_slice(), first, b"'."].concat()
        };
        for rule in join_selectors(rules).map_err(unmatched)? {
            let shown = before_nul(&rule);
            self.apply(basis, &rule).map_err(|reason| {
                [b"ERR Error in ACL SETUSER modifier '", shown, b"': ", reason.as_bytes()].concat()
            })?;
        }
        Ok(())
    }

    /// Applies one rule; the error is the reason alone.
    pub(crate) fn apply(&mut self, basis: Basis<'_>, rule: &[u8]) -> Result<(), &'static str> {
        match rule.to_ascii_lowercase().as_slice() {
            b"" => {}
            b"on" => self.enabled = true,
            b"off" => self.enabled = false,
            b"nopass" => {
                self.nopass = true;
                self.passwords.clear();
            }
            b"resetpass" => {
                self.nopass = false;
                self.passwords.clear();
            }
            b"sanitize-payload" => self.sanitize = Some(true),
            b"skip-sanitize-payload" => self.sanitize = Some(false),
            b"clearselectors" => self.selectors.clear(),
            b"reset" => *self = Rights { sanitize: Some(true), ..Rights::of_a_new_user(basis) },
            _ => match rule[0] {
                b'>' => self.add_password(hash(&rule[1..]))?,
                b'#' => self.add_password(read_hash(&rule[1..])?)?,
                b'<' => self.remove_password(hash(&rule[1..]))?,
                b'!' => self.remove_password(read_hash(&rule[1..])?)?,
                b'(' if rule.ends_with(b")") => {
                    let selector = Selector::read(basis, &rule[1..rule.len() - 1])?;
                    push(&mut self.selectors, selector)?;
                }
                _ => self.root.apply(basis, rule)?,
            },
        }
        Ok(())
    }

    fn add_password(&mut self, hash: PasswordHash) -> Result<(), &'static str> {
        self.nopass = false;
        if self.passwords.contains(&hash) { Ok(()) } else { push(&mut self.passwords, hash) }
    }

    fn remove_password(&mut self, hash: PasswordHash) -> Result<(), &'static str> {
        let at = self.passwords.iter().position(|known| *known == hash).ok_or(NO_SUCH_PASSWORD)?;
        self.passwords.remove(at);
        Ok(())
    }

    /// Returns the flags as ACL GETUSER lists them.
    pub(super) fn flags(&self) -> Vec<&'static str> {
        let mut flags = vec![if self.enabled { "on" } else { "off" }];
        flags.extend(self.nopass.then_some("nopass"));
        flags.extend(self.sanitize.map(|on| if on { "sanitize-payload" } else { "skip-sanitize-payload" }));
        flags
    }

    /// Writes the rights as the rules that make them.
    pub(crate) fn describe(&self) -> Vec<u8> {
        let mut words: Vec<Vec<u8>> = self.flags().into_iter().map(|flag| flag.as_bytes().to_vec()).collect();
        words.extend(self.passwords.iter().map(|hash| format!("#{}", hex(hash)).into_bytes()));
        words.push(self.root.describe());
        words.extend(self.selectors.iter().map(|selector| [b"(", selector.describe().as_slice(), b")"].concat()));
        words.join(&b' ')
    }
}

impl Selector {
    fn new(basis: Basis<'_>) -> Selector {
        Selector { all_channels: basis.all_channels, ..Selector::default() }
    }

    fn read(basis: Basis<'_>, rules: &[u8]) -> Result<Selector, &'static str> {
        let mut selector = Selector::new(basis);
        for rule in rules.split(|byte| *byte == b' ').filter(|rule| !rule.is_empty()) {
            selector.apply(basis, rule)?;
            // Written out, it would seem to be the end of the selector.
            if rule.ends_with(b")") {
                return Err(SYNTAX);
            }
        }
        Ok(selector)
    }

    fn apply(&mut self, basis: Basis<'_>, rule: &[u8]) -> Result<(), &'static str> {
        const AFTER_ALL_KEYS: &str = "Adding a pattern after the * pattern (or the 'allkeys' flag) is not valid and does not have any effect. Try 'resetkeys' to start with an empty list of patterns";
        const AFTER_ALL_CHANNELS: &str = "Adding a pattern after the * pattern (or the 'allchannels' flag) is not valid and does not have any effect. Try 'resetchannels' to start with an empty list of channels";
        match (rule.to_ascii_lowercase().as_slice(), rule[0]) {
            (b"allkeys" | b"~*", _) => {
                self.all_keys = true;
                self.keys.clear();
            }
            (b"resetkeys", _) => {
                self.all_keys = false;
                self.keys.clear();
            }
            (b"allchannels" | b"&*", _) => {
                self.all_channels = true;
                self.channels.clear();
            }
            (b"resetchannels", _) => {
                self.all_channels = false;
                self.channels.clear();
            }
            (b"allcommands" | b"+@all", _) => self.allow_all_commands(basis.registry),
            (b"nocommands" | b"-@all", _) => {
                (self.all_commands, self.allowed) = (false, Vec::new());
                self.first_args.clear();
                self.rules.clear();
            }
            (_, b'~' | b'%') if self.all_keys => return Err(AFTER_ALL_KEYS),
            (_, b'~' | b'%') => {
                let new = KeyPattern::read(rule)?;
                match self.keys.iter_mut().find(|known| known.pattern == new.pattern) {
                    None => push(&mut self.keys, new)?,
                    Some(known) => {
                        known.read |= new.read;
                        known.write |= new.write;
                    }
                }
            }
            (_, b'&') if self.all_channels => return Err(AFTER_ALL_CHANNELS),
            (_, b'&') => {
                let pattern = &rule[1..];
                if !is_plain(pattern) {
                    return Err(SYNTAX);
                }
                if !self.channels.iter().any(|known| **known == *pattern) {
                    push(&mut self.channels, pattern.into())?;
                }
            }
            (lower, b'+' | b'-') => {
                let sign = char::from(rule[0]);
                let what = std::str::from_utf8(&lower[1..]).map_err(|_| UNKNOWN)?;
                self.apply_command(basis.registry, sign, what)?;
            }
            _ => return Err(SYNTAX),
        }
        Ok(())
    }

    fn apply_command(&mut self, registry: &Registry, sign: char, what: &str) -> Result<(), &'static str> {
        if let Some(category) = what.strip_prefix('@') {
            if !CATEGORIES.contains(&category) {
                return Err(UNKNOWN);
            }
            let all = registry.all().iter().filter(|resolved| categories(resolved).contains(&category));
            all.for_each(|resolved| self.put(resolved, sign));
            return self.note(sign, what);
        }
        if let Some(resolved) = registry.find(what.as_bytes()) {
            self.put(resolved, sign);
            resolved.subcommands.iter().for_each(|id| self.put(&registry.all()[*id], sign));
            return self.note(sign, &resolved.name);
        }
        let Some((command, argument)) = what.rsplit_once('|').filter(|_| sign == '+') else { return Err(UNKNOWN) };
        let resolved = registry.find(command.as_bytes()).ok_or(UNKNOWN)?;
        if resolved.is_subcommand() {
            return Err("Allowing first-arg of a subcommand is not supported");
        }
        // Unlike redis-server this takes no blanks: what is written out has to mean the same when it is read.
        if argument.is_empty() || !is_plain(argument.as_bytes()) {
            return Err(SYNTAX);
        }
        if !resolved.subcommands.is_empty() {
            return Err(UNKNOWN);
        }
        let first_arg = (resolved.id, argument.as_bytes().to_vec());
        if !self.allows(resolved.id) && !self.first_args.contains(&first_arg) {
            push(&mut self.first_args, first_arg)?;
        }
        self.note(sign, what)
    }

    /// Allows (`+`) or forbids (`-`) the command of a row.
    fn put(&mut self, resolved: &Resolved, sign: char) {
        let (word, bit) = (resolved.id / 64, 1 << (resolved.id % 64));
        if self.allowed.len() <= word {
            self.allowed.resize(word + 1, 0);
        }
        if sign == '+' {
            self.allowed[word] |= bit;
        } else {
            self.allowed[word] &= !bit;
        }
        self.first_args.retain(|(id, _)| *id != resolved.id);
    }

    /// Notes a rule for showing, in the place of those it makes void.
    fn note(&mut self, sign: char, what: &str) -> Result<(), &'static str> {
        self.rules.retain(|rule| {
            let below = rule.what.strip_prefix(what).is_some_and(|rest| rest.starts_with('|'));
            rule.what != what && !below
        });
        push(&mut self.rules, CommandRule { sign, what: what.to_owned() })
    }

    fn allow_all_commands(&mut self, registry: &Registry) {
        self.all_commands = true;
        self.allowed = vec![u64::MAX; registry.all().len().div_ceil(64)];
        self.first_args.clear();
        self.rules.clear();
    }

    /// Tells whether the command of a row is allowed with any arguments.
    pub(super) fn allows(&self, id: usize) -> bool {
        self.allowed.get(id / 64).is_some_and(|word| word >> (id % 64) & 1 == 1)
    }

    /// Tells whether a channel, or a pattern of channels taken literally, is allowed.
    pub(crate) fn allows_channel(&self, channel: &[u8], is_pattern: bool) -> bool {
        let fits = |allowed: &[u8]| if is_pattern { allowed == channel } else { glob::matches(allowed, channel) };
        self.all_channels || self.channels.iter().any(|allowed| fits(allowed))
    }

    /// Returns the commands as ACL GETUSER shows them.
    pub(super) fn describe_commands(&self) -> String {
        let start = if self.all_commands { "+@all" } else { "-@all" };
        self.rules.iter().fold(start.to_owned(), |text, rule| format!("{text} {}{}", rule.sign, rule.what))
    }

    /// Returns the key patterns as ACL GETUSER shows them.
    pub(super) fn describe_keys(&self) -> Vec<u8> {
        if self.all_keys {
            return b"~*".to_vec();
        }
        self.keys.iter().map(KeyPattern::describe).collect::<Vec<_>>().join(&b' ')
    }

    /// Returns the channel patterns as ACL GETUSER shows them.
    pub(super) fn describe_channels(&self) -> Vec<u8> {
        if self.all_channels {
            return b"&*".to_vec();
        }
        self.channels.iter().map(|pattern| [b"&", &**pattern].concat()).collect::<Vec<_>>().join(&b' ')
    }

    fn describe(&self) -> Vec<u8> {
        let (keys, channels) = (self.describe_keys(), self.describe_channels());
        let reset: &[u8] = if self.all_channels { b"" } else { b"resetchannels" };
        let words =
            [keys.as_slice(), reset, channels.as_slice(), self.describe_commands().as_bytes()].map(<[u8]>::to_vec);
        words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(&b' ')
    }
}

impl KeyPattern {
    fn read(rule: &[u8]) -> Result<KeyPattern, &'static str> {
        let (mut read, mut write) = (rule[0] == b'~', rule[0] == b'~');
        let mut rest = &rule[1..];
        let letters = if rule[0] == b'%' { rest.len() } else { 0 };
        for _ in 0..letters {
            let Some((letter, after)) = rest.split_first() else { break };
            rest = after;
            match letter.to_ascii_uppercase() {
                b'R' if !read => read = true,
                b'W' if !write => write = true,
                b'~' => break,
                _ => return Err(SYNTAX),
            }
        }
        if !(read || write) || !is_plain(rest) {
            return Err(SYNTAX);
        }
        Ok(KeyPattern { read, write, pattern: rest.into() })
    }

    fn describe(&self) -> Vec<u8> {
        let start: &[u8] = match (self.read, self.write) {
            (true, false) => b"%R~",
            (false, true) => b"%W~",
            _ => b"~",
        };
        [start, &self.pattern].concat()
    }
}

fn push<T>(list: &mut Vec<T>, part: T) -> Result<(), &'static str> {
    if list.len() >= PARTS_MAX {
        return Err(TOO_MANY);
    }
    list.push(part);
    Ok(())
}

/// Names and patterns are separated by blanks where they are listed.
pub(super) fn is_plain(word: &[u8]) -> bool {
    !word.iter().any(|byte| *byte == 0 || byte.is_ascii_whitespace() || *byte == 0x0b)
}

fn read_hash(text: &[u8]) -> Result<PasswordHash, &'static str> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let pairs = text.chunks_exact(2).map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?));
    let bytes: Option<Vec<u8>> = if text.len() == 64 { pairs.collect() } else { None };
    bytes.and_then(|bytes| bytes.try_into().ok()).ok_or(BAD_HASH)
}

/// Joins the words of selectors that were split at blanks; the error is the beginning of one that does not end.
pub(super) fn join_selectors<'a>(rules: &[&'a [u8]]) -> Result<Vec<Vec<u8>>, &'a [u8]> {
    let mut joined: Vec<Vec<u8>> = Vec::new();
    // The selector that is open: what it began with, and all of it so far.
    let mut open: Option<(&'a [u8], Vec<u8>)> = None;
    for rule in rules {
        let (first, word) = match open.take() {
            Some((first, started)) => (first, [started.as_slice(), b" ", rule].concat()),
            None => (*rule, rule.to_vec()),
        };
        if word.starts_with(b"(") && !word.ends_with(b")") {
            open = Some((first, word));
        } else {
            joined.push(word);
        }
    }
    match open {
        None => Ok(joined),
        Some((first, _)) => Err(before_nul(first)),
    }
}
