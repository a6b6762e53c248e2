//! The rows of streams. Their inputs are in [`super::forms`], their outputs in [`super::views`].

use std::time::Duration;

use super::forms::{
    BatchInput, ConfigureInput, CreateInput, DeadInput, DeleteInput, EventForm, GroupInput, OutcomeForm, PublishInput,
    PurgeInput, ReadInput, RedriveInput, RenewInput, SettleInput, StreamInput, TakeInput, bytes_of,
};
use super::views::{
    BatchDone, CreateDone, DeadDone, GroupsDone, Number, ReadDone, RenewDone, SettleDone, Switched, TakeDone,
};
use super::{Deleted, Force, Group, GroupStatus, Letters, Limits, Published, Stream, StreamInfo, TakeOptions};
use crate::Services;
use crate::effects::EffectForm;
use crate::error::{Error, Result};
use crate::eviction::Eviction;
use crate::keys::Tenant;
use crate::operation::{Service, operation};
use crate::outage::OutagePolicy;

const NAME: &str = "streams";

/// Streams, as the outside sees them.
#[rustfmt::skip]
pub const SERVICE: Service = Service {
    name: NAME,
    doc: "Events (CloudEvents 1.0) that are kept in order and handled by groups of consumers, at least once and not lost: leases, retries, dead letters, replay, lag.",
    eviction: Eviction::Kept,
    outage: &[OutagePolicy::Error],
    operations: &[
        operation!(NAME, "publish", Post "/streams/{stream}/publish", publish: PublishInput => Published, [200, 409, 413, 422, 503, 504],
            "Publishes an event.",
            "With an `id`, an event of that source and id that was published within ten minutes is not published again: `duplicate` says so, and `entry` is that of the first; so a request with an id can be repeated. 409 means that the stream is full."),
        operation!(NAME, "publish_many", Post "/streams/{stream}/publish_many", publish_many: BatchInput => BatchDone, [200, 409, 413, 422, 503, 504],
            "Publishes up to 1,000 events, and changes data beside the stream, in one step.",
            "All or nothing. With `effects`, a call whose events are all there already was made before and changes nothing. 409 means that the stream is full, that some of the events are there and some not, or that a name holds something its effect does not fit; then nothing was changed."),
        operation!(NAME, "configure", Put "/streams/{stream}/limits", configure: ConfigureInput => Switched, [200, 422, 503, 504],
            "Says what a stream keeps.", "Holds for whoever publishes. No entry is dropped that a live group has pending or has not read."),
        operation!(NAME, "trim", Post "/streams/{stream}/trim", trim: StreamInput => Number, [200, 422, 503, 504],
            "Drops what the limits want dropped and nobody needs.", "Publishing does the same, so this is for streams that nobody publishes to."),
        operation!(NAME, "info", Get "/streams/{stream}", info: StreamInput => StreamInfo, [200, 422, 503, 504],
            "Tells about a stream: entries, bytes, totals, groups.", "All of one moment."),
        operation!(NAME, "read", Get "/streams/{stream}/entries", read: ReadInput => ReadDone, [200, 422, 503, 504],
            "Reads entries of a range, from an entry or a time on, and disturbs no group.", "`next` is the `from` of the next page. With `types` or `keys` a page may have fewer entries than were looked at, or none."),
        operation!(NAME, "groups", Get "/streams/{stream}/groups", groups: StreamInput => GroupsDone, [200, 422, 503, 504],
            "Lists the groups of a stream with lag, pending entries and consumers.", "Each as it was at one moment. Groups that others made with XGROUP are named by `info` and listed once they have been created here too."),
        operation!(NAME, "create_group", Put "/streams/{stream}/groups/{group}", create_group: CreateInput => CreateDone, [200, 409, 422, 503, 504],
            "Makes a group of consumers.", "Without `from` or `from_ms` it begins with what is published from now on. One that is there stays as it is."),
        operation!(NAME, "replay", Post "/streams/{stream}/groups/{group}/replay", replay: CreateInput => CreateDone, [200, 409, 422, 503, 504],
            "Makes a group that reads a part of the stream again, beside all others.", "Without `to` or `to_ms` it ends with what is the last entry now. `is_complete` of the group says when it is done. 409 if the group is there already."),
        operation!(NAME, "group", Get "/streams/{stream}/groups/{group}", group: GroupInput => GroupStatus, [200, 404, 422, 503, 504],
            "Tells about a group: exact lag, pending entries, dead letters, consumers, totals.", "Lag is the signal for more consumers."),
        operation!(NAME, "delete_group", Delete "/streams/{stream}/groups/{group}", delete_group: DeleteInput => Deleted, [200, 404, 409, 422, 503, 504],
            "Deletes a group.", "409 if it has pending entries or dead letters, unless `force` is true. Consumers at work are told at their next step."),
        operation!(NAME, "take", Post "/streams/{stream}/groups/{group}/take", take: TakeInput => TakeDone, [200, 404, 422, 503, 504],
            "Takes the next entries of a group.",
            "Each comes with the `token` of its lease. Until the lease ends nobody else of the group gets it; renew it while the work lasts. With `wait_ms` the answer comes when there are entries, or empty when the time is up.").waiting(),
        operation!(NAME, "settle", Post "/streams/{stream}/groups/{group}/settle", settle: SettleInput => SettleDone, [200, 422, 503, 504],
            "Says what became of taken entries.", "`done` acknowledges. `lost` in `settled` means that the lease had been lost and nothing was changed."),
        operation!(NAME, "renew", Post "/streams/{stream}/groups/{group}/renew", renew: RenewInput => RenewDone, [200, 422, 503, 504],
            "Begins leases anew.", "False in `renewed` means that another may have the entry."),
        operation!(NAME, "dead", Get "/streams/{stream}/groups/{group}/dead", dead: DeadInput => DeadDone, [200, 422, 503, 504],
            "Lists dead letters of a group, oldest first.", "Each with what was published, cause, attempts and the entry it was."),
        operation!(NAME, "redrive", Post "/streams/{stream}/groups/{group}/redrive", redrive: RedriveInput => Number, [200, 404, 409, 413, 422, 503, 504],
            "Publishes dead letters again, for their group only.", "All of them, those whose ids are given, or one with other data."),
        operation!(NAME, "purge", Delete "/streams/{stream}/groups/{group}/dead", purge: PurgeInput => Number, [200, 422, 503, 504],
            "Removes dead letters without a trace.", "All there are when the call begins, or those whose ids are given."),
    ],
};

