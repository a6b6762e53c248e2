//! The twins of enqueuing and of working while nothing is unusual: new ids, nobody who waits, no flows, no groups, no bounds, no events, nothing due, and jobs that are completed
//! without results. All else is left to `enqueue.lua` and `work.lua`; keys and states are those of `queue.lua`.

use redpoll_store::twin::{Ended, Failed, Step, Twin, int_of};

use super::queue::KINDS;
use super::steps::{ENQUEUE, WORK};
use crate::script::Script;

pub(crate) const TWINS: [(&Script, Twin); 2] = [(&ENQUEUE, enqueue), (&WORK, work)];

/// `KEYS` by the names that `queue.lua` gives them.
const META: usize = 1;
const STATES: usize = 2;
const RECORDS: usize = 3;
const WAITING: usize = 4;
const DELAYED: usize = 5;
const ACTIVE: usize = 6;
const NOTES: usize = 7;
const WAITERS: usize = 8;
const EXPIRY: usize = 9;
const COMPLETED: usize = 10;
const BLOCKED: usize = 14;
const FLOWS: usize = 15;

/// Most members of an ended kind that a step forgets beside as many as it adds: `SWEEP` of `moves.lua`.
const SWEEP: i64 = 100;

/// What stands in a state where a job neither expires nor has a timeout.
const UNBOUNDED: &[u8] = b"00000000000000000000000";

/// Length of a state without its policy.
const STATE_LEN: usize = 99;

/// Arguments of a command that is run at once for many jobs.
struct Args<'a>(Vec<&'a [u8]>);

impl<'a> Args<'a> {
    fn new(command: &'static [u8], key: &'a [u8]) -> Self {
        Self(vec![command, key])
    }

    fn of(command: &'static [u8], key: &'a [u8], members: &[&'a [u8]]) -> Self {
        let mut args = Self::new(command, key);
        args.0.extend_from_slice(members);
        args
    }

    /// Runs it, unless it is about nothing.
    fn run(&self, step: &mut Step<'_>) -> Result<(), Failed> {
        if self.0.len() > 2 {
            step.call(&self.0)?;
        }
        Ok(())
    }
}

/// Tells whether each of them stands there once.
fn are_distinct(ids: &[&[u8]]) -> bool {
    let mut sorted = ids.to_vec();
    sorted.sort_unstable();
    sorted.windows(2).all(|pair| pair[0] != pair[1])
}

fn card(step: &mut Step<'_>, key: usize) -> Result<i64, Failed> {
    let key = step.key(key);
    step.call(&[b"ZCARD", key])?.int().ok_or(Failed)
}

fn add(step: &mut Step<'_>, field: &[u8], number: i64) -> Result<i64, Failed> {
    let key = step.key(META);
    step.call(&[b"HINCRBY", key, field, itoa::Buffer::new().format(number).as_bytes()])?.int().ok_or(Failed)
}

/// What many jobs have in common that are enqueued together.
struct Options<'a> {
    text: &'a [u8],
    share: i64,
    due: i64,
    expires: i64,
    timeout: i64,
    policy: &'a str,
}

impl<'a> Options<'a> {
    /// Reads what `NewJob::options` writes.
    fn read(text: &'a [u8], now: i64) -> Option<Self> {
        let split = text.iter().position(|byte| *byte == b';')?;
        let (numbers, policy) = (&text[..split], std::str::from_utf8(&text[split + 1..]).ok()?);
        let has_group = policy.contains(';');
        let mut numbers = numbers.split(|byte| *byte == b',').map(int_of);
        let mut next = || numbers.next()?;
        let (priority, delay, at, patience, timeout) = (next()?, next()?, next()?, next()?, next()?);
        let is_usual = (-128..=127).contains(&priority) && [delay, at, patience, timeout].iter().all(|ms| *ms >= 0);
        let expires = if patience > 0 { now + patience } else { 0 };
        let share = (127 - priority) << 44;
        (is_usual && !has_group && numbers.next().is_none()).then_some(Self {
            text,
            share,
            due: at.max(now + delay),
            expires,
            timeout,
            policy,
        })
    }
}

