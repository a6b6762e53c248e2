//! Draws commands from the table.
//!
//! Every placeholder has two sources: the ordinary, small enough that commands find each other's data, and the edges,
//! where implementations go wrong. A transaction that was opened is closed soon, so that replies are not all `QUEUED`.
//! A few commands are damaged afterwards: an argument dropped, doubled, swapped or replaced. Rows that draw times are
//! only damaged in ways that cannot leave a short expiry behind.

use super::Command;
use super::families::{Damage, Family, Row};
use super::grammar::{self, Kind, Node};
use super::scripts::SCRIPTS;
use crate::Random;

/// Keys that are only used with members of equal score.
const LEX_KEYS: &[&str] = &["lex0", "lex1"];
const FIELDS: &[&str] = &["f0", "f1", "f2", "f3", "f4", "f5", "f6", "f7", "17", "-1", "", "field-of-seventeen"];
const INTEGERS: &[&str] = &[
    "9223372036854775807",
    "-9223372036854775808",
    "9223372036854775808",
    "4294967296",
    "-2147483649",
    "32768",
    "127",
    "128",
    "0",
    "-0",
    "+1",
    "01",
    " 1",
    "1 ",
    "1.0",
    "abc",
    "",
    "0x10",
];
const FLOATS: &[&str] = &[
    "0",
    "1.5",
    "-0.25",
    "3.14",
    "0.1",
    "1e3",
    "5.0e-3",
    "100",
    "-3",
    "17179869184.5",
    "inf",
    "-inf",
    "nan",
    "abc",
    "",
    "1.5 ",
];
const SCORES: &[&str] =
    &["0", "-0", "1", "2", "-1", "1.5", "0.1", "1e17", "-1e-7", "inf", "+inf", "-inf", "nan", "x", "9007199254740993"];
const BOUNDS: &[&str] = &["-inf", "+inf", "(0", "(1", "1", "2", "-1", "(1.5", "(-inf", "(inf", "0.1", "x", "(", "nan"];
const LEX_BOUNDS: &[&str] = &["-", "+", "[", "(", "[m", "(m3", "[m5", "(z", "m", "", "[10"];
const PATTERNS: &[&str] = &["*", "s*", "?0", "[a-h]*", "*t*", "m[^1]", "f?", "\\*", "", "no-such", "[", "{t}*"];
const COUNTS: &[&str] = &["0", "1", "2", "3", "10", "-1", "-3", "1000", "x", "9223372036854775807"];
/// Sizes at the limits of encodings: embedded strings, packed sequences (also the small thresholds), their lengths.
const LENGTHS: &[usize] = &[1, 5, 16, 17, 44, 45, 63, 64, 65, 127, 300];

/// A stream of commands. It belongs to its seed; replies do not influence it.
#[derive(Debug)]
pub(super) struct Generator {
    random: Random,
    families: Vec<(Family, Vec<Parsed>)>,
    in_transaction: bool,
    additions: Additions,
}

/// How much one HSET, HMSET, SADD or ZADD may add.
///
/// 7.2 chooses the form of a collection by the number of arguments before it looks at them, 7.0 by what there is in the
/// end. So where thresholds are small, naming more members than they allow makes a difference if some are the same or
/// there already; growing beyond them by several commands does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Additions {
    /// Anything.
    Any,
    /// No more than the smallest threshold.
    Few,
}

#[derive(Debug)]
struct Parsed {
    row: &'static Row,
    nodes: Vec<Node>,
    has_time: bool,
}

