"""streaQ, whose steps are a library of functions (FUNCTION, FCALL): a real worker, delays, retries, priorities, abort."""

import asyncio
import os

from streaq import StreaqRetry, Worker

from checks import PATIENCE_S, Process, check, finish, in_loop, run, url

URL = os.environ.get("REDIS_URL") or url()
worker = Worker(redis_url=URL, queue_name="work", idle_timeout=3)


@worker.task
async def add(a: int, b: int) -> int:
    return a + b


@worker.task(max_tries=5)
async def flaky(key: str, failures: int) -> int:
    runs = await worker.redis.incr(key)
    if runs <= failures:
        raise StreaqRetry("not yet", delay=0.05)
    return runs


@worker.task
async def held(key: str) -> str:
    """Waits in its first run until its worker is killed."""
    if await worker.redis.incr(key) == 1:
        await asyncio.sleep(1_000)
    return "second run"


@worker.cron("* * * * * * *")
async def tick() -> None:
    await worker.redis.incr("ticks")


async def value(task):
    result = await task.result(timeout=PATIENCE_S)
    if not result.success:
        raise result.exception
    return result.result


async def until(done):
    while not await done():
        await asyncio.sleep(0.01)


async def calls():
    check(await value(await add.enqueue(2, 3)), 5)
    tasks = [add.enqueue(number, 1) for number in range(50)]
    await worker.enqueue_many(tasks)
    check([await value(task) for task in tasks], list(range(1, 51)))
    check(await value(await add.enqueue(1, 1).start(delay=1)), 2)
    check(await value(await add.enqueue(1, 2).then(add, b=10)), 13)
    check(await value(await flaky.enqueue("flaky", 2)), 3)


async def cron():
    async def ticked():
        return int(await worker.redis.get("ticks") or 0) >= 2

    await until(ticked)


async def aborting():
    task = await held.enqueue("aborted")

    async def runs():
        return int(await worker.redis.get("aborted") or 0) == 1

    await until(runs)
    check(await task.abort(timeout=PATIENCE_S), True)
    later = await add.enqueue(1, 1).start(delay=1_000)
    check(await later.abort(timeout=PATIENCE_S), True)


async def crashed_worker():
    task = await held.enqueue("held")

    async def runs():
        return int(await worker.redis.get("held") or 0) == 1

    with started() as one:
        await until(runs)
        one.kill()
    with started():
        check(await value(task), "second run")


def started():
    return Process.python("-c", "from streaq.cli import cli; cli()", "run", "streaq_jobs:worker", REDIS_URL=URL)


@in_loop
async def connected(area):
    """Runs an area, connected."""
    async with worker:
        await asyncio.wait_for(area(), PATIENCE_S)


if __name__ == "__main__":
    with started():
        run("streaq", [connected(area) for area in (calls, cron, aborting)])
    run("streaq", [connected(crashed_worker)])
    finish()
