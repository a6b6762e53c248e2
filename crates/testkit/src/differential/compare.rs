//! When two replies count as equal, and when two databases do.
//!
//! Replies are equal when their bytes are, but for what no two servers share: the order of hashes and sets, the
//! moment, random draws. Each row of the table names its rule. Two differences are known between versions of Redis and
//! therefore belong here, not in a list of ours: 7.2 prints doubles with the fewest digits (7.0 with 17), and 7.2
//! packs small lists and sets (7.0 calls them quicklist and hashtable).

use super::families::{Family, Row};
use crate::Reply;
use crate::client::{Target, command, display};
use crate::transcript::{sort_items, sort_pairs};
use std::collections::{BTreeMap, HashMap};
use std::fmt;

/// How far apart two expiry times may be that were set by the same command, in milliseconds.
const EXPIRY_TOLERANCE_MS: u64 = 10_000;
/// Databases whose contents are compared.
const DATABASES: [u32; 2] = [0, 1];

/// How replies to a command are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rule {
    /// Equal; doubles of RESP3 by value.
    Exact,
    /// Equal after sorting the elements.
    Unordered,
    /// Equal after sorting field-value pairs.
    Pairs,
    /// A SCAN reply whose second part is equal after sorting.
    Scan,
    /// The same for pairs.
    ScanPairs,
    /// Bulk strings that are numbers are compared as such.
    Floats,
    /// Integers may differ by this much.
    Near(u64),
    /// Same kind and number of elements.
    Shape,
    /// Names of encodings, some of which are the same thing in different versions.
    Encoding,
}

/// A difference between the targets that is meant to be.
#[derive(Clone, Copy)]
pub struct Divergence {
    /// Upper-case name of the command.
    pub command: &'static str,
    /// Why it differs.
    pub reason: &'static str,
    /// Says whether this pair of replies (left, right) is the meant difference.
    pub accepts: fn(&[Vec<u8>], &Reply, &Reply) -> bool,
}

impl fmt::Debug for Divergence {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "{}: {}", self.command, self.reason)
    }
}

/// Compares the replies to a stream of commands. It follows transactions, because the reply to EXEC holds the replies
/// to commands seen before.
pub(super) struct Comparer<'a> {
    rules: HashMap<Vec<u8>, Vec<&'static Row>>,
    divergences: &'a [Divergence],
    queued: Option<Vec<super::Command>>,
    diverged: usize,
}

impl<'a> Comparer<'a> {
    pub(super) fn new(divergences: &'a [Divergence]) -> Self {
        let mut rules: HashMap<Vec<u8>, Vec<&'static Row>> = HashMap::new();
        for row in Family::ALL.iter().flat_map(|family| family.rows()) {
            rules.entry(row.name().as_bytes().to_vec()).or_default().push(row);
        }
        Self { rules, divergences, queued: None, diverged: 0 }
    }

    pub(super) fn diverged(&self) -> usize {
        self.diverged
    }

    /// Compares the replies to the next command of the stream.
    pub(super) fn agree(&mut self, args: &[Vec<u8>], left: &Reply, right: &Reply) -> bool {
        let name = args[0].to_ascii_uppercase();
        let queued = match (name.as_slice(), &mut self.queued) {
            (b"MULTI", queued @ None) if right.is_simple("OK") => {
                *queued = Some(Vec::new());
                None
            }
            (b"DISCARD" | b"EXEC", queued) if !is_arity_error(right) => queued.take(),
            (_, Some(queued)) if right.is_simple("QUEUED") => {
                queued.push(args.to_vec());
                None
            }
            _ => None,
        };
        if let (Some(commands), Reply::Array(left), Reply::Array(right)) = (queued, left, right) {
            let all = commands.iter().zip(left.iter().zip(right));
            return left.len() == right.len()
                && all.fold(true, |agree, (args, (left, right))| agree && self.agree_alone(args, left, right));
        }
        self.agree_alone(args, left, right)
    }

