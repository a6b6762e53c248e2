//! What happened in a schedule, or in many.

use std::fmt;

/// What happened in a schedule, or in many.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) commands: usize,
    pub(crate) changes: usize,
    pub(crate) crashes: usize,
    pub(crate) kills: usize,
    pub(crate) lost: usize,
    pub(crate) faults: usize,
    pub(crate) saves: usize,
    pub(crate) rewrites: usize,
    pub(crate) holes_refused: usize,
    pub(crate) dropped: usize,
    pub(crate) flips_refused: usize,
    pub(crate) flips_unseen: usize,
}

impl Tally {
    fn fields(&mut self) -> [(&'static str, &mut usize); 12] {
        [
            ("commands", &mut self.commands),
            ("changes of the data", &mut self.changes),
            ("power cuts", &mut self.crashes),
            ("kills", &mut self.kills),
            ("changes lost that were not safe", &mut self.lost),
            ("faults that struck", &mut self.faults),
            ("snapshots", &mut self.saves),
            ("rewrites of the log", &mut self.rewrites),
            ("starts refused for a hole in the log, good after the cut", &mut self.holes_refused),
            ("logs with a hole since a sync failed under `no`", &mut self.dropped),
            ("starts refused for a bit that was turned", &mut self.flips_refused),
            ("bits turned in a log that were not seen", &mut self.flips_unseen),
        ]
    }

    pub(crate) fn add(&mut self, other: &Tally) {
        let mut other = *other;
        for ((_, sum), (_, more)) in self.fields().into_iter().zip(other.fields()) {
            *sum += *more;
        }
    }

    /// A test in which nothing goes wrong tests nothing.
    pub(crate) fn check_that_much_happened(&self) {
        let mut seen = *self;
        for (name, count) in seen.fields() {
            let is_rare = name.contains("hole") || name.contains("not seen");
            assert!(is_rare || *count > 0, "no {name}");
        }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut seen = *self;
        seen.fields().into_iter().try_for_each(|(name, count)| writeln!(out, "{count:>9} {name}"))
    }
}
