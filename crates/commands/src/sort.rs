//! SORT: the elements of a list, set or sorted set in another order, or what keys named after them hold.
//!
//! `BY` and `GET` take patterns: the element stands in for the `*`, and `->field` behind it means a field of the hash at that key. Such keys are no arguments, so
//! a call with a pattern holds the whole keyspace; one without holds its keys only. The order is total where Redis makes it so: equal numbers are told apart by
//! the element's text. Where it is not (`ALPHA` by pattern, with equal or missing weights) elements stay in the order in which they came, and what is
//! stored is logged as a list, because a set need not come in that order again.

use std::cmp::Ordering;

use redpoll_keyspace::{Direction, Kind, List, ListEnd, Set, SortedSet, kind};
use redpoll_structures::decimal;
use redpoll_structures::packed::Item;

use crate::args::Args;
use crate::command::{Command, DENYOOM, Family, Keys, READONLY, WRITE, cmd};
use crate::cx::{Cx, Origin};
use crate::error::{Error, SORT_BY_DENIED, SORT_GET_DENIED, SORT_NOT_NUMBERS, SYNTAX, WRONG_TYPE};
use crate::key_spec::{ACCESS, KeySpec, OW, RO, UPDATE};

#[rustfmt::skip]
const COMMANDS: &[Command] = &[
    cmd("SORT key [BY pattern] [LIMIT offset count] [GET pattern [GET pattern ...]] [ASC | DESC] [ALPHA] [STORE destination]", sort, WRITE | DENYOOM, "1.0.0", "O(N+M*log(M)) where N is the number of elements in the list or set to sort, and M the number of returned elements. When the elements are not sorted, complexity is O(N).", "Sorts the elements in a list, a set, or a sorted set, optionally storing the result.").keys(Keys::First { further: destination, unbound: has_pattern }).categories(CATEGORIES).specs(&[KeySpec::at(1, RO | ACCESS), KeySpec::unknown(RO | ACCESS), KeySpec::unknown(OW | UPDATE)]),
    cmd("SORT_RO key [BY pattern] [LIMIT offset count] [GET pattern [GET pattern ...]] [ASC | DESC] [ALPHA]", sort_ro, READONLY, "7.0.0", "O(N+M*log(M)) where N is the number of elements in the list or set to sort, and M the number of returned elements. When the elements are not sorted, complexity is O(N).", "Returns the sorted elements of a list, a set, or a sorted set.").keys(Keys::First { further: |_, _| {}, unbound: has_pattern }).categories(CATEGORIES).specs(&[KeySpec::at(1, RO | ACCESS), KeySpec::unknown(RO | ACCESS)]),
];

/// What SORT sorts.
const CATEGORIES: &[&str] = &["set", "sortedset", "list", "dangerous"];

/// Sorting.
pub(crate) const FAMILY: Family = Family { group: "generic", commands: COMMANDS };

/// SORT key [BY pattern] [LIMIT offset count] [GET pattern [GET pattern ...]] [ASC | DESC] [ALPHA] [STORE destination]
fn sort(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    let options = Options::parse(args, Mode::Storing)?;
    check_rights(cx, args, &options)?;
    run(cx, args, options)
}

/// SORT_RO key [BY pattern] [LIMIT offset count] [GET pattern [GET pattern ...]] [ASC | DESC] [ALPHA]
fn sort_ro(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    let options = Options::parse(args, Mode::ReadOnly)?;
    check_rights(cx, args, &options)?;
    run(cx, args, options)
}

/// Refuses patterns to a user who may not read every key: what they lead to is known only when it has been read.
fn check_rights(cx: &Cx<'_, '_>, args: Args<'_>, options: &Options<'_>) -> Result<(), Error> {
    let by_pattern = options.by.is_some_and(Pattern::is_pattern);
    if (!by_pattern && options.get.is_empty()) || cx.session.user.is_unrestricted() {
        return Ok(());
    }
    let resolved = cx.engine.registry.resolve(args)?;
    if cx.session.user.may_read_everything(resolved, args) {
        return Ok(());
    }
    Err(if by_pattern { SORT_BY_DENIED } else { SORT_GET_DENIED })
}

/// Pushes the place of the key behind STORE; of several, the last one counts.
fn destination(args: Args<'_>, positions: &mut Vec<usize>) {
    if let Ok(Options { store: Some(at), .. }) = Options::parse(args, Mode::Storing) {
        positions.push(at);
    }
}

/// Tells whether a call names keys by pattern.
fn has_pattern(args: Args<'_>) -> bool {
    let Ok(options) = Options::parse(args, Mode::Storing) else { return false };
    options.by.is_some_and(Pattern::is_pattern) || options.get.iter().copied().any(Pattern::is_pattern)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Storing,
    ReadOnly,
}

