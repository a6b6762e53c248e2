//! The rows of tokens.
//!
//! Secrets travel in bodies only: paths and queries end up in logs.

use serde_json::Value as Json;

use super::forms::*;
use super::{
    Consumed, CsrfVerdict, Denial, OAuthFlow, OAuthRequest, RefreshIssued, Rotation, Tokens, UserRevoked, Verdict,
    Verification,
};
use crate::Services;
use crate::error::{Error, Result};
use crate::eviction::Eviction;
use crate::keys::Tenant;
use crate::operation::{Service, operation};
use crate::outage::OutagePolicy;
use crate::ttl::Ttl;

const NAME: &str = "tokens";

/// Tokens, as the outside sees them.
#[rustfmt::skip]
pub const SERVICE: Service = Service {
    name: NAME,
    doc: "What proves something for a while: revocation of JWTs, OAuth states, CSRF tokens, refresh tokens with reuse detection, one-time tokens and short codes. When the store is down every operation fails; nothing is taken for valid.",
    eviction: Eviction::Kept,
    outage: &[OutagePolicy::Error],
    operations: &[
        operation!(NAME, "deny", Post "/tokens/deny", deny: DenyInput => Denied, [200, 422, 503, 504],
            "Denies a JWT for the rest of its life.",
            "`exp` is in seconds since 1970 and compared with the store's clock. For a token that has expired there is nothing to do; an `exp` further away than a token may live is an error."),
        operation!(NAME, "check", Post "/tokens/check", check: CheckInput => Checked, [200, 422, 503, 504],
            "Asks whether a JWT is revoked.",
            "By itself, or because all tokens of its user were revoked at or after `iat`. `user` and `iat` belong together; a token that is no user's has neither."),
        operation!(NAME, "revoke_user", Post "/tokens/users/{user}/revoke", revoke_user: UserInput => UserRevoked, [200, 422, 503, 504],
            "Revokes everything a user has been issued until now.",
            "JWTs whose `iat` is before `not_before`, and all families of refresh tokens."),
        operation!(NAME, "begin_oauth", Post "/tokens/oauth", begin_oauth: OAuthInput => OAuthBegun, [200, 413, 422, 503, 504],
            "Begins a login at an OAuth provider.",
            "Gives state, nonce and PKCE challenge for the provider's address. With a subject, only who names it can finish the login."),
        operation!(NAME, "consume_oauth", Post "/tokens/oauth/consume", consume_oauth: OAuthReturn => OAuthReturned, [200, 422, 503, 504],
            "Consumes the state that came back.", "Once: whoever comes second, or too late, or with another subject, is told that it is not valid."),
        operation!(NAME, "issue_csrf", Post "/tokens/csrf", issue_csrf: CsrfInput => Issued, [200, 422, 503, 504],
            "Makes a CSRF token for a session.", "Good for many requests or for one. A session has a bounded number of them; one more makes the oldest invalid."),
        operation!(NAME, "check_csrf", Post "/tokens/csrf/check", check_csrf: CsrfCheck => Valid, [200, 422, 503, 504],
            "Checks the CSRF token of a request.", "With `cookie`, the two must be equal, too. A token that is good for one request is consumed."),
        operation!(NAME, "forget_csrf", Post "/tokens/csrf/forget", forget_csrf: CsrfForget => Done, [200, 422, 503, 504],
            "Forgets all CSRF tokens of a session.", "As at a logout. Tells whether there were any."),
        operation!(NAME, "issue_refresh", Post "/tokens/refresh", issue_refresh: RefreshInput => RefreshToken, [200, 413, 422, 503, 504],
            "Begins a family of refresh tokens.", "As at a login. `family` names it in logs; it is no secret."),
        operation!(NAME, "rotate_refresh", Post "/tokens/refresh/rotate", rotate_refresh: TokenInput => Rotated, [200, 422, 503, 504],
            "Exchanges a refresh token for its successor.",
            "`reused` means that the token had been exchanged before: somebody else has it, and the whole family is revoked. Asking twice within the grace gives the same successor twice."),
        operation!(NAME, "revoke_refresh", Post "/tokens/refresh/revoke", revoke_refresh: TokenInput => Done, [200, 422, 503, 504],
            "Revokes the family of a refresh token.", "As at a logout. Tells whether it was still good."),
        operation!(NAME, "revoke_family", Post "/tokens/users/{user}/families/{family}/revoke", revoke_family: FamilyInput => Done, [200, 422, 503, 504],
            "Revokes a family of refresh tokens by its name.", "Tells whether it was still good."),
        operation!(NAME, "issue", Post "/tokens/once/{purpose}", issue: OnceInput => Issued, [200, 413, 422, 503, 504],
            "Makes a one-time token.", "For magic links, e-mail verification, WebAuthn challenges. With a subject, only who names it can consume the token."),
        operation!(NAME, "consume", Post "/tokens/once/{purpose}/consume", consume: OnceReturn => Payload, [200, 422, 503, 504],
            "Consumes a one-time token.", "Of any number of callers exactly one is told that it is valid."),
        operation!(NAME, "peek", Post "/tokens/once/{purpose}/peek", peek: OnceReturn => Payload, [200, 422, 503, 504],
            "Looks at a one-time token.", "Consumes nothing: for the page whose button consumes."),
        operation!(NAME, "issue_code", Post "/tokens/codes/{purpose}/{subject}", issue_code: CodeInput => Code, [200, 413, 422, 503, 504],
            "Makes a short code for a subject.", "In place of any earlier one of this purpose. Limit how often it is sent."),
        operation!(NAME, "verify_code", Post "/tokens/codes/{purpose}/{subject}/verify", verify_code: CodeReturn => Verified, [200, 422, 503, 504],
            "Tries a short code.", "Consumes it if it is right. A wrong one is counted; after the last attempt the code is worthless."),
    ],
};

