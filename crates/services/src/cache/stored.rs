//! An entry on its way to the store: options, checks, and the step that stores it.
//!
//! A key lives for its lifetime, the stale time and what fail-safe goes beyond that. All three are checked here, before
//! anything is sent, and so are tags and size.

use std::collections::BTreeSet;
use std::time::Duration;

use super::entry::{Body, encode};
use super::namespace::{MAX_TAG_BYTES, MAX_TAGS, Namespace};
use crate::backend::{Command, ToArg};
use crate::error::{Error, Result};
use crate::keys::{check_name, escape};
use crate::random;
use crate::script::Script;
use crate::ttl::Ttl;

/// How an entry is stored; absent parts are the namespace's settings.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SetOptions {
    /// Lifetime.
    pub ttl: Option<Ttl>,
    /// How long after its lifetime the value may still be served while it is refreshed.
    pub stale: Option<Duration>,
    /// How long after its lifetime the value may be served if loading fails, at most.
    pub fail_safe: Option<Duration>,
    /// Whether reading gives the entry its lifetime anew.
    pub sliding: bool,
    /// How much of the lifetime is left to chance, 0 to 1.
    pub jitter: Option<f64>,
    /// Tags to invalidate it by.
    pub tags: Vec<String>,
}

/// An entry about to be stored, checked.
pub(super) struct Stored<'a> {
    namespace: &'a Namespace,
    key: &'a str,
    kind: &'static str,
    payload: Vec<u8>,
    /// All that the key lives, 0 for ever.
    lifetime_ms: u64,
    stale_ms: u64,
    fail_safe_ms: u64,
    slide_ms: u64,
    tags: Vec<String>,
}

impl<'a> Stored<'a> {
    /// Checks key, size, lifetime and tags. `None` is a cached absence.
    pub(super) fn new(
        namespace: &'a Namespace,
        key: &'a str,
        body: Option<&Body>,
        options: &SetOptions,
    ) -> Result<Self> {
        check_name("key", key)?;
        let settings = &namespace.settings;
        let (kind, payload) = encode(body, settings.bytes_max, settings.compress_min)?;
        let stale_ms = milliseconds("stale", options.stale.unwrap_or(settings.stale))?;
        let fail_safe_ms = milliseconds("fail_safe", options.fail_safe.unwrap_or(settings.fail_safe))?;
        let jitter = options.jitter.unwrap_or(settings.jitter);
        if !(0.0..=1.0).contains(&jitter) {
            return Err(Error::invalid("jitter", "must be 0 to 1"));
        }
        let (lifetime_ms, stale_ms, fail_safe_ms) = match options.ttl.unwrap_or(settings.ttl) {
            Ttl::Never => (0, 0, 0),
            Ttl::Ms(ms) => {
                let cut_ms = (ms.get() as f64 * jitter * random::unit()) as u64;
                let ttl_ms = (ms.get() - cut_ms.min(ms.get())).max(1);
                // Fail-safe counts from the end of the lifetime, as stale does.
                let fail_safe_ms = fail_safe_ms.saturating_sub(stale_ms);
                let total_ms = ttl_ms.saturating_add(stale_ms).saturating_add(fail_safe_ms);
                (Ttl::ms(i64::try_from(total_ms).unwrap_or(i64::MAX))?.script_ms(), stale_ms, fail_safe_ms)
            }
        };
        let slide_ms = if options.sliding { lifetime_ms } else { 0 };
        let tags = escaped_tags(&options.tags)?;
        Ok(Self { namespace, key, kind, payload, lifetime_ms, stale_ms, fail_safe_ms, slide_ms, tags })
    }

    /// Makes the step that stores it; `token` is empty for an unconditional set, which no stamp refuses.
    pub(super) fn command(&self, script: &'static Script, load_ms: u64, token: &str, newest_stamp: u64) -> Command {
        let partition = self.namespace.partition(self.key);
        let lifetimes = format!("{};{load_ms};{};{}", self.stale_ms, self.fail_safe_ms, self.slide_ms);
        let mut args: Vec<&dyn ToArg> = vec![&self.key, &self.kind, &self.lifetime_ms, &lifetimes, &self.payload];
        args.extend([&token as &dyn ToArg, &newest_stamp]);
        args.extend(self.tags.iter().map(|tag| tag as &dyn ToArg));
        partition.step(script, &[partition.entry(self.key), partition.lease(self.key)], &args)
    }
}

/// Checks and escapes one tag.
pub(super) fn escaped_tag(tag: &str) -> Result<String> {
    check_name("tag", tag)?;
    if tag.len() > MAX_TAG_BYTES {
        return Err(Error::invalid("tag", format_args!("longer than {MAX_TAG_BYTES} bytes")));
    }
    Ok(escape(tag))
}

/// Checks and escapes tags, in order and without duplicates.
fn escaped_tags(tags: &[String]) -> Result<Vec<String>> {
    let distinct: BTreeSet<String> = tags.iter().map(|tag| escaped_tag(tag)).collect::<Result<_>>()?;
    if distinct.len() > MAX_TAGS {
        return Err(Error::invalid("tags", format_args!("more than {MAX_TAGS}")));
    }
    Ok(distinct.into_iter().collect())
}

fn milliseconds(field: &'static str, duration: Duration) -> Result<u64> {
    u64::try_from(duration.as_millis()).map_err(|_| Error::invalid(field, "too long"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_distinct_and_bounded() {
        let tags = |names: &[&str]| escaped_tags(&names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
        assert_eq!(tags(&["b", "a:b", "b"]).unwrap(), ["a%3Ab", "b"]);
        assert!(tags(&[""]).is_err());
        assert!(tags(&[&"x".repeat(MAX_TAG_BYTES + 1)]).is_err());
    }
}