/// `enqueue.lua`
fn enqueue(step: &mut Step<'_>) -> Result<Ended, Failed> {
    let (now, (keys, args)) = (step.now_us() / 1000, step.lens());
    if keys != KINDS.len() || args < 7 || args % 3 != 1 || !step.arg(4).is_empty() {
        return Ok(Ended::Declined);
    }
    let jobs: Vec<[&[u8]; 3]> =
        (5..args).step_by(3).map(|at| [step.arg(at), step.arg(at + 1), step.arg(at + 2)]).collect();
    let ids: Vec<&[u8]> = jobs.iter().map(|job| job[0]).collect();
    let mut options: Vec<Options<'_>> = Vec::new();
    for [_, text, _] in &jobs {
        if options.last().is_none_or(|last| last.text != *text) {
            let Some(read) = Options::read(text, now) else { return Ok(Ended::Declined) };
            options.push(read);
        }
    }
    let held = step.ask(&Args::of(b"HMGET", step.key(STATES), &ids).0)?;
    let is_new = held.answer().bulks().is_some_and(|states| states.iter().all(Option::is_none));
    let (meta, waiters) = (step.key(META), step.key(WAITERS));
    let nobody_waits = step.call(&[b"EXISTS", waiters])?.int() == Some(0);
    if !is_new || !nobody_waits || !are_distinct(&ids) {
        return Ok(Ended::Declined);
    }
    let bytes: i64 = jobs.iter().map(|job| job[2].len() as i64).sum();
    let length = card(step, WAITING)? + card(step, DELAYED)? + card(step, ACTIVE)? + card(step, BLOCKED)?;
    let rules = step.ask(&[b"HMGET", meta, b"bytes", b"grouped", b"events_max"])?;
    let held = match rules.answer().bulks().as_deref() {
        Some([bytes, None, None]) => bytes.map_or(Some(0), int_of),
        _ => None,
    };
    let (Some(held), Some(length_max), Some(bytes_max)) = (held, step.int(2), step.int(3)) else {
        return Ok(Ended::Declined);
    };
    let count = jobs.len() as i64;
    if length + count > length_max || held + bytes > bytes_max {
        return Ok(Ended::Declined);
    }

    let last = add(step, b"seq", count)? - count;
    admit(step, now, last, &jobs, &options)?;
    if bytes > 0 {
        add(step, b"bytes", bytes)?;
    }
    let mut records = Args::new(b"HSET", step.key(RECORDS));
    jobs.iter().for_each(|[id, _, record]| records.0.extend([id, record]));
    records.run(step)?;
    step.reply().array(2);
    step.reply().bulk(b"ok");
    step.reply().bulk(&b"n".repeat(jobs.len()));
    Ok(Ended::Replied)
}

/// Gives new jobs their numbers after `last`, and puts them in their places.
fn admit(step: &mut Step<'_>, now: i64, last: i64, jobs: &[[&[u8]; 3]], options: &[Options<'_>]) -> Result<(), Failed> {
    let mut options = options.iter();
    let mut current = options.next().ok_or(Failed)?;
    let mut states = Vec::with_capacity(jobs.len());
    let mut dues = Vec::new();
    for (number, [id, text, record]) in (last + 1..).zip(jobs) {
        if current.text != *text {
            current = options.next().ok_or(Failed)?;
        }
        let Options { share, due, expires, timeout, policy, .. } = current;
        let (place, order, size) = (if *due > now { 'd' } else { 'w' }, share + number, record.len());
        let mut state = format!("{place}{order:016}{:024}{now:013}{expires:013}{timeout:010}{size:09}{now:013}", 0);
        debug_assert_eq!(state.len(), STATE_LEN, "its parts have their widths");
        state.push_str(policy);
        states.push(state);
        dues.push((*id, due.to_string(), expires.to_string()));
    }
    let mut args = Args::new(b"HSET", step.key(STATES));
    let [mut waiting, mut delayed, mut expiry] =
        [WAITING, DELAYED, EXPIRY].map(|key| Args::new(b"ZADD", step.key(key)));
    for (state, (id, due, expires)) in states.iter().zip(&dues) {
        args.0.extend([id, state.as_bytes()]);
        match state.as_bytes()[0] {
            b'w' => waiting.0.extend([&state.as_bytes()[1..17], *id]),
            _ => delayed.0.extend([due.as_bytes(), *id]),
        }
        if expires != "0" {
            expiry.0.extend([expires.as_bytes(), *id]);
        }
    }
    [waiting, delayed, expiry, args].iter().try_for_each(|args| args.run(step))
}

