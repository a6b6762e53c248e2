//! The atomic steps of schedules, each beside its Lua file.

use crate::script::{Flags, INTEGERS, Repeat, Script};

const SCHEDULE: &str = include_str!("schedule.lua");

/// A second run would find another revision.
pub(super) static CHANGE: Script =
    Script::new("schedules.change", Flags::None, Repeat::Never, &[INTEGERS, SCHEDULE, include_str!("change.lua")]);
/// A second run finds no claim.
pub(super) static CONFIRM: Script =
    Script::new("schedules.confirm", Flags::AllowOom, Repeat::Safe, &[INTEGERS, SCHEDULE, include_str!("confirm.lua")]);
/// A second run would note it twice.
pub(super) static NOTE: Script =
    Script::new("schedules.note", Flags::None, Repeat::Never, &[INTEGERS, SCHEDULE, include_str!("note.lua")]);
pub(super) static DUE: Script =
    Script::new("schedules.due", Flags::NoWrites, Repeat::Safe, &[INTEGERS, include_str!("due.lua")]);
/// A second run would say that there was none.
pub(super) static REMOVE: Script =
    Script::new("schedules.remove", Flags::AllowOom, Repeat::Never, &[include_str!("remove.lua")]);
pub(super) static HINT: Script = Script::new("schedules.hint", Flags::None, Repeat::Safe, &[include_str!("hint.lua")]);
pub(super) static SETTLE: Script =
    Script::new("schedules.settle", Flags::AllowOom, Repeat::Safe, &[INTEGERS, include_str!("settle.lua")]);
