//! Scripts that try to hang, exhaust, break out of or leave something behind in the sandbox.

use std::time::{Duration, Instant};

use crate::support::{TestHost, engine, eval, printable};
use redpoll_script::{
    Engine, EngineConfig, Interrupt, Invocation, LogLevel, MAX_EVAL_SCRIPTS, Origin, Outcome, Propagation, Protocol,
    ScriptError, sha1_hex,
};

const NO_ARGUMENTS: Invocation<'static> = Invocation { keys: &[], args: &[], protocol: Protocol::Resp2 };

fn run(engine: &mut Engine, script: &str) -> String {
    printable(&eval(engine, &mut TestHost::default(), script.as_bytes(), &NO_ARGUMENTS))
}

fn check(script: &str, expected: &str) {
    let reply = run(&mut engine(), script);
    assert!(reply.starts_with(expected), "{script}\n  expected {expected}…\n  answered {reply}");
}

/// Runs a script that never ends by itself and expects the kill to end it.
fn check_killed(script: &str) {
    let mut engine = engine();
    let mut host = TestHost { patience: Some(3), ..TestHost::default() };
    let sha = engine.load(script.as_bytes(), Origin::Load).expect("the script compiles");
    let mut reply = Vec::new();
    let outcome = engine.run(&sha, &NO_ARGUMENTS, &mut host, &mut reply);
    let reply = printable(&reply);
    assert_eq!(outcome, Outcome::Killed, "{script}\n  answered {reply}");
    assert!(reply.starts_with("-ERR Script killed by user with SCRIPT KILL. script: "), "{script}\n  answered {reply}");
    assert_eq!(run(&mut engine, "return 'alive'"), r"$5\r\nalive\r\n", "after {script}");
}

/// Runs a script under a small memory limit and expects it to reach the limit.
fn check_out_of_memory(script: &str) {
    let mut engine = small_engine();
    let started = Instant::now();
    let sha = engine.load(script.as_bytes(), Origin::Load).expect("the script compiles");
    let mut reply = Vec::new();
    let outcome = engine.run(&sha, &NO_ARGUMENTS, &mut TestHost::default(), &mut reply);
    let reply = printable(&reply);
    assert_eq!(outcome, Outcome::OutOfMemory, "{script}\n  answered {reply}");
    assert!(reply.starts_with("-ERR not enough memory script: "), "{script}\n  answered {reply}");
    assert_eq!(run(&mut engine, "return 'alive'"), r"$5\r\nalive\r\n", "after {script}");
    assert!(engine.exists(&sha), "scripts outlive the Lua state");
    assert!(engine.used_memory() < SMALL_LIMIT, "the memory is given back after {script}");
    assert!(started.elapsed() < Duration::from_secs(20), "{script} took {:?}", started.elapsed());
}

const SMALL_LIMIT: usize = 16 * 1024 * 1024;

fn small_engine() -> Engine {
    Engine::new(EngineConfig { memory_limit: SMALL_LIMIT, ..EngineConfig::default() })
}

#[test]
fn endless_scripts_are_killed() {
    for script in [
        "while true do end",
        "repeat until false",
        "local function f() return f() end f()",
        "for i = 1, math.huge do end",
        "while true do pcall(function() while true do end end) end",
        "pcall(function() while true do pcall(function() while true do end end) end end) return 'survived'",
        "xpcall(function() while true do end end, function() return 'caught' end) return 'survived'",
        "xpcall(function() while true do end end, function() while true do end end) return 'survived'",
        "while true do xpcall(function() error('x') end, function() while true do end end) end",
        "xpcall(function() while true do end end, pcall) return 'survived'",
        "pcall(xpcall, function() while true do end end, error) return 'survived'",
        "pcall(pcall, pcall, pcall, function() while true do end end) return 'survived'",
        "pcall(string.gsub, ('x'):rep(100), '.', function() while true do end end) return 'survived'",
        "pcall(table.sort, {3, 2, 1}, function() while true do end end) return 'survived'",
        "local t = setmetatable({}, {__index = function() while true do end end}) pcall(function() return t.x end) return 1",
        "local t = setmetatable({}, {__tostring = function() while true do end end}) pcall(tostring, t) return 1",
        "while true do redis.pcall('nosuch') end",
        "while true do redis.call('ping') end",
        "while true do cjson.encode({1, 2, 3}) end",
        "for w in string.gmatch(('a'):rep(100), '()') do while true do end end",
    ] {
        check_killed(script);
    }
}

