//! Service operations as data.
//!
//! Every service lists what it can do in a table of [`Operation`] rows, one per typed async function. HTTP routes,
//! OpenAPI, command line and Python stubs derive from the tables; none of them knows a service by name. A row joins
//!
//! ```text
//! Input (Deserialize + JsonSchema) ─► async fn(Services, Input) -> Result<Output> ─► Output (Serialize + JsonSchema)
//! ```
//!
//! with a verb, a path and prose. One JSON object carries the whole input: path parameters, query and body together,
//! so a name means the same wherever it is written. Path parameters stand in braces and must be fields of the input.
//!
//! What is written as text, in a path, a query or a command line, a [`Shape`] reads.
//!
//! Not here: transport. An operation neither sees a request nor chooses a status; [`Operation::statuses`] lists what
//! its result and errors map to.

mod shape;

use std::future::Future;
use std::pin::Pin;

use schemars::Schema;
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Value as Json, json};

use crate::Services;
use crate::error::{Error, Result};
use crate::eviction::Eviction;
use crate::keys::Tenant;
use crate::outage::OutagePolicy;

pub use shape::{Field, Misfit, Shape};

/// A future on the heap.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// HTTP verb of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Method {
    /// Reads and changes nothing.
    Get,
    /// Sets a state; doing it twice is doing it once.
    Put,
    /// Does something each time.
    Post,
    /// Removes.
    Delete,
}

impl Method {
    /// Returns the verb in capitals.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Put => "PUT",
            Self::Post => "POST",
            Self::Delete => "DELETE",
        }
    }
}

/// How a result reaches a caller over HTTP, and where the path is mounted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Envelope {
    /// The result itself, below the API's root.
    None,
    /// `{"success": true, "message": …, "data": …}` with this message, or `{"success": false, "error": …, "details": …}`
    /// with [`Error::code`] and the error's text; at the server's root, where existing clients expect it. The status is
    /// the same as without an envelope.
    Outcome {
        /// Says what was done.
        message: &'static str,
    },
}

/// One row: something a service can do.
#[derive(Clone, Copy)]
pub struct Operation {
    /// The service's name.
    pub service: &'static str,
    /// The operation's name, unique within the service.
    pub name: &'static str,
    /// The HTTP verb.
    pub method: Method,
    /// The path below the API's root, parameters in braces.
    pub path: &'static str,
    /// One line.
    pub summary: &'static str,
    /// A paragraph: guarantees, units, what the statuses mean here.
    pub doc: &'static str,
    /// Schema of the input object.
    pub input_schema: fn() -> Schema,
    /// Schema of the result.
    pub output_schema: fn() -> Schema,
    /// Statuses to expect, success first.
    pub statuses: &'static [u16],
    /// How the result is wrapped.
    pub envelope: Envelope,
    /// Whether it may wait for what others do. Such a one is given up when whoever asked has gone, since what it would come
    /// to later (a lock, a slot) would be nobody's. All others are carried through.
    pub waits: bool,
    /// Runs it.
    pub run: Run,
}

/// What running an operation gives.
#[derive(Clone, Copy)]
pub enum Run {
    /// One result.
    Answer(fn(Services, Json) -> BoxFuture<'static, Result<Json>>),
    /// Things one after the other, for as long as somebody listens. The input's field `resume`, if there is one, takes the position of an earlier item.
    Feed(OpenFeed),
}

/// Opens a feed.
pub type OpenFeed = fn(Services, Json) -> BoxFuture<'static, Result<Box<dyn Feed>>>;

/// Gives things one after the other. Dropping it ends it.
pub trait Feed: Send + Sync {
    /// Waits for the next; nothing if it has ended.
    fn next(&self) -> BoxFuture<'_, Option<FeedItem>>;

    /// Takes what whoever listens says meanwhile, one JSON object, and answers.
    fn tell(&self, input: Json) -> BoxFuture<'_, Result<Json>>;
}

/// One thing of a feed.
#[derive(Debug, Clone, PartialEq)]
pub struct FeedItem {
    /// What kind of thing it is, a word.
    pub kind: &'static str,
    /// What to give as `resume` to go on behind it, if it changes that.
    pub position: Option<String>,
    /// The thing.
    pub body: Json,
}

impl FeedItem {
    pub(crate) fn new(kind: &'static str, position: Option<String>, thing: &impl Serialize) -> Self {
        let body = serde_json::to_value(thing).expect("what feeds give has a JSON form");
        Self { kind, position, body }
    }

    /// Returns the item as one JSON object, `{"kind", "position", "body"}`, for transports without a form of their own.
    pub fn into_json(self) -> Json {
        json!({"kind": self.kind, "position": self.position, "body": self.body})
    }
}

impl std::fmt::Debug for Operation {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}.{} {} {}", self.service, self.name, self.method.as_str(), self.path)
    }
}

impl Operation {
    /// Returns the row with its result in an envelope of that message.
    #[must_use]
    pub const fn in_envelope(mut self, message: &'static str) -> Self {
        self.envelope = Envelope::Outcome { message };
        self
    }

    /// Returns the row of an operation that may wait for what others do.
    #[must_use]
    pub const fn waiting(mut self) -> Self {
        self.waits = true;
        self
    }

    /// Returns the names of the path's parameters, in order.
    pub fn path_params(&self) -> impl Iterator<Item = &'static str> {
        self.path.split('{').skip(1).filter_map(|rest| rest.split('}').next())
    }
}

/// A service as the outside sees it.
#[derive(Debug, Clone, Copy)]
pub struct Service {
    /// Name, also the first segment of its paths.
    pub name: &'static str,
    /// What it is for, a paragraph.
    pub doc: &'static str,
    /// Whether a full store may give up its keys: all whose service is this name (see [`crate::keys`]).
    pub eviction: Eviction,
    /// What it may answer while the store does not, the default first.
    pub outage: &'static [OutagePolicy],
    /// What it can do.
    pub operations: &'static [Operation],
}

