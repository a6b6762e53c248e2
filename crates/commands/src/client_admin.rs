//! CLIENT: looking at clients and dealing with them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use redpoll_keyspace::Millis;
use redpoll_resp::encode_command;

use crate::args::{Args, int};
use crate::blocking::{self, Unblock};
use crate::client::{Client, Transport};
use crate::command::{ADMIN, Command, LOADING, NOSCRIPT, STALE, cmd};
use crate::connection::{client_name, printable};
use crate::cx::Cx;
use crate::engine::Engine;
use crate::error::{Error, SYNTAX, UNBLOCK_REASON, subcommand_syntax};
use crate::output_limit::OutputClass;
use crate::session::ReplyMode;
use crate::{client_tracking, help};

const ANY: u32 = NOSCRIPT | LOADING | STALE;

#[rustfmt::skip]
pub(crate) const CLIENT: &[Command] = &[
    cmd("CLIENT CACHING <YES | NO>", client_tracking::caching, ANY, "6.0.0", "O(1)", "Instructs the server whether to track the keys in the next request."),
    cmd("CLIENT GETNAME", getname, ANY, "2.6.9", "O(1)", "Returns the name of the connection."),
    cmd("CLIENT GETREDIR", client_tracking::getredir, ANY, "6.0.0", "O(1)", "Returns the client ID to which the connection's tracking notifications are redirected."),
    cmd("CLIENT HELP", help, LOADING | STALE, "5.0.0", "O(1)", "Returns helpful text about the different subcommands."),
    cmd("CLIENT ID", id, ANY, "5.0.0", "O(1)", "Returns the unique client ID of the connection."),
    cmd("CLIENT INFO", info, ANY, "6.2.0", "O(1)", "Returns information about the connection."),
    cmd("CLIENT KILL <ip:port | [ID client-id] [TYPE <NORMAL | MASTER | SLAVE | REPLICA | PUBSUB>] [USER username] [ADDR ip:port] [LADDR ip:port] [SKIPME <YES | NO>] [MAXAGE maxage]>", kill, ANY | ADMIN, "2.4.0", "O(N) where N is the number of client connections", "Terminates open connections.").arity(-3),
    cmd("CLIENT LIST [TYPE <NORMAL | MASTER | REPLICA | PUBSUB>] [ID client-id [client-id ...]]", list, ANY | ADMIN, "2.4.0", "O(N) where N is the number of client connections", "Lists open connections."),
    cmd("CLIENT NO-EVICT <ON | OFF>", no_evict, ANY | ADMIN, "7.0.0", "O(1)", "Sets the client eviction mode of the connection."),
    cmd("CLIENT NO-TOUCH <ON | OFF>", no_touch, ANY, "7.2.0", "O(1)", "Controls whether commands sent by the client affect the LRU/LFU of accessed keys."),
    cmd("CLIENT PAUSE timeout [WRITE | ALL]", pause, ANY | ADMIN, "3.0.0", "O(1)", "Suspends commands processing."),
    cmd("CLIENT REPLY <ON | OFF | SKIP>", reply, ANY, "3.2.0", "O(1)", "Instructs the server whether to reply to commands."),
    cmd("CLIENT SETINFO <LIB-NAME libname | LIB-VER libver>", setinfo, ANY, "7.2.0", "O(1)", "Sets information specific to the client or connection."),
    cmd("CLIENT SETNAME connection-name", setname, ANY, "2.6.9", "O(1)", "Sets the connection name."),
    cmd("CLIENT TRACKING <ON | OFF> [REDIRECT client-id] [PREFIX prefix [PREFIX prefix ...]] [BCAST] [OPTIN] [OPTOUT] [NOLOOP]", client_tracking::tracking, ANY, "6.0.0", "O(1). Some options may introduce additional complexity.", "Controls server-assisted client-side caching for the connection.").arity(-3),
    cmd("CLIENT TRACKINGINFO", client_tracking::trackinginfo, ANY, "6.2.0", "O(1)", "Returns information about server-assisted client-side caching for the connection."),
    cmd("CLIENT UNBLOCK client-id [TIMEOUT | ERROR]", unblock, ANY | ADMIN, "5.0.0", "O(log N) where N is the number of client connections", "Unblocks a client blocked by a blocking command from a different connection."),
    cmd("CLIENT UNPAUSE", unpause, ANY | ADMIN, "6.2.0", "O(N) Where N is the number of paused clients", "Resumes processing commands from paused clients."),
];

