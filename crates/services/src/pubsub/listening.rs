//! Listening from outside: a subscription as a feed of JSON.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Mutex, MutexGuard};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Deserialize;
use serde_json::{Value as Json, json};

use super::operations::{ListenInput, Told};
use super::{Body, Gap, Heard, MAX_TOPICS, Message, Since, Subscription, SubscriptionOptions, Token};
use crate::Services;
use crate::error::{Error, Result};
use crate::keys::Tenant;
use crate::operation::{BoxFuture, Feed, FeedItem};

/// Most channels and patterns of one feed.
const MAX_NAMES: usize = 1_000;

/// Largest buffer that may be asked for, in messages.
const MAX_BUFFER: usize = 100_000;

/// A subscription, and how far its topics are.
pub(super) struct Listening {
    subscription: Subscription,
    state: Mutex<State>,
    since: Since,
}

#[derive(Default)]
struct State {
    positions: BTreeMap<String, Token>,
    names: HashSet<(Kind, String)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    Channel,
    Pattern,
    Topic,
}

/// What is said to a feed.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Saying {
    subscribe: Names,
    unsubscribe: Names,
}

/// What is listened to.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Names {
    channels: Vec<String>,
    patterns: Vec<String>,
    topics: Vec<String>,
}

pub(super) async fn listen(services: Services, input: ListenInput) -> Result<Listening> {
    let since = match (input.latest, input.from_ms, input.beginning) {
        (None, None, false) => Since::Now,
        (Some(latest), None, false) => Since::Latest(latest),
        (None, Some(ms), false) => Since::Time(ms),
        (None, None, true) => Since::Beginning,
        _ => return Err(Error::invalid("beginning", "give one of latest, from_ms and beginning")),
    };
    let positions = match &input.resume {
        None => BTreeMap::new(),
        Some(text) => read_position(text)?,
    };
    let pubsub = services.pubsub(&Tenant::new(input.tenant)?);
    let settings = &services.settings().pubsub;
    let buffer = input.buffer.unwrap_or(settings.buffer);
    if !(1..=MAX_BUFFER).contains(&buffer) {
        return Err(Error::invalid("buffer", format_args!("must be 1 to {MAX_BUFFER}")));
    }
    let options = SubscriptionOptions {
        buffer,
        buffer_bytes: settings.buffer_bytes,
        overflow: input.overflow.unwrap_or(settings.overflow),
    };
    let subscription = pubsub.subscription_with(&options);
    let state = Mutex::new(State { positions, ..State::default() });
    let listening = Listening { subscription, state, since };
    let names = Names { channels: input.channels, patterns: input.patterns, topics: input.topics };
    listening.subscribe(names.each()).await?;
    Ok(listening)
}

impl Names {
    fn each(self) -> impl Iterator<Item = (Kind, String)> {
        let named = |kind| move |name| (kind, name);
        let channels = self.channels.into_iter().map(named(Kind::Channel));
        let patterns = self.patterns.into_iter().map(named(Kind::Pattern));
        channels.chain(patterns).chain(self.topics.into_iter().map(named(Kind::Topic)))
    }
}

impl Listening {
    /// Subscribes to all that are not listened to yet, or to none of them.
    async fn subscribe(&self, names: impl Iterator<Item = (Kind, String)>) -> Result<()> {
        let new: HashSet<(Kind, String)> = {
            let known = &self.state().names;
            let new: HashSet<_> = names.filter(|name| !known.contains(name)).collect();
            if known.len() + new.len() > MAX_NAMES {
                let reason = format_args!("more than {MAX_NAMES} together with patterns and topics");
                return Err(Error::invalid("channels", reason));
            }
            new
        };
        for name in &new {
            if let Err(error) = self.join(name).await {
                // One that has no name could not be joined either.
                new.iter().for_each(|name| _ = self.leave(name));
                return Err(error);
            }
        }
        self.state().names.extend(new);
        Ok(())
    }

    async fn join(&self, (kind, name): &(Kind, String)) -> Result<()> {
        match kind {
            Kind::Channel => self.subscription.subscribe(name).await,
            Kind::Pattern => self.subscription.subscribe_pattern(name).await,
            Kind::Topic => {
                let since = self.state().positions.get(name).copied().map_or(self.since, Since::After);
                self.subscription.follow(name, since).await
            }
        }
    }

    fn leave(&self, name: &(Kind, String)) -> Result<()> {
        self.state().names.remove(name);
        match name {
            (Kind::Channel, name) => self.subscription.unsubscribe(name).map(drop),
            (Kind::Pattern, name) => self.subscription.unsubscribe_pattern(name).map(drop),
            (Kind::Topic, name) => {
                self.subscription.unfollow(name);
                Ok(())
            }
        }
    }

    fn item(&self, heard: Heard) -> FeedItem {
        let (kind, position, told) = match heard {
            Heard::Message(message) => {
                let position = message.token.map(|token| self.moved(&message.channel, token));
                ("message", position, told(message))
            }
            Heard::Gap(gap) => ("gap", None, told_gap(gap)),
        };
        let body = serde_json::to_value(told).unwrap_or_else(|error| json!({"defect": error.to_string()}));
        FeedItem { kind, position, body }
    }

    /// Takes note of how far a topic is, and returns the position of all.
    fn moved(&self, topic: &str, token: Token) -> String {
        let positions = &mut self.state().positions;
        positions.insert(topic.to_owned(), token);
        serde_json::to_string(positions).expect("texts and tokens have a JSON form")
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics while holding the lock")
    }
}

impl Feed for Listening {
    fn next(&self) -> BoxFuture<'_, Option<FeedItem>> {
        Box::pin(async { self.subscription.next().await.map(|heard| self.item(heard)) })
    }

    fn tell(&self, input: Json) -> BoxFuture<'_, Result<Json>> {
        Box::pin(async move {
            let saying: Saying = serde_json::from_value(input).map_err(|error| Error::invalid("input", error))?;
            for name in saying.unsubscribe.each() {
                self.leave(&name)?;
            }
            self.subscribe(saying.subscribe.each()).await?;
            Ok(json!({"done": true}))
        })
    }
}

/// Reads a position: an object of topics and tokens.
fn read_position(text: &str) -> Result<BTreeMap<String, Token>> {
    let positions: BTreeMap<String, Token> =
        serde_json::from_str(text).map_err(|error| Error::invalid("resume", error))?;
    match positions.len() <= MAX_TOPICS {
        true => Ok(positions),
        false => Err(Error::invalid("resume", format_args!("more than {MAX_TOPICS} topics"))),
    }
}

fn told(message: Message) -> Told {
    let Message { channel, pattern, token, body } = message;
    let (mut event, mut text, mut base64) = (None, None, None);
    match body {
        Body::Event(one) => event = Some(Box::new((*one).into())),
        Body::Raw(bytes) => match String::from_utf8(bytes) {
            Ok(one) => text = Some(one),
            Err(error) => base64 = Some(BASE64.encode(error.as_bytes())),
        },
    }
    Told::Message { channel, pattern, token, event, text, base64 }
}

fn told_gap(gap: Gap) -> Told {
    let (reason, count, topic) = match gap {
        Gap::Dropped { count } => ("dropped", Some(count), None),
        Gap::Interrupted => ("interrupted", None, None),
        Gap::Trimmed { topic, count } => ("trimmed", count, Some(topic)),
    };
    Told::Gap { reason, count, topic }
}
