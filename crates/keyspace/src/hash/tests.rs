//! A hash against a map, across its conversion.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use redpoll_structures::packed::Item;

use super::Hash;
use crate::Limits;

const SEED: u64 = 7;

fn limits() -> Limits {
    Limits { hash_max_listpack_entries: 4, hash_max_listpack_value: 10, ..Limits::default() }
}

fn numbers() -> impl FnMut() -> u64 {
    let mut state = 1_u64;
    move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state ^ state.rotate_left(32)
    }
}

/// What the table's sum of sizes must be, counted anew.
fn recounted(hash: &Hash) -> usize {
    match hash {
        Hash::Packed(packed) => packed.heap_size(),
        Hash::Table(table) => {
            let records: usize = table.iter().map(super::Member::heap_size).sum();
            assert!(table.heap_size() >= records);
            let mut empty = table.clone();
            let names: Vec<_> = table.iter().map(|member| member.key().to_vec()).collect();
            for name in names {
                assert!(empty.remove(&name).is_some());
            }
            assert_eq!(empty.heap_size(), 0, "what was counted was not taken back");
            hash.heap_size()
        }
        Hash::VolatilePacked(_) | Hash::VolatileTable(_) => panic!("no field was given a deadline"),
    }
}

fn contents(hash: &Hash) -> BTreeMap<Vec<u8>, Vec<u8>> {
    hash.iter(0).map(|(field, value)| (field.to_vec(), value.to_vec())).collect()
}

fn of(pairs: usize) -> Hash {
    let mut hash = Hash::new();
    for number in 0..pairs {
        hash.set(format!("f{number}").as_bytes(), number.to_string().as_bytes(), &limits(), SEED);
    }
    hash
}

