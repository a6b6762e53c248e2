//! Reading a log back: a base, which is a snapshot or commands or a snapshot with commands behind it, and the increments.
//!
//! After a crash the end of the last file may be missing, in the middle of a command; or be zeros, where a file system has stored the length and not the
//! content any more. Both are a torn tail. Lines of a command must end where they say: what a crash has left of several blocks is not taken for a value.
//! A log has no checksum, so damage within a value is not seen.

use std::io::{Read, SeekFrom};
use std::path::Path;
use std::sync::atomic::Ordering;

use redpoll_resp::{Access, Limits, Parse, ProtocolError, RequestParser};

use crate::disk::{Disk, ReadFile};
use crate::snapshot::{self, Into, Item};
use crate::{Error, Form, LogFiles, Manifest};

/// Bytes read from a file at a time.
const READ_SIZE: usize = 1 << 20;

/// What a log holds, one after the other.
#[derive(Debug)]
pub enum Record<'a> {
    /// A command.
    Command(&'a [&'a [u8]]),
    /// Something of the snapshot at its beginning.
    Stored(Item<'a>),
}

/// Takes one record, or says why it cannot be applied.
pub type Apply<'a, E> = dyn FnMut(Record<'_>) -> Result<(), E> + 'a;

/// How a log is read.
#[derive(Clone, Debug)]
pub struct Reading<'a> {
    /// The longest commands.
    pub limits: Limits,
    /// What values of a snapshot are made into.
    pub into: Into<'a>,
    /// What becomes of an end that a crash has torn off.
    pub torn: Torn,
}

/// What becomes of the end of the last file if it is no whole change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Torn {
    /// It is cut off.
    CutOff,
    /// It keeps the log from being read.
    Refuse,
}

/// What a replay did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replayed {
    /// Commands applied.
    pub commands: u64,
    /// Bytes of the base.
    pub base_len: u64,
    /// Bytes of all files.
    pub len: u64,
    /// Bytes cut off the end of the last file, because a crash had torn them.
    pub truncated: u64,
}

/// Reads the whole log and hands every record to `apply`, which returns why it cannot be applied, if so.
///
/// # Errors
/// [`Error::Io`], [`Error::Missing`], [`Error::Manifest`], [`Error::Truncated`], [`Error::Damaged`], [`Error::Inapplicable`] or [`Error::Snapshot`].
pub fn replay(files: &LogFiles, reading: &Reading<'_>, apply: &mut Apply<'_, String>) -> Result<Replayed, Error> {
    let manifest = Manifest::read(files)?;
    let names: Vec<&str> = manifest.base.iter().chain(&manifest.increments).map(|(name, _)| name.as_str()).collect();
    let mut replayed = Replayed::default();
    for (index, name) in names.iter().enumerate() {
        let path = files.path(name);
        let mut reached = Reached::default();
        read_log_file(&**files.disk(), &path, reading, apply, &mut reached)?;
        let offset = reached.whole;
        if offset < reached.len {
            // A crash on the way to another increment leaves that one empty: nothing goes into it before all of this one is on the disk.
            if !names[index + 1..].iter().all(|name| is_empty(files, &files.path(name))) {
                return Err(Error::Damaged { path, offset, form: reached.form(), reason: TORN_IN_THE_MIDDLE.into() });
            }
            if reading.torn == Torn::Refuse {
                return Err(Error::Truncated { path, offset, form: reached.form() });
            }
            files.disk().cut(&path, offset).map_err(Error::io(&path))?;
            replayed.truncated = reached.len - offset;
        }
        replayed.commands += reached.commands;
        replayed.len += files.disk().length(&path).map_err(Error::io(&path))?;
        if index == 0 && manifest.base.is_some() {
            replayed.base_len = replayed.len;
        }
    }
    Ok(replayed)
}

/// What is wrong with a torn file that others follow.
pub(crate) const TORN_IN_THE_MIDDLE: &str = "the file ends in the middle of a command but is not the last one";

pub(crate) fn is_empty(files: &LogFiles, path: &Path) -> bool {
    files.disk().length(path).is_ok_and(|length| length == 0)
}

/// How far the reading of a file has come, also if it ended early.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reached {
    /// The snapshot at its beginning.
    pub(crate) snapshot: Option<snapshot::Read>,
    /// Commands handed on.
    pub(crate) commands: u64,
    /// Where the last whole change ends, bytes; at the end of what was read without an error, a torn tail begins here.
    pub(crate) whole: u64,
    /// Bytes of the file, with those of a torn end.
    pub(crate) len: u64,
    /// It is sealed.
    pub(crate) is_sealed: bool,
}

