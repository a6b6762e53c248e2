//! Requests, friendly and hostile: what each byte sequence means, however it is cut into reads.
//!
//! The outcomes of the table are what redis-server 7.0.15 answered to the same bytes. Where Redis would wait for ever
//! (a header with a NUL byte in it) the row says so.

use redpoll_resp::request::{MAX_REQUEST_LEN, UNAUTHENTICATED_MAX_BULK_LEN};
use redpoll_resp::{Access, Limits, Parse, ProtocolError, RequestParser, Writer};

/// What a whole input comes to: the requests in it, then how it ends.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Outcome {
    requests: Vec<Vec<Vec<u8>>>,
    end: End,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum End {
    Drained,
    Waiting,
    Failed(ProtocolError),
}

/// Parses `input` as if it arrived in the pieces that `cuts` ends.
fn parse_pieces(input: &[u8], cuts: impl IntoIterator<Item = usize>, limits: &Limits) -> Outcome {
    let mut parser = RequestParser::new();
    let mut requests = Vec::new();
    let mut start = 0;
    for end in cuts {
        loop {
            match parser.parse(&input[start..end], limits) {
                Parse::Complete { consumed } => {
                    let args = parser.args(&input[start..end]);
                    assert_eq!(args.len(), parser.arg_count());
                    requests.push(args.iter().map(|arg| arg.to_vec()).collect());
                    assert_eq!(parser.arg(&input[start..end], 0), args[0]);
                    drop(args);
                    assert!(parser.is_idle());
                    start += consumed;
                }
                Parse::Empty { consumed } => start += consumed,
                Parse::Incomplete => break,
                Parse::Error(error) => {
                    assert!(parser.is_idle());
                    return Outcome { requests, end: End::Failed(error) };
                }
            }
        }
    }
    let end = if start == input.len() { End::Drained } else { End::Waiting };
    Outcome { requests, end }
}

/// Parses at once, byte by byte, and cut in two at every place (large inputs: at some).
fn parse(input: &[u8], limits: &Limits) -> Outcome {
    let whole = parse_pieces(input, [input.len()], limits);
    let bytewise = parse_pieces(input, 1..=input.len(), limits);
    assert_eq!(whole, bytewise, "byte by byte: {}", input[..input.len().min(200)].escape_ascii());
    let step = input.len() / 500 + 1;
    for cut in (1..input.len()).step_by(step) {
        assert_eq!(whole, parse_pieces(input, [cut, input.len()], limits), "cut at {cut}");
    }
    whole
}

#[track_caller]
fn check(input: &[u8], expect: &[&[&[u8]]], end: End) {
    let requests = expect.iter().map(|args| args.iter().map(|arg| arg.to_vec()).collect()).collect();
    let outcome = parse(input, &Limits::default());
    assert_eq!(outcome, Outcome { requests, end }, "{}", input[..input.len().min(200)].escape_ascii());
}

#[track_caller]
fn check_error(input: &[u8], line: &str) {
    check_error_under(input, &Limits::default(), line);
}

#[track_caller]
fn check_error_under(input: &[u8], limits: &Limits, line: &str) {
    let shown = input[..input.len().min(200)].escape_ascii();
    let End::Failed(error) = parse(input, limits).end else { panic!("no error from {shown}") };
    let mut writer = Writer::default();
    writer.error(error.reply_line());
    assert_eq!(writer.as_slice().escape_ascii().to_string(), format!("-{line}\\r\\n"), "{shown}");
}

const PING: &[&[u8]] = &[b"PING"];

#[test]
fn arrays() {
    check(b"*1\r\n$4\r\nPING\r\n", &[PING], End::Drained);
    check(b"*2\r\n$4\r\nECHO\r\n$0\r\n\r\n", &[&[b"ECHO", b""]], End::Drained);
    check(b"*1\r\n$0\r\n\r\n", &[&[b""]], End::Drained);
    check(b"*3\r\n$3\r\nSET\r\n$2\r\n\r\n\r\n$3\r\n\0\xff*\r\n", &[&[b"SET", b"\r\n", b"\0\xff*"]], End::Drained);
    check(b"*1\r\n$4\r\nPING\r\n*1\r\n$4\r\nPING\r\nPING\r\n", &[PING, PING, PING], End::Drained);
    check(b"*1\r\n$4\r\nPING\r\n*1\r\n$4", &[PING], End::Waiting);
    let long = [b'v'; 12345];
    let input = [b"*2\r\n$4\r\nECHO\r\n$12345\r\n".as_slice(), &long, b"\r\n"].concat();
    check(&input, &[&[b"ECHO", &long]], End::Drained);
}

