"""redis-py: every area is given a way to make clients and runs once on RESP2 and once on RESP3, on an empty server."""

import asyncio
import json
import os
import re
import threading
import time
from functools import partial

import redis
import redis.asyncio
from redis.exceptions import NoScriptError, ResponseError, WatchError

import checks
from checks import PATIENCE_S, check, finish, run, server, wait_until

HOST, PORT = server()


def check_error(call, text, kind=ResponseError):
    """Holds an error that a call has to raise, a reply unless said otherwise, against the start of its text."""
    checks.check_error(call, text, kind)


def connect(client):
    r = client(client_name="first-client", db=1)
    check(r.ping(), True)
    check(r.echo("héllo"), "héllo".encode())
    check(r.client_getname(), "first-client" if isinstance(r.client_getname(), str) else b"first-client")
    info = r.client_info()
    check(info["name"], "first-client")
    check(info["db"], "1" if isinstance(info["db"], str) else 1)
    check(any(entry["id"] == str(r.client_id()) or entry["id"] == r.client_id() for entry in r.client_list()), True)
    check(r.client_kill_filter(laddr="127.0.0.1:1"), 0)
    r.close()
    check(r.ping(), True)


def library_name(client):
    """Servers before 7.2 refuse CLIENT SETINFO, which the client must bear; newer ones keep it."""
    info = client().client_info()
    if "lib-name" in info:
        check(info["lib-name"].startswith("redis-py"), True)
        check(info["lib-ver"], redis.__version__)
    else:
        check(client().ping(), True)


def strings(client):
    r = client()
    check(r.set("key", b"\x00\xff\r\n"), True)
    check(r.get("key"), b"\x00\xff\r\n")
    check(r.set("key", "new", nx=True), None)
    check(r.set("key", "new", xx=True, get=True), b"\x00\xff\r\n")
    check(r.get("missing"), None)
    check(r.mset({"a": 1, "b": 2.5}), True)
    check(r.mget("a", "b", "missing"), [b"1", b"2.5", None])
    check(r.msetnx({"a": 2, "c": 3}), False)
    check(r.incr("a", 41), 42)
    check(r.decrby("a", 2), 40)
    check(float(r.incrbyfloat("b", "0.1")), 2.6)
    check(r.append("key", "er"), 5)
    check(r.getrange("key", 1, 3), b"ewe")
    check(r.setrange("key", 0, "N"), 5)
    check(r.getdel("key"), b"Newer")
    check(r.strlen("key"), 0)
    check(r.delete("a", "b", "missing"), 2)
    check_error(lambda: r.set("word", "x") and r.incr("word"), "value is not an integer or out of range")


def decoded(client):
    r = client(decode_responses=True)
    check(r.set("ключ", "значение"), True)
    check(r.get("ключ"), "значение")
    check(r.hset("hash", mapping={"name": "Ana", "age": 30}), 2)
    check(r.hgetall("hash"), {"name": "Ana", "age": "30"})
    check(r.keys("h*"), ["hash"])
    check(r.type("hash"), "hash")


def json_values(client):
    """Documents kept as strings and as fields, the way the caches of web services do."""
    r = client()
    document = {"id": 7, "tags": ["a", "ü"], "nested": {"price": 9.99, "none": None}}
    check(r.set("doc:7", json.dumps(document), ex=60), True)
    check(json.loads(r.get("doc:7")), document)
    check(0 < r.ttl("doc:7") <= 60, True)
    check(r.hset("docs", "7", json.dumps(document)), 1)
    check({field: json.loads(text) for field, text in r.hgetall("docs").items()}, {b"7": document})


