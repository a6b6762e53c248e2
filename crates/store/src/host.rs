//! What the process around a store tells in INFO, and how it is ended.
//!
//! The engine knows neither processes nor the operating system, so this layer adds what monitoring reads: processor time,
//! resident memory, the system's memory, the executable. Files under `/proc` are read when INFO asks; what a system does
//! not tell is left out.
//!
//! It also lends the engine its only way out: MIGRATE talks to another server from here.
//!
//! A store only ends the program if the program said how ([`Config::on_shutdown`](crate::Config::on_shutdown)); the log is
//! on the disk before the program is told.

use std::fmt;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;
use redpoll_commands::engine::{Batch, Exchanged, Host, Shutdown};
use redpoll_commands::error::{Error, MIGRATE_CONNECT, MIGRATE_READ, MIGRATE_WRITE, NOTHING_TO_END, SHUTDOWN_FAILED};
use redpoll_commands::info::human;

use crate::log::{LogSlot, StoreLog};

/// Called once a client asked for the end of the program.
pub(crate) struct OnShutdown(pub(crate) Box<dyn Fn() + Send + Sync>);

impl fmt::Debug for OnShutdown {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("OnShutdown")
    }
}

/// The process around a store.
pub(crate) struct StoreHost {
    pub(crate) log: Arc<LogSlot>,
    pub(crate) on_shutdown: Option<OnShutdown>,
}

impl Host for StoreHost {
    fn info(&self, section: &str) -> Vec<(String, String)> {
        match section {
            "server" => server(),
            "memory" => memory(),
            "cpu" => cpu(),
            "persistence" => self.log.log().map(|log| persistence(&log)).unwrap_or_default(),
            _ => Vec::new(),
        }
    }

    fn resident_bytes(&self) -> Option<u64> {
        kibibytes("/proc/self/status", "VmRSS:")
    }

    fn exchange(&self, address: (&str, &str), timeout: Duration, batches: &[Batch]) -> Exchanged {
        let mut exchanged = Exchanged::default();
        exchanged.failure = converse(address, timeout, batches, &mut exchanged.replies).err();
        exchanged
    }

    fn can_end(&self) -> bool {
        self.on_shutdown.is_some()
    }

    fn shut_down(&self, wanted: Shutdown) -> Result<(), Error> {
        let OnShutdown(end) = self.on_shutdown.as_ref().ok_or(NOTHING_TO_END)?;
        match self.log.log().map_or(Ok(()), |log| log.flush()) {
            Err(error) if !wanted.force => {
                tracing::error!(%error, "SHUTDOWN is refused: the log cannot be written");
                return Err(SHUTDOWN_FAILED);
            }
            Err(error) => tracing::error!(%error, "SHUTDOWN FORCE: the log cannot be written"),
            Ok(()) => {}
        }
        end();
        Ok(())
    }
}

/// The longest reply that is read of another server, bytes: a line that says what went wrong.
const REPLY_MAX: u64 = 64 * 1024;

/// Sends batches and reads one line for each of their commands, until one is refused.
fn converse(
    (host, port): (&str, &str),
    timeout: Duration,
    batches: &[Batch],
    replies: &mut Vec<Vec<u8>>,
) -> Result<(), Error> {
    let stream = connect(host, port, timeout).map_err(|error| match error.kind() {
        // redis-server finds out when it writes.
        io::ErrorKind::ConnectionRefused => MIGRATE_WRITE,
        _ => MIGRATE_CONNECT,
    })?;
    let mut reader = BufReader::new(&stream);
    for batch in batches {
        (&stream).write_all(&batch.bytes).map_err(|_| MIGRATE_WRITE)?;
        for _ in 0..batch.commands {
            let mut reply = Vec::new();
            reader.by_ref().take(REPLY_MAX).read_until(b'\n', &mut reply).map_err(|_| MIGRATE_READ)?;
            // A line cut off by its end or by the limit is no reply.
            let reply = reply.strip_suffix(b"\r\n").ok_or(MIGRATE_READ)?;
            replies.push(reply.to_vec());
        }
        if replies.iter().any(|reply| reply.starts_with(b"-")) {
            break;
        }
    }
    Ok(())
}

