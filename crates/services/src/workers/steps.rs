//! The atomic steps of the registry of workers, each beside its Lua file.

use crate::script::{Flags, INTEGERS, Repeat, Script};

/// Takes little room, and none after the first time: a store that is full must not make its workers look dead.
pub(super) static ANNOUNCE: Script =
    Script::new("workers.announce", Flags::AllowOom, Repeat::Safe, &[INTEGERS, include_str!("announce.lua")]);
pub(super) static LEAVE: Script =
    Script::new("workers.leave", Flags::AllowOom, Repeat::Safe, &[include_str!("leave.lua")]);
pub(super) static LIST: Script =
    Script::new("workers.list", Flags::NoWrites, Repeat::Safe, &[INTEGERS, include_str!("list.lua")]);
