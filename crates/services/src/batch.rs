//! How much one call may carry.

use crate::error::{Error, Result};

/// Most jobs, events, outcomes, names or other things of one call.
pub const MAX_BATCH: usize = 1_000;

/// Refuses batches that are empty or too large.
pub(crate) fn check_batch(field: &'static str, len: usize) -> Result<()> {
    match (1..=MAX_BATCH).contains(&len) {
        true => Ok(()),
        false => Err(Error::invalid(field, format_args!("must be 1 to {MAX_BATCH}"))),
    }
}
