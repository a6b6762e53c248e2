//! Connections: who a client is, what it speaks, which database it works on.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use redpoll_resp::Protocol;

use crate::acl::{DEFAULT_USER, admin};
use crate::args::Args;
use crate::client_admin::CLIENT;
use crate::command::{
    ALLOW_BUSY, Command, FAST, Family, LOADING, NO_AUTH, NOSCRIPT, NOT_QUEUED, STALE, TRANSACTION, cmd, container,
};
use crate::cx::Cx;
use crate::error::{AUTH_WITHOUT_PASSWORD, Error, NO_PROTO, SYNTAX, WRONG_PASS};
use crate::generic::database;
use crate::session::ReplyMode;
use crate::{REDIS_VERSION, client_tracking, pubsub, transaction};

/// Flags of what clients may send at any time, logged in or not.
const ALWAYS: u32 = NOSCRIPT | LOADING | STALE | FAST | NO_AUTH | ALLOW_BUSY;

#[rustfmt::skip]
const COMMANDS: &[Command] = &[
    cmd("AUTH [username] password", auth, ALWAYS, "1.0.0", "O(N) where N is the number of passwords defined for the user", "Authenticates the connection.").arity(-2),
    cmd("CLIENT", container, 0, "2.4.0", "Depends on subcommand.", "A container for client connection commands.").subcommands(CLIENT),
    cmd("ECHO message", echo, LOADING | STALE | FAST, "1.0.0", "O(1)", "Returns the given string."),
    cmd("HELLO [protover [AUTH username password] [SETNAME clientname]]", hello, ALWAYS, "6.0.0", "O(1)", "Handshakes with the Redis server."),
    cmd("PING [message]", ping, FAST, "1.0.0", "O(1)", "Returns the server's liveliness response."),
    cmd("QUIT", quit, ALWAYS | NOT_QUEUED, "1.0.0", "O(1)", "Closes the connection.").arity(-1),
    cmd("RESET", reset, ALWAYS | NOT_QUEUED | TRANSACTION, "6.2.0", "O(1)", "Resets the connection."),
    cmd("SELECT index", select, LOADING | STALE | FAST, "1.0.0", "O(1)", "Changes the selected database."),
];

/// Connections.
pub(crate) const FAMILY: Family = Family { group: "connection", commands: COMMANDS };

/// AUTH [username] password
fn auth(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    match args.len() {
        2 if cx.engine.users.default_takes_any_password() => return Err(AUTH_WITHOUT_PASSWORD),
        2 => log_in(cx, args.at(0), DEFAULT_USER, args.at(1))?,
        3 => log_in(cx, args.at(0), args.at(1), args.at(2))?,
        _ => return Err(SYNTAX),
    }
    cx.out.ok();
    Ok(())
}

/// ECHO message
fn echo(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    cx.out.bulk(args.at(1));
    Ok(())
}

/// HELLO [protover [AUTH username password] [SETNAME clientname]]
fn hello(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    let protocol = match args.optional(1) {
        None => None,
        Some(_) => match args.int(1) {
            Ok(2) => Some(Protocol::Resp2),
            Ok(3) => Some(Protocol::Resp3),
            Ok(_) => return Err(NO_PROTO),
            Err(_) => return Err(Error::Text("ERR Protocol version is not an integer or out of range")),
        },
    };
    let (mut credentials, mut name) = (None, None);
    let mut at = 2;
    while at < args.len() {
        if args.is(at, "AUTH") && at + 2 < args.len() {
            credentials = Some((args.at(at + 1), args.at(at + 2)));
            at += 3;
        } else if args.is(at, "SETNAME") && at + 1 < args.len() {
            name = Some(client_name(args.at(at + 1))?);
            at += 2;
        } else {
            return Err(Error::of(&[b"ERR Syntax error in HELLO option '", args.at(at), b"'"]));
        }
    }
    if let Some((user, password)) = credentials {
        log_in(cx, args.at(0), user, password)?;
    }
    if !cx.session.authenticated {
        return Err(Error::Text(
            "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH <user> <pass> option can be used to authenticate the client and select the RESP protocol version at the same time",
        ));
    }
    if let Some(name) = name {
        cx.session.client.name(|names| names.name = name);
    }
    if let Some(protocol) = protocol {
        speak(cx, protocol);
    }
    greet(cx);
    Ok(())
}

