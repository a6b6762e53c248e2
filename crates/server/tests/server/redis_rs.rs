//! redis-rs, unmodified, against a server of this process: what a Rust backend does on an ordinary day.
//!
//! The crate is also what our services speak to a remote store, so what fails here would fail there. Blocking and async connections, RESP2 and RESP3; each
//! test has a server of its own on a free port.

use redis::{
    AsyncCommands, Client, Commands, ErrorKind, ExpireOption, RedisError, RedisResult, Script, ServerErrorKind, Value,
    pipe,
};
use redpoll_server::{Server, ServerConfig};
use redpoll_store::{Config, Store};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// A running server and how to get clients of it.
struct Fixture {
    server: Server,
}

impl Fixture {
    fn start() -> Fixture {
        let store = Store::open(Config::in_memory()).unwrap();
        let config = ServerConfig { port: 0, workers: 2, ..ServerConfig::default() };
        Fixture { server: Server::start(store, &config).unwrap() }
    }

    fn client(&self, query: &str) -> Client {
        Client::open(format!("redis://{}/{query}", self.server.addresses()[0])).unwrap()
    }
}

/// Runs a test on both protocols, on a connection of an empty server.
fn on_both_protocols(test: impl Fn(&Fixture, &str)) {
    for query in ["?protocol=resp2", "?protocol=resp3"] {
        test(&Fixture::start(), query);
    }
}

#[track_caller]
fn expect_error<T: std::fmt::Debug>(result: RedisResult<T>, kind: ServerErrorKind, detail: &str) {
    let error: RedisError = result.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Server(kind), "{error}");
    assert!(error.to_string().contains(detail), "{error}");
}

#[test]
fn values_have_the_types_that_were_asked_for() {
    on_both_protocols(|fixture, query| {
        let mut redis = fixture.client(query).get_connection().unwrap();
        assert_eq!(redis.set("text", "värde"), Ok(()));
        assert_eq!(redis.get("text"), Ok("värde".to_owned()));
        assert_eq!(redis.set("bytes", &[0_u8, 255, 13, 10][..]), Ok(()));
        assert_eq!(redis.get("bytes"), Ok(vec![0_u8, 255, 13, 10]));
        assert_eq!(redis.get("missing"), Ok(None::<String>));
        assert_eq!(redis.incr("number", 41), Ok(41));
        assert_eq!(redis.incr("float", 1.5), Ok(1.5));
        assert_eq!(redis.mget(&["text", "missing"]), Ok((Some("värde".to_owned()), None::<String>)));
        assert_eq!(redis.exists("text"), Ok(true));
        assert_eq!(redis.del(&["text", "bytes", "missing"]), Ok(2));
        assert_eq!(redis.set_nx("number", 1), Ok(false));
        assert_eq!(redis.getset("number", 7), Ok(41));
        assert_eq!(redis.strlen("number"), Ok(1));
    });
}

#[test]
fn collections_become_collections() {
    on_both_protocols(|fixture, query| {
        let mut redis = fixture.client(query).get_connection().unwrap();
        assert_eq!(redis.hset_multiple("user", &[("name", "Ana"), ("city", "Porto")]), Ok(()));
        let user: HashMap<String, String> = redis.hgetall("user").unwrap();
        assert_eq!((user["name"].as_str(), user["city"].as_str()), ("Ana", "Porto"));
        assert_eq!(redis.hincr("user", "visits", 2), Ok(2));
        assert_eq!(redis.hexists("user", "age"), Ok(false));
        assert_eq!(redis.rpush("list", &[1, 2, 3]), Ok(3));
        assert_eq!(redis.lrange("list", 0, -1), Ok(vec![1, 2, 3]));
        assert_eq!(redis.lpop("list", None), Ok(1));
        assert_eq!(redis.sadd("set", &["a", "b"]), Ok(2));
        assert_eq!(redis.smembers("set"), Ok(BTreeSet::from(["a".to_owned(), "b".to_owned()])));
        assert_eq!(redis.zadd_multiple("board", &[(1.0, "one"), (2.5, "two")]), Ok(2));
        assert_eq!(redis.zrange("board", 0, -1), Ok(vec!["one".to_owned(), "two".to_owned()]));
        assert_eq!(redis.zrange_withscores("board", 0, -1), Ok(vec![("one".to_owned(), 1.0), ("two".to_owned(), 2.5)]));
        assert_eq!(redis.zscore("board", "two"), Ok(Some(2.5)));
        assert_eq!(redis.zrank("board", "nobody"), Ok(None::<usize>));
        assert_eq!(redis.zrangebyscore("board", "(1", "+inf"), Ok(vec!["two".to_owned()]));
    });
}

