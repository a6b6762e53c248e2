//! The rows of events, and their inputs and outputs.

use schemars::JsonSchema;
use serde::Serialize;

use super::{
    ConsumerInfo, Definition, Event, Events, Held, Ingested, Lease, Message, Op, Recorded, Status, Target,
    TimelineEntry, Trigger, Which, WindowCounts, WindowKind,
};
use crate::Services;
use crate::error::Result;
use crate::eviction::Eviction;
use crate::keys::Tenant;
use crate::operation::{Service, inputs, operation};
use crate::outage::OutagePolicy;

const NAME: &str = "events";

/// Events, as the outside sees them.
#[rustfmt::skip]
pub const SERVICE: Service = Service {
    name: NAME,
    doc: "Counts events per consumer and fires one trigger for each threshold crossed, by events or by time; delivers triggers by webhook, list, stream or channel, or lets them be leased.",
    eviction: Eviction::Kept,
    outage: &[OutagePolicy::Error],
    operations: &[
        operation!(NAME, "define", Put "/events/{consumer}/definition", define: DefineInput => ConsumerInfo, [200, 409, 422, 503, 504],
            "Defines a consumer and starts it.",
            "At least one of `max_events` and `max_time_ms`; whichever is crossed first fires. Defining it anew keeps the open window: a threshold its events have crossed already fires at the next tick."),
        operation!(NAME, "info", Get "/events/{consumer}/info", info: ConsumerInput => ConsumerInfo, [200, 404, 422, 503, 504],
            "Returns a consumer's definition and state.", "Secrets are left out."),
        operation!(NAME, "list", Get "/events/consumers", list: ListInput => ConsumerList, [200, 422, 503, 504],
            "Lists consumers by name.", "For the next page give the last name as `after`."),
        operation!(NAME, "start", Post "/events/{consumer}/start", start: ConsumerInput => ConsumerInfo, [200, 404, 422, 503, 504],
            "Lets a consumer take events again.", "Harmless if it does."),
        operation!(NAME, "stop", Post "/events/{consumer}/stop", stop: ConsumerInput => ConsumerInfo, [200, 404, 422, 503, 504],
            "Makes a consumer refuse events.", "Its open window still closes in time, and its triggers are delivered."),
        operation!(NAME, "remove", Delete "/events/{consumer}/definition", remove: ConsumerInput => CountOutput, [200, 404, 409, 422, 503, 504],
            "Forgets a stopped consumer.", "With its window, timeline and triggers; gives the number of triggers that were waiting. A running consumer is a conflict."),
        operation!(NAME, "record", Post "/events/{consumer}/record", record: RecordInput => Recorded, [200, 404, 409, 422, 503, 504],
            "Records one event.",
            "One atomic step: counts it, and fires if it crosses a threshold. With an `id`, a redelivery is not counted again. A stopped consumer is a conflict."),
        operation!(NAME, "record_many", Post "/events/{consumer}/record_many", record_many: RecordManyInput => Recorded, [200, 404, 409, 422, 503, 504],
            "Records events in their order, all in one step.", "Fires once for each crossing; the surplus stays in the open window. At most 1000 events."),
        operation!(NAME, "ingest", Post "/events/{consumer}/debezium", ingest: IngestInput => Ingested, [200, 404, 409, 422, 503, 504],
            "Records change events in Debezium's envelope.",
            "Tombstones are recognised and not counted. What cannot be understood is reported in its place, counted and kept; the rest is recorded."),
        operation!(NAME, "poison", Get "/events/{consumer}/poison", poison: ConsumerInput => PoisonList, [200, 404, 422, 503, 504],
            "Lists the latest messages that could not be understood.", "Newest first, each after its reason."),
        operation!(NAME, "status", Get "/events/{consumer}/status", status: ConsumerInput => Status, [200, 404, 422, 503, 504],
            "Tells everything about a consumer.", "All of it at one moment."),
        operation!(NAME, "reset", Post "/events/{consumer}/reset", reset: ConsumerInput => CountOutput, [200, 404, 422, 503, 504],
            "Discards the events of the open window.", "Gives their number. Timeline, known ids and triggers stay."),
        operation!(NAME, "windows", Get "/events/{consumer}/windows", windows: WindowsInput => WindowList, [200, 404, 422, 503, 504],
            "Counts arrivals by windows of time.", "The latest window first. `complete` is false where the timeline no longer reaches back."),
        operation!(NAME, "timeline", Get "/events/{consumer}/timeline", timeline: PageInput => Timeline, [200, 404, 422, 503, 504],
            "Lists the latest events.", "Newest first."),
        operation!(NAME, "tick", Post "/events/tick", tick: TenantInput => Fired, [200, 422, 503, 504],
            "Closes the windows whose time has come.", "The server does so by itself all the time; each window is closed once, whoever calls."),
        operation!(NAME, "triggers", Get "/events/{consumer}/triggers", triggers: TriggersInput => HeldList, [200, 404, 422, 503, 504],
            "Lists triggers that wait or are dead.", "With attempts and the last error. Of those that wait first those that are being delivered, then those that can be leased, then those that pause; of the dead the latest first."),
        operation!(NAME, "lease", Post "/events/{consumer}/lease", lease: LeaseInput => Leases, [200, 404, 409, 422, 503, 504],
            "Leases triggers.",
            "Each is the caller's for `lease_ms`, at least 10; then another gets it. Settle it with `ack` or `fail` and the token. A consumer whose triggers are pushed is a conflict."),
        operation!(NAME, "ack", Post "/events/{consumer}/triggers/{trigger}/ack", ack: AckInput => Done, [200, 404, 409, 422, 503, 504],
            "Says that a leased trigger has been dealt with.", "Said again it is answered alike. A conflict if another has leased it since or it was given up, not found if it is not remembered."),
        operation!(NAME, "fail", Post "/events/{consumer}/triggers/{trigger}/fail", fail: FailInput => Failed, [200, 404, 409, 422, 503, 504],
            "Says that a leased trigger could not be dealt with.", "It comes again after a pause that doubles with each attempt; after the last attempt it is dead. A conflict if it has been dealt with, or another has leased it since."),
        operation!(NAME, "requeue", Post "/events/{consumer}/requeue", requeue: ReviveInput => CountOutput, [200, 404, 422, 503, 504],
            "Has dead triggers wait again as if never tried.", "One if `trigger` is given, else all, the oldest first, as many as there is room for; gives their number."),
        operation!(NAME, "purge", Post "/events/{consumer}/purge", purge: ReviveInput => CountOutput, [200, 404, 422, 503, 504],
            "Forgets dead triggers.", "One if `trigger` is given, else all; gives their number."),
    ],
};

