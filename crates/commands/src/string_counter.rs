//! INCREX: a counter with bounds and a deadline in one step, as Redis 8.8 documents it.
//!
//! The reply is the value afterwards and the increment that was applied. A sum outside the bounds (or outside what the type can hold) is refused: nothing changes, a
//! missing key stays missing, and the increment applied is zero. With SATURATE the value goes to the bound instead. A counter keeps its deadline unless an
//! option says otherwise; `ENX` gives it one only if it has none.

use redpoll_keyspace::{EventClass, Expiry, Text};
use redpoll_structures::decimal::{self, FloatError};

use crate::args::{Args, int};
use crate::command::{Command, DENYOOM, FAST, Family, WRITE, cmd};
use crate::cx::Cx;
use crate::error::{Error, INCREX_BOUNDS, INCREX_ENX, INFINITE_INCREMENT, NOT_A_FLOAT, NOT_AN_INTEGER, SYNTAX};
use crate::expiry::ExpiryOption;
use crate::key_spec::{ACCESS, RW, UPDATE};

#[rustfmt::skip]
const COMMANDS: &[Command] = &[
    cmd("INCREX key [BYFLOAT increment | BYINT increment] [LBOUND lowerbound] [UBOUND upperbound] [SATURATE] [EX seconds | PX milliseconds | EXAT unix-time-seconds | PXAT unix-time-milliseconds | PERSIST] [ENX]", increx, WRITE | DENYOOM | FAST, "8.8.0", "O(1)", "Increments the numeric value of a key by a number and sets its expiration time. Uses 0 as initial value if the key doesn't exist.").uses(&[RW | ACCESS | UPDATE]),
];

/// Counters.
pub(crate) const FAMILY: Family = Family { group: "string", commands: COMMANDS };

/// INCREX key [BYFLOAT increment | BYINT increment] [LBOUND lowerbound] [UBOUND upperbound] [SATURATE] […] [ENX]
fn increx(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    let options = Options::parse(args)?;
    let deadline = options.expiry.map(|(option, amount)| option.deadline(amount, cx.now(), "increx")).transpose()?;
    let key = args.at(1);
    let counted = if options.by_float { count_floats(cx, key, &options)? } else { count_ints(cx, key, &options)? };
    if counted.is_applied {
        let had_deadline = cx.db.peek(key).is_some_and(|entry| entry.deadline().is_some());
        let expiry = match deadline {
            Some(deadline) if !(options.only_first && had_deadline) => Expiry::At(deadline),
            None if options.persist => Expiry::Clear,
            _ => Expiry::Keep,
        };
        store(cx, key, &counted.value, expiry, &options);
        if options.persist && had_deadline {
            cx.db.notify(EventClass::Generic, "persist", key);
        }
    }
    cx.out.array(2);
    for number in [&counted.value, &counted.increment] {
        if options.by_float {
            cx.out.double_text(number);
        } else {
            cx.out.int(int(number).expect("it was written from an integer"));
        }
    }
    Ok(())
}

/// What counting came to, as text.
struct Counted {
    value: Vec<u8>,
    increment: Vec<u8>,
    /// The value is to be stored; otherwise it is what it was.
    is_applied: bool,
}

/// What stands behind the key.
#[derive(Clone, Copy, Debug, Default)]
struct Options<'a> {
    by_float: bool,
    increment: Option<&'a [u8]>,
    lower: Option<&'a [u8]>,
    upper: Option<&'a [u8]>,
    saturates: bool,
    expiry: Option<(ExpiryOption, &'a [u8])>,
    persist: bool,
    /// A deadline is only for a counter without one.
    only_first: bool,
}

