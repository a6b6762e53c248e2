//! MIGRATE: keys taken to another server.
//!
//! The values travel as RESTORE commands and are removed here as far as the other server has taken them, all under the locks of the keys: nobody here
//! finds a key gone before it is there. Whoever wants one of these keys meanwhile waits, and so does who is served by the same thread; each exchange
//! of bytes takes at most the timeout given. A connection is opened for each call and kept for none.
//!
//! Values are sent when the other server has accepted login and database. Sent along with them, as redis-server does, they would end in database 0
//! where there is no such database.
//!
//! The other server may have taken a key although its answer is lost. Such a key stays here, so nothing is lost; with REPLACE the call can be repeated.

use std::time::Duration;

use redpoll_keyspace::EventClass;
use redpoll_keyspace::rdb;
use redpoll_structures::decimal;

use crate::args::Args;
use crate::command::{Command, Family, Keys, WRITE, cmd};
use crate::cx::Cx;
use crate::engine::{Batch, Exchanged};
use crate::error::{CANNOT_MIGRATE, Error, MIGRATE_KEYS, SYNTAX};
use crate::key_spec::{ACCESS, Begin, DELETE, Find, INCOMPLETE, KeySpec, RW};

#[rustfmt::skip]
const COMMANDS: &[Command] = &[
    cmd("MIGRATE host port key destination-db timeout [COPY] [REPLACE] [AUTH password | AUTH2 username password] [KEYS key [key ...]]", migrate, WRITE, "2.6.0", "This command actually executes a DUMP+DEL in the source instance, and a RESTORE in the target instance. See the pages of these commands for time complexity. Also an O(N) data transfer between the two instances is performed.", "Atomically transfers a key from one Redis instance to another.").keys(Keys::Custom(find_keys)).specs(SPECS).arity(-6).categories(&["dangerous"]),
];

/// Keys to another server.
pub(crate) const FAMILY: Family = Family { group: "generic", commands: COMMANDS };

const SPECS: &[KeySpec] = &[
    KeySpec::at(3, RW | ACCESS | DELETE),
    KeySpec {
        flags: RW | ACCESS | DELETE | INCOMPLETE,
        begin: Begin::Keyword("KEYS", -2),
        find: Find::Range { last: -1, step: 1, limit: 0 },
    },
];

/// The timeout where none is given.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(1);

/// What stands behind the timeout.
#[derive(Default)]
struct Options<'a> {
    copy: bool,
    replace: bool,
    /// The arguments behind AUTH or AUTH2, if there is one.
    login: &'a [&'a [u8]],
    /// The arguments behind KEYS.
    keys: Option<&'a [&'a [u8]]>,
}

