//! Tests of streams: what is published is there once, unaltered, in order, and for whoever reads.

use std::collections::BTreeMap;
use std::time::Duration;

use redpoll_resp::Value;
use redpoll_services::streams::{
    Effect, EntryId, Event, Group, GroupOptions, Limits, Range, Start, Stream, StreamSettings, TakeOptions,
};
use redpoll_services::{Command, Error, Services, Settings, Tenant};
use serde_json::json;

use crate::support::{Place, tenant};

/// Longest wait for entries in a test.
const PATIENCE: Duration = Duration::from_secs(20);

/// A lease that ends soon.
pub(crate) const BRIEF: Duration = Duration::from_millis(60);

/// A stream, and a way around it.
pub(crate) struct Site {
    pub(crate) services: Services,
    pub(crate) tenant: Tenant,
    pub(crate) stream: Stream,
}

pub(crate) async fn site(place: &Place, streams: StreamSettings) -> Site {
    let services = place.services_with(Settings { streams, ..Settings::default() }).await;
    let tenant = tenant();
    Site { stream: services.streams(&tenant).stream("orders").unwrap(), services, tenant }
}

pub(crate) async fn stream(place: &Place) -> Stream {
    site(place, StreamSettings::default()).await.stream
}

impl Site {
    /// Sends a command about the native stream, as a stranger would.
    pub(crate) async fn native(
        &self,
        name: &'static str,
        before: &[&str],
        after: &[&str],
    ) -> redpoll_services::Result<Value> {
        let command = before.iter().fold(Command::new(name), |command, arg| command.arg(*arg));
        self.services
            .backend()
            .call(after.iter().fold(command.key(self.stream.key()), |command, arg| command.arg(*arg)))
            .await
    }

    /// Returns the name of a key of the stream.
    pub(crate) fn key(&self, kind: &str) -> String {
        format!("rp:kept:{{{}:streams:orders}}:{kind}", self.tenant.name())
    }

    /// Takes away all keys of the stream and a group at once, as FLUSHALL does; other tests work on the same store.
    pub(crate) async fn empty(&self, group: &str) {
        let mut command = Command::new("DEL");
        for kind in ["s", "m", "g", "w", "i", "t"] {
            command = command.key(self.key(kind));
        }
        for kind in ["h", "e", "l", "k", "d"] {
            command = command.key(self.key(&format!("{kind}:{group}")));
        }
        self.services.backend().call(command).await.unwrap();
    }

    /// Counts who waits for entries.
    pub(crate) async fn waiters(&self) -> i64 {
        let reply = self.services.backend().call(Command::new("ZCARD").key(self.key("w"))).await.unwrap();
        reply.as_i64().unwrap()
    }

    /// Adds an entry of the native stream, as a stranger would.
    pub(crate) async fn xadd(&self, id: &str, fields: &[&str]) -> EntryId {
        let reply = self.native("XADD", &[], &[&[id], fields].concat()).await.unwrap();
        reply.as_str().unwrap().parse().unwrap()
    }
}

/// A stream and its group as they are made by hand.
pub(crate) struct HandMade {
    services: Services,
    key: String,
    group: &'static str,
}

impl HandMade {
    pub(crate) async fn new(services: &Services, group: &'static str) -> Self {
        let made = Self { services: services.clone(), key: tenant().name().to_owned(), group };
        made.call(&["XGROUP", "CREATE"], &[group, "$", "MKSTREAM"]).await;
        made
    }

