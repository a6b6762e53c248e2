//! The atomic steps of event aggregation, each beside its Lua file.

use crate::jobs::ENQUEUING;
use crate::script::{Flags, INTEGERS, Repeat, Script};

const CONSUMER: &str = include_str!("consumer.lua");
const PUBLISH: &str = include_str!("publish.lua");

/// Counting twice is worse than an error; a batch in which every event has an id is repeated nevertheless.
pub(super) static RECORD: Script = Script::new(
    "events.record",
    Flags::None,
    Repeat::Never,
    &[INTEGERS, CONSUMER, include_str!("record.lua"), ENQUEUING, PUBLISH],
);
/// A second run would find nothing to fire, and the caller would not learn of the trigger.
pub(super) static FIRE: Script = Script::new(
    "events.fire",
    Flags::AllowOom,
    Repeat::Never,
    &[INTEGERS, CONSUMER, include_str!("fire.lua"), ENQUEUING, PUBLISH],
);
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
/// A second run would find the triggers waiting.
pub(super) static REQUEUE: Script = Script::new(
    "events.requeue",
    Flags::AllowOom,
    Repeat::Never,
    &[INTEGERS, CONSUMER, ENQUEUING, include_str!("requeue.lua")],
);
pub(super) static INDEX: Script =
    Script::new("events.index", Flags::AllowOom, Repeat::Safe, &[INTEGERS, CONSUMER, include_str!("index.lua")]);
pub(super) static POISON: Script =
    Script::new("events.poison", Flags::None, Repeat::Never, &[include_str!("poison.lua")]);