const HELP: &[&str] = &[
    "CACHING (YES|NO)",
    "    Enable/disable tracking of the keys for next command in OPTIN/OPTOUT modes.",
    "GETREDIR",
    "    Return the client ID we are redirecting to when tracking is enabled.",
    "GETNAME",
    "    Return the name of the current connection.",
    "ID",
    "    Return the ID of the current connection.",
    "INFO",
    "    Return information about the current client connection.",
    "KILL <ip:port>",
    "    Kill connection made from <ip:port>.",
    "KILL <option> <value> [<option> <value> [...]]",
    "    Kill connections. Options are: ADDR, LADDR, TYPE, USER, ID, SKIPME, MAXAGE.",
    "LIST [TYPE <type>] [ID <id> [<id> ...]]",
    "    Return information about client connections.",
    "NO-EVICT (ON|OFF)",
    "    Protect current client connection from eviction.",
    "NO-TOUCH (ON|OFF)",
    "    Keep commands of the current connection from touching keys' access times.",
    "PAUSE <timeout> [WRITE|ALL]",
    "    Suspend all, or just write, clients for <timeout> milliseconds.",
    "REPLY (ON|OFF|SKIP)",
    "    Control the replies sent to the current connection.",
    "SETINFO <option> <value>",
    "    Set client meta attr. Options are: LIB-NAME, LIB-VER.",
    "SETNAME <name>",
    "    Assign the name <name> to the current connection.",
    "TRACKING (ON|OFF) [REDIRECT <id>] [BCAST] [PREFIX <prefix> [...]]",
    "         [OPTIN] [OPTOUT] [NOLOOP]",
    "    Control server assisted client side caching.",
    "TRACKINGINFO",
    "    Report tracking status for the current connection.",
    "UNBLOCK <clientid> [TIMEOUT|ERROR]",
    "    Unblock the specified blocked client.",
    "UNPAUSE",
    "    Stop the current client pause, resuming traffic.",
];

/// CLIENT GETNAME
fn getname(cx: &mut Cx<'_, '_>, _: Args<'_>) -> Result<(), Error> {
    let names = cx.session.client.names.lock();
    match names.name.as_str() {
        "" => cx.out.null(),
        name => cx.out.bulk(name.as_bytes()),
    }
    Ok(())
}

/// CLIENT HELP
fn help(cx: &mut Cx<'_, '_>, _: Args<'_>) -> Result<(), Error> {
    help::reply(cx.out, "CLIENT", HELP);
    Ok(())
}

/// CLIENT ID
fn id(cx: &mut Cx<'_, '_>, _: Args<'_>) -> Result<(), Error> {
    cx.out.int(cx.session.client.id as i64);
    Ok(())
}

/// CLIENT INFO
fn info(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    let mut text = String::new();
    describe(&mut text, cx, args, &cx.session.client);
    cx.out.verbatim("txt", text.as_bytes());
    Ok(())
}

/// CLIENT KILL <ip:port | filter value [filter value ...]>
fn kill(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    let by_address = args.len() == 3;
    let filter = if by_address {
        Filter { address: Some(text(args.at(2))), skip_me: false, ..Filter::default() }
    } else {
        Filter::parse(args)?
    };
    let me = cx.session.client.id;
    let mut killed = 0;
    for client in cx.engine.clients.all() {
        if filter.matches(&client, cx.now()) && !(filter.skip_me && client.id == me) {
            client.kill();
            killed += 1;
        }
    }
    match (by_address, killed) {
        (true, 0) => Err(Error::Text("ERR No such client")),
        (true, _) => {
            cx.out.ok();
            Ok(())
        }
        (false, killed) => {
            cx.out.int(killed);
            Ok(())
        }
    }
}

