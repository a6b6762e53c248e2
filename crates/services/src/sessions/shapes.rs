//! What the rows of sessions take and give, as objects.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value as Json;

use super::{Binding, Created, Mismatch, Session};
use crate::operation::{inputs, present};
use crate::ttl::TtlInput;

inputs! {
    /// Names a session by its id.
    IdInput {
        /// The session's id.
        id: String,
    }

    /// A session to create.
    CreateInput {
        /// Whose it is; nobody's if absent.
        user: Option<String>,
        /// The workspace it works in.
        workspace: Option<String>,
        /// The address of the request.
        ip: Option<String>,
        /// The user agent of the request.
        agent: Option<String>,
        /// What must be the same whenever the session is loaded.
        #[serde(default)]
        binding: Binding,
        /// How long it lives after it was last touched, in milliseconds.
        idle_ms: Option<TtlInput>,
        /// How long it lives at most, in milliseconds, or `"never"`.
        absolute_ms: Option<TtlInput>,
        /// Its data: any JSON by name.
        #[serde(default)]
        fields: BTreeMap<String, Json>,
    }

    /// The session before a login, and the one to make of it.
    LoginInput {
        /// The id of the session before.
        id: String,
        /// Whose the new session is; nobody's if absent.
        user: Option<String>,
        /// The workspace it works in.
        workspace: Option<String>,
        /// The address of the request.
        ip: Option<String>,
        /// The user agent of the request.
        agent: Option<String>,
        /// What must be the same whenever the session is loaded.
        #[serde(default)]
        binding: Binding,
        /// How long it lives after it was last touched, in milliseconds.
        idle_ms: Option<TtlInput>,
        /// How long it lives at most, in milliseconds, or `"never"`.
        absolute_ms: Option<TtlInput>,
        /// Fields that it has besides, or instead of, those of before.
        #[serde(default)]
        fields: BTreeMap<String, Json>,
    }

    /// Names a session and says where the request comes from.
    LoadInput {
        /// The session's id.
        id: String,
        /// The address of the request.
        ip: Option<String>,
        /// The user agent of the request.
        agent: Option<String>,
    }

    /// Changes of a session's fields.
    UpdateInput {
        /// The session's id.
        id: String,
        /// Fields to set: any JSON by name, null included.
        #[serde(default)]
        set: BTreeMap<String, Json>,
        /// Fields to remove.
        #[serde(default)]
        remove: Vec<String>,
        /// The version the session must have.
        version: Option<u64>,
        /// The versions that changed fields must have.
        #[serde(default)]
        field_versions: BTreeMap<String, u64>,
        /// A lifetime from now in milliseconds; the session's end stays if absent.
        lifetime_ms: Option<TtlInput>,
    }

    /// Messages to append.
    AppendInput {
        /// The session's id.
        id: String,
        /// One message: any JSON.
        #[serde(default, deserialize_with = "present")]
        message: Option<Json>,
        /// Several messages.
        #[serde(default)]
        messages: Vec<Json>,
        /// How many messages to keep.
        keep: Option<usize>,
    }

    /// Names a session to touch.
    TouchInput {
        /// The session's id.
        id: String,
        /// Nothing is done if the last touch was less than so many milliseconds ago.
        interval_ms: Option<u64>,
    }

    /// Names a session and its lifetime.
    ExtendInput {
        /// The session's id.
        id: String,
        /// Lifetime from now in milliseconds.
        lifetime_ms: TtlInput,
    }

    /// Names a session whose id is to be replaced.
    RotateInput {
        /// The session's id.
        id: String,
        /// How long the id is still accepted, in milliseconds; 0 for not at all.
        grace_ms: Option<u64>,
    }

    /// Names a user.
    UserInput {
        /// User.
        user: String,
    }

    /// Names a workspace.
    WorkspaceInput {
        /// Workspace.
        workspace: String,
    }

    /// Names a page of a workspace's sessions.
    ListWorkspaceInput {
        /// Workspace.
        workspace: String,
        /// Where the page begins: `next` of the page before.
        after: Option<String>,
        /// Longest page; 100 if absent.
        #[serde(default = "hundred")]
        limit: usize,
    }

    /// Names a session by its handle.
    HandleInput {
        /// The session's handle, as lists show it.
        handle: String,
    }
}

