//! Reading the values of settings: what CONFIG SET, the configuration file and the command line are given, as texts.
//!
//! The errors are the reasons redis-server gives. A value that would promise what is not done here (a cluster, a master) is refused rather than taken
//! and forgotten.

use redpoll_structures::decimal;

use super::{Setting, SettingKind, SettingRow, SettingValue, Words};
use crate::evict::PREFIXES_MAX;
use crate::{notifications, output_limit};

/// Says that a setting of one word was given none or several.
const WRONG_COUNT: &str = "wrong number of arguments";

/// Says that what may be a number of bytes or a percentage is neither.
const NO_MEMORY_NOR_PERCENT: &str = "argument must be a memory or percent value";

/// The words that say how to shut down.
const SHUTDOWN: [&str; 5] = ["default", "save", "nosave", "now", "force"];

/// Checks the words of a line of the configuration file for a setting.
///
/// # Errors
/// The reason redis-server gives.
pub fn parse_words(row: &SettingRow, words: &[Vec<u8>]) -> Result<SettingValue, String> {
    match words {
        [] if row.setting != Setting::ShutdownOnSigint && row.setting != Setting::ShutdownOnSigterm => {
            Err(WRONG_COUNT.into())
        }
        [word] => parse(row, word),
        _ if row.kind.takes_several_words() => parse(row, &words.join(&b' ')),
        _ => Err(WRONG_COUNT.into()),
    }
}

/// Checks a value for a setting; the error is the reason CONFIG SET gives.
pub fn parse(row: &SettingRow, value: &[u8]) -> Result<SettingValue, String> {
    match row.kind {
        SettingKind::Int { min, max } => match decimal::parse_i64(value) {
            // redis-server takes what is near.
            Some(number) if row.setting == Setting::Hz => Ok(SettingValue::Number(number.clamp(1, 500))),
            Some(number) => within(number, min, max),
            None => Err("argument couldn't be parsed into an integer".into()),
        },
        SettingKind::Octal => {
            let digits = std::str::from_utf8(value).ok().and_then(|text| i64::from_str_radix(text, 8).ok());
            digits
                .filter(|number| (0..=0o777).contains(number))
                .map(SettingValue::Number)
                .ok_or_else(|| "argument couldn't be parsed as an octal number".to_owned())
        }
        SettingKind::Memory { min, max } => match parse_memory(value) {
            Some(bytes) => within(bytes, min, max),
            None => Err("argument must be a memory value".into()),
        },
        SettingKind::MemoryOrPercent => match value.strip_suffix(b"%") {
            Some(digits) => match decimal::parse_i64(digits) {
                Some(percent @ 0..=100) => Ok(SettingValue::Number(-percent)),
                Some(101..) => Err("percentage argument must be less or equal to 100".into()),
                _ => Err(NO_MEMORY_NOR_PERCENT.into()),
            },
            None => parse_memory(value).map(SettingValue::Number).ok_or_else(|| NO_MEMORY_NOR_PERCENT.to_owned()),
        },
        SettingKind::Bool => match () {
            () if value.eq_ignore_ascii_case(b"yes") => Ok(SettingValue::Number(1)),
            () if value.eq_ignore_ascii_case(b"no") => Ok(SettingValue::Number(0)),
            () => Err("argument must be 'yes' or 'no'".into()),
        },
        SettingKind::Choice(words) => match words.iter().position(|word| value.eq_ignore_ascii_case(word.as_bytes())) {
            Some(index) => Ok(SettingValue::Number(index as i64)),
            None => Err(format!("argument(s) must be one of the following: {}", words.join(", "))),
        },
        SettingKind::Events => match notifications::parse(value) {
            Some(classes) => Ok(SettingValue::Number(classes)),
            None => Err("Invalid event class character. Use 'Ag$lshzxeKEtmdn'.".into()),
        },
        SettingKind::OutputLimits => {
            let text = text(value)?;
            output_limit::parse(&text).map(|_| SettingValue::Text(text))
        }
        SettingKind::Words(words) => {
            let text = text(value)?;
            let split: Vec<&str> = text.split_ascii_whitespace().collect();
            parse_several(words, &split).map(SettingValue::Text)
        }
        SettingKind::Text => text(value).map(SettingValue::Text),
    }
    .and_then(|value| refuse(row, value))
}

