//! Lists. Waiting for elements is in `list_blocking.rs`.

use redpoll_keyspace::{Change, EventClass, Kind, Limits, List, ListEnd, Place};
use redpoll_resp::Writer;
use redpoll_structures::decimal;
use redpoll_structures::packed::Item;

use crate::args::Args;
use crate::blocking::Served;
use crate::command::{BLOCKING, Command, DENYOOM, FAST, Family, NOSCRIPT, READONLY, WRITE, cmd};
use crate::cx::Cx;
use crate::error::{
    COUNT_NEGATIVE, COUNT_NOT_POSITIVE, Error, MAXLEN_NEGATIVE, NO_SUCH_KEY, NOT_POSITIVE, NUMKEYS, OUT_OF_LONG_RANGE,
    OUT_OF_RANGE, RANK_ZERO, SYNTAX, WRONG_TYPE, wrong_arity,
};
use crate::key_spec::{ACCESS, DELETE, INSERT, RO, RW};
use crate::list_blocking::{blmove, blmpop, blpop, brpop, brpoplpush};
use crate::reply;

#[rustfmt::skip]
const COMMANDS: &[Command] = &[
    cmd("BLMOVE source destination <LEFT | RIGHT> <LEFT | RIGHT> timeout", blmove, WRITE | DENYOOM | NOSCRIPT | BLOCKING, "6.2.0", "O(1)", "Pops an element from a list, pushes it to another list and returns it. Blocks until an element is available otherwise. Deletes the list if the last element was moved.").uses(&[RW | ACCESS | DELETE, RW | INSERT]),
    cmd("BLMPOP timeout numkeys key [key ...] <LEFT | RIGHT> [COUNT count]", blmpop, WRITE | BLOCKING, "7.0.0", "O(N+M) where N is the number of provided keys and M is the number of elements returned.", "Pops the first element from one of multiple lists. Blocks until an element is available otherwise. Deletes the list if the last element was popped.").uses(&[RW | ACCESS | DELETE]),
    cmd("BLPOP key [key ...] timeout", blpop, WRITE | NOSCRIPT | BLOCKING, "2.0.0", "O(N) where N is the number of provided keys.", "Removes and returns the first element in a list. Blocks until an element is available otherwise. Deletes the list if the last element was popped.").uses(&[RW | ACCESS | DELETE]),
    cmd("BRPOP key [key ...] timeout", brpop, WRITE | NOSCRIPT | BLOCKING, "2.0.0", "O(N) where N is the number of provided keys.", "Removes and returns the last element in a list. Blocks until an element is available otherwise. Deletes the list if the last element was popped.").uses(&[RW | ACCESS | DELETE]),
    cmd("BRPOPLPUSH source destination timeout", brpoplpush, WRITE | DENYOOM | NOSCRIPT | BLOCKING, "2.2.0", "O(1)", "Pops an element from a list, pushes it to another list and returns it. Block until an element is available otherwise. Deletes the list if the last element was popped.").uses(&[RW | ACCESS | DELETE, RW | INSERT]),
    cmd("LINDEX key index", lindex, READONLY, "1.0.0", "O(N) where N is the number of elements to traverse to get to the element at index. This makes asking for the first or the last element of the list O(1).", "Returns an element from a list by its index."),
    cmd("LINSERT key <BEFORE | AFTER> pivot element", linsert, WRITE | DENYOOM, "2.2.0", "O(N) where N is the number of elements to traverse before seeing the value pivot. This means that inserting somewhere on the left end on the list (head) can be considered O(1) and inserting somewhere on the right end (tail) is O(N).", "Inserts an element before or after another element in a list.").uses(&[RW | INSERT]),
    cmd("LLEN key", llen, READONLY | FAST, "1.0.0", "O(1)", "Returns the length of a list.").uses(&[RO]),
    cmd("LMOVE source destination <LEFT | RIGHT> <LEFT | RIGHT>", lmove, WRITE | DENYOOM, "6.2.0", "O(1)", "Returns an element after popping it from one list and pushing it to another. Deletes the list if the last element was moved.").uses(&[RW | ACCESS | DELETE, RW | INSERT]),
    cmd("LMPOP numkeys key [key ...] <LEFT | RIGHT> [COUNT count]", lmpop, WRITE, "7.0.0", "O(N+M) where N is the number of provided keys and M is the number of elements returned.", "Returns multiple elements from a list after removing them. Deletes the list if the last element was popped.").uses(&[RW | ACCESS | DELETE]),
    cmd("LPOP key [count]", lpop, WRITE | FAST, "1.0.0", "O(N) where N is the number of elements returned", "Returns the first elements in a list after removing it. Deletes the list if the last element was popped.").uses(&[RW | ACCESS | DELETE]),
    cmd("LPOS key element [RANK rank] [COUNT num-matches] [MAXLEN len]", lpos, READONLY, "6.0.6", "O(N) where N is the number of elements in the list, for the average case. When searching for elements near the head or the tail of the list, or when the MAXLEN option is provided, the command may run in constant time.", "Returns the index of matching elements in a list."),
    cmd("LPUSH key element [element ...]", lpush, WRITE | DENYOOM | FAST, "1.0.0", "O(1) for each element added, so O(N) to add N elements when the command is called with multiple arguments.", "Prepends one or more elements to a list. Creates the key if it doesn't exist.").uses(&[RW | INSERT]),
    cmd("LPUSHX key element [element ...]", lpushx, WRITE | DENYOOM | FAST, "2.2.0", "O(1) for each element added, so O(N) to add N elements when the command is called with multiple arguments.", "Prepends one or more elements to a list only when the list exists.").uses(&[RW | INSERT]),
    cmd("LRANGE key start stop", lrange, READONLY, "1.0.0", "O(S+N) where S is the distance of start offset from HEAD for small lists, from nearest end (HEAD or TAIL) for large lists; and N is the number of elements in the specified range.", "Returns a range of elements from a list."),
    cmd("LREM key count element", lrem, WRITE, "1.0.0", "O(N+M) where N is the length of the list and M is the number of elements removed.", "Removes elements from a list. Deletes the list if the last element was removed.").uses(&[RW | DELETE]),
    cmd("LSET key index element", lset, WRITE | DENYOOM, "1.0.0", "O(N) where N is the length of the list. Setting either the first or the last element of the list is O(1).", "Sets the value of an element in a list by its index."),
    cmd("LTRIM key start stop", ltrim, WRITE, "1.0.0", "O(N) where N is the number of elements to be removed by the operation.", "Removes elements from both ends a list. Deletes the list if all elements were trimmed.").uses(&[RW | DELETE]),
    cmd("RPOP key [count]", rpop, WRITE | FAST, "1.0.0", "O(N) where N is the number of elements returned", "Returns and removes the last elements of a list. Deletes the list if the last element was popped.").uses(&[RW | ACCESS | DELETE]),
    cmd("RPOPLPUSH source destination", rpoplpush, WRITE | DENYOOM, "1.2.0", "O(1)", "Returns the last element of a list after removing and pushing it to another list. Deletes the list if the last element was popped.").uses(&[RW | ACCESS | DELETE, RW | INSERT]),
    cmd("RPUSH key element [element ...]", rpush, WRITE | DENYOOM | FAST, "1.0.0", "O(1) for each element added, so O(N) to add N elements when the command is called with multiple arguments.", "Appends one or more elements to a list. Creates the key if it doesn't exist.").uses(&[RW | INSERT]),
    cmd("RPUSHX key element [element ...]", rpushx, WRITE | DENYOOM | FAST, "2.2.0", "O(1) for each element added, so O(N) to add N elements when the command is called with multiple arguments.", "Appends an element to a list only when the list exists.").uses(&[RW | INSERT]),
];

