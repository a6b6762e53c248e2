//! The end of a program and the next start: by a cut of the power or by a kill, with a fault at the start or a bit that is turned.

use std::path::{Path, PathBuf};

use redpoll_store::disk::Disk;
use redpoll_store::{Error, LogError, Value};

use crate::history::{After, History};
use crate::tally::Tally;
use crate::world::{DIR, Mode, World};

impl World {
    /// Ends the program in one way or another and starts it again; false if the schedule ends with it.
    pub(crate) fn restart(&mut self) -> bool {
        let deceptive = self.disk.deceptive();
        let may_be_killed = deceptive.is_empty();
        let after = if self.random.chance(1, 4) && may_be_killed { After::Kill } else { After::Crash };
        self.tally.faults += self.disk.struck();
        let left = match after {
            After::Crash => self.disk.crash(self.random.next_u64()),
            After::Kill => self.disk.kill(),
        };
        match after {
            After::Crash => self.tally.crashes += 1,
            After::Kill => self.tally.kills += 1,
        }
        self.running = None;
        self.disk = left;
        self.be_well_again();
        self.remember(format!("{after:?}, holes in {:?}", self.disk.holes()));
        let flipped = if self.random.chance(1, 40) { self.flip() } else { None };
        if flipped.is_none() && self.random.chance(1, 4) {
            let faults = self.draw_faults();
            self.remember(format!("at the start {faults:?}"));
            self.disk.plan(faults);
        }
        let opened = self.start_in_the_end(&deceptive);
        if self.is_on_trust && !deceptive.is_empty() {
            // What was written under `no` is lost in the middle of the log.
            self.tally.dropped += 1;
            self.running = None;
            return false;
        }
        match (opened, flipped) {
            (opened, Some(path)) => {
                self.judge_flip(opened, &path);
                self.running = None;
                return false;
            }
            (Err(error), None) => self.fail(&format!("the start is refused: {error}")),
            (Ok(()), None) => {}
        }
        self.judge(after);
        true
    }

    /// Starts, again if the disk had a fault, and again with what is damaged cut off if a crash has left a hole.
    fn start_in_the_end(&mut self, deceptive: &[PathBuf]) -> Result<(), Error> {
        let struck = self.disk.struck();
        let first = self.start();
        if self.disk.struck() == struck {
            return first.or_else(|error| self.cut_hole(error, deceptive));
        }
        self.remember(format!("the first start: {:?}", first.as_ref().err().map(ToString::to_string)));
        if first.is_ok() {
            return Ok(());
        }
        if !self.disk.deceptive().is_empty() {
            self.disk = self.disk.crash(self.random.next_u64());
        }
        self.be_well_again();
        self.start().or_else(|error| self.cut_hole(error, deceptive))
    }

    /// Does what the message about a damaged log says, if the crash has left a hole in that file.
    fn cut_hole(&mut self, error: Error, deceptive: &[PathBuf]) -> Result<(), Error> {
        let Error::Log(LogError::Damaged { path, offset, .. }) = &error else { return Err(error) };
        if !self.disk.holes().contains(path) && !deceptive.contains(path) {
            return Err(error);
        }
        self.remember(format!("refused: {error}"));
        self.be_well_again();
        self.disk.cut(path, *offset).expect("the disk is well");
        self.tally.holes_refused += 1;
        self.start()
    }

    /// Compares what a start has found with what it had to.
    fn judge(&mut self, after: After) {
        let Value::Simple(digest) = self.call("DEBUG DIGEST") else { self.fail("there is no digest") };
        let history = if self.mode == Mode::Log { &mut self.log } else { &mut self.snapshots };
        match history.restart(&digest, after) {
            Ok(lost) if self.mode == Mode::Log => self.tally.lost += lost,
            Ok(_) => self.log = History::new(digest),
            Err(reason) => self.fail(&format!("after a restart: {reason}")),
        }
        self.acknowledged = self.log.now().min(self.acknowledged);
    }

    /// Turns a bit in a file that the start will read.
    fn flip(&mut self) -> Option<PathBuf> {
        let wanted: Vec<PathBuf> = match self.mode {
            Mode::Snapshot => vec![Path::new(DIR).join("dump.rdb")],
            Mode::Log => self.named_by_the_manifest(),
        };
        let there: Vec<PathBuf> = wanted.into_iter().filter(|path| !self.disk.seen(path).is_empty()).collect();
        if there.is_empty() {
            return None;
        }
        let path = self.random.pick(&there).clone();
        let bit = self.random.below(self.disk.seen(&path).len() as u64 * 8) as usize;
        self.remember(format!("bit {bit} of {} is turned", path.display()));
        self.disk.flip(&path, bit);
        Some(path)
    }

    fn named_by_the_manifest(&self) -> Vec<PathBuf> {
        let dir = Path::new(DIR).join("appendonlydir");
        let manifest = dir.join("appendonly.aof.manifest");
        let text = String::from_utf8_lossy(&self.disk.seen(&manifest)).into_owned();
        let names = text.lines().filter_map(|line| line.split(' ').nth(1));
        names.map(|name| dir.join(name)).chain([manifest.clone()]).collect()
    }

    /// A bit in a snapshot is seen, since it ends with a checksum; a log has none, so a bit in a value is not. What is seen is said with file and place.
    fn judge_flip(&mut self, opened: Result<(), Error>, path: &Path) {
        let name = path.file_name().expect("a file has a name").to_string_lossy().into_owned();
        match opened {
            Ok(()) if name.ends_with(".rdb") => self.fail(&format!("the bit in {name} is not seen")),
            Ok(()) => self.tally.flips_unseen += 1,
            Err(error) => {
                let text = error.to_string();
                let is_manifest = name.ends_with("manifest");
                let says_where =
                    text.contains("offset") || is_manifest && (text.contains("line") || text.contains("open"));
                if !says_where || !(text.contains(&name) || is_manifest) {
                    self.fail(&format!("the message does not say where {name} is damaged: {text}"));
                }
                self.tally.flips_refused += 1;
            }
        }
    }

    /// Ends the schedule, with a restart unless it has ended already.
    pub(crate) fn end(mut self) -> Tally {
        if self.running.is_some() {
            self.restart();
        }
        self.tally
    }
}
