//! The cache's rows, and their inputs and outputs.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::{Body, Lookup, Namespace, Remaining, SetOptions};
use crate::Services;
use crate::error::{Error, Result};
use crate::eviction::Eviction;
use crate::keys::Tenant;
use crate::operation::{Service, inputs, operation, present};
use crate::outage::OutagePolicy;
use crate::ttl::{Ttl, TtlInput};

const NAME: &str = "cache";

/// The cache, as the outside sees it.
#[rustfmt::skip]
pub const SERVICE: Service = Service {
    name: NAME,
    doc: "Values with a lifetime, in namespaces, with tags. A value, a cached absence, a miss and an outage are four different outcomes.",
    eviction: Eviction::Allowed,
    outage: &[OutagePolicy::Open, OutagePolicy::Error],
    operations: &[
        operation!(NAME, "get", Get "/cache/{namespace}/entries/{key}", get: KeyInput => Found, [200, 422],
            "Looks a key up.",
            "A miss is not an error: the outcome says `hit`, `absent`, `miss` or `outage`. When the store is down the outcome is `outage`."),
        operation!(NAME, "set", Put "/cache/{namespace}/entries/{key}", set: SetInput => Done, [200, 413, 422, 503, 504],
            "Stores a value.",
            "Exactly one of `value` (any JSON) and `bytes_base64`. Without `ttl_ms` the namespace's lifetime holds; 0 is an error. A load of this key that is under way will not overwrite the value."),
        operation!(NAME, "delete", Delete "/cache/{namespace}/entries/{key}", delete: KeyInput => Count, [200, 422, 503, 504],
            "Deletes an entry.",
            "Gives the number of entries there were, 0 or 1. A load under way will not bring the entry back."),
        operation!(NAME, "ttl", Get "/cache/{namespace}/entries/{key}/ttl", ttl: KeyInput => Lifetime, [200, 404, 422, 503, 504],
            "Tells what is left of an entry's lifetime.", "Milliseconds, or null for an entry that never expires."),
        operation!(NAME, "touch", Post "/cache/{namespace}/entries/{key}/touch", touch: TouchInput => Done, [200, 404, 422, 503, 504],
            "Gives an entry a new lifetime from now.", "Without `ttl_ms` the namespace's lifetime holds."),
        operation!(NAME, "get_many", Post "/cache/{namespace}/get", get_many: KeysInput => FoundMany, [200, 422],
            "Looks many keys up.", "Outcomes are in the order of the keys."),
        operation!(NAME, "set_many", Post "/cache/{namespace}/set", set_many: SetManyInput => SetManyDone, [200, 413, 422, 503, 504],
            "Stores many values with the same options.",
            "Outcomes are in the order of the entries: null for stored, else the error. Invalid input anywhere stores nothing."),
        operation!(NAME, "delete_many", Post "/cache/{namespace}/delete", delete_many: KeysInput => Count, [200, 422, 503, 504],
            "Deletes many entries.", "Gives the number of entries there were."),
        operation!(NAME, "invalidate_tag", Delete "/cache/{namespace}/tags/{tag}", invalidate_tag: TagInput => Count, [200, 422, 503, 504],
            "Removes the entries that carry a tag.",
            "Gives their exact number. Loads under way that would store a value with this tag are refused."),
        operation!(NAME, "invalidate_pattern", Post "/cache/{namespace}/invalidate", invalidate_pattern: PatternInput => Count, [200, 422, 503, 504],
            "Removes the entries whose keys match a glob pattern.",
            "`*`, `?`, `[a-z]`, and `\\` before a literal. The pattern is matched within the namespace only."),
        operation!(NAME, "clear", Delete "/cache/{namespace}", clear: NamespaceInput => Count, [200, 422, 503, 504],
            "Removes all entries of a namespace.", "They cease to exist at once; the number given is exact."),
        operation!(NAME, "count", Get "/cache/{namespace}", count: NamespaceInput => Count, [200, 422, 503, 504],
            "Counts the entries of a namespace.", "Expired ones do not count."),
    ],
};