/// CLIENT LIST [TYPE type] [ID client-id [client-id ...]]
fn list(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    let mut ids: Option<Vec<u64>> = None;
    let mut kind = None;
    match args.len() {
        2 => {}
        4 if args.is(2, "TYPE") => kind = Some(ClientType::of(args.at(3))?),
        4.. if args.is(2, "ID") => {
            let id = |arg: &&[u8]| int(arg).ok().and_then(|id| u64::try_from(id).ok());
            let parsed: Option<Vec<u64>> = args.from(3).iter().map(id).collect();
            ids = Some(parsed.ok_or(Error::Text("ERR Invalid client ID"))?);
        }
        _ => return Err(SYNTAX),
    }
    let mut text = String::new();
    for client in cx.engine.clients.all() {
        let wanted =
            ids.as_ref().is_none_or(|ids| ids.contains(&client.id)) && kind.is_none_or(|kind| kind.has(&client));
        if wanted && client.transport != Transport::Embedded {
            describe(&mut text, cx, args, &client);
        }
    }
    cx.out.verbatim("txt", text.as_bytes());
    Ok(())
}

/// CLIENT NO-EVICT <ON | OFF>
fn no_evict(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    let on = on_or_off(args, 2)?;
    cx.session.client.no_evict.store(on, Ordering::Relaxed);
    cx.engine.bound_clients_anew();
    cx.out.ok();
    Ok(())
}

/// CLIENT NO-TOUCH <ON | OFF>
fn no_touch(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    let on = on_or_off(args, 2)?;
    cx.session.no_touch = on;
    cx.session.client.no_touch.store(on, Ordering::Relaxed);
    cx.out.ok();
    Ok(())
}

/// CLIENT PAUSE timeout [WRITE | ALL]
fn pause(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    let invalid = Error::Text("ERR timeout is not an integer or out of range");
    let timeout = args.int(2).ok().and_then(|timeout| u64::try_from(timeout).ok()).ok_or(invalid)?;
    let until = cx.now().checked_add(timeout).ok_or(Error::Text("ERR timeout is out of range"))?;
    if args.len() == 3 || args.is(3, "ALL") {
        cx.engine.pause.pause_all(until);
    } else if args.is(3, "WRITE") {
        cx.engine.pause.pause_writes(until);
    } else {
        return Err(Error::Text("ERR CLIENT PAUSE mode must be WRITE or ALL"));
    }
    cx.out.ok();
    Ok(())
}

/// CLIENT REPLY <ON | OFF | SKIP>
fn reply(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    cx.session.reply_mode = match cx.session.reply_mode {
        _ if args.is(2, "ON") => ReplyMode::On,
        _ if args.is(2, "OFF") => ReplyMode::Off,
        ReplyMode::Off if args.is(2, "SKIP") => ReplyMode::Off,
        _ if args.is(2, "SKIP") => ReplyMode::SkipNext,
        _ => return Err(SYNTAX),
    };
    cx.out.ok();
    Ok(())
}

/// CLIENT SETINFO <LIB-NAME libname | LIB-VER libver>
fn setinfo(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    let option = text(args.at(2)).to_ascii_lowercase();
    if option != "lib-name" && option != "lib-ver" {
        return Err(Error::of(&[b"ERR Unrecognized option '", args.at(2), b"'"]));
    }
    let value = printable(args.at(3))
        .ok_or_else(|| Error::from(format!("ERR {option} cannot contain spaces, newlines or special characters.")))?;
    cx.session.client.name(|names| match option.as_str() {
        "lib-name" => names.library = value,
        _ => names.library_version = value,
    });
    cx.out.ok();
    Ok(())
}

/// CLIENT SETNAME connection-name
fn setname(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    let name = client_name(args.at(2))?;
    cx.session.client.name(|names| names.name = name);
    cx.out.ok();
    Ok(())
}

/// CLIENT UNBLOCK client-id [TIMEOUT | ERROR]
fn unblock(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    let how = match args.len() {
        3 => Unblock::Timeout,
        4 if args.is(3, "TIMEOUT") => Unblock::Timeout,
        4 if args.is(3, "ERROR") => Unblock::Error,
        4 => return Err(UNBLOCK_REASON),
        _ => return Err(subcommand_syntax("CLIENT", args.at(1))),
    };
    let id = args.int(2)?;
    let client = u64::try_from(id).ok().and_then(|id| cx.engine.clients.find(id));
    let unblocked = client.is_some_and(|client| blocking::unblock(cx.engine, &client, how));
    cx.out.int(i64::from(unblocked));
    Ok(())
}