async fn deny(services: Services, input: DenyInput) -> Result<Denied> {
    match open(&services, input.tenant)?.deny(&input.jti, input.exp).await? {
        Denial::Denied { until_ms } => Ok(Denied { denied: true, until_ms: Some(until_ms) }),
        Denial::Expired => Ok(Denied { denied: false, until_ms: None }),
    }
}

async fn check(services: Services, input: CheckInput) -> Result<Checked> {
    let tokens = open(&services, input.tenant)?;
    let verdict = match (&input.user, input.iat) {
        (Some(user), Some(iat)) => tokens.check(&input.jti, user, iat).await?,
        (None, None) => tokens.check_token(&input.jti).await?,
        _ => return Err(Error::invalid("iat", "user and iat belong together: give both or neither")),
    };
    Ok(match verdict {
        Verdict::Valid => Checked { revoked: false, reason: None },
        Verdict::Revoked(reason) => Checked { revoked: true, reason: Some(reason) },
    })
}

async fn revoke_user(services: Services, input: UserInput) -> Result<UserRevoked> {
    open(&services, input.tenant)?.revoke_user(&input.user).await
}

async fn begin_oauth(services: Services, input: OAuthInput) -> Result<OAuthBegun> {
    let OAuthInput { tenant, redirect, subject, extra, ttl_ms } = input;
    let request = OAuthRequest { redirect, subject, extra, ttl: ttl(ttl_ms)? };
    let flow = open(&services, tenant)?.begin_oauth(&request).await?;
    Ok(OAuthBegun { code_challenge: flow.challenge(), state: flow.state, nonce: flow.nonce })
}

async fn consume_oauth(services: Services, input: OAuthReturn) -> Result<OAuthReturned> {
    let consumed = open(&services, input.tenant)?.consume_oauth(&input.state, input.subject.as_deref()).await?;
    Ok(match consumed {
        Consumed::Now(OAuthFlow { verifier, nonce, redirect, extra, .. }) => OAuthReturned {
            valid: true,
            code_verifier: Some(verifier),
            nonce: Some(nonce),
            redirect: Some(redirect),
            extra: Some(extra),
        },
        Consumed::Unknown => {
            OAuthReturned { valid: false, code_verifier: None, nonce: None, redirect: None, extra: None }
        }
    })
}

async fn issue_csrf(services: Services, input: CsrfInput) -> Result<Issued> {
    let tokens = open(&services, input.tenant)?;
    Ok(Issued { token: tokens.issue_csrf(&input.session, input.usage, ttl(input.ttl_ms)?).await? })
}

