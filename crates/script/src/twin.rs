//! Native twins: the usual way through a hot script, in Rust.
//!
//! A program that embeds a store knows its own scripts, and what an interpreter adds to a call is many times what the few commands in it cost. So it may give the
//! text of a script a twin, which runs instead wherever the text is called: under the same locks, through the same [`Host`], so that rights, limits and the log
//! see the same commands with the same arguments. The text stays what counts: it is loaded, proven and forgotten as without a twin. A twin that meets something
//! unusual [declines](Ended::Declined) before it has written, and the script runs; so it need not know every way. Whoever makes one compares the two on many
//! states.
//!
//! Where a command fails the script ends with its error and says in which line; the twin ends with the command's error alone.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;
use parking_lot::RwLock;
use redpoll_resp::{Protocol as Wire, Writer};

use crate::engine::{Invocation, Sha, sha1_hex};
use crate::host::{Host, Protocol};
use crate::shebang::{ScriptFlags, declared_flags};

/// How a twin ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It has done what the script would have done, and replied.
    Replied,
    /// It has changed nothing; the script has to run.
    Declined,
}

/// A command refused or failed; what it said is the reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failed;

/// Room for what most commands answer, in bytes.
const USUAL_ANSWER: usize = 128;

/// Longest integer in a reply, in bytes: tag, sign, digits, CR LF.
const INT_BYTES: usize = 24;

/// Digits of a number that no sum of them overflows.
const DIGITS_MAX: usize = 18;

/// What does a script's work.
pub type Twin = fn(&mut Step<'_>) -> Result<Ended, Failed>;

/// The twins of a store, by the SHA-1 of the script's text; clones share them.
#[derive(Clone, Default)]
pub struct Twins {
    by_sha: Arc<RwLock<HashMap<Sha, Entry, RandomState>>>,
}

/// A twin, and what the text declares about itself.
#[derive(Clone, Copy)]
pub(crate) struct Entry {
    pub(crate) flags: ScriptFlags,
    twin: Twin,
}

impl Twins {
    /// Gives a text a twin. False, and nothing is changed, if its first line cannot be read.
    pub fn add(&self, text: &str, twin: Twin) -> bool {
        let Some(flags) = declared_flags(text.as_bytes()) else { return false };
        self.by_sha.write().insert(sha1_hex(text.as_bytes()), Entry { flags, twin });
        true
    }

    /// Returns the twin of a script, if it has one.
    pub(crate) fn find(&self, sha: &Sha) -> Option<Entry> {
        self.by_sha.read().get(sha).copied()
    }
}

impl Entry {
    /// Runs the twin and puts its reply into an empty buffer, unless it declines.
    pub(crate) fn run(
        self,
        invocation: &Invocation<'_>,
        now_us: u64,
        host: &mut dyn Host,
        reply: &mut Vec<u8>,
    ) -> Ended {
        let wire = match invocation.protocol {
            Protocol::Resp2 => Wire::Resp2,
            Protocol::Resp3 => Wire::Resp3,
        };
        let (keys, args) = (invocation.keys, invocation.args);
        let now_us = now_us as i64;
        let (answer, out) = (Vec::with_capacity(USUAL_ANSWER), Writer::with_buffer(std::mem::take(reply), wire));
        let mut step = Step { keys, args, now_us, host, answer, out };
        match (self.twin)(&mut step) {
            // What it has said by then is not its reply.
            Ok(Ended::Declined) => {
                *reply = step.out.take();
                reply.clear();
                return Ended::Declined;
            }
            Ok(Ended::Replied) => *reply = step.out.take(),
            Err(Failed) => *reply = step.answer,
        }
        Ended::Replied
    }
}

/// One call: what it was given, and what it may do.
pub struct Step<'a> {
    keys: &'a [&'a [u8]],
    args: &'a [&'a [u8]],
    now_us: i64,
    host: &'a mut dyn Host,
    answer: Vec<u8>,
    out: Writer,
}

impl<'a> Step<'a> {
    /// `KEYS[n]`; empty if there are fewer.
    pub fn key(&self, number: usize) -> &'a [u8] {
        nth(self.keys, number)
    }

    /// `ARGV[n]`; empty if there are fewer.
    pub fn arg(&self, number: usize) -> &'a [u8] {
        nth(self.args, number)
    }

    /// `ARGV[n]` as a number; none if it is something else.
    pub fn int(&self, number: usize) -> Option<i64> {
        int_of(self.arg(number))
    }

    /// Runs a command, as `redis.call` does.
    ///
    /// # Errors
    /// [`Failed`] if it was refused or failed, which ends the step.
    pub fn call(&mut self, args: &[&[u8]]) -> Result<Answer<'_>, Failed> {
        self.answer.clear();
        self.host.call(args, Protocol::Resp2, &mut self.answer);
        if self.answer.first() == Some(&b'-') { Err(Failed) } else { Ok(Answer(&self.answer)) }
    }

    /// Runs a command like [`Step::call`] and hands its answer over, to be read while others run.
    ///
    /// # Errors
    /// [`Failed`] if it was refused or failed, which ends the step.
    pub fn ask(&mut self, args: &[&[u8]]) -> Result<Asked, Failed> {
        self.call(args)?;
        Ok(Asked(std::mem::take(&mut self.answer)))
    }

    /// How many there are of `KEYS` and of `ARGV`.
    pub fn lens(&self) -> (usize, usize) {
        (self.keys.len(), self.args.len())
    }

    /// Returns the store's clock in microseconds since 1970, as the command TIME tells it: it stands still during the step.
    pub fn now_us(&self) -> i64 {
        self.now_us
    }

    /// Where the reply goes.
    pub fn reply(&mut self) -> &mut Writer {
        &mut self.out
    }

    /// Replies with an array of integers.
    pub fn reply_ints(&mut self, numbers: &[i64]) -> Ended {
        self.out.reserve(INT_BYTES * (1 + numbers.len()));
        self.out.array(numbers.len());
        numbers.iter().for_each(|number| self.out.int(*number));
        Ended::Replied
    }
}