/// Connects to the first address of a name that can be reached in time.
fn connect(host: &str, port: &str, timeout: Duration) -> io::Result<TcpStream> {
    let port = port.parse::<u16>().map_err(io::Error::other)?;
    let mut last = Err(io::ErrorKind::NotFound.into());
    for address in (host, port).to_socket_addrs()? {
        last = TcpStream::connect_timeout(&address, timeout);
        if last.is_ok() {
            break;
        }
    }
    let stream = last?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(timeout))?;
    stream.set_write_timeout(Some(timeout))?;
    Ok(stream)
}

fn persistence(log: &StoreLog) -> Vec<(String, String)> {
    let (appended, synced) = log.log.offsets();
    vec![
        line("aof_current_size", log.len()),
        line("aof_base_size", log.base_len()),
        line("aof_pending_rewrite", 0),
        line("aof_buffer_length", appended.saturating_sub(synced)),
        line("aof_pending_bio_fsync", 0),
        line("aof_delayed_fsync", 0),
    ]
}

fn line(name: &str, value: impl fmt::Display) -> (String, String) {
    (name.to_owned(), value.to_string())
}

fn server() -> Vec<(String, String)> {
    let mut lines = vec![
        line("os", system()),
        line("multiplexing_api", if cfg!(target_os = "linux") { "epoll" } else { "kqueue" }),
        line("process_id", std::process::id()),
    ];
    lines.extend(std::env::current_exe().ok().map(|path| line("executable", path.display())));
    lines
}

/// Names the operating system as `uname -srm` does, as far as it tells.
fn system() -> String {
    let read = |name: &str| std::fs::read_to_string(format!("/proc/sys/kernel/{name}")).ok();
    match (read("ostype"), read("osrelease")) {
        (Some(name), Some(release)) => format!("{} {} {}", name.trim(), release.trim(), std::env::consts::ARCH),
        _ => format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
    }
}

fn memory() -> Vec<(String, String)> {
    let total = kibibytes("/proc/meminfo", "MemTotal:");
    let lines =
        total.map(|bytes| [line("total_system_memory", bytes), line("total_system_memory_human", human(bytes))]);
    lines.into_iter().flatten().collect()
}

/// Reads a field like `VmRSS:    1234 kB` of a file and returns it in bytes.
fn kibibytes(file: &str, field: &str) -> Option<u64> {
    find_kibibytes(&std::fs::read_to_string(file).ok()?, field)
}

fn find_kibibytes(text: &str, field: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(field))?;
    rest.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|count| count * 1024)
}

fn cpu() -> Vec<(String, String)> {
    let mut lines = Vec::new();
    for (who, suffix) in [(UsageWho::RUSAGE_SELF, ""), (UsageWho::RUSAGE_CHILDREN, "_children")] {
        let Ok(usage) = getrusage(who) else { continue };
        for (name, time) in [("sys", usage.system_time()), ("user", usage.user_time())] {
            lines.push(line(&format!("used_cpu_{name}{suffix}"), seconds(time)));
        }
    }
    lines
}

fn seconds(time: TimeVal) -> String {
    let micros = u64::try_from(time.tv_usec()).unwrap_or(0);
    let time = Duration::from_secs(u64::try_from(time.tv_sec()).unwrap_or(0)) + Duration::from_micros(micros);
    format!("{:.6}", time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_proc_are_read() {
        let text = "VmPeak:\t  2048 kB\nVmRSS:\t    1234 kB\nThreads:\t5\n";
        assert_eq!(find_kibibytes(text, "VmRSS:"), Some(1234 * 1024));
        assert_eq!(find_kibibytes(text, "Threads:"), None);
        assert_eq!(find_kibibytes(text, "VmSwap:"), None);
    }

    #[test]
    fn times_are_seconds_with_six_places() {
        assert_eq!(seconds(TimeVal::new(3, 45)), "3.000045");
    }
}
