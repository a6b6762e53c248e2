//! The trait by which a running script reaches the outside world.
//!
//! The owner of an engine implements [`Host`] for the duration of one run: it executes commands under whatever locks the run
//! holds, receives log lines, and decides when a script has run long enough. Nothing here depends on how commands are found or
//! executed; arguments go in as bytes and the reply comes back as RESP bytes.

/// The version of the serialization protocol a reply is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Protocol {
    /// RESP2: every connection starts here, and so does every script.
    #[default]
    Resp2,
    /// RESP3: after HELLO 3, and in scripts after `redis.setresp(3)`.
    Resp3,
}

/// The severity of a line written by `redis.log`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogLevel {
    /// `redis.LOG_DEBUG`
    Debug,
    /// `redis.LOG_VERBOSE`
    Verbose,
    /// `redis.LOG_NOTICE`
    Notice,
    /// `redis.LOG_WARNING`
    Warning,
}

/// Where the effects of the commands that follow go, as chosen by `redis.set_repl`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Replication {
    /// Effects are written to the append-only log.
    pub log: Propagation,
    /// Effects are sent to replicas.
    pub replicas: Propagation,
}

/// Whether effects travel along one of the two ways out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Propagation {
    /// They do; the state every script starts in.
    Send,
    /// They do not.
    Withhold,
}

/// The host's answer to the question whether a script may go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Interrupt {
    /// The script runs on.
    Continue,
    /// The script ends with this error, which it cannot catch. The text includes the error code
    /// (`ERR Script killed by user with SCRIPT KILL.`).
    Kill(Vec<u8>),
}

/// What a running script can reach.
pub trait Host {
    /// Runs one command and appends its reply, one complete RESP value in `protocol`, to `reply`.
    ///
    /// `args` is never empty; the first element is the command's name in the script's spelling. Refusals (unknown command,
    /// wrong number of arguments, writes in a read-only script) are error replies like any other.
    fn call(&mut self, args: &[&[u8]], protocol: Protocol, reply: &mut Vec<u8>);

    /// Receives a line written by `redis.log`; parts are already joined by spaces.
    fn log(&mut self, level: LogLevel, message: &[u8]);

    /// Receives the choice made by `redis.set_repl`. The default ignores it.
    fn set_replication(&mut self, replication: Replication) {
        let _ = replication;
    }

    /// Tells whether the current user may run the command, for `redis.acl_check_cmd`: `None` means the command does not
    /// exist. The default allows everything.
    fn permits(&mut self, args: &[&[u8]]) -> Option<bool> {
        let _ = args;
        Some(true)
    }

    /// Answers regularly, about every millisecond of a script that runs that long, whether it may go on.
    fn interrupt(&mut self) -> Interrupt;
}