impl Reached {
    fn form(&self) -> Form {
        if self.is_sealed { Form::Sealed } else { Form::Plain }
    }
}

/// Reads one file of a log and hands its records on.
pub(crate) fn read_log_file(
    disk: &dyn Disk,
    path: &Path,
    reading: &Reading<'_>,
    apply: &mut Apply<'_, String>,
    reached: &mut Reached,
) -> Result<(), Error> {
    let missing = |error| match Error::io(path)(error) {
        Error::Io { path, source } => {
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            Error::Missing { name, path, source }
        }
        other => other,
    };
    let mut file = disk.open(path).map_err(missing)?;
    (reached.len, reached.is_sealed) = (file.length().map_err(Error::io(path))?, file.is_sealed());
    let form = reached.form();
    let mut limits = reading.limits.clone();
    limits.access = Access::Authenticated;
    reached.snapshot = load_snapshot(&mut *file, path, reading.into, apply)?;
    reached.whole = reached.snapshot.map_or(0, |read| read.len);
    let parser = RequestParser::new();
    let mut reader = Reader { buf: Vec::new(), parsed: 0, offset: reached.whole, zeros: 0, parser };
    let mut unit = Unit::default();
    let damaged = |offset, reason: String| Error::Damaged { path: path.to_owned(), offset, form, reason };
    loop {
        let count = reader.fill(&mut *file).map_err(Error::io(path))?;
        reading.into.read.fetch_add(count as u64, Ordering::Relaxed);
        while let Some(args) = reader.next(&limits).map_err(|(offset, reason)| damaged(offset, reason))? {
            let offset = reader.offset;
            unit.add(args, offset, &mut |command| {
                let inapplicable = |reason| Error::Inapplicable { path: path.to_owned(), offset, form, reason };
                apply(Record::Command(command)).map_err(inapplicable)?;
                reached.commands += 1;
                Ok(())
            })?;
            reached.whole = unit.open_since.unwrap_or(offset);
        }
        if count == 0 {
            reached.len = reader.offset + reader.buf.len() as u64 + reader.zeros + file.torn();
            reached.whole = unit.open_since.unwrap_or(reader.offset);
            return Ok(());
        }
        reader.compact();
    }
}

/// Hands on what the snapshot at the beginning of a file holds, if there is one, and leaves the file where it ends.
fn load_snapshot(
    file: &mut dyn ReadFile,
    path: &Path,
    into: Into<'_>,
    apply: &mut Apply<'_, String>,
) -> Result<Option<snapshot::Read>, Error> {
    let mut magic = Vec::new();
    Read::take(&mut *file, snapshot::MAGIC.len() as u64).read_to_end(&mut magic).map_err(Error::io(path))?;
    file.rewind().map_err(Error::io(path))?;
    if magic != snapshot::MAGIC {
        return Ok(None);
    }
    let len = file.length().map_err(Error::io(path))?;
    let read = snapshot::read_snapshot_from(&mut *file, len, path, into, &mut |item| apply(Record::Stored(item)))?;
    file.seek(SeekFrom::Start(read.len)).map_err(Error::io(path))?;
    Ok(Some(read))
}

/// Runs a command of a unit.
type Run<'a> = dyn FnMut(&[&[u8]]) -> Result<(), Error> + 'a;

/// Bytes read and how far they are parsed.
struct Reader {
    buf: Vec<u8>,
    parsed: usize,
    /// Offset in the file of the first unparsed byte.
    offset: u64,
    /// Zeros that follow, held back until something else does: a command ends with a line, and zeros at the end are none of its.
    zeros: u64,
    parser: RequestParser,
}

impl Reader {
    /// Reads more of a file; returns how much.
    fn fill(&mut self, file: &mut dyn ReadFile) -> std::io::Result<usize> {
        let kept = self.buf.len();
        self.buf.resize(kept + READ_SIZE, 0);
        let count = file.read(&mut self.buf[kept..])?;
        self.buf.truncate(kept + count);
        let Some(last) = self.buf[kept..].iter().rposition(|byte| *byte != 0) else {
            self.buf.truncate(kept);
            self.zeros += count as u64;
            return Ok(count);
        };
        self.buf.truncate(kept + last + 1);
        let before = std::mem::replace(&mut self.zeros, (count - last - 1) as u64);
        if before > 0 {
            self.buf.splice(kept..kept, std::iter::repeat_n(0, before as usize));
        }
        Ok(count)
    }

