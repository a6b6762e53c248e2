//! An entry of the keyspace: a key with its deadline, access stamp and value in one record.
//!
//! ```text
//! stamp 4 │ key length 4 │ payload length 4 │ deadline 8 if any │ key │ value: i64, bytes, or an Object
//! ```
//!
//! Strings up to [`INLINE_MAX`] bytes stand in the record; longer ones are an [`Object::Bytes`], so that appending does not copy the key and a
//! change of length does not re-allocate. The stamp is what eviction and OBJECT IDLETIME/FREQ need: under an LRU policy the second of the last
//! access (24 bits), under an LFU policy 16 bits of minutes and an 8-bit logarithmic counter, both as Redis lays them out.

use redpoll_structures::decimal;
use redpoll_structures::record::{Payload, Record};

use crate::{Kind, Millis, Object};

/// A key with its value.
pub type Entry = Record<Object>;

/// Longest string that stands in the record itself, bytes.
pub(crate) const INLINE_MAX: usize = 1024;

/// A string value as it is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Text<'a> {
    /// A canonical integer.
    Int(i64),
    /// Any other bytes.
    Bytes(&'a [u8]),
}

impl<'a> Text<'a> {
    /// Returns the bytes of the string, written into the buffer if it is held as a number.
    #[inline]
    pub fn bytes<'b>(self, buf: &'b mut [u8; 20]) -> &'b [u8]
    where
        'a: 'b,
    {
        match self {
            Text::Int(value) => decimal::format_i64(value, buf),
            Text::Bytes(bytes) => bytes,
        }
    }

    /// Returns the length of the string in bytes.
    pub fn len(self) -> usize {
        match self {
            Text::Int(value) => decimal::i64_text_len(value),
            Text::Bytes(bytes) => bytes.len(),
        }
    }

    /// Tells whether the string is empty.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }
}

/// Returns the string value of an entry, if it is one.
#[inline]
pub(crate) fn text(entry: &Entry) -> Option<Text<'_>> {
    match entry.payload() {
        Payload::Int(value) => Some(Text::Int(value)),
        Payload::Bytes(bytes) => Some(Text::Bytes(bytes)),
        Payload::Object(Object::Bytes(bytes)) => Some(Text::Bytes(bytes.as_slice())),
        Payload::Object(_) => None,
    }
}

/// Returns the kind of an entry's value.
#[inline]
pub fn kind(entry: &Entry) -> Kind {
    match entry.payload() {
        Payload::Int(_) | Payload::Bytes(_) => Kind::String,
        Payload::Object(object) => object.kind(),
    }
}

/// Longest string that OBJECT ENCODING calls `embstr`, bytes.
const EMBEDDED_MAX: usize = 44;

/// Returns the name of the encoding of an entry's value, as OBJECT ENCODING tells it.
pub fn encoding(entry: &Entry) -> &'static str {
    match entry.payload() {
        Payload::Int(_) => "int",
        Payload::Bytes(bytes) if bytes.len() <= EMBEDDED_MAX && !entry.mark() => "embstr",
        Payload::Bytes(_) => "raw",
        Payload::Object(object) => object.encoding(),
    }
}

/// Makes an entry that holds a string: as a number if it is one, in the record if it is short.
#[inline]
pub(crate) fn new_string(key: &[u8], value: &[u8]) -> Entry {
    if let Some(number) = small_number(value) {
        Record::new_int(key, number)
    } else if value.len() <= INLINE_MAX {
        Record::new_bytes(key, value)
    } else {
        Record::new_object(key, Object::Bytes(Box::new(value.to_vec())))
    }
}

/// Replaces the value of an entry by a string, keeping deadline and stamp.
#[inline]
pub(crate) fn put_string(entry: &mut Entry, value: &[u8]) {
    if let Some(number) = small_number(value) {
        entry.set_int(number);
    } else {
        put_plain(entry, value);
    }
}

/// Replaces the value of an entry by a string that is held as text, whatever it looks like.
#[inline]
pub(crate) fn put_plain(entry: &mut Entry, value: &[u8]) {
    put_raw(entry, value);
    entry.set_mark(false);
}

/// Replaces the value of an entry by a string that is never held as a number (the result of APPEND or SETRANGE).
pub(crate) fn put_raw(entry: &mut Entry, value: &[u8]) {
    if value.len() <= INLINE_MAX {
        entry.set_bytes(value);
    } else {
        entry.set_object(Object::Bytes(Box::new(value.to_vec())));
    }
    entry.set_mark(true);
}

