//! `redpoll worker` as a user starts it: what processes are given and what becomes of their answers, signals, drain, death.

use std::process::Command;
use std::time::{Duration, Instant};

use redpoll_testkit::{RedisServer, Scratch};
use serde_json::{Value as Json, json};

use super::support::{Served, run, run_with_input};

const PATIENCE: Duration = Duration::from_secs(30);

/// A queue in a store of its own.
struct Site {
    server: RedisServer,
    scratch: Scratch,
}

impl Site {
    fn new() -> Self {
        Self { server: RedisServer::start().unwrap(), scratch: Scratch::new().unwrap() }
    }

    /// Calls an operation of the queue.
    fn call(&self, operation: &str, input: &Json) -> Json {
        let args = ["jobs", operation, "mail", "--input", "-", "--url", &self.server.url()];
        let ended = run_with_input(&args, &input.to_string());
        assert_eq!(ended.code, 0, "{operation}: {}", ended.stderr);
        serde_json::from_str(&ended.stdout).unwrap()
    }

    fn enqueue(&self, job: &Json) {
        assert_eq!(self.call("enqueue", job)["existing"], Json::Null);
    }

    fn job(&self, id: &str) -> Json {
        let ended = run(&["jobs", "job", "mail", id, "--url", &self.server.url()]);
        serde_json::from_str(&ended.stdout).unwrap_or(Json::Null)
    }

    /// Waits until a job is in a state, and returns it.
    fn becomes(&self, id: &str, state: &str) -> Json {
        let begun = Instant::now();
        loop {
            let job = self.job(id);
            if job["job"]["state"] == state {
                return job;
            }
            assert!(begun.elapsed() < PATIENCE, "{id} is not {state}: {job}");
        }
    }

    fn counts(&self) -> Json {
        self.call("counts", &json!({}))
    }

    /// Starts a worker whose processes run in the directory of this site.
    fn worker(&self, command: &str, args: &[&str]) -> Served {
        let command = format!("cd '{}'; {command}", self.scratch.path().display());
        let url = self.server.url();
        let own = ["worker", "--queue", "mail", "--url", &url, "--exec", &command, "--json"];
        let mut worker = Served::start_command(&[own.as_slice(), args].concat());
        assert_eq!(worker.ready_line()["event"], "ready");
        worker
    }

    /// Waits for a file that a process makes, and returns what is in it.
    fn file(&self, name: &str) -> String {
        let begun = Instant::now();
        loop {
            // Written in one go, with an end of line.
            match std::fs::read_to_string(self.scratch.path().join(name)) {
                Ok(text) if text.ends_with('\n') => return text.trim().to_owned(),
                _ => assert!(begun.elapsed() < PATIENCE, "there is no {name}"),
            }
            std::thread::yield_now();
        }
    }

    fn make(&self, name: &str) {
        std::fs::write(self.scratch.path().join(name), "\n").unwrap();
    }
}

/// Waits until a file is there.
const UNTIL_GO: &str = "until [ -e go ]; do sleep 0.02; done";

const BY_NAME: &str = r#"case "$REDPOLL_JOB_NAME" in
    echo) cat ;;
    silent) ;;
    unread) echo unread ;;
    fail) echo "no such host" >&2; exit 3 ;;
    mute) exit 4 ;;
    give_up) echo "no such user" >&2; exit 65 ;;
    later) exit 75 ;;
    killed) kill -9 $$ ;;
    much) head -c 3000000 /dev/zero ;;
    noisy) head -c 30000 /dev/zero | tr '\0' 'x' >&2; echo "the end" >&2; exit 1 ;;
    child) sleep 300 & echo started ;;
    facts) printf '%s|' "$REDPOLL_JOB_ID" "$REDPOLL_JOB_QUEUE" "$REDPOLL_JOB_TENANT" "$REDPOLL_JOB_ATTEMPT" "$TRACEPARENT" "$REDPOLL_JOB_HEADERS" "${REDPOLL_JOB_TOKEN:+token}" ;;
esac"#;

/// An id that is a command to a careless shell.
const ODD: &str = "; touch oops; $(touch oops) 'é";

