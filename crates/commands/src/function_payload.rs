//! The payload of FUNCTION DUMP and RESTORE, in the format of Redis's RDB files.
//!
//! ```text
//! ┌ 0xf5 ┬ length ┬ text of a library ┐ × libraries ┌ version, u16 ┬ CRC-64 of everything before, u64 ┐   little endian
//! ```
//!
//! Written are plain strings under the version of Redis 7.0, which every later server reads; read are strings in all encodings Redis has for them.

use redpoll_structures::{crc::crc64, lzf};

use crate::error::Error;

/// What stands before a library.
const FUNCTION: u8 = 0xf5;

/// What stood before a library in release candidates.
const FUNCTION_BEFORE_RELEASE: u8 = 0xf6;

/// Version written: that of Redis 7.0.
const VERSION: u16 = 10;

/// The latest version that is read: that of Redis 7.2.
const VERSION_MAX: u16 = 11;

/// Bytes of version and checksum.
const FOOTER: usize = 10;

/// The longest text of a library after decompression, bytes.
const TEXT_MAX: usize = 512 << 20;

/// Writes the texts of libraries.
pub(crate) fn write<'a>(texts: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut out = Vec::new();
    for text in texts {
        out.push(FUNCTION);
        match text.len() {
            len @ ..64 => out.push(len as u8),
            len @ ..16384 => out.extend_from_slice(&(0x4000 | len as u16).to_be_bytes()),
            len => {
                out.push(0x80);
                out.extend_from_slice(&u32::try_from(len).expect("libraries are limited in length").to_be_bytes());
            }
        }
        out.extend_from_slice(text);
    }
    out.extend_from_slice(&VERSION.to_le_bytes());
    out.extend_from_slice(&crc64(&out).to_le_bytes());
    out
}

/// Reads the texts of libraries.
pub(crate) fn read(payload: &[u8]) -> Result<Vec<Vec<u8>>, Error> {
    const WRONG_FOOTER: Error = Error::Text("ERR DUMP payload version or checksum are wrong");
    let Some(end) = payload.len().checked_sub(FOOTER) else { return Err(WRONG_FOOTER) };
    let (version, sum) = payload[end..].split_at(2);
    let version = u16::from_le_bytes([version[0], version[1]]);
    if version > VERSION_MAX || crc64(&payload[..end + 2]).to_le_bytes() != sum {
        return Err(WRONG_FOOTER);
    }
    let (mut rest, mut texts) = (&payload[..end], Vec::new());
    while let Some((opcode, after)) = rest.split_first() {
        match *opcode {
            FUNCTION => {}
            FUNCTION_BEFORE_RELEASE => return Err(Error::Text("ERR Failed loading library name")),
            _ => return Err(Error::Text("ERR given type is not a function")),
        }
        let (text, after) = string(after).ok_or(Error::Text("ERR Failed loading library payload"))?;
        texts.push(text);
        rest = after;
    }
    Ok(texts)
}

/// Reads a string and returns what follows it.
fn string(bytes: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let (first, rest) = bytes.split_first()?;
    if first >> 6 < 3 {
        let (len, rest) = length(bytes)?;
        let (text, rest) = rest.split_at_checked(len)?;
        return Some((text.to_vec(), rest));
    }
    match first & 0x3f {
        // Small integers, as decimal text.
        0 => rest.split_first_chunk().map(|(number, rest)| (i8::from_le_bytes(*number).to_string().into(), rest)),
        1 => rest.split_first_chunk().map(|(number, rest)| (i16::from_le_bytes(*number).to_string().into(), rest)),
        2 => rest.split_first_chunk().map(|(number, rest)| (i32::from_le_bytes(*number).to_string().into(), rest)),
        3 => {
            let (packed_len, rest) = length(rest)?;
            let (len, rest) = length(rest)?;
            let (packed, rest) = rest.split_at_checked(packed_len)?;
            (len <= TEXT_MAX).then(|| lzf::decompress(packed, len))?.map(|text| (text, rest))
        }
        _ => None,
    }
}

/// Reads a length and returns what follows it.
fn length(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (first, rest) = bytes.split_first()?;
    match first >> 6 {
        0 => Some((usize::from(*first), rest)),
        1 => rest.split_first().map(|(low, rest)| (usize::from(first & 0x3f) << 8 | usize::from(*low), rest)),
        2 if *first == 0x80 => {
            rest.split_first_chunk().map(|(number, rest)| (u32::from_be_bytes(*number) as usize, rest))
        }
        2 if *first == 0x81 => {
            let (number, rest) = rest.split_first_chunk()?;
            Some((usize::try_from(u64::from_be_bytes(*number)).ok()?, rest))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        for lens in [&[][..], &[0], &[63, 64, 16383, 16384, 70000]] {
            let texts: Vec<Vec<u8>> = lens.iter().map(|len| vec![b'x'; *len]).collect();
            assert_eq!(read(&write(texts.iter().map(Vec::as_slice))), Ok(texts));
        }
    }

    #[test]
    fn no_cut_and_no_flipped_bit_is_accepted() {
        let whole = write([&b"#!lua name=a\n"[..], b"#!lua name=b\n"].into_iter());
        for end in 0..whole.len() {
            assert!(read(&whole[..end]).is_err(), "cut at {end}");
            for bit in 0..8 {
                let mut damaged = whole.clone();
                damaged[end] ^= 1 << bit;
                assert!(read(&damaged).is_err(), "bit {bit} of byte {end}");
            }
        }
    }
}
