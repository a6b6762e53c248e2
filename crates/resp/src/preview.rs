//! A quick look at requests that have been received but not yet parsed: what is probably the key of each.
//!
//! The keys of the next commands of a pipeline are worth knowing early, so that memory can be asked for. This reads whole requests in the usual
//! form and takes the first argument after the name, which nearly always is the key. It judges nothing: at anything unusual, or incomplete,
//! it ends, and the [parser](crate::request) will say what is to be said.

use crate::request::quick_length;

/// What comes after a request's content: CR LF.
const TERMINATOR_LEN: usize = 2;

/// The probable keys of the requests at the start of a buffer. Requests without arguments have none and are passed over.
#[derive(Clone, Debug)]
pub struct Preview<'a> {
    buf: &'a [u8],
    seen: usize,
}

impl<'a> Preview<'a> {
    /// Looks at a buffer that begins with a request.
    pub fn new(buf: &'a [u8]) -> Preview<'a> {
        Preview { buf, seen: 0 }
    }

    /// Returns how many bytes the requests took that have been looked at.
    pub fn seen(&self) -> usize {
        self.seen
    }

    /// Passes over one request; `None` if it is not all there or not in the usual form.
    #[inline]
    fn request(&mut self) -> Option<Option<&'a [u8]>> {
        let mut at = self.seen;
        if *self.buf.get(at)? != b'*' {
            return None;
        }
        let (count, next) = quick_length(self.buf, at + 1)?;
        at = next;
        let mut key = None;
        for index in 0..count {
            if *self.buf.get(at)? != b'$' {
                return None;
            }
            let (len, start) = quick_length(self.buf, at + 1)?;
            let content = self.buf.get(start..start + len)?;
            if index == 1 {
                key = Some(content);
            }
            at = start + len + TERMINATOR_LEN;
        }
        self.seen = at.min(self.buf.len());
        Some(key)
    }
}

impl<'a> Iterator for Preview<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        loop {
            if let Some(key) = self.request()? {
                return Some(key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(buf: &[u8]) -> (Vec<&[u8]>, usize) {
        let mut preview = Preview::new(buf);
        (preview.by_ref().collect(), preview.seen())
    }

    #[test]
    fn whole_requests_are_passed_over_and_their_first_arguments_seen() {
        let requests =
            b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n*1\r\n$4\r\nPING\r\n*3\r\n$3\r\nSET\r\n$2\r\nbc\r\n$12\r\n0123456789ab\r\n";
        assert_eq!(keys(requests), (vec![b"a".as_slice(), b"bc"], requests.len()));
        // Cut anywhere it sees the whole ones before.
        for cut in 0..requests.len() {
            let (seen, bytes) = keys(&requests[..cut]);
            assert!(bytes <= cut && seen.len() <= 2, "{cut}");
        }
    }

    #[test]
    fn anything_unusual_ends_it() {
        let get = b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n";
        for odd in [
            "PING\r\n",
            "*-1\r\n",
            "*2\r\n:1\r\n",
            "*2\r\n$-5\r\n",
            "*1\r\n$99999999999999999999\r\n",
            "*02\r\n",
            "\0",
            "*",
        ] {
            let buf = [get.as_slice(), odd.as_bytes(), get].concat();
            assert_eq!(keys(&buf), (vec![b"a".as_slice()], get.len()), "{odd:?}");
        }
        assert_eq!(keys(b"*0\r\n*0\r\n"), (Vec::new(), 8));
    }
}
