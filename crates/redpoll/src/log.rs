//! The program's own log, in two styles.
//!
//! `redpoll serve` writes to standard error; called as redis-server the program writes lines like its,
//! `pid:M 21 Nov 2026 15:47:09.612 * Ready to accept connections`, to standard output, where service managers and test suites look for them. `logfile`
//! sends either to a file, which is opened anew for every line, so that it can be moved away. Times are UTC.
//!
//! `loglevel` says how much, unless the environment (`RUST_LOG`) does.

use std::fs::OpenOptions;
use std::io::Write;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use redpoll_store::Config;
use redpoll_store::commands::settings::Setting;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::{FormatFields, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent};
use tracing_subscriber::registry::LookupSpan;

/// How lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    /// Our own, on standard error.
    Redpoll,
    /// Those of redis-server, on standard output.
    Redis,
}

/// Begins to log on standard error.
pub(crate) fn to_stderr() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
}

/// Begins to log.
pub(crate) fn start(config: &Config, style: Style) {
    let settings = config.settings();
    let level = match settings.text(Setting::Loglevel).as_str() {
        "debug" => "debug",
        "verbose" | "notice" => "info",
        _ => "warn",
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    let path = settings.text(Setting::Logfile);
    let writer = move || -> Box<dyn Write> {
        let file = (!path.is_empty()).then(|| OpenOptions::new().create(true).append(true).open(&path));
        match (file, style) {
            (Some(Ok(file)), _) => Box::new(file),
            (None, Style::Redis) => Box::new(std::io::stdout()),
            (Some(Err(_)) | None, _) => Box::new(std::io::stderr()),
        }
    };
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer);
    match style {
        Style::Redpoll => subscriber.init(),
        Style::Redis => subscriber.event_format(RedisLine).init(),
    }
}

/// Writes an event as redis-server does.
struct RedisLine;

impl<S, N> FormatEvent<S, N> for RedisLine
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> std::fmt::Result {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let mark = match *event.metadata().level() {
            Level::ERROR | Level::WARN => '#',
            Level::INFO => '*',
            Level::DEBUG => '-',
            Level::TRACE => '.',
        };
        write!(writer, "{}:M {} {mark} ", std::process::id(), date(since))?;
        context.field_format().format_fields(writer.by_ref(), event)?;
        writeln!(writer)
    }
}

/// Writes a time since the epoch as `21 Nov 2026 15:47:09.612`.
fn date(since: Duration) -> String {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    const DAYS_OF_400_YEARS: u64 = 146_097;
    let seconds = since.as_secs();
    // Days since 1 March of year 0, so that a leap day is the last of its year.
    let days = seconds / 86_400 + 719_468;
    let (era, day_of_era) = (days / DAYS_OF_400_YEARS, days % DAYS_OF_400_YEARS);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12;
    let year = era * 400 + year_of_era + u64::from(month < 2);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    let name = MONTHS[month as usize];
    format!("{day:02} {name} {year} {hour:02}:{minute:02}:{second:02}.{:03}", since.subsec_millis())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (seconds, expected) in [
            (0, "01 Jan 1970 00:00:00.007"),
            (951_782_400, "29 Feb 2000 00:00:00.007"),
            (951_868_799, "29 Feb 2000 23:59:59.007"),
            (1_709_164_800, "29 Feb 2024 00:00:00.007"),
            (1_795_276_029, "21 Nov 2026 15:47:09.007"),
            (4_107_542_400, "01 Mar 2100 00:00:00.007"),
        ] {
            assert_eq!(date(Duration::from_secs(seconds) + Duration::from_millis(7)), expected);
        }
    }
}
