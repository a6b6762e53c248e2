//! The registry: the rows of all families, resolved once at start and found by name.

use std::ops::Range;

use crate::args::Args;
use crate::command::{Command, FLAG_NAMES, Family, Flags, Handler, Keys, MOVABLE_KEYS, container};
use crate::error::{Error, unknown_command, unknown_subcommand};
use crate::names::Names;
use crate::syntax;

/// A row with everything derived from it.
#[derive(Debug)]
pub struct Resolved {
    /// The row.
    pub command: &'static Command,
    /// Lower case; `container|subcommand` for a subcommand.
    pub name: String,
    /// The name in the table, which a setting can replace.
    pub original_name: String,
    /// The group it belongs to.
    pub group: &'static str,
    /// Position in the registry: index of its statistics.
    pub id: usize,
    /// Exact if positive, a minimum if negative.
    pub arity: i32,
    /// Where its keys stand; never [`Keys::FromSyntax`].
    pub keys: Keys,
    /// The row's flags and those that follow.
    pub flags: Flags,
    /// The ids of its subcommands.
    pub subcommands: Vec<usize>,
    by_subcommand: Names,
}

/// Returns the arguments from one to another, which counts from the end if it is below zero.
fn between(first: usize, last: isize, args: Args<'_>) -> Range<usize> {
    let last = if last < 0 { args.len() as isize + last } else { last };
    let end = last.min(args.len() as isize - 1) + 1;
    first..usize::try_from(end).unwrap_or(0)
}

/// Returns the keys that follow their number; none if there are fewer.
fn counted(count: usize, args: Args<'_>) -> Option<Range<usize>> {
    let keys = args.int(count).ok().and_then(|number| usize::try_from(number).ok()).unwrap_or(0);
    (keys < args.len().saturating_sub(count)).then_some(count + 1..count + 1 + keys)
}

impl Resolved {
    /// Tells whether this number of arguments, the name included, is right.
    #[inline]
    pub fn accepts(&self, count: usize) -> bool {
        if self.arity > 0 { count == self.arity as usize } else { count >= self.arity.unsigned_abs() as usize }
    }

    /// Pushes the argument numbers of the keys of one call.
    pub fn key_positions(&self, args: Args<'_>, positions: &mut Vec<usize>) {
        match self.keys {
            Keys::None | Keys::FromSyntax => {}
            Keys::Range { first, last, step } => positions.extend(between(first, last, args).step_by(step)),
            Keys::Counted { destination, count } => {
                // More than what follows names no keys: such a call will be refused.
                let Some(counted) = counted(count, args) else { return };
                if destination > 0 {
                    positions.push(destination);
                }
                positions.extend(counted);
            }
            Keys::First { further, .. } => {
                positions.push(1);
                further(args, positions);
            }
            Keys::Custom(find) => find(args, positions),
        }
    }

    /// Returns where all keys of a call stand one behind the other, if that is how calls of this command have them.
    #[inline]
    pub fn keys_in_a_row(&self, args: Args<'_>) -> Option<Range<usize>> {
        match self.keys {
            Keys::Range { first, last, .. } if last == first as isize => Some(first..first + 1),
            Keys::Range { first, last, step: 1 } => Some(between(first, last, args)),
            Keys::Counted { destination: 0, count } => Some(counted(count, args).unwrap_or_default()),
            _ => None,
        }
    }

    /// Tells whether a call reaches keys that are not among its arguments.
    #[inline]
    pub fn is_unbound(&self, args: Args<'_>) -> bool {
        matches!(self.keys, Keys::First { unbound, .. } if unbound(args))
    }

    /// Tells whether a flag is set.
    #[inline]
    pub fn has(&self, flag: Flags) -> bool {
        self.flags & flag != 0
    }

    /// Returns the name of the command in the table, if a setting has replaced it.
    #[inline]
    pub(crate) fn replaced_name(&self) -> Option<&str> {
        if self.name == self.original_name {
            return None;
        }
        self.original_name.split('|').next()
    }

    /// Tells whether it is a subcommand of another command.
    pub fn is_subcommand(&self) -> bool {
        self.original_name.contains('|')
    }

    /// Tells whether it does nothing itself, only its subcommands do.
    pub fn is_container(&self) -> bool {
        let does_nothing: Handler = container;
        std::ptr::fn_addr_eq(self.command.handler, does_nothing)
    }

    /// Returns the names of its flags, as COMMAND INFO lists them.
    pub fn flag_names(&self) -> impl Iterator<Item = &'static str> {
        FLAG_NAMES.iter().filter(|(flag, name)| self.has(*flag) && !name.is_empty()).map(|(_, name)| *name)
    }
}

/// All commands.
#[derive(Debug)]
pub struct Registry {
    resolved: Vec<Resolved>,
    by_name: Names,
    /// As [`Registry::by_name`] before commands were renamed, if some were.
    by_original_name: Option<Names>,
}

