//! Tests of atomic operations: values, collections, pipelines and scripts.

use std::collections::HashMap;

use redpoll_services::atomic::{
    Added, Addition, Atomic, AtomicGroup, Compared, Expected, Lifetime, MAX_SCORE, Versioned,
};
use redpoll_services::cache::Remaining;
use redpoll_services::script::{Flags, Repeat, Script};
use redpoll_services::{Command, Error, Services, Settings, Tenant, Ttl};
use redpoll_testkit::Random;

use crate::counters::{TASKS, together};
use crate::support::{Place, tenant};

pub(crate) async fn open(place: &Place) -> (Services, Tenant, Atomic) {
    let (services, tenant) = (place.services().await, tenant());
    let atomic = services.atomic(&tenant);
    (services, tenant, atomic)
}

pub(crate) async fn group(place: &Place) -> AtomicGroup {
    open(place).await.2.group("g").unwrap()
}

fn hour() -> Lifetime {
    Lifetime::Set(Ttl::ms(3_600_000).unwrap())
}

pub(crate) async fn a_value_is_changed_only_as_expected(place: Place) {
    let register = group(&place).await.register("r").unwrap();
    assert_eq!(register.read().await, Ok(None));
    let done = register.compare_and_set(&Expected::Absent, b"a", Lifetime::Keep).await.unwrap();
    let Compared::Done(Some(first)) = done else { panic!("{done:?}") };
    let current = |value: &[u8], version| Some(Versioned { value: value.to_vec(), version });
    let refused = Ok(Compared::Refused(current(b"a", first)));
    assert_eq!(register.compare_and_set(&Expected::Absent, b"b", Lifetime::Keep).await, refused);
    assert_eq!(register.compare_and_set(&Expected::Bytes(b"b".to_vec()), b"c", Lifetime::Keep).await, refused);
    assert_eq!(register.compare_and_set(&Expected::Version(first + 1), b"c", Lifetime::Keep).await, refused);
    assert_eq!(register.compare_and_delete(&Expected::Bytes(b"b".to_vec())).await, refused);
    let done = register.compare_and_set(&Expected::Bytes(b"a".to_vec()), b"b", Lifetime::Keep).await.unwrap();
    let Compared::Done(Some(second)) = done else { panic!("{done:?}") };
    assert!(second > first);
    let done = register.compare_and_set(&Expected::Version(second), b"", Lifetime::Keep).await.unwrap();
    let Compared::Done(Some(third)) = done else { panic!("{done:?}") };
    assert_eq!(register.swap(Some(b"x"), Lifetime::Keep).await, Ok(current(b"", third)));
    assert_eq!(register.swap(None, Lifetime::Keep).await.unwrap().unwrap().value, b"x");
    assert_eq!(register.swap(None, Lifetime::Keep).await, Ok(None));
    assert_eq!(register.compare_and_delete(&Expected::Absent).await, Ok(Compared::Done(None)));
    assert_eq!(register.object().remaining().await, Ok(Remaining::Missing), "nothing is left behind");
}

/// What a lookup gives that found nothing.
fn nothing() -> Option<&'static [u8]> {
    None
}

/// The naive way stores `value or ""`, and reads it back as a value.
pub(crate) async fn nothing_is_not_stored_as_empty(place: Place) {
    let (services, _, atomic) = open(&place).await;
    let group = atomic.group("g").unwrap();
    let naive = format!("test:{}", tenant().name());
    let nothing = nothing();
    services.backend().call(Command::new("SET").key(&naive).arg(nothing.unwrap_or_default())).await.unwrap();
    let read = services.backend().call(Command::new("GET").key(&naive)).await.unwrap();
    assert_eq!(read.as_bytes(), Some(&b""[..]), "the naive way cannot tell");

    let register = group.register("r").unwrap();
    register.swap(Some(b""), Lifetime::Keep).await.unwrap();
    assert_eq!(register.read().await.unwrap().unwrap().value, b"");
    register.swap(nothing, Lifetime::Keep).await.unwrap();
    assert_eq!(register.read().await, Ok(None));
    register.compare_and_set_json(&Expected::Absent, &None::<u8>, Lifetime::Keep).await.unwrap();
    assert_eq!(register.read_json::<Option<u8>>().await.unwrap().unwrap().value, None, "null is a value");

    let hash = group.hash("h").unwrap();
    hash.put("empty", Some(b"")).await.unwrap();
    hash.put("gone", Some(b"1")).await.unwrap();
    hash.put("gone", nothing).await.unwrap();
    let fields = hash.get_many(&["empty", "gone", "never"]).await;
    assert_eq!(fields, Ok(vec![Some(Vec::new()), None, None]));
    assert_eq!((hash.len().await, hash.contains("gone").await), (Ok(1), Ok(false)));
    assert_eq!(group.list("l").unwrap().pop_front().await, Ok(None));
}

