//! Tests of consumers at work: what they hold is renewed, what fails or panics is tried again, and stopping loses nothing.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use redpoll_services::streams::{
    Consumer, Delivery, EntryId, Event, Failure, Force, GroupOptions, Ran, Reason, Start, StreamSettings,
};
use redpoll_services::{Backend, BackendConfig, Error, Result, Services, Settings};
use redpoll_testkit::{Mode, Proxy, RedisServer};
use tokio::sync::{Barrier, Notify, oneshot};
use tokio::task::JoinHandle;

use crate::stream_groups::take;
use crate::streams::{BRIEF, HandMade, event, group, group_with, keyed, name_of, publish, site, stream};
use crate::support::{Place, eventually, tenant};

/// A consumer at work, and how to stop it.
struct Working {
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<Ran>>,
}

fn start<H, F>(consumer: Consumer, handle: H) -> Working
where
    H: Fn(Delivery) -> F + Send + Sync + 'static,
    F: Future<Output = Result<(), Failure>> + Send + 'static,
{
    let (stop, stopped) = oneshot::channel();
    let task = tokio::spawn(consumer.run(handle, async { drop(stopped.await) }));
    Working { stop, task }
}

impl Working {
    async fn end(self) -> Result<Ran> {
        drop(self.stop);
        self.task.await.unwrap()
    }
}

type Names = Arc<Mutex<Vec<String>>>;