#[test]
fn more_arguments_than_fit_inline() {
    let args: Vec<Vec<u8>> = (0..3000_u32).map(|index| index.to_string().into_bytes()).collect();
    let mut input = Vec::new();
    redpoll_resp::encode_command(&args, &mut input);
    input.extend_from_slice(b"*1\r\n$4\r\nPING\r\n");
    let expect = Outcome { requests: vec![args, vec![b"PING".to_vec()]], end: End::Drained };
    assert_eq!(parse(&input, &Limits::default()), expect);
}

#[test]
fn requests_without_arguments_are_skipped() {
    for empty in
        ["*0\r\n", "*-1\r\n", "*-10\r\n", "*-9223372036854775808\r\n", "\r\n", "\n", "   \r\n", "\r\r\n", "\t\x0b\n"]
    {
        check(&[empty.as_bytes(), b"PING\r\n"].concat(), &[PING], End::Drained);
    }
}

#[test]
fn what_redis_does_not_look_at() {
    check(b"*1\r\n$4\r\nPINGxxPING\r\n", &[PING, PING], End::Drained);
    check(b"*1\rx$4\rxPINGxxPING\r\n", &[PING, PING], End::Drained);
}

#[test]
fn waiting_for_more() {
    for input in [
        "*",
        "*1",
        "*1\r",
        "*1\r\n",
        "*1\n$4\nPING\n",
        "*1\r\nX",
        "*1\r\nX4\n",
        "*1\r\n$",
        "*1\r\n$4\r",
        "*1\r\n$4\r\nPING",
        "*1\r\n$4\r\nPING\r",
        "*2147483647\r\n",
        "*1048577\r\n",
        "*1\r\n$536870912\r\n",
        "PING",
        "PING\r",
        "ECHO \"a\\",
    ] {
        check(input.as_bytes(), &[], End::Waiting);
    }
    // A line with a NUL byte never ends.
    check(b"ECHO a\0b\r\n", &[], End::Waiting);
    check(b"\0PING\r\nPING\r\n", &[], End::Waiting);
}

#[test]
fn argument_counts() {
    for header in [
        "*abc",
        "*",
        "* 1",
        "*1 ",
        "*+1",
        "*01",
        "*00",
        "*-0",
        "*-",
        "*1x",
        "*2147483648",
        "*4294967297",
        "*99999999999999999999",
        "*-9223372036854775809",
        "*1\0",
    ] {
        check_error(&[header.as_bytes(), b"\r\n"].concat(), "ERR Protocol error: invalid multibulk length");
    }
    let few = Limits { max_args: 2, ..Limits::default() };
    assert_eq!(parse(b"*2\r\n", &few).end, End::Waiting);
    check_error_under(b"*3\r\n", &few, "ERR Protocol error: invalid multibulk length");
}

#[test]
fn argument_lengths() {
    for header in [
        "$-1",
        "$abc",
        "$",
        "$536870913",
        "$04",
        "$+4",
        "$-0",
        "$ 4",
        "$4 ",
        "$9223372036854775807",
        "$9223372036854775808",
        "$-9223372036854775808",
        "$99999999999999999999999",
        "$1e3",
        "$4\0",
    ] {
        let input = [b"*1\r\n", header.as_bytes(), b"\r\nPING\r\n"].concat();
        check_error(&input, "ERR Protocol error: invalid bulk length");
    }
    let short = Limits { max_bulk_len: 3, ..Limits::default() };
    check_error_under(b"*1\r\n$4\r\nPING\r\n", &short, "ERR Protocol error: invalid bulk length");
    assert_eq!(parse(b"*1\r\n$3\r\nGET\r\n", &short).requests.len(), 1);
}

#[test]
fn arguments_start_with_a_dollar() {
    let cases: &[(&[u8], &str)] = &[
        (b"*1\r\n+PING\r\n", "+"),
        (b"*1\r\n\r\n", " "),
        (b"*1\r\n\xff4\r\n", "\\xff"),
        (b"*1\r\n'4\r\n", "\\'"),
        (b"*1\r\n\\4\r\n", "\\\\"),
        (b"*1\r\n*1\r\n$4\r\nPING\r\n", "*"),
        (b"*3\r\n$3\r\nSET\r\n*3\r\n", "*"),
        (b"*1\r\n4\r\n", "4"),
    ];
    for (input, got) in cases {
        check_error(input, &format!("ERR Protocol error: expected \\'$\\', got \\'{got}\\'"));
    }
}