#[test]
fn endless_library_calls_are_killed() {
    for script in [
        "return ('a'):rep(40):find(('a-'):rep(40) .. 'b')",
        "return ('a'):rep(100000):find(('.-'):rep(30) .. 'b')",
        "return ('a'):rep(1000):match(('a*'):rep(20) .. 'b')",
        "pcall(string.find, ('a'):rep(100000), ('.-'):rep(30) .. 'b') return 'survived'",
        "return ('a'):rep(100000):gsub(('.-'):rep(30) .. 'b', '')",
        "for _ in ('a'):rep(100000):gmatch(('.-'):rep(30) .. 'b') do end",
        "return ('('):rep(1000000):find('%b()%b()%b()') or ('('):rep(1000000):gsub('%b()', '')",
        "local t = {} for i = 1, 20 do t[i] = i end local d = t for i = 1, 40 do d = {d, d} end return cjson.encode(d)",
        "local t = {} for i = 1, 3000000 do t[i] = (i * 7919) % 3000017 end while true do table.sort(t) end",
        "while true do (''):rep(1000000000) end",
    ] {
        check_killed(script);
    }
}

#[test]
fn memory_is_limited() {
    for script in [
        "local s = 'x' while true do s = s .. s end",
        "local t = {} local i = 0 while true do i = i + 1 t[i] = i end",
        "local t = {} while true do t = {t, t} end",
        "local t = {} local i = 0 while true do i = i + 1 t['k' .. i] = {} end",
        "return ('x'):rep(1000000000)",
        "return ('x'):rep(2147483647)",
        "return ('xxxxxxxxxxxxxxxx'):rep(2147483647)",
        "local t = {} for i = 1, 1000 do t[i] = ('x'):rep(20000 + i) end return table.concat(t)",
        "local s = ('x'):rep(1000000) return (s:gsub('x', ('y'):rep(1000)))",
        "local s = ('x'):rep(1000000) return (s:gsub('x', function() return ('y'):rep(1000) end))",
        "return cjson.decode('[' .. ('[],'):rep(1000000) .. '[]]')",
        "return cmsgpack.unpack('\\221\\0\\255\\255\\255' .. ('\\144'):rep(5000000))",
        "local s = ('x'):rep(4000000) local t = {s, s, s, s, s, s} return cjson.encode(t)",
        "local s = ('x'):rep(4000000) local t = {s, s, s, s, s, s} return cmsgpack.pack(t)",
        "local t = {} while true do t[#t + 1] = cjson.new() end",
        "local f = function() end local t = {} while true do t[#t + 1] = function() return t end end",
        "return struct.pack('c2000000000', 'x')",
        "local s = ('x'):rep(4000000) return struct.pack('sssss', s, s, s, s, s)",
        "local t = {} for i = 1, 100 do t[i] = redis.call('echo', ('x'):rep(1000000 + i)) end",
    ] {
        check_out_of_memory_or_text(script);
    }
}

/// `struct.pack` refuses a short string before it looks at memory; everything else reaches the limit.
fn check_out_of_memory_or_text(script: &str) {
    if script.contains("c2000000000") {
        let reply = run(&mut small_engine(), script);
        assert!(reply.contains("not enough memory") || reply.contains("string too short"), "{reply}");
    } else {
        check_out_of_memory(script);
    }
}

#[test]
fn running_out_of_memory_can_be_caught_but_not_exceeded() {
    let mut engine = small_engine();
    let script =
        "local ok, e = pcall(function() local s = 'x' while true do s = s .. s end end) return {tostring(ok), e}";
    assert_eq!(run(&mut engine, script), r"*2\r\n$5\r\nfalse\r\n$17\r\nnot enough memory\r\n");
    assert_eq!(run(&mut engine, "local ok, e = pcall(string.rep, 'x', 1e9) return e"), r"$17\r\nnot enough memory\r\n");
}