/// The naive way sets with SET, which forgets the lifetime.
pub(crate) async fn a_lifetime_survives_changes(place: Place) {
    let (services, _, atomic) = open(&place).await;
    let group = atomic.group("g").unwrap();
    let naive = format!("test:{}", tenant().name());
    let backend = services.backend();
    backend.call(Command::new("SET").key(&naive).arg("a").arg("EX").arg("3600")).await.unwrap();
    backend.call(Command::new("SET").key(&naive).arg("b")).await.unwrap();
    assert_eq!(backend.call(Command::new("TTL").key(&naive)).await.unwrap().as_i64(), Some(-1), "naive");

    let register = group.register("r").unwrap();
    register.compare_and_set(&Expected::Absent, b"a", hour()).await.unwrap();
    register.compare_and_set(&Expected::Bytes(b"a".to_vec()), b"b", Lifetime::Keep).await.unwrap();
    register.swap(Some(b"c"), Lifetime::Keep).await.unwrap();
    let lives = |remaining| matches!(remaining, Ok(Remaining::Ms(1..=3_600_000)));
    assert!(lives(register.object().remaining().await));
    register.swap(Some(b"d"), Lifetime::Set(Ttl::Never)).await.unwrap();
    assert_eq!(register.object().remaining().await, Ok(Remaining::Never));

    let counter = group.counter("c").unwrap();
    let hourly = Addition { ttl_on_create: Ttl::ms(3_600_000).unwrap(), ..Addition::of(1) };
    counter.add(&hourly).await.unwrap();
    counter.object().expire(Ttl::ms(1_000_000).unwrap()).await.unwrap();
    counter.add(&hourly).await.unwrap();
    counter.swap(7).await.unwrap();
    assert!(
        matches!(counter.object().remaining().await, Ok(Remaining::Ms(900_000..=1_000_000))),
        "neither lost nor anew"
    );
    counter.object().expire(Ttl::Never).await.unwrap();
    assert_eq!(counter.object().remaining().await, Ok(Remaining::Never));
    assert_eq!(group.counter("other").unwrap().object().expire(Ttl::Never).await, Ok(false));
}

/// Comparing values (or WATCH on a value that went there and back) misses what happened in between.
pub(crate) async fn versions_see_there_and_back(place: Place) {
    let group = group(&place).await;
    for field in ["", "f"] {
        let value = |name: &str| group.record(name).unwrap().field(if field.is_empty() { "x" } else { field }).unwrap();
        let slot = value("r");
        slot.swap(Some(b"A"), Lifetime::Keep).await.unwrap();
        let seen = slot.read().await.unwrap().unwrap();
        slot.swap(Some(b"B"), Lifetime::Keep).await.unwrap();
        slot.swap(None, Lifetime::Keep).await.unwrap();
        slot.swap(Some(b"A"), Lifetime::Keep).await.unwrap();
        let by_version = slot.compare_and_set(&Expected::Version(seen.version), b"C", Lifetime::Keep).await.unwrap();
        assert!(matches!(by_version, Compared::Refused(Some(_))), "{by_version:?}");
        // The comparison by value is the naive one.
        let by_value = slot.compare_and_set(&Expected::Bytes(seen.value), b"C", Lifetime::Keep).await.unwrap();
        assert!(matches!(by_value, Compared::Done(_)), "{by_value:?}");
    }
}

