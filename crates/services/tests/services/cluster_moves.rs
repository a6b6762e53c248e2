//! Tests of a Cluster whose nodes go away and whose slots move: what is sent elsewhere arrives, and nothing is done twice.

use std::net::{SocketAddr, TcpListener};

use redpoll_services::backend::CircuitPolicy;
use redpoll_services::{Backend, BackendConfig, Command, Error};
use redpoll_testkit::{Client, Mode, Proxy, RedisCluster, RedisServer};

use crate::support::eventually;

pub(crate) const SLOTS: i64 = 16_384;

/// A node behind a proxy that the others, and clients, take for the node.
pub(crate) fn behind_a_proxy(node: SocketAddr) -> Proxy {
    let proxy = Proxy::start(node).unwrap();
    let port = proxy.address().port();
    let reply = Client::connect(node).unwrap().run(&format!("CONFIG SET cluster-announce-port {port}"));
    assert!(reply.is_simple("OK"), "{}", reply.print());
    proxy
}

async fn connect(node: SocketAddr) -> Backend {
    let circuit = CircuitPolicy { outages: 0, ..CircuitPolicy::default() };
    let config = BackendConfig { circuit, ..BackendConfig::default() };
    Backend::connect_with(&format!("redis+cluster://{node}"), config).await.unwrap()
}

pub(crate) fn run(node: SocketAddr, line: &str) -> String {
    Client::connect(node).unwrap().run(line).print()
}

fn id_of(node: SocketAddr) -> String {
    run(node, "CLUSTER MYID").trim_matches('"').to_owned()
}

fn increment(key: &str) -> Command {
    Command::new("INCR").key(key)
}

