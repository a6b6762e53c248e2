//! Publishing and subscribing. Who listens to what is kept in the [exchange](crate::exchange).
//!
//! A client that subscribes is sent messages beside its replies. Under RESP2, which cannot tell the two apart, it may then only change its subscriptions, PING,
//! QUIT and RESET; under RESP3 messages are pushes and everything goes on as before.
//!
//! What a client is still to receive stands before the confirmation that its subscription has ended: after that comes nothing more.

use crate::args::Args;
use crate::client::Transport;
use crate::command::{Command, FAST, Family, Keys, LOADING, MAY_REPLICATE, NOSCRIPT, PUBSUB, STALE, cmd, container};
use crate::cx::{Cx, Origin};
use crate::error::Error;
use crate::exchange::Scope;
use crate::help;
use crate::registry::Resolved;
use crate::session::{ReplyMode, Session};

const SUBSCRIBES: u32 = PUBSUB | NOSCRIPT | LOADING | STALE;
const PUBLISHES: u32 = PUBSUB | LOADING | STALE | FAST | MAY_REPLICATE;
const LOOKS: u32 = PUBSUB | LOADING | STALE;

#[rustfmt::skip]
const COMMANDS: &[Command] = &[
    cmd("PSUBSCRIBE pattern [pattern ...]", psubscribe, SUBSCRIBES, "2.0.0", "O(N) where N is the number of patterns to subscribe to.", "Listens for messages published to channels that match one or more patterns.").keys(Keys::None),
    cmd("PUBLISH channel message", publish, PUBLISHES, "2.0.0", "O(N+M) where N is the number of clients subscribed to the receiving channel and M is the total number of subscribed patterns (by any client).", "Posts a message to a channel."),
    cmd("PUBSUB", container, 0, "2.8.0", "Depends on subcommand.", "A container for Pub/Sub commands.").subcommands(&[
        cmd("PUBSUB CHANNELS [pattern]", channels, LOOKS, "2.8.0", "O(N) where N is the number of active channels, and assuming constant time pattern matching (relatively short channels and patterns)", "Returns the active channels.").arity(-2),
        cmd("PUBSUB HELP", help, LOADING | STALE, "6.2.0", "O(1)", "Returns helpful text about the different subcommands."),
        cmd("PUBSUB NUMPAT", numpat, LOOKS, "2.8.0", "O(1)", "Returns a count of unique pattern subscriptions."),
        cmd("PUBSUB NUMSUB [channel [channel ...]]", numsub, LOOKS, "2.8.0", "O(N) for the NUMSUB subcommand, where N is the number of requested channels", "Returns a count of subscribers to channels."),
        cmd("PUBSUB SHARDCHANNELS [pattern]", shardchannels, LOOKS, "7.0.0", "O(N) where N is the number of active shard channels, and assuming constant time pattern matching (relatively short shard channels).", "Returns the active shard channels.").arity(-2),
        cmd("PUBSUB SHARDNUMSUB [shardchannel [shardchannel ...]]", shardnumsub, LOOKS, "7.0.0", "O(N) for the SHARDNUMSUB subcommand, where N is the number of requested shard channels", "Returns the count of subscribers of shard channels."),
    ]),
    cmd("PUNSUBSCRIBE [pattern [pattern ...]]", punsubscribe, SUBSCRIBES, "2.0.0", "O(N) where N is the number of patterns to unsubscribe.", "Stops listening to messages published to channels that match one or more patterns.").keys(Keys::None),
    cmd("SPUBLISH shardchannel message", spublish, PUBLISHES, "7.0.0", "O(N) where N is the number of clients subscribed to the receiving shard channel.", "Posts a message to a shard channel."),
    cmd("SSUBSCRIBE shardchannel [shardchannel ...]", ssubscribe, SUBSCRIBES, "7.0.0", "O(N) where N is the number of shard channels to subscribe to.", "Listens for messages published to shard channels."),
    cmd("SUBSCRIBE channel [channel ...]", subscribe, SUBSCRIBES, "2.0.0", "O(N) where N is the number of channels to subscribe to.", "Listens for messages published to channels."),
    cmd("SUNSUBSCRIBE [shardchannel [shardchannel ...]]", sunsubscribe, SUBSCRIBES, "7.0.0", "O(N) where N is the number of shard channels to unsubscribe.", "Stops listening to messages posted to shard channels."),
    cmd("UNSUBSCRIBE [channel [channel ...]]", unsubscribe, SUBSCRIBES, "2.0.0", "O(N) where N is the number of channels to unsubscribe.", "Stops listening to messages posted to channels."),
];