/// Lists.
pub(crate) const FAMILY: Family = Family { group: "list", commands: COMMANDS };

/// LINDEX key index
fn lindex(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    match cx.db.read_as::<List>(args.at(1))? {
        Some(list) => reply::item_or_null(cx.out, list.get(args.int(2)?)),
        None => cx.out.null(),
    }
    Ok(())
}

/// LINSERT key <BEFORE | AFTER> pivot element
fn linsert(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    let place = match () {
        () if args.is(2, "BEFORE") => Place::Before,
        () if args.is(2, "AFTER") => Place::After,
        () => return Err(SYNTAX),
    };
    let limits = cx.limits();
    let len = cx.db.update::<List, _>(args.at(1), |list| {
        let inserted = list.insert(place, args.at(3), args.at(4), &limits);
        let len = if inserted { list.len() as i64 } else { -1 };
        (len, Change::of("linsert", u64::from(inserted)))
    })?;
    cx.out.int(len.unwrap_or(0));
    Ok(())
}

/// LLEN key
fn llen(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    let len = cx.db.read_as::<List>(args.at(1))?.map_or(0, List::len);
    cx.out.int(len as i64);
    Ok(())
}

/// LMOVE source destination <LEFT | RIGHT> <LEFT | RIGHT>
fn lmove(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    let ends = (end(args, 3)?, end(args, 4)?);
    move_element(cx, args.at(1), args.at(2), ends)
}