impl Generator {
    pub(super) fn new(random: Random, families: &[Family], without: &[String], additions: Additions) -> Self {
        assert!(!families.is_empty(), "nothing to draw from");
        let parse = |row: &'static Row| {
            let nodes = grammar::parse(row.template);
            Parsed { row, has_time: grammar::has_time(&nodes), nodes }
        };
        let wanted = |row: &&'static Row| !without.iter().any(|name| row.name() == name);
        let rows = |family: &Family| family.rows().iter().filter(wanted).map(parse).collect::<Vec<_>>();
        let families: Vec<_> = families.iter().map(|family| (*family, rows(family))).collect();
        assert!(families.iter().all(|(_, rows)| !rows.is_empty()), "a family has no command left");
        Self { random, families, in_transaction: false, additions }
    }

    /// Draws the next command.
    pub(super) fn next(&mut self) -> Command {
        if self.in_transaction && self.random.chance(1, 6) {
            self.in_transaction = false;
            return vec![if self.random.chance(1, 5) { b"DISCARD".to_vec() } else { b"EXEC".to_vec() }];
        }
        if self.random.chance(1, 2_000) {
            return vec![self.random.pick(&["FLUSHDB", "FLUSHALL"]).as_bytes().to_vec()];
        }
        let families = std::mem::take(&mut self.families);
        let (family, rows) = self.draw_family(&families);
        let parsed = self.random.pick(rows);
        let mut args = Command::new();
        parsed.nodes.iter().for_each(|node| self.expand(*family, node, &mut args));
        if parsed.row.damage == Damage::Any && self.random.chance(1, 25) {
            self.damage(&mut args, parsed.has_time);
        }
        if self.additions == Additions::Few {
            truncate_additions(&mut args);
        }
        plain_zeros(&mut args);
        if self.random.chance(1, 20) {
            args[0].make_ascii_lowercase();
        }
        self.in_transaction |= args[0].eq_ignore_ascii_case(b"MULTI");
        self.families = families;
        args
    }

    /// Some families are rare; all others are drawn alike.
    fn draw_family<'a>(&mut self, families: &'a [(Family, Vec<Parsed>)]) -> &'a (Family, Vec<Parsed>) {
        let drawn = self.random.pick(families);
        let again = drawn.0.reluctance() > 0 && self.random.chance(drawn.0.reluctance(), 8);
        if again { self.random.pick(families) } else { drawn }
    }

    fn expand(&mut self, family: Family, node: &Node, args: &mut Command) {
        match node {
            Node::Word(word) => args.push(word.as_bytes().to_vec()),
            Node::Drawn(kind) => self.draw(family, *kind, args),
            Node::Optional(_) if self.random.chance(3, 5) => {}
            Node::Optional(choice) | Node::OneOf(choice) => {
                let sequence = self.random.pick(choice);
                sequence.iter().for_each(|node| self.expand(family, node, args));
            }
            Node::Repeated(node) => {
                let times = if self.random.chance(1, 30) { 20 } else { self.random.between(1, 4) };
                (0..times).for_each(|_| self.expand(family, node, args));
            }
        }
    }

    fn draw(&mut self, family: Family, kind: Kind, args: &mut Command) {
        let drawn = match kind {
            Kind::Key => self.key(family),
            Kind::CountedKeys => return self.counted_keys(family, args),
            Kind::Script | Kind::Sha => return self.script(kind, args),
            Kind::ScriptText => self.random.pick(SCRIPTS).text.into(),
            Kind::ShaSum => self.random.pick(SCRIPTS).sha.into(),
            Kind::LexKey => self.word(LEX_KEYS),
            Kind::Value => self.value(),
            Kind::Field => self.field(),
            Kind::Member => self.member(),
            Kind::Integer => self.number(-5, 20, INTEGERS),
            Kind::Float => self.number(-3, 3, FLOATS),
            Kind::Score => self.number(-3, 9, SCORES),
            Kind::ScoreBound => self.number(-3, 9, BOUNDS),
            Kind::LexBound => self.word(LEX_BOUNDS),
            Kind::Index => self.number(-8, 12, INTEGERS),
            Kind::Count => self.number(0, 4, COUNTS),
            Kind::Offset => self.number(0, 200, &["0", "7", "8", "1000", "4294967296", "-1", "x"]),
            Kind::Bit => self.word(&["0", "1", "0", "1", "2", "x"]),
            Kind::Seconds => self.number(10_000, 100_000_000, SECONDS),
            Kind::Milliseconds => self.number(10_000_000, 100_000_000_000, SECONDS),
            Kind::Unix => self.number(4_000_000_000, 5_000_000_000, PAST),
            Kind::UnixMs => self.number(4_000_000_000_000, 5_000_000_000_000, PAST),
            Kind::FutureUnix => self.number(4_000_000_000, 5_000_000_000, SECONDS),
            Kind::FutureUnixMs => self.number(4_000_000_000_000, 5_000_000_000_000, SECONDS),
            Kind::Pattern => self.word(PATTERNS),
            Kind::Database => self.word(&["0", "0", "0", "1", "1", "16", "-1", "x"]),
        };
        args.push(drawn);
    }

    fn word(&mut self, words: &[&str]) -> Vec<u8> {
        self.random.pick(words).as_bytes().to_vec()
    }

    /// A number of the ordinary range, or an edge.
    fn number(&mut self, low: i64, high: i64, edges: &[&str]) -> Vec<u8> {
        if self.random.chance(1, 6) {
            self.word(edges)
        } else {
            self.random.between(low, high).to_string().into_bytes()
        }
    }

    fn key(&mut self, family: Family) -> Vec<u8> {
        const STRANGE: &[&str] = &["", "\0\r\n", "missing", "a-key-whose-name-is-longer-than-most-names-are"];
        let own = !matches!(family, Family::Keys | Family::Transactions | Family::Scripts);
        if own && self.random.chance(7, 8) {
            return self.word(family.keys());
        }
        if self.random.chance(1, 12) {
            return self.word(STRANGE);
        }
        let any = *self.random.pick(&Family::ALL);
        self.word(any.keys())
    }

    fn counted_keys(&mut self, family: Family, args: &mut Command) {
        let count = self.random.between(1, 4);
        let claimed = if self.random.chance(1, 15) { self.random.between(-1, 5) } else { count };
        args.push(claimed.to_string().into_bytes());
        (0..count).for_each(|_| args.push(self.key(family)));
    }

    fn script(&mut self, kind: Kind, args: &mut Command) {
        let script = self.random.pick(SCRIPTS);
        args.push(if kind == Kind::Sha { script.sha } else { script.text }.into());
        args.push(script.keys.len().to_string().into_bytes());
        script.keys.iter().for_each(|&family| args.push(self.key(family)));
        (0..script.args).for_each(|_| args.push(self.value()));
    }

    fn value(&mut self) -> Vec<u8> {
        match self.random.below(10) {
            0..=2 => self.random.between(-10, 200).to_string().into_bytes(),
            3 => self.word(INTEGERS),
            4 => self.word(FLOATS),
            5..=7 => self.word(&["a", "b", "value", "hello world"]),
            8 => {
                let len = *self.random.pick(LENGTHS);
                vec![b'x'; len]
            }
            _ => {
                let len = *self.random.pick(LENGTHS);
                self.random.bytes(len)
            }
        }
    }

    fn field(&mut self) -> Vec<u8> {
        match self.random.below(12) {
            0 => vec![b'f'; *self.random.pick(LENGTHS)],
            1 => format!("f{}", self.random.below(300)).into_bytes(),
            _ => self.word(FIELDS),
        }
    }

    fn member(&mut self) -> Vec<u8> {
        match self.random.below(10) {
            0 => vec![b'm'; *self.random.pick(LENGTHS)],
            1 => format!("m{}", self.random.below(300)).into_bytes(),
            2..=4 => self.random.between(-3, 12).to_string().into_bytes(),
            5 => self.word(INTEGERS),
            _ => format!("m{}", self.random.below(10)).into_bytes(),
        }
    }

    fn damage(&mut self, args: &mut Command, has_time: bool) {
        if self.random.chance(1, 3) {
            return args.push(self.value());
        }
        if args.len() < 2 {
            return;
        }
        let at = self.random.below(args.len() as u64 - 1) as usize + 1;
        match self.random.below(4) {
            // An expiry may stand anywhere in such a row: only break what is there.
            _ if has_time => args[at] = b"damaged".to_vec(),
            0 => drop(args.remove(at)),
            1 => args.insert(at, args[at].clone()),
            2 => args.swap(1, at),
            _ => args[at] = self.value(),
        }
    }
}