impl<'a> Options<'a> {
    fn parse(args: Args<'a>) -> Result<Options<'a>, Error> {
        let mut options = Options::default();
        let mut at = 6;
        while at < args.len() {
            let login_len = login_len(args, at);
            match () {
                () if args.is(at, "COPY") => options.copy = true,
                () if args.is(at, "REPLACE") => options.replace = true,
                () if login_len > 0 && at + login_len < args.len() => options.login = &args.from(at + 1)[..login_len],
                () if args.is(at, "KEYS") => {
                    if !args.at(3).is_empty() {
                        return Err(MIGRATE_KEYS);
                    }
                    options.keys = Some(args.from(at + 1));
                    break;
                }
                () => return Err(SYNTAX),
            }
            at += 1 + login_len;
        }
        Ok(options)
    }
}

/// Returns how many arguments stand behind a word that a login begins with.
fn login_len(args: Args<'_>, at: usize) -> usize {
    match () {
        () if args.is(at, "AUTH") => 1,
        () if args.is(at, "AUTH2") => 2,
        () => 0,
    }
}

/// Finds the words of the options of a call, whatever else is wrong with it.
fn option_words(args: Args<'_>) -> impl Iterator<Item = usize> + '_ {
    let mut next = 6;
    std::iter::from_fn(move || {
        let at = next;
        next += 1 + login_len(args, at);
        (at < args.len()).then_some(at)
    })
}

/// Finds the keys of a call: those behind KEYS, or the one at its place.
fn find_keys(args: Args<'_>, positions: &mut Vec<usize>) {
    match option_words(args).find(|at| args.is(*at, "KEYS") && args.at(3).is_empty()) {
        Some(at) => positions.extend(at + 1..args.len()),
        None => positions.push(3),
    }
}

/// Finds the name and the password for the other server.
pub(crate) fn login(args: Args<'_>) -> impl Iterator<Item = usize> + '_ {
    let of = move |at| (at + 1..args.len()).take(login_len(args, at));
    option_words(args).flat_map(of)
}

/// MIGRATE host port key|"" destination-db timeout [COPY] [REPLACE] [AUTH password | AUTH2 username password] [KEYS key ...]
fn migrate(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    let options = Options::parse(args)?;
    let timeout = u64::try_from(args.int(5)?).ok().filter(|ms| *ms > 0).map_or(DEFAULT_TIMEOUT, Duration::from_millis);
    let db = args.int(4)?;
    let mut introduction = Batch::default();
    if !options.login.is_empty() {
        introduction.add(&[&[b"AUTH".as_slice()], options.login].concat());
    }
    introduction.add(&[b"SELECT", decimal::format_i64(db, &mut [0; 20])]);

    let mut values = Batch::default();
    let keys = options.keys.unwrap_or(&args.0[3..4]);
    let sent: Vec<&[u8]> =
        keys.iter().copied().filter(|key| add_value(cx, key, options.replace, &mut values)).collect();
    if sent.is_empty() {
        cx.out.simple("NOKEY");
        return Ok(());
    }

    let host = cx.engine.host.get().ok_or(CANNOT_MIGRATE)?;
    let address = (String::from_utf8_lossy(args.at(1)), String::from_utf8_lossy(args.at(2)));
    let introductions = introduction.commands;
    let exchanged = host.exchange((&address.0, &address.1), timeout, &[introduction, values]);
    let answered = sent.into_iter().zip(exchanged.replies.iter().skip(introductions));
    let taken: Vec<&[u8]> = answered.filter(|(_, reply)| !reply.starts_with(b"-")).map(|(key, _)| key).collect();
    if !options.copy {
        forget(cx, &taken);
    }
    answer(cx, exchanged)
}

/// Adds the command that makes a key over there; false if there is no such key here.
fn add_value(cx: &mut Cx<'_, '_>, key: &[u8], replace: bool, batch: &mut Batch) -> bool {
    let now = cx.now();
    let Some(entry) = cx.db.read(key) else { return false };
    let ttl = entry.deadline().map_or(0, |deadline| deadline.saturating_sub(now).max(1));
    let payload = rdb::dump(entry);
    let mut buf = [0; 20];
    let mut command = vec![b"RESTORE".as_slice(), key, decimal::format_u64(ttl, &mut buf), &payload];
    if replace {
        command.push(b"REPLACE");
    }
    batch.add(&command);
    true
}

/// Removes what is elsewhere now.
fn forget(cx: &mut Cx<'_, '_>, keys: &[&[u8]]) {
    let mut record = vec![b"DEL".as_slice()];
    for &key in keys {
        if cx.db.remove(key).is_some() {
            cx.db.notify(EventClass::Generic, "del", key);
            record.push(key);
        }
    }
    if record.len() > 1 {
        cx.journal.instead(&record);
    }
}

/// Answers with what went wrong first, or OK. Unlike other errors this one may come after changes: what was taken is gone from here.
fn answer(cx: &mut Cx<'_, '_>, exchanged: Exchanged) -> Result<(), Error> {
    if let Some(failure) = exchanged.failure {
        return Err(failure);
    }
    match exchanged.replies.iter().find_map(|reply| reply.strip_prefix(b"-")) {
        Some(text) => Err(Error::of(&[b"ERR Target instance replied with error: ", text])),
        None => {
            cx.out.ok();
            Ok(())
        }
    }
}
