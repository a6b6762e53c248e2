//! What is proven and what is not: each refused text could reach a key that is not declared, run for ever, or hide that it does.

use redpoll_commands::families;

use super::*;

fn proven(text: &str) -> bool {
    keeps_to_its_keys(text.as_bytes(), &Registry::new(families()))
}

#[test]
fn scripts_as_they_are_written_are_proven() {
    for text in [
        "return redis.call('GET', KEYS[1])",
        "local key = KEYS[1] return redis.call('INCRBY', key, ARGV[1])",
        "local a, b = KEYS[1], KEYS[2] redis.call('SMOVE', a, b, ARGV[1]) return 1",
        "local call = redis.call if call('EXISTS', KEYS[1]) == 1 then return call('DEL', KEYS[1], KEYS[2]) end return false",
        "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) else return 0 end",
        "local function text(n) return string.format('%d', n) end redis.call('SET', KEYS[1], text(ARGV[1])) return {1, text(2)}",
        "local t = {count = 1, list = {1, 2}} t.count = t.count + #KEYS return redis.call('MSET', KEYS[1], t.count, KEYS[2], 1)",
        "local now = redis.call('TIME') redis.call('PUBLISH', ARGV[1], cjson.encode(now)) return now[1] .. KEYS[1]",
        "-- while true do end\nreturn redis.call('GET', KEYS[1]) --[[ for ever ]]",
        "local s = redis.call('GET', KEYS[1]) return s:sub(1, 2):upper()",
        "local v = redis.pcall('INCR', KEYS[1]) if type(v) == 'table' and v.err then return redis.error_reply('no') end return v",
        "return redis.call('SET', KEYS[1], 'x', unpack(ARGV))",
        "local args, count = ARGV, #ARGV ARGV[1] = 'x' return redis.call('SET', KEYS[1], ARGV[1])",
    ] {
        assert!(proven(text), "{text}");
    }
}

