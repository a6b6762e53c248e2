//! Queues of keys, and the locks that serving them needs.

use crate::{
    Change, Effects, Entry, Expiry, Gate, Held, Keyspace, Kind, List, ListEnd, ShardIndex, Stamping, View, Waiter,
    Wanted,
};

const LRU: Stamping = Stamping::Lru { clock: 0 };

fn view<'g>(keyspace: &'g Keyspace, gate: &'g mut Gate<'_>, keys: &[&str], now: u64) -> View<'g> {
    let held = gate.lock(keys.iter().map(|key| key.as_bytes()));
    View::new(keyspace, held, 0, now, LRU, Effects::default())
}

fn waiter(ticket: u64, wanted: Wanted) -> Waiter {
    Waiter { ticket, client: 100 + ticket, wanted, destination: None }
}

const LIST: Wanted = Wanted::Value(Kind::List);

fn push(view: &mut View<'_>, key: &str) {
    let pushed = view.update_or_create::<List, _>(key.as_bytes(), |list| {
        list.push(ListEnd::Right, &[b"x"], &crate::Limits::default());
        ((), Change::of("rpush", 1))
    });
    pushed.expect("the key holds a list");
}

fn ready(view: &mut View<'_>) -> Vec<String> {
    std::iter::from_fn(|| view.effects.ready.take_next())
        .map(|(db, key)| format!("{db}:{}", String::from_utf8_lossy(&key)))
        .collect()
}

/// Two keys of different shards, in the order of their shards.
fn two_keys() -> (String, String) {
    let keys = ["a", "b"];
    let mut keys = keys.map(|key| (Keyspace::shard_of(key.as_bytes()), key.to_owned()));
    keys.sort_unstable();
    assert!(keys[0].0 < keys[1].0, "the keys have shards of their own");
    let [(_, one), (_, other)] = keys;
    (one, other)
}

#[test]
fn a_change_makes_ready_what_is_waited_for_and_nothing_else() {
    let keyspace = Keyspace::new(2, 7);
    let mut gate = keyspace.enter_exclusive();
    let mut view = view(&keyspace, &mut gate, &[], 0);
    view.wait(b"list", waiter(1, LIST));
    view.wait(b"zset", waiter(2, Wanted::Value(Kind::SortedSet)));
    view.wait(b"stream", waiter(3, Wanted::ValueOrLoss(Kind::SortedSet)));
    push(&mut view, "zset");
    push(&mut view, "other");
    view.set_text(b"list", b"text", Expiry::Clear);
    assert_eq!(ready(&mut view), [""; 0]);
    view.remove(b"list").expect("it is there");
    assert_eq!(ready(&mut view), [""; 0]);
    view.set_text(b"stream", b"text", Expiry::Clear);
    push(&mut view, "list");
    push(&mut view, "list");
    assert_eq!(ready(&mut view), ["0:stream", "0:list"]);
    push(&mut view, "list");
    assert_eq!(ready(&mut view), ["0:list"], "it becomes ready again");
    view.select(1);
    push(&mut view, "list");
    assert_eq!(ready(&mut view), [""; 0], "another database");
}

#[test]
fn a_queue_is_in_order_of_arrival_and_passes_over_those_who_want_something_else() {
    let keyspace = Keyspace::new(1, 7);
    let mut gate = keyspace.enter();
    let mut view = view(&keyspace, &mut gate, &["key"], 0);
    for ticket in 1..=4 {
        let wanted = if ticket == 2 { Wanted::Value(Kind::SortedSet) } else { LIST };
        view.wait(b"key", waiter(ticket, wanted));
    }
    assert_eq!(view.next_waiter(b"key", 0), None, "there is nothing yet");
    push(&mut view, "key");
    let mut order = Vec::new();
    let mut from = 0;
    while let Some((at, waiter)) = view.next_waiter(b"key", from) {
        order.push((at, waiter.ticket));
        from = at + 1;
    }
    assert_eq!(order, [(0, 1), (2, 3), (3, 4)]);
    view.stop_waiting(0, b"key", 3);
    view.stop_waiting(0, b"key", 3);
    view.stop_waiting(0, b"other", 3);
    assert_eq!(view.next_waiter(b"key", 1).map(|(_, waiter)| waiter.ticket), Some(4));
    [1, 2, 4].iter().for_each(|ticket| view.stop_waiting(0, b"key", *ticket));
    assert!(view.held.shard(b"key").waiters.is_empty());
}

