//! Every reply in both protocol versions; the bytes are those redis-server 7.0.15 sends for `DEBUG PROTOCOL <type>`.

use redpoll_resp::{Protocol, Writer};

#[track_caller]
fn check(write: impl Fn(&mut Writer), resp2: &[u8], resp3: &[u8]) {
    for (protocol, expect) in [(Protocol::Resp2, resp2), (Protocol::Resp3, resp3)] {
        let mut writer = Writer::new(protocol);
        write(&mut writer);
        let (written, expect) = (writer.as_slice().escape_ascii(), expect.escape_ascii());
        assert_eq!(written.to_string(), expect.to_string(), "{protocol:?}");
        assert_eq!(writer.len(), writer.as_slice().len());
    }
}

#[track_caller]
fn check_same(write: impl Fn(&mut Writer), expect: &[u8]) {
    check(write, expect, expect);
}

#[test]
fn same_in_both_versions() {
    check_same(Writer::ok, b"+OK\r\n");
    check_same(|w| w.simple("QUEUED"), b"+QUEUED\r\n");
    check_same(|w| w.error("ERR no such key"), b"-ERR no such key\r\n");
    check_same(|w| w.bulk(b"Hello World"), b"$11\r\nHello World\r\n");
    check_same(|w| w.bulk(b""), b"$0\r\n\r\n");
    check_same(|w| w.bulk(b"\r\n\0\xff"), b"$4\r\n\r\n\0\xff\r\n");
    check_same(|w| w.bulk_int(-12), b"$3\r\n-12\r\n");
    check_same(|w| w.array(3), b"*3\r\n");
    check_same(|w| w.raw(b":1\r\n"), b":1\r\n");
    let long = [b'x'; 1234];
    check_same(|w| w.bulk(&long), &[b"$1234\r\n".as_slice(), &long, b"\r\n"].concat());
}

#[test]
fn integers_of_every_length() {
    for value in [0, 1, 9, 10, 11, 99, 100, 12345, -1, -10, i64::MAX, i64::MIN] {
        check_same(|w| w.int(value), format!(":{value}\r\n").as_bytes());
        let text = value.to_string();
        check_same(|w| w.bulk_int(value), format!("${}\r\n{text}\r\n", text.len()).as_bytes());
    }
    for len in [0, 5, 10, 99, 100, 1_000_000] {
        check_same(|w| w.array(len), format!("*{len}\r\n").as_bytes());
    }
}

#[test]
fn spelled_by_version() {
    check(Writer::null, b"$-1\r\n", b"_\r\n");
    check(Writer::null_array, b"*-1\r\n", b"_\r\n");
    check(|w| w.map(3), b"*6\r\n", b"%3\r\n");
    check(|w| w.set(3), b"*3\r\n", b"~3\r\n");
    check(|w| w.push(2), b"*2\r\n", b">2\r\n");
    check(|w| w.double_text(b"3.141"), b"$5\r\n3.141\r\n", b",3.141\r\n");
    check(|w| w.double(-1.5), b"$4\r\n-1.5\r\n", b",-1.5\r\n");
    check(|w| w.double(f64::INFINITY), b"$3\r\ninf\r\n", b",inf\r\n");
    check(|w| w.double_text(b"0.10000000000000001"), b"$19\r\n0.10000000000000001\r\n", b",0.10000000000000001\r\n");
    check(|w| w.bool(true), b":1\r\n", b"#t\r\n");
    check(|w| w.bool(false), b":0\r\n", b"#f\r\n");
    let digits = "1234567999999999999999999999999999999";
    check(|w| w.big_number(digits), format!("$37\r\n{digits}\r\n").as_bytes(), format!("({digits}\r\n").as_bytes());
    let text = b"This is a verbatim\nstring";
    check(
        |w| w.verbatim("txt", text),
        b"$25\r\nThis is a verbatim\nstring\r\n",
        b"=29\r\ntxt:This is a verbatim\nstring\r\n",
    );
    check(
        |w| {
            if w.attribute(1) {
                w.bulk(b"key-popularity");
                w.int(90);
            }
            w.bulk(b"x");
        },
        b"$1\r\nx\r\n",
        b"|1\r\n$14\r\nkey-popularity\r\n:90\r\n$1\r\nx\r\n",
    );
}

#[test]
fn line_ends_cannot_break_the_framing() {
    check_same(|w| w.error("ERR a\r\nb\nc\r"), b"-ERR a  b c \r\n");
    check_same(|w| w.error(b"ERR \xff"), b"-ERR \xff\r\n");
    check_same(|w| w.simple("a\r\n+OK"), b"+a  +OK\r\n");
    check(|w| w.big_number("1\r\n2"), b"$4\r\n1\r\n2\r\n", b"(1  2\r\n");
}

#[test]
fn deferred_headers() {
    for len in [0, 1, 9, 10, 11, 99, 100, 54321] {
        check(
            |w| {
                w.ok();
                let mark = w.begin_array();
                (0..len).for_each(|_| w.int(1));
                w.end_array(mark, len);
                w.ok();
            },
            format!("+OK\r\n*{len}\r\n{}+OK\r\n", ":1\r\n".repeat(len)).as_bytes(),
            format!("+OK\r\n*{len}\r\n{}+OK\r\n", ":1\r\n".repeat(len)).as_bytes(),
        );
    }
}

#[test]
fn deferred_headers_nest_and_follow_the_version() {
    let write = |w: &mut Writer| {
        let outer = w.begin_map();
        w.bulk(b"k");
        let inner = w.begin_set();
        (0..12).for_each(|_| w.bool(true));
        w.end_set(inner, 12);
        w.end_map(outer, 6);
    };
    check(
        write,
        format!("*12\r\n$1\r\nk\r\n*12\r\n{}", ":1\r\n".repeat(12)).as_bytes(),
        format!("%6\r\n$1\r\nk\r\n~12\r\n{}", "#t\r\n".repeat(12)).as_bytes(),
    );
}

#[test]
fn taking_back_and_starting_over() {
    let mut writer = Writer::with_buffer(b"+A\r\n".to_vec(), Protocol::Resp2);
    let before = writer.len();
    writer.array(2);
    writer.truncate(before);
    writer.set_protocol(Protocol::Resp3);
    assert_eq!(writer.protocol(), Protocol::Resp3);
    writer.null();
    assert_eq!(writer.take(), b"+A\r\n_\r\n");
    assert!(writer.is_empty());
    writer.ok();
    writer.clear();
    assert_eq!(writer.as_slice(), b"");
}