    fn agree_alone(&mut self, args: &[Vec<u8>], left: &Reply, right: &Reply) -> bool {
        if agree_by(self.rule(args), left, right) {
            return true;
        }
        let name = args[0].to_ascii_uppercase();
        let named = self.divergences.iter().filter(|divergence| divergence.command.as_bytes() == name);
        let meant = named.clone().any(|divergence| (divergence.accepts)(args, left, right));
        self.diverged += usize::from(meant);
        meant
    }

    /// Finds the rule of a command. Rows that share their name differ in their second or last word.
    fn rule(&self, args: &[Vec<u8>]) -> Rule {
        let Some(rows) = self.rules.get(&args[0].to_ascii_uppercase()) else { return Rule::Exact };
        let fits = |row: &&&Row| {
            let words: Vec<&str> = row.template.split(' ').collect();
            let fixed = |word: &str| word.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit());
            let second = words.get(1).is_none_or(|word| {
                !fixed(word) || args.get(1).is_some_and(|arg| arg.eq_ignore_ascii_case(word.as_bytes()))
            });
            let last = words.last().is_none_or(|word| {
                !fixed(word) || args.last().is_some_and(|arg| arg.eq_ignore_ascii_case(word.as_bytes()))
            });
            second && last
        };
        let specific = rows.iter().filter(fits).min_by_key(|row| row.rule == Rule::Shape);
        specific.map_or(rows[0].rule, |row| row.rule)
    }
}

fn is_arity_error(reply: &Reply) -> bool {
    matches!(reply, Reply::Error(text) if text.starts_with(b"ERR wrong number"))
}

fn agree_by(rule: Rule, left: &Reply, right: &Reply) -> bool {
    if left == right {
        return true;
    }
    let sorted = |sort: fn(&mut Reply)| {
        let (mut left, mut right) = (left.clone(), right.clone());
        sort(&mut left);
        sort(&mut right);
        same(&left, &right, Numbers::Doubles)
    };
    match rule {
        Rule::Exact => same(left, right, Numbers::Doubles),
        Rule::Floats => same(left, right, Numbers::DoublesAndBulks),
        Rule::Unordered => sorted(sort_items),
        Rule::Pairs => sorted(sort_pairs),
        Rule::Scan => sorted(|reply| sort_second(reply, sort_items)),
        Rule::ScanPairs => {
            let (mut left, mut right) = (left.clone(), right.clone());
            sort_second(&mut left, sort_pairs);
            sort_second(&mut right, sort_pairs);
            same(&left, &right, Numbers::DoublesAndBulks)
        }
        Rule::Near(tolerance) => match (left, right) {
            (Reply::Integer(a), Reply::Integer(b)) => a.is_negative() == b.is_negative() && a.abs_diff(*b) <= tolerance,
            _ => false,
        },
        Rule::Shape => shape(left) == shape(right),
        Rule::Encoding => match (left, right) {
            (Reply::Bulk(left), Reply::Bulk(right)) => same_encoding(left, right),
            _ => false,
        },
    }
}

fn sort_second(reply: &mut Reply, sort: fn(&mut Reply)) {
    if let Reply::Array(parts) = reply
        && let [_, items] = parts.as_mut_slice()
    {
        sort(items);
    }
}

/// Which texts are compared by the number they show.
#[derive(Clone, Copy, PartialEq)]
enum Numbers {
    Doubles,
    DoublesAndBulks,
}

fn same(left: &Reply, right: &Reply, numbers: Numbers) -> bool {
    let all = |left: &[Reply], right: &[Reply]| {
        left.len() == right.len() && left.iter().zip(right).all(|(left, right)| same(left, right, numbers))
    };
    match (left, right) {
        (Reply::Double(left), Reply::Double(right)) => same_number(left, right),
        (Reply::Bulk(left), Reply::Bulk(right)) => {
            left == right || (numbers == Numbers::DoublesAndBulks && same_number(left, right))
        }
        (Reply::Array(left), Reply::Array(right)) | (Reply::Set(left), Reply::Set(right)) => all(left, right),
        (Reply::Map(left), Reply::Map(right)) => {
            let pairs = left.iter().zip(right);
            left.len() == right.len()
                && pairs.into_iter().all(|(a, b)| same(&a.0, &b.0, numbers) && same(&a.1, &b.1, numbers))
        }
        _ => left == right,
    }
}

