//! What commands are logged as: replayed at any later time, the log must make the same data.
//!
//! Time stands at 2024-01-01 (1704067200000 ms) in every case. Each case also replays what was logged on a second engine, a day later, and compares
//! the data.

mod blocking;
mod expired;
mod hash_expire;
use crate::support;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use redpoll_commands::args::Args;
use redpoll_commands::client::Arrival;
use redpoll_commands::cx::Cx;
use redpoll_commands::dispatch::{self, Outcome};
use redpoll_commands::engine::{Engine, Log};
use redpoll_commands::error::Error;
use redpoll_commands::journal::Journal;
use redpoll_commands::reload::{Before, reload};
use redpoll_resp::Writer;
use redpoll_testkit::{Reply, Target, command};

/// A log in memory, with the number of units it was appended in.
#[derive(Clone, Default)]
struct Records(Arc<Mutex<Vec<Record>>>, Arc<AtomicUsize>);

/// A logged command and its database.
#[derive(Clone)]
struct Record {
    db: usize,
    args: Vec<Vec<u8>>,
}

impl Log for Records {
    fn append(&self, journal: &Journal, _: Option<u64>) -> u64 {
        self.1.fetch_add(1, Ordering::Relaxed);
        let mut records = self.0.lock().expect("no test panics while it holds the lock");
        records.extend(journal.records().map(|(db, bytes)| {
            let (reply, _) = Reply::decode(bytes).expect("a record is a whole command");
            let args = reply.as_slice().expect("a command is an array").iter();
            let args = args.map(|arg| arg.as_bytes().expect("of bulk strings").to_vec()).collect();
            Record { db, args }
        }));
        records.len() as u64
    }

    fn write_soon(&self) {}

    fn is_synced(&self, offset: u64) -> bool {
        offset <= self.all().len() as u64
    }

    fn request_sync(&self, offset: u64) -> u64 {
        offset
    }

    // A record is safe as soon as it is there.
    fn change_policy(&self, _: &Engine) {}

    fn reload(&self, cx: &mut Cx<'_, '_>) -> Result<(), Error> {
        reload(cx, Before::Replaced, |loading| {
            self.all().iter().try_for_each(|record| {
                let db = record.db.to_string();
                let args: Vec<&[u8]> = record.args.iter().map(Vec::as_slice).collect();
                let selected = loading.command(&[b"SELECT", db.as_bytes()]);
                selected.and_then(|()| loading.command(&args)).map_err(Error::from)
            })
        })
    }
}

impl Records {
    fn all(&self) -> Vec<Record> {
        self.0.lock().expect("no test panics while it holds the lock").clone()
    }

    fn units(&self) -> usize {
        self.1.load(Ordering::Relaxed)
    }

    /// One record a line, with the number of the database where it is not 0.
    fn print(&self) -> Vec<String> {
        let line = |Record { db, args }: Record| {
            let words: Vec<_> = args.iter().map(|arg| String::from_utf8_lossy(arg)).collect();
            if db == 0 { words.join(" ") } else { format!("{db}: {}", words.join(" ")) }
        };
        self.all().into_iter().map(line).collect()
    }
}

/// Runs commands (`+20` lets that many milliseconds pass, `@name` goes on as another client, `&` before a command does not wait for its reply, `!` expects
/// an error) and compares what was logged from the last `---` on.
#[track_caller]
fn check(commands: &[&str], expected: &[&str]) {
    let (mut target, records) = (support::InProcess::new(), Records::default());
    assert!(target.engine.log.set(Box::new(records.clone())).is_ok());
    let mut skipped = 0;
    for line in commands {
        if let Some(ms) = line.strip_prefix('+') {
            target.advance(ms.parse().expect("milliseconds"));
        } else if let Some(name) = line.strip_prefix('@') {
            target.use_client(name);
        } else if let Some(line) = line.strip_prefix('&') {
            target.send(&command(line));
        } else if *line == "---" {
            skipped = records.print().len();
        } else {
            let fails = line.starts_with('!');
            let reply = target.call(&command(line.trim_start_matches('!')));
            assert_eq!(matches!(reply, Reply::Error(_)), fails, "{line} was answered by {}", reply.print());
        }
    }
    assert_eq!(records.print()[skipped..], *expected);
    let mut replayed = support::InProcess::new();
    replayed.advance(1000 * 3600 * 24);
    replay(&replayed.engine, &records);
    target.advance(1000 * 3600 * 24);
    assert_eq!(contents(&mut replayed), contents(&mut target));
}

