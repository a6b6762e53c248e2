//! A connection that writes, and what must be there of what it wrote.
//!
//! A writer has keys of its own and a list of changes that anyone can count out: change `n` is one of four kinds. What a server holds after a crash is a
//! beginning of the list, and from the values follows how much of it. A transaction counts as one change, so half of one is no beginning.
//!
//! ```text
//!   n mod 4 = 0   INCR counter          the counter says how many there were
//!             1   RPUSH list n          the list holds their numbers
//!             2   HSET hash n%16 n      a field holds the last of its numbers
//!             3   MULTI, INCR left, INCR right, EXEC
//! ```

use anyhow::{Context, Result, bail, ensure};
use redpoll_testkit::{Client, Reply};
use std::io::{BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Fields of the hash.
const FIELDS: u64 = 16;

/// How long a reply may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// How far a writer has come.
#[derive(Debug, Default)]
pub(super) struct Progress {
    number: usize,
    sent: AtomicU64,
    acknowledged: AtomicU64,
    /// Changes that a snapshot holds.
    saved: AtomicU64,
    /// When changes were acknowledged since the last start.
    times: Mutex<Vec<(u64, Instant)>>,
}

/// A writer through many crashes.
#[derive(Debug)]
pub(super) struct Writer {
    pub(super) progress: Arc<Progress>,
    killed_at: Option<Instant>,
}

/// What a start has found of a writer's changes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    /// Acknowledged changes that are not there.
    pub(super) lost: u64,
    /// How long before the kill the oldest of them was acknowledged.
    pub(super) oldest_lost: Duration,
}

impl Writer {
    pub(super) fn new(number: usize) -> Self {
        Self { progress: Arc::new(Progress { number, ..Progress::default() }), killed_at: None }
    }

    pub(super) fn acknowledged(&self) -> u64 {
        self.progress.acknowledged.load(Ordering::Acquire)
    }

    /// Notes that a snapshot holds so many changes.
    pub(super) fn is_saved(&self, changes: u64) {
        self.progress.saved.fetch_max(changes, Ordering::AcqRel);
    }

    pub(super) fn killed_at(&mut self, moment: Instant) {
        self.killed_at = Some(moment);
    }

    /// Finds out how many of its changes are there and goes on behind them.
    pub(super) fn look(&mut self, client: &mut Client) -> Result<Found> {
        let progress = &*self.progress;
        let seen = Seen::read(progress.number, client)?;
        let (sent, acknowledged) = (progress.sent.load(Ordering::Acquire), self.acknowledged());
        let there = seen.beginning(sent).with_context(|| {
            format!(
                "writer {}, {acknowledged} of {sent} changes acknowledged: no beginning of them: {seen:?}",
                progress.number
            )
        })?;
        let saved = progress.saved.load(Ordering::Acquire);
        ensure!(
            there >= saved,
            "writer {}: a snapshot of {saved} changes was acknowledged, {there} are there",
            progress.number
        );
        let mut times = progress.times.lock().expect("no writer panics");
        let oldest = times.iter().find(|(change, _)| *change > there).map(|(_, time)| *time);
        let oldest_lost = match (oldest, self.killed_at) {
            (Some(time), Some(killed)) => killed.saturating_duration_since(time),
            _ => Duration::ZERO,
        };
        times.clear();
        progress.sent.store(there, Ordering::Release);
        progress.acknowledged.store(there, Ordering::Release);
        Ok(Found { lost: acknowledged.saturating_sub(there), oldest_lost })
    }
}