#[test]
fn results_that_share_parts_do_not_expand_without_end() {
    let mut engine = small_engine();
    let reply = run(&mut engine, "local t = {1} for i = 1, 60 do t = {t, t} end return t");
    assert!(reply.starts_with("-ERR not enough memory"), "{}", &reply[..100.min(reply.len())]);
    let reply = run(&mut engine, "local t = {} for i = 1, 5000 do t = {t} end return t");
    assert!(reply.contains("-ERR reached lua stack limit"), "{}", &reply[..100.min(reply.len())]);
    let reply = run(&mut engine, "local t = {} t[1] = t return t");
    assert!(reply.contains("-ERR reached lua stack limit"), "{}", &reply[..100.min(reply.len())]);
}

#[test]
fn recursion_is_limited() {
    check("local function f() return 1 + f() end return f()", "-ERR user_script:1: stack overflow");
    check("local function f() return pcall(f) end return f() ", "");
    check(
        "local t = setmetatable({}, {}) getmetatable(t).__index = t return t.x",
        "-ERR user_script:1: loop in gettable",
    );
    check(
        "local t = setmetatable({}, {}) getmetatable(t).__index = function(t, k) return t[k] end return t.x",
        "-ERR user_script:1: ",
    );
    check("local function f(s) return (s:gsub('.', f)) end return f('x')", "-ERR ");
    check("local function f() return string.format('%s', setmetatable({}, {__tostring = f})) end return f()", "-ERR ");
    check("local s = 'x' for i = 1, 300 do s = '(' .. s .. ')' end return s", "$601");
    let nested = format!("return {}1{}", "(".repeat(10_000), ")".repeat(10_000));
    assert!(run(&mut engine(), &nested).starts_with("-ERR Error compiling script"));
    let nested = format!("return {}{}", "{".repeat(100_000), "}".repeat(100_000));
    assert!(run(&mut engine(), &nested).starts_with("-ERR Error compiling script"));
    let long_bracket = format!("return [{}[", "=".repeat(1_000_000));
    assert!(run(&mut engine(), &long_bracket).starts_with("-ERR Error compiling script"));
}

#[test]
fn absurd_arguments_are_refused() {
    for (script, expected) in [
        ("return {unpack({}, -2147483648, 2147483647)}", "-ERR user_script:1: too many results to unpack"),
        ("return {unpack({}, 0, 2147483647)}", "-ERR user_script:1: too many results to unpack"),
        ("return {unpack({}, -1, 2147483646)}", "-ERR user_script:1: too many results to unpack"),
        ("return {unpack({}, 1, 1/0)}", "-ERR user_script:1: too many results to unpack"),
        ("return {unpack({}, -1/0, 1/0)}", "-ERR user_script:1: too many results to unpack"),
        ("return {unpack({}, -1/0, -1/0)}", "-ERR user_script:1: too many results to unpack"),
        ("return {unpack({}, 0/0, 5)}", "-ERR user_script:1: too many results to unpack"),
        ("return {unpack({}, 1, '2147483647')}", "-ERR user_script:1: too many results to unpack"),
        (
            "table.insert({}, -2147483648, 1)",
            "-ERR user_script:1: bad argument #2 to 'insert' (position out of bounds)",
        ),
        ("table.insert({}, 2^40, 1)", "-ERR user_script:1: bad argument #2 to 'insert' (position out of bounds)"),
        ("table.insert({}, 0/0, 1)", "-ERR user_script:1: bad argument #2 to 'insert' (position out of bounds)"),
        ("return table.concat({}, '', 1, 2147483647)", "-ERR user_script:1: invalid value (nil) at index 1"),
        ("return string.format('%99999d', 1)", "-ERR user_script:1: invalid format (width or precision too long)"),
        ("return string.format('%.99999f', 1)", "-ERR user_script:1: invalid format (width or precision too long)"),
        ("return string.format(('%d'):rep(100000), 1)", "-ERR user_script:1: bad argument #3 to 'format'"),
        ("return #string.format('%99.99f', -1e308)", ":"),
        ("return ('x'):rep(-2147483648)", r"$0\r\n"),
        ("return ('x'):sub(-2147483648, 2147483647)", r"$1\r\nx\r\n"),
        ("return {('x'):byte(-2147483648, 2147483647)}", r"*1\r\n:120\r\n"),
        ("return {('x'):rep(10000):byte(1, -1)}", "-ERR user_script:1: "),
        ("return bit.tohex(1, -2147483648)", r"$8\r\n00000001\r\n"),
        ("return bit.tohex(1, 2147483648)", "$8"),
        ("return struct.pack('!2147483648i', 1)", "-ERR user_script:1: integral size overflow"),
        ("return struct.unpack('c2147483647', 'x')", "-ERR user_script:1: bad argument #2 to 'unpack'"),
        ("return struct.unpack('c0', 'x', 2147483647)", "-ERR user_script:1: bad argument #2 to 'unpack'"),
        ("return {struct.unpack('dc0', struct.pack('d', 1e300))}", "-ERR user_script:1: bad argument #2 to 'unpack'"),
        ("return {struct.unpack('dc0', struct.pack('d', -1))}", "-ERR user_script:1: bad argument #2 to 'unpack'"),
        ("return #{struct.unpack(('b'):rep(9000), ('x'):rep(9000))}", "-ERR user_script:1: stack overflow"),
        ("return #{cmsgpack.unpack(('\\1'):rep(9000))}", "-ERR user_script:1: stack overflow"),
        ("return cmsgpack.unpack(('\\145'):rep(100000))", "-ERR user_script:1: stack overflow"),
        ("return cjson.decode(('['):rep(1000000))", "-ERR user_script:1: Found too many nested data structures"),
        (
            "cjson.decode_max_depth(2147483647) return cjson.decode(('['):rep(1000000))",
            "-ERR user_script:1: Found too many",
        ),
        (
            "cjson.encode_max_depth(2147483647) local t = {} t[1] = t return cjson.encode(t)",
            "-ERR user_script:1: Cannot",
        ),
        ("return ('x'):find(('('):rep(100))", "-ERR user_script:1: too many captures"),
        ("return ('x'):rep(5000):find(('x?'):rep(5000))", "-ERR user_script:1: pattern too complex"),
        ("return redis.call(unpack({'nosuch'}, 1, 7000))", "-ERR Lua redis lib command arguments"),
        ("return math.random(-2147483648, 2147483647) ~= nil", r":1\r\n"),
    ] {
        check(script, expected);
    }
}

