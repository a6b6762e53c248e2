//! ACL: looking at users and changing them.
//!
//! Users are not data: they are not in the log. They come from the settings, from the file that `aclfile` names, or from ACL SETUSER, and only ACL SAVE keeps
//! them. Changes hold at once; who is logged in as a user that is gone is disconnected.

use super::check::Denial;
use super::log::Entry;
use super::rules::{CATEGORIES, is_plain};
use super::{Basis, DEFAULT_USER, Refusal, Selector, file, presence};
use crate::args::Args;
use crate::client_admin::{Input, describe_line};
use crate::command::{ADMIN, Command, Family, LOADING, NOSCRIPT, STALE, cmd, container};
use crate::command_admin::categories;
use crate::cx::{Cx, Origin};
use crate::digest::hex;
use crate::engine::Engine;
use crate::error::{Error, wrong_arity};
use crate::help;
use crate::settings::Setting;

const ADMINISTERS: u32 = ADMIN | NOSCRIPT | LOADING | STALE;
const ASKS: u32 = NOSCRIPT | LOADING | STALE;

#[rustfmt::skip]
const COMMANDS: &[Command] = &[
    cmd("ACL", container, 0, "6.0.0", "Depends on subcommand.", "A container for Access List Control commands.").subcommands(&[
        cmd("ACL CAT [category]", cat, ASKS, "6.0.0", "O(1) since the categories and commands are a fixed set.", "Lists the ACL categories, or the commands inside a category."),
        cmd("ACL DELUSER username [username ...]", deluser, ADMINISTERS, "6.0.0", "O(1) amortized time considering the typical user.", "Deletes ACL users, and terminates their connections."),
        cmd("ACL DRYRUN username command [arg [arg ...]]", dryrun, ADMINISTERS, "7.0.0", "O(1).", "Simulates the execution of a command by a user, without executing the command."),
        cmd("ACL GENPASS [bits]", genpass, ASKS, "6.0.0", "O(1)", "Generates a pseudorandom, secure password that can be used to identify ACL users."),
        cmd("ACL GETUSER username", getuser, ADMINISTERS, "6.0.0", "O(N). Where N is the number of password, command and pattern rules that the user has.", "Lists the ACL rules of a user."),
        cmd("ACL HELP", help, LOADING | STALE, "6.0.0", "O(1)", "Returns helpful text about the different subcommands."),
        cmd("ACL LIST", list, ADMINISTERS, "6.0.0", "O(N). Where N is the number of configured users.", "Dumps the effective rules in ACL file format."),
        cmd("ACL LOAD", load, ADMINISTERS, "6.0.0", "O(N). Where N is the number of configured users.", "Reloads the rules from the configured ACL file."),
        cmd("ACL LOG [count | RESET]", log, ADMINISTERS, "6.0.0", "O(N) with N being the number of entries shown.", "Lists recent security events generated due to ACL rules."),
        cmd("ACL SAVE", save, ADMINISTERS, "6.0.0", "O(N). Where N is the number of configured users.", "Saves the effective ACL rules in the configured ACL file."),
        cmd("ACL SETUSER username [rule [rule ...]]", setuser, ADMINISTERS, "6.0.0", "O(N). Where N is the number of rules provided.", "Creates and modifies an ACL user and its rules."),
        cmd("ACL USERS", users, ADMINISTERS, "6.0.0", "O(N). Where N is the number of configured users.", "Lists all ACL users."),
        cmd("ACL WHOAMI", whoami, ASKS, "6.0.0", "O(1)", "Returns the authenticated username of the current connection."),
    ]),
];

/// Users.
pub(crate) const FAMILY: Family = Family { group: "server", commands: COMMANDS };

const HELP: &[&str] = &[
    "CAT [<category>]",
    "    List all commands that belong to <category>, or all command categories",
    "    when no category is specified.",
    "DELUSER <username> [<username> ...]",
    "    Delete a list of users.",
    "DRYRUN <username> <command> [<arg> ...]",
    "    Returns whether the user can execute the given command without executing the command.",
    "GETUSER <username>",
    "    Get the user's details.",
    "GENPASS [<bits>]",
    "    Generate a secure 256-bit user password. The optional `bits` argument can",
    "    be used to specify a different size.",
    "LIST",
    "    Show users details in config file format.",
    "LOAD",
    "    Reload users from the ACL file.",
    "LOG [<count> | RESET]",
    "    Show the ACL log entries.",
    "SAVE",
    "    Save the current config to the ACL file.",
    "SETUSER <username> <attribute> [<attribute> ...]",
    "    Create or modify a user with the specified attributes.",
    "USERS",
    "    List all the registered usernames.",
    "WHOAMI",
    "    Return the current connection username.",
];

