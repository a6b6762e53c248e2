//! Tests of locks that several can hold: semaphores, read/write locks; and of elections.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use redpoll_services::locks::{Lock, LockOptions, Lost, Mode, Renewal, Token};
use redpoll_services::{Error, Ttl};
use redpoll_testkit::Random;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::locks::{LONG, briefly, once, patiently, take};
use crate::support::{Place, eventually, tenant};

async fn waits(lock: &Lock, count: u64) {
    eventually("joining the queue", || async { lock.info().await.unwrap().queue_total == count }).await;
}

pub(crate) async fn permits_are_never_exceeded(place: Place) {
    const TASKS: u64 = 64;
    const CAPACITY: i64 = 5;
    let tenant = tenant();
    let (inside, most, newest) =
        (Arc::<AtomicI64>::default(), Arc::<AtomicI64>::default(), Arc::<AtomicU64>::default());
    let processes = [place.services().await, place.services().await, place.services().await];
    let mut tasks = JoinSet::new();
    for task in 0..TASKS {
        let permits = 1 + task % 3;
        let locks = processes[task as usize % processes.len()].locks(&tenant);
        let lock = locks.semaphore("gpu", permits, CAPACITY as u64).unwrap();
        let (inside, most, newest) = (inside.clone(), most.clone(), newest.clone());
        tasks.spawn(async move {
            for _ in 0..3 {
                let guard = take(&lock, &patiently()).await;
                let now = inside.fetch_add(permits as i64, Ordering::SeqCst) + permits as i64;
                assert!(now <= CAPACITY, "{now} permits are in use");
                most.fetch_max(now, Ordering::SeqCst);
                newest.fetch_max(guard.fence(), Ordering::SeqCst);
                // Longer than a round trip, so that others come meanwhile.
                tokio::time::sleep(Duration::from_millis(3)).await;
                inside.fetch_sub(permits as i64, Ordering::SeqCst);
                assert_eq!(guard.release().await, Ok(true));
            }
        });
    }
    tasks.join_all().await;
    assert!(most.load(Ordering::SeqCst) > 3, "they were held side by side");
    let info = processes[0].locks(&tenant).semaphore("gpu", 1, 5).unwrap().info().await.unwrap();
    assert_eq!((info.holders_total, info.queue_total, info.fence), (0, 0, newest.load(Ordering::SeqCst)));
}

pub(crate) async fn permits_of_the_dead_come_back(place: Place) {
    let locks = place.services().await.locks(&tenant());
    let lock = locks.semaphore("gpu", 1, 7).unwrap();
    // More than one step removes.
    let mut fences = Vec::new();
    for _ in 0..7 {
        fences.push(lock.claim(&briefly(150)).await.unwrap().unwrap());
    }
    assert!(fences.windows(2).all(|pair| pair[0].fence < pair[1].fence));
    assert!(lock.claim(&once()).await.unwrap().is_none());
    let started = Instant::now();
    let all = locks.semaphore("gpu", 7, 7).unwrap();
    let guard = take(&all, &patiently()).await;
    assert!(started.elapsed() < Duration::from_millis(1150), "{:?}", started.elapsed());
    assert_eq!(lock.release(&fences[0].token).await, Ok(false));
    assert_eq!(lock.extend(&fences[0].token, LONG).await, Ok(false));
    let info = lock.info().await.unwrap();
    assert_eq!((info.holders_total, info.holders[0].permits, info.holders[0].mode), (1, 7, None));
    guard.release().await.unwrap();
}

pub(crate) async fn who_wants_much_is_not_starved_by_who_wants_little(place: Place) {
    let locks = place.services().await.locks(&tenant());
    let (one, three) = (locks.semaphore("gpu", 1, 3).unwrap(), locks.semaphore("gpu", 3, 3).unwrap());
    let first = take(&one, &once()).await;
    let much = tokio::spawn({
        let three = three.clone();
        async move { take(&three, &patiently()).await }
    });
    waits(&one, 1).await;
    assert!(one.acquire(&once()).await.unwrap().is_none(), "there are two left, but somebody is before");
    let little = tokio::spawn({
        let one = one.clone();
        async move { take(&one, &patiently()).await }
    });
    waits(&one, 2).await;
    first.release().await.unwrap();
    let much = much.await.unwrap();
    assert!(!little.is_finished());
    much.release().await.unwrap();
    let little = little.await.unwrap();
    // A second one finds room beside it at once.
    take(&one, &once()).await.release().await.unwrap();
    little.release().await.unwrap();
}

