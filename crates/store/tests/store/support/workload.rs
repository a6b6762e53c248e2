//! A random workload over all families, for whoever wants to see the same data again afterwards.
//!
//! It is made of what a log could get wrong: relative times, random choices, float sums, keys that come and go by themselves, commands that fail half-way
//! through a transaction or script.

use redpoll_testkit::Random;

/// Templates: `@k` is a key of the family before it, `@m` a member, `@n` a small number, `@t` a time soon, `@T` a time late.
const LINES: &[&str] = &[
    "SET str@k text@n",
    "SET str@k @n PX @t",
    "SET str@k @n EX @T GET",
    "SETEX str@k @T text",
    "APPEND str@k more",
    "SETRANGE str@k @n part",
    "INCRBY num@k @n",
    "INCRBYFLOAT num@k 0.1",
    "GETDEL str@k",
    "GETEX str@k PX @t",
    "MSET str@k 1 num@k 2 str@k 3",
    "RPUSH list@k @m @m @m",
    "LPUSH list@k @m @n",
    "LPOP list@k @n",
    "LINSERT list@k BEFORE @m @m",
    "LREM list@k 1 @m",
    "LTRIM list@k 0 40",
    "LMOVE list@k list@k LEFT RIGHT",
    "HSET hash@k @m @n @m @m",
    "HDEL hash@k @m",
    "HINCRBYFLOAT hash@k float 0.7",
    "HINCRBY hash@k count @n",
    "SADD set@k @m @n @m",
    "SREM set@k @m",
    "SPOP set@k",
    "SPOP set@k @n",
    "SMOVE set@k set@k @m",
    "SUNIONSTORE set@k set@k set@k",
    "ZADD zset@k @n @m @n @m",
    "ZINCRBY zset@k 0.1 @m",
    "ZPOPMIN zset@k",
    "ZRANGESTORE zset@k zset@k 0 @n",
    "ZUNIONSTORE zset@k 2 zset@k zset@k",
    "XADD stream@k * @m @n",
    "XADD stream@k * name @m count @n",
    "XADD stream@k MAXLEN ~ @n * name @m count @n",
    "XADD stream@k MAXLEN @n * name @m count @n",
    "XADD stream@k MINID ~ @n-0 * name @m count @n",
    "XTRIM stream@k MAXLEN ~ @n LIMIT @n",
    "XTRIM stream@k MAXLEN @n",
    "XGROUP CREATE stream@k group 0 MKSTREAM",
    "XGROUP SETID stream@k group 0",
    "XREADGROUP GROUP group c@n COUNT @n STREAMS stream@k >",
    "XREADGROUP GROUP group c@n NOACK COUNT @n STREAMS stream@k stream@k > >",
    "XAUTOCLAIM stream@k group c@n 0 0 COUNT 3",
    "XGROUP DELCONSUMER stream@k group c@n",
    "XGROUP DESTROY stream@k group",
    "PEXPIRE stream@k @t",
    "EXPIRE hash@k @T",
    "PEXPIRE set@k @t",
    "PEXPIRE zset@k @t",
    "EXPIRE list@k @T",
    "PERSIST hash@k",
    "EXPIRE str@k -1",
    "DEL str@k set@k",
    "UNLINK zset@k",
    "RENAME str@k str@k",
    "COPY hash@k hash@k REPLACE",
    "MOVE str@k 3",
    "SELECT 1",
    "SELECT 0",
    "INCR list@k",
    "LPUSH str@k wrong-type",
];

/// What scripts do; keys and arguments as in [`LINES`].
const SCRIPTS: &[&str] = &[
    "redis.call('SADD', 'set@k', 'a', 'b', '@m'); return redis.call('SPOP', 'set@k')",
    "redis.call('SET', 'str@k', math.random(), 'PX', @t); redis.call('HSET', 'hash@k', 'time', redis.call('TIME')[2])",
    "local id = redis.call('XADD', 'stream@k', '*', 'a', '@m'); redis.call('XDEL', 'stream@k', id); return redis.call('XADD', 'stream@k', '*', 'a', '@n')",
    "redis.call('RPUSH', 'list@k', '@m'); redis.call('INCR', 'list@k')",
    "redis.pcall('INCR', 'hash@k'); redis.call('SELECT', 2); redis.call('INCRBYFLOAT', 'num@k', 0.3)",
];

/// Draws commands.
pub(crate) struct Workload {
    random: Random,
    in_transaction: bool,
}

impl Workload {
    pub(crate) fn new(seed: u64) -> Workload {
        Workload { random: Random::new(seed), in_transaction: false }
    }

    /// Draws a command. A MULTI is followed by its EXEC before long.
    pub(crate) fn next(&mut self) -> Vec<String> {
        if self.random.chance(1, if self.in_transaction { 4 } else { 20 }) {
            self.in_transaction = !self.in_transaction;
            return vec![if self.in_transaction { "MULTI" } else { "EXEC" }.into()];
        }
        if self.random.chance(1, 20) {
            let script = *self.random.pick(SCRIPTS);
            return vec!["EVAL".into(), self.fill(script), "0".into()];
        }
        let line = *self.random.pick(LINES);
        self.fill(line).split(' ').map(str::to_owned).collect()
    }

    fn fill(&mut self, line: &str) -> String {
        let mut parts = line.split('@');
        let mut filled = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let drawn = match part.as_bytes().first() {
                Some(b'k') => format!(":{}", self.random.below(8)),
                Some(b'm') if self.random.chance(1, 30) => "long".repeat(30),
                Some(b'm') => format!("m{}", self.random.below(200)),
                Some(b'n') => self.random.below(60).to_string(),
                Some(b't') => self.random.between(1, 60).to_string(),
                Some(b'T') => self.random.between(10_000, 20_000).to_string(),
                other => panic!("{line}: nothing is drawn for {other:?}"),
            };
            filled += &drawn;
            filled += &part[1..];
        }
        filled
    }
}
