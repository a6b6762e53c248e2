//! LCS: the longest common subsequence of two strings.
//!
//! The length of the longest common subsequence of every two prefixes is computed row by row; walking back from the ends of both strings along these lengths
//! finds one such subsequence. Where two ways back are equally good, the one that gives up the last byte of the second string is taken, as clients of Redis see
//! it. The table is as large as the product of both lengths, so that product has a limit.

use std::ops::Range;

use crate::args::Args;
use crate::command::{Command, Family, READONLY, cmd};
use crate::cx::Cx;
use crate::error::{Error, SYNTAX};

#[rustfmt::skip]
const COMMANDS: &[Command] = &[
    cmd("LCS key1 key2 [LEN] [IDX] [MINMATCHLEN min-match-len] [WITHMATCHLEN]", lcs, READONLY, "7.0.0", "O(N*M) where N and M are the lengths of s1 and s2, respectively", "Finds the longest common substring."),
];

/// Comparing strings.
pub(crate) const FAMILY: Family = Family { group: "string", commands: COMMANDS };

/// Most cells the table may have, four bytes each: a quarter of a gigabyte, and some tenths of a second under the locks of two shards.
const CELLS_MAX: usize = 1 << 26;

const NOT_STRINGS: Error = Error::Text("ERR The specified keys must contain string values");
const TOO_LONG: Error = Error::Text("ERR Insufficient memory, failed allocating transient memory for LCS strings");
const BOTH: Error = Error::Text("ERR If you want both the length and indexes, please just use IDX.");

/// What is to be answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Wanted {
    length: bool,
    matches: bool,
    match_lengths: bool,
    match_len_min: usize,
}

/// LCS key1 key2 [LEN] [IDX] [MINMATCHLEN min-match-len] [WITHMATCHLEN]
fn lcs(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    let (a, b) = (text(cx, args.at(1))?, text(cx, args.at(2))?);
    let wanted = Wanted::parse(args)?;
    if wanted.length && wanted.matches {
        return Err(BOTH);
    }
    let table = Lengths::of(&a, &b)?;
    if wanted.length {
        cx.out.int(table.all() as i64);
    } else if wanted.matches {
        let matches: Vec<Match> =
            table.matches(&a, &b).into_iter().filter(|found| found.len() >= wanted.match_len_min).collect();
        cx.out.map(2);
        cx.out.bulk(b"matches");
        cx.out.array(matches.len());
        for Match { a, b } in matches {
            cx.out.array(if wanted.match_lengths { 3 } else { 2 });
            for range in [&a, &b] {
                cx.out.array(2);
                cx.out.int(range.start as i64);
                cx.out.int(range.end as i64 - 1);
            }
            if wanted.match_lengths {
                cx.out.int(a.len() as i64);
            }
        }
        cx.out.bulk(b"len");
        cx.out.int(table.all() as i64);
    } else {
        let mut common = Vec::with_capacity(table.all());
        table.matches(&a, &b).into_iter().rev().for_each(|found| common.extend_from_slice(&a[found.a]));
        cx.out.bulk(&common);
    }
    Ok(())
}

/// Copies the string at a key; a missing key holds the empty one.
fn text(cx: &mut Cx<'_, '_>, key: &[u8]) -> Result<Vec<u8>, Error> {
    let found = cx.db.read_text(key).map_err(|_| NOT_STRINGS)?;
    Ok(found.map_or_else(Vec::new, |text| text.bytes(&mut [0; 20]).to_vec()))
}

impl Wanted {
    fn parse(args: Args<'_>) -> Result<Wanted, Error> {
        let (mut wanted, mut at) = (Wanted::default(), 3);
        while at < args.len() {
            if args.is(at, "LEN") {
                wanted.length = true;
            } else if args.is(at, "IDX") {
                wanted.matches = true;
            } else if args.is(at, "WITHMATCHLEN") {
                wanted.match_lengths = true;
            } else if args.is(at, "MINMATCHLEN") && at + 1 < args.len() {
                at += 1;
                wanted.match_len_min = usize::try_from(args.int(at)?).unwrap_or(0);
            } else {
                return Err(SYNTAX);
            }
            at += 1;
        }
        Ok(wanted)
    }
}

/// A run of bytes that both strings have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Match {
    a: Range<usize>,
    b: Range<usize>,
}

impl Match {
    fn len(&self) -> usize {
        self.a.len()
    }
}

/// The length of the longest common subsequence for every two prefixes.
struct Lengths {
    cells: Vec<u32>,
    width: usize,
}

impl Lengths {
    fn of(a: &[u8], b: &[u8]) -> Result<Lengths, Error> {
        let width = b.len() + 1;
        let size = (a.len() + 1).checked_mul(width).filter(|cells| *cells <= CELLS_MAX).ok_or(TOO_LONG)?;
        let mut cells = vec![0_u32; size];
        for (row, byte) in a.iter().enumerate() {
            let (above, here) = cells[row * width..(row + 2) * width].split_at_mut(width);
            for (column, other) in b.iter().enumerate() {
                here[column + 1] = if byte == other { above[column] + 1 } else { above[column + 1].max(here[column]) };
            }
        }
        Ok(Lengths { cells, width })
    }

    fn at(&self, a_len: usize, b_len: usize) -> u32 {
        self.cells[a_len * self.width + b_len]
    }

    /// Returns the length for the whole strings.
    fn all(&self) -> usize {
        *self.cells.last().expect("there is a cell for two empty strings") as usize
    }

    /// Walks back from the ends and returns the common runs, the last one first.
    fn matches(&self, a: &[u8], b: &[u8]) -> Vec<Match> {
        let (mut i, mut j) = (a.len(), b.len());
        let mut found: Vec<Match> = Vec::new();
        while i > 0 && j > 0 {
            if a[i - 1] == b[j - 1] {
                (i, j) = (i - 1, j - 1);
                match found.last_mut() {
                    Some(last) if last.a.start == i + 1 && last.b.start == j + 1 => {
                        (last.a.start, last.b.start) = (i, j);
                    }
                    _ => found.push(Match { a: i..i + 1, b: j..j + 1 }),
                }
            } else if self.at(i - 1, j) > self.at(i, j - 1) {
                i -= 1;
            } else {
                j -= 1;
            }
        }
        found
    }
}