def expiry(client):
    r = client()
    check(r.set("key", "x", ex=100), True)
    check(99 <= r.ttl("key") <= 100, True)
    check(r.persist("key"), True)
    check((r.ttl("key"), r.ttl("missing")), (-1, -2))
    check(r.expire("key", 50, xx=True), False)
    check(r.pexpire("key", 50_000, nx=True), True)
    check(r.expire("key", 10, gt=True), False)
    check(r.expire("key", 10, lt=True), True)
    check(49_000 < r.pexpireat("key", 4_102_444_800_123) * 49_001, True)
    check(r.pexpiretime("key"), 4_102_444_800_123)
    check(r.getex("key", persist=True), b"x")
    check(r.ttl("key"), -1)
    check(r.set("soon", "gone", px=20), True)
    wait_until(lambda: r.get("soon") is None)
    check(r.exists("soon"), 0)
    check(r.set("past", "x", pxat=1), True)
    check(r.get("past"), None)


def hashes(client):
    r = client()
    check(r.hset("user", "name", "Ana"), 1)
    check(r.hset("user", mapping={"name": "Eva", "visits": 1}), 1)
    check(r.hgetall("user"), {b"name": b"Eva", b"visits": b"1"})
    check(r.hmget("user", "name", "missing"), [b"Eva", None])
    check(r.hincrby("user", "visits", 4), 5)
    check(r.hincrbyfloat("user", "score", 1.5), 1.5)
    check(r.hexists("user", "score"), True)
    check(r.hdel("user", "score", "missing"), 1)
    check((r.hlen("user"), sorted(r.hkeys("user")), r.hstrlen("user", "name")), (2, [b"name", b"visits"], 3))
    check(r.hrandfield("user", 10, withvalues=False).__len__(), 2)
    check(r.hsetnx("user", "name", "Ida"), 0)


def lists(client):
    r = client()
    check(r.rpush("queue", *range(10)), 10)
    check(r.lpush("queue", "first"), 11)
    check(r.lrange("queue", 0, 2), [b"first", b"0", b"1"])
    check(r.lpop("queue"), b"first")
    check(r.rpop("queue", 2), [b"9", b"8"])
    check(r.ltrim("queue", 0, 4), True)
    check(r.lmove("queue", "done", "LEFT", "RIGHT"), b"0")
    check(r.rpoplpush("queue", "done"), b"4")
    check(r.lrange("done", 0, -1), [b"4", b"0"])
    check(r.linsert("queue", "BEFORE", "2", "x"), 4)
    check(r.lpos("queue", "x"), 1)
    check((r.lindex("queue", -1), r.lset("queue", -1, "y"), r.lrem("queue", 0, "x")), (b"3", True, 1))
    check(r.lmpop(2, "missing", "queue", direction="LEFT", count=2), [b"queue", [b"1", b"2"]])
    check(r.llen("queue"), 1)


def sets(client):
    r = client()
    check(r.sadd("even", 2, 4, 6), 3)
    check(r.sadd("small", 1, 2, 3), 3)
    check(r.smembers("even"), {b"2", b"4", b"6"})
    check(set(r.sinter("even", "small")), {b"2"})
    check(set(r.sunion("even", "small")), {b"1", b"2", b"3", b"4", b"6"})
    check(set(r.sdiff("even", "small")), {b"4", b"6"})
    check(r.sinterstore("both", "even", "small"), 1)
    check(r.sintercard(2, ["even", "small"]), 1)
    check(bool(r.sismember("even", 4)), True)
    check([bool(found) for found in r.smismember("even", [4, 5])], [True, False])
    check(bool(r.smove("even", "small", 6)), True)
    check((r.scard("even"), r.srem("even", 2, 99)), (2, 1))
    check(r.spop("even"), b"4")
    check(r.exists("even"), 0)


