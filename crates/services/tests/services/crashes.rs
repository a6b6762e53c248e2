//! Redpoll killed under load: what was acknowledged is there after the restart, and no lock has two holders.
//!
//! Workers create and end sessions, issue, consume and deny tokens, begin and complete requests, acquire and release locks,
//! and note what was acknowledged to them. What was asked and not answered when the kill came is noted nowhere: it may have
//! happened or not. The log is on the disk before an answer is given (`appendfsync always`).

use std::sync::{Arc, Mutex};
use std::time::Duration;

use redpoll_services::idempotency::{Answer, BeginOptions, Begun, Claim, Fingerprint};
use redpoll_services::locks::{self, LockOptions, Renewal};
use redpoll_services::sessions::{Lookup, NewSession, Origin, SessionId, Update};
use redpoll_services::tokens::{Denial, Reason, Secret, Verdict};
use redpoll_services::{Result, Services, Tenant};
use redpoll_testkit::{Launch, Program, Scratch};
use serde_json::json;
use tokio::task::JoinSet;

use crate::support::{Place, eventually};

const WORKERS: usize = 8;
/// How often the store is killed, and after how many rounds of all workers.
const KILLS: usize = 3;
const ROUNDS_EACH: usize = 60;
/// Longer than the test takes.
const LONG: Duration = Duration::from_secs(600);

/// What was acknowledged and not asked to be otherwise since.
#[derive(Default)]
struct Facts {
    rounds: usize,
    /// The last value that was written, and the last that was sent.
    sessions: Vec<(SessionId, u64, u64)>,
    ended: Vec<SessionId>,
    issued: Vec<Secret>,
    consumed: Vec<Secret>,
    denied: Vec<String>,
    begun: Vec<String>,
    completed: Vec<String>,
    held: Vec<(String, locks::Claim)>,
    released: Vec<(String, u64)>,
}

type Shared = Arc<Mutex<Facts>>;

fn fingerprint(key: &str) -> Fingerprint {
    Fingerprint::of(&[key.as_bytes()])
}

fn begin_options() -> BeginOptions {
    BeginOptions { lease: Some(LONG), ..BeginOptions::default() }
}

fn one_attempt() -> LockOptions {
    LockOptions { wait: Some(Duration::ZERO), lease: Some(LONG), renewal: Renewal::Manual, ..LockOptions::default() }
}

/// Works until the store is gone.
struct Worker {
    services: Services,
    facts: Shared,
    name: String,
}

impl Worker {
    fn note<T>(&self, note: impl FnOnce(&mut Facts) -> T) -> T {
        note(&mut self.facts.lock().unwrap())
    }

    async fn work(self) {
        for round in 0_u64.. {
            let done = async {
                self.session(round).await?;
                self.token(round).await?;
                self.request(round).await?;
                self.lock(round).await
            };
            match done.await {
                Ok(()) => self.note(|facts| facts.rounds += 1),
                Err(error) if error.is_outage() => return,
                Err(error) => panic!("{error}"),
            }
        }
    }

    async fn session(&self, round: u64) -> Result<()> {
        let sessions = self.services.sessions(&Tenant::default());
        let id = sessions.create(&NewSession::of(format!("{}-{round}", self.name)).with("n", json!(0))).await?.id;
        let place = self.note(|facts| {
            facts.sessions.push((id.clone(), 0, 0));
            facts.sessions.len() - 1
        });
        for value in 1..=3 {
            self.note(|facts| facts.sessions[place].2 = value);
            sessions.update(&id, &Update::new().set("n", value)).await?;
            self.note(|facts| facts.sessions[place].1 = value);
        }
        if round.is_multiple_of(2) {
            // From here on its value says nothing.
            self.note(|facts| facts.sessions[place].2 = u64::MAX);
            assert!(sessions.destroy(&id).await?);
            self.note(|facts| facts.ended.push(id));
        }
        Ok(())
    }

    async fn token(&self, round: u64) -> Result<()> {
        let tokens = self.services.tokens(&Tenant::default());
        let (kept, used) =
            (tokens.issue("t", None, &json!(1), None).await?, tokens.issue("t", None, &json!(1), None).await?);
        self.note(|facts| facts.issued.push(kept));
        assert!(tokens.consume("t", None, &used).await?.now().is_some());
        self.note(|facts| facts.consumed.push(used));
        let jti = format!("{}-{round}", self.name);
        let exp = self.services.backend().now_ms().await? as i64 / 1000 + 3600;
        assert!(matches!(tokens.deny(&jti, exp).await?, Denial::Denied { .. }));
        self.note(|facts| facts.denied.push(jti));
        Ok(())
    }

    async fn request(&self, round: u64) -> Result<()> {
        let keys = self.services.idempotency(&Tenant::default(), "s")?;
        for which in ["begun", "completed"] {
            let key = format!("{}-{round}-{which}", self.name);
            let claim: Claim = match keys.begin_with(&key, &fingerprint(&key), &begin_options()).await? {
                Begun::Started(claim) => claim,
                other => panic!("{key}: {other:?}"),
            };
            if which == "begun" {
                self.note(|facts| facts.begun.push(key));
            } else {
                claim.complete(&Answer::new(json!({}), key.as_bytes())).await?;
                self.note(|facts| facts.completed.push(key));
            }
        }
        Ok(())
    }

