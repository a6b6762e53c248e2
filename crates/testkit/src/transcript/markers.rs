//! What a `~` line says about the comparison of the next reply.

use super::Subject;
use crate::Reply;
use anyhow::{Context, Result, bail, ensure};

/// The markers of one command.
#[derive(Debug, Default)]
pub(super) struct Markers {
    order: Order,
    comparison: Comparison,
    /// Whom the expectation binds besides our own implementation.
    binds: Binds,
}

#[derive(Debug, Default, PartialEq)]
enum Order {
    #[default]
    AsSent,
    Items,
    Pairs,
    ScanItems,
    ScanPairs,
}

#[derive(Debug, Default, PartialEq)]
enum Comparison {
    #[default]
    Exact,
    Approx(u64),
    Glob,
    Digest,
}

#[derive(Debug, Default, PartialEq)]
enum Binds {
    #[default]
    Everyone,
    RedisFrom(u32, u32),
    RedpollOnly,
}

impl Markers {
    /// Parses the text after `~`.
    pub(super) fn parse(text: &str) -> Result<Self> {
        let mut markers = Self::default();
        let mut rest = text.trim();
        while !rest.is_empty() {
            if let Some(binds) = Binds::parse(rest)? {
                markers.binds = binds;
                break;
            }
            let (marker, after) = rest.split_once(',').unwrap_or((rest, ""));
            markers.add(marker.trim())?;
            rest = after.trim_start();
        }
        Ok(markers)
    }

    fn add(&mut self, marker: &str) -> Result<()> {
        let order = match marker {
            "unordered" => Order::Items,
            "unordered pairs" => Order::Pairs,
            "scan" => Order::ScanItems,
            "scan pairs" => Order::ScanPairs,
            _ => Order::AsSent,
        };
        if order != Order::AsSent {
            ensure!(self.order == Order::AsSent, "two markers say how to order");
            self.order = order;
            return Ok(());
        }
        ensure!(self.comparison == Comparison::Exact, "two markers say how to compare");
        self.comparison = match marker.split_once(' ') {
            Some(("approx", tolerance)) => Comparison::Approx(tolerance.parse().context("approx N takes a number")?),
            None if marker == "glob" => Comparison::Glob,
            None if marker == "digest" => Comparison::Digest,
            _ => bail!("the marker `{marker}` is unknown"),
        };
        Ok(())
    }

    /// Says whether the expectation holds for this subject.
    pub(super) fn bind(&self, subject: Subject) -> bool {
        match (&self.binds, subject) {
            (Binds::Everyone, _) | (_, Subject::Redpoll) => true,
            (Binds::RedisFrom(major, minor), Subject::Redis { version }) => version >= (*major, *minor),
            (Binds::RedpollOnly, Subject::Redis { .. }) => false,
        }
    }

    /// Prints a reply in the form in which it is compared and recorded.
    pub(super) fn print(&self, mut reply: Reply) -> Vec<String> {
        self.sort(&mut reply);
        let text = reply.print();
        if self.comparison == Comparison::Digest {
            let items = reply.as_slice().map_or(1, <[Reply]>::len);
            return vec![format!("(digest) {items} items, {} bytes, {:016x}", text.len(), hash(text.as_bytes()))];
        }
        text.lines().map(str::to_owned).collect()
    }

    /// Compares printed lines.
    pub(super) fn agree(&self, expected: &[String], found: &[String]) -> bool {
        let line = |expected: &str, found: &str| match self.comparison {
            Comparison::Exact | Comparison::Digest => expected == found,
            Comparison::Approx(tolerance) => near(expected, found, tolerance),
            Comparison::Glob => glob(expected, found),
        };
        expected.len() == found.len() && expected.iter().zip(found).all(|(expected, found)| line(expected, found))
    }

    /// Says whether recording must keep an expectation that agrees, because a reply would say too much.
    pub(super) fn keep_when_agreeing(&self) -> bool {
        matches!(self.comparison, Comparison::Glob | Comparison::Approx(_))
    }

    /// Says whether the expectation is a pattern, which no recording can invent.
    pub(super) fn is_pattern(&self) -> bool {
        self.comparison == Comparison::Glob
    }

    fn sort(&self, reply: &mut Reply) {
        match self.order {
            Order::AsSent => {}
            Order::Items => sort_items(reply),
            Order::Pairs => sort_pairs(reply),
            Order::ScanItems | Order::ScanPairs => {
                if let Reply::Array(parts) = reply
                    && let [_, items] = parts.as_mut_slice()
                {
                    if self.order == Order::ScanItems { sort_items(items) } else { sort_pairs(items) }
                }
            }
        }
    }
}