/// Does what the store does with a log at start.
fn replay(engine: &Engine, records: &Records) {
    let mut session = engine.session(Arrival::embedded());
    let mut out = Writer::default();
    for Record { db, args } in records.all() {
        let select = command(&format!("SELECT {db}"));
        for args in [select, args] {
            let args: Vec<&[u8]> = args.iter().map(Vec::as_slice).collect();
            assert_eq!(dispatch::replay(engine, &mut session, Args(&args), &mut out), Outcome::Done);
            assert!(!out.as_slice().starts_with(b"-"), "replaying failed: {}", out.as_slice().escape_ascii());
            out.clear();
        }
    }
}

/// Every value (of hashes, small ones) of the first two databases with its deadline.
fn contents(target: &mut support::InProcess) -> Vec<(usize, String, String, String)> {
    let mut contents = Vec::new();
    for db in 0..2 {
        target.call(&command(&format!("SELECT {db}")));
        let keys = target.call(&command("KEYS *"));
        for key in keys.as_slice().expect("KEYS answers an array") {
            let name = key.as_bytes().expect("of keys");
            let mut ask = |template: &str| {
                let words = command(template).into_iter().map(|word| if word == b"$" { name.to_vec() } else { word });
                target.call(&words.collect::<Vec<_>>()).print()
            };
            let read = match ask("TYPE $").as_str() {
                "list" => "LRANGE $ 0 -1",
                "hash" => "HGETALL $",
                // In order, unlike SMEMBERS.
                "set" => "ZUNION 1 $",
                "zset" => "ZRANGE $ 0 -1 WITHSCORES",
                "stream" => "XINFO STREAM $ FULL COUNT 0",
                _ => "GET $",
            };
            let (value, deadline) = (without_circumstances(&ask(read)), ask("PEXPIRETIME $"));
            contents.push((db, key.print(), value, deadline));
        }
    }
    contents.sort();
    contents
}

/// Leaves out what a log does not tell of streams: when consumers asked for something, and how entries lie in nodes.
fn without_circumstances(printed: &str) -> String {
    const SILENT: [&str; 4] = ["seen-time", "active-time", "radix-tree-keys", "radix-tree-nodes"];
    let mut lines = printed.lines();
    let mut kept = Vec::new();
    while let Some(line) = lines.next() {
        if SILENT.iter().any(|name| line.ends_with(&format!("\"{name}\""))) {
            lines.next();
        } else {
            kept.push(line);
        }
    }
    kept.join("\n")
}

#[test]
fn most_commands_are_logged_as_they_came() {
    check(&["set Key value"], &["set Key value"]);
    check(&["MSET a 1 b 2", "INCR a", "DECRBY b 5"], &["MSET a 1 b 2", "INCR a", "DECRBY b 5"]);
    check(&["APPEND a x", "SETRANGE a 3 y"], &["APPEND a x", "SETRANGE a 3 y"]);
    check(&["SELECT 1", "SET a x"], &["1: SET a x"]);
    check(&["MSET a 1 b 2", "---", "DEL a b c", "SETNX a 3"], &["DEL a b c", "SETNX a 3"]);
    check(&["SET a x EX 9", "---", "PERSIST a", "RENAME a b"], &["PERSIST a", "RENAME a b"]);
    check(&["SET a x", "---", "COPY a b", "MOVE a 1", "COPY b b DB 1"], &["COPY a b", "MOVE a 1", "COPY b b DB 1"]);
    check(&["SET a x", "---", "SWAPDB 0 1", "SET b y", "FLUSHDB"], &["SWAPDB 0 1", "SET b y", "FLUSHDB"]);
    check(&["SET a x", "---", "FLUSHALL ASYNC"], &["FLUSHALL ASYNC"]);
}

