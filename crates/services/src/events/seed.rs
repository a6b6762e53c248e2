//! Four endpoints that clients of an earlier event service call, at their paths and in their envelope.
//!
//! They are views of [`super::Events`] and have no logic. Failures carry their real status: 404, 409, 422 and so on.

use schemars::JsonSchema;
use serde::Serialize;

use super::{ConsumerInfo, Status};
use crate::Services;
use crate::error::Result;
use crate::eviction::Eviction;
use crate::keys::Tenant;
use crate::operation::{Service, inputs, operation};
use crate::outage::OutagePolicy;

const NAME: &str = "redis";

/// Event counts at the paths of an earlier service.
#[rustfmt::skip]
pub const SERVICE: Service = Service {
    name: NAME,
    doc: "Event counts at the paths and in the envelope that existing clients of an event service expect.",
    eviction: Eviction::Kept,
    outage: &[OutagePolicy::Error],
    operations: &[
        operation!(NAME, "count", Get "/redis/count/{id}", count: IdInput => CountData, [200, 404, 422, 503, 504],
            "Counts the events of a consumer's open window.", "0 if none is open.").in_envelope("event count retrieved"),
        operation!(NAME, "reset", Post "/redis/reset/{id}", reset: IdInput => ResetData, [200, 404, 422, 503, 504],
            "Discards the events of a consumer's open window.", "Gives their number.").in_envelope("event counter reset"),
        operation!(NAME, "status", Get "/redis/status/{id}", status: IdInput => Status, [200, 404, 422, 503, 504],
            "Tells everything about a consumer.", "All of it at one moment.").in_envelope("consumer status retrieved"),
        operation!(NAME, "consumers", Get "/redis/consumers", consumers: ConsumersInput => ConsumersData, [200, 422, 503, 504],
            "Lists consumers by name.", "For the next page give the last name as `after`.").in_envelope("consumers retrieved"),
    ],
};

inputs! {
    /// Names a consumer.
    IdInput {
        /// Consumer.
        id: String,
    }

    /// Asks for a page of consumers.
    ConsumersInput {
        /// The last name of the page before.
        after: Option<String>,
        /// Most consumers, at most 1000, which is also the default.
        #[serde(default = "page")]
        limit: usize,
    }
}

/// A consumer's count.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct CountData {
    /// Consumer.
    consumer_id: String,
    /// Events in the open window.
    count: u64,
}

/// What a reset discarded.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct ResetData {
    /// Consumer.
    consumer_id: String,
    /// Events discarded.
    discarded: u64,
}

/// A page of consumers.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct ConsumersData {
    /// Consumers by name.
    consumers: Vec<ConsumerInfo>,
    /// How many there are on this page.
    count: usize,
}

async fn count(services: Services, input: IdInput) -> Result<CountData> {
    let status = services.events(&Tenant::new(input.tenant)?).status(&input.id).await?;
    Ok(CountData { consumer_id: input.id, count: status.count })
}

async fn reset(services: Services, input: IdInput) -> Result<ResetData> {
    let discarded = services.events(&Tenant::new(input.tenant)?).reset(&input.id).await?;
    Ok(ResetData { consumer_id: input.id, discarded })
}

async fn status(services: Services, input: IdInput) -> Result<Status> {
    services.events(&Tenant::new(input.tenant)?).status(&input.id).await
}

async fn consumers(services: Services, input: ConsumersInput) -> Result<ConsumersData> {
    let consumers = services.events(&Tenant::new(input.tenant)?).list(input.after.as_deref(), input.limit).await?;
    Ok(ConsumersData { count: consumers.len(), consumers })
}

fn page() -> usize {
    super::MAX_PAGE
}