pub(crate) async fn fields_have_versions_of_their_own(place: Place) {
    let record = group(&place).await.record("r").unwrap();
    let (left, right) = (record.field("left").unwrap(), record.field("right").unwrap());
    left.swap(Some(b"1"), hour()).await.unwrap();
    let seen = left.read().await.unwrap().unwrap();
    right.swap(Some(b"2"), Lifetime::Keep).await.unwrap();
    let done = left.compare_and_set(&Expected::Version(seen.version), b"3", Lifetime::Keep).await.unwrap();
    assert!(matches!(done, Compared::Done(Some(_))), "a change of another field is no change of this");
    assert!(matches!(record.object().remaining().await, Ok(Remaining::Ms(_))));
    assert_eq!(right.compare_and_delete(&Expected::Bytes(b"2".to_vec())).await, Ok(Compared::Done(None)));
    assert_eq!((right.read().await, left.read().await.unwrap().unwrap().value), (Ok(None), b"3".to_vec()));
    assert!(matches!(record.field(""), Err(Error::InvalidInput { field: "field", .. })));
}

pub(crate) async fn updates_of_json_lose_none(place: Place) {
    let tenant = tenant();
    let register = |services: &Services| services.atomic(&tenant).group("g").unwrap().register("r").unwrap();
    let sums = together(&place, |services, number| {
        let register = register(&services);
        async move {
            // Whoever comes too late too often comes again.
            loop {
                let update = register.update(|map: Option<HashMap<String, u64>>| {
                    let mut map = map.unwrap_or_default();
                    *map.entry("sum".to_owned()).or_default() += number as u64;
                    *map.entry(number.to_string()).or_default() += 1;
                    Some(map)
                });
                match update.await {
                    Ok(map) => return map.unwrap()["sum"],
                    Err(Error::Conflict(_)) => {}
                    Err(error) => panic!("{error}"),
                }
            }
        }
    });
    let expected = (0..TASKS as u64).sum::<u64>();
    assert_eq!(sums.await.into_iter().max(), Some(expected));
    let services = place.services().await;
    let map = register(&services).read_json::<HashMap<String, u64>>().await.unwrap().unwrap().value;
    assert_eq!((map["sum"], map.len()), (expected, TASKS + 1));
    let nothing = register(&services).update(|_: Option<HashMap<String, u64>>| None).await;
    assert_eq!((nothing, register(&services).read().await), (Ok(None), Ok(None)));
    register(&services).swap(Some(b"no json"), Lifetime::Keep).await.unwrap();
    let error = register(&services).read_json::<HashMap<String, u64>>().await.unwrap_err();
    assert!(matches!(error, Error::Backend(_)), "{error:?}");
}

