//! Random commands on hashes whose fields have deadlines, against a naive model, while time passes and sweeps come by.
//!
//! The model keeps what is logically there and forgets a field the moment its time has come. What a command may count although its time has come (HLEN, and the
//! replies of HSET and HDEL) is therefore compared only when nothing of the kind is there.

use crate::support;
use std::collections::BTreeMap;

use proptest::prelude::*;
use redpoll_commands::dispatch::sweep;
use redpoll_keyspace::SHARDS;
use redpoll_testkit::{Reply, Target, command};

const KEYS: [&str; 2] = ["{k}a", "{k}b"];

/// The value of a field and when it expires.
type Field = (String, Option<u64>);

#[derive(Default)]
struct Model {
    hashes: BTreeMap<&'static str, BTreeMap<String, Field>>,
    now: u64,
}

impl Model {
    fn live(&self, key: &str) -> BTreeMap<String, Field> {
        let hash = self.hashes.get(key).cloned().unwrap_or_default();
        hash.into_iter().filter(|(_, (_, deadline))| deadline.is_none_or(|deadline| self.now < deadline)).collect()
    }

    fn set(&mut self, key: &'static str, field: &str, value: String, deadline: Option<u64>) {
        self.hashes.entry(key).or_default().insert(field.to_owned(), (value, deadline));
    }

    /// Gives a field that is there a deadline; returns the reply.
    fn expire(&mut self, key: &'static str, field: &str, deadline: u64, condition: &str) -> i64 {
        let Some((value, current)) = self.live(key).remove(field) else { return -2 };
        let met = match condition {
            "NX" => current.is_none(),
            "XX" => current.is_some(),
            "GT" => current.is_some_and(|current| deadline > current),
            "LT" => current.is_none_or(|current| deadline < current),
            _ => true,
        };
        if !met {
            return 0;
        }
        if deadline <= self.now {
            self.hashes.get_mut(key).expect("the field is there").remove(field);
            return 2;
        }
        self.set(key, field, value, Some(deadline));
        1
    }
}

