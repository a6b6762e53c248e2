//! The look ahead at requests: whatever the bytes, it ends within them, and as far as the parser takes them for requests, it has seen their first arguments.

#![no_main]

use libfuzzer_sys::fuzz_target;
use redpoll_resp::{Limits, Parse, Preview, RequestParser};

fuzz_target!(|input: &[u8]| {
    let mut preview = Preview::new(input);
    let keys: Vec<&[u8]> = preview.by_ref().collect();
    let seen = preview.seen();
    assert!(seen <= input.len());

    let (mut parser, mut consumed, mut parsed) = (RequestParser::new(), 0, Vec::new());
    while consumed < seen {
        match parser.parse(&input[consumed..], &Limits::default()) {
            Parse::Complete { consumed: len } => {
                parsed.extend(parser.args(&input[consumed..]).get(1).map(|arg| arg.to_vec()));
                consumed += len;
            }
            Parse::Empty { consumed: len } => consumed += len,
            Parse::Incomplete | Parse::Error(_) => break,
        }
    }
    assert!(keys.len() >= parsed.len());
    assert!(parsed.iter().zip(&keys).all(|(parsed, key)| parsed == key));
});