/// Names a key of the first or the second half of the slots.
fn key_of_half(node: SocketAddr, second: bool) -> String {
    let mut client = Client::connect(node).unwrap();
    let in_half = |key: &String| {
        let slot = client.run(&format!("CLUSTER KEYSLOT {key}")).as_integer().unwrap();
        (slot >= SLOTS / 2) == second
    };
    (0..).map(|number| format!("k{number}")).find(in_half).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_may_have_been_done_is_not_sent_to_a_cluster_again() {
    const ROUNDS: usize = 12;
    let cluster = RedisCluster::start(1).unwrap();
    let node = cluster.addresses()[0];
    let proxy = behind_a_proxy(node);
    let backend = connect(proxy.address()).await;
    let mut unanswered = 0;
    for round in 0..ROUNDS {
        let key = format!("n{round}");
        eventually("a connection", || async { backend.call(Command::new("PING").repeatable()).await.is_ok() }).await;
        proxy.set(Mode::Deaf);
        let asking = tokio::spawn({
            let (backend, key) = (backend.clone(), key.clone());
            async move { backend.call(increment(&key)).await }
        });
        eventually("the increment", || async { run(node, &format!("GET {key}")) == "\"1\"" }).await;
        // Whoever wants to send it again can.
        proxy.set(Mode::Pass);
        if let Err(error) = asking.await.unwrap() {
            assert!(error.is_outage(), "{error:?}");
            unanswered += 1;
        }
        assert_eq!(run(node, &format!("GET {key}")), "\"1\"", "round {round}: done twice");
    }
    assert!(unanswered > 0, "no answer was lost, so nothing was tested");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_node_out_of_reach_repeats_nothing_on_the_others() {
    let cluster = RedisCluster::start(2).unwrap();
    let [first, second] = cluster.addresses()[..] else { unreachable!("two were started") };
    let proxy = behind_a_proxy(second);
    let (here, there) = (key_of_half(first, false), key_of_half(first, true));
    let seen = format!(":{}", proxy.address().port());
    eventually("the other node's port", || async { run(first, "CLUSTER NODES").contains(&seen) }).await;
    let backend = connect(first).await;
    for key in [&here, &there] {
        backend.call(increment(key)).await.unwrap();
    }
    proxy.set(Mode::Refuse);
    proxy.cut();
    let error = backend.pipeline(vec![increment(&here), increment(&there)]).await.unwrap_err();
    assert!(error.is_outage(), "{error:?}");
    assert_eq!(run(first, &format!("GET {here}")), "\"2\"", "done once more for each time the other was tried");
    // Back, it goes on where it was: nothing was sent there.
    proxy.set(Mode::Pass);
    eventually("both", || async { backend.call(Command::new("GET").key(&there).repeatable()).await.is_ok() }).await;
    assert_eq!(run(second, &format!("GET {there}")), "\"1\"");
}

/// Starts a node without slots and has the cluster meet it.
async fn start_empty_node(cluster: &RedisCluster) -> RedisServer {
    let bus = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
    let options = ["--cluster-enabled", "yes", "--cluster-port", &bus, "--cluster-node-timeout", "5000"];
    let node = RedisServer::start_with(&options).unwrap();
    let meet = format!("CLUSTER MEET 127.0.0.1 {} {bus}", node.address().port());
    assert_eq!(run(cluster.addresses()[0], &meet), "OK");
    let id = id_of(node.address());
    for known in cluster.addresses() {
        eventually("meeting", || async { run(known, "CLUSTER NODES").contains(&id) }).await;
    }
    eventually("joining", || async { run(node.address(), "CLUSTER INFO").contains("cluster_state:ok") }).await;
    node
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_follow_a_slot_that_moves() {
    let cluster = RedisCluster::start(1).unwrap();
    let from = cluster.addresses()[0];
    let node = start_empty_node(&cluster).await;
    let to = node.address();
    let [from_id, to_id] = [from, to].map(id_of);
    let backend = connect(from).await;
    // The first time to a node that has no slots, so that clients do not know it, the second time to one that has.
    for tag in ["{a}", "{b}"] {
        let [key, other] = ["one", "two"].map(|name| format!("{tag}{name}"));
        backend.call(increment(&key)).await.unwrap();
        let slot = Client::connect(from).unwrap().run(&format!("CLUSTER KEYSLOT {tag}")).as_integer().unwrap();
        assert_eq!(run(to, &format!("CLUSTER SETSLOT {slot} IMPORTING {from_id}")), "OK");
        assert_eq!(run(from, &format!("CLUSTER SETSLOT {slot} MIGRATING {to_id}")), "OK");
        // What has not moved is still here, what is new begins there.
        backend.call(increment(&key)).await.unwrap();
        assert_eq!(backend.call(increment(&other)).await.unwrap().as_i64(), Some(1));
        assert_eq!(backend.call(increment(&other)).await.unwrap().as_i64(), Some(2));
        let read = |key: &str| Command::new("GET").key(key).repeatable();
        let both = backend.pipeline(vec![read(&key), read(&other)]).await.unwrap();
        let both: Vec<_> = both.iter().map(|reply| reply.as_ref().unwrap().as_str().unwrap()).collect();
        assert_eq!(both, ["2", "2"]);
        assert_eq!(backend.pipeline(vec![increment(&other)]).await.unwrap()[0].as_ref().unwrap().as_i64(), Some(3));
        // Of several that must not be done twice nobody knows which were done.
        let error = backend.pipeline(vec![increment(&key), increment(&other)]).await.unwrap_err();
        assert!(matches!(error, Error::Unavailable(_)), "{error:?}");
        let moved = run(from, &format!("MIGRATE 127.0.0.1 {} {key} 0 5000", to.port()));
        assert_eq!(moved, "OK");
        for owner in [to, from] {
            assert_eq!(run(owner, &format!("CLUSTER SETSLOT {slot} NODE {to_id}")), "OK");
        }
        // Done once, before the answer to the second sent all of them elsewhere.
        assert_eq!(backend.call(read(&key)).await.unwrap().as_str(), Some("3"));
        assert_eq!(backend.call(read(&other)).await.unwrap().as_str(), Some("3"));
    }
}
