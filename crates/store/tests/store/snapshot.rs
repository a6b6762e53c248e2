//! Snapshots: made by SAVE and BGSAVE, loaded at the start and by DEBUG RELOAD, refused when damaged, and those of redis-server as well as ours.

use crate::support;
use std::process::Command;

use crate::support::workload::Workload;
use crate::support::{digest, info, let_soon_pass, run, succeed, until_written};
use redpoll_store::{Config, Error, Store, Value};
use redpoll_testkit::{Client, RedisServer, Reply, Scratch};

const OK: &str = "OK";

#[track_caller]
fn ok(store: &Store, args: &[&str]) {
    assert_eq!(store.call(args), Value::Simple(OK.into()), "{args:?}");
}

/// Values of every type in every encoding, deadlines, several databases, functions.
fn fill(store: &Store) {
    let mut connection = store.connect();
    for db in [0, 3, 15] {
        succeed(&mut connection, &format!("SELECT {db}"));
        for line in
            ["SET empty x", "SET int 12345", "SET big-int 9223372036854775807", "SET text hello", "SET float 3.0"]
        {
            succeed(&mut connection, line);
        }
        connection.call(&["SET", "none", ""]);
        let long = "abcdefgh".repeat(2000);
        connection.call(&["SET", "long", &long]);
        connection.call(&[
            "SET",
            "random",
            &(0..9000_u32).map(|n| char::from(33 + (n.wrapping_mul(2_654_435_761) >> 25) as u8)).collect::<String>(),
        ]);
        for count in [1, 10, 200, 3000] {
            for number in 0..count {
                succeed(&mut connection, &format!("RPUSH list:{count} element:{number}"));
                succeed(&mut connection, &format!("SADD ints:{count} {}", number * 37));
                succeed(&mut connection, &format!("SADD set:{count} member:{number}"));
                succeed(&mut connection, &format!("HSET hash:{count} field:{number} value:{number}"));
                succeed(&mut connection, &format!("ZADD zset:{count} {}.25 member:{number}", number * 7));
                succeed(&mut connection, &format!("XADD stream:{count} {}-1 name {number} other x", number + 1));
            }
            connection.call(&["RPUSH", &format!("list:{count}"), &long]);
        }
        for line in [
            "ZADD zset:10 inf most -inf least 1e300 much -0.0 zero",
            "XGROUP CREATE stream:200 group 0",
            "XGROUP CREATE stream:200 other $ ENTRIESREAD 7",
            "XREADGROUP GROUP group alice COUNT 30 STREAMS stream:200 >",
            "XREADGROUP GROUP group bob COUNT 5 STREAMS stream:200 >",
            "XACK stream:200 group 3-1 4-1",
            "XGROUP CREATECONSUMER stream:200 group carol",
            "XDEL stream:3000 7-1 8-1 3000-1",
            "XADD stream:gone MAXLEN 0 5-5 a b",
            "EXPIRE text 1000",
            "PEXPIREAT hash:200 99999999999999",
            "SETBIT bits 70000 1",
            "PFADD hll a b c d e",
            "GEOADD geo 13.361389 38.115556 Palermo",
        ] {
            succeed(&mut connection, line);
        }
    }
    let library = "#!lua name=lib\nredis.register_function('answer', function() return 42 end)";
    assert!(matches!(store.call(&["FUNCTION", "LOAD", library]), Value::Bulk(_)));
}

fn reopen(store: Store, dir: &Scratch) -> Store {
    drop(store);
    support::with_snapshots(dir)
}

#[test]
fn everything_comes_back_as_it_was() {
    for compression in ["yes", "no"] {
        let dir = Scratch::new().unwrap();
        let store = support::with_snapshots(&dir);
        ok(&store, &["CONFIG", "SET", "rdbcompression", compression]);
        fill(&store);
        ok(&store, &["SAVE"]);
        let groups = |store: &Store| {
            let asked: [&[&str]; 3] = [
                &["XINFO", "GROUPS", "stream:200"],
                &["XPENDING", "stream:200", "group"],
                &["XINFO", "STREAM", "stream:gone"],
            ];
            asked.map(|question| store.call(question))
        };
        let expected = (digest(&store), groups(&store));
        let store = reopen(store, &dir);
        assert_eq!((digest(&store), groups(&store)), expected);
        assert_eq!(store.call(&["FCALL", "answer", "0"]), Value::Int(42));
        assert_eq!(info(&store, "rdb_changes_since_last_save"), "0");
        assert_eq!(info(&store, "rdb_last_load_keys_loaded"), store_keys(&store).to_string());
        ok(&store, &["DEBUG", "RELOAD"]);
        assert!(digest(&store) == expected.0);
        assert_eq!(store.call(&["FCALL", "answer", "0"]), Value::Int(42));
    }
}

