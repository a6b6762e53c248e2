//! Cron expressions on the clock of a time zone.
//!
//! [`croner`] reads expressions and finds matching times of a calendar, `jiff` knows the zones; its table is part of the program, so that all
//! processes of one version agree whatever their machines have installed. What happens where a zone's clock changes is decided here:
//!
//! | hour field | clock put forward: a time that is not there | clock put back: a time that is there twice |
//! |---|---|---|
//! | names hours (`2`, `1-5`, `2,14`) | comes at the first moment after the gap; several that fall there come once | comes the first time only |
//! | begins with `*` (`*`, `*/2`) | does not come: the hours that pass are meant, and that one does not | comes both times |
//!
//! So what is meant to be once a day is once a day, and what is meant to be every so often keeps its distance.

use croner::parser::{CronParser, Seconds, Year};
use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{SignedDuration, Timestamp, Zoned};

use crate::error::{Error, Result};

/// Longest expression, in bytes.
pub const MAX_EXPRESSION_BYTES: usize = 256;

/// What short names stand for.
const NICKNAMES: [(&str, &str); 7] = [
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
    ("@monthly", "0 0 1 * *"),
    ("@weekly", "0 0 * * 0"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@hourly", "0 * * * *"),
];

/// An expression in a zone.
#[derive(Debug, Clone)]
pub(super) struct Cron {
    cron: croner::Cron,
    zone: TimeZone,
    names_hours: bool,
}

impl Cron {
    /// Reads five fields, or six that begin with seconds, and the name of a zone. What can never come is refused.
    pub(super) fn parse(expression: &str, zone: &str) -> Result<Self> {
        let invalid = |reason: &dyn std::fmt::Display| Error::invalid("cron", format_args!("{expression:?}: {reason}"));
        if expression.len() > MAX_EXPRESSION_BYTES {
            return Err(Error::invalid("cron", format_args!("longer than {MAX_EXPRESSION_BYTES} bytes")));
        }
        let spelled = spelled(expression.trim());
        let fields: Vec<&str> = spelled.split_ascii_whitespace().collect();
        let hours = match fields.len() {
            5 => fields[1],
            6 => fields[2],
            _ => return Err(invalid(&"must have five fields, or six with seconds first")),
        };
        let names_hours = !hours.starts_with('*');
        let parser = CronParser::builder().seconds(Seconds::Optional).year(Year::Disallowed).build();
        let cron = parser.parse(&fields.join(" ")).map_err(|error| invalid(&error))?;
        let zone = TimeZone::get(zone)
            .map_err(|_| Error::invalid("zone", format_args!("{zone:?} is not a time zone, such as Europe/Berlin")))?;
        let parsed = Self { cron, zone, names_hours };
        match parsed.next(0) {
            Some(_) => Ok(parsed),
            None => Err(invalid(&"there is no such date")),
        }
    }

    /// Returns the first tick after a time, in milliseconds since 1970.
    pub(super) fn next(&self, after_ms: i64) -> Option<i64> {
        let after = self.zoned(after_ms)?;
        if !self.names_hours {
            return self.cron.find_next_occurrence(&after, false).ok().map(|tick| tick.timestamp().as_millisecond());
        }
        // In the second pass of repeated hours, all of these have had their turn in the first.
        let from = self.end_of_repeated(&after).unwrap_or_else(|| after.datetime());
        self.instant(self.cron.find_next_occurrence(&from, false).ok()?)
    }

    /// Returns the last tick at or before a time.
    pub(super) fn last(&self, until_ms: i64) -> Option<i64> {
        let until = self.zoned(until_ms)?;
        if !self.names_hours {
            return self.cron.find_previous_occurrence(&until, true).ok().map(|tick| tick.timestamp().as_millisecond());
        }
        let from = self.end_of_repeated(&until).unwrap_or_else(|| until.datetime());
        self.instant(self.cron.find_previous_occurrence(&from, true).ok()?)
    }

    /// Returns a time as its zone writes it.
    pub(super) fn text(&self, ms: i64) -> Option<String> {
        text(ms, &self.zone)
    }

    /// Returns the whole second that a time lies in. Ticks are whole seconds, so this is as good, and fractions are not what `croner` is at home in: it
    /// looks back from the last millisecond of hours that are there twice and finds what is ahead.
    fn zoned(&self, ms: i64) -> Option<Zoned> {
        Some(Timestamp::from_second(ms.div_euclid(1000)).ok()?.to_zoned(self.zone.clone()))
    }

    /// Returns when a time of the calendar comes that is meant to come once.
    fn instant(&self, civil: DateTime) -> Option<i64> {
        let ambiguous = self.zone.to_ambiguous_timestamp(civil);
        let timestamp = match ambiguous.offset() {
            // With the offset of after the gap, a time in it is as long before the gap as it should be after its beginning.
            AmbiguousOffset::Gap { after, .. } => {
                let before = after.to_timestamp(civil).ok()?;
                self.zone.following(before).next()?.timestamp()
            }
            _ => ambiguous.earlier().ok()?,
        };
        Some(timestamp.as_millisecond())
    }

    /// Returns the last second of hours that are there twice, if this is in their second pass.
    fn end_of_repeated(&self, zoned: &Zoned) -> Option<DateTime> {
        let ambiguous = self.zone.to_ambiguous_timestamp(zoned.datetime());
        let AmbiguousOffset::Fold { before, after } = ambiguous.offset() else { return None };
        if zoned.offset() != after {
            return None;
        }
        // The change may be this very second, and what precedes is strictly before.
        let later = zoned.timestamp().checked_add(SignedDuration::from_secs(1)).ok()?;
        let change = self.zone.preceding(later).next()?.timestamp();
        before.to_datetime(change).checked_sub(SignedDuration::from_secs(1)).ok()
    }
}

/// Writes a time with its offset and zone.
pub(super) fn text(ms: i64, zone: &TimeZone) -> Option<String> {
    let zoned = Timestamp::from_millisecond(ms).ok()?.to_zoned(zone.clone());
    Some(zoned.to_string())
}

fn spelled(expression: &str) -> &str {
    let known = NICKNAMES.iter().find(|(name, _)| name.eq_ignore_ascii_case(expression));
    known.map_or(expression, |(_, spelled)| spelled)
}