    /// Returns the next complete command.
    fn next(&mut self, limits: &Limits) -> Result<Option<Vec<Vec<u8>>>, (u64, String)> {
        loop {
            let rest = &self.buf[self.parsed..];
            if rest.first().is_some_and(|byte| *byte == b'#') {
                // An annotation such as #TS:1700000000.
                let Some(end) = rest.iter().position(|byte| *byte == b'\n') else { return Ok(None) };
                self.advance(end + 1);
                continue;
            }
            if rest.first().is_some_and(|byte| *byte != b'*') {
                return Err((self.offset, "expected '*'".into()));
            }
            match self.parser.parse(rest, limits) {
                Parse::Incomplete => return Ok(None),
                // Errors say nothing of what the log holds, not even the byte that was found.
                Parse::Error(ProtocolError::ExpectedDollar(_)) => return Err((self.offset, "expected '$'".into())),
                Parse::Error(error) => return Err((self.offset, error.to_string())),
                Parse::Empty { consumed } => self.advance(consumed),
                Parse::Complete { consumed } => {
                    let args = self.parser.args(rest);
                    if !args.iter().all(|arg| has_its_lines(rest, arg)) {
                        return Err((self.offset, "a line of a command does not end where it should".into()));
                    }
                    let owned = args.iter().map(|arg| arg.to_vec()).collect();
                    drop(args);
                    self.advance(consumed);
                    return Ok(Some(owned));
                }
            }
        }
    }

    fn advance(&mut self, count: usize) {
        self.parsed += count;
        self.offset += count as u64;
    }

    fn compact(&mut self) {
        self.buf.drain(..self.parsed);
        self.parsed = 0;
    }
}

/// Tells whether the ends of lines stand around an argument, which the parser passes over.
fn has_its_lines(text: &[u8], arg: &[u8]) -> bool {
    let begin = arg.as_ptr() as usize - text.as_ptr() as usize;
    text[..begin].ends_with(b"\r\n") && text[begin + arg.len()..].starts_with(b"\r\n")
}

/// Commands between MULTI and EXEC, which count only together.
#[derive(Default)]
struct Unit {
    commands: Vec<Vec<Vec<u8>>>,
    /// Where the open transaction begins.
    open_since: Option<u64>,
    previous_end: u64,
}

