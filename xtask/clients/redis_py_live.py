"""redis-py where something waits or comes unasked: pub/sub, client-side caching, blocking commands, streams, notifications."""

import threading
from functools import partial

import redis
from redis.cache import CacheConfig

from checks import check, check_error, finish, run, server, wait_until

HOST, PORT = server()


def heard(subscriber):
    """Gives the next message that is none about subscriptions."""
    return wait_until(lambda: subscriber.get_message(ignore_subscribe_messages=True, timeout=1))


def beside(work):
    """Runs something in a thread and gives a function that waits for its result."""
    results = []
    thread = threading.Thread(target=lambda: results.append(work()))
    thread.start()

    def joined():
        thread.join(60)
        return results[0]

    return joined


def blocked(client, count=1):
    wait_until(lambda: client().info("clients")["blocked_clients"] == count)


def publish_and_subscribe(client):
    r = client(decode_responses=True)
    subscriber = r.pubsub()
    subscriber.subscribe("news")
    subscriber.psubscribe("n?ws", "x*")
    subscriber.ssubscribe("shard")
    wait_until(lambda: r.pubsub_numsub("news") == [("news", 1)] and r.pubsub_numpat() == 2)
    check(r.pubsub_channels("n*"), ["news"])
    check((r.publish("news", "one"), r.publish("nobody", "x"), r.spublish("shard", "two")), (2, 0, 1))
    messages = []
    while len(messages) < 3:
        message = heard(subscriber)
        messages.append((message["type"], message["channel"], message["data"]))
    check(sorted(messages), [("message", "news", "one"), ("pmessage", "news", "one"), ("smessage", "shard", "two")])
    subscriber.unsubscribe()
    wait_until(lambda: r.pubsub_numsub("news") == [("news", 0)])
    check((r.publish("news", "again"), heard(subscriber)["type"]), (1, "pmessage"))
    subscriber.close()


def handlers_in_a_thread(client):
    r, seen = client(decode_responses=True), []
    subscriber = r.pubsub()
    subscriber.subscribe(jobs=lambda message: seen.append(message["data"]))
    thread = subscriber.run_in_thread(sleep_time=0.01)
    for number in range(1_000):
        r.publish("jobs", number)
    wait_until(lambda: len(seen) == 1_000)
    thread.stop()
    thread.join()
    check(seen, [str(number) for number in range(1_000)])


def subscriptions_after_a_loss(client):
    r = client(decode_responses=True)
    subscriber = client(client_name="listener", decode_responses=True).pubsub()
    subscriber.subscribe("news")
    check(wait_until(lambda: subscriber.get_message(timeout=1))["type"], "subscribe")
    victim = next(entry for entry in r.client_list() if entry["name"] == "listener")
    check(r.client_kill_filter(_id=victim["id"]), 1)

    def published():
        r.publish("news", "back")
        message = subscriber.get_message(ignore_subscribe_messages=True, timeout=0.1)
        return message and message["data"] == "back"

    wait_until(published)


def notifications(client):
    r = client(decode_responses=True)
    r.config_set("notify-keyspace-events", "KEA")
    subscriber = r.pubsub()
    subscriber.psubscribe("__keyevent@0__:*")
    check(wait_until(lambda: subscriber.get_message(timeout=1))["type"], "psubscribe")
    r.set("key", "x", px=30)
    r.lpush("list", 1)
    events = []
    while ("expired", "key") not in events:
        message = heard(subscriber)
        events.append((message["channel"].split(":")[1], message["data"]))
    check({("set", "key"), ("expire", "key"), ("lpush", "list")} <= set(events), True)
    r.config_set("notify-keyspace-events", "")
    subscriber.close()


def client_side_caching(client):
    if client.keywords["protocol"] != 3:
        check_error(lambda: client(cache_config=CacheConfig()), "Client caching is only supported with RESP version 3", redis.RedisError)
        return
    r, other = client(cache_config=CacheConfig(), decode_responses=True), client()
    version = tuple(int(part) for part in other.info("server")["redis_version"].split(".")[:2])
    if version < (7, 4):
        # The library asks for the version, not for the commands, which are there since 6.0.
        check_error(lambda: r.get("cached"), "To maximize compatibility", redis.ConnectionError)
        return
    gets = lambda: other.info("commandstats").get("cmdstat_get", {"calls": 0})["calls"]
    other.set("cached", "1")
    check(r.get("cached"), "1")
    before = gets()
    check(([r.get("cached") for _ in range(10)], gets() - before), (["1"] * 10, 0))
    other.set("cached", "2")
    wait_until(lambda: r.get("cached") == "2")
    other.hset("hash", "f", "1")
    check(r.hgetall("hash"), {"f": "1"})
    other.hset("hash", "f", "2")
    wait_until(lambda: r.hgetall("hash") == {"f": "2"})
    other.flushall()
    wait_until(lambda: r.get("cached") is None)


