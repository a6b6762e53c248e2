//! redis-cli: lines as people type them, and what has to come back.
//!
//! A line is given to a shell in which `redis-cli` means redis-cli on our port, so the lines of documentation and
//! deployment scripts stand here as they are written there, pipes and all. The order matters: later lines see what
//! earlier ones stored. MONITOR is missing, it does not end by itself.

use crate::install::REDIS_CLI;
use crate::workspace::program;
use anyhow::{Context, Result, ensure};
use std::net::SocketAddr;

/// How long one line may take; the shell ends it then.
const PATIENCE_S: &str = "20";
/// The function that makes `redis-cli` mean the server under test.
const PREAMBLE: &str = "redis-cli() { timeout $PATIENCE_S redis-cli -h $HOST -p $PORT \"$@\"; };";

/// What a line prints.
#[derive(Clone, Copy, Debug)]
enum Expect {
    /// This, line breaks at the end apart.
    Is(&'static str),
    /// These lines in any order.
    Lines(&'static [&'static str]),
    /// All of these somewhere.
    Has(&'static [&'static str]),
}
use Expect::{Has, Is, Lines};

/// Lines that belong together.
struct Area {
    name: &'static str,
    lines: &'static [(&'static str, Expect)],
}

#[rustfmt::skip]
const AREAS: &[Area] = &[
    Area { name: "health", lines: &[
        ("redis-cli ping",                                         Is("PONG")),
        ("redis-cli -n 1 ping",                                    Is("PONG")),
        ("redis-cli -i 0.1 --latency | wc -w",                     Is("4")),
        ("redis-cli -r 3 -i 0.001 echo again",                     Is("again\nagain\nagain")),
    ] },
    Area { name: "info", lines: &[
        ("redis-cli info",                                         Has(&["# Server", "redis_version:", "# Clients", "# Memory", "# Persistence", "# Stats", "# Replication", "role:master", "# CPU", "# Keyspace"])),
        ("redis-cli info memory",                                  Has(&["# Memory", "used_memory:", "used_memory_human:", "maxmemory:", "maxmemory_policy:noeviction"])),
        ("redis-cli INFO stats",                                   Has(&["total_connections_received:", "total_commands_processed:", "keyspace_hits:", "keyspace_misses:", "expired_keys:"])),
        ("redis-cli INFO clients | grep connected_clients",        Is("connected_clients:1")),
        ("redis-cli INFO memory | grep -c used_memory_human",      Is("1")),
        ("redis-cli INFO stats | grep keyspace_hits",              Is("keyspace_hits:0")),
        ("redis-cli INFO stats | grep evicted_keys",               Is("evicted_keys:0")),
        ("redis-cli INFO server | grep -c tcp_port:$PORT",         Is("1")),
    ] },
    Area { name: "data", lines: &[
        ("redis-cli set user:1 ana ex 100",                        Is("OK")),
        ("redis-cli mset user:2 eva trends:current up",            Is("OK")),
        ("printf 'two\\nlines' | redis-cli -x set text",           Is("OK")),
        ("redis-cli get text",                                     Is("two\nlines")),
        ("redis-cli --no-raw get text",                            Is("\"two\\nlines\"")),
        ("redis-cli --quoted-input set '\"bin\\x00\"' 1",          Is("OK")),
        ("redis-cli hset session:1 user 1 seen now",               Is("2")),
        ("redis-cli rpush queue a b c",                            Is("3")),
        ("redis-cli sadd tags x y",                                Is("2")),
        ("redis-cli zadd board 1 one 2.5 two",                     Is("2")),
        ("redis-cli --no-raw zrange board 0 -1 withscores",        Is("1) \"one\"\n2) \"1\"\n3) \"two\"\n4) \"2.5\"")),
        ("redis-cli --csv lrange queue 0 -1",                      Is("\"a\",\"b\",\"c\"")),
        ("redis-cli -3 --json hgetall session:1",                  Is("{\"user\":\"1\",\"seen\":\"now\"}")),
        ("redis-cli -3 --no-raw hget session:1 missing",           Is("(nil)")),
        ("redis-cli -3 --no-raw zscore board two",                 Is("(double) 2.5")),
        ("redis-cli incr user:1",                                  Is("ERR value is not an integer or out of range")),
        ("redis-cli -e incr user:1 2>&1 || echo exit $?",          Has(&["ERR value is not an integer", "exit 1"])),
    ] },
    Area { name: "keys", lines: &[
        ("redis-cli --scan --pattern \"*\"",                       Lines(&["user:1", "user:2", "trends:current", "text", "bin", "session:1", "queue", "tags", "board"])),
        ("redis-cli --scan --pattern 'user:*'",                    Lines(&["user:1", "user:2"])),
        ("redis-cli --bigkeys",                                    Has(&["Sampled 9 keys in the keyspace!", "Biggest   list found '\"queue\"' has 3 items", "Biggest   zset found '\"board\"' has 2 members", "Biggest string found '\"text\"' has 9 bytes"])),
        ("redis-cli --memkeys",                                    Has(&["Sampled 9 keys in the keyspace!", "1 sets with "])),
        ("redis-cli -n 1 KEYS 'booking:*'",                        Is("")),
        ("redis-cli -n 1 set booking:7 x",                         Is("OK")),
        ("redis-cli -n 1 KEYS 'booking:*'",                        Is("booking:7")),
        ("redis-cli dbsize",                                       Is("9")),
        ("redis-cli INFO keyspace | tr -d '\\r' | cut -d, -f1",    Is("# Keyspace\ndb0:keys=9\ndb1:keys=1")),
    ] },
    Area { name: "sessions", lines: &[
        ("printf 'KEYS trends:*\\nTTL trends:current\\nINFO memory\\n' | redis-cli", Has(&["trends:current\n-1\n# Memory"])),
        ("printf 'MULTI\\nINCR n\\nGET n\\nEXEC\\n' | redis-cli",  Is("OK\nQUEUED\nQUEUED\n1\n1")),
        ("printf 'SELECT 1\\nGET booking:7\\nNOSUCH\\n' | redis-cli", Has(&["OK\nx\n", "ERR unknown command 'NOSUCH'"])),
        ("printf 'HELLO 3\\nHGETALL session:1\\n' | redis-cli --no-raw", Has(&["\"proto\" => (integer) 3", "1# \"user\" => \"1\"\n2# \"seen\" => \"now\""])),
        ("printf 'SET m:1 a\\r\\nSET m:2 b\\r\\nLPUSH m:1 c\\r\\n' | redis-cli --pipe 2>&1", Has(&["WRONGTYPE", "errors: 1, replies: 3"])),
        ("seq 5000 | awk '{ print \"SET mass:\" $1 \" \" $1 }' | redis-cli --pipe", Has(&["errors: 0, replies: 5000"])),
        ("redis-cli command docs get | head -1",                   Is("get")),
    ] },
    Area { name: "scripts", lines: &[
        ("echo \"return {KEYS[1], ARGV[1], redis.call('GET', KEYS[1])}\" >$SCRATCH; redis-cli --eval $SCRATCH user:2 , word; rm $SCRATCH", Is("user:2\nword\neva")),
        ("redis-cli eval 'return redis.call(\"DBSIZE\")' 0",       Is("5012")),
        ("redis-cli script load 'return 1'",                       Is("e0e1f9fabfc9d4800c877a703b823ac0578ff8db")),
        ("redis-cli evalsha e0e1f9fabfc9d4800c877a703b823ac0578ff8db 0", Is("1")),
    ] },
    Area { name: "settings", lines: &[
        ("redis-cli CONFIG GET maxmemory-policy",                  Is("maxmemory-policy\nnoeviction")),
        ("redis-cli CONFIG SET maxmemory 2gb",                     Is("OK")),
        ("redis-cli CONFIG GET maxmemory",                         Is("maxmemory\n2147483648")),
        ("redis-cli CONFIG SET rename-command FLUSHDB \"\"",       Is("ERR syntax error")),
        ("redis-cli CONFIG SET requirepass \"secure_password_here\"", Is("OK")),
        ("redis-cli ping",                                         Is("NOAUTH Authentication required.")),
        ("redis-cli -a wrong ping 2>&1",                           Has(&["WRONGPASS", "NOAUTH"])),
        ("redis-cli --no-auth-warning -a secure_password_here ping", Is("PONG")),
        ("REDISCLI_AUTH=secure_password_here redis-cli ping",      Is("PONG")),
        ("redis-cli --no-auth-warning -u redis://default:secure_password_here@$HOST:$PORT/1 get booking:7", Is("x")),
        ("REDISCLI_AUTH=secure_password_here redis-cli CONFIG SET requirepass ''", Is("OK")),
    ] },
    Area { name: "cleaning", lines: &[
        ("redis-cli CONFIG RESETSTAT",                             Is("OK")),
        ("redis-cli -n 1 flushdb",                                 Is("OK")),
        ("redis-cli dbsize",                                       Is("5012")),
        ("redis-cli flushall async",                               Is("OK")),
        ("redis-cli --scan",                                       Is("")),
    ] },
];