fn nth<'a>(texts: &'a [&'a [u8]], number: usize) -> &'a [u8] {
    number.checked_sub(1).and_then(|index| texts.get(index)).copied().unwrap_or_default()
}

/// Reads a number as steps write them: decimal, up to 2^53.
pub fn int_of(text: &[u8]) -> Option<i64> {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    if digits.is_empty() || digits.len() > DIGITS_MAX {
        return None;
    }
    let mut number = 0;
    for byte in digits {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        number = number * 10 + i64::from(digit);
    }
    let signed = if digits.len() < text.len() { -number } else { number };
    (number <= 1 << 53).then_some(signed)
}

/// What a command answered, kept.
#[derive(Debug)]
pub struct Asked(Vec<u8>);

impl Asked {
    /// Returns it for reading.
    pub fn answer(&self) -> Answer<'_> {
        Answer(&self.0)
    }
}

/// What a command answered, one RESP2 value.
#[derive(Debug, Clone, Copy)]
pub struct Answer<'a>(&'a [u8]);

impl<'a> Answer<'a> {
    /// The content of a bulk string; none for everything else.
    pub fn bulk(self) -> Option<&'a [u8]> {
        let rest = self.0.strip_prefix(b"$")?;
        let end = rest.iter().position(|byte| *byte == b'\r')?;
        let len = usize::try_from(int_of(&rest[..end])?).ok()?;
        rest.get(end + 2..end + 2 + len)
    }

    /// The elements of an array of bulk strings, in which none stands for what is not there; none for everything else.
    pub fn bulks(self) -> Option<Vec<Option<&'a [u8]>>> {
        let mut rest = self.0;
        let len = take_header(&mut rest, b'*')?;
        let mut bulks = Vec::with_capacity(usize::try_from(len).ok()?.min(rest.len()));
        for _ in 0..len {
            let len = take_header(&mut rest, b'$')?;
            if len < 0 {
                bulks.push(None);
                continue;
            }
            let (bulk, after) = rest.split_at_checked(usize::try_from(len).ok()?)?;
            bulks.push(Some(bulk));
            rest = after.strip_prefix(b"\r\n")?;
        }
        Some(bulks)
    }

    /// The value of an integer; none for everything else.
    pub fn int(self) -> Option<i64> {
        int_of(self.0.strip_prefix(b":")?.strip_suffix(b"\r\n")?)
    }
}

/// Takes the header of an array or bulk string off the front, and returns the number in it.
fn take_header(rest: &mut &[u8], tag: u8) -> Option<i64> {
    let line = rest.strip_prefix(&[tag])?;
    let end = line.iter().position(|byte| *byte == b'\r')?;
    *rest = line.get(end + 2..)?;
    int_of(&line[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        for (text, number) in [("0", 0), ("-7", -7), ("0042", 42), ("9007199254740992", 1 << 53)] {
            assert_eq!(int_of(text.as_bytes()), Some(number));
        }
        for text in ["", "-", "+1", "1.0", "1 ", "x", "9007199254740993", "-9007199254740993", "0000000000000000001"] {
            assert_eq!(int_of(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn answers() {
        let bulks = Answer(b"*3\r\n$1\r\na\r\n$-1\r\n$0\r\n\r\n").bulks().unwrap();
        assert_eq!(bulks, [Some(&b"a"[..]), None, Some(&b""[..])]);
        assert_eq!(Answer(b"*0\r\n").bulks(), Some(Vec::new()));
        for text in [&b":1\r\n"[..], b"*1\r\n:1\r\n", b"*2\r\n$1\r\na\r\n", b"*1\r\n$5\r\na\r\n", b"*1", b""] {
            assert_eq!(Answer(text).bulks(), None);
        }
        assert_eq!((Answer(b"$1\r\na\r\n").bulk(), Answer(b"$-1\r\n").bulk()), (Some(&b"a"[..]), None));
        assert_eq!((Answer(b":-5\r\n").int(), Answer(b"$1\r\n5\r\n").int()), (Some(-5), None));
    }
}