#[test]
fn what_changes_nothing_is_not_logged() {
    check(&["GET a", "DEL a", "SET a x XX", "EXPIRE a 10", "PERSIST a", "COPY a b", "MOVE a 1", "!RENAME a b"], &[]);
    check(&["SET a x", "---", "SETNX a y", "EXPIRE a 10 XX", "SET a y NX", "GETEX a", "RENAME a a"], &[]);
    check(&["SET a x", "---", "!INCR a", "!SETRANGE a -1 x", "!SET a x EX 0", "TOUCH a"], &[]);
    check(&["KEYS *", "SCAN 0", "RANDOMKEY", "DBSIZE", "OBJECT ENCODING a"], &[]);
}

#[test]
fn relative_times_are_logged_as_absolute_ones() {
    check(&["SET a x EX 100"], &["SET a x PXAT 1704067300000"]);
    check(&["SET a x PX 5"], &["SET a x PXAT 1704067200005"]);
    check(&["SET a x EXAT 1800000000"], &["SET a x PXAT 1800000000000"]);
    check(&["SETEX a 100 x", "PSETEX b 7 y"], &["SET a x PXAT 1704067300000", "SET b y PXAT 1704067200007"]);
    check(&["SET a x EX 100", "---", "SET a y KEEPTTL XX GET"], &["SET a y KEEPTTL"]);
    check(&["SET a x", "---", "EXPIRE a 100 NX"], &["PEXPIREAT a 1704067300000"]);
    check(
        &["SET a x", "---", "PEXPIRE a 100", "EXPIREAT a 1800000000"],
        &["PEXPIREAT a 1704067200100", "PEXPIREAT a 1800000000000"],
    );
    check(&["SET a x", "---", "GETEX a EX 100", "GETEX a PERSIST"], &["PEXPIREAT a 1704067300000", "PERSIST a"]);
}

#[test]
fn a_deadline_in_the_past_is_logged_as_a_removal() {
    check(&["SET a x", "---", "EXPIRE a -1"], &["DEL a"]);
    check(&["SET a x", "---", "PEXPIREAT a 5 LT"], &["DEL a"]);
    check(&["SET a x", "---", "GETEX a PXAT 5"], &["DEL a"]);
}

#[test]
fn a_key_that_expired_is_logged_as_removed_before_the_command() {
    check(&["SET a x PX 10", "---", "+20", "GET a"], &["DEL a"]);
    check(&["SET a x PX 10", "---", "+20", "APPEND a y"], &["DEL a", "APPEND a y"]);
    check(&["SET a x PX 10", "SET b y", "---", "+20", "RENAMENX b a"], &["DEL a", "RENAMENX b a"]);
    check(&["SET a x PX 10", "SET b y", "---", "+20", "COPY b a"], &["DEL a", "COPY b a"]);
}

#[test]
fn results_that_depend_on_the_machine_are_logged_as_values() {
    check(&["INCRBYFLOAT a 0.1", "INCRBYFLOAT a 0.2"], &["SET a 0.1 KEEPTTL", "SET a 0.3 KEEPTTL"]);
    check(&["SET a x", "---", "GETDEL a"], &["DEL a"]);
    check(&["SET a x EX 100", "---", "GETSET a y"], &["SET a y"]);
}

