//! One command on its way to a store: arguments, where its first key is, and whether it may run twice.

use smallvec::SmallVec;

use crate::keys::Key;
use crate::script::{Repeat, ScriptRef};

/// Room for the arguments of most commands, in bytes and in number.
const USUAL_BYTES: usize = 192;
const USUAL_ARGS: usize = 12;

/// A command and what a transport must know about it.
///
/// The arguments lie one behind the other in one buffer: a step has a dozen of them, most a few bytes long.
#[derive(Debug, Clone)]
pub struct Command {
    bytes: Vec<u8>,
    ends: Vec<usize>,
    key_index: Option<usize>,
    repeatable: bool,
    script: Option<ScriptRef>,
}

impl Command {
    /// Starts a command that is not repeated when its outcome is unknown.
    pub fn new(name: &'static str) -> Self {
        let (bytes, ends) = (Vec::with_capacity(USUAL_BYTES), Vec::with_capacity(USUAL_ARGS));
        Self { bytes, ends, key_index: None, repeatable: false, script: None }.arg(name)
    }

    /// Makes the call of a script by its hash.
    pub fn script<K: ToArg, A: ToArg>(script: impl Into<ScriptRef>, keys: &[K], args: &[A]) -> Self {
        let script = script.into();
        let mut command = Self::new("EVALSHA");
        command.push(script.sha());
        command.push(&keys.len());
        command.key_index = (!keys.is_empty()).then_some(command.ends.len());
        keys.iter().for_each(|key| command.push(key));
        args.iter().for_each(|arg| command.push(arg));
        command.repeatable = script.repeat() == Repeat::Safe;
        command.script = Some(script);
        command
    }

    /// Appends a key. The first key decides which node of a Cluster is asked.
    #[must_use]
    pub fn key(mut self, key: impl ToArg) -> Self {
        self.key_index.get_or_insert(self.ends.len());
        self.arg(key)
    }

    /// Appends an argument that is not a key.
    #[must_use]
    pub fn arg(mut self, arg: impl ToArg) -> Self {
        self.push(&arg);
        self
    }

    fn push(&mut self, arg: &(impl ToArg + ?Sized)) {
        arg.write_to(&mut self.bytes);
        self.ends.push(self.bytes.len());
    }

    /// Appends several arguments that are not keys.
    #[must_use]
    pub fn args_of(mut self, args: &[impl ToArg]) -> Self {
        args.iter().for_each(|arg| self.push(arg));
        self
    }

    /// Says that running the command twice leaves the same state and gives the same answer.
    #[must_use]
    pub fn repeatable(mut self) -> Self {
        self.repeatable = true;
        self
    }

    /// Tells whether the command may run twice.
    pub fn is_repeatable(&self) -> bool {
        self.repeatable
    }

    /// Returns what errors call the command: its name, or the script's.
    pub fn name(&self) -> &str {
        match &self.script {
            Some(script) => script.name(),
            None => std::str::from_utf8(self.nth(0)).expect("command names are constants"),
        }
    }

    /// Returns name and arguments.
    pub fn args(&self) -> SmallVec<[&[u8]; USUAL_ARGS]> {
        (0..self.ends.len()).map(|index| self.nth(index)).collect()
    }

    fn nth(&self, index: usize) -> &[u8] {
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.bytes[start..self.ends[index]]
    }

    /// Returns the first key.
    pub(super) fn first_key(&self) -> Option<&[u8]> {
        self.key_index.map(|index| self.nth(index))
    }

    /// Returns the same call with the script's text instead of its hash, `None` for what is not a script.
    pub(super) fn in_full(&self) -> Option<Self> {
        let script = self.script.as_ref()?;
        let mut full = Self::new("EVAL").arg(script.source());
        for index in 2..self.ends.len() {
            full = full.arg(self.nth(index));
        }
        let Self { key_index, repeatable, script, .. } = self;
        Some(Self { key_index: *key_index, repeatable: *repeatable, script: script.clone(), ..full })
    }

    /// Returns the command as the client library wants it.
    pub(super) fn to_redis(&self) -> redis::Cmd {
        let mut cmd = redis::Cmd::with_capacity(self.ends.len(), self.bytes.len());
        for arg in self.args() {
            cmd.arg(arg);
        }
        cmd
    }
}

/// What can be an argument.
pub trait ToArg: Send + Sync {
    /// Appends the bytes to send; numbers in decimal.
    fn write_to(&self, bytes: &mut Vec<u8>);

    /// Returns the bytes to send.
    fn to_arg(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.write_to(&mut bytes);
        bytes
    }
}

impl<T: ToArg + ?Sized> ToArg for &T {
    fn write_to(&self, bytes: &mut Vec<u8>) {
        (**self).write_to(bytes);
    }
}

macro_rules! to_arg {
    ($($type:ty: $self:ident, $bytes:ident => $write:expr;)*) => {
        $(impl ToArg for $type {
            fn write_to(&$self, $bytes: &mut Vec<u8>) {
                $write;
            }
        })*
    };
}

to_arg! {
    str: self, bytes => bytes.extend_from_slice(self.as_bytes());
    String: self, bytes => bytes.extend_from_slice(self.as_bytes());
    [u8]: self, bytes => bytes.extend_from_slice(self);
    Vec<u8>: self, bytes => bytes.extend_from_slice(self);
    Key: self, bytes => bytes.extend_from_slice(self.as_bytes());
    i64: self, bytes => write_number(bytes, *self);
    u64: self, bytes => write_number(bytes, *self);
    u32: self, bytes => write_number(bytes, *self);
    usize: self, bytes => write_number(bytes, *self);
}

fn write_number(bytes: &mut Vec<u8>, number: impl itoa::Integer) {
    bytes.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::script::{Flags, Script};

    #[test]
    fn script_call_and_its_full_form() {
        static SCRIPT: Script = Script::new("one", Flags::None, Repeat::Safe, &["return 1"]);
        let command = Command::script(&SCRIPT, &["k1", "k2"], &[7_u64]);
        assert_eq!(command.args()[0], b"EVALSHA");
        assert_eq!(command.args()[2..], [&b"2"[..], b"k1", b"k2", b"7"]);
        assert_eq!(command.first_key(), Some(&b"k1"[..]));
        assert!(command.is_repeatable());
        let full = command.in_full().unwrap();
        assert_eq!(full.args()[0], b"EVAL");
        assert_eq!(full.args()[1], SCRIPT.source().as_bytes());
        assert_eq!(full.args()[2..], command.args()[2..]);
        assert_eq!(command.name(), "one");
    }
}
