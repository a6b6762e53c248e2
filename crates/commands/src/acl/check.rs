//! May this user run this command with these arguments?
//!
//! A command is allowed if one selector allows the command itself, every key in the way the command uses it, and every channel. How a command uses a key
//! is what its key specifications say ([`key_spec`]): one whose data it shows must be readable, one whose data it changes must be writable. Some uses need no
//! right but to the key: asking for a length, a type or whether it exists shows nothing of the value, which any pattern that matches the key allows.

use std::cell::LazyCell;

use redpoll_structures::glob;

use super::rules::{KeyPattern, Rights, Selector};
use super::{Refusal, User};
use crate::args::Args;
use crate::command::NO_AUTH;
use crate::error::Error;
use crate::key_spec::{self, ACCESS, DELETE, INSERT, KeyFlags, UPDATE};
use crate::registry::Resolved;

/// Why a command is not allowed. The later, the closer it came to being allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Denial {
    /// The command itself.
    Command(String),
    /// A key, as it is used.
    Key(Vec<u8>),
    /// A channel.
    Channel(Vec<u8>),
}

impl Denial {
    fn rank(&self) -> usize {
        match self {
            Denial::Command(_) => 0,
            Denial::Key(_) => 1,
            Denial::Channel(_) => 2,
        }
    }

    /// Returns what a client is told that called the command.
    pub(crate) fn to_client(&self) -> Error {
        match self {
            Denial::Command(name) => format!("NOPERM this user has no permissions to run the '{name}' command").into(),
            Denial::Key(_) => {
                Error::Text("NOPERM this user has no permissions to access one of the keys used as arguments")
            }
            Denial::Channel(_) => {
                Error::Text("NOPERM this user has no permissions to access one of the channels used as arguments")
            }
        }
    }

    /// Returns what a script is told that called the command.
    pub(crate) fn to_script(&self) -> Error {
        Error::Text(match self {
            Denial::Command(_) => "ERR The user executing the script can't run this command or subcommand",
            Denial::Key(_) => {
                "ERR The user executing the script can't access at least one of the keys mentioned in the command arguments"
            }
            Denial::Channel(_) => {
                "ERR The user executing the script can't publish to the channel mentioned in the command"
            }
        })
    }

    /// Returns what EXEC answers for a command that was allowed when it was queued.
    pub(crate) fn to_transaction(&self) -> Error {
        let reason = match self {
            Denial::Command(_) => "no permission to execute the command or subcommand",
            Denial::Key(_) => "no permission to touch the specified keys",
            Denial::Channel(_) => "no permission to access one of the channels used as arguments to the command",
        };
        format!(
            "NOPERM ACLs rules changed between the moment the transaction was accumulated and the EXEC call. This command is no longer allowed for the following reason: {reason}"
        )
        .into()
    }

    /// Returns what ACL DRYRUN answers.
    pub(crate) fn to_dry_run(&self) -> Vec<u8> {
        match self {
            Denial::Command(name) => format!("This user has no permissions to run the '{name}' command").into_bytes(),
            Denial::Key(key) => [b"This user has no permissions to access the '", key.as_slice(), b"' key"].concat(),
            Denial::Channel(channel) => {
                [b"This user has no permissions to access the '", channel.as_slice(), b"' channel"].concat()
            }
        }
    }

    /// Returns how it is logged: the reason and the object.
    pub(crate) fn logged(&self) -> (Refusal, Vec<u8>) {
        match self {
            Denial::Command(name) => (Refusal::Command, name.as_bytes().to_vec()),
            Denial::Key(key) => (Refusal::Key, key.clone()),
            Denial::Channel(channel) => (Refusal::Channel, channel.clone()),
        }
    }
}

impl User {
    /// Tells whether the user may run a command.
    #[inline]
    pub(crate) fn may_run(&self, resolved: &Resolved, args: Args<'_>) -> Result<(), Denial> {
        if self.is_unrestricted() { Ok(()) } else { self.has_right_to(resolved, args) }
    }