/// CLIENT UNPAUSE
fn unpause(cx: &mut Cx<'_, '_>, _: Args<'_>) -> Result<(), Error> {
    cx.engine.pause.end();
    cx.out.ok();
    Ok(())
}

/// The kinds of clients that can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ClientType {
    Normal,
    Pubsub,
    /// Masters and replicas, of which there are none.
    Other,
}

impl ClientType {
    /// Tells whether a client is of this type.
    fn has(self, client: &Client) -> bool {
        match client.output_class() {
            OutputClass::Pubsub => self == ClientType::Pubsub,
            OutputClass::Normal => self == ClientType::Normal,
            OutputClass::Replica => self == ClientType::Other,
        }
    }

    /// Recognises a type's name.
    fn of(name: &[u8]) -> Result<ClientType, Error> {
        match name.to_ascii_lowercase().as_slice() {
            b"normal" => Ok(ClientType::Normal),
            b"pubsub" => Ok(ClientType::Pubsub),
            b"master" | b"replica" | b"slave" => Ok(ClientType::Other),
            _ => Err(Error::of(&[b"ERR Unknown client type '", name, b"'"])),
        }
    }
}

/// Which clients CLIENT KILL means: those that satisfy everything given.
#[derive(Debug)]
struct Filter {
    id: Option<u64>,
    address: Option<String>,
    local_address: Option<String>,
    user: Option<String>,
    max_age: Option<u64>,
    kind: Option<ClientType>,
    skip_me: bool,
}

impl Default for Filter {
    fn default() -> Filter {
        Filter { id: None, address: None, local_address: None, user: None, max_age: None, kind: None, skip_me: true }
    }
}

impl Filter {
    fn parse(args: Args<'_>) -> Result<Filter, Error> {
        let mut filter = Filter::default();
        for at in (2..args.len()).step_by(2) {
            let value = args.optional(at + 1).ok_or(SYNTAX)?;
            if args.is(at, "ID") {
                let id = int(value).ok().and_then(|id| u64::try_from(id).ok()).filter(|id| *id > 0);
                filter.id = Some(id.ok_or(Error::Text("ERR client-id should be greater than 0"))?);
            } else if args.is(at, "TYPE") {
                filter.kind = Some(ClientType::of(value)?);
            } else if args.is(at, "ADDR") {
                filter.address = Some(text(value));
            } else if args.is(at, "LADDR") {
                filter.local_address = Some(text(value));
            } else if args.is(at, "USER") {
                let user = text(value);
                if user != "default" {
                    return Err(Error::from(format!("ERR No such user '{user}'")));
                }
                filter.user = Some(user);
            } else if args.is(at, "SKIPME") {
                filter.skip_me = match value.to_ascii_lowercase().as_slice() {
                    b"yes" => true,
                    b"no" => false,
                    _ => return Err(SYNTAX),
                };
            } else if args.is(at, "MAXAGE") {
                let age = int(value).map_err(|_| Error::Text("ERR maxage is not an integer or out of range"))?;
                let positive = u64::try_from(age).ok().filter(|age| *age > 0);
                filter.max_age = Some(positive.ok_or(Error::Text("ERR maxage should be greater than 0"))?);
            } else {
                return Err(SYNTAX);
            }
        }
        Ok(filter)
    }

    fn matches(&self, client: &Arc<Client>, now: Millis) -> bool {
        client.transport != Transport::Embedded
            && self.kind.is_none_or(|kind| kind.has(client))
            && self.id.is_none_or(|id| id == client.id)
            && self.address.as_ref().is_none_or(|address| *address == client.address)
            && self.local_address.as_ref().is_none_or(|address| *address == client.local_address)
            && self.user.as_ref().is_none_or(|user| user.as_bytes() == &*client.names.lock().user.name)
            && self.max_age.is_none_or(|age| now.saturating_sub(client.created) / 1000 >= age)
    }
}