#[test]
fn keys_expire_and_can_be_walked() {
    on_both_protocols(|fixture, query| {
        let mut redis = fixture.client(query).get_connection().unwrap();
        assert_eq!(redis.set_ex("session", "x", 100), Ok(()));
        let ttl: i64 = redis.ttl("session").unwrap();
        assert!((99..=100).contains(&ttl), "{ttl}");
        assert_eq!(redis.expire("session", 50), Ok(true));
        assert_eq!(redis::cmd("EXPIRE").arg("session").arg(60).arg(ExpireOption::LT).query(&mut redis), Ok(false));
        assert_eq!(redis.persist("session"), Ok(true));
        assert_eq!(redis.ttl("session"), Ok(-1));
        assert_eq!(redis.pset_ex("soon", "gone", 1), Ok(()));
        while redis.exists::<_, bool>("soon").unwrap() {}
        let names: BTreeSet<String> = (0..500).map(|number| format!("walk:{number}")).collect();
        let mut fill = pipe();
        for name in &names {
            fill.set(name, 1).ignore();
        }
        fill.exec(&mut redis).unwrap();
        let found: RedisResult<BTreeSet<String>> = redis.scan_match("walk:*").unwrap().collect();
        assert_eq!(found, Ok(names));
    });
}

#[test]
fn pipelines_and_transactions() {
    on_both_protocols(|fixture, query| {
        let client = fixture.client(query);
        let (mut redis, mut other) = (client.get_connection().unwrap(), client.get_connection().unwrap());
        let replies: (String, i64, Vec<Option<i64>>) =
            pipe().set("a", 1).incr("a", 1).mget(&["a", "missing"]).query(&mut redis).unwrap();
        assert_eq!(replies, ("OK".to_owned(), 2, vec![Some(2), None]));
        let replies: (i64, i64) =
            pipe().atomic().incr("a", 1).set("b", 1).ignore().incr("b", 1).query(&mut redis).unwrap();
        assert_eq!(replies, (3, 2));
        // The first try is disturbed by another client, so it runs twice.
        let mut tries = 0;
        let (sum,): (i64,) = redis::transaction(&mut redis, &["a"], |redis, pipe| {
            tries += 1;
            let value: i64 = redis.get("a")?;
            if tries == 1 {
                other.set::<_, _, ()>("a", 100)?;
            }
            pipe.incr("a", value).query(redis)
        })
        .unwrap();
        assert_eq!((tries, sum), (2, 200));
        let error = pipe().atomic().set("never", 1).cmd("NOSUCHCOMMAND").query::<Value>(&mut redis).unwrap_err();
        assert!(error.to_string().starts_with("Transaction aborted: [(Index 1, error: "), "{error}");
        assert_eq!(redis.exists("never"), Ok(false));
    });
}

#[test]
fn scripts_are_loaded_when_they_are_missing() {
    on_both_protocols(|fixture, query| {
        let mut redis = fixture.client(query).get_connection().unwrap();
        let script = Script::new("redis.call('HSET', KEYS[1], 'n', ARGV[1]) return redis.call('HGETALL', KEYS[1])");
        let first: Vec<String> = script.key("hash").arg(7).invoke(&mut redis).unwrap();
        assert_eq!(first, ["n", "7"]);
        assert_eq!(redis::cmd("SCRIPT").arg("FLUSH").query(&mut redis), Ok(()));
        let again: Vec<String> = script.key("hash").arg(8).invoke(&mut redis).unwrap();
        assert_eq!(again, ["n", "8"]);
        let known: (bool,) = redis::cmd("SCRIPT").arg("EXISTS").arg(script.get_hash()).query(&mut redis).unwrap();
        assert!(known.0);
        let failing = Script::new("return redis.call('LPUSH', KEYS[1], 1)");
        let error = failing.key("hash").invoke::<Value>(&mut redis).unwrap_err();
        assert_eq!(error.code(), Some("WRONGTYPE"), "{error}");
    });
}

