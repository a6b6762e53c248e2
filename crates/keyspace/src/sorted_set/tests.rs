//! A sorted set against a list of scores and members kept in order, across its conversion.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use proptest::prelude::*;
use redpoll_structures::packed::{Item, Packed};

use super::{Direction, SortedSet};
use crate::Limits;

const SEED: u64 = 7;

fn limits() -> Limits {
    Limits { zset_max_listpack_entries: 5, zset_max_listpack_value: 8, ..Limits::default() }
}

fn numbers() -> impl FnMut() -> u64 {
    let mut state = 1_u64;
    move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state ^ state.rotate_left(32)
    }
}

type Elements = Vec<(Vec<u8>, f64)>;

/// Members with their scores, put in order whenever it matters.
#[derive(Clone, Debug, Default)]
struct Model(BTreeMap<Vec<u8>, f64>);

impl Model {
    fn elements(&self) -> Elements {
        let mut elements: Elements = self.0.iter().map(|(member, score)| (member.clone(), *score)).collect();
        elements.sort_by(|left, right| left.1.partial_cmp(&right.1).expect("no NaN").then(left.0.cmp(&right.0)));
        elements
    }
}

fn contents(set: &SortedSet) -> Elements {
    set.iter().map(|(member, score)| (member.to_vec(), score)).collect()
}

#[derive(Clone, Debug)]
enum Step {
    Insert(Vec<u8>, f64),
    Remove(Vec<u8>),
    RemoveRange(usize, usize),
    Reserve(Vec<u8>, usize),
}

fn score() -> impl Strategy<Value = f64> {
    prop_oneof![
        6 => (-3..4_i32).prop_map(f64::from),
        3 => (-3..4_i32).prop_map(|number| f64::from(number) / 3.0),
        1 => prop_oneof![Just(f64::INFINITY), Just(f64::NEG_INFINITY), Just(-0.0), Just(1e300), Just(5e-324)],
        1 => any::<f64>().prop_filter("a score is a number", |score| !score.is_nan()),
    ]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let name = || prop_oneof![8 => "[a-e]", 4 => "1?[0-5]", 1 => "[a-b]{9,12}"].prop_map(String::into_bytes);
    let step = prop_oneof![
        12 => (name(), score()).prop_map(|(member, score)| Step::Insert(member, score)),
        6 => name().prop_map(Step::Remove),
        1 => (0..8_usize, 0..4_usize).prop_map(|(start, count)| Step::RemoveRange(start, count)),
        1 => (name(), 0..7_usize).prop_map(|(first, members)| Step::Reserve(first, members)),
    ];
    prop::collection::vec(step, 0..60)
}

/// Applies a step to both; tells whether the set must be a ranked map after it.
fn apply(step: Step, set: &mut SortedSet, model: &mut Model) -> bool {
    match step {
        Step::Insert(member, score) => {
            let had = model.0.get(&member).copied();
            assert_eq!(set.insert(&member, score, &limits(), SEED), had);
            if had != Some(score) {
                model.0.insert(member.clone(), score);
            }
            had.is_none() && (member.len() > 8 || model.0.len() > 5)
        }
        Step::Remove(member) => {
            assert_eq!(set.remove(&member), model.0.remove(&member));
            false
        }
        Step::RemoveRange(start, count) => {
            let expected: Elements = model.elements().into_iter().skip(start).take(count).collect();
            let mut removed = Vec::new();
            let number = set.remove_range(start, count, |member, score| removed.push((member.to_vec(), score)));
            assert_eq!((&removed, number), (&expected, expected.len()));
            for (member, _) in &expected {
                model.0.remove(member);
            }
            false
        }
        Step::Reserve(first, members) => {
            let too_large = members > 5 || (model.0.is_empty() && first.len() > 8);
            set.reserve(&first, members, &limits(), SEED);
            too_large
        }
    }
}

