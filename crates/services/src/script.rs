//! Lua scripts: the atomic steps of the services.
//!
//! Each step is a `*.lua` file beside its service, opening with a comment that lists KEYS, ARGV and what it returns.
//! A step that needs shared functions names several files, which are joined in order. The rules for all of them:
//!
//! * every key is declared in KEYS, and all keys of a call share one hash tag;
//! * time is `now_ms` of [`INTEGERS`], the store's clock, as integer milliseconds;
//! * integers are given to `redis.call` as they are, which writes seventeen digits; joined to other text they are written with `text` of [`INTEGERS`],
//!   since Lua's own conversion turns large ones into floats;
//! * the work of a call is bounded, by the call's own input or by a constant named in its file, however much there is
//!   in the store: what has to be removed from a large collection is removed a little at a time, by rank;
//! * the language is Lua 5.1 without cjson, struct or bit.
//!
//! The first line sent is a shebang (Redis 7, Valkey, Redpoll), so the server knows whether a step may run when memory
//! is full ([`Flags::AllowOom`]: it frees) or on a replica ([`Flags::NoWrites`]), and refuses others *before* they
//! start instead of in the middle.
//!
//! A script is called by its SHA-1 and sent in full only when the server answers NOSCRIPT.

use std::borrow::Cow;
use std::ops::Deref;
use std::sync::{Arc, OnceLock};

/// Functions that steps of every service use; the first part of those that do.
pub const INTEGERS: &str = include_str!("integers.lua");

/// What the server should know about a script before it runs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flags {
    /// An ordinary step that writes.
    None,
    /// The step only frees or shrinks, and must work when memory is full.
    AllowOom,
    /// The step does not write.
    NoWrites,
}

/// Whether the step may run twice when the first outcome is unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repeat {
    /// Running it again gives the same state and the same answer.
    Safe,
    /// Running it again may count, charge or hand out twice.
    Never,
}

/// One atomic step.
#[derive(Debug)]
pub struct Script {
    name: Cow<'static, str>,
    flags: Flags,
    repeat: Repeat,
    parts: &'static [&'static str],
    loaded: OnceLock<Loaded>,
}

#[derive(Debug)]
struct Loaded {
    source: String,
    sha: String,
}

impl Script {
    /// Declares a script; `parts` are the files' texts in the order they are joined.
    pub const fn new(name: &'static str, flags: Flags, repeat: Repeat, parts: &'static [&'static str]) -> Self {
        Self { name: Cow::Borrowed(name), flags, repeat, parts, loaded: OnceLock::new() }
    }

    /// Takes a script whose text is known only when the program runs, without its shebang.
    pub fn owned(name: impl Into<String>, flags: Flags, repeat: Repeat, text: &str) -> Arc<Self> {
        let loaded = OnceLock::from(Loaded::of(flags, &[text]));
        Arc::new(Self { name: Cow::Owned(name.into()), flags, repeat, parts: &[], loaded })
    }

    /// Returns the name used in errors.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Tells whether the step may be repeated.
    pub fn repeat(&self) -> Repeat {
        self.repeat
    }

    /// Returns the text as sent.
    pub fn source(&self) -> &str {
        &self.loaded().source
    }

    /// Returns the SHA-1 of the source in lower-case hexadecimal.
    pub fn sha(&self) -> &str {
        &self.loaded().sha
    }

    fn loaded(&self) -> &Loaded {
        self.loaded.get_or_init(|| Loaded::of(self.flags, self.parts))
    }
}

impl Loaded {
    fn of(flags: Flags, parts: &[&str]) -> Self {
        let mut source = String::from(match flags {
            Flags::None => "#!lua\n",
            Flags::AllowOom => "#!lua flags=allow-oom\n",
            Flags::NoWrites => "#!lua flags=no-writes\n",
        });
        for part in parts {
            source.push_str(part);
            source.push('\n');
        }
        let sha = sha1_smol::Sha1::from(source.as_bytes()).digest().to_string();
        Self { source, sha }
    }
}

/// A script of this crate, or one that a program brought along.
#[derive(Debug, Clone)]
pub enum ScriptRef {
    /// Declared as a constant.
    Static(&'static Script),
    /// Made by [`Script::owned`].
    Shared(Arc<Script>),
}

impl Deref for ScriptRef {
    type Target = Script;

    fn deref(&self) -> &Script {
        match self {
            Self::Static(script) => script,
            Self::Shared(script) => script,
        }
    }
}

impl From<&'static Script> for ScriptRef {
    fn from(script: &'static Script) -> Self {
        Self::Static(script)
    }
}

impl From<&Arc<Script>> for ScriptRef {
    fn from(script: &Arc<Script>) -> Self {
        Self::Shared(Arc::clone(script))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Commands whose work grows with what is in the store, and nothing in the call says how far.
    const UNBOUNDED: &[&str] = &[
        "ZREMRANGEBYSCORE",
        "ZREMRANGEBYLEX",
        "ZUNIONSTORE",
        "ZINTERSTORE",
        "ZDIFFSTORE",
        "SMEMBERS",
        "HKEYS",
        "HVALS",
        "'KEYS'",
        "SCAN",
        "while redis.call",
    ];

    #[test]
    fn no_step_does_more_than_its_share() {
        let mut files = 0;
        for service in [
            "atomic",
            "cache",
            "events",
            "idempotency",
            "jobs",
            "limits",
            "locks",
            "ratelimit",
            "schedules",
            "sessions",
            "streams",
            "tokens",
        ] {
            let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(service);
            for file in std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()) {
                if file.extension().is_some_and(|extension| extension == "lua") {
                    let text = std::fs::read_to_string(&file).unwrap();
                    let found: Vec<_> = UNBOUNDED.iter().filter(|word| text.contains(**word)).collect();
                    assert!(found.is_empty(), "{} has {found:?}", file.display());
                    files += 1;
                }
            }
        }
        assert!(files >= 30, "{files}");
    }

    #[test]
    fn source_and_sha() {
        static SCRIPT: Script = Script::new("one", Flags::NoWrites, Repeat::Safe, &["return 1"]);
        assert_eq!(SCRIPT.source(), "#!lua flags=no-writes\nreturn 1\n");
        assert_eq!(SCRIPT.sha().len(), 40);
        let owned = Script::owned("one", Flags::NoWrites, Repeat::Safe, "return 1");
        assert_eq!((owned.source(), owned.sha(), owned.name()), (SCRIPT.source(), SCRIPT.sha(), SCRIPT.name()));
    }
}
