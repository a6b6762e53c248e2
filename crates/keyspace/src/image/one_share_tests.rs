//! One share of many groups, which grows and shrinks: whatever happens to its keys between two pieces or while they are written, the image is that of its beginning.

use std::cell::RefCell;
use std::sync::atomic::AtomicU64;

use proptest::prelude::*;

use super::tests::{Collected, NOW, STAMPING, image, with_all};
use super::*;
use crate::{Effects, Expiry, Hash, Limits, List, ListEnd, Millis, Object, Typed};

const DATABASES: usize = 3;

fn key(number: u64) -> Vec<u8> {
    format!("{{share}}{number}").into_bytes()
}

fn index() -> ShardIndex {
    Keyspace::shard_of(&key(0))
}

/// Puts a key there that holds something according to its number, some for a while only.
fn put(view: &mut View<'_>, number: u64) {
    let expiry = if number.is_multiple_of(3) { Expiry::At(view.now() + 5 + number % 60) } else { Expiry::Clear };
    match number % 4 {
        0 => {
            let mut list = List::new();
            list.push(ListEnd::Right, &[b"one", number.to_string().as_bytes()], &Limits::default());
            view.set_object(&key(number), list.into_object(), expiry);
        }
        1 => {
            let mut hash = Hash::new();
            for field in 0..3_u64 {
                hash.set(field.to_string().as_bytes(), b"value", &Limits::default(), 1);
                hash.set_deadline(field.to_string().as_bytes(), view.now() + 5 + (number + field) % 60, 1);
            }
            view.set_object(&key(number), Object::Hash(hash), expiry);
        }
        _ => view.set_text(&key(number), format!("value {number}").as_bytes(), expiry),
    }
}

/// Does to a key, which may be there or not, one of the things that can be done to it.
fn change(view: &mut View<'_>, number: u64, how: u64) {
    match how % 8 {
        0 => put(view, number + 1),
        1 => view.set_text(&key(number), b"changed", Expiry::Keep),
        2 => drop(view.remove(&key(number))),
        3 => drop(view.set_deadline(&key(number), Some(view.now() + 3))),
        4 => drop(view.edit_text(&key(number), |bytes| bytes.push(b'!'))),
        5 => {
            let pushed = view.update_or_create(&key(number), |list: &mut List| {
                list.push(ListEnd::Left, &[b"zero"], &Limits::default());
                ((), crate::Change::of("lpush", 1))
            });
            pushed.ok();
        }
        6 => view.expire_all_fields(&key(number)),
        _ => drop(view.evict(&key(number), |_| true)),
    }
}

#[derive(Clone, Debug)]
enum Step {
    Insert(u64),
    Remove(u64),
    Change {
        from: u64,
        how: u64,
        count: u64,
    },
    Wait(Millis),
    Sweep(usize),
    Flush(usize),
    Swap(usize, usize),
    /// Lets pieces be written.
    Pieces(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => (1..3000_u64).prop_map(Step::Insert),
        4 => (1..3000_u64).prop_map(Step::Remove),
        8 => (0..4000_u64, 0..8_u64, 1..200_u64).prop_map(|(from, how, count)| Step::Change { from, how, count }),
        2 => (1..20_u64).prop_map(Step::Wait),
        3 => (1..64_usize).prop_map(Step::Sweep),
        1 => (0..DATABASES).prop_map(Step::Flush),
        1 => (0..DATABASES, 0..DATABASES).prop_map(|(one, other)| Step::Swap(one, other)),
        6 => (1..40_usize).prop_map(Step::Pieces),
    ];
    prop::collection::vec(step, 0..40)
}

/// What happens to the share, in which keys are numbered in the order they come.
struct Course<'k> {
    keyspace: &'k Keyspace,
    steps: std::vec::IntoIter<Step>,
    pieces: usize,
    first: u64,
    next: u64,
    now: Millis,
}

