//! Tasks, and lists of a user's tasks: a use of the cache.
//!
//! ```text
//! task:<id>     the task, 3600 s                                        tag task:<id>
//! fn:<SHA-256>  one page of a user's list under one filter, 1800 s      tag list:<user>
//! ```
//!
//! A list is as many entries as it was asked for in pages and filters, and all go at once when something in it has
//! changed: [`TaskCache::changed`] forgets the task and the lists of everyone concerned, and refuses what was being loaded.
//! Whoever moves a task from one user to another names both.
//!
//! Not here: filtering and paging, which is done where tasks are kept; here the answers are.

use serde::Serialize;
use serde_json::Value as Json;

use super::derived::DerivedKey;
use super::{Body, LoadError, LoadOptions, Namespace, SetOptions};
use crate::Services;
use crate::error::Result;
use crate::keys::Tenant;
use crate::ttl::Ttl;

/// Lifetime of a task.
const TASK_TTL_MS: i64 = 3_600_000;

/// Lifetime of a list.
const LIST_TTL_MS: i64 = 1_800_000;

/// Tasks of a tenant.
#[derive(Debug, Clone)]
pub struct TaskCache {
    tasks: Namespace,
}

impl TaskCache {
    /// Opens the tasks of a tenant, in the namespace `tasks`.
    pub fn open(services: &Services, tenant: &Tenant) -> Result<Self> {
        Ok(Self { tasks: services.cache(tenant).namespace("tasks")? })
    }

    /// Returns a task, or loads it; none if there is none.
    pub async fn by_id<E, L, F>(&self, id: &str, load: L) -> Result<Option<Json>, LoadError<E>>
    where
        E: std::fmt::Display + Send + 'static,
        L: FnOnce() -> F + Send + 'static,
        F: Future<Output = Result<Option<Json>, E>> + Send + 'static,
    {
        let tag = format!("task:{id}");
        self.load(&tag.clone(), TASK_TTL_MS, tag, load).await
    }

    /// Returns what a user's list is under a filter, on a page: whatever `query` says, the same question has the same
    /// answer.
    pub async fn list<E, Q, L, F>(&self, user: &str, query: &Q, load: L) -> Result<Option<Json>, LoadError<E>>
    where
        E: std::fmt::Display + Send + 'static,
        Q: Serialize + ?Sized,
        L: FnOnce() -> F + Send + 'static,
        F: Future<Output = Result<Option<Json>, E>> + Send + 'static,
    {
        let key = DerivedKey::of_call(user, 1, query)?;
        self.load(key.as_str(), LIST_TTL_MS, format!("list:{user}"), load).await
    }

    /// Forgets a task and the lists of these users; tells how many entries there were.
    pub async fn changed(&self, id: &str, users: &[&str]) -> Result<u64> {
        let mut count = self.tasks.invalidate_tag(&format!("task:{id}")).await?;
        for user in users {
            count += self.tasks.invalidate_tag(&format!("list:{user}")).await?;
        }
        Ok(count)
    }

    async fn load<E, L, F>(&self, key: &str, ttl_ms: i64, tag: String, load: L) -> Result<Option<Json>, LoadError<E>>
    where
        E: std::fmt::Display + Send + 'static,
        L: FnOnce() -> F + Send + 'static,
        F: Future<Output = Result<Option<Json>, E>> + Send + 'static,
    {
        let set = SetOptions { ttl: Some(Ttl::ms(ttl_ms)?), tags: vec![tag], ..SetOptions::default() };
        let options = LoadOptions { set, ..LoadOptions::default() };
        let loader = || async move { Ok(load().await?.map(Body::from)) };
        Ok(match self.tasks.get_or_set(key, &options, loader).await?.body {
            Some(Body::Json(json)) => Some(std::sync::Arc::unwrap_or_clone(json)),
            Some(Body::Bytes(_)) | None => None,
        })
    }
}