#[test]
fn errors_have_their_kinds() {
    on_both_protocols(|fixture, query| {
        let mut redis = fixture.client(query).get_connection().unwrap();
        redis.set::<_, _, ()>("text", "x").unwrap();
        assert_eq!(redis.lpush::<_, _, i64>("text", 1).unwrap_err().code(), Some("WRONGTYPE"));
        expect_error(redis.incr::<_, _, i64>("text", 1), ServerErrorKind::ResponseError, "value is not an integer");
        expect_error(
            redis::cmd("NOSUCHCOMMAND").query::<Value>(&mut redis),
            ServerErrorKind::ResponseError,
            "unknown command",
        );
        expect_error(
            redis::cmd("EVALSHA").arg("0".repeat(40)).arg(0).query::<Value>(&mut redis),
            ServerErrorKind::NoScript,
            "No matching script",
        );
        assert_eq!(redis.get("text"), Ok("x".to_owned()));
    });
}

#[test]
fn the_handshake_logs_in_and_selects() {
    on_both_protocols(|fixture, query| {
        let mut admin = fixture.client(query).get_connection().unwrap();
        redis::cmd("CONFIG").arg("SET").arg("requirepass").arg("secret").exec(&mut admin).unwrap();
        let address = fixture.server.addresses()[0];
        let open = |url: String| Client::open(url).unwrap().get_connection();
        let refused = fixture.client(query).get_connection().and_then(|mut redis| redis.get::<_, Option<String>>("a"));
        assert!(refused.is_err());
        assert!(open(format!("redis://:wrong@{address}/{query}")).is_err());
        let mut redis = open(format!("redis://:secret@{address}/3{query}")).unwrap();
        let info: String = redis::cmd("CLIENT").arg("INFO").query(&mut redis).unwrap();
        let fields: BTreeMap<&str, &str> = info.trim_end().split(' ').filter_map(|pair| pair.split_once('=')).collect();
        assert_eq!((fields["db"], fields["lib-name"]), ("3", "redis-rs"));
        assert_eq!(fields["resp"], &query[query.len() - 1..]);
    });
}

#[test]
fn tasks_share_one_multiplexed_connection() {
    on_both_protocols(|fixture, query| {
        let client = fixture.client(query);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            let mut redis = client.get_multiplexed_async_connection().await.unwrap();
            let tasks: Vec<_> = (0..50)
                .map(|task| {
                    let mut redis = redis.clone();
                    tokio::spawn(async move {
                        for turn in 0..20 {
                            let own = format!("own:{task}");
                            let (_, read): ((), i64) =
                                pipe().atomic().set(&own, turn).get(&own).query_async(&mut redis).await.unwrap();
                            assert_eq!(read, turn);
                            redis.incr::<_, _, i64>("shared", 1).await.unwrap();
                        }
                    })
                })
                .collect();
            for task in tasks {
                task.await.unwrap();
            }
            assert_eq!(redis.get("shared").await, Ok(1_000));
            let script = Script::new("return {KEYS[1], ARGV[1], redis.call('GET', KEYS[1])}");
            let reply: (String, i64, i64) = script.key("shared").arg(5).invoke_async(&mut redis).await.unwrap();
            assert_eq!(reply, ("shared".to_owned(), 5, 1_000));
        });
    });
}

#[test]
fn a_lost_connection_is_made_again() {
    on_both_protocols(|fixture, query| {
        let client = fixture.client(query);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut redis = client.get_connection_manager().await.unwrap();
            redis.set::<_, _, ()>("key", "x").await.unwrap();
            let id: i64 = redis::cmd("CLIENT").arg("ID").query_async(&mut redis).await.unwrap();
            let mut other = client.get_multiplexed_async_connection().await.unwrap();
            let killed: i64 = redis::cmd("CLIENT").arg("KILL").arg("ID").arg(id).query_async(&mut other).await.unwrap();
            assert_eq!(killed, 1);
            // The manager may report the loss once before it has noticed.
            let read: Result<String, RedisError> = match redis.get("key").await {
                Err(error) if error.is_connection_dropped() || error.is_io_error() => redis.get("key").await,
                other => other,
            };
            assert_eq!(read, Ok("x".to_owned()));
        });
    });
}
