//! Errors of snapshots and of the rewriting of the log.

use super::Error;

texts! {
    /// SAVE and BGSAVE while a snapshot is being taken.
    SAVE_IN_PROGRESS = "ERR Background save already in progress";
    /// BGSAVE while the log is being rewritten.
    REWRITE_IN_THE_WAY = "ERR Another child process is active (AOF?): can't BGSAVE right now. Use BGSAVE SCHEDULE in order to schedule a BGSAVE whenever possible.";
    /// BGREWRITEAOF while the log is being rewritten.
    REWRITE_IN_PROGRESS = "ERR Background append only file rewriting already in progress";
    /// SAVE that fails; the program's log says why.
    SAVE_FAILED = "ERR";
    /// BGREWRITEAOF that cannot begin.
    REWRITE_FAILED = "ERR Can't execute an AOF background rewriting. Please check the server logs for more information.";
    /// Snapshots of a store that lives in memory only.
    NO_DIRECTORY = "ERR there is no data directory: this store is in memory only";
    /// DEBUG RELOAD of a snapshot that cannot be loaded; the program's log says why.
    RELOAD_FAILED = "ERR Error trying to load the RDB dump, check server logs.";
    /// DEBUG LOADAOF without a log.
    NOTHING_TO_LOAD = "ERR there is nothing to load: the append-only log is off (appendonly)";
    /// DEBUG RELOAD and LOADAOF where what is to be logged is not complete.
    LOAD_NOT_HERE = "ERR data cannot be loaded inside a transaction or script";
    /// WAITAOF for another number of logs than there can be.
    NOT_ZERO_OR_ONE = "ERR value is out of range, must be between 0 and 1";
    /// WAITAOF for a log there is not.
    LOG_IS_OFF = "ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled.";
    /// Writes after a snapshot failed.
    SNAPSHOT_FAILING = "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk. Commands that may modify the data set are disabled, because this instance is configured to report errors during writes if RDB snapshotting fails (stop-writes-on-bgsave-error option). Please check the Redis logs for details about the RDB error.";
}
