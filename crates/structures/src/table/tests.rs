//! The table against a map, under good and bad hashes, and the bounds on memory, stalls and scans.

use std::cell::Cell;
use std::collections::{HashMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

use proptest::prelude::*;

use super::*;

/// Miri is slow, and what it looks for shows in small tables.
const SCALE: u64 = if cfg!(miri) { 100 } else { 1 };

fn good(key: u64) -> u64 {
    mix(key)
}

fn all_equal(_: u64) -> u64 {
    0xab00_0000_0000_0005
}

fn few_bits(key: u64) -> u64 {
    mix(key) & 0x0300_0000_0000_0007
}

fn same_tag(key: u64) -> u64 {
    mix(key) & 0x00ff_ffff_ffff_ffff
}

const HASHES: [fn(u64) -> u64; 4] = [good, all_equal, few_bits, same_tag];

fn insert(table: &mut Table<u64>, key: u64) {
    table.insert_unique(good(key), key, |key| good(*key));
}

fn remove(table: &mut Table<u64>, key: u64) -> Option<u64> {
    table.remove(good(key), |entry| *entry == key, |key| good(*key))
}

fn filled(len: u64) -> Table<u64> {
    let mut table = Table::new();
    (0..len).for_each(|key| insert(&mut table, key));
    table
}

#[derive(Clone, Debug)]
enum Step {
    Insert(u64),
    Remove(u64),
    InsertMany(u64),
    RemoveMany(u64),
    Change(u64),
    Sweep(u64),
    Reserve(usize),
    Clone,
    Drain,
    Clear,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0_u64..2000).prop_map(Step::Insert),
        8 => (0_u64..2000).prop_map(Step::Remove),
        4 => (1_u64..400).prop_map(Step::InsertMany),
        4 => (1_u64..400).prop_map(Step::RemoveMany),
        4 => (0_u64..2000).prop_map(Step::Change),
        2 => (2_u64..5).prop_map(Step::Sweep),
        1 => (0_usize..3000).prop_map(Step::Reserve),
        1 => Just(Step::Clone),
        1 => Just(Step::Drain),
        1 => Just(Step::Clear),
    ]
}

/// A table of key and value next to a map that should be equal.
struct Twin {
    table: Table<(u64, Rc<Cell<u64>>)>,
    map: HashMap<u64, Rc<Cell<u64>>>,
    hash: fn(u64) -> u64,
    next: u64,
    cursor: u64,
}

impl Twin {
    fn insert(&mut self, key: u64) {
        let hash = self.hash;
        if self.table.find(hash(key), |entry| entry.0 == key).is_none() {
            assert!(!self.map.contains_key(&key));
            let value = Rc::new(Cell::new(key));
            self.map.insert(key, value.clone());
            let inserted = self.table.insert_unique(hash(key), (key, value), |entry| hash(entry.0));
            assert_eq!(inserted.0, key);
        }
    }

    fn remove(&mut self, key: u64) {
        let hash = self.hash;
        let removed = self.table.remove(hash(key), |entry| entry.0 == key, |entry| hash(entry.0));
        assert_eq!(removed.map(|entry| entry.0), self.map.remove(&key).map(|_| key));
    }

    fn apply(&mut self, step: Step) {
        let hash = self.hash;
        match step {
            Step::Insert(key) => self.insert(key),
            Step::Remove(key) => self.remove(key),
            Step::InsertMany(count) => {
                for _ in 0..count {
                    self.next += 1;
                    self.insert(self.next + 2000);
                }
            }
            Step::RemoveMany(count) => {
                let keys: Vec<u64> = self.map.keys().copied().take(count as usize).collect();
                keys.into_iter().for_each(|key| self.remove(key));
            }
            Step::Change(key) => {
                let found = self.table.find_mut(hash(key), |entry| entry.0 == key);
                assert_eq!(found.is_some(), self.map.contains_key(&key));
                if let Some((_, value)) = found {
                    *value = Rc::new(Cell::new(value.get() + 1));
                    self.map.insert(key, value.clone());
                }
            }
            Step::Sweep(divisor) => self.sweep(divisor),
            Step::Reserve(additional) => {
                self.table.reserve(additional, |entry| hash(entry.0));
                let bytes = self.table.heap_size();
                for key in 100_000..100_000 + additional as u64 {
                    self.insert(key);
                }
                // A hash that puts all into few buckets makes any table grow; so can chance where there are few buckets, and elsewhere it makes some overflow.
                let is_good = additional >= 64 && std::ptr::fn_addr_eq(self.hash, good as fn(u64) -> u64);
                assert!(!is_good || self.table.overflow > 0 || self.table.heap_size() <= bytes);
                (100_000..100_000 + additional as u64).for_each(|key| self.remove(key));
            }
            Step::Clone => self.table = self.table.clone(),
            Step::Drain => {
                let entries: Vec<_> = self.table.drain().collect();
                assert_eq!((entries.len(), self.table.heap_size()), (self.map.len(), 0));
                for entry in entries {
                    self.table.insert_unique(hash(entry.0), entry, |entry| hash(entry.0));
                }
            }
            Step::Clear => {
                self.table.clear();
                self.map.clear();
            }
        }
    }