#[inline]
fn small_number(value: &[u8]) -> Option<i64> {
    if value.len() <= 20 { decimal::parse_i64(value) } else { None }
}

/// Tells whether the entry's time has come.
#[inline]
pub(crate) fn is_expired(entry: &Entry, now: Millis) -> bool {
    entry.deadline().is_some_and(|deadline| deadline <= now)
}

/// Returns the soonest deadline of a field, if the entry holds a hash that has any.
#[inline]
pub(crate) fn soonest_field(entry: &Entry) -> Option<Millis> {
    match entry.object() {
        Some(Object::Hash(hash)) => hash.soonest(),
        _ => None,
    }
}

/// Returns the bytes an entry holds on the heap.
pub fn heap_size(entry: &Entry) -> usize {
    entry.heap_size() + entry.object().map_or(0, Object::heap_size)
}

/// How accesses are stamped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stamping {
    /// Second of the last access.
    Lru {
        /// Seconds since the epoch, modulo 2^24.
        clock: u32,
    },
    /// Logarithmic counter of accesses, halved over time.
    Lfu {
        /// Minutes since the epoch, modulo 2^16.
        minutes: u16,
        /// `lfu-log-factor`.
        log_factor: u32,
        /// `lfu-decay-time`, minutes; zero for no decay.
        decay_minutes: u32,
        /// A random number for this access.
        random: u32,
    },
}

const LFU_INITIAL: u8 = 5;

impl Stamping {
    /// Returns the stamp of a new entry.
    #[inline]
    pub(crate) fn fresh(self) -> u32 {
        match self {
            Stamping::Lru { clock } => clock & 0xff_ffff,
            Stamping::Lfu { minutes, .. } => u32::from(minutes) << 8 | u32::from(LFU_INITIAL),
        }
    }

    /// Returns the stamp after an access to an entry with this stamp.
    #[inline]
    pub(crate) fn accessed(self, stamp: u32) -> u32 {
        match self {
            Stamping::Lru { clock } => clock & 0xff_ffff,
            Stamping::Lfu { minutes, log_factor, random, .. } => {
                let counter = lfu_counter(stamp, self);
                let base = f64::from(counter.saturating_sub(LFU_INITIAL));
                let chance = 1.0 / (base * f64::from(log_factor) + 1.0);
                let grown = counter < u8::MAX && f64::from(random) / f64::from(u32::MAX) < chance;
                u32::from(minutes) << 8 | u32::from(counter + u8::from(grown))
            }
        }
    }
}

/// Returns the access counter in an LFU stamp, with the decay since the last access applied.
pub fn lfu_counter(stamp: u32, stamping: Stamping) -> u8 {
    let counter = (stamp & 0xff) as u8;
    match stamping {
        Stamping::Lfu { minutes, decay_minutes, .. } if decay_minutes > 0 => {
            let elapsed = minutes.wrapping_sub((stamp >> 8) as u16);
            let elapsed = if elapsed > u16::MAX - SET_BACK_MINUTES { 0 } else { elapsed };
            counter.saturating_sub(u8::try_from(u32::from(elapsed) / decay_minutes).unwrap_or(u8::MAX))
        }
        _ => counter,
    }
}

/// How far a stamp may be ahead of the clock that reads it: two workers read the time a moment apart, and clocks are
/// set back. The key counts as used just now; without this it would pass for one not used for half a year.
const SET_BACK_MINUTES: u16 = 60;

/// Returns the seconds since the access that an LRU stamp records.
pub fn lru_idle_seconds(stamp: u32, clock: u32) -> u32 {
    let idle = clock.wrapping_sub(stamp) & 0xff_ffff;
    if idle > 0xff_ffff - 60 * u32::from(SET_BACK_MINUTES) { 0 } else { idle }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_ahead_of_the_clock_is_of_now() {
        assert_eq!(lru_idle_seconds(100, 103), 3);
        assert_eq!(lru_idle_seconds(101, 100), 0);
        assert_eq!(lru_idle_seconds(0xff_ffff, 4), 5, "the clock wraps every 194 days");
        assert_eq!(lru_idle_seconds(3, 0xff_ffff), 0, "a stamp of just after the wrap, read just before it");

        let at = |minutes| Stamping::Lfu { minutes, log_factor: 10, decay_minutes: 1, random: 0 };
        let stamp = 100 << 8 | 7;
        assert_eq!(lfu_counter(stamp, at(103)), 4);
        assert_eq!(lfu_counter(stamp, at(99)), 7);
        assert_eq!(lfu_counter(stamp, at(200)), 0);
    }
}