impl Unit {
    fn add(&mut self, args: Vec<Vec<u8>>, end: u64, apply: &mut Run<'_>) -> Result<(), Error> {
        let start = std::mem::replace(&mut self.previous_end, end);
        let is = |name: &[u8]| args.len() == 1 && args[0].eq_ignore_ascii_case(name);
        let mut run = |command: &Vec<Vec<u8>>| {
            let borrowed: Vec<&[u8]> = command.iter().map(Vec::as_slice).collect();
            apply(&borrowed)
        };
        if is(b"MULTI") {
            self.open_since = Some(start);
        } else if is(b"EXEC") {
            self.open_since = None;
            return self.commands.drain(..).try_for_each(|command| run(&command));
        } else if self.open_since.is_some() {
            self.commands.push(args);
        } else {
            return run(&args);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use redpoll_testkit::Scratch;

    use super::*;

    fn with_log(content: &[u8]) -> (Scratch, Result<Replayed, Error>, Vec<String>, u64) {
        let dir = Scratch::new().unwrap();
        let files = LogFiles::new(dir.path(), "appendonly.aof");
        let mut manifest = Manifest::default();
        let file = files.path(manifest.add_increment(&files));
        manifest.write(&files).unwrap();
        std::fs::write(&file, content).unwrap();
        let mut seen = Vec::new();
        let limits = redpoll_keyspace::Limits::default();
        let reading = Reading {
            limits: Limits::default(),
            into: Into { limits: &limits, seed: 1, read: &AtomicU64::new(0) },
            torn: Torn::CutOff,
        };
        let replayed = replay(&files, &reading, &mut |record| {
            let Record::Command(args) = record else { panic!("there is no snapshot") };
            seen.push(args.iter().map(|arg| String::from_utf8_lossy(arg)).collect::<Vec<_>>().join(" "));
            Ok(())
        });
        let length = std::fs::metadata(&file).unwrap().len();
        (dir, replayed, seen, length)
    }

    const SET: &[u8] = b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1\r\nv\r\n";
    const MULTI: &[u8] = b"*1\r\n$5\r\nMULTI\r\n";
    const EXEC: &[u8] = b"*1\r\n$4\r\nEXEC\r\n";

    #[test]
    fn whole_logs_are_replayed_with_annotations_and_transactions() {
        let content = [b"#TS:1700000000\r\n", SET, MULTI, SET, SET, EXEC].concat();
        let (_dir, replayed, seen, _) = with_log(&content);
        assert_eq!(replayed.unwrap(), Replayed { commands: 3, len: content.len() as u64, ..Replayed::default() });
        assert_eq!(seen, ["SET k v"; 3]);
    }

    #[test]
    fn a_torn_tail_is_cut_off_at_every_byte() {
        for cut in 1..SET.len() {
            let content = [SET, &SET[..cut]].concat();
            let (_dir, replayed, seen, length) = with_log(&content);
            let expected =
                Replayed { commands: 1, truncated: cut as u64, len: SET.len() as u64, ..Replayed::default() };
            assert_eq!(replayed.unwrap(), expected);
            assert_eq!((seen.len(), length), (1, SET.len() as u64));
        }
    }

    #[test]
    fn zeros_in_the_place_of_the_end_are_a_torn_tail() {
        for (cut, zeros) in (0..=SET.len()).flat_map(|cut| [1, 2, 9, 5000].map(|zeros| (cut, zeros))) {
            let content = [SET, &SET[..cut], &vec![0; zeros]].concat();
            let (_dir, replayed, seen, length) = with_log(&content);
            let whole = 1 + cut / SET.len();
            assert_eq!(replayed.unwrap().truncated, (content.len() - whole * SET.len()) as u64, "{cut} {zeros}");
            assert_eq!((seen.len(), length), (whole, (whole * SET.len()) as u64));
        }
    }

    #[test]
    fn what_does_not_end_its_lines_is_damage() {
        for line_end in SET.iter().enumerate().filter(|(_, byte)| **byte == b'\r').map(|(at, _)| at) {
            let mut content = [SET, SET, SET].concat();
            content[SET.len() + line_end] = 0;
            let (_dir, replayed, seen, _) = with_log(&content);
            assert!(matches!(replayed, Err(Error::Damaged { offset, .. }) if offset == SET.len() as u64), "{line_end}");
            assert_eq!(seen.len(), 1);
        }
    }

    #[test]
    fn a_torn_tail_is_cut_off_if_nothing_follows_it() {
        for (next, expected) in [(&b""[..], true), (SET, false)] {
            let dir = Scratch::new().unwrap();
            let files = LogFiles::new(dir.path(), "appendonly.aof");
            let mut manifest = Manifest::default();
            manifest.add_increment(&files);
            manifest.add_increment(&files);
            manifest.write(&files).unwrap();
            std::fs::write(files.path(&manifest.increments[0].0), [SET, &SET[..9]].concat()).unwrap();
            std::fs::write(files.path(&manifest.increments[1].0), next).unwrap();
            let limits = redpoll_keyspace::Limits::default();
            let reading = Reading {
                limits: Limits::default(),
                into: Into { limits: &limits, seed: 1, read: &AtomicU64::new(0) },
                torn: Torn::CutOff,
            };
            let replayed = replay(&files, &reading, &mut |_| Ok(()));
            assert_eq!(replayed.is_ok(), expected);
            if let Ok(replayed) = replayed {
                assert_eq!((replayed.commands, replayed.truncated), (1, 9));
            }
        }
    }

    #[test]
    fn a_transaction_without_exec_never_happened() {
        let content = [SET, MULTI, SET].concat();
        let (_dir, replayed, seen, length) = with_log(&content);
        assert_eq!(replayed.unwrap().truncated, (MULTI.len() + SET.len()) as u64);
        assert_eq!((seen.len(), length), (1, SET.len() as u64));
    }

    #[test]
    fn damage_before_the_end_names_the_offset() {
        let mut content = [SET, SET, SET].concat();
        content[SET.len()] = b'x';
        let (_dir, replayed, _, _) = with_log(&content);
        let Err(Error::Damaged { offset, .. }) = replayed else { panic!("{replayed:?}") };
        assert_eq!(offset, SET.len() as u64);
    }
}