impl Registry {
    /// Resolves the rows of all families.
    ///
    /// # Panics
    /// If two rows have one name: a mistake in the table.
    pub fn new(families: impl IntoIterator<Item = Family>) -> Registry {
        let mut registry = Registry { resolved: Vec::new(), by_name: Names::default(), by_original_name: None };
        for family in families {
            for command in family.commands {
                let id = registry.add(command, family.group, None);
                let name = registry.resolved[id].name.clone().into_bytes();
                assert!(registry.by_name.insert(&name, id).is_none(), "two commands are called {}", command.syntax);
                for subcommand in command.subcommands {
                    let sub = registry.add(subcommand, family.group, Some(id));
                    let name = registry.resolved[sub].name.split('|').nth(1).expect("a subcommand has two names");
                    let name = name.as_bytes().to_vec();
                    registry.resolved[id].subcommands.push(sub);
                    registry.resolved[id].by_subcommand.insert(&name, sub);
                }
            }
        }
        registry
    }

    /// Gives commands other names, or none at all; the error is what is wrong with it.
    ///
    /// The log goes on to call them by the names they have in the table.
    pub fn rename(&mut self, renames: &[(String, String)]) -> Result<(), String> {
        if renames.is_empty() {
            return Ok(());
        }
        for (old, new) in renames {
            let (old, new) = (old.to_ascii_lowercase(), new.to_ascii_lowercase());
            let found = self.resolved.iter().position(|resolved| resolved.original_name == old && !old.contains('|'));
            let id = found.ok_or("No such command in rename-command")?;
            for at in self.resolved[id].subcommands.clone().into_iter().chain([id]) {
                let name = self.resolved[at].original_name.replacen(&old, &new, 1);
                self.resolved[at].name = name;
            }
        }
        let mut names = Names::default();
        for resolved in self.resolved.iter().filter(|resolved| !resolved.is_subcommand() && !resolved.name.is_empty()) {
            if names.insert(resolved.name.as_bytes(), resolved.id).is_some() {
                return Err("Target command name already exists".into());
            }
        }
        self.by_original_name = Some(std::mem::replace(&mut self.by_name, names));
        Ok(())
    }

    fn add(&mut self, command: &'static Command, group: &'static str, parent: Option<usize>) -> usize {
        let words = if parent.is_some() { 2 } else { 1 };
        let mut names = command.syntax.split_whitespace().map(str::to_ascii_lowercase);
        let mut name = names.next().expect("a syntax line begins with the name");
        if parent.is_some() {
            name = format!("{name}|{}", names.next().expect("a subcommand's line has two names"));
        }
        let keys = match command.keys {
            Keys::FromSyntax if command.subcommands.is_empty() => syntax::keys(command.syntax, words),
            Keys::FromSyntax => Keys::None,
            keys => keys,
        };
        let arity = match command.arity {
            0 if command.subcommands.is_empty() => syntax::arity(command.syntax, words),
            0 => -2,
            arity => arity,
        };
        let movable = matches!(keys, Keys::Counted { .. } | Keys::First { .. } | Keys::Custom(_));
        let flags = if movable { command.flags | MOVABLE_KEYS } else { command.flags };
        let id = self.resolved.len();
        let (subcommands, by_subcommand) = (Vec::new(), Names::default());
        let original_name = name.clone();
        self.resolved.push(Resolved {
            command,
            original_name,
            name,
            group,
            id,
            arity,
            keys,
            flags,
            subcommands,
            by_subcommand,
        });
        id
    }

    /// Returns every command and subcommand in table order.
    pub fn all(&self) -> &[Resolved] {
        &self.resolved
    }

    /// Finds a command, or `container|subcommand`, by name in any case.
    pub fn find(&self, name: &[u8]) -> Option<&Resolved> {
        let (name, sub) = match name.iter().position(|byte| *byte == b'|') {
            Some(at) => (&name[..at], Some(&name[at + 1..])),
            None => (name, None),
        };
        let command = &self.resolved[self.by_name.find(name)?];
        match sub {
            Some(sub) => Some(&self.resolved[command.by_subcommand.find(sub)?]),
            None => Some(command),
        }
    }

    /// Finds the command that the arguments call, down to the subcommand.
    #[inline]
    pub fn resolve(&self, args: Args<'_>) -> Result<&Resolved, Error> {
        self.resolve_by(&self.by_name, args)
    }

    /// Tells whether commands have other names than in the table.
    #[inline]
    pub(crate) fn has_renamed(&self) -> bool {
        self.by_original_name.is_some()
    }

    /// Finds the command that a record of the log calls.
    pub fn resolve_logged(&self, args: Args<'_>) -> Result<&Resolved, Error> {
        self.resolve_by(self.by_original_name.as_ref().unwrap_or(&self.by_name), args)
    }

    #[inline]
    fn resolve_by(&self, names: &Names, args: Args<'_>) -> Result<&Resolved, Error> {
        let Some(id) = names.find(args.at(0)) else { return Err(unknown_command(args.0)) };
        let command = &self.resolved[id];
        if command.subcommands.is_empty() || args.len() < 2 {
            return Ok(command);
        }
        match command.by_subcommand.find(args.at(1)) {
            Some(id) => Ok(&self.resolved[id]),
            None => Err(unknown_subcommand(&command.name, args.at(1))),
        }
    }
}