/// PING [message]
fn ping(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    if cx.session.subscriptions.is_some() && cx.out.protocol() == Protocol::Resp2 && args.len() <= 2 {
        cx.out.array(2);
        cx.out.bulk(b"pong");
        cx.out.bulk(args.optional(1).unwrap_or_default());
        return Ok(());
    }
    match args.len() {
        1 => cx.out.simple("PONG"),
        2 => cx.out.bulk(args.at(1)),
        _ => return Err(crate::error::wrong_arity("ping")),
    }
    Ok(())
}

/// QUIT
fn quit(cx: &mut Cx<'_, '_>, _: Args<'_>) -> Result<(), Error> {
    cx.session.closing = true;
    cx.out.ok();
    Ok(())
}

/// RESET
fn reset(cx: &mut Cx<'_, '_>, _: Args<'_>) -> Result<(), Error> {
    transaction::close(cx);
    pubsub::forget(cx);
    client_tracking::forget(cx);
    cx.engine.monitors.remove(&cx.session.client);
    choose(cx, 0);
    speak(cx, Protocol::Resp2);
    cx.session.reply_mode = ReplyMode::On;
    cx.session.no_touch = false;
    let user = Arc::clone(cx.engine.users.default_user());
    cx.session.become_user(user);
    cx.session.authenticated = cx.engine.users.default_needs_no_password();
    let client = &cx.session.client;
    client.name(|names| names.name.clear());
    client.no_evict.store(false, Ordering::Relaxed);
    client.no_touch.store(false, Ordering::Relaxed);
    cx.out.simple("RESET");
    Ok(())
}

/// SELECT index
fn select(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    let index = database(cx, args, 1)?;
    choose(cx, index);
    cx.out.ok();
    Ok(())
}

/// Makes a database the selected one, now and for what follows.
fn choose(cx: &mut Cx<'_, '_>, db: usize) {
    cx.session.db = db;
    cx.session.client.db.store(db, Ordering::Relaxed);
    cx.db.select(db);
}

fn speak(cx: &mut Cx<'_, '_>, protocol: Protocol) {
    cx.out.set_protocol(protocol);
    let version = if protocol == Protocol::Resp3 { 3 } else { 2 };
    cx.session.client.protocol.store(version, Ordering::Relaxed);
}

fn greet(cx: &mut Cx<'_, '_>) {
    let version = cx.session.client.protocol.load(Ordering::Relaxed) as i64;
    cx.out.map(7);
    for (name, value) in [("server", "redis"), ("version", REDIS_VERSION)] {
        cx.out.bulk(name.as_bytes());
        cx.out.bulk(value.as_bytes());
    }
    cx.out.bulk(b"proto");
    cx.out.int(version);
    cx.out.bulk(b"id");
    cx.out.int(cx.session.client.id as i64);
    for (name, value) in [("mode", "standalone"), ("role", "master")] {
        cx.out.bulk(name.as_bytes());
        cx.out.bulk(value.as_bytes());
    }
    cx.out.bulk(b"modules");
    cx.out.array(0);
}

/// Logs in; `command` is noted if that fails.
fn log_in(cx: &mut Cx<'_, '_>, command: &[u8], user: &[u8], password: &[u8]) -> Result<(), Error> {
    let Some(found) = cx.engine.users.authenticate(user, password) else {
        admin::note_login(cx, command, user);
        return Err(WRONG_PASS);
    };
    cx.session.become_user(found);
    cx.session.authenticated = true;
    Ok(())
}

/// Checks a name a client gives itself.
pub(crate) fn client_name(name: &[u8]) -> Result<String, Error> {
    printable(name).ok_or(Error::Text("ERR Client names cannot contain spaces, newlines or special characters."))
}

/// Returns a text if it consists of visible ASCII characters only.
pub(crate) fn printable(text: &[u8]) -> Option<String> {
    text.iter().all(|byte| (b'!'..=b'~').contains(byte)).then(|| String::from_utf8_lossy(text).into_owned())
}