#[test]
fn nothing_dangerous_can_be_reached() {
    for script in [
        "return loadfile",
        "return dofile",
        "return require",
        "return module",
        "return package",
        "return io",
        "return debug",
        "return newproxy",
        "return getfenv",
        "return setfenv",
        "return print",
        "return __redis__err__handler",
    ] {
        let name = &script["return ".len()..];
        check(script, &format!("-ERR user_script:1: Script attempted to access nonexistent global variable '{name}'"));
    }
    check("return type(os.execute or os.exit or os.remove or os.getenv)", r"$3\r\nnil\r\n");
    check("local names = {} for name in pairs(os) do names[#names + 1] = name end return names", r"*0\r\n");
    let bytecode = b"\x1bLuaQ\0\x01\x04\x08\x04\x08\0";
    let reply = printable(&eval(&mut engine(), &mut TestHost::default(), bytecode, &NO_ARGUMENTS));
    assert!(reply.starts_with("-ERR Error compiling script"), "{reply}");
}

#[test]
fn libraries_cannot_be_changed() {
    const READONLY: &str = "Attempt to modify a readonly table";
    for script in [
        "x = 1",
        "KEYS = {}",
        "redis = nil",
        "_G.x = 1",
        "_G._G = 1",
        "string.x = 1",
        "table.insert = nil",
        "redis.call = nil",
        "redis.call = function() end",
        "cjson.encode = nil",
        "cjson.null = 1",
        "math.random = nil",
        "os.clock = nil",
        "bit.band = 1",
        "struct.pack = 1",
        "cmsgpack.pack = 1",
        "rawset(_G, 'x', 1)",
        "rawset(string, 'x', 1)",
        "rawset(redis, 'call', 1)",
        "table.insert(_G, 1)",
        "table.insert(redis, 1, 2)",
        "table.sort(_G)",
        "table.sort(math)",
        "getmetatable('').__index = {}",
        "getmetatable('').__index.upper = nil",
        "getmetatable('x').__gc = 1",
        "rawset(getmetatable(''), '__index', {})",
        "setmetatable(_G, {})",
        "setmetatable(_G, nil)",
        "setmetatable(string, {})",
        "setmetatable(redis, nil)",
        "setmetatable(getmetatable(''), {})",
        "setmetatable(getmetatable(_G), {})",
        "getmetatable(_G).__index = {}",
        "getmetatable(_G).__newindex = nil",
        "rawset(getmetatable(_G), '__index', {})",
        "loadstring('x = 1')()",
        "loadstring('redis.call = nil')()",
        "load(function() if not done then return '' end end) loadstring('_G.x = 1', '=sandbox')()",
        "function string.x() end",
        "function f() end",
        "local function g() h = 1 end g()",
    ] {
        let reply = run(&mut engine(), script);
        assert!(reply.contains(READONLY), "{script}\n  answered {reply}");
    }
    for script in [
        "return getmetatable(getmetatable(_G))",
        "return getmetatable(string)",
        "return getmetatable(redis)",
        "return getmetatable(cjson)",
        "return getmetatable(getmetatable(''))",
        "return setmetatable('', {}) and false",
    ] {
        let reply = run(&mut engine(), script);
        assert!(
            reply == r"$-1\r\n" || reply.contains("bad argument #1 to 'setmetatable'"),
            "{script}\n  answered {reply}"
        );
    }
}

