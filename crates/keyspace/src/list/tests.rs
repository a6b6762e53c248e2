//! A list against a vector, across its conversions.

use proptest::prelude::*;
use redpoll_structures::packed::Item;

use super::{List, ListEnd, Place};
use crate::Limits;

#[derive(Clone, Debug)]
enum Step {
    Push(ListEnd, Vec<Vec<u8>>),
    Pop(ListEnd, usize),
    Trim(usize, usize),
    Set(i64, Vec<u8>),
    Insert(Place, Vec<u8>, Vec<u8>),
    Remove(Vec<u8>, i64),
    Visit(usize, usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let end = || prop_oneof![Just(ListEnd::Left), Just(ListEnd::Right)];
    let value = || {
        prop_oneof![
            6 => "[abc]".prop_map(String::into_bytes),
            3 => (-200_i64..70_000).prop_map(|value| value.to_string().into_bytes()),
            2 => (0_usize..900).prop_map(|len| vec![b'x'; len]),
            1 => (3000_usize..6000).prop_map(|len| vec![b'y'; len]),
        ]
    };
    let step = prop_oneof![
        8 => (end(), prop::collection::vec(value(), 1..8)).prop_map(|(end, values)| Step::Push(end, values)),
        6 => (end(), prop_oneof![Just(1), 0_usize..9, 0_usize..60]).prop_map(|(end, count)| Step::Pop(end, count)),
        1 => (0_usize..20, 0_usize..60).prop_map(|(start, count)| Step::Trim(start, count)),
        3 => (-40_i64..40, value()).prop_map(|(index, value)| Step::Set(index, value)),
        3 => (prop_oneof![Just(Place::Before), Just(Place::After)], "[abcd]", value())
            .prop_map(|(place, pivot, value)| Step::Insert(place, pivot.into_bytes(), value)),
        3 => ("[abcd]", -3_i64..4).prop_map(|(value, count)| Step::Remove(value.into_bytes(), count)),
        2 => (0_usize..40, 0_usize..40).prop_map(|(start, count)| Step::Visit(start, count)),
    ];
    prop::collection::vec(step, 0..60)
}

fn contents(list: &List) -> Vec<Vec<u8>> {
    list.iter().map(Item::to_vec).collect()
}

fn remove(model: &mut Vec<Vec<u8>>, value: &[u8], count: i64) -> usize {
    let mut left = if count == 0 { usize::MAX } else { count.unsigned_abs() as usize };
    let before = model.len();
    let mut keep = |element: &Vec<u8>| {
        let goes = left > 0 && element == value;
        left -= usize::from(goes);
        !goes
    };
    if count < 0 {
        model.reverse();
        model.retain(&mut keep);
        model.reverse();
    } else {
        model.retain(&mut keep);
    }
    before - model.len()
}

fn apply(list: &mut List, model: &mut Vec<Vec<u8>>, step: Step, limits: &Limits) {
    match step {
        Step::Push(end, values) => {
            list.push(end, &values.iter().map(Vec::as_slice).collect::<Vec<_>>(), limits);
            match end {
                ListEnd::Left => values.into_iter().for_each(|value| model.insert(0, value)),
                ListEnd::Right => model.extend(values),
            }
        }
        Step::Pop(end, count) => {
            let mut popped = Vec::new();
            assert_eq!(list.pop(end, count, limits, |item| popped.push(item.to_vec())), popped.len());
            let count = count.min(model.len());
            let expected: Vec<_> = match end {
                ListEnd::Left => model.drain(..count).collect(),
                ListEnd::Right => model.drain(model.len() - count..).rev().collect(),
            };
            assert_eq!(popped, expected);
        }
        Step::Trim(start, count) => {
            list.trim(start, count, limits);
            *model = model.iter().skip(start).take(count).cloned().collect();
        }
        Step::Set(index, value) => {
            let place = if index < 0 { model.len() as i64 + index } else { index };
            let element = usize::try_from(place).ok().and_then(|place| model.get_mut(place));
            assert_eq!(list.set(index, &value, limits), element.is_some());
            assert_eq!(
                list.get(index).map(Item::to_vec),
                element.map(|element| {
                    element.clone_from(&value);
                    value
                })
            );
        }
        Step::Insert(place, pivot, value) => {
            let at = model.iter().position(|element| *element == pivot);
            assert_eq!(list.insert(place, &pivot, &value, limits), at.is_some());
            if let Some(at) = at {
                model.insert(at + usize::from(place == Place::After), value);
            }
        }
        Step::Remove(value, count) => {
            assert_eq!(list.remove_matching(&value, count, limits), remove(model, &value, count));
        }
        Step::Visit(start, count) => {
            let mut visited = Vec::new();
            list.visit(start, count, |item| visited.push(item.to_vec()));
            assert_eq!(visited, model.iter().skip(start).take(count).cloned().collect::<Vec<_>>());
        }
    }
}

proptest! {
    #[test]
    fn behaves_like_a_vector(steps in steps(), setting in prop_oneof![-3_i64..8, Just(100)]) {
        let limits = Limits { list_max_listpack_size: setting, ..Limits::default() };
        let (mut list, mut model) = (List::new(), Vec::new());
        for step in steps {
            apply(&mut list, &mut model, step, &limits);
            prop_assert_eq!(list.len(), model.len());
            prop_assert_eq!(&contents(&list), &model);
            let reversed: Vec<_> = list.iter().rev().map(Item::to_vec).collect();
            prop_assert!(reversed.iter().rev().eq(&model));
        }
    }
}

#[track_caller]
fn check(setting: i64, change: impl FnOnce(&mut List, &Limits), encoding: &str, len: usize) {
    let limits = Limits { list_max_listpack_size: setting, ..Limits::default() };
    let mut list = List::new();
    change(&mut list, &limits);
    assert_eq!((list.encoding(), list.len()), (encoding, len));
}

fn fill(list: &mut List, count: usize, limits: &Limits) {
    (0..count).for_each(|_| list.push(ListEnd::Right, &[b"element"], limits));
}

#[test]
fn the_form_follows_the_bound() {
    check(4, |list, limits| fill(list, 4, limits), "listpack", 4);
    check(4, |list, limits| fill(list, 5, limits), "quicklist", 5);
    check(4, |list, limits| list.push(ListEnd::Left, &[&b"a"[..]; 5], limits), "quicklist", 5);
    check(-1, |list, limits| list.push(ListEnd::Left, &[&[b'x'; 4096 - 7]], limits), "listpack", 1);
    check(-1, |list, limits| list.push(ListEnd::Left, &[&[b'x'; 4096 - 6]], limits), "quicklist", 1);
}

#[test]
fn half_the_bound_brings_the_block_back() {
    let pop = |left: usize| {
        move |list: &mut List, limits: &Limits| {
            fill(list, 5, limits);
            list.pop(ListEnd::Right, 5 - left, limits, |_| {});
        }
    };
    check(4, pop(3), "quicklist", 3);
    check(4, pop(2), "listpack", 2);
    check(4, pop(1), "listpack", 1);
    check(
        -1,
        |list, limits| {
            list.push(ListEnd::Left, &[&[b'x'; 5000]], limits);
            list.set(0, &[b'x'; 2100], limits);
        },
        "quicklist",
        1,
    );
    check(
        -1,
        |list, limits| {
            list.push(ListEnd::Left, &[&[b'x'; 5000]], limits);
            list.set(0, &[b'x'; 2000], limits);
        },
        "listpack",
        1,
    );
}
