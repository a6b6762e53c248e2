"""SAQ: a real worker, retries, schedules, cron and aborting."""

import asyncio
import os
import time

import redis
from saq import CronJob, Job, Queue, Status

from checks import PATIENCE_S, Process, check, finish, in_loop, run, url, wait_until

URL = os.environ.get("REDIS_URL") or url()
queue = Queue.from_url(URL)


async def add(cx, *, a, b):
    return a + b


async def flaky(cx, *, failures):
    if cx["job"].attempts <= failures:
        raise ValueError(f"attempt {cx['job'].attempts}")
    return cx["job"].attempts


async def long(cx):
    await queue.redis.set("long", "running")
    await asyncio.sleep(1_000)


async def tick(cx):
    await queue.redis.incr("ticks")


settings = {
    "queue": queue,
    "functions": [add, flaky, long, tick],
    "concurrency": 4,
    "cron_jobs": [CronJob(tick, cron="* * * * * */1")],
    "timers": {"schedule": 1, "worker_info": 1, "abort": 1},
    "dequeue_timeout": 1,
}


async def calls(own):
    check(await own.apply("add", a=2, b=3, timeout=PATIENCE_S), 5)
    check(await own.map("add", [{"a": number, "b": 1} for number in range(50)], timeout=PATIENCE_S), list(range(1, 51)))
    later = await own.enqueue("add", a=1, b=1, scheduled=time.time() + 1)
    check(await own.count("incomplete") >= 1, True)
    await later.refresh(until_complete=PATIENCE_S)
    check((later.status, later.result), (Status.COMPLETE, 2))
    first = await own.enqueue(Job("add", kwargs={"a": 1, "b": 1}, key="unique", scheduled=time.time() + 1))
    check((first is None, await own.enqueue(Job("add", kwargs={"a": 1, "b": 1}, key="unique"))), (False, None))


async def retries(own):
    job = await own.enqueue("flaky", failures=2, retries=5)
    await job.refresh(until_complete=PATIENCE_S)
    check((job.status, job.result), (Status.COMPLETE, 3))
    tired = await own.enqueue("flaky", failures=9, retries=2)
    await tired.refresh(until_complete=PATIENCE_S)
    check((tired.status, "attempt 2" in tired.error), (Status.FAILED, True))


async def aborting(own):
    job = await own.enqueue("long", timeout=0)
    while await own.redis.get("long") != b"running":
        await asyncio.sleep(0.01)
    await job.abort("enough")
    await job.refresh(until_complete=PATIENCE_S)
    check((job.status, job.error), (Status.ABORTED, "enough"))


async def cron(own):
    while int(await own.redis.get("ticks") or 0) < 2:
        await asyncio.sleep(0.01)
    check(len((await own.info())["workers"]), 1)


@in_loop
async def with_queue(area):
    """Runs an area with a queue."""
    own = Queue.from_url(URL)
    await own.connect()
    await asyncio.wait_for(area(own), PATIENCE_S)
    await own.disconnect()


if __name__ == "__main__":
    with Process.python("-c", "from saq.__main__ import main; main()", "saq_jobs.settings", REDIS_URL=URL):
        # A worker begins with a sweep, which aborts a job that was taken but not yet marked as running.
        wait_until(lambda: redis.Redis.from_url(URL).exists("saq:default:sweep"))
        run("saq", [with_queue(area) for area in (calls, retries, aborting, cron)])
    finish()