#[test]
fn nothing_outlives_a_script() {
    let mut engine = engine();
    for (leave, look, expected) in [
        ("KEYS[1] = 'x' ARGV[1] = 'y'", "return {#KEYS, #ARGV}", r"*2\r\n:0\r\n:0\r\n"),
        ("rawset(KEYS, 'x', 1)", "return KEYS.x", r"$-1\r\n"),
        ("cjson.encode_max_depth(1)", "return cjson.encode({{1}})", r"$5\r\n[[1]]\r\n"),
        ("cjson.encode_number_precision(3)", "return cjson.encode(1/3)", r"$16\r\n0.33333333333333\r\n"),
        ("redis.setresp(3)", "return type(redis.call('get', 'nokey'))", r"$7\r\nboolean\r\n"),
        ("table.remove(_G) table.remove(string)", "return ('x'):upper()", r"$1\r\nX\r\n"),
        ("local mt = getmetatable('') mt.x = 1", "return getmetatable('').x", r"$-1\r\n"),
    ] {
        run(&mut engine, leave);
        assert_eq!(run(&mut engine, look), expected, "{look} after {leave}");
    }
}

#[test]
fn random_numbers_continue_one_sequence() {
    let mut engine = engine();
    assert_eq!(run(&mut engine, "return tostring(math.random())"), r"$16\r\n0.39646477363839\r\n");
    run(&mut engine, "math.randomseed(7) math.random()");
    assert_eq!(run(&mut engine, "return tostring(math.random())"), r"$16\r\n0.84048536971234\r\n");
}

#[test]
fn scripts_are_kept_by_their_sha() {
    let mut engine = engine();
    let sha = engine.load(b"return 1", Origin::Load).expect("the script compiles");
    assert_eq!(&sha, b"e0e1f9fabfc9d4800c877a703b823ac0578ff8db");
    assert!(engine.exists(&sha));
    engine.flush();
    assert!(!engine.exists(&sha) && engine.flags(&sha).is_none());
    let mut reply = Vec::new();
    assert_eq!(engine.run(&sha, &NO_ARGUMENTS, &mut TestHost::default(), &mut reply), Outcome::NotFound);
    assert_eq!(reply, b"-NOSCRIPT No matching script. Please use EVAL.\r\n");
    assert!(matches!(engine.load(b"return return", Origin::Load), Err(ScriptError::Compile(_))));
    assert!(matches!(engine.load(&vec![b' '; 17 * 1024 * 1024], Origin::Load), Err(ScriptError::TooLong(_))));
}

#[test]
fn scripts_sent_by_eval_are_forgotten_first() {
    let mut engine = engine();
    let loaded = engine.load(b"return 'loaded'", Origin::Load).expect("the script compiles");
    let first = engine.load(b"return 'first'", Origin::Eval).expect("the script compiles");
    let promoted = engine.load(b"return 'promoted'", Origin::Eval).expect("the script compiles");
    engine.load(b"return 'promoted'", Origin::Load).expect("the script compiles");
    for number in 0..MAX_EVAL_SCRIPTS {
        engine.load(format!("return {number}").as_bytes(), Origin::Eval).expect("the script compiles");
    }
    assert!(engine.exists(&loaded) && engine.exists(&promoted) && !engine.exists(&first));
    assert_eq!(engine.script_count(), MAX_EVAL_SCRIPTS + 2);
}

