//! HyperLogLog: how many different elements were added, from 12 KiB at most, with a standard error of 0.81 %.
//!
//! A value is one string, laid out byte for byte as Redis does, so that dumps and GET can be taken from one server to the other:
//!
//! ```text
//! "HYLL" │ encoding 1 │ 0 0 0 │ cached count 8, little endian, top bit: stale │ registers
//!
//! dense   16,384 registers of 6 bits, the first one in the low bits of the first byte
//! sparse  00llllll            l+1 registers are zero
//!         01llllll llllllll   l+1 registers are zero
//!         1vvvvvll            l+1 registers are v+1
//! ```
//!
//! An element's hash chooses a register by its low 14 bits; the register keeps the longest run of zeros seen above them, plus one. A value starts sparse and turns
//! dense when a register passes 32 or the string outgrows a limit. The estimate is Otmar Ertl's ("New cardinality estimation algorithms for HyperLogLog
//! sketches", 2017), which needs no correction for small counts.
//!
//! Strings come from clients, so nothing is believed: [`HyperLogLog`] is a view of bytes whose header and size were looked at, and every walk over
//! sparse runs ends with [`Corrupt`] where they do not cover the registers exactly.

mod estimate;
mod hash;
mod sparse;

pub use hash::murmur_hash_64a;

/// Number of registers.
pub const REGISTERS: usize = 1 << REGISTER_BITS;

const REGISTER_BITS: u32 = 14;
/// Bits of a hash that are left for the run of zeros.
const RUN_BITS: u32 = 64 - REGISTER_BITS;
const HEADER: usize = 16;
const MAGIC: &[u8; 4] = b"HYLL";
/// Where the encoding stands, and its values.
const ENCODING_AT: usize = 4;
const DENSE: u8 = 0;
const SPARSE: u8 = 1;
/// Where the cached count stands.
const COUNT: std::ops::Range<usize> = 8..16;
/// Bits of a register in a dense value.
const WIDTH: usize = 6;
const REGISTER_MAX: u8 = (1 << WIDTH) - 1;
const DENSE_SIZE: usize = HEADER + (REGISTERS * WIDTH).div_ceil(8);
/// The seed of the hash.
const SEED: u64 = 0xadc8_3b19;

/// The runs of a sparse value do not cover the registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Corrupt;

/// The registers of several values taken together.
pub type Registers = [u8; REGISTERS];

/// A run of registers of a sparse value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Run {
    /// So many registers are zero, told in one byte.
    Zeros(usize),
    /// So many registers are zero, told in two bytes.
    ManyZeros(usize),
    /// A value, and how many registers have it.
    Values(u8, usize),
}

/// A string that is a HyperLogLog by its header.
#[derive(Debug)]
pub struct HyperLogLog<B>(B);

/// Makes the string of an empty HyperLogLog.
#[must_use]
pub fn empty() -> Vec<u8> {
    let mut bytes = vec![0; HEADER];
    bytes[..MAGIC.len()].copy_from_slice(MAGIC);
    bytes[ENCODING_AT] = SPARSE;
    sparse::push_zeros(&mut bytes, REGISTERS);
    bytes
}

/// Estimates the number of elements from registers.
#[must_use]
pub fn estimate(registers: &Registers) -> u64 {
    let mut histogram = [0; REGISTER_MAX as usize + 1];
    registers.iter().for_each(|register| histogram[usize::from(register & REGISTER_MAX)] += 1);
    estimate::from_histogram(&histogram)
}

impl<B: AsRef<[u8]>> HyperLogLog<B> {
    /// Looks at a string; none if it is something else.
    pub fn of(bytes: B) -> Option<HyperLogLog<B>> {
        let text = bytes.as_ref();
        let plausible = text.len() >= HEADER && text.starts_with(MAGIC);
        let fits = plausible
            && match text[ENCODING_AT] {
                DENSE => text.len() == DENSE_SIZE,
                SPARSE => true,
                _ => false,
            };
        fits.then_some(HyperLogLog(bytes))
    }

    fn bytes(&self) -> &[u8] {
        self.0.as_ref()
    }

    /// Tells whether every register has bits of its own.
    pub fn is_dense(&self) -> bool {
        self.bytes()[ENCODING_AT] == DENSE
    }

    /// Returns the count that was estimated last, unless the registers have changed since.
    pub fn cached_count(&self) -> Option<u64> {
        let count = u64::from_le_bytes(self.bytes()[COUNT].try_into().expect("a count has eight bytes"));
        (count >> 63 == 0).then_some(count)
    }

