//! The first line of a script, which it can do without, `#!lua flags=no-writes,allow-stale`, and of a library, which it cannot:
//! `#!lua name=library`.
//!
//! The presence of a script's line changes the defaults: a script without one runs in a compatibility mode in which, for instance, keys may be
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
    /// Names of the flags, each with the bit that prelude.lua knows it by, in the order FUNCTION LIST shows them.
    const NAMES: &[(u32, &'static str)] =
        &[(1, "no-writes"), (2, "allow-oom"), (4, "allow-stale"), (8, "no-cluster"), (16, "allow-cross-slot-keys")];

    /// Makes the flags of a function from the bits of prelude.lua.
    pub(crate) fn from_bits(bits: u32) -> ScriptFlags {
        let mut flags = ScriptFlags { declared: true, ..ScriptFlags::default() };
        for (_, name) in Self::NAMES.iter().filter(|(bit, _)| bits & bit != 0) {
            flags.set(name);
        }
        flags
    }

    /// Returns the names of the flags that are set.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        let set = [self.no_writes, self.allow_oom, self.allow_stale, self.no_cluster, self.allow_cross_slot_keys];
        Self::NAMES.iter().zip(set).filter(|(_, set)| *set).map(|((_, name), _)| *name)
    }

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

/// Reads what a script declares about itself; `None` if it is malformed.
pub(crate) fn declared_flags(body: &[u8]) -> Option<ScriptFlags> {
    parse(body).ok().map(|(flags, _)| flags)
}

/// What the first line of a library says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LibraryHead<'a> {
    pub(crate) name: Vec<u8>,
    /// The text to compile, from the line break on.
    pub(crate) text: &'a [u8],
}

/// Reads the first line of a library.
pub(crate) fn library(code: &[u8]) -> Result<LibraryHead<'_>, ScriptError> {
    let refuse = |parts: &[&[u8]]| Err(ScriptError::Library([b"ERR ", parts.concat().as_slice()].concat()));
    let Some(head) = code.strip_prefix(b"#!") else { return refuse(&[b"Missing library metadata"]) };
    let Some(end) = head.iter().position(|&byte| byte == b'\n') else { return refuse(&[b"Invalid library metadata"]) };
    // With its marker, so that an engine is not told from an option by a blank.
    let Ok(words) = redpoll_resp::split_args(&code[..end + 2]) else { return refuse(&[b"Invalid library metadata"]) };
    let engine = words.first().map_or(&b""[..], |word| word.strip_prefix(b"#!").unwrap_or(word));
    let mut name = None;
    for word in words.iter().skip(1) {
        let value = word.get(..5).filter(|start| start.eq_ignore_ascii_case(b"name=")).map(|_| &word[5..]);
        match value {
            None => return refuse(&[b"Invalid metadata value given: ", word]),
            Some(_) if name.is_some() => {
                return refuse(&[b"Invalid metadata value, name argument was given multiple times"]);
            }
            Some(value) => name = Some(value.to_vec()),
        }
    }
    let Some(name) = name else { return refuse(&[b"Library name was not given"]) };
    if name.is_empty() || !name.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_') {
        return refuse(&[
            b"Library names can only contain letters, numbers, or underscores(_) and must be at least one character long",
        ]);
    }
    if !engine.eq_ignore_ascii_case(b"lua") {
        return refuse(&[b"Engine '", engine, b"' not found"]);
    }
    Ok(LibraryHead { name, text: &head[end..] })
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