#[test]
fn thousands_of_scripts_stay_compiled() {
    let mut engine = engine();
    let scripts: Vec<_> = (0..9_000)
        .map(|number| engine.load(format!("return {number}").as_bytes(), Origin::Load).expect("the script compiles"))
        .collect();
    for (number, sha) in scripts.iter().enumerate() {
        let mut reply = Vec::new();
        engine.run(sha, &NO_ARGUMENTS, &mut TestHost::default(), &mut reply);
        assert_eq!(reply, format!(":{number}\r\n").as_bytes());
    }
}

#[test]
fn the_host_hears_what_scripts_say() {
    let mut engine = engine();
    let mut host = TestHost::default();
    let script = b"redis.log(redis.LOG_WARNING, 'a', 1, 'b') redis.set_repl(redis.REPL_AOF) redis.call('ping')
        return {redis.acl_check_cmd('get', 'x'), redis.acl_check_cmd('set', 'x')}";
    assert_eq!(printable(&eval(&mut engine, &mut host, script, &NO_ARGUMENTS)), r"*2\r\n:1\r\n$-1\r\n");
    assert_eq!(host.log, [(LogLevel::Warning, b"a 1 b".to_vec())]);
    let replication = host.replication.expect("set_repl reaches the host");
    assert_eq!((replication.log, replication.replicas), (Propagation::Send, Propagation::Withhold));
    assert_eq!(host.calls, 1);
    let reply = run(&mut engine, "return redis.acl_check_cmd('nosuch')");
    assert!(reply.starts_with("-ERR Invalid command passed to redis.acl_check_cmd() script: "), "{reply}");
}

#[test]
fn malformed_replies_are_errors() {
    for reply in [
        "",
        "\\r\\n",
        "?x\\r\\n",
        "$5\\r\\nabc\\r\\n",
        "*2\\r\\n:1\\r\\n",
        "*999999999\\r\\n",
        "$-5\\r\\n",
        ":x\\r\\n",
        "=3\\r\\nabc\\r\\n",
    ] {
        check(&format!("return redis.call('raw', '{reply}')"), "-ERR the command's reply is malformed");
    }
    let deep = "*1\\r\\n".repeat(5000);
    check(&format!("return redis.call('raw', '{deep}')"), "-ERR the command's reply is malformed");
}

#[test]
fn every_kind_of_reply_reaches_the_script() {
    for (raw, look, expected) in [
        (":5\\r\\n", "v", r":5\r\n"),
        (":-9223372036854775808\\r\\n", "v", r":-9223372036854775808\r\n"),
        ("$-1\\r\\n", "type(v)", r"$7\r\nboolean\r\n"),
        ("*-1\\r\\n", "type(v)", r"$7\r\nboolean\r\n"),
        ("_\\r\\n", "type(v)", r"$3\r\nnil\r\n"),
        ("#t\\r\\n", "type(v)", r"$7\r\nboolean\r\n"),
        ("#f\\r\\n", "v", r"$-1\r\n"),
        (",1.5\\r\\n", "tostring(v.double)", r"$3\r\n1.5\r\n"),
        (",inf\\r\\n", "tostring(v.double)", r"$3\r\ninf\r\n"),
        ("(123456789012345678901234567890\\r\\n", "v.big_number", r"$30\r\n123456789012345678901234567890\r\n"),
        ("=8\\r\\ntxt:a\\r\\nb\\r\\n", "v.verbatim_string.format .. v.verbatim_string.string", r"$7\r\ntxta\r\nb\r\n"),
        ("%1\\r\\n+k\\r\\n:1\\r\\n", "type(next(v.map))", r"$5\r\ntable\r\n"),
        ("~2\\r\\n:1\\r\\n:2\\r\\n", "#v.set", r":2\r\n"),
        ("|1\\r\\n+a\\r\\n:1\\r\\n:7\\r\\n", "v", r":7\r\n"),
        ("*2\\r\\n-ERR x\\r\\n:1\\r\\n", "v[1].err", r"$5\r\nERR x\r\n"),
        ("+OK\\r\\n", "v.ok", r"$2\r\nOK\r\n"),
    ] {
        check(
            &format!("redis.setresp(3) local v = redis.call('raw', '{raw}') redis.setresp(2) return {look}"),
            expected,
        );
    }
}

