//! New ids: for the session there is, and for the one that a login makes of it.
//!
//! ```text
//! rotate   id ──nonce──► next id       the same session; the nonce stays in the store for the period of grace,
//!                                      so whoever rotates the old id within it comes to the same next id
//! login    session of nobody ─► session of a user: made first, then the old one is ended if it is as it was copied
//! ```

use std::time::Duration;

use redpoll_resp::Value;

use super::id::{SessionId, no_session, random};
use super::input::{Checked, NewSession, check_bytes};
use super::session::Session;
use super::settings::{MAX_FIELDS, grace_ms};
use super::{Created, Ended, Sessions, steps};
use crate::error::{Error, Result};
use crate::metrics::Counter;

/// How many ids a session may have had within one period of grace.
const MAX_SUCCESSORS: usize = 32;

/// How often a login copies a session that goes on changing.
const LOGIN_ATTEMPTS: usize = 16;

/// What an id is to its session.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Resolved {
    /// Its id.
    Current,
    /// It was until a moment ago; from this its next id is derived.
    Replaced(Vec<u8>),
    /// Nothing, or there is no session.
    Missing,
}

impl Sessions {
    /// Replaces a session's id and returns the new one. To be done when the session's privileges change.
    ///
    /// The old id is accepted for `grace` more, as long as the settings say if `None`. Rotations at once with the same
    /// id, and those with the old id within the grace, all return the same new id. Without grace (zero) only one of
    /// them succeeds, the others find no session, and ids that were replaced before and are in their grace lose it.
    pub async fn rotate(&self, id: &SessionId, grace: Option<Duration>) -> Result<SessionId> {
        let grace_ms = grace_ms(grace.unwrap_or(self.settings().grace))?;
        let nonce: [u8; 16] = random()?;
        let next = id.successor(&nonce);
        let reply = self
            .step(&steps::ROTATE, &self.keys(id), &[&id.proof(), &next.proof(), &nonce.to_vec(), &grace_ms])
            .await?;
        match resolved(reply, steps::ROTATE.name())? {
            Resolved::Current => {
                self.services.metrics().add(Counter::SessionsRotated, 1);
                Ok(next)
            }
            Resolved::Replaced(nonce) => self.newest(id.successor(&nonce)).await,
            Resolved::Missing => Err(no_session()),
        }
    }

    /// Makes a session of what `new` says from the one before: its fields, where `new` has none of the name, and its
    /// messages. The old session ends, and its id is worth nothing from then on.
    ///
    /// [`Error::NotFound`] if there is no such session, or another login or a logout was faster.
    pub async fn login(&self, id: &SessionId, new: &NewSession) -> Result<Created> {
        for _ in 0..LOGIN_ATTEMPTS {
            let old = self.read(id).await?.ok_or_else(no_session)?;
            let messages = self.message_texts(id).await?;
            let created = self.create_after(&old, new, &messages).await?;
            match self.end(id, Some(old.version)).await {
                Ok(Ended::Done) => return Ok(created),
                outcome => {
                    self.destroy(&created.id).await?;
                    if outcome? == Ended::Missing {
                        return Err(no_session());
                    }
                }
            }
        }
        Err(Error::Conflict("the session goes on changing".to_owned()))
    }

    async fn create_after(&self, old: &Session, new: &NewSession, messages: &[String]) -> Result<Created> {
        let mut checked = Checked::new(new, self.settings())?;
        let named = |name: &str| new.fields.iter().any(|(given, _)| given == name);
        for (name, field) in old.fields.iter().filter(|(name, _)| !named(name)) {
            checked.bytes += name.len() + field.json.len();
            checked.pairs.push((format!(".{name}"), format!("1:{}", field.json)));
        }
        check_bytes(checked.bytes, self.settings().bytes_max)?;
        if checked.pairs.iter().filter(|(name, _)| name.starts_with('.')).count() > MAX_FIELDS {
            return Err(Error::invalid("fields", format_args!("more than {MAX_FIELDS} with those of before")));
        }
        // The old session is about to go, so it does not count.
        let leaving = usize::from(old.user.is_some() && old.user == new.user);
        let room = self.settings().per_user()? + leaving;
        self.create_as(|| SessionId::generate(new.user.as_deref()), &checked, room, messages).await
    }

    pub(super) async fn resolve(&self, id: &SessionId) -> Result<Resolved> {
        let reply = self.step(&steps::RESOLVE, &self.keys(id), &[&id.proof()]).await?;
        resolved(reply, steps::RESOLVE.name())
    }

    /// Follows ids that were replaced to the one that is not.
    async fn newest(&self, mut id: SessionId) -> Result<SessionId> {
        for _ in 0..MAX_SUCCESSORS {
            match self.resolve(&id).await? {
                Resolved::Current => return Ok(id),
                Resolved::Replaced(nonce) => id = id.successor(&nonce),
                Resolved::Missing => return Err(no_session()),
            }
        }
        Err(Error::Conflict("the id is being replaced all the time".to_owned()))
    }
}

fn resolved(reply: Value, step: &'static str) -> Result<Resolved> {
    match reply.as_array() {
        Some([Value::Int(0)]) => Ok(Resolved::Missing),
        Some([Value::Int(1)]) => Ok(Resolved::Current),
        Some([Value::Int(2), Value::Bulk(nonce)]) => Ok(Resolved::Replaced(nonce.clone())),
        _ => Err(Error::unexpected(step, &reply)),
    }
}
