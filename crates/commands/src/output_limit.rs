//! `client-output-buffer-limit`: how much may wait for a client, by kind of client.
//!
//! A kind has a hard limit, a soft limit and the seconds for which the soft one may be exceeded; zero is no limit. The setting names the kinds it
//! changes and leaves the others as they are. The limits of replicas are accepted and reported; there are none here.

use std::sync::atomic::{AtomicU64, Ordering};

use redpoll_structures::decimal;

use crate::settings::parse_memory;

/// A kind of client that has limits of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutputClass {
    /// All others, MONITOR included.
    Normal,
    /// Replicas.
    Replica,
    /// Subscribers of channels or patterns.
    Pubsub,
}

/// The kinds with the names the setting gives them, in its order.
const CLASSES: [(&str, OutputClass); 3] =
    [("normal", OutputClass::Normal), ("slave", OutputClass::Replica), ("pubsub", OutputClass::Pubsub)];

/// The setting's default, as the configuration file has it.
pub(crate) const DEFAULT: &str = "normal 0 0 0 slave 256mb 64mb 60 pubsub 32mb 8mb 60";

/// How much may wait for a client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OutputLimit {
    /// Bytes at which it is cut off at once; 0 for none.
    pub hard: usize,
    /// Bytes beyond which it is cut off after a while; 0 for none.
    pub soft: usize,
    /// How long that while is.
    pub soft_ms: u64,
}

impl OutputLimit {
    /// Tells whether so many bytes are too many at once.
    #[inline]
    pub fn is_hard(self, bytes: usize) -> bool {
        self.hard != 0 && bytes >= self.hard
    }

    /// Tells whether so many bytes are too many for long.
    #[inline]
    pub(crate) fn is_soft(self, bytes: usize) -> bool {
        self.soft != 0 && bytes >= self.soft
    }
}

/// The limits of all kinds, as they stand.
#[derive(Debug, Default)]
pub struct OutputLimits([[AtomicU64; 3]; CLASSES.len()]);

impl OutputLimits {
    /// Returns the limits of a kind.
    #[inline]
    pub fn of(&self, class: OutputClass) -> OutputLimit {
        let [hard, soft, seconds] = &self.0[class as usize];
        OutputLimit {
            hard: hard.load(Ordering::Relaxed) as usize,
            soft: soft.load(Ordering::Relaxed) as usize,
            soft_ms: seconds.load(Ordering::Relaxed).saturating_mul(1000),
        }
    }

    /// Puts limits that [`parse`] accepted in place; kinds that are not named keep theirs.
    pub(crate) fn put(&self, text: &str) {
        for (class, values) in parse(text).expect("the text was checked before") {
            for (place, value) in self.0[class as usize].iter().zip(values) {
                place.store(value, Ordering::Relaxed);
            }
        }
    }

    /// Returns all limits as CONFIG GET prints them.
    pub(crate) fn text(&self) -> String {
        let line = |(name, class): &(&str, OutputClass)| {
            let OutputLimit { hard, soft, soft_ms } = self.of(*class);
            format!("{name} {hard} {soft} {}", soft_ms / 1000)
        };
        CLASSES.iter().map(line).collect::<Vec<_>>().join(" ")
    }
}

/// Reads limits: a kind, hard and soft limit, seconds, and so on; the error is the reason CONFIG SET gives.
pub(crate) fn parse(text: &str) -> Result<Vec<(OutputClass, [u64; 3])>, String> {
    let words: Vec<&str> = text.split_ascii_whitespace().collect();
    if !words.len().is_multiple_of(4) {
        return Err("Wrong number of arguments in buffer limit configuration.".into());
    }
    let positive = |number: i64| u64::try_from(number).ok();
    words
        .chunks_exact(4)
        .map(|group| {
            let known = CLASSES.iter().find(|(name, _)| group[0].eq_ignore_ascii_case(name));
            let class = match known {
                Some((_, class)) => *class,
                None if group[0].eq_ignore_ascii_case("replica") => OutputClass::Replica,
                None => return Err("Invalid client class specified in buffer limit configuration.".to_owned()),
            };
            let bytes = |word: &str| parse_memory(word.as_bytes()).and_then(positive);
            let seconds = decimal::parse_i64(group[3].as_bytes()).and_then(positive);
            match (bytes(group[1]), bytes(group[2]), seconds) {
                (Some(hard), Some(soft), Some(seconds)) => Ok((class, [hard, soft, seconds])),
                _ => Err("Error in hard, soft or soft_seconds setting in buffer limit configuration.".to_owned()),
            }
        })
        .collect()
}
