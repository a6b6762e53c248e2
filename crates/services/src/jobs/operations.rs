//! The rows of job queues. Their inputs are in [`super::forms`], their outputs in [`super::views`].

use std::time::Duration;

use super::forms::{
    BatchInput, CancelInput, ClearInput, CommitInput, EnqueueInput, EventsInput, ExchangeInput, ExtendInput, FlowInput,
    GroupInput, GroupsInput, JobForm, JobInput, KeepEventsInput, LimitGroupInput, LimitInput, ListInput, LogInput,
    LogsInput, OutcomeForm, QueueInput, RequeueInput, SettleInput, WatchInput, bytes_or_json,
};
use super::views::{
    BatchDone, CancelDone, EnqueueDone, EventsDone, ExchangeDone, ExtendDone, FlowDone, GroupsDone, JobDone, ListDone,
    Number, SettleDone, Switched, Watched,
};
use super::watching::watch;
use super::{
    Bounds, Commit, Counts, EventWish, GroupBounds, GroupCounts, LeaseOptions, LogPage, Payload, Queue, Rate, Swept,
    Ticket, Which,
};
use crate::Services;
use crate::effects::EffectForm;
use crate::error::{Error, Result};
use crate::eviction::Eviction;
use crate::keys::Tenant;
use crate::operation::{Service, feed, operation};
use crate::outage::OutagePolicy;
use crate::ttl::Ttl;

const NAME: &str = "jobs";

