//! A disk that is full for real: a small tmpfs, filled by the server itself.
//!
//! Changes are refused, reads are served; when there is room again the server goes on without a restart; and after a kill everything acknowledged is there.
//! The same for snapshots without a log: SAVE fails, the snapshot before stays, and succeeds when there is room.

use anyhow::{Context, Result, bail, ensure};
use redpoll_testkit::{Client, Launch, Reply, Scratch, Target};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// Bytes of the disk, and of the file that is removed to make room: more than is acknowledged until a server has noticed that the disk is full.
const DISK_LEN: usize = 64 << 20;
const BALLAST_LEN: usize = 58 << 20;

/// Bytes of a value.
const VALUE_LEN: usize = 4_000;

/// Changes after which the disk must be full.
const CHANGES_MAX: usize = DISK_LEN / VALUE_LEN;

/// Changes that are made when there is room again.
const CHANGES_AFTER: usize = 50;

/// How long a server may take to notice that there is room again.
const PATIENCE: Duration = Duration::from_secs(30);

/// Runs it.
pub(super) fn run(binary: &Path) -> Result<()> {
    for policy in ["always", "everysec", "no"] {
        let disk = SmallDisk::mount()?;
        log(binary, &disk, policy).with_context(|| format!("appendfsync {policy}"))?;
    }
    snapshots(binary, &SmallDisk::mount()?).context("without a log")
}

/// A file system of its own that goes away with this.
struct SmallDisk {
    scratch: Scratch,
}

impl SmallDisk {
    fn mount() -> Result<Self> {
        let scratch = Scratch::new()?;
        let size = format!("size={DISK_LEN}");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(scratch.path()).status();
        ensure!(
            mounted.context("cannot run mount")?.success(),
            "a small disk cannot be mounted: that needs to be root"
        );
        let disk = Self { scratch };
        std::fs::write(disk.ballast(), vec![0; BALLAST_LEN])?;
        Ok(disk)
    }

    fn ballast(&self) -> PathBuf {
        self.scratch.path().join("ballast")
    }

    fn make_room(&self) -> Result<()> {
        std::fs::remove_file(self.ballast()).context("the ballast is there")
    }

    fn launch(&self, binary: &Path, args: &str) -> Launch {
        let args = args.split(' ').map(str::to_owned).collect();
        Launch { binary: Some(binary.to_owned()), dir: Some(self.scratch.path().join("data")), args }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        if !Command::new("umount").arg(self.scratch.path()).status().is_ok_and(|status| status.success()) {
            println!("the small disk at {} is still mounted", self.scratch.path().display());
        }
    }
}

/// Sets the key of a number; tells whether that was acknowledged.
fn set(client: &mut Client, number: usize) -> Result<bool> {
    let value = [number.to_string().into_bytes(), vec![b'x'; VALUE_LEN]].concat();
    match client.call(&[b"SET".to_vec(), format!("key:{number}").into_bytes(), value]) {
        reply if reply.is_simple("OK") => Ok(true),
        Reply::Error(text) => {
            ensure!(
                text.starts_with(b"MISCONF Errors writing to the AOF file"),
                "refused otherwise: {}",
                text.escape_ascii()
            );
            Ok(false)
        }
        reply => bail!("SET was answered by {}", reply.print()),
    }
}

/// Looks for everything acknowledged.
fn check(client: &mut Client, acknowledged: &[usize]) -> Result<()> {
    for number in acknowledged {
        let reply = client.run(&format!("GET key:{number}"));
        let is_there = reply.as_bytes().is_some_and(|value| value.starts_with(number.to_string().as_bytes()));
        ensure!(is_there, "key {number} was acknowledged and is {}", reply.print());
    }
    Ok(())
}

fn log(binary: &Path, disk: &SmallDisk, policy: &str) -> Result<()> {
    let launch =
        disk.launch(binary, &format!("--appendonly yes --appendfsync {policy} --auto-aof-rewrite-percentage 0"));
    let program = launch.start()?;
    let mut client = program.client()?;
    let (mut acknowledged, mut number) = (Vec::new(), 0);
    loop {
        ensure!(number < CHANGES_MAX, "the disk is never full");
        if !set(&mut client, number)? {
            break;
        }
        acknowledged.push(number);
        number += 1;
    }
    let before = acknowledged.len();
    // Who is told that a change may not be safe is cut off under `always`.
    client = program.client()?;
    check(&mut client, &acknowledged).context("while the disk is full")?;
    ensure!(!set(&mut client, number + 1)?, "a change is taken although the disk is full");
    disk.make_room()?;
    let (began, mut tries) = (Instant::now(), 0);
    while !set(&mut program.client()?, number + 2 + tries)? {
        tries += 1;
        ensure!(began.elapsed() < PATIENCE, "changes are still refused: {}", program.stderr_tail());
    }
    let waited = began.elapsed();
    client = program.client()?;
    acknowledged.push(number + 2 + tries);
    for after in (number + 3 + tries..).take(CHANGES_AFTER) {
        ensure!(set(&mut client, after)?, "refused although there is room");
        acknowledged.push(after);
    }
    if policy != "always" {
        // Nothing else makes them safe at once.
        let reply = client.run("WAITAOF 1 0 30000");
        ensure!(reply.as_slice().is_some_and(|items| items[0].as_integer() == Some(1)), "{}", reply.print());
    }
    program.kill()?;
    let program = launch.start()?;
    check(&mut program.client()?, &acknowledged).context("after a restart")?;
    println!(
        "{policy:<10}full after {before} changes, taken again {} ms after there was room, all {} acknowledged are there after a kill",
        waited.as_millis(),
        acknowledged.len()
    );
    program.terminate().map(drop)
}

fn snapshots(binary: &Path, disk: &SmallDisk) -> Result<()> {
    let launch = disk.launch(binary, "--appendonly no --rdbcompression no");
    let program = launch.start()?;
    let mut client = program.client()?;
    let small: Vec<usize> = (0..10).collect();
    let large: Vec<usize> = (0..(DISK_LEN - BALLAST_LEN) / VALUE_LEN + 50).collect();
    small.iter().try_for_each(|number| set(&mut client, *number).map(drop))?;
    ensure!(client.run("SAVE").is_simple("OK"), "the first snapshot has room");
    large.iter().try_for_each(|number| set(&mut client, *number).map(drop))?;
    ensure!(matches!(client.run("SAVE"), Reply::Error(_)), "SAVE succeeds on a disk that is full");
    check(&mut client, &large)?;
    program.kill()?;
    let program = launch.start()?;
    let mut client = program.client()?;
    check(&mut client, &small).context("the snapshot before")?;
    large.iter().try_for_each(|number| set(&mut client, *number).map(drop))?;
    ensure!(matches!(client.run("SAVE"), Reply::Error(_)), "SAVE succeeds on a disk that is full");
    disk.make_room()?;
    ensure!(client.run("SAVE").is_simple("OK"), "SAVE fails although there is room");
    program.kill()?;
    let program = launch.start()?;
    check(&mut program.client()?, &large).context("after a restart")?;
    println!("snapshots SAVE fails on a full disk, the snapshot before stays, and SAVE succeeds when there is room");
    program.terminate().map(drop)
}
