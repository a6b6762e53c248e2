//! Opening what was sealed, chunk by chunk.
//!
//! What comes out was sealed with the key, for this file, in this order. A growing file may end within a chunk, which a crash leaves behind: that part is no content,
//! and is told apart ([`ReadFile::torn`]). Anything else that is not as it should be ends the reading with a fault. A length that does not
//! agree with its complement is damage and not a torn end, so that a bit that flipped does not take away what follows.

use std::io::{BufReader, Error, ErrorKind, Read, Result, Seek, SeekFrom};

use super::Fault;
use super::cipher::{CHUNK_MORE, Cipher, HEAD_LEN, Kind, LENGTH_LEN, Place};
use super::write::{Mark, whole_content};
use crate::disk::ReadFile;

/// So many zeros at the end of a chunk, where its tag stands, say that it may not have been stored.
const ZEROS_LEN: usize = 16;

/// Zeros looked at at a time.
const ZEROS_AT_ONCE: usize = 4096;

/// Bytes read of the file at a time.
const READ_LEN: usize = 256 << 10;

/// A file that is opened while it is read.
#[derive(Debug)]
pub(super) struct Opened {
    file: BufReader<Box<dyn ReadFile>>,
    cipher: Cipher,
    /// Length of the file.
    len: u64,
    /// Where the next chunk begins.
    next: Mark,
    /// The chunk that was opened last: nonce, content and tag, and how much of it is the content.
    chunk: Vec<u8>,
    content: usize,
    /// How much of the content was read.
    at: usize,
    /// Nothing follows.
    is_over: bool,
    torn: u64,
    /// What was met behind content that had to be handed over first.
    failure: Option<Error>,
}

/// Bytes of a nonce, before the content.
const BEFORE: usize = ring::aead::NONCE_LEN;

impl Opened {
    /// Begins behind the head.
    pub(super) fn new(file: Box<dyn ReadFile>, cipher: Cipher) -> Result<Opened> {
        let len = file.length()?;
        let file = BufReader::with_capacity(READ_LEN, file);
        let mut opened = Opened {
            file,
            cipher,
            len,
            next: Mark::FIRST,
            chunk: Vec::new(),
            content: 0,
            at: 0,
            is_over: false,
            torn: 0,
            failure: None,
        };
        opened.rewind_to_head()?;
        Ok(opened)
    }

    fn rewind_to_head(&mut self) -> Result<()> {
        self.next = Mark::FIRST;
        self.file.seek(SeekFrom::Start(self.next.file))?;
        (self.content, self.at, self.is_over, self.torn, self.failure) = (0, 0, false, 0, None);
        Ok(())
    }

    /// Returns where the chunk in hand begins in the content.
    fn begin(&self) -> u64 {
        self.next.content - self.content as u64
    }

    /// Returns where the next chunk begins.
    pub(super) fn next(&self) -> Mark {
        self.next
    }

    /// Opens the next chunk; false at the end.
    pub(super) fn advance(&mut self) -> Result<bool> {
        if self.is_over {
            return Ok(false);
        }
        let (kind, left) = (self.cipher.head.kind, self.len.saturating_sub(self.next.file));
        if left == 0 && kind == Kind::Growing {
            return Ok(self.end(0));
        }
        if left < LENGTH_LEN as u64 {
            return self.cut_short(left);
        }
        let mut lengths = [0; LENGTH_LEN];
        self.file.read_exact(&mut lengths)?;
        let [length, complement] =
            [0, 4].map(|at| u32::from_le_bytes(*lengths[at..].first_chunk().expect("four bytes")));
        if length != !complement || length as usize > kind.chunk_max() {
            return if lengths == [0; LENGTH_LEN] && self.ends_in_zeros()? {
                Ok(self.end(left))
            } else {
                Err(self.fault("its length is damaged"))
            };
        }
        let sealed = length as usize + CHUNK_MORE - LENGTH_LEN;
        if left - (LENGTH_LEN as u64) < sealed as u64 {
            return self.cut_short(left);
        }
        let is_last = kind == Kind::Whole && left == (LENGTH_LEN + sealed) as u64;
        self.chunk.resize(sealed, 0);
        self.file.read_exact(&mut self.chunk)?;
        let place = if is_last { Place::Last } else { Place::Within };
        let may_be_lost = self.chunk.ends_with(&[0; ZEROS_LEN]);
        if self.cipher.open(self.next.chunks, place, &mut self.chunk).is_none() {
            return if may_be_lost && self.ends_in_zeros()? {
                Ok(self.end(left))
            } else {
                Err(self.fault("it is not what was sealed there"))
            };
        }
        self.next.content += u64::from(length);
        self.next.file += (LENGTH_LEN + sealed) as u64;
        self.next.chunks += 1;
        (self.content, self.at, self.is_over) = (length as usize, 0, is_last);
        Ok(true)
    }