/// Publishing and subscribing.
pub(crate) const FAMILY: Family = Family { group: "pubsub", commands: COMMANDS };

const HELP: &[&str] = &[
    "CHANNELS [<pattern>]",
    "    Return the currently active channels matching a <pattern> (default: '*').",
    "NUMPAT",
    "    Return number of subscriptions to patterns.",
    "NUMSUB [<channel> ...]",
    "    Return the number of subscribers for the specified channels, excluding",
    "    pattern subscriptions(default: no channels).",
    "SHARDCHANNELS [<pattern>]",
    "    Return the currently active shard level channels matching a <pattern> (default: '*').",
    "SHARDNUMSUB [<shardchannel> ...]",
    "    Return the number of subscribers for the specified shard level channel(s)",
];

/// PSUBSCRIBE pattern [pattern ...]
fn psubscribe(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    begin(cx, args, Scope::Pattern)
}

/// PUBLISH channel message
fn publish(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    let receivers = cx.engine.exchange.publish(cx.engine, Scope::Channel, args.at(1), args.at(2));
    cx.out.int(receivers as i64);
    Ok(())
}

/// PUBSUB CHANNELS [pattern]
fn channels(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    list(cx, args, Scope::Channel)
}

/// PUBSUB HELP
fn help(cx: &mut Cx<'_, '_>, _: Args<'_>) -> Result<(), Error> {
    help::reply(cx.out, "PUBSUB", HELP);
    Ok(())
}

/// PUBSUB NUMPAT
fn numpat(cx: &mut Cx<'_, '_>, _: Args<'_>) -> Result<(), Error> {
    cx.out.int(cx.engine.exchange.pattern_count() as i64);
    Ok(())
}

/// PUBSUB NUMSUB [channel [channel ...]]
fn numsub(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    count(cx, args, Scope::Channel)
}

/// PUBSUB SHARDCHANNELS [pattern]
fn shardchannels(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    list(cx, args, Scope::Shard)
}

/// PUBSUB SHARDNUMSUB [shardchannel [shardchannel ...]]
fn shardnumsub(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    count(cx, args, Scope::Shard)
}

/// PUNSUBSCRIBE [pattern [pattern ...]]
fn punsubscribe(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    end(cx, args, Scope::Pattern)
}

/// SPUBLISH shardchannel message
fn spublish(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    let receivers = cx.engine.exchange.publish(cx.engine, Scope::Shard, args.at(1), args.at(2));
    cx.out.int(receivers as i64);
    Ok(())
}

/// SSUBSCRIBE shardchannel [shardchannel ...]
fn ssubscribe(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    begin(cx, args, Scope::Shard)
}

/// SUBSCRIBE channel [channel ...]
fn subscribe(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    begin(cx, args, Scope::Channel)
}

/// SUNSUBSCRIBE [shardchannel [shardchannel ...]]
fn sunsubscribe(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    end(cx, args, Scope::Shard)
}

/// UNSUBSCRIBE [channel [channel ...]]
fn unsubscribe(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    end(cx, args, Scope::Channel)
}

/// Refuses what a subscriber may not do under RESP2.
#[cold]
pub(crate) fn confine(session: &Session, resolved: &Resolved) -> Result<(), Error> {
    const ALLOWED: &[&str] = &["ping", "quit", "reset"];
    let about_subscriptions = resolved.original_name.ends_with("subscribe");
    if session.client.speaks_resp3() || about_subscriptions || ALLOWED.contains(&resolved.original_name.as_str()) {
        return Ok(());
    }
    Err(Error::from(format!(
        "ERR Can't execute '{}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context",
        resolved.name
    )))
}

/// Ends all subscriptions of a session, without a word to the client.
pub(crate) fn forget(cx: &mut Cx<'_, '_>) {
    if let Some(mut subscriptions) = cx.session.subscriptions.take() {
        subscriptions.clear(&cx.engine.exchange, &cx.session.client);
        hand_over(cx);
    }
}