async fn check_csrf(services: Services, input: CsrfCheck) -> Result<Valid> {
    let tokens = open(&services, input.tenant)?;
    let verdict = match &input.cookie {
        Some(cookie) => tokens.check_csrf_pair(&input.session, cookie, &input.token).await?,
        None => tokens.check_csrf(&input.session, &input.token).await?,
    };
    Ok(Valid { valid: verdict == CsrfVerdict::Valid })
}

async fn forget_csrf(services: Services, input: CsrfForget) -> Result<Done> {
    Ok(Done { done: open(&services, input.tenant)?.forget_csrf(&input.session).await? })
}

async fn issue_refresh(services: Services, input: RefreshInput) -> Result<RefreshToken> {
    Ok(open(&services, input.tenant)?.issue_refresh(&input.user, &input.payload).await?.into())
}

async fn rotate_refresh(services: Services, input: TokenInput) -> Result<Rotated> {
    let nothing = |outcome| Rotated { outcome, successor: None, user: None, family: None, reason: None, payload: None };
    Ok(match open(&services, input.tenant)?.rotate_refresh(&input.token).await? {
        Rotation::Rotated(refresh) => Rotated {
            successor: Some(refresh.issued.into()),
            user: Some(refresh.user),
            payload: Some(refresh.payload),
            ..nothing(RotationOutcome::Rotated)
        },
        Rotation::Reused { user, family } => {
            Rotated { user: Some(user), family: Some(family), ..nothing(RotationOutcome::Reused) }
        }
        Rotation::Revoked(reason) => Rotated { reason: Some(reason), ..nothing(RotationOutcome::Revoked) },
        Rotation::Unknown => nothing(RotationOutcome::Unknown),
    })
}

async fn revoke_refresh(services: Services, input: TokenInput) -> Result<Done> {
    Ok(Done { done: open(&services, input.tenant)?.revoke_refresh(&input.token).await? })
}

async fn revoke_family(services: Services, input: FamilyInput) -> Result<Done> {
    Ok(Done { done: open(&services, input.tenant)?.revoke_family(&input.user, &input.family).await? })
}

async fn issue(services: Services, input: OnceInput) -> Result<Issued> {
    let tokens = open(&services, input.tenant)?;
    let token = tokens.issue(&input.purpose, input.subject.as_deref(), &input.payload, ttl(input.ttl_ms)?).await?;
    Ok(Issued { token })
}

async fn consume(services: Services, input: OnceReturn) -> Result<Payload> {
    let tokens = open(&services, input.tenant)?;
    Ok(tokens.consume(&input.purpose, input.subject.as_deref(), &input.token).await?.now().into())
}

async fn peek(services: Services, input: OnceReturn) -> Result<Payload> {
    let tokens = open(&services, input.tenant)?;
    Ok(tokens.peek(&input.purpose, input.subject.as_deref(), &input.token).await?.into())
}

async fn issue_code(services: Services, input: CodeInput) -> Result<Code> {
    let tokens = open(&services, input.tenant)?;
    let code = tokens.issue_code(&input.purpose, &input.subject, &input.payload, ttl(input.ttl_ms)?).await?;
    Ok(Code { code })
}

async fn verify_code(services: Services, input: CodeReturn) -> Result<Verified> {
    let tried = open(&services, input.tenant)?.verify_code(&input.purpose, &input.subject, &input.code).await?;
    let (outcome, payload, attempts_left) = match tried {
        Verification::Right(payload) => (CodeOutcome::Right, Some(payload), None),
        Verification::Wrong(left) => (CodeOutcome::Wrong, None, Some(left)),
        Verification::Exhausted => (CodeOutcome::Exhausted, None, None),
        Verification::Unknown => (CodeOutcome::Unknown, None, None),
    };
    Ok(Verified { outcome, payload, attempts_left })
}

fn open(services: &Services, tenant: String) -> Result<Tokens> {
    Ok(services.tokens(&Tenant::new(tenant)?))
}

fn ttl(ms: Option<i64>) -> Result<Option<Ttl>> {
    ms.map(Ttl::ms).transpose()
}

impl From<RefreshIssued> for RefreshToken {
    fn from(issued: RefreshIssued) -> Self {
        let RefreshIssued { token, family, generation, expires_at_ms } = issued;
        Self { token, family, generation, expires_at_ms }
    }
}

impl From<Option<Json>> for Payload {
    fn from(payload: Option<Json>) -> Self {
        Self { valid: payload.is_some(), payload }
    }
}
