//! Keyspace notifications: what happens to keys, as messages of channels.
//!
//! ```text
//! __keyspace@<db>__:<key>   <event>        class K
//! __keyevent@<db>__:<event> <key>          class E
//! ```
//!
//! Which events are published is set by `notify-keyspace-events`, one letter a class; without K or E nothing is. The view collects the wanted events of a command in
//! the order they happen, and they are published when the command has run, before those of the next one. Nobody subscribed to anything costs nothing.

use redpoll_keyspace::{Event, EventClasses};

use crate::engine::Engine;
use crate::exchange::Scope;
use crate::settings::Setting;

/// `K` and `E`: the two kinds of channels.
const BY_KEY: u32 = 1 << 0;
const BY_EVENT: u32 = 1 << 1;

/// The classes that `A` stands for: all but misses and new keys.
const ALL: u32 = 0b10_0111_1111_1100;

/// Letters and bits, in the order in which CONFIG GET prints them; the first ones are inside `A`.
const LETTERS: &[(u8, u32)] = &[
    (b'g', 1 << 2),
    (b'$', 1 << 3),
    (b'l', 1 << 4),
    (b's', 1 << 5),
    (b'h', 1 << 6),
    (b'z', 1 << 7),
    (b'x', 1 << 8),
    (b'e', 1 << 9),
    (b't', 1 << 10),
    (b'd', 1 << 13),
    (b'n', 1 << 14),
    (b'K', BY_KEY),
    (b'E', BY_EVENT),
    (b'm', 1 << 11),
];

/// Number of the letters at the beginning of [`LETTERS`] that an `A` hides: Redis prints no `n` beside it either.
const HIDDEN_BY_A: usize = 11;

/// Reads the letters of the setting; none if one is unknown.
pub(crate) fn parse(text: &[u8]) -> Option<i64> {
    text.iter().try_fold(0, |flags, letter| {
        let bits = match letter {
            b'A' => ALL,
            letter => LETTERS.iter().find(|(known, _)| known == letter)?.1,
        };
        Some(flags | i64::from(bits))
    })
}

/// Prints the setting.
pub(crate) fn text(flags: i64) -> String {
    let all = flags & i64::from(ALL) == i64::from(ALL);
    let letters = if all { &LETTERS[HIDDEN_BY_A..] } else { LETTERS };
    let set = letters.iter().filter(|(_, bit)| flags & i64::from(*bit) != 0).map(|(letter, _)| char::from(*letter));
    all.then_some('A').into_iter().chain(set).collect()
}

/// Returns the classes of events that are to be collected.
#[inline]
pub(crate) fn wanted(engine: &Engine) -> EventClasses {
    let flags = engine.settings.int(Setting::NotifyKeyspaceEvents) as u32;
    if flags & (BY_KEY | BY_EVENT) == 0 || !engine.exchange.has_subscribers() {
        return EventClasses::default();
    }
    EventClasses(flags)
}

/// Publishes events and forgets them.
#[cold]
pub(crate) fn publish(engine: &Engine, events: &mut Vec<Event>) {
    let flags = engine.settings.int(Setting::NotifyKeyspaceEvents) as u32;
    for Event { name, db, key, .. } in events.drain(..) {
        if flags & BY_KEY != 0 {
            let channel = [format!("__keyspace@{db}__:").as_bytes(), &key].concat();
            engine.exchange.publish(engine, Scope::Channel, &channel, name.as_bytes());
        }
        if flags & BY_EVENT != 0 {
            let channel = format!("__keyevent@{db}__:{name}");
            engine.exchange.publish(engine, Scope::Channel, channel.as_bytes(), &key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_are_printed_as_redis_prints_them() {
        for (given, printed) in [
            ("", ""),
            ("KEA", "AKE"),
            ("KEAmn", "AKEm"),
            ("g$lsEhzxetd", "AE"),
            ("dngA", "A"),
            ("K$lE", "$lKE"),
            ("nmE", "nEm"),
        ] {
            let flags = parse(given.as_bytes()).expect("all letters are known");
            assert_eq!(text(flags), printed, "{given}");
        }
        assert_eq!(parse(b"KEQ"), None);
    }
}
