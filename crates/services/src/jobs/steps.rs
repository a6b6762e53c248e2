//! The atomic steps of queues, each beside its Lua file.

use crate::effects::EFFECTS;
use crate::script::{Flags, INTEGERS, Repeat, Script};

const QUEUE: &str = include_str!("queue.lua");
const GROUPS: &str = include_str!("groups.lua");
const MOVES: &str = include_str!("moves.lua");
const DUE: &str = include_str!("due.lua");

/// What a step needs that enqueues, behind [`INTEGERS`]; also one of a service that has a queue among its own keys.
pub(crate) const ENQUEUING: &str = concat!(
    include_str!("queue.lua"),
    include_str!("groups.lua"),
    include_str!("moves.lua"),
    include_str!("admit.lua")
);

/// A job that was enqueued, done and forgotten meanwhile would be enqueued again.
pub(super) static ENQUEUE: Script =
    Script::new("jobs.enqueue", Flags::None, Repeat::Never, &[INTEGERS, ENQUEUING, include_str!("enqueue.lua")]);
/// A number that was enqueued is not enqueued again.
pub(super) static ONCE: Script =
    Script::new("jobs.once", Flags::None, Repeat::Safe, &[INTEGERS, ENQUEUING, include_str!("once.lua")]);
/// A job that is completed is not completed again, and the answer is the same.
pub(super) static COMMIT: Script =
    Script::new("jobs.commit", Flags::None, Repeat::Safe, &[INTEGERS, ENQUEUING, EFFECTS, include_str!("commit.lua")]);
/// A second run leases other jobs. Without leasing it gives the same answers, see [`super::Queue::settle`].
pub(super) static WORK: Script = Script::new(
    "jobs.work",
    Flags::AllowOom,
    Repeat::Never,
    &[INTEGERS, QUEUE, GROUPS, MOVES, DUE, include_str!("work.lua")],
);
pub(super) static EXTEND: Script = Script::new(
    "jobs.extend",
    Flags::AllowOom,
    Repeat::Safe,
    &[INTEGERS, QUEUE, GROUPS, MOVES, include_str!("extend.lua")],
);
pub(super) static CANCEL: Script = Script::new(
    "jobs.cancel",
    Flags::AllowOom,
    Repeat::Safe,
    &[INTEGERS, QUEUE, GROUPS, MOVES, include_str!("cancel.lua")],
);
/// A second run would tell less than the first did.
pub(super) static SWEEP: Script = Script::new(
    "jobs.sweep",
    Flags::AllowOom,
    Repeat::Never,
    &[INTEGERS, QUEUE, GROUPS, MOVES, DUE, include_str!("sweep.lua")],
);
/// A second run would say that there was nothing to change.
pub(super) static PAUSE: Script = Script::new(
    "jobs.pause",
    Flags::AllowOom,
    Repeat::Never,
    &[INTEGERS, QUEUE, GROUPS, MOVES, include_str!("pause.lua")],
);
pub(super) static BOUNDS: Script = Script::new(
    "jobs.bounds",
    Flags::AllowOom,
    Repeat::Safe,
    &[INTEGERS, QUEUE, GROUPS, MOVES, include_str!("bounds.lua")],
);
/// A second run would find the jobs waiting.
pub(super) static REQUEUE: Script =
    Script::new("jobs.requeue", Flags::None, Repeat::Never, &[INTEGERS, ENQUEUING, include_str!("requeue.lua")]);
/// A second run removes more.
pub(super) static CLEAR: Script = Script::new(
    "jobs.clear",
    Flags::AllowOom,
    Repeat::Never,
    &[INTEGERS, QUEUE, GROUPS, MOVES, include_str!("clear.lua")],
);
pub(super) static STOP_WAITING: Script = Script::new(
    "jobs.stop_waiting",
    Flags::AllowOom,
    Repeat::Safe,
    &[INTEGERS, QUEUE, GROUPS, MOVES, include_str!("stop_waiting.lua")],
);
pub(super) static COUNTS: Script =
    Script::new("jobs.counts", Flags::NoWrites, Repeat::Safe, &[INTEGERS, QUEUE, GROUPS, include_str!("counts.lua")]);
pub(super) static JOB: Script =
    Script::new("jobs.job", Flags::NoWrites, Repeat::Safe, &[INTEGERS, QUEUE, GROUPS, include_str!("job.lua")]);
pub(super) static LIST: Script =
    Script::new("jobs.list", Flags::NoWrites, Repeat::Safe, &[INTEGERS, QUEUE, GROUPS, include_str!("list.lua")]);
pub(super) static LIMIT_GROUP: Script = Script::new(
    "jobs.limit_group",
    Flags::AllowOom,
    Repeat::Safe,
    &[INTEGERS, QUEUE, GROUPS, MOVES, include_str!("limit_group.lua")],
);
pub(super) static LIST_GROUPS: Script = Script::new(
    "jobs.list_groups",
    Flags::NoWrites,
    Repeat::Safe,
    &[INTEGERS, QUEUE, GROUPS, include_str!("list_groups.lua")],
);
pub(super) static KEEP_EVENTS: Script =
    Script::new("jobs.keep_events", Flags::AllowOom, Repeat::Safe, &[QUEUE, include_str!("keep_events.lua")]);
pub(super) static EVENTS: Script =
    Script::new("jobs.events", Flags::NoWrites, Repeat::Safe, &[QUEUE, include_str!("events.lua")]);
/// A second run appends the lines again.
pub(super) static LOG: Script =
    Script::new("jobs.log", Flags::None, Repeat::Never, &[INTEGERS, QUEUE, include_str!("log.lua")]);
pub(super) static LOGS: Script =
    Script::new("jobs.logs", Flags::NoWrites, Repeat::Safe, &[QUEUE, include_str!("logs.lua")]);