/// `weight_*`, `data_*->field` or `#`.
#[derive(Clone, Copy, Debug)]
struct Pattern<'a>(&'a [u8]);

impl Pattern<'_> {
    fn is_pattern(self) -> bool {
        self.0.contains(&b'*')
    }

    /// Looks up what the pattern means for an element.
    fn value(self, cx: &mut Cx<'_, '_>, element: &[u8]) -> Option<Vec<u8>> {
        if self.0 == b"#" {
            return Some(element.to_vec());
        }
        let star = self.0.iter().position(|byte| *byte == b'*')?;
        let (prefix, rest) = (&self.0[..star], &self.0[star + 1..]);
        let arrow = rest.windows(2).position(|pair| pair == b"->").filter(|at| at + 2 < rest.len());
        let (suffix, field) = arrow.map_or((rest, None), |at| (&rest[..at], Some(&rest[at + 2..])));
        let key = [prefix, element, suffix].concat();
        match field {
            Some(field) => {
                let now = cx.now();
                cx.db.read_fields(&key, &[field]).ok()??.get(field, now).map(Item::to_vec)
            }
            None => cx.db.read_text(&key).ok()?.map(|text| text.bytes(&mut [0; 20]).to_vec()),
        }
    }
}

/// What stands behind the key.
#[derive(Debug, Default)]
struct Options<'a> {
    by: Option<Pattern<'a>>,
    get: Vec<Pattern<'a>>,
    limit: Option<(i64, i64)>,
    descending: bool,
    alpha: bool,
    /// Where the destination stands.
    store: Option<usize>,
}

