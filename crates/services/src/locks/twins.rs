//! The twins of a mutex's acquisition and release while nobody waits for it, which is the usual way. All else is left to `mutex_acquire.lua` and
//! `mutex_release.lua`; the state is that of `mutex.lua`.

use redpoll_store::twin::{Ended, Failed, Step, Twin, int_of};

use super::steps::OF_ONE;
use crate::script::Script;

pub(crate) const TWINS: [(&Script, Twin); 2] = [(&OF_ONE.acquire, acquire), (&OF_ONE.release, release)];

/// Who waits first, where nobody does.
const NOBODY: &[u8] = b"--------------------------------";

/// The beginning of the state: three numbers of 16 digits, the heir and the token, of 32 bytes each, with their semicolons.
const FIXED_LEN: usize = 3 * 17 + 2 * 33;

/// A mutex that nobody waits for.
struct Mutex {
    fence: i64,
    ends: i64,
    since: i64,
    token: [u8; 32],
    owner: Vec<u8>,
}

impl Mutex {
    /// Reads the state; none if it is one for the script.
    fn of(step: &mut Step<'_>) -> Result<Option<Self>, Failed> {
        let key = step.key(1);
        let Some(stored) = step.call(&[b"GET", key])?.bulk() else {
            let token = NOBODY.try_into().expect("a token has 32 bytes");
            return Ok(Some(Self { fence: 0, ends: 0, since: 0, token, owner: Vec::new() }));
        };
        if stored.len() < FIXED_LEN || &stored[51..83] != NOBODY {
            return Ok(None);
        }
        let number = |from: usize| int_of(&stored[from..from + 16]);
        let (Some(fence), Some(ends), Some(since)) = (number(0), number(17), number(34)) else { return Ok(None) };
        let token = stored[84..116].try_into().expect("a token has 32 bytes");
        Ok(Some(Self { fence, ends, since, token, owner: stored[FIXED_LEN..].to_vec() }))
    }

    fn save(&self, step: &mut Step<'_>, lifetime_ms: i64) -> Result<(), Failed> {
        let mut text = format!("{:016};{:016};{:016};", self.fence, self.ends, self.since).into_bytes();
        for part in [NOBODY, b";", &self.token, b";", &self.owner] {
            text.extend_from_slice(part);
        }
        let key = step.key(1);
        step.call(&[b"SET", key, &text, b"PX", lifetime_ms.to_string().as_bytes()])?;
        Ok(())
    }
}

/// `mutex_acquire.lua`
fn acquire(step: &mut Step<'_>) -> Result<Ended, Failed> {
    let us = step.now_us();
    let Some(mut mutex) = Mutex::of(step)? else { return Ok(Ended::Declined) };
    let (now, token) = (us / 1000, step.arg(1));
    let (Some(keep), Some(lease), Ok(token)) = (step.int(2), step.int(4), token.try_into()) else {
        return Ok(Ended::Declined);
    };
    if mutex.ends > now {
        return Ok(Ended::Declined);
    }
    mutex = Mutex { fence: us.max(mutex.fence + 1), ends: now + lease, since: now, token, owner: step.arg(3).to_vec() };
    mutex.save(step, lease + keep)?;
    Ok(step.reply_ints(&[1, mutex.fence]))
}

/// `mutex_release.lua`
fn release(step: &mut Step<'_>) -> Result<Ended, Failed> {
    let Some(mut mutex) = Mutex::of(step)? else { return Ok(Ended::Declined) };
    let Some(keep) = step.int(2) else { return Ok(Ended::Declined) };
    let is_holder = mutex.token == step.arg(1);
    if is_holder && mutex.ends > 0 {
        mutex.ends = 0;
        mutex.save(step, keep)?;
    }
    step.reply().int(i64::from(is_holder));
    Ok(Ended::Replied)
}
