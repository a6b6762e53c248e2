//! The transcript runner, held against redis-server and against mistakes that must not pass.

use redpoll_testkit::transcript::{Subject, Transcript};
use redpoll_testkit::{Protocol, RedisServer, Reply, Target};

/// Answers every command by the number of its arguments.
struct Counting;

impl Target for Counting {
    fn call(&mut self, args: &[Vec<u8>]) -> Reply {
        match args[0].as_slice() {
            b"FLUSHALL" => Reply::Simple(b"OK".to_vec()),
            _ => Reply::Integer(args.len() as i64),
        }
    }

    fn set_protocol(&mut self, _protocol: Protocol) {}
}

#[track_caller]
fn differences(text: &str, expect: &[&str]) {
    let report = Transcript::parse("file.txt", text).expect("a transcript").check(&mut Counting, Subject::Redpoll);
    assert_eq!(report.differences, expect);
    assert_eq!(report.passed(), expect.is_empty());
}

#[track_caller]
fn unreadable(text: &str, expect: &str) {
    let error = Transcript::parse("file.txt", text).expect_err("no transcript");
    assert_eq!(format!("{error:#}"), expect);
}

#[test]
fn a_difference_names_line_and_lines() {
    differences("## b\n> A b\n(integer) 2\n", &[]);
    differences("## b\n\n> A b\n(integer) 3\n", &["file.txt:3: differs\n    > A b\n  - (integer) 3\n  + (integer) 2"]);
    differences("## b\n> A\n(integer) 1\nmore\n", &["file.txt:2: differs\n    > A\n    (integer) 1\n  - more"]);
    differences("## b\n> A\n> A b\n(integer) 2\n", &["file.txt:2: no expectation\n  > A"]);
    differences("## b\n~ approx 1\n> A\n(integer) 2\n", &[]);
}

#[test]
fn what_cannot_fail_or_be_read_is_refused() {
    unreadable("", "file.txt: no commands, so it could not fail");
    unreadable("## block\n# only words\n", "file.txt: no commands, so it could not fail");
    unreadable("> PING\nPONG\n", "file.txt:1: a command before the first block (`## title`)");
    unreadable("## b\nPONG\n", "file.txt:2: a reply that follows no command: PONG");
    unreadable("## b\n~ unordered\n\n> PING\n", "file.txt:3: markers must stand right before their command");
    unreadable("## b\n@nothing\n", "file.txt:2: the directive `@nothing` is unknown");
    unreadable("## b\n@redpoll-only\n", "file.txt:2: @redpoll-only needs a reason");
    unreadable("## b\n>& PING\nPONG\n", "file.txt:3: `>&` waits for no reply; receive it by `<`");
}

#[test]
fn exempt_expectations_bind_us_only() {
    let text = "## b\n~ redpoll-only: ours\n> A\n(integer) 9\n@redpoll-only the rest too\n> B\n(integer) 9\n";
    let transcript = Transcript::parse("file.txt", text).unwrap();
    let redis = Subject::Redis { version: (7, 0) };
    let report = transcript.check(&mut Counting, redis);
    assert_eq!((report.compared, report.exempt, report.passed()), (0, 2, true));
    assert_eq!(transcript.check(&mut Counting, Subject::Redpoll).differences.len(), 2);
    assert_eq!(transcript.record(&mut Counting, redis).unwrap(), text);
}

#[test]
fn recording_fills_in_and_changes_nothing_else() {
    let text = "# top\n\n## b\n> A b\n> A\nwrong\n\n~ glob\n> A b c\n(integer) *\n";
    let transcript = Transcript::parse("file.txt", text).unwrap();
    let recorded = transcript.record(&mut Counting, Subject::Redpoll).unwrap();
    assert_eq!(recorded, "# top\n\n## b\n> A b\n(integer) 2\n> A\n(integer) 1\n\n~ glob\n> A b c\n(integer) *\n");
    let pattern = Transcript::parse("file.txt", "## b\n~ glob\n> A\nno*\n").unwrap();
    assert!(pattern.record(&mut Counting, Subject::Redpoll).is_err());
}

#[test]
fn redis_server_agrees_with_what_it_was_seen_to_answer() {
    let server = RedisServer::start().unwrap();
    let subject = Subject::Redis { version: server.version().unwrap() };
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tour.txt");
    let transcript = Transcript::load(path.as_ref()).unwrap();
    let report = transcript.check(&mut server.client().unwrap(), subject);
    assert!(report.passed(), "{report}");
    let recorded = transcript.record(&mut server.client().unwrap(), subject).unwrap();
    assert_eq!(recorded, std::fs::read_to_string(path).unwrap());
}
