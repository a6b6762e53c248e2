//! Replies read back: every type, hostile ones, however they are cut, and how they print.

use redpoll_resp::{DecodeLimits, Decoder, ProtocolError, Value, decode};

/// Decodes at once and byte by byte, dropping what the decoder has taken; both must agree.
fn decode_both(input: &[u8], limits: &DecodeLimits) -> Result<Option<(Value, usize)>, ProtocolError> {
    let whole = decode(input, limits);
    let bytewise = decode_bytewise(input, limits);
    // Debug text rather than equality: NaN is not equal to itself.
    assert_eq!(format!("{whole:?}"), format!("{bytewise:?}"), "{}", input[..input.len().min(200)].escape_ascii());
    whole
}

fn decode_bytewise(input: &[u8], limits: &DecodeLimits) -> Result<Option<(Value, usize)>, ProtocolError> {
    let mut decoder = Decoder::new();
    let mut start = 0;
    for end in 1..=input.len() {
        let progress = decoder.feed(&input[start..end], limits)?;
        start += progress.consumed;
        if let Some(value) = progress.value {
            assert!(decoder.is_idle());
            return Ok(Some((value, start)));
        }
    }
    Ok(None)
}

#[track_caller]
fn check(input: &[u8], expect: Value) {
    let limits = DecodeLimits::default();
    assert_eq!(decode_both(input, &limits), Ok(Some((expect.clone(), input.len()))));
    let more = [input, b"+NEXT\r\n"].concat();
    assert_eq!(decode_both(&more, &limits), Ok(Some((expect, input.len()))));
    for cut in 0..input.len() {
        assert_eq!(decode(&input[..cut], &limits), Ok(None), "cut at {cut}");
    }
}

#[track_caller]
fn check_error(input: &[u8], expect: ProtocolError) {
    assert_eq!(decode_both(input, &DecodeLimits::default()), Err(expect), "{}", input.escape_ascii());
}

fn bulk(text: &str) -> Value {
    Value::from(text)
}

#[test]
fn scalars() {
    check(b"+OK\r\n", Value::Simple("OK".into()));
    check(b"+\r\n", Value::Simple(String::new()));
    check(b"-ERR no\r\n", Value::Error("ERR no".into()));
    check(b"!6\r\nERR\r\nx\r\n", Value::Error("ERR\r\nx".into()));
    check(b":0\r\n", Value::Int(0));
    check(b":+7\r\n", Value::Int(7));
    check(b":-9223372036854775808\r\n", Value::Int(i64::MIN));
    check(b"$3\r\n\r\n\0\r\n", Value::Bulk(b"\r\n\0".to_vec()));
    check(b"$0\r\n\r\n", bulk(""));
    check(b"$-1\r\n", Value::Nil);
    check(b"*-1\r\n", Value::Nil);
    check(b"_\r\n", Value::Nil);
    check(b",3.25\r\n", Value::Double(3.25));
    check(b",-inf\r\n", Value::Double(f64::NEG_INFINITY));
    check(b",1e-07\r\n", Value::Double(1e-7));
    check(b"#t\r\n", Value::Bool(true));
    check(b"#f\r\n", Value::Bool(false));
    check(b"(-123456789012345678901234567890\r\n", Value::BigNumber("-123456789012345678901234567890".into()));
    check(b"=8\r\ntxt:a\r\nb\r\n", Value::Verbatim { format: *b"txt", text: b"a\r\nb".to_vec() });
    check(b"=4\r\nmkd:\r\n", Value::Verbatim { format: *b"mkd", text: Vec::new() });
    assert!(
        matches!(decode(b",nan\r\n", &DecodeLimits::default()), Ok(Some((Value::Double(value), 6))) if value.is_nan())
    );
}

