//! Rate limit policies: which limits hold for whom, several at once, and what happens to those who exceed them.
//!
//! ```text
//! Policy (endpoint × tier → limits) ─ Request ─► Plan ─► Limits::check ─► Verdict ─► headers
//!                                                  └───► Limits::reserve ─► commit or refund
//! ```
//!
//! # Guarantees
//!
//! * **All or nothing.** A request that a limit refuses consumes nothing anywhere. The verdict names the binding limit
//!   and has the state of each.
//! * The limits of one [`Scope`] (a user's minute, hour and day) are asked in one atomic step. On the embedded store and
//!   on one server so are all limits of a request, whatever their scopes: exactly as many are admitted as they allow.
//! * On a Cluster scopes lie in different slots. They are asked in the order of the policy: all but the last *reserve*,
//!   the last one consumes, then the reservations are committed; a refusal gives them back. So never too much is
//!   admitted, a refusal consumes nothing in the end, and while it is on its way others may be refused who would have
//!   fitted. A process that dies in between leaves reservations that end by themselves after [`TWO_PHASE_LEASE`], and at
//!   most one charge in the last scope. Limits that must be exact together get a common scope: `per = ["org", "user"]`
//!   counts users and lies with their organisation.
//! * **Reservations** count as used from when they are made. They are settled exactly once, by a commit or a refund;
//!   asking again the same way gives the same answer. One that is not settled ends with its lease and is as if it had
//!   never been. What is reserved is not part of what was used, so giving it back cannot lift a limit above its capacity.
//!   A commit charges what was used when it is made; more than reserved is charged as far as it leaves other
//!   reservations untouched, and beyond that as debt, up to the limit's own bound; the rest is reported as not charged.
//! * A block holds for its own time, in the step that would otherwise decide. A custom amount holds with the next request.
//! * A limit in shadow counts as if it were enforced and refuses nobody.
//! * All times are the store's. Everything that a request leaves behind expires by itself; blocks and custom amounts
//!   expire if they were given an end.
//!
//! # Keys
//!
//! A scope is a hash tag, and what is known about it lies there:
//!
//! ```text
//! rp:{tenant:limits:user:42}:f:<limit>  state of a limit (f, l, c, b by algorithm)   :e:<limit>  escalation ladder
//!                           :x  block      :o  custom amounts                        :s:<name>   slots
//!                           :y  changes    :h  reservations by end of lease           :u  reserved units
//! rp:{tenant:limits-policies:<name>}:p  stored policy   :y  earlier ones
//! rp:{tenant:limits-reservations:<id>}:r  what a reservation is about
//! ```
//!
//! # When the store is down
//!
//! The policy's row decides, open or closed; the verdict says so in its `source`, and it is counted. Reserving is refused
//! with the error, as is everything else: a promise needs a store. On a store that evicts, counts that were evicted
//! begin anew, and blocks and custom amounts may be lost.
//!
//! # Work
//!
//! A step reads a few numbers per limit, at most [`MAX_PLAN_LIMITS`] of them, and ends 64 reservations per scope at most.
//!
//! It has loops, so on the embedded store and on Redpoll it runs alone; a lone token bucket of `ratelimit` does not.
//!
//! Not here: the algorithms ([`ratelimit`](crate::ratelimit)), a local share that goes on without the store, a list of all
//! blocked scopes, and who a caller is: subjects, tier and roles are what the request says.

mod check;
mod edit;
mod headers;
mod inputs;
mod limit;
mod operations;
mod pattern;
mod plan;
mod policy;
mod presets;
mod reservation;
mod scope;
mod slots;
mod steps;
mod stored;
mod table;
mod verdict;

pub use edit::{Change, CustomAmount, ScopeBlock, ScopeStatus};
pub use headers::{HeaderSet, headers};
pub use limit::{Escalation, Limit, Mode, Quota};
pub use operations::SERVICE;
pub use plan::{Plan, Request};
pub use policy::Policy;
pub use presets::{PRESETS, preset};
pub use reservation::{Adjusted, Reservation, Reserved, Settled, SettledLimit};
pub use scope::Scope;
pub use slots::{Slot, SlotAnswer, Slots};
pub use stored::{PolicyVersion, StoredPolicy};
pub use table::{EndpointRow, EscalationRow, LimitRow, PerTier, PolicyTable, TierAmount, Unlimited};
pub use verdict::{Block, LimitState, Verdict, VerdictSource};

use std::time::Duration;

use crate::Services;
use crate::keys::{Group, Tenant};

/// Most limits of one request.
pub const MAX_PLAN_LIMITS: usize = 32;

/// How long the reservations of an admission over several slots live if its process dies.
pub const TWO_PHASE_LEASE: Duration = Duration::from_secs(30);

/// Most reservations of a scope that are open, or settled within their lease.
pub const MAX_RESERVATIONS: usize = 100_000;

/// A tenant's limits.
#[derive(Debug, Clone)]
pub struct Limits {
    services: Services,
    tenant: Tenant,
}

impl Limits {
    pub(crate) fn new(services: Services, tenant: Tenant) -> Self {
        Self { services, tenant }
    }

    /// Returns the keys of a scope.
    fn group(&self, scope: &Scope) -> Group {
        scope.group(&self.services.settings().keyring, &self.tenant)
    }
}