/// Types the lines.
pub(super) fn run(server: SocketAddr) -> Result<()> {
    REDIS_CLI.ensure()?;
    let mut failed = 0;
    for area in AREAS {
        let before = failed;
        for (line, expect) in area.lines {
            if let Err(error) = check(server, line, *expect) {
                println!("{error:#}");
                failed += 1;
            }
        }
        let word = if failed == before { "ok" } else { "FAILED" };
        println!("redis-cli  {:<10}{:>3} lines  {word}", area.name, area.lines.len());
    }
    ensure!(failed == 0, "{failed} lines were not answered as they should");
    Ok(())
}

fn check(server: SocketAddr, line: &str, expect: Expect) -> Result<()> {
    let scratch = std::env::temp_dir().join(format!("redpoll-clients-{}.lua", std::process::id()));
    let mut shell = program("bash");
    shell.args(["-c", &format!("{PREAMBLE} {line}")]).env("SCRATCH", scratch).env("PATIENCE_S", PATIENCE_S);
    shell.env("HOST", server.ip().to_string()).env("PORT", server.port().to_string());
    let done = shell.output().context("cannot run bash")?;
    let text = String::from_utf8_lossy(&done.stdout).replace("\r\n", "\n");
    let errors = String::from_utf8_lossy(&done.stderr);
    ensure!(expect.holds(text.trim_end_matches('\n')), "{line}\n  expected {expect:?}\n  printed {text:?} {errors}");
    Ok(())
}

impl Expect {
    fn holds(self, text: &str) -> bool {
        match self {
            Is(expected) => text == expected,
            Lines(expected) => {
                let (mut found, mut expected) = (text.lines().collect::<Vec<_>>(), expected.to_vec());
                found.sort_unstable();
                expected.sort_unstable();
                found == expected
            }
            Has(parts) => parts.iter().all(|part| text.contains(part)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expectations_can_fail() {
        assert!(Is("a").holds("a") && !Is("a").holds("ab"));
        assert!(Lines(&["a", "b"]).holds("b\na") && !Lines(&["a", "b"]).holds("a\nb\nc"));
        assert!(Has(&["a", "b"]).holds("xbxax") && !Has(&["a", "b"]).holds("a"));
    }
}