/// LMPOP numkeys key [key ...] <LEFT | RIGHT> [COUNT count]
fn lmpop(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    let (keys, pop) = PopSome::parse(args, 1)?;
    for key in keys {
        if pop.run(cx, key)? == Served::Yes {
            return Ok(());
        }
    }
    cx.out.null_array();
    Ok(())
}

/// LPOP key [count]
fn lpop(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    pop(cx, args, ListEnd::Left, "lpop")
}

/// LPOS key element [RANK rank] [COUNT num-matches] [MAXLEN len]
fn lpos(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    let search = Search::parse(args)?;
    let list = cx.db.read_as::<List>(args.at(1))?;
    let Some(count) = search.count else {
        let mut found = None;
        if let Some(list) = list {
            search.run(list, args.at(2), 1, |index| found = Some(index));
        }
        match found {
            Some(index) => cx.out.int(index as i64),
            None => cx.out.null(),
        }
        return Ok(());
    };
    let (mark, mut found) = (cx.out.begin_array(), 0);
    if let Some(list) = list {
        search.run(list, args.at(2), count, |index| {
            cx.out.int(index as i64);
            found += 1;
        });
    }
    cx.out.end_array(mark, found);
    Ok(())
}

/// LPUSH key element [element ...]
fn lpush(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    push(cx, args, ListEnd::Left)
}

/// LPUSHX key element [element ...]
fn lpushx(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    push_existing(cx, args, ListEnd::Left)
}

/// LRANGE key start stop
fn lrange(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    let (start, stop) = (args.int(2)?, args.int(3)?);
    let Some(list) = cx.db.read_as::<List>(args.at(1))? else {
        cx.out.array(0);
        return Ok(());
    };
    let (start, count) = range(start, stop, list.len());
    let out = &mut *cx.out;
    out.array(count);
    list.visit(start, count, |item| reply::item(out, item));
    Ok(())
}

/// LREM key count element
fn lrem(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    let (count, limits) = (args.int(2)?, cx.limits());
    let removed = cx.db.update::<List, _>(args.at(1), |list| {
        let removed = list.remove_matching(args.at(3), count, &limits);
        (removed, Change::of("lrem", removed as u64))
    })?;
    cx.out.int(removed.unwrap_or(0) as i64);
    Ok(())
}

/// LSET key index element
fn lset(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    let key = args.at(1);
    match cx.db.kind(key) {
        None => return Err(NO_SUCH_KEY),
        Some(Kind::List) => {}
        Some(_) => return Err(WRONG_TYPE),
    }
    let (index, limits) = (args.int(2)?, cx.limits());
    let found = cx.db.update::<List, _>(key, |list| {
        let found = list.set(index, args.at(3), &limits);
        (found, Change::of("lset", u64::from(found)))
    })?;
    if found != Some(true) {
        return Err(OUT_OF_RANGE);
    }
    cx.out.ok();
    Ok(())
}

/// LTRIM key start stop
fn ltrim(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    let (start, stop, limits) = (args.int(2)?, args.int(3)?, cx.limits());
    let removed = cx.db.update::<List, _>(args.at(1), |list| {
        let (start, count) = range(start, stop, list.len());
        let removed = list.len() - count;
        if removed > 0 {
            list.trim(start, count, &limits);
        }
        (removed, Change::of("ltrim", removed as u64))
    })?;
    if removed == Some(0) {
        cx.db.notify(EventClass::List, "ltrim", args.at(1));
    }
    cx.out.ok();
    Ok(())
}

/// RPOP key [count]
fn rpop(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    pop(cx, args, ListEnd::Right, "rpop")
}

/// RPOPLPUSH source destination
fn rpoplpush(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    move_element(cx, args.at(1), args.at(2), (ListEnd::Right, ListEnd::Left))
}

/// RPUSH key element [element ...]
fn rpush(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    push(cx, args, ListEnd::Right)
}

/// RPUSHX key element [element ...]
fn rpushx(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    push_existing(cx, args, ListEnd::Right)
}

/// What LPOS looks for.
struct Search {
    /// Matches to pass over.
    skip: u64,
    /// Where to begin.
    from: ListEnd,
    /// How many matches to report, 0 for all; none for one that is not in an array.
    count: Option<usize>,
    /// How many elements to look at.
    max_len: usize,
}

