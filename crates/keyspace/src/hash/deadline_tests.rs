//! A hash with deadlines against a map of them, in every form and while time passes.

use std::collections::BTreeMap;

use proptest::prelude::*;
use redpoll_structures::packed::Item;

use super::{Hash, MemberTable, VolatileTable};
use crate::{Limits, Millis};

const SEED: u64 = 7;

fn limits() -> Limits {
    Limits { hash_max_listpack_entries: 6, hash_max_listpack_value: 10, ..Limits::default() }
}

#[derive(Clone, Debug)]
enum Step {
    Set(Vec<u8>, Vec<u8>),
    SetKeeping(Vec<u8>, Vec<u8>),
    Expire(Vec<u8>, Millis),
    Persist(Vec<u8>),
    Remove(Vec<u8>),
    RemoveDue(Vec<u8>),
    Reap(usize),
    Wait(Millis),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let name = || prop_oneof![8 => "[a-h]", 4 => "1?[0-9]", 1 => "[a-z]{9,12}"].prop_map(String::into_bytes);
    let value = || {
        prop_oneof![Just(Vec::new()), "[0-9]{1,9}".prop_map(String::into_bytes), "x{5,12}".prop_map(String::into_bytes)]
    };
    let step = prop_oneof![
        6 => (name(), value()).prop_map(|(name, value)| Step::Set(name, value)),
        3 => (name(), value()).prop_map(|(name, value)| Step::SetKeeping(name, value)),
        8 => (name(), 1..40_u64).prop_map(|(name, ttl)| Step::Expire(name, ttl)),
        2 => name().prop_map(Step::Persist),
        2 => name().prop_map(Step::Remove),
        2 => name().prop_map(Step::RemoveDue),
        2 => (0..4_usize).prop_map(Step::Reap),
        3 => (1..20_u64).prop_map(Step::Wait),
    ];
    prop::collection::vec(step, 0..120)
}

/// What a hash holds: values and deadlines, those included that have come.
#[derive(Default)]
struct Model {
    fields: BTreeMap<Vec<u8>, (Vec<u8>, Option<Millis>)>,
    now: Millis,
}

impl Model {
    fn is_due(&self, field: &[u8]) -> bool {
        self.fields.get(field).and_then(|(_, deadline)| *deadline).is_some_and(|deadline| deadline <= self.now)
    }

    fn live(&self) -> BTreeMap<Vec<u8>, Vec<u8>> {
        let live = self.fields.iter().filter(|(field, _)| !self.is_due(field));
        live.map(|(field, (value, _))| (field.clone(), value.clone())).collect()
    }

    fn set(&mut self, field: Vec<u8>, value: Vec<u8>, deadline: Option<Millis>) -> bool {
        self.fields.insert(field, (value, deadline)).is_none()
    }

    fn deadline(&self, field: &[u8]) -> Option<Millis> {
        self.fields.get(field).and_then(|(_, deadline)| *deadline)
    }
}

fn apply(hash: &mut Hash, model: &mut Model, step: Step) {
    match step {
        Step::Set(field, value) => {
            let is_new = hash.set(&field, &value, &limits(), SEED);
            assert_eq!(is_new, model.set(field, value, None));
        }
        Step::SetKeeping(field, value) => {
            let is_new = hash.set_keeping_deadline(&field, &value, &limits(), SEED);
            let deadline = model.deadline(&field);
            assert_eq!(is_new, model.set(field, value, deadline));
        }
        Step::Expire(field, ttl) => {
            let deadline = model.now + ttl;
            hash.set_deadline(&field, deadline, SEED);
            if let Some((_, held)) = model.fields.get_mut(&field) {
                *held = Some(deadline);
            }
        }
        Step::Persist(field) => {
            hash.clear_deadline(&field);
            if let Some((_, held)) = model.fields.get_mut(&field) {
                *held = None;
            }
        }
        Step::Remove(field) => assert_eq!(hash.remove(&field), model.fields.remove(&field).is_some()),
        Step::RemoveDue(field) => {
            let due = model.is_due(&field);
            assert_eq!(hash.remove_due(&field, model.now), due);
            if due {
                model.fields.remove(&field);
            }
        }
        Step::Reap(max) => {
            let mut gone = Vec::new();
            let count = hash.reap(model.now, max, |field| gone.push(field.to_vec()));
            let due = model.fields.keys().filter(|field| model.is_due(field)).count();
            assert_eq!((count, gone.len()), (due.min(max), due.min(max)));
            for field in gone {
                assert!(model.is_due(&field), "what is not due was reaped");
                model.fields.remove(&field);
            }
        }
        Step::Wait(ms) => model.now += ms,
    }
}

