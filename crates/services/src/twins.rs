//! The steps that a store in this process need not interpret.
//!
//! These are called so often that a dozen microseconds of Lua would be most of what they cost. Each [twin](redpoll_store::twin) stands beside the step whose usual
//! way it takes; the test here holds the two together.

use redpoll_store::Store;
use redpoll_store::twin::Twin;

use crate::script::Script;
use crate::{jobs, locks, ratelimit};

/// Tells a store which steps are here in Rust as well.
pub(crate) fn add_to(store: &Store) {
    for (script, twin) in all() {
        let is_added = store.twins().add(script.source(), *twin);
        debug_assert!(is_added, "{} has a first line", script.name());
    }
}

fn all() -> impl Iterator<Item = &'static (&'static Script, Twin)> {
    of_one_key().chain(&jobs::TWINS)
}

/// Those of steps whose state is one string.
fn of_one_key() -> impl Iterator<Item = &'static (&'static Script, Twin)> {
    ratelimit::TWINS.iter().chain(&locks::TWINS)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use redpoll_store::commands::engine::ScriptName;
    use redpoll_store::twin::{Ended, Failed, Step};
    use redpoll_store::{Config, Connection, Value};
    use redpoll_testkit::Random;

    use super::*;
    use crate::script::INTEGERS;

    /// States tried for each twin.
    const TRIALS: usize = 4_000;

    /// The one being tried, and how often it took the usual way.
    static TRIED: Mutex<Option<Twin>> = Mutex::new(None);
    static REPLIED: AtomicUsize = AtomicUsize::new(0);

    fn counted(step: &mut Step<'_>) -> Result<Ended, Failed> {
        let twin = TRIED.lock().unwrap().expect("one is tried");
        let ended = twin(step);
        REPLIED.fetch_add(usize::from(ended == Ok(Ended::Replied)), Ordering::Relaxed);
        ended
    }

    /// A state, if there is one, and the arguments after the keys.
    type Trial = (Option<String>, Vec<String>);

    fn digits(numbers: &[i64]) -> String {
        numbers.iter().map(|number| format!("{number:016}")).collect()
    }

    /// A number around one that matters.
    fn near(random: &mut Random, number: i64) -> i64 {
        (number + random.between(-3, 3)).max(0)
    }

    fn window_and_limit(random: &mut Random) -> (i64, i64) {
        let window = [1, 7, 1_000, 60_000, 86_400_000][random.below(5) as usize];
        let limit = [1, 2, 10, 1_000, (1 << 52) / window, 1 << 53][random.below(6) as usize];
        (window, limit)
    }

    fn args(random: &mut Random, window: i64, limit: i64) -> Vec<String> {
        let mode = if random.below(4) == 0 { "peek" } else { "take" };
        let burst = random.between(1, limit);
        let cost = match random.below(20) {
            0 => *random.pick(&[0, -1, limit + 1, 1 << 53, i64::MAX]),
            1..=7 => random.between(1, burst),
            _ => 1,
        };
        [limit.to_string(), window.to_string(), cost.to_string(), mode.into(), burst.to_string()].into()
    }

    /// A time the state may have: of late, long ago, or ahead of the clock.
    fn time(random: &mut Random, now: i64, window: i64) -> i64 {
        match random.below(8) {
            0 => now + random.between(0, window),
            1 => now - 3 * window,
            2 => now,
            _ => now - random.between(0, 2 * window).min(now),
        }
    }

    fn trial(name: &str, random: &mut Random, now: i64) -> Trial {
        let (window, limit) = window_and_limit(random);
        let held = if random.below(10) == 0 { window + 1 } else { window };
        let at = time(random, now, window).max(0);
        let state = match name {
            "rate.fixed_window" => digits(&[at, near(random, limit)]),
            "rate.sliding_counter" => {
                let (current, previous) = (random.between(0, limit + 2), near(random, limit / 2));
                digits(&[held, at / held, current, previous])
            }
            "rate.token_bucket" => digits(&[held, random.between(0, limit.saturating_mul(window).min(1 << 52)), at]),
            "locks.mutex_acquire" | "locks.mutex_release" => return mutex_trial(random, now),
            other => panic!("{other} has a twin and no trial"),
        };
        let state = (!random.chance(1, 20)).then_some(state);
        (state, args(random, window, limit))
    }

    fn mutex_trial(random: &mut Random, now: i64) -> Trial {
        let name = |random: &mut Random| format!("{:032x}", random.below(3));
        let heir = if random.below(6) == 0 { name(random) } else { "-".repeat(32) };
        let ends = [0, now - 5, now + 50_000][random.below(3) as usize];
        // Ahead of the clock: the next is one more, whichever of the two runs first.
        let fence = (now + 1_000_000) * 1_000;
        let state = format!("{fence:016};{ends:016};{:016};{heir};{};owner;of", now - 10, name(random));
        (Some(state), [name(random), "60000".into(), "me".into(), "30000".into(), "0".into()].into())
    }

    /// Runs a text upon a state, and returns its answer, what it left and for how long.
    fn queue(connection: &mut Connection, text: &str, key: &str, (state, args): &Trial) {
        if let Some(state) = state {
            connection.call(&["SET", key, state]);
        }
        let keys = [key, "{k}:queue", "{k}:waiters"];
        let mut call = vec!["EVAL", text, "3"];
        call.extend(keys);
        call.extend(args.iter().map(String::as_str));
        connection.call(&call);
        connection.call(&["GET", key]);
        connection.call(&["PTTL", key]);
        connection.call(&["DEL", keys[0], keys[1], keys[2]]);
    }

    #[test]
    fn each_does_what_its_step_does() {
        let seed = rand_seed();
        println!("seed {seed}");
        for (script, twin) in of_one_key() {
            let store = Store::open(Config::in_memory()).unwrap();
            *TRIED.lock().unwrap() = Some(*twin);
            REPLIED.store(0, Ordering::Relaxed);
            assert!(store.twins().add(script.source(), counted));
            // Another text, so without a twin.
            let interpreted = format!("{}\n", script.source());
            let (mut connection, mut random) = (store.connect(), Random::new(seed));
            for _ in 0..TRIALS {
                let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis() as i64;
                let trial = trial(script.name(), &mut random, now);
                // One transaction has one time.
                connection.call(&["MULTI"]);
                queue(&mut connection, script.source(), "{k}:state", &trial);
                queue(&mut connection, &interpreted, "{k}:state", &trial);
                let Value::Array(replies) = connection.call(&["EXEC"]) else { panic!("it is a transaction") };
                let (with, without) = replies.split_at(replies.len() / 2);
                assert_eq!(with, without, "{}, {trial:?}, at {now}, seed {seed}", script.name());
            }
            let replied = REPLIED.load(Ordering::Relaxed);
            assert!(replied > TRIALS / 4 && replied < TRIALS, "{}: {replied} of {TRIALS}", script.name());
        }
    }

    fn rand_seed() -> u64 {
        std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64
    }

    /// Otherwise it would have the whole store for itself.
    #[test]
    fn each_step_keeps_to_its_keys() {
        let store = Store::open(Config::in_memory()).unwrap();
        for (script, _) in of_one_key() {
            store.call(&["EVAL", script.source(), "1", "k"]);
            let scripting = store.engine().scripting.get().unwrap();
            assert!(scripting.keeps_to_its_keys(ScriptName::Sha(script.sha().as_bytes())), "{}", script.name());
        }
        let integers = format!("#!lua\n{INTEGERS}return redis.call('GET', 'another')");
        store.call(&["EVAL", &integers, "0"]);
        let scripting = store.engine().scripting.get().unwrap();
        assert!(!scripting.keeps_to_its_keys(ScriptName::Body(integers.as_bytes())));
    }
}
