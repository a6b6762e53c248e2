//! CL.THROTTLE: rate limiting by GCRA in one command, with the arguments and the reply of the redis-cell module, so its users need no module.
//!
//! ```text
//!             now              allowed while arrival + cost ≤ now + tolerance
//!   ───────────┼────────────┬──────────────┼──────► time
//!              └─ arrival ──┘              │            arrival    the theoretical arrival time: when the limit will be whole again
//!              └────────── tolerance ──────┘            tolerance  (max_burst + 1) × interval
//! ```
//!
//! A key holds the arrival time as an integer of nanoseconds since the epoch, as redis-cell's does, and expires when it has passed: a subject that
//! is not limited takes no memory. Requests count one interval each, `period / count_per_period`. A quantity of 0 looks without asking. What goes
//! to the log is the key with its new value and deadline, never the command: replaying it later would decide differently.

use redpoll_keyspace::{EventClass, Expiry};
use redpoll_structures::decimal;

use crate::args::{Args, int};
use crate::command::{Command, DENYOOM, FAST, Family, WRITE, cmd};
use crate::cx::Cx;
use crate::error::{Error, NOT_AN_INTEGER};

#[rustfmt::skip]
const COMMANDS: &[Command] = &[
    cmd("CL.THROTTLE key max_burst count_per_period period [quantity]", throttle, WRITE | DENYOOM | FAST, "1.0.0", "O(1)", "Asks for units under a rate limit (GCRA): whether they are granted, the limit, what remains, seconds to wait (-1 if granted) and seconds until the limit is whole."),
];

/// Rate limiting.
pub(crate) const FAMILY: Family = Family { group: "ratelimit", commands: COMMANDS };

const MAX_BURST: Error = Error::Text("ERR max_burst must not be negative");
const COUNT: Error = Error::Text("ERR count_per_period must be positive");
const PERIOD: Error = Error::Text("ERR period must be positive");
const QUANTITY: Error = Error::Text("ERR quantity must not be negative");
const TOO_FAST: Error = Error::Text("ERR count_per_period is more than one in a nanosecond");
const TOO_LONG: Error = Error::Text("ERR max_burst takes more than 146 years to be granted again");

const NANOS_PER_SECOND: i128 = 1_000_000_000;
const NANOS_PER_MILLI: i128 = 1_000_000;

/// Longest tolerance, nanoseconds: with any time of this millennium it fits 64 bits.
const TOLERANCE_MAX: i128 = 1 << 62;

/// A rule and a request under it; times in nanoseconds.
struct Request {
    /// What one unit costs.
    interval: i128,
    /// How far the arrival time may lie ahead.
    tolerance: i128,
    /// Most units at once.
    limit: i128,
    cost: i128,
}

impl Request {
    fn parse(args: Args<'_>) -> Result<Request, Error> {
        let at_least = |at: usize, least: i64, error: Error| {
            let number = args.int(at)?;
            if number < least { Err(error) } else { Ok(i128::from(number)) }
        };
        let limit = at_least(2, 0, MAX_BURST)? + 1;
        let count = at_least(3, 1, COUNT)?;
        let period = at_least(4, 1, PERIOD)?;
        let quantity = if args.len() > 5 { at_least(5, 0, QUANTITY)? } else { 1 };
        let interval = period * NANOS_PER_SECOND / count;
        if interval == 0 {
            return Err(TOO_FAST);
        }
        // The products of what two arguments can be fit; that of all three need not.
        let tolerance = interval.checked_mul(limit).filter(|tolerance| *tolerance <= TOLERANCE_MAX).ok_or(TOO_LONG)?;
        Ok(Request { interval, tolerance, limit, cost: interval * quantity })
    }

