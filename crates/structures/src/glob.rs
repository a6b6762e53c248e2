//! The glob patterns of KEYS, SCAN, PSUBSCRIBE and CONFIG GET.
//!
//! | pattern | matches |
//! |---|---|
//! | `*` | any run of bytes, also none |
//! | `?` | any one byte |
//! | `[abc]`, `[a-z]` | one byte of the class; a range may be written in either direction |
//! | `[^abc]` | one byte outside the class |
//! | `\x` | the byte `x`, whatever it is |
//!
//! The corners are those clients have come to rely on. A class left open ends with the pattern. `]` right after `[` or
//! `[^` closes an empty class, which matches nothing, or anything. A range may end in `]` or in a backslash. Ranges
//! compare bytes as signed numbers. The empty text matches the empty pattern alone, not even `*`. A trailing backslash
//! stands for itself. In a match that ignores case, a byte escaped inside a class still compares exactly.
//!
//! Every item but the star consumes exactly one byte, so when an item fails it is enough to go back to the last star
//! and let it swallow one byte more: an earlier star could only reach what the last one reaches too. There is no
//! recursion and the worst case is pattern length times text length; `a*a*a*a*b` holds no terror.

/// Tells whether `text` matches `pattern`.
///
/// ```
/// use redpoll_structures::glob;
/// assert!(glob::matches(b"user:[0-9]*", b"user:17"));
/// assert!(!glob::matches(b"user:[^0-9]*", b"user:17"));
/// ```
#[must_use]
pub fn matches(pattern: &[u8], text: &[u8]) -> bool {
    run::<Exact>(pattern, text)
}

/// Tells whether `text` matches `pattern` when ASCII letters compare without case.
#[must_use]
pub fn matches_ignore_case(pattern: &[u8], text: &[u8]) -> bool {
    run::<IgnoreCase>(pattern, text)
}

/// Returns the text that alone matches `pattern`, when the pattern holds no special byte at all.
#[must_use]
pub fn as_literal(pattern: &[u8]) -> Option<&[u8]> {
    let special = |byte: &u8| matches!(byte, b'*' | b'?' | b'[' | b'\\');
    (!pattern.iter().any(special)).then_some(pattern)
}

/// How two bytes compare.
trait Case {
    fn fold(byte: u8) -> u8;
}

struct Exact;

impl Case for Exact {
    fn fold(byte: u8) -> u8 {
        byte
    }
}

struct IgnoreCase;

impl Case for IgnoreCase {
    fn fold(byte: u8) -> u8 {
        byte.to_ascii_lowercase()
    }
}

fn run<C: Case>(pattern: &[u8], text: &[u8]) -> bool {
    if text.is_empty() {
        return pattern.is_empty();
    }
    let (mut at, mut from) = (0, 0);
    // After the last star: where the pattern goes on, and the first byte the star has not swallowed yet.
    let mut retry: Option<(usize, usize)> = None;
    while from < text.len() {
        if pattern.get(at) == Some(&b'*') {
            at += 1;
            if at == pattern.len() {
                return true;
            }
            retry = Some((at, from));
            continue;
        }
        if let Some(next) = item::<C>(pattern, at, text[from]) {
            at = next;
            from += 1;
            continue;
        }
        let Some((after_star, swallowed)) = retry else { return false };
        at = after_star;
        from = swallowed + 1;
        retry = Some((after_star, from));
    }
    pattern[at..].iter().all(|&byte| byte == b'*')
}

/// Matches one byte against the item at `at`, which is no star; returns where the next item starts.
fn item<C: Case>(pattern: &[u8], at: usize, byte: u8) -> Option<usize> {
    match *pattern.get(at)? {
        b'?' => Some(at + 1),
        b'[' => class::<C>(pattern, at + 1, byte),
        b'\\' if at + 1 < pattern.len() => (C::fold(pattern[at + 1]) == C::fold(byte)).then_some(at + 2),
        literal => (C::fold(literal) == C::fold(byte)).then_some(at + 1),
    }
}

/// Matches one byte against the class whose `[` stands before `at`; returns where the item after the class starts.
fn class<C: Case>(pattern: &[u8], mut at: usize, byte: u8) -> Option<usize> {
    let negated = pattern.get(at) == Some(&b'^');
    at += usize::from(negated);
    let mut found = false;
    loop {
        match pattern[at..] {
            [] => break,
            [b'\\', escaped, ..] => {
                found |= escaped == byte;
                at += 2;
            }
            [b']', ..] => {
                at += 1;
                break;
            }
            [first, b'-', last, ..] => {
                found |= in_range::<C>(first, last, byte);
                at += 3;
            }
            [member, ..] => {
                found |= C::fold(member) == C::fold(byte);
                at += 1;
            }
        }
    }
    (found != negated).then_some(at)
}

