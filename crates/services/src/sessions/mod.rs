//! Sessions: who a client is, and what is remembered of it between requests.
//!
//! # Guarantees
//!
//! * **Ids.** Made here, of random bits of the operating system, and never chosen by a caller: an id that was not given
//!   out is nobody's, and stays so. 128 bits name the session: they stand in keys, and in lists as its handle, so that it
//!   can be shown and revoked. Another 128 are the secret, of which the store keeps a hash only (`id.rs`).
//! * **No lost update.** A session is a set of fields. An update changes the fields it names, all of them or none, in one
//!   step; others stay as they are, whoever changes them at the same time. Session and fields have versions to compare
//!   with before setting. Messages are appended, the last [`SessionsSettings::messages_max`] are kept.
//! * **No resurrection.** Every step checks in the store that there is a session. Only creating makes one, and never
//!   with a ref that was used before. A save, touch or append that comes after the logout is answered *not found*.
//! * **Rotation.** [`Sessions::rotate`] replaces the id of a session: on a change of privileges. For a period of grace the
//!   old id is accepted too, so that requests under way are not thrown out. Of rotations at once one makes the new id, and
//!   the others come to the same one. [`Sessions::login`] makes a session for a user from the one before; there the old
//!   id has *no* grace: one that was known before a login and answered with the session after it would be a fixation.
//! * **Expiry.** Sliding, by touches, and absolute, which nothing extends. By the store's clock, and by the deadline of the
//!   session's own keys, so nothing has to be cleaned up. A read changes nothing.
//! * **Cap.** A user has at most [`SessionsSettings::per_user_max`] sessions; creating one more ends the oldest in the same step.
//! * **Sign-out everywhere.** All sessions of a user that were there when it began end in one step. Those of a workspace end
//!   partition by partition.
//! * **Binding** to address or user agent is checked by loading, and a mismatch is a result of its own.
//!
//! # Keys
//!
//! What one step touches must share a hash tag, a session must be found by its id alone, and a user's sessions must be
//! counted, capped and ended together. So a tenant's sessions are cut into [`PARTITIONS`] parts by a hash of the *user*,
//! those of nobody by their ref, and the id carries the number of its part:
//!
//! ```text
//! rp:kept:{tenant:sessions:07}:s:<ref>          session (see session.rs)          :x  index by expiry
//!                             :m:<ref>          messages                          :u  index by user
//!                             :g:<ref>.<proof>  nonce of a replaced id in grace   :w  index by workspace
//! ```
//!
//! A login changes the user and with it the part, so it makes a new session and ends the old one, which no single step
//! can do on a Cluster. The new one is made first, and the old one ended only if it has not changed meanwhile; else the
//! new one is ended and all begins anew. So of logins at once with one old id one succeeds, nothing that was written before
//! is lost, and a crash between the two leaves a session whose id nobody was told. A workspace's sessions are in all
//! parts: listing, counting and ending them asks each. Splitting by user and not by workspace keeps large workspaces from
//! being one node's burden.
//!
//! The index is written in the steps that create, move and end sessions. Each of its sets lives exactly as long as the
//! longest session that was in it. What has expired is taken out a little at a time, and never shown or counted before;
//! what was lost from it comes back with the session's next touch.
//!
//! # When the store is down
//!
//! Everything is an error, reading too: who cannot be recognised is not let in. Counted as
//! `redpoll_sessions_outages_total`. The same holds for a store that may evict, see [`kept`](crate::kept): an evicted
//! session is a user thrown out, and a part of the index evicted is a session that the next sign-out misses. (Not for
//! sessions of other libraries, which lie under those libraries' keys.)
//!
//! Not here: cookies, which are the framework's (see the crate `redpoll-tower`), and encryption of what is stored, which is
//! the caller's, who has the key.

mod foreign;
mod id;
mod input;
mod operations;
mod place;
mod roster;
mod rotate;
mod session;
mod settings;
mod shapes;
mod steps;

use std::time::Duration;

use redpoll_resp::Value;
use serde_json::Value as Json;