#[test]
fn a_transaction_is_logged_command_by_command() {
    check(
        &["MULTI", "SET a 1", "GET a", "INCRBYFLOAT a 1.5", "EXPIRE a 100", "EXEC"],
        &["SET a 1", "SET a 2.5 KEEPTTL", "PEXPIREAT a 1704067300000"],
    );
    check(&["MULTI", "SET a 1", "SELECT 1", "SET a 2", "EXEC"], &["SET a 1", "1: SET a 2"]);
    check(&["MULTI", "SET a 1", "!SET a", "!EXEC", "MULTI", "SET a 1", "DISCARD"], &[]);
    check(&["SET a x", "---", "MULTI", "INCR a", "SET b 1", "EXEC"], &["SET b 1"]);
}

#[test]
fn hashes_are_logged_by_what_they_come_to() {
    check(&["HSET h a 1 b 2", "HINCRBY h a 2", "HDEL h b c"], &["HSET h a 1 b 2", "HINCRBY h a 2", "HDEL h b c"]);
    check(&["HSET h a 1", "---", "HINCRBYFLOAT h a 0.1", "HSETNX h b x"], &["HSET h a 1.1", "HSETNX h b x"]);
    check(
        &[
            "HSET h a x",
            "---",
            "HSETNX h a y",
            "HDEL h b",
            "!HINCRBY h a 1",
            "!HINCRBYFLOAT h a 1",
            "HRANDFIELD h",
            "HSCAN h 0",
        ],
        &[],
    );
}

#[test]
fn lists_are_logged_by_the_key_that_was_popped() {
    check(&["RPUSH l a b c", "LPOP l", "LTRIM l 1 1"], &["RPUSH l a b c", "LPOP l", "LTRIM l 1 1"]);
    check(&["RPUSH l a b c", "---", "LMPOP 2 x l RIGHT COUNT 2"], &["RPOP l 2"]);
    check(&["RPUSH l a b", "---", "LMPOP 1 l LEFT", "LMPOP 1 l LEFT COUNT 9"], &["LPOP l 1", "LPOP l 1"]);
    check(&["RPUSH l a b", "---", "RPOPLPUSH l l", "LMOVE l k LEFT LEFT"], &["RPOPLPUSH l l", "LMOVE l k LEFT LEFT"]);
    check(
        &[
            "RPUSH l a",
            "---",
            "LPUSHX k a",
            "LTRIM l 0 -1",
            "LREM l 0 x",
            "LPOP l 0",
            "!LSET l 5 x",
            "LINSERT l BEFORE x y",
        ],
        &[],
    );
}

#[test]
fn sets_are_logged_by_what_was_popped() {
    check(&["SADD s a b", "SREM s a", "SMOVE s t b"], &["SADD s a b", "SREM s a", "SMOVE s t b"]);
    check(&["SADD s a", "---", "SPOP s"], &["SREM s a"]);
    check(&["SADD s a b c", "---", "SPOP s 3"], &["DEL s"]);
    check(&["SADD s a b c", "---", "SPOP s 9"], &["DEL s"]);
    check(
        &["SADD a 1 2", "SADD b 2", "---", "SINTERSTORE d a b", "SUNIONSTORE a x"],
        &["SINTERSTORE d a b", "SUNIONSTORE a x"],
    );
    check(&["SADD s a", "---", "SADD s a", "SREM s x", "SPOP s 0", "SPOP x", "SMOVE s t x", "SMOVE s s a"], &[]);
    check(&["SADD s a", "---", "SUNIONSTORE x y", "SINTER s s", "SRANDMEMBER s", "!SINTERCARD 0 s"], &[]);
}

