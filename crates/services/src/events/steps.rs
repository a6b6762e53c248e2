//! The atomic steps of event aggregation, each beside its Lua file.

use crate::script::{Flags, INTEGERS, Repeat, Script};

const CONSUMER: &str = include_str!("consumer.lua");
const BURY: &str = include_str!("bury.lua");

/// Counting twice is worse than an error; a batch in which every event has an id is repeated nevertheless.
pub(super) static RECORD: Script =
    Script::new("events.record", Flags::None, Repeat::Never, &[INTEGERS, CONSUMER, include_str!("record.lua")]);
/// A second run would find nothing to fire, and the caller would not learn of the trigger.
pub(super) static FIRE: Script =
    Script::new("events.fire", Flags::AllowOom, Repeat::Never, &[INTEGERS, CONSUMER, include_str!("fire.lua")]);
pub(super) static SCAN: Script = Script::new("events.scan", Flags::NoWrites, Repeat::Safe, &[include_str!("scan.lua")]);
pub(super) static DEFINE: Script =
    Script::new("events.define", Flags::None, Repeat::Safe, &[INTEGERS, CONSUMER, include_str!("define.lua")]);
pub(super) static STATE: Script =
    Script::new("events.state", Flags::AllowOom, Repeat::Safe, &[include_str!("state.lua")]);
pub(super) static REMOVE: Script =
    Script::new("events.remove", Flags::AllowOom, Repeat::Never, &[INTEGERS, CONSUMER, include_str!("remove.lua")]);
pub(super) static RESET: Script =
    Script::new("events.reset", Flags::AllowOom, Repeat::Never, &[INTEGERS, CONSUMER, include_str!("reset.lua")]);
pub(super) static STATUS: Script =
    Script::new("events.status", Flags::NoWrites, Repeat::Safe, &[INTEGERS, CONSUMER, include_str!("status.lua")]);
pub(super) static WINDOWS: Script =
    Script::new("events.windows", Flags::NoWrites, Repeat::Safe, &[INTEGERS, CONSUMER, include_str!("windows.lua")]);
pub(super) static POISON: Script =
    Script::new("events.poison", Flags::None, Repeat::Never, &[include_str!("poison.lua")]);
pub(super) static LEASE: Script =
    Script::new("events.lease", Flags::AllowOom, Repeat::Never, &[INTEGERS, CONSUMER, BURY, include_str!("lease.lua")]);
/// A second run answers that the trigger is settled already, or that the lease is another's.
pub(super) static SETTLE: Script = Script::new(
    "events.settle",
    Flags::AllowOom,
    Repeat::Never,
    &[INTEGERS, CONSUMER, BURY, include_str!("settle.lua")],
);
pub(super) static INSPECT: Script =
    Script::new("events.inspect", Flags::NoWrites, Repeat::Safe, &[INTEGERS, CONSUMER, include_str!("inspect.lua")]);
pub(super) static REVIVE: Script = Script::new(
    "events.revive",
    Flags::AllowOom,
    Repeat::Never,
    &[INTEGERS, CONSUMER, BURY, include_str!("revive.lua")],
);