    /// Decides at a time under the arrival time stored.
    fn decide(&self, now: i128, stored: Option<i64>) -> Decision {
        let arrival = stored.map_or(now, i128::from).clamp(now, now + self.tolerance);
        let (after, ends) = (arrival + self.cost, now + self.tolerance);
        let allowed = after <= ends;
        let reached = if allowed { after } else { arrival };
        // More than fits at once is never granted, so there is nothing to wait for.
        let wait = (!allowed && self.cost <= self.tolerance).then(|| after - ends);
        Decision {
            allowed,
            arrival: reached,
            remaining: (ends - reached) / self.interval,
            wait,
            whole_in: reached - now,
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Decision {
    allowed: bool,
    arrival: i128,
    remaining: i128,
    wait: Option<i128>,
    whole_in: i128,
}

/// CL.THROTTLE key max_burst count_per_period period [quantity]
fn throttle(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    if args.len() > 6 {
        return Err(crate::error::wrong_arity("cl.throttle"));
    }
    let (key, request) = (args.at(1), Request::parse(args)?);
    let mut buf = [0; 20];
    let stored = match cx.db.find_text(key)? {
        None => None,
        Some(text) => Some(int(text.bytes(&mut buf)).map_err(|_| NOT_AN_INTEGER)?),
    };
    let decision = request.decide(i128::from(cx.now()) * NANOS_PER_MILLI, stored);
    if decision.allowed && request.cost > 0 {
        store(cx, key, decision.arrival);
    }
    cx.out.array(5);
    cx.out.int(i64::from(!decision.allowed));
    cx.out.int(request.limit as i64);
    cx.out.int(decision.remaining as i64);
    cx.out.int(decision.wait.map_or(-1, seconds));
    cx.out.int(seconds(decision.whole_in));
    Ok(())
}

/// Keeps the arrival time until it has passed.
fn store(cx: &mut Cx<'_, '_>, key: &[u8], arrival: i128) {
    let deadline = (arrival as u128).div_ceil(NANOS_PER_MILLI as u128) as u64;
    let (mut value_buf, mut deadline_buf) = ([0; 20], [0; 20]);
    let value = decimal::format_i64(arrival as i64, &mut value_buf);
    cx.db.set_text(key, value, Expiry::At(deadline));
    cx.journal.instead(&[b"SET", key, value, b"PXAT", decimal::format_i64(deadline as i64, &mut deadline_buf)]);
    cx.db.notify(EventClass::String, "set", key);
}

/// Rounds up: who comes back after so many whole seconds does not come too early.
fn seconds(nanos: i128) -> i64 {
    (nanos as u128).div_ceil(NANOS_PER_SECOND as u128) as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(args: &[&str]) -> Result<Request, Error> {
        let args: Vec<&[u8]> = ["CL.THROTTLE", "key"].iter().chain(args).map(|arg| arg.as_bytes()).collect();
        Request::parse(Args(&args))
    }

    /// A bucket of `limit` units of which one comes back every interval, counted in whole nanoseconds.
    #[test]
    fn decisions_are_those_of_a_leaking_bucket() {
        let request = request(&["4", "7", "3"]).unwrap();
        let (mut level, mut now, mut stored, mut draw) = (0_i128, 1_700_000_000_000_000_000_i128, None, 7_u64);
        let mut refused = 0;
        for _ in 0..10_000 {
            draw = draw.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let (passed, units) = (i128::from(draw >> 35), i128::from(draw >> 20 & 3));
            now += passed;
            level = (level - passed).max(0);
            let asked = Request { cost: request.interval * units, ..request };
            let decision = asked.decide(now, stored);
            let fits = level + asked.cost <= request.tolerance;
            assert_eq!(decision.allowed, fits);
            if fits {
                level += asked.cost;
                stored = Some(decision.arrival as i64);
            } else {
                refused += 1;
                let wait = decision.wait.unwrap();
                assert!(asked.decide(now + wait, stored).allowed && !asked.decide(now + wait - 1, stored).allowed);
            }
            assert_eq!(
                (decision.whole_in, decision.remaining),
                (level, (request.tolerance - level) / request.interval)
            );
        }
        assert!((1_000..9_000).contains(&refused), "both are seen: {refused}");
    }

    #[test]
    fn a_clock_gone_back_does_not_lock_anybody_out() {
        let request = request(&["0", "1", "10"]).unwrap();
        let decision = request.decide(1_000 * NANOS_PER_SECOND, Some(i64::MAX));
        assert_eq!((decision.allowed, decision.wait), (false, Some(10 * NANOS_PER_SECOND)));
    }

    #[test]
    fn bad_rules_are_refused() {
        for (args, error) in [
            (["-1", "1", "1", "1"], MAX_BURST),
            (["0", "0", "1", "1"], COUNT),
            (["0", "1", "0", "1"], PERIOD),
            (["0", "1", "-60", "1"], PERIOD),
            (["0", "1", "1", "-1"], QUANTITY),
            (["0", "1000000001", "1", "1"], TOO_FAST),
            (["9223372036854775807", "1", "9223372036854775807", "1"], TOO_LONG),
            (["x", "1", "1", "1"], NOT_AN_INTEGER),
        ] {
            assert_eq!(request(&args).err(), Some(error), "{args:?}");
        }
        assert!(request(&["9223372036854775807", "1000000000", "1", "9223372036854775807"]).is_err());
        assert!(request(&["0", "1", "1", "9223372036854775807"]).unwrap().decide(0, None).wait.is_none());
    }
}
