//! What SCAN promises: a key that exists from the first call to the last is returned, whatever comes and goes meanwhile.

use std::collections::HashSet;

use crate::support::InProcess;
use redpoll_testkit::{Random, Target, command};

fn run(target: &mut InProcess, line: &str) -> redpoll_testkit::Reply {
    target.call(&command(line))
}

/// Goes once round with this COUNT, calling `between` after every step; returns how often each key came.
fn scan(target: &mut InProcess, options: &str, mut between: impl FnMut(&mut InProcess)) -> Vec<String> {
    /// More steps than any scan here can need: a cursor that never ends fails instead of hanging.
    const STEPS_MAX: usize = 100_000;
    let (mut cursor, mut found) = ("0".to_owned(), Vec::new());
    for _ in 0..STEPS_MAX {
        let reply = run(target, &format!("SCAN {cursor} {options}"));
        let [next, keys] = reply.as_slice().expect("an array") else { panic!("two elements") };
        let text = |reply: &redpoll_testkit::Reply| {
            String::from_utf8_lossy(reply.as_bytes().expect("a bulk string")).into_owned()
        };
        found.extend(keys.as_slice().expect("an array").iter().map(text));
        cursor = text(next);
        if cursor == "0" {
            return found;
        }
        between(target);
    }
    panic!("the scan did not end")
}

#[test]
fn a_quiet_database_is_returned_once() {
    for count in [1, 7, 10, 100, 5000] {
        let mut target = InProcess::new();
        for number in 0..3000 {
            run(&mut target, &format!("SET key:{number} x"));
        }
        let found = scan(&mut target, &format!("COUNT {count}"), |_| ());
        assert_eq!(found.len(), 3000, "COUNT {count}");
        assert_eq!(found.iter().collect::<HashSet<_>>().len(), 3000, "COUNT {count}");
    }
}

#[test]
fn what_stays_is_returned_whatever_comes_and_goes() {
    for seed in 0..10 {
        let mut random = Random::new(seed);
        let mut target = InProcess::new();
        // With one tag all keys share a shard and its table grows large, without tags a thousand tables stay small.
        let tag = if seed % 2 == 0 { "{tag}" } else { "" };
        let stable = 1 + random.below(2000);
        for number in 0..stable {
            run(&mut target, &format!("SET {tag}stable:{number} x"));
        }
        let count = 10 + random.below(200);
        let (mut made, mut gone) = (0_u64, 0_u64);
        let found = scan(&mut target, &format!("COUNT {count}"), |target| {
            // Phases of growth and of shrinking, so that tables are resized both ways while the cursor is out.
            let growing = random.below(3) > 0;
            for _ in 0..random.below(400) {
                if growing {
                    run(target, &format!("SET {tag}passing:{made} x"));
                    made += 1;
                } else if gone < made {
                    run(target, &format!("DEL {tag}passing:{gone}"));
                    gone += 1;
                }
            }
        });
        let found: HashSet<String> = found.into_iter().collect();
        for number in 0..stable {
            assert!(found.contains(&format!("{tag}stable:{number}")), "seed {seed}: stable:{number} was not returned");
        }
    }
}

#[test]
fn few_keys_are_one_call() {
    let mut target = InProcess::new();
    for number in 0..9 {
        run(&mut target, &format!("SET key:{number} x"));
        let reply = run(&mut target, "SCAN 0");
        let [next, keys] = reply.as_slice().expect("an array") else { panic!("two elements") };
        assert_eq!(next.as_bytes(), Some(b"0".as_slice()));
        assert_eq!(keys.as_slice().map(<[_]>::len), Some(number + 1));
    }
}

#[test]
fn cursors_nobody_gave_out_are_harmless() {
    let mut target = InProcess::new();
    for number in 0..100 {
        run(&mut target, &format!("SET key:{number} x"));
    }
    for cursor in ["1", "1023", "1024", "4294967295", "4294967296", "18446744073709551615", "-1"] {
        let reply = run(&mut target, &format!("SCAN {cursor} COUNT 1000000"));
        assert!(reply.as_slice().is_some_and(|parts| parts.len() == 2), "{cursor}: {}", reply.print());
    }
}

#[test]
fn randomkey_comes_to_every_key() {
    let mut target = InProcess::new();
    for number in 0..50 {
        run(&mut target, &format!("SET key:{number} x"));
    }
    let seen: HashSet<String> = (0..5000).map(|_| run(&mut target, "RANDOMKEY").print()).collect();
    assert_eq!(seen.len(), 50);
}