fn open(services: &Services, tenant: String, stream: &str) -> Result<Stream> {
    services.streams(&Tenant::new(tenant)?).stream(stream)
}

fn open_group(services: &Services, tenant: String, stream: &str, group: &str) -> Result<Group> {
    open(services, tenant, stream)?.group(group)
}

async fn publish(services: Services, input: PublishInput) -> Result<Published> {
    open(&services, input.tenant, &input.stream)?.publish(&input.event.read()?).await
}

async fn publish_many(services: Services, input: BatchInput) -> Result<BatchDone> {
    let events = input.events.into_iter().map(EventForm::read).collect::<Result<Vec<_>>>()?;
    let effects = input.effects.into_iter().map(EffectForm::read).collect::<Result<Vec<_>>>()?;
    let events = open(&services, input.tenant, &input.stream)?.publish_with(&events, &effects).await?;
    Ok(BatchDone { events })
}

async fn configure(services: Services, input: ConfigureInput) -> Result<Switched> {
    let limits = Limits {
        length_max: input.length_max,
        bytes_max: input.bytes_max,
        age_max: input.age_ms.map(Duration::from_millis),
        full: input.full,
        group_idle: input.group_idle_ms.map(Duration::from_millis),
    };
    open(&services, input.tenant, &input.stream)?.configure(&limits).await.map(|()| Switched { changed: true })
}

async fn trim(services: Services, input: StreamInput) -> Result<Number> {
    Ok(Number { count: open(&services, input.tenant, &input.stream)?.trim().await? })
}