#[test]
fn what_processes_are_given_and_answer() {
    let site = Site::new();
    let mut worker = site.worker(BY_NAME, &["--concurrency", "4", "--release-ms", "600000"]);
    // Bytes that no text has, and more than a pipe holds, which one of them does not read.
    let bytes = "AP8NCgBhYmM=";
    let large = "x".repeat(500_000);
    site.enqueue(&json!({"id": "echo", "name": "echo", "payload_base64": bytes}));
    site.enqueue(&json!({"id": "unread", "name": "unread", "payload": large}));
    // No environment can hold it.
    site.enqueue(&json!({"id": "nul", "name": "nul\0", "attempts_max": 1}));
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    site.enqueue(&json!({"id": ODD, "name": "facts", "headers": {"traceparent": trace}}));
    for name in ["silent", "fail", "mute", "give_up", "later", "killed", "much", "noisy", "child"] {
        site.enqueue(&json!({"id": name, "name": name, "attempts_max": 1}));
    }
    assert_eq!(site.becomes("echo", "completed")["result_base64"], bytes);
    // "unread" with the end of the line.
    assert_eq!(site.becomes("unread", "completed")["result_base64"], "dW5yZWFkCg==");
    assert_eq!(site.becomes("silent", "completed").get("result_base64"), None);
    assert_eq!(site.becomes("child", "completed")["result_base64"], "c3RhcnRlZAo=");
    for (name, cause) in [
        ("fail", "exit status: 3: no such host"),
        ("mute", "exit status: 4"),
        ("nul", "cannot start /bin/sh: nul byte found in provided data"),
        ("give_up", "exit status: 65: no such user"),
        ("killed", "signal: 9 (SIGKILL)"),
        ("much", "printed more than 1048576 bytes"),
    ] {
        assert_eq!(site.becomes(name, "dead")["error"], cause, "{name}");
    }
    let noise = site.becomes("noisy", "dead")["error"].as_str().unwrap().to_owned();
    assert!(noise.ends_with("xxxthe end") && (4_000..=4_096).contains(&noise.len()), "{}", noise.len());
    assert_eq!(site.becomes("later", "delayed")["job"]["failures"], 0);
    let listed = run(&["jobs", "list", "mail", "completed", "--url", &site.server.url()]);
    let listed: Json = serde_json::from_str(&listed.stdout).unwrap();
    let is_odd = |job: &&Json| job["job"]["id"] == ODD;
    assert_eq!(listed["jobs"].as_array().unwrap().iter().filter(is_odd).count(), 1, "{listed}");
    assert!(!site.scratch.path().join("oops").exists(), "ids are facts, not commands");
    let workers: Json = serde_json::from_str(&run(&["workers", "list", "--url", &site.server.url()]).stdout).unwrap();
    assert_eq!(
        (&workers["workers"][0]["is_alive"], &workers["workers"][0]["queues"]),
        (&json!(true), &json!(["mail"]))
    );
    worker.signal();
    assert_eq!(worker.ready_line()["summary"]["completed"], 5);
    assert_eq!(worker.wait().0, Some(0));
}

#[test]
fn facts_and_results_of_a_process() {
    let site = Site::new();
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    site.enqueue(&json!({"id": "a b", "name": "facts", "headers": {"traceparent": trace, "lang": "é"}}));
    site.enqueue(
        &json!({"id": "json", "name": "echo", "payload": {"b": 1.10, "a": [12345678901234567890123_u128.to_string()]}}),
    );
    site.enqueue(&json!({"id": "text", "name": "unread", "attempts_max": 1}));
    let command = format!(
        "{BY_NAME} | if [ \"$REDPOLL_JOB_NAME\" = facts ]; then sed 's/\"/\\\\\"/g; s/.*/\"&\"/'; else cat; fi"
    );
    let mut worker = site.worker(&command, &["--json-results"]);
    let facts = site.becomes("a b", "completed")["result"].as_str().unwrap().to_owned();
    assert_eq!(facts, format!("a b|mail|default|1|{trace}|{{\"lang\":\"é\",\"traceparent\":\"{trace}\"}}|token|"));
    assert_eq!(site.becomes("json", "completed")["result"], json!({"b": 1.10, "a": ["12345678901234567890123"]}));
    assert!(site.becomes("text", "dead")["error"].as_str().unwrap().starts_with("what was printed is not JSON"));
    worker.signal();
    assert_eq!(worker.wait().0, Some(0));
}

#[test]
fn sigterm_lets_processes_end_and_hands_the_rest_back() {
    let site = Site::new();
    for id in ["a", "b", "c"] {
        site.enqueue(&json!({"id": id}));
    }
    let mut worker = site.worker(&format!("echo . > inside; {UNTIL_GO}; echo done"), &["--prefetch", "1"]);
    site.file("inside");
    site.becomes("b", "active");
    worker.signal();
    site.becomes("b", "waiting");
    assert_eq!(site.job("a")["job"]["state"], "active");
    site.make("go");
    let summary = worker.ready_line()["summary"].clone();
    assert_eq!((&summary["completed"], &summary["handed_back"]), (&json!(1), &json!(1)));
    assert_eq!(worker.wait().0, Some(0));
    assert_eq!(site.becomes("a", "completed")["result_base64"], "ZG9uZQo=");
    let counts = site.counts();
    assert_eq!((&counts["waiting"], &counts["active"], &counts["lost_total"]), (&json!(2), &json!(0), &json!(0)));
}

#[test]
fn a_second_signal_ends_processes_too() {
    let site = Site::new();
    site.enqueue(&json!({"id": "a"}));
    let mut worker = site.worker(&format!("echo . > inside; {UNTIL_GO}"), &["--grace-ms", "30000"]);
    site.file("inside");
    worker.signal();
    worker.wait_for_stderr("stopping");
    worker.signal();
    // It ends by SIGTERM, and is not said to have failed for that.
    assert_eq!(worker.ready_line()["summary"]["handed_back"], 1);
    assert_eq!(worker.wait().0, Some(0));
    let job = site.becomes("a", "waiting");
    assert_eq!(job["job"]["attempt"], 1);
}

