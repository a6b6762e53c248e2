//! The rows of schedules. Their inputs are in [`super::forms`], their outputs in [`super::views`].

use super::forms::{HistoryInput, IdInput, ListInput, NextInput, PreviewInput, PutInput};
use super::views::{HistoryDone, ListDone, PutDone, RunDone, ScheduleDone, Switched, TicksDone};
use super::{NAME, Schedules};
use crate::Services;
use crate::error::Result;
use crate::eviction::Eviction;
use crate::keys::Tenant;
use crate::operation::{Service, operation};
use crate::outage::OutagePolicy;

/// Schedules, as the outside sees them.
#[rustfmt::skip]
pub const SERVICE: Service = Service {
    name: NAME,
    doc: "Jobs that are enqueued when their time comes, each time once however many processes there are: cron with time zones, every so often, once.",
    eviction: Eviction::Kept,
    outage: &[OutagePolicy::Error],
    operations: &[
        operation!(NAME, "put", Put "/schedules/ids/{id}", put: PutInput => PutDone, [200, 409, 413, 422, 503, 504],
            "Puts a schedule, new or in the place of one.",
            "When is one of `cron` (five fields, or six with seconds first; with `zone`), `every_ms` and `at_ms`. Each tick enqueues `job` into `queue`, once; the job's id is the schedule's, a colon and the tick in milliseconds. If the timing is another than before, the schedule begins anew; if not, its next tick stays what it was. An expression that can never come is 422; 409 means that there are too many schedules."),
        operation!(NAME, "get", Get "/schedules/ids/{id}", get: IdInput => ScheduleDone, [200, 404, 422, 503, 504],
            "Looks at a schedule.", "`firing_ms` and `error` tell of a tick whose job its queue does not take yet."),
        operation!(NAME, "list", Get "/schedules/ids", list: ListInput => ListDone, [200, 422, 503, 504],
            "Lists schedules by id.", "The next page is behind the last id of this one."),
        operation!(NAME, "delete", Delete "/schedules/ids/{id}", delete: IdInput => Switched, [200, 422, 503, 504],
            "Removes a schedule and its history.", "What it has enqueued stays."),
        operation!(NAME, "pause", Post "/schedules/ids/{id}/pause", pause: IdInput => Switched, [200, 404, 409, 422, 503, 504],
            "Has a schedule not tick.", "Ticks that would have come while it is paused are not late afterwards."),
        operation!(NAME, "resume", Post "/schedules/ids/{id}/resume", resume: IdInput => Switched, [200, 404, 409, 422, 503, 504],
            "Has a schedule tick again.", "It goes on with the first tick after now. One with `at_ms` that has passed meanwhile comes now."),
        operation!(NAME, "run", Post "/schedules/ids/{id}/run", run: IdInput => RunDone, [200, 404, 409, 413, 422, 503, 504],
            "Enqueues a schedule's job now, beside its ticks.", "Also of one that is paused or has ended. Each call enqueues one. 409 means that the queue is full."),
        operation!(NAME, "next", Get "/schedules/ids/{id}/next", next: NextInput => TicksDone, [200, 404, 422, 503, 504],
            "Tells the next ticks of a schedule.", "Without their jitter. Of one that is paused, those that it would have."),
        operation!(NAME, "preview", Post "/schedules/preview", preview: PreviewInput => TicksDone, [200, 422, 503, 504],
            "Tells the ticks of a timing that is not put.", "What is wrong with a timing is told here as it would be by `put`."),
        operation!(NAME, "history", Get "/schedules/ids/{id}/history", history: HistoryInput => HistoryDone, [200, 404, 422, 503, 504],
            "Lists what became of the latest ticks.", "Those that were left out, and why, are among them. The latest come first; 100 are remembered."),
    ],
};

fn open(services: &Services, tenant: String) -> Result<Schedules> {
    Ok(services.schedules(&Tenant::new(tenant)?))
}

async fn put(services: Services, input: PutInput) -> Result<PutDone> {
    let schedule = input.policy.read(input.timing, input.queue, input.job)?;
    let done = open(&services, input.tenant)?.put(&input.id, &schedule).await?;
    Ok(PutDone { created: done.created, next_ms: done.next_ms })
}

async fn get(services: Services, input: IdInput) -> Result<ScheduleDone> {
    ScheduleDone::of(open(&services, input.tenant)?.get(&input.id).await?)
}

async fn list(services: Services, input: ListInput) -> Result<ListDone> {
    let found = open(&services, input.tenant)?.list(input.after.as_deref(), input.count.unwrap_or(100)).await?;
    Ok(ListDone { schedules: found.into_iter().map(ScheduleDone::of).collect::<Result<_>>()? })
}

async fn delete(services: Services, input: IdInput) -> Result<Switched> {
    Ok(Switched { changed: open(&services, input.tenant)?.delete(&input.id).await? })
}

async fn pause(services: Services, input: IdInput) -> Result<Switched> {
    Ok(Switched { changed: open(&services, input.tenant)?.pause(&input.id).await? })
}

async fn resume(services: Services, input: IdInput) -> Result<Switched> {
    Ok(Switched { changed: open(&services, input.tenant)?.resume(&input.id).await? })
}

async fn run(services: Services, input: IdInput) -> Result<RunDone> {
    Ok(RunDone { job: open(&services, input.tenant)?.run_now(&input.id).await? })
}

async fn next(services: Services, input: NextInput) -> Result<TicksDone> {
    Ok(TicksDone::of(open(&services, input.tenant)?.next(&input.id, input.count.unwrap_or(10)).await?))
}

async fn preview(services: Services, input: PreviewInput) -> Result<TicksDone> {
    let timing = input.timing.read()?;
    let schedules = open(&services, input.tenant)?;
    Ok(TicksDone::of(schedules.preview(&timing, input.from_ms, input.count.unwrap_or(10)).await?))
}

async fn history(services: Services, input: HistoryInput) -> Result<HistoryDone> {
    let schedules = open(&services, input.tenant)?;
    Ok(HistoryDone { entries: schedules.history(&input.id, input.skip, input.count.unwrap_or(100)).await? })
}
