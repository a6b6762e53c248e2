//! Libraries that try to hang, exhaust or break out of the state they share, and what is left of them.

use crate::support::{TestHost, printable};
use redpoll_script::{EngineConfig, Existing, Functions, Invocation, Outcome, Protocol};

const NO_ARGUMENTS: Invocation<'static> = Invocation { keys: &[], args: &[], protocol: Protocol::Resp2 };

fn functions() -> Functions {
    Functions::new(EngineConfig { memory_limit: 16 << 20, ..EngineConfig::default() })
}

fn load(functions: &mut Functions, code: &str, patience: Option<usize>) -> Result<String, String> {
    let mut host = TestHost { patience, ..TestHost::default() };
    match functions.load(code.as_bytes(), Existing::Refuse, &mut host) {
        Ok(name) => Ok(String::from_utf8_lossy(&name).into_owned()),
        Err(error) => Err(String::from_utf8_lossy(&error.text()).into_owned()),
    }
}

fn call(functions: &mut Functions, name: &str, patience: Option<usize>) -> (Outcome, String) {
    let mut reply = Vec::new();
    let mut host = TestHost { patience, ..TestHost::default() };
    let outcome = functions.call(name.as_bytes(), &NO_ARGUMENTS, &mut host, &mut reply);
    (outcome, printable(&reply))
}

const COUNTER: &str = "#!lua name=counter
    local count = 0
    redis.register_function('count', function() count = count + 1 return count end)";

#[test]
fn a_library_that_does_not_come_to_an_end_is_refused_and_leaves_nothing() {
    let mut functions = functions();
    load(&mut functions, COUNTER, None).expect("it is well formed");
    for body in [
        "redis.register_function('f', function() end) while true do end",
        "local function f() return f() end f()",
        "local t = {} for i = 1, 1e9 do t[i] = i end",
        "for i = 1, 1e9 do redis.register_function('f' .. i, function() end) end",
    ] {
        let refused = load(&mut functions, &format!("#!lua name=bad\n{body}"), Some(3)).expect_err(body);
        assert!(refused.starts_with("ERR Error registering functions: "), "{body}: {refused}");
        assert_eq!(functions.libraries().len(), 1);
        assert_eq!(call(&mut functions, "f", None).0, Outcome::NotFound);
    }
    assert_eq!(call(&mut functions, "count", None).0, Outcome::Finished);
}

#[test]
fn locals_outlast_calls_that_fail_or_are_killed() {
    let mut functions = functions();
    load(&mut functions, COUNTER, None).expect("it is well formed");
    let bad = "#!lua name=bad
        redis.register_function('loop', function() pcall(function() while true do end end) end)
        redis.register_function('fail', function() error('x') end)";
    load(&mut functions, bad, None).expect("it is well formed");
    assert_eq!(call(&mut functions, "count", None).1, r":1\r\n");
    let (outcome, reply) = call(&mut functions, "loop", Some(3));
    assert_eq!(outcome, Outcome::Killed, "{reply}");
    assert!(reply.ends_with(r"script: loop, on @user_function:2.\r\n"), "{reply}");
    assert_eq!(call(&mut functions, "fail", None).0, Outcome::Failed);
    assert_eq!(call(&mut functions, "COUNT", None).1, r":2\r\n");
}

#[test]
fn memory_used_up_is_given_back_and_libraries_begin_anew() {
    let mut functions = functions();
    load(&mut functions, COUNTER, None).expect("it is well formed");
    let hoard = "#!lua name=hoard
        local kept = {}
        redis.register_function('hoard', function() while true do kept[#kept + 1] = string.rep('x', 100000 + #kept) end end)";
    load(&mut functions, hoard, None).expect("it is well formed");
    call(&mut functions, "count", None);
    assert_eq!(call(&mut functions, "hoard", None).0, Outcome::OutOfMemory);
    assert_eq!(call(&mut functions, "count", None).1, r":1\r\n");
    assert!(functions.used_memory() < 4 << 20, "{}", functions.used_memory());
    assert_eq!(functions.libraries().len(), 2);
}

#[test]
fn nothing_is_shared_between_libraries_but_their_names() {
    let mut functions = functions();
    for body in [
        "local mt = getmetatable(redis) redis.register_function('f', function() end)",
        "redis.register_function('f', function() string.rep = 1 end) string.x = 1",
        "rawset(redis, 'x', 1)",
    ] {
        let refused = load(&mut functions, &format!("#!lua name=bad\n{body}"), None).expect_err(body);
        assert!(refused.contains("nonexistent global variable"), "{body}: {refused}");
    }
    let code = "#!lua name=a
        redis.register_function('leak', function() leaked = 1 end)
        redis.register_function('raw', function() rawset(_G, 'leaked', 1) end)
        redis.register_function('string', function() string.rep = nil end)
        redis.register_function('metatable', function() getmetatable('').__index = nil end)
        redis.register_function('redis', function() redis.call = nil end)
        redis.register_function('own', function() setmetatable(_G, {}) end)
        redis.register_function('seen', function() return {tostring(rawget(_G, 'leaked')), type(string.rep), type(redis.call)} end)";
    load(&mut functions, code, None).expect("it is well formed");
    for name in ["leak", "raw", "string", "metatable", "redis", "own"] {
        let (outcome, reply) = call(&mut functions, name, None);
        assert_eq!(outcome, Outcome::Failed, "{name}: {reply}");
    }
    let (_, seen) = call(&mut functions, "seen", None);
    assert_eq!(seen, r"*3\r\n$3\r\nnil\r\n$8\r\nfunction\r\n$8\r\nfunction\r\n");
}
