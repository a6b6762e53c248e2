//! Key specifications: which arguments of a command are keys, and what it does with each.
//!
//! Clients that route by key, and proxies, ask for them (COMMAND INFO, COMMAND GETKEYSANDFLAGS). Where the keys stand is already said by the row
//! ([`Keys`]), so a row adds only how it uses them, and only where it is not what its flags imply: a reader's keys are `RO | ACCESS`, a
//! writer's `RW | UPDATE`. With two uses the first key is used one way and the others another, as in `SINTERSTORE destination key [key ...]`:
//!
//! ```text
//! .uses(&[RM | DELETE])                      DEL: all keys alike
//! .uses(&[OW | UPDATE, RO | ACCESS])         SUNIONSTORE: destination, then sources
//! .specs(&[KeySpec::at(1, …), …])            keys that options name: said in full
//! ```
//!
//! A specification tells what a command may do at most, independent of options. It does not find keys for the dispatcher, who must be exact.

use crate::args::Args;
use crate::command::{Keys, WRITE};
use crate::registry::Resolved;

/// What happens to a key, one bit each: one of [`RO`], [`RW`], [`OW`], [`RM`], and what becomes of the user's data in it.
pub type KeyFlags = u16;

/// The key is only read.
pub const RO: KeyFlags = 1 << 0;
/// The value is changed depending on what it was.
pub const RW: KeyFlags = 1 << 1;
/// The value is overwritten whatever it was.
pub const OW: KeyFlags = 1 << 2;
/// The key is removed.
pub const RM: KeyFlags = 1 << 3;
/// User data is returned, copied or used.
pub const ACCESS: KeyFlags = 1 << 4;
/// User data is added, none is changed or removed.
pub const INSERT: KeyFlags = 1 << 5;
/// User data may be changed.
pub const UPDATE: KeyFlags = 1 << 6;
/// User data is removed.
pub const DELETE: KeyFlags = 1 << 7;
/// The use depends on the options of the call.
pub const VARIABLE: KeyFlags = 1 << 8;

/// Not all keys are found this way.
pub const INCOMPLETE: KeyFlags = 1 << 9;

/// The names of the flags in replies, in their order there.
const NAMES: &[(KeyFlags, &str)] = &[
    (RO, "RO"),
    (RW, "RW"),
    (OW, "OW"),
    (RM, "RM"),
    (ACCESS, "access"),
    (INSERT, "insert"),
    (UPDATE, "update"),
    (DELETE, "delete"),
    (VARIABLE, "variable_flags"),
    (INCOMPLETE, "incomplete"),
];