pub(crate) async fn collections_return_types(place: Place) {
    let group = group(&place).await;
    let hash = group.hash("h").unwrap();
    assert_eq!(hash.put_if_absent("f", b"1").await, Ok(true));
    assert_eq!(hash.put_if_absent("f", b"2").await, Ok(false));
    assert_eq!(hash.increment("f", 4).await, Ok(5));
    assert_eq!(hash.page(0, 10).await, Ok((0, vec![(b"f".to_vec(), b"5".to_vec())])));
    assert_eq!((hash.remove(&["f", "x"]).await, hash.get("f").await), (Ok(1), Ok(None)));

    let set = group.set("s").unwrap();
    assert_eq!(
        (set.add(&["a", "b", "a"]).await, set.contains("a").await, set.contains("c").await),
        (Ok(2), Ok(true), Ok(false))
    );
    assert_eq!((set.len().await, set.remove(&["b"]).await), (Ok(2), Ok(1)));
    assert_eq!(set.page(0, 10).await, Ok((0, vec![b"a".to_vec()])));
    assert_eq!((set.pop().await, set.pop().await), (Ok(Some(b"a".to_vec())), Ok(None)));

    let sorted = group.sorted_set("z").unwrap();
    assert_eq!(
        (sorted.put("a", 10).await, sorted.put("a", 12).await, sorted.put("b", -3).await),
        (Ok(true), Ok(false), Ok(true))
    );
    assert_eq!((sorted.increment("b", 20).await, sorted.increment("new", 1).await), (Ok(17), Ok(1)));
    assert_eq!(sorted.top(2).await, Ok(vec![(b"b".to_vec(), 17), (b"a".to_vec(), 12)]));
    assert_eq!((sorted.rank_from_top("a").await, sorted.rank_from_top("x").await), (Ok(Some(1)), Ok(None)));
    assert_eq!((sorted.score("a").await, sorted.score("x").await, sorted.len().await), (Ok(Some(12)), Ok(None), Ok(3)));
    assert_eq!(sorted.remove(&["a", "x"]).await, Ok(1));

    let list = group.list("l").unwrap();
    assert_eq!((list.push_back(&["2", "3"]).await, list.push_front(&["1"]).await), (Ok(2), Ok(3)));
    assert_eq!(list.page(1, 5).await, Ok(vec![b"2".to_vec(), b"3".to_vec()]));
    assert_eq!((list.pop_front().await, list.pop_back().await), (Ok(Some(b"1".to_vec())), Ok(Some(b"3".to_vec()))));
    list.push_back(&["4", "5"]).await.unwrap();
    list.keep_first(2).await.unwrap();
    assert_eq!(list.len().await, Ok(2));
    list.keep_first(0).await.unwrap();
    assert_eq!(list.len().await, Ok(0));

    let bits = group.bits("b").unwrap();
    assert_eq!(
        (bits.set(70_000).await, bits.set(70_000).await, bits.is_set(3).await),
        (Ok(false), Ok(true), Ok(false))
    );
    assert_eq!((bits.count().await, bits.clear(70_000).await, bits.count().await), (Ok(1), Ok(true), Ok(0)));

    let (left, right) = (group.hyper_log_log("p").unwrap(), group.hyper_log_log("q").unwrap());
    assert_eq!(
        (left.add(&["a", "b"]).await, left.add(&["a"]).await, right.add(&["b", "c"]).await),
        (Ok(true), Ok(false), Ok(true))
    );
    assert_eq!((left.count().await, left.count_with(&[&right]).await), (Ok(2), Ok(3)));
}

/// The store keeps scores as doubles, in which 2^53 + 1 is 2^53: what is not exact is refused.
pub(crate) async fn scores_are_exact_or_refused(place: Place) {
    let (services, _, atomic) = open(&place).await;
    let sorted = atomic.group("g").unwrap().sorted_set("z").unwrap();
    assert_eq!(sorted.put("a", MAX_SCORE).await, Ok(true));
    assert!(matches!(sorted.increment("a", 1).await, Err(Error::Conflict(_))));
    assert_eq!(sorted.score("a").await, Ok(Some(MAX_SCORE)), "nothing was changed");
    assert_eq!(sorted.increment("a", -1).await, Ok(MAX_SCORE - 1));
    for score in [MAX_SCORE + 1, -MAX_SCORE - 1, i64::MIN, i64::MAX] {
        assert!(matches!(sorted.put("b", score).await, Err(Error::InvalidInput { field: "score", .. })));
    }
    let naive = format!("test:{}", tenant().name());
    let zincrby = || Command::new("ZINCRBY").key(&naive).arg("1").arg("a");
    services.backend().call(Command::new("ZADD").key(&naive).arg(MAX_SCORE + 1).arg("a")).await.unwrap();
    services.backend().call(zincrby()).await.unwrap();
    let score = services.backend().call(Command::new("ZSCORE").key(&naive).arg("a")).await.unwrap();
    let text = score.as_str().map_or_else(|| format!("{score:?}"), str::to_owned);
    assert!(text.contains("9007199254740992"), "ZINCRBY did not lose one: {text}");
}