/// Job queues, as the outside sees them.
#[rustfmt::skip]
pub const SERVICE: Service = Service {
    name: NAME,
    doc: "Work that is done later, at least once and not lost: queues with priorities, delays, leases, retries, dead letters and results.",
    eviction: Eviction::Kept,
    outage: &[OutagePolicy::Error],
    operations: &[
        operation!(NAME, "enqueue", Post "/jobs/{queue}/enqueue", enqueue: EnqueueInput => EnqueueDone, [200, 409, 413, 422, 503, 504],
            "Enqueues a job.",
            "With an `id`, a job of that id that has not ended is left as it is, and `existing` says where it is; so a request with an id can be repeated. 409 means that the queue is full."),
        operation!(NAME, "enqueue_many", Post "/jobs/{queue}/enqueue_many", enqueue_many: BatchInput => BatchDone, [200, 409, 413, 422, 503, 504],
            "Enqueues up to 1,000 jobs in one step.", "All or none; ids that are there already are left as they are and told."),
        operation!(NAME, "enqueue_flow", Post "/jobs/{queue}/enqueue_flow", enqueue_flow: FlowInput => FlowDone, [200, 409, 413, 422, 503, 504],
            "Enqueues a job that is blocked until others have completed.", "All or none; an id that has not ended is a conflict. A child that ends without having completed takes the parent to the dead."),
        operation!(NAME, "lease", Post "/jobs/{queue}/lease", exchange: ExchangeInput => ExchangeDone, [200, 413, 422, 503, 504],
            "Leases the next jobs, and says what became of earlier ones in the same step.",
            "Each job comes with the `token` of its lease. Until the lease ends nobody else gets it; extend it while the work lasts. With `wait_ms` the answer comes when there is work, or empty when the time is up. `settled` tells what became of `outcomes`, in their order: the job's state, or null if the lease had been lost and nothing was changed."),
        operation!(NAME, "settle", Post "/jobs/{queue}/settle", settle: SettleInput => SettleDone, [200, 413, 422, 503, 504],
            "Says what became of leased jobs.", "Can be repeated: the same outcome with the same token is answered the same way. A lost lease is null in `settled`."),
        operation!(NAME, "commit", Post "/jobs/{queue}/commit", commit: CommitInput => Switched, [200, 409, 413, 422, 503, 504],
            "Completes a job, changes data beside the queue and enqueues what follows, all or nothing.", "409 means that the lease was lost, the queue is full, or a name holds something that its effect does not fit; then nothing was changed. Can be repeated."),
        operation!(NAME, "extend", Post "/jobs/{queue}/extend", extend: ExtendInput => ExtendDone, [200, 413, 422, 503, 504],
            "Begins leases anew, and says how far a job is.", "`cancelling` means that the job is to be stopped; `lost` that another may have it."),
        operation!(NAME, "cancel", Post "/jobs/{queue}/cancel", cancel: CancelInput => CancelDone, [200, 422, 503, 504],
            "Cancels jobs.", "A job that waits is cancelled at once. A worker that is at one is told at its next `extend` (`cancelling`), and may be done before. Jobs that are not known are null."),
        operation!(NAME, "job", Get "/jobs/{queue}/jobs/{id}", job: JobInput => JobDone, [200, 404, 422, 503, 504],
            "Tells about one job: state, place in the queue, progress, what went wrong, result.", "Ended jobs are remembered for a while; their results as long as their worker said."),
        operation!(NAME, "log", Post "/jobs/{queue}/jobs/{id}/log", log: LogInput => Number, [200, 409, 413, 422, 503, 504],
            "Appends lines to the log of a job that is leased.", "`count` is how many lines there ever were. Only so many are kept; the oldest are dropped. 409 means that the lease was lost."),
        operation!(NAME, "logs", Get "/jobs/{queue}/jobs/{id}/log", logs: LogsInput => LogPage, [200, 404, 422, 503, 504],
            "Reads the log of a job.", "Lines are numbered from 0, also those that were dropped; go on at `next`. The log is there for as long as the job is remembered."),
        operation!(NAME, "list", Get "/jobs/{queue}/states/{state}", list: ListInput => ListDone, [200, 422, 503, 504],
            "Lists jobs of one state.", "Of the waiting the next first, of the delayed and active the soonest, of the ended the latest. Nothing is changed: this is also how to peek."),
        operation!(NAME, "clear", Delete "/jobs/{queue}/states/{state}", clear: ClearInput => Number, [200, 422, 503, 504],
            "Removes jobs of one state without a trace.", "All there are when the call begins, or those whose ids are given. Active jobs can only be cancelled."),
        operation!(NAME, "requeue", Post "/jobs/{queue}/requeue", requeue: RequeueInput => Number, [200, 404, 409, 413, 422, 503, 504],
            "Has dead jobs wait again as if they were new.", "All of them, those whose ids are given, or one with another payload."),
        operation!(NAME, "counts", Get "/jobs/{queue}/counts", counts: QueueInput => Counts, [200, 422, 503, 504],
            "Counts the jobs of each state.", "All of one moment."),
        operation!(NAME, "keep_events", Put "/jobs/{queue}/events", keep_events: KeepEventsInput => Switched, [200, 422, 503, 504],
            "Has the queue keep events: what becomes of its jobs.", "About as many as `max` says. Without it none, and what was kept is dropped."),
        operation!(NAME, "events", Get "/jobs/{queue}/events", events: EventsInput => EventsDone, [200, 422, 503, 504],
            "Reads events behind a number.", "Go on behind `next`. With `wait_ms` the answer comes when there is one, or empty when the time is up. `missed` counts those that are not kept any more."),
        feed!(NAME, "watch", "/jobs/{queue}/events/watch", watch: WatchInput => Watched, [200, 422, 503, 504],
            "Watches what becomes of jobs.", "Gives an `event` for each that the queue keeps (see `keep_events`), `ready` with the number of the last before the first, and a `gap` where some are not kept any more. The position of an item is the `resume` to go on behind it."),
        operation!(NAME, "pause", Post "/jobs/{queue}/pause", pause: QueueInput => Switched, [200, 422, 503, 504],
            "Has no more jobs leased.", "Those that are leased go on."),
        operation!(NAME, "resume", Post "/jobs/{queue}/resume", resume: QueueInput => Switched, [200, 422, 503, 504],
            "Has jobs leased again.", "Wakes who waits for them."),
        operation!(NAME, "limit", Put "/jobs/{queue}/limit", limit: LimitInput => Switched, [200, 422, 503, 504],
            "Bounds how many jobs are active at once and how fast they are leased, of all and of each group.", "Holds for all workers. What is absent is not bounded any more."),
        operation!(NAME, "groups", Get "/jobs/{queue}/groups", groups: GroupsInput => GroupsDone, [200, 422, 503, 504],
            "Lists groups that have jobs waiting or active.", "In the order of their names; go on behind the last name."),
        operation!(NAME, "group", Get "/jobs/{queue}/groups/{group}", group: GroupInput => GroupCounts, [200, 422, 503, 504],
            "Counts the jobs of a group.", "All of one moment. One that has none has zeros."),
        operation!(NAME, "limit_group", Put "/jobs/{queue}/groups/{group}/limit", limit_group: LimitGroupInput => Switched, [200, 422, 503, 504],
            "Bounds how many jobs of one group are active at once, and how fast they are leased.", "Whatever holds for the others; for what is absent, that holds for it too."),
        operation!(NAME, "sweep", Post "/jobs/{queue}/sweep", sweep: QueueInput => Swept, [200, 422, 503, 504],
            "Moves what is due: expired, lost and delayed jobs.", "Leasing does the same, so nobody has to call this. Up to a hundred of each; repeat it until there is nothing."),
    ],
};