#[test]
fn aggregates() {
    check(b"*0\r\n", Value::Array(vec![]));
    check(b"%0\r\n", Value::Map(vec![]));
    check(b"~0\r\n", Value::Set(vec![]));
    check(b"*2\r\n*1\r\n:1\r\n$1\r\na\r\n", Value::Array(vec![Value::Array(vec![Value::Int(1)]), bulk("a")]));
    check(
        b"%2\r\n+a\r\n*0\r\n%1\r\n:1\r\n:2\r\n_\r\n",
        Value::Map(vec![
            (Value::Simple("a".into()), Value::Array(vec![])),
            (Value::Map(vec![(Value::Int(1), Value::Int(2))]), Value::Nil),
        ]),
    );
    check(b"~2\r\n:1\r\n#t\r\n", Value::Set(vec![Value::Int(1), Value::Bool(true)]));
    check(b">2\r\n+message\r\n$1\r\nx\r\n", Value::Push(vec![Value::Simple("message".into()), bulk("x")]));
    let attributed = |attributes, value| Value::Attribute { attributes, value: Box::new(value) };
    check(
        b"|1\r\n+ttl\r\n:90\r\n$1\r\nx\r\n",
        attributed(vec![(Value::Simple("ttl".into()), Value::Int(90))], bulk("x")),
    );
    check(b"|0\r\n*1\r\n:1\r\n", attributed(vec![], Value::Array(vec![Value::Int(1)])));
    check(
        b"*2\r\n|1\r\n+a\r\n:1\r\n|0\r\n:2\r\n:3\r\n",
        Value::Array(vec![
            attributed(vec![(Value::Simple("a".into()), Value::Int(1))], attributed(vec![], Value::Int(2))),
            Value::Int(3),
        ]),
    );
}

#[test]
fn hostile_replies() {
    use ProtocolError::{
        InvalidReplyContent, InvalidReplyLength, InvalidReplyTerminator, TooDeepReply, UnknownReplyType,
    };
    check_error(b"?\r\n", UnknownReplyType(b'?'));
    check_error(b"\0", UnknownReplyType(0));
    check_error(b"*1\r\nPING\r\n", UnknownReplyType(b'P'));
    for length in ["-2", "-9223372036854775808", "x", "", "01", "1 ", "536870913", "99999999999999999999"] {
        check_error(format!("${length}\r\n").as_bytes(), InvalidReplyLength);
        check_error(format!("!{length}\r\n").as_bytes(), InvalidReplyLength);
        check_error(format!("={length}\r\n").as_bytes(), InvalidReplyLength);
    }
    for length in ["-2", "x", "", "+1", "2147483648", "9223372036854775807"] {
        for tag in "*%~>|".chars() {
            check_error(format!("{tag}{length}\r\n").as_bytes(), InvalidReplyLength);
        }
    }
    for input in ["%-1\r\n", "~-1\r\n", ">-1\r\n", "|-1\r\n", "!-1\r\n", "=-1\r\n", "%1073741824\r\n"] {
        check_error(input.as_bytes(), InvalidReplyLength);
    }
    for input in [
        ":\r\n",
        ":x\r\n",
        ":9223372036854775808\r\n",
        ":01\r\n",
        ",\r\n",
        ",x\r\n",
        ",1e999\r\n",
        "_x\r\n",
        "#\r\n",
        "#T\r\n",
    ] {
        check_error(input.as_bytes(), InvalidReplyContent);
    }
    for input in ["(\r\n", "(-\r\n", "(1x\r\n", "(+-1\r\n", "=3\r\ntxt\r\n", "=4\r\ntxt;\r\n", "=0\r\n\r\n"] {
        check_error(input.as_bytes(), InvalidReplyContent);
    }
    for input in ["+a\rb", "+\r\r", "$1\r\nab", "$0\r\nx", "$1\r\na\rx", "*1\rx"] {
        check_error(input.as_bytes(), InvalidReplyTerminator);
    }
    check_error("*1\r\n".repeat(200).as_bytes(), TooDeepReply);
    check_error("|1\r\n:1\r\n".repeat(200).as_bytes(), TooDeepReply);
}