pub(crate) async fn a_pipeline_keeps_results_and_errors_in_place(place: Place) {
    let (services, _, atomic) = open(&place).await;
    let group = atomic.group("g").unwrap();
    let (counter, hash, list) = (group.counter("c").unwrap(), group.hash("h").unwrap(), group.list("l").unwrap());
    hash.put("text", Some(b"abc")).await.unwrap();
    let oversized = vec![0; services.settings().atomic.bytes_max + 1];
    let mut pipeline = atomic.pipeline();
    let first = pipeline.add(counter.increment());
    let wrong = pipeline.add(hash.increment("text", 1));
    let unsent = pipeline.add(group.register("r").unwrap().swap(Some(&oversized), Lifetime::Keep));
    let nothing = pipeline.add(list.pop_front());
    let bad_page = pipeline.add(list.page(0, 0));
    let text = pipeline.add(hash.get("text"));
    // Another group, so another node of a Cluster.
    let elsewhere = pipeline.add(atomic.group("elsewhere").unwrap().counter("c").unwrap().increment());
    let last = pipeline.add(counter.increment());
    assert_eq!(pipeline.len(), 8);
    let mut results = pipeline.send().await.unwrap();
    assert_eq!(results.len(), 8);
    assert_eq!(results.take(last), Ok(2), "in any order");
    assert_eq!(results.take(first), Ok(1));
    assert!(matches!(results.take(wrong), Err(Error::Backend(line)) if line.contains("not an integer")));
    assert!(matches!(results.take(unsent), Err(Error::TooLarge { .. })));
    assert_eq!(results.take(nothing), Ok(None));
    assert!(matches!(results.take(bad_page), Err(Error::InvalidInput { field: "count", .. })));
    assert_eq!(results.take(text), Ok(Some(b"abc".to_vec())), "an error before it did not shift it");
    assert_eq!(results.take(elsewhere), Ok(1));

    // The naive way drops errors and reads what is left by position.
    let replies = services.backend().pipeline(vec![
        Command::new("HINCRBY").key(hash.object().key()).arg("text").arg("1"),
        Command::new("HGET").key(hash.object().key()).arg("text"),
    ]);
    let naive: Vec<_> = replies.await.unwrap().into_iter().flatten().collect();
    assert_eq!(naive[0].as_str(), Some("abc"), "the second result where the first belongs");

    let mut other = atomic.pipeline();
    let mut small = atomic.pipeline();
    let (_, foreign) = (other.add(counter.read()), other.add(counter.read()));
    let own = small.add(counter.read());
    let mut results = small.send().await.unwrap();
    assert!(matches!(results.take(foreign), Err(Error::InvalidInput { field: "ticket", .. })));
    assert_eq!(results.take(own), Ok(Some(2)));
    assert!(atomic.pipeline().send().await.unwrap().is_empty());
}

pub(crate) async fn scripts_of_ones_own(place: Place) {
    let (services, _, atomic) = open(&place).await;
    let group = atomic.group("g").unwrap();
    let text = "redis.call('SET', KEYS[2], ARGV[1])\nreturn redis.call('INCRBY', KEYS[1], ARGV[2])";
    let script = Script::owned("mine", Flags::None, Repeat::Never, text);
    let (counter, note) = (group.counter("c").unwrap(), group.script_object("note").unwrap());
    for (round, expected) in [5, 10, 15].into_iter().enumerate() {
        let sum = atomic.run(&script, &[counter.object(), &note], &[&"hello", &5_i64]).await.unwrap();
        assert_eq!(sum.as_i64(), Some(expected));
        if round == 1 {
            services.backend().call(Command::new("SCRIPT").arg("FLUSH")).await.unwrap();
        }
    }
    assert_eq!(counter.read().await, Ok(Some(15)));
    // In a pipeline, right after the store has forgotten it.
    services.backend().call(Command::new("SCRIPT").arg("FLUSH")).await.unwrap();
    let mut pipeline = atomic.pipeline();
    let before = pipeline.add(group.set("s").unwrap().add(&["a"]));
    let run = pipeline.add(atomic.run(&script, &[counter.object(), &note], &[&"bye", &1_i64]));
    let mut results = pipeline.send().await.unwrap();
    assert_eq!((results.take(before), results.take(run).unwrap().as_i64()), (Ok(1), Some(16)));
    let failing = Script::owned("failing", Flags::None, Repeat::Never, "return redis.error_reply('MINE no')");
    let error = atomic.run(&failing, &[&note], &[]).await.unwrap_err();
    assert!(matches!(&error, Error::Backend(line) if line.starts_with("MINE no")), "{error:?}");
}