fn open(services: &Services, tenant: String, queue: &str) -> Result<Queue> {
    services.jobs(&Tenant::new(tenant)?).queue(queue)
}

async fn enqueue(services: Services, input: EnqueueInput) -> Result<EnqueueDone> {
    let queue = open(&services, input.tenant, &input.queue)?;
    Ok(queue.enqueue(&input.job.read()?).await?.into())
}

async fn enqueue_many(services: Services, input: BatchInput) -> Result<BatchDone> {
    let queue = open(&services, input.tenant, &input.queue)?;
    let jobs = input.jobs.into_iter().map(JobForm::read).collect::<Result<Vec<_>>>()?;
    let jobs = queue.enqueue_many(&jobs).await?.into_iter().map(EnqueueDone::from).collect();
    Ok(BatchDone { jobs })
}

async fn enqueue_flow(services: Services, input: FlowInput) -> Result<FlowDone> {
    let queue = open(&services, input.tenant, &input.queue)?;
    let children = input.children.into_iter().map(JobForm::read).collect::<Result<Vec<_>>>()?;
    Ok(FlowDone { ids: queue.enqueue_flow(&input.parent.read()?, &children).await? })
}

async fn commit(services: Services, input: CommitInput) -> Result<Switched> {
    let commit = Commit {
        effects: input.effects.into_iter().map(EffectForm::read).collect::<Result<_>>()?,
        jobs: input.jobs.into_iter().map(JobForm::read).collect::<Result<_>>()?,
        result: bytes_or_json(input.result, input.result_base64)?,
        ttl: input.result_ttl_ms.map(Ttl::ms).transpose()?,
    };
    let ticket = Ticket { id: input.id, token: input.token };
    open(&services, input.tenant, &input.queue)?.commit(&ticket, &commit).await.map(|()| Switched { changed: true })
}

async fn limit(services: Services, input: LimitInput) -> Result<Switched> {
    let group = GroupBounds {
        active_max: input.group_active_max,
        rate: rate(input.group_rate, input.group_period_ms, input.group_burst)?,
    };
    let bounds = Bounds { active_max: input.active_max, rate: rate(input.rate, input.period_ms, input.burst)?, group };
    open(&services, input.tenant, &input.queue)?.limit(&bounds).await.map(|()| Switched { changed: true })
}

fn rate(count: Option<u32>, period_ms: Option<u64>, burst: Option<u32>) -> Result<Option<Rate>> {
    let period = Duration::from_millis(period_ms.unwrap_or(1000));
    match count {
        None if period_ms.is_some() || burst.is_some() => Err(Error::invalid("rate", "is missing")),
        count => Ok(count.map(|count| Rate { count, period, burst: burst.unwrap_or(1) })),
    }
}

async fn keep_events(services: Services, input: KeepEventsInput) -> Result<Switched> {
    let queue = open(&services, input.tenant, &input.queue)?;
    queue.keep_events(input.max).await.map(|()| Switched { changed: true })
}

async fn events(services: Services, input: EventsInput) -> Result<EventsDone> {
    let queue = open(&services, input.tenant, &input.queue)?;
    let wish = EventWish { count: input.count.unwrap_or(100), wait: Duration::from_millis(input.wait_ms) };
    Ok(queue.events_since(input.after, &wish).await?.into())
}

async fn groups(services: Services, input: GroupsInput) -> Result<GroupsDone> {
    let queue = open(&services, input.tenant, &input.queue)?;
    Ok(GroupsDone { groups: queue.groups(&input.after, input.count.unwrap_or(100)).await? })
}

async fn group(services: Services, input: GroupInput) -> Result<GroupCounts> {
    open(&services, input.tenant, &input.queue)?.group_counts(&input.group).await
}

async fn limit_group(services: Services, input: LimitGroupInput) -> Result<Switched> {
    let queue = open(&services, input.tenant, &input.queue)?;
    let rate = rate(input.rate, input.period_ms, input.burst)?;
    let bounds = GroupBounds { active_max: input.active_max, rate };
    queue.limit_group(&input.group, &bounds).await.map(|()| Switched { changed: true })
}

