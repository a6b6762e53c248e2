//! Lua 5.1 pattern matching with a meter running.
//!
//! Lua's own matcher backtracks inside C, where no hook runs: `("a"):rep(30):find((".-"):rep(30) .. "b")` holds a thread for
//! hours. This one follows the same rules item by item, counts its steps, and asks now and then whether to go on. It also bounds
//! its recursion, which Lua 5.1 does not.
//!
//! As in C, a zero byte ends a pattern; `%z` is how patterns name it.

/// The most captures a pattern may have.
pub(crate) const MAX_CAPTURES: usize = 32;
/// How deeply matching recurses: once for every capture and every item with a quantifier.
const MAX_DEPTH: usize = 1000;
/// Steps between two calls of the meter.
const STEPS_PER_CHECK: u32 = 65_536;

/// Why matching ended without an answer.
#[derive(Debug)]
pub(crate) enum MatchError {
    /// The pattern is wrong; Lua's text.
    Pattern(&'static str),
    /// The meter said stop.
    Stopped(mlua::Error),
}

/// What a capture holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Capture {
    /// Opened and not yet closed.
    Unfinished(usize),
    /// An offset, by `()`.
    Position(usize),
    /// A start and a length.
    Range(usize, usize),
}

type Matched = Result<Option<usize>, MatchError>;

/// A subject and a pattern.
pub(crate) struct Matcher<'a> {
    subject: &'a [u8],
    pattern: &'a [u8],
    captures: [Capture; MAX_CAPTURES],
    level: usize,
    depth: usize,
    steps: u32,
    meter: &'a dyn Fn() -> mlua::Result<()>,
}