inputs! {
    /// Names a namespace.
    NamespaceInput {
        /// Namespace.
        namespace: String,
    }

    /// Names an entry.
    KeyInput {
        /// Namespace.
        namespace: String,
        /// Key.
        key: String,
    }

    /// Names entries.
    KeysInput {
        /// Namespace.
        namespace: String,
        /// Keys.
        keys: Vec<String>,
    }

    /// Names a tag.
    TagInput {
        /// Namespace.
        namespace: String,
        /// Tag.
        tag: String,
    }

    /// Gives a pattern.
    PatternInput {
        /// Namespace.
        namespace: String,
        /// Glob pattern over keys.
        pattern: String,
    }

    /// An entry to store.
    SetInput {
        /// Namespace.
        namespace: String,
        /// Key.
        key: String,
        /// Any JSON value, null included.
        #[serde(default, deserialize_with = "present")]
        value: Option<Json>,
        /// Bytes instead of a JSON value, in Base64.
        bytes_base64: Option<String>,
        /// Lifetime in milliseconds, or `"never"`.
        ttl_ms: Option<TtlInput>,
        /// Tags to invalidate it by.
        #[serde(default)]
        tags: Vec<String>,
    }

    /// Entries to store.
    SetManyInput {
        /// Namespace.
        namespace: String,
        /// The entries.
        entries: Vec<EntryInput>,
        /// Lifetime in milliseconds, or `"never"`.
        ttl_ms: Option<TtlInput>,
        /// Tags to invalidate them by.
        #[serde(default)]
        tags: Vec<String>,
    }

    /// Names an entry and its new lifetime.
    TouchInput {
        /// Namespace.
        namespace: String,
        /// Key.
        key: String,
        /// Lifetime in milliseconds, or `"never"`.
        ttl_ms: Option<TtlInput>,
    }
}

/// One of several entries to store.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct EntryInput {
    /// Key.
    key: String,
    /// Any JSON value, null included.
    #[serde(default, deserialize_with = "present")]
    value: Option<Json>,
    /// Bytes instead of a JSON value, in Base64.
    bytes_base64: Option<String>,
}

/// What a lookup found.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Found {
    /// What the lookup came to.
    outcome: Outcome,
    /// The value of a hit that is JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<Json>,
    /// The value of a hit that is bytes, in Base64.
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes_base64: Option<String>,
}

/// What a lookup came to.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Outcome {
    /// There is a value.
    Hit,
    /// It is known that there is none.
    Absent,
    /// Nothing is known.
    Miss,
    /// The store did not answer.
    Outage,
}

/// What many lookups found.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct FoundMany {
    /// In the order of the keys.
    entries: Vec<Found>,
}

/// Says that it is done.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Done {
    /// Always true.
    done: bool,
}

/// How storing many went.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct SetManyDone {
    /// Null for each entry stored, else why not.
    errors: Vec<Option<String>>,
}

/// A number of entries.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Count {
    /// The number.
    count: u64,
}

/// What is left of a lifetime.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Lifetime {
    /// Milliseconds; null for never.
    ttl_ms: Option<u64>,
}

async fn get(services: Services, input: KeyInput) -> Result<Found> {
    Ok(open(&services, input.tenant, &input.namespace)?.lookup(&input.key).await?.into())
}

async fn set(services: Services, input: SetInput) -> Result<Done> {
    let namespace = open(&services, input.tenant, &input.namespace)?;
    let body = body(input.value, input.bytes_base64)?;
    namespace.store(&input.key, &body, &set_options(input.ttl_ms, input.tags)?).await?;
    Ok(Done { done: true })
}

async fn delete(services: Services, input: KeyInput) -> Result<Count> {
    let deleted = open(&services, input.tenant, &input.namespace)?.delete(&input.key).await?;
    Ok(Count { count: u64::from(deleted) })
}

async fn ttl(services: Services, input: KeyInput) -> Result<Lifetime> {
    match open(&services, input.tenant, &input.namespace)?.remaining(&input.key).await? {
        Remaining::Missing => Err(Error::NotFound("cache entry".to_owned())),
        Remaining::Never => Ok(Lifetime { ttl_ms: None }),
        Remaining::Ms(ms) => Ok(Lifetime { ttl_ms: Some(ms) }),
    }
}