async fn info(services: Services, input: StreamInput) -> Result<StreamInfo> {
    open(&services, input.tenant, &input.stream)?.info().await
}

async fn read(services: Services, input: ReadInput) -> Result<ReadDone> {
    let (range, count) = (input.range()?, input.count.unwrap_or(100));
    Ok(open(&services, input.tenant, &input.stream)?.read(&range, count).await?.into())
}

async fn groups(services: Services, input: StreamInput) -> Result<GroupsDone> {
    let stream = open(&services, input.tenant, &input.stream)?;
    let mut groups = Vec::new();
    for name in stream.info().await?.groups.into_iter().take(super::MAX_GROUPS) {
        match stream.group(&name)?.status().await {
            Ok(status) => groups.push(status),
            // Made by others, or deleted meanwhile.
            Err(Error::NotFound(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(GroupsDone { groups })
}

async fn create_group(services: Services, input: CreateInput) -> Result<CreateDone> {
    let group = open_group(&services, input.tenant, &input.stream, &input.group)?;
    Ok(CreateDone { created: group.create(&input.options.read()?).await? })
}

async fn replay(services: Services, input: CreateInput) -> Result<CreateDone> {
    let group = open_group(&services, input.tenant, &input.stream, &input.group)?;
    group.replay(&input.options.read()?).await.map(|()| CreateDone { created: super::Created::New })
}

async fn group(services: Services, input: GroupInput) -> Result<GroupStatus> {
    open_group(&services, input.tenant, &input.stream, &input.group)?.status().await
}

async fn delete_group(services: Services, input: DeleteInput) -> Result<Deleted> {
    let force = if input.force { Force::Yes } else { Force::No };
    open_group(&services, input.tenant, &input.stream, &input.group)?.delete(force).await
}

async fn take(services: Services, input: TakeInput) -> Result<TakeDone> {
    let options = TakeOptions {
        count: input.count.unwrap_or(1),
        lease: input.lease_ms.map(Duration::from_millis),
        wait: Duration::from_millis(input.wait_ms),
        ..TakeOptions::new(input.consumer)
    };
    Ok(open_group(&services, input.tenant, &input.stream, &input.group)?.take(&options).await?.into())
}

async fn settle(services: Services, input: SettleInput) -> Result<SettleDone> {
    let outcomes: Vec<_> = input.outcomes.into_iter().map(OutcomeForm::read).collect();
    let settled = open_group(&services, input.tenant, &input.stream, &input.group)?.settle(&outcomes).await?;
    Ok(SettleDone { settled })
}

async fn renew(services: Services, input: RenewInput) -> Result<RenewDone> {
    let group = open_group(&services, input.tenant, &input.stream, &input.group)?;
    Ok(RenewDone { renewed: group.renew(&input.tickets, input.lease_ms.map(Duration::from_millis)).await? })
}

async fn dead(services: Services, input: DeadInput) -> Result<DeadDone> {
    let group = open_group(&services, input.tenant, &input.stream, &input.group)?;
    Ok(group.dead(input.behind.unwrap_or(super::EntryId::ZERO), input.count.unwrap_or(100)).await?.into())
}

async fn redrive(services: Services, input: RedriveInput) -> Result<Number> {
    let group = open_group(&services, input.tenant, &input.stream, &input.group)?;
    let count = match (bytes_of(input.data, input.data_base64)?, input.ids.as_slice()) {
        (None, []) => group.redrive(Letters::All).await?,
        (None, ids) => group.redrive(Letters::Ids(ids)).await?,
        (Some(data), [id]) => group.redrive_edited(*id, &data).await.map(|()| 1)?,
        (Some(_), _) => return Err(Error::invalid("data", "is of exactly one dead letter")),
    };
    Ok(Number { count })
}

async fn purge(services: Services, input: PurgeInput) -> Result<Number> {
    let group = open_group(&services, input.tenant, &input.stream, &input.group)?;
    let which = if input.ids.is_empty() { Letters::All } else { Letters::Ids(&input.ids) };
    Ok(Number { count: group.purge(which).await? })
}
