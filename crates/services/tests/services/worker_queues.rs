//! Tests of workers with several queues of which one does not answer: what is the matter with it stays its own.

use std::time::Duration;

use redpoll_services::backend::CircuitPolicy;
use redpoll_services::jobs::{Queue, State};
use redpoll_services::kept::OnEviction;
use redpoll_services::{Backend, BackendConfig, Command, Services, Settings};
use redpoll_testkit::{Client, Proxy, RedisCluster};

use crate::cluster_moves::{SLOTS, behind_a_proxy, run};
use crate::support::{Place, eventually, tenant};
use crate::worker_leases::{LASTING, leases_last};
use crate::workers::{Gate, becomes, enqueue, gated, job};

pub(crate) async fn a_queue_that_cannot_be_told_keeps_no_other_waiting(place: Place) {
    let services = place.services().await;
    let jobs = services.jobs(&tenant());
    let (spoilt, other) = (jobs.queue("spoilt").unwrap(), jobs.queue("other").unwrap());
    let states = spoilt.data_key("x").unwrap().as_str().replace(":u:x", ":s");
    let away = format!("{states}:away");
    enqueue(&spoilt, &[job("a", "slow")]).await;
    let gate = Gate::new();
    let running = gated(&spoilt, &gate).and(other.clone()).concurrency(2).start().unwrap();
    gate.holds(1).await;
    services.backend().call(Command::new("RENAME").key(&states).arg(&away)).await.unwrap();
    services.backend().call(Command::new("SET").key(&states).arg("not a hash")).await.unwrap();
    gate.open(1_000);
    gate.holds(0).await;
    for id in ["b", "c", "d"] {
        enqueue(&other, &[job(id, "send")]).await;
        becomes(&other, id, State::Completed).await;
    }
    assert_eq!(running.summary().completed, 3);
    // It is told as soon as it listens again, and leased from.
    services.backend().call(Command::new("RENAME").key(&away).arg(&states)).await.unwrap();
    becomes(&spoilt, "a", State::Completed).await;
    enqueue(&spoilt, &[job("e", "send")]).await;
    becomes(&spoilt, "e", State::Completed).await;
    let summary = running.stop().await;
    assert_eq!((summary.completed, summary.untold), (5, 0), "{summary:?}");
}

/// A cluster of two nodes, the second behind a proxy, and a queue on each.
struct Halves {
    cluster: RedisCluster,
    proxy: Proxy,
    names: [String; 2],
    tenant: redpoll_services::Tenant,
}

impl Halves {
    async fn new() -> Self {
        let cluster = RedisCluster::start(2).unwrap();
        let [first, second] = cluster.addresses()[..] else { unreachable!("two were started") };
        let proxy = behind_a_proxy(second);
        let seen = format!(":{}", proxy.address().port());
        eventually("the other node's port", || async { run(first, "CLUSTER NODES").contains(&seen) }).await;
        let mut halves = Self { cluster, proxy, names: Default::default(), tenant: tenant() };
        let services = halves.services(Duration::from_secs(20)).await;
        let mut client = Client::connect(first).unwrap();
        for is_second in [false, true] {
            let is_there = |name: &String| {
                let key = services.jobs(&halves.tenant).queue(name).unwrap().data_key("x").unwrap();
                let slot = client.run(&format!("CLUSTER KEYSLOT {}", key.as_str())).as_integer().unwrap();
                (slot >= SLOTS / 2) == is_second
            };
            halves.names[usize::from(is_second)] =
                (0..).map(|number| format!("q{number}")).find(is_there).expect("one of many");
        }
        halves
    }

    async fn services(&self, command_timeout: Duration) -> Services {
        let circuit = CircuitPolicy { outages: 0, ..CircuitPolicy::default() };
        let config = BackendConfig { circuit, command_timeout, ..BackendConfig::default() };
        let url = format!("redis+cluster://{}", self.cluster.addresses()[0]);
        // Otherwise all masters are asked now and then whether they evict.
        let settings = Settings { eviction: OnEviction::Tolerate, ..Settings::default() };
        Services::new(Backend::connect_with(&url, config).await.unwrap(), settings)
    }

    /// The queue on the node that answers, and the other.
    fn queues(&self, services: &Services) -> [Queue; 2] {
        [0, 1].map(|index| services.jobs(&self.tenant).queue(&self.names[index]).unwrap())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_queue_gave_is_held_while_the_next_does_not_answer() {
    let halves = Halves::new().await;
    let [here, there] = halves.queues(&halves.services(Duration::from_secs(12)).await);
    let watched = halves.queues(&halves.services(Duration::from_secs(20)).await)[0].clone();
    enqueue(&watched, &[job("a", "send")]).await;
    let gate = Gate::new();
    let worker = gated(&here, &gate).and(there).concurrency(2).lease(LASTING);
    halves.proxy.set(redpoll_testkit::Mode::Silent);
    let running = worker.start().unwrap();
    becomes(&watched, "a", State::Active).await;
    leases_last(&watched, 1).await;
    assert_eq!(running.busy(), 0, "the other queue has answered, so nothing was tested");
    halves.proxy.set(redpoll_testkit::Mode::Pass);
    gate.open(1);
    becomes(&watched, "a", State::Completed).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_gone_keeps_no_other_waiting() {
    let halves = Halves::new().await;
    let [here, there] = halves.queues(&halves.services(Duration::from_secs(1)).await);
    let watched = halves.queues(&halves.services(Duration::from_secs(20)).await)[0].clone();
    enqueue(&there, &[job("a", "slow")]).await;
    let gate = Gate::new();
    // The one that will be gone is asked first.
    let worker = gated(&there, &gate).and(here).concurrency(2).lease(Duration::from_secs(5));
    let running = worker.start().unwrap();
    gate.holds(1).await;
    halves.proxy.set(redpoll_testkit::Mode::Silent);
    gate.open(1_000);
    for number in 0..20 {
        let id = number.to_string();
        enqueue(&watched, &[job(&id, "send")]).await;
        becomes(&watched, &id, State::Completed).await;
    }
    halves.proxy.set(redpoll_testkit::Mode::Pass);
    becomes(&there, "a", State::Completed).await;
    let summary = running.stop().await;
    assert_eq!((summary.completed, summary.untold), (21, 0), "{summary:?}");
}