impl Search {
    fn parse(args: Args<'_>) -> Result<Search, Error> {
        let mut search = Search { skip: 0, from: ListEnd::Left, count: None, max_len: usize::MAX };
        for at in (3..args.len()).step_by(2) {
            if args.len() == at + 1 {
                return Err(SYNTAX);
            } else if args.is(at, "RANK") {
                let rank = args.int_in(at + 1, -i64::MAX..=i64::MAX, OUT_OF_LONG_RANGE)?;
                search.skip = rank.unsigned_abs().checked_sub(1).ok_or(RANK_ZERO)?;
                search.from = if rank < 0 { ListEnd::Right } else { ListEnd::Left };
            } else if args.is(at, "COUNT") {
                search.count = Some(args.size_from(at + 1, 0, COUNT_NEGATIVE)?);
            } else if args.is(at, "MAXLEN") {
                let len = args.size_from(at + 1, 0, MAXLEN_NEGATIVE)?;
                search.max_len = if len == 0 { usize::MAX } else { len };
            } else {
                return Err(SYNTAX);
            }
        }
        Ok(search)
    }

    /// Reports the indexes of up to `count` matches, all of them if it is 0.
    fn run(&self, list: &List, element: &[u8], count: usize, report: impl FnMut(usize)) {
        let (element, len) = (Item::of(element), list.len());
        let skip = usize::try_from(self.skip).unwrap_or(usize::MAX);
        let count = if count == 0 { usize::MAX } else { count };
        let matching = |(index, item): (usize, Item<'_>)| (item == element).then_some(index);
        match self.from {
            ListEnd::Left => {
                let items = list.iter().take(self.max_len).enumerate();
                items.filter_map(matching).skip(skip).take(count).for_each(report);
            }
            ListEnd::Right => {
                let items = list.iter().rev().take(self.max_len).enumerate();
                items.filter_map(matching).skip(skip).take(count).map(|index| len - 1 - index).for_each(report);
            }
        }
    }
}

/// What LMPOP pops from the first of its lists that exists.
#[derive(Clone, Copy)]
pub(crate) struct PopSome {
    end: ListEnd,
    count: usize,
}

impl PopSome {
    /// Reads `numkeys key [key ...] <LEFT | RIGHT> [COUNT count]`, the number standing at an argument; also returns the keys.
    pub(crate) fn parse<'a>(args: Args<'a>, numkeys_at: usize) -> Result<(&'a [&'a [u8]], PopSome), Error> {
        let keys = args.size_from(numkeys_at, 1, NUMKEYS)?;
        let after_keys = keys.checked_add(numkeys_at + 1).filter(|at| *at < args.len()).ok_or(SYNTAX)?;
        let end = end(args, after_keys)?;
        let mut count = None;
        for at in (after_keys + 1..args.len()).step_by(2) {
            if !args.is(at, "COUNT") || count.is_some() {
                return Err(SYNTAX);
            }
            count = Some(args.size_from(at + 1, 1, COUNT_NOT_POSITIVE)?);
        }
        Ok((&args.from(numkeys_at + 1)[..keys], PopSome { end, count: count.unwrap_or(1) }))
    }

    /// Pops from a list and replies with its key and the elements, unless there is no such key.
    pub(crate) fn run(self, cx: &mut Cx<'_, '_>, key: &[u8]) -> Result<Served, Error> {
        let Some(list) = cx.db.find_as::<List>(key)? else { return Ok(Served::Nothing) };
        let count = self.count.min(list.len());
        cx.out.array(2);
        cx.out.bulk(key);
        cx.out.array(count);
        pop_elements(cx, key, self.end, count)?;
        let count = decimal::format_u64(count as u64, &mut [0; decimal::I64_TEXT_MAX]).to_vec();
        cx.journal.instead(&[pop_command(self.end), key, &count]);
        Ok(Served::Yes)
    }
}

/// Reads LEFT or RIGHT.
pub(crate) fn end(args: Args<'_>, at: usize) -> Result<ListEnd, Error> {
    match () {
        () if args.is(at, "LEFT") => Ok(ListEnd::Left),
        () if args.is(at, "RIGHT") => Ok(ListEnd::Right),
        () => Err(SYNTAX),
    }
}

fn push_event(end: ListEnd) -> &'static str {
    if end == ListEnd::Left { "lpush" } else { "rpush" }
}