fn store_keys(store: &Store) -> i64 {
    let mut connection = store.connect();
    let count = |db| {
        succeed(&mut connection, &format!("SELECT {db}"));
        support::int(&mut connection, "DBSIZE")
    };
    (0..16).map(count).sum()
}

#[test]
fn fields_with_deadlines_come_back() {
    let dir = Scratch::new().unwrap();
    let store = support::with_snapshots(&dir);
    let mut connection = store.connect();
    for line in
        ["HSET small a 1 b 2", "HPEXPIREAT small 4102444800000 FIELDS 1 a", "HSET large a 1", "HSET gone a 1 b 2"]
    {
        succeed(&mut connection, line);
    }
    (0..2000).for_each(|number| succeed(&mut connection, &format!("HSET large field:{number} {number}")));
    succeed(&mut connection, "HPEXPIREAT large 4102444799999 FIELDS 2 a field:77");
    ok(&store, &["SAVE"]);
    let head = std::fs::read(dir.path().join("dump.rdb")).unwrap()[..9].to_vec();
    assert_eq!(head, b"REDIS0012", "Redis 7.0 has no deadlines of fields");
    let expected = digest(&store);
    drop(connection);
    let store = reopen(store, &dir);
    assert_eq!(digest(&store), expected);
    let asked = store.call(&["HPEXPIRETIME", "large", "FIELDS", "3", "a", "field:77", "field:78"]);
    assert_eq!(asked, Value::Array(vec![Value::Int(4_102_444_799_999), Value::Int(4_102_444_799_999), Value::Int(-1)]));
}

/// Runs a tool of Redis on the snapshot.
fn check_with_redis(dir: &Scratch) {
    let checked =
        Command::new("redis-check-rdb").arg(dir.path().join("dump.rdb")).output().expect("redis-check-rdb runs");
    let said = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert!(checked.status.success() && said.contains("RDB looks OK!"), "{said}");
}

fn redis_on(dir: &Scratch) -> RedisServer {
    RedisServer::start_with(&["--dir", &dir.path().display().to_string()]).expect("redis-server opens the snapshot")
}

fn digest_of(client: &mut Client) -> String {
    match client.run("DEBUG DIGEST") {
        Reply::Simple(digest) => String::from_utf8(digest).expect("hex digits"),
        other => panic!("DEBUG DIGEST was answered by {}", other.print()),
    }
}

#[test]
fn redis_server_reads_ours_and_we_read_its() {
    for (seed, compression) in [(3, "yes"), (4, "no")] {
        let dir = Scratch::new().unwrap();
        let store = support::with_snapshots(&dir);
        ok(&store, &["CONFIG", "SET", "rdbcompression", compression]);
        fill(&store);
        let (mut connection, mut workload) = (store.connect(), Workload::new(seed));
        (0..6_000).for_each(|_| drop(connection.call(&workload.next())));
        run(&mut connection, "EXEC");
        let_soon_pass(&store);
        ok(&store, &["SAVE"]);
        assert!(std::fs::read(dir.path().join("dump.rdb")).unwrap().starts_with(b"REDIS0010"));
        check_with_redis(&dir);
        let ours = digest(&store);
        drop((connection, store));
        let server = redis_on(&dir);
        let mut client = server.client().unwrap();
        assert_eq!(digest_of(&mut client), ours);
        assert_eq!(client.run("FCALL answer 0").print(), "(integer) 42");
        for line in
            ["SELECT 3", "RPUSH from:redis a b c", "XADD stream:200 * a b", "SET also x", "EXPIRE also 500", "SAVE"]
        {
            client.run(line);
        }
        let theirs = digest_of(&mut client);
        drop((client, server));
        let store = support::with_snapshots(&dir);
        assert_eq!(digest(&store), theirs);
    }
}

#[test]
fn stamps_come_back_if_the_policy_needs_them() {
    for (policy, question) in [("allkeys-lru", "IDLETIME"), ("allkeys-lfu", "FREQ")] {
        let dir = Scratch::new().unwrap();
        let store = support::with_snapshots(&dir);
        ok(&store, &["CONFIG", "SET", "maxmemory-policy", policy]);
        ok(&store, &["SET", "k", "v"]);
        let Value::Bulk(payload) = store.call(&["DUMP", "k"]) else { panic!("there is a payload") };
        let restored: [&[u8]; 7] = [b"RESTORE", b"old", b"0", &payload, b"REPLACE", question.as_bytes(), b"200"];
        ok_bytes(&store, &restored);
        ok(&store, &["SAVE"]);
        check_with_redis(&dir);
        drop(store);
        let config = Config::in_memory().set("dir", &dir.path().display().to_string()).unwrap();
        let store = Store::open(config.set("maxmemory-policy", policy).unwrap()).unwrap();
        let Value::Int(number) = store.call(&["OBJECT", question, "old"]) else { panic!("{question} is a number") };
        assert!((195..=260).contains(&number), "{question} {number}");
    }
}