/// A finished state of a job that was leased as `token`; none if it is something else.
fn completed(state: &[u8], token: &[u8], now: &str) -> Option<Vec<u8>> {
    let is_held = state.len() > STATE_LEN && state[0] == b'a' && &state[25..41] == token;
    let has_group = || state[STATE_LEN..].contains(&b';');
    (is_held && !has_group()).then(|| [b"c", &state[1..41], now.as_bytes(), &state[54..]].concat())
}

/// `work.lua`
fn work(step: &mut Step<'_>) -> Result<Ended, Failed> {
    let (keys, args) = step.lens();
    if keys != KINDS.len() || args < 5 || args % 5 != 0 || !step.arg(4).is_empty() {
        return Ok(Ended::Declined);
    }
    let plain = |at: usize| step.arg(at + 2) == b"c" && step.arg(at + 4).is_empty();
    let (Some(count), Some(lease)) = (step.int(2), step.int(3)) else { return Ok(Ended::Declined) };
    if !(6..args).step_by(5).all(plain) {
        return Ok(Ended::Declined);
    }
    let [flows, notes, waiters] = [FLOWS, NOTES, WAITERS].map(|key| step.key(key));
    if step.call(&[b"EXISTS", flows, notes, waiters])?.int() != Some(0) {
        return Ok(Ended::Declined);
    }
    let meta = step.key(META);
    if count == 0 && step.call(&[b"HEXISTS", meta, b"events_max"])?.int() != Some(0) {
        return Ok(Ended::Declined);
    }
    let now = step.now_us() / 1000;
    let Some(done) = Done::look(step, now)? else { return Ok(Ended::Declined) };
    let taken = if count > 0 { Taken::look(step, now, count)? } else { Some(Taken::default()) };
    let Some(taken) = taken else { return Ok(Ended::Declined) };
    done.write(step, now)?;
    taken.write(step, now, lease, done.ids.len())?;
    Ok(Ended::Replied)
}

/// Jobs that are completed.
struct Done<'a> {
    ids: Vec<&'a [u8]>,
    states: Vec<Vec<u8>>,
    bytes: i64,
    /// How many completed ones are to be forgotten then.
    forgotten: i64,
}

impl<'a> Done<'a> {
    /// Looks at what the outcomes are about; none if that is for the script.
    fn look(step: &mut Step<'a>, now: i64) -> Result<Option<Self>, Failed> {
        let (_, args) = step.lens();
        let ids: Vec<&[u8]> = (6..args).step_by(5).map(|at| step.arg(at)).collect();
        let mut done = Self { ids, states: Vec::new(), bytes: 0, forgotten: 0 };
        if done.ids.is_empty() {
            return Ok(Some(done));
        }
        let held = step.ask(&Args::of(b"HMGET", step.key(STATES), &done.ids).0)?;
        let text = format!("{now:013}");
        for (index, state) in held.answer().bulks().unwrap_or_default().into_iter().enumerate() {
            let token = step.arg(7 + 5 * index);
            let Some((state, finished)) = state.and_then(|state| Some((state, completed(state, token, &text)?))) else {
                return Ok(None);
            };
            let Some(size) = int_of(&state[77..86]) else { return Ok(None) };
            done.bytes += size;
            done.states.push(finished);
        }
        let mut kept = step.arg(1).split(|byte| *byte == b',').map(int_of);
        let (most, age) = (kept.nth(1).flatten(), kept.nth(2).flatten());
        let (Some(most @ 1..), Some(age @ 1..)) = (most, age) else { return Ok(None) };
        let key = step.key(COMPLETED);
        let aged = step.call(&[b"ZCOUNT", key, b"-inf", (now - age).to_string().as_bytes()])?.int().ok_or(Failed)?;
        let added = done.ids.len() as i64;
        done.forgotten = aged.max(card(step, COMPLETED)? + added - most).min(added + SWEEP);
        Ok((done.states.len() == done.ids.len() && are_distinct(&done.ids)).then_some(done))
    }

