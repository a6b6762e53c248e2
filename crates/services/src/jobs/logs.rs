//! Logs: what a worker has to say about a job while it runs, line by line.
//!
//! A job's log is kept with the job, through all of its runs, and for as long as it is remembered when it has ended; then it is gone. It is bounded in
//! lines and bytes: the oldest lines are dropped, and counted. Lines are numbered from 0, also those that were dropped, so that who follows a log goes on behind the last line it
//! has seen. Only the holder of a job's lease appends.

use schemars::JsonSchema;
use serde::Serialize;

use super::job::check_id;
use super::queue::Queue;
use super::steps::{LOG, LOGS};
use super::work::Ticket;
use crate::backend::Command;
use crate::batch::{MAX_BATCH, check_batch};
use crate::error::{Error, Result};
use crate::keys::Key;
use crate::metrics::Counter;

/// Longest line that is kept, in bytes; the rest is cut off.
pub const MAX_LOG_LINE_BYTES: usize = 4_096;

/// Bytes before the lines of a log, and before the text of each.
const HEAD_LEN: usize = 20;
const LINE_HEAD_LEN: usize = 18;

/// A line of a log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct LogLine {
    /// Its number, from 0.
    pub number: u64,
    /// When it was appended, in milliseconds since 1970 by the store's clock.
    pub at_ms: u64,
    /// What it says.
    pub text: String,
}

/// Some lines of a log.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, JsonSchema)]
pub struct LogPage {
    /// The lines.
    pub lines: Vec<LogLine>,
    /// Number of the line behind them, where the next call goes on.
    pub next: u64,
    /// How many lines there ever were.
    pub total: u64,
    /// How many of them were dropped, the oldest first.
    pub dropped: u64,
}

impl Queue {
    /// Appends up to [`MAX_BATCH`] lines to the log of a job that is leased, each cut off at [`MAX_LOG_LINE_BYTES`], and returns how many there ever were. A
    /// conflict if the lease was lost.
    pub async fn log(&self, ticket: &Ticket, lines: &[String]) -> Result<u64> {
        check_id(&ticket.id)?;
        check_batch("lines", lines.len())?;
        let settings = self.settings();
        let command = Command::script::<Key, &str>(&LOG, self.keys(), &[]);
        let command = command.arg(settings.log_lines_max).arg(settings.log_bytes_max).arg(&ticket.id).arg(ticket.token);
        let cut = |line: &String| line[..line.floor_char_boundary(MAX_LOG_LINE_BYTES)].to_owned();
        let lines: Vec<String> = lines.iter().map(cut).collect();
        let reply = self.run(command.args_of(&lines)).await?;
        if let Some(total) = reply.as_u64() {
            return Ok(total);
        }
        self.count(Counter::JobsLost, 1);
        Err(Error::Conflict(format!("the lease of job {:?} was lost", ticket.id)))
    }

    /// Reads up to [`MAX_BATCH`] lines of a job's log, from a number on; not found if the job is not remembered.
    pub async fn logs(&self, id: &str, from: u64, count: usize) -> Result<LogPage> {
        check_id(id)?;
        check_batch("count", count)?;
        let reply = self.run(Command::script::<Key, &str>(&LOGS, self.keys(), &[id])).await?;
        let Some(log) = reply.as_bytes() else { return Err(Error::NotFound(format!("job {id:?}"))) };
        LogPage::read(log, from, count.min(MAX_BATCH)).ok_or_else(|| Error::unexpected(LOGS.name(), &reply))
    }
}

impl LogPage {
    /// Reads a log of the form of `log.lua`.
    fn read(log: &[u8], from: u64, count: usize) -> Option<Self> {
        let Some((head, mut rest)) = log.split_at_checked(HEAD_LEN) else {
            return log.is_empty().then(Self::default);
        };
        let (dropped, kept) = (number(&head[..10])?, number(&head[10..])?);
        let mut page =
            Self { lines: Vec::new(), next: from.clamp(dropped, dropped + kept), total: dropped + kept, dropped };
        for line_number in dropped..page.total {
            let (head, behind) = rest.split_at_checked(LINE_HEAD_LEN)?;
            let (text, behind) = behind.split_at_checked(number(&head[13..])? as usize)?;
            rest = behind;
            if line_number == page.next && page.lines.len() < count {
                let text = String::from_utf8_lossy(text).into_owned();
                page.lines.push(LogLine { number: line_number, at_ms: number(&head[..13])?, text });
                page.next += 1;
            }
        }
        rest.is_empty().then_some(page)
    }
}

fn number(digits: &[u8]) -> Option<u64> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_read() {
        let log = format!("{:010}{:010}{:013}{:05}one{:013}{:05}{:013}{:05}é", 7, 3, 5, 3, 6, 0, 7, 2);
        let page = |from, count| LogPage::read(log.as_bytes(), from, count).unwrap();
        let texts = |page: &LogPage| page.lines.iter().map(|line| line.text.clone()).collect::<Vec<_>>();
        let all = page(0, 9);
        assert_eq!(
            (texts(&all), all.next, all.total, all.dropped),
            (vec!["one".into(), String::new(), "é".into()], 10, 10, 7)
        );
        assert_eq!((all.lines[0].number, all.lines[2].at_ms), (7, 7));
        assert_eq!((texts(&page(9, 9)), page(8, 1).next, page(99, 1).next), (vec!["é".to_owned()], 9, 10));
        assert_eq!(LogPage::read(b"", 3, 1), Some(LogPage::default()));
        for end in 1..log.len() {
            assert_eq!(LogPage::read(&log.as_bytes()[..end], 0, 9), None, "{end}");
        }
    }
}
