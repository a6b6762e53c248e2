//! What the kernel knows of a process: processor time and resident memory.

use anyhow::{Context, Result};

/// Returns the processor time of all threads of a process so far, nanoseconds.
pub(crate) fn cpu_nanos(process: u32) -> Result<u64> {
    let mut sum = 0;
    for thread in std::fs::read_dir(format!("/proc/{process}/task")).context("the server has gone")? {
        let schedule = std::fs::read_to_string(thread?.path().join("schedstat")).unwrap_or_default();
        sum += on_cpu(&schedule).unwrap_or(0);
    }
    Ok(sum)
}

/// Returns the processor time of the calling thread so far, nanoseconds.
pub(crate) fn thread_cpu_nanos() -> Result<u64> {
    let schedule = std::fs::read_to_string("/proc/thread-self/schedstat").context("no schedstat of this thread")?;
    on_cpu(&schedule).context("schedstat begins with a number")
}

fn on_cpu(schedule: &str) -> Option<u64> {
    schedule.split_whitespace().next()?.parse().ok()
}

/// Returns the resident memory of a process, bytes.
pub(crate) fn resident_bytes(process: u32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).context("the server has gone")?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).context("no VmRSS in the status")?;
    let kilobytes = line.split_whitespace().nth(1).and_then(|number| number.parse::<u64>().ok());
    Ok(kilobytes.context("VmRSS is not a number")? * 1024)
}

/// Returns the memory of a process and its children in bytes, of which what they share counts once.
pub(crate) fn shared_out_bytes(process: u32) -> Result<u64> {
    let children = format!("/proc/{process}/task/{process}/children");
    let children = std::fs::read_to_string(children).context("the server has gone")?;
    let all = std::iter::once(process.to_string()).chain(children.split_whitespace().map(str::to_owned));
    // A child may have ended since it was listed.
    Ok(all.filter_map(|process| proportional_bytes(&process)).sum())
}

fn proportional_bytes(process: &str) -> Option<u64> {
    let rollup = std::fs::read_to_string(format!("/proc/{process}/smaps_rollup")).ok()?;
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
}
