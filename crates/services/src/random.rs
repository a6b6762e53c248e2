//! Numbers for jitter and early refresh.
//!
//! Not for secrets: identifiers and tokens come from `uuid`, whose source is the operating system.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// Returns a number in `(0, 1]`, spread evenly.
pub(crate) fn unit() -> f64 {
    let bits = RandomState::new().hash_one(0_u8) >> 11;
    (bits + 1) as f64 / (1_u64 << 53) as f64
}

/// Returns a pause that doubles so many times, up to a bound: between half of that and all, so that those who failed together do not come back together.
pub(crate) fn pause(base: Duration, max: Duration, doublings: u32) -> Duration {
    let factor = 1_u32.checked_shl(doublings).unwrap_or(u32::MAX);
    base.saturating_mul(factor).min(max).mul_f64(1.0 - unit() / 2.0)
}

#[cfg(test)]
mod tests {
    #[test]
    fn spread_over_the_unit_interval() {
        let draws: Vec<f64> = (0..10_000).map(|_| super::unit()).collect();
        assert!(draws.iter().all(|draw| *draw > 0.0 && *draw <= 1.0));
        let mean = draws.iter().sum::<f64>() / draws.len() as f64;
        assert!((mean - 0.5).abs() < 0.05, "mean {mean}");
    }
}
