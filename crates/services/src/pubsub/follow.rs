//! Following a topic: a stream read on behind a token, as fast as it is published and no faster than the subscription is read.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::heard::{Body, Message};
use super::inbox::{Inbox, Place};
use crate::error::{Error, Result};
use crate::random;
use crate::signal::RECHECK_MAX;
use crate::streams::{EntryId, FOLLOWERS, Followed, FollowedEntry, Range, Stream};

/// Entries read at once.
const PAGE: usize = 100;

/// Pause after the first failure to read; it doubles up to the other.
const PAUSE_BASE: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// A place in a topic, behind an entry: `1795336596140-0/17`, or without the number of the entry, `1795336596140-0`, which is an entry's id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct Token {
    /// The entry.
    pub entry: EntryId,
    /// Its number in the topic. With it, what was trimmed behind it can be counted.
    pub sequence: Option<u64>,
}

/// Where following a topic begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Since {
    /// With what is published from now on.
    #[default]
    Now,
    /// With the oldest message that is kept.
    Beginning,
    /// With the latest so many that are kept: one is the last value.
    Latest(u32),
    /// With what was published at this time or later, milliseconds since 1970.
    Time(u64),
    /// Behind this one.
    After(Token),
}

impl fmt::Display for Token {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.sequence {
            Some(sequence) => write!(formatter, "{}/{sequence}", self.entry),
            None => write!(formatter, "{}", self.entry),
        }
    }
}

impl FromStr for Token {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let odd = || Error::invalid("token", format_args!("{text:?} is no token"));
        let (entry, sequence) = match text.split_once('/') {
            Some((entry, sequence)) => (entry, Some(sequence.parse().map_err(|_| odd())?)),
            None => (text, None),
        };
        Ok(Self { entry: entry.parse().map_err(|_| odd())?, sequence })
    }
}

impl TryFrom<String> for Token {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Token> for String {
    fn from(token: Token) -> Self {
        token.to_string()
    }
}

/// A topic that is followed.
pub(super) struct Follower {
    stream: Stream,
    inbox: Arc<Inbox>,
    place: Place,
    /// What was read last.
    at: Token,
    /// What is before this was not asked for.
    first: EntryId,
    /// Something behind that is gone, nobody knows how much.
    is_torn: bool,
}

impl Follower {
    /// Finds where to begin, so that what is published from now on is not missed.
    pub(super) async fn begin(stream: Stream, inbox: Arc<Inbox>, place: Place, since: Since) -> Result<Self> {
        let from = |entry| Token { entry, sequence: None };
        let there = stream.behind(EntryId::MAX.before(), 1).await?;
        let now = Token { entry: there.last, sequence: Some(there.sequence) };
        let (mut first, mut is_torn) = (EntryId::ZERO, false);
        let at = match since {
            Since::Now | Since::Latest(0) => now,
            Since::Beginning => from(EntryId::ZERO),
            Since::Time(ms) => {
                first = EntryId::first_of(ms);
                // What is published before that time is read, and left out.
                if first > now.entry { now } else { from(first.before()) }
            }
            Since::Latest(count) => stream.nth_latest(count).await?.map_or(now, |entry| from(entry.before())),
            Since::After(token @ Token { sequence: Some(_), .. }) => token,
            Since::After(Token { entry, sequence: None }) => {
                let range = Range { from: Some(entry), to: Some(entry), ..Range::default() };
                let found = stream.read(&range, 1).await?.entries.pop();
                let info = stream.info().await?;
                let is_past = info.first.is_none_or(|first| first > entry);
                is_torn = found.is_none() && is_past && entry > EntryId::ZERO && info.trimmed_total > 0;
                Token { entry, sequence: found.and_then(|found| found.sequence) }
            }
        };
        Ok(Self { stream, inbox, place, at, first, is_torn })
    }

    /// Returns where it begins.
    pub(super) fn start(&self) -> Token {
        self.at
    }

    /// Reads on for as long as somebody listens.
    pub(super) async fn follow(mut self) {
        let services = self.stream.services().clone();
        let mut waiter = services.signals().listen(self.stream.channel(), FOLLOWERS);
        let mut failures = 0;
        loop {
            let page = self.stream.behind(self.at.entry, PAGE).await;
            self.inbox.topic_fails(self.place, page.is_err());
            match page {
                Ok(page) => {
                    failures = 0;
                    let is_more = page.is_more;
                    self.hand_on(page).await;
                    if !is_more {
                        waiter.wait(RECHECK_MAX).await;
                    }
                }
                Err(error) => {
                    tracing::debug!(topic = self.stream.name(), %error, "a topic could not be read");
                    tokio::time::sleep(random::pause(PAUSE_BASE, PAUSE_MAX, failures)).await;
                    failures += 1;
                }
            }
        }
    }

    async fn hand_on(&mut self, page: Followed) {
        // A store that was restored may be older than the token; what it has was read before.
        if page.last < self.at.entry {
            self.is_torn = true;
            self.at = Token { entry: page.last, sequence: None };
        }
        if std::mem::take(&mut self.is_torn) {
            self.trimmed(None).await;
        }
        if page.entries.is_empty() && page.last > self.at.entry {
            // All that was published since is gone already.
            if let Some(before) = self.at.sequence {
                self.trimmed(page.sequence.checked_sub(before)).await;
            }
            self.at = Token { entry: page.last, sequence: Some(page.sequence) };
        }
        for FollowedEntry { entry, fields, size } in page.entries {
            // Strangers may write any number.
            let sequence = entry.sequence.filter(|sequence| *sequence <= page.sequence);
            let expected = self.at.sequence.map(|before| before.saturating_add(1));
            if let (Some(sequence), Some(expected)) = (sequence, expected)
                && sequence != expected
            {
                // A smaller number is that of a stream that was made anew.
                self.trimmed(sequence.checked_sub(expected)).await;
            }
            self.at = Token { entry: entry.id, sequence: sequence.or(self.at.sequence) };
            // A dead letter that was redriven is meant for its group.
            if entry.redriven_to.is_some() || entry.id < self.first {
                continue;
            }
            let message = Message {
                channel: self.stream.name().to_owned(),
                pattern: None,
                token: Some(self.at),
                body: entry.event.map_or(Body::Raw(fields), |event| Body::Event(Box::new(event))),
            };
            self.inbox.put(self.place, message, size).await;
        }
    }

    async fn trimmed(&self, count: Option<u64>) {
        self.inbox.put_trimmed(self.place, self.stream.name(), count).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_read_as_they_are_written() {
        for text in ["1795336596140-0/17", "0-0", "5-3"] {
            assert_eq!(text.parse::<Token>().unwrap().to_string(), text);
        }
        for text in ["", "/", "1-1/", "1-1/x", "1-1/-1", "1/1", "1-1/1/1"] {
            assert!(text.parse::<Token>().is_err(), "{text:?}");
        }
    }
}