    async fn call(&self, before: &[&'static str], after: &[&str]) -> Value {
        let command = before[1..].iter().fold(Command::new(before[0]), Command::arg);
        let command = after.iter().fold(command.key(&self.key), Command::arg);
        self.services.backend().call(command).await.unwrap()
    }

    pub(crate) async fn add(&self, options: &[&str]) -> String {
        self.call(&["XADD"], &[options, &["*", "a", "1"]].concat()).await.as_str().unwrap().to_owned()
    }

    /// Reads what is new as a consumer, and returns how many entries that were.
    pub(crate) async fn read(&self, consumer: &str, options: &[&str]) -> usize {
        let command = Command::new("XREADGROUP").arg("GROUP").arg(self.group).arg(consumer);
        let command = options.iter().fold(command, Command::arg).arg("STREAMS");
        let reply = self.services.backend().call(command.key(&self.key).arg(">")).await.unwrap();
        let entries = match &reply {
            Value::Map(pairs) => pairs.first().map(|(_, entries)| entries),
            other => other.as_array().and_then(|streams| streams.first()?.as_array()?.get(1)),
        };
        entries.map_or(0, |entries| entries.as_array().unwrap().len())
    }

    pub(crate) async fn pending(&self) -> i64 {
        self.call(&["XPENDING"], &[self.group]).await.as_array().unwrap()[0].as_i64().unwrap()
    }

    pub(crate) async fn is_there(&self, id: &str) -> bool {
        !self.call(&["XRANGE"], &[id, id]).await.as_array().unwrap().is_empty()
    }
}

/// An event whose data is its name.
pub(crate) fn event(name: &str) -> Event {
    Event { data: Some(name.as_bytes().to_vec()), ..Event::new("/test", "test.happened") }
}

/// An event of a key.
pub(crate) fn keyed(key: &str, name: &str) -> Event {
    Event { key: Some(key.to_owned()), ..event(name) }
}

pub(crate) fn with_id(id: &str) -> Event {
    Event { id: Some(id.to_owned()), ..event(id) }
}

pub(crate) fn name_of(event: &Event) -> String {
    String::from_utf8(event.data.clone().unwrap()).unwrap()
}

pub(crate) async fn publish(stream: &Stream, names: &[&str]) -> Vec<EntryId> {
    let events: Vec<Event> = names.iter().map(|name| event(name)).collect();
    stream.publish_many(&events).await.unwrap().into_iter().map(|one| one.entry).collect()
}

/// Makes a group that begins with the oldest entry.
pub(crate) async fn group(stream: &Stream, name: &str) -> Group {
    group_with(stream, name, GroupOptions::default()).await
}

pub(crate) async fn group_with(stream: &Stream, name: &str, options: GroupOptions) -> Group {
    let group = stream.group(name).unwrap();
    group.create(&GroupOptions { start: Start::Beginning, ..options }).await.unwrap();
    group
}

pub(crate) fn up_to(count: usize) -> TakeOptions {
    TakeOptions { count, ..TakeOptions::new("c") }
}

pub(crate) fn briefly(count: usize) -> TakeOptions {
    TakeOptions { lease: Some(BRIEF), ..up_to(count) }
}

pub(crate) fn patiently(count: usize) -> TakeOptions {
    TakeOptions { wait: PATIENCE, ..up_to(count) }
}

async fn names(stream: &Stream, range: &Range) -> Vec<String> {
    let page = stream.read(range, 100).await.unwrap();
    page.entries.iter().map(|entry| name_of(entry.event.as_ref().unwrap())).collect()
}

pub(crate) async fn events_come_back_unaltered(place: Place) {
    let stream = stream(&place).await;
    let full = Event {
        id: Some("e:1".to_owned()),
        subject: Some("ünïcode \u{1F600} {}%".to_owned()),
        time: Some("2026-11-22T11:30:00Z".to_owned()),
        content_type: Some("application/octet-stream".to_owned()),
        schema: Some("https://example.com/schema".to_owned()),
        key: Some("k".to_owned()),
        traceparent: Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".to_owned()),
        extensions: BTreeMap::from([("tenantid".to_owned(), "a b".to_owned())]),
        data: Some((0..=255).cycle().take(100_000).collect()),
        ..Event::new("/shop?a=b", "order.paid")
    };
    let json = Event {
        id: Some("e:2".to_owned()),
        ..Event::json("/shop", "order.paid", &json!({"n": 1.0, "big": 9007199254740993_u64, "null": null})).unwrap()
    };
    let empty = Event { id: Some("e:3".to_owned()), data: Some(Vec::new()), ..Event::new("s", "t") };
    let none = Event { id: Some("e:4".to_owned()), ..Event::new("s", "t") };
    let all = [full, json, empty, none];
    let published = stream.publish_many(&all).await.unwrap();
    let page = stream.read(&Range::default(), 10).await.unwrap();
    let group = group(&stream, "g").await;
    let taken = group.take(&up_to(10)).await.unwrap().deliveries;
    for (index, event) in all.iter().enumerate() {
        assert_eq!(page.entries[index].event.as_ref(), Ok(event));
        assert_eq!(page.entries[index].sequence, Some(index as u64 + 1));
        assert_eq!((&taken[index].event, taken[index].ticket.entry), (event, published[index].entry));
        assert_eq!((taken[index].attempt(), published[index].duplicate), (1, false));
    }
    assert!(published.is_sorted_by_key(|one| one.entry));
    let unnamed = stream.publish(&event("x")).await.unwrap();
    assert!(!unnamed.id.is_empty());
}

pub(crate) async fn an_event_is_published_once(place: Place) {
    let settings = StreamSettings { dedupe: Duration::from_millis(1500), ..StreamSettings::default() };
    let stream = site(&place, settings).await.stream;
    let first = stream.publish(&with_id("a")).await.unwrap();
    let again = stream.publish(&with_id("a")).await.unwrap();
    assert!(again.duplicate && !first.duplicate && again.entry == first.entry);
    // Another source is another event; so is one without an id of its own.
    let other = Event { source: "/else".to_owned(), ..with_id("a") };
    assert!(!stream.publish(&other).await.unwrap().duplicate);
    let batch = stream.publish_many(&[with_id("b"), with_id("a"), with_id("b"), event("c"), event("c")]).await.unwrap();
    let duplicates: Vec<bool> = batch.iter().map(|one| one.duplicate).collect();
    assert_eq!(duplicates, [false, true, true, false, false]);
    assert_eq!((batch[1].entry, batch[2].entry), (first.entry, batch[0].entry));
    let info = stream.info().await.unwrap();
    assert_eq!((info.length, info.published_total, info.duplicates_total), (5, 5, 3));
    // The window ends for each id when it was published, not when it was asked for.
    crate::support::eventually("the id is forgotten", || async {
        !stream.publish(&with_id("a")).await.unwrap().duplicate
    })
    .await;
    // Many producers of one id.
    let stream = stream_of(&place).await;
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..32 {
        let stream = stream.clone();
        tasks.spawn(async move { stream.publish(&with_id("a")).await.unwrap() });
    }
    let all = tasks.join_all().await;
    assert_eq!(all.iter().filter(|one| !one.duplicate).count(), 1);
    assert!(all.iter().all(|one| one.entry == all[0].entry));
    // What is remembered is bounded.
    let few = StreamSettings { dedupe_max: 2, ..StreamSettings::default() };
    let stream = site(&place, few).await.stream;
    for id in ["a", "b", "c"] {
        stream.publish(&with_id(id)).await.unwrap();
    }
    assert!(stream.publish(&with_id("c")).await.unwrap().duplicate);
    assert!(!stream.publish(&with_id("a")).await.unwrap().duplicate);
}

async fn stream_of(place: &Place) -> Stream {
    stream(place).await
}

pub(crate) async fn a_batch_is_published_whole_or_not_at_all(place: Place) {
    let site = site(&place, StreamSettings::default()).await;
    let stream = &site.stream;
    let limits =
        Limits { length_max: Some(3), full: Some(redpoll_services::streams::Full::Refuse), ..Limits::default() };
    stream.configure(&limits).await.unwrap();
    let group = group(stream, "g").await;
    let four: Vec<Event> = ["a", "b", "c", "d"].iter().map(|name| with_id(name)).collect();
    assert!(matches!(stream.publish_many(&four).await, Err(Error::Conflict(_))));
    assert_eq!(stream.info().await.unwrap().length, 0);
    // Nothing of it is remembered either.
    let three = stream.publish_many(&four[..3]).await.unwrap();
    assert!(three.iter().all(|one| !one.duplicate));
    assert!(stream.publish_many(&[]).await.is_err());
    let many: Vec<Event> = (0..1001).map(|_| event("x")).collect();
    assert!(matches!(stream.publish_many(&many).await, Err(Error::InvalidInput { field: "events", .. })));
    assert_eq!(group.take(&up_to(10)).await.unwrap().deliveries.len(), 3);
}

pub(crate) async fn what_is_no_event_changes_nothing(place: Place) {
    let small = StreamSettings { event_max: 200, ..StreamSettings::default() };
    let stream = site(&place, small).await.stream;
    for bad in [
        Event::new("", "t"),
        Event::new("s", ""),
        Event::new("s\n", "t"),
        Event { id: Some(String::new()), ..event("x") },
        Event { key: Some(String::new()), ..event("x") },
        Event { time: Some("yesterday".to_owned()), ..event("x") },
        Event { extensions: BTreeMap::from([("sequence".to_owned(), "1".to_owned())]), ..event("x") },
    ] {
        let error = stream.publish_many(&[event("fine"), bad.clone()]).await.unwrap_err();
        assert!(matches!(error, Error::InvalidInput { .. }), "{bad:?}: {error}");
    }
    let large = Event { data: Some(vec![0; 200]), ..event("x") };
    assert!(matches!(stream.publish(&large).await, Err(Error::TooLarge { max_bytes: 200, .. })));
    assert_eq!(stream.info().await.unwrap().length, 0);
    assert!(stream.group("").is_err() && stream.group(&"x".repeat(2000)).is_err());
}

pub(crate) async fn a_state_and_its_event_are_one(place: Place) {
    let site = site(&place, StreamSettings::default()).await;
    let stream = &site.stream;
    let paid =
        [("balance".to_owned(), Effect::Add { by: 5 }), ("log".to_owned(), Effect::Push { value: b"paid".to_vec() })];
    let balance = async || {
        let reply =
            site.services.backend().call(Command::new("GET").key(stream.data_key("balance").unwrap())).await.unwrap();
        reply.as_str().map(str::to_owned)
    };
    let first = stream.publish_with(&[with_id("p1")], &paid).await.unwrap();
    // Sent again by who did not hear the answer: neither is done twice.
    let again = stream.publish_with(&[with_id("p1")], &paid).await.unwrap();
    assert_eq!((balance().await.as_deref(), again[0].entry, again[0].duplicate), (Some("5"), first[0].entry, true));
    // An effect that does not fit takes the event with it.
    let odd = [("log".to_owned(), Effect::Add { by: 1 })];
    assert!(matches!(stream.publish_with(&[with_id("p2")], &odd).await, Err(Error::Conflict(_))));
    // Half of it there and half not is a mistake, not a repetition.
    assert!(matches!(stream.publish_with(&[with_id("p1"), with_id("p3")], &paid).await, Err(Error::Conflict(_))));
    assert!(stream.publish_with(&[with_id("p4"), with_id("p4")], &paid).await.is_err());
    assert_eq!((balance().await.as_deref(), stream.info().await.unwrap().length), (Some("5"), 1));
    // A full stream changes no data.
    stream
        .configure(&Limits {
            length_max: Some(1),
            full: Some(redpoll_services::streams::Full::Refuse),
            ..Limits::default()
        })
        .await
        .unwrap();
    group(stream, "g").await;
    assert!(stream.publish_with(&[with_id("p5")], &paid).await.is_err());
    assert_eq!(balance().await.as_deref(), Some("5"));
    // The naive way writes the state, dies, and nobody ever hears of it.
    let key = stream.data_key("naive").unwrap();
    site.services.backend().call(Command::new("INCRBY").key(&key).arg("5")).await.unwrap();
    let events = names(stream, &Range::default()).await;
    assert_eq!(events, ["p1"], "a balance of 5 that no event tells of");
}

pub(crate) async fn ids_grow_when_the_clock_is_set_back(place: Place) {
    let site = site(&place, StreamSettings::default()).await;
    // An entry of an hour ahead: what the clock said before it was set back.
    let now = site.stream.publish(&event("a")).await.unwrap().entry;
    let ahead = site
        .xadd(
            &format!("{}-7", now.ms + 3_600_000),
            &["specversion", "1.0", "id", "b", "source", "s", "type", "t", "data", "b"],
        )
        .await;
    let next = site.stream.publish_many(&[event("c"), event("d")]).await.unwrap();
    assert!(ahead < next[0].entry && next[0].entry < next[1].entry);
    let group = group(&site.stream, "g").await;
    let taken = group.take(&up_to(10)).await.unwrap().deliveries;
    assert_eq!(taken.iter().map(|one| name_of(&one.event)).collect::<Vec<_>>(), ["a", "b", "c", "d"]);
    // Also when the stream itself was lost.
    site.native("DEL", &[], &[]).await.unwrap();
    let after = site.stream.publish_many(&[event("e"), event("f")]).await.unwrap();
    assert!(next[1].entry < after[0].entry && after[0].entry < after[1].entry, "{after:?}");
}

pub(crate) async fn ranges_are_read_by_id_time_type_and_key(place: Place) {
    let stream = stream(&place).await;
    let kind = |kind: &str, name: &str| Event { kind: kind.to_owned(), ..keyed(name, name) };
    let events = [kind("x", "a"), kind("y", "b"), kind("x", "c"), kind("y", "d")];
    let ids: Vec<EntryId> = stream.publish_many(&events).await.unwrap().into_iter().map(|one| one.entry).collect();
    let from = |index: usize| Range { from: Some(ids[index]), ..Range::default() };
    assert_eq!(names(&stream, &Range::default()).await, ["a", "b", "c", "d"]);
    assert_eq!(names(&stream, &Range { to: Some(ids[2]), ..from(1) }).await, ["b", "c"]);
    assert_eq!(names(&stream, &Range { types: vec!["y".to_owned()], ..from(0) }).await, ["b", "d"]);
    assert_eq!(names(&stream, &Range { keys: vec!["a".to_owned(), "d".to_owned()], ..from(0) }).await, ["a", "d"]);
    assert_eq!(names(&stream, &Range::since_ms(ids[0].ms)).await.len(), 4);
    assert_eq!(names(&stream, &Range::since_ms(ids[3].ms + 1)).await.len(), 0);
    let page = stream.read(&Range::default(), 3).await.unwrap();
    assert_eq!((page.entries.len(), page.next.is_some()), (3, true));
    let last = stream.read(&Range { from: page.next, ..Range::default() }, 3).await.unwrap();
    assert_eq!((last.entries.len(), last.next), (1, None));
    assert!(stream.read(&Range::default(), 0).await.is_err());
    // Into a function; what is published meanwhile is not of it.
    let seen = std::sync::Mutex::new(Vec::new());
    let count = stream
        .replay(&from(1), |entry| {
            seen.lock().unwrap().push(name_of(&entry.event.unwrap()));
            let stream = stream.clone();
            async move { stream.publish(&event("more")).await.map(drop) }
        })
        .await;
    assert_eq!((count, seen.into_inner().unwrap()), (Ok(3), vec!["b".to_owned(), "c".to_owned(), "d".to_owned()]));
}

pub(crate) async fn streams_and_tenants_are_apart(place: Place) {
    let services = place.services().await;
    let tenants = [tenant(), tenant()];
    let streams = [
        services.streams(&tenants[0]).stream("a").unwrap(),
        services.streams(&tenants[0]).stream("a:s").unwrap(),
        services.streams(&tenants[1]).stream("a").unwrap(),
        services.streams(&tenants[0]).stream("{a}").unwrap(),
    ];
    for (index, stream) in streams.iter().enumerate() {
        stream.publish(&event(&index.to_string())).await.unwrap();
        group(stream, "g:{h}%").await;
    }
    for (index, stream) in streams.iter().enumerate() {
        let taken = stream.group("g:{h}%").unwrap().take(&up_to(10)).await.unwrap().deliveries;
        assert_eq!(taken.iter().map(|one| name_of(&one.event)).collect::<Vec<_>>(), [index.to_string()]);
    }
    let groups = streams[0].info().await.unwrap().groups;
    assert_eq!(groups, ["g:{h}%"]);
}

pub(crate) async fn any_client_may_read_along(place: Place) {
    let site = site(&place, StreamSettings::default()).await;
    let published = site.stream.publish(&keyed("k", "data \u{e9}")).await.unwrap();
    let reply = site.native("XRANGE", &[], &["-", "+"]).await.unwrap();
    let entry = &reply.as_array().unwrap()[0];
    let [id, fields] = entry.as_array().unwrap() else { panic!("an entry has two parts") };
    assert_eq!(id.as_str(), Some(published.entry.to_string().as_str()));
    let fields: Vec<&str> = fields.as_array().unwrap().iter().map(|field| field.as_str().unwrap()).collect();
    assert_eq!(
        fields,
        [
            "specversion",
            "1.0",
            "id",
            &published.id,
            "source",
            "/test",
            "type",
            "test.happened",
            "partitionkey",
            "k",
            "data",
            "data \u{e9}",
            "sequence",
            "1"
        ]
    );
    // And XPENDING tells what a group of ours has pending, and for whom.
    let group = group(&site.stream, "g").await;
    group.take(&up_to(1)).await.unwrap();
    let pending = site.native("XPENDING", &[], &["g"]).await.unwrap();
    assert_eq!(pending.as_array().unwrap()[0].as_i64(), Some(1));
    let taken = group.take(&up_to(1)).await.unwrap();
    assert!(taken.deliveries.is_empty());
}
