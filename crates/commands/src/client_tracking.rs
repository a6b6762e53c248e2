//! CLIENT TRACKING and its relatives: what a client asks of the [tracker](crate::tracking).

use std::collections::BTreeSet;

use crate::args::{Args, int};
use crate::cx::Cx;
use crate::error::{Error, SYNTAX};
use crate::tracking::{Mode, Options, Tracking};
use std::sync::atomic::Ordering;

const OTHER_MODE: Error = Error::Text(
    "ERR You can't switch BCAST mode on/off before disabling tracking for this client, and then re-enabling it with a different mode.",
);
const OTHER_CHOICE: Error = Error::Text(
    "ERR You can't switch OPTIN/OPTOUT mode before disabling tracking for this client, and then re-enabling it with a different mode.",
);
const NOT_CHOOSING: Error = Error::Text(
    "ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or OPTOUT mode enabled",
);

/// CLIENT CACHING <YES | NO>
pub(crate) fn caching(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    let Some(tracking) = cx.session.tracking.as_mut().filter(|t| matches!(t.mode, Mode::OptIn | Mode::OptOut)) else {
        return Err(match &cx.session.tracking {
            Some(_) if args.is(2, "YES") => NO_OPT_IN,
            Some(_) if args.is(2, "NO") => NO_OPT_OUT,
            Some(_) => SYNTAX,
            None => NOT_CHOOSING,
        });
    };
    match tracking.mode {
        _ if !args.is(2, "YES") && !args.is(2, "NO") => return Err(SYNTAX),
        Mode::OptOut if args.is(2, "YES") => return Err(NO_OPT_IN),
        Mode::OptIn if args.is(2, "NO") => return Err(NO_OPT_OUT),
        _ => tracking.caching = true,
    }
    cx.out.ok();
    Ok(())
}

const NO_OPT_IN: Error = Error::Text("ERR CLIENT CACHING YES is only valid when tracking is enabled in OPTIN mode.");
const NO_OPT_OUT: Error = Error::Text("ERR CLIENT CACHING NO is only valid when tracking is enabled in OPTOUT mode.");

/// CLIENT GETREDIR
pub(crate) fn getredir(cx: &mut Cx<'_, '_>, _: Args<'_>) -> Result<(), Error> {
    cx.out.int(cx.session.client.redirect.load(Ordering::Relaxed));
    Ok(())
}

/// CLIENT TRACKING <ON | OFF> [REDIRECT client-id] [PREFIX prefix [PREFIX prefix ...]] [BCAST] [OPTIN] [OPTOUT] [NOLOOP]
pub(crate) fn tracking(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    let asked = Asked::parse(cx, args)?;
    if args.is(2, "OFF") {
        forget(cx);
    } else if args.is(2, "ON") {
        let before = cx.engine.tracker.options(&cx.session.client);
        let options = asked.options(before)?;
        cx.session.tracking = Some(Tracking { mode: options.mode, caching: false });
        cx.engine.tracker.begin(&cx.session.client, options);
    } else {
        return Err(SYNTAX);
    }
    cx.out.ok();
    Ok(())
}

/// CLIENT TRACKINGINFO
pub(crate) fn trackinginfo(cx: &mut Cx<'_, '_>, _: Args<'_>) -> Result<(), Error> {
    let client = &cx.session.client;
    let options = cx.engine.tracker.options(client);
    let caching = cx.session.tracking.as_ref().is_some_and(|tracking| tracking.caching);
    let mut flags = vec![if options.is_some() { "on" } else { "off" }];
    match options.as_ref().map(|options| options.mode) {
        Some(Mode::Broadcast) => flags.push("bcast"),
        Some(Mode::OptIn) => flags.extend(["optin", "caching-yes"].iter().take(1 + usize::from(caching))),
        Some(Mode::OptOut) => flags.extend(["optout", "caching-no"].iter().take(1 + usize::from(caching))),
        Some(Mode::Reads) | None => {}
    }
    if options.as_ref().is_some_and(|options| options.no_loop) {
        flags.push("noloop");
    }
    if client.broken_redirect.load(Ordering::Relaxed) {
        flags.push("broken_redirect");
    }
    cx.out.map(3);
    cx.out.bulk(b"flags");
    cx.out.set(flags.len());
    flags.iter().for_each(|flag| cx.out.bulk(flag.as_bytes()));
    cx.out.bulk(b"redirect");
    cx.out.int(client.redirect.load(Ordering::Relaxed));
    cx.out.bulk(b"prefixes");
    let prefixes = options.map(|options| options.prefixes).unwrap_or_default();
    cx.out.array(prefixes.len());
    prefixes.iter().for_each(|prefix| cx.out.bulk(prefix));
    Ok(())
}