#[test]
fn lines_that_do_not_end() {
    let filler = vec![b'1'; 70_000];
    let limit = 64 * 1024;
    let with = |start: &[u8], len: usize| [start, &filler[..len]].concat();
    check_error(&with(b"*", limit), "ERR Protocol error: too big mbulk count string");
    check_error(&with(b"*", 70_000), "ERR Protocol error: too big mbulk count string");
    check(&with(b"*", limit - 1), &[], End::Waiting);
    check_error(&with(b"*1\r\n$", limit), "ERR Protocol error: too big bulk count string");
    check_error(&with(b"*1\r\n", 70_000), "ERR Protocol error: too big bulk count string");
    check(&with(b"*1\r\n$", limit - 1), &[], End::Waiting);
    check_error(&with(b"x", limit), "ERR Protocol error: too big inline request");
    check_error(&with(b"\0", limit), "ERR Protocol error: too big inline request");
    check(&with(b"x", limit - 1), &[], End::Waiting);
    let longest = [&filler[..limit], b"\n"].concat();
    check(&longest, &[&[&filler[..limit]]], End::Drained);
    let too_long = [&filler[..limit + 1], b"\n"].concat();
    check_error(&too_long, "ERR Protocol error: too big inline request");
}

#[test]
fn garbage_before_a_stream_of_lines_is_refused() {
    let lines = [vec![b'A'; 1024], b"\n".to_vec()].concat().repeat(70);
    for start in ["\0", "*\0", "$\0"] {
        let input = [start.as_bytes(), &lines].concat();
        assert!(matches!(parse(&input, &Limits::default()).end, End::Failed(_)), "{start:?}");
    }
}

#[test]
fn before_authentication() {
    let limits = Limits { access: Access::Unauthenticated, ..Limits::default() };
    assert_eq!(parse(b"*10\r\n", &limits).end, End::Waiting);
    check_error_under(b"*11\r\n", &limits, "ERR Protocol error: unauthenticated multibulk length");
    check_error_under(b"*2147483648\r\n", &limits, "ERR Protocol error: invalid multibulk length");
    assert_eq!(parse(b"*1\r\n$16384\r\n", &limits).end, End::Waiting);
    check_error_under(b"*1\r\n$16385\r\n", &limits, "ERR Protocol error: unauthenticated bulk length");
    check_error_under(b"*1\r\n$536870913\r\n", &limits, "ERR Protocol error: invalid bulk length");
    check_error_under(b"*1\r\n$-1\r\n", &limits, "ERR Protocol error: invalid bulk length");
    let input = [b"*1\r\n$16384\r\n".as_slice(), &[b'p'; UNAUTHENTICATED_MAX_BULK_LEN], b"\r\n"].concat();
    assert_eq!(parse(&input, &limits).requests.len(), 1);
    assert_eq!(parse(b"a b c d e f g h i j k l\r\n", &limits).requests[0].len(), 12);
}

#[test]
fn whole_requests_have_a_limit() {
    let limits = Limits { max_request_len: 30, ..Limits::default() };
    assert_eq!(
        parse(b"*2\r\n$4\r\nECHO\r\n$10\r\n0123456789\r\n", &limits).end,
        End::Failed(ProtocolError::TooBigRequest)
    );
    assert_eq!(parse(b"*2\r\n$4\r\nECHO\r\n$9\r\n012345678\r\n", &limits).requests.len(), 1);
    // Positions are 32 bits wide: the setting cannot allow more.
    let limits = Limits { max_request_len: usize::MAX, max_bulk_len: usize::MAX, ..Limits::default() };
    let input = format!("*1\r\n${MAX_REQUEST_LEN}\r\n");
    assert_eq!(parse(input.as_bytes(), &limits).end, End::Failed(ProtocolError::TooBigRequest));
    assert_eq!(parse(b"*1\r\n$9223372036854775807\r\n", &limits).end, End::Failed(ProtocolError::TooBigRequest));
}

