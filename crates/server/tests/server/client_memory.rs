//! `maxmemory-clients` and what is known of what clients take, with clients of all kinds: the largest go, the others are served, and nothing is left of
//! who has gone.

use std::io::Write;
use std::sync::atomic::Ordering;

use crate::support::{Raw, Running, eventually};
use redpoll_store::commands::client::Transport;

const MB: usize = 1 << 20;

/// A command that differs each time.
type Repeated = fn(usize) -> String;

/// Returns what a client's line of CLIENT LIST says of a field.
fn field(operator: &mut Raw, name: &str, field: &str) -> Option<usize> {
    operator.send("CLIENT LIST\r\n");
    let len = operator.line().trim_start_matches('$').parse::<usize>().expect("a length");
    let mut text = vec![0; len + 2];
    std::io::Read::read_exact(&mut operator.0, &mut text).expect("the list comes");
    let text = String::from_utf8(text).expect("it is text");
    let line = text.lines().find(|line| line.split(' ').any(|word| word == format!("name={name}")))?;
    let value = line.split(' ').find_map(|word| word.strip_prefix(field)?.strip_prefix('='));
    Some(value.expect("the field is there").parse().expect("it is a number"))
}

fn named(running: &Running, name: &str) -> Raw {
    let mut client = running.connect();
    client.call(&format!("CLIENT SETNAME {name}"), "+OK");
    client
}

/// Sends the beginning of a command whose last argument is so long and comes but for its end.
fn begin(client: &mut Raw, bytes: usize) {
    // The server may close before it has taken everything.
    let sent = client.0.write_all(format!("*1\r\n${bytes}\r\n").as_bytes());
    sent.and_then(|()| client.0.write_all(&vec![b'x'; bytes])).ok();
}

fn evicted(running: &Running) -> u64 {
    running.store.engine().stats.totals.evicted_clients.load(Ordering::Relaxed)
}

#[test]
fn an_argument_still_coming_counts_and_its_client_goes() {
    let running = Running::start(&[("maxmemory-clients", "3mb")]);
    let (mut operator, mut modest, mut greedy) =
        (running.connect(), named(&running, "modest"), named(&running, "greedy"));
    begin(&mut modest, MB);
    eventually("it has come", || field(&mut operator, "modest", "qbuf") == Some(MB));
    let held = field(&mut operator, "modest", "tot-mem").unwrap();
    assert!((MB..MB + 64 * 1024).contains(&held), "{held} bytes for an argument of {MB}");
    // Without the housekeeper: who has gone makes room for nobody to take more.
    running.store.engine().debug.background_paused.store(true, Ordering::Relaxed);
    for gone in 1..=5 {
        begin(&mut greedy, 8 * MB);
        assert_eq!(greedy.until_closed(), b"");
        assert_eq!((field(&mut operator, "greedy", "qbuf"), evicted(&running)), (None, gone));
        greedy = named(&running, "greedy");
    }
    drop(greedy);
    // The others go on: what was begun is ended.
    modest.send("\r\n");
    assert!(modest.line().starts_with("-ERR unknown command"));
    modest.call("PING", "+PONG");
    eventually("nothing is held for it", || field(&mut operator, "modest", "qbuf-free") == Some(0));
}

#[test]
fn who_is_not_to_go_is_spared_and_counts_for_nobody() {
    let running = Running::start(&[]);
    let (mut operator, mut spared, mut other) =
        (running.connect(), named(&running, "spared"), named(&running, "other"));
    spared.call("CLIENT NO-EVICT ON", "+OK");
    operator.call("CONFIG SET maxmemory 100mb", "+OK");
    operator.call("CONFIG SET maxmemory-clients 3%", "+OK");
    operator.call("CONFIG GET maxmemory-clients", "*2\r\n$17\r\nmaxmemory-clients\r\n$2\r\n3%");
    begin(&mut spared, 8 * MB);
    eventually("it has come", || field(&mut operator, "spared", "qbuf") == Some(8 * MB));
    for _ in 0..100 {
        other.call("PING", "+PONG");
    }
    begin(&mut other, 2 * MB);
    eventually("there is room for it", || field(&mut operator, "other", "qbuf") == Some(2 * MB));
    assert_eq!(evicted(&running), 0);
    // Less is allowed from now on, and holds at once.
    operator.call("CONFIG SET maxmemory-clients 1mb", "+OK");
    assert_eq!(field(&mut operator, "other", "qbuf"), None);
    assert_eq!(other.until_closed(), b"");
    spared.send("\r\n");
    assert!(spared.line().starts_with("-ERR unknown command"));
    spared.call("CLIENT NO-EVICT OFF", "+OK");
    spared.call("PING", "+PONG");
    assert_eq!(evicted(&running), 1);
}