/// Subscribes and confirms each subscription.
fn begin(cx: &mut Cx<'_, '_>, args: Args<'_>, scope: Scope) -> Result<(), Error> {
    insist(cx);
    let client = &cx.session.client;
    let subscriptions = cx.session.subscriptions.get_or_insert_default();
    for name in args.from(1) {
        // Who asked for a million may not have more; the confirmation with an unchanged count says so.
        if !subscriptions.add(&cx.engine.exchange, client, scope, name) {
            tracing::warn!(client = client.id, "a client has reached the greatest number of subscriptions");
        }
        if !cx.session.user.may_hear(name, scope == Scope::Pattern) {
            // The right was lost since the command was admitted.
            cx.session.closing = true;
            return Ok(());
        }
        let kind = ["subscribe", "psubscribe", "ssubscribe"][scope as usize];
        cx.out.push(3);
        cx.out.bulk(kind.as_bytes());
        cx.out.bulk(name);
        cx.out.int(subscriptions.count(scope) as i64);
    }
    Ok(())
}

/// Ends some or all subscriptions and confirms each end.
fn end(cx: &mut Cx<'_, '_>, args: Args<'_>, scope: Scope) -> Result<(), Error> {
    let mut subscriptions = cx.session.subscriptions.take().unwrap_or_default();
    let all = if args.len() == 1 { subscriptions.names(scope) } else { Vec::new() };
    let named = args.from(1).iter().copied().chain(all.iter().map(AsRef::as_ref));
    let names: Vec<&[u8]> = named.collect();
    let mut counts = Vec::with_capacity(names.len());
    for name in &names {
        subscriptions.remove(&cx.engine.exchange, &cx.session.client, scope, name);
        counts.push(subscriptions.count(scope));
    }
    insist(cx);
    hand_over(cx);
    let kind = ["unsubscribe", "punsubscribe", "sunsubscribe"][scope as usize];
    for (name, count) in names.iter().zip(counts) {
        cx.out.push(3);
        cx.out.bulk(kind.as_bytes());
        cx.out.bulk(name);
        cx.out.int(count as i64);
    }
    if names.is_empty() {
        cx.out.push(3);
        cx.out.bulk(kind.as_bytes());
        cx.out.null();
        cx.out.int(subscriptions.count(scope) as i64);
    }
    cx.session.subscriptions = (!subscriptions.is_empty()).then_some(subscriptions);
    Ok(())
}

/// Has confirmations sent even to a client that wants no replies: they are messages like those it subscribes to.
fn insist(cx: &mut Cx<'_, '_>) {
    cx.session.wrote_messages = cx.session.reply_mode != ReplyMode::On && cx.origin == Origin::Client;
}

/// Writes what the client has been sent so far. Inside a transaction's reply there is no room for it, and an embedded caller takes its mail itself.
fn hand_over(cx: &mut Cx<'_, '_>) {
    let client = &cx.session.client;
    let silenced = cx.session.reply_mode != ReplyMode::On && !cx.session.wrote_messages;
    if cx.origin == Origin::Client && !silenced && client.transport != Transport::Embedded {
        client.outbox.take(usize::MAX, |message| cx.out.raw(message));
    }
}

fn list(cx: &mut Cx<'_, '_>, args: Args<'_>, scope: Scope) -> Result<(), Error> {
    if args.len() > 3 {
        let text: [&[u8]; 3] =
            [b"ERR unknown subcommand or wrong number of arguments for '", args.at(1), b"'. Try PUBSUB HELP."];
        return Err(Error::of(&text));
    }
    let names = cx.engine.exchange.channels(scope, args.optional(2));
    cx.out.array(names.len());
    names.iter().for_each(|name| cx.out.bulk(name));
    Ok(())
}

fn count(cx: &mut Cx<'_, '_>, args: Args<'_>, scope: Scope) -> Result<(), Error> {
    let names = args.from(2);
    cx.out.array(2 * names.len());
    for name in names {
        cx.out.bulk(name);
        cx.out.int(cx.engine.exchange.subscribers(scope, name) as i64);
    }
    Ok(())
}