/// Makes a row from a typed function.
///
/// `operation!("cache", "set", Put "/cache/{namespace}/{key}", set: SetInput => SetOutput, [200, 413, 422, 503],
/// "Stores a value.", "Longer text.")` expects `async fn set(services: Services, input: SetInput) -> Result<SetOutput>`.
macro_rules! operation {
    ($service:expr, $name:literal, $method:ident $path:literal, $function:ident : $input:ty => $output:ty,
     $statuses:tt, $summary:literal, $doc:expr $(,)?) => {
        $crate::operation::row!($service, $name, $method $path, $input => $output, $statuses, $summary, $doc,
            Answer(|services, input| Box::pin($crate::operation::dispatch(services, input, $function))))
    };
}
pub(crate) use operation;

/// Makes the row of a feed, like [`operation!`]: its function returns a [`Feed`], whose items are of the row's output.
macro_rules! feed {
    ($service:expr, $name:literal, $path:literal, $function:ident : $input:ty => $output:ty,
     $statuses:tt, $summary:literal, $doc:expr $(,)?) => {
        $crate::operation::row!($service, $name, Get $path, $input => $output, $statuses, $summary, $doc,
            Feed(|services, input| Box::pin($crate::operation::open(services, input, $function))))
    };
}
pub(crate) use feed;

/// Makes a row of either kind.
macro_rules! row {
    ($service:expr, $name:literal, $method:ident $path:literal, $input:ty => $output:ty,
     [$($status:literal),+], $summary:literal, $doc:expr, $kind:ident($run:expr)) => {
        $crate::operation::Operation {
            service: $service,
            name: $name,
            method: $crate::operation::Method::$method,
            path: $path,
            summary: $summary,
            doc: $doc,
            input_schema: || schemars::schema_for!($input),
            output_schema: || schemars::schema_for!($output),
            statuses: &[$($status),+],
            envelope: $crate::operation::Envelope::None,
            waits: false,
            run: $crate::operation::Run::$kind($run),
        }
    };
}
pub(crate) use row;

/// Reads the input and opens a feed.
pub(crate) async fn open<I, O, F>(
    services: Services,
    input: Json,
    function: fn(Services, I) -> F,
) -> Result<Box<dyn Feed>>
where
    I: DeserializeOwned,
    O: Feed + 'static,
    F: Future<Output = Result<O>> + Send,
{
    let input = serde_json::from_value(input).map_err(|error| Error::invalid("input", error))?;
    Ok(Box::new(function(services, input).await?))
}

/// Declares inputs, structs that begin with a tenant: `inputs! { /// Names a key. KeyInput { /// Key. key: String, } }`.
///
/// Fields that all of them share stand before them: `inputs! { each { /// Group. group: String, } … }`.
macro_rules! inputs {
    (@input $(#[$doc:meta])* $name:ident
        { $($(#[$shared_doc:meta])* $shared:ident: $shared_type:ty,)* }
        { $($(#[$field_doc:meta])* $field:ident: $type:ty,)* }) => {
        $(#[$doc])*
        #[derive(Debug, serde::Deserialize, schemars::JsonSchema)]
        #[serde(deny_unknown_fields)]
        pub(super) struct $name {
            /// Tenant; `default` if absent.
            #[serde(default = "crate::operation::default_tenant")]
            pub(super) tenant: String,
            $($(#[$shared_doc])* pub(super) $shared: $shared_type,)*
            $($(#[$field_doc])* pub(super) $field: $type,)*
        }
    };
    (each $shared:tt $($(#[$doc:meta])* $name:ident $fields:tt)*) => {
        $($crate::operation::inputs! { @input $(#[$doc])* $name $shared $fields })*
    };
    ($($(#[$doc:meta])* $name:ident $fields:tt)*) => {
        $($crate::operation::inputs! { @input $(#[$doc])* $name {} $fields })*
    };
}
pub(crate) use inputs;

/// Reads an object as two structs: the fields of these names, and the others. For inputs that hold a struct without a name of its own, since serde's
/// `flatten` takes no integer of more than 128 bits.
pub(crate) fn split<'de, D, Named, Others>(deserializer: D, names: &[&str]) -> Result<(Named, Others), D::Error>
where
    D: Deserializer<'de>,
    Named: DeserializeOwned,
    Others: DeserializeOwned,
{
    let mut others = serde_json::Map::deserialize(deserializer)?;
    let named = names.iter().filter_map(|name| others.remove_entry(*name)).collect();
    let named = serde_json::from_value(Json::Object(named)).map_err(D::Error::custom)?;
    Ok((named, serde_json::from_value(Json::Object(others)).map_err(D::Error::custom)?))
}

/// Reads a field that is there, so that `null` is a value and only absence is none: `#[serde(default, deserialize_with = "present")]`.
pub(crate) fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Json>, D::Error> {
    Json::deserialize(deserializer).map(Some)
}

/// Names the tenant of inputs that name none.
pub(crate) fn default_tenant() -> String {
    Tenant::default().name().to_owned()
}

/// Reads the input, runs the function and writes its result.
pub(crate) async fn dispatch<I, O, F>(services: Services, input: Json, function: fn(Services, I) -> F) -> Result<Json>
where
    I: DeserializeOwned,
    O: Serialize,
    F: Future<Output = Result<O>> + Send,
{
    let input = serde_json::from_value(input).map_err(|error| Error::invalid("input", error))?;
    let output = function(services, input).await?;
    serde_json::to_value(output).map_err(|error| Error::Backend(format!("result has no JSON form: {error}")))
}
