//! The atomic steps of streams, each beside its Lua file.

use crate::effects::EFFECTS;
use crate::script::{Flags, INTEGERS, Repeat, Script};

const STREAM: &str = include_str!("stream.lua");
const RETAIN: &str = include_str!("retain.lua");
const GROUP: &str = include_str!("group.lua");

/// Events without ids of their own would be added twice; a call in which every event has one is repeated nevertheless.
pub(super) static PUBLISH: Script = Script::new(
    "streams.publish",
    Flags::None,
    Repeat::Never,
    &[INTEGERS, STREAM, RETAIN, EFFECTS, include_str!("publish.lua")],
);
pub(super) static CONFIGURE: Script =
    Script::new("streams.configure", Flags::AllowOom, Repeat::Safe, &[include_str!("configure.lua")]);
/// A second run tells of fewer.
pub(super) static TRIM: Script =
    Script::new("streams.trim", Flags::AllowOom, Repeat::Never, &[INTEGERS, STREAM, RETAIN, include_str!("trim.lua")]);
pub(super) static INFO: Script =
    Script::new("streams.info", Flags::NoWrites, Repeat::Safe, &[include_str!("info.lua")]);
/// A second run would say that the group was there.
pub(super) static CREATE: Script =
    Script::new("streams.create", Flags::None, Repeat::Never, &[INTEGERS, STREAM, GROUP, include_str!("create.lua")]);
/// A second run would say that there is no such group.
pub(super) static DELETE: Script = Script::new(
    "streams.delete",
    Flags::AllowOom,
    Repeat::Never,
    &[INTEGERS, STREAM, GROUP, include_str!("delete.lua")],
);
pub(super) static STATUS: Script = Script::new(
    "streams.status",
    Flags::NoWrites,
    Repeat::Safe,
    &[INTEGERS, STREAM, GROUP, include_str!("status.lua")],
);
pub(super) static COUNT: Script =
    Script::new("streams.count", Flags::NoWrites, Repeat::Safe, &[include_str!("count.lua")]);
/// A second run leases other entries.
pub(super) static TAKE: Script =
    Script::new("streams.take", Flags::AllowOom, Repeat::Never, &[INTEGERS, STREAM, GROUP, include_str!("take.lua")]);
/// A second run would find the leases ended.
pub(super) static SETTLE: Script = Script::new(
    "streams.settle",
    Flags::AllowOom,
    Repeat::Never,
    &[INTEGERS, STREAM, GROUP, include_str!("settle.lua")],
);
pub(super) static RENEW: Script =
    Script::new("streams.renew", Flags::AllowOom, Repeat::Safe, &[INTEGERS, STREAM, GROUP, include_str!("renew.lua")]);
pub(super) static BEHIND: Script =
    Script::new("streams.behind", Flags::AllowOom, Repeat::Safe, &[INTEGERS, STREAM, include_str!("behind.lua")]);
pub(super) static LATEST: Script =
    Script::new("streams.latest", Flags::NoWrites, Repeat::Safe, &[INTEGERS, STREAM, include_str!("latest.lua")]);
pub(super) static LEAVE: Script =
    Script::new("streams.leave", Flags::AllowOom, Repeat::Safe, &[INTEGERS, STREAM, include_str!("leave.lua")]);
/// A second run publishes others.
pub(super) static REDRIVE: Script = Script::new(
    "streams.redrive",
    Flags::None,
    Repeat::Never,
    &[INTEGERS, STREAM, GROUP, RETAIN, include_str!("redrive.lua")],
);
