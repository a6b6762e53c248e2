//! Users by id, by username and by e-mail address: a use of the cache.
//!
//! ```text
//! id:<id>        the user, 3600 s             all three carry the tag user:<id>
//! name:<name>    the id of whoever has it
//! mail:<address> the id of whoever has it
//!                or that nobody has it, which carries the tag `nobody`
//! ```
//!
//! A name leads to an id and the id to the user, **who has to bear the name**: otherwise the way there is forgotten and
//! asked for anew. So a lookup is never stale after a rename, whatever is cached under the old name, in this process or
//! in another, and storing need not change several keys at one instant.
//!
//! [`UserCache::changed`] forgets the user with all names that lead to it, old ones too, and every name of which it was
//! known that nobody has it, since the user may have it now; and it refuses what was being loaded. Call it after a user was
//! changed, added or removed where users are kept. There is no function that stores a user given from
//! outside: of two such calls the one that read first may write last, and the old user would stay.
//!
//! Names and addresses are taken to the letter. Not here: what else there is to know about a user; `data` is the caller's.

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::load::flatten;
use super::{Body, Fresh, LoadError, LoadOptions, Namespace, SetOptions};
use crate::Services;
use crate::error::{Error, Result};
use crate::keys::Tenant;
use crate::ttl::Ttl;

/// Lifetime of a user and of the ways to it.
const TTL_MS: i64 = 3_600_000;

/// Tag of names and addresses that nobody has. Those of users have a colon.
const NOBODY: &str = "nobody";

/// A user.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct User {
    /// What it is known by for ever.
    pub id: String,
    /// The name it has now.
    pub username: String,
    /// The address it has now.
    pub email: String,
    /// What the caller wants to know of it.
    #[serde(default)]
    pub data: Json,
}

/// What leads to a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lead<'a> {
    /// Its name.
    Username(&'a str),
    /// Its address.
    Email(&'a str),
}

/// Users of a tenant.
#[derive(Debug, Clone)]
pub struct UserCache {
    users: Namespace,
}

impl Lead<'_> {
    fn key(self) -> String {
        match self {
            Self::Username(name) => format!("name:{name}"),
            Self::Email(address) => format!("mail:{address}"),
        }
    }

    fn leads_to(self, user: &User) -> bool {
        match self {
            Self::Username(name) => user.username == name,
            Self::Email(address) => user.email == address,
        }
    }
}

impl UserCache {
    /// Opens the users of a tenant, in the namespace `users`.
    pub fn open(services: &Services, tenant: &Tenant) -> Result<Self> {
        Ok(Self { users: services.cache(tenant).namespace("users")? })
    }

    /// Returns a user, or loads it; none if there is none.
    pub async fn by_id<E, L, F>(&self, id: &str, load: L) -> Result<Option<User>, LoadError<E>>
    where
        E: std::fmt::Display + Send + 'static,
        L: FnOnce() -> F + Send + 'static,
        F: Future<Output = Result<Option<User>, E>> + Send + 'static,
    {
        let options = options(id)?;
        let loader = move |_| async move {
            let user = load().await?;
            Ok(user.map_or_else(Fresh::absent, |user| {
                Fresh::value(serde_json::to_value(user).expect("a user has a JSON form"))
            }))
        };
        match self.users.get_or_load(&format!("id:{id}"), &options, loader).await?.body {
            None => Ok(None),
            Some(Body::Json(json)) => Ok(Some(User::deserialize(&*json).map_err(foreign)?)),
            Some(Body::Bytes(_)) => Err(foreign("bytes").into()),
        }
    }

    /// Returns the user that a name or address leads to now; `find` looks an id up where users are kept, `load` a user.
    pub async fn by_lead<E, G, GF, L, F>(&self, lead: Lead<'_>, find: G, load: L) -> Result<Option<User>, LoadError<E>>
    where
        E: std::fmt::Display + Send + 'static,
        G: Fn() -> GF + Clone + Send + 'static,
        GF: Future<Output = Result<Option<String>, E>> + Send + 'static,
        L: Fn(String) -> F + Clone + Send + 'static,
        F: Future<Output = Result<Option<User>, E>> + Send + 'static,
    {
        let key = lead.key();
        // Twice: what is cached may lead to somebody who has the name no more.
        for _ in 0..2 {
            let find = find.clone();
            let loader = move |_| async move {
                let Some(id) = find().await.map_err(LoadError::Loader)? else {
                    let nobodys = SetOptions { tags: vec![NOBODY.to_owned()], ..SetOptions::default() };
                    return Ok(Fresh::absent().with(nobodys));
                };
                let set = options(&id).map_err(LoadError::Cache)?.set;
                Ok(Fresh::value(Json::from(id)).with(set))
            };
            let found = self.users.get_or_load(&key, &LoadOptions::default(), loader).await.map_err(flatten)?;
            let id = match found.body {
                None => return Ok(None),
                Some(Body::Json(json)) => String::deserialize(&*json).map_err(foreign)?,
                Some(Body::Bytes(_)) => return Err(foreign("bytes").into()),
            };
            let load = load.clone();
            let user = self.by_id(&id.clone(), move || load(id)).await?;
            if user.as_ref().is_some_and(|user| lead.leads_to(user)) {
                return Ok(user);
            }
            self.users.delete(&key).await?;
        }
        Ok(None)
    }

    /// Forgets a user and every name and address that leads to it, and tells how many entries these were; and what was known
    /// to be nobody's.
    pub async fn changed(&self, id: &str) -> Result<u64> {
        self.users.invalidate_tag(NOBODY).await?;
        self.users.invalidate_tag(&tag(id)).await
    }
}

fn tag(id: &str) -> String {
    format!("user:{id}")
}

fn options(id: &str) -> Result<LoadOptions> {
    let set = SetOptions { ttl: Some(Ttl::ms(TTL_MS)?), tags: vec![tag(id)], ..SetOptions::default() };
    Ok(LoadOptions { set, ..LoadOptions::default() })
}

fn foreign(error: impl std::fmt::Display) -> Error {
    Error::invalid("value", format_args!("is no user: {error}"))
}
