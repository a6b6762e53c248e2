//! An image taken bit by bit, with everything changing meanwhile, is the one taken at once when it began.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::*;
use crate::rdb::{Extent, read_string, string_extent, value_extent};
use crate::{Change, Effects, EventClasses, Expiry, Limits, List, ListEnd, Millis, Object};

pub(super) const NOW: Millis = 1_000_000;
pub(super) const STAMPING: Stamping = Stamping::Lru { clock: 1 };

/// Database, key and everything else of each entry.
type Entries = BTreeMap<(usize, Vec<u8>), Vec<u8>>;

#[derive(Clone, Default)]
pub(super) struct Collected(Arc<Mutex<Entries>>);

impl Collected {
    /// Compares what was collected with what should have been.
    #[track_caller]
    pub(super) fn assert_is(&self, expected: &Collected) {
        let (found, expected) = (self.0.lock(), expected.0.lock());
        let differing = expected.iter().find(|(key, entry)| found.get(key) != Some(entry));
        let differing = differing.map(|((db, key), _)| (db, key.escape_ascii().to_string()));
        assert!(*found == *expected, "{} instead of {} entries: {differing:?}", found.len(), expected.len());
    }
}

impl Collector for Collected {
    fn collect(&self, part: Part) {
        let mut rest = part.bytes.as_slice();
        let mut keys = 0;
        while !rest.is_empty() {
            let deadline = if rest[0] == 0xfc { 9 } else { 0 };
            let (head, after) = rest.split_at(deadline + 1);
            let Extent::Whole(len) = string_extent(after) else { panic!("the key is whole") };
            let (key, _) = read_string(after).unwrap();
            let Extent::Whole(value_len) = value_extent(head[deadline], &after[len..]) else {
                panic!("the value is whole")
            };
            let entry = [head, &after[len..len + value_len]].concat();
            assert_eq!(self.0.lock().insert((part.db, key.into_owned()), entry), None, "written twice");
            rest = &after[len + value_len..];
            keys += 1;
        }
        assert_eq!(keys, part.keys);
    }
}

pub(super) fn image(collected: &Collected) -> Arc<Image> {
    Arc::new(Image::new(Compression::Off, None, Box::new(collected.clone())))
}