use crate::Services;
use crate::backend::{Command, ToArg};
use crate::error::{Error, Result};
use crate::keys::{Key, Tenant};
use crate::metrics::Counter;
use crate::script::Script;
use crate::ttl::{Ttl, ms};

pub use foreign::{Foreign, Layout};
pub use id::{Handle, SessionId, ShortId};
pub use input::{Change, NewSession, Update};
pub use operations::SERVICE;
pub use place::PARTITIONS;
pub use roster::Page;
pub use session::{Binding, Field, Lookup, Mismatch, Origin, Session};
pub use settings::{
    MAX_AGENT_BYTES, MAX_FIELD_NAME_BYTES, MAX_FIELDS, MAX_GRACE, MAX_MESSAGES, MAX_SESSIONS_PER_USER, SessionsSettings,
};

use id::no_session;
use input::{Checked, check_bytes, finite, version_text};
use place::Partition;
use session::{Record, json_text};
use settings::within;

/// How often creating is tried: each time somebody else has ended, or made, sessions of the user meanwhile.
const CREATE_ATTEMPTS: usize = 64;

/// A tenant's sessions.
#[derive(Debug, Clone)]
pub struct Sessions {
    services: Services,
    tenant: Tenant,
}

/// A session that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Created {
    /// What its client has to show.
    pub id: SessionId,
    /// When it was created, ms since 1970.
    pub created_ms: u64,
    /// When it ends if it is not touched, ms since 1970.
    pub expires_ms: u64,
    /// How many of the user's sessions were ended to make room.
    pub evicted: u64,
}

/// What a touch did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Touched {
    /// Whether the end was moved; it was not if the last touch was less than the interval ago.
    pub moved: bool,
    /// When the session ends if it is not touched, ms since 1970.
    pub expires_ms: u64,
}

impl Sessions {
    pub(crate) fn new(services: Services, tenant: Tenant) -> Self {
        Self { services, tenant }
    }

    /// Creates a session.
    pub async fn create(&self, new: &NewSession) -> Result<Created> {
        let checked = Checked::new(new, self.settings())?;
        let room = self.settings().per_user()?;
        self.create_as(|| SessionId::generate(new.user.as_deref()), &checked, room, &[]).await
    }

    /// Creates a session of nobody whose id has 128 bits, for frameworks whose ids do.
    ///
    /// Such a session is in no list. A user or workspace is an error.
    pub async fn create_short(&self, new: &NewSession) -> Result<ShortId> {
        if new.user.is_some() || new.workspace.is_some() {
            return Err(Error::invalid("user", "a short id leads to a session of nobody"));
        }
        let checked = Checked::new(new, self.settings())?;
        let mut short = ShortId([0; 16]);
        let generate = || {
            short = ShortId::generate()?;
            Ok(SessionId::from(short))
        };
        self.create_as(generate, &checked, 1, &[]).await?;
        Ok(short)
    }

    /// Loads a session, in one command. Changes nothing; see [`Sessions::touch`].
    pub async fn load(&self, id: &SessionId, origin: &Origin) -> Result<Lookup> {
        let Some(session) = self.read(id).await? else {
            return Ok(Lookup::Missing);
        };
        Ok(match session.mismatch(origin) {
            None => Lookup::Found(Box::new(session)),
            Some(mismatch) => {
                self.services.metrics().add(Counter::SessionsMismatched, 1);
                Lookup::Mismatch(mismatch)
            }
        })
    }

