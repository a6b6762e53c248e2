//! The atomic steps of locks, each beside its Lua file.
//!
//! A mutex and a lock that several can hold have the same steps with the same arguments, so that all else is written once.

use crate::script::{Flags, Repeat, Script};

const MOMENT: &str = include_str!("moment.lua");
const QUEUE: &str = include_str!("queue.lua");
const WAITING: &str = include_str!("waiting.lua");
const MUTEX: &str = include_str!("mutex.lua");
const PERMITS: &str = include_str!("permits.lua");

/// The steps of one sort of lock.
#[derive(Debug)]
pub(super) struct Steps {
    /// How many keys there are; the first is the state.
    pub(super) keys: usize,
    /// How many of them extending and releasing need.
    pub(super) holder_keys: usize,
    /// A caller that asks again gets the same fence, so asking twice is asking once.
    pub(super) acquire: Script,
    pub(super) extend: Script,
    pub(super) release: Script,
    pub(super) withdraw: Script,
    pub(super) force: Script,
    pub(super) info: Script,
}

/// Of locks that one can hold.
pub(super) static OF_ONE: Steps = Steps {
    keys: 3,
    holder_keys: 1,
    acquire: Script::new(
        "locks.mutex_acquire",
        Flags::None,
        Repeat::Safe,
        &[MOMENT, MUTEX, include_str!("mutex_take.lua"), QUEUE, include_str!("mutex_acquire.lua")],
    ),
    extend: Script::new(
        "locks.mutex_extend",
        Flags::AllowOom,
        Repeat::Safe,
        &[MOMENT, MUTEX, include_str!("mutex_extend.lua")],
    ),
    // The token is remembered, so a second run says the same, until another has acquired: then, that it is no longer the caller's.
    release: Script::new(
        "locks.mutex_release",
        Flags::AllowOom,
        Repeat::Safe,
        &[MUTEX, include_str!("mutex_release.lua")],
    ),
    withdraw: Script::new(
        "locks.mutex_withdraw",
        Flags::AllowOom,
        Repeat::Safe,
        &[MOMENT, MUTEX, QUEUE, include_str!("mutex_withdraw.lua")],
    ),
    force: Script::new(
        "locks.mutex_force",
        Flags::AllowOom,
        Repeat::Never,
        &[MOMENT, MUTEX, include_str!("mutex_force.lua")],
    ),
    info: Script::new(
        "locks.mutex_info",
        Flags::NoWrites,
        Repeat::Safe,
        &[MOMENT, MUTEX, WAITING, include_str!("mutex_info.lua")],
    ),
};

/// Of locks that several can hold.
pub(super) static OF_SEVERAL: Steps = Steps {
    keys: 5,
    holder_keys: 5,
    acquire: Script::new(
        "locks.permits_acquire",
        Flags::None,
        Repeat::Safe,
        &[MOMENT, PERMITS, QUEUE, include_str!("permits_acquire.lua")],
    ),
    extend: Script::new(
        "locks.permits_extend",
        Flags::AllowOom,
        Repeat::Safe,
        &[MOMENT, PERMITS, include_str!("permits_extend.lua")],
    ),
    // What was given back is not remembered, so a second run would say that there was nothing.
    release: Script::new(
        "locks.permits_release",
        Flags::AllowOom,
        Repeat::Never,
        &[MOMENT, PERMITS, include_str!("permits_release.lua")],
    ),
    withdraw: Script::new(
        "locks.permits_withdraw",
        Flags::AllowOom,
        Repeat::Safe,
        &[MOMENT, PERMITS, QUEUE, include_str!("permits_withdraw.lua")],
    ),
    force: Script::new(
        "locks.permits_force",
        Flags::AllowOom,
        Repeat::Never,
        &[MOMENT, PERMITS, include_str!("permits_force.lua")],
    ),
    info: Script::new(
        "locks.permits_info",
        Flags::NoWrites,
        Repeat::Safe,
        &[MOMENT, PERMITS, WAITING, include_str!("permits_info.lua")],
    ),
};

/// Stores a value under a fence.
pub(super) static FENCED_SET: Script =
    Script::new("locks.fenced_set", Flags::None, Repeat::Safe, &[super::FENCED, include_str!("fenced_set.lua")]);