/// The smallest number of entries that a threshold is set to.
const LEAST_THRESHOLD: usize = 3;

/// Leaves as many additions as the smallest threshold allows.
fn truncate_additions(args: &mut Command) {
    let pairs_begin = |args: &Command| {
        let option = |arg: &Vec<u8>| ["NX", "XX", "GT", "LT", "CH", "INCR"].iter().any(|word| word.as_bytes() == arg);
        2 + args.iter().skip(2).take_while(|arg| option(arg)).count()
    };
    let len = match args[0].as_slice() {
        b"SADD" => 2 + LEAST_THRESHOLD,
        b"HSET" | b"HMSET" => 2 + 2 * LEAST_THRESHOLD,
        b"ZADD" => pairs_begin(args) + 2 * LEAST_THRESHOLD,
        _ => return,
    };
    args.truncate(len);
}

/// Replaces -0 among several scores: 7.2 makes a set for the longest of the members at once and stores it there, 7.0
/// begins with a packed one, where it becomes 0.
fn plain_zeros(args: &mut Command) {
    if args[0] == b"ZADD" && args.len() > 4 {
        args.iter_mut().filter(|arg| *arg == b"-0").for_each(|arg| *arg = b"0".to_vec());
    }
}

/// Durations that are no future: refused, or deleting at once.
const SECONDS: &[&str] = &[
    "0",
    "-1",
    "-100",
    "9223372036854775807",
    "-9223372036854775808",
    "9223372036854775",
    "9223372036854776",
    "1.5",
    "x",
    "",
];
/// Moments that are long past or refused.
const PAST: &[&str] = &["1", "1000", "1500000000", "0", "-1", "9223372036854775807", "9223372036854775", "x", ""];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_of_every_family_is_drawn() {
        let mut generator = Generator::new(Random::new(1), &Family::ALL, &[], Additions::Any);
        let mut names: std::collections::BTreeSet<Vec<u8>> = std::collections::BTreeSet::new();
        for _ in 0..50_000 {
            names.insert(generator.next()[0].to_ascii_uppercase());
        }
        for row in Family::ALL.iter().flat_map(|family| family.rows()) {
            assert!(names.contains(row.name().as_bytes()), "{} was never drawn", row.name());
        }
    }

    #[test]
    fn commands_can_be_left_out() {
        let mut generator = Generator::new(Random::new(1), &[Family::Strings], &["GET".to_owned()], Additions::Any);
        let drawn = (0..5_000).filter(|_| generator.next()[0].eq_ignore_ascii_case(b"GET")).count();
        assert_eq!(drawn, 0);
    }

    #[test]
    fn additions_are_few_where_thresholds_are_small() {
        let check = |line: &str, expected: &str| {
            let mut args = crate::client::command(line);
            truncate_additions(&mut args);
            assert_eq!(args, crate::client::command(expected));
        };
        check("HSET h a 1 b 2 c 3 d 4", "HSET h a 1 b 2 c 3");
        check("SADD s a b c d", "SADD s a b c");
        check("ZADD z NX CH 1 a 2 b 3 c 4 d", "ZADD z NX CH 1 a 2 b 3 c");
        check("LPUSH l a a a a a a", "LPUSH l a a a a a a");
    }

    #[test]
    fn the_stream_belongs_to_the_seed() {
        let draw = |seed| {
            let mut generator = Generator::new(Random::new(seed), &Family::ALL, &[], Additions::Any);
            (0..100).map(|_| generator.next()).collect::<Vec<_>>()
        };
        assert_eq!(draw(5), draw(5));
        assert_ne!(draw(5), draw(6));
    }
}
