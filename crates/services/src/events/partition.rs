//! Where a consumer's keys are.

use redpoll_resp::Value;

use super::steps;
use crate::backend::Command;
use crate::error::{Error, Result};
use crate::keys::{Group, Key, Keyring, Tenant};

/// Parts of a tenant's consumers. Fixed, because every process must agree on where a consumer is.
pub const PARTITIONS: usize = 8;

/// Keys over all consumers of a partition.
#[derive(Debug)]
pub(super) struct Partition {
    group: Group,
    pub(super) due: Key,
    pub(super) ready: Key,
    pub(super) names: Key,
}

/// The keys of one consumer.
#[derive(Debug)]
pub(super) struct ConsumerKeys {
    /// Consumer, window, outbox, triggers, due, ready: KEYS[1..6] of the steps.
    pub(super) base: [Key; 6],
    pub(super) timeline: Key,
    pub(super) seen: Key,
    pub(super) dead: Key,
    pub(super) poison: Key,
    pub(super) names: Key,
}

/// Places a consumer: FNV-1a over its name.
pub(super) fn number_of(consumer: &str) -> usize {
    let mix = |hash: u32, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    consumer.bytes().fold(0x811c_9dc5_u32, mix) as usize % PARTITIONS
}

impl Partition {
    /// Names the keys of a tenant's partition.
    pub(super) fn new(keyring: &Keyring, tenant: &Tenant, number: usize) -> Self {
        let group = keyring.group(tenant, "events", &[&format!("{number:02}")]);
        Self { due: group.key("due"), ready: group.key("ready"), names: group.key("names"), group }
    }

    /// Asks for at most `limit` consumers whose window is over, and as many with something to deliver.
    pub(super) fn scan(&self, limit: usize) -> Command {
        Command::script(&steps::SCAN, &[&self.due, &self.ready], &[limit])
    }

    pub(super) fn consumer(&self, consumer: &str) -> ConsumerKeys {
        let key = |kind| self.group.named(kind, consumer);
        ConsumerKeys {
            base: [key("c"), key("w"), key("o"), key("r"), self.due.clone(), self.ready.clone()],
            timeline: key("t"),
            seen: key("s"),
            dead: key("d"),
            poison: key("p"),
            names: self.names.clone(),
        }
    }
}

impl ConsumerKeys {
    pub(super) fn definition(&self) -> &Key {
        &self.base[0]
    }

    /// Returns KEYS of a step that takes more than the consumer's six.
    pub(super) fn with<const N: usize>(&self, more: [&Key; N]) -> Vec<Key> {
        self.base.iter().chain(more).cloned().collect()
    }
}

/// Reads the answer to [`Partition::scan`].
pub(super) fn read_scan(reply: &Value) -> Result<(Vec<String>, Vec<String>)> {
    let names = |list: &Value| -> Option<Vec<String>> {
        list.as_array()?.iter().map(|name| name.as_str().map(str::to_owned)).collect()
    };
    let lists = match reply.as_array() {
        Some([due, ready]) => names(due).zip(names(ready)),
        _ => None,
    };
    lists.ok_or_else(|| Error::unexpected(steps::SCAN.name(), reply))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_stable_and_even() {
        assert_eq!(number_of(""), 0x811c_9dc5 % PARTITIONS);
        assert_eq!(number_of("foobar"), 0xbf9c_f968 % PARTITIONS);
        let mut counts = [0; PARTITIONS];
        (0..8000).for_each(|number| counts[number_of(&format!("consumer-{number}"))] += 1);
        assert!(counts.iter().all(|count| (800..1200).contains(count)), "{counts:?}");
    }
}
