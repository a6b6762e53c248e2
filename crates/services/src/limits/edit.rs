//! What is known about a scope beside its counts: blocks, custom amounts, and who changed them when.

use redpoll_resp::Value;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::scope::Scope;
use super::{Limits, steps};
use crate::backend::{Command, ToArg};
use crate::error::{Error, Result};
use crate::keys::{MAX_NAME_BYTES, check_name};
use crate::ratelimit::MAX_CAPACITY;
use crate::ttl::Ttl;

/// Most custom amounts of a scope.
pub(super) const MAX_CUSTOM: usize = 100;

/// Most changes of a scope that are remembered.
pub(super) const MAX_CHANGES: usize = 100;

/// How long changes are remembered after the last one: 366 days.
const CHANGES_KEPT_MS: u64 = 366 * 86_400_000;

/// What stands about a scope.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ScopeStatus {
    /// The scope.
    pub scope: String,
    /// The block that holds for it.
    pub block: Option<ScopeBlock>,
    /// Its own amounts, by name of the limit.
    pub custom: Vec<CustomAmount>,
    /// What was changed, the latest first.
    pub changes: Vec<Change>,
    /// Reservations that are open, or were settled within their lease.
    pub reservations: u64,
}

/// A block of a scope.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ScopeBlock {
    /// When it ends, milliseconds since 1970 by the store's clock; null for never.
    pub until_ms: Option<u64>,
    /// Why.
    pub reason: String,
}

/// An amount that holds for one scope instead of the policy's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CustomAmount {
    /// Name of the limit.
    pub name: String,
    /// Units per window.
    pub limit: u64,
    /// What a token bucket holds.
    pub burst: u64,
    /// When the policy's amount holds again, milliseconds since 1970 by the store's clock; null for never.
    pub until_ms: Option<u64>,
}

/// A change that was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Change {
    /// When, milliseconds since 1970 by the store's clock.
    pub at_ms: u64,
    /// `block`, `unblock`, `set` or `remove`.
    pub what: String,
    /// What was changed: the name of a limit; empty for a block.
    pub limit: String,
    /// What stood there: `limit:burst:until`, or the end of a block; 0 is for ever, empty is nothing.
    pub before: String,
    /// What was asked for: `limit:burst`, or the reason of a block; empty is nothing.
    pub after: String,
    /// How long it holds in milliseconds; null for ever.
    pub for_ms: Option<u64>,
    /// Who changed it.
    pub by: String,
}

/// What a change says.
#[derive(Debug, Clone, Copy)]
struct Edit<'a> {
    what: &'static str,
    limit: &'a str,
    after: &'a str,
    ttl: Ttl,
    by: &'a str,
}

impl Limits {
    /// Refuses every request about a scope for as long as `ttl`, in place of a block that holds already; returns when
    /// the block ends. [`Ttl::Never`] puts the scope on the list of those who are denied for good.
    pub async fn block(&self, scope: &Scope, ttl: Ttl, reason: &str, by: &str) -> Result<Option<u64>> {
        check_text("reason", reason)?;
        let edit = Edit { what: "block", limit: "", after: reason, ttl, by };
        let (until_ms, _) = self.edit(scope, edit, &[&ttl.script_ms(), &reason, &0_u64]).await?;
        Ok((until_ms > 0).then_some(until_ms))
    }

    /// Lifts a block; tells whether there was one. A ladder goes on where it was.
    pub async fn unblock(&self, scope: &Scope, by: &str) -> Result<bool> {
        let edit = Edit { what: "unblock", limit: "", after: "", ttl: Ttl::Never, by };
        let (_, before) = self.edit(scope, edit, &[&0_u64, &"", &0_u64]).await?;
        Ok(!before.is_empty())
    }

    /// Gives a scope its own amount for a limit, from the next request on and for as long as `ttl`. Without `burst` a
    /// token bucket holds as much as the limit.
    pub async fn set_custom(
        &self,
        scope: &Scope,
        limit: &str,
        amount: u64,
        burst: Option<u64>,
        ttl: Ttl,
        by: &str,
    ) -> Result<()> {
        check_name("limit", limit)?;
        let burst = burst.unwrap_or(amount);
        for (field, units) in [("amount", amount), ("burst", burst)] {
            if units == 0 || units > MAX_CAPACITY {
                return Err(Error::invalid(field, format_args!("must be 1 to {MAX_CAPACITY}; to refuse all, block")));
            }
        }
        let value = format!("{amount}:{burst}");
        let edit = Edit { what: "set", limit, after: &value, ttl, by };
        self.edit(scope, edit, &[&value, &limit, &ttl.script_ms()]).await.map(drop)
    }