#[test]
fn an_engine_can_be_shared_between_threads() {
    fn assert_send<T: Send>() {}
    assert_send::<Engine>();
    assert_eq!(&sha1_hex(b""), b"da39a3ee5e6b4b0d3255bfef95601890afd80709");
    assert_eq!(Interrupt::Continue, Interrupt::Continue.clone());
}

#[test]
fn as_many_arguments_as_fit_the_stack_do_no_harm() {
    let functions = [
        "redis.call",
        "redis.pcall",
        "redis.log",
        "redis.sha1hex",
        "redis.error_reply",
        "redis.setresp",
        "redis.acl_check_cmd",
        "string.find",
        "string.match",
        "string.gmatch",
        "string.gsub",
        "string.rep",
        "string.format",
        "string.char",
        "cjson.encode",
        "cjson.decode",
        "cjson.encode_max_depth",
        "cmsgpack.pack",
        "cmsgpack.unpack",
        "cmsgpack.unpack_limit",
        "struct.pack",
        "struct.unpack",
        "struct.size",
        "bit.band",
        "bit.tohex",
        "math.random",
        "math.randomseed",
        "math.max",
        "select",
        "pcall",
        "xpcall",
        "unpack",
        "rawget",
        "table.insert",
        "table.sort",
        "error",
    ];
    let mut engine = engine();
    for function in functions {
        for filler in ["'del'", "{1, {2}}", "7", "function() return cjson.encode({{}, {a = {}}}) end"] {
            for count in [255, 6999, 7000, 7001, 7960, 7975, 7980, 7985, 7990, 7995, 7999] {
                let script = format!(
                    "local t = {{}} for i = 1, {count} do t[i] = {filler} end
                    pcall({function}, unpack(t)) pcall({function}, 'a', unpack(t)) pcall({function}, 'a', '.', unpack(t)) return 'alive'"
                );
                let reply = run(&mut engine, &script);
                assert!(
                    reply == r"$5\r\nalive\r\n"
                        || reply.contains("too many results")
                        || reply.contains("stack overflow"),
                    "{function} with {count} times {filler}: {reply}"
                );
            }
        }
    }
    let reply =
        run(&mut engine, "local t = {} for i = 1, 7900 do t[i] = 'k' end return redis.call('rpush', unpack(t))");
    assert_eq!(reply, r":7899\r\n");
}

#[test]
fn a_library_call_inside_a_callback_is_interrupted_whatever_is_on_the_stack() {
    check_killed(
        "local t = {} for i = 1, 7900 do t[i] = {} end
        local function spin() while true do end end
        pcall(string.gsub, 'x', '.', spin, nil, unpack(t)) pcall(cmsgpack.pack, unpack(t)) return 'survived'",
    );
    check_killed(
        "local t = {} for i = 1, 7900 do t[i] = 'x' end
        local function spin(...) while true do redis.pcall('ping', ...) end end
        spin(unpack(t))",
    );
}

#[test]
fn a_stack_full_of_values_does_not_hide_a_script_from_its_host() {
    let engine = &mut engine();
    // Whatever instruction the hook meets, the stack is nearly always full.
    let script = format!(
        "local t = {{}} for i = 1, 7996 do t[i] = i end
        while true do {} end",
        "select('#', unpack(t)) ".repeat(100)
    );
    let mut host = TestHost { patience: Some(3), ..TestHost::default() };
    let reply = printable(&eval(engine, &mut host, script.as_bytes(), &NO_ARGUMENTS));
    assert!(reply.contains("Script killed") || reply.contains("out of Lua stack"), "{reply}");
}

#[test]
fn deep_recursion_of_every_kind_fits_a_small_stack() {
    let script = "
        local deep = {} for i = 1, 990 do deep = {deep} end
        local function nest(n)
            if n == 0 then
                cjson.encode(deep) cjson.decode(('['):rep(990) .. (']'):rep(990)) ('a'):rep(990):find(('a?'):rep(900))
                return '.'
            end
            return (('x'):gsub('.', function() return nest(n - 1) end))
        end
        for n = 1, 250 do pcall(nest, n) end
        return deep";
    let result = std::thread::Builder::new()
        .stack_size(2 * 1024 * 1024)
        .spawn(move || run(&mut engine(), script))
        .expect("a thread can be started")
        .join();
    assert!(result.expect("the script ends").starts_with(r"*1\r\n*1\r\n"));
}