    /// The file ends within a chunk.
    fn cut_short(&mut self, left: u64) -> Result<bool> {
        match self.cipher.head.kind {
            Kind::Growing => Ok(self.end(left)),
            Kind::Whole => Err(self.fault("the file ends before it")),
        }
    }

    /// Tells whether nothing but zeros follows in a log: a crash may leave those where a file system has stored the length only.
    fn ends_in_zeros(&mut self) -> Result<bool> {
        let mut part = [0; ZEROS_AT_ONCE];
        loop {
            match self.file.read(&mut part)? {
                0 => return Ok(self.cipher.head.kind == Kind::Growing),
                len if part[..len].iter().any(|byte| *byte != 0) => return Ok(false),
                _ => {}
            }
        }
    }

    fn end(&mut self, torn: u64) -> bool {
        self.is_over = true;
        self.torn = torn;
        false
    }

    fn fault(&self, what: &str) -> Error {
        let Mark { content, file, chunks } = self.next;
        let reason = format!("chunk {chunks} of the sealed file, at byte {file} of it: {what}");
        Fault::Damaged { offset: content, kind: self.cipher.head.kind, reason }.into()
    }
}

impl Read for Opened {
    fn read(&mut self, out: &mut [u8]) -> Result<usize> {
        // Chunks of a log are small: as many are opened as there is room for.
        let mut filled = 0;
        while filled < out.len() {
            if self.at == self.content {
                match self.failure.take().map_or_else(|| self.advance(), Err) {
                    Ok(true) => continue,
                    Ok(false) => break,
                    Err(failure) if filled == 0 => return Err(failure),
                    Err(failure) => {
                        self.failure = Some(failure);
                        break;
                    }
                }
            }
            let rest = &self.chunk[BEFORE + self.at..BEFORE + self.content];
            let count = rest.len().min(out.len() - filled);
            out[filled..filled + count].copy_from_slice(&rest[..count]);
            self.at += count;
            filled += count;
        }
        Ok(filled)
    }
}

impl Seek for Opened {
    /// Goes to a place in the content; behind the end means to the end.
    fn seek(&mut self, to: SeekFrom) -> Result<u64> {
        let here = self.begin() + self.at as u64;
        let target = match to {
            SeekFrom::Start(offset) => offset,
            SeekFrom::Current(by) => here.saturating_add_signed(by),
            SeekFrom::End(_) => {
                return Err(Error::new(ErrorKind::Unsupported, "the end of a sealed file is found by reading"));
            }
        };
        if target < self.begin() {
            self.rewind_to_head()?;
        }
        while target > self.next.content {
            self.at = self.content;
            if !self.advance()? {
                return Ok(self.next.content);
            }
        }
        self.at = (target - self.begin()) as usize;
        Ok(target)
    }
}

impl ReadFile for Opened {
    fn length(&self) -> Result<u64> {
        let chunks = self.len.saturating_sub(HEAD_LEN as u64);
        match self.cipher.head.kind {
            Kind::Whole => Ok(whole_content(chunks).unwrap_or(0)),
            // Each chunk is longer than its content.
            Kind::Growing => Ok(chunks),
        }
    }

    fn torn(&self) -> u64 {
        self.torn
    }

    fn is_sealed(&self) -> bool {
        true
    }
}

/// A growing file of which a crash has left nothing but a part of the head.
#[derive(Debug)]
pub(super) struct TornHead(pub(super) u64);

impl Read for TornHead {
    fn read(&mut self, _out: &mut [u8]) -> Result<usize> {
        Ok(0)
    }
}

impl Seek for TornHead {
    fn seek(&mut self, _to: SeekFrom) -> Result<u64> {
        Ok(0)
    }
}

impl ReadFile for TornHead {
    fn length(&self) -> Result<u64> {
        Ok(0)
    }

    fn torn(&self) -> u64 {
        self.0
    }

    fn is_sealed(&self) -> bool {
        true
    }
}