fn ok_bytes(store: &Store, args: &[&[u8]]) {
    assert_eq!(store.call(args), Value::Simple(OK.into()));
}

#[test]
fn what_has_expired_is_left_out() {
    let dir = Scratch::new().unwrap();
    let store = support::with_snapshots(&dir);
    ok(&store, &["DEBUG", "SET-ACTIVE-EXPIRE", "0"]);
    ok(&store, &["SET", "soon", "x", "PX", "30"]);
    ok(&store, &["SET", "late", "x", "EX", "1000"]);
    ok(&store, &["SAVE"]);
    let_soon_pass(&store);
    let store = reopen(store, &dir);
    assert_eq!(
        (info(&store, "rdb_last_load_keys_loaded"), info(&store, "rdb_last_load_keys_expired")),
        ("1".into(), "1".into())
    );
    assert_eq!(store.call(&["DBSIZE"]), Value::Int(1));
}

#[test]
fn a_damaged_snapshot_is_refused_with_file_and_offset_and_left_alone() {
    let dir = Scratch::new().unwrap();
    let store = support::with_snapshots(&dir);
    fill(&store);
    ok(&store, &["SAVE"]);
    let path = dir.path().join("dump.rdb");
    let whole = std::fs::read(&path).unwrap();
    let expected = digest(&store);
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 4;
    for damaged in [&whole[..whole.len() / 3], &whole[..whole.len() - 1], &flipped, b"no snapshot"] {
        std::fs::write(&path, damaged).unwrap();
        let reloaded = store.call(&["DEBUG", "RELOAD", "NOSAVE"]);
        assert_eq!(reloaded, Value::Error("ERR Error trying to load the RDB dump, check server logs.".into()));
        assert_eq!(digest(&store), expected, "nothing is lost by trying");
        assert_eq!(store.call(&["FCALL", "answer", "0"]), Value::Int(42));
        let config = Config::in_memory().set("dir", &dir.path().display().to_string()).unwrap();
        match Store::open(config) {
            Err(Error::Log(redpoll_persist_error)) => {
                let text = redpoll_persist_error.to_string();
                assert!(text.contains("dump.rdb") && text.contains("offset"), "{text}");
            }
            Err(other) => panic!("{other}"),
            Ok(_) => panic!("a damaged snapshot is loaded"),
        }
        assert_eq!(std::fs::read(&path).unwrap(), damaged);
    }
}

#[test]
fn changes_are_counted_and_rules_are_met() {
    let dir = Scratch::new().unwrap();
    let store = support::with_snapshots(&dir);
    let changes = || info(&store, "rdb_changes_since_last_save");
    ok(&store, &["SET", "a", "1"]);
    store.call(&["DEL", "a", "b"]);
    store.call(&["MSET", "a", "1", "b", "2"]);
    store.call(&["GET", "a"]);
    assert_eq!(changes(), "4");
    ok(&store, &["SAVE"]);
    assert_eq!(changes(), "0");
    store.call(&["EVAL", "redis.call('SET', 'c', 1); redis.call('SET', 'd', 1)", "0"]);
    assert_eq!(changes(), "2");
    ok(&store, &["FLUSHALL"]);
    assert_eq!(changes(), "6");
    assert_eq!(store.call(&["BGSAVE"]), Value::Simple("Background saving started".into()));
    until_written(&store);
    assert_eq!(changes(), "0");

    ok(&store, &["CONFIG", "SET", "save", "1 2"]);
    ok(&store, &["SET", "x", "1"]);
    ok(&store, &["SET", "y", "1"]);
    let began = std::time::Instant::now();
    while changes() != "0" {
        assert!(began.elapsed().as_secs() < 30, "no rule is met");
        std::thread::yield_now();
    }
    assert_eq!(info(&store, "rdb_saves"), "3");
    ok(&store, &["SET", "z", "1"]);
    ok(&store, &["FLUSHALL"]);
    assert_eq!(changes(), "0", "an empty snapshot was made");
    let store = reopen(store, &dir);
    assert_eq!(store.call(&["DBSIZE"]), Value::Int(0));
}

