//! Listening from outside: a subscription as a feed of JSON.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Mutex, MutexGuard};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Deserialize;
use serde_json::{Value as Json, json};

use super::operations::{ListenInput, Told};
use super::{Body, Gap, Heard, Message, Since, Subscription, Token};
use crate::Services;
use crate::error::{Error, Result};
use crate::keys::Tenant;
use crate::operation::{BoxFuture, Feed, FeedItem};

/// Most channels, patterns and topics of one feed, and most that one message to it names.
const MAX_NAMES: usize = 100;

/// Most bytes of a feed's topics together: their names stand in its position, which browsers send in a header.
const MAX_TOPIC_BYTES: usize = 8 * 1024;

/// Largest buffer that may be asked for, in messages.
const MAX_BUFFER: usize = 10_000;

/// A subscription, and how far its topics are.
pub(super) struct Listening {
    subscription: Subscription,
    state: Mutex<State>,
    /// Where topics are read on that were followed by an earlier feed, and where others begin.
    resume: BTreeMap<String, Token>,
    since: Since,
}

#[derive(Default)]
struct State {
    positions: BTreeMap<String, Token>,
    /// Topics have been added, whose positions are to be told.
    has_new_topics: bool,
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
    let resume = match &input.resume {
        None => BTreeMap::new(),
        Some(text) => read_position(text)?,
    };
    let pubsub = services.pubsub(&Tenant::new(input.tenant)?);
    let mut options = services.settings().pubsub.subscription.clone();
    options.buffer = input.buffer.unwrap_or(options.buffer);
    options.overflow = input.overflow.unwrap_or(options.overflow);
    if !(1..=MAX_BUFFER).contains(&options.buffer) {
        return Err(Error::invalid("buffer", format_args!("must be 1 to {MAX_BUFFER}")));
    }
    let subscription = pubsub.subscription_with(&options);
    let listening = Listening { subscription, state: Mutex::default(), resume, since };
    let names = Names { channels: input.channels, patterns: input.patterns, topics: input.topics };
    listening.subscribe(names.each()).await?;
    Ok(listening)
}

impl Names {
    fn count(&self) -> usize {
        self.channels.len() + self.patterns.len() + self.topics.len()
    }

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
            check_names(known.iter().chain(&new))?;
            new
        };
        let joined = self.join(&new).await;
        match joined.is_ok() {
            true => self.state().names.extend(new),
            // One that has no name could not be joined either.
            false => new.iter().for_each(|name| _ = self.leave(name)),
        }
        joined
    }

    async fn join(&self, names: &HashSet<(Kind, String)>) -> Result<()> {
        let of = |wanted| names.iter().filter(move |(kind, _)| *kind == wanted).map(|(_, name)| name.as_str());
        let (channels, patterns): (Vec<_>, Vec<_>) = (of(Kind::Channel).collect(), of(Kind::Pattern).collect());
        self.subscription.subscribe_all(&channels, &patterns).await?;
        for topic in of(Kind::Topic) {
            let since = self.resume.get(topic).copied().map_or(self.since, Since::After);
            let start = self.subscription.follow(topic, since).await?;
            let mut state = self.state();
            // Its first message may have been given by now.
            state.positions.entry(topic.to_owned()).or_insert(start);
            state.has_new_topics = true;
        }
        Ok(())
    }

    fn leave(&self, name: &(Kind, String)) -> Result<()> {
        self.state().names.remove(name);
        match name {
            (Kind::Channel, name) => self.subscription.unsubscribe(name).map(drop),
            (Kind::Pattern, name) => self.subscription.unsubscribe_pattern(name).map(drop),
            (Kind::Topic, name) => {
                self.subscription.unfollow(name);
                self.state().positions.remove(name);
                Ok(())
            }
        }
    }

    /// Tells the position of all topics, if some are new: whoever comes back before there is a message goes on there.
    fn new_positions(&self) -> Option<FeedItem> {
        let mut state = self.state();
        std::mem::take(&mut state.has_new_topics).then(|| {
            let told = Told::Ready { positions: state.positions.clone() };
            FeedItem::new("ready", Some(written(&state.positions)), &told)
        })
    }

    fn item(&self, heard: Heard) -> FeedItem {
        let (kind, position, told) = match heard {
            Heard::Message(message) => {
                let position = message.token.map(|token| self.moved(&message.channel, token));
                ("message", position, told(message))
            }
            Heard::Gap(gap) => ("gap", None, told_gap(gap)),
        };
        FeedItem::new(kind, position, &told)
    }

    /// Takes note of how far a topic is, and returns the position of all.
    fn moved(&self, topic: &str, token: Token) -> String {
        let positions = &mut self.state().positions;
        positions.insert(topic.to_owned(), token);
        written(positions)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics while holding the lock")
    }
}

impl Feed for Listening {
    fn next(&self) -> BoxFuture<'_, Option<FeedItem>> {
        Box::pin(async {
            match self.new_positions() {
                Some(item) => Some(item),
                None => self.subscription.next().await.map(|heard| self.item(heard)),
            }
        })
    }

    fn tell(&self, input: Json) -> BoxFuture<'_, Result<Json>> {
        Box::pin(async move {
            let saying: Saying = serde_json::from_value(input).map_err(|error| Error::invalid("input", error))?;
            let (begin, end) = (saying.subscribe, saying.unsubscribe);
            if begin.count().max(end.count()) > MAX_NAMES {
                return Err(Error::invalid("input", format_args!("names more than {MAX_NAMES} at once")));
            }
            for name in end.each() {
                self.leave(&name)?;
            }
            self.subscribe(begin.each()).await?;
            Ok(json!({"done": true}))
        })
    }
}

/// Refuses too many names.
fn check_names<'a>(names: impl Iterator<Item = &'a (Kind, String)>) -> Result<()> {
    let (mut count, mut topic_bytes) = (0, 0);
    for (kind, name) in names {
        count += 1;
        topic_bytes += if *kind == Kind::Topic { name.len() } else { 0 };
    }
    if count > MAX_NAMES {
        let reason = format_args!("more than {MAX_NAMES} together with patterns and topics");
        return Err(Error::invalid("channels", reason));
    }
    if topic_bytes > MAX_TOPIC_BYTES {
        return Err(Error::invalid("topics", format_args!("their names have more than {MAX_TOPIC_BYTES} bytes")));
    }
    Ok(())
}

/// Writes a position.
fn written(positions: &BTreeMap<String, Token>) -> String {
    serde_json::to_string(positions).expect("texts and tokens have a JSON form")
}

/// Reads a position: an object of topics and tokens.
fn read_position(text: &str) -> Result<BTreeMap<String, Token>> {
    let positions: BTreeMap<String, Token> =
        serde_json::from_str(text).map_err(|error| Error::invalid("resume", error))?;
    match positions.len() <= MAX_NAMES {
        true => Ok(positions),
        false => Err(Error::invalid("resume", format_args!("more than {MAX_NAMES} topics"))),
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