    async fn lock(&self, round: u64) -> Result<()> {
        for which in ["held", "released"] {
            let name = format!("{}-{round}-{which}", self.name);
            let lock = self.services.locks(&Tenant::default()).mutex(&name)?;
            let claim = lock.claim(&one_attempt()).await?.expect("nobody else wants it");
            if which == "held" {
                self.note(|facts| facts.held.push((name, claim)));
            } else {
                assert!(lock.release(&claim.token).await?);
                self.note(|facts| facts.released.push((name, claim.fence)));
            }
        }
        Ok(())
    }
}

/// Sees to it that everything noted is so. Locks that were released are acquired, and released again.
async fn check(services: &Services, facts: &mut Facts) {
    let sessions = services.sessions(&Tenant::default());
    for (id, written, sent) in &facts.sessions {
        match sessions.load(id, &Origin::default()).await.unwrap() {
            Lookup::Found(session) if *sent < u64::MAX => {
                let value: u64 = session.value("n").unwrap().unwrap();
                assert!((*written..=*sent).contains(&value), "{value}, but {written} was acknowledged");
            }
            other => assert!(*sent == u64::MAX, "a session was acknowledged and is lost: {other:?}"),
        }
    }
    for id in &facts.ended {
        assert_eq!(sessions.load(id, &Origin::default()).await.unwrap(), Lookup::Missing, "back after the logout");
    }
    let tokens = services.tokens(&Tenant::default());
    for token in &facts.issued {
        assert!(tokens.peek("t", None, token).await.unwrap().is_some(), "a token was issued and is lost");
    }
    for token in &facts.consumed {
        assert!(tokens.peek("t", None, token).await.unwrap().is_none(), "a token was consumed and is good again");
    }
    for jti in &facts.denied {
        assert_eq!(tokens.check_token(jti).await.unwrap(), Verdict::Revoked(Reason::Token), "un-revoked");
    }
    let keys = services.idempotency(&Tenant::default(), "s").unwrap();
    for key in &facts.begun {
        let begun = keys.begin_with(key, &fingerprint(key), &begin_options()).await.unwrap();
        assert!(matches!(begun, Begun::InProgress { .. }), "begun twice: {begun:?}");
    }
    for key in &facts.completed {
        match keys.begin(key, &fingerprint(key)).await.unwrap() {
            Begun::Replay(answer) => assert_eq!(answer.body, key.as_bytes()),
            other => panic!("an answer was stored and is lost: {other:?}"),
        }
    }
    let locks = services.locks(&Tenant::default());
    for (name, claim) in &facts.held {
        let lock = locks.mutex(name).unwrap();
        assert!(lock.claim(&one_attempt()).await.unwrap().is_none(), "{name} is held by two");
        let info = lock.info().await.unwrap();
        assert_eq!(info.holders.iter().map(|holder| holder.fence).collect::<Vec<_>>(), [claim.fence]);
        assert!(lock.extend(&claim.token, LONG).await.unwrap(), "{name} is not its holder's");
    }
    for (name, fence) in &mut facts.released {
        let lock = locks.mutex(name).unwrap();
        let next = lock.claim(&one_attempt()).await.unwrap().expect("it was given back");
        assert!(next.fence > *fence, "{name}: fence {} after {fence}", next.fence);
        *fence = next.fence;
        assert!(lock.release(&next.token).await.unwrap());
    }
}

fn start(scratch: &Scratch) -> Program {
    let args = ["--no-http", "--appendfsync", "always"].map(str::to_owned).to_vec();
    Launch { dir: Some(scratch.path().join("data")), args, ..Launch::default() }.start().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_redpoll_acknowledged_before_it_was_killed_is_there() {
    let scratch = Scratch::new().unwrap();
    let facts = Shared::default();
    for turn in 0..KILLS {
        let program = start(&scratch);
        let services = Place::at(program.url()).services().await;
        let mut known = std::mem::take(&mut *facts.lock().unwrap());
        check(&services, &mut known).await;
        *facts.lock().unwrap() = known;
        let mut workers = JoinSet::new();
        for number in 0..WORKERS {
            let worker = Worker { services: services.clone(), facts: facts.clone(), name: format!("w{turn}-{number}") };
            workers.spawn(worker.work());
        }
        let enough = (turn + 1) * ROUNDS_EACH;
        eventually("work", || async { facts.lock().unwrap().rounds >= enough }).await;
        assert!(workers.try_join_next().is_none(), "a worker ended by itself");
        program.kill().unwrap();
        workers.join_all().await;
    }
    let program = start(&scratch);
    let mut facts = std::mem::take(&mut *facts.lock().unwrap());
    let services = Place::at(program.url()).services().await;
    check(&services, &mut facts).await;
    // The oracle finds out what is lost.
    let forgotten = facts.ended.pop().expect("half of the sessions were ended");
    facts.sessions.push((forgotten, 0, 0));
    let checked = tokio::spawn(async move { check(&services, &mut facts).await });
    assert!(checked.await.unwrap_err().is_panic());
}
