//! The sparse form: runs of equal registers in one or two bytes each.
//!
//! Raising a register finds the run it stands in and replaces it by up to three: what is before it, the register, what is after it. Then neighbours of
//! equal value are joined, looking at no more than five runs from the one before. Which runs come out is part of the format in so far as two servers are to
//! give equal bytes for equal additions, so every choice below is Redis's.

use super::{COUNT, Corrupt, HEADER, REGISTERS, Run};

/// Longest run of zeros in one byte.
const ZEROS_MAX: usize = 64;
/// Longest run of a value, and the greatest value.
const VALUES_MAX: usize = 4;
const VALUE_MAX: u8 = 32;
/// How many runs are looked at for joining.
const JOINED_MAX: usize = 5;

/// What raising a register came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Raised {
    /// It was that high already.
    No,
    Yes,
    /// The sparse form has no room for it.
    NeedsDense,
}

/// Appends a run of zeros in as few bytes as it takes.
pub(super) fn push_zeros(bytes: &mut Vec<u8>, len: usize) {
    debug_assert!((1..=REGISTERS).contains(&len));
    if len > ZEROS_MAX {
        let len = len - 1;
        bytes.extend([0x40 | (len >> 8) as u8, len as u8]);
    } else {
        bytes.push(len as u8 - 1);
    }
}

fn values(value: u8, len: usize) -> u8 {
    0x80 | (value - 1) << 2 | (len as u8 - 1)
}

impl Run {
    /// Reads the run at a place and how many bytes it takes; none at the end, or where the second byte is missing.
    fn at(runs: &[u8], at: usize) -> Option<(Run, usize)> {
        let byte = *runs.get(at)?;
        match byte >> 6 {
            0 => Some((Run::Zeros(usize::from(byte) + 1), 1)),
            1 => {
                let low = *runs.get(at + 1)?;
                Some((Run::ManyZeros((usize::from(byte & 0x3f) << 8 | usize::from(low)) + 1), 2))
            }
            _ => Some((Run::Values((byte >> 2 & 0x1f) + 1, usize::from(byte & 3) + 1), 1)),
        }
    }

    fn len(self) -> usize {
        match self {
            Run::Zeros(len) | Run::ManyZeros(len) | Run::Values(_, len) => len,
        }
    }
}

/// Visits the runs with the register each begins at.
pub(super) fn walk(runs: &[u8], mut visit: impl FnMut(usize, Run)) -> Result<(), Corrupt> {
    let (mut at, mut first) = (0, 0);
    while let Some((run, size)) = Run::at(runs, at) {
        if first + run.len() > REGISTERS {
            return Err(Corrupt);
        }
        visit(first, run);
        at += size;
        first += run.len();
    }
    if first == REGISTERS && at == runs.len() { Ok(()) } else { Err(Corrupt) }
}

/// Raises a register of a sparse value.
pub(super) fn raise(bytes: &mut Vec<u8>, index: usize, value: u8, max_bytes: usize) -> Result<Raised, Corrupt> {
    if value > VALUE_MAX {
        return Ok(Raised::NeedsDense);
    }
    // Find the run the register stands in.
    let (mut before, mut at, mut first) = (HEADER, HEADER, 0);
    let (run, size) = loop {
        let (run, size) = Run::at(bytes, at).ok_or(Corrupt)?;
        if index < first + run.len() {
            break (run, size);
        }
        (before, at, first) = (at, at + size, first + run.len());
    };
    // Replace it, in place where the register is a run of its own.
    let mut replacement = Vec::with_capacity(5);
    match run {
        Run::Values(old, _) if old >= value => return Ok(Raised::No),
        Run::Values(old, len) => {
            let (left, right) = (index - first, first + len - index - 1);
            replacement.extend((left > 0).then(|| values(old, left)));
            replacement.push(values(value, 1));
            replacement.extend((right > 0).then(|| values(old, right)));
        }
        Run::Zeros(len) | Run::ManyZeros(len) => {
            let (left, right) = (index - first, (first + len - index - 1).min(REGISTERS));
            if left > 0 {
                push_zeros(&mut replacement, left);
            }
            replacement.push(values(value, 1));
            if right > 0 {
                push_zeros(&mut replacement, right);
            }
        }
    }
    if replacement.len() > size && bytes.len() + replacement.len() - size > max_bytes {
        return Ok(Raised::NeedsDense);
    }
    bytes.splice(at..at + size, replacement);
    join(bytes, before);
    bytes[COUNT.end - 1] |= 0x80;
    Ok(Raised::Yes)
}

/// Joins neighbours of equal value from a run on.
fn join(bytes: &mut Vec<u8>, mut at: usize) {
    for _ in 0..JOINED_MAX {
        match (Run::at(bytes, at), Run::at(bytes, at + 1)) {
            (Some((Run::Values(value, len), _)), Some((Run::Values(next, more), _)))
                if value == next && len + more <= VALUES_MAX =>
            {
                bytes[at] = values(value, len + more);
                bytes.remove(at + 1);
            }
            (Some((_, size)), _) => at += size,
            (None, _) => return,
        }
    }
}