fn check_lookups(set: &SortedSet, elements: &Elements) {
    for (rank, (member, score)) in elements.iter().enumerate() {
        assert_eq!(set.score(member), Some(*score));
        assert_eq!(set.rank(member), Some(rank));
        let below = elements.iter().filter(|(_, other)| other < score).count();
        let through = elements.iter().filter(|(_, other)| other <= score).count();
        assert_eq!(set.rank_of_score(Bound::Included(*score)), below);
        assert_eq!(set.rank_of_score(Bound::Excluded(*score)), through);
        let down: Elements =
            set.range(rank, 3, Direction::Descending).map(|(member, score)| (member.to_vec(), score)).collect();
        assert_eq!(down, elements[..=rank].iter().rev().take(3).cloned().collect::<Elements>());
        let up: Elements =
            set.range(rank, 2, Direction::Ascending).map(|(member, score)| (member.to_vec(), score)).collect();
        assert_eq!(up, elements[rank..].iter().take(2).cloned().collect::<Elements>());
    }
    assert!(set.score(b"nobody").is_none() && set.rank(b"nobody").is_none());
    for direction in [Direction::Ascending, Direction::Descending] {
        assert_eq!(set.range(elements.len(), 9, direction).count(), 0);
        assert_eq!(set.range(usize::MAX, usize::MAX, direction).count(), 0);
        assert_eq!(set.range(0, 0, direction).count(), 0);
    }
}

proptest! {
    #[test]
    fn behaves_like_a_sorted_list(steps in steps()) {
        let (mut set, mut model, mut was_ranked) = (SortedSet::new(), Model::default(), false);
        for step in steps {
            was_ranked |= apply(step, &mut set, &mut model);
            let elements = model.elements();
            prop_assert_eq!(set.encoding(), if was_ranked { "skiplist" } else { "listpack" });
            prop_assert_eq!((set.len(), set.is_empty()), (elements.len(), elements.is_empty()));
            prop_assert_eq!(&contents(&set), &elements);
            check_lookups(&set, &elements);
        }
    }

    #[test]
    fn equal_scores_are_ordered_by_member(
        names in prop::collection::btree_set("[a-f]{0,2}|1?[0-9]", 0..12),
        bound in "[a-f]{0,2}|1?[0-9]",
    ) {
        let mut set = SortedSet::new();
        for name in &names {
            set.insert(name.as_bytes(), 0.5, &limits(), SEED);
        }
        let bound = bound.as_bytes();
        let below = names.iter().filter(|name| name.as_bytes() < bound).count();
        let through = names.iter().filter(|name| name.as_bytes() <= bound).count();
        prop_assert_eq!(set.rank_of_member(Bound::Included(bound)), below);
        prop_assert_eq!(set.rank_of_member(Bound::Excluded(bound)), through);
        prop_assert_eq!(set.rank_of_member(Bound::Unbounded), 0);
    }

    #[test]
    fn is_made_from_what_is_in_order(
        members in prop::collection::btree_map("[a-z]{1,9}|[0-9]{1,3}", score(), 0..9),
    ) {
        let model = Model(members.into_iter().map(|(member, score)| (member.into_bytes(), score)).collect());
        let elements = model.elements();
        let items: Vec<_> = elements.iter().map(|(member, score)| (Item::of(member), *score)).collect();
        let set = SortedSet::from_sorted(&items, &limits(), SEED);
        let packs = elements.len() <= 5 && elements.iter().all(|(member, _)| member.len() <= 8);
        prop_assert_eq!(set.encoding(), if packs { "listpack" } else { "skiplist" });
        prop_assert_eq!(&contents(&set), &elements);
        check_lookups(&set, &elements);
    }
}

fn packed(items: &[&str]) -> Packed {
    let mut packed = Packed::new();
    items.iter().for_each(|item| packed.push_back(item.as_bytes()));
    packed
}

