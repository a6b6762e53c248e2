//! What a file holds: what programs see of it, and what is left after the power went.
//!
//! Files are only appended to and cut, so what is yet to be stored is always their end.

/// Bytes that are stored together or not at all.
const BLOCK_LEN: usize = 512;

/// Chance from a seed.
#[derive(Clone, Debug)]
pub(super) struct Dice(pub(super) u64);

impl Dice {
    /// Draws 64 bits (SplitMix64).
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Draws a number below a bound, which is not 0.
    pub(super) fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    /// Says yes so many times out of so many.
    pub(super) fn chance(&mut self, part: usize, whole: usize) -> bool {
        self.below(whole) < part
    }
}

/// The content of a file.
#[derive(Clone, Debug, Default)]
pub(super) struct Content {
    seen: Vec<u8>,
    stored: Vec<u8>,
    /// Where what is to be stored by the next sync begins.
    dirty_from: usize,
    /// The shortest the file was since the last sync, if it was cut.
    cut: Option<usize>,
    /// Where what a sync has dropped begins: it is seen and will not be stored.
    dropped_from: Option<usize>,
}

impl Content {
    pub(super) fn seen(&self) -> &[u8] {
        &self.seen
    }

    pub(super) fn stored(&self) -> &[u8] {
        &self.stored
    }

    /// Tells whether something is seen that will not be stored, because a sync has dropped it.
    pub(super) fn is_deceptive(&self) -> bool {
        self.dropped_from.is_some()
    }

    pub(super) fn append(&mut self, bytes: &[u8]) {
        self.seen.extend_from_slice(bytes);
    }

    pub(super) fn truncate(&mut self, len: usize) {
        assert!(len <= self.seen.len(), "a cut must not make the file longer");
        self.seen.truncate(len);
        self.dropped_from = self.dropped_from.filter(|from| *from < len);
        self.dirty_from = self.dirty_from.min(len);
        self.cut = Some(self.cut.map_or(len, |cut| cut.min(len)));
    }

    pub(super) fn flip(&mut self, bit: usize) {
        for layer in [&mut self.seen, &mut self.stored] {
            if let Some(byte) = layer.get_mut(bit / 8) {
                *byte ^= 1 << (bit % 8);
            }
        }
    }

    pub(super) fn sync(&mut self) {
        self.store_cut();
        self.store(self.dirty_from, self.seen.len());
        self.dirty_from = self.seen.len();
    }

    /// Stores some blocks and drops the others from what is yet to be stored: the next sync will not store them either.
    pub(super) fn fail_to_sync(&mut self, dice: &mut Dice) {
        if dice.chance(1, 2) {
            self.store_cut();
            for (from, to) in self.dirty_blocks() {
                if dice.chance(1, 2) {
                    self.store(from, to);
                }
            }
        }
        if self.dirty_from < self.seen.len() {
            self.dropped_from = Some(self.dropped_from.map_or(self.dirty_from, |from| from.min(self.dirty_from)));
        }
        self.dirty_from = self.seen.len();
    }

    /// Leaves what is there after the power went; tells whether a later part is there and an earlier one is not.
    pub(super) fn tear(&mut self, dice: &mut Dice) -> bool {
        let mut has_hole = false;
        if self.cut.is_none() || dice.chance(1, 2) {
            self.store_cut();
            has_hole = self.tear_end(dice);
        }
        self.seen = self.stored.clone();
        (self.dirty_from, self.cut, self.dropped_from) = (self.seen.len(), None, None);
        has_hole
    }

    fn tear_end(&mut self, dice: &mut Dice) -> bool {
        let (from, end) = (self.dirty_from, self.seen.len());
        match dice.below(8) {
            0 | 1 => {}
            2 | 3 => self.store(from, end),
            4 | 5 => self.store(from, from + dice.below(end - from + 1)),
            6 => {
                // The length came first, the content did not come any more.
                self.store(from, from + dice.below(end - from + 1));
                let len = self.stored.len() + dice.below(end.saturating_sub(self.stored.len()) + 1);
                self.stored.resize(len, 0);
            }
            _ => {
                let (mut is_lost, mut has_hole) = (false, false);
                for (from, to) in self.dirty_blocks() {
                    if dice.chance(1, 2) {
                        self.store(from, to);
                        has_hole |= is_lost;
                    } else {
                        is_lost = true;
                    }
                }
                return has_hole;
            }
        }
        false
    }

    fn store_cut(&mut self) {
        if let Some(cut) = self.cut.take() {
            self.stored.truncate(cut);
        }
    }

    fn store(&mut self, from: usize, to: usize) {
        if from < to {
            self.stored.resize(self.stored.len().max(to), 0);
            self.stored[from..to].copy_from_slice(&self.seen[from..to]);
        }
    }

    fn dirty_blocks(&self) -> Vec<(usize, usize)> {
        let (first, end) = (self.dirty_from, self.seen.len());
        let blocks = first / BLOCK_LEN..end.div_ceil(BLOCK_LEN);
        blocks.map(|block| ((block * BLOCK_LEN).max(first), ((block + 1) * BLOCK_LEN).min(end))).collect()
    }
}
