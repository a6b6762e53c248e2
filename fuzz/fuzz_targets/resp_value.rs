//! Replies: whatever the bytes, decoding them at once, byte by byte and cut at one place gives the same value or the
//! same error; a value written and read back is itself; printing one does not panic.
//!
//! The first byte chooses the limits, the second the cut, the rest is the input.

#![no_main]

use libfuzzer_sys::fuzz_target;
use redpoll_resp::{DecodeLimits, Decoder, Protocol, ProtocolError, Value, Writer, decode};

fn decode_pieces(
    input: &[u8],
    cuts: impl Iterator<Item = usize>,
    limits: &DecodeLimits,
) -> Result<Option<(Value, usize)>, ProtocolError> {
    let mut decoder = Decoder::new();
    let mut start = 0;
    for end in cuts {
        // A copy of its own, so that reading past the end is seen by the address sanitizer.
        let progress = decoder.feed(&input[start..end].to_vec(), limits)?;
        start += progress.consumed;
        if let Some(value) = progress.value {
            assert!(decoder.is_idle());
            return Ok(Some((value, start)));
        }
    }
    Ok(None)
}

fn encode(value: &Value, protocol: Protocol) -> Vec<u8> {
    let mut writer = Writer::new(protocol);
    value.write_to(&mut writer);
    writer.take()
}

fn limits(choice: u8) -> DecodeLimits {
    DecodeLimits {
        max_depth: if choice & 1 == 0 { 128 } else { 3 },
        max_bulk_len: if choice & 2 == 0 { 512 << 20 } else { 20 },
        max_elements: if choice & 4 == 0 { i32::MAX as usize } else { 5 },
        max_line_len: if choice & 8 == 0 { 1 << 20 } else { 10 },
    }
}

fuzz_target!(|data: &[u8]| {
    let [choice, cut, input @ ..] = data else { return };
    let limits = limits(*choice);
    let whole = decode(input, &limits);
    // Debug text rather than equality: NaN is not equal to itself.
    let shown = format!("{whole:?}");
    assert_eq!(shown, format!("{:?}", decode_pieces(input, 1..=input.len(), &limits)), "byte by byte");
    let cut = usize::from(*cut) * input.len() / 255;
    let halves = decode_pieces(input, [cut, input.len()].into_iter(), &limits);
    assert_eq!(shown, format!("{halves:?}"), "cut at {cut}");

    let Ok(Some((value, len))) = whole else { return };
    assert!(len <= input.len());
    std::hint::black_box(value.to_string());
    for protocol in [Protocol::Resp2, Protocol::Resp3] {
        // One round may lose spelling (a bulk error becomes a line, a plus sign goes away), a second one nothing. A
        // lossy character grows, so the limits of the second round are the generous ones.
        let first = encode(&value, protocol);
        let (again, len) = decode(&first, &DecodeLimits::default()).expect("own output").expect("whole");
        assert_eq!(len, first.len());
        assert_eq!(encode(&again, protocol), first);
    }
});
