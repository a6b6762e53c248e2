//! The journal: what one client command changed, as commands for the log.
//!
//! Most commands are logged as they came. Where that would not repeat the same change (a relative expiry, a random pop, a float sum) the handler says what to
//! log instead. A transaction or a script yields one record per changing command inside it; the log frames several records with MULTI and EXEC.
//! Records are encoded at once, so a transaction costs no second copy of its arguments.

use redpoll_keyspace::Expired;
use redpoll_resp::encode_command;

/// Encoded records in order.
#[derive(Debug, Default)]
pub struct Journal {
    /// Whether there is a log at all.
    pub(crate) enabled: bool,
    bytes: Vec<u8>,
    ends: Vec<(usize, usize)>,
    /// What the running command wants logged instead of itself.
    instead: Option<Vec<Vec<Vec<u8>>>>,
    /// The running command is logged even if it changes nothing.
    always: bool,
}

impl Journal {
    /// Makes an empty journal, for a log or for none.
    pub(crate) fn new(enabled: bool) -> Journal {
        Journal { enabled, ..Journal::default() }
    }

    /// Tells whether nothing was recorded.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Returns the number of records.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Returns the records: database and encoded command.
    pub fn records(&self) -> impl ExactSizeIterator<Item = (usize, &[u8])> {
        self.ends.iter().enumerate().map(|(index, (db, end))| {
            let start = if index == 0 { 0 } else { self.ends[index - 1].1 };
            (*db, &self.bytes[start..*end])
        })
    }

    /// Records a command as it is.
    pub(crate) fn record(&mut self, db: usize, args: &[impl AsRef<[u8]>]) {
        encode_command(args, &mut self.bytes);
        self.ends.push((db, self.bytes.len()));
    }

    /// Records that something has expired.
    pub(crate) fn record_expired(&mut self, expired: &Expired) {
        let Expired { db, key, fields } = expired;
        let name: &[u8] = if fields.is_empty() { b"DEL" } else { b"HDEL" };
        let args: Vec<&[u8]> = [name, key].into_iter().chain(fields.iter().map(AsRef::as_ref)).collect();
        self.record(*db, &args);
    }

    /// Logs this command (too) instead of the one that runs.
    pub fn instead(&mut self, args: &[&[u8]]) {
        if self.enabled {
            let command = args.iter().map(|arg| arg.to_vec()).collect();
            self.instead.get_or_insert_default().push(command);
        }
    }

    /// Logs nothing for the command that runs: what runs inside it is logged by itself.
    pub fn nothing(&mut self) {
        self.instead.get_or_insert_default();
    }

    /// Logs the command that runs even if it finds nothing to change.
    pub fn always(&mut self) {
        self.always = true;
    }

    /// Tells whether the command that ran asked to be logged whatever it changed.
    pub(crate) fn take_always(&mut self) -> bool {
        std::mem::take(&mut self.always)
    }

    /// Forgets what was recorded so far.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }

    /// Ends a command that changed something.
    pub(crate) fn settle(&mut self, db: usize, args: &[&[u8]]) {
        match self.instead.take() {
            None => self.record(db, args),
            Some(commands) => commands.iter().for_each(|command| self.record(db, command)),
        }
    }

    /// Ends a command that changed nothing.
    pub(crate) fn settle_unchanged(&mut self) {
        self.instead = None;
    }
}