/// Waits until a process group has no members.
fn group_ends(group: &str) {
    let begun = Instant::now();
    while Command::new("kill").args(["-0", "--", &format!("-{group}")]).output().unwrap().status.success() {
        assert!(begun.elapsed() < PATIENCE, "group {group} goes on");
    }
}

#[test]
fn a_cancelled_job_takes_its_whole_process_group_along() {
    let site = Site::new();
    site.enqueue(&json!({"id": "polite", "name": "polite"}));
    site.enqueue(&json!({"id": "deaf", "name": "deaf"}));
    let command = r#"
        if [ "$REDPOLL_JOB_NAME" = deaf ]; then trap '' TERM; fi
        trap 'echo . > told; exit 1' TERM
        if [ "$REDPOLL_JOB_NAME" = deaf ]; then trap '' TERM; fi
        sleep 300 & echo $$ > "$REDPOLL_JOB_NAME"; wait; sleep 300"#;
    let mut worker = site.worker(command, &["--concurrency", "2", "--grace-ms", "300"]);
    let groups = [site.file("polite"), site.file("deaf")];
    site.call("cancel", &json!({"ids": ["polite", "deaf"]}));
    site.becomes("polite", "cancelled");
    site.becomes("deaf", "cancelled");
    site.file("told");
    group_ends(&groups[1]);
    worker.signal();
    assert_eq!(worker.wait().0, Some(0));
}

#[test]
fn a_job_is_not_handed_back_before_its_whole_process_group_has_ended() {
    let site = Site::new();
    site.enqueue(&json!({"id": "a"}));
    // The shell ends by SIGTERM, what it has started does not.
    let command = "(trap '' TERM; echo . > inside; sleep 300) & echo $$ > group; wait";
    let mut worker = site.worker(command, &["--drain-ms", "0", "--grace-ms", "3000"]);
    let group = site.file("group");
    site.file("inside");
    let begun = Instant::now();
    worker.signal();
    site.becomes("a", "waiting");
    assert!(begun.elapsed() >= Duration::from_secs(3), "handed back beside what had its grace still");
    group_ends(&group);
    assert_eq!(worker.ready_line()["summary"]["handed_back"], 1);
    assert_eq!(worker.wait().0, Some(0));
}

#[test]
fn a_run_past_its_timeout_is_killed() {
    let site = Site::new();
    site.enqueue(&json!({"id": "a", "timeout_ms": 500, "attempts_max": 1}));
    let mut worker = site.worker("trap '' TERM; echo $$ > group; sleep 300", &[]);
    let group = site.file("group");
    assert!(site.becomes("a", "dead")["error"].as_str().unwrap().starts_with("timed out"));
    group_ends(&group);
    worker.signal();
    assert_eq!(worker.wait().0, Some(0));
}

#[test]
fn the_job_of_a_killed_worker_is_done_by_the_next() {
    let site = Site::new();
    site.enqueue(&json!({"id": "a"}));
    let command =
        format!("echo $$ > group; echo . > inside-$REDPOLL_JOB_ATTEMPT; {UNTIL_GO}; echo $REDPOLL_JOB_ATTEMPT");
    let mut first = site.worker(&command, &["--lease-ms", "1500"]);
    site.file("inside-1");
    first.send_signal("KILL");
    assert_eq!(first.wait_for_end(), None);
    let mut second = site.worker(&command, &["--lease-ms", "1500"]);
    site.file("inside-2");
    site.make("go");
    assert_eq!(site.becomes("a", "completed")["result_base64"], "Mgo=");
    second.signal();
    assert_eq!(second.wait().0, Some(0));
}

#[test]
fn what_a_worker_cannot_be_told() {
    let server = RedisServer::start().unwrap();
    let url = server.url();
    for (args, code, said) in [
        (&["worker", "--exec", "true"][..], 2, "--queue"),
        (&["worker", "--queue", "mail"], 2, "--exec"),
        (&["worker", "--queue", "mail", "--exec", "true", "--concurrency", "0"], 1, "concurrency"),
        (&["worker", "--queue", "mail", "--exec", " "], 1, "--exec"),
        (&["worker", "--queue", "mail,mail", "--exec", "true"], 1, "twice"),
        (&["worker", "--queue", "", "--exec", "true"], 1, "must not be empty"),
        (&["worker", "--queue", "a,b", "--weights", "1", "--exec", "true"], 1, "weight"),
        (&["worker", "--queue", "mail", "--exec", "true", "--lease-ms", "1"], 1, "lease"),
        (&["worker", "--queue", "mail", "--exec", "true", "--tenant", ""], 1, "tenant"),
    ] {
        let ended = run(&[args, &["--url", &url]].concat());
        assert_eq!(ended.code, code, "{args:?}: {}", ended.stderr);
        assert!(ended.stderr.contains(said) && ended.stdout.is_empty(), "{args:?}: {}", ended.stderr);
    }
}
