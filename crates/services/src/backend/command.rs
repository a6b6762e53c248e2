//! One command on its way to a store: arguments, where its first key is, and whether it may run twice.

use crate::keys::Key;
use crate::script::{Repeat, ScriptRef};

/// A command and what a transport must know about it.
#[derive(Debug, Clone)]
pub struct Command {
    args: Vec<Vec<u8>>,
    key_index: Option<usize>,
    repeatable: bool,
    script: Option<ScriptRef>,
}

impl Command {
    /// Starts a command that is not repeated when its outcome is unknown.
    pub fn new(name: &'static str) -> Self {
        Self { args: vec![name.as_bytes().to_vec()], key_index: None, repeatable: false, script: None }
    }

    /// Makes the call of a script by its hash.
    pub fn script<K: ToArg, A: ToArg>(script: impl Into<ScriptRef>, keys: &[K], args: &[A]) -> Self {
        let script = script.into();
        let mut command = Self::new("EVALSHA").arg(script.sha()).arg(keys.len());
        command.repeatable = script.repeat() == Repeat::Safe;
        command.script = Some(script);
        for key in keys {
            command = command.key(key);
        }
        for arg in args {
            command = command.arg(arg);
        }
        command
    }

    /// Appends a key. The first key decides which node of a Cluster is asked.
    #[must_use]
    pub fn key(mut self, key: impl ToArg) -> Self {
        self.key_index.get_or_insert(self.args.len());
        self.args.push(key.to_arg());
        self
    }

    /// Appends an argument that is not a key.
    #[must_use]
    pub fn arg(mut self, arg: impl ToArg) -> Self {
        self.args.push(arg.to_arg());
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
            None => std::str::from_utf8(&self.args[0]).expect("command names are constants"),
        }
    }

    /// Returns name and arguments.
    pub fn args(&self) -> &[Vec<u8>] {
        &self.args
    }

    /// Returns the first key.
    pub(super) fn first_key(&self) -> Option<&[u8]> {
        self.key_index.map(|index| self.args[index].as_slice())
    }

    /// Returns the same call with the script's text instead of its hash, `None` for what is not a script.
    pub(super) fn in_full(&self) -> Option<Self> {
        let script = self.script.as_ref()?;
        let mut full = self.clone();
        full.args[0] = b"EVAL".to_vec();
        full.args[1] = script.source().as_bytes().to_vec();
        Some(full)
    }

    /// Returns the command as the client library wants it.
    pub(super) fn to_redis(&self) -> redis::Cmd {
        let mut cmd = redis::Cmd::with_capacity(self.args.len(), self.args.iter().map(Vec::len).sum());
        for arg in &self.args {
            cmd.arg(arg.as_slice());
        }
        cmd
    }
}

/// What can be an argument.
pub trait ToArg: Send + Sync {
    /// Returns the bytes to send; numbers in decimal.
    fn to_arg(&self) -> Vec<u8>;
}

impl<T: ToArg + ?Sized> ToArg for &T {
    fn to_arg(&self) -> Vec<u8> {
        (**self).to_arg()
    }
}

macro_rules! to_arg {
    ($($type:ty: $self:ident => $bytes:expr;)*) => {
        $(impl ToArg for $type {
            fn to_arg(&$self) -> Vec<u8> {
                $bytes
            }
        })*
    };
}

to_arg! {
    str: self => self.as_bytes().to_vec();
    String: self => self.as_bytes().to_vec();
    [u8]: self => self.to_vec();
    Vec<u8>: self => self.clone();
    Key: self => self.as_bytes().to_vec();
    i64: self => self.to_string().into_bytes();
    u64: self => self.to_string().into_bytes();
    u32: self => self.to_string().into_bytes();
    usize: self => self.to_string().into_bytes();
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
        assert_eq!(command.args()[2..], [b"2".to_vec(), b"k1".to_vec(), b"k2".to_vec(), b"7".to_vec()]);
        assert_eq!(command.first_key(), Some(&b"k1"[..]));
        assert!(command.is_repeatable());
        let full = command.in_full().unwrap();
        assert_eq!(full.args()[0], b"EVAL");
        assert_eq!(full.args()[1], SCRIPT.source().as_bytes());
        assert_eq!(full.args()[2..], command.args()[2..]);
        assert_eq!(command.name(), "one");
    }
}
