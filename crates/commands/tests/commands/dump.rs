//! Values carried between a real redis-server and our engine, both ways, in every form a value can have there: the digest of each must stay what it was.

use crate::support;
use redpoll_testkit::{RedisServer, Reply, Target};

fn call(target: &mut dyn Target, args: &[&[u8]]) -> Reply {
    target.call(&args.iter().map(|arg| arg.to_vec()).collect::<Vec<_>>())
}

fn digest(target: &mut dyn Target, key: &[u8]) -> String {
    call(target, &[b"DEBUG", b"DIGEST-VALUE", key]).print()
}

/// Commands that make one key each, for a number of elements and a length of each.
fn make(count: usize, len: usize) -> Vec<Vec<Vec<u8>>> {
    let text = |index: usize| [vec![b'a' + (index % 7) as u8; len], index.to_string().into_bytes()].concat();
    let number = |index: usize| (index * index * 31).to_string().into_bytes();
    let begin =
        |command: &str, key: &str| vec![command.as_bytes().to_vec(), format!("{key}-{count}-{len}").into_bytes()];
    let mut commands = Vec::new();
    for (name, element) in [("text", &text as &dyn Fn(usize) -> Vec<u8>), ("number", &number)] {
        let (mut list, mut set) = (begin("RPUSH", &format!("list-{name}")), begin("SADD", &format!("set-{name}")));
        let (mut hash, mut ranked) = (begin("HSET", &format!("hash-{name}")), begin("ZADD", &format!("ranked-{name}")));
        for index in 0..count {
            list.push(element(index));
            set.push(element(index));
            hash.extend([element(index), text(index)]);
            ranked.extend([format!("{}", index as f64 / 8.0 - 2.0).into_bytes(), element(index)]);
        }
        commands.extend([list, set, hash, ranked]);
    }
    let mut string = begin("SET", "string");
    string.push(text(count));
    commands.push(string);
    commands
}

#[test]
fn values_survive_the_way_there_and_back() {
    let server = RedisServer::start().expect("redis-server is installed");
    let mut redis = server.client().expect("the server listens");
    let mut ours = support::InProcess::new();
    assert_eq!(call(&mut redis, &[b"CONFIG", b"SET", b"sanitize-dump-payload", b"yes"]).print(), "OK");
    let mut carried = 0;
    for (count, len) in [(1, 0), (3, 10), (100, 20), (400, 3), (1000, 100), (2, 20_000)] {
        for command in make(count, len) {
            let key = command[1].clone();
            redis.call(&command);
            let expected = digest(&mut redis, &key);
            let payload = call(&mut redis, &[b"DUMP", &key]);
            let payload = payload.as_bytes().expect("the key exists");
            assert_eq!(call(&mut ours, &[b"RESTORE", &key, b"0", payload]).print(), "OK");
            assert_eq!(digest(&mut ours, &key), expected, "{} came over", String::from_utf8_lossy(&key));
            let payload = call(&mut ours, &[b"DUMP", &key]);
            let payload = payload.as_bytes().expect("the key exists");
            assert_eq!(call(&mut redis, &[b"RESTORE", &key, b"0", payload, b"REPLACE"]).print(), "OK");
            assert_eq!(digest(&mut redis, &key), expected, "{} went back", String::from_utf8_lossy(&key));
            carried += 1;
        }
    }
    assert_eq!(carried, 54);
}

#[test]
fn streams_survive_the_way_there_and_back() {
    let server = RedisServer::start().expect("redis-server is installed");
    let mut redis = server.client().expect("the server listens");
    let mut ours = support::InProcess::new();
    let words = |text: &str| text.split(' ').map(|word| word.as_bytes().to_vec()).collect::<Vec<_>>();
    assert_eq!(redis.call(&words("CONFIG SET sanitize-dump-payload yes")).print(), "OK");
    for index in 0..350 {
        let fields =
            if index % 5 == 0 { format!("other {index}") } else { format!("name value-{index} count {index}") };
        redis.call(&words(&format!("XADD s {}-{} {fields}", 1000 + index / 3, index)));
    }
    for command in [
        "XDEL s 1000-0 1050-150 1050-151",
        "XTRIM s MINID 1005",
        "XGROUP CREATE s readers 1010",
        "XGROUP CREATE s idle $ ENTRIESREAD 7",
        "XGROUP CREATECONSUMER s readers nobody",
        "XREADGROUP GROUP readers anne COUNT 30 STREAMS s >",
        "XREADGROUP GROUP readers bob COUNT 10 STREAMS s >",
        "XACK s readers 1010-31 1010-32",
        "XDEL s 1012-37",
        "XADD gone 5-5 a b",
        "XDEL gone 5-5",
    ] {
        redis.call(&words(command));
    }
    let shown = |target: &mut dyn Target, key: &str| -> Vec<String> {
        ["XRANGE @ - +", "XLEN @", "XINFO GROUPS @", "XPENDING @ readers", "XPENDING @ readers - + 100 bob"]
            .map(|command| command.replace('@', key))
            .iter()
            .map(|command| target.call(&words(command)).print())
            // How long ago something was delivered depends on the clock.
            .map(|text| if text.contains("bob\"\n") { text.lines().count().to_string() } else { text })
            .collect()
    };
    for key in ["s", "gone"] {
        let expected = shown(&mut redis, key);
        let payload = call(&mut redis, &[b"DUMP", key.as_bytes()]);
        let payload = payload.as_bytes().expect("the key exists");
        assert_eq!(call(&mut ours, &[b"RESTORE", key.as_bytes(), b"0", payload]).print(), "OK");
        assert_eq!(shown(&mut ours, key), expected, "{key} came over");
        let payload = call(&mut ours, &[b"DUMP", key.as_bytes()]);
        let payload = payload.as_bytes().expect("the key exists");
        assert_eq!(call(&mut redis, &[b"RESTORE", key.as_bytes(), b"0", payload, b"REPLACE"]).print(), "OK");
        assert_eq!(shown(&mut redis, key), expected, "{key} went back");
    }
}
