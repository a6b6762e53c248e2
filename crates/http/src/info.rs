//! The text of INFO, read.
//!
//! Lines are `field:value`; `# Section` lines part them and carry no meaning, since names are unique over sections. Some
//! values are themselves `name=value` pairs. Every server of the family writes this, each with fields of its own;
//! what is absent is absent here.

use std::collections::BTreeMap;

use redpoll_services::{Backend, Command, Error};

/// The fields of one INFO reply.
#[derive(Debug, Default)]
pub(crate) struct Info {
    fields: BTreeMap<String, String>,
}

impl Info {
    /// Asks the store for everything it tells; on a Cluster some node answers.
    pub(crate) async fn ask(backend: &Backend) -> Result<Info, Error> {
        let reply = backend.call(Command::new("INFO").arg("everything").repeatable()).await?;
        let text = reply.as_bytes().ok_or_else(|| Error::unexpected("INFO", &reply))?;
        Ok(Info::parse(&String::from_utf8_lossy(text)))
    }

    pub(crate) fn parse(text: &str) -> Info {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let fields = lines.filter_map(|line| line.split_once(':'));
        Info { fields: fields.map(|(name, value)| (name.to_owned(), value.trim_end().to_owned())).collect() }
    }

    /// Returns a field's text.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.fields.get(name).map(String::as_str)
    }

    /// Returns a field's number.
    pub(crate) fn number(&self, name: &str) -> Option<f64> {
        self.text(name)?.parse().ok().filter(|number: &f64| number.is_finite())
    }

    /// Returns the fields whose names begin so, the beginning cut off, with their pairs.
    pub(crate) fn grouped(&self, prefix: &str) -> impl Iterator<Item = (&str, Pairs<'_>)> {
        let from = self.fields.range(prefix.to_owned()..);
        from.map_while(move |(name, value)| Some((name.strip_prefix(prefix)?, Pairs(value))))
    }
}

/// A value of `name=value` pairs with commas between.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pairs<'a>(&'a str);

impl Pairs<'_> {
    /// Returns a pair's number.
    pub(crate) fn number(&self, name: &str) -> Option<f64> {
        let mut pairs = self.0.split(',').filter_map(|pair| pair.split_once('='));
        pairs.find(|(key, _)| *key == name)?.1.parse().ok().filter(|number: &f64| number.is_finite())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_and_groups() {
        let info = Info::parse(
            "# Server\r\nredis_version:7.0.15\r\nexecutable:/a:b\r\n\r\n# Commandstats\r\n\
             cmdstat_get:calls=3,usec=10,usec_per_call=3.33\r\ncmdstat_set:calls=1,usec=2\r\nd:1\r\n",
        );
        assert_eq!(info.text("redis_version"), Some("7.0.15"));
        assert_eq!(info.text("executable"), Some("/a:b"));
        assert_eq!((info.number("d"), info.number("redis_version"), info.number("x")), (Some(1.0), None, None));
        let commands: Vec<_> = info.grouped("cmdstat_").map(|(name, pairs)| (name, pairs.number("usec"))).collect();
        assert_eq!(commands, [("get", Some(10.0)), ("set", Some(2.0))]);
    }
}
