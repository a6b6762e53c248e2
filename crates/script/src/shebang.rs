//! The optional first line of a script: `#!lua flags=no-writes,allow-stale`.
//!
//! Its presence changes the defaults: a script without one runs in a compatibility mode in which, for instance, keys may be
//! reached that were not declared. The line is cut off before compiling, but its line break stays so that line numbers hold.

use crate::errors::ScriptError;

/// What a script declares about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ScriptFlags {
    /// The script begins with a shebang, so that flags it does not carry are known to be absent.
    pub declared: bool,
    /// `no-writes`: the script only reads.
    pub no_writes: bool,
    /// `allow-oom`: the script may run although memory is exhausted.
    pub allow_oom: bool,
    /// `allow-stale`: the script may run on a replica that lost its master.
    pub allow_stale: bool,
    /// `no-cluster`: the script refuses to run in cluster mode.
    pub no_cluster: bool,
    /// `allow-cross-slot-keys`: the script may reach keys of several hash slots.
    pub allow_cross_slot_keys: bool,
}

impl ScriptFlags {
    /// Parses one flag name; false if there is no such flag.
    fn set(&mut self, name: &str) -> bool {
        let flag = match name {
            "no-writes" => &mut self.no_writes,
            "allow-oom" => &mut self.allow_oom,
            "allow-stale" => &mut self.allow_stale,
            "no-cluster" => &mut self.no_cluster,
            "allow-cross-slot-keys" => &mut self.allow_cross_slot_keys,
            _ => return false,
        };
        *flag = true;
        true
    }
}

/// Splits a script into its flags and the text to compile.
pub(crate) fn parse(body: &[u8]) -> Result<(ScriptFlags, &[u8]), ScriptError> {
    if !body.starts_with(b"#!") {
        return Ok((ScriptFlags::default(), body));
    }
    let Some(end) = body.iter().position(|&byte| byte == b'\n') else {
        return Err(ScriptError::Shebang("Invalid script shebang".to_string()));
    };
    let line = String::from_utf8_lossy(&body[..end]);
    let mut words = line.split_ascii_whitespace();
    let engine = words.next().unwrap_or_default();
    if engine != "#!lua" {
        return Err(ScriptError::Shebang(format!("Unexpected engine in script shebang: {engine}")));
    }
    let mut flags = ScriptFlags { declared: true, ..ScriptFlags::default() };
    for option in words {
        let Some(names) = option.strip_prefix("flags=") else {
            return Err(ScriptError::Shebang(format!("Unknown lua shebang option: {option}")));
        };
        if names.is_empty() {
            continue;
        }
        if let Some(unknown) = names.split(',').find(|name| !flags.set(name)) {
            return Err(ScriptError::Shebang(format!("Unexpected flag in script shebang: {unknown}")));
        }
    }
    Ok((flags, &body[end..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(body: &str) -> String {
        parse(body.as_bytes()).expect_err("the shebang is malformed").to_string()
    }

    #[test]
    fn reads_flags_and_keeps_the_line_break() {
        let (flags, rest) = parse(b"#!lua flags=no-writes,allow-oom flags=no-cluster\nreturn 1").expect("well formed");
        assert!(flags.declared && flags.no_writes && flags.allow_oom && flags.no_cluster);
        assert!(!flags.allow_stale && !flags.allow_cross_slot_keys);
        assert_eq!(rest, b"\nreturn 1");
        assert_eq!(parse(b"return 1").expect("no shebang"), (ScriptFlags::default(), &b"return 1"[..]));
    }

    #[test]
    fn refuses_as_redis_does() {
        let cases = [
            ("#!lua", "ERR Invalid script shebang"),
            ("#!python\nreturn 1", "ERR Unexpected engine in script shebang: #!python"),
            ("#!\nreturn 1", "ERR Unexpected engine in script shebang: #!"),
            ("#!lua foo=x\nreturn 1", "ERR Unknown lua shebang option: foo=x"),
            ("#!lua name=x\nreturn 1", "ERR Unknown lua shebang option: name=x"),
            ("#!lua flags=bad\nreturn 1", "ERR Unexpected flag in script shebang: bad"),
            ("#!lua flags=,\nreturn 1", "ERR Unexpected flag in script shebang: "),
        ];
        for (body, expected) in cases {
            assert_eq!(message(body), expected, "{body:?}");
        }
    }
}