/// A session that was made.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct CreatedOutput {
    /// What its client has to show. A secret.
    pub(super) id: String,
    /// Its name in lists.
    pub(super) handle: String,
    /// When it was created, ms since 1970.
    pub(super) created_ms: u64,
    /// When it ends if it is not touched, ms since 1970.
    pub(super) expires_ms: u64,
    /// How many of the user's sessions were ended to make room.
    pub(super) evicted: u64,
}

/// What loading found.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Loaded {
    /// What it came to.
    pub(super) outcome: Outcome,
    /// The session, if found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) session: Option<SessionOutput>,
    /// In what the request differs, if it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) differs: Option<Mismatch>,
}

/// What loading came to.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Outcome {
    /// There is a session.
    Found,
    /// There is none with this id.
    Missing,
    /// It is bound to something else.
    Mismatch,
}

/// A session.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct SessionOutput {
    /// Its name in lists.
    pub(super) handle: String,
    /// Whose it is; null before a login.
    pub(super) user: Option<String>,
    /// The workspace it works in.
    pub(super) workspace: Option<String>,
    /// The address it was created from.
    pub(super) ip: Option<String>,
    /// The user agent it was created by.
    pub(super) agent: Option<String>,
    /// What must be the same whenever it is loaded.
    pub(super) binding: Binding,
    /// When it was created, ms since 1970.
    pub(super) created_ms: u64,
    /// When it was last touched, ms since 1970.
    pub(super) last_seen_ms: u64,
    /// When it ends if it is not touched, ms since 1970.
    pub(super) expires_ms: u64,
    /// When it ends in any case, ms since 1970; null for never.
    pub(super) absolute_ms: Option<u64>,
    /// How long it lives after it was last touched.
    pub(super) idle_ms: u64,
    /// Counts the changes.
    pub(super) version: u64,
    /// Its data by name. Lists leave it out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) fields: Option<BTreeMap<String, FieldOutput>>,
}

/// A value of a session.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct FieldOutput {
    /// The value.
    pub(super) value: Json,
    /// The session's version when it was last changed.
    pub(super) version: u64,
}

/// A session's version.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Version {
    /// Counts the changes.
    pub(super) version: u64,
}

/// A number of messages.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Length {
    /// How many there are.
    pub(super) length: u64,
}

/// The messages of a session.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Messages {
    /// Oldest first.
    pub(super) messages: Vec<Json>,
}

/// What a touch did.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct TouchedOutput {
    /// Whether the end was moved.
    pub(super) moved: bool,
    /// When the session ends if it is not touched, ms since 1970.
    pub(super) expires_ms: u64,
}

/// The end of a session.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct End {
    /// When the session ends if it is not touched, ms since 1970.
    pub(super) expires_ms: u64,
}

/// A session's id.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct IdOutput {
    /// What its client has to show. A secret.
    pub(super) id: String,
}

/// Whether a session was ended.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Destroyed {
    /// Whether there was one.
    pub(super) destroyed: bool,
}

/// Sessions.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct SessionList {
    /// Oldest first.
    pub(super) sessions: Vec<SessionOutput>,
}

/// A page of sessions.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct SessionPage {
    /// The sessions; may be none although there is a next page.
    pub(super) sessions: Vec<SessionOutput>,
    /// `after` of the next page; null after the last.
    pub(super) next: Option<String>,
}

/// A number of sessions.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Count {
    /// The number.
    pub(super) count: u64,
}

fn hundred() -> usize {
    100
}

impl From<Created> for CreatedOutput {
    fn from(created: Created) -> Self {
        Self {
            id: created.id.to_string(),
            handle: created.id.handle().to_string(),
            created_ms: created.created_ms,
            expires_ms: created.expires_ms,
            evicted: created.evicted,
        }
    }
}

impl From<Session> for SessionOutput {
    fn from(session: Session) -> Self {
        Self {
            handle: session.handle.to_string(),
            user: session.user,
            workspace: session.workspace,
            ip: session.ip.map(|ip| ip.to_string()),
            agent: session.agent,
            binding: session.binding,
            created_ms: session.created_ms,
            last_seen_ms: session.last_seen_ms,
            expires_ms: session.expires_ms,
            absolute_ms: session.absolute_ms,
            idle_ms: session.idle_ms,
            version: session.version,
            fields: None,
        }
    }
}