pub(crate) async fn asking_twice_for_permits_is_asking_once(place: Place) {
    let lock = place.services().await.locks(&tenant()).semaphore("gpu", 2, 4).unwrap();
    let options = LockOptions { token: Some(Token::new()), ..once() };
    let first = lock.claim(&options).await.unwrap().unwrap();
    assert_eq!(lock.claim(&options).await.unwrap().unwrap(), first);
    let other = lock.claim(&once()).await.unwrap().expect("two are left");
    assert!(lock.claim(&once()).await.unwrap().is_none());
    assert_eq!(lock.release(&first.token).await, Ok(true));
    assert_eq!(lock.release(&first.token).await, Ok(false));
    assert!(lock.claim(&options).await.unwrap().unwrap().fence > other.fence);
    // What is taken by force is free at once, and nobody's any more.
    let (held, fence) = lock.force_release().await.unwrap();
    assert!(held && fence > other.fence);
    assert_eq!(lock.extend(&other.token, LONG).await, Ok(false));
    assert_eq!(lock.info().await.unwrap().holders_total, 0);
    assert!(!lock.force_release().await.unwrap().0);
}

/// What a semaphore should answer while no lease ends.
pub(crate) async fn permits_match_the_model(place: Place) {
    const CAPACITY: u64 = 6;
    let locks = place.services().await.locks(&tenant());
    let seed = 0x5e_2026;
    println!("seed {seed:#x}");
    let mut random = Random::new(seed);
    let tokens: Vec<Token> = (0..5).map(|_| Token::new()).collect();
    let (mut held, mut newest) = ([0_u64; 5], 0);
    for step in 0..400 {
        let who = random.below(5) as usize;
        let permits = 1 + random.below(4);
        let lock = locks.semaphore("gpu", permits, CAPACITY).unwrap();
        match random.below(10) {
            0..=4 => {
                let claim = lock.claim(&LockOptions { token: Some(tokens[who].clone()), ..once() }).await.unwrap();
                let fits = held.iter().sum::<u64>() + permits <= CAPACITY;
                assert_eq!(claim.is_some(), held[who] > 0 || fits, "step {step}");
                if let Some(claim) = claim.filter(|_| held[who] == 0) {
                    assert!(claim.fence > newest, "step {step}");
                    (newest, held[who]) = (claim.fence, permits);
                }
            }
            5..=8 => {
                let released = lock.release(&tokens[who]).await.unwrap();
                assert_eq!(released, std::mem::take(&mut held[who]) > 0, "step {step}");
            }
            _ => assert_eq!(lock.extend(&tokens[who], LONG).await.unwrap(), held[who] > 0, "step {step}"),
        }
        let info = lock.info().await.unwrap();
        let in_use: u64 = info.holders.iter().map(|holder| holder.permits).sum();
        assert_eq!(in_use, held.iter().sum::<u64>(), "step {step}");
        assert_eq!(info.holders_total, held.iter().filter(|held| **held > 0).count() as u64, "step {step}");
    }
}

pub(crate) async fn readers_share_and_a_writer_is_alone(place: Place) {
    const TASKS: usize = 32;
    let tenant = tenant();
    let (readers, writers) = (Arc::<AtomicI64>::default(), Arc::<AtomicI64>::default());
    let processes = [place.services().await, place.services().await];
    let mut tasks = JoinSet::new();
    for task in 0..TASKS {
        let locks = processes[task % 2].locks(&tenant);
        let (readers, writers) = (readers.clone(), writers.clone());
        tasks.spawn(async move {
            for round in 0..4 {
                if (task + round) % 4 == 0 {
                    let guard = take(&locks.write("catalog").unwrap(), &patiently()).await;
                    assert_eq!(writers.fetch_add(1, Ordering::SeqCst), 0);
                    assert_eq!(readers.load(Ordering::SeqCst), 0);
                    guard.fenced_set("catalog", b"new", Ttl::Never).await.expect("a writer is alone");
                    writers.fetch_sub(1, Ordering::SeqCst);
                    guard.release().await.unwrap();
                } else {
                    let guard = take(&locks.read("catalog").unwrap(), &patiently()).await;
                    readers.fetch_add(1, Ordering::SeqCst);
                    assert_eq!(writers.load(Ordering::SeqCst), 0);
                    tokio::task::yield_now().await;
                    readers.fetch_sub(1, Ordering::SeqCst);
                    guard.release().await.unwrap();
                }
            }
        });
    }
    tasks.join_all().await;
}

