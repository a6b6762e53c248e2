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

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(text: &str) -> i64 {
        text.parse::<Timestamp>().unwrap().as_millisecond()
    }

    /// Checks the ticks from one moment to another: local times with offsets.
    #[track_caller]
    fn check(zone: &str, expression: &str, from: &str, until: &str, expected: &str) {
        let cron = Cron::parse(expression, zone).unwrap();
        let (mut after, until) = (ms(from), ms(until));
        let mut found = Vec::new();
        while let Some(tick) = cron.next(after).filter(|tick| *tick <= until) {
            assert_eq!(cron.last(tick), Some(tick));
            found.push(cron.text(tick).unwrap()[11..22].replace(":00+", "+").replace(":00-", "-"));
            after = tick;
        }
        assert_eq!(found.join(" "), expected, "{zone} {expression}");
    }

    const BERLIN: &str = "Europe/Berlin";
    const NEW_YORK: &str = "America/New_York";
    const LORD_HOWE: &str = "Australia/Lord_Howe";

    #[test]
    fn a_time_in_a_gap_comes_at_its_end() {
        // 02:00 to 03:00 is not there.
        let (from, until) = ("2026-03-28T23:00:00Z", "2026-03-29T03:00:00Z");
        check(BERLIN, "30 2 * * *", from, until, "03:00+02");
        check(BERLIN, "0 2 * * *", from, until, "03:00+02");
        check(BERLIN, "15,45 1,2 * * *", from, until, "01:15+01 01:45+01 03:00+02");
        check(BERLIN, "30 1-4 * * *", from, until, "01:30+01 03:00+02 03:30+02 04:30+02");
        check(BERLIN, "*/20 2 * * *", from, until, "03:00+02");
        check(BERLIN, "30 * * * *", from, until, "00:30+01 01:30+01 03:30+02 04:30+02");
        check(BERLIN, "0 */2 * * *", from, until, "04:00+02");
        let (from, until) = ("2026-03-08T05:00:00Z", "2026-03-08T08:00:00Z");
        check(NEW_YORK, "30 2 * * *", from, until, "03:00-04");
        check(NEW_YORK, "0,30 * * * *", from, until, "00:30-05 01:00-05 01:30-05 03:00-04 03:30-04 04:00-04");
        // Half an hour: 02:00 to 02:30 is not there.
        let (from, until) = ("2026-10-03T14:00:00Z", "2026-10-03T17:00:00Z");
        check(LORD_HOWE, "15 2 * * *", from, until, "02:30+11");
        check(LORD_HOWE, "45 2 * * *", from, until, "02:45+11");
        check(LORD_HOWE, "*/15 2 * * *", from, until, "02:30+11 02:45+11");
        check(LORD_HOWE, "0 * * * *", from, until, "01:00+10 03:00+11 04:00+11");
    }

    #[test]
    fn a_time_that_is_there_twice_comes_the_first_time() {
        // 02:00 to 03:00 is there twice.
        let (from, until) = ("2026-10-24T22:30:00Z", "2026-10-25T03:00:00Z");
        check(BERLIN, "30 2 * * *", from, until, "02:30+02");
        check(BERLIN, "15,45 1,2 * * *", from, until, "01:15+02 01:45+02 02:15+02 02:45+02");
        check(BERLIN, "30 1-3 * * *", from, until, "01:30+02 02:30+02 03:30+01");
        check(BERLIN, "30 * * * *", from, until, "01:30+02 02:30+02 02:30+01 03:30+01");
        check(BERLIN, "0 */2 * * *", from, until, "02:00+02 02:00+01 04:00+01");
        let (from, until) = ("2026-11-01T04:00:00Z", "2026-11-01T07:30:00Z");
        check(NEW_YORK, "30 1 * * *", from, until, "01:30-04");
        check(NEW_YORK, "0,30 * * * *", from, until, "00:30-04 01:00-04 01:30-04 01:00-05 01:30-05 02:00-05 02:30-05");
        // 01:30 to 02:00 is there twice.
        let (from, until) = ("2026-04-04T14:00:00Z", "2026-04-04T16:30:00Z");
        check(LORD_HOWE, "45 1 * * *", from, until, "01:45+11");
        check(LORD_HOWE, "15 1 * * *", from, until, "01:15+11");
        check(
            LORD_HOWE,
            "*/15 * * * *",
            from,
            until,
            "01:15+11 01:30+11 01:45+11 01:30+10 01:45+10 02:00+10 02:15+10 02:30+10 02:45+10 03:00+10",
        );
    }

    /// What a wall clock shows that somebody reads every minute.
    #[test]
    fn ticks_are_those_of_a_naive_reading_of_the_clock() {
        type Matches = fn(i8, i8) -> bool;
        let cases: [(&str, bool, Matches); 6] = [
            ("30 2 * * *", true, |hour, minute| (hour, minute) == (2, 30)),
            ("*/7 1,2 * * *", true, |hour, minute| (1..=2).contains(&hour) && minute % 7 == 0),
            ("5-25/5 0-3 * * *", true, |hour, minute| hour <= 3 && (5..=25).contains(&minute) && minute % 5 == 0),
            ("*/7 * * * *", false, |_, minute| minute % 7 == 0),
            ("15 */2 * * *", false, |hour, minute| minute == 15 && hour % 2 == 0),
            ("* * * * *", false, |_, _| true),
        ];
        let days = [
            (BERLIN, "2026-03-28T12:00:00Z"),
            (BERLIN, "2026-10-24T12:00:00Z"),
            (NEW_YORK, "2026-03-07T16:00:00Z"),
            (NEW_YORK, "2026-10-31T16:00:00Z"),
            (LORD_HOWE, "2026-04-04T03:00:00Z"),
            (LORD_HOWE, "2026-10-03T03:00:00Z"),
            ("Pacific/Apia", "2011-12-29T18:00:00Z"),
            ("UTC", "2026-02-27T12:00:00Z"),
        ];
        for (name, from) in days {
            let zone = TimeZone::get(name).unwrap();
            let from = ms(from);
            let minutes: Vec<i64> = (0..30 * 60).map(|minute| from + minute * 60_000).collect();
            let civil = |ms: i64| Timestamp::from_millisecond(ms).unwrap().to_zoned(zone.clone()).datetime();
            for (expression, names_hours, matches) in cases {
                let mut expected = Vec::new();
                let mut latest = civil(from - 60_000);
                for tick in &minutes {
                    let here = civil(*tick);
                    let mut comes = !names_hours && matches(here.hour(), here.minute());
                    // Every minute of the calendar that the clock has come to or jumped over, and not shown before.
                    while names_hours && latest < here {
                        latest = latest.checked_add(SignedDuration::from_mins(1)).unwrap();
                        comes |= matches(latest.hour(), latest.minute());
                    }
                    if comes {
                        expected.push(*tick);
                    }
                }
                let cron = Cron::parse(expression, name).unwrap();
                let until = *minutes.last().unwrap();
                let mut found = Vec::new();
                let mut after = from - 1;
                while let Some(tick) = cron.next(after).filter(|tick| *tick <= until) {
                    found.push(tick);
                    after = tick;
                }
                assert_eq!(found, expected, "{name} {expression}");
                for moment in minutes.iter().flat_map(|minute| [*minute, minute + 999, minute + 59_999]) {
                    let last = expected.iter().rev().find(|tick| **tick <= moment);
                    let found = cron.last(moment).filter(|tick| *tick >= from);
                    assert_eq!(found.as_ref(), last, "{name} {expression} at {moment}");
                    let next = expected.iter().find(|tick| **tick > moment);
                    assert_eq!(cron.next(moment).filter(|tick| *tick <= until).as_ref(), next, "{name} {expression}");
                }
            }
        }
    }

    #[test]
    fn fields_mean_what_they_mean_elsewhere() {
        let from = "2026-11-22T00:00:00Z";
        let first = |expression: &str| {
            let cron = Cron::parse(expression, "UTC").unwrap();
            cron.text(cron.next(ms(from)).unwrap()).unwrap()[..19].to_owned()
        };
        for (expression, expected) in [
            ("*/10 * * * * *", "2026-11-22T00:00:10"),
            ("@Daily", "2026-11-23T00:00:00"),
            ("  5   4  *  * * ", "2026-11-22T04:05:00"),
            ("0 0 L * *", "2026-11-30T00:00:00"),
            ("0 0 15W * *", "2026-12-15T00:00:00"),
            ("0 0 * * 5#L", "2026-11-27T00:00:00"),
            ("0 0 * * MON#2", "2026-12-14T00:00:00"),
            ("0 0 * * 7", "2026-11-29T00:00:00"),
            ("0 0 * JAN sun", "2027-01-03T00:00:00"),
            // Day of month or day of week, unless a plus says and.
            ("0 0 1 * MON", "2026-11-23T00:00:00"),
            ("0 0 1 * +MON", "2027-02-01T00:00:00"),
            ("0 0 29 2 *", "2028-02-29T00:00:00"),
        ] {
            assert_eq!(first(expression), expected, "{expression}");
        }
    }
}
