//! Where a consumer's keys are.

use redpoll_resp::Value;

use super::{Events, steps};
use crate::backend::Command;
use crate::error::{Error, Result};
use crate::jobs::{Own, Queue};
use crate::keys::{Group, Key, Keyring, Tenant};
use crate::metrics::Counter;
use crate::script::Script;

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

/// Where one consumer is.
#[derive(Debug)]
pub(super) struct Place {
    /// The queue in which its triggers are jobs; it has the consumer's name.
    pub(super) queue: Queue,
    /// Consumer, window, due, ready: KEYS[22..25] of the steps.
    own: [Key; 4],
    pub(super) timeline: Key,
    pub(super) seen: Key,
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
        let group = keyring.kept_group(tenant, "events", &[&format!("{number:02}")]);
        Self { due: group.key("due"), ready: group.key("ready"), names: group.key("names"), group }
    }

    /// Asks for at most `limit` consumers whose window is over, and as many with something to deliver.
    pub(super) fn scan(&self, limit: usize) -> Command {
        Command::script(&steps::SCAN, &[&self.due, &self.ready], &[limit])
    }

    /// Returns the key of a consumer's definition, state and totals.
    pub(super) fn definition(&self, consumer: &str) -> Key {
        self.group.named("c", consumer)
    }

    /// Returns all of a consumer's keys; its name has been checked.
    pub(super) fn place(&self, events: &Events, consumer: &str) -> Place {
        let key = |kind| self.group.named(kind, consumer);
        let group = self.group.within("q", consumer);
        let own = Own { settings: events.settings().of_queue(), outages: Counter::EventsOutages };
        let queue = Queue::among(events.services.clone(), &events.tenant, consumer, group, own);
        Place {
            queue,
            own: [self.definition(consumer), key("w"), self.due.clone(), self.ready.clone()],
            timeline: key("t"),
            seen: key("s"),
            poison: key("p"),
            names: self.names.clone(),
        }
    }
}

impl Place {
    pub(super) fn definition(&self) -> &Key {
        &self.own[0]
    }

    /// Begins the call of a step upon the consumer, see `consumer.lua`; `more` are keys behind those of every step.
    pub(super) fn command<'a>(&'a self, step: &'static Script, more: impl IntoIterator<Item = &'a Key>) -> Command {
        self.queue.command(step, self.own.iter().chain(more)).arg(self.queue.name())
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