/// Refuses values that would promise what is not done here.
fn refuse(row: &SettingRow, value: SettingValue) -> Result<SettingValue, String> {
    match (row.setting, &value) {
        (Setting::ClusterEnabled, SettingValue::Number(1)) => Err("cluster mode is not supported".into()),
        (Setting::Dbfilename, SettingValue::Text(name)) if name.is_empty() || name.contains('/') => {
            Err("dbfilename can't be a path, just a filename".into())
        }
        _ => Ok(value),
    }
}

fn text(value: &[u8]) -> Result<String, String> {
    String::from_utf8(value.to_vec()).map_err(|_| "argument must be UTF-8".into())
}

fn within(number: i64, min: i64, max: i64) -> Result<SettingValue, String> {
    match (min..=max).contains(&number) {
        true => Ok(SettingValue::Number(number)),
        false => Err(format!("argument must be between {min} and {max} inclusive")),
    }
}

/// Checks several words and writes them as CONFIG GET prints them.
fn parse_several(kind: Words, words: &[&str]) -> Result<String, String> {
    match kind {
        Words::Prefixes if words.len() > PREFIXES_MAX => Err(format!("at most {PREFIXES_MAX} prefixes")),
        Words::Addresses | Words::Prefixes => Ok(words.join(" ")),
        Words::Save => parse_save(words),
        Words::Percentiles => {
            let printed: Result<Vec<String>, String> = words.iter().map(|word| parse_percentile(word)).collect();
            Ok(printed?.join(" "))
        }
        Words::OomScores => parse_oom_scores(words),
        Words::Shutdown => parse_shutdown(words),
        Words::Master => match words {
            [] => Ok(String::new()),
            [host, port] if host.eq_ignore_ascii_case("no") && port.eq_ignore_ascii_case("one") => Ok(String::new()),
            [_, port] if !matches!(port.parse::<i64>(), Ok(0..=65_535)) => Err("Invalid master port".into()),
            [_, _] => Err("replication is not supported".into()),
            _ => Err(WRONG_COUNT.into()),
        },
    }
}

fn parse_save(words: &[&str]) -> Result<String, String> {
    let is_pair = |[seconds, changes]: &[&str; 2]| matches!((seconds.parse::<i32>(), changes.parse::<i32>()), (Ok(seconds), Ok(changes)) if seconds >= 1 && changes >= 0);
    let (pairs, rest) = words.as_chunks();
    match rest.is_empty() && pairs.iter().all(is_pair) {
        true => Ok(words.join(" ")),
        false => Err("Invalid save parameters".into()),
    }
}

fn parse_percentile(word: &str) -> Result<String, String> {
    let name = "latency-tracking-info-percentiles";
    match word.parse::<f64>() {
        Ok(percentile) if (0.0..=100.0).contains(&percentile) => Ok(percentile.to_string()),
        Ok(percentile) if !percentile.is_nan() => Err(format!("{name} parameters should sit between [0.0,100.0]")),
        _ => Err(format!("Invalid {name} parameters")),
    }
}

fn parse_oom_scores(words: &[&str]) -> Result<String, String> {
    if words.len() != 3 {
        return Err(WRONG_COUNT.into());
    }
    let scores: Option<Vec<i64>> =
        words.iter().map(|word| word.parse().ok().filter(|score| (-2000..=2000).contains(score))).collect();
    match scores {
        Some(scores) => Ok(scores.iter().map(i64::to_string).collect::<Vec<_>>().join(" ")),
        None => Err("Invalid oom-score-adj-values, elements must be between -2000 and 2000.".into()),
    }
}

