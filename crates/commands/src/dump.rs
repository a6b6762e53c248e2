//! DUMP and RESTORE: a value as a string of bytes, to be taken to another server. The format is told in `keyspace::rdb`.
//!
//! What Redis 7.0 to 7.4 dump can be restored here, and what is dumped here can be restored there. A deadline is no part of the value; RESTORE takes it as an
//! argument. A payload is checked in full before anything changes.

use std::sync::atomic::Ordering;

use redpoll_keyspace::rdb::{self, Checksum, Refused, Value};
use redpoll_keyspace::{EventClass, Expiry, Stamping};
use redpoll_structures::decimal;

use crate::args::Args;
use crate::command::{Command, DENYOOM, Family, READONLY, WRITE, cmd};
use crate::cx::Cx;
use crate::error::{BAD_FREQUENCY, BAD_IDLE_TIME, BAD_PAYLOAD, BAD_TTL, BUSY_KEY, Error, PAYLOAD_FOOTER, SYNTAX};
use crate::key_spec::{OW, UPDATE};

#[rustfmt::skip]
const COMMANDS: &[Command] = &[
    cmd("DUMP key", dump, READONLY, "2.6.0", "O(1) to access the key and additional O(N*M) to serialize it, where N is the number of Redis objects composing the value and M their average size. For small string values the time complexity is thus O(1)+O(1*M) where M is small, so simply O(1).", "Returns a serialized representation of the value stored at a key."),
    cmd("RESTORE key ttl serialized-value [REPLACE] [ABSTTL] [IDLETIME seconds] [FREQ frequency]", restore, WRITE | DENYOOM, "2.6.0", "O(1) to create the new key and additional O(N*M) to reconstruct the serialized value, where N is the number of Redis objects composing the value and M their average size. For small string values the time complexity is thus O(1)+O(1*M) where M is small, so simply O(1). However for sorted set values the complexity is O(N*M*log(N)) because inserting values into sorted sets is O(log(N)).", "Creates a key from the serialized representation of a value.").categories(&["dangerous"]).uses(&[OW | UPDATE]),
];

/// Values as bytes.
pub(crate) const FAMILY: Family = Family { group: "generic", commands: COMMANDS };

/// DUMP key
fn dump(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    match cx.db.read(args.at(1)).map(rdb::dump) {
        Some(payload) => cx.out.bulk(&payload),
        None => cx.out.null(),
    }
    Ok(())
}

/// RESTORE key ttl serialized-value [REPLACE] [ABSTTL] [IDLETIME seconds] [FREQ frequency]
pub(crate) fn restore(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    let options = Options::parse(args)?;
    let (key, payload) = (args.at(1), args.at(3));
    if !options.replace && cx.db.contains(key) {
        return Err(BUSY_KEY);
    }
    let ttl = u64::try_from(args.int(2)?).map_err(|_| BAD_TTL)?;
    let checksum = match cx.engine.debug.checksums_unchecked.load(Ordering::Relaxed) {
        true => Checksum::Ignored,
        false => Checksum::Checked,
    };
    let value = rdb::restore(payload, checksum, &cx.limits(), cx.db.hash_seed()).map_err(|refused| match refused {
        Refused::Footer => PAYLOAD_FOOTER,
        Refused::Value(complaint) => {
            tracing::warn!("RESTORE refuses a payload: {complaint}");
            BAD_PAYLOAD
        }
    })?;
    let deadline = match ttl {
        0 => None,
        ttl if options.absolute => Some(ttl),
        ttl => Some(ttl.saturating_add(cx.now())),
    };
    cx.out.ok();
    if deadline.is_some_and(|deadline| deadline <= cx.now()) {
        if cx.db.remove(key).is_some() {
            cx.journal.instead(&[b"DEL", key]);
            cx.db.notify(EventClass::Generic, "del", key);
        }
        return Ok(());
    }
    // What is replaced goes with its stamp and deadline.
    cx.db.remove(key);
    let expiry = deadline.map_or(Expiry::Clear, Expiry::At);
    match value {
        Value::Text(text) => cx.db.set_text(key, &text, expiry),
        Value::Object(object) => cx.db.set_object(key, object, expiry),
    }
    options.stamp(cx, key);
    if let Some(deadline) = deadline.filter(|_| !options.absolute) {
        let mut record = args.0.to_vec();
        let mut buf = [0; decimal::I64_TEXT_MAX];
        record[2] = decimal::format_u64(deadline, &mut buf);
        record.push(b"ABSTTL");
        cx.journal.instead(&record);
    }
    cx.db.notify(EventClass::Generic, "restore", key);
    Ok(())
}

/// What stands behind the payload.
#[derive(Clone, Copy, Debug, Default)]
struct Options {
    replace: bool,
    absolute: bool,
    idle_seconds: Option<u32>,
    frequency: Option<u8>,
}

impl Options {
    fn parse(args: Args<'_>) -> Result<Options, Error> {
        let mut options = Options::default();
        let mut at = 4;
        while at < args.len() {
            let has_value = at + 1 < args.len();
            match () {
                () if args.is(at, "REPLACE") => options.replace = true,
                () if args.is(at, "ABSTTL") => options.absolute = true,
                () if args.is(at, "IDLETIME") && has_value && options.frequency.is_none() => {
                    at += 1;
                    let seconds = u64::try_from(args.int(at)?).map_err(|_| BAD_IDLE_TIME)?;
                    options.idle_seconds = Some(u32::try_from(seconds).unwrap_or(u32::MAX));
                }
                () if args.is(at, "FREQ") && has_value && options.idle_seconds.is_none() => {
                    at += 1;
                    options.frequency = Some(u8::try_from(args.int(at)?).map_err(|_| BAD_FREQUENCY)?);
                }
                () => return Err(SYNTAX),
            }
            at += 1;
        }
        Ok(options)
    }

    /// Stamps the key as if it had been accessed so long ago or so often, where the policy tracks that.
    fn stamp(self, cx: &mut Cx<'_, '_>, key: &[u8]) {
        /// Longest time between an access and now that a stamp can tell, seconds.
        const IDLE_MAX: u32 = 0xff_ffff;
        let stamp = match (cx.db.stamping(), self.idle_seconds, self.frequency) {
            (Stamping::Lru { clock }, Some(idle), _) => clock.wrapping_sub(idle.min(IDLE_MAX)) & IDLE_MAX,
            (Stamping::Lfu { minutes, .. }, _, Some(frequency)) => u32::from(minutes) << 8 | u32::from(frequency),
            _ => return,
        };
        if let Some(entry) = cx.db.peek(key) {
            entry.set_stamp(stamp);
        }
    }
}
