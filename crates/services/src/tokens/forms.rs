//! Inputs and outputs of the operations on tokens.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value as Json;

use super::{CsrfUse, Reason, RefreshReason, Secret};
use crate::operation::inputs;

inputs! {
    /// A token to deny.
    DenyInput {
        /// The token's id, its claim `jti`.
        jti: String,
        /// When it expires, in seconds since 1970: its claim `exp`.
        exp: i64,
    }
    /// A token to ask about.
    CheckInput {
        /// The token's id, its claim `jti`.
        jti: String,
        /// Whose it is, its claim `sub`.
        user: Option<String>,
        /// When it was issued, in seconds since 1970: its claim `iat`.
        iat: Option<i64>,
    }
    /// Names a user.
    UserInput {
        /// The user.
        user: String,
    }
    /// A login that begins.
    OAuthInput {
        /// Where the browser goes when the login is done.
        redirect: String,
        /// What binds the login to the browser, such as a cookie.
        subject: Option<String>,
        /// Whatever else the second half needs.
        #[serde(default)]
        extra: Json,
        /// How long the login may take, in milliseconds; 10 minutes if absent.
        ttl_ms: Option<i64>,
    }
    /// A browser that came back.
    OAuthReturn {
        /// The state it came with.
        state: Secret,
        /// What the login was bound to.
        subject: Option<String>,
    }
    /// A CSRF token to make.
    CsrfInput {
        /// The session's id.
        session: String,
        /// Whether it is good for `many` requests or for `once`; many if absent.
        #[serde(default)]
        usage: CsrfUse,
        /// Lifetime in milliseconds; an hour if absent.
        ttl_ms: Option<i64>,
    }
    /// A request with a CSRF token.
    CsrfCheck {
        /// The session's id.
        session: String,
        /// The token of the header or field.
        token: Secret,
        /// The token of the cookie, where the pattern is double-submit.
        cookie: Option<Secret>,
    }
    /// Names a session.
    CsrfForget {
        /// The session's id.
        session: String,
    }
    /// A login that has succeeded.
    RefreshInput {
        /// The user.
        user: String,
        /// Comes back with every rotation.
        #[serde(default)]
        payload: Json,
    }
    /// Presents a refresh token.
    TokenInput {
        /// The token.
        token: Secret,
    }
    /// Names a family of refresh tokens.
    FamilyInput {
        /// The user.
        user: String,
        /// The family, as it was named when its token was issued.
        family: String,
    }
    /// A one-time token to make.
    OnceInput {
        /// What it is for.
        purpose: String,
        /// Who may consume it; anyone if absent.
        subject: Option<String>,
        /// Comes back when it is consumed.
        #[serde(default)]
        payload: Json,
        /// Lifetime in milliseconds; 15 minutes if absent.
        ttl_ms: Option<i64>,
    }
    /// Presents a one-time token.
    OnceReturn {
        /// What it is for.
        purpose: String,
        /// Who presents it, where it was made for a subject.
        subject: Option<String>,
        /// The token.
        token: Secret,
    }
    /// A short code to make.
    CodeInput {
        /// What it is for.
        purpose: String,
        /// Who gets it.
        subject: String,
        /// Comes back when it is consumed.
        #[serde(default)]
        payload: Json,
        /// Lifetime in milliseconds; 10 minutes if absent.
        ttl_ms: Option<i64>,
    }
    /// Presents a short code.
    CodeReturn {
        /// What it is for.
        purpose: String,
        /// Who got it.
        subject: String,
        /// The code.
        code: Secret,
    }
}

/// What denying came to.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Denied {
    /// Whether the token is denied; false if it had expired, so that there was nothing to do.
    pub(super) denied: bool,
    /// When it is forgotten, milliseconds since 1970; null if it had expired.
    pub(super) until_ms: Option<u64>,
}

/// Whether a token is revoked.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Checked {
    /// Whether it is.
    pub(super) revoked: bool,
    /// Why; null if it is not.
    pub(super) reason: Option<Reason>,
}

/// A login under way.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct OAuthBegun {
    /// For the provider's address.
    pub(super) state: Secret,
    /// For the provider's address.
    pub(super) nonce: Secret,
    /// For the provider's address, of method S256.
    pub(super) code_challenge: String,
}

/// What a state stood for.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct OAuthReturned {
    /// Whether it was good; it is not any more.
    pub(super) valid: bool,
    /// For the provider's token endpoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) code_verifier: Option<Secret>,
    /// Must be in the ID token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) nonce: Option<Secret>,
    /// Where the browser goes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) redirect: Option<String>,
    /// As given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) extra: Option<Json>,
}

/// A token that was made.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Issued {
    /// The token.
    pub(super) token: Secret,
}

/// Whether a token is valid.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Valid {
    /// Whether it is.
    pub(super) valid: bool,
}

/// Whether there was anything to do.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Done {
    /// Whether there was.
    pub(super) done: bool,
}

/// A refresh token.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct RefreshToken {
    /// For the client.
    pub(super) token: Secret,
    /// Names the family in logs.
    pub(super) family: String,
    /// How often the family has been rotated.
    pub(super) generation: u64,
    /// When the token expires unless rotated, milliseconds since 1970.
    pub(super) expires_at_ms: u64,
}

/// What presenting a refresh token came to.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Rotated {
    /// What it came to.
    pub(super) outcome: RotationOutcome,
    /// The successor, if rotated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) successor: Option<RefreshToken>,
    /// Whose it is, if rotated or reused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) user: Option<String>,
    /// The family that was revoked, if reused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) family: Option<String>,
    /// Why, if revoked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reason: Option<RefreshReason>,
    /// As given when the family began, if rotated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) payload: Option<Json>,
}

/// What presenting a refresh token came to.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum RotationOutcome {
    /// It was good; there is a successor.
    Rotated,
    /// It had been rotated before; its family is revoked.
    Reused,
    /// Its family is revoked.
    Revoked,
    /// There is no such family.
    Unknown,
}

/// What a one-time token stands for.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Payload {
    /// Whether it is good.
    pub(super) valid: bool,
    /// As given; null if it is not good.
    pub(super) payload: Option<Json>,
}

/// A short code that was made.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Code {
    /// The digits.
    pub(super) code: Secret,
}

/// What trying a code came to.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Verified {
    /// What it came to.
    pub(super) outcome: CodeOutcome,
    /// As given, if right.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) payload: Option<Json>,
    /// Attempts left, if wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) attempts_left: Option<u64>,
}

/// What trying a code came to.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum CodeOutcome {
    /// It was right, and is consumed.
    Right,
    /// It was wrong.
    Wrong,
    /// There are no attempts left.
    Exhausted,
    /// There is no code.
    Unknown,
}
