//! Random values written and read back, and random bytes read: no cut matters, nothing is lost.

use proptest::prelude::*;
use redpoll_resp::{DecodeLimits, Decoder, Protocol, ProtocolError, Value, Writer, decode, split_args};

/// Any value that one line can carry where its type is a line.
fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Nil),
        "[ -~é]{0,12}".prop_map(Value::Simple),
        "[A-Z]{3} [ -~]{0,12}".prop_map(Value::Error),
        any::<i64>().prop_map(Value::Int),
        prop::collection::vec(any::<u8>(), 0..40).prop_map(Value::Bulk),
        any::<f64>().prop_filter("NaN is not equal to itself", |value| !value.is_nan()).prop_map(Value::Double),
        any::<bool>().prop_map(Value::Bool),
        "[+-]?[0-9]{1,40}".prop_map(Value::BigNumber),
        ("[a-z]{3}", prop::collection::vec(any::<u8>(), 0..20)).prop_map(|(format, text)| Value::Verbatim {
            format: format.as_bytes().try_into().expect("three letters"),
            text
        }),
    ];
    leaf.prop_recursive(4, 48, 6, |inner| {
        let pairs = prop::collection::vec((inner.clone(), inner.clone()), 0..4);
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::Array),
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::Set),
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::Push),
            pairs.clone().prop_map(Value::Map),
            (pairs, inner).prop_map(|(attributes, value)| Value::Attribute { attributes, value: Box::new(value) }),
        ]
    })
}

fn encode(value: &Value, protocol: Protocol) -> Vec<u8> {
    let mut writer = Writer::new(protocol);
    value.write_to(&mut writer);
    writer.take()
}

/// Reads one reply from `input` as it arrives in pieces of `step` bytes.
fn decode_stepwise(input: &[u8], step: usize) -> Result<Option<(Value, usize)>, ProtocolError> {
    let mut decoder = Decoder::new();
    let mut start = 0;
    for end in (0..input.len()).step_by(step).chain([input.len()]) {
        let progress = decoder.feed(&input[start..end.max(start)], &DecodeLimits::default())?;
        start += progress.consumed;
        if let Some(value) = progress.value {
            return Ok(Some((value, start)));
        }
    }
    Ok(None)
}

proptest! {
    #[test]
    fn resp3_keeps_everything(value in value(), step in 1_usize..40) {
        let bytes = encode(&value, Protocol::Resp3);
        let expect = Ok(Some((value, bytes.len())));
        prop_assert_eq!(&decode(&bytes, &DecodeLimits::default()), &expect);
        prop_assert_eq!(&decode_stepwise(&bytes, step), &expect);
    }

    #[test]
    fn every_cut_of_a_reply_waits(value in value()) {
        let bytes = encode(&value, Protocol::Resp3);
        for cut in 0..bytes.len() {
            prop_assert_eq!(decode(&bytes[..cut], &DecodeLimits::default()), Ok(None));
        }
    }

    #[test]
    fn resp2_is_a_fixed_point_after_one_round(value in value()) {
        let bytes = encode(&value, Protocol::Resp2);
        let (once, len) = decode(&bytes, &DecodeLimits::default()).expect("own output").expect("whole");
        prop_assert_eq!(len, bytes.len());
        prop_assert_eq!(encode(&once, Protocol::Resp2), bytes);
    }

    #[test]
    fn printed_strings_read_back(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
        let printed = Value::Bulk(bytes.clone()).to_string();
        prop_assert_eq!(split_args(printed.as_bytes()), Ok(vec![bytes]));
    }

    #[test]
    fn damaged_replies_read_the_same_however_cut(
        value in value(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        step in 1_usize..8,
    ) {
        let mut bytes = encode(&value, Protocol::Resp3);
        for (place, byte) in damage {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        let whole = decode(&bytes, &DecodeLimits::default());
        prop_assert_eq!(format!("{whole:?}"), format!("{:?}", decode_stepwise(&bytes, step)));
    }
}