#[test]
fn inline_commands() {
    let cases: &[(&[u8], &[&[u8]])] = &[
        (b"PING\n", &[b"PING"]),
        (b"PING\r\n", &[b"PING"]),
        (b" PING \t\r\n", &[b"PING"]),
        (b"PING\rX\n", &[b"PING", b"X"]),
        (b"\x0bPING\r\n", &[b"PING"]),
        (b"PING\x0b\r\n", &[b"PING\x0b"]),
        (b"ECHO a\x0bb\x0cc\r\n", &[b"ECHO", b"a\x0bb\x0cc"]),
        (b"ECHO a\x01\xffb\r\n", &[b"ECHO", b"a\x01\xffb"]),
        (b"ECHO a\rb\r\n", &[b"ECHO", b"a", b"b"]),
        (b"ECHO \"a\rb\"\r\n", &[b"ECHO", b"a\rb"]),
        (b"ECHO \"a\\x41\\n\\r\\t\\b\\a\\q\\\"\\\\\"\r\n", &[b"ECHO", b"aA\n\r\t\x08\x07q\"\\"]),
        (b"ECHO \"\\xZZ\\x4\"\r\n", &[b"ECHO", b"xZZx4"]),
        (b"ECHO \"\\xfF\\x00\"\r\n", &[b"ECHO", b"\xff\0"]),
        (b"ECHO 'a\\'b\\n\"'\r\n", &[b"ECHO", b"a'b\\n\""]),
        (b"ECHO a\"b c\"\r\n", &[b"ECHO", b"ab c"]),
        (b"ECHO \\n\r\n", &[b"ECHO", b"\\n"]),
        (b"ECHO \"\" ''\r\n", &[b"ECHO", b"", b""]),
        (b"\"\"\r\n", &[b""]),
        (b"$1\r\n", &[b"$1"]),
        (b"a b c d e f g h i j\r\n", &[b"a", b"b", b"c", b"d", b"e", b"f", b"g", b"h", b"i", b"j"]),
    ];
    for (input, args) in cases {
        check(input, &[args], End::Drained);
    }
}

#[test]
fn unbalanced_quotes() {
    for line in [
        "ECHO \"abc",
        "ECHO \"abc\"d",
        "ECHO 'abc",
        "ECHO 'abc'd",
        "ECHO a\"b\"c",
        "ECHO a'b'\"c\"",
        "ECHO \"a\\",
        "\"",
        "'",
        "ECHO \"\\x4",
        "ECHO 'a\\'",
    ] {
        let input = [line.as_bytes(), b"\r\nPING\r\n"].concat();
        check_error(&input, "ERR Protocol error: unbalanced quotes in request");
    }
}

#[test]
fn needed_sizes_the_next_read() {
    let limits = Limits::default();
    let mut parser = RequestParser::new();
    let mut buf = b"*2\r\n$4\r\nECHO\r\n$100000".to_vec();
    assert_eq!(parser.parse(&buf, &limits), Parse::Incomplete);
    assert_eq!(parser.needed(), 0);
    assert!(!parser.is_idle());
    buf.extend_from_slice(b"\r\nabc");
    assert_eq!(parser.parse(&buf, &limits), Parse::Incomplete);
    assert_eq!(parser.needed(), 100_000 - 3 + 2);
    buf.resize(buf.len() + parser.needed(), b'x');
    assert_eq!(parser.parse(&buf, &limits), Parse::Complete { consumed: buf.len() });
    assert_eq!(parser.needed(), 0);
    assert_eq!(parser.arg(&buf, 1).len(), 100_000);
}

#[test]
fn reset_forgets_a_half_received_request() {
    let limits = Limits::default();
    for half in ["*3\r\n$3\r\nSET\r\n$5\r\nab", "*3\r\n$3", "*", "PIN"] {
        let mut parser = RequestParser::new();
        assert_eq!(parser.parse(half.as_bytes(), &limits), Parse::Incomplete);
        assert!(!parser.is_idle());
        parser.reset();
        assert!(parser.is_idle());
        assert_eq!(parser.parse(b"*1\r\n$4\r\nPING\r\n", &limits), Parse::Complete { consumed: 14 });
        assert_eq!(parser.args(b"*1\r\n$4\r\nPING\r\n").as_slice(), PING);
    }
}

#[test]
fn a_parser_given_less_than_before_waits() {
    let limits = Limits::default();
    for half in ["*3\r\n$3\r\nSET\r\n$5\r\nab", "*3\r\n$3\r\nSET\r\n$123", "*1234", "PING PING"] {
        let mut parser = RequestParser::new();
        assert_eq!(parser.parse(half.as_bytes(), &limits), Parse::Incomplete);
        assert_eq!(parser.parse(&half.as_bytes()[..1], &limits), Parse::Incomplete);
        assert_eq!(parser.parse(b"", &limits), Parse::Incomplete);
    }
}
