//! Redpoll killed while events are published and handled: what was acknowledged to a publisher is handled by every group, and what a consumer was told is done
//! does not come again.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use redpoll_services::streams::{Consumer, EntryId, Event, GroupOptions, Start, Stream, TakeOptions};
use redpoll_services::{Error, Tenant};
use redpoll_testkit::{Launch, Program, Scratch};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use crate::streams::event;
use crate::support::{Place, eventually};

const KILLS: usize = 3;
const PUBLISHED_EACH: usize = 60;

#[derive(Default)]
struct Facts {
    published: Mutex<BTreeSet<EntryId>>,
    handled: Mutex<BTreeSet<EntryId>>,
    /// What consumers were told is done.
    done: Mutex<BTreeSet<EntryId>>,
}

async fn stream(url: String) -> Stream {
    Place::at(url).services().await.streams(&Tenant::default()).stream("orders").unwrap()
}

/// Publishes until the store is gone.
async fn produce(stream: Stream, facts: Arc<Facts>, name: usize) {
    for number in 0.. {
        let happened =
            Event { key: (number % 3 == 0).then(|| format!("k{}", number % 5)), ..event(&format!("{name}-{number}")) };
        match stream.publish(&happened).await {
            Ok(published) => facts.published.lock().unwrap().insert(published.entry),
            Err(error) if error.is_outage() => return,
            Err(error) => panic!("{error}"),
        };
    }
}

/// Takes and acknowledges until the store is gone.
async fn consume(stream: Stream, facts: Arc<Facts>) {
    let group = stream.group("g").unwrap();
    let options = TakeOptions {
        count: 3,
        wait: Duration::from_millis(50),
        lease: Some(Duration::from_secs(2)),
        ..TakeOptions::new("c")
    };
    loop {
        let taken = match group.take(&options).await {
            Ok(taken) => taken,
            Err(error) if error.is_outage() => return,
            Err(error) => panic!("{error}"),
        };
        for delivery in taken.deliveries {
            let id = delivery.ticket.entry;
            assert!(!facts.done.lock().unwrap().contains(&id), "{id} was done and came again");
            facts.handled.lock().unwrap().insert(id);
            match group.ack(&delivery.ticket).await {
                Ok(()) => facts.done.lock().unwrap().insert(id),
                Err(Error::Conflict(_)) => false,
                Err(error) if error.is_outage() => return,
                Err(error) => panic!("{error}"),
            };
        }
    }
}

fn start(scratch: &Scratch) -> Program {
    let args = ["--no-http", "--appendfsync", "always"].map(str::to_owned).to_vec();
    Launch { dir: Some(scratch.path().join("data")), args, ..Launch::default() }.start().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_published_before_redpoll_was_killed_is_handled() {
    let scratch = Scratch::new().unwrap();
    let facts = Arc::new(Facts::default());
    for turn in 0..KILLS {
        let program = start(&scratch);
        let stream = stream(program.url()).await;
        let options = GroupOptions { start: Start::Beginning, ..GroupOptions::default() };
        stream.group("g").unwrap().create(&options).await.unwrap();
        let mut workers = JoinSet::new();
        for number in 0..4 {
            workers.spawn(produce(stream.clone(), Arc::clone(&facts), turn * 10 + number));
            workers.spawn(consume(stream.clone(), Arc::clone(&facts)));
        }
        let enough = (turn + 1) * PUBLISHED_EACH;
        eventually("work", || async {
            facts.published.lock().unwrap().len() >= enough && facts.done.lock().unwrap().len() >= enough / 2
        })
        .await;
        assert!(workers.try_join_next().is_none(), "a worker ended by itself");
        program.kill().unwrap();
        workers.join_all().await;
    }
    let program = start(&scratch);
    let stream = stream(program.url()).await;
    let group = stream.group("g").unwrap();
    let published = facts.published.lock().unwrap().clone();
    let kept: BTreeSet<EntryId> = entries(&stream).await;
    assert!(published.is_subset(&kept), "an event was acknowledged and is lost");
    // Who held entries when the store was killed is dead: their leases end, and others handle them.
    let lost = group.status().await.unwrap().pending;
    let (stop, stopped) = oneshot::channel::<()>();
    let handled = Arc::clone(&facts);
    let consumer = Consumer::new(group.clone()).concurrency(8);
    let working = tokio::spawn(consumer.run(
        move |delivery| {
            let id = delivery.ticket.entry;
            assert!(!handled.done.lock().unwrap().contains(&id), "{id} was done and came again");
            handled.handled.lock().unwrap().insert(id);
            async { Ok(()) }
        },
        async { drop(stopped.await) },
    ));
    eventually("the rest is handled", || async {
        let status = group.status().await.unwrap();
        (status.lag, status.pending) == (Some(0), 0)
    })
    .await;
    drop(stop);
    let ran = working.await.unwrap().unwrap();
    let handled = facts.handled.lock().unwrap().clone();
    let missed: Vec<_> = kept.difference(&handled).collect();
    assert!(missed.is_empty(), "never handled: {missed:?}");
    println!(
        "{} published, {} done before, {lost} held by the dead, {} done after",
        kept.len(),
        facts.done.lock().unwrap().len(),
        ran.done
    );
}

async fn entries(stream: &Stream) -> BTreeSet<EntryId> {
    let all = Mutex::new(BTreeSet::new());
    let range = redpoll_services::streams::Range::default();
    stream
        .replay(&range, |entry| {
            all.lock().unwrap().insert(entry.id);
            async { Ok(()) }
        })
        .await
        .unwrap();
    all.into_inner().unwrap()
}
