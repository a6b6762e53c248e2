//! Sealing what is written: a file from beginning to end, and one that grows.
//!
//! A growing file can be cut back to where a write ended: that is a chunk's end. Which content that was is remembered for what may still be cut, so the log above
//! knows nothing of chunks and counts bytes of content. A chunk that was refused by the disk half-way must be cut away before anything else is written;
//! written again it is sealed anew.

use std::collections::VecDeque;
use std::io::{Error, ErrorKind, Result, Write};

use super::cipher::{CHUNK_MORE, Cipher, HEAD_LEN, Kind, Place};
use super::keys::Key;
use crate::disk::WriteFile;

/// A file that is written from beginning to end; the first sync ends it.
#[derive(Debug)]
pub(super) struct Whole {
    file: Box<dyn WriteFile>,
    cipher: Cipher,
    /// Content of the chunk to come. It is sealed when more comes, since only then it is not the last one.
    content: Vec<u8>,
    chunks: u64,
    len: u64,
    is_ended: bool,
    out: Vec<u8>,
}

impl Whole {
    /// Begins an empty file.
    pub(super) fn begin(file: Box<dyn WriteFile>, key: &Key) -> Result<Whole> {
        let cipher = Cipher::begin(key, Kind::Whole)?;
        let out = cipher.head.bytes.to_vec();
        Ok(Whole { file, cipher, content: Vec::new(), chunks: 0, len: 0, is_ended: false, out })
    }

    fn seal(&mut self, place: Place) -> Result<()> {
        self.cipher.seal(self.chunks, place, &self.content, &mut self.out)?;
        self.file.write_all(&self.out)?;
        self.chunks += 1;
        self.content.clear();
        self.out.clear();
        Ok(())
    }
}

impl Write for Whole {
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        if self.is_ended {
            return Err(Error::new(ErrorKind::Unsupported, "a sealed file that has ended cannot grow"));
        }
        if self.content.len() == Kind::Whole.chunk_max() && !bytes.is_empty() {
            self.seal(Place::Within)?;
        }
        let taken = bytes.len().min(Kind::Whole.chunk_max() - self.content.len());
        self.content.extend_from_slice(&bytes[..taken]);
        self.len += taken as u64;
        Ok(taken)
    }

    fn flush(&mut self) -> Result<()> {
        self.file.flush()
    }
}

impl WriteFile for Whole {
    fn length(&self) -> Result<u64> {
        Ok(self.len)
    }

    fn sync(&mut self) -> Result<()> {
        if !self.is_ended {
            self.seal(Place::Last)?;
            self.is_ended = true;
        }
        self.file.sync()
    }

    fn truncate(&mut self, _length: u64) -> Result<()> {
        Err(Error::new(ErrorKind::Unsupported, "a file sealed as a whole is not cut"))
    }
}

/// A place in a growing file: bytes of content, bytes of the file, chunks before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) content: u64,
    pub(super) file: u64,
    pub(super) chunks: u64,
}

impl Mark {
    /// Where the first chunk begins.
    pub(super) const FIRST: Mark = Mark { content: 0, file: HEAD_LEN as u64, chunks: 0 };
}

/// A file that is appended to.
#[derive(Debug)]
pub(super) struct Growing {
    file: Box<dyn WriteFile>,
    key: Key,
    /// None while the file is empty: it begins with the first chunk.
    cipher: Option<Cipher>,
    /// Where it can be cut back to; the last one is the end.
    marks: VecDeque<Mark>,
    /// Why nothing can be written before it was cut back.
    barred: Option<&'static str>,
    out: Vec<u8>,
}

impl Growing {
    /// Begins an empty file.
    pub(super) fn begin(file: Box<dyn WriteFile>, key: &Key) -> Growing {
        Growing {
            file,
            key: key.clone(),
            cipher: None,
            marks: VecDeque::from([Mark::default()]),
            barred: None,
            out: Vec::new(),
        }
    }

    /// Goes on behind the last chunk.
    pub(super) fn resume(file: Box<dyn WriteFile>, key: &Key, cipher: Cipher, end: Mark) -> Growing {
        Growing { cipher: Some(cipher), marks: VecDeque::from([end]), ..Growing::begin(file, key) }
    }

    /// Opens a file that cannot be gone on with, only begun anew once all of it was cut away.
    pub(super) fn barred(file: Box<dyn WriteFile>, key: &Key, length: u64, reason: &'static str) -> Growing {
        let end = Mark { content: length, file: length, chunks: 0 };
        Growing { barred: Some(reason), marks: VecDeque::from([end]), ..Growing::begin(file, key) }
    }

    fn end(&self) -> Mark {
        *self.marks.back().expect("the end is always there")
    }
}

impl Write for Growing {
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        if let Some(reason) = self.barred {
            return Err(Error::other(reason));
        }
        let (end, content) = (self.end(), &bytes[..bytes.len().min(Kind::Growing.chunk_max())]);
        if content.is_empty() {
            return Ok(0);
        }
        self.out.clear();
        let cipher = match &mut self.cipher {
            Some(cipher) => cipher,
            None => {
                let cipher = self.cipher.insert(Cipher::begin(&self.key, Kind::Growing)?);
                self.out.extend_from_slice(&cipher.head.bytes);
                cipher
            }
        };
        cipher.seal(end.chunks, Place::Within, content, &mut self.out)?;
        if let Err(error) = self.file.write_all(&self.out) {
            self.barred = Some("what the disk refused was not cut away");
            return Err(error);
        }
        self.marks.push_back(Mark {
            content: end.content + content.len() as u64,
            file: end.file + self.out.len() as u64,
            chunks: end.chunks + 1,
        });
        Ok(content.len())
    }

    fn flush(&mut self) -> Result<()> {
        self.file.flush()
    }
}

impl WriteFile for Growing {
    fn length(&self) -> Result<u64> {
        Ok(self.end().content)
    }

    fn sync(&mut self) -> Result<()> {
        self.file.sync()
    }

    fn truncate(&mut self, length: u64) -> Result<()> {
        let mark = match length {
            0 => Mark::default(),
            _ => *self.marks.iter().find(|mark| mark.content == length).ok_or_else(|| {
                Error::new(ErrorKind::InvalidInput, "a sealed file is only cut back to where something was appended")
            })?,
        };
        self.file.truncate(mark.file)?;
        while self.marks.back().is_some_and(|end| end.content > mark.content) {
            self.marks.pop_back();
        }
        if mark.file == 0 {
            self.marks = VecDeque::from([mark]);
            self.cipher = None;
        }
        self.barred = None;
        Ok(())
    }

    fn release(&mut self, length: u64) {
        while self.marks.get(1).is_some_and(|next| next.content <= length) {
            self.marks.pop_front();
        }
    }
}

/// Returns how many bytes of content a file sealed as a whole has, by its length without the head; none if no such file has this length.
pub(super) fn whole_content(len: u64) -> Option<u64> {
    let (max, more) = (Kind::Whole.chunk_max() as u64, CHUNK_MORE as u64);
    let full = len.checked_sub(1)? / (max + more);
    let last = (len - full * (max + more)).checked_sub(more)?;
    Some(full * max + last)
}
