//! The scripts that EVAL and its relatives are drawn with.
//!
//! Each names the families its keys are drawn from and how many arguments it takes, and answers the same whenever it
//! meets the same data: what has no order is sorted or counted, nothing asks the clock. The sums stand here because the
//! stream is made before any reply is read; a test asks redis-server for them.

use super::families::Family;

/// A script.
#[derive(Debug)]
pub(super) struct Script {
    /// What EVAL runs.
    pub(super) text: &'static str,
    /// What EVALSHA names it by.
    pub(super) sha: &'static str,
    /// The families of its keys.
    pub(super) keys: &'static [Family],
    /// How many arguments it takes.
    pub(super) args: usize,
}

const fn script(text: &'static str, sha: &'static str, keys: &'static [Family], args: usize) -> Script {
    Script { text, sha, keys, args }
}

use Family::{Hashes, Keys, Lists, Sets, SortedSets, Strings};

/// All of them.
#[rustfmt::skip]
pub(super) const SCRIPTS: &[Script] = &[
    script("return redis.call('GET', KEYS[1])", "d3c21d0c2b9ca22f82737626a27bcaf5d288f99f", &[Strings], 0),
    script("return redis.call('SET', KEYS[1], ARGV[1])", "d8f2fad9f8e86a53d2a6ebd960b33c4972cacc37", &[Strings], 1),
    script("redis.call('RPUSH', KEYS[1], ARGV[1]) return redis.call('LRANGE', KEYS[1], 0, -1)", "bc256774ff6add4d7d93a64ba67d8abe2fdecf36", &[Lists], 1),
    script("return redis.pcall('HINCRBY', KEYS[1], ARGV[1], ARGV[2])", "c00a55af495709016a86b8dbcbe73e60eb653dc1", &[Hashes], 2),
    script("local n = redis.call('INCR', KEYS[1]) if n % 2 == 0 then error('even') end return n", "7660b0097220fef8c7eb28be4160b61ab2f26878", &[Strings], 0),
    script("for _, m in ipairs(ARGV) do redis.call('SADD', KEYS[1], m) end local m = redis.call('SMEMBERS', KEYS[1]) table.sort(m) return m", "3516b3fb3a74b0237da39b8de4237604bbac33cf", &[Sets], 3),
    script("redis.call('ZADD', KEYS[1], 1, ARGV[1], 2, ARGV[2]) return {redis.call('ZCARD', KEYS[1]), redis.call('ZRANK', KEYS[1], ARGV[1])}", "c26b34d9e5bf841efb6eb883baa04bf279a78398", &[SortedSets], 2),
    script("return {1, 2.9, 'three', true, false, {'four', {5}}, nil, 6}", "f1382802d0b8fbc1dd744fc21d363d60419504d0", &[], 0),
    script("return redis.error_reply('CODE of mine')", "a3f227531f40afe62806afe4c31c62a0baa81c1d", &[], 0),
    script("return redis.status_reply(ARGV[1] or 'none')", "e90fd2b0bc2b9f26fcc53115c9cd1f5e3190b734", &[], 1),
    script("redis.setresp(3) local h = redis.call('HGETALL', KEYS[1])['map'] local n = 0 for _ in pairs(h) do n = n + 1 end return n", "944cb11ebbddce41fff97bcd8a40370bbee5e5a6", &[Hashes], 0),
    script("redis.call('RENAME', KEYS[1], KEYS[2]) return redis.call('TYPE', KEYS[2])", "4cbf94c6c33345339c6b2a8efe9c93d87aa69bbf", &[Keys, Keys], 0),
    script("redis.call('SET', KEYS[1], 'x', 'EX', 100000) return redis.call('PERSIST', KEYS[1])", "1ccbfabece07f4d399acfcb680741f28091f8a6c", &[Strings], 0),
    script("redis.call('SELECT', 1) return redis.call('EXISTS', KEYS[1])", "418c380e08865c184654a4e10cf1f69d21e706f5", &[Keys], 0),
    script("local r = redis.pcall('LPUSH', KEYS[1], 'x') return r['err'] or r", "e038b05a49c58a014b5ba84fa9a6aa1b3db2b358", &[Lists], 0),
    script("return redis.call('NOSUCH', KEYS[1])", "acbd82eaa95645cdb559114bde17841580fa0f8c", &[Keys], 0),
    script("return redis.call('GET')", "72273adc3c5955bf8543f1ad6ce893355b89617d", &[], 0),
    script("return cjson.encode({1, 'a', {KEYS[1]}, false})", "adc9d38df9a116f54442ceb2666a8ca473e14a3d", &[Keys], 0),
    script("return redis.sha1hex(ARGV[1])", "a0e05a99d84be1af701165680cf050a4c8a31d64", &[], 1),
    script("return {redis.call('MGET', KEYS[1], KEYS[2]), redis.call('STRLEN', KEYS[1])}", "09f9fe48091254c5887993cb754f930444e2a196", &[Strings, Strings], 0),
];

#[cfg(test)]
mod tests {
    use super::SCRIPTS;
    use crate::{RedisServer, Target};

    #[test]
    fn the_sums_are_those_redis_server_finds() {
        let server = RedisServer::start().unwrap();
        let mut client = server.client().unwrap();
        for script in SCRIPTS {
            let reply = client.call(&[b"SCRIPT".to_vec(), b"LOAD".to_vec(), script.text.into()]);
            assert_eq!(reply.as_bytes(), Some(script.sha.as_bytes()), "{}", script.text);
        }
    }
}
