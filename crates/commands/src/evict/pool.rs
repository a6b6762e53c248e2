//! The pool: the best of the keys drawn so far, kept from one eviction to the next.
//!
//! Five keys drawn at random hold one of the best fifth of all keys two times in three. Keeping the best of many draws makes the choice nearly as good as that of an index,
//! for the memory of sixteen keys. What is in the pool may have been used, changed or deleted since; that is found out when its turn comes.

use super::By;

/// Most keys kept.
const KEPT_MAX: usize = 16;

/// A key that may be evicted.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) db: usize,
    pub(super) key: Box<[u8]>,
    /// How well it can be done without.
    pub(super) score: u64,
    /// Its stamp or deadline: it is no longer what was drawn once that has changed.
    pub(super) drawn_as: u64,
}

/// Keys that may be evicted, the best last.
#[derive(Debug, Default)]
pub(super) struct Pool {
    /// By what they were chosen.
    by: Option<By>,
    kept: Vec<Candidate>,
}

impl Pool {
    /// Forgets what was chosen by something else.
    pub(super) fn choose_by(&mut self, by: By) {
        if self.by != Some(by) {
            self.by = Some(by);
            self.kept.clear();
        }
    }

    /// Keeps a key that was drawn, unless those kept are better.
    pub(super) fn offer(&mut self, db: usize, key: &[u8], score: u64, drawn_as: u64) {
        if self.kept.len() == KEPT_MAX && self.kept[0].score >= score {
            return;
        }
        if let Some(at) = self.kept.iter().position(|kept| kept.db == db && *kept.key == *key) {
            if self.kept[at].drawn_as == drawn_as {
                return;
            }
            self.kept.remove(at);
        }
        if self.kept.len() == KEPT_MAX {
            self.kept.remove(0);
        }
        let at = self.kept.partition_point(|kept| kept.score < score);
        self.kept.insert(at, Candidate { db, key: key.into(), score, drawn_as });
    }

    /// Takes out the key that can best be done without.
    pub(super) fn pop(&mut self) -> Option<Candidate> {
        self.kept.pop()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_are_kept_and_come_first() {
        let mut pool = Pool::default();
        pool.choose_by(By::Age);
        for score in (0..100).step_by(3).chain((1..100).step_by(3)) {
            pool.offer(0, format!("key{score}").as_bytes(), score, 0);
        }
        pool.offer(0, b"key99", 99, 0);
        pool.offer(1, b"key99", 99, 0);
        let scores: Vec<u64> = std::iter::from_fn(|| pool.pop()).map(|candidate| candidate.score).collect();
        assert_eq!(scores, [99, 99, 97, 96, 94, 93, 91, 90, 88, 87, 85, 84, 82, 81, 79, 78]);
    }

    #[test]
    fn a_key_drawn_again_counts_as_it_is_now() {
        let mut pool = Pool::default();
        pool.choose_by(By::Age);
        pool.offer(0, b"key", 9, 1);
        pool.offer(0, b"other", 8, 1);
        pool.offer(0, b"key", 3, 2);
        assert_eq!(pool.pop().map(|candidate| candidate.score), Some(8));
        assert_eq!(pool.pop().map(|candidate| (candidate.score, candidate.drawn_as)), Some((3, 2)));
        assert_eq!(pool.pop(), None);
        pool.offer(0, b"key", 9, 1);
        pool.choose_by(By::Deadline);
        assert_eq!(pool.pop(), None);
    }
}