    /// Changes fields, and returns the session's new version.
    ///
    /// [`Error::NotFound`] if there is no such session, [`Error::Conflict`] if the session or a field has another
    /// version than expected, [`Error::TooLarge`] if all fields together would be; nothing is changed then.
    pub async fn update(&self, id: &SessionId, update: &Update) -> Result<u64> {
        let settings = self.settings();
        let changes = update.args(settings)?;
        let lifetime_ms = update.lifetime.map_or(Ok(0), |ttl| finite("lifetime_ms", ttl))?;
        let (proof, reference, version) = (id.proof(), id.handle().reference(), version_text(update.version));
        let mut args: Vec<&dyn ToArg> =
            vec![&proof, &reference, &version, &lifetime_ms, &settings.bytes_max, &MAX_FIELDS];
        args.extend(changes.iter().map(|change| change as &dyn ToArg));
        let reply = self.step(&steps::UPDATE, &self.keys(id), &args).await?;
        match numbers(&reply).as_deref() {
            Some([1, version]) => Ok(*version),
            Some([0]) => Err(no_session()),
            Some([2, version]) => Err(Error::Conflict(format!("the session is at version {version}"))),
            Some([3, change, version]) => {
                let name = update.changes.get((*change as usize).wrapping_sub(1)).map(|change| change.name.as_str());
                Err(Error::Conflict(format!("field {:?} is at version {version}", name.unwrap_or_default())))
            }
            Some([4, bytes]) => Err(Error::TooLarge { size_bytes: *bytes as usize, max_bytes: settings.bytes_max }),
            Some([5, _]) => Err(Error::invalid("fields", format_args!("more than {MAX_FIELDS}"))),
            _ => Err(Error::unexpected(steps::UPDATE.name(), &reply)),
        }
    }

    /// Appends messages and returns how many there are now. The last `keep` are kept, as many as the settings say if
    /// `None`.
    pub async fn append(&self, id: &SessionId, messages: &[Json], keep: Option<usize>) -> Result<u64> {
        let settings = self.settings();
        let keep = within("keep", keep.unwrap_or(settings.messages_max), MAX_MESSAGES)?;
        within("messages", messages.len(), MAX_MESSAGES)?;
        let messages: Vec<String> = messages.iter().map(json_text).collect();
        for message in &messages {
            check_bytes(message.len(), settings.bytes_max)?;
        }
        let proof = id.proof();
        let mut args: Vec<&dyn ToArg> = vec![&proof, &keep];
        args.extend(messages.iter().map(|message| message as &dyn ToArg));
        let reply = self.step(&steps::APPEND, &self.keys(id), &args).await?;
        if reply.is_nil() {
            return Err(no_session());
        }
        reply.as_u64().ok_or_else(|| Error::unexpected(steps::APPEND.name(), &reply))
    }

    /// Returns the messages, oldest first.
    pub async fn messages(&self, id: &SessionId) -> Result<Vec<Json>> {
        let messages = self.message_texts(id).await?;
        let read = |text: &String| serde_json::from_str(text).map_err(|error| Error::Backend(error.to_string()));
        messages.iter().map(read).collect()
    }

    /// Moves the end of a session to its idle time from now, unless that would be earlier, and notes that it was seen.
    ///
    /// Does nothing if the last touch was less than `interval` ago, that of the settings if `None`.
    pub async fn touch(&self, id: &SessionId, interval: Option<Duration>) -> Result<Touched> {
        self.prolong(id, "touch", ms(interval.unwrap_or(self.settings().touch_interval))).await
    }

    /// Gives a session a lifetime from now, longer or shorter than what is left, and returns its end. The absolute end
    /// stays.
    pub async fn extend(&self, id: &SessionId, lifetime: Ttl) -> Result<u64> {
        let lifetime_ms = finite("lifetime_ms", lifetime)?;
        self.prolong(id, "extend", lifetime_ms).await.map(|touched| touched.expires_ms)
    }

    /// Ends a session: the logout. Tells whether there was one.
    pub async fn destroy(&self, id: &SessionId) -> Result<bool> {
        Ok(self.end(id, None).await? == Ended::Done)
    }

    fn settings(&self) -> &SessionsSettings {
        &self.services.settings().sessions
    }

    fn partition(&self, number: usize) -> Partition {
        Partition::new(&self.services.settings().keyring, &self.tenant, number)
    }

    fn keys(&self, id: &SessionId) -> Vec<Key> {
        self.partition(id.handle().partition()).keys(id)
    }

    async fn step(&self, script: &'static Script, keys: &[Key], args: &[&dyn ToArg]) -> Result<Value> {
        self.call(Command::script(script, keys, args)).await
    }