/// Without the check a Cluster answers CROSSSLOT, and only a Cluster does: the program works until it is moved.
pub(crate) async fn scripts_stay_in_one_group_of_their_tenant(place: Place) {
    let (services, _, atomic) = open(&place).await;
    let script = Script::owned("two", Flags::NoWrites, Repeat::Safe, "return #KEYS");
    let here = atomic.group("g").unwrap().script_object("x").unwrap();
    let there = atomic.group("other").unwrap().script_object("x").unwrap();
    let foreign = services.atomic(&tenant()).group("g").unwrap().script_object("x").unwrap();
    let invalid = |result: Result<redpoll_resp::Value, Error>| match result {
        Err(Error::InvalidInput { field: "objects", reason }) => reason,
        other => panic!("{other:?}"),
    };
    assert!(invalid(atomic.run(&script, &[&here, &there], &[]).await).contains("share no slot"));
    assert!(invalid(atomic.run(&script, &[&foreign], &[]).await).contains("another tenant"));
    invalid(atomic.run(&script, &[], &[]).await);
    // A name cannot pretend to be of another tenant or group.
    let tricky = atomic.group("a}:x{b").unwrap();
    let (left, right) = (tricky.script_object("}").unwrap(), tricky.script_object("{").unwrap());
    assert_eq!(atomic.run(&script, &[&left, &right], &[]).await.unwrap().as_i64(), Some(2));
}

pub(crate) async fn what_can_never_work_is_refused(place: Place) {
    let (services, _, atomic) = open(&place).await;
    let group = atomic.group("g").unwrap();
    assert!(matches!(atomic.group(""), Err(Error::InvalidInput { field: "group", .. })));
    assert!(matches!(group.counter(""), Err(Error::InvalidInput { field: "name", .. })));
    let big = vec![0; services.settings().atomic.bytes_max + 1];
    let register = group.register("r").unwrap();
    let error = register.compare_and_set(&Expected::Absent, &big, Lifetime::Keep).await.unwrap_err();
    assert!(matches!(error, Error::TooLarge { .. }));
    assert_eq!(register.read().await, Ok(None));
    let none: [&str; 0] = [];
    assert!(matches!(group.set("s").unwrap().add(&none).await, Err(Error::InvalidInput { field: "values", .. })));
    assert!(matches!(group.list("l").unwrap().page(0, 10_001).await, Err(Error::InvalidInput { .. })));
    let (here, there) = (group.hyper_log_log("p").unwrap(), atomic.group("o").unwrap().hyper_log_log("p").unwrap());
    assert!(matches!(here.count_with(&[&there]).await, Err(Error::InvalidInput { field: "others", .. })));
    // A counter that holds something else says so and stays.
    let counter = group.counter("c").unwrap();
    let put = |value: &'static str| Command::new("SET").key(counter.object().key()).arg(value);
    for foreign in ["abc", "1.5", "", "9223372036854775808", "--1"] {
        services.backend().call(put(foreign)).await.unwrap();
        let error = counter.increment().await.unwrap_err();
        assert!(matches!(error, Error::Backend(_) | Error::Conflict(_)), "{foreign}: {error:?}");
        let kept = services.backend().call(Command::new("GET").key(counter.object().key())).await.unwrap();
        assert_eq!(kept.as_str(), Some(foreign));
    }
}

/// What registers and counters should hold.
#[derive(Default)]
struct Model {
    values: HashMap<&'static str, Versioned<Vec<u8>>>,
    counters: HashMap<&'static str, i64>,
    /// Amount and sum by the id of a request that was done.
    requests: HashMap<String, (i64, i64)>,
}

