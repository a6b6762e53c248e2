//! A set against a set of texts, across its conversions.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use redpoll_structures::packed::Item;

use super::{Member, MemberTable, Set};
use crate::Limits;

const SEED: u64 = 7;

fn limits() -> Limits {
    Limits { set_max_intset_entries: 4, set_max_listpack_entries: 6, set_max_listpack_value: 8, ..Limits::default() }
}

fn numbers() -> impl FnMut() -> u64 {
    let mut state = 1_u64;
    move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state ^ state.rotate_left(32)
    }
}

fn contents(set: &Set) -> BTreeSet<Vec<u8>> {
    let members: Vec<_> = set.iter().map(Item::to_vec).collect();
    let contents: BTreeSet<_> = members.iter().cloned().collect();
    assert_eq!(members.len(), contents.len(), "no member twice");
    contents
}

/// The size, where it is kept as a sum, counted anew.
fn check_size(set: &Set) {
    if let Set::Table(table) = set {
        let records: usize = table.iter().map(Member::heap_size).sum();
        let buckets = set.heap_size() - size_of::<MemberTable>() - records;
        let mut emptied = table.clone();
        for name in table.iter().map(|member| member.key().to_vec()) {
            emptied.remove(&name);
        }
        assert_eq!(emptied.heap_size(), 0, "what was counted was not taken back");
        assert!(buckets > 0 || table.is_empty());
    }
}

/// The three forms, with so many members.
fn forms(len: usize) -> [Set; 3] {
    let wide = Limits { set_max_intset_entries: 5000, set_max_listpack_entries: 5000, ..limits() };
    let narrow = Limits { set_max_listpack_entries: 0, set_max_intset_entries: 0, ..limits() };
    let of = |prefix: &str, limits: &Limits| {
        let names: Vec<_> = (0..len).map(|number| format!("{prefix}{number}")).collect();
        Set::collect(names.iter().map(|name| Item::Str(name.as_bytes())), limits, SEED)
    };
    let forms = [of("", &wide), of("m", &wide), of("m", &narrow)];
    if len > 0 {
        assert_eq!(forms.each_ref().map(Set::encoding), ["intset", "listpack", "hashtable"]);
    }
    forms
}

