//! How much happens per second, as INFO shows it.
//!
//! The housekeeper looks at the sums ten times a second; a rate is the difference between its last look and the oldest that is kept, which was not quite
//! two seconds before. While nobody looks, rates stay what they were.

use std::collections::VecDeque;

use parking_lot::Mutex;

/// Looks kept.
const LOOKS: usize = 16;

/// The sums at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sums {
    pub(crate) ticks: u64,
    pub(crate) commands: u64,
    pub(crate) input_bytes: u64,
    pub(crate) output_bytes: u64,
}

/// Differences per second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PerSecond {
    /// Commands that ran.
    pub commands: f64,
    /// Bytes received.
    pub input_bytes: f64,
    /// Bytes sent.
    pub output_bytes: f64,
}

/// The last looks at the sums.
#[derive(Debug, Default)]
pub(crate) struct Rates(Mutex<VecDeque<Sums>>);

impl Rates {
    /// Takes a further look.
    pub(crate) fn add(&self, sums: Sums) {
        let mut looks = self.0.lock();
        if looks.len() == LOOKS {
            looks.pop_front();
        }
        looks.push_back(sums);
    }

    /// Returns what happens per second; zeros before the second look.
    pub(crate) fn per_second(&self) -> PerSecond {
        let looks = self.0.lock();
        let (Some(first), Some(last)) = (looks.front(), looks.back()) else { return PerSecond::default() };
        let seconds = last.ticks.saturating_sub(first.ticks) as f64 / 1e9;
        // After CONFIG RESETSTAT sums are less than before.
        let rate = |of: fn(&Sums) -> u64| match seconds {
            0.0 => 0.0,
            _ => of(last).saturating_sub(of(first)) as f64 / seconds,
        };
        PerSecond {
            commands: rate(|sums| sums.commands),
            input_bytes: rate(|sums| sums.input_bytes),
            output_bytes: rate(|sums| sums.output_bytes),
        }
    }

    pub(crate) fn reset(&self) {
        self.0.lock().clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_differences_over_time() {
        let rates = Rates::default();
        assert_eq!(rates.per_second(), PerSecond::default());
        for step in 0..100 {
            rates.add(Sums { ticks: step * 100_000_000, commands: step * 5, input_bytes: step, output_bytes: 7 });
        }
        assert_eq!(rates.per_second(), PerSecond { commands: 50.0, input_bytes: 10.0, output_bytes: 0.0 });
        rates.reset();
        assert_eq!(rates.per_second(), PerSecond::default());
    }
}
