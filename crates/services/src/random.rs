//! Numbers for jitter and early refresh.
//!
//! Not for secrets: identifiers and tokens come from `uuid`, whose source is the operating system.

use std::hash::{BuildHasher, RandomState};

/// Returns a number in `(0, 1]`, spread evenly.
pub(crate) fn unit() -> f64 {
    let bits = RandomState::new().hash_one(0_u8) >> 11;
    (bits + 1) as f64 / (1_u64 << 53) as f64
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