inputs! {
    /// Names nothing but a tenant.
    TenantInput {}

    /// Names a consumer.
    ConsumerInput {
        /// Consumer.
        consumer: String,
    }

    /// Says what a consumer is to do.
    DefineInput {
        /// Consumer.
        consumer: String,
        /// Fires when so many events have come.
        max_events: Option<u64>,
        /// Fires so many milliseconds after the first event of a window.
        max_time_ms: Option<u64>,
        /// How long a window without `max_time_ms`, and each event of the timeline, is kept; 24 hours if absent.
        retention_ms: Option<u64>,
        /// Where triggers go; if absent they wait to be leased.
        #[serde(default)]
        target: Target,
    }

    /// Asks for a page of consumers.
    ListInput {
        /// The last name of the page before.
        after: Option<String>,
        /// Most consumers, at most 1000; 100 if absent.
        #[serde(default = "hundred")]
        limit: usize,
    }

    /// An event.
    RecordInput {
        /// Consumer.
        consumer: String,
        /// Identifies the event, so that a redelivery is not counted again.
        id: Option<String>,
        /// What kind of change it was.
        op: Option<Op>,
        /// Which row or object changed.
        key: Option<String>,
        /// When it happened at its source, milliseconds since 1970.
        source_ms: Option<u64>,
    }

    /// Events.
    RecordManyInput {
        /// Consumer.
        consumer: String,
        /// 1 to 1000 events.
        events: Vec<Event>,
    }

    /// Messages of a change topic.
    IngestInput {
        /// Consumer.
        consumer: String,
        /// 1 to 1000 messages.
        messages: Vec<Message>,
    }

    /// Asks for counts.
    WindowsInput {
        /// Consumer.
        consumer: String,
        /// How windows lie.
        #[serde(default)]
        kind: WindowKind,
        /// Width of a window in milliseconds.
        width_ms: u64,
        /// How many windows, at most 1000; 1 if absent.
        #[serde(default = "one")]
        windows: usize,
    }

    /// Asks for the latest events.
    PageInput {
        /// Consumer.
        consumer: String,
        /// Most events, at most 1000; 100 if absent.
        #[serde(default = "hundred")]
        limit: usize,
    }

    /// Asks for triggers.
    TriggersInput {
        /// Consumer.
        consumer: String,
        /// Those that wait, or those that are dead.
        #[serde(default)]
        which: Which,
        /// How many to skip.
        #[serde(default)]
        offset: usize,
        /// Most triggers, at most 1000; 100 if absent.
        #[serde(default = "hundred")]
        limit: usize,
    }

    /// Asks for triggers to deal with.
    LeaseInput {
        /// Consumer.
        consumer: String,
        /// Most triggers, at most 1000; 1 if absent.
        #[serde(default = "one")]
        limit: usize,
        /// How long they are the caller's, in milliseconds, 10 to a day; a minute if absent.
        #[serde(default = "minute")]
        lease_ms: u64,
    }

    /// Settles a lease.
    AckInput {
        /// Consumer.
        consumer: String,
        /// The trigger's id.
        trigger: String,
        /// The lease's token.
        token: String,
    }

    /// Gives a lease up.
    FailInput {
        /// Consumer.
        consumer: String,
        /// The trigger's id.
        trigger: String,
        /// The lease's token.
        token: String,
        /// What went wrong.
        #[serde(default)]
        error: String,
        /// Pause before the next attempt in milliseconds; if absent it doubles with each attempt.
        pause_ms: Option<u64>,
    }

    /// Names dead triggers.
    ReviveInput {
        /// Consumer.
        consumer: String,
        /// The trigger's id; all dead triggers if absent.
        trigger: Option<String>,
    }
}