    fn sweep(&mut self, divisor: u64) {
        let (hash, map) = (self.hash, &mut self.map);
        self.cursor = self.table.sweep(
            self.cursor,
            |entry| !entry.0.is_multiple_of(divisor),
            |entry| {
                assert!(entry.0.is_multiple_of(divisor));
                assert!(map.remove(&entry.0).is_some(), "an entry is removed once");
            },
            |entry| hash(entry.0),
        );
    }

    /// Every entry is in one of the groups, and in the right one, whatever the mask.
    fn check_groups(&self, mask: u32) {
        let hash = self.hash;
        let mut met = HashSet::new();
        for group in 0..=mask {
            self.table.visit_group(
                group,
                mask,
                |entry| hash(entry.0),
                |entry| {
                    assert_eq!(hash(entry.0) as u32 & mask, group);
                    assert!(met.insert(entry.0), "an entry is met once");
                },
            );
        }
        assert_eq!(met.len(), self.map.len());
    }

    fn check(&mut self) {
        let hash = self.hash;
        [0, 7, 255, self.table.group_mask(), self.table.old.mask].into_iter().for_each(|mask| self.check_groups(mask));
        assert_eq!(self.table.len(), self.map.len());
        let mut scanned = HashSet::new();
        let mut cursor = 0;
        loop {
            cursor = self.table.scan(cursor, |entry| {
                scanned.insert(entry.0);
            });
            if cursor == 0 {
                break;
            }
        }
        assert_eq!(scanned.len(), self.map.len());
        for (key, value) in &self.map {
            let (_, found) = self.table.find(hash(*key), |entry| entry.0 == *key).expect("every key is found");
            assert!(Rc::ptr_eq(found, value));
        }
        let iterated: HashSet<u64> = self.table.iter().map(|entry| entry.0).collect();
        assert_eq!(iterated, scanned);
        assert_eq!(self.table.iter_mut().map(|entry| entry.0).collect::<Vec<_>>().len(), self.map.len());
        let random = self.table.random(self.next);
        assert_eq!(random.is_some(), !self.map.is_empty());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: if cfg!(miri) { 4 } else { 192 }, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn follows_the_model(hash in 0_usize..HASHES.len(), steps in prop::collection::vec(step(), 1..60)) {
        let mut twin = Twin { table: Table::new(), map: HashMap::new(), hash: HASHES[hash], next: 0, cursor: 0 };
        for step in steps {
            twin.apply(step);
            twin.check();
        }
        drop(twin.table);
        prop_assert!(twin.map.values().all(|value| Rc::strong_count(value) == 1), "all entries are dropped");
    }

    #[test]
    fn scans_meet_what_stays(start in 0_u64..3000, changes in prop::collection::vec(0_u64..3000, 1..200)) {
        // Keys below 500 stay; above them the table grows and shrinks to another size before every call.
        let mut table = filled(500 + start);
        let mut len = start;
        let mut met = HashSet::new();
        let mut cursor = 0;
        let mut changes = changes.into_iter().cycle();
        loop {
            cursor = table.scan(cursor, |key| { met.insert(*key); });
            if cursor == 0 {
                break;
            }
            let wanted = changes.next().expect("a cycle has no end");
            for key in len..wanted {
                insert(&mut table, 500 + key);
            }
            for key in wanted..len {
                prop_assert!(remove(&mut table, 500 + key).is_some());
            }
            len = wanted;
        }
        prop_assert!((0..500).all(|key| met.contains(&key)));
    }
}

#[test]
fn small_tables_are_cheap() {
    assert!(size_of::<Table<u64>>() <= 56);
    let mut table = Table::new();
    assert_eq!(table.heap_size(), 0);
    assert_eq!(table.find(good(1), |_: &u64| true), None);
    assert_eq!(table.scan(0, |_| panic!("there is nothing")), 0);
    assert_eq!(table.random(9), None);
    (0..7).for_each(|key| insert(&mut table, key));
    assert_eq!(table.heap_size(), 64);
    assert_eq!(table.iter().len(), 7);
    for key in 0..7 {
        assert_eq!(remove(&mut table, key), Some(key));
    }
    assert_eq!(table.heap_size(), 0);
}

#[test]
fn memory_per_entry_is_bounded() {
    let bytes = |len: u64| filled(len).heap_size() as f64 / len as f64;
    for len in [977, 1000, 1_000_000 / SCALE] {
        assert!(bytes(len) <= 14.0, "{} bytes an entry at {len}", bytes(len));
    }
    let mut table = Table::new();
    for key in 0..300_000 / SCALE {
        insert(&mut table, key);
        if table.len() >= 500 {
            // While it grows there are two generations, the new one not yet touched.
            let bound = if table.moved == IDLE { 21.0 } else { 36.0 };
            let per_entry = table.heap_size() as f64 / table.len() as f64;
            assert!(per_entry <= bound, "{per_entry} bytes an entry of {}", table.len());
        }
    }
    let mut table = filled(100_000 / SCALE);
    for key in 1000 / SCALE..100_000 / SCALE {
        remove(&mut table, key);
        let per_entry = table.heap_size() as f64 / table.len() as f64;
        assert!(table.moved != IDLE || per_entry <= 45.0, "{per_entry} bytes an entry of {}", table.len());
    }
}

#[test]
fn no_operation_moves_many_entries() {
    let (moved, most) = (Cell::new(0), Cell::new(0));
    let rehash = |key: &u64| {
        moved.set(moved.get() + 1);
        good(*key)
    };
    let mut table = Table::new();
    let len = 1_000_000 / SCALE;
    for key in 0..len {
        table.insert_unique(good(key), key, rehash);
        most.set(most.get().max(moved.replace(0)));
    }
    for key in 0..len {
        assert_eq!(table.remove(good(key), |entry| *entry == key, rehash), Some(key));
        most.set(most.get().max(moved.replace(0)));
    }
    assert!(most.get() > 0 && most.get() <= 64, "{} entries moved by one operation", most.get());
}

#[test]
fn random_entries_are_fairly_chosen() {
    for len in [1, 5, 40, 200, 977 / SCALE + 1] {
        // Half of the sizes is reached from above, so that a shrunken table is among them.
        let mut table = filled(len * 9);
        (len..len * 9).for_each(|key| assert!(remove(&mut table, key).is_some()));
        let draws = len * 400;
        let mut counts = vec![0_u64; len as usize];
        for draw in 0..draws {
            counts[*table.random(mix(draw)).expect("there are entries") as usize] += 1;
        }
        let chi_square: f64 = counts.iter().map(|count| (*count as f64 - 400.0).powi(2) / 400.0).sum();
        let freedom = (len - 1) as f64;
        assert!(chi_square <= freedom + 5.0 * (2.0 * freedom).sqrt() + 1.0, "{chi_square} for {len} entries");
    }
}

#[test]
fn random_is_quick_in_sparse_tables() {
    let mut table = filled(50_000 / SCALE);
    (3..50_000 / SCALE).for_each(|key| assert!(remove(&mut table, key).is_some()));
    assert!(table.current.buckets() + table.old.buckets() <= 8);
    assert!((0..100).all(|draw| table.random(draw).is_some_and(|key| *key < 3)));
    // Nothing guarantees a filling after a reservation, but an entry is found all the same.
    table.reserve(100_000 / SCALE as usize, |key| good(*key));
    assert!((0..20).all(|draw| table.random(draw).is_some_and(|key| *key < 3)));
}

#[test]
fn a_sweep_visits_entries_once_and_removes_all() {
    let mut table = filled(10_000 / SCALE);
    let (mut visited, mut removed, mut cursor) = (Vec::new(), HashSet::new(), 0);
    let buckets = table.current.buckets();
    for _ in 0..buckets {
        cursor = table.sweep(
            cursor,
            |key| {
                visited.push(*key);
                !key.is_multiple_of(10)
            },
            |key| assert!(removed.insert(key)),
            |key| good(*key),
        );
    }
    assert_eq!((cursor, visited.len()), (0, 10_000 / SCALE as usize));
    assert_eq!(removed.len() as u64, 1000 / SCALE);
    let mut rounds = 0;
    while !table.is_empty() {
        cursor = table.sweep(cursor, |_| false, |_| (), |key| good(*key));
        rounds += 1;
        assert!(rounds <= 2 * buckets, "sweeping empties the table in two rounds");
    }
    assert_eq!(table.heap_size(), 0);
}

#[test]
fn entries_are_dropped_once() {
    let counted = Rc::new(());
    let hash = |entry: &(u64, Rc<()>)| few_bits(entry.0);
    let mut table = Table::new();
    for key in 0..1000 {
        table.insert_unique(few_bits(key), (key, counted.clone()), hash);
    }
    assert_eq!(Rc::strong_count(&counted), 1001);
    drop(table.clone());
    assert_eq!(Rc::strong_count(&counted), 1001);
    for key in 0..400 {
        assert!(table.remove(few_bits(key), |entry| entry.0 == key, hash).is_some());
    }
    assert_eq!(Rc::strong_count(&counted), 601);
    let mut entries = table.drain();
    drop((entries.next(), entries.next()));
    assert_eq!((Rc::strong_count(&counted), entries.len()), (599, 598));
    drop(entries);
    assert_eq!(Rc::strong_count(&counted), 1);
    table.insert_unique(few_bits(1), (1, counted.clone()), hash);
    table.clear();
    assert_eq!(Rc::strong_count(&counted), 1);
}

#[test]
fn panics_drop_nothing_twice() {
    let counted = Rc::new(());
    let fuse = Cell::new(u64::MAX);
    let burn = || {
        fuse.set(fuse.get().wrapping_sub(1));
        assert!(fuse.get() != 0, "the fuse has burnt down");
    };
    let hash = |entry: &(u64, Rc<()>)| {
        burn();
        good(entry.0)
    };
    let mut table = Table::new();
    let mut panics = 0;
    for key in 0..3000 {
        fuse.set(1 + key % 17);
        let insertion = AssertUnwindSafe(|| {
            table.insert_unique(good(key), (key, counted.clone()), hash);
        });
        panics += u64::from(catch_unwind(insertion).is_err());
    }
    let mut cursor = 0;
    for round in 0..3000 {
        fuse.set(1 + round % 23);
        let sweep = AssertUnwindSafe(|| {
            let keep = |entry: &mut (u64, Rc<()>)| {
                burn();
                entry.0 % 3 != round % 3
            };
            table.sweep(cursor, keep, |_| burn(), hash)
        });
        match catch_unwind(sweep) {
            Ok(next) => cursor = next,
            Err(_) => panics += 1,
        }
        assert_eq!(Rc::strong_count(&counted), 1 + table.len());
    }
    assert!(panics > 100);
    fuse.set(u64::MAX);
    drop(table);
    assert_eq!(Rc::strong_count(&counted), 1);
}

#[test]
fn entries_of_any_size_fit() {
    let mut bytes = Table::<u8>::new();
    let mut wide = Table::<[u64; 5]>::new();
    for key in 0..200_u8 {
        let hash = good(u64::from(key));
        bytes.insert_unique(hash, key, |key| good(u64::from(*key)));
        wide.insert_unique(hash, [u64::from(key); 5], |entry| good(entry[0]));
    }
    for key in 0..200_u8 {
        let hash = good(u64::from(key));
        assert_eq!(bytes.find(hash, |entry| *entry == key), Some(&key));
        assert_eq!(wide.find(hash, |entry| entry[4] == u64::from(key)), Some(&[u64::from(key); 5]));
    }
    assert_eq!(format!("{:?}", filled(1)), "{0}");
}

/// Every entry is handed out by one of the steps towards it, whatever the table looks like, and only entries of its tag are.
#[test]
fn approaching_an_entry_comes_near_it() {
    for hash in HASHES {
        for len in [0, 1, 7, 8, 100, 3000 / SCALE] {
            let mut table = Table::new();
            for key in 0..len {
                table.insert_unique(hash(key), key, |key| hash(*key));
                let wanted = key / 2;
                let (mut step, mut met) = (0, false);
                while table.approach(hash(wanted), step, |near| {
                    assert_eq!(tag_of(hash(*near)), tag_of(hash(wanted)));
                    met |= *near == wanted;
                }) {
                    step += 1;
                    assert!(step <= len as usize + 2, "chains are not longer than this");
                }
                assert!(met, "{wanted} of {key}");
            }
            assert!(table.approach(hash(len + 1), 0, |_| panic!("step 0 hands out nothing")));
        }
    }
}