impl Model {
    async fn change_value(&mut self, group: &AtomicGroup, name: &'static str, random: &mut Random, context: &str) {
        let register = group.register(name).unwrap();
        let present = self.values.get(name).cloned();
        let expected = match (random.below(4), &present) {
            (0, _) => Expected::Absent,
            (1, Some(found)) => Expected::Version(found.version),
            (2, Some(found)) => Expected::Bytes(found.value.clone()),
            _ => Expected::Bytes(vec![random.below(3) as u8]),
        };
        let holds = match &expected {
            Expected::Absent => present.is_none(),
            Expected::Version(version) => present.as_ref().is_some_and(|found| found.version == *version),
            Expected::Bytes(bytes) => present.as_ref().is_some_and(|found| found.value == *bytes),
        };
        let value = vec![random.below(3) as u8];
        let deletes = random.below(3) == 0;
        let compared = match deletes {
            true => register.compare_and_delete(&expected).await.unwrap(),
            false => register.compare_and_set(&expected, &value, Lifetime::Keep).await.unwrap(),
        };
        match compared {
            Compared::Refused(found) => {
                assert!(!holds, "{context}");
                assert_eq!(found, present, "{context}");
            }
            Compared::Done(None) => {
                assert!(holds && deletes, "{context}");
                self.values.remove(name);
            }
            Compared::Done(Some(version)) => {
                assert!(holds && !deletes, "{context}");
                assert!(present.is_none_or(|found| found.version < version), "{context}");
                self.values.insert(name, Versioned { value, version });
            }
        }
        assert_eq!(register.read().await.unwrap().as_ref(), self.values.get(name), "{context}");
    }

    async fn add(&mut self, group: &AtomicGroup, name: &'static str, random: &mut Random, context: &str) {
        let counter = group.counter(name).unwrap();
        let wide = |random: &mut Random| (random.next_u64() as i64) >> random.below(63);
        let (one, two, amount) = (wide(random), wide(random), wide(random));
        let (floor, ceiling) = (one.min(two), one.max(two));
        let request = (random.below(4) == 0).then(|| format!("{name}{}", random.below(20)));
        let addition = Addition { floor, ceiling, request: request.clone(), ..Addition::of(amount) };
        let before = self.counters.get(name).copied();
        if let Some((known, sum)) = request.as_ref().and_then(|id| self.requests.get(id)).copied() {
            // Bounds are drawn anew each time, so only the id can be the same.
            let answer = counter.add(&Addition { amount: known, ..addition }).await;
            assert!(matches!(answer, Err(Error::Conflict(_))) || answer == Ok(Added::Again(sum)), "{context}");
            return;
        }
        let sum = before.unwrap_or(0).checked_add(amount).filter(|sum| (floor..=ceiling).contains(sum));
        let expected = sum.map_or(Added::Refused(before), Added::Done);
        assert_eq!(counter.add(&addition).await, Ok(expected), "{context}: {before:?} {addition:?}");
        if let Some(sum) = sum {
            self.counters.insert(name, sum);
            request.map(|id| self.requests.insert(id, (amount, sum)));
        }
        assert_eq!(counter.read().await.unwrap(), self.counters.get(name).copied(), "{context}");
    }
}

/// Random operations against the model. The seed is printed when it fails.
pub(crate) async fn operations_match_the_model(place: Place) {
    let seed = std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64;
    println!("seed {seed}");
    let (mut random, mut model) = (Random::new(seed), Model::default());
    let group = group(&place).await;
    for step in 0..400 {
        let name = ["a", "b", "c"][random.below(3) as usize];
        let context = format!("seed {seed}, step {step}, {name}");
        match random.below(2) {
            0 => model.change_value(&group, name, &mut random, &context).await,
            _ => model.add(&group, name, &mut random, &context).await,
        }
    }
    assert!(!model.requests.is_empty() && !model.counters.is_empty(), "the test must see something");
}

#[tokio::test]
async fn an_outage_is_an_error() {
    let services = Place::down().services_lazily(Settings::default());
    let group = services.atomic(&tenant()).group("g").unwrap();
    assert!(group.counter("c").unwrap().increment().await.unwrap_err().is_outage());
    assert!(group.register("r").unwrap().read().await.unwrap_err().is_outage());
    assert!(group.inventory("i").unwrap().stock().await.unwrap_err().is_outage());
    let mut pipeline = services.atomic(&tenant()).pipeline();
    let _ticket = pipeline.add(group.counter("c").unwrap().read());
    assert!(pipeline.send().await.unwrap_err().is_outage());
}