impl Course<'_> {
    /// Goes on until the next piece is to be written.
    fn go_on(&mut self) {
        while self.pieces == 0 {
            match self.steps.next() {
                None => return,
                Some(Step::Pieces(pieces)) => self.pieces = pieces,
                Some(step) => self.take(step),
            }
        }
        self.pieces -= 1;
    }

    fn take(&mut self, step: Step) {
        let (first, next) = (self.first, self.next);
        match step {
            Step::Wait(time) => return self.now += time,
            Step::Sweep(buckets) => {
                let mut gate = self.keyspace.enter();
                let held = gate.lock_shard(index());
                View::new(self.keyspace, held, 0, self.now, STAMPING, Effects::default()).sweep(index(), buckets);
                return;
            }
            Step::Insert(count) => self.next += count,
            Step::Remove(count) => self.first = (first + count).min(next),
            _ => {}
        }
        with_all(self.keyspace, self.now, |view| match step {
            Step::Insert(_) => (next..self.next).for_each(|number| put(view, number)),
            Step::Remove(_) => (first..self.first).for_each(|number| drop(view.remove(&key(number)))),
            Step::Change { from, how, count } => {
                (0..count).for_each(|each| change(view, first + (from + each) % (next - first + 1), how));
            }
            Step::Flush(db) => drop(view.flush(db)),
            Step::Swap(one, other) => view.swap(one, other),
            Step::Wait(_) | Step::Sweep(_) | Step::Pieces(_) => unreachable!("these are done"),
        });
    }
}

/// Begins an image of a share with so many keys in its first database and some in the second; returns what is expected of it.
fn begin(keyspace: &Keyspace, image: &Arc<Image>, len: u64) -> Collected {
    let expected = Collected::default();
    with_all(keyspace, NOW, |view| {
        for (db, len) in [(1, len / 4), (0, len)] {
            view.select(db);
            (0..len).for_each(|number| put(view, number));
        }
        view.write_image(&super::tests::image(&expected));
        view.begin_image(image);
    });
    expected
}

fn write_all(keyspace: &Keyspace, image: &Arc<Image>, mut between: impl FnMut()) {
    (0..DATABASES).for_each(|db| keyspace.write_share(image, db, index(), &mut between));
    keyspace.end_image(image, between);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn what_happens_between_pieces_comes_too_late(len in prop_oneof![0..40_u64, 0..4000_u64], steps in steps()) {
        let keyspace = Keyspace::new(DATABASES, 7);
        let collected = Collected::default();
        let image = image(&collected);
        let expected = begin(&keyspace, &image, len);
        let course = Course { keyspace: &keyspace, steps: steps.into_iter(), pieces: 0, first: 0, next: len, now: NOW };
        let course = RefCell::new(course);
        course.borrow_mut().go_on();
        write_all(&keyspace, &image, || course.borrow_mut().go_on());
        collected.assert_is(&expected);
        prop_assert_eq!(Arc::strong_count(&image), 1);
    }
}

/// Each thing that can be done to a key comes too late, done to all of them, some of which have expired or have fields that have.
#[test]
fn whatever_is_done_to_all_keys_comes_too_late() {
    for how in 0..8 {
        let keyspace = Keyspace::new(DATABASES, 7);
        let collected = Collected::default();
        let image = image(&collected);
        let expected = begin(&keyspace, &image, 1000);
        with_all(&keyspace, NOW + 30, |view| (0..1000).for_each(|number| change(view, number, how)));
        write_all(&keyspace, &image, || ());
        collected.assert_is(&expected);
    }
}

/// A piece is bounded: it takes many to write a share, and a share of which much is written takes fewer.
#[test]
fn a_share_is_written_in_small_pieces() {
    let pieces = |changed: u64| {
        let keyspace = Keyspace::new(DATABASES, 7);
        let collected = Collected::default();
        let image = image(&collected);
        begin(&keyspace, &image, 4000);
        with_all(&keyspace, NOW, |view| {
            (0..changed).for_each(|number| view.set_text(&key(number), b"new", Expiry::Clear));
        });
        let mut pieces = 0;
        keyspace.write_share(&image, 0, index(), || pieces += 1);
        keyspace.end_image(&image, || ());
        pieces
    };
    assert!((100..300).contains(&pieces(0)), "{}", pieces(0));
    assert!((20..100).contains(&pieces(500)), "{}", pieces(500));
    assert_eq!(pieces(4000), 1);
}