async fn touch(services: Services, input: TouchInput) -> Result<Done> {
    let ttl = input.ttl_ms.map(Ttl::try_from).transpose()?;
    match open(&services, input.tenant, &input.namespace)?.touch(&input.key, ttl).await? {
        true => Ok(Done { done: true }),
        false => Err(Error::NotFound("cache entry".to_owned())),
    }
}

async fn get_many(services: Services, input: KeysInput) -> Result<FoundMany> {
    let keys: Vec<&str> = input.keys.iter().map(String::as_str).collect();
    let found = open(&services, input.tenant, &input.namespace)?.lookup_many(&keys).await?;
    Ok(FoundMany { entries: found.into_iter().map(Found::from).collect() })
}

async fn set_many(services: Services, input: SetManyInput) -> Result<SetManyDone> {
    let namespace = open(&services, input.tenant, &input.namespace)?;
    let bodies = input.entries.into_iter().map(|entry| Ok((entry.key, body(entry.value, entry.bytes_base64)?)));
    let bodies = bodies.collect::<Result<Vec<(String, Body)>>>()?;
    let entries: Vec<(&str, Body)> = bodies.iter().map(|(key, body)| (key.as_str(), body.clone())).collect();
    let results = namespace.store_many(&entries, &set_options(input.ttl_ms, input.tags)?).await?;
    Ok(SetManyDone { errors: results.into_iter().map(|result| result.err().map(|error| error.to_string())).collect() })
}

async fn delete_many(services: Services, input: KeysInput) -> Result<Count> {
    let keys: Vec<&str> = input.keys.iter().map(String::as_str).collect();
    let count = open(&services, input.tenant, &input.namespace)?.delete_many(&keys).await?;
    Ok(Count { count })
}

async fn invalidate_tag(services: Services, input: TagInput) -> Result<Count> {
    Ok(Count { count: open(&services, input.tenant, &input.namespace)?.invalidate_tag(&input.tag).await? })
}

async fn invalidate_pattern(services: Services, input: PatternInput) -> Result<Count> {
    Ok(Count { count: open(&services, input.tenant, &input.namespace)?.invalidate_pattern(&input.pattern).await? })
}

async fn clear(services: Services, input: NamespaceInput) -> Result<Count> {
    Ok(Count { count: open(&services, input.tenant, &input.namespace)?.clear().await? })
}

async fn count(services: Services, input: NamespaceInput) -> Result<Count> {
    Ok(Count { count: open(&services, input.tenant, &input.namespace)?.count().await? })
}

fn open(services: &Services, tenant: String, namespace: &str) -> Result<Namespace> {
    services.cache(&Tenant::new(tenant)?).namespace(namespace)
}

fn set_options(ttl: Option<TtlInput>, tags: Vec<String>) -> Result<SetOptions> {
    Ok(SetOptions { ttl: ttl.map(Ttl::try_from).transpose()?, tags, ..SetOptions::default() })
}

fn body(value: Option<Json>, bytes_base64: Option<String>) -> Result<Body> {
    match (value, bytes_base64) {
        (Some(value), None) => Ok(value.into()),
        (None, Some(text)) => {
            BASE64.decode(text).map(Body::from).map_err(|error| Error::invalid("bytes_base64", error))
        }
        _ => Err(Error::invalid("value", "give exactly one of value and bytes_base64")),
    }
}

impl From<Lookup> for Found {
    fn from(lookup: Lookup) -> Self {
        let (outcome, value, bytes_base64) = match lookup {
            Lookup::Hit(Body::Json(json)) => (Outcome::Hit, Some(Arc::unwrap_or_clone(json)), None),
            Lookup::Hit(Body::Bytes(bytes)) => (Outcome::Hit, None, Some(BASE64.encode(bytes))),
            Lookup::Absent => (Outcome::Absent, None, None),
            Lookup::Miss => (Outcome::Miss, None, None),
            Lookup::Outage => (Outcome::Outage, None, None),
        };
        Self { outcome, value, bytes_base64 }
    }
}
