//! How an entry looks in the store, and what a lookup gives.
//!
//! ```text
//! 1;j;1763718000.482113;5000;120;60000;0;7;red:blue\n{"name":"John"}
//! │ │ │                 │    │   │     │ │ │         └ payload: JSON text or bytes, to the end
//! │ │ │                 │    │   │     │ │ └ tags, escaped, joined by colons
//! │ │ │                 │    │   │     │ └ count of the epoch's invalidations by tag when it was stored
//! │ │ │                 │    │   │     └ sliding: the lifetime in ms that each read gives anew, 0 if none does
//! │ │ │                 │    │   └ fail-safe time, ms: the very last part of the key's lifetime
//! │ │ │                 │    └ how long loading took, ms (for early refresh)
//! │ │ │                 └ stale time, ms: the part of the key's lifetime before the fail-safe time
//! │ │ └ epoch of the partition the entry belongs to
//! │ └ kind: j JSON, b bytes, n known to be absent; jz and bz: the payload is LZ4, behind its length (4 bytes, LE)
//! └ version of this form
//! ```
//!
//! Text, so that any language and a person can read it. Fields that are missing at the end are 0 or empty. Whatever does
//! not have this form is a miss: a cache must survive foreign bytes in its place.
//!
//! While a tag is being invalidated the epoch's key says so, `1763718000.482113:8:red:8:0`: the epoch, the count, and
//! for each such tag its number and how many were overwritten meanwhile. An entry that carries the tag and has a lower
//! count does not exist. So a tag is invalidated by one write, however many entries carry it.

use std::sync::Arc;

use serde_json::Value as Json;

use super::namespace::{MAX_TAG_BYTES, MAX_TAGS};
use crate::error::{Error, Result};

/// Most bytes of an LZ4 payload that one byte can stand for.
const LZ4_RATIO_MAX: usize = 255;

/// A cached value. Cloning is cheap: clones share it.
#[derive(Debug, Clone, PartialEq)]
pub enum Body {
    /// Any JSON value; `null` too is a value.
    Json(Arc<Json>),
    /// Bytes, returned as they were given.
    Bytes(Arc<[u8]>),
}

impl From<Json> for Body {
    fn from(json: Json) -> Self {
        Self::Json(Arc::new(json))
    }
}

impl From<Vec<u8>> for Body {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Bytes(bytes.into())
    }
}

impl From<&[u8]> for Body {
    fn from(bytes: &[u8]) -> Self {
        Self::Bytes(bytes.into())
    }
}

/// What a lookup found. The four cases are never confused.
#[derive(Debug, Clone, PartialEq)]
pub enum Lookup {
    /// A value: `{}`, `0`, `false`, `""` and `null` are values.
    Hit(Body),
    /// A cached absence: a loader has said that there is nothing.
    Absent,
    /// Nothing is known.
    Miss,
    /// The store did not answer. The policy is to treat it as a miss; it is counted.
    Outage,
}

impl Lookup {
    /// Returns the value, if there is one.
    pub fn into_body(self) -> Option<Body> {
        match self {
            Self::Hit(body) => Some(body),
            _ => None,
        }
    }
}

/// An entry as read, freshness apart.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry {
    /// `None` is a cached absence.
    pub(super) body: Option<Body>,
    pub(super) stale_ms: u64,
    pub(super) load_ms: u64,
    pub(super) fail_safe_ms: u64,
    /// 0 if reading does not prolong it.
    pub(super) slide_ms: u64,
    payload_len: usize,
}

impl Entry {
    /// Whether it takes its lifetime to tell what a lookup gives.
    pub(super) fn needs_lifetime(&self) -> bool {
        self.fail_safe_ms > 0 || self.slide_ms > 0
    }

    /// Estimates what the value takes in memory: JSON as a tree takes several times its text.
    pub(super) fn memory_bytes(&self) -> usize {
        match self.body {
            Some(Body::Json(_)) => 4 * self.payload_len,
            _ => self.payload_len,
        }
    }
}

/// An entry with the rest of its lifetime.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub(super) entry: Entry,
    /// As PTTL gives it: -1 never expires. [`UNASKED`] if it was not asked for.
    pub(super) remaining_ms: i64,
}