fn compare(hash: &Hash, model: &Model) {
    let live: BTreeMap<_, _> = hash.iter(model.now).map(|(field, value)| (field.to_vec(), value.to_vec())).collect();
    assert_eq!(live, model.live());
    assert_eq!((hash.len(), hash.live_len(model.now)), (model.fields.len(), live.len()));
    assert_eq!(hash.iter(model.now).fold(0, |count, _| count + 1), live.len());
    let deadlines = || model.fields.values().filter_map(|(_, deadline)| *deadline);
    assert_eq!(hash.soonest(), deadlines().min());
    assert_eq!(hash.is_due(model.now), deadlines().any(|deadline| deadline <= model.now));
    for (after, until) in [(0, model.now), (model.now, model.now + 10), (5, 5), (9, 3)] {
        assert_eq!(hash.expires_between(after, until), deadlines().any(|it| after < it && it <= until));
    }
    for (field, (value, deadline)) in &model.fields {
        let expected = (!model.is_due(field)).then(|| value.clone());
        assert_eq!(hash.get(field, model.now).map(Item::to_vec), expected);
        assert_eq!(hash.contains(field, model.now), expected.is_some());
        assert_eq!(hash.deadline(field, model.now), expected.map(|_| *deadline));
    }
    let all: BTreeMap<_, _> =
        hash.iter_with_deadlines().map(|(field, value, at)| (field.to_vec(), (value.to_vec(), at))).collect();
    assert_eq!(all, model.fields);
    let (mut cursor, mut met) = (0, BTreeMap::new());
    loop {
        cursor = hash.scan(cursor, 3, model.now, |field, value| drop(met.insert(field.to_vec(), value.to_vec())));
        if cursor == 0 {
            break;
        }
    }
    assert_eq!(met, live);
}

proptest! {
    #[test]
    fn behaves_like_a_map_with_deadlines(steps in steps()) {
        let (mut hash, mut model) = (Hash::new(), Model::default());
        model.now = 1000;
        for step in steps {
            apply(&mut hash, &mut model, step);
            compare(&hash, &model);
        }
        // What was counted is taken back with the last field.
        model.fields.keys().for_each(|field| assert!(hash.remove(field)));
        let left = match &hash {
            Hash::Table(_) => hash.heap_size() - size_of::<MemberTable>(),
            Hash::VolatileTable(_) => hash.heap_size() - size_of::<VolatileTable>(),
            // A block keeps spare room.
            Hash::Packed(_) | Hash::VolatilePacked(_) => 0,
        };
        prop_assert_eq!(left, 0);
    }
}

#[test]
fn only_what_has_deadlines_leaves_its_form() {
    let mut hash = Hash::new();
    hash.set(b"a", b"1", &limits(), SEED);
    let plain = hash.heap_size();
    assert_eq!((hash.encoding(), hash.soonest()), ("listpack", None));
    hash.clear_deadline(b"a");
    assert_eq!((hash.encoding(), hash.heap_size()), ("listpack", plain));
    hash.set_deadline(b"a", 50, SEED);
    assert_eq!((hash.encoding(), hash.soonest()), ("listpackex", Some(50)));
    assert!(hash.heap_size() >= plain, "a deadline takes room");
    hash.clear_deadline(b"a");
    assert_eq!((hash.encoding(), hash.soonest()), ("listpackex", None));
    for number in 0..10 {
        hash.set(number.to_string().as_bytes(), b"x", &limits(), SEED);
    }
    assert_eq!((hash.encoding(), hash.soonest()), ("hashtable", None));
    let before = hash.heap_size();
    hash.set_deadline(b"3", 50, SEED);
    assert!(hash.heap_size() > before, "a deadline takes room in a table too");
}

#[test]
fn fields_expire_in_the_order_of_their_deadlines() {
    for fields in [5_u64, 500] {
        let (mut hash, mut order) = (Hash::new(), Vec::new());
        for number in 0..fields {
            let name = number.to_string();
            hash.set(name.as_bytes(), b"x", &limits(), SEED);
            hash.set_deadline(name.as_bytes(), 1 + number * 7919 % fields, SEED);
        }
        while hash.reap(fields, 2, |field| order.push(String::from_utf8(field.to_vec()).expect("a number"))) > 0 {}
        let due: Vec<u64> =
            order.iter().map(|name| 1 + name.parse::<u64>().expect("a number") * 7919 % fields).collect();
        assert!(due.is_sorted() && due.len() as u64 == fields && hash.is_empty(), "{due:?}");
    }
}