    async fn call(&self, command: Command) -> Result<Value> {
        self.counted(self.services.ensure_kept().await)?;
        self.call_unkept(command).await
    }

    /// Calls a store that may evict what this is about.
    async fn call_unkept(&self, command: Command) -> Result<Value> {
        self.counted(self.services.backend().call(command).await)
    }

    async fn calls(&self, commands: Vec<Command>) -> Result<Vec<Value>> {
        self.counted(self.services.ensure_kept().await)?;
        let replies = self.counted(self.services.backend().pipeline(commands).await)?;
        replies.into_iter().map(|reply| self.counted(reply)).collect()
    }

    fn counted<T>(&self, result: Result<T>) -> Result<T> {
        if result.as_ref().is_err_and(Error::is_outage) {
            self.services.metrics().add(Counter::SessionsOutages, 1);
        }
        result
    }

    /// Creates under an id that `generate` makes, another one each time it is asked. `room` is how many sessions the
    /// user may have then.
    async fn create_as(
        &self,
        mut generate: impl FnMut() -> Result<SessionId>,
        new: &Checked,
        room: usize,
        messages: &[String],
    ) -> Result<Created> {
        let mut id = generate()?;
        let mut endable: Vec<roster::Entry> = Vec::new();
        for _ in 0..CREATE_ATTEMPTS {
            let reply = self.try_create(&id, new, room, &endable, messages).await?;
            let parts = reply.as_array().unwrap_or_default();
            match (parts.first().and_then(Value::as_i64), parts) {
                (Some(1), [_, stamp, expires, evicted]) => {
                    let read =
                        |value: &Value| value.as_u64().ok_or_else(|| Error::unexpected(steps::CREATE.name(), &reply));
                    let (stamp, expires_ms, evicted) = (read(stamp)?, read(expires)?, read(evicted)?);
                    self.services.metrics().add(Counter::SessionsCreated, 1);
                    self.services.metrics().add(Counter::SessionsEvicted, evicted);
                    return Ok(Created { id, created_ms: stamp / 1000, expires_ms, evicted });
                }
                (Some(0), _) => id = generate()?,
                (Some(2), [_, wanted @ ..]) => {
                    let partition = id.handle().partition();
                    endable =
                        wanted.iter().map(|member| roster::Entry::of_user(partition, member)).collect::<Result<_>>()?;
                }
                _ => return Err(Error::unexpected(steps::CREATE.name(), &reply)),
            }
        }
        Err(Error::Conflict("too many sessions of this user are being made".to_owned()))
    }

    async fn try_create(
        &self,
        id: &SessionId,
        new: &Checked,
        room: usize,
        endable: &[roster::Entry],
        messages: &[String],
    ) -> Result<Value> {
        let partition = self.partition(id.handle().partition());
        let mut keys = partition.keys(id);
        keys.extend(endable.iter().flat_map(|entry| partition.pair(entry.handle)));
        let (proof, reference) = (id.proof(), id.handle().reference());
        let (pairs, endable_count) = (new.pairs.len() * 2, endable.len());
        let mut args: Vec<&dyn ToArg> = vec![&proof, &reference, &new.user, &new.workspace, &new.idle_ms];
        args.extend([&new.absolute_ms as &dyn ToArg, &room, &new.bytes, &pairs, &endable_count]);
        for (name, value) in &new.pairs {
            args.extend([name as &dyn ToArg, value]);
        }
        let members: Vec<String> = endable.iter().map(roster::Entry::user_member).collect();
        args.extend(members.iter().map(|member| member as &dyn ToArg));
        args.extend(messages.iter().map(|message| message as &dyn ToArg));
        self.step(&steps::CREATE, &keys, &args).await
    }

    /// Reads the session that an id is, or was until a moment ago, the id of.
    async fn read(&self, id: &SessionId) -> Result<Option<Session>> {
        let key = self.partition(id.handle().partition()).session(id.handle());
        let reply = self.call(Command::new("HGETALL").key(key).repeatable()).await?;
        let pairs = reply.into_map().map_err(|reply| Error::unexpected("HGETALL", &reply))?;
        let Some(record) = Record::read(id.handle(), pairs)? else {
            return Ok(None);
        };
        if !id.is_proven_by(&record.proof) && self.resolve(id).await? == rotate::Resolved::Missing {
            return Ok(None);
        }
        Ok(Some(record.session))
    }