#[derive(Clone, Debug)]
enum Step {
    Insert(Vec<u8>),
    InsertInt(i64),
    Remove(Vec<u8>),
    Reserve(Vec<u8>, usize),
    Pop(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let name = || prop_oneof![8 => "1?[0-9]", 2 => "0[0-9]|[a-d]", 1 => "[a-b]{9,12}"].prop_map(String::into_bytes);
    let step = prop_oneof![
        8 => name().prop_map(Step::Insert),
        4 => (0..20_i64).prop_map(Step::InsertInt),
        6 => name().prop_map(Step::Remove),
        1 => (name(), 0..8_usize).prop_map(|(first, members)| Step::Reserve(first, members)),
        1 => any::<u64>().prop_map(Step::Pop),
    ];
    prop::collection::vec(step, 0..60)
}

/// The form a set must have after a step, from the one it had.
fn form_after(form: &'static str, step: &Step, before: &BTreeSet<Vec<u8>>) -> &'static str {
    let is_int = |text: &[u8]| Item::of(text).as_int().is_some();
    let short = |text: &[u8]| text.len() <= 8;
    let insert = |text: &[u8]| match form {
        _ if before.contains(text) => form,
        "intset" if is_int(text) && before.len() < 4 => "intset",
        "intset" if is_int(text) => "hashtable",
        "intset" | "listpack" if before.len() < 6 && short(text) => "listpack",
        _ => "hashtable",
    };
    match step {
        Step::Insert(text) => insert(text),
        Step::InsertInt(number) => insert(number.to_string().as_bytes()),
        Step::Remove(_) | Step::Pop(_) => form,
        Step::Reserve(first, members) => match form {
            "intset" if !before.is_empty() => {
                if *members > 4 {
                    "hashtable"
                } else {
                    form
                }
            }
            "intset" if is_int(first) => match *members {
                ..=4 => form,
                5..=6 => "listpack",
                _ => "hashtable",
            },
            "intset" | "listpack" => {
                if *members > 6 {
                    "hashtable"
                } else {
                    form
                }
            }
            _ => form,
        },
    }
}

proptest! {
    #[test]
    fn behaves_like_a_set(steps in steps()) {
        let (mut set, mut model) = (Set::new(), BTreeSet::new());
        for step in steps {
            let form = form_after(set.encoding(), &step, &model);
            match step {
                Step::Insert(text) => {
                    let added = set.insert(Item::Str(&text), &limits(), SEED);
                    prop_assert!(set.contains(Item::Str(&text)) && set.contains(Item::of(&text)));
                    prop_assert_eq!(added, model.insert(text));
                }
                Step::InsertInt(number) => {
                    let added = set.insert(Item::Int(number), &limits(), SEED);
                    prop_assert_eq!(added, model.insert(number.to_string().into_bytes()));
                }
                Step::Remove(text) => {
                    prop_assert_eq!(set.remove(Item::of(&text)), model.remove(&text));
                    prop_assert!(!set.contains(Item::Str(&text)));
                }
                Step::Reserve(first, members) => set.reserve(&first, members, &limits(), SEED),
                Step::Pop(random) => {
                    let mut popped = None;
                    prop_assert_eq!(set.pop(random, |member| popped = Some(member.to_vec())), !model.is_empty());
                    prop_assert!(popped.is_none_or(|popped| model.remove(&popped)));
                }
            }
            prop_assert_eq!(set.encoding(), form);
            prop_assert_eq!((set.len(), set.is_empty()), (model.len(), model.is_empty()));
            prop_assert_eq!(&contents(&set), &model);
            check_size(&set);
        }
    }
}

#[test]
fn a_scan_meets_every_member() {
    for set in [0, 1, 1000].into_iter().flat_map(forms) {
        let (mut cursor, mut met) = (0, BTreeSet::new());
        loop {
            cursor = set.scan(cursor, 10, |member| {
                met.insert(member.to_vec());
            });
            if cursor == 0 {
                break;
            }
        }
        assert_eq!(met, contents(&set));
    }
}

#[test]
fn samples_have_no_member_twice_and_all_if_there_are_no_more() {
    for (len, count) in [(0, 3), (3, 1), (3, 3), (4, 9), (1000, 10), (1000, 400), (1000, 1000), (1000, 2000)] {
        for set in forms(len) {
            let (mut chosen, mut visited) = (BTreeSet::new(), 0);
            set.sample(count, numbers(), |member| {
                assert!(set.contains(member));
                chosen.insert(member.to_vec());
                visited += 1;
            });
            assert_eq!((chosen.len(), visited), (count.min(len), count.min(len)), "{count} of {len}");
        }
    }
}

/// Every one of `len` members must have been counted about `expected` times.
fn check_fair(counts: &BTreeMap<Vec<u8>, u32>, len: usize, what: &str) {
    assert_eq!(counts.len(), len, "{what}");
    assert!(counts.values().all(|count| (700..1300).contains(count)), "{what}: {counts:?}");
}

#[test]
fn choices_samples_and_pops_are_fair() {
    for (set, len) in [1, 4, 40].into_iter().flat_map(|len| forms(len).map(|set| (set, len))) {
        let mut random = numbers();
        let (mut chosen, mut single, mut sampled, mut popped) =
            (BTreeMap::new(), BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let wanted = len.div_ceil(4);
        for _ in 0..1000 * len / wanted {
            set.choose(wanted, &mut random, |member| *chosen.entry(member.to_vec()).or_insert(0) += 1);
            set.sample(wanted, &mut random, |member| *sampled.entry(member.to_vec()).or_insert(0) += 1);
        }
        for _ in 0..1000 * len {
            let member = set.random(random()).expect("the set has members");
            *single.entry(member.to_vec()).or_insert(0) += 1;
            let mut copy = set.clone();
            assert!(copy.pop(random(), |member| *popped.entry(member.to_vec()).or_insert(0) += 1));
            assert_eq!(copy.len(), len - 1);
        }
        let counts = [("choose", chosen), ("sample", sampled), ("random", single), ("pop", popped)];
        counts.iter().for_each(|(what, counts)| check_fair(counts, len, &format!("{what} {}", set.encoding())));
    }
}

#[test]
fn an_empty_set_has_nothing_to_choose() {
    for mut set in forms(0) {
        assert!(set.random(1).is_none() && !set.pop(1, |_| panic!("there is nothing to pop")));
        set.choose(2, numbers(), |_| panic!("there is nothing to choose"));
    }
}