    /// Takes a scope's own amount away; tells whether there was one.
    pub async fn remove_custom(&self, scope: &Scope, limit: &str, by: &str) -> Result<bool> {
        check_name("limit", limit)?;
        let edit = Edit { what: "remove", limit, after: "", ttl: Ttl::Never, by };
        let (_, before) = self.edit(scope, edit, &[&"", &limit, &0_u64]).await?;
        Ok(!before.is_empty())
    }

    /// Tells what stands about a scope.
    pub async fn status(&self, scope: &Scope) -> Result<ScopeStatus> {
        let group = self.group(scope);
        let keys = ["x", "o", "y", "h"].map(|kind| group.key(kind));
        let reply = self.services.backend().call(Command::script(&steps::STATUS, &keys, &[] as &[&str])).await?;
        read_status(scope, &reply).ok_or_else(|| Error::unexpected(steps::STATUS.name(), &reply))
    }

    async fn edit(&self, scope: &Scope, edit: Edit<'_>, args: &[&dyn ToArg; 3]) -> Result<(u64, String)> {
        check_text("by", edit.by)?;
        let group = self.group(scope);
        let keys = ["x", "o", "y"].map(|kind| group.key(kind));
        let for_ms = match edit.ttl.script_ms() {
            0 => None,
            ms => Some(ms),
        };
        let note =
            json!({"what": edit.what, "limit": edit.limit, "after": edit.after, "for_ms": for_ms, "by": edit.by});
        let note = note.to_string();
        let all: [&dyn ToArg; 8] =
            [&edit.what, args[0], args[1], args[2], &note, &MAX_CHANGES, &CHANGES_KEPT_MS, &MAX_CUSTOM];
        let reply = self.services.backend().script(&steps::EDIT, &keys, &all).await?;
        if reply.as_str() == Some("full") {
            return Err(Error::Conflict(format!("{scope} has {MAX_CUSTOM} custom amounts")));
        }
        match reply.as_array() {
            Some([_, until_ms, before]) => until_ms.as_u64().zip(before.as_str().map(str::to_owned)),
            _ => None,
        }
        .ok_or_else(|| Error::unexpected(steps::EDIT.name(), &reply))
    }
}

/// Refuses text above [`MAX_NAME_BYTES`].
fn check_text(field: &'static str, text: &str) -> Result<()> {
    match text.len() {
        0..=MAX_NAME_BYTES => Ok(()),
        _ => Err(Error::invalid(field, format_args!("longer than {MAX_NAME_BYTES} bytes"))),
    }
}

fn read_status(scope: &Scope, reply: &Value) -> Option<ScopeStatus> {
    let [now_ms, until_ms, reason, custom, changes, reservations] = reply.as_array()? else {
        return None;
    };
    let now_ms = now_ms.as_u64()?;
    let block = match until_ms.as_i64()? {
        -1 => None,
        until_ms => Some(ScopeBlock {
            until_ms: u64::try_from(until_ms).ok().filter(|until_ms| *until_ms > 0),
            reason: reason.as_str()?.to_owned(),
        }),
    };
    let pairs = custom.as_array()?.chunks_exact(2);
    let custom: Option<Vec<CustomAmount>> =
        pairs.map(|pair| read_custom(pair[0].as_str()?, pair[1].as_str()?)).collect();
    let mut custom: Vec<CustomAmount> =
        custom?.into_iter().filter(|amount| amount.until_ms.is_none_or(|until_ms| until_ms > now_ms)).collect();
    custom.sort_by(|left, right| left.name.cmp(&right.name));
    let changes: Option<Vec<Change>> = changes.as_array()?.iter().map(|entry| read_change(entry.as_str()?)).collect();
    Some(ScopeStatus {
        scope: scope.to_string(),
        block,
        custom,
        changes: changes?,
        reservations: reservations.as_u64()?,
    })
}

fn read_custom(name: &str, value: &str) -> Option<CustomAmount> {
    let mut numbers = value.split(':').map(|number| number.parse::<u64>().ok());
    let (limit, burst, until_ms) = (numbers.next()??, numbers.next()??, numbers.next()??);
    Some(CustomAmount { name: name.to_owned(), limit, burst, until_ms: (until_ms > 0).then_some(until_ms) })
}

fn read_change(entry: &str) -> Option<Change> {
    let mut lines = entry.splitn(3, '\n');
    let (at_ms, before, note) = (lines.next()?.parse().ok()?, lines.next()?, lines.next()?);
    let note: serde_json::Value = serde_json::from_str(note).ok()?;
    let text = |field: &str| note[field].as_str().map(str::to_owned);
    Some(Change {
        at_ms,
        what: text("what")?,
        limit: text("limit")?,
        before: before.to_owned(),
        after: text("after")?,
        for_ms: note["for_ms"].as_u64(),
        by: text("by")?,
    })
}