fn same_number(left: &[u8], right: &[u8]) -> bool {
    let parse = |digits: &[u8]| std::str::from_utf8(digits).ok()?.parse::<f64>().ok();
    left == right || matches!((parse(left), parse(right)), (Some(a), Some(b)) if a.to_bits() == b.to_bits())
}

fn shape(reply: &Reply) -> (std::mem::Discriminant<Reply>, usize) {
    (std::mem::discriminant(reply), reply.as_slice().map_or(0, <[Reply]>::len))
}

fn same_encoding(left: &[u8], right: &[u8]) -> bool {
    const ALIKE: [[&[u8]; 2]; 2] = [[b"listpack", b"quicklist"], [b"listpack", b"hashtable"]];
    left == right || ALIKE.iter().any(|names| names.contains(&left) && names.contains(&right))
}

/// What a key holds.
#[derive(Debug)]
pub(super) struct Entry {
    kind: String,
    encoding: Vec<u8>,
    expiry_ms: Option<i64>,
    value: Reply,
}

impl Entry {
    /// Says whether two entries hold the same.
    pub(super) fn agrees(&self, other: &Self) -> bool {
        let expiry = match (self.expiry_ms, other.expiry_ms) {
            (Some(a), Some(b)) => a.abs_diff(b) <= EXPIRY_TOLERANCE_MS,
            (a, b) => a == b,
        };
        // A packed hash is no table: the two names are alike for sets only.
        let encoding = match self.kind.as_str() {
            "set" | "list" => same_encoding(&self.encoding, &other.encoding),
            _ => self.encoding == other.encoding,
        };
        let numbers = if self.kind == "zset" { Numbers::DoublesAndBulks } else { Numbers::Doubles };
        self.kind == other.kind && expiry && encoding && same(&self.value, &other.value, numbers)
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let encoding = String::from_utf8_lossy(&self.encoding);
        write!(to, "{} ({encoding}), expiry {:?}\n{}", self.kind, self.expiry_ms, self.value.print())
    }
}

/// Reads everything a target holds, by database and key. A fresh RESP2 connection does it.
pub(super) fn contents(target: &mut dyn Target) -> BTreeMap<String, Entry> {
    target.set_protocol(crate::Protocol::Resp2);
    let mut entries = BTreeMap::new();
    for database in DATABASES {
        target.call(&command(&format!("SELECT {database}")));
        let keys = target.call(&command("KEYS *"));
        let keys = keys.as_slice().unwrap_or_else(|| panic!("KEYS * was answered by {}", keys.print()));
        for key in keys.iter().filter_map(Reply::as_bytes) {
            let name = format!("{} in database {database}", display(&[key.to_vec()]));
            entries.insert(name, read_entry(target, key));
        }
    }
    entries
}

/// The sum of all databases; nothing from a target that does not allow DEBUG.
pub(super) fn digest(target: &mut dyn Target) -> Option<String> {
    let reply = target.call(&command("DEBUG DIGEST"));
    (!matches!(reply, Reply::Error(_))).then(|| reply.print())
}

