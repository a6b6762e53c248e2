//! Channels over the wire: order, many at once, clients that do not read, and everything that ends a subscription.

use std::time::Duration;

use crate::support::{Raw, Running, eventually, message, subscribe};

/// Long enough to see that something does not happen.
const A_WHILE: Duration = Duration::from_millis(60);

fn id_of(client: &mut Raw) -> String {
    client.send("CLIENT ID\r\n");
    client.line().trim_start_matches(':').to_owned()
}

#[test]
fn a_parked_subscriber_is_woken() {
    let running = Running::start(&[]);
    let (mut publisher, mut listener) = (running.connect(), running.connect());
    subscribe(&mut listener, "c");
    for number in 0..100 {
        publisher.call(&format!("PUBLISH c {number}"), ":1");
        listener.expect(message("c", &number.to_string()));
    }
    assert!(listener.is_silent_for(A_WHILE));
    listener.send("PING\r\nUNSUBSCRIBE\r\n");
    listener.expect("*2\r\n$4\r\npong\r\n$0\r\n\r\n*3\r\n$11\r\nunsubscribe\r\n$1\r\nc\r\n:0\r\n");
    publisher.call("PUBLISH c late", ":0");
    listener.call("PING", "+PONG");
}

#[test]
fn eight_publishers_and_eight_subscribers() {
    const EACH: usize = 300;
    let running = Running::start(&[]);
    let mut listeners: Vec<Raw> = (0..8).map(|_| running.connect()).collect();
    listeners.iter_mut().for_each(|listener| subscribe(listener, "c"));
    let received: Vec<Vec<String>> = std::thread::scope(|scope| {
        for publisher in 0..8 {
            let mut client = running.connect();
            scope.spawn(move || {
                let lines: String = (0..EACH).map(|number| format!("PUBLISH c {publisher}-{number}\r\n")).collect();
                client.send(lines);
                client.expect(":8\r\n".repeat(EACH));
            });
        }
        let readers: Vec<_> = listeners
            .iter_mut()
            .map(|listener| {
                scope.spawn(move || {
                    let payload = |_| (0..7).map(|_| listener.line()).last().expect("seven lines");
                    (0..8 * EACH).map(payload).collect::<Vec<_>>()
                })
            })
            .collect();
        readers.into_iter().map(|reader| reader.join().expect("a reader ends")).collect()
    });
    assert!(received.windows(2).all(|pair| pair[0] == pair[1]), "all hear the same");
    for publisher in 0..8 {
        let prefix = format!("{publisher}-");
        let own: Vec<&str> = received[0].iter().filter_map(|text| text.strip_prefix(&prefix)).collect();
        let expected: Vec<String> = (0..EACH).map(|number| number.to_string()).collect();
        assert_eq!(own, expected);
    }
}

#[test]
fn a_soft_limit_is_forgiven_for_a_while_only() {
    let running = Running::start(&[("client-output-buffer-limit", "pubsub 0 64kb 1")]);
    let (mut publisher, mut deaf) = (running.connect(), running.connect());
    subscribe(&mut deaf, "c");
    let payload = "x".repeat(1 << 20);
    // More than the sockets hold, so that the rest waits; then nothing more happens.
    for _ in 0..20 {
        publisher.send(format!("*3\r\n$7\r\nPUBLISH\r\n$1\r\nc\r\n${}\r\n{payload}\r\n", payload.len()));
        publisher.expect(":1\r\n");
    }
    eventually("the subscriber is cut off", || running.store.engine().clients.connected() == 1);
    publisher.call("PUBSUB NUMSUB c", "*2\r\n$1\r\nc\r\n:0");
}