#[test]
fn foreign_bytes_are_checked() {
    let from = |items: &[&str]| SortedSet::from_packed(packed(items), &limits(), SEED);
    for broken in [&["a"][..], &["a", "b"], &["a", "nan"], &["a", "1", "b"], &["a", ""], &["a", "1", "b", "0x"]] {
        assert!(from(broken).is_none(), "{broken:?}");
    }
    let check = |items: &[&str], encoding: &str, expected: &[(&str, f64)]| {
        let set = from(items).expect("the bytes are right");
        assert_eq!(set.encoding(), encoding, "{items:?}");
        let expected: Elements = expected.iter().map(|(member, score)| (member.as_bytes().to_vec(), *score)).collect();
        assert_eq!(contents(&set), expected, "{items:?}");
    };
    check(&[], "listpack", &[]);
    check(
        &["b", "-inf", "a", "1", "b2", "1", "7", "1.5"],
        "listpack",
        &[("b", f64::NEG_INFINITY), ("a", 1.0), ("b2", 1.0), ("7", 1.5)],
    );
    check(&["a", "0.10000000000000001"], "listpack", &[("a", 0.1)]);
    check(&["b", "2", "a", "1"], "skiplist", &[("a", 1.0), ("b", 2.0)]);
    check(&["a", "1", "a", "2"], "skiplist", &[("a", 2.0)]);
    check(&["longer than 8", "1"], "skiplist", &[("longer than 8", 1.0)]);
}

/// The two forms, with so many members.
fn forms(len: usize) -> [SortedSet; 2] {
    let of = |entries: usize| {
        let limits = Limits { zset_max_listpack_entries: entries, ..limits() };
        let mut set = SortedSet::new();
        for number in 0..len {
            set.insert(format!("m{number}").as_bytes(), number as f64, &limits, SEED);
        }
        set
    };
    [of(usize::MAX), of(0)]
}

#[test]
fn a_scan_meets_every_member() {
    for set in [0, 1, 1000].into_iter().flat_map(forms) {
        let (mut cursor, mut met) = (0, BTreeMap::new());
        loop {
            cursor = set.scan(cursor, 10, |member, score| {
                met.insert(member.to_vec(), score);
            });
            if cursor == 0 {
                break;
            }
        }
        assert_eq!(met, contents(&set).into_iter().collect());
    }
}

#[test]
fn samples_have_no_member_twice_and_all_if_there_are_no_more() {
    for (len, count) in [(0, 3), (3, 1), (3, 3), (4, 9), (1000, 10), (1000, 400), (1000, 1000), (1000, 2000)] {
        for set in forms(len) {
            let (mut chosen, mut visited) = (BTreeSet::new(), 0);
            set.sample(count, numbers(), |member, score| {
                assert_eq!(set.score(&member.to_vec()), Some(score));
                chosen.insert(member.to_vec());
                visited += 1;
            });
            assert_eq!((chosen.len(), visited), (count.min(len), count.min(len)), "{count} of {len}");
        }
    }
}

#[test]
fn choices_and_samples_are_fair() {
    for (set, len) in [1, 4, 40].into_iter().flat_map(|len| forms(len).map(|set| (set, len))) {
        let (mut chosen, mut sampled, mut random) = (BTreeMap::new(), BTreeMap::new(), numbers());
        let wanted = len.div_ceil(4);
        for _ in 0..1000 * len / wanted {
            set.choose(wanted, &mut random, |member, _| *chosen.entry(member.to_vec()).or_insert(0) += 1);
            set.sample(wanted, &mut random, |member, _| *sampled.entry(member.to_vec()).or_insert(0) += 1);
        }
        for counts in [chosen, sampled] {
            assert_eq!(counts.len(), len);
            assert!(counts.values().all(|count| (700..1300).contains(count)), "{}: {counts:?}", set.encoding());
        }
    }
    SortedSet::new().choose(2, numbers(), |_, _| panic!("there is nothing to choose"));
}