fn read_entry(target: &mut dyn Target, key: &[u8]) -> Entry {
    let mut ask = |before: &str, after: &str| {
        let mut args = command(before);
        args.push(key.to_vec());
        args.extend(command(after));
        target.call(&args)
    };
    let kind = String::from_utf8_lossy(ask("TYPE", "").as_bytes().unwrap_or_default()).into_owned();
    let encoding = ask("OBJECT ENCODING", "").as_bytes().unwrap_or_default().to_vec();
    let expiry_ms = ask("PEXPIRETIME", "").as_integer().filter(|&moment| moment != -1);
    let mut value = match kind.as_str() {
        "string" => ask("GET", ""),
        "list" => ask("LRANGE", "0 -1"),
        "hash" => ask("HGETALL", ""),
        "set" => ask("SMEMBERS", ""),
        "zset" => ask("ZRANGE", "0 -1 WITHSCORES"),
        "stream" => Reply::Array(vec![ask("XRANGE", "- +"), ask("XINFO STREAM", "")]),
        _ => ask("DUMP", ""),
    };
    match kind.as_str() {
        "hash" => sort_pairs(&mut value),
        "set" => sort_items(&mut value),
        _ => {}
    }
    Entry { kind, encoding, expiry_ms, value }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bulk(text: &str) -> Reply {
        Reply::Bulk(text.as_bytes().to_vec())
    }

    fn array(texts: &[&str]) -> Reply {
        Reply::Array(texts.iter().map(|text| bulk(text)).collect())
    }

    #[test]
    fn rules_forgive_what_they_name_and_nothing_else() {
        let (ab, ba) = (array(&["a", "b"]), array(&["b", "a"]));
        assert!(agree_by(Rule::Unordered, &ab, &ba) && !agree_by(Rule::Exact, &ab, &ba));
        assert!(!agree_by(Rule::Unordered, &ab, &array(&["a", "a"])));
        let (long, short) = (bulk("3.1400000000000001"), bulk("3.14"));
        assert!(agree_by(Rule::Floats, &long, &short) && !agree_by(Rule::Exact, &long, &short));
        assert!(!agree_by(Rule::Floats, &bulk("3.14"), &bulk("3.15")));
        assert!(agree_by(Rule::Near(2), &Reply::Integer(9), &Reply::Integer(11)));
        assert!(!agree_by(Rule::Near(2), &Reply::Integer(-1), &Reply::Integer(1)));
        assert!(agree_by(Rule::Shape, &ab, &array(&["x", "y"])) && !agree_by(Rule::Shape, &ab, &array(&["x"])));
        assert!(agree_by(Rule::Encoding, &bulk("listpack"), &bulk("quicklist")));
        assert!(!agree_by(Rule::Encoding, &bulk("intset"), &bulk("hashtable")));
    }

    #[test]
    fn the_reply_to_exec_is_compared_by_what_was_queued() {
        let ok = |text: &str| Reply::Simple(text.as_bytes().to_vec());
        let mut comparer = Comparer::new(&[]);
        assert!(comparer.agree(&command("MULTI"), &ok("OK"), &ok("OK")));
        assert!(comparer.agree(&command("SMEMBERS t"), &ok("QUEUED"), &ok("QUEUED")));
        assert!(comparer.agree(&command("LRANGE l 0 -1"), &ok("QUEUED"), &ok("QUEUED")));
        let reply = |set: &[&str], list: &[&str]| Reply::Array(vec![array(set), array(list)]);
        let left = reply(&["a", "b"], &["a", "b"]);
        assert!(!Comparer::new(&[]).agree(&command("EXEC"), &left, &reply(&["b", "a"], &["a", "b"])));
        assert!(comparer.agree(&command("EXEC"), &left, &reply(&["b", "a"], &["a", "b"])));
        assert!(!comparer.agree(&command("EXEC"), &left, &reply(&["a", "b"], &["b", "a"])));
    }

    #[test]
    fn rows_of_one_name_keep_their_rules() {
        let comparer = Comparer::new(&[]);
        assert_eq!(comparer.rule(&command("OBJECT ENCODING k")), Rule::Encoding);
        assert_eq!(comparer.rule(&command("object idletime k")), Rule::Near(5));
        assert_eq!(comparer.rule(&command("SRANDMEMBER k 3")), Rule::Shape);
        assert_eq!(comparer.rule(&command("SRANDMEMBER k 100000")), Rule::Unordered);
        assert_eq!(comparer.rule(&command("UNKNOWN")), Rule::Exact);
    }
}
