"""arq: a real worker, retries, delays, cron, results and aborting."""

import asyncio
import os
from datetime import timedelta

from arq import Retry, create_pool, cron
from arq.connections import RedisSettings
from arq.jobs import Job, JobStatus

from checks import PATIENCE_S, Process, check, finish, in_loop, run, url

URL = os.environ.get("REDIS_URL") or url()
SETTINGS = RedisSettings.from_dsn(URL)


async def add(cx, a, b):
    return a + b


async def flaky(cx, failures):
    if cx["job_try"] <= failures:
        raise Retry(defer=timedelta(milliseconds=50))
    return cx["job_try"]


async def broken(cx):
    raise ValueError("never works")


async def long(cx, key):
    await cx["redis"].set(key, "running")
    await asyncio.sleep(1_000)


async def held(cx, key):
    """Waits in its first run until its worker is killed."""
    if await cx["redis"].incr(key) == 1:
        await asyncio.sleep(1_000)


async def tick(cx):
    await cx["redis"].incr("ticks")


class Worker:
    functions = [add, flaky, broken, long, held]
    cron_jobs = [cron(tick, second=set(range(60)))]
    redis_settings = SETTINGS
    allow_abort_jobs = True
    poll_delay = 0.02
    max_tries = 5
    health_check_interval = 1
    # What a killed worker leaves as running is free again after this time and ten seconds more.
    job_timeout = 2_000


def worker():
    words = ["-c", "from arq.cli import cli; cli()", "arq_jobs.Worker"]
    return Process.python(*words, REDIS_URL=URL).wait_for("Starting worker")


@in_loop
async def with_pool(area):
    """Runs an area with a pool."""
    pool = await create_pool(SETTINGS)
    await area(pool)
    await pool.aclose()


async def fails(job, kind):
    try:
        return await job.result(timeout=PATIENCE_S, poll_delay=0.02) and False
    except kind:
        return True


async def until(done):
    for _ in range(PATIENCE_S * 100):
        if await done():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not come to pass")


async def calls(pool):
    job = await pool.enqueue_job("add", 2, 3)
    check(await job.result(timeout=PATIENCE_S, poll_delay=0.02), 5)
    check((await job.status(), (await job.info()).success), (JobStatus.complete, True))
    jobs = [await pool.enqueue_job("add", number, 1) for number in range(50)]
    check([await job.result(timeout=PATIENCE_S, poll_delay=0.02) for job in jobs], list(range(1, 51)))
    later = await pool.enqueue_job("add", 1, 1, _defer_by=0.3)
    check(await later.status(), JobStatus.deferred)
    check(await later.result(timeout=PATIENCE_S, poll_delay=0.02), 2)
    first = await pool.enqueue_job("add", 1, 1, _job_id="unique", _defer_by=0.2)
    check((first is None, await pool.enqueue_job("add", 1, 1, _job_id="unique")), (False, None))
    check(len(await pool.all_job_results()) >= 52, True)


async def retries(pool):
    job = await pool.enqueue_job("flaky", 2)
    check(await job.result(timeout=PATIENCE_S, poll_delay=0.02), 3)
    check(await fails(await pool.enqueue_job("broken"), ValueError), True)


async def aborting(pool):
    job = await pool.enqueue_job("long", "long")

    async def runs():
        return await pool.get("long") == b"running"

    await until(runs)
    check(await job.status(), JobStatus.in_progress)
    check(await job.abort(timeout=PATIENCE_S, poll_delay=0.02), True)
    check(await fails(Job(job.job_id, pool), asyncio.CancelledError), True)


async def cron_jobs(pool):
    async def ticked():
        return int(await pool.get("ticks") or 0) >= 3 and await pool.exists("arq:queue:health-check")

    await until(ticked)


async def crashed_worker(pool):
    """A job whose worker was killed runs again once the mark that it runs is gone."""
    one = worker()
    job = await pool.enqueue_job("held", "held", _job_id="held")

    async def runs(times):
        return await pool.get("held") == str(times).encode()

    await until(lambda: runs(1))
    one.kill()
    check(await pool.pttl("arq:in-progress:held") > 1_000_000, True)
    await pool.delete("arq:in-progress:held")
    with worker():
        await until(lambda: runs(2))
        check(await job.result(timeout=PATIENCE_S, poll_delay=0.02), None)


if __name__ == "__main__":
    with worker():
        run("arq", [with_pool(area) for area in (calls, retries, aborting, cron_jobs)])
    run("arq", [with_pool(crashed_worker)])
    finish()
