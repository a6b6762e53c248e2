//! The text of INFO, read.
//!
//! Lines are `field:value`; `# Section` lines part them and carry no meaning, since names are unique over sections. Some
//! values are themselves `name=value` pairs. Every server of the family writes this, each with fields of its own;
//! what is absent is absent here. A Cluster answers with the text of each of its masters.

use std::collections::BTreeMap;

use redpoll_services::{Backend, Command, Error};

/// What one node says.
#[derive(Debug)]
pub(crate) struct Node {
    /// Its address, if there are several nodes.
    pub(crate) name: Option<String>,
    /// What it says.
    pub(crate) info: Info,
}

/// Asks the store for everything it tells.
pub(crate) async fn ask(backend: &Backend) -> Result<Vec<Node>, Error> {
    let reply = backend.call(Command::new("INFO").arg("everything").repeatable()).await?;
    let read = |text: &[u8]| Info::parse(&String::from_utf8_lossy(text));
    let nodes: Option<Vec<Node>> = match reply.into_map() {
        Ok(nodes) => nodes
            .iter()
            .map(|(name, text)| Some(Node { name: Some(name.as_str()?.to_owned()), info: read(text.as_bytes()?) }))
            .collect(),
        Err(reply) => reply.as_bytes().map(|text| vec![Node { name: None, info: read(text) }]),
    };
    nodes.ok_or_else(|| Error::Backend("the reply to INFO is no text".to_owned()))
}

/// The fields of one INFO text.
#[derive(Debug, Default)]
pub(crate) struct Info {
    fields: BTreeMap<String, String>,
}

impl Info {
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
