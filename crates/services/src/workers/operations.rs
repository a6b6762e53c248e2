//! The row of workers. They run in programs of their own; what the outside can do is look at them.

use schemars::JsonSchema;
use serde::Serialize;

use super::registry::{Seen, Workers};
use crate::Services;
use crate::error::Result;
use crate::eviction::Eviction;
use crate::keys::Tenant;
use crate::operation::{Service, inputs, operation};
use crate::outage::OutagePolicy;

const NAME: &str = "workers";

/// Workers, as the outside sees them.
#[rustfmt::skip]
pub const SERVICE: Service = Service {
    name: NAME,
    doc: "Workers that run the jobs of queues: which there are, and whether they are alive.",
    eviction: Eviction::Kept,
    outage: &[OutagePolicy::Error],
    operations: &[
        operation!(NAME, "list", Get "/workers/list", list: ListInput => ListDone, [200, 422, 503, 504],
            "Lists workers, those heard of last first.",
            "A worker announces itself every few seconds. `is_alive` tells by the store's clock whether its last word is not older than it said it would be; one that stops leaves the list, one that died stays on it as dead for an hour. `busy` and the totals are those of its last word."),
    ],
};

inputs! {
    /// How many workers to list.
    ListInput {
        /// At most 1,000; 100 if absent.
        count: Option<usize>,
    }
}

/// Workers.
#[derive(Debug, Serialize, JsonSchema)]
struct ListDone {
    /// Those heard of last first.
    workers: Vec<Seen>,
}

async fn list(services: Services, input: ListInput) -> Result<ListDone> {
    let workers: Workers = services.workers(&Tenant::new(input.tenant)?);
    Ok(ListDone { workers: workers.list(input.count.unwrap_or(100)).await? })
}