impl<'a> Matcher<'a> {
    /// Prepares for matching; `meter` is called regularly and ends the matching by an error.
    pub(crate) fn new(subject: &'a [u8], pattern: &'a [u8], meter: &'a dyn Fn() -> mlua::Result<()>) -> Matcher<'a> {
        Matcher {
            subject,
            pattern: up_to_zero(pattern),
            captures: [Capture::Unfinished(0); MAX_CAPTURES],
            level: 0,
            depth: 0,
            steps: 0,
            meter,
        }
    }

    /// Matches the pattern at exactly this offset; the end of the match.
    pub(crate) fn match_at(&mut self, start: usize) -> Matched {
        self.level = 0;
        self.depth = 0;
        self.step()?;
        self.run(start, 0)
    }

    /// The number of captures of the last match.
    pub(crate) fn capture_count(&self) -> usize {
        self.level
    }

    /// A capture of the last match, which spans `start..end`; without any captures, the first is the whole match.
    pub(crate) fn capture(&self, index: usize, start: usize, end: usize) -> Result<Capture, MatchError> {
        if index >= self.level {
            if index == 0 {
                return Ok(Capture::Range(start, end - start));
            }
            return Err(MatchError::Pattern("invalid capture index"));
        }
        match self.captures[index] {
            Capture::Unfinished(_) => Err(MatchError::Pattern("unfinished capture")),
            capture => Ok(capture),
        }
    }

    fn step(&mut self) -> Result<(), MatchError> {
        self.steps += 1;
        if self.steps >= STEPS_PER_CHECK {
            self.steps = 0;
            (self.meter)().map_err(MatchError::Stopped)?;
        }
        Ok(())
    }

    fn pattern_byte(&self, at: usize) -> u8 {
        self.pattern.get(at).copied().unwrap_or(0)
    }

    fn descend(&mut self, at: usize, pattern: usize) -> Matched {
        if self.depth >= MAX_DEPTH {
            return Err(MatchError::Pattern("pattern too complex"));
        }
        self.depth += 1;
        let matched = self.run(at, pattern);
        self.depth -= 1;
        matched
    }

    /// Matches the rest of the pattern at `at`. Items without a choice loop, the others recurse.
    fn run(&mut self, mut at: usize, mut item: usize) -> Matched {
        loop {
            self.step()?;
            let Some(&byte) = self.pattern.get(item) else { return Ok(Some(at)) };
            match (byte, self.pattern_byte(item + 1)) {
                (b'(', b')') => return self.open_capture(at, item + 2, Capture::Position(at)),
                (b'(', _) => return self.open_capture(at, item + 1, Capture::Unfinished(at)),
                (b')', _) => return self.close_capture(at, item + 1),
                (b'%', b'b') => match self.balanced(at, item + 2)? {
                    Some(end) => (at, item) = (end, item + 4),
                    None => return Ok(None),
                },
                (b'%', b'f') => match self.frontier(at, item + 2)? {
                    Some(next) => item = next,
                    None => return Ok(None),
                },
                (b'%', digit @ b'0'..=b'9') => match self.back_reference(at, digit)? {
                    Some(end) => (at, item) = (end, item + 2),
                    None => return Ok(None),
                },
                (b'$', 0) if item + 1 == self.pattern.len() => {
                    return Ok((at == self.subject.len()).then_some(at));
                }
                _ => {
                    let end = self.class_end(item)?;
                    let matches = self.single(at, item, end);
                    match self.pattern_byte(end) {
                        b'?' => {
                            if matches && let Some(found) = self.descend(at + 1, end + 1)? {
                                return Ok(Some(found));
                            }
                            item = end + 1;
                        }
                        b'*' => return self.longest(at, item, end),
                        b'+' if matches => return self.longest(at + 1, item, end),
                        b'-' => return self.shortest(at, item, end),
                        b'+' => return Ok(None),
                        _ if !matches => return Ok(None),
                        _ => (at, item) = (at + 1, end),
                    }
                }
            }
        }
    }

    fn longest(&mut self, at: usize, item: usize, end: usize) -> Matched {
        let mut count = 0;
        while self.single(at + count, item, end) {
            self.step()?;
            count += 1;
        }
        loop {
            if let Some(found) = self.descend(at + count, end + 1)? {
                return Ok(Some(found));
            }
            if count == 0 {
                return Ok(None);
            }
            count -= 1;
        }
    }

    fn shortest(&mut self, mut at: usize, item: usize, end: usize) -> Matched {
        loop {
            if let Some(found) = self.descend(at, end + 1)? {
                return Ok(Some(found));
            }
            if !self.single(at, item, end) {
                return Ok(None);
            }
            at += 1;
        }
    }

    fn open_capture(&mut self, at: usize, item: usize, capture: Capture) -> Matched {
        if self.level >= MAX_CAPTURES {
            return Err(MatchError::Pattern("too many captures"));
        }
        self.captures[self.level] = capture;
        self.level += 1;
        let matched = self.descend(at, item)?;
        if matched.is_none() {
            self.level -= 1;
        }
        Ok(matched)
    }

    fn close_capture(&mut self, at: usize, item: usize) -> Matched {
        let open = (0..self.level).rev().find(|&index| matches!(self.captures[index], Capture::Unfinished(_)));
        let Some(index) = open else { return Err(MatchError::Pattern("invalid pattern capture")) };
        let Capture::Unfinished(start) = self.captures[index] else { return Ok(None) };
        self.captures[index] = Capture::Range(start, at - start);
        let matched = self.descend(at, item)?;
        if matched.is_none() {
            self.captures[index] = Capture::Unfinished(start);
        }
        Ok(matched)
    }

    fn back_reference(&mut self, at: usize, digit: u8) -> Matched {
        let index = usize::from(digit).checked_sub(usize::from(b'1'));
        let range = index.filter(|&index| index < self.level).map(|index| self.captures[index]);
        let (start, len) = match range {
            Some(Capture::Range(start, len)) => (start, len),
            // A position capture has a length that equals nothing.
            Some(Capture::Position(_)) => return Ok(None),
            _ => return Err(MatchError::Pattern("invalid capture index")),
        };
        let matches = self.subject[at..].starts_with(&self.subject[start..start + len]);
        Ok(matches.then_some(at + len))
    }

    /// `%bxy`
    fn balanced(&mut self, at: usize, item: usize) -> Matched {
        let (open, close) = (self.pattern_byte(item), self.pattern_byte(item + 1));
        if open == 0 || close == 0 {
            return Err(MatchError::Pattern("unbalanced pattern"));
        }
        if self.subject.get(at) != Some(&open) {
            return Ok(None);
        }
        let mut depth = 1usize;
        for offset in at + 1..self.subject.len() {
            self.step()?;
            let byte = self.subject[offset];
            if byte == close {
                depth -= 1;
                if depth == 0 {
                    return Ok(Some(offset + 1));
                }
            } else if byte == open {
                depth += 1;
            }
        }
        Ok(None)
    }

    /// `%f[set]`: where a byte in the set follows one that is not; the item behind it.
    fn frontier(&mut self, at: usize, item: usize) -> Matched {
        if self.pattern_byte(item) != b'[' {
            return Err(MatchError::Pattern("missing '[' after '%f' in pattern"));
        }
        let end = self.class_end(item)?;
        let before = if at == 0 { 0 } else { self.subject[at - 1] };
        let after = self.subject.get(at).copied().unwrap_or(0);
        let here = !self.in_set(before, item, end - 1) && self.in_set(after, item, end - 1);
        Ok(here.then_some(end))
    }

    /// Where the single-character class at `item` ends.
    fn class_end(&self, item: usize) -> Result<usize, MatchError> {
        match self.pattern_byte(item) {
            b'%' if item + 1 >= self.pattern.len() => Err(MatchError::Pattern("malformed pattern (ends with '%')")),
            b'%' => Ok(item + 2),
            b'[' => {
                let mut at = item + 1;
                if self.pattern_byte(at) == b'^' {
                    at += 1;
                }
                loop {
                    let Some(&byte) = self.pattern.get(at) else {
                        return Err(MatchError::Pattern("malformed pattern (missing ']')"));
                    };
                    at += 1;
                    if byte == b'%' && at < self.pattern.len() {
                        at += 1;
                    }
                    if self.pattern_byte(at) == b']' {
                        return Ok(at + 1);
                    }
                }
            }
            _ => Ok(item + 1),
        }
    }

    /// Whether the byte at `at` belongs to the class `item..end`.
    fn single(&self, at: usize, item: usize, end: usize) -> bool {
        let Some(&byte) = self.subject.get(at) else { return false };
        match self.pattern[item] {
            b'.' => true,
            b'%' => in_class(byte, self.pattern_byte(item + 1)),
            b'[' => self.in_set(byte, item, end - 1),
            literal => literal == byte,
        }
    }

    /// Whether a byte belongs to the set whose brackets stand at `open` and `close`.
    fn in_set(&self, byte: u8, open: usize, close: usize) -> bool {
        let mut at = open + 1;
        let complement = self.pattern_byte(at) == b'^';
        if complement {
            at += 1;
        }
        while at < close {
            let member = self.pattern[at];
            if member == b'%' {
                at += 1;
                if in_class(byte, self.pattern_byte(at)) {
                    return !complement;
                }
                at += 1;
            } else if self.pattern_byte(at + 1) == b'-' && at + 2 < close {
                if (member..=self.pattern[at + 2]).contains(&byte) {
                    return !complement;
                }
                at += 3;
            } else {
                if member == byte {
                    return !complement;
                }
                at += 1;
            }
        }
        complement
    }
}

/// The part of a pattern C sees.
fn up_to_zero(pattern: &[u8]) -> &[u8] {
    let len = pattern.iter().position(|&byte| byte == 0).unwrap_or(pattern.len());
    &pattern[..len]
}

/// Whether a pattern has magic in it; without, it is searched for as it stands.
pub(crate) fn has_specials(pattern: &[u8]) -> bool {
    up_to_zero(pattern).iter().any(|byte| b"^$*+?.([%-".contains(byte))
}

/// Whether a byte belongs to the class `%letter`, by the rules of the C locale.
fn in_class(byte: u8, letter: u8) -> bool {
    let member = match letter.to_ascii_lowercase() {
        b'a' => byte.is_ascii_alphabetic(),
        b'c' => byte.is_ascii_control(),
        b'd' => byte.is_ascii_digit(),
        b'l' => byte.is_ascii_lowercase(),
        b'p' => byte.is_ascii_punctuation(),
        b's' => byte.is_ascii_whitespace() || byte == 0x0b,
        b'u' => byte.is_ascii_uppercase(),
        b'w' => byte.is_ascii_alphanumeric(),
        b'x' => byte.is_ascii_hexdigit(),
        b'z' => byte == 0,
        _ => return letter == byte,
    };
    member != letter.is_ascii_uppercase()
}
