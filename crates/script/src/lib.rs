//! The Lua 5.1 sandbox behind EVAL, EVALSHA and FCALL.
//!
//! An [`Engine`] owns one Lua state and the scripts loaded into it, named by the SHA-1 of their text. A running script reaches
//! the store only through a [`Host`]: it hands over a command as a list of byte strings and gets the reply as RESP bytes, so
//! this crate knows neither commands nor keys. Everything a script sees (globals, libraries, error texts, number formats, the
//! conversion of values) is what redis-server 7 shows; where hardening deliberately takes something away, `sandbox` says so.
//!
//! ```text
//! engine     scripts by SHA-1
//! functions  libraries of functions by name
//! run        one run of either, and the shaping of its reply
//! shebang    the `#!lua …` line
//! sandbox    builds the Lua state; prelude.lua holds the part that is easier to say in Lua
//! api        redis.call, redis.log, …
//! convert    RESP bytes ► Lua values ► RESP bytes
//! errors     what is raised, where it was raised, how it reads in the reply
//! limits     instruction hook, kill, memory
//! arguments  checking of library arguments with Lua's own error texts
//! number     C's %.17g and %.14g
//! chunks     load and loadstring
//! declared   which scripts keep to the keys they declare (tokens: their text cut up), and lanes: where those run beside others
//! twin       scripts that a program has in Rust as well
//! wiring     from EVAL to the engine
//! reach      from redis.call to the command table
//! cjson, cmsgpack, structs, bit, random, patterns    the libraries
//! ```
//!
//! What is absent on purpose: a script cannot load compiled code, open files, or run longer or larger than its host allows; nothing
//! is kept between two runs but the locals of libraries.

mod api;
mod arguments;
mod bit;
mod chunks;
mod cjson;
mod cmsgpack;
mod convert;
mod declared;
mod engine;
mod errors;
mod functions;
mod host;
mod lanes;
mod limits;
mod matcher;
mod number;
mod patterns;
mod random;
mod reach;
mod run;
mod sandbox;
mod shebang;
mod structs;
mod tokens;
pub mod twin;
mod wiring;

pub use engine::{
    Engine, EngineConfig, Invocation, MAX_CACHE_BYTES, MAX_EVAL_SCRIPTS, MAX_SCRIPT_BYTES, Origin, Outcome, Sha,
    parse_sha, sha1_hex,
};
pub use errors::ScriptError;
pub use functions::{Existing, Function, Functions, Library};
pub use host::{Host, Interrupt, LogLevel, Propagation, Protocol, Replication};
pub use shebang::ScriptFlags;
pub use wiring::scripting;