/// A large value ends the piece it is in.
#[test]
fn large_values_do_not_pile_up_in_a_piece() {
    let keyspace = Keyspace::new(1, 7);
    let image = image(&Collected::default());
    with_all(&keyspace, NOW, |view| {
        (0..64).for_each(|number| view.set_text(&key(number), &vec![b'x'; 100_000], Expiry::Clear));
        view.begin_image(&image);
    });
    let mut pieces = 0;
    keyspace.write_share(&image, 0, index(), || pieces += 1);
    assert!(pieces >= 8, "{pieces}");
    keyspace.end_image(&image, || ());
}

#[test]
fn an_image_given_up_within_a_share_leaves_the_next_one_whole() {
    let keyspace = Keyspace::new(DATABASES, 7);
    let (first, second, expected) = (Collected::default(), Collected::default(), Collected::default());
    let (abandoned, image) = (image(&first), image(&second));
    begin(&keyspace, &abandoned, 4000);
    let mut pieces = 0;
    keyspace.write_share(&abandoned, 0, index(), || {
        pieces += 1;
        with_all(&keyspace, NOW, |view| (0..50).for_each(|each| change(view, pieces * 50 + each, pieces)));
        if pieces == 5 {
            abandoned.abandon();
        }
    });
    assert!((5..=6).contains(&pieces), "{pieces}");
    with_all(&keyspace, NOW, |view| {
        view.swap(0, 2);
        view.write_image(&super::tests::image(&expected));
        view.begin_image(&image);
        view.select(2);
        (0..500).for_each(|number| change(view, number, number));
    });
    // The thread of the first is late.
    write_all(&keyspace, &abandoned, || ());
    with_all(&keyspace, NOW, |view| drop(view.flush(1)));
    write_all(&keyspace, &image, || ());
    second.assert_is(&expected);
    assert_eq!((Arc::strong_count(&abandoned), Arc::strong_count(&image)), (1, 1));
}

/// Threads change the share at will, which grows fivefold and shrinks to almost nothing while it is written.
#[test]
fn threads_that_change_the_share_change_nothing_in_the_image() {
    const THREADS: u64 = 4;
    for len in [0, 60, 3000] {
        let keyspace = Keyspace::new(DATABASES, 7);
        let collected = Collected::default();
        let image = image(&collected);
        let expected = begin(&keyspace, &image, len);
        let (changes, wanted, done) = (AtomicU64::new(0), AtomicU64::new(len), AtomicBool::new(false));
        std::thread::scope(|scope| {
            for thread in 0..THREADS {
                let (keyspace, changes, wanted, done) = (&keyspace, &changes, &wanted, &done);
                scope.spawn(move || {
                    let mut random = thread;
                    while !done.load(Ordering::Relaxed) {
                        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                        change_at_will(keyspace, random >> 20, wanted.load(Ordering::Relaxed));
                        changes.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
            // Before the first piece and between two something changes: for some pieces the share grows, then it shrinks, and so on.
            let (run, count) = if len < 3000 { (1, 20_000) } else { (40, 1000) };
            let mut pieces = 0;
            let mut let_change = || {
                wanted.store(if pieces / run % 2 == 0 { len * 5 + 1000 } else { 8 }, Ordering::Relaxed);
                pieces += 1;
                let before = changes.load(Ordering::Relaxed);
                while changes.load(Ordering::Relaxed) < before + count {
                    std::thread::yield_now();
                }
            };
            let_change();
            write_all(&keyspace, &image, let_change);
            done.store(true, Ordering::Relaxed);
        });
        collected.assert_is(&expected);
    }
}

/// Does something to a key: mostly puts it there or removes it, so that there are about as many as are wanted.
fn change_at_will(keyspace: &Keyspace, random: u64, wanted: u64) {
    let number = random % 20_000;
    let key = key(number);
    let mut gate = keyspace.enter();
    let held = gate.lock(std::iter::once(key.as_slice()));
    let mut view = View::new(keyspace, held, 0, NOW + random % 40, STAMPING, Effects::default());
    match random / 20_000 % 4 {
        0 => change(&mut view, number, random / 80_000),
        _ if number < wanted => put(&mut view, number),
        _ => drop(view.remove(&key)),
    }
}