/// A lifetime that was not asked for.
pub(super) const UNASKED: i64 = i64::MAX;

/// Where an entry is in its lifetime.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Fresh for so many milliseconds more; none for ever.
    Fresh(Option<i64>),
    /// Past its lifetime; served while it is refreshed.
    Stale,
    /// Past its stale time as well; served only if loading fails.
    FailSafe,
}

impl Found {
    pub(super) fn phase(&self) -> Phase {
        if self.remaining_ms == -1 || self.remaining_ms == UNASKED {
            return Phase::Fresh(None);
        }
        let before_fail_safe = self.remaining_ms.saturating_sub_unsigned(self.entry.fail_safe_ms);
        let fresh_ms = before_fail_safe.saturating_sub_unsigned(self.entry.stale_ms);
        match () {
            () if fresh_ms > 0 => Phase::Fresh(Some(fresh_ms)),
            () if before_fail_safe > 0 => Phase::Stale,
            () => Phase::FailSafe,
        }
    }

    /// Whether a lookup sees it, which does not serve what is kept for the failure of a loader.
    pub(super) fn into_lookup(self) -> Lookup {
        match (self.phase(), self.entry.body) {
            (Phase::FailSafe, _) => Lookup::Miss,
            (_, Some(body)) => Lookup::Hit(body),
            (_, None) => Lookup::Absent,
        }
    }

    /// Whether reading has to prolong its lifetime; not each time, but when an eighth of it is gone.
    pub(super) fn must_slide(&self) -> bool {
        let slide_ms = self.entry.slide_ms;
        slide_ms > 0 && self.remaining_ms >= 0 && self.remaining_ms.unsigned_abs() < slide_ms - slide_ms / 8
    }
}

/// Longest head of an entry, with room for all tags.
const HEADER_BYTES_MAX: usize = 256 + MAX_TAGS * (3 * MAX_TAG_BYTES + 1);

/// What the epoch's key says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Epoch<'a> {
    id: &'a [u8],
    /// Tags that are being invalidated, each with the number of its invalidation.
    pending: Vec<(&'a str, u64)>,
}

impl<'a> Epoch<'a> {
    /// An epoch in which no tag is being invalidated.
    pub(super) fn of(id: &'a [u8]) -> Self {
        Self { id, pending: Vec::new() }
    }

    /// Reads what is stored.
    pub(super) fn read(stored: &'a [u8]) -> Self {
        let Some((id, rest)) = std::str::from_utf8(stored).ok().and_then(|stored| stored.split_once(':')) else {
            return Self::of(stored);
        };
        let fields: Vec<&str> = rest.split(':').skip(1).collect();
        let pending = fields.chunks_exact(3).filter_map(|out| Some((out[0], out[1].parse().ok()?)));
        Self { id: id.as_bytes(), pending: pending.collect() }
    }

    /// Whether a tag that is being invalidated takes an entry with it.
    fn takes(&self, count: u64, tags: &str) -> bool {
        let goes = |(tag, number): &(&str, u64)| count < *number && tags.split(':').any(|own| own == *tag);
        self.pending.iter().any(goes)
    }
}

/// Returns the kind and payload to store; `None` is a cached absence. What has `compress_min` bytes is compressed, if
/// that saves at least an eighth.
pub(super) fn encode(
    body: Option<&Body>,
    bytes_max: usize,
    compress_min: Option<usize>,
) -> Result<(&'static str, Vec<u8>)> {
    let (kind, compressed_kind, payload) = match body {
        Some(Body::Json(json)) => ("j", "jz", serde_json::to_vec(&**json).expect("a JSON value has a text")),
        Some(Body::Bytes(bytes)) => ("b", "bz", bytes.to_vec()),
        None => ("n", "n", Vec::new()),
    };
    if payload.len() > bytes_max {
        return Err(Error::TooLarge { size_bytes: payload.len(), max_bytes: bytes_max });
    }
    if body.is_some() && compress_min.is_some_and(|min| payload.len() >= min) {
        let compressed = lz4_flex::block::compress_prepend_size(&payload);
        if compressed.len() <= payload.len() - payload.len() / 8 {
            return Ok((compressed_kind, compressed));
        }
    }
    Ok((kind, payload))
}

