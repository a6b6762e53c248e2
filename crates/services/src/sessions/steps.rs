//! The atomic steps of sessions, each beside its Lua file.

use crate::script::{Flags, INTEGERS, Repeat, Script};

const INDEX: &str = include_str!("index.lua");
const PRUNE: &str = include_str!("prune.lua");
const SESSION: &str = include_str!("session.lua");

/// A second run finds the session of the first by its proof, which nobody else can have.
pub(super) static CREATE: Script = Script::new(
    "sessions.create",
    Flags::None,
    Repeat::Safe,
    &[INTEGERS, INDEX, PRUNE, SESSION, include_str!("create.lua")],
);
pub(super) static TOUCH: Script = Script::new(
    "sessions.touch",
    Flags::AllowOom,
    Repeat::Safe,
    &[INTEGERS, INDEX, SESSION, include_str!("touch.lua")],
);
/// A second run would overwrite what somebody else has written since the first.
pub(super) static UPDATE: Script =
    Script::new("sessions.update", Flags::None, Repeat::Never, &[INTEGERS, INDEX, SESSION, include_str!("update.lua")]);
pub(super) static APPEND: Script =
    Script::new("sessions.append", Flags::None, Repeat::Never, &[INTEGERS, INDEX, SESSION, include_str!("append.lua")]);
pub(super) static MESSAGES: Script = Script::new(
    "sessions.messages",
    Flags::NoWrites,
    Repeat::Safe,
    &[INTEGERS, INDEX, SESSION, include_str!("messages.lua")],
);
pub(super) static RESOLVE: Script = Script::new(
    "sessions.resolve",
    Flags::NoWrites,
    Repeat::Safe,
    &[INTEGERS, INDEX, SESSION, include_str!("resolve.lua")],
);
/// A second run without grace would find nobody's id.
pub(super) static ROTATE: Script = Script::new(
    "sessions.rotate",
    Flags::AllowOom,
    Repeat::Never,
    &[INTEGERS, INDEX, SESSION, include_str!("rotate.lua")],
);
/// Repeating is harmless for the state, but the answer would be "there was none".
pub(super) static DESTROY: Script = Script::new(
    "sessions.destroy",
    Flags::AllowOom,
    Repeat::Never,
    &[INTEGERS, INDEX, SESSION, include_str!("destroy.lua")],
);
/// As with [`DESTROY`].
pub(super) static REVOKE: Script = Script::new(
    "sessions.revoke",
    Flags::AllowOom,
    Repeat::Never,
    &[INTEGERS, INDEX, PRUNE, include_str!("revoke.lua")],
);
pub(super) static COUNT: Script =
    Script::new("sessions.count", Flags::AllowOom, Repeat::Safe, &[INTEGERS, INDEX, PRUNE, include_str!("count.lua")]);
/// A second run would find that the session has gone.
pub(super) static LEAVE: Script =
    Script::new("sessions.leave", Flags::AllowOom, Repeat::Never, &[include_str!("leave.lua")]);
