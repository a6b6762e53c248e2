//! A row of the command table.
//!
//! The documented syntax line is the schema: name, arity and the places of the keys follow from it (`syntax.rs`); what does not is said on the row
//! (`.keys(…)`, `.arity(…)`). Everything else that lists commands (COMMAND INFO and DOCS, reference pages, checks against a real server) reads the rows.

use crate::args::Args;
use crate::cx::Cx;
use crate::error::Error;
use crate::key_spec::{KeyFlags, KeySpec, Uses};

/// What runs a command: reads its arguments, works through the context, writes one reply or returns an error having changed nothing.
pub type Handler = fn(&mut Cx<'_, '_>, Args<'_>) -> Result<(), Error>;

/// Properties of a command, one bit each.
pub type Flags = u32;

macro_rules! flags {
    ($($(#[$doc:meta])* $name:ident = $bit:literal, $text:literal;)*) => {
        $($(#[$doc])* pub const $name: Flags = 1 << $bit;)*
        /// All flags with the names COMMAND INFO gives them; an empty name is our own business.
        pub const FLAG_NAMES: &[(Flags, &str)] = &[$(($name, $text)),*];
    };
}

flags! {
    /// Changes data.
    WRITE = 0, "write";
    /// Reads data.
    READONLY = 1, "readonly";
    /// Refused when memory is full.
    DENYOOM = 2, "denyoom";
    /// For administrators.
    ADMIN = 3, "admin";
    /// Pub/sub.
    PUBSUB = 4, "pubsub";
    /// Not from scripts.
    NOSCRIPT = 5, "noscript";
    /// May block.
    BLOCKING = 6, "blocking";
    /// Allowed while loading.
    LOADING = 7, "loading";
    /// Allowed on a stale replica.
    STALE = 8, "stale";
    /// Not shown to MONITOR.
    SKIP_MONITOR = 9, "skip_monitor";
    /// Not logged as slow.
    SKIP_SLOWLOG = 10, "skip_slowlog";
    /// Constant or logarithmic time.
    FAST = 11, "fast";
    /// Allowed before AUTH.
    NO_AUTH = 12, "no_auth";
    /// May be logged although it is no write (EVAL).
    MAY_REPLICATE = 13, "";
    /// Not inside MULTI.
    NO_MULTI = 14, "no_multi";
    /// Key positions depend on the arguments.
    MOVABLE_KEYS = 15, "movablekeys";
    /// Allowed while a script runs too long.
    ALLOW_BUSY = 16, "allow_busy";
    /// Refused while a load replaces the data set asynchronously.
    NO_ASYNC_LOADING = 17, "no_async_loading";
    /// Asks for a slot that is on its way to this node.
    ASKING = 18, "asking";
    /// Visits the whole keyspace, shard by shard.
    WHOLE = 24, "";
    /// Needs the whole keyspace at one moment.
    EXCLUSIVE = 25, "";
    /// Runs other commands under its own locks and logs for itself (EXEC).
    TRANSACTION = 26, "";
    /// Takes effect at once inside MULTI instead of being queued (EXEC, DISCARD, …).
    NOT_QUEUED = 27, "";
    /// Runs a script or function, which may take for ever.
    RUNS_SCRIPT = 28, "";
    /// Refused unless the settings allow it (DEBUG).
    PROTECTED = 30, "";
}

/// Where the keys stand among the arguments.
#[derive(Clone, Copy, Debug)]
pub enum Keys {
    /// As the syntax line says.
    FromSyntax,
    /// No keys.
    None,
    /// From argument `first` to `last` (negative counts from the end), every `step`.
    Range {
        /// First key.
        first: usize,
        /// Last key.
        last: isize,
        /// Distance between keys.
        step: usize,
    },
    /// `numkeys` stands at an argument, the keys follow it; `destination` is one more key before, if not 0.
    Counted {
        /// A single key that comes first, 0 for none.
        destination: usize,
        /// Where the number stands.
        count: usize,
    },
    /// The first argument, and what a function finds among the others (STORE).
    First {
        /// Pushes the argument numbers of the further keys.
        further: fn(Args<'_>, &mut Vec<usize>),
        /// Tells whether the call also reaches keys that are no arguments, so that it needs everything.
        unbound: fn(Args<'_>) -> bool,
    },
    /// Found by a function, which pushes the argument numbers.
    Custom(fn(Args<'_>, &mut Vec<usize>)),
}

/// A row: one command or subcommand.
#[derive(Clone, Copy, Debug)]
pub struct Command {
    /// The documented syntax, `GETEX key [EX seconds | …]`; for a subcommand `CLIENT KILL …`.
    pub syntax: &'static str,
    /// What runs it.
    pub handler: Handler,
    /// Its properties.
    pub flags: Flags,
    /// The Redis version that brought it.
    pub since: &'static str,
    /// The documented complexity.
    pub complexity: &'static str,
    /// The documented summary.
    pub summary: &'static str,
    /// Where its keys stand.
    pub keys: Keys,
    /// What it does with them.
    pub uses: Uses,
    /// Its arity, where the syntax line does not tell; 0 if it does.
    pub arity: i32,
    /// Its subcommands, if it is a container.
    pub subcommands: &'static [Command],
    /// Categories of ACL beyond those that flags and family imply, such as `dangerous`.
    pub categories: &'static [&'static str],
}

/// Makes a row.
pub const fn cmd(
    syntax: &'static str,
    handler: Handler,
    flags: Flags,
    since: &'static str,
    complexity: &'static str,
    summary: &'static str,
) -> Command {
    Command {
        syntax,
        handler,
        flags,
        since,
        complexity,
        summary,
        keys: Keys::FromSyntax,
        uses: Uses::FromFlags,
        arity: 0,
        subcommands: &[],
        categories: &[],
    }
}

impl Command {
    /// Says where the keys stand.
    pub const fn keys(mut self, keys: Keys) -> Command {
        self.keys = keys;
        self
    }

    /// Says what the command does with its keys: with all, or with the first and with the others.
    pub const fn uses(mut self, flags: &'static [KeyFlags]) -> Command {
        self.uses = Uses::Each(flags);
        self
    }

    /// Says what the command does with its key at most, and how to tell for a call.
    pub const fn varies(mut self, most: KeyFlags, of_call: fn(Args<'_>) -> KeyFlags) -> Command {
        self.uses = Uses::Varying(most, of_call);
        self
    }

    /// Says in full where the keys of the command are and what it does with them.
    pub const fn specs(mut self, specs: &'static [KeySpec]) -> Command {
        self.uses = Uses::Specs(specs);
        self
    }

    /// Says the arity: exact if positive, at least if negative, the name counted.
    pub const fn arity(mut self, arity: i32) -> Command {
        self.arity = arity;
        self
    }

    /// Makes the row a container.
    pub const fn subcommands(mut self, subcommands: &'static [Command]) -> Command {
        self.subcommands = subcommands;
        self
    }

    /// Adds ACL categories.
    pub const fn categories(mut self, categories: &'static [&'static str]) -> Command {
        self.categories = categories;
        self
    }
}

/// Commands that belong together: one file.
#[derive(Clone, Copy, Debug)]
pub struct Family {
    /// The group, as COMMAND DOCS names it.
    pub group: &'static str,
    /// The rows.
    pub commands: &'static [Command],
}

/// The handler of a container called without a subcommand's own handler; the dispatcher never runs it.
pub fn container(_: &mut Cx<'_, '_>, _: Args<'_>) -> Result<(), Error> {
    unreachable!("the registry resolves subcommands before a handler runs")
}