#[test]
fn several_members_popped_are_one_removal() {
    for members in [format!("{:?}", Vec::from_iter(0..300)), format!("m{:?}", Vec::from_iter(0..300))] {
        let members = members.replace(['[', ']', ','], "");
        let (mut target, records) = (support::InProcess::new(), Records::default());
        assert!(target.engine.log.set(Box::new(records.clone())).is_ok());
        target.call(&command(&format!("SADD s {members}")));
        let popped = target.call(&command("SPOP s 7"));
        let popped: Vec<_> =
            popped.as_slice().expect("an array").iter().map(|m| m.as_bytes().expect("texts")).collect();
        let logged = records.all().pop().expect("something was logged").args;
        assert_eq!(logged[..2], [b"SREM".to_vec(), b"s".to_vec()]);
        assert_eq!(logged[2..], popped);
        let mut replayed = support::InProcess::new();
        replay(&replayed.engine, &records);
        assert_eq!(contents(&mut replayed), contents(&mut target));
    }
}

#[test]
fn sorted_sets_are_logged_as_they_came_but_for_the_key_that_was_popped() {
    check(
        &["ZADD z 1 a 2 b", "ZADD z XX INCR 0.1 a", "ZINCRBY z 0.2 a", "ZPOPMIN z"],
        &["ZADD z 1 a 2 b", "ZADD z XX INCR 0.1 a", "ZINCRBY z 0.2 a", "ZPOPMIN z"],
    );
    check(
        &["ZADD z 1 a 2 b 3 c", "---", "ZMPOP 2 x z MAX COUNT 2", "ZMPOP 1 z MIN COUNT 9"],
        &["ZPOPMAX z 2", "ZPOPMIN z 1"],
    );
    check(&["ZADD z 1 a", "---", "ZADD z 1 a", "ZADD z NX 2 a", "ZADD z XX 2 b", "ZREM z x", "ZPOPMIN z 0"], &[]);
    check(&["ZADD z inf a", "---", "!ZINCRBY z -inf a", "ZUNIONSTORE x 1 y", "ZMPOP 1 y MIN", "ZRANDMEMBER z"], &[]);
    check(
        &["ZADD a 1 x", "ZADD b 1 y", "PEXPIRE b 10", "+20", "---", "ZUNIONSTORE d 2 a b"],
        &["DEL b", "ZUNIONSTORE d 2 a b"],
    );
}

#[test]
fn ids_and_trimming_of_streams_are_logged_as_what_they_came_to() {
    check(
        &["XADD s 1-1 a 1", "XADD s * a 2", "XADD s NOMKSTREAM * a 3", "XADD s 1704067200000-* a 4"],
        &["XADD s 1-1 a 1", "XADD s 1704067200000-0 a 2", "XADD s 1704067200000-1 a 3", "XADD s 1704067200000-2 a 4"],
    );
    let four = [
        "CONFIG SET stream-node-max-entries 2",
        "XADD s 1-1 a 1",
        "XADD s 1-2 a 2",
        "XADD s 1-3 a 3",
        "XADD s 1-4 a 4",
    ];
    let trimmed = |commands: &[&'static str], expected: &[&str]| {
        check(&[four.as_slice(), &["XGROUP CREATE s g 1-2", "---"], commands].concat(), expected);
    };
    trimmed(&["XADD s MINID ~ 1-4 2-1 a 6"], &["XADD s MINID = 1-3 2-1 a 6"]);
    trimmed(
        &["XADD s MAXLEN 3 2-1 a 7", "XADD s MAXLEN ~ 1 LIMIT 1 * a 8"],
        &["XADD s MAXLEN 3 2-1 a 7", "XADD s MAXLEN = 4 1704067200000-0 a 8"],
    );
    trimmed(&["XADD s MAXLEN ~ 1 * a 6", "XTRIM s MINID ~ 9-9"], &["XADD s MAXLEN = 1 1704067200000-0 a 6"]);
    trimmed(&["XTRIM s MINID ~ 9-9", "XTRIM s MAXLEN 0"], &["XTRIM s MAXLEN = 0"]);
    trimmed(
        &["XTRIM s MAXLEN ~ 2 ACKED", "XTRIM s MINID ~ 9-9 ACKED", "XTRIM s MINID ~ 9-9 DELREF"],
        &["XTRIM s MAXLEN = 2 ACKED", "XTRIM s MAXLEN = 0 DELREF"],
    );
    trimmed(
        &["XTRIM s MAXLEN 3", "XDEL s 1-2 9-9", "XSETID s 9-9", "XSETID s 9-9 MAXDELETEDID 5-5"],
        &["XTRIM s MAXLEN 3", "XDEL s 1-2 9-9", "XSETID s 9-9", "XSETID s 9-9 MAXDELETEDID 5-5"],
    );
    trimmed(
        &["!XADD s 1-1 a 1", "XTRIM s MAXLEN 9", "XTRIM s MAXLEN ~ 3", "XDEL s 9-9", "XADD t NOMKSTREAM * a 1"],
        &[],
    );
}