/// Writes a client's line of CLIENT LIST. The request that asks for it is what the asking client has in its query buffer.
fn describe(to: &mut String, cx: &Cx<'_, '_>, request: Args<'_>, client: &Client) {
    let mut input = Input::of(client);
    if client.id == cx.session.client.id {
        let mut bytes = Vec::new();
        encode_command(request.0, &mut bytes);
        let arguments = request.0.iter().map(|arg| arg.len()).sum();
        input = Input { query: bytes.len(), free: 0, arguments };
    }
    to.push_str(&describe_line(cx.engine, client, cx.now(), input));
    to.push('\n');
}

/// What a client's line says of its requests, bytes.
pub(crate) struct Input {
    /// Received and not looked at yet.
    query: usize,
    /// Free behind that.
    free: usize,
    /// Of arguments.
    arguments: usize,
}

impl Input {
    /// Returns what was received of a client and waits.
    pub(crate) fn of(client: &Client) -> Input {
        let (query, free) = (client.query_buffer.bytes(), client.query_free.bytes());
        Input { query, free, arguments: client.arguments.bytes() }
    }

    fn total(&self) -> usize {
        self.query + self.free + self.arguments
    }
}

/// Returns a client's line of CLIENT LIST without its end. There is one buffer for replies, and what it holds counts as an entry of the list.
pub(crate) fn describe_line(engine: &Engine, client: &Client, now: Millis, input: Input) -> String {
    let names = client.names.lock().clone();
    let seconds_since = |then: Millis| now.saturating_sub(then) / 1000;
    let queued = client.queued.load(Ordering::Relaxed);
    let queued = if queued == usize::MAX { -1 } else { queued as i64 };
    let flags = letters(client);
    let [sub, psub, ssub] = [0, 1, 2].map(|scope: usize| client.subscriptions[scope].load(Ordering::Relaxed));
    let command = engine.registry.all().get(client.last_command.load(Ordering::Relaxed));
    let output = client.unsent_bytes();
    let waiting = client.outbox.len() + usize::from(client.output_buffer.bytes() > 0);
    let Input { query, free, arguments } = input;
    // Another thread may change them between two looks.
    let held = client.held_bytes().saturating_sub(client.input_bytes()) + input.total();
    format!(
        "id={} addr={} laddr={} fd={} name={} age={} idle={} flags={flags} db={} sub={sub} psub={psub} ssub={ssub} multi={queued} \
         qbuf={query} qbuf-free={free} argv-mem={arguments} multi-mem={} rbs=0 rbp=0 obl=0 oll={waiting} omem={output} tot-mem={held} events=r cmd={} \
         user={} redir={} resp={} lib-name={} lib-ver={}",
        client.id,
        client.address,
        client.local_address,
        client.descriptor,
        names.name,
        seconds_since(client.created),
        seconds_since(client.last_active.load(Ordering::Relaxed)),
        client.db.load(Ordering::Relaxed),
        client.queue.bytes() + client.watched.bytes(),
        command.map_or("NULL", |command| command.name.as_str()),
        String::from_utf8_lossy(&names.user.name),
        client.redirect.load(Ordering::Relaxed),
        client.protocol.load(Ordering::Relaxed),
        names.library,
        names.library_version,
    )
}

/// Returns the letters that say what a client is and does.
fn letters(client: &Client) -> String {
    let is_set = |flag: &AtomicBool| flag.load(Ordering::Relaxed);
    let all = [
        ('O', is_set(&client.is_monitor)),
        ('P', client.is_subscriber()),
        ('x', client.queued.load(Ordering::Relaxed) != usize::MAX),
        ('b', client.is_blocked()),
        ('t', client.redirect.load(Ordering::Relaxed) >= 0),
        ('R', is_set(&client.broken_redirect)),
        ('B', is_set(&client.broadcasts)),
        ('U', client.transport == Transport::Unix),
        ('e', is_set(&client.no_evict)),
        ('T', is_set(&client.no_touch)),
    ];
    let set: String = all.iter().filter(|(_, is_set)| *is_set).map(|(letter, _)| letter).collect();
    if set.is_empty() { "N".into() } else { set }
}

fn on_or_off(args: Args<'_>, at: usize) -> Result<bool, Error> {
    match () {
        () if args.is(at, "ON") => Ok(true),
        () if args.is(at, "OFF") => Ok(false),
        () => Err(SYNTAX),
    }
}

fn text(arg: &[u8]) -> String {
    String::from_utf8_lossy(arg).into_owned()
}