#[test]
fn other_keys_are_not_proven() {
    for text in [
        "return redis.call('GET', 'key')",
        "return redis.call('GET', ARGV[1])",
        "return redis.call('GET', KEYS[1] .. 'x')",
        "return redis.call('GET', KEYS[1]:lower())",
        "return redis.call(ARGV[1], KEYS[1])",
        "return redis.call('G' .. 'ET', KEYS[1])",
        "return redis.call('DEL', KEYS[1], 'other')",
        "return redis.call('DEL', KEYS[1], unpack(ARGV))",
        "return redis.call('DEL', unpack(KEYS))",
        "return redis.call('MSET', KEYS[1], 1, ARGV[1], 2)",
        "return redis.call('SORT', KEYS[1], 'BY', 'w_*')",
        "return redis.call('KEYS', '*')",
        "return redis.call('DBSIZE')",
        "return redis.call('INFO')",
        "return redis.call('FLUSHALL')",
        "return redis.call('EVAL', ARGV[1], 0)",
        "return redis.call('NOSUCH', KEYS[1])",
        "local key = KEYS[1] key = ARGV[1] return redis.call('GET', key)",
        "ARGV = {} return redis.call('GET', KEYS[1])",
        "local a a, ARGV = 1, {} return redis.call('GET', KEYS[1])",
        "local key = KEYS[1] local x x, key = 1, ARGV[1] return redis.call('GET', key)",
        "local key = KEYS[1] key, x = ARGV[1], 1 return redis.call('GET', key)",
        "local key = KEYS[1] local a local b a, key, b = 1, 2, 3 return redis.call('GET', key)",
        "local key = KEYS[1] if true then local key = ARGV[1] redis.call('GET', key) end",
        "local key = KEYS[1] local function f(key) return redis.call('GET', key) end return f(ARGV[1])",
        "local key = KEYS[1] or ARGV[1] return redis.call('GET', key)",
        "local key = KEYS[1] .. 'x' return redis.call('GET', key)",
        "local a, key = KEYS[1], ARGV[1] return redis.call('GET', key)",
        "local function f(key) return redis.call('GET', key) end return f(KEYS[1])",
        "KEYS[1] = ARGV[1] return redis.call('GET', KEYS[1])",
        "local a a, KEYS[1] = 1, ARGV[1] return redis.call('GET', KEYS[1])",
        "KEYS[1], a = ARGV[1], 1 return redis.call('GET', KEYS[1])",
        "local a local b a, KEYS[1], b = 1, 2, 3 return redis.call('GET', KEYS[1])",
        "KEYS = ARGV return redis.call('GET', KEYS[1])",
        "local KEYS = ARGV return redis.call('GET', KEYS[1])",
        "local k = KEYS k[1] = 'x' return redis.call('GET', KEYS[1])",
        "table.insert(KEYS, 1, ARGV[1]) return redis.call('GET', KEYS[1])",
        "table.remove(KEYS, 1) return redis.call('GET', KEYS[1])",
        "local r = redis return r.call('GET', ARGV[1])",
        "return redis['call']('GET', ARGV[1])",
        "return (redis.call)('GET', ARGV[1])",
        "local t = {redis.call} return t[1]('GET', ARGV[1])",
        "local t = {call = redis.call} return t.call('GET', ARGV[1])",
        "local call = redis.call local c = call return c('GET', ARGV[1])",
        "local call, x = redis.call, 1 return call('GET', ARGV[1])",
        "local x = 1 x = redis.call return x('GET', ARGV[1])",
        "return pcall(redis.call, 'GET', ARGV[1])",
        "return _G.redis.call('GET', ARGV[1])",
        "return select(1, redis.call)('GET', ARGV[1])",
        "local x = 0xE+redis.call('INCR', ARGV[1]) return x",
        "-- here \rreturn redis.call('GET', ARGV[1])",
        "return redis.call 'DBSIZE'",
        "return redis.call[[DBSIZE]]",
        "local s = 'x' return loadstring(s)()",
        "redis.setresp(3) return redis.call('GET', ARGV[1])",
        "local t = setmetatable({}, {__index = redis}) return t.call('GET', ARGV[1])",
        "return ('x'):rep(100000000)",
        "return string.find(ARGV[1], ARGV[2])",
        "return ARGV[1]:gsub('x', redis.call)",
    ] {
        assert!(!proven(text), "{text}");
    }
}

#[test]
fn what_is_called_otherwise_is_not_proven() {
    for text in [
        "if true then return pcall(loadstring(ARGV[1])) end local function pcall() end local function loadstring() end",
        "do local _VERSION = KEYS[1] end redis.call('SET', KEYS[1], 1) return redis.call('SET', _VERSION, 1)",
        "local _G = _G local k = _G.KEYS k[1] = ARGV[1] return redis.call('SET', KEYS[1], 1)",
        "if true then return rawset(_G.KEYS, 1, ARGV[1]) end local _G local function rawset() end",
        "if true then return setmetatable({}, {__index = 1}) end local function setmetatable() end",
        "local f = ARGV return ((f)'while true do end'){}",
        "local t = {(ARGV)'x'} return t[1]{}",
        "local t = {} t.sub = string.format return t:sub(1)",
        "return math.random(10)",
    ] {
        assert!(!proven(text), "{text}");
    }
}

#[test]
fn what_may_not_end_is_not_proven() {
    let mut doubling = String::from("local function f0() return 1 end ");
    for level in 1..40 {
        doubling.push_str(&format!("local function f{level}() return f{}() + f{}() end ", level - 1, level - 1));
    }
    doubling.push_str("return f39()");
    for text in [
        "while true do end",
        "repeat until false",
        "for i = 1, #KEYS do redis.call('GET', KEYS[i]) end",
        "local function f() return f() end f()",
        "local function f(g) return g(g) end return f(f)",
        "local f f = function() return f() end return f()",
        "function f() return f() end return f()",
        "local t = {} function t.f() return t.f() end return t.f()",
        "local t = {f = function() return 1 end} return t.f()",
        "return (function() return 1 end)()",
        &doubling,
    ] {
        assert!(!proven(text), "{text}");
    }
}
