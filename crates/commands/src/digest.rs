//! Digests of values and of the whole data set, equal whenever the contents are: DEBUG DIGEST and DIGEST-VALUE.
//!
//! The scheme is that of Redis, so a digest can be compared with one a redis-server gives for the same data. What has an order (the elements of a list) is
//! *mixed* in, hash of hash; what has none (members, fields, keys, databases' entries) is hashed by itself and *xor*ed in, so neither the order of insertion nor the
//! encoding shows. That makes it a check of equality for tests, not a commitment: who chooses the members can forge it.

use redpoll_keyspace::{Direction, Entry, Kind, Object, StreamId, View, kind};
use redpoll_structures::packed::Item;
use redpoll_structures::record::Payload;
use sha1_smol::Sha1;

/// Writes bytes as digests are shown: two lowercase hex digits each.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Bytes of a digest.
const SIZE: usize = 20;

/// A digest in the making; nothing at all is all zeros.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Digest([u8; SIZE]);

impl Digest {
    /// Returns the digest as 40 hex digits.
    pub(crate) fn hex(&self) -> String {
        hex(&self.0)
    }

    /// Takes in something whose place among its siblings does not matter.
    fn add(&mut self, bytes: &[u8]) {
        let hash = Sha1::from(bytes).digest().bytes();
        self.0.iter_mut().zip(hash).for_each(|(to, from)| *to ^= from);
    }

    /// Takes in something whose place does matter.
    fn chain(&mut self, bytes: &[u8]) {
        self.add(bytes);
        self.0 = Sha1::from(self.0).digest().bytes();
    }

    fn chain_item(&mut self, item: Item<'_>) {
        self.chain(item.text(&mut [0; 20]));
    }
}

/// Computes the digest of all databases. The view must hold every shard; it comes back with the database selected that it had.
pub(crate) fn of_everything(view: &mut View<'_>) -> Digest {
    let selected = view.db();
    let mut digest = Digest::default();
    for db in 0..view.databases() {
        view.select(db);
        let mut keys = Digest::default();
        let mut count = 0;
        view.for_each(|entry| {
            let mut key = Digest::default();
            key.chain(entry.key());
            take_in(&mut key, entry);
            keys.add(&key.0);
            count += 1;
        });
        if count > 0 {
            digest.chain(&(db as u32).to_be_bytes());
            digest.0.iter_mut().zip(keys.0).for_each(|(to, from)| *to ^= from);
        }
    }
    view.select(selected);
    digest
}

/// Computes the digest of a value, that of its key left out.
pub(crate) fn of_value(entry: &Entry) -> Digest {
    let mut digest = Digest::default();
    take_in(&mut digest, entry);
    digest
}

fn take_in(digest: &mut Digest, entry: &Entry) {
    digest.chain(&type_number(kind(entry)).to_be_bytes());
    match entry.payload() {
        Payload::Int(number) => digest.chain_item(Item::Int(number)),
        Payload::Bytes(bytes) => digest.chain(bytes),
        Payload::Object(Object::Bytes(bytes)) => digest.chain(bytes),
        Payload::Object(Object::List(list)) => list.iter().for_each(|item| digest.chain_item(item)),
        Payload::Object(Object::Hash(hash)) => hash.iter_with_deadlines().for_each(|(field, value, deadline)| {
            let mut pair = Digest::default();
            pair.chain_item(field);
            pair.chain_item(value);
            if deadline.is_some() {
                pair.add(b"!!hexpire!!");
            }
            digest.add(&pair.0);
        }),
        Payload::Object(Object::Set(set)) => set.iter().for_each(|member| digest.add(member.text(&mut [0; 20]))),
        Payload::Object(Object::SortedSet(set)) => set.iter().for_each(|(member, score)| {
            let mut pair = Digest::default();
            pair.chain_item(member);
            pair.chain(shortest_17(score).as_bytes());
            digest.add(&pair.0);
        }),
        // Groups do not count.
        Payload::Object(Object::Stream(stream)) => {
            for entry in stream.range(StreamId::MIN..=StreamId::MAX, Direction::Ascending) {
                digest.chain(format!("{}.{}", entry.id().ms, entry.id().seq).as_bytes());
                entry.fields().for_each(|(name, value)| {
                    digest.chain_item(name);
                    digest.chain_item(value);
                });
            }
        }
    }
    if entry.deadline().is_some() {
        digest.add(b"!!expire!!");
    }
}

/// The number by which Redis knows a type.
fn type_number(kind: Kind) -> u32 {
    match kind {
        Kind::String => 0,
        Kind::List => 1,
        Kind::Set => 2,
        Kind::SortedSet => 3,
        Kind::Hash => 4,
        Kind::Stream => 6,
    }
}

/// Prints a score as C's `%.17g` does: 17 significant digits, trailing zeros left out, an exponent only for the very large and very small.
fn shortest_17(score: f64) -> String {
    if score.is_infinite() {
        return if score > 0.0 { "inf" } else { "-inf" }.into();
    }
    let scientific = format!("{score:.16e}");
    let (mantissa, exponent) = scientific.split_once('e').expect("the format has an exponent");
    let exponent: i32 = exponent.parse().expect("the exponent is a small number");
    let plain = |text: &str| text.trim_end_matches('0').trim_end_matches('.').to_owned();
    if (-4..17).contains(&exponent) {
        let fixed = format!("{score:.*}", (16 - exponent) as usize);
        return if fixed.contains('.') { plain(&fixed) } else { fixed };
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{}e{sign}{:02}", plain(mantissa), exponent.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_are_printed_as_c_prints_them() {
        let cases = [
            (1.0, "1"),
            (-0.0, "-0"),
            (0.1, "0.10000000000000001"),
            (3.5, "3.5"),
            (100.0, "100"),
            (1e16, "10000000000000000"),
            (1e17, "1e+17"),
            (1.5e300, "1.5000000000000001e+300"),
            (0.0001, "0.0001"),
            (0.00001, "1.0000000000000001e-05"),
            (f64::INFINITY, "inf"),
            (f64::NEG_INFINITY, "-inf"),
        ];
        for (score, text) in cases {
            assert_eq!(shortest_17(score), text);
        }
    }
}
