//! Time per call of the services on the embedded store, on one thread.
//!
//! The subjects are few enough to stay in the processor's caches, since a service's own cost is asked for here and not that of main memory, which
//! `embedded` shows. Each call is awaited before the next.

use anyhow::{Context, Result, ensure};
use redpoll_services::cache::{Lookup, NamespaceSettings, NearSettings};
use redpoll_services::locks::LockOptions;
use redpoll_services::ratelimit::{Algorithm, Rule};
use redpoll_services::sessions::{Lookup as Session, NewSession, Origin};
use redpoll_services::{Backend, Services, Settings, Tenant};
use redpoll_store::{Config, Store};
use serde_json::json;

use crate::median;
use crate::process::thread_cpu_nanos;

/// Different subjects, keys, names.
const SUBJECTS: usize = 1_000;

/// Calls per measurement.
const CALLS: usize = 200_000;

pub(crate) fn run(repeat: usize, only: &str) -> Result<()> {
    println!("\nservices on the embedded store, processor ns per call ({SUBJECTS} subjects, median of {repeat})");
    println!("{:<34} {:>9} {:>9}", "call", "redpoll", "goal");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut settings = Settings::default();
        let near = NamespaceSettings { near: Some(NearSettings::default()), ..NamespaceSettings::default() };
        settings.cache.namespaces.insert("near".to_owned(), near);
        let services = Services::new(Backend::embedded(Store::open(Config::in_memory())?), settings);
        let part = Part {
            services,
            subjects: (0..SUBJECTS).map(|number| format!("subject:{number}")).collect(),
            repeat,
            only,
        };
        part.limits().await?;
        part.caches().await?;
        part.sessions().await?;
        part.locks().await
    })
}

/// What the measurements share.
struct Part<'a> {
    services: Services,
    subjects: Vec<String>,
    repeat: usize,
    only: &'a str,
}

impl Part<'_> {
    async fn limits(&self) -> Result<()> {
        let limiter = self.services.rate_limit(&Tenant::default());
        for algorithm in Algorithm::ALL {
            let rule = Rule::new("bench", algorithm, 50_000, 60_000)?;
            let check = async |at: usize| {
                let decision = limiter.check(&rule, &self.subjects[at]).await?;
                ensure!(decision.limit == rule.capacity(), "another rule answered");
                Ok(())
            };
            self.row(&format!("limiter check, {algorithm:?}"), 1_000.0, check).await?;
        }
        Ok(())
    }

    async fn caches(&self) -> Result<()> {
        for (namespace, name, goal) in
            [("store", "cache lookup, store", 1_000.0), ("near", "cache lookup, near", 100.0)]
        {
            let cache = self.services.cache(&Tenant::default()).namespace(namespace)?;
            for key in &self.subjects {
                cache.set(key, "a value of some length, as one might find in a cache of pages").await?;
                cache.lookup(key).await?;
            }
            let look_up = async |at: usize| {
                // What is not near is fetched, as a program would.
                let near = if namespace == "near" { cache.lookup_near(&self.subjects[at]) } else { None };
                let found = match near {
                    Some(found) => found,
                    None => cache.lookup(&self.subjects[at]).await?,
                };
                ensure!(matches!(found, Lookup::Hit(_)), "the entry is gone");
                Ok(())
            };
            self.row(name, goal, look_up).await?;
        }
        Ok(())
    }

    async fn sessions(&self) -> Result<()> {
        let sessions = self.services.sessions(&Tenant::default());
        let mut ids = Vec::new();
        for user in &self.subjects {
            ids.push(sessions.create(&NewSession::of(user).with("theme", json!("dark"))).await?.id);
        }
        let origin = Origin::default();
        let load = async |at: usize| {
            ensure!(matches!(sessions.load(&ids[at], &origin).await?, Session::Found(_)), "the session is gone");
            Ok(())
        };
        self.row("session read", 2_000.0, load).await
    }

    async fn locks(&self) -> Result<()> {
        let locks = self.services.locks(&Tenant::default());
        let mutexes = self.subjects.iter().map(|name| locks.mutex(name)).collect::<Result<Vec<_>, _>>()?;
        let options = LockOptions::default();
        let hold = async |at: usize| {
            let claim = mutexes[at].claim(&options).await?;
            ensure!(mutexes[at].release(&claim.context("somebody holds it")?.token).await?, "it was lost");
            Ok(())
        };
        self.row("lock acquire and release", 4_000.0, hold).await
    }

    async fn row(&self, name: &str, goal: f64, call: impl AsyncFn(usize) -> Result<()>) -> Result<()> {
        if !name.contains(self.only) {
            return Ok(());
        }
        let mut taken = Vec::new();
        for _ in 0..self.repeat {
            let before = thread_cpu_nanos()?;
            for at in (0..SUBJECTS).cycle().take(CALLS) {
                call(at).await?;
            }
            taken.push((thread_cpu_nanos()? - before) as f64 / CALLS as f64);
        }
        println!("{name:<34} {:>9.0} {goal:>9.0}", median(taken));
        Ok(())
    }
}