fn parse_shutdown(words: &[&str]) -> Result<String, String> {
    let is_given = |flag: &&str| words.iter().any(|word| word.eq_ignore_ascii_case(flag));
    let known = |word: &&str| SHUTDOWN.iter().any(|flag| flag.eq_ignore_ascii_case(word));
    if words.is_empty() || !words.iter().all(known) {
        return Err(format!("argument(s) must be one of the following: {}", SHUTDOWN.join(", ")));
    }
    if is_given(&"save") && is_given(&"nosave") {
        return Err("shutdown options SAVE and NOSAVE can't be used simultaneously".into());
    }
    let flags: Vec<&str> = SHUTDOWN[1..].iter().copied().filter(is_given).collect();
    Ok(if flags.is_empty() { SHUTDOWN[0].to_owned() } else { flags.join(" ") })
}

/// Reads `2gb`, `100mb`, `1k`, `512`; no digits are none, as redis-server reads them.
pub fn parse_memory(value: &[u8]) -> Option<i64> {
    let digits = value.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let number = if digits == 0 { 0 } else { decimal::parse_i64(&value[..digits])? };
    let unit: i64 = match value[digits..].to_ascii_lowercase().as_slice() {
        b"" | b"b" => 1,
        b"k" => 1000,
        b"kb" => 1 << 10,
        b"m" => 1_000_000,
        b"mb" => 1 << 20,
        b"g" => 1_000_000_000,
        b"gb" => 1 << 30,
        _ => return None,
    };
    number.checked_mul(unit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{SETTINGS, find};

    #[test]
    fn every_default_is_valid_and_every_name_means_one_row() {
        for row in SETTINGS {
            row.default_value();
            assert_eq!(find(row.name).unwrap().setting, row.setting);
            if let Some(older) = row.older_name() {
                assert_eq!(find(&older).unwrap().setting, row.setting, "{older}");
            }
        }
    }

    fn check(name: &str, value: &str, expected: Result<&str, &str>) {
        let row = find(name).unwrap();
        let settings = crate::settings::Settings::default();
        let printed = parse(row, value.as_bytes()).map(|value| {
            settings.put(row, value);
            settings.text(row.setting)
        });
        assert_eq!(printed.as_deref().map_err(String::as_str), expected, "{name} {value}");
    }

    #[test]
    fn words_are_checked_and_printed_as_redis_does() {
        check("save", "900 1 300 10", Ok("900 1 300 10"));
        for wrong in ["900", "900 a", "900 -1", "0 1"] {
            check("save", wrong, Err("Invalid save parameters"));
        }
        check("latency-tracking-info-percentiles", "99.90 50.0 0", Ok("99.9 50 0"));
        check("latency-tracking-info-percentiles", "10 a", Err("Invalid latency-tracking-info-percentiles parameters"));
        check("shutdown-on-sigint", "force nosave", Ok("nosave force"));
        check(
            "shutdown-on-sigterm",
            "",
            Err("argument(s) must be one of the following: default, save, nosave, now, force"),
        );
        check("maxmemory-clients", "5%", Ok("5%"));
        check("maxmemory-clients", "101%", Err("percentage argument must be less or equal to 100"));
        check("unixsocketperm", "755", Ok("755"));
        check("unixsocketperm", "8", Err("argument couldn't be parsed as an octal number"));
        check("hz", "9000", Ok("500"));
        check("replicaof", "no one", Ok(""));
        check("replicaof", "127.0.0.1 abc", Err("Invalid master port"));
        check("oom-score-adj-values", "1 2", Err("wrong number of arguments"));
    }

    #[test]
    fn what_would_promise_too_much_is_refused() {
        for (name, value) in [("cluster-enabled", "yes"), ("replicaof", "127.0.0.1 6379")] {
            assert!(parse(find(name).unwrap(), value.as_bytes()).unwrap_err().contains("not supported"), "{name}");
        }
    }
}