def sorted_sets(client):
    r = client()
    check(r.zadd("board", {"ana": 10, "eva": 20.5, "ida": 30}), 3)
    check(r.zadd("board", {"ana": 5}, gt=True, ch=True), 0)
    check(float(r.zincrby("board", 5, "ana")), 15.0)
    check(r.zscore("board", "eva"), 20.5)
    check(r.zscore("board", "nobody"), None)
    check(r.zrange("board", 0, -1), [b"ana", b"eva", b"ida"])
    check([tuple(pair) for pair in r.zrange("board", 0, 0, withscores=True)], [(b"ana", 15.0)])
    check([tuple(pair) for pair in r.zrevrange("board", 0, 0, withscores=True)], [(b"ida", 30.0)])
    check(r.zrangebyscore("board", "(15", "+inf", start=0, num=1), [b"eva"])
    check(r.zrange("board", "+inf", "20", desc=True, byscore=True), [b"ida", b"eva"])
    check((r.zrank("board", "ida"), r.zrevrank("board", "ida")), (2, 0))
    check((r.zcount("board", 15, 21), r.zcard("board")), (2, 3))
    check([float(score) for score in r.zmscore("board", ["ana", "ida"])], [15.0, 30.0])
    check(r.zremrangebyscore("board", 0, 15), 1)
    check([tuple(pair) for pair in r.zpopmin("board", 1)], [(b"eva", 20.5)])
    check(r.zadd("words", {"a": 0, "b": 0, "c": 0}), 3)
    check(r.zrangebylex("words", "[a", "(c"), [b"a", b"b"])
    check(r.zunionstore("all", {"board": 2, "words": 1}), 4)
    check(r.zscore("all", "ida"), 60.0)


def scan(client):
    r = client()
    with r.pipeline(transaction=False) as pipeline:
        for number in range(1_000):
            pipeline.set(f"scan:{number}", number)
        pipeline.hset("scan:hash", mapping={f"field{number}": number for number in range(700)})
        pipeline.sadd("scan:set", *range(700))
        pipeline.zadd("scan:zset", {f"member{number}": number for number in range(700)})
        pipeline.execute()
    check(len(set(r.scan_iter())), 1_003)
    check(set(r.scan_iter(match="scan:99*")), {b"scan:99"} | {f"scan:99{digit}".encode() for digit in range(10)})
    check(set(r.scan_iter(count=7, _type="hash")), {b"scan:hash"})
    check(dict(r.hscan_iter("scan:hash", count=50)), {f"field{n}".encode(): str(n).encode() for n in range(700)})
    check(set(r.sscan_iter("scan:set", match="69?")), {str(number).encode() for number in range(690, 700)})
    check(dict(r.zscan_iter("scan:zset")), {f"member{n}".encode(): float(n) for n in range(700)})
    check(r.dbsize(), 1_003)


def pipelines(client):
    r = client()
    with r.pipeline(transaction=False) as pipeline:
        for number in range(10_000):
            pipeline.incrby("sum", number)
        replies = pipeline.execute()
    check((len(replies), replies[-1], r.get("sum")), (10_000, 49_995_000, b"49995000"))
    with r.pipeline(transaction=False) as pipeline:
        pipeline.set("word", "x").incr("word").get("word")
        replies = pipeline.execute(raise_on_error=False)
    check((replies[0], type(replies[1]), replies[2]), (True, ResponseError, b"x"))
    with r.pipeline() as pipeline:
        pipeline.set("big", b"x" * 5_000_000).strlen("big").getrange("big", -3, -1)
        check(pipeline.execute(), [True, 5_000_000, b"xxx"])