#[test]
fn writes_are_refused_after_a_snapshot_failed() {
    let dir = Scratch::new().unwrap();
    let store = support::with_snapshots(&dir);
    ok(&store, &["CONFIG", "SET", "save", "3600 1"]);
    ok(&store, &["SET", "a", "1"]);
    let place = dir.path().join("dump.rdb");
    std::fs::create_dir_all(place.join("in the way")).unwrap();
    assert_eq!(store.call(&["SAVE"]), Value::Error("ERR".into()));
    assert_eq!(store.call(&["BGSAVE"]), Value::Simple("Background saving started".into()));
    until_written(&store);
    assert_eq!(info(&store, "rdb_last_bgsave_status"), "err");
    let refused = store.call(&["SET", "a", "2"]);
    assert!(
        matches!(&refused, Value::Error(text) if text.starts_with("MISCONF Redis is configured to save RDB snapshots"))
    );
    assert_eq!(store.call(&["GET", "a"]).as_bytes(), Some(&b"1"[..]));
    ok(&store, &["CONFIG", "SET", "stop-writes-on-bgsave-error", "no"]);
    ok(&store, &["SET", "a", "2"]);
    ok(&store, &["CONFIG", "SET", "stop-writes-on-bgsave-error", "yes"]);
    assert!(matches!(store.call(&["SET", "a", "3"]), Value::Error(_)));
    std::fs::remove_dir_all(&place).unwrap();
    assert_eq!(store.call(&["BGSAVE"]), Value::Simple("Background saving started".into()));
    until_written(&store);
    ok(&store, &["SET", "a", "3"]);
    assert_eq!(info(&store, "rdb_last_bgsave_status"), "ok");
    let left: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["dump.rdb"]);
}

#[test]
fn what_is_given_up_leaves_nothing_behind() {
    let dir = Scratch::new().unwrap();
    let store = support::with_snapshots(&dir);
    ok(&store, &["DEBUG", "POPULATE", "1000"]);
    ok(&store, &["SAVE"]);
    ok(&store, &["CONFIG", "SET", "rdb-key-save-delay", "10000000"]);
    let before = std::fs::read(dir.path().join("dump.rdb")).unwrap();
    assert_eq!(store.call(&["BGSAVE"]), Value::Simple("Background saving started".into()));
    assert_eq!(store.call(&["BGSAVE"]), Value::Error("ERR Background save already in progress".into()));
    assert_eq!(store.call(&["SAVE"]), Value::Error("ERR Background save already in progress".into()));
    ok(&store, &["SET", "while", "it is written"]);
    ok(&store, &["FLUSHALL"]);
    assert_eq!(info(&store, "rdb_bgsave_in_progress"), "0");
    ok(&store, &["DEBUG", "POPULATE", "1000"]);
    assert_eq!(store.call(&["BGSAVE", "SCHEDULE"]), Value::Simple("Background saving started".into()));
    let scheduled = Value::Simple("Background append only file rewriting scheduled".into());
    assert_eq!(store.call(&["BGREWRITEAOF"]), scheduled);
    drop(store);
    let left: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| !name.to_string_lossy().starts_with("temp-")), "{left:?}");
    assert!(std::fs::read(dir.path().join("dump.rdb")).unwrap() == before, "the snapshot is another one");
}

#[test]
fn reload_keeps_or_replaces_as_it_is_told() {
    let dir = Scratch::new().unwrap();
    let store = support::with_snapshots(&dir);
    ok(&store, &["SET", "a", "saved"]);
    ok(&store, &["SAVE"]);
    ok(&store, &["SET", "b", "later"]);
    assert!(
        matches!(store.call(&["DEBUG", "RELOAD", "NOSAVE", "NOFLUSH"]), Value::Error(text) if text.contains("Error trying to load"))
    );
    assert_eq!(store.call(&["DBSIZE"]), Value::Int(2));
    ok(&store, &["SET", "a", "changed"]);
    ok(&store, &["DEBUG", "RELOAD", "NOSAVE", "NOFLUSH", "MERGE"]);
    assert_eq!(
        store.call(&["MGET", "a", "b"]),
        Value::Array(vec![Value::Bulk(b"saved".into()), Value::Bulk(b"later".into())])
    );
    ok(&store, &["DEBUG", "RELOAD", "NOSAVE"]);
    assert_eq!(store.call(&["DBSIZE"]), Value::Int(1));
    let mut connection = store.connect();
    succeed(&mut connection, "MULTI");
    succeed(&mut connection, "DEBUG RELOAD");
    let Value::Array(replies) = run(&mut connection, "EXEC") else { panic!("EXEC replies with a list") };
    assert_eq!(replies, [Value::Error("ERR data cannot be loaded inside a transaction or script".into())]);
}