#[test]
fn deliveries_are_logged_as_claims() {
    let group = ["XADD s 1-1 a 1", "XADD s 1-2 a 2", "XGROUP CREATE s g 0", "---"];
    let claim = |consumer: &str, id: &str, count: &str, last: &str| {
        format!("XCLAIM s g {consumer} 0 {id} TIME 1704067200000 RETRYCOUNT {count} FORCE JUSTID LASTID {last}")
    };
    let logged = |commands: &[&'static str], expected: &[&str]| check(&[group.as_slice(), commands].concat(), expected);
    let (first, second) = (claim("c", "1-1", "1", "1-1"), claim("c", "1-2", "1", "1-2"));
    logged(&["XREADGROUP GROUP g c STREAMS s >"], &[&first, &second, "XGROUP SETID s g 1-2 ENTRIESREAD 2"]);
    logged(
        &["XREADGROUP GROUP g c COUNT 1 NOACK STREAMS s >"],
        &["XGROUP SETID s g 1-1 ENTRIESREAD 1", "XGROUP CREATECONSUMER s g c"],
    );
    logged(
        &["XGROUP SETID s g 1-2", "XREADGROUP GROUP g c STREAMS s >", "XREADGROUP GROUP g c STREAMS s >"],
        &["XGROUP SETID s g 1-2", "XGROUP CREATECONSUMER s g c"],
    );
    let setid = "XGROUP SETID s g 1-1 ENTRIESREAD 1";
    logged(
        &["XREADGROUP GROUP g c COUNT 1 STREAMS s >", "XCLAIM s g d 0 1-1", "XACK s g 1-1 1-2", "XACK s g 1-1"],
        &[&first, setid, &claim("d", "1-1", "2", "1-1"), "XACK s g 1-1 1-2"],
    );
    logged(
        &["XREADGROUP GROUP g c COUNT 1 STREAMS s >", "XDEL s 1-1", "XCLAIM s g d 0 1-1"],
        &[&first, setid, "XDEL s 1-1", &first, "XGROUP CREATECONSUMER s g d"],
    );
    logged(
        &[
            "XREADGROUP GROUP g c COUNT 1 STREAMS s >",
            "XAUTOCLAIM s g d 0 0 JUSTID",
            "XDEL s 1-1",
            "XAUTOCLAIM s g c 0 0",
        ],
        &[&first, setid, &claim("d", "1-1", "1", "1-1"), "XDEL s 1-1", &claim("d", "1-1", "1", "1-1")],
    );
    logged(&["XCLAIM s g c 0 1-2 LASTID 1-1"], &["XGROUP SETID s g 1-1 ENTRIESREAD -1", "XGROUP CREATECONSUMER s g c"]);
    logged(
        &[
            "XGROUP CREATECONSUMER s g c",
            "XGROUP CREATECONSUMER s g c",
            "XGROUP DELCONSUMER s g c",
            "XGROUP DELCONSUMER s g c",
        ],
        &["XGROUP CREATECONSUMER s g c", "XGROUP DELCONSUMER s g c"],
    );
    logged(
        &[
            "XREADGROUP GROUP g c STREAMS s >",
            "XACKDEL s g ACKED IDS 1 1-1",
            "XDELEX s DELREF IDS 1 1-2",
            "XDELEX s IDS 1 1-2",
        ],
        &[
            &first,
            &second,
            "XGROUP SETID s g 1-2 ENTRIESREAD 2",
            "XACKDEL s g ACKED IDS 1 1-1",
            "XDELEX s DELREF IDS 1 1-2",
        ],
    );
    logged(&["XREAD STREAMS s 0", "XPENDING s g", "!XREADGROUP GROUP x c STREAMS s >"], &[]);
}

#[test]
fn what_a_consumer_reads_again_is_not_logged() {
    let (mut target, records) = (support::InProcess::new(), Records::default());
    assert!(target.engine.log.set(Box::new(records.clone())).is_ok());
    for line in ["XADD s 1-1 a 1", "XGROUP CREATE s g 0", "XREADGROUP GROUP g c STREAMS s >"] {
        target.call(&command(line));
    }
    let before = records.print();
    target.call(&command("XREADGROUP GROUP g c STREAMS s 0"));
    assert!(target.call(&command("XPENDING s g - + 9")).print().ends_with("(integer) 2"));
    assert_eq!(records.print(), before);
    target.call(&command("DEBUG LOADAOF"));
    assert!(target.call(&command("XPENDING s g - + 9")).print().ends_with("(integer) 1"));
}

#[test]
fn what_redis_logs_of_limited_trimming_is_understood() {
    let (mut target, records) = (support::InProcess::new(), Records::default());
    assert!(target.engine.log.set(Box::new(records.clone())).is_ok());
    for line in ["XADD s 1-1 a 1", "XADD s 1-2 a 2", "XADD s MAXLEN = 1 LIMIT 1 1-3 a 3"] {
        records.0.lock().unwrap().push(Record { db: 0, args: command(line) });
    }
    assert_eq!(target.call(&command("DEBUG LOADAOF")).print(), "OK");
    assert_eq!(target.call(&command("XLEN s")).print(), "(integer) 1");
}

#[test]
fn loading_the_log_again_changes_nothing() {
    check(&["SET a x EX 100", "RPUSH l 1 2 3", "SELECT 2", "HSET h f v", "---", "DEBUG LOADAOF", "GET a"], &[]);
    check(&["SET a x PX 10", "+20", "DEBUG LOADAOF", "---", "GET a"], &["DEL a"]);
    check(&["SET a x", "---", "MULTI", "SET b y", "DEBUG LOADAOF", "EXEC", "DEBUG LOADAOF"], &["SET b y"]);
    check(&["DEBUG POPULATE 3", "---", "DEBUG LOADAOF", "DEBUG POPULATE 3"], &[]);
    check(&["DEBUG POPULATE 3 k 2000"], &["DEBUG POPULATE 3 k 2000"]);
}

#[test]
fn a_log_that_cannot_be_loaded_leaves_everything_as_it_was() {
    let (mut target, records) = (support::InProcess::new(), Records::default());
    assert!(target.engine.log.set(Box::new(records.clone())).is_ok());
    for line in ["SET a text", "SELECT 3", "RPUSH l 1 2"] {
        target.call(&command(line));
    }
    let before = target.call(&command("DEBUG DIGEST")).print();
    records.0.lock().unwrap().push(Record { db: 0, args: command("INCR a") });
    assert_eq!(target.call(&command("DEBUG LOADAOF")).print(), "(error) ERR value is not an integer or out of range");
    assert_eq!(target.call(&command("DEBUG DIGEST")).print(), before);
    assert_eq!(target.call(&command("DBSIZE")).print(), "(integer) 1");
    records.0.lock().unwrap().pop();
    assert_eq!(target.call(&command("DEBUG LOADAOF")).print(), "OK");
    assert_eq!(target.call(&command("DEBUG DIGEST")).print(), before);
}