#[derive(Clone, Debug)]
enum Step {
    Set(Vec<u8>, Vec<u8>),
    Remove(Vec<u8>),
    Reserve(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let name = || prop_oneof![8 => "[a-h]", 4 => "1?[0-9]", 1 => "[a-z]{9,12}"].prop_map(String::into_bytes);
    let value = prop_oneof![
        Just(Vec::new()),
        any::<i64>().prop_map(|value| value.to_string().into_bytes()),
        "0[0-9]{9,20}|-[0-9]{7,9}".prop_map(String::into_bytes),
        prop::collection::vec(any::<u8>(), 0..14),
    ];
    let step = prop_oneof![
        8 => (name(), value).prop_map(|(name, value)| Step::Set(name, value)),
        5 => name().prop_map(Step::Remove),
        1 => (0..6_usize).prop_map(Step::Reserve),
    ];
    prop::collection::vec(step, 0..80)
}

proptest! {
    #[test]
    fn behaves_like_a_map(steps in steps()) {
        let (mut hash, mut model) = (Hash::new(), BTreeMap::new());
        let mut was_table = false;
        for step in steps {
            let mut too_large = false;
            match step {
                Step::Set(field, value) => {
                    too_large = field.len() > 10 || value.len() > 10;
                    let is_new = hash.set(&field, &value, &limits(), SEED);
                    prop_assert_eq!(is_new, model.insert(field.clone(), value.clone()).is_none());
                    prop_assert_eq!(hash.get(&field, 0).map(Item::to_vec), Some(value));
                }
                Step::Remove(field) => {
                    prop_assert_eq!(hash.contains(&field, 0), model.contains_key(&field));
                    prop_assert_eq!(hash.remove(&field), model.remove(&field).is_some());
                    prop_assert!(hash.get(&field, 0).is_none());
                }
                Step::Reserve(count) => {
                    hash.reserve(count, &limits(), SEED);
                    too_large = count > 4;
                }
            }
            was_table |= too_large || model.len() > 4;
            prop_assert_eq!(hash.encoding(), if was_table { "hashtable" } else { "listpack" });
            prop_assert_eq!(hash.len(), model.len());
            prop_assert_eq!(&contents(&hash), &model);
            recounted(&hash);
        }
    }
}

#[test]
fn a_scan_meets_every_field() {
    for pairs in [0, 1, 4, 5, 1000] {
        let hash = of(pairs);
        let (mut cursor, mut met) = (0, BTreeMap::new());
        loop {
            cursor = hash.scan(cursor, 10, 0, |field, value| {
                met.insert(field.to_vec(), value.to_vec());
            });
            if cursor == 0 {
                break;
            }
        }
        assert_eq!(met, contents(&hash));
    }
}

#[test]
fn one_scan_visits_about_as_many_as_asked_for() {
    let hash = of(1000);
    let mut visited = 0;
    assert_ne!(hash.scan(0, 10, 0, |_, _| visited += 1), 0);
    assert!((10..60).contains(&visited), "{visited}");
}

#[test]
fn samples_have_no_field_twice_and_all_if_there_are_no_more() {
    for (pairs, count) in [(0, 3), (3, 1), (3, 2), (3, 3), (4, 9), (1000, 10), (1000, 400), (1000, 1000), (1000, 2000)]
    {
        let (hash, mut chosen, mut visited) = (of(pairs), BTreeSet::new(), 0);
        hash.sample(count, 0, numbers(), |field, value| {
            assert!(hash.get(&field.to_vec(), 0).is_some_and(|held| held.to_vec() == value.to_vec()));
            chosen.insert(field.to_vec());
            visited += 1;
        });
        assert_eq!((chosen.len(), visited), (count.min(pairs), count.min(pairs)), "{count} of {pairs}");
    }
}

#[test]
fn choices_are_fair() {
    for pairs in [1, 4, 40] {
        for at_once in [1, 5] {
            let (hash, mut counts, mut random) = (of(pairs), BTreeMap::new(), numbers());
            for _ in 0..1000 * pairs / at_once {
                hash.choose(at_once, 0, &mut random, |field, _| *counts.entry(field.to_vec()).or_insert(0) += 1);
            }
            assert_eq!(counts.len(), pairs);
            assert!(counts.values().all(|count| (700..1300).contains(count)), "{pairs} {at_once}: {counts:?}");
        }
    }
    Hash::new().choose(1, 0, numbers(), |_, _| panic!("there is nothing to choose"));
    Hash::new().choose(2, 0, numbers(), |_, _| panic!("there is nothing to choose"));
}

#[test]
fn what_is_due_is_not_drawn() {
    for pairs in [4, 1000] {
        let mut hash = of(pairs);
        let fields: Vec<Vec<u8>> = hash.iter(0).map(|(field, _)| field.to_vec()).collect();
        let (due, rest) = fields.split_at(pairs / 2);
        due.iter().for_each(|field| hash.set_deadline(field, 5, SEED));
        let (mut chosen, mut sampled) = (BTreeSet::new(), BTreeSet::new());
        hash.choose(100 * pairs, 5, numbers(), |field, _| _ = chosen.insert(field.to_vec()));
        hash.sample(pairs, 5, numbers(), |field, _| _ = sampled.insert(field.to_vec()));
        let expected: BTreeSet<Vec<u8>> = rest.iter().cloned().collect();
        assert_eq!((&chosen, &sampled, hash.len()), (&expected, &expected, pairs));
        rest.iter().for_each(|field| hash.set_deadline(field, 4, SEED));
        hash.choose(1, 5, numbers(), |_, _| panic!("all are due"));
        hash.sample(1, 5, numbers(), |_, _| panic!("all are due"));
    }
}

#[test]
fn samples_are_fair() {
    for (pairs, wanted) in [(4, 2), (40, 4), (40, 30)] {
        let (hash, mut counts, mut random) = (of(pairs), BTreeMap::new(), numbers());
        for _ in 0..1000 * pairs / wanted {
            hash.sample(wanted, 0, &mut random, |field, _| *counts.entry(field.to_vec()).or_insert(0) += 1);
        }
        assert!(counts.values().all(|count| (700..1300).contains(count)), "{wanted} of {pairs}: {counts:?}");
    }
}
