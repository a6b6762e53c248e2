//! The atomic steps of the cache, each beside its Lua file.

use crate::script::{Flags, INTEGERS, Repeat, Script};

const PARTITION: &str = include_str!("partition.lua");
const INDEX: &str = include_str!("index.lua");
const STAMPS: &str = include_str!("stamps.lua");

pub(super) static SET: Script =
    Script::new("cache.set", Flags::None, Repeat::Safe, &[INTEGERS, PARTITION, INDEX, include_str!("set.lua")]);
/// A fill consumes its lease, so a second run would report a refusal for what was stored.
pub(super) static FILL: Script =
    Script::new("cache.fill", Flags::None, Repeat::Never, &[INTEGERS, PARTITION, INDEX, include_str!("set.lua")]);
/// Repeating is harmless for the state, but the answer would be "there was none".
pub(super) static DELETE: Script = Script::new(
    "cache.delete",
    Flags::AllowOom,
    Repeat::Never,
    &[INTEGERS, PARTITION, INDEX, include_str!("delete.lua")],
);
pub(super) static TOUCH: Script =
    Script::new("cache.touch", Flags::AllowOom, Repeat::Safe, &[INTEGERS, PARTITION, INDEX, include_str!("touch.lua")]);
pub(super) static RENEW: Script =
    Script::new("cache.renew", Flags::AllowOom, Repeat::Safe, &[include_str!("renew.lua")]);
pub(super) static RELEASE: Script =
    Script::new("cache.release", Flags::AllowOom, Repeat::Safe, &[include_str!("release.lua")]);
pub(super) static TAGGED: Script = Script::new(
    "cache.tagged",
    Flags::AllowOom,
    Repeat::Safe,
    &[INTEGERS, PARTITION, INDEX, STAMPS, include_str!("tagged.lua")],
);
/// A second run finds the invalidation ended, and cannot say how many were overwritten.
pub(super) static FINISH: Script = Script::new(
    "cache.finish",
    Flags::AllowOom,
    Repeat::Never,
    &[INTEGERS, PARTITION, INDEX, include_str!("finish.lua")],
);
pub(super) static FENCE: Script = Script::new(
    "cache.fence",
    Flags::AllowOom,
    Repeat::Safe,
    &[INTEGERS, PARTITION, INDEX, STAMPS, include_str!("fence.lua")],
);
pub(super) static PURGE: Script = Script::new(
    "cache.purge",
    Flags::AllowOom,
    Repeat::Never,
    &[INTEGERS, PARTITION, INDEX, include_str!("purge.lua")],
);
pub(super) static RETIRE: Script = Script::new(
    "cache.retire",
    Flags::AllowOom,
    Repeat::Safe,
    &[INTEGERS, PARTITION, INDEX, STAMPS, include_str!("retire.lua")],
);
pub(super) static RECLAIM: Script =
    Script::new("cache.reclaim", Flags::AllowOom, Repeat::Never, &[include_str!("reclaim.lua")]);