#[test]
fn whatever_ends_a_client_ends_its_subscriptions() {
    let running = Running::start(&[]);
    let (mut operator, mut leaver, mut killed) = (running.connect(), running.connect(), running.connect());
    subscribe(&mut leaver, "c");
    subscribe(&mut killed, "c");
    operator.call("PUBLISH c x", ":2");
    operator.call("CLIENT LIST TYPE replica", "$0\r\n");
    drop(leaver);
    let engine = running.store.engine();
    eventually("one has left", || engine.clients.connected() == 2);
    operator.call("PUBLISH c y", ":1");
    operator.call("CLIENT KILL TYPE pubsub", ":1");
    killed.until_closed();
    eventually("both are gone", || engine.clients.connected() == 1);
    operator.call("PUBLISH c z", ":0");
    assert!(!engine.exchange.has_subscribers());
}

#[test]
fn pushes_stand_behind_the_reply_that_caused_them() {
    let running = Running::start(&[]);
    let mut client = running.connect();
    client.send("HELLO 3\r\n");
    eventually("the greeting has come", || client.line() == "*0");
    client.send("SUBSCRIBE c\r\nPUBLISH c x\r\nPING\r\nUNSUBSCRIBE c\r\n");
    client.expect(
        ">3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n:1\r\n>3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$1\r\nx\r\n+PONG\r\n",
    );
    client.expect(">3\r\n$11\r\nunsubscribe\r\n$1\r\nc\r\n:0\r\n");
}

#[test]
fn scripts_publish_and_do_not_subscribe() {
    let running = Running::start(&[]);
    let (mut client, mut listener) = (running.connect(), running.connect());
    subscribe(&mut listener, "c");
    client.call("EVAL \"redis.call('publish','c','one') return redis.call('publish','c',ARGV[1])\" 0 two", ":1");
    listener.expect(message("c", "one") + &message("c", "two"));
    for script in
        ["EVAL \"return redis.call('subscribe','c')\" 0", "EVAL_RO \"return redis.call('publish','c','x')\" 0"]
    {
        client.send(format!("{script}\r\n"));
        let refused = client.line();
        assert!(refused.contains("not allowed from"), "{refused}");
    }
    assert!(listener.is_silent_for(A_WHILE));
}

#[test]
fn a_redirected_client_is_told_on_a_channel() {
    let running = Running::start(&[]);
    let (mut reader, mut target, mut writer) = (running.connect(), running.connect(), running.connect());
    let id = id_of(&mut target);
    let told = |what: &str| format!("*3\r\n$7\r\nmessage\r\n$20\r\n__redis__:invalidate\r\n{what}\r\n");
    subscribe(&mut target, "__redis__:invalidate");
    reader.call(&format!("CLIENT TRACKING on REDIRECT {id}"), "+OK");
    reader.call("CLIENT GETREDIR", &format!(":{id}"));
    reader.call("GET key", "$-1");
    writer.call("SET key 1", "+OK");
    target.expect(told("*1\r\n$3\r\nkey"));
    writer.call("SET key 2", "+OK");
    writer.call("FLUSHALL", "+OK");
    target.expect(told("$-1"));
    // Whoever is told in its place goes: under RESP3 it learns so.
    reader.send("HELLO 3\r\n");
    eventually("the greeting has come", || reader.line() == "*0");
    reader.call("GET key", "_");
    drop(target);
    eventually("the target has left", || running.store.engine().clients.connected() == 2);
    writer.call("SET key 3", "+OK");
    reader.expect(format!(">2\r\n$21\r\ntracking-redir-broken\r\n:{id}\r\n"));
    writer.send("CLIENT LIST\r\n");
    let list = (0..2).map(|_| writer.line()).collect::<String>();
    assert!(list.contains("flags=tR") && list.contains(&format!("redir={id}")), "{list}");
}