#[test]
fn depth_is_limited_to_the_element() {
    let nested = |depth: usize| format!("{}:1\r\n", "*1\r\n".repeat(depth));
    let limits = DecodeLimits { max_depth: 3, ..DecodeLimits::default() };
    assert!(matches!(decode_both(nested(3).as_bytes(), &limits), Ok(Some(_))));
    assert_eq!(decode_both(nested(4).as_bytes(), &limits), Err(ProtocolError::TooDeepReply));
    assert!(matches!(decode_both(nested(128).as_bytes(), &DecodeLimits::default()), Ok(Some(_))));
    assert_eq!(decode_both(nested(129).as_bytes(), &DecodeLimits::default()), Err(ProtocolError::TooDeepReply));
}

#[test]
fn lines_and_lengths_are_limited() {
    let limits = DecodeLimits { max_line_len: 5, max_bulk_len: 6, max_elements: 2, ..DecodeLimits::default() };
    assert!(matches!(decode_both(b"+12345\r\n", &limits), Ok(Some(_))));
    assert_eq!(decode_both(b"+123456\r\n", &limits), Err(ProtocolError::TooBigReplyLine));
    assert_eq!(decode_both(b"+123456", &limits), Err(ProtocolError::TooBigReplyLine));
    assert!(matches!(decode_both(b"$6\r\n123456\r\n", &limits), Ok(Some(_))));
    assert_eq!(decode_both(b"$7\r\n", &limits), Err(ProtocolError::InvalidReplyLength));
    assert_eq!(decode_both(b"*2\r\n", &limits), Ok(None));
    assert_eq!(decode_both(b"*3\r\n", &limits), Err(ProtocolError::InvalidReplyLength));
    assert_eq!(decode_both(b"%2\r\n", &limits), Err(ProtocolError::InvalidReplyLength));
}

#[test]
fn announcing_much_allocates_little() {
    // A header alone must not make room for what it announces; this would exhaust memory if it did.
    let input = "*2147483647\r\n".repeat(128);
    assert_eq!(decode(input.as_bytes(), &DecodeLimits::default()), Ok(None));
}

#[test]
fn a_decoder_reads_one_reply_after_the_other() {
    let limits = DecodeLimits::default();
    let mut decoder = Decoder::new();
    let input = b"*2\r\n:1\r\n:2\r\n+OK\r\n$1\r\n";
    let first = decoder.feed(input, &limits).expect("valid");
    assert_eq!(first.value, Some(Value::Array(vec![Value::Int(1), Value::Int(2)])));
    let second = decoder.feed(&input[first.consumed..], &limits).expect("valid");
    assert_eq!(second.value, Some(Value::Simple("OK".into())));
    let rest = &input[first.consumed + second.consumed..];
    assert_eq!(decoder.feed(rest, &limits).expect("valid").value, None);
    assert!(!decoder.is_idle());
    assert!(decoder.feed(b"$1\r\nxyz", &limits).is_err());
    assert!(decoder.is_idle());
}

#[test]
fn conversions_bridge_the_versions() {
    assert_eq!(Value::Int(5).as_i64(), Some(5));
    assert_eq!(bulk("5").as_i64(), Some(5));
    assert_eq!(bulk("5x").as_i64(), None);
    assert_eq!(Value::Bool(true).as_i64(), Some(1));
    assert_eq!(Value::Nil.as_i64(), None);
    assert_eq!(bulk("1.5").as_f64(), Some(1.5));
    assert_eq!(Value::Double(1.5).as_f64(), Some(1.5));
    assert_eq!(Value::Int(2).as_f64(), Some(2.0));
    assert_eq!(Value::Simple("OK".into()).as_bytes(), Some(b"OK".as_slice()));
    assert_eq!(Value::Bulk(vec![0xff]).as_str(), None);
    assert_eq!(Value::Error("ERR x".into()).as_error(), Some("ERR x"));
    assert_eq!(Value::Error("ERR x".into()).as_bytes(), None);
    assert_eq!(Value::Error("ERR x".into()).into_result(), Err("ERR x".to_string()));
    assert_eq!(Value::Nil.into_result(), Ok(Value::Nil));
    let flat = vec![bulk("a"), Value::Int(1)];
    let map = Value::Map(vec![(bulk("a"), Value::Int(1))]);
    assert_eq!(map.clone().into_array(), Ok(flat.clone()));
    assert_eq!(Value::Array(flat.clone()).into_map(), Ok(vec![(bulk("a"), Value::Int(1))]));
    assert_eq!(Value::Set(flat.clone()).as_array(), Some(flat.as_slice()));
    assert_eq!(Value::Array(vec![Value::Nil]).into_map(), Err(Value::Array(vec![Value::Nil])));
    assert_eq!(Value::Int(1).into_array(), Err(Value::Int(1)));
    assert_eq!(bulk("x").into_bytes(), Ok(b"x".to_vec()));
    assert_eq!(Value::Nil.into_bytes(), Err(Value::Nil));
    let attributed = Value::Attribute { attributes: vec![], value: Box::new(Value::Int(3)) };
    assert_eq!(attributed.as_i64(), Some(3));
    assert!(Value::Attribute { attributes: vec![], value: Box::new(Value::Nil) }.is_nil());
}

