//! Random pipelines, random bytes, random cuts: what comes out is what went in, and never depends on the cuts.

use proptest::prelude::*;
use redpoll_resp::{Limits, Parse, RequestParser, encode_command};

type Request = Vec<Vec<u8>>;

/// Parses `input` cut at `cuts`, moving the unfinished request to a fresh buffer before every call.
fn parse(input: &[u8], cuts: &[usize]) -> (Vec<Request>, Option<Vec<u8>>) {
    let limits = Limits { max_inline_len: 64, ..Limits::default() };
    let mut parser = RequestParser::new();
    let mut requests = Vec::new();
    let mut start = 0;
    for end in cuts.iter().copied().chain([input.len()]) {
        loop {
            let buf = input[start..end].to_vec();
            match parser.parse(&buf, &limits) {
                Parse::Complete { consumed } => {
                    requests.push(parser.args(&buf).iter().map(|arg| arg.to_vec()).collect());
                    start += consumed;
                }
                Parse::Empty { consumed } => start += consumed,
                Parse::Incomplete => {
                    let missing = parser.needed();
                    assert!(missing == 0 || missing <= limits.max_bulk_len + 2);
                    break;
                }
                Parse::Error(error) => return (requests, Some(error.reply_line())),
            }
        }
    }
    (requests, None)
}

fn sorted_cuts(len: usize, cuts: &[prop::sample::Index]) -> Vec<usize> {
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(len + 1)).collect();
    cuts.sort_unstable();
    cuts
}

fn request() -> impl Strategy<Value = Request> {
    prop::collection::vec(prop::collection::vec(any::<u8>(), 0..150), 1..20)
}

/// Bytes that look enough like requests to get past the first header.
fn fragments() -> impl Strategy<Value = Vec<u8>> {
    let fragment = prop_oneof![
        Just(b"*".to_vec()),
        Just(b"*1\r\n".to_vec()),
        Just(b"*2\r\n".to_vec()),
        Just(b"$".to_vec()),
        Just(b"$4\r\n".to_vec()),
        Just(b"$10\r\n".to_vec()),
        Just(b"\r\n".to_vec()),
        Just(b"\r".to_vec()),
        Just(b"-1".to_vec()),
        Just(b"PING".to_vec()),
        Just(b"\"".to_vec()),
        Just(b"\\x4".to_vec()),
        Just(b"0123456789".to_vec()),
        Just(vec![b' '; 30]),
        prop::collection::vec(any::<u8>(), 0..4),
    ];
    prop::collection::vec(fragment, 0..30).prop_map(|fragments| fragments.concat())
}

proptest! {
    #[test]
    fn pipelines_come_out_as_they_went_in(
        requests in prop::collection::vec(request(), 1..6),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
    ) {
        let mut input = Vec::new();
        for request in &requests {
            encode_command(request, &mut input);
        }
        let (parsed, error) = parse(&input, &sorted_cuts(input.len(), &cuts));
        prop_assert_eq!(parsed, requests);
        prop_assert_eq!(error, None);
    }

    #[test]
    fn every_cut_gives_the_same_request(request in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20), 1..12)) {
        let mut input = Vec::new();
        encode_command(&request, &mut input);
        for cut in 0..=input.len() {
            prop_assert_eq!(&parse(&input, &[cut]), &(vec![request.clone()], None));
        }
    }

    #[test]
    fn cuts_never_matter(input in fragments(), cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8)) {
        let whole = parse(&input, &[]);
        let bytewise: Vec<usize> = (0..input.len()).collect();
        prop_assert_eq!(&parse(&input, &bytewise), &whole);
        prop_assert_eq!(&parse(&input, &sorted_cuts(input.len(), &cuts)), &whole);
    }

    #[test]
    fn quoted_arguments_come_out_unescaped(request in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..4), 1..3)) {
        let mut input = Vec::new();
        for arg in &request {
            input.push(b'"');
            input.extend(arg.iter().flat_map(|byte| format!("\\x{byte:02x}").into_bytes()));
            input.extend_from_slice(b"\" ");
        }
        input.extend_from_slice(b"\r\n");
        prop_assert_eq!(parse(&input, &[]), (vec![request], None));
    }
}