#[derive(Clone, Debug)]
enum Step {
    Set(&'static str, String, u32),
    SetWithTtl(&'static str, String, u64),
    Add(&'static str, String),
    SetAbsent(&'static str, String),
    Expire(&'static str, String, u64, &'static str),
    Persist(&'static str, String),
    Get(&'static str, String),
    GetAndDelete(&'static str, String),
    Delete(&'static str, String),
    GetAll(&'static str),
    Random(&'static str),
    Copy,
    Rename,
    DumpAndRestore,
    Sweep,
    Wait(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let key = || prop::sample::select(KEYS.to_vec());
    let field = || prop_oneof![6 => "[a-d]", 2 => "[0-9]", 1 => "[e-z]{12}"];
    let condition = prop::sample::select(vec!["", "NX", "XX", "GT", "LT"]);
    let step = prop_oneof![
        5 => (key(), field(), 0..50_u32).prop_map(|(key, field, value)| Step::Set(key, field, value)),
        5 => (key(), field(), 0..60_u64).prop_map(|(key, field, ttl)| Step::SetWithTtl(key, field, ttl)),
        3 => (key(), field()).prop_map(|(key, field)| Step::Add(key, field)),
        2 => (key(), field()).prop_map(|(key, field)| Step::SetAbsent(key, field)),
        8 => (key(), field(), 0..60_u64, condition).prop_map(|(key, field, ttl, on)| Step::Expire(key, field, ttl, on)),
        2 => (key(), field()).prop_map(|(key, field)| Step::Persist(key, field)),
        3 => (key(), field()).prop_map(|(key, field)| Step::Get(key, field)),
        2 => (key(), field()).prop_map(|(key, field)| Step::GetAndDelete(key, field)),
        2 => (key(), field()).prop_map(|(key, field)| Step::Delete(key, field)),
        3 => key().prop_map(Step::GetAll),
        1 => key().prop_map(Step::Random),
        1 => Just(Step::Copy),
        1 => Just(Step::Rename),
        2 => Just(Step::DumpAndRestore),
        3 => Just(Step::Sweep),
        6 => (1..40_u64).prop_map(Step::Wait),
    ];
    prop::collection::vec(step, 1..100)
}

/// The engine and the model side by side.
struct Pair {
    target: support::InProcess,
    model: Model,
}

impl Pair {
    fn ask(&mut self, line: &str) -> Reply {
        self.target.call(&command(line))
    }

    #[track_caller]
    fn expect(&mut self, line: &str, reply: impl Into<Option<String>>) {
        let expected = reply.into().unwrap_or_else(|| "(nil)".to_owned());
        assert_eq!(self.ask(line).print(), expected, "{line}");
    }

    /// Goes on to the next full millisecond: the clock moves a little with every command, and none must see another time than the model.
    fn align(&mut self) {
        let clock = &self.target.engine.clock;
        while !clock.micros().is_multiple_of(1000) {
            clock.ticks();
        }
        self.model.now = clock.now();
    }

    fn apply(&mut self, step: Step) {
        self.align();
        let now = self.model.now;
        match step {
            Step::Set(key, field, value) => {
                let had = self.model.live(key).contains_key(&field);
                let counted = self.ask(&format!("HLEN {key}")).print() == number(self.model.live(key).len() as i64);
                let reply = self.ask(&format!("HSET {key} {field} {value}")).print();
                assert!(!counted || reply == number(i64::from(!had)), "HSET answered {reply}");
                self.model.set(key, &field, value.to_string(), None);
            }
            Step::SetWithTtl(key, field, ttl) => {
                self.expect(&format!("HSETEX {key} PX {ttl} FIELDS 1 {field} 7"), number(1));
                self.model.set(key, &field, "7".to_owned(), Some(now + ttl));
            }
            Step::Add(key, field) => {
                let (value, deadline) = self.model.live(key).remove(&field).unwrap_or_else(|| ("0".to_owned(), None));
                let sum = value.parse::<i64>().expect("all values are numbers") + 1;
                self.expect(&format!("HINCRBY {key} {field} 1"), number(sum));
                self.model.set(key, &field, sum.to_string(), deadline);
            }
            Step::SetAbsent(key, field) => {
                let absent = !self.model.live(key).contains_key(&field);
                self.expect(&format!("HSETNX {key} {field} 5"), number(i64::from(absent)));
                if absent {
                    self.model.set(key, &field, "5".to_owned(), None);
                }
            }
            Step::Expire(key, field, ttl, condition) => {
                let code = self.model.expire(key, &field, now + ttl, condition);
                let line = format!("HPEXPIRE {key} {ttl} {condition} FIELDS 2 {field} missing");
                self.expect(&line, format!("1) {}\n2) {}", number(code), number(-2)));
            }
            Step::Persist(key, field) => {
                let found = self.model.live(key).remove(&field);
                let code = match &found {
                    None => -2,
                    Some((_, None)) => -1,
                    Some((value, Some(_))) => {
                        self.model.set(key, &field, value.clone(), None);
                        1
                    }
                };
                self.expect(&format!("HPERSIST {key} FIELDS 1 {field}"), format!("1) {}", number(code)));
            }
            Step::GetAndDelete(key, field) => {
                let found =
                    self.model.live(key).remove(&field).map_or("(nil)".to_owned(), |(value, _)| format!("{value:?}"));
                self.expect(&format!("HGETDEL {key} FIELDS 1 {field}"), format!("1) {found}"));
                self.model.hashes.entry(key).or_default().remove(&field);
            }
            Step::Delete(key, field) => {
                self.ask(&format!("HDEL {key} {field}"));
                self.model.hashes.entry(key).or_default().remove(&field);
            }
            step => self.apply_to_hash(step),
        }
    }

    /// What reads fields or treats hashes as wholes.
    fn apply_to_hash(&mut self, step: Step) {
        match step {
            Step::Get(key, field) => {
                let found = self.model.live(key).remove(&field).map(|(value, _)| format!("{value:?}"));
                self.expect(&format!("HGET {key} {field}"), found);
            }
            Step::GetAll(key) => self.compare(key),
            Step::Random(key) => {
                let names: Vec<String> = self.model.live(key).into_keys().map(|name| format!("{name:?}")).collect();
                let reply = self.ask(&format!("HRANDFIELD {key}")).print();
                assert!(names.contains(&reply) || names.is_empty() && reply == "(nil)", "{reply} of {names:?}");
            }
            Step::Copy => {
                let (from, to) = (self.model.hashes.get(KEYS[0]).cloned().unwrap_or_default(), KEYS[1]);
                if self.ask(&format!("COPY {} {to} REPLACE", KEYS[0])).print() == number(1) {
                    self.model.hashes.insert(to, from);
                }
            }
            Step::Rename => {
                if self.ask(&format!("RENAME {} {}", KEYS[1], KEYS[0])).print() == "OK" {
                    let moved = self.model.hashes.remove(KEYS[1]).unwrap_or_default();
                    self.model.hashes.insert(KEYS[0], moved);
                }
            }
            Step::DumpAndRestore => {
                if let Reply::Bulk(payload) = self.ask(&format!("DUMP {}", KEYS[0])) {
                    let args: [&[u8]; 5] = [b"RESTORE", KEYS[0].as_bytes(), b"0", &payload, b"REPLACE"];
                    assert_eq!(self.target.call(&args.map(<[u8]>::to_vec)).print(), "OK");
                }
            }
            Step::Sweep => self.sweep(),
            Step::Wait(ms) => {
                self.target.advance(ms);
                self.align();
            }
            other => panic!("{other:?} is done elsewhere"),
        }
    }

    /// Does what the housekeeper does, a little at a time.
    fn sweep(&mut self) {
        let now = self.target.engine.clock.now();
        for shard in 0..SHARDS as u16 {
            while sweep(&self.target.engine, shard, 1, now).0 > 0 {}
        }
        for key in KEYS {
            let len = self.model.live(key).len() as i64;
            self.expect(&format!("HLEN {key}"), number(len));
            self.expect(&format!("EXISTS {key}"), number(i64::from(len > 0)));
        }
        let volatile = |hash: &BTreeMap<String, Field>| hash.values().any(|(_, deadline)| deadline.is_some());
        let expected = KEYS.iter().filter(|key| volatile(&self.model.live(key))).count();
        let info = self.ask("INFO keyspace").print();
        assert!(!info.contains("db0") || info.contains(&format!("subexpiry={expected}\\r")), "{expected}: {info}");
    }

    /// Compares everything that can be seen of a hash.
    fn compare(&mut self, key: &str) {
        let live = self.model.live(key);
        let Reply::Array(items) = self.ask(&format!("HGETALL {key}")) else { panic!("HGETALL answers an array") };
        let texts: Vec<String> =
            items.iter().map(|item| String::from_utf8_lossy(item.as_bytes().expect("of texts")).into_owned()).collect();
        let found: BTreeMap<String, String> = texts.chunks(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect();
        let expected = live.iter().map(|(field, (value, _))| (field.clone(), value.clone())).collect();
        assert_eq!(found, expected);
        let names: Vec<&str> = live.keys().map(String::as_str).chain(["missing"]).collect();
        let ttls: Vec<String> = names
            .iter()
            .enumerate()
            .map(|(index, name)| {
                let ttl = live.get(*name).map_or(-2, |(_, at)| at.map_or(-1, |at| (at - self.model.now) as i64));
                format!("{}) {}", index + 1, number(ttl))
            })
            .collect();
        let line = format!("HPTTL {key} FIELDS {} {}", names.len(), names.join(" "));
        let printed = self.ask(&line).print();
        let printed: Vec<String> = printed.lines().map(|line| line.trim_start().to_owned()).collect();
        assert_eq!(printed, ttls, "{line}");
    }
}

fn number(number: i64) -> String {
    format!("(integer) {number}")
}

fn run(steps: Vec<Step>, limits: &str) {
    let mut pair = Pair { target: support::InProcess::new(), model: Model::default() };
    pair.expect(limits, "OK".to_owned());
    for step in steps {
        pair.apply(step);
        KEYS.iter().for_each(|key| pair.compare(key));
    }
    // In the end nothing is left but what has no deadline.
    pair.target.advance(1000);
    pair.align();
    pair.sweep();
}

proptest! {
    #[test]
    fn small_hashes_behave_like_the_model(steps in steps()) {
        run(steps, "CONFIG SET hash-max-listpack-entries 512");
    }

    #[test]
    fn growing_hashes_behave_like_the_model(steps in steps()) {
        run(steps, "CONFIG SET hash-max-listpack-entries 3 hash-max-listpack-value 10");
    }

    #[test]
    fn large_hashes_behave_like_the_model(steps in steps()) {
        run(steps, "CONFIG SET hash-max-listpack-entries 0");
    }
}