impl Binds {
    fn parse(text: &str) -> Result<Option<Self>> {
        let Some((head, reason)) = text.split_once(':') else {
            let incomplete = text.starts_with("redpoll-only") || text.starts_with("redis ");
            ensure!(!incomplete, "`{text}` needs a reason after a colon");
            return Ok(None);
        };
        let binds = match head.split_once(' ') {
            None if head == "redpoll-only" => Self::RedpollOnly,
            Some(("redis", version)) => {
                let (major, minor) = version.split_once('.').context("a version is written X.Y")?;
                Self::RedisFrom(major.parse()?, minor.parse()?)
            }
            _ => return Ok(None),
        };
        ensure!(!reason.trim().is_empty(), "`{head}:` needs a reason");
        Ok(Some(binds))
    }
}

/// Sorts the elements of an aggregate.
pub(crate) fn sort_items(reply: &mut Reply) {
    match reply {
        Reply::Array(items) | Reply::Set(items) | Reply::Push(items) => items.sort(),
        Reply::Map(pairs) => pairs.sort(),
        _ => {}
    }
}

/// Sorts an array of alternating fields and values, or any other aggregate by its elements.
pub(crate) fn sort_pairs(reply: &mut Reply) {
    match reply {
        Reply::Array(items) if items.len() % 2 == 0 => {
            let mut pairs: Vec<[Reply; 2]> = Vec::with_capacity(items.len() / 2);
            let mut drained = items.drain(..);
            while let (Some(field), Some(value)) = (drained.next(), drained.next()) {
                pairs.push([field, value]);
            }
            drop(drained);
            pairs.sort();
            items.extend(pairs.into_iter().flatten());
        }
        other => sort_items(other),
    }
}

/// Compares text in which whole numbers may differ by `tolerance`.
fn near(expected: &str, found: &str, tolerance: u64) -> bool {
    let (mut left, mut right) = (tokens(expected).into_iter(), tokens(found).into_iter());
    loop {
        match (left.next(), right.next()) {
            (None, None) => return true,
            (Some(a), Some(b)) if a == b => {}
            (Some(a), Some(b)) => match (a.parse::<i64>(), b.parse::<i64>()) {
                (Ok(a), Ok(b)) if a.abs_diff(b) <= tolerance => {}
                _ => return false,
            },
            _ => return false,
        }
    }
}

/// Cuts text into whole numbers (with their sign) and what is between them.
fn tokens(text: &str) -> Vec<&str> {
    let mut tokens = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let sign = usize::from(rest.starts_with('-'));
        let digits = rest[sign..].bytes().take_while(u8::is_ascii_digit).count();
        let first = rest.chars().next().map_or(1, char::len_utf8);
        let end = if digits > 0 { sign + digits } else { first };
        tokens.push(&rest[..end]);
        rest = &rest[end..];
    }
    tokens
}

/// Matches text against a pattern in which `*` stands for any text.
fn glob(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        let Some((_, after)) =
            rest.split_once(part).filter(|_| !part.is_empty()).or(part.is_empty().then_some(("", rest)))
        else {
            return false;
        };
        rest = after;
    }
    rest.ends_with(last)
}

/// FNV-1a, so that a digest can be recomputed anywhere.
fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markers_combine_and_reasons_may_hold_commas() {
        let markers = Markers::parse("unordered, digest, redis 7.2: small sets are listpacks, not tables").unwrap();
        assert_eq!(
            (markers.order, markers.comparison, markers.binds),
            (Order::Items, Comparison::Digest, Binds::RedisFrom(7, 2))
        );
        for text in ["sorted", "approx", "approx x", "redpoll-only", "redpoll-only: ", "redis 7: why", "glob, digest"] {
            assert!(Markers::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn older_servers_are_not_bound() {
        let markers = Markers::parse("redis 7.2: reason").unwrap();
        assert!(markers.bind(Subject::Redpoll));
        assert!(markers.bind(Subject::Redis { version: (7, 4) }));
        assert!(!markers.bind(Subject::Redis { version: (7, 0) }));
    }

    #[test]
    fn comparisons() {
        assert!(near("(integer) -1000", "(integer) -999", 1));
        assert!(!near("(integer) 1000", "(integer) 998", 1));
        assert!(!near("1) \"a\"", "1) \"b\"", 9));
        assert!(!near("(integer) 5", "(integer) 5 6", 9));
        assert!(glob("(integer) *", "(integer) 17") && glob("a*b*c", "a-b-b-c") && glob("a", "a") && glob("**", ""));
        assert!(!glob("a*b", "a-c") && !glob("a", "ab") && !glob("ab*b", "ab"));
    }

    #[test]
    fn sorting_keeps_pairs_together() {
        let bulk = |text: &str| Reply::Bulk(text.as_bytes().to_vec());
        let mut reply = Reply::Array(vec![bulk("b"), bulk("1"), bulk("a"), bulk("2")]);
        sort_pairs(&mut reply);
        assert_eq!(reply, Reply::Array(vec![bulk("a"), bulk("2"), bulk("b"), bulk("1")]));
        let scan = Markers::parse("scan").unwrap();
        let found = scan.print(Reply::Array(vec![bulk("0"), Reply::Array(vec![bulk("z"), bulk("y")])]));
        assert_eq!(found, ["1) \"0\"", "2) 1) \"y\"", "   2) \"z\""]);
    }
}