    async fn message_texts(&self, id: &SessionId) -> Result<Vec<String>> {
        let reply = self.step(&steps::MESSAGES, &self.keys(id), &[&id.proof()]).await?;
        if reply.is_nil() {
            return Err(no_session());
        }
        let text = |value: Value| value.into_bytes().ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let texts = reply.into_array().ok().and_then(|values| values.into_iter().map(text).collect());
        texts.ok_or_else(|| Error::Backend("messages that nobody here has written".to_owned()))
    }

    async fn prolong(&self, id: &SessionId, how: &'static str, by_ms: u64) -> Result<Touched> {
        let (proof, reference) = (id.proof(), id.handle().reference());
        let reply = self.step(&steps::TOUCH, &self.keys(id), &[&proof, &reference, &how, &by_ms]).await?;
        if reply.is_nil() {
            return Err(no_session());
        }
        match numbers(&reply).as_deref() {
            Some([moved, expires_ms]) => Ok(Touched { moved: *moved == 1, expires_ms: *expires_ms }),
            _ => Err(Error::unexpected(steps::TOUCH.name(), &reply)),
        }
    }

    /// Ends a session, if it has a version.
    async fn end(&self, id: &SessionId, version: Option<u64>) -> Result<Ended> {
        let (proof, reference, version) = (id.proof(), id.handle().reference(), version_text(version));
        let reply = self.step(&steps::DESTROY, &self.keys(id), &[&proof, &reference, &version]).await?;
        match reply.as_i64() {
            Some(0) => Ok(Ended::Missing),
            Some(1) => {
                self.services.metrics().add(Counter::SessionsEnded, 1);
                Ok(Ended::Done)
            }
            Some(2) => Ok(Ended::Changed),
            _ => Err(Error::unexpected(steps::DESTROY.name(), &reply)),
        }
    }
}

/// How ending a session went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    Done,
    Missing,
    /// It has another version.
    Changed,
}

/// Reads a list of numbers that a step wrote.
fn numbers(value: &Value) -> Option<Vec<u64>> {
    value.as_array()?.iter().map(Value::as_u64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Backend, Settings};

    async fn open() -> Sessions {
        Services::new(Backend::connect("embedded:").await.unwrap(), Settings::default()).sessions(&Tenant::default())
    }

    #[tokio::test]
    async fn a_ref_that_is_taken_is_not_taken_over() {
        let sessions = open().await;
        let taken = sessions.create(&NewSession::of("ann").with("a", 1.into())).await.unwrap().id;
        let twin = taken.successor(b"another secret");
        assert_eq!(twin.handle(), taken.handle());
        let free = SessionId::generate(Some("ann")).unwrap();
        let mut ids = vec![free.clone(), twin.clone(), twin.clone()];
        let checked = Checked::new(&NewSession::of("ann"), &SessionsSettings::default()).unwrap();
        let created = sessions.create_as(|| Ok(ids.pop().expect("three are enough")), &checked, 10, &[]).await.unwrap();
        assert_eq!(created.id, free);
        assert_eq!(sessions.read(&twin).await, Ok(None));
        assert_eq!(sessions.read(&taken).await.unwrap().expect("it is still there").fields.len(), 1);
    }

    #[tokio::test]
    async fn creating_may_be_repeated() {
        let sessions = open().await;
        let id = SessionId::generate(Some("ann")).unwrap();
        let checked = Checked::new(&NewSession::of("ann"), &SessionsSettings::default()).unwrap();
        let first = sessions.create_as(|| Ok(id.clone()), &checked, 10, &[]).await.unwrap();
        assert_eq!(sessions.create_as(|| Ok(id.clone()), &checked, 10, &[]).await.unwrap(), first);
        assert_eq!(sessions.count_user("ann").await, Ok(1));
    }
}
