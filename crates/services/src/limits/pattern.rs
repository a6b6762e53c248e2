//! Which endpoints a row of a policy is about.
//!
//! `POST /api/v1/agents/*`: a method, or none for all, and a path whose segments are literal, `*` or `{name}` for any
//! one, and at the end `**` for any number of them, none included. Text is compared as it is; a slash at the end and what
//! follows a `?` do not count.

use crate::error::{Error, Result};

/// Longest pattern, in bytes.
const MAX_BYTES: usize = 1024;

/// A pattern, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pattern {
    method: Option<String>,
    segments: Vec<Segment>,
    open: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Segment {
    Literal(String),
    Any,
}

impl Pattern {
    /// Reads a pattern.
    pub(super) fn new(text: &str) -> Result<Self> {
        let wrong = |reason: &str| Error::invalid("pattern", format_args!("{text:?}: {reason}"));
        if text.len() > MAX_BYTES {
            return Err(wrong("longer than 1024 bytes"));
        }
        let (method, path) = split(text);
        if method.is_some_and(|method| method.is_empty() || !method.chars().all(|char| char.is_ascii_uppercase())) {
            return Err(wrong("a method is written in capitals"));
        }
        if path == "**" {
            return Ok(Self { method: method.map(str::to_owned), segments: Vec::new(), open: true });
        }
        if !path.starts_with('/') {
            return Err(wrong("a path begins with /, or is **"));
        }
        let mut segments = Vec::new();
        let mut open = false;
        for part in parts(path) {
            if open {
                return Err(wrong("** stands at the end only"));
            }
            match part {
                "**" => open = true,
                "*" => segments.push(Segment::Any),
                part if part.starts_with('{') && part.ends_with('}') => segments.push(Segment::Any),
                part if part.contains(['*', '{', '}']) => {
                    return Err(wrong("a segment is literal, *, {name} or **"));
                }
                part => segments.push(Segment::Literal(part.to_owned())),
            }
        }
        Ok(Self { method: method.map(str::to_owned), segments, open })
    }

    /// Tells whether every endpoint fits.
    pub(super) fn fits_all(&self) -> bool {
        self.method.is_none() && self.segments.is_empty() && self.open
    }

    /// Tells whether an endpoint, `POST /path` or a path alone, fits.
    pub(super) fn fits(&self, endpoint: &str) -> bool {
        let (method, path) = split(endpoint);
        if self.method.is_some() && self.method.as_deref() != method {
            return false;
        }
        let mut parts = parts(path.split('?').next().unwrap_or_default());
        for segment in &self.segments {
            match (segment, parts.next()) {
                (_, None) => return false,
                (Segment::Any, Some(_)) => {}
                (Segment::Literal(text), Some(part)) if text == part => {}
                (Segment::Literal(_), Some(_)) => return false,
            }
        }
        self.open || parts.next().is_none()
    }
}

fn split(text: &str) -> (Option<&str>, &str) {
    match text.split_once(' ') {
        Some((method, path)) => (Some(method), path),
        None => (None, text),
    }
}

fn parts(path: &str) -> impl Iterator<Item = &str> {
    let path = path.strip_prefix('/').unwrap_or(path);
    let path = path.strip_suffix('/').unwrap_or(path);
    path.split('/').filter(move |_| !path.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fitting() {
        let check = |pattern: &str, endpoint: &str, expect: bool| {
            assert_eq!(Pattern::new(pattern).unwrap().fits(endpoint), expect, "{pattern} {endpoint}");
        };
        check("/a/b", "GET /a/b", true);
        check("/a/b", "/a/b/?x=1", true);
        check("/a/b", "GET /a", false);
        check("/a/b", "GET /a/b/c", false);
        check("POST /a/*", "POST /a/x", true);
        check("POST /a/*", "GET /a/x", false);
        check("POST /a/*", "/a/x", false);
        check("/a/{id}/c", "GET /a/7/c", true);
        check("/a/**", "GET /a", true);
        check("/a/**", "GET /a/b/c", true);
        check("/a/**", "GET /ab", false);
        check("**", "GET /", true);
        check("**", "anything", true);
        check("/", "GET /", true);
        check("/", "GET /a", false);
    }

    #[test]
    fn wrong_patterns() {
        for text in ["", "a", "get /a", " /a", "/a/**/b", "/a*b", "/{a", "GET /a*"] {
            assert!(Pattern::new(text).is_err(), "{text}");
        }
        assert!(Pattern::new("**").unwrap().fits_all());
        assert!(!Pattern::new("GET **").unwrap().fits_all());
    }
}
