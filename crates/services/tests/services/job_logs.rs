//! Tests of logs of jobs: bounded, in order, only by who holds the lease, and gone with the job.

use std::time::Duration;

use redpoll_services::Error;
use redpoll_services::jobs::{JobSettings, NewJob, Outcome, Queue, State, Ticket, Which};
use redpoll_services::workers::{Context, Failure, Worker};
use serde_json::json;
use tokio::task::JoinSet;

use crate::jobs::{Site, briefly, done, failed, named, on_mail, queue, queue_with, site, state_of, take, up_to};
use crate::support::{Place, eventually};

fn lines(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

async fn texts(queue: &Queue, id: &str) -> Vec<String> {
    queue.logs(id, 0, 1_000).await.unwrap().lines.into_iter().map(|line| line.text).collect()
}

pub(crate) async fn lines_come_back_in_order(place: Place) {
    let queue = queue(&place).await;
    queue.enqueue_many(&[named("a"), named("b")]).await.unwrap();
    let two = queue.lease(&up_to(2)).await.unwrap();
    let odd = ["", "é\n\0 %d;|", "12345678901230000300"];
    assert_eq!(queue.log(&two[0].ticket, &lines(&odd)).await, Ok(3));
    assert_eq!(queue.log(&two[0].ticket, &lines(&["last"])).await, Ok(4));
    let page = queue.logs("a", 1, 2).await.unwrap();
    let read: Vec<_> = page.lines.iter().map(|line| (line.number, line.text.as_str())).collect();
    assert_eq!((read, page.next, page.total, page.dropped), (vec![(1, odd[1]), (2, odd[2])], 3, 4, 0));
    assert!(page.lines[0].at_ms >= two[0].job.since_ms);
    let rest = queue.logs("a", page.next, 9).await.unwrap();
    assert_eq!((rest.lines.len(), rest.lines[0].text.as_str(), rest.next), (1, "last", 4));
    assert_eq!(queue.logs("a", 99, 9).await.unwrap().next, 4);
    assert_eq!(texts(&queue, "b").await, [""; 0], "of another job");
    assert!(matches!(queue.logs("nobody", 0, 9).await, Err(Error::NotFound(_))));
    for bad in [queue.log(&two[0].ticket, &[]).await.map(drop), queue.logs("a", 0, 0).await.map(drop)] {
        assert!(matches!(bad, Err(Error::InvalidInput { .. })), "{bad:?}");
    }
}

pub(crate) async fn a_log_is_bounded_in_lines_and_bytes(place: Place) {
    let settings = JobSettings { log_lines_max: 5, log_bytes_max: 10_000, ..JobSettings::default() };
    let queue = queue_with(&place, settings).await;
    queue.enqueue(&named("a")).await.unwrap();
    let ticket = take(&queue).await.ticket;
    let many: Vec<String> = (0..12).map(|number| number.to_string()).collect();
    assert_eq!(queue.log(&ticket, &many).await, Ok(12));
    let page = queue.logs("a", 3, 9).await.unwrap();
    assert_eq!((page.dropped, page.total, page.lines[0].number), (7, 12, 7));
    assert_eq!(texts(&queue, "a").await, ["7", "8", "9", "10", "11"]);
    // Two long ones fit beside the short, three do not.
    let long = "é".repeat(3_000);
    for _ in 0..3 {
        queue.log(&ticket, std::slice::from_ref(&long)).await.unwrap();
    }
    let page = queue.logs("a", 0, 9).await.unwrap();
    assert_eq!((page.total, page.dropped, page.lines.len()), (15, 13, 2));
    assert!(page.lines.iter().all(|line| line.text == "é".repeat(2_048)), "cut off at a letter");
}

pub(crate) async fn only_who_holds_the_lease_appends(place: Place) {
    let queue = queue(&place).await;
    queue.enqueue(&named("a")).await.unwrap();
    let late = queue.lease(&briefly(1)).await.unwrap().remove(0).ticket;
    queue.log(&late, &lines(&["first"])).await.unwrap();
    let next = take(&queue).await.ticket;
    let unknown = Ticket { id: "nobody".to_owned(), token: 1 };
    for refused in [&late, &unknown] {
        assert!(matches!(queue.log(refused, &lines(&["late"])).await, Err(Error::Conflict(_))));
    }
    queue.log(&next, &lines(&["second"])).await.unwrap();
    queue.complete(&next, None).await.unwrap();
    assert!(matches!(queue.log(&next, &lines(&["afterwards"])).await, Err(Error::Conflict(_))));
    assert_eq!(texts(&queue, "a").await, ["first", "second"], "of all runs, also of an ended job");
}

async fn notes(site: &Site) -> i64 {
    site.size("HLEN", "n").await
}

pub(crate) async fn a_log_goes_with_its_job(place: Place) {
    let site = site(&place, JobSettings { completed_max: 2, dead_max: 1, ..JobSettings::default() }).await;
    let queue = &site.queue;
    let run = async |id: &str, outcome: Outcome| {
        queue.enqueue(&named(id)).await.unwrap();
        let leased = take(queue).await;
        queue.log(&leased.ticket, &lines(&[id])).await.unwrap();
        queue.settle_one(&leased.ticket, outcome).await.unwrap()
    };
    // Forgotten, because more have completed since.
    for id in ["a", "b", "c"] {
        run(id, done()).await;
    }
    assert!(matches!(queue.logs("a", 0, 9).await, Err(Error::NotFound(_))));
    assert_eq!((texts(queue, "b").await, notes(&site).await), (vec!["b".to_owned()], 2));
    // A new job of the same id has a log of its own.
    queue.enqueue(&named("b")).await.unwrap();
    assert_eq!((texts(queue, "b").await.len(), notes(&site).await), (0, 1));
    queue.complete(&take(queue).await.ticket, None).await.unwrap();
    // Dead jobs keep it, also when they are tried again.
    let dead = || Outcome::GivenUp { error: "no".to_owned() };
    run("d", dead()).await;
    queue.requeue(Which::All).await.unwrap();
    let again = take(queue).await;
    queue.log(&again.ticket, &lines(&["again"])).await.unwrap();
    queue.settle_one(&again.ticket, dead()).await.unwrap();
    assert_eq!(texts(queue, "d").await, ["d", "again"]);
    run("e", dead()).await;
    assert!(queue.logs("d", 0, 9).await.is_err(), "dropped with its log");
    // Removed, and cancelled while a retry is due.
    queue.clear(State::Dead, Which::All).await.unwrap();
    run("f", failed("no")).await;
    queue.cancel(&["f".to_owned()]).await.unwrap();
    assert_eq!((state_of(queue, "f").await, texts(queue, "f").await), (State::Cancelled, vec!["f".to_owned()]));
    for state in [State::Cancelled, State::Completed] {
        queue.clear(state, Which::All).await.unwrap();
    }
    assert_eq!(notes(&site).await, 0, "nothing is left");
    // Nothing is remembered of it: nor is its log.
    let site = self::site(&place, JobSettings { completed_max: 0, ..JobSettings::default() }).await;
    site.queue.enqueue(&named("a")).await.unwrap();
    let leased = take(&site.queue).await;
    site.queue.log(&leased.ticket, &lines(&["a"])).await.unwrap();
    site.queue.complete(&leased.ticket, None).await.unwrap();
    assert_eq!(notes(&site).await, 0);
}

pub(crate) async fn no_line_is_lost_when_many_append(place: Place) {
    let queue = queue(&place).await;
    queue.enqueue(&named("a")).await.unwrap();
    let ticket = take(&queue).await.ticket;
    let mut tasks = JoinSet::new();
    for task in 0..8 {
        let (queue, ticket) = (queue.clone(), ticket.clone());
        tasks.spawn(async move {
            for number in 0..20 {
                queue.log(&ticket, &[format!("{task} {number}")]).await.unwrap();
            }
        });
    }
    while tasks.join_next().await.transpose().unwrap().is_some() {}
    let all = texts(&queue, "a").await;
    assert_eq!(all.len(), 160);
    for task in 0..8 {
        let of_task: Vec<&String> = all.iter().filter(|line| line.starts_with(&format!("{task} "))).collect();
        let expected: Vec<String> = (0..20).map(|number| format!("{task} {number}")).collect();
        assert_eq!(of_task, expected.iter().collect::<Vec<_>>());
    }
}

pub(crate) async fn handlers_write_logs(place: Place) {
    let queue = queue(&place).await;
    queue.enqueue(&NewJob { retry_base: Some(Duration::from_millis(1)), ..named("a") }).await.unwrap();
    let running = Worker::new(queue.clone())
        .handle("send", |cx: Context| async move {
            cx.log(format!("run {}", cx.attempt())).await?;
            match cx.attempt() {
                1 => Err(Failure::new("once more")),
                _ => Ok(()),
            }
        })
        .start()
        .unwrap();
    eventually("it is done", || async { queue.counts().await.unwrap().completed == 1 }).await;
    running.stop().await;
    assert_eq!(texts(&queue, "a").await, ["run 1", "run 2"]);
}

pub(crate) async fn logs_round_trip(place: Place) {
    let services = place.services().await;
    let run = on_mail(&services);
    run("enqueue", json!({"id": "a"})).await.unwrap();
    let token = run("lease", json!({})).await.unwrap()["jobs"][0]["token"].clone();
    let append = json!({"id": "a", "token": token, "lines": ["one", "two"]});
    assert_eq!(run("log", append).await, Ok(json!({"count": 2})));
    let page = run("logs", json!({"id": "a", "from": 1})).await.unwrap();
    assert_eq!((&page["lines"][0]["text"], &page["lines"][0]["number"]), (&json!("two"), &json!(1)));
    assert_eq!((&page["next"], &page["total"], &page["dropped"]), (&json!(2), &json!(2), &json!(0)));
    for (name, input, status) in [
        ("log", json!({"id": "a", "token": 1, "lines": ["x"]}), 409),
        ("log", json!({"id": "a", "token": 1, "lines": []}), 422),
        ("logs", json!({"id": "x"}), 404),
        ("logs", json!({"id": "a", "count": 0}), 422),
    ] {
        assert_eq!(run(name, input.clone()).await.unwrap_err().status(), status, "{name} {input}");
    }
}
