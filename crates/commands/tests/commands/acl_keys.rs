//! What commands do with their keys, held against the key specifications of a real redis-server: a user may read what a command of ours reads exactly
//! if the server says so.

use crate::support;
use redpoll_commands::registry::Registry;
use redpoll_testkit::{RedisServer, Reply, Target};

/// Commands whose use of a key depends on their options or on what stands in values.
const BY_OPTION: &[&str] = &["set", "bitfield", "sort", "sort_ro"];

/// The flags of a command's key specifications, in order; nothing if the server does not know it.
fn specifications(redis: &mut dyn Target, name: &str) -> Option<Vec<(bool, bool)>> {
    let reply = redis.call(&[b"COMMAND".to_vec(), b"INFO".to_vec(), name.into()]);
    let row = reply.as_slice()?.first()?.as_slice()?.to_vec();
    let specs = row.get(8)?.as_slice()?.to_vec();
    let flags = specs.iter().map(|spec| {
        let fields = spec.as_slice().expect("a specification is a map");
        let at = fields.iter().step_by(2).position(|field| field.as_bytes() == Some(b"flags")).expect("it has flags");
        let words: Vec<String> =
            fields[2 * at + 1].as_slice().expect("flags are a list").iter().map(Reply::print).collect();
        let has = |names: &[&str]| words.iter().any(|word| names.iter().any(|name| word.contains(name)));
        (has(&["access"]), has(&["insert", "update", "delete"]))
    });
    Some(flags.collect())
}

fn allowed(ours: &mut dyn Target, user: &str, call: &[Vec<u8>]) -> bool {
    let mut args = vec![b"ACL".to_vec(), b"DRYRUN".to_vec(), user.into()];
    args.extend_from_slice(call);
    ours.call(&args).print() == "OK"
}

#[test]
fn keys_are_read_and_changed_as_redis_says() {
    let server = RedisServer::start().expect("redis-server is installed");
    let mut redis = server.client().expect("the server listens");
    let mut ours = support::InProcess::new();
    for (user, pattern) in [("reader", "%R~*"), ("writer", "%W~*"), ("nobody", "~nothing")] {
        let args = ["ACL", "SETUSER", user, "on", "+@all", "allchannels", "resetkeys", pattern];
        // `%R~*` is a pattern like any other, unlike `~*`.
        assert_eq!(ours.call(&args.map(|arg| arg.as_bytes().to_vec())).print(), "OK");
    }
    let mut compared = 0;
    for command in Registry::new(redpoll_commands::families()).all() {
        if BY_OPTION.contains(&command.name.as_str()) {
            continue;
        }
        let Some(specs) = specifications(&mut redis, &command.name).filter(|specs| specs.len() == 1) else { continue };
        // Enough arguments for every command with its keys in one place; numkeys is 1 wherever it stands.
        let mut call: Vec<Vec<u8>> = command.name.split('|').map(Into::into).collect();
        let wanted = usize::try_from(command.arity.unsigned_abs()).expect("arity is small").max(call.len());
        call.resize(wanted, b"1".to_vec());
        let mut positions = Vec::new();
        let borrowed: Vec<&[u8]> = call.iter().map(Vec::as_slice).collect();
        command.key_positions(redpoll_commands::args::Args(&borrowed), &mut positions);
        if positions.is_empty() {
            continue;
        }
        let (reads, writes) = specs[0];
        compared += 1;
        assert_eq!(allowed(&mut ours, "reader", &call), !writes, "{}: may a reader?", command.name);
        assert_eq!(allowed(&mut ours, "writer", &call), !reads, "{}: may a writer?", command.name);
        assert!(!allowed(&mut ours, "nobody", &call), "{}: may who has no right to the key?", command.name);
    }
    assert!(compared > 80, "only {compared} commands were compared");
}