/// Opens a store on a snapshot of keys with their databases, before which so many keys are said to come.
fn open_on(dir: &Scratch, coming: u64, keys: impl Iterator<Item = (u8, usize)>) -> Result<Store, Error> {
    let mut bytes = [b"REDIS0004\xfb\x81", &coming.to_be_bytes()[..], b"\x00"].concat();
    for (db, number) in keys {
        bytes.extend([b"\xfe", &[db][..], b"\x00\x08", format!("key:{number:04}").as_bytes(), b"\x01v"].concat());
    }
    bytes.push(0xff);
    std::fs::write(dir.path().join("dump.rdb"), bytes).expect("the directory can be written to");
    Store::open(Config::in_memory().set("dir", &dir.path().display().to_string()).expect("there is such a setting"))
}

#[test]
fn any_number_of_keys_may_be_said_to_come() {
    let dir = Scratch::new().unwrap();
    for coming in [0, 1, 300, u64::MAX] {
        let store = open_on(&dir, coming, (0..900).map(|number| ((number % 3) as u8, number / 2))).unwrap();
        let sizes = [0, 1, 2].map(|db| {
            let mut connection = store.connect();
            succeed(&mut connection, &format!("SELECT {db}"));
            run(&mut connection, "DBSIZE")
        });
        assert_eq!(sizes, [300, 300, 300].map(Value::Int), "{coming}");
        assert_eq!(store.call(&["GET", "key:0000"]), Value::Bulk(b"v".into()));
        assert_eq!(store.call(&["GET", "key:0001"]), Value::Bulk(b"v".into()));
        assert_eq!(store.call(&["EXISTS", "key:0002"]), Value::Int(0));
        ok(&store, &["FLUSHALL"]);
        drop(store);
    }
}

#[test]
fn a_key_that_is_there_twice_is_refused_with_its_offset() {
    let dir = Scratch::new().unwrap();
    for (first, second) in [(0, 1), (3, 40), (10, 200), (0, 499)] {
        let keys = (0..500).map(|number| (0, if number == second { first } else { number }));
        let Err(error) = open_on(&dir, 500, keys) else { panic!("a key is there twice") };
        let (text, offset) = (error.to_string(), 9 + 11 + 14 * second + 2);
        assert!(text.contains(&format!("key 'key:{first:04}' is there already")), "{text}");
        assert!(text.contains(&format!("{offset}")), "{text} {offset}");
    }
}

#[test]
fn a_store_in_memory_makes_no_snapshots() {
    let store = support::in_memory();
    let expected = Value::Error("ERR there is no data directory: this store is in memory only".into());
    for command in ["SAVE", "BGSAVE", "BGREWRITEAOF"] {
        assert_eq!(store.call(&[command]), expected, "{command}");
    }
    assert_eq!(store.call(&["DEBUG", "RELOAD"]), expected);
    assert!(matches!(store.call(&["CONFIG", "SET", "appendonly", "yes"]), Value::Error(_)));
}

#[test]
fn what_has_no_directory_has_nothing_to_load_again() {
    let mut connection = support::in_memory().connect();
    for line in ["DEBUG RELOAD NOSAVE", "DEBUG RELOAD NOSAVE NOFLUSH"] {
        let refused = Value::Error("ERR there is no data directory: this store is in memory only".into());
        assert_eq!(run(&mut connection, line), refused);
    }
}

#[test]
fn who_remembers_keys_is_told_that_everything_was_loaded_anew() {
    let dir = Scratch::new().unwrap();
    let store = support::with_snapshots(&dir);
    ok(&store, &["SET", "a", "1"]);
    ok(&store, &["SAVE"]);
    let mut reader = store.connect();
    reader.call(&["HELLO", "3"]);
    succeed(&mut reader, "CLIENT TRACKING ON");
    reader.call(&["GET", "a"]);
    let soon = std::time::Duration::ZERO;
    assert!(matches!(store.call(&["DEBUG", "RELOAD", "NOSAVE", "NOFLUSH"]), Value::Error(_)));
    assert_eq!(reader.receive(soon).unwrap(), None, "nothing has changed");
    ok(&store, &["DEBUG", "RELOAD"]);
    let told = Value::Push(vec![Value::Bulk("invalidate".into()), Value::Nil]);
    assert_eq!(reader.receive(soon).unwrap(), Some(told));
}