/// Bytes compare as signed numbers, and the ends are put in order before their case is folded.
fn in_range<C: Case>(first: u8, last: u8, byte: u8) -> bool {
    let signed = u8::cast_signed;
    let (low, high) = if signed(first) > signed(last) { (last, first) } else { (first, last) };
    (signed(C::fold(low))..=signed(C::fold(high))).contains(&signed(C::fold(byte)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What `KEYS pattern` answered when `text` was the only key.
    #[test]
    fn as_seen() {
        for &(pattern, text, expected) in SEEN {
            assert_eq!(matches(pattern, text), expected, "{} {}", pattern.escape_ascii(), text.escape_ascii());
        }
    }

    /// What `CONFIG GET pattern` found of the name `maxmemory`.
    #[test]
    fn as_seen_without_case() {
        for &(pattern, expected) in SEEN_WITHOUT_CASE {
            assert_eq!(matches_ignore_case(pattern, b"maxmemory"), expected, "{}", pattern.escape_ascii());
        }
    }

    #[test]
    fn many_stars_stay_polynomial() {
        let text = vec![b'a'; 20_000];
        let mut pattern = b"a*".repeat(500);
        pattern.push(b'b');
        assert!(!matches(&pattern, &text));
        pattern.pop();
        assert!(matches(&pattern, &text));
    }

    #[test]
    fn literals() {
        assert_eq!(as_literal(b"plain]^-"), Some(&b"plain]^-"[..]));
        for pattern in [&b"a*"[..], b"?", b"[a]", b"\\a"] {
            assert_eq!(as_literal(pattern), None);
        }
    }

    /// The definition: a star stands for every length.
    fn by_definition(pattern: &[u8], text: &[u8]) -> bool {
        match pattern {
            [] => text.is_empty(),
            [b'*', rest @ ..] => (0..=text.len()).any(|swallowed| by_definition(rest, &text[swallowed..])),
            _ => text.first().is_some_and(|&byte| {
                item::<Exact>(pattern, 0, byte).is_some_and(|next| by_definition(&pattern[next..], &text[1..]))
            }),
        }
    }

    proptest! {
        #[test]
        fn agrees_with_the_definition(pattern in "[*?ab\\[\\]^\\\\-]{0,10}", text in "[ab\\]^-]{1,10}") {
            prop_assert_eq!(
                matches(pattern.as_bytes(), text.as_bytes()),
                by_definition(pattern.as_bytes(), text.as_bytes())
            );
        }

        #[test]
        fn exact_matches_also_match_without_case(
            pattern in proptest::collection::vec(any::<u8>(), 0..20),
            text in proptest::collection::vec(any::<u8>(), 0..20),
        ) {
            // A class may go either way: its ranges are put in order before case is folded.
            prop_assume!(!pattern.contains(&b'['));
            prop_assert!(!matches(&pattern, &text) || matches_ignore_case(&pattern, &text));
        }

        #[test]
        fn no_bytes_are_too_strange(
            pattern in proptest::collection::vec(proptest::sample::select(&b"*?[]^\\-a\xff"[..]), 0..20),
            text in proptest::collection::vec(any::<u8>(), 1..20),
        ) {
            prop_assert_eq!(matches(&pattern, &text), by_definition(&pattern, &text));
        }
    }

    #[rustfmt::skip]
    const SEEN: &[(&[u8], &[u8], bool)] = &[
        (b"a*c", b"abc", true),
        (b"*", b"abc", true),
        (b"**", b"", false),
        (b"", b"", true),
        (b"", b"a", false),
        (b"a", b"", false),
        (b"?", b"", false),
        (b"?", b"a", true),
        (b"??", b"a", false),
        (b"a*", b"a", true),
        (b"a**", b"a", true),
        (b"*a", b"a", true),
        (b"*a", b"ba", true),
        (b"*a", b"ab", false),
        (b"a*?", b"a", false),
        (b"a*?", b"ab", true),
        (b"h[ae]llo", b"hallo", true),
        (b"h[ae]llo", b"hillo", false),
        (b"h[^e]llo", b"hello", false),
        (b"h[^e]llo", b"hallo", true),
        (b"h[!e]llo", b"hallo", false),
        (b"h[!e]llo", b"hello", true),
        (b"h[a-c]llo", b"hbllo", true),
        (b"h[c-a]llo", b"hbllo", true),
        (b"[", b"[", false),
        (b"[^", b"x", true),
        (b"[^", b"xy", false),
        (b"[abc", b"b", true),
        (b"[abc", b"d", false),
        (b"[abc", b"bc", false),
        (b"[a-", b"-", true),
        (b"[a-", b"a", true),
        (b"[a-", b"b", false),
        (b"[a-]", b"a", true),
        (b"[a-]", b"-", false),
        (b"[a-]", b"]", true),
        (b"[a-]", b"_", true),
        (b"[a-]", b"^", true),
        (b"[]a]", b"a", false),
        (b"[]a]", b"]a]", false),
        (b"[]", b"a", false),
        (b"[]", b"[]", false),
        (b"[^]x", b"ax", true),
        (b"[^]", b"a", true),
        (b"[^]x]", b"y", false),
        (b"[\\", b"\\", true),
        (b"[\\]", b"]", true),
        (b"[\\]]", b"]", true),
        (b"[\\-a]", b"-", true),
        (b"[\\-a]", b"a", true),
        (b"[a\\-z]", b"b", false),
        (b"[a\\-z]", b"-", true),
        (b"[\\a-z]", b"b", false),
        (b"[\\a-z]", b"-", true),
        (b"[a-\\]]", b"b", false),
        (b"[a-\\]]", b"a]", true),
        (b"[a-\\]]", b"\\]", true),
        (b"\\*", b"*", true),
        (b"\\*", b"a", false),
        (b"\\", b"\\", true),
        (b"a\\", b"a\\", true),
        (b"a\\", b"a", false),
        (b"\\a", b"a", true),
        (b"\\\\", b"\\", true),
        (b"a\\*b", b"a*b", true),
        (b"a\\*b", b"axb", false),
        (b"\\?", b"?", true),
        (b"\\[a]", b"[a]", true),
        (b"[*]", b"*", true),
        (b"[*]", b"a", false),
        (b"[?]", b"?", true),
        (b"[^^]", b"^", false),
        (b"[^^]", b"a", true),
        (b"[a^]", b"^", true),
        (b"*[", b"a[", false),
        (b"*[", b"a", false),
        (b"a*[^", b"ab", true),
        (b"*\\", b"\\", true),
        (b"*\\*", b"a*", true),
        (b"*.*.*", b"a.b.c", true),
        (b"*.*.*", b"a.b", false),
        (b"a]", b"a]", true),
        (b"A", b"a", false),
        (b"[A-Z]", b"a", false),
        (b"[\x01-\xff]", b"a", false),
        (b"[\x01-\xff]", b"\x80", false),
        (b"[\x01-\xff]", b"\xff", true),
        (b"[\x01-\xff]", b"\x01", true),
        (b"[\x80-\xff]", b"\x90", true),
        (b"[\x7f-\x80]", b"\x7f", true),
        (b"[\x7f-\x80]", b"\x01", true),
        (b"[\x7f-\x80]", b"\x90", true),
        (b"\xff?", b"\xff\x00", true),
        (b"[--0]", b".", true),
        (b"[-a]", b"-", true),
        (b"[a-b-c]", b"-", true),
        (b"[a-b-c]", b"c", true),
        (b"[a-b-c]", b"b", true),
        (b"*ab*ab*", b"xabyabz", true),
        (b"*aab", b"aaab", true),
        (b"[a-z", b"q", true),
        (b"[a-z", b"qq", false),
        (b"[z-", b"-", true),
        (b"a[", b"a", false),
        (b"a[^", b"a", false),
        (b"[^a", b"b", true),
        (b"[^a", b"a", false),
        (b"[a]*", b"a", true),
        (b"?*?", b"ab", true),
        (b"?*?", b"a", false),
        (b"***a", b"a", true),
        (b"a*b*c*d", b"abcd", true),
        (b"a*b*c*d", b"axbxcxdx", false),
        (b"[[]", b"[", true),
        (b"[^[]", b"[", false),
        (b"[[-]]", b"]", true),
        (b"[[-]]", b"\\]", false),
        (b"[\\^a]", b"^", true),
        (b"[^\\]]", b"]", false),
        (b"[^\\]]", b"x", true),
        (b"\x00", b"\x00", true),
        (b"[\x00]", b"\x00", true),
        (b"[\x00-\x02]", b"\x01", true),
    ];

    #[rustfmt::skip]
    const SEEN_WITHOUT_CASE: &[(&[u8], bool)] = &[
        (b"MAX*", true),
        (b"[M]axmemory", true),
        (b"[\\M]axmemory", false),
        (b"[\\m]axmemory", true),
        (b"[L-N]axmemory", true),
        (b"[l-N]axmemory", false),
        (b"[^M]axmemory", false),
        (b"\\MAXMEMORY*", true),
        (b"[Z-a]axmemory", false),
        (b"[N-l]axmemory", false),
        (b"[m-Z]axmemory", false),
        (b"[Z-m]axmemory", false),
        (b"[^\\M]axmemory", true),
        (b"[^\\m]axmemory", false),
        (b"MAXMEMOR?", true),
        (b"[a-_]axmemory", false),
        (b"[_-a]axmemory", false),
        (b"[A-Z]AX*", true),
    ];
}