async fn exchange(services: Services, input: ExchangeInput) -> Result<ExchangeDone> {
    let queue = open(&services, input.tenant, &input.queue)?;
    let outcomes = input.outcomes.into_iter().map(OutcomeForm::read).collect::<Result<Vec<_>>>()?;
    let options = LeaseOptions {
        count: input.count.unwrap_or(1),
        lease: input.lease_ms.map(Duration::from_millis),
        wait: Duration::from_millis(input.wait_ms),
    };
    let exchanged = queue.exchange(&outcomes, &options).await?;
    Ok(exchanged.into())
}

async fn settle(services: Services, input: SettleInput) -> Result<SettleDone> {
    let queue = open(&services, input.tenant, &input.queue)?;
    let outcomes = input.outcomes.into_iter().map(OutcomeForm::read).collect::<Result<Vec<_>>>()?;
    Ok(SettleDone::of(&queue.settle(&outcomes).await?))
}

async fn extend(services: Services, input: ExtendInput) -> Result<ExtendDone> {
    let queue = open(&services, input.tenant, &input.queue)?;
    let lease = input.lease_ms.map(Duration::from_millis);
    let heartbeats = match (input.progress, input.jobs.as_slice()) {
        (None, tickets) => queue.extend(tickets, lease).await?,
        (Some(progress), [ticket]) => vec![queue.progress(ticket, &Payload::json(&progress)?, lease).await?],
        (Some(_), _) => return Err(Error::invalid("progress", "is of exactly one job")),
    };
    Ok(ExtendDone { heartbeats })
}

async fn cancel(services: Services, input: CancelInput) -> Result<CancelDone> {
    let states = open(&services, input.tenant, &input.queue)?.cancel(&input.ids).await?;
    Ok(CancelDone { states })
}

async fn job(services: Services, input: JobInput) -> Result<JobDone> {
    Ok(open(&services, input.tenant, &input.queue)?.job(&input.id).await?.into())
}

async fn log(services: Services, input: LogInput) -> Result<Number> {
    let ticket = Ticket { id: input.id, token: input.token };
    let count = open(&services, input.tenant, &input.queue)?.log(&ticket, &input.lines).await?;
    Ok(Number { count })
}

async fn logs(services: Services, input: LogsInput) -> Result<LogPage> {
    let queue = open(&services, input.tenant, &input.queue)?;
    queue.logs(&input.id, input.from, input.count.unwrap_or(100)).await
}

async fn list(services: Services, input: ListInput) -> Result<ListDone> {
    let queue = open(&services, input.tenant, &input.queue)?;
    let found = queue.list(input.state, input.skip, input.count.unwrap_or(100)).await?;
    Ok(ListDone { jobs: found.into_iter().map(JobDone::from).collect() })
}

async fn clear(services: Services, input: ClearInput) -> Result<Number> {
    let which = if input.ids.is_empty() { Which::All } else { Which::Ids(&input.ids) };
    let count = open(&services, input.tenant, &input.queue)?.clear(input.state, which).await?;
    Ok(Number { count })
}

async fn requeue(services: Services, input: RequeueInput) -> Result<Number> {
    let queue = open(&services, input.tenant, &input.queue)?;
    let payload = bytes_or_json(input.payload, input.payload_base64)?;
    let count = match (payload, input.ids.as_slice()) {
        (None, []) => queue.requeue(Which::All).await?,
        (None, ids) => queue.requeue(Which::Ids(ids)).await?,
        (Some(payload), [id]) => queue.requeue_edited(id, &payload).await.map(|()| 1)?,
        (Some(_), _) => return Err(Error::invalid("payload", "is of exactly one job")),
    };
    Ok(Number { count })
}

async fn counts(services: Services, input: QueueInput) -> Result<Counts> {
    open(&services, input.tenant, &input.queue)?.counts().await
}

async fn pause(services: Services, input: QueueInput) -> Result<Switched> {
    Ok(Switched { changed: open(&services, input.tenant, &input.queue)?.pause().await? })
}

async fn resume(services: Services, input: QueueInput) -> Result<Switched> {
    Ok(Switched { changed: open(&services, input.tenant, &input.queue)?.resume().await? })
}

async fn sweep(services: Services, input: QueueInput) -> Result<Swept> {
    open(&services, input.tenant, &input.queue)?.sweep().await
}
