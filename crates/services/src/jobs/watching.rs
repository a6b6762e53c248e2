//! Events of a queue as a feed.

use std::collections::VecDeque;

use serde_json::Value as Json;
use tokio::sync::Mutex;

use super::events::{EventPage, EventWish, JobEvent};
use super::forms::WatchInput;
use super::queue::Queue;
use super::views::{EventView, Watched};
use crate::Services;
use crate::error::{Error, Result};
use crate::keys::Tenant;
use crate::operation::{BoxFuture, Feed, FeedItem};
use crate::random;
use crate::signal::RECHECK_MAX;

/// A queue whose events are watched.
pub(super) struct Watching {
    queue: Queue,
    state: Mutex<State>,
}

struct State {
    /// The number of the last event that was read.
    known: u64,
    read: VecDeque<JobEvent>,
    /// The position has not been told yet.
    is_new: bool,
}

pub(super) async fn watch(services: Services, input: WatchInput) -> Result<Watching> {
    let queue = services.jobs(&Tenant::new(input.tenant)?).queue(&input.queue)?;
    let known = match input.resume {
        Some(text) => text.parse().map_err(|_| Error::invalid("resume", "is no number of an event"))?,
        None => queue.last_event().await?,
    };
    let state = Mutex::new(State { known, read: VecDeque::new(), is_new: true });
    Ok(Watching { queue, state })
}

impl Watching {
    /// Reads on until there is something, whatever becomes of the store meanwhile. What is read stays if whoever waits goes away.
    async fn next_item(&self) -> FeedItem {
        let mut state = self.state.lock().await;
        if std::mem::take(&mut state.is_new) {
            return item("ready", state.known, Watched::Ready { number: state.known });
        }
        let wish = EventWish { wait: RECHECK_MAX * 10, ..EventWish::default() };
        loop {
            if let Some(event) = state.read.pop_front() {
                let number = event.number;
                return item("event", number, Watched::Event(EventView::from(event)));
            }
            match self.queue.events_since(state.known, &wish).await {
                Ok(EventPage { events, next, missed }) => {
                    state.read = events.into();
                    state.known = next;
                    if missed > 0 {
                        let before = state.read.front().map_or(next, |event| event.number - 1);
                        return item("gap", before, Watched::Gap { count: missed });
                    }
                }
                Err(error) => {
                    tracing::debug!(queue = self.queue.name(), %error, "events could not be read");
                    tokio::time::sleep(RECHECK_MAX.mul_f64(random::unit())).await;
                }
            }
        }
    }
}

fn item(kind: &'static str, position: u64, told: Watched) -> FeedItem {
    FeedItem::new(kind, Some(position.to_string()), &told)
}

impl Feed for Watching {
    fn next(&self) -> BoxFuture<'_, Option<FeedItem>> {
        Box::pin(async { Some(self.next_item().await) })
    }

    fn tell(&self, _: Json) -> BoxFuture<'_, Result<Json>> {
        Box::pin(async { Err(Error::invalid("message", "there is nothing to say to this feed")) })
    }
}
