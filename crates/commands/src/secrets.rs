//! Which arguments of a command are nobody's business: names and passwords of users, and settings that are passwords.
//!
//! MONITOR and the slow log show `(redacted)` in their place.

use smallvec::SmallVec;

use crate::args::Args;
use crate::migrate;
use crate::registry::Resolved;

/// What is shown instead.
pub(crate) const REDACTED: &[u8] = b"(redacted)";

/// Settings that are passwords, or names that go with them.
const SETTINGS: [&str; 5] =
    ["requirepass", "masterauth", "masteruser", "tls-key-file-pass", "tls-client-key-file-pass"];

/// Returns the numbers of the arguments that are secret.
pub(crate) fn of(resolved: &Resolved, args: Args<'_>) -> SmallVec<[usize; 4]> {
    let is_secret = |name: &[u8]| SETTINGS.iter().any(|setting| name.eq_ignore_ascii_case(setting.as_bytes()));
    match resolved.original_name.as_str() {
        "auth" => (1..args.len()).collect(),
        "acl|setuser" => (2..args.len()).collect(),
        "config|set" => (2..args.len()).step_by(2).filter(|at| is_secret(args.at(*at))).map(|at| at + 1).collect(),
        "hello" => match (2..args.len()).find(|at| args.is(*at, "AUTH")) {
            Some(at) => (at + 1..args.len().min(at + 3)).collect(),
            None => SmallVec::new(),
        },
        "migrate" => migrate::login(args).collect(),
        _ => SmallVec::new(),
    }
}