/// Runs with all shards held, at a time.
pub(super) fn with_all<R>(keyspace: &Keyspace, now: Millis, run: impl FnOnce(&mut View<'_>) -> R) -> R {
    let mut gate = keyspace.enter_exclusive();
    let held = gate.lock(std::iter::empty());
    let effects = Effects { wanted: EventClasses(0), ..Effects::default() };
    run(&mut View::new(keyspace, held, 0, now, STAMPING, effects))
}

fn fill(view: &mut View<'_>) {
    for db in 0..3 {
        view.select(db);
        for number in 0..500 {
            let key = format!("key:{number}").into_bytes();
            let expiry = if number % 3 == 0 { Expiry::At(NOW + number) } else { Expiry::Clear };
            if number % 2 == 0 {
                view.set_text(&key, format!("value {number} of {db}").as_bytes(), expiry);
            } else {
                let mut list = List::new();
                list.push(ListEnd::Right, &[b"one", b"two"], &Limits::default());
                view.set_object(&key, Object::List(list), expiry);
            }
        }
    }
}

/// Does to a key whatever can be done to it.
fn change(view: &mut View<'_>, round: u64, number: u64) {
    let key = format!("key:{number}").into_bytes();
    view.select((number % 2) as usize);
    match round % 6 {
        0 => view.set_text(&key, b"changed", Expiry::Clear),
        1 => drop(view.remove(&key)),
        2 => drop(view.set_deadline(&key, Some(NOW + 77))),
        3 => drop(view.edit_text(&key, |bytes| bytes.push(b'!'))),
        4 => {
            let pushed = view.update_or_create(&key, |list: &mut List| {
                list.push(ListEnd::Left, &[b"zero"], &Limits::default());
                ((), Change::of("lpush", 1))
            });
            pushed.ok();
        }
        _ => view.set_text(format!("new:{number}").as_bytes(), b"new", Expiry::Clear),
    }
}

/// Takes an image while `meanwhile` runs between its shares, and compares.
fn check(meanwhile: impl Fn(&Keyspace, u64)) {
    let keyspace = Keyspace::new(4, 7);
    let (expected, collected) = (Collected::default(), Collected::default());
    let image = image(&collected);
    let sizes = with_all(&keyspace, NOW, |view| {
        fill(view);
        view.write_image(&self::image(&expected));
        view.begin_image(&image);
        (0..4).map(|db| view.size(db).keys).collect::<Vec<_>>()
    });
    assert_eq!(sizes, [500, 500, 500, 0]);
    let mut step = 0;
    for db in 0..4 {
        for index in 0..SHARDS as ShardIndex {
            if index % 64 == 0 {
                meanwhile(&keyspace, step);
                step += 1;
            }
            keyspace.write_share(&image, db, index, || ());
        }
    }
    keyspace.end_image(&image, || ());
    let (expected, collected) = (expected.0.lock(), collected.0.lock());
    assert_eq!(expected.len(), 1500);
    assert!(*expected == *collected, "{} and {} entries", expected.len(), collected.len());
}

#[test]
fn what_nobody_changes_is_written_as_it_is() {
    check(|_, _| {});
}

#[test]
fn changes_of_keys_come_too_late() {
    for round in 0..6 {
        check(|keyspace, step| {
            with_all(keyspace, NOW, |view| (0..50).for_each(|number| change(view, round, step * 11 + number)));
        });
    }
}

#[test]
fn what_expires_meanwhile_is_in_the_image() {
    check(|keyspace, _| {
        let mut gate = keyspace.enter();
        for index in (0..SHARDS as ShardIndex).rev() {
            let held = gate.lock_shard(index);
            View::new(keyspace, held, 0, NOW + 1000, STAMPING, Effects::default()).sweep(index, 64);
        }
    });
}

#[test]
fn databases_that_are_emptied_or_swapped_are_in_the_image() {
    check(|keyspace, step| {
        with_all(keyspace, NOW, |view| match step {
            1 => view.swap(0, 3),
            2 => drop(view.flush(1)),
            3 => fill(view),
            5 => view.swap(2, 1),
            7 => (0..4).for_each(|db| drop(view.flush(db))),
            9 => fill(view),
            _ => {}
        });
    });
    check(|keyspace, step| {
        with_all(keyspace, NOW, |view| {
            if step == 3 {
                drop(view.set_aside());
            }
        });
    });
}

#[test]
fn an_image_given_up_is_not_written_and_leaves_nothing_behind() {
    let keyspace = Keyspace::new(4, 7);
    let (first, second, expected) = (Collected::default(), Collected::default(), Collected::default());
    let (abandoned, image) = (image(&first), image(&second));
    with_all(&keyspace, NOW, |view| {
        fill(view);
        view.begin_image(&abandoned);
        abandoned.abandon();
        view.select(0);
        (0..500).for_each(|number| change(view, 0, number));
        view.write_image(&self::image(&expected));
        view.begin_image(&image);
    });
    // The thread of the first is late; it must not write for the second.
    (0..4)
        .for_each(|db| (0..SHARDS as ShardIndex).for_each(|index| keyspace.write_share(&abandoned, db, index, || ())));
    keyspace.end_image(&abandoned, || ());
    (0..4).for_each(|db| (0..SHARDS as ShardIndex).for_each(|index| keyspace.write_share(&image, db, index, || ())));
    keyspace.end_image(&image, || ());
    assert!(first.0.lock().is_empty());
    assert!(*second.0.lock() == *expected.0.lock());
    assert_eq!(Arc::strong_count(&image), 1);
    with_all(&keyspace, NOW, |view| view.edit_text(b"key:2", |bytes| bytes.push(b'?')).expect("it is a string"));
}