/// Returns the command that pops from an end.
pub(crate) fn pop_command(end: ListEnd) -> &'static [u8] {
    if end == ListEnd::Left { b"LPOP" } else { b"RPOP" }
}

fn pop_event(end: ListEnd) -> &'static str {
    if end == ListEnd::Left { "lpop" } else { "rpop" }
}

/// Turns first and last index, which count from the end if negative, into first index and number of elements.
fn range(start: i64, stop: i64, len: usize) -> (usize, usize) {
    let len = len as i64;
    let start = if start < 0 { (start + len).max(0) } else { start };
    let stop = if stop < 0 { stop + len } else { stop.min(len - 1) };
    if start > stop { (0, 0) } else { (start as usize, (stop - start + 1) as usize) }
}

/// LPUSH and RPUSH.
fn push(cx: &mut Cx<'_, '_>, args: Args<'_>, end: ListEnd) -> Result<(), Error> {
    let limits = cx.limits();
    let len = cx.db.update_or_create::<List, _>(args.at(1), |list| push_elements(list, args, end, &limits))?;
    cx.out.int(len as i64);
    Ok(())
}

/// LPUSHX and RPUSHX.
fn push_existing(cx: &mut Cx<'_, '_>, args: Args<'_>, end: ListEnd) -> Result<(), Error> {
    let limits = cx.limits();
    let len = cx.db.update::<List, _>(args.at(1), |list| push_elements(list, args, end, &limits))?;
    cx.out.int(len.unwrap_or(0) as i64);
    Ok(())
}

fn push_elements(list: &mut List, args: Args<'_>, end: ListEnd, limits: &Limits) -> (usize, Change) {
    let elements = args.from(2);
    list.push(end, elements, limits);
    (list.len(), Change::of(push_event(end), elements.len() as u64))
}

/// LPOP and RPOP.
fn pop(cx: &mut Cx<'_, '_>, args: Args<'_>, end: ListEnd, command: &str) -> Result<(), Error> {
    let key = args.at(1);
    if args.len() == 2 {
        if !pop_elements(cx, key, end, 1)? {
            cx.out.null();
        }
        return Ok(());
    }
    if args.len() > 3 {
        return Err(wrong_arity(command));
    }
    let count = args.size_from(2, 0, NOT_POSITIVE)?;
    match cx.db.find_as::<List>(key)?.map(List::len) {
        None => cx.out.null_array(),
        Some(len) => {
            let count = count.min(len);
            cx.out.array(count);
            pop_elements(cx, key, end, count)?;
        }
    }
    Ok(())
}

/// Removes so many elements and writes them; tells whether there is a list.
pub(crate) fn pop_elements(cx: &mut Cx<'_, '_>, key: &[u8], end: ListEnd, count: usize) -> Result<bool, Error> {
    let limits = cx.limits();
    let out: &mut Writer = cx.out;
    let popped = cx.db.update::<List, _>(key, |list| {
        let popped = list.pop(end, count, &limits, |item| reply::item(out, item));
        ((), Change::of(pop_event(end), popped as u64))
    })?;
    Ok(popped.is_some())
}

/// Moves an element from an end of one list to an end of another and replies with it, or with null if there is no source.
pub(crate) fn move_element(
    cx: &mut Cx<'_, '_>,
    source: &[u8],
    destination: &[u8],
    (from, to): (ListEnd, ListEnd),
) -> Result<(), Error> {
    let limits = cx.limits();
    let Some(list) = cx.db.find_as::<List>(source)? else {
        cx.out.null();
        return Ok(());
    };
    let outermost = list.get(if from == ListEnd::Left { 0 } else { -1 });
    let element = outermost.expect("a list in the keyspace is not empty").to_vec();
    if cx.db.kind(destination).is_some_and(|kind| kind != Kind::List) {
        return Err(WRONG_TYPE);
    }
    if source == destination {
        cx.db.update::<List, _>(source, |list| {
            list.pop(from, 1, &limits, |_| {});
            list.push(to, &[&element], &limits);
            ((), Change::of(push_event(to), 1))
        })?;
        cx.db.notify(EventClass::List, pop_event(from), source);
    } else {
        cx.db.update_or_create::<List, _>(destination, |list| {
            list.push(to, &[&element], &limits);
            ((), Change::of(push_event(to), 1))
        })?;
        cx.db.update::<List, _>(source, |list| {
            list.pop(from, 1, &limits, |_| {});
            ((), Change::of(pop_event(from), 1))
        })?;
    }
    cx.out.bulk(&element);
    Ok(())
}