/// ACL CAT [category]
fn cat(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    let Some(category) = args.optional(2) else {
        cx.out.array(CATEGORIES.len());
        CATEGORIES.iter().for_each(|name| cx.out.bulk(name.as_bytes()));
        return Ok(());
    };
    at_most(args, 3)?;
    let known = CATEGORIES.iter().find(|name| category.eq_ignore_ascii_case(name.as_bytes()));
    let known = known.ok_or_else(|| Error::of(&[b"ERR Unknown category '", category, b"'"]))?;
    let all = cx.engine.registry.all().iter().filter(|resolved| categories(resolved).contains(known));
    let names: Vec<&str> = all.map(|resolved| resolved.name.as_str()).collect();
    cx.out.array(names.len());
    names.into_iter().for_each(|name| cx.out.bulk(name.as_bytes()));
    Ok(())
}

/// ACL DELUSER username [username ...]
fn deluser(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    if args.from(2).contains(&DEFAULT_USER) {
        return Err(Error::Text("ERR The 'default' user cannot be removed"));
    }
    let mut deleted = 0;
    for name in args.from(2) {
        if let Some(user) = cx.engine.users.delete(name) {
            deleted += 1;
            presence::disconnect(cx, &user);
        }
    }
    cx.out.int(deleted);
    Ok(())
}

/// ACL DRYRUN username command [arg [arg ...]]
fn dryrun(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    let user = cx.engine.users.find(args.at(2));
    let user = user.ok_or_else(|| Error::of(&[b"ERR User '", args.at(2), b"' not found"]))?;
    let call = Args(args.from(3));
    let resolved = cx.engine.registry.resolve(call);
    let resolved = resolved.map_err(|_| Error::of(&[b"ERR Command '", args.at(3), b"' not found"]))?;
    if !resolved.accepts(call.len()) {
        return Err(wrong_arity(&resolved.name));
    }
    match user.may_run(resolved, call) {
        Ok(()) => cx.out.ok(),
        Err(denial) => cx.out.bulk(&denial.to_dry_run()),
    }
    Ok(())
}

/// ACL GENPASS [bits]
fn genpass(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    const BITS: Error = Error::Text(
        "ERR ACL GENPASS argument must be the number of bits for the output password, a positive number up to 4096",
    );
    at_most(args, 3)?;
    let bits = if args.len() == 3 { args.int_in(2, 1..=4096, BITS)? } else { 256 };
    let digits = usize::try_from(bits).expect("checked to be small").div_ceil(4);
    let mut bytes = vec![0; digits.div_ceil(2)];
    let system = cx.engine.system.get().ok_or(Error::Text("ERR This store was opened without a source of secrets"))?;
    system.fill(&mut bytes).map_err(|error| Error::from(format!("ERR {error}")))?;
    cx.out.bulk(&hex(&bytes).as_bytes()[..digits]);
    Ok(())
}

/// ACL GETUSER username
fn getuser(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    let Some(user) = cx.engine.users.find(args.at(2)) else {
        cx.out.null();
        return Ok(());
    };
    let rights = user.rights.read();
    let out = &mut *cx.out;
    out.map(6);
    out.bulk(b"flags");
    let flags = rights.flags();
    out.set(flags.len());
    flags.into_iter().for_each(|flag| out.bulk(flag.as_bytes()));
    out.bulk(b"passwords");
    out.array(rights.passwords.len());
    rights.passwords.iter().for_each(|hash| out.bulk(hex(hash).as_bytes()));
    write_selector(out, &rights.root);
    out.bulk(b"selectors");
    out.array(rights.selectors.len());
    for selector in &rights.selectors {
        out.map(3);
        write_selector(out, selector);
    }
    Ok(())
}

fn write_selector(out: &mut redpoll_resp::Writer, selector: &Selector) {
    out.bulk(b"commands");
    out.bulk(selector.describe_commands().as_bytes());
    out.bulk(b"keys");
    out.bulk(&selector.describe_keys());
    out.bulk(b"channels");
    out.bulk(&selector.describe_channels());
}

/// ACL HELP
fn help(cx: &mut Cx<'_, '_>, _: Args<'_>) -> Result<(), Error> {
    help::reply(cx.out, "ACL", HELP);
    Ok(())
}

/// ACL LIST
fn list(cx: &mut Cx<'_, '_>, _: Args<'_>) -> Result<(), Error> {
    let users = cx.engine.users.all();
    cx.out.array(users.len());
    users.iter().for_each(|user| cx.out.bulk(&file::line(user)));
    Ok(())
}

/// ACL LOAD
fn load(cx: &mut Cx<'_, '_>, _: Args<'_>) -> Result<(), Error> {
    let (path, system) = file::place(cx.engine)?;
    let text = system
        .read(&path)
        .map_err(|error| Error::from(format!("ERR Error loading ACLs, opening file '{path}': {error}")))?;
    file::load_text(cx.engine, &path, &text)?;
    presence::disconnect_unknown(cx);
    presence::cut_listeners(cx);
    cx.out.ok();
    Ok(())
}