/// The texts are what redis-cli 7.0 prints on a terminal.
#[test]
fn printed_like_redis_cli() {
    let cases: &[(&[u8], &str)] = &[
        (b"_\r\n", "(nil)"),
        (b"+FINE\r\n", "FINE"),
        (b"-ERR x\r\n", "(error) ERR x"),
        (b":12345\r\n", "(integer) 12345"),
        (b",1.5\r\n", "(double) 1.5"),
        (b",inf\r\n", "(double) inf"),
        (b"#t\r\n", "(true)"),
        (b"*0\r\n", "(empty array)"),
        (b"%0\r\n", "(empty hash)"),
        (b"~0\r\n", "(empty set)"),
        (b"$8\r\nx\x01\xc8\n\x07\"\\\x08\r\n", r#""x\x01\xc8\n\a\"\\\b""#),
        (b"=29\r\ntxt:This is a verbatim\nstring\r\n", "This is a verbatim\nstring"),
        (b"~2\r\n:0\r\n:1\r\n", "1~ (integer) 0\n2~ (integer) 1"),
        (b"%2\r\n:0\r\n#f\r\n:1\r\n#t\r\n", "1# (integer) 0 => (false)\n2# (integer) 1 => (true)"),
        (b"*2\r\n:1\r\n*2\r\n:2\r\n*0\r\n", "1) (integer) 1\n2) 1) (integer) 2\n   2) (empty array)"),
        (b"%1\r\n$1\r\na\r\n*1\r\n:1\r\n", "1# \"a\" => 1) (integer) 1"),
    ];
    for (input, expect) in cases {
        let (value, _) = decode(input, &DecodeLimits::default()).expect("valid").expect("whole");
        assert_eq!(value.to_string(), *expect);
    }
    let letters: Vec<Value> = "abcdefghij".chars().map(|letter| bulk(&letter.to_string())).collect();
    let nested = Value::Array(vec![Value::Nil, Value::Array(letters)]).to_string();
    assert!(nested.starts_with("1) (nil)\n2)  1) \"a\"\n    2) \"b\"\n"), "{nested}");
    assert!(nested.ends_with("\n    9) \"i\"\n   10) \"j\""), "{nested}");
}

#[test]
fn nested_maps_print_like_redis_cli() {
    let numbers = |a, b| Value::Array(vec![Value::Int(a), Value::Int(b)]);
    let inner = Value::Map(vec![(bulk("c"), Value::Int(1)), (bulk("d"), numbers(5, 6))]);
    let first = Value::Array(vec![Value::Int(1), Value::Int(2), numbers(3, 4)]);
    let value = Value::Array(vec![Value::Int(1), Value::Map(vec![(bulk("a"), first), (bulk("b"), inner)])]);
    let expect = [
        "1) (integer) 1",
        "2) 1# \"a\" => ",
        "      1) (integer) 1",
        "      2) (integer) 2",
        "      3) 1) (integer) 3",
        "         2) (integer) 4",
        "   2# \"b\" => ",
        "      1# \"c\" => (integer) 1",
        "      2# \"d\" => ",
        "         1) (integer) 5",
        "         2) (integer) 6",
    ];
    assert_eq!(value.to_string(), expect.join("\n"));
}
