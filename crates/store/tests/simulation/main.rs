//! Nothing acknowledged is lost: a store on a disk that fails, fills up and loses its power, by a schedule that belongs to a seed.
//!
//! ```text
//!   seed ─► steps: a command of a connection │ a flush │ SAVE │ BGSAVE │ BGREWRITEAOF │ a setting │ a fault │ a crash and a restart
//!                    └─► digest of the data ─► history ─┐
//!                           what is acknowledged ─► safe ├─► the digest after a restart stands in the history, not before what is safe
//! ```
//!
//! The oracle is the store itself while it runs: the digest of all data after every command. What commands do is tested elsewhere; here it matters that
//! a restart finds a state that there was, whole transactions only, and none older than what was acknowledged as safe ([`history`]). A start refuses only
//! what a test has damaged, and names the file and the place. Once the log is cut there, as the message says, the start must find the same.
//!
//! What a schedule does belongs to its seed. How far the thread of the log has come is made to, too: between two commands it is waited for. Three things
//! are left to real time, so that a run may differ from another with the same seed: a snapshot or rewrite that is not waited for works beside the
//! commands; `everysec` syncs when a second is over; after a fault the log tries again a second later, and commands are refused once a thread that looks ten
//! times a second has seen it. What may be lost in each of these cases is the same.
//!
//! `cargo xtask simulate` runs as many seeds as it is told to.

mod history;
mod restart;
mod tally;
mod world;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use tally::Tally;
use world::World;

/// Seeds in the ordinary tests.
const SMOKE_SEEDS: u64 = 24;

/// Schedules that run at once: they wait for real time more than they work.
const WORKERS: u64 = 8;

/// Steps of a schedule.
const STEPS: usize = 400;

/// Reads a number that `cargo xtask simulate` sets.
fn told(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("the variable is a number"))
}

/// Says which seed it was if a schedule ends in a panic.
struct Named(u64);

impl Drop for Named {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("seed {} failed: cargo xtask simulate --seeds 1 --seed {}", self.0, self.0);
        }
    }
}

fn run(seed: u64) -> Tally {
    let _named = Named(seed);
    let mut world = World::new(seed);
    for _ in 0..STEPS {
        if !world.step() {
            break;
        }
    }
    world.end()
}

#[test]
fn nothing_acknowledged_is_lost() {
    let (first, count) = (told("REDPOLL_SIMULATE_SEED").unwrap_or(1), told("REDPOLL_SIMULATE_SEEDS"));
    let end = first + count.unwrap_or(SMOKE_SEEDS);
    let (next, began) = (AtomicU64::new(first), Instant::now());
    let tally = std::thread::scope(|scope| {
        let work = || {
            let mut tally = Tally::default();
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= end {
                    return tally;
                }
                tally.add(&run(seed));
            }
        };
        let workers: Vec<_> = (0..WORKERS).map(|_| scope.spawn(work)).collect();
        let mut all = Tally::default();
        let ended: Vec<_> = workers.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
        for tally in ended {
            all.add(&tally.expect("a schedule failed; its seed is said above"));
        }
        all
    });
    println!("seeds {first}..{end} in {:.1} s\n{tally}", began.elapsed().as_secs_f64());
    if count.is_none() {
        tally.check_that_much_happened();
    }
}
