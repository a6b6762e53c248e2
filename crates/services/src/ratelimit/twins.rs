//! The twins of three algorithms: what their files say, without the ways that are rare, a clock that went back and a window that was reconfigured. These they
//! leave to the files. See `decide.lua` for KEYS, ARGV and returns.
//!
//! Products saturate where Lua's doubles lose digits; there either is beyond every limit.

use redpoll_store::twin::{Ended, Failed, Step, Twin};

use super::{FIXED_WINDOW, SLIDING_COUNTER, TOKEN_BUCKET};
use crate::script::Script;

pub(crate) const TWINS: [(&Script, Twin); 3] =
    [(&FIXED_WINDOW, fixed_window), (&SLIDING_COUNTER, sliding_counter), (&TOKEN_BUCKET, token_bucket)];

/// Products up to here leave room for sums that are exact in Lua.
const EXACT: i64 = super::MAX_CAPACITY as i64;

/// What `decide.lua` reads of its arguments, and the time.
struct Request {
    now: i64,
    limit: i64,
    window: i64,
    cost: i64,
    burst: i64,
    take: bool,
}

impl Request {
    fn of(step: &mut Step<'_>) -> Option<Self> {
        let now = step.now_us() / 1000;
        let [limit, window, cost, burst] = [step.int(1)?, step.int(2)?, step.int(3)?, step.int(5)?];
        // What the service never asks for, and anybody may: the arithmetic of Lua is to answer that.
        let is_exact = |units: i64| units > 0 && units.checked_mul(window).is_some_and(|product| product <= EXACT);
        if window < 1 || cost > limit.min(burst) || !(is_exact(limit) && is_exact(burst) && is_exact(cost)) {
            return None;
        }
        Some(Self { now, limit, window, cost, burst, take: step.arg(4) == b"take" })
    }

    fn decision(&self, step: &mut Step<'_>, allowed: bool, remaining: i64, reset_at: i64, retry_after: i64) -> Ended {
        let retry_after = if allowed { 0 } else { retry_after.max(1) };
        step.reply_ints(&[i64::from(allowed), remaining.max(0), reset_at, retry_after, self.now])
    }
}

/// Digits of a number in a state.
const DIGITS: usize = 16;

/// What is known of a subject: so many numbers.
enum State<const COUNT: usize> {
    None,
    Some([i64; COUNT]),
    /// Not written by these steps.
    Strange,
}

fn state<const COUNT: usize>(step: &mut Step<'_>) -> Result<State<COUNT>, Failed> {
    let key = step.key(1);
    let Some(text) = step.call(&[b"GET", key])?.bulk() else { return Ok(State::None) };
    if text.len() != COUNT * DIGITS {
        return Ok(State::Strange);
    }
    let mut is_strange = false;
    let mut add = |number: i64, byte: &u8| {
        let digit = byte.wrapping_sub(b'0');
        is_strange |= digit > 9;
        number * 10 + i64::from(digit)
    };
    let numbers = std::array::from_fn(|index| text[index * DIGITS..][..DIGITS].iter().fold(0, &mut add));
    Ok(if is_strange { State::Strange } else { State::Some(numbers) })
}

/// Writes the state and its lifetime.
fn save<const COUNT: usize>(step: &mut Step<'_>, numbers: [i64; COUNT], lifetime_ms: i64) -> Result<(), Failed> {
    let mut text = [[b'0'; DIGITS]; COUNT];
    for (digits, number) in text.iter_mut().zip(numbers) {
        let mut buffer = itoa::Buffer::new();
        let number = buffer.format(number).as_bytes();
        digits[DIGITS - number.len()..].copy_from_slice(number);
    }
    let key = step.key(1);
    step.call(&[b"SET", key, text.as_flattened(), b"PX", itoa::Buffer::new().format(lifetime_ms).as_bytes()])?;
    Ok(())
}

fn ceil_div(dividend: i64, divisor: i64) -> i64 {
    dividend.div_euclid(divisor) + i64::from(dividend.rem_euclid(divisor) > 0)
}

/// `fixed_window.lua`
fn fixed_window(step: &mut Step<'_>) -> Result<Ended, Failed> {
    let Some(request) = Request::of(step) else { return Ok(Ended::Declined) };
    let Request { now, limit, window, cost, .. } = request;
    let (start, mut count) = match state(step)? {
        State::None => (now, 0),
        State::Some([start, _]) if start > now => return Ok(Ended::Declined),
        State::Some([start, _]) if now - start >= window => (now, 0),
        State::Some([start, count]) => (start, count),
        State::Strange => return Ok(Ended::Declined),
    };
    let allowed = count + cost <= limit;
    let ends = start + window;
    if allowed && request.take {
        count += cost;
        save(step, [start, count], ends - now)?;
    }
    let reset_at = if count > 0 { ends } else { now };
    Ok(request.decision(step, allowed, limit - count, reset_at, ends - now))
}

/// `sliding_counter.lua`
fn sliding_counter(step: &mut Step<'_>) -> Result<Ended, Failed> {
    let Some(request) = Request::of(step) else { return Ok(Ended::Declined) };
    let Request { now, limit, window, cost, .. } = request;
    let (bucket, elapsed) = (now / window, now % window);
    let (mut current, previous) = match state(step)? {
        State::None => (0, 0),
        State::Strange => return Ok(Ended::Declined),
        State::Some([held, last, _, _]) if held != window || last > bucket => return Ok(Ended::Declined),
        State::Some([_, last, current, previous]) if last == bucket => (current, previous),
        State::Some([_, last, current, _]) if last == bucket - 1 => (0, current),
        State::Some(_) => (0, 0),
    };
    let fading = previous.saturating_mul(window - elapsed);
    let used = |current: i64| fading.saturating_add(current.saturating_mul(window));
    let capacity = limit * window;
    let allowed = used(current + cost) <= capacity;
    if allowed && request.take {
        current += cost;
        save(step, [window, bucket, current, previous], 2 * window - elapsed)?;
    }
    let used_now = used(current);
    let reset_at = match (current, used_now) {
        (1.., _) => now + 2 * window - elapsed,
        (_, 1..) => now + window - elapsed,
        _ => now,
    };
    let mut retry_after = 0;
    if !allowed {
        retry_after = if current + cost <= limit {
            ceil_div(used(current + cost) - capacity, previous)
        } else {
            let fade = (current - (limit - cost)).saturating_mul(window);
            window - elapsed + ceil_div(fade, current).max(0)
        };
    }
    Ok(request.decision(step, allowed, (capacity - used_now).div_euclid(window), reset_at, retry_after))
}

/// `token_bucket.lua`
fn token_bucket(step: &mut Step<'_>) -> Result<Ended, Failed> {
    let Some(request) = Request::of(step) else { return Ok(Ended::Declined) };
    let Request { now, limit, window, cost, burst, .. } = request;
    let capacity = burst * window;
    let mut level = match state(step)? {
        State::None => 0,
        State::Strange => return Ok(Ended::Declined),
        State::Some([held, _, last]) if held != window || last > now => return Ok(Ended::Declined),
        State::Some([_, level, last]) => level.saturating_sub((now - last).saturating_mul(limit)).clamp(0, capacity),
    };
    let filled = level + cost * window;
    let allowed = filled <= capacity;
    if allowed && request.take {
        level = filled;
        save(step, [window, level, now], ceil_div(level, limit).max(1))?;
    }
    let retry_after = if allowed { 0 } else { ceil_div(filled - capacity, limit) };
    let reset_at = now + ceil_div(level, limit);
    Ok(request.decision(step, allowed, (capacity - level).div_euclid(window), reset_at, retry_after))
}