def transactions(client):
    r, other = client(), client()
    with r.pipeline() as pipeline:
        check(pipeline.set("a", 1).incr("a").execute(), [True, 2])
        pipeline.watch("a")
        value = int(pipeline.get("a"))
        other.set("a", 100)
        pipeline.multi()
        pipeline.set("a", value + 1)
        check_error(pipeline.execute, "", WatchError)
    check(r.get("a"), b"100")
    with r.pipeline() as pipeline:
        pipeline.set("word", "x").incr("word").set("after", 1)
        check_error(pipeline.execute, "Command # 2 (INCRBY word 1) of pipeline caused error: value is not an integer")
    check(r.get("after"), b"1")
    with r.pipeline() as pipeline:
        pipeline.set("never", 1).execute_command("NOSUCHCOMMAND")
        check_error(pipeline.execute, "Command # 2 (NOSUCHCOMMAND)")
    check(r.get("never"), None)
    r.set("counter", 0)

    def add_one(pipeline):
        current = int(pipeline.get("counter"))
        pipeline.multi()
        pipeline.set("counter", current + 1)

    threads = [threading.Thread(target=lambda: [r.transaction(add_one, "counter") for _ in range(50)]) for _ in range(4)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    check(r.get("counter"), b"200")


def scripts(client):
    r = client()
    add = r.register_script("return redis.call('INCRBY', KEYS[1], ARGV[1])")
    check((add(keys=["n"], args=[5]), add(keys=["n"], args=[6])), (5, 11))
    check(r.script_exists(add.sha), [True])
    check(r.script_flush(), True)
    check_error(lambda: r.evalsha(add.sha, 1, "n", 1), "No matching script", NoScriptError)
    check(add(keys=["n"], args=[1]), 12)
    with r.pipeline() as pipeline:
        add(keys=["n"], args=[10], client=pipeline)
        pipeline.get("n")
        check(pipeline.execute(), [22, b"22"])
    check(r.eval("return {1, 'two', false, {3.9, true}, redis.status_reply('FINE')}", 0), [1, b"two", None, [3, 1], b"FINE"])
    check(json.loads(r.eval("return cjson.encode({list = {1, 2}, text = ARGV[1]})", 0, "ü")), {"list": [1, 2], "text": "ü"})
    check(r.eval_ro("return redis.call('GET', KEYS[1])", 1, "n"), b"22")
    check_error(lambda: r.eval_ro("return redis.call('DEL', KEYS[1])", 1, "n"), "Write commands are not allowed from read-only scripts")
    check_error(lambda: r.eval("return redis.error_reply('MINE all mine')", 0), "MINE all mine")
    check_error(lambda: r.eval("return redis.call('HGET', KEYS[1], 'f')", 1, "n"), "WRONGTYPE Operation against a key")


def pools(client):
    pool = redis.BlockingConnectionPool(max_connections=4, timeout=PATIENCE_S, **client.keywords)
    failures = []

    def work(number):
        try:
            r = redis.Redis(connection_pool=pool)
            for turn in range(200):
                r.incr("shared")
                r.set(f"own:{number}", turn)
                check(r.get(f"own:{number}"), str(turn).encode())
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    check(failures, [])
    check(redis.Redis(connection_pool=pool).get("shared"), b"1600")
    pool.disconnect()


def locks(client):
    """The client's own lock, which is three scripts, around something that is not atomic."""
    r = client()
    r.set("guarded", 0)

    def work():
        for _ in range(20):
            with r.lock("lock", timeout=PATIENCE_S, sleep=0.001):
                r.set("guarded", int(r.get("guarded")) + 1)

    threads = [threading.Thread(target=work) for _ in range(4)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    check(r.get("guarded"), b"80")
    lock = r.lock("lock", timeout=PATIENCE_S)
    check((lock.acquire(), lock.owned(), r.lock("lock").acquire(blocking=False)), (True, True, False))
    check(lock.extend(5), True)
    lock.release()
    check(r.exists("lock"), 0)


def lost_connections(client):
    r, other = client(client_name="victim"), client()
    check(r.set("key", "x"), True)
    victims = [entry for entry in other.client_list() if entry["name"] == "victim"]
    check(other.client_kill_filter(_id=victims[0]["id"]), 1)
    check(r.get("key"), b"x")


def health_checks(client):
    r = client(health_check_interval=0.001, single_connection_client=True)
    pings = lambda: client().info("commandstats").get("cmdstat_ping", {"calls": 0})["calls"]
    r.get("key")
    before = pings()

    def pinged():
        r.get("key")
        return pings() > before

    wait_until(pinged)
    check(r.get("key"), None)


def databases(client):
    first, second = client(db=0), client(db=1)
    first.set("key", "first")
    second.set("key", "second")
    check((first.dbsize(), second.dbsize()), (1, 1))
    check(first.swapdb(0, 1), True)
    check((first.get("key"), second.get("key")), (b"second", b"first"))
    check(bool(first.move("key", 1)), False)
    check(bool(first.copy("key", "copied", destination_db=1)), True)
    check(second.get("copied"), b"second")
    check(first.rename("key", "renamed"), True)
    check(sorted(first.info("keyspace")), ["db0", "db1"])
    check(first.flushdb(), True)
    check((first.dbsize(), second.dbsize()), (0, 2))
    check(first.flushall(asynchronous=True), True)
    check(second.dbsize(), 0)


def introspection(client):
    r = client(decode_responses=True)
    r.set("key", "value")
    info = r.info()
    check(info["redis_version"].split(".")[0].isdigit(), True)
    check((info["role"], info["loading"]), ("master", 0))
    check(r.info("memory")["used_memory"] > 0, True)
    check(r.info("everything")["db0"]["keys"], 1)
    check(r.config_get("maxmemory*")["maxmemory-policy"], "noeviction")
    check(r.config_set("hash-max-listpack-entries", 100), True)
    check(r.config_get("hash-max-listpack-entries"), {"hash-max-listpack-entries": "100"})
    check(r.config_set("hash-max-listpack-entries", 128), True)
    check_error(lambda: r.config_set("no-such-setting", 1), "Unknown option or number of arguments for CONFIG SET")
    check(r.object("encoding", "key"), "embstr")
    check(r.memory_usage("key") > 8, True)
    check(r.command_count() > 100, True)
    check(r.command()["get"]["arity"], 2)
    check(r.command_getkeys("MSET", "a", "1", "b", "2"), ["a", "b"])
    check(abs(r.time()[0] - time.time()) < PATIENCE_S, True)


def errors(client):
    r = client()
    r.set("word", "x")
    check_error(lambda: r.lpush("word", 1), "WRONGTYPE Operation against a key holding the wrong kind of value")
    check_error(lambda: r.execute_command("NOSUCHCOMMAND", "a"), "unknown command 'NOSUCHCOMMAND', with args beginning with: 'a' ")
    check_error(lambda: r.execute_command("GET"), "wrong number of arguments for 'get' command")
    check_error(lambda: r.execute_command("SET", "a", "b", "EX", "0"), "invalid expire time in 'set' command")
    check_error(lambda: client(db=99).ping(), "DB index is out of range")
    check(r.get("word"), b"x")


def asynchronous(client):
    async def work():
        r = redis.asyncio.Redis(**client.keywords)
        check(await r.set("key", "x"), True)
        check(sorted(await asyncio.gather(*(r.incr("n") for _ in range(50)))), list(range(1, 51)))
        async with r.pipeline(transaction=True) as pipeline:
            check(await pipeline.incr("n").get("key").execute(), [51, b"x"])
        script = r.register_script("return ARGV[1]")
        check(await script(args=["y"]), b"y")
        check({key async for key in r.scan_iter()}, {b"key", b"n"})
        await r.aclose()

    asyncio.run(work())


def readme(client):
    """What the README shows."""
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../README.md")
    blocks = re.findall(r"^```python\n(.*?)^```", open(path, encoding="utf-8").read(), re.DOTALL | re.MULTILINE)
    check(len(blocks), 1)
    # Where the server listens is all that differs.
    check("port=6379" in blocks[0], True)
    exec(blocks[0].replace("port=6379", f"port={PORT}"), {})  # noqa: S102
    check(client().exists("greeting"), 1)


AREAS = [
    connect, library_name, strings, decoded, json_values, expiry, hashes, lists, sets, sorted_sets, scan, pipelines,
    transactions, scripts, pools, locks, lost_connections, health_checks, databases, introspection, errors, asynchronous, readme,
]  # fmt: skip


for protocol in (2, 3):

    def make():
        client = partial(redis.Redis, host=HOST, port=PORT, protocol=protocol)
        client().flushall()
        return (client,)

    run("redis", AREAS, make, f"RESP{protocol}")
finish()