/// Reads an entry of the given epoch; `None` if it is of another one or no entry at all, or inflates to more than
/// `bytes_max`.
pub(super) fn decode(stored: &[u8], epoch: &Epoch<'_>, bytes_max: usize) -> Option<Entry> {
    let header_len = stored.iter().take(HEADER_BYTES_MAX).position(|byte| *byte == b'\n')?;
    let header = std::str::from_utf8(&stored[..header_len]).ok()?;
    let payload = &stored[header_len + 1..];
    let mut fields = header.splitn(9, ';');
    if fields.next()? != "1" {
        return None;
    }
    let kind = fields.next()?;
    if fields.next()?.as_bytes() != epoch.id {
        return None;
    }
    let stale_ms = fields.next()?.parse().ok()?;
    let load_ms = fields.next()?.parse().ok()?;
    let fail_safe_ms = fields.next().map_or(Some(0), |field| field.parse().ok())?;
    let slide_ms = fields.next().map_or(Some(0), |field| field.parse().ok())?;
    let count = fields.next().map_or(Some(0), |field| field.parse().ok())?;
    if epoch.takes(count, fields.next().unwrap_or_default()) {
        return None;
    }
    let (body, payload_len) = match kind {
        "j" => (Some(serde_json::from_slice::<Json>(payload).ok()?.into()), payload.len()),
        "b" => (Some(payload.into()), payload.len()),
        "n" => (None, 0),
        "jz" | "bz" => {
            let inflated = inflate(payload, bytes_max)?;
            let len = inflated.len();
            let body = match kind {
                "jz" => serde_json::from_slice::<Json>(&inflated).ok()?.into(),
                _ => Body::from(inflated),
            };
            (Some(body), len)
        }
        _ => return None,
    };
    Some(Entry { body, stale_ms, load_ms, fail_safe_ms, slide_ms, payload_len })
}

