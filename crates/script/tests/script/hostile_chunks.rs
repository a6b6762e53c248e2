//! Scripts that try to break out of the sandbox, hang or exhaust it by code they make at run time.

use crate::support::{TestHost, engine, eval, printable};
use redpoll_script::{Engine, EngineConfig, Invocation, Origin, Outcome, Protocol};

const NO_ARGUMENTS: Invocation<'static> = Invocation { keys: &[], args: &[], protocol: Protocol::Resp2 };

fn check(script: &str, expected: &str) {
    let reply = printable(&eval(&mut engine(), &mut TestHost::default(), script.as_bytes(), &NO_ARGUMENTS));
    assert!(reply.starts_with(expected), "{script}\n  expected {expected}…\n  answered {reply}");
}

#[test]
fn what_is_loaded_sees_what_scripts_see() {
    check("return loadstring('return pcall == ... and _G == select(2, ...)')(pcall, _G)", r":1\r\n");
    check("return load(coroutine.wrap(function() coroutine.yield('return string') end))() == string", r":1\r\n");
    for name in ["debug", "io", "require", "package", "dofile", "loadfile", "getfenv", "setfenv", "newproxy", "print"] {
        let missing = format!("Script attempted to access nonexistent global variable '{name}'");
        check(
            &format!("return select(2, pcall(loadstring('return {name}', '=x')))"),
            &format!(r"${}\r\nx:1: {missing}", missing.len() + 5),
        );
    }
}

#[test]
fn compiled_code_is_refused_wherever_it_comes_from() {
    let unexpected = r"*1\r\n$";
    for script in [
        "local f, why = loadstring(string.dump(function() return 1 end), '=x') return f or why",
        "local f, why = loadstring('\\27', '=x') return f or why",
        "local f, why = loadstring(' \\27Lua', '=x') return f or why",
        "local code, f, why = string.dump(load) f, why = loadstring(code, '=x') return f or why",
        "local code = {string.dump(pcall):byte(1, -1)} local at = 0 \
         local f, why = load(function() at = at + 1 return code[at] and string.char(code[at]) end, '=x') return f or why",
    ] {
        check(&format!("return {{(function() {script} end)()}}"), unexpected);
        check(
            &format!("return ((function() {script} end)()):match('unexpected symbol near .char.27..') and 1"),
            r":1\r\n",
        );
    }
}

#[test]
fn code_that_makes_code_without_end_is_ended() {
    for script in [
        "loadstring('while true do end')()",
        "while true do loadstring('return 1') end",
        "pcall(load, function() return ' ' end) return 'survived'",
        "load(function() while true do end end) return 'survived'",
        "load(function() pcall(function() while true do end end) return 'x' end) return 'survived'",
        "local function again() return loadstring('return ...')(again)() end return again()",
    ] {
        let mut engine = engine();
        let mut host = TestHost { patience: Some(3), ..TestHost::default() };
        let sha = engine.load(script.as_bytes(), Origin::Load).expect("the script compiles");
        let mut reply = Vec::new();
        let outcome = engine.run(&sha, &NO_ARGUMENTS, &mut host, &mut reply);
        assert_eq!(outcome, Outcome::Killed, "{script}\n  answered {}", printable(&reply));
    }
}

#[test]
fn code_is_made_within_the_memory_of_the_run() {
    for script in [
        "local t = {} while true do t[#t + 1] = loadstring('return {1, 2, 3}') end",
        "return loadstring('return {' .. ('{},'):rep(2000000) .. '}')",
        "local n = 0 error(select(2, load(function() n = n + 1 return (' '):rep(1000000 + n) end)), 0)",
        "local s = 'return 1' while true do s = s .. s loadstring(s) end",
    ] {
        let mut engine = Engine::new(EngineConfig { memory_limit: 16 * 1024 * 1024, ..EngineConfig::default() });
        let sha = engine.load(script.as_bytes(), Origin::Load).expect("the script compiles");
        let mut reply = Vec::new();
        let outcome = engine.run(&sha, &NO_ARGUMENTS, &mut TestHost::default(), &mut reply);
        assert_eq!(outcome, Outcome::OutOfMemory, "{script}\n  answered {}", printable(&reply));
        let alive = printable(&eval(&mut engine, &mut TestHost::default(), b"return 'alive'", &NO_ARGUMENTS));
        assert_eq!(alive, r"$5\r\nalive\r\n", "after {script}");
    }
}

#[test]
fn a_text_is_as_long_and_as_deep_as_a_script_may_be() {
    check("return {loadstring((' '):rep(17 * 1024 * 1024))}", r"*0\r\n");
    check("return select(2, loadstring((' '):rep(17 * 1024 * 1024)))", r"$35\r\nchunk is longer than 16777216 bytes");
    check(
        "return select(2, load(function() return (' '):rep(1024 * 1024) end))",
        r"$35\r\nchunk is longer than 16777216 bytes",
    );
    check("return loadstring('return ' .. ('('):rep(10000) .. '1' .. (')'):rep(10000)) == nil", r":1\r\n");
    check(
        "local function deep(n) if n == 0 then return loadstring('return (((1)))')() end return (pcall(deep, n - 1)) end return deep(150) ",
        r":1\r\n",
    );
    check(
        "collectgarbage() loadstring('x x') local before = collectgarbage('count') for i = 1, 200000 do local t = {} end \
           return collectgarbage('count') - before < 10000",
        r":1\r\n",
    );
}