def blocking(client):
    r = client()
    popped = beside(lambda: client().blpop(["a", "b"], timeout=60))
    blocked(client)
    check(r.rpush("b", "x", "y"), 2)
    check([part for part in popped()], [b"b", b"x"])
    moved = beside(lambda: client().blmove("queue", "work", 60, "LEFT", "RIGHT"))
    blocked(client)
    r.rpush("queue", "job")
    check((moved(), r.lrange("work", 0, -1)), (b"job", [b"job"]))
    least = beside(lambda: client().bzpopmin("board", timeout=60))
    blocked(client)
    r.zadd("board", {"low": 1, "high": 2})
    check(list(least()), [b"board", b"low", 1.0])
    check((r.blpop("nothing", timeout=0.05), r.brpop("b", timeout=1)[1], r.blmpop(0.05, 1, "nothing", direction="LEFT")), (None, b"y", None))
    waiting = [beside(lambda: client().brpoplpush("jobs", "done", timeout=60)) for _ in range(5)]
    blocked(client, 5)
    r.lpush("jobs", *range(5))
    check(sorted(int(wait()) for wait in waiting), list(range(5)))
    check(r.wait(0, 10), 0)


def streams(client):
    r = client(decode_responses=True)
    ids = [r.xadd("log", {"number": number}) for number in range(10)]
    check((r.xlen("log"), [fields["number"] for _, fields in r.xrange("log", ids[3], ids[5])]), (10, ["3", "4", "5"]))
    check([found for found, _ in r.xrevrange("log", count=2)], [ids[9], ids[8]])
    read = beside(lambda: client(decode_responses=True).xread({"log": "$"}, block=60_000))
    blocked(client)
    late = r.xadd("log", {"late": 1})
    check(str(late) in str(read()), True)
    check(r.xtrim("log", maxlen=5, approximate=False), 6)


def groups(client):
    r = client(decode_responses=True)
    check(r.xgroup_create("log", "team", id="0", mkstream=True), True)
    check_error(lambda: r.xgroup_create("log", "team"), "BUSYGROUP Consumer Group name already exists", redis.ResponseError)
    ids = [r.xadd("log", {"n": n}) for n in range(4)]
    entries = lambda reply: [found for _, found in (reply.items() if isinstance(reply, dict) else reply)][0]
    flat = lambda found: found[0] if found and isinstance(found[0], list) and found[0] and isinstance(found[0][0], (list, tuple)) else found
    got = flat(entries(r.xreadgroup("team", "ana", {"log": ">"}, count=3)))
    check([found for found, _ in got], ids[:3])
    check(r.xack("log", "team", ids[0]), 1)
    pending = r.xpending("log", "team")
    check((pending["pending"], pending["min"], pending["consumers"]), (2, ids[1], [{"name": "ana", "pending": 2}]))
    check([one["message_id"] for one in r.xpending_range("log", "team", "-", "+", 10)], ids[1:3])
    check(r.xclaim("log", "team", "eva", 0, [ids[1]], justid=True), [ids[1]])
    check([found for found, _ in r.xautoclaim("log", "team", "eva", 0, "0")[1]], ids[1:3])
    check((r.xinfo_groups("log")[0]["pending"], r.xinfo_stream("log")["length"]), (2, 4))
    read = beside(lambda: client(decode_responses=True).xreadgroup("team", "ida", {"log": ">"}, block=60_000, noack=True))
    check(str(ids[3]) in str(read()), True)
    check((r.xgroup_delconsumer("log", "team", "eva"), r.xdel("log", ids[0]), r.xgroup_destroy("log", "team")), (2, 1, 1))


AREAS = [
    publish_and_subscribe, handlers_in_a_thread, subscriptions_after_a_loss, notifications, client_side_caching, blocking,
    streams, groups,
]  # fmt: skip

for protocol in (2, 3):

    def make():
        client = partial(redis.Redis, host=HOST, port=PORT, protocol=protocol)
        client().flushall()
        return (client,)

    run("redis", AREAS, make, f"RESP{protocol}")
finish()
