//! Coroutines and the collector, used to get away from a kill or from the limit on memory.

use crate::support::{TestHost, printable};
use redpoll_script::{Engine, EngineConfig, Invocation, Origin, Outcome, Protocol};

const NO_ARGUMENTS: Invocation<'static> = Invocation { keys: &[], args: &[], protocol: Protocol::Resp2 };

/// Runs a script that expects to be ended in this way, and another one in the same state.
fn check(script: &str, patience: Option<usize>, expected: Outcome) {
    let mut engine = Engine::new(EngineConfig { memory_limit: 16 << 20, ..EngineConfig::default() });
    let mut host = TestHost { patience, ..TestHost::default() };
    let sha = engine.load(script.as_bytes(), Origin::Load).expect("the script compiles");
    let mut reply = Vec::new();
    let outcome = engine.run(&sha, &NO_ARGUMENTS, &mut host, &mut reply);
    assert_eq!(outcome, expected, "{script}\n  answered {}", printable(&reply));
    let sha = engine.load(b"return 'alive'", Origin::Load).expect("the script compiles");
    reply.clear();
    engine.run(&sha, &NO_ARGUMENTS, &mut host, &mut reply);
    assert_eq!(printable(&reply), r"$5\r\nalive\r\n", "after {script}");
}

#[test]
fn a_kill_ends_the_script_from_within_any_coroutine() {
    for script in [
        "coroutine.wrap(function() while true do end end)()",
        "pcall(coroutine.wrap(function() while true do end end)) return 'survived'",
        "coroutine.resume(coroutine.create(function() while true do end end)) return 'survived'",
        "while true do coroutine.resume(coroutine.create(function() while true do end end)) end",
        "pcall(coroutine.resume, coroutine.create(function() pcall(function() while true do end end) end)) return 'survived'",
        "coroutine.wrap(function() coroutine.wrap(function() pcall(redis.pcall, 'ping') while true do end end)() end)()",
        "while true do coroutine.wrap(function() coroutine.yield() end)() end",
        "while true do collectgarbage() end",
    ] {
        check(script, Some(3), Outcome::Killed);
    }
}

#[test]
fn memory_is_limited_all_the_same() {
    for script in [
        "local t = {} while true do t[#t + 1] = coroutine.create(function() end) end",
        "collectgarbage('stop') local s = 'x' while true do s = s .. s end",
    ] {
        check(script, None, Outcome::OutOfMemory);
    }
}