    fn write(&self, step: &mut Step<'a>, now: i64) -> Result<(), Failed> {
        if self.ids.is_empty() {
            return Ok(());
        }
        let now = now.to_string();
        let mut ended = Args::new(b"ZADD", step.key(COMPLETED));
        let mut states = Args::new(b"HSET", step.key(STATES));
        for (id, state) in self.ids.iter().zip(&self.states) {
            ended.0.extend([now.as_bytes(), id]);
            states.0.extend([id, state.as_slice()]);
        }
        Args::of(b"ZREM", step.key(ACTIVE), &self.ids).run(step)?;
        ended.run(step)?;
        states.run(step)?;
        Args::of(b"HDEL", step.key(RECORDS), &self.ids).run(step)?;
        if self.bytes > 0 {
            add(step, b"bytes", -self.bytes)?;
        }
        add(step, b"completed", self.ids.len() as i64)?;
        if self.forgotten > 0 {
            let (key, last) = (step.key(COMPLETED), (self.forgotten - 1).to_string());
            let oldest = step.ask(&[b"ZRANGE", key, b"0", last.as_bytes()])?;
            step.call(&[b"ZREMRANGEBYRANK", key, b"0", last.as_bytes()])?;
            let oldest: Vec<&[u8]> = oldest.answer().bulks().unwrap_or_default().into_iter().flatten().collect();
            Args::of(b"HDEL", step.key(STATES), &oldest).run(step)?;
        }
        Ok(())
    }
}

/// Jobs that are leased: id, state as it is before, record.
#[derive(Default)]
struct Taken {
    jobs: Vec<[Vec<u8>; 3]>,
    fence: i64,
}

impl Taken {
    /// Looks for jobs to lease; none if that is for the script, as it is where there are none.
    fn look(step: &mut Step<'_>, now: i64, count: i64) -> Result<Option<Self>, Failed> {
        let moment = now.to_string();
        for key in [EXPIRY, ACTIVE, DELAYED] {
            let key = step.key(key);
            let due = step.ask(&[b"ZRANGEBYSCORE", key, b"-inf", moment.as_bytes(), b"LIMIT", b"0", b"1"])?;
            if due.answer().bulks().is_none_or(|due| !due.is_empty()) {
                return Ok(None);
            }
        }
        let [meta, waiting] = [META, WAITING].map(|key| step.key(key));
        let rules =
            [b"HMGET".as_slice(), meta, b"paused", b"active_max", b"interval_us", b"grouped", b"events_max", b"fence"];
        let rules = step.ask(&rules)?;
        let fence = match rules.answer().bulks().as_deref() {
            Some([None, None, None, None, None, fence]) => fence.map_or(Some(0), int_of),
            _ => None,
        };
        let Some(fence) = fence else { return Ok(None) };
        let ids = step.ask(&[b"ZRANGE", waiting, b"0", (count - 1).to_string().as_bytes()])?;
        let ids: Vec<&[u8]> = ids.answer().bulks().unwrap_or_default().into_iter().flatten().collect();
        if ids.is_empty() {
            return Ok(None);
        }
        let states = step.ask(&Args::of(b"HMGET", step.key(STATES), &ids).0)?;
        let records = step.ask(&Args::of(b"HMGET", step.key(RECORDS), &ids).0)?;
        let (states, records) = (states.answer().bulks(), records.answer().bulks());
        let mut jobs = Vec::with_capacity(ids.len());
        for ((id, state), record) in ids.iter().zip(states.unwrap_or_default()).zip(records.unwrap_or_default()) {
            let (Some(state), Some(record)) = (state, record) else { return Ok(None) };
            if state.len() <= STATE_LEN || &state[54..77] != UNBOUNDED {
                return Ok(None);
            }
            jobs.push([id.to_vec(), state.to_vec(), record.to_vec()]);
        }
        Ok((jobs.len() == ids.len()).then_some(Self { jobs, fence }))
    }

