"""Libraries of locks and rate limits: redlock-py, pottery, limits."""

import threading

import redis
from limits import RateLimitItemPerMinute, RateLimitItemPerSecond
from limits.storage import RedisStorage
from limits.strategies import FixedWindowRateLimiter, MovingWindowRateLimiter, SlidingWindowCounterRateLimiter
from pottery import RedisCounter, RedisDeque, RedisDict, RedisList, RedisSet, Redlock, redis_cache
from redlock import Redlock as OldRedlock

from checks import check, finish, run, server, url, wait_until

store = redis.Redis.from_url(url())


def redlock_py():
    host, port = server()
    manager = OldRedlock([{"host": host, "port": port, "db": db} for db in (0, 1, 2)], retry_count=2)
    lock = manager.lock("resource", 60_000)
    check((lock.resource, 0 < lock.validity <= 60_000, manager.lock("resource", 1_000)), ("resource", True, False))
    manager.unlock(lock)
    lock = manager.lock("resource", 20)
    wait_until(lambda: manager.lock("resource", 1_000))


def pottery_locks():
    guarded = {"count": 0}

    def work():
        for _ in range(5):
            with Redlock(key="guarded", masters={store}, auto_release_time=30):
                seen = guarded["count"]
                store.ping()
                guarded["count"] = seen + 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    check(guarded["count"], 20)
    lock = Redlock(key="extended", masters={store}, auto_release_time=5)
    check((lock.acquire(), 0 < lock.locked() <= 5), (True, True))
    lock.extend()
    lock.release()
    check(lock.locked(), 0)


def pottery_collections():
    numbers = RedisDict({"one": 1, "two": [2]}, redis=store, key="dict")
    numbers["three"] = {"n": 3}
    check((dict(numbers), len(numbers), "two" in numbers), ({"one": 1, "two": [2], "three": {"n": 3}}, 3, True))
    del numbers["one"]
    check(sorted(numbers), ["three", "two"])
    words = RedisList(["a", "b", "c"], redis=store, key="list")
    words[1] = "B"
    words.insert(1, "x")
    check((list(words), words.index("c"), words[::2], words.pop(0)), (["a", "x", "B", "c"], 3, ["a", "B"], "a"))
    tags = RedisSet({"a", "b"}, redis=store, key="set")
    tags |= {"c"}
    check(set(tags), {"a", "b", "c"})
    queue = RedisDeque("abc", maxlen=3, redis=store, key="deque")
    queue.append("d")
    queue.rotate(1)
    check(list(queue), ["d", "b", "c"])
    counts = RedisCounter("abca", redis=store, key="counter")
    check(counts.most_common(1), [("a", 2)])

    @redis_cache(redis=store, key="cached", timeout=60)
    def square(number):
        return number * number

    check((square(3), square(3), square.cache_info().hits), (9, 9, 1))


def limits():
    storage = RedisStorage(url())
    for number, strategy in enumerate((FixedWindowRateLimiter, MovingWindowRateLimiter, SlidingWindowCounterRateLimiter)):
        limiter, limit = strategy(storage), RateLimitItemPerMinute(5)
        user, other = f"user {number}", f"other {number}"
        check([limiter.hit(limit, user) for _ in range(6)], [True] * 5 + [False])
        check((limiter.test(limit, user), limiter.get_window_stats(limit, user).remaining), (False, 0))
        check((limiter.test(limit, other), limiter.hit(limit, other, cost=6)), (True, False))
        limiter.clear(limit, user)
        check(limiter.hit(limit, user), True)
        burst = RateLimitItemPerSecond(2)
        check([limiter.hit(burst, user) for _ in range(2)], [True, True])
        wait_until(lambda: limiter.hit(burst, user))
    check((storage.check(), storage.reset() > 0), (True, True))


run("redlock-py", [redlock_py])
run("pottery", [pottery_locks, pottery_collections])
run("limits", [limits])
finish()