macro_rules! outputs {
    ($($(#[$doc:meta])* $name:ident { $(#[$field_doc:meta])* $field:ident : $type:ty })*) => {$(
        $(#[$doc])*
        #[derive(Debug, Serialize, JsonSchema)]
        pub(super) struct $name {
            $(#[$field_doc])*
            $field: $type,
        }
    )*};
}

outputs! {
    /// A number of things.
    CountOutput {
        /// How many.
        count: u64
    }

    /// Says that it was done.
    Done {
        /// Always true.
        done: bool
    }

    /// A page of consumers.
    ConsumerList {
        /// Consumers by name.
        consumers: Vec<ConsumerInfo>
    }

    /// Messages that could not be understood.
    PoisonList {
        /// Each as its reason, a newline, and the message.
        messages: Vec<String>
    }

    /// Counts by windows.
    WindowList {
        /// The latest first.
        windows: Vec<WindowCounts>
    }

    /// The latest events.
    Timeline {
        /// Newest first.
        events: Vec<TimelineEntry>
    }

    /// Triggers that a tick fired.
    Fired {
        /// Those this call fired; not those of others at the same time.
        triggers: Vec<Trigger>
    }

    /// A page of triggers.
    HeldList {
        /// In the order of their places.
        triggers: Vec<Held>
    }

    /// Leased triggers.
    Leases {
        /// Each with its token.
        leases: Vec<Lease>
    }

    /// What became of a failed attempt.
    Failed {
        /// Whether it was the last one.
        dead: bool
    }
}

fn events(services: &Services, tenant: String) -> Result<Events> {
    Ok(services.events(&Tenant::new(tenant)?))
}

async fn define(services: Services, input: DefineInput) -> Result<ConsumerInfo> {
    let events = events(&services, input.tenant)?;
    let DefineInput { consumer, max_events, max_time_ms, retention_ms, target, .. } = input;
    events.define(&consumer, &Definition { max_events, max_time_ms, retention_ms, target }).await
}

async fn info(services: Services, input: ConsumerInput) -> Result<ConsumerInfo> {
    events(&services, input.tenant)?.info(&input.consumer).await
}

async fn list(services: Services, input: ListInput) -> Result<ConsumerList> {
    let consumers = events(&services, input.tenant)?.list(input.after.as_deref(), input.limit).await?;
    Ok(ConsumerList { consumers })
}

async fn start(services: Services, input: ConsumerInput) -> Result<ConsumerInfo> {
    events(&services, input.tenant)?.start(&input.consumer).await
}

async fn stop(services: Services, input: ConsumerInput) -> Result<ConsumerInfo> {
    events(&services, input.tenant)?.stop(&input.consumer).await
}

async fn remove(services: Services, input: ConsumerInput) -> Result<CountOutput> {
    Ok(CountOutput { count: events(&services, input.tenant)?.remove(&input.consumer).await? })
}

async fn record(services: Services, input: RecordInput) -> Result<Recorded> {
    let events = events(&services, input.tenant)?;
    let RecordInput { consumer, id, op, key, source_ms, .. } = input;
    events.record(&consumer, &Event { id, op, key, source_ms }).await
}

async fn record_many(services: Services, input: RecordManyInput) -> Result<Recorded> {
    events(&services, input.tenant)?.record_many(&input.consumer, &input.events).await
}

async fn ingest(services: Services, input: IngestInput) -> Result<Ingested> {
    events(&services, input.tenant)?.ingest(&input.consumer, &input.messages).await
}

async fn poison(services: Services, input: ConsumerInput) -> Result<PoisonList> {
    Ok(PoisonList { messages: events(&services, input.tenant)?.poison(&input.consumer).await? })
}

async fn status(services: Services, input: ConsumerInput) -> Result<Status> {
    events(&services, input.tenant)?.status(&input.consumer).await
}

async fn reset(services: Services, input: ConsumerInput) -> Result<CountOutput> {
    Ok(CountOutput { count: events(&services, input.tenant)?.reset(&input.consumer).await? })
}

async fn windows(services: Services, input: WindowsInput) -> Result<WindowList> {
    let events = events(&services, input.tenant)?;
    Ok(WindowList { windows: events.windows(&input.consumer, input.kind, input.width_ms, input.windows).await? })
}

async fn timeline(services: Services, input: PageInput) -> Result<Timeline> {
    Ok(Timeline { events: events(&services, input.tenant)?.timeline(&input.consumer, input.limit).await? })
}

async fn tick(services: Services, input: TenantInput) -> Result<Fired> {
    Ok(Fired { triggers: events(&services, input.tenant)?.tick().await? })
}

async fn triggers(services: Services, input: TriggersInput) -> Result<HeldList> {
    let events = events(&services, input.tenant)?;
    Ok(HeldList { triggers: events.triggers(&input.consumer, input.which, input.offset, input.limit).await? })
}

async fn lease(services: Services, input: LeaseInput) -> Result<Leases> {
    Ok(Leases { leases: events(&services, input.tenant)?.lease(&input.consumer, input.limit, input.lease_ms).await? })
}

async fn ack(services: Services, input: AckInput) -> Result<Done> {
    events(&services, input.tenant)?.ack(&input.consumer, &input.trigger, &input.token).await?;
    Ok(Done { done: true })
}

async fn fail(services: Services, input: FailInput) -> Result<Failed> {
    let lease = (input.trigger.as_str(), input.token.as_str());
    let dead = events(&services, input.tenant)?.fail(&input.consumer, lease, &input.error, input.pause_ms).await?;
    Ok(Failed { dead })
}

async fn requeue(services: Services, input: ReviveInput) -> Result<CountOutput> {
    Ok(CountOutput {
        count: events(&services, input.tenant)?.requeue(&input.consumer, input.trigger.as_deref()).await?,
    })
}

async fn purge(services: Services, input: ReviveInput) -> Result<CountOutput> {
    Ok(CountOutput { count: events(&services, input.tenant)?.purge(&input.consumer, input.trigger.as_deref()).await? })
}

fn one() -> usize {
    1
}

fn hundred() -> usize {
    100
}

fn minute() -> u64 {
    60_000
}
