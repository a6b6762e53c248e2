//! Entries of a snapshot as commands of the log: a base without the format of snapshots (`aof-use-rdb-preamble no`).
//!
//! Every key is one RESTORE with its deadline as a point in time. It is one record a key whatever its type, says exactly what is there, and every server that
//! knows the type replays it; texts of keys and short strings are there to be read, as in any dump.

use redpoll_keyspace::rdb::Extent;
use redpoll_keyspace::rdb::{VERSION, VERSION_MAX, checksum_after, read_string, string_extent, value_extent};
use redpoll_resp::encode_command;

use super::opcode;

/// The first type that servers before Redis 7.2 do not know.
const NEWER_KIND: u8 = 20;

/// Writes entries, as `keyspace::rdb::Entries` makes them without stamps, as commands.
///
/// # Panics
/// If they are anything else.
pub fn as_commands(entries: &[u8], out: &mut Vec<u8>) {
    let whole = |extent| match extent {
        Extent::Whole(len) => len,
        Extent::More(_) | Extent::Unknown => panic!("entries just written are whole"),
    };
    let mut rest = entries;
    while let Some(first) = rest.first() {
        let mut deadline = 0;
        if *first == opcode::DEADLINE {
            deadline = u64::from_le_bytes(*rest[1..].first_chunk().expect("a deadline has eight bytes"));
            rest = &rest[9..];
        }
        let (kind, after) = (rest[0], &rest[1..]);
        let (key, value) = after.split_at(whole(string_extent(after)));
        let (value, after) = value.split_at(whole(value_extent(kind, value)));
        let (key, _) = read_string(key).expect("a key just written can be read");
        let version = if kind >= NEWER_KIND { VERSION_MAX } else { VERSION };
        let mut payload = [&[kind], value, &version.to_le_bytes()].concat();
        payload.extend(checksum_after(0, &payload).to_le_bytes());
        let deadline = deadline.to_string();
        encode_command(&[b"RESTORE", &*key, deadline.as_bytes(), &payload, b"REPLACE", b"ABSTTL"], out);
        rest = after;
    }
}
