//! The atomic steps, each beside its Lua file.

use crate::script::{Flags, INTEGERS, Repeat, Script};

const REQUEST: &str = include_str!("request.lua");
const INVENTORY: &str = include_str!("inventory.lua");

/// Repeatable only with a request id, which the caller of the step says.
pub(super) static ADD: Script =
    Script::new("atomic.add", Flags::None, Repeat::Never, &[REQUEST, include_str!("add.lua")]);
pub(super) static CHANGE: Script =
    Script::new("atomic.change", Flags::None, Repeat::Never, &[INTEGERS, include_str!("change.lua")]);
pub(super) static SCORE: Script =
    Script::new("atomic.score", Flags::None, Repeat::Never, &[INTEGERS, include_str!("score.lua")]);
pub(super) static DRAW: Script =
    Script::new("atomic.draw", Flags::None, Repeat::Safe, &[INTEGERS, include_str!("draw.lua")]);
pub(super) static CONFIRM: Script =
    Script::new("atomic.confirm", Flags::AllowOom, Repeat::Safe, &[include_str!("confirm.lua")]);
pub(super) static GIVE_BACK: Script =
    Script::new("atomic.give_back", Flags::AllowOom, Repeat::Never, &[include_str!("give_back.lua")]);
pub(super) static RESERVE: Script =
    Script::new("atomic.reserve", Flags::None, Repeat::Safe, &[INTEGERS, INVENTORY, include_str!("reserve.lua")]);
pub(super) static COMMIT: Script =
    Script::new("atomic.commit", Flags::AllowOom, Repeat::Safe, &[INTEGERS, INVENTORY, include_str!("commit.lua")]);
pub(super) static RELEASE: Script =
    Script::new("atomic.release", Flags::AllowOom, Repeat::Safe, &[INTEGERS, INVENTORY, include_str!("release.lua")]);
/// Setting a total twice is setting it once; adding to it is not.
pub(super) static SET_TOTAL: Script =
    Script::new("atomic.set_total", Flags::None, Repeat::Safe, &[INTEGERS, INVENTORY, include_str!("resize.lua")]);
pub(super) static ADD_TOTAL: Script =
    Script::new("atomic.add_total", Flags::None, Repeat::Never, &[INTEGERS, INVENTORY, include_str!("resize.lua")]);
pub(super) static LOOK: Script =
    Script::new("atomic.look", Flags::AllowOom, Repeat::Safe, &[INTEGERS, INVENTORY, include_str!("look.lua")]);
pub(super) static PERSIST: Script =
    Script::new("atomic.persist", Flags::AllowOom, Repeat::Safe, &[include_str!("persist.lua")]);
