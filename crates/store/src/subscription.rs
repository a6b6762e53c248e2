//! Listening to channels from inside the process.

use std::time::{Duration, Instant};

use redpoll_resp::Value;

use crate::{Connection, Error};

/// A message of a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The pattern by which it was received; none if its channel is subscribed to by name.
    pub pattern: Option<Vec<u8>>,
    /// The channel it was published to.
    pub channel: Vec<u8>,
    /// What was published.
    pub payload: Vec<u8>,
}

/// Channels and patterns that are listened to, by one thread.
///
/// ```
/// use std::time::Duration;
/// use redpoll_store::{Config, Store};
///
/// let store = Store::open(Config::in_memory())?;
/// let mut news = store.subscribe(&["news"])?;
/// store.publish("news", "hello")?;
/// let message = news.receive(Duration::from_secs(5))?.expect("a message has been published");
/// assert_eq!(message.payload, b"hello");
/// # Ok::<(), redpoll_store::Error>(())
/// ```
///
/// Messages wait until they are received. Those of one publisher come in the order it published them. Who receives too slowly for
/// `client-output-buffer-limit` is cut off: [`Subscription::receive`] says so once everything that still waited is lost, and nothing comes any more.
pub struct Subscription {
    connection: Connection,
}

impl Subscription {
    pub(crate) fn new(connection: Connection) -> Subscription {
        Subscription { connection }
    }

    /// Listens to further channels.
    ///
    /// # Errors
    /// [`Error::Command`] with what a client would be told.
    pub fn subscribe<C: AsRef<[u8]>>(&mut self, channels: &[C]) -> Result<(), Error> {
        self.change(b"SUBSCRIBE", channels)
    }

    /// Listens to all channels that match further patterns.
    ///
    /// # Errors
    /// [`Error::Command`] with what a client would be told.
    pub fn subscribe_patterns<P: AsRef<[u8]>>(&mut self, patterns: &[P]) -> Result<(), Error> {
        self.change(b"PSUBSCRIBE", patterns)
    }

    /// Stops listening to channels. What was published before is still received.
    ///
    /// # Errors
    /// [`Error::Command`] with what a client would be told.
    pub fn unsubscribe<C: AsRef<[u8]>>(&mut self, channels: &[C]) -> Result<(), Error> {
        self.change(b"UNSUBSCRIBE", channels)
    }

    /// Stops listening to patterns. What was published before is still received.
    ///
    /// # Errors
    /// [`Error::Command`] with what a client would be told.
    pub fn unsubscribe_patterns<P: AsRef<[u8]>>(&mut self, patterns: &[P]) -> Result<(), Error> {
        self.change(b"PUNSUBSCRIBE", patterns)
    }

    /// Waits for the next message, at most for `timeout`; none if nothing comes.
    ///
    /// # Errors
    /// [`Error::CutOff`] if too much waited to be received.
    pub fn receive(&mut self, timeout: Duration) -> Result<Option<Message>, Error> {
        // A time too far to be represented never comes.
        let deadline = Instant::now().checked_add(timeout);
        loop {
            let left = deadline.map_or(timeout, |deadline| deadline.saturating_duration_since(Instant::now()));
            match self.connection.receive(left)? {
                None => return Ok(None),
                Some(value) => {
                    if let Some(message) = message(value) {
                        return Ok(Some(message));
                    }
                }
            }
        }
    }

    /// Has `ring` called when there may be something to receive, for callers that have better to do than wait: a ring is a hint, and may stand for several
    /// messages, so receive with a timeout of zero until nothing comes. It also rings once now, and when the listener was cut off. The first `ring` stays.
    ///
    /// It is called by whoever publishes, in the middle of that: it must not wait, and must not use the store.
    pub fn on_arrival(&mut self, ring: impl Fn() + Send + Sync + 'static) {
        self.connection.on_arrival(ring);
    }

    fn change<N: AsRef<[u8]>>(&mut self, command: &[u8], names: &[N]) -> Result<(), Error> {
        // Without names UNSUBSCRIBE would mean all of them.
        if names.is_empty() {
            return Ok(());
        }
        let args: Vec<&[u8]> = std::iter::once(command).chain(names.iter().map(AsRef::as_ref)).collect();
        match self.connection.call(&args) {
            Value::Error(text) => Err(Error::Command(text)),
            _ => Ok(()),
        }
    }
}

/// Reads a message; none if it is of another kind.
fn message(value: Value) -> Option<Message> {
    let Value::Push(parts) = value else { return None };
    let mut parts = parts.into_iter().map(|part| match part {
        Value::Bulk(bytes) => Some(bytes),
        _ => None,
    });
    let mut next = || parts.next().flatten();
    let kind = next()?;
    let pattern = match kind.as_slice() {
        b"message" | b"smessage" => None,
        b"pmessage" => Some(next()?),
        _ => return None,
    };
    Some(Message { pattern, channel: next()?, payload: next()? })
}
