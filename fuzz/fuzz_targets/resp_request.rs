//! Requests: whatever the bytes, parsing them at once, byte by byte and cut at one place gives the same commands and
//! the same end; what was parsed, encoded again, parses to itself.
//!
//! The first byte chooses the limits, the second the cut, the rest is the input.

#![no_main]

use libfuzzer_sys::fuzz_target;
use redpoll_resp::{Access, Limits, Parse, ProtocolError, RequestParser, encode_command};

#[derive(Debug, Default, PartialEq)]
struct Outcome {
    requests: Vec<Vec<Vec<u8>>>,
    consumed: usize,
    error: Option<ProtocolError>,
}

fn parse(input: &[u8], cuts: impl Iterator<Item = usize>, limits: &Limits) -> Outcome {
    let mut parser = RequestParser::new();
    let mut outcome = Outcome::default();
    for end in cuts {
        loop {
            // A copy of its own, so that reading past the end is seen by the address sanitizer.
            let buf = input[outcome.consumed..end].to_vec();
            match parser.parse(&buf, limits) {
                Parse::Complete { consumed } => {
                    let args = parser.args(&buf);
                    assert!(!args.is_empty());
                    assert!(parser.is_idle());
                    outcome.requests.push(args.iter().map(|arg| arg.to_vec()).collect());
                    outcome.consumed += consumed;
                }
                Parse::Empty { consumed } => {
                    assert!(consumed > 0);
                    outcome.consumed += consumed;
                }
                Parse::Incomplete => break,
                Parse::Error(error) => {
                    outcome.error = Some(error);
                    return outcome;
                }
            }
        }
    }
    outcome
}

fn limits(choice: u8) -> Limits {
    Limits {
        max_bulk_len: if choice & 1 == 0 { 512 << 20 } else { 100 },
        max_args: if choice & 2 == 0 { i32::MAX as usize } else { 12 },
        max_inline_len: if choice & 4 == 0 { 64 << 10 } else { 40 },
        max_request_len: if choice & 8 == 0 { usize::MAX } else { 300 },
        access: if choice & 16 == 0 { Access::Authenticated } else { Access::Unauthenticated },
    }
}

fuzz_target!(|data: &[u8]| {
    let [choice, cut, input @ ..] = data else { return };
    let limits = limits(*choice);
    let whole = parse(input, std::iter::once(input.len()), &limits);
    assert_eq!(whole, parse(input, 1..=input.len(), &limits), "byte by byte");
    let cut = usize::from(*cut) * input.len() / 255;
    assert_eq!(whole, parse(input, [cut, input.len()].into_iter(), &limits), "cut at {cut}");

    let mut encoded = Vec::new();
    for request in &whole.requests {
        encode_command(request, &mut encoded);
    }
    let again = parse(&encoded, std::iter::once(encoded.len()), &Limits::default());
    assert_eq!(again, Outcome { consumed: encoded.len(), error: None, requests: whole.requests });
});