    /// Visits the runs of a sparse value in order; an error if they do not cover the registers.
    pub fn runs(&self, mut visit: impl FnMut(Run)) -> Result<(), Corrupt> {
        sparse::walk(&self.bytes()[HEADER..], |_, run| visit(run))
    }

    /// Takes the greater of each register.
    pub fn merge_into(&self, registers: &mut Registers) -> Result<(), Corrupt> {
        if self.is_dense() {
            let ours = &self.bytes()[HEADER..];
            registers.iter_mut().enumerate().for_each(|(index, to)| *to = (*to).max(register(ours, index)));
            return Ok(());
        }
        sparse::walk(&self.bytes()[HEADER..], |first, run| {
            if let Run::Values(value, len) = run {
                registers[first..first + len].iter_mut().for_each(|to| *to = (*to).max(value));
            }
        })
    }

    /// Estimates the number of elements.
    pub fn count(&self) -> Result<u64, Corrupt> {
        let mut registers = [0; REGISTERS];
        self.merge_into(&mut registers)?;
        Ok(estimate(&registers))
    }
}

impl HyperLogLog<&mut Vec<u8>> {
    /// Remembers what was estimated.
    pub fn cache_count(&mut self, count: u64) {
        self.0[COUNT].copy_from_slice(&count.to_le_bytes());
    }

    /// Forgets what was estimated.
    pub fn forget_count(&mut self) {
        self.0[COUNT.end - 1] |= 0x80;
    }

    /// Adds an element; tells whether a register changed. The value turns dense rather than pass `sparse_max_bytes`.
    pub fn add(&mut self, element: &[u8], sparse_max_bytes: usize) -> Result<bool, Corrupt> {
        let (index, value) = place(element);
        self.raise(index, value, sparse_max_bytes)
    }

    /// Raises a register to a value; tells whether it was lower.
    pub fn raise(&mut self, index: usize, value: u8, sparse_max_bytes: usize) -> Result<bool, Corrupt> {
        if !self.is_dense() {
            match sparse::raise(self.0, index, value, sparse_max_bytes)? {
                sparse::Raised::No => return Ok(false),
                sparse::Raised::Yes => return Ok(true),
                sparse::Raised::NeedsDense => {
                    self.make_dense()?;
                }
            }
        }
        let registers = &mut self.0[HEADER..];
        let lower = register(registers, index) < value;
        if lower {
            set_register(registers, index, value);
        }
        Ok(lower)
    }

    /// Gives every register bits of its own; tells whether they had not before.
    pub fn make_dense(&mut self) -> Result<bool, Corrupt> {
        if self.is_dense() {
            return Ok(false);
        }
        let mut dense = vec![0; DENSE_SIZE];
        dense[..HEADER].copy_from_slice(&self.0[..HEADER]);
        dense[ENCODING_AT] = DENSE;
        let registers = &mut dense[HEADER..];
        sparse::walk(&self.0[HEADER..], |first, run| {
            if let Run::Values(value, len) = run {
                (first..first + len).for_each(|index| set_register(registers, index, value));
            }
        })?;
        *self.0 = dense;
        Ok(true)
    }
}

/// Returns the register an element belongs to and what it raises it to.
fn place(element: &[u8]) -> (usize, u8) {
    let hash = murmur_hash_64a(element, SEED);
    let run = (hash >> REGISTER_BITS | 1 << RUN_BITS).trailing_zeros() + 1;
    ((hash & (REGISTERS as u64 - 1)) as usize, run as u8)
}

/// Reads a register of a dense value, which may reach into a second byte.
fn register(bytes: &[u8], index: usize) -> u8 {
    let (byte, shift) = (index * WIDTH / 8, index * WIDTH % 8);
    let next = bytes.get(byte + 1).copied().unwrap_or(0);
    ((u16::from_le_bytes([bytes[byte], next]) >> shift) as u8) & REGISTER_MAX
}

fn set_register(bytes: &mut [u8], index: usize, value: u8) {
    let (byte, shift) = (index * WIDTH / 8, index * WIDTH % 8);
    let next = bytes.get(byte + 1).copied().unwrap_or(0);
    let window = u16::from_le_bytes([bytes[byte], next]) & !(u16::from(REGISTER_MAX) << shift);
    let window = (window | u16::from(value) << shift).to_le_bytes();
    bytes[byte] = window[0];
    if let Some(next) = bytes.get_mut(byte + 1) {
        *next = window[1];
    }
}

#[cfg(test)]
mod tests;