#[test]
fn whoever_minds_it_is_told_that_a_key_expired_or_was_flushed_or_swapped_away() {
    let keyspace = Keyspace::new(2, 7);
    let mut gate = keyspace.enter_exclusive();
    let mut view = view(&keyspace, &mut gate, &[], 10);
    view.wait(b"list", waiter(1, LIST));
    view.wait(b"group", waiter(2, Wanted::ValueOrLoss(Kind::SortedSet)));
    view.set_text(b"group", b"x", Expiry::At(20));
    assert_eq!(ready(&mut view), ["0:group"]);
    view.set_now(30);
    assert!(!view.contains(b"group"));
    assert_eq!(ready(&mut view), ["0:group"]);
    view.flush(0);
    assert_eq!(ready(&mut view), ["0:group"]);
    view.select(1);
    push(&mut view, "list");
    view.swap(0, 1);
    let mut swapped = ready(&mut view);
    swapped.sort_unstable();
    assert_eq!(swapped, ["0:group", "0:list"]);
    view.set_text(b"group", b"x", Expiry::Clear);
    view.select(0);
    view.set_text(b"group", b"x", Expiry::At(40));
    assert_eq!(ready(&mut view), ["0:group"]);
    view.set_now(50);
    for index in 0..crate::SHARDS as ShardIndex {
        view.sweep(index, 1000);
    }
    assert_eq!(ready(&mut view), ["0:group"]);
}

#[test]
fn an_entry_put_in_place_makes_its_key_ready() {
    let keyspace = Keyspace::new(1, 7);
    let mut gate = keyspace.enter_exclusive();
    let mut view = view(&keyspace, &mut gate, &[], 0);
    view.wait(b"waited", waiter(1, LIST));
    push(&mut view, "source");
    let entry: Entry = view.remove(b"source").expect("it is there");
    view.insert(b"waited", entry);
    assert_eq!(ready(&mut view), ["0:waited"]);
}

#[test]
fn the_shards_elements_move_to_are_locked_too_and_from_there_on() {
    let keyspace = Keyspace::new(1, 7);
    let (one, other) = two_keys();
    let third = ["c", "d", "e"].map(str::to_owned).into_iter().find(|key| {
        let shard = Keyspace::shard_of(key.as_bytes());
        shard != Keyspace::shard_of(one.as_bytes()) && shard != Keyspace::shard_of(other.as_bytes())
    });
    let third = third.expect("three keys do not share one shard");
    let shard_of = |key: &str| Keyspace::shard_of(key.as_bytes());
    // The second moves to the first, the first to the third: filling the second needs all three.
    for (ticket, from, to) in [(1, &other, &one), (2, &one, &third)] {
        let mut gate = keyspace.enter();
        let mut view = view(&keyspace, &mut gate, &[from], 0);
        view.wait(from.as_bytes(), Waiter { destination: Some(shard_of(to)), ..waiter(ticket, LIST) });
    }
    let mut gate = keyspace.enter();
    let mut expected = [shard_of(&one), shard_of(&other), shard_of(&third)];
    expected.sort_unstable();
    assert_eq!(locked(&gate.lock(std::iter::once(other.as_bytes()))), expected);
    let mut expected = [shard_of(&one), shard_of(&third)];
    expected.sort_unstable();
    assert_eq!(locked(&gate.lock(std::iter::once(one.as_bytes()))), expected);
    view(&keyspace, &mut gate, &[&other], 0).stop_waiting(0, other.as_bytes(), 1);
    assert!(matches!(gate.lock(std::iter::once(other.as_bytes())), Held::One(_)));
}

fn locked(held: &Held<'_>) -> Vec<ShardIndex> {
    match held {
        Held::Some(shards) => shards.iter().map(|(index, _)| *index).collect(),
        _ => panic!("several shards are held one by one"),
    }
}