/// How a row uses its keys.
#[derive(Clone, Copy, Debug)]
pub enum Uses {
    /// As its flags imply.
    FromFlags,
    /// All keys in one way, or the first in one and the others in another.
    Each(&'static [KeyFlags]),
    /// One key; at most so, in a call as the function says.
    Varying(KeyFlags, fn(Args<'_>) -> KeyFlags),
    /// Specified in full.
    Specs(&'static [KeySpec]),
}

/// Where to begin to look for keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begin {
    /// At an argument.
    Index(usize),
    /// Behind a word, which is looked for from an argument on, or backwards from one that is counted from the end.
    Keyword(&'static str, isize),
    /// Not to be said.
    Unknown,
}

/// Which arguments are keys from there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Find {
    /// Up to `last`, counted from the beginning or, if negative, from the end of the call; with a `limit` only that part of them.
    Range {
        /// Last key.
        last: isize,
        /// Distance between keys.
        step: usize,
        /// 0, or by what the number of arguments is divided.
        limit: usize,
    },
    /// The number of keys stands there and the keys follow it.
    Counted {
        /// Distance between keys.
        step: usize,
    },
    /// Not to be said.
    Unknown,
}

/// A key specification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeySpec {
    /// What happens to the keys.
    pub flags: KeyFlags,
    /// Where to begin.
    pub begin: Begin,
    /// What to take.
    pub find: Find,
}

/// A single key.
const ONE: Find = Find::Range { last: 0, step: 1, limit: 0 };

impl KeySpec {
    /// One key at an argument.
    pub const fn at(index: usize, flags: KeyFlags) -> KeySpec {
        KeySpec { flags, begin: Begin::Index(index), find: ONE }
    }

    /// A number at an argument and as many keys behind it, `step` apart.
    pub const fn counted(index: usize, step: usize, flags: KeyFlags) -> KeySpec {
        KeySpec { flags, begin: Begin::Index(index), find: Find::Counted { step } }
    }

    /// One key behind a word.
    pub const fn behind(word: &'static str, from: isize, flags: KeyFlags) -> KeySpec {
        KeySpec { flags, begin: Begin::Keyword(word, from), find: ONE }
    }

    /// Keys behind a word, in the first half of what follows it.
    pub const fn half_behind(word: &'static str, from: isize, flags: KeyFlags) -> KeySpec {
        KeySpec { flags, begin: Begin::Keyword(word, from), find: Find::Range { last: -1, step: 1, limit: 2 } }
    }

    /// Keys that cannot be found without running the command.
    pub const fn unknown(flags: KeyFlags) -> KeySpec {
        KeySpec { flags, begin: Begin::Unknown, find: Find::Unknown }
    }

    fn range(first: usize, last: isize, step: usize, flags: KeyFlags) -> KeySpec {
        let last = if last < 0 { last } else { last - first as isize };
        KeySpec { flags, begin: Begin::Index(first), find: Find::Range { last, step, limit: 0 } }
    }

    /// Tells whether an argument that is known to be a key is one by this specification.
    fn covers(&self, args: Args<'_>, position: usize) -> bool {
        let begin = match self.begin {
            Begin::Index(index) => Some(index),
            Begin::Keyword(word, from) => {
                let is_word = |at: &usize| args.is(*at, word);
                let found = match usize::try_from(from) {
                    Ok(from) => (from..args.len()).find(is_word),
                    Err(_) => (0..=args.len().saturating_sub(from.unsigned_abs())).rev().find(is_word),
                };
                found.map(|at| at + 1)
            }
            Begin::Unknown => None,
        };
        let Some(begin) = begin.filter(|begin| *begin <= position) else { return false };
        match self.find {
            Find::Range { last, .. } if last < 0 => position as isize <= args.len() as isize + last,
            Find::Range { last, .. } => position as isize <= begin as isize + last,
            Find::Counted { .. } => true,
            Find::Unknown => false,
        }
    }
}

/// Returns the specifications of a command; none if it has no keys.
pub fn specs(resolved: &Resolved) -> Vec<KeySpec> {
    match resolved.command.uses {
        Uses::Specs(specs) => specs.to_vec(),
        Uses::Each(flags) => placed(resolved.keys, flags),
        Uses::Varying(flags, _) => placed(resolved.keys, &[flags | VARIABLE]),
        Uses::FromFlags if resolved.has(WRITE) => placed(resolved.keys, &[RW | UPDATE]),
        Uses::FromFlags => placed(resolved.keys, &[RO | ACCESS]),
    }
}

/// Puts uses where the keys are.
fn placed(keys: Keys, flags: &[KeyFlags]) -> Vec<KeySpec> {
    match (keys, flags) {
        (Keys::Range { first, last, step }, [all]) => vec![KeySpec::range(first, last, step, *all)],
        (Keys::Range { first, last, step }, [one, others]) => {
            vec![KeySpec::at(first, *one), KeySpec::range(first + 1, last, step, *others)]
        }
        (Keys::Counted { destination: 0, count }, [all]) => vec![KeySpec::counted(count, 1, *all)],
        (Keys::Counted { destination, count }, [one, others]) => {
            vec![KeySpec::at(destination, *one), KeySpec::counted(count, 1, *others)]
        }
        (Keys::First { .. }, [all]) => vec![KeySpec::at(1, *all)],
        _ => Vec::new(),
    }
}

/// Finds the keys of a call and what it does with each.
pub fn uses_in_call(resolved: &Resolved, args: Args<'_>) -> Vec<(usize, KeyFlags)> {
    let mut positions = Vec::new();
    resolved.key_positions(args, &mut positions);
    if let Uses::Varying(_, of_call) = resolved.command.uses {
        let flags = of_call(args);
        return positions.into_iter().map(|at| (at, flags)).collect();
    }
    let specs = specs(resolved);
    let flags_at = |at| {
        // A key that no specification finds is one that an option names, and those come last.
        let found = specs.iter().find(|spec| spec.covers(args, at)).or(specs.last());
        // A command that specifies nothing may do anything.
        found.map_or(RW | ACCESS | UPDATE, |spec| spec.flags & !(VARIABLE | INCOMPLETE))
    };
    positions.into_iter().map(|at| (at, flags_at(at))).collect()
}

/// Returns the names of flags, as replies list them.
pub fn names(flags: KeyFlags) -> impl Iterator<Item = &'static str> {
    NAMES.iter().filter(move |(flag, _)| flags & flag != 0).map(|(_, name)| *name)
}
