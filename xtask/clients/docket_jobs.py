"""docket: tasks on streams and a sorted set, with a real worker; delays, keys, retries, perpetual tasks, cancelling."""

import asyncio
import os
from datetime import datetime, timedelta, timezone

import redis.asyncio
from docket import Docket, Perpetual, Retry

from checks import PATIENCE_S, Process, check, finish, in_loop, run, url

URL = os.environ.get("REDIS_URL") or url()
store = redis.asyncio.Redis.from_url(URL)


async def note(key: str, word: str) -> None:
    await store.rpush(key, word)


async def flaky(key: str, failures: int, retry: Retry = Retry(attempts=5, delay=timedelta(milliseconds=50))) -> None:
    if await store.incr(key) <= failures:
        raise ValueError("not yet")


async def often(key: str, perpetual: Perpetual = Perpetual(every=timedelta(milliseconds=100))) -> None:
    if await store.incr(key) >= 5:
        perpetual.cancel()


async def held(key: str) -> None:
    """Waits in its first run until its worker is killed."""
    if await store.incr(key) == 1:
        await asyncio.sleep(1_000)


tasks = [note, flaky, often, held]


def worker():
    words = ["--tasks", "docket_jobs:tasks", "--docket", "work", "--url", URL, "--redelivery-timeout", "2s"]
    return Process.python("-c", "from docket.cli import app; app()", "worker", *words, REDIS_URL=URL)


async def until(done):
    while not await done():
        await asyncio.sleep(0.01)


def count(key, number):
    async def reached():
        return int(await store.get(key) or 0) == number

    return reached


def length(key, number):
    async def reached():
        return await store.llen(key) == number

    return reached


async def calls(docket):
    for number in range(50):
        await docket.add(note)("notes", str(number))
    await until(length("notes", 50))
    check(sorted(int(word) for word in await store.lrange("notes", 0, -1)), list(range(50)))
    soon = datetime.now(timezone.utc) + timedelta(seconds=1)
    await docket.add(note, when=soon, key="once")("later", "first")
    await docket.add(note, when=soon, key="once")("later", "second")
    await until(length("later", 1))
    check(await store.lrange("later", 0, -1), [b"first"])
    far = datetime.now(timezone.utc) + timedelta(hours=1)
    await docket.add(note, when=far, key="moved")("moved", "x")
    await docket.replace(note, when=datetime.now(timezone.utc), key="moved")("moved", "y")
    await until(length("moved", 1))
    check(await store.lrange("moved", 0, -1), [b"y"])
    await docket.add(note, when=far, key="gone")("gone", "x")
    await docket.cancel("gone")
    check([one.key for one in (await docket.snapshot()).future if one.key == "gone"], [])


async def repeats(docket):
    await docket.add(flaky)("flaky", 2)
    await until(count("flaky", 3))
    await docket.add(often)("often")
    await until(count("often", 5))
    check(len(await docket.workers()), 1)


async def crashed_worker(docket):
    with worker() as one:
        await docket.add(held)("held")
        await until(count("held", 1))
        one.kill()
    with worker():
        await until(count("held", 2))
    check(await store.get("held"), b"2")


@in_loop
async def with_docket(area):
    """Runs an area with a docket."""
    async with Docket(name="work", url=URL) as docket:
        for task in tasks:
            docket.register(task)
        await asyncio.wait_for(area(docket), PATIENCE_S)
    await store.aclose()


if __name__ == "__main__":
    with worker():
        run("pydocket", [with_docket(calls), with_docket(repeats)])
    run("pydocket", [with_docket(crashed_worker)])
    finish()