#[test]
fn a_monitor_sees_commands_but_no_secrets() {
    let running = Running::start(&[]);
    let (mut monitor, mut client) = (running.connect(), running.connect());
    monitor.call("MONITOR", "+OK");
    client.call("SET k \"a\\\"b\\x00\"", "+OK");
    client.call("CONFIG SET timeout 0", "+OK");
    client.send("AUTH user secret\r\n");
    client.line();
    client.call("SELECT 3", "+OK");
    client.call("EVAL \"return redis.call('incr','n')\" 0", ":1");
    client.call("MULTI", "+OK");
    client.call("GET n", "+QUEUED");
    client.call("EXEC", "*1\r\n$1\r\n1");
    client.send("NOSUCH command\r\nGET\r\n");
    client.line();
    client.line();
    client.call("PING", "+PONG");
    let address = client.0.local_addr().expect("it is connected").to_string();
    for expected in [
        format!("[0 {address}] \"SET\" \"k\" \"a\\\"b\\x00\""),
        format!("[0 {address}] \"AUTH\" \"(redacted)\" \"(redacted)\""),
        format!("[3 {address}] \"SELECT\" \"3\""),
        format!("[3 {address}] \"EVAL\" \"return redis.call('incr','n')\" \"0\""),
        "[3 lua] \"incr\" \"n\"".to_owned(),
        format!("[3 {address}] \"MULTI\""),
        format!("[3 {address}] \"GET\" \"n\""),
        format!("[3 {address}] \"EXEC\""),
        format!("[3 {address}] \"PING\""),
    ] {
        let line = monitor.line();
        let (time, shown) = line.split_once(' ').expect("a time and what was run");
        assert!(time.starts_with('+') && time.len() == 18, "{time}");
        assert_eq!(shown, expected);
    }
    monitor.call("RESET", "+RESET");
    client.call("PING", "+PONG");
    assert!(monitor.is_silent_for(A_WHILE));
    assert!(!running.store.engine().monitors.any());
}

#[test]
fn a_monitor_that_never_reads_is_cut_off() {
    let running = Running::start(&[("client-output-buffer-limit", "normal 4mb 0 0")]);
    let (mut client, mut deaf) = (running.connect(), running.connect());
    deaf.call("MONITOR", "+OK");
    let payload = "x".repeat(64 * 1024);
    let engine = running.store.engine();
    let mut sent = 0;
    eventually("the monitor is cut off", || {
        client.send(format!("*2\r\n$4\r\nECHO\r\n${}\r\n{payload}\r\n", payload.len()));
        client.expect(format!("${}\r\n{payload}\r\n", payload.len()));
        sent += 1;
        !engine.monitors.any()
    });
    assert!(sent < 1000, "{sent} lines");
}

#[test]
fn keys_that_expire_are_announced() {
    let running = Running::start(&[("notify-keyspace-events", "Ex")]);
    let (mut client, mut listener) = (running.connect(), running.connect());
    subscribe(&mut listener, "__keyevent@0__:expired");
    client.call("SET key value PX 20", "+OK");
    listener.expect(message("__keyevent@0__:expired", "key"));
    client.call("CONFIG GET notify-keyspace-events", "*2\r\n$22\r\nnotify-keyspace-events\r\n$2\r\nxE");
}

#[test]
fn confirmations_and_messages_come_even_to_who_wants_no_replies() {
    let running = Running::start(&[]);
    let (mut publisher, mut listener) = (running.connect(), running.connect());
    listener.send("CLIENT REPLY OFF\r\nPING\r\nSUBSCRIBE\r\n");
    subscribe(&mut listener, "c");
    publisher.call("PUBLISH c x", ":1");
    listener.expect(message("c", "x"));
    listener.send("PING\r\nUNSUBSCRIBE c\r\n");
    listener.expect("*3\r\n$11\r\nunsubscribe\r\n$1\r\nc\r\n:0\r\n");
    listener.send("CLIENT REPLY ON\r\nCLIENT REPLY SKIP\r\nSUBSCRIBE c\r\nPING\r\n");
    listener.expect("+OK\r\n*3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n*2\r\n$4\r\npong\r\n$0\r\n\r\n");
}