    fn has_right_to(&self, resolved: &Resolved, args: Args<'_>) -> Result<(), Denial> {
        let rights = self.rights.read();
        let mut closest: Option<(Denial, usize)> = None;
        let keys = LazyCell::new(|| key_spec::uses_in_call(resolved, args));
        for selector in rights.selectors() {
            let Err((denial, at)) = selector.may_run(resolved, args, &keys) else { return Ok(()) };
            let closer = closest.as_ref().is_none_or(|(other, other_at)| {
                denial.rank() > other.rank() || (denial.rank() == other.rank() && at > *other_at)
            });
            if closer {
                closest = Some((denial, at));
            }
        }
        Err(closest.expect("there is a root selector").0)
    }

    /// Tells whether the user may run a command and read all keys there are, which commands need whose keys are no arguments.
    pub(crate) fn may_read_everything(&self, resolved: &Resolved, args: Args<'_>) -> bool {
        let reads_all = |selector: &Selector| {
            (selector.allows(resolved.id) || selector.allows_first_arg(resolved, args)) && selector.reads_all_keys()
        };
        self.is_unrestricted() || self.rights.read().selectors().any(reads_all)
    }

    /// Tells whether the user may hear of a channel, or of all that fit a pattern.
    pub fn may_hear(&self, channel: &[u8], is_pattern: bool) -> bool {
        self.is_unrestricted()
            || self.rights.read().selectors().any(|selector| selector.allows_channel(channel, is_pattern))
    }

    /// Tells whether there is no channel that the user may not hear.
    pub(super) fn may_hear_everything(&self) -> bool {
        self.is_unrestricted() || self.rights.read().selectors().any(|selector| selector.all_channels)
    }
}

impl Rights {
    fn selectors(&self) -> impl Iterator<Item = &Selector> {
        std::iter::once(&self.root).chain(&self.selectors)
    }
}

impl Selector {
    /// The error also tells which argument it is about, to find the selector that came closest.
    fn may_run<F: FnOnce() -> Vec<(usize, KeyFlags)>>(
        &self,
        resolved: &Resolved,
        args: Args<'_>,
        keys: &LazyCell<Vec<(usize, KeyFlags)>, F>,
    ) -> Result<(), (Denial, usize)> {
        if !resolved.has(NO_AUTH) && !self.allows(resolved.id) && !self.allows_first_arg(resolved, args) {
            return Err((Denial::Command(resolved.name.clone()), 0));
        }
        if !self.all_keys
            && let Some((at, _)) = keys.iter().find(|(at, uses)| !self.allows_key(args.at(*at), *uses))
        {
            return Err((Denial::Key(args.at(*at).to_vec()), *at));
        }
        let (channels, is_pattern) = channels(resolved, args);
        if let Some(at) = channels.clone().find(|at| !self.allows_channel(args.at(*at), is_pattern)) {
            return Err((Denial::Channel(args.at(at).to_vec()), at));
        }
        Ok(())
    }

    fn allows_first_arg(&self, resolved: &Resolved, args: Args<'_>) -> bool {
        let Some(first) = args.optional(1) else { return false };
        self.first_args.iter().any(|(id, allowed)| *id == resolved.id && allowed.eq_ignore_ascii_case(first))
    }

    fn reads_all_keys(&self) -> bool {
        self.all_keys || self.keys.iter().any(|known| known.read && *known.pattern == *b"*")
    }

    fn allows_key(&self, key: &[u8], uses: KeyFlags) -> bool {
        let (reads, writes) = (uses & ACCESS != 0, uses & (INSERT | UPDATE | DELETE) != 0);
        let fits = |known: &KeyPattern| {
            (known.read || !reads) && (known.write || !writes) && glob::matches(&known.pattern, key)
        };
        self.keys.iter().any(fits)
    }
}

/// Which arguments are channels, and whether they are patterns.
fn channels(resolved: &Resolved, args: Args<'_>) -> (std::ops::Range<usize>, bool) {
    match resolved.original_name.as_str() {
        "publish" | "spublish" => (1..2, false),
        "subscribe" | "ssubscribe" => (1..args.len(), false),
        "psubscribe" => (1..args.len(), true),
        _ => (0..0, false),
    }
}
