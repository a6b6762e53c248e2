"""Dramatiq: a real worker, retries, delays, results, groups, pipelines and rate limits."""

import os

from checks import Process, check, check_error, finish, run, url, wait_until

WORKER = os.environ.get("REDIS_URL") is not None
URL = os.environ.get("REDIS_URL") or url()

import dramatiq  # noqa: E402
import redis  # noqa: E402
from dramatiq.brokers.redis import RedisBroker  # noqa: E402
from dramatiq.rate_limits import ConcurrentRateLimiter, WindowRateLimiter  # noqa: E402
from dramatiq.rate_limits.backends import RedisBackend as RateBackend  # noqa: E402
from dramatiq.results import ResultFailure, Results  # noqa: E402
from dramatiq.results.backends import RedisBackend  # noqa: E402

PATIENCE_MS = 60_000
backend = RedisBackend(url=URL)
broker = RedisBroker(url=URL, heartbeat_timeout=2_000, maintenance_chance=1_000_000)
broker.add_middleware(Results(backend=backend))
dramatiq.set_broker(broker)
store = redis.Redis.from_url(URL)


@dramatiq.actor(store_results=True)
def add(a, b):
    return a + b


@dramatiq.actor(store_results=True, max_retries=3, min_backoff=20, max_backoff=50)
def flaky(key, failures):
    runs = store.incr(key)
    if runs <= failures:
        raise ValueError(f"run {runs}")
    return runs


@dramatiq.actor(max_retries=0)
def broken():
    raise ValueError("never works")


@dramatiq.actor(queue_name="notes")
def note(key, word):
    store.rpush(key, word)


@dramatiq.actor(max_retries=0, time_limit=PATIENCE_MS * 10)
def held(key):
    """Waits in its first run until its worker is killed."""
    if store.incr(key) == 1:
        while True:
            store.blpop("nothing", 1)


def worker():
    words = ["-m", "dramatiq", "dramatiq_jobs", "--processes", "1", "--threads", "4"]
    return Process.python(*words, REDIS_URL=URL).wait_for("Worker process is ready for action.")


def calls():
    check(add.send(2, 3).get_result(block=True, timeout=PATIENCE_MS), 5)
    messages = [add.send(number, number) for number in range(100)]
    check([message.get_result(block=True, timeout=PATIENCE_MS) for message in messages], [2 * n for n in range(100)])
    check(add.send_with_options(args=(1, 1), delay=300).get_result(block=True, timeout=PATIENCE_MS), 2)
    note.send("notes", "x")
    wait_until(lambda: store.lrange("notes", 0, -1) == [b"x"])
    broker.join("default", timeout=PATIENCE_MS)
    check(store.llen("dramatiq:default"), 0)


def retries():
    check(flaky.send("flaky", 2).get_result(block=True, timeout=PATIENCE_MS), 3)
    check_error(lambda: flaky.send("tired", 9).get_result(block=True, timeout=PATIENCE_MS), "actor raised ValueError: run", ResultFailure)
    message = broken.send()
    dead = "dramatiq:default.XQ"
    wait_until(lambda: message.options["redis_message_id"].encode() in store.zrange(dead, 0, -1))
    check(store.hexists(f"{dead}.msgs", message.options["redis_message_id"]), True)


def composition():
    chain = add.message(1, 2) | add.message(10) | add.message(100)
    check(chain.run().get_result(block=True, timeout=PATIENCE_MS), 113)
    many = dramatiq.group([add.message(number, 1) for number in range(20)]).run()
    check(list(many.get_results(block=True, timeout=PATIENCE_MS)), list(range(1, 21)))
    check(many.completed_count, 20)


def rate_limits():
    rates = RateBackend(url=URL)
    mutex = ConcurrentRateLimiter(rates, "mutex", limit=1)
    with mutex.acquire(raise_on_failure=False) as first, mutex.acquire(raise_on_failure=False) as second:
        check((first, second), (True, False))
    window = WindowRateLimiter(rates, "window", limit=3, window=100)

    def admitted():
        with window.acquire(raise_on_failure=False) as taken:
            return taken

    check([admitted() for _ in range(5)], [True, True, True, False, False])


def crashed_worker():
    """What a killed worker had taken is given back once its heartbeat is old."""
    with worker() as one:
        held.send("held")
        wait_until(lambda: store.get("held") == b"1")
        one.kill()
    with worker():
        wait_until(lambda: store.get("held") == b"2")


if not WORKER and __name__ == "__main__":
    with worker():
        run("dramatiq", [calls, retries, composition, rate_limits])
    run("dramatiq", [crashed_worker])
    finish()