#[test]
fn state_of_every_kind_counts() {
    let running = Running::start(&[("maxmemory-clients", "200kb")]);
    let kinds: [(&str, Repeated); 6] = [
        ("", |at| format!("WATCH key:{at}\r\n")),
        ("", |at| format!("SUBSCRIBE channel:{at}\r\n")),
        ("", |at| format!("PSUBSCRIBE pattern:{at}:*\r\n")),
        ("", |at| format!("SSUBSCRIBE shard:{at}\r\n")),
        ("HELLO 3\r\n", |at| format!("CLIENT TRACKING ON BCAST PREFIX prefix:{at:06}:\r\n")),
        ("MULTI\r\n", |at| format!("SET key {at}\r\n")),
    ];
    let mut operator = running.connect();
    for (gone, (first, command)) in kinds.into_iter().enumerate() {
        let mut client = running.connect();
        client.send(first);
        let all: String = (0..4000).map(command).collect();
        client.0.write_all(all.as_bytes()).ok();
        client.until_closed();
        assert_eq!(evicted(&running), gone as u64 + 1, "{}", command(0));
        operator.call("PING", "+PONG");
    }
}

#[test]
fn a_thousand_clients_each_far_below_the_limit_are_kept_within_it() {
    const CLIENTS: usize = 1_000;
    const LIMIT: usize = 8 * MB;
    let running = Running::start(&[("maxmemory-clients", &LIMIT.to_string())]);
    let clients: Vec<Raw> = std::thread::scope(|scope| {
        let running = &running;
        let bring = move || {
            let mut clients: Vec<Raw> = (0..CLIENTS / 4).map(|_| running.connect()).collect();
            clients.iter_mut().for_each(|client| begin(client, 16 * 1024));
            clients
        };
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(bring)).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("a client is connected or sent away")).collect()
    });
    let held = || running.store.engine().clients.all().iter().map(|client| client.held_bytes()).sum::<usize>();
    // 16 MB and more came. What was sent is taken in when it is, so the limit is looked for until nothing comes any more.
    let received = || running.store.engine().stats.totals.input_bytes.load(Ordering::Relaxed);
    eventually("most have gone", || evicted(&running) as usize >= CLIENTS / 2);
    let mut before = u64::MAX;
    eventually("nothing comes any more", || std::mem::replace(&mut before, received()) == received());
    eventually("those who are left are within the limit", || held() <= LIMIT);
    let left = CLIENTS - evicted(&running) as usize;
    assert!(left >= LIMIT / (24 * 1024), "{left} are left, so more have gone than had to");
    running.connect().call("PING", "+PONG");
    drop(clients);
    eventually("nothing is left of them", || running.store.engine().clients.held_bytes() == embedded(&running));
}

#[test]
fn nothing_is_left_of_who_has_gone() {
    const THREADS: usize = 4;
    const ROUNDS: usize = 60;
    let running = Running::start(&[]);
    running.store.set("big", vec![b'x'; 300_000]).expect("there is memory");
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let running = &running;
            scope.spawn(move || {
                for round in 0..ROUNDS {
                    let mut client = running.connect();
                    match (thread + round) % 6 {
                        0 => client.send("MULTI\r\nSET a 1\r\nSET b 2\r\n"),
                        1 => client.send("WATCH a b c\r\nSUBSCRIBE one two\r\nPSUBSCRIBE t*\r\nPUBLISH one hello\r\n"),
                        2 => client.send("HELLO 3\r\nCLIENT TRACKING ON BCAST PREFIX a PREFIX b\r\nSET a 1\r\n"),
                        3 => begin(&mut client, 100_000),
                        4 => client.send("GET big\r\n".repeat(20)),
                        _ => client.send("CLIENT SETNAME somebody\r\nBLPOP nothing 0\r\n*100\r\n$3\r\nSET\r\n$5\r\nab"),
                    }
                    if round % 2 == 0 {
                        running.store.engine().clients.all().iter().for_each(|client| {
                            if client.transport != Transport::Embedded && client.id.is_multiple_of(5) {
                                client.kill();
                            }
                        });
                    }
                }
            });
        }
    });
    eventually("all have gone", || running.store.engine().clients.connected() == 0);
    eventually("the sum is what it was", || running.store.engine().clients.held_bytes() == embedded(&running));
}

/// What is held for callers within the process.
fn embedded(running: &Running) -> usize {
    running.store.engine().clients.all().iter().map(|client| client.held_bytes()).sum()
}