pub(crate) async fn readers_do_not_starve_a_writer_nor_it_them(place: Place) {
    let locks = place.services().await.locks(&tenant());
    let (read, write) = (locks.read("catalog").unwrap(), locks.write("catalog").unwrap());
    let (one, two) = (take(&read, &once()).await, take(&read, &once()).await);
    let modes: Vec<_> = read.info().await.unwrap().holders.into_iter().map(|holder| holder.mode).collect();
    assert_eq!(modes, [Some(Mode::Read), Some(Mode::Read)]);
    let writer = tokio::spawn({
        let write = write.clone();
        async move { take(&write, &patiently()).await }
    });
    waits(&read, 1).await;
    // A reader that comes now waits behind the writer.
    assert!(read.acquire(&once()).await.unwrap().is_none());
    let (said, mut heard) = mpsc::unbounded_channel();
    for count in 2..=5 {
        let (read, said) = (read.clone(), said.clone());
        tokio::spawn(async move { said.send(take(&read, &patiently()).await) });
        waits(&write, count).await;
    }
    one.release().await.unwrap();
    two.release().await.unwrap();
    let writer = writer.await.unwrap();
    let info = read.info().await.unwrap();
    assert_eq!((info.holders_total, info.holders[0].mode, info.queue_total), (1, Some(Mode::Write), 4));
    assert!(heard.try_recv().is_err());
    // All four read together: each that is let in wakes the one behind it.
    let started = Instant::now();
    writer.release().await.unwrap();
    let mut readers = Vec::new();
    for _ in 0..4 {
        readers.push(heard.recv().await.unwrap());
    }
    assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
    assert_eq!(read.info().await.unwrap().holders_total, 4);
    // Permits of several are no proof of being alone: an older reader's write is refused.
    assert!(matches!(readers[0].fenced_set("catalog", b"", Ttl::Never).await, Err(Error::Conflict(_))));
}

pub(crate) async fn one_candidate_leads_and_another_follows(place: Place) {
    let tenant = tenant();
    let (mut processes, mut terms) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        processes.push(place.services().await.locks(&tenant).election("scheduler").unwrap());
    }
    assert_eq!(processes[0].leader().await, Ok(None));
    let options = LockOptions { lease: Some(Duration::from_millis(900)), ..LockOptions::default() };
    let (said, mut heard) = mpsc::unbounded_channel();
    for (number, election) in processes.iter().enumerate() {
        let (election, options, said) = (election.clone(), options.clone(), said.clone());
        tokio::spawn(async move {
            let candidate = format!("candidate {number}");
            let guard = election.campaign(&candidate, &options).await.unwrap();
            said.send((candidate, guard)).ok();
        });
    }
    for turn in 0..3 {
        let (candidate, guard) = heard.recv().await.unwrap();
        let leader = processes[0].leader().await.unwrap().unwrap();
        assert_eq!((leader.candidate, leader.term), (candidate, guard.fence()));
        terms.push(leader.term);
        assert!(heard.try_recv().is_err(), "one leads");
        match turn {
            0 => assert_eq!(guard.release().await, Ok(true), "it resigns"),
            // It dies: nothing renews its lease, nothing releases it.
            1 => drop(guard.detach()),
            _ => {
                tokio::time::sleep(Duration::from_millis(1200)).await;
                assert!(guard.is_held(), "it renews, and leads for longer than a lease");
                processes[1].lock().force_release().await.unwrap();
                assert_eq!(tokio::time::timeout(LONG, guard.lost()).await.unwrap(), Lost::Refused);
            }
        }
    }
    assert!(terms.windows(2).all(|pair| pair[0] < pair[1]), "{terms:?}");
}

pub(crate) async fn renewal_of_permits(place: Place) {
    let lock = place.services().await.locks(&tenant()).read("catalog").unwrap();
    let lease = Duration::from_millis(300);
    let options = LockOptions { lease: Some(lease), renewal: Renewal::Automatic, ..once() };
    let (one, two) = (take(&lock, &options).await, take(&lock, &options).await);
    tokio::time::sleep(lease * 3).await;
    assert_eq!(lock.info().await.unwrap().holders_total, 2);
    drop(one);
    eventually("a dropped guard gives back", || async { lock.info().await.unwrap().holders_total == 1 }).await;
    assert_eq!(two.release().await, Ok(true));
}
