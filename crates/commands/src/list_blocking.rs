//! Lists whose elements are waited for: BLPOP, BRPOP, BLMOVE, BRPOPLPUSH, BLMPOP.
//!
//! Each tries its keys in order as the command it is named after; only if all are missing does the client wait. Whoever fills one of them then runs the same
//! function for it, for that key alone.

use redpoll_keyspace::{Kind, ListEnd, Wanted};

use crate::args::Args;
use crate::blocking::{Empty, Request, Served, Timeout};
use crate::cx::Cx;
use crate::error::{Error, WRONG_TYPE};
use crate::list::{PopSome, end, move_element, pop_command, pop_elements};

/// BLMOVE source destination <LEFT | RIGHT> <LEFT | RIGHT> timeout
pub(crate) fn blmove(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    let (from, to) = (end(args, 3)?, end(args, 4)?);
    block_on_move(cx, args, 5, Move { destination: args.at(2).into(), from, to, logged: Logged::Move })
}

/// BLMPOP timeout numkeys key [key ...] <LEFT | RIGHT> [COUNT count]
pub(crate) fn blmpop(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    let (keys, pop) = PopSome::parse(args, 2)?;
    let timeout = Timeout::seconds(args.at(1), cx.now())?;
    cx.pop_or_wait(keys, Kind::List, timeout, move |cx, key| pop.run(cx, key))
}

/// BLPOP key [key ...] timeout
pub(crate) fn blpop(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    block_on_pop(cx, args, ListEnd::Left)
}

/// BRPOP key [key ...] timeout
pub(crate) fn brpop(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    block_on_pop(cx, args, ListEnd::Right)
}

/// BRPOPLPUSH source destination timeout
pub(crate) fn brpoplpush(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    let (from, to) = (ListEnd::Right, ListEnd::Left);
    block_on_move(cx, args, 3, Move { destination: args.at(2).into(), from, to, logged: Logged::RightPopLeftPush })
}

/// BLPOP and BRPOP: keys, timeout.
fn block_on_pop(cx: &mut Cx<'_, '_>, args: Args<'_>, end: ListEnd) -> Result<(), Error> {
    let last = args.len() - 1;
    let (keys, timeout) = (&args.from(1)[..last - 1], Timeout::seconds(args.at(last), cx.now())?);
    cx.pop_or_wait(keys, Kind::List, timeout, move |cx, key| pop_one(cx, key, end))
}

/// Pops one element and replies with key and element.
fn pop_one(cx: &mut Cx<'_, '_>, key: &[u8], end: ListEnd) -> Result<Served, Error> {
    match cx.db.kind(key) {
        None => return Ok(Served::Nothing),
        Some(Kind::List) => {}
        Some(_) => return Err(WRONG_TYPE),
    }
    cx.out.array(2);
    cx.out.bulk(key);
    pop_elements(cx, key, end, 1)?;
    cx.journal.instead(&[pop_command(end), key]);
    Ok(Served::Yes)
}

/// How an element is moved.
struct Move {
    destination: Box<[u8]>,
    from: ListEnd,
    to: ListEnd,
    logged: Logged,
}

/// What a move is logged as.
#[derive(Clone, Copy)]
enum Logged {
    Move,
    RightPopLeftPush,
}

impl Move {
    fn run(&self, cx: &mut Cx<'_, '_>, source: &[u8]) -> Result<Served, Error> {
        match cx.db.kind(source) {
            None => return Ok(Served::Nothing),
            Some(Kind::List) => {}
            Some(_) => return Err(WRONG_TYPE),
        }
        let side = |end| if end == ListEnd::Left { b"LEFT".as_slice() } else { b"RIGHT" };
        move_element(cx, source, &self.destination, (self.from, self.to))?;
        match self.logged {
            Logged::Move => {
                cx.journal.instead(&[b"LMOVE", source, &self.destination, side(self.from), side(self.to)]);
            }
            Logged::RightPopLeftPush => cx.journal.instead(&[b"RPOPLPUSH", source, &self.destination]),
        }
        Ok(Served::Yes)
    }
}

/// BLMOVE and BRPOPLPUSH: source, destination, …, timeout.
fn block_on_move(cx: &mut Cx<'_, '_>, args: Args<'_>, timeout_at: usize, element: Move) -> Result<(), Error> {
    let timeout = Timeout::seconds(args.at(timeout_at), cx.now())?;
    if element.run(cx, args.at(1))? == Served::Yes {
        return Ok(());
    }
    if !cx.may_block() {
        cx.out.null();
        return Ok(());
    }
    let (keys, destination) = (&args.0[1..2], Some(args.at(2)));
    let serve = Box::new(move |cx: &mut Cx<'_, '_>, key: &[u8]| element.run(cx, key));
    cx.block(Request { keys, wanted: Wanted::Value(Kind::List), destination, timeout, empty: Empty::NullArray, serve });
    Ok(())
}