impl<'a> Options<'a> {
    fn parse(args: Args<'a>) -> Result<Options<'a>, Error> {
        let mut options = Options::default();
        let mut at = 2;
        while at < args.len() {
            let value = args.optional(at + 1).ok_or(SYNTAX);
            let has_expiry = options.expiry.is_some() || options.persist;
            at += match () {
                () if args.is(at, "SATURATE") => {
                    options.saturates = true;
                    1
                }
                () if args.is(at, "ENX") => {
                    options.only_first = true;
                    1
                }
                () if args.is(at, "PERSIST") && !has_expiry => {
                    options.persist = true;
                    1
                }
                () if (args.is(at, "BYINT") || args.is(at, "BYFLOAT")) && options.increment.is_none() => {
                    options.by_float = args.is(at, "BYFLOAT");
                    options.increment = Some(value?);
                    2
                }
                () if args.is(at, "LBOUND") && options.lower.is_none() => {
                    options.lower = Some(value?);
                    2
                }
                () if args.is(at, "UBOUND") && options.upper.is_none() => {
                    options.upper = Some(value?);
                    2
                }
                () => {
                    let option = ExpiryOption::of(args.at(at)).filter(|_| !has_expiry).ok_or(SYNTAX)?;
                    options.expiry = Some((option, value?));
                    2
                }
            };
        }
        match () {
            () if options.only_first && options.persist => Err(SYNTAX),
            () if options.only_first && options.expiry.is_none() => Err(INCREX_ENX),
            () => Ok(options),
        }
    }
}

fn count_ints(cx: &mut Cx<'_, '_>, key: &[u8], options: &Options<'_>) -> Result<Counted, Error> {
    let bound = |text: Option<&[u8]>, default: i64| text.map_or(Ok(default), int);
    let (lower, upper) = (bound(options.lower, i64::MIN)?, bound(options.upper, i64::MAX)?);
    if lower > upper {
        return Err(INCREX_BOUNDS);
    }
    let increment = options.increment.map_or(Ok(1), int)?;
    let current = match cx.db.read_text(key)? {
        None => 0,
        Some(Text::Int(value)) => value,
        Some(Text::Bytes(bytes)) => int(bytes).map_err(|_| NOT_AN_INTEGER)?,
    };
    let sum = i128::from(current) + i128::from(increment);
    let clamped = sum.clamp(i128::from(lower), i128::from(upper));
    // What a jump to a bound amounts to may itself be more than the type can hold.
    let applied = i64::try_from(clamped - i128::from(current)).ok();
    let is_applied = (sum == clamped || options.saturates) && applied.is_some();
    let (value, increment) = if is_applied { (clamped as i64, applied.unwrap_or(0)) } else { (current, 0) };
    Ok(Counted { value: value.to_string().into(), increment: increment.to_string().into(), is_applied })
}

fn count_floats(cx: &mut Cx<'_, '_>, key: &[u8], options: &Options<'_>) -> Result<Counted, Error> {
    let read = |text: &[u8]| {
        decimal::add_long_double(text, b"0").map_err(|error| match error {
            FloatError::NotAFloat => NOT_A_FLOAT,
            FloatError::NotFinite => INFINITE_INCREMENT,
        })
    };
    let (lower, upper) = (options.lower.map(read).transpose()?, options.upper.map(read).transpose()?);
    if let (Some(lower), Some(upper)) = (&lower, &upper)
        && is_below(upper, lower)
    {
        return Err(INCREX_BOUNDS);
    }
    let increment = read(options.increment.unwrap_or(b"1"))?;
    let current = match cx.db.read_text(key)? {
        None => b"0".to_vec(),
        Some(text) => read(text.bytes(&mut [0; 20]))?,
    };
    let refused = || Counted { value: current.clone(), increment: b"0".to_vec(), is_applied: false };
    // A sum beyond what the type can hold has no bound it could go to unless one is given, which it then passes.
    let Ok(sum) = decimal::add_long_double(&current, &increment) else { return Ok(refused()) };
    let passed = match (&lower, &upper) {
        (Some(lower), _) if is_below(&sum, lower) => Some(lower),
        (_, Some(upper)) if is_below(upper, &sum) => Some(upper),
        _ => None,
    };
    match passed {
        None => Ok(Counted { value: sum, increment, is_applied: true }),
        Some(bound) if options.saturates => {
            let Ok(increment) = difference(bound, &current) else { return Ok(refused()) };
            Ok(Counted { value: bound.clone(), increment, is_applied: true })
        }
        Some(_) => Ok(refused()),
    }
}

fn difference(a: &[u8], b: &[u8]) -> Result<Vec<u8>, FloatError> {
    let negated = b.strip_prefix(b"-").map_or_else(|| [b"-", b].concat(), <[u8]>::to_vec);
    decimal::add_long_double(a, &negated)
}

/// Compares numbers given as text.
fn is_below(a: &[u8], b: &[u8]) -> bool {
    difference(a, b).is_ok_and(|difference| difference.starts_with(b"-") && difference != b"-0")
}

/// Sets the value and its deadline, and logs both as they are now.
fn store(cx: &mut Cx<'_, '_>, key: &[u8], value: &[u8], expiry: Expiry, options: &Options<'_>) {
    if options.by_float {
        cx.db.set_plain_text(key, value, expiry);
    } else {
        cx.db.set_text(key, value, expiry);
    }
    cx.db.notify(EventClass::String, if options.by_float { "incrbyfloat" } else { "incrby" }, key);
    match expiry {
        Expiry::Keep => cx.journal.instead(&[b"SET", key, value, b"KEEPTTL"]),
        Expiry::Clear => cx.journal.instead(&[b"SET", key, value]),
        Expiry::At(deadline) => {
            let text = decimal::format_u64(deadline, &mut [0; 20]).to_vec();
            cx.journal.instead(&[b"SET", key, value, b"PXAT", &text]);
            cx.db.notify(EventClass::Generic, "expire", key);
        }
    }
}