pub(crate) async fn keys_in_order_and_others_at_once(place: Place) {
    let stream = stream(&place).await;
    let group = group(&stream, "g").await;
    let events: Vec<Event> =
        (0..60).map(|number: u32| keyed(&format!("k{}", number % 6), &number.to_string())).collect();
    stream.publish_many(&events).await.unwrap();
    let (seen, running, most) = (Names::default(), Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let handle = {
        let (seen, running, most) = (Arc::clone(&seen), Arc::clone(&running), Arc::clone(&most));
        move |delivery: Delivery| {
            let (seen, running, most) = (Arc::clone(&seen), Arc::clone(&running), Arc::clone(&most));
            async move {
                most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                tokio::task::yield_now().await;
                // Each fails once on its way.
                if delivery.attempt() == 1 && delivery.sequence.unwrap().is_multiple_of(7) {
                    running.fetch_sub(1, Ordering::SeqCst);
                    return Err(Failure::Retry { cause: "once".to_owned(), pause: Some(Duration::ZERO) });
                }
                seen.lock().unwrap().push(name_of(&delivery.event));
                running.fetch_sub(1, Ordering::SeqCst);
                Ok(())
            }
        }
    };
    // Two consumers, so that the order holds between them.
    let handle = Arc::new(handle);
    let working: Vec<Working> = (0..2)
        .map(|_| {
            let handle = Arc::clone(&handle);
            start(Consumer::new(group.clone()).concurrency(4), move |delivery| handle(delivery))
        })
        .collect();
    eventually("all are handled", || async { group.status().await.unwrap().acknowledged_total == 60 }).await;
    let mut done = 0;
    for one in working {
        let ran = one.end().await.unwrap();
        assert_eq!((ran.lost, ran.dead), (0, 0));
        done += ran.done;
    }
    assert_eq!(done, 60);
    let mut last: HashMap<u32, u32> = HashMap::new();
    for name in seen.lock().unwrap().iter() {
        let number: u32 = name.parse().unwrap();
        assert!(last.insert(number % 6, number).is_none_or(|before| before < number), "{name} came too late");
    }
    assert!(most.load(Ordering::SeqCst) > 1, "others at once");
}

pub(crate) async fn errors_and_panics_are_failures(place: Place) {
    // The naive way acknowledges with reading, so what fails then is gone.
    let hand_made = HandMade::new(&place.services().await, "g").await;
    hand_made.add(&[]).await;
    assert_eq!(
        (hand_made.read("a", &["NOACK"]).await, hand_made.pending().await),
        (1, 0),
        "nothing is left to try again"
    );

    let stream = stream(&place).await;
    let options =
        GroupOptions { attempts_max: Some(2), retry_base: Some(Duration::from_millis(1)), ..GroupOptions::default() };
    let group = group_with(&stream, "g", options).await;
    publish(&stream, &["panic", "early", "error", "give up", "poison", "fine", "for ever"]).await;
    let working = start(Consumer::new(group.clone()).concurrency(8).named("one"), |delivery| {
        assert_ne!(name_of(&delivery.event), "early");
        async move {
            match name_of(&delivery.event).as_str() {
                "panic" => panic!("this way"),
                "error" => Err("x".parse::<u32>().unwrap_err().into()),
                "give up" => Err(Failure::give_up("hopeless")),
                "poison" => Err(Failure::Poison { cause: "what?".to_owned() }),
                "for ever" => Err(Failure::Retry { cause: "no".to_owned(), pause: Some(Duration::MAX) }),
                _ => Ok(()),
            }
        }
    });
    eventually("all have ended", || async {
        let status = group.status().await.unwrap();
        (status.pending, status.dead, status.acknowledged_total) == (0, 6, 1)
    })
    .await;
    let ran = working.end().await.unwrap();
    assert_eq!((ran.done, ran.again, ran.dead, ran.lost), (1, 4, 6, 0));
    assert_eq!(group.status().await.unwrap().consumers[0].consumer, "one");
    let dead = group.dead(EntryId::ZERO, 10).await.unwrap();
    let cause = |name: &str| {
        let letter = dead.iter().find(|one| name_of(one.entry.event.as_ref().unwrap()) == name).unwrap();
        (letter.reason, letter.cause.clone(), letter.failures)
    };
    assert_eq!(cause("panic"), (Reason::Failed, "panicked: this way".to_owned(), 2));
    assert!(cause("early").1.starts_with("panicked: assertion"));
    assert_eq!(cause("error"), (Reason::Failed, "invalid digit found in string".to_owned(), 2));
    assert_eq!(cause("give up"), (Reason::GivenUp, "hopeless".to_owned(), 1));
    assert!(cause("for ever").1.starts_with("what the handler answered cannot be kept: "));
    assert_eq!(cause("poison"), (Reason::Poison, "what?".to_owned(), 1));
}

pub(crate) async fn what_is_held_is_renewed(place: Place) {
    let stream = stream(&place).await;
    let group = group(&stream, "g").await;
    publish(&stream, &["1"]).await;
    let (begun, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let lease = BRIEF * 10;
    let working = start(Consumer::new(group.clone()).lease(lease), {
        let (begun, go_on) = (Arc::clone(&begun), Arc::clone(&go_on));
        move |_| {
            let (begun, go_on) = (Arc::clone(&begun), Arc::clone(&go_on));
            async move {
                begun.notify_one();
                go_on.notified().await;
                Ok(())
            }
        }
    });
    begun.notified().await;
    let deadline = tokio::time::Instant::now() + lease * 2;
    while tokio::time::Instant::now() < deadline {
        assert!(take(&group, 1).await.is_empty(), "nobody else gets it");
    }
    go_on.notify_one();
    eventually("it is done", || async { group.status().await.unwrap().acknowledged_total == 1 }).await;
    assert_eq!(working.end().await.unwrap(), Ran { done: 1, ..Ran::default() });
}

pub(crate) async fn a_crash_between_handling_and_acknowledging(place: Place) {
    // The naive way: everybody reads what is new, and what one had when it died is pending for ever.
    let hand_made = HandMade::new(&place.services().await, "g").await;
    hand_made.add(&[]).await;
    assert_eq!((hand_made.read("dies", &[]).await, hand_made.read("lives", &[]).await), (1, 0));
    assert_eq!(hand_made.pending().await, 1, "and nobody gets it");

    let stream = stream(&place).await;
    let group = group(&stream, "g").await;
    publish(&stream, &["1"]).await;
    let handled = Names::default();
    let note = |handled: &Names| {
        let handled = Arc::clone(handled);
        move |delivery: Delivery| {
            handled.lock().unwrap().push(format!("{} {}", name_of(&delivery.event), delivery.lost));
        }
    };
    // It has handled the entry, and dies before it says so.
    let noted = note(&handled);
    let dies = start(Consumer::new(group.clone()).lease(BRIEF), move |delivery| {
        noted(delivery);
        std::future::pending()
    });
    eventually("it is handled", || async { handled.lock().unwrap().len() == 1 }).await;
    dies.task.abort();
    assert!(dies.task.await.unwrap_err().is_cancelled());
    // Nothing of it goes on: nobody renews the lease, and another takes it.
    let noted = note(&handled);
    let lives = start(Consumer::new(group.clone()), move |delivery| {
        noted(delivery);
        async { Ok(()) }
    });
    eventually("another has done it", || async { group.status().await.unwrap().acknowledged_total == 1 }).await;
    lives.end().await.unwrap();
    assert_eq!(*handled.lock().unwrap(), ["1 0", "1 1"], "at least once, and it can be told");
    assert_eq!(group.status().await.unwrap().lost_total, 1);
}

pub(crate) async fn stopping_waits_and_then_hands_back(place: Place) {
    let stream = stream(&place).await;
    let group = group(&stream, "g").await;
    publish(&stream, &["quick", "endless"]).await;
    let (begun, go_on) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
    let consumer = Consumer::new(group.clone()).concurrency(2).drain(Duration::from_millis(300));
    let working = start(consumer, {
        let (begun, go_on) = (Arc::clone(&begun), Arc::clone(&go_on));
        move |delivery| {
            begun.fetch_add(1, Ordering::SeqCst);
            let go_on = Arc::clone(&go_on);
            async move {
                match name_of(&delivery.event).as_str() {
                    "quick" => go_on.notified().await,
                    _ => std::future::pending().await,
                }
                Ok(())
            }
        }
    });
    eventually("both have begun", || async { begun.load(Ordering::SeqCst) == 2 }).await;
    go_on.notify_one();
    let ran = working.end().await.unwrap();
    assert_eq!((ran.done, ran.again, ran.lost), (1, 1, 0));
    publish(&stream, &["3"]).await;
    let left = take(&group, 10).await;
    // What was handed back was neither failed nor lost.
    assert_eq!(
        left.iter().map(|one| (name_of(&one.event), one.attempt())).collect::<Vec<_>>(),
        [("endless".to_owned(), 1), ("3".to_owned(), 1)]
    );
}

pub(crate) async fn a_group_deleted_under_its_consumer(place: Place) {
    let stream = stream(&place).await;
    let group = group(&stream, "g").await;
    publish(&stream, &["1"]).await;
    let (begun, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let options = GroupOptions::default();
    let working = start(Consumer::new(group.clone()).concurrency(2).create(options).lease(BRIEF), {
        let (begun, go_on) = (Arc::clone(&begun), Arc::clone(&go_on));
        move |_| {
            let (begun, go_on) = (Arc::clone(&begun), Arc::clone(&go_on));
            async move {
                begun.notify_one();
                go_on.notified().await;
                Ok(())
            }
        }
    });
    begun.notified().await;
    group.delete(Force::Yes).await.unwrap();
    // It ends with that error, and does not make the group again; what it was handling is stopped, as its lease is gone.
    let ended = tokio::time::timeout(Duration::from_secs(20), working.task).await.unwrap().unwrap();
    assert!(matches!(ended, Err(Error::NotFound(_))), "{ended:?}");
    assert!(stream.info().await.unwrap().groups.is_empty());
}

pub(crate) async fn a_lost_group_is_made_again(place: Place) {
    let site = site(&place, StreamSettings::default()).await;
    let group = site.stream.group("g").unwrap();
    let seen = Names::default();
    let options = GroupOptions { start: Start::End, ..GroupOptions::default() };
    let working = start(Consumer::new(group.clone()).create(options), {
        let seen = Arc::clone(&seen);
        move |delivery| {
            seen.lock().unwrap().push(name_of(&delivery.event));
            async { Ok(()) }
        }
    });
    eventually("it has made its group", || async { group.status().await.is_ok() }).await;
    publish(&site.stream, &["1"]).await;
    eventually("it works", || async { group.status().await.unwrap().acknowledged_total == 1 }).await;
    // The store is emptied: what is published after that is handled, though the group would begin at the end.
    site.empty("g").await;
    publish(&site.stream, &["2"]).await;
    eventually("it has gone on", || async { group.status().await.is_ok_and(|status| status.acknowledged_total == 1) })
        .await;
    let ran = working.end().await.unwrap();
    assert_eq!((ran.done, ran.recreated), (2, 2));
    assert_eq!(*seen.lock().unwrap(), ["1", "2"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn outcomes_are_told_together() {
    const EVENTS: u64 = 960;
    let server = RedisServer::start().unwrap();
    let stream = stream(&Place::at(server.url())).await;
    let group = group(&stream, "g").await;
    stream.publish_many(&(0..EVENTS).map(|number| event(&number.to_string())).collect::<Vec<_>>()).await.unwrap();
    // Handlers end by the thirty-two, as if they had asked one slow neighbour.
    let barrier = Arc::new(Barrier::new(32));
    let before = steps_of(&server);
    let working = start(Consumer::new(group.clone()).concurrency(32), move |_| {
        let barrier = Arc::clone(&barrier);
        async move {
            barrier.wait().await;
            Ok(())
        }
    });
    eventually("all are done", || async { group.status().await.unwrap().acknowledged_total == EVENTS }).await;
    assert_eq!(working.end().await.unwrap(), Ran { done: EVENTS, ..Ran::default() });
    // One by one they would be a step each, and more to take them. The looks at the status are steps too.
    let steps = steps_of(&server) - before;
    assert!(steps < EVENTS / 2, "{steps} steps for {EVENTS} entries");
}

/// Returns how many scripts a server has run.
fn steps_of(server: &RedisServer) -> u64 {
    let reply = server.client().unwrap().run("INFO commandstats");
    let text = String::from_utf8_lossy(reply.as_bytes().unwrap());
    let calls = text.lines().filter_map(|line| line.trim().strip_prefix("cmdstat_evalsha:calls="));
    calls.filter_map(|rest| rest.split(',').next()?.parse::<u64>().ok()).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_is_waited_out() {
    let server = RedisServer::start().unwrap();
    let proxy = Proxy::start(server.address()).unwrap();
    let tenant = tenant();
    let config = BackendConfig { command_timeout: Duration::from_millis(300), ..BackendConfig::default() };
    let far = Services::new(Backend::connect_with(&proxy.url(), config).await.unwrap(), Settings::default());
    let near = Place::at(server.url()).services().await;
    let stream = near.streams(&tenant).stream("orders").unwrap();
    let group = group(&stream, "g").await;
    let handled = Arc::new(AtomicUsize::new(0));
    let consumer = Consumer::new(far.streams(&tenant).stream("orders").unwrap().group("g").unwrap())
        .lease(Duration::from_millis(500));
    let working = start(consumer, {
        let handled = Arc::clone(&handled);
        move |_| {
            handled.fetch_add(1, Ordering::SeqCst);
            async { Ok(()) }
        }
    });
    stream.publish(&event("1")).await.unwrap();
    eventually("the first is done", || async { group.status().await.unwrap().acknowledged_total == 1 }).await;
    // The network goes, and answers are lost: what was taken then comes again, what was acknowledged does not.
    proxy.set(Mode::Deaf);
    for name in ["2", "3"] {
        stream.publish(&event(name)).await.unwrap();
    }
    proxy.set(Mode::Refuse);
    proxy.cut();
    stream.publish(&event("4")).await.unwrap();
    proxy.set(Mode::Pass);
    eventually("all are done", || async {
        let status = group.status().await.unwrap();
        (status.acknowledged_total, status.pending) == (4, 0)
    })
    .await;
    assert!(handled.load(Ordering::SeqCst) >= 4);
    working.end().await.unwrap();
}