/// ACL LOG [count | RESET]
fn log(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    const SHOWN: i64 = 10;
    at_most(args, 3)?;
    if args.is(2, "RESET") {
        cx.engine.users.log.lock().clear();
        cx.out.ok();
        return Ok(());
    }
    let count = if args.len() == 3 { args.int(2)? } else { SHOWN };
    let now = cx.now();
    let log = cx.engine.users.log.lock();
    let count = usize::try_from(count).unwrap_or(0).min(log.entries().len());
    cx.out.array(count);
    for entry in log.entries().take(count) {
        cx.out.map(10);
        cx.out.bulk(b"count");
        cx.out.int(entry.count as i64);
        let texts: [(&str, &[u8]); 4] = [
            ("reason", entry.refusal.name().as_bytes()),
            ("context", entry.context.as_bytes()),
            ("object", &entry.object),
            ("username", &entry.user),
        ];
        for (name, text) in texts {
            cx.out.bulk(name.as_bytes());
            cx.out.bulk(text);
        }
        cx.out.bulk(b"age-seconds");
        cx.out.double(now.saturating_sub(entry.updated) as f64 / 1000.0);
        cx.out.bulk(b"client-info");
        cx.out.bulk(entry.client.as_bytes());
        let numbers =
            [("entry-id", entry.id), ("timestamp-created", entry.created), ("timestamp-last-updated", entry.updated)];
        for (name, number) in numbers {
            cx.out.bulk(name.as_bytes());
            cx.out.int(number as i64);
        }
    }
    Ok(())
}

/// ACL SAVE
fn save(cx: &mut Cx<'_, '_>, _: Args<'_>) -> Result<(), Error> {
    let (path, system) = file::place(cx.engine)?;
    let mut text = Vec::new();
    for user in cx.engine.users.all() {
        text.extend_from_slice(&file::line(&user));
        text.push(b'\n');
    }
    if let Err(error) = system.write(&path, &text) {
        tracing::warn!(%error, path, "the ACL file cannot be written");
        return Err(Error::Text(
            "ERR There was an error trying to save the ACLs. Please check the server logs for more information",
        ));
    }
    cx.out.ok();
    Ok(())
}

/// ACL SETUSER username [rule [rule ...]]
fn setuser(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    let name = args.at(2);
    check_name(name)?;
    let user = cx.engine.users.set(Basis::of(cx.engine), name, args.from(3));
    if !user.map_err(Error::Owned)?.may_hear_everything() {
        presence::cut_listeners(cx);
    }
    cx.out.ok();
    Ok(())
}

/// ACL USERS
fn users(cx: &mut Cx<'_, '_>, _: Args<'_>) -> Result<(), Error> {
    let users = cx.engine.users.all();
    cx.out.array(users.len());
    users.iter().for_each(|user| cx.out.bulk(&user.name));
    Ok(())
}

/// ACL WHOAMI
fn whoami(cx: &mut Cx<'_, '_>, _: Args<'_>) -> Result<(), Error> {
    cx.out.bulk(&cx.session.user.name);
    Ok(())
}

fn at_most(args: Args<'_>, count: usize) -> Result<(), Error> {
    const END: &[u8] = b"'. Try ACL HELP.";
    if args.len() <= count {
        return Ok(());
    }
    Err(Error::of(&[b"ERR unknown subcommand or wrong number of arguments for '", args.at(1), END]))
}

pub(super) fn check_name(name: &[u8]) -> Result<(), Error> {
    if is_plain(name) { Ok(()) } else { Err(Error::Text("ERR Usernames can't contain spaces or null characters")) }
}

/// Notes that a session was refused something.
#[cold]
pub(crate) fn note(engine: &Engine, session: &crate::session::Session, origin: Origin, denial: &Denial) {
    let (refusal, object) = denial.logged();
    let context = match origin {
        Origin::Script => "lua",
        Origin::Transaction => "multi",
        _ if session.in_transaction() => "multi",
        _ => "toplevel",
    };
    add(engine, session, refusal, context, object, session.user.name.to_vec());
}

/// Notes that a login failed.
#[cold]
pub(crate) fn note_login(cx: &Cx<'_, '_>, command: &[u8], user: &[u8]) {
    let context = if cx.origin == Origin::Transaction { "multi" } else { "toplevel" };
    add(cx.engine, cx.session, Refusal::Login, context, command.to_vec(), user.to_vec());
}

fn add(
    engine: &Engine,
    session: &crate::session::Session,
    refusal: Refusal,
    context: &'static str,
    object: Vec<u8>,
    user: Vec<u8>,
) {
    let now = engine.clock.now();
    let client = describe_line(engine, &session.client, now, Input::of(&session.client));
    let entry = Entry { id: 0, count: 1, refusal, context, object, user, created: now, updated: now, client };
    engine.users.log.lock().add(entry, engine.settings.size(Setting::AcllogMaxLen));
}
