//! Tickers that are killed, again and again: each tick comes once, and none is missing.
//!
//! A ticker of its own process (this test program, started again) is killed with SIGKILL, wherever it is; where the store is in this process, its
//! task is dropped instead, which ends it at any of its waits.

use std::collections::BTreeMap;
use std::process::{Child, Command as Process, Stdio};

use redpoll_services::Tenant;
use redpoll_services::schedules::Ticker;
use tokio::task::JoinHandle;

use crate::schedule_races::{check, forgetful, often, seen_until_the_end};
use crate::schedules::{Site, site_of};
use crate::support::{PATIENCE, Place, tenant};

const URL: &str = "REDPOLL_TEST_TICKER_URL";
const TENANT: &str = "REDPOLL_TEST_TICKER_TENANT";

const SCHEDULES: usize = 4;
const TICKS: u64 = 25;
const KILLS: usize = 6;
/// Jobs that are seen between two kills.
const BETWEEN: usize = 3;

/// The process that is killed; without its variables there is nothing to do.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ticker_process() {
    let (Ok(url), Ok(tenant)) = (std::env::var(URL), std::env::var(TENANT)) else { return };
    let site = site_of(&Place::at(url), &Tenant::new(tenant).unwrap(), forgetful()).await;
    Ticker::new(site.services).run(std::future::pending()).await;
}

enum Victim {
    Process(Child),
    Task(JoinHandle<()>),
}

impl Victim {
    fn start(place: &Place, site: &Site) -> Self {
        if place.url().is_empty() {
            return Self::Task(tokio::spawn(Ticker::new(site.services.clone()).run(std::future::pending())));
        }
        let process = Process::new(std::env::current_exe().unwrap())
            .args(["--exact", "schedule_killed::ticker_process"])
            .envs([(URL, place.url()), (TENANT, site.tenant.name())])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        Self::Process(process.unwrap())
    }

    async fn kill(&mut self) {
        match self {
            Self::Task(task) => {
                task.abort();
                assert!(task.await.unwrap_err().is_cancelled());
            }
            Self::Process(process) => {
                process.kill().unwrap();
                process.wait().unwrap();
            }
        }
    }
}

/// Works until so many jobs more were seen.
async fn work(site: &Site, seen: &mut BTreeMap<String, usize>, count: usize) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    let goal = seen.len() + count;
    while seen.len() < goal {
        for id in site.work().await {
            *seen.entry(id).or_insert(0) += 1;
        }
        assert!(tokio::time::Instant::now() < deadline, "nothing comes");
        tokio::task::yield_now().await;
    }
}

pub(crate) async fn killed_tickers_neither_lose_nor_double_a_tick(place: Place) {
    let site = site_of(&place, &tenant(), forgetful()).await;
    let mut firsts = Vec::new();
    for number in 0..SCHEDULES {
        let id = format!("s{number}");
        firsts.push((id.clone(), site.schedules.put(&id, &often(TICKS)).await.unwrap().next_ms.unwrap()));
    }
    let mut seen = BTreeMap::new();
    for _ in 0..KILLS {
        let mut victim = Victim::start(&place, &site);
        work(&site, &mut seen, BETWEEN).await;
        victim.kill().await;
    }
    let mut last = Victim::start(&place, &site);
    for (id, count) in seen_until_the_end(&site, SCHEDULES).await {
        *seen.entry(id).or_insert(0) += count;
    }
    last.kill().await;
    check(&seen, &firsts, TICKS);
}