    /// Leases them, and replies.
    fn write(mut self, step: &mut Step<'_>, now: i64, lease: i64, settled: usize) -> Result<(), Failed> {
        let fence = (self.fence + 1).max(now * 1000);
        let (mark, ends) = (format!("{fence:016}{now:013}"), (now + lease).to_string());
        for [_, state, _] in &mut self.jobs {
            state[0] = b'a';
            state[25..54].copy_from_slice(mark.as_bytes());
        }
        if !self.jobs.is_empty() {
            let [meta, waiting] = [META, WAITING].map(|key| step.key(key));
            step.call(&[b"HSET", meta, b"fence", fence.to_string().as_bytes()])?;
            step.call(&[b"ZREMRANGEBYRANK", waiting, b"0", (self.jobs.len() - 1).to_string().as_bytes()])?;
            let mut states = Args::new(b"HSET", step.key(STATES));
            let mut active = Args::new(b"ZADD", step.key(ACTIVE));
            for [id, state, _] in &self.jobs {
                states.0.extend([id.as_slice(), state]);
                active.0.extend([ends.as_bytes(), id]);
            }
            states.run(step)?;
            active.run(step)?;
        }
        let reply = step.reply();
        reply.array(4);
        reply.bulk(&b"c".repeat(settled));
        reply.int(0);
        reply.int(0);
        reply.array(3 * self.jobs.len());
        self.jobs.iter().flatten().for_each(|part| reply.bulk(part));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use redpoll_store::{Config, Connection, Store, Value};
    use redpoll_testkit::Random;

    use super::*;

    /// How much is kept of ended jobs.
    const KEPT: [&str; 3] = ["5,4,3,2,60000,60000", "5,1,3,2,60000,60000", "5,9,3,2,60000,60000"];

    /// Random queues, and steps upon each.
    const QUEUES: usize = 150;
    const STEPS: usize = 40;

    /// How often twins were called, and how often they took the usual way.
    static CALLED: AtomicUsize = AtomicUsize::new(0);
    static REPLIED: AtomicUsize = AtomicUsize::new(0);

    fn counted(ended: Result<Ended, Failed>) -> Result<Ended, Failed> {
        CALLED.fetch_add(1, Ordering::Relaxed);
        REPLIED.fetch_add(usize::from(ended == Ok(Ended::Replied)), Ordering::Relaxed);
        ended
    }

    fn keys(queue: &str) -> Vec<String> {
        KINDS.iter().map(|kind| format!("{{k}}:{queue}:{kind}")).collect()
    }

    fn eval(text: &str, queue: &str, args: &[String]) -> Vec<String> {
        let keys = keys(queue);
        let head = ["EVAL".to_owned(), text.to_owned(), keys.len().to_string()];
        head.into_iter().chain(keys).chain(args.iter().cloned()).collect()
    }

    /// Everything in a queue.
    fn contents(connection: &mut Connection, queue: &str) -> Vec<Value> {
        let mut read = |command: &str, key: &str, rest: &[&str]| connection.call(&[&[command, key], rest].concat());
        keys(queue)
            .iter()
            .map(|key| match read("TYPE", key, &[]).as_str() {
                Some("hash") => {
                    let pairs = read("HGETALL", key, &[]).into_map().unwrap();
                    let text = |value: Value| value.as_str().unwrap().to_owned();
                    let pairs: BTreeMap<_, _> =
                        pairs.into_iter().map(|(name, value)| (text(name), text(value))).collect();
                    Value::Bulk(format!("{pairs:?}").into_bytes())
                }
                Some("zset") => read("ZRANGE", key, &["0", "-1", "WITHSCORES"]),
                Some("stream") => read("XRANGE", key, &["-", "+"]),
                _ => Value::Nil,
            })
            .collect()
    }

    /// Jobs, of which one of so many has a group.
    fn enqueue_args(random: &mut Random, groups: u64) -> Vec<String> {
        let length_max = if random.below(8) == 0 { "6" } else { "1000" };
        let flow = if random.below(40) == 0 { "flow" } else { "" };
        let mut args: Vec<String> = [*random.pick(&KEPT), length_max, "100000", flow].map(str::to_owned).into();
        for _ in 0..random.between(1, 5) {
            let priority = random.between(-128, 127);
            let [delay, patience, timeout] =
                [0; 3].map(|_: i64| if random.below(25) == 0 { random.between(1, 9) } else { 0 });
            args.push(format!("job{}", random.below(200)));
            let group = if random.below(groups) == 0 { *random.pick(&[";a", ";b"]) } else { "" };
            args.push(format!("{priority},{delay},0,{patience},{timeout};3,2,1,10{group}"));
            args.push("j3:nam".to_owned() + &"x".repeat(random.below(9) as usize));
        }
        args
    }

    fn work_args(random: &mut Random, leased: &mut Vec<(String, String)>) -> Vec<String> {
        let name = if random.below(30) == 0 { "me" } else { "" };
        let mut args =
            [(*random.pick(&KEPT)).to_owned(), random.below(5).to_string(), "50".into(), name.into(), "1000".into()]
                .to_vec();
        for _ in 0..random.below(4) {
            if leased.is_empty() {
                break;
            }
            let at = random.below(leased.len() as u64) as usize;
            // Sometimes the same is said again later.
            let (id, token) = if random.below(8) == 0 { leased[at].clone() } else { leased.swap_remove(at) };
            let token = if random.below(12) == 0 { "1".to_owned() } else { token };
            let verb = if random.below(40) == 0 { *random.pick(&["f", "g", "r"]) } else { "c" };
            let ms = if verb == "r" { "0" } else { "" };
            args.extend([id, token, verb.to_owned(), "what".into(), ms.into()]);
        }
        args
    }

    /// Takes from a reply what was leased: ids and tokens.
    fn leases(reply: &Value) -> Vec<(String, String)> {
        let Some([_, _, _, jobs]) = reply.as_array() else { return Vec::new() };
        let jobs = jobs.as_array().unwrap().chunks(3);
        jobs.map(|job| (job[0].as_str().unwrap().to_owned(), job[1].as_str().unwrap()[25..41].to_owned())).collect()
    }

    #[test]
    fn each_does_what_its_step_does() {
        let seed = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64;
        println!("seed {seed}");
        let store = Store::open(Config::in_memory()).unwrap();
        assert!(store.twins().add(ENQUEUE.source(), |step| counted(enqueue(step))));
        assert!(store.twins().add(WORK.source(), |step| counted(work(step))));
        // Other texts, so without twins.
        let interpreted = [&ENQUEUE, &WORK].map(|script| format!("{}\n", script.source()));
        let texts = [[ENQUEUE.source(), WORK.source()], [&interpreted[0], &interpreted[1]]];
        let (mut connection, mut random) = (store.connect(), Random::new(seed));
        for queue in 0..QUEUES {
            let mut leased = Vec::new();
            let groups = if queue % 3 == 0 { 30 } else { u64::MAX };
            for turn in 0..STEPS {
                if queue % 5 == 0 && random.below(STEPS as u64) == 0 {
                    for side in ["0", "1"] {
                        connection.call(&["HSET", &keys(&format!("{queue}:{side}"))[0], "events_max", "50"]);
                    }
                }
                let is_work = random.below(3) > 0;
                let args =
                    if is_work { work_args(&mut random, &mut leased) } else { enqueue_args(&mut random, groups) };
                // One transaction has one time.
                connection.call(&["MULTI"]);
                for (side, texts) in texts.iter().enumerate() {
                    connection.call(&eval(texts[usize::from(is_work)], &format!("{queue}:{side}"), &args));
                }
                let Value::Array(replies) = connection.call(&["EXEC"]) else { panic!("it is a transaction") };
                assert_eq!(replies[0], replies[1], "{args:?}, turn {turn} of queue {queue}, seed {seed}");
                let [twins, steps] = ["0", "1"].map(|side| contents(&mut connection, &format!("{queue}:{side}")));
                assert_eq!(twins, steps, "{args:?}, turn {turn} of queue {queue}, seed {seed}");
                leased.extend(if is_work { leases(&replies[0]) } else { Vec::new() });
            }
        }
        let (called, replied) = (CALLED.load(Ordering::Relaxed), REPLIED.load(Ordering::Relaxed));
        assert!(replied > called / 4 && replied < called, "{replied} of {called}");
    }
}