impl Progress {
    /// Writes one change after the other until the connection ends.
    pub(super) fn write(&self, address: SocketAddr) -> Result<()> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let (mut replies, mut stream) = (BufReader::new(stream.try_clone()?), stream);
        loop {
            let change = self.sent.load(Ordering::Acquire) + 1;
            let (commands, count) = self.commands(change);
            self.sent.store(change, Ordering::Release);
            stream.write_all(commands.as_bytes())?;
            for _ in 0..count {
                if let Reply::Error(text) = Reply::read(&mut replies)? {
                    bail!("change {change} was refused: {}", text.escape_ascii());
                }
            }
            self.times.lock().expect("no writer panics").push((change, Instant::now()));
            self.acknowledged.store(change, Ordering::Release);
        }
    }

    /// Gives the commands of a change and how many replies they get.
    fn commands(&self, change: u64) -> (String, usize) {
        let number = self.number;
        match change % 4 {
            0 => (format!("INCR counter:{number}\r\n"), 1),
            1 => (format!("RPUSH list:{number} {change}\r\n"), 1),
            2 => (format!("HSET hash:{number} {} {change}\r\n", change % FIELDS), 1),
            _ => (format!("MULTI\r\nINCR left:{number}\r\nINCR right:{number}\r\nEXEC\r\n"), 4),
        }
    }
}

/// What a server holds of a writer.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    counter: u64,
    list: Vec<u64>,
    hash: Vec<u64>,
    left: u64,
    right: u64,
}

impl Seen {
    fn read(writer: usize, client: &mut Client) -> Result<Self> {
        let mut number =
            |line: String| Ok::<u64, anyhow::Error>(numbers(&client.run(&line))?.first().copied().unwrap_or(0));
        let counter = number(format!("GET counter:{writer}"))?;
        let (left, right) = (number(format!("GET left:{writer}"))?, number(format!("GET right:{writer}"))?);
        let list = numbers(&client.run(&format!("LRANGE list:{writer} 0 -1")))?;
        let fields: Vec<String> = (0..FIELDS).map(|field| field.to_string()).collect();
        let hash = numbers(&client.run(&format!("HMGET hash:{writer} {}", fields.join(" "))))?;
        Ok(Self { counter, list, hash, left, right })
    }

    /// Gives what there must be after so many changes.
    fn after(changes: u64) -> Self {
        let of_kind = |kind: u64| (1..=changes).filter(move |change| change % 4 == kind);
        let last = |field: u64| of_kind(2).rfind(|change| change % FIELDS == field).unwrap_or(0);
        let (counter, pairs) = (of_kind(0).count() as u64, of_kind(3).count() as u64);
        Self { counter, list: of_kind(1).collect(), hash: (0..FIELDS).map(last).collect(), left: pairs, right: pairs }
    }

    /// Finds the number of changes after which this is what there is, if there is one.
    fn beginning(&self, sent: u64) -> Option<u64> {
        // Of four changes in a row each kind is one, so the counter says it nearly.
        let least = self.counter * 4;
        (least..=sent.min(least + 3)).find(|changes| Self::after(*changes) == *self)
    }
}

/// Reads a number or numbers; what is missing is 0.
fn numbers(reply: &Reply) -> Result<Vec<u64>> {
    if let Some(items) = reply.as_slice() {
        return Ok(items.iter().map(numbers).collect::<Result<Vec<_>>>()?.concat());
    }
    match reply.as_bytes() {
        Some(text) => Ok(vec![std::str::from_utf8(text)?.parse()?]),
        None if reply.print().starts_with("(nil") => Ok(vec![0]),
        None => bail!("unexpected reply: {}", reply.print()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_beginning_is_one() {
        for changes in 0..40 {
            assert_eq!(Seen::after(changes).beginning(50), Some(changes));
            assert_eq!(Seen::after(changes).beginning(changes), Some(changes));
        }
        let half = Seen { left: 3, ..Seen::after(11) };
        assert_eq!((half.right, half.beginning(50)), (3, Some(11)));
        assert_eq!(Seen { left: 4, ..Seen::after(11) }.beginning(50), None);
        assert_eq!(Seen { list: vec![1, 9], ..Seen::after(11) }.beginning(50), None);
        assert_eq!(Seen::after(11).beginning(10), None);
    }
}