/// Inflates a payload, unless it claims to be more than it can be or may be.
fn inflate(payload: &[u8], bytes_max: usize) -> Option<Vec<u8>> {
    let (len, block) = payload.split_first_chunk::<4>()?;
    let len = usize::try_from(u32::from_le_bytes(*len)).ok()?;
    if len > bytes_max || len > block.len().saturating_mul(LZ4_RATIO_MAX) {
        return None;
    }
    lz4_flex::block::decompress(block, len).ok().filter(|inflated| inflated.len() == len)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: usize = 1 << 20;

    #[test]
    fn forms() {
        let read = |text: &str| decode(text.as_bytes(), &Epoch::of(b"e"), MAX);
        let null = read("1;j;e;5;7\nnull").unwrap();
        assert_eq!((null.body, null.stale_ms, null.load_ms), (Some(Body::from(Json::Null)), 5, 7));
        let full = read("1;b;e;1;2;3;4;5;a;b\n").unwrap();
        assert_eq!((full.fail_safe_ms, full.slide_ms), (3, 4));
        assert_eq!(read("1;b;e;0;0\na\nb").unwrap().body, Some(Body::from(&b"a\nb"[..])));
        assert_eq!(read("1;n;e;0;0\n").unwrap().body, None);
        for foreign in [
            "",
            "\n",
            "1",
            "hello",
            "2;j;e;0;0\n1",
            "1;j;x;0;0\n1",
            "1;j;e;0;0\n{",
            "1;q;e;0;0\n",
            "1;j;e;-1;0\n1",
            "1;b;e;0;0;x\n",
            "1;b;e;0;0;0;-1\n",
            "1;bz;e;0;0\n",
            "1;bz;e;0;0\nabc",
            "1;bz;e;0;0\n\u{7f}\u{7f}\u{7f}\u{7f}a",
            "1;jz;e;0;0\n\u{1}\0\0\0\u{10}x",
            "1;nz;e;0;0\n",
        ] {
            assert_eq!(read(foreign), None, "{foreign:?}");
        }
    }

    #[test]
    fn tags_on_their_way_out() {
        let seen = |epoch: &str, header: &str| {
            decode(format!("{header}\n").as_bytes(), &Epoch::read(epoch.as_bytes()), MAX).is_some()
        };
        assert!(seen("e", "1;b;e;0;0;0;0;0;red"));
        assert!(seen("e:3", "1;b;e;0;0;0;0;0;red"));
        for (count, tags, is_seen) in [
            (2, "red", false),
            (2, "blue:red", false),
            (3, "red", true),
            (2, "redd:ed", true),
            (2, "", true),
            (4, "a;b", false),
            (5, "a;b", true),
            (0, "3", true),
        ] {
            let header = format!("1;b;e;0;0;0;0;{count};{tags}");
            assert_eq!(seen("e:5:red:3:0:a;b:5:7", &header), is_seen, "{header}");
        }
        assert!(!seen("f:5:red:3:0", "1;b;e;0;0;0;0;9;red"));
        for foreign in ["", ":", "e:", "e:x:red", "e:1:red:x:0", "e:1:red:1", "\u{e9}::::::"] {
            Epoch::read(foreign.as_bytes());
        }
        let tags = vec!["%00".repeat(MAX_TAG_BYTES); MAX_TAGS].join(":");
        assert!(
            seen("e", &format!("1;jz;{};0;0;0;0;1;{tags}", "e").replace("jz", "b")),
            "as many tags as there can be"
        );
    }

    #[test]
    fn hostile_bytes_are_a_miss_and_never_a_panic() {
        let seed = std::time::UNIX_EPOCH.elapsed().unwrap().subsec_nanos();
        println!("seed {seed}");
        let mut state = u64::from(seed) | 1;
        let mut next = move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        let good = [b"1;jz;e;0;0;0;0\n".to_vec(), lz4_flex::block::compress_prepend_size(&[b'1'; 500])].concat();
        assert!(decode(&good, &Epoch::of(b"e"), MAX).is_some());
        assert_eq!(decode(&good, &Epoch::of(b"e"), 499), None, "more than the cap allows");
        for _ in 0..20_000 {
            let mut bytes = good.clone();
            for _ in 0..1 + next() % 4 {
                let at = next() as usize % bytes.len();
                bytes[at] = next() as u8;
            }
            bytes.truncate(next() as usize % (bytes.len() + 1));
            if let Some(entry) = decode(&bytes, &Epoch::of(b"e"), MAX) {
                assert!(entry.payload_len <= MAX);
            }
        }
    }

    #[test]
    fn cap() {
        let body = |len: usize| Body::from(vec![0; len]);
        assert!(encode(Some(&body(10)), 10, None).is_ok());
        assert_eq!(encode(Some(&body(11)), 10, None), Err(Error::TooLarge { size_bytes: 11, max_bytes: 10 }));
        assert!(encode(Some(&body(11)), 10, Some(1)).is_err(), "the cap is on what is given, not on what is stored");
    }

    #[test]
    fn compression() {
        for (body, kind) in [
            (Body::from(Json::from("x".repeat(5000))), "jz"),
            (Body::from(vec![7; 5000]), "bz"),
            (Body::from(vec![7; 99]), "b"),
            (
                Body::from((0..1000_u32).flat_map(|n| n.wrapping_mul(0x9e37_79b9).to_le_bytes()).collect::<Vec<u8>>()),
                "b",
            ),
        ] {
            let (found, payload) = encode(Some(&body), MAX, Some(100)).unwrap();
            assert_eq!(found, kind);
            let stored = [format!("1;{kind};e;0;0\n").into_bytes(), payload].concat();
            assert_eq!(decode(&stored, &Epoch::of(b"e"), MAX).unwrap().body, Some(body));
        }
    }

    #[test]
    fn phases() {
        let phase = |remaining_ms| {
            let entry = decode(b"1;b;e;20;0;30;0\n", &Epoch::of(b"e"), MAX).unwrap();
            Found { entry, remaining_ms }.phase()
        };
        assert_eq!(phase(-1), Phase::Fresh(None));
        assert_eq!(phase(51), Phase::Fresh(Some(1)));
        assert_eq!((phase(50), phase(31)), (Phase::Stale, Phase::Stale));
        assert_eq!((phase(30), phase(0)), (Phase::FailSafe, Phase::FailSafe));
    }
}