impl<'a> Options<'a> {
    fn parse(args: Args<'a>, mode: Mode) -> Result<Options<'a>, Error> {
        let mut options = Options::default();
        let mut at = 2;
        while at < args.len() {
            let left = args.len() - at - 1;
            at += match () {
                () if args.is(at, "ASC") => {
                    options.descending = false;
                    1
                }
                () if args.is(at, "DESC") => {
                    options.descending = true;
                    1
                }
                () if args.is(at, "ALPHA") => {
                    options.alpha = true;
                    1
                }
                () if args.is(at, "LIMIT") && left >= 2 => {
                    options.limit = Some((args.int(at + 1)?, args.int(at + 2)?));
                    3
                }
                () if args.is(at, "STORE") && left >= 1 && mode == Mode::Storing => {
                    options.store = Some(at + 1);
                    2
                }
                () if args.is(at, "BY") && left >= 1 => {
                    options.by = Some(Pattern(args.at(at + 1)));
                    2
                }
                () if args.is(at, "GET") && left >= 1 => {
                    options.get.push(Pattern(args.at(at + 1)));
                    2
                }
                () => return Err(SYNTAX),
            };
        }
        Ok(options)
    }

    /// Returns which of `len` elements LIMIT lets through.
    fn window(&self, len: usize) -> std::ops::Range<usize> {
        let (offset, count) = self.limit.unwrap_or((0, -1));
        let start = usize::try_from(offset).unwrap_or(0).min(len);
        let end = usize::try_from(count).map_or(len, |count| start.saturating_add(count).min(len));
        start..end
    }
}

fn run(cx: &mut Cx<'_, '_>, args: Args<'_>, mut options: Options<'_>) -> Result<(), Error> {
    let kind = cx.db.read(args.at(1)).map(kind);
    let mut sorts = options.by.is_none_or(Pattern::is_pattern);
    if !sorts && kind == Some(Kind::Set) && (options.store.is_some() || cx.origin == Origin::Script) {
        // A set has no order of its own: a script and a stored list must not depend on how it happens to lie in memory.
        (sorts, options.alpha, options.by) = (true, true, None);
    }
    let backwards = !sorts && options.descending;
    let elements =
        elements(cx, args.at(1), kind, if backwards { Direction::Descending } else { Direction::Ascending })?;
    let window = options.window(elements.len());
    let sorted = if sorts { order(cx, elements, &options)? } else { elements };
    let chosen = &sorted[window];
    match options.store {
        Some(at) => store(cx, args.at(at), chosen, &options),
        None => answer(cx, chosen, &options),
    }
    Ok(())
}

/// Copies the elements in the order the collection has them.
fn elements(cx: &mut Cx<'_, '_>, key: &[u8], kind: Option<Kind>, direction: Direction) -> Result<Vec<Vec<u8>>, Error> {
    let mut elements = Vec::new();
    match kind {
        None => {}
        Some(Kind::List) => {
            let list = cx.db.read_beside::<List>(key)?.expect("the key was just read");
            elements.extend(list.iter().map(Item::to_vec));
        }
        Some(Kind::Set) => {
            let set = cx.db.read_beside::<Set>(key)?.expect("the key was just read");
            elements.extend(set.iter().map(Item::to_vec));
        }
        Some(Kind::SortedSet) => {
            let set = cx.db.read_beside::<SortedSet>(key)?.expect("the key was just read");
            elements.extend(set.iter().map(|(item, _)| item.to_vec()));
        }
        Some(_) => return Err(WRONG_TYPE),
    }
    if direction == Direction::Descending {
        elements.reverse();
    }
    Ok(elements)
}

/// Sorts elements by themselves or by what the pattern finds for them.
fn order(cx: &mut Cx<'_, '_>, elements: Vec<Vec<u8>>, options: &Options<'_>) -> Result<Vec<Vec<u8>>, Error> {
    let turned = |ordering: Ordering| if options.descending { ordering.reverse() } else { ordering };
    let mut weighed = Vec::with_capacity(elements.len());
    if !options.alpha {
        for element in elements {
            let weight = match options.by {
                Some(pattern) => pattern.value(cx, &element).map_or(Some(0.0), |text| number(&text)),
                None => number(&element),
            };
            weighed.push((weight.ok_or(SORT_NOT_NUMBERS)?, element));
        }
        weighed.sort_by(|(a_weight, a), (b_weight, b)| {
            turned(compare_numbers(*a_weight, *b_weight).then_with(|| a.cmp(b)))
        });
        return Ok(weighed.into_iter().map(|(_, element)| element).collect());
    }
    let mut weighed: Vec<(Option<Vec<u8>>, Vec<u8>)> = elements
        .into_iter()
        .map(|element| match options.by {
            Some(pattern) => (pattern.value(cx, &element), element),
            None => (None, element),
        })
        .collect();
    let text = |text: &[u8]| if options.store.is_some() { text.len() } else { collated(text) };
    let compare = |a: &[u8], b: &[u8]| a[..text(a)].cmp(&b[..text(b)]);
    weighed.sort_by(|(a_weight, a), (b_weight, b)| {
        turned(match (options.by, a_weight, b_weight) {
            (None, _, _) => compare(a, b),
            (_, Some(a), Some(b)) => compare(a, b),
            (_, a, b) => a.is_some().cmp(&b.is_some()),
        })
    });
    Ok(weighed.into_iter().map(|(_, element)| element).collect())
}

/// Compares two floats that are numbers, zeros being equal.
fn compare_numbers(a: f64, b: f64) -> Ordering {
    a.partial_cmp(&b).expect("what is not a number was refused")
}

/// How much of a text counts in the order of a reply: what is before a zero byte.
fn collated(text: &[u8]) -> usize {
    text.iter().position(|byte| *byte == 0).unwrap_or(text.len())
}

/// Reads a weight as `strtod` does: blanks before the number and anything behind a zero byte do not count, nothing at all is zero.
fn number(text: &[u8]) -> Option<f64> {
    let text = &text[..collated(text)];
    if text.is_empty() {
        return Some(0.0);
    }
    decimal::parse_f64(text.trim_ascii_start())
}

/// Visits what the result has for each element; none where a pattern finds nothing.
fn results(
    cx: &mut Cx<'_, '_>,
    elements: &[Vec<u8>],
    options: &Options<'_>,
    mut visit: impl FnMut(&mut Cx<'_, '_>, Option<&[u8]>),
) {
    for element in elements {
        if options.get.is_empty() {
            visit(cx, Some(element));
        }
        for pattern in &options.get {
            let value = pattern.value(cx, element);
            visit(cx, value.as_deref());
        }
    }
}

fn answer(cx: &mut Cx<'_, '_>, elements: &[Vec<u8>], options: &Options<'_>) {
    cx.out.array(elements.len() * options.get.len().max(1));
    results(cx, elements, options, |cx, value| match value {
        Some(value) => cx.out.bulk(value),
        None => cx.out.null(),
    });
}

fn store(cx: &mut Cx<'_, '_>, key: &[u8], elements: &[Vec<u8>], options: &Options<'_>) {
    let mut values: Vec<Vec<u8>> = Vec::with_capacity(elements.len() * options.get.len().max(1));
    results(cx, elements, options, |_, value| values.push(value.unwrap_or_default().to_vec()));
    let (limits, mut list) = (cx.limits(), List::new());
    let values: Vec<&[u8]> = values.iter().map(Vec::as_slice).collect();
    list.push(ListEnd::Right, &values, &limits);
    cx.db.store(key, list, "sortstore");
    if options.alpha && options.by.is_some_and(Pattern::is_pattern) && !values.is_empty() {
        cx.journal.instead(&[b"DEL", key]);
        cx.journal.instead(&[&[b"RPUSH", key], values.as_slice()].concat());
    }
    cx.out.int(values.len() as i64);
}