/// Ends a client's tracking.
pub(crate) fn forget(cx: &mut Cx<'_, '_>) {
    if cx.session.tracking.take().is_some() {
        cx.engine.tracker.end(&cx.session.client);
    }
}

/// The options as they were given.
#[derive(Default)]
struct Asked {
    redirect: Option<u64>,
    prefixes: Vec<Box<[u8]>>,
    broadcast: bool,
    opt_in: bool,
    opt_out: bool,
    no_loop: bool,
}

impl Asked {
    fn parse(cx: &Cx<'_, '_>, args: Args<'_>) -> Result<Asked, Error> {
        let mut asked = Asked::default();
        let mut at = 3;
        while at < args.len() {
            let value = args.optional(at + 1);
            match value {
                Some(value) if args.is(at, "REDIRECT") => {
                    if asked.redirect.is_some() {
                        return Err(Error::Text("ERR A client can only redirect to a single other client"));
                    }
                    let found = u64::try_from(int(value)?).ok().and_then(|id| cx.engine.clients.find(id));
                    let missing = Error::Text("ERR The client ID you want redirect to does not exist");
                    asked.redirect = Some(found.ok_or(missing)?.id);
                    at += 1;
                }
                Some(value) if args.is(at, "PREFIX") => {
                    asked.prefixes.push(value.into());
                    at += 1;
                }
                _ if args.is(at, "BCAST") => asked.broadcast = true,
                _ if args.is(at, "OPTIN") => asked.opt_in = true,
                _ if args.is(at, "OPTOUT") => asked.opt_out = true,
                _ if args.is(at, "NOLOOP") => asked.no_loop = true,
                _ => return Err(SYNTAX),
            }
            at += 1;
        }
        Ok(asked)
    }

    /// Checks what is asked for, alone and against how the client tracks already.
    fn options(self, before: Option<Options>) -> Result<Options, Error> {
        if !self.broadcast && !self.prefixes.is_empty() {
            return Err(Error::Text("ERR PREFIX option requires BCAST mode to be enabled"));
        }
        if let Some(before) = &before {
            if self.broadcast != (before.mode == Mode::Broadcast) {
                return Err(OTHER_MODE);
            }
            let switched = (self.opt_in && before.mode == Mode::OptOut) || (self.opt_out && before.mode == Mode::OptIn);
            if switched {
                return Err(OTHER_CHOICE);
            }
        }
        if self.broadcast && (self.opt_in || self.opt_out) {
            return Err(Error::Text("ERR OPTIN and OPTOUT are not compatible with BCAST"));
        }
        if self.opt_in && self.opt_out {
            return Err(Error::Text("ERR You can't specify both OPTIN mode and OPTOUT mode"));
        }
        let mut prefixes = before.map(|before| before.prefixes).unwrap_or_default();
        if self.broadcast {
            check_prefixes(&self.prefixes, &prefixes)?;
            // Without a prefix all keys are meant.
            let everything = self.prefixes.is_empty() && prefixes.is_empty();
            prefixes.extend(if everything { vec![Box::default()] } else { self.prefixes });
        }
        let mode = match () {
            () if self.broadcast => Mode::Broadcast,
            () if self.opt_in => Mode::OptIn,
            () if self.opt_out => Mode::OptOut,
            () => Mode::Reads,
        };
        Ok(Options { mode, no_loop: self.no_loop, redirect: self.redirect, prefixes })
    }
}

/// No prefix may begin with another: the client would be told twice.
fn check_prefixes(new: &[Box<[u8]>], existing: &BTreeSet<Box<[u8]>>) -> Result<(), Error> {
    let overlap = |one: &[u8], other: &[u8]| one.starts_with(other) || other.starts_with(one);
    let refuse = |one: &[u8], middle: &str, other: &[u8]| {
        Error::of(&[
            b"ERR Prefix '",
            one,
            b"' overlaps with an",
            middle.as_bytes(),
            b" prefix '",
            other,
            b"'. Prefixes for a single client must not overlap.",
        ])
    };
    for (at, prefix) in new.iter().enumerate() {
        if let Some(other) = existing.iter().find(|other| overlap(prefix, other)) {
            return Err(refuse(prefix, " existing", other));
        }
        if let Some(other) = new[at + 1..].iter().find(|other| overlap(prefix, other)) {
            return Err(refuse(prefix, "other provided", other));
        }
    }
    Ok(())
}
