"""taskiq: real workers on its stream, list and pub/sub brokers, results and schedules."""

import asyncio
import os
from datetime import datetime, timedelta, timezone

import redis
from taskiq_redis import ListQueueBroker, ListRedisScheduleSource, PubSubBroker, RedisAsyncResultBackend, RedisStreamBroker

from checks import PATIENCE_S, Process, check, finish, run, url, wait_until

URL = os.environ.get("REDIS_URL") or url()
KINDS = {"stream": RedisStreamBroker, "list": ListQueueBroker, "pubsub": PubSubBroker}
store = redis.Redis.from_url(URL)
kind = os.environ.get("KIND", "stream")


def make(kind):
    """Makes a broker with its tasks; the worker and the script make the same."""
    broker = KINDS[kind](URL, queue_name=f"taskiq:{kind}")
    broker = broker.with_result_backend(RedisAsyncResultBackend(URL, result_ex_time=60, prefix_str=kind))

    @broker.task(task_name="add")
    async def add(a: int, b: int) -> int:
        return a + b

    @broker.task(task_name="broken")
    async def broken() -> None:
        raise ValueError("never works")

    return broker, add, broken


broker, _, _ = make(kind)


async def work(kind):
    own, add, broken = make(kind)
    await own.startup()
    task = await add.kiq(2, 3)
    check((await task.wait_result(timeout=PATIENCE_S, check_interval=0.02)).return_value, 5)
    tasks = [await add.kiq(number, 1) for number in range(50)]
    results = [await task.wait_result(timeout=PATIENCE_S, check_interval=0.02) for task in tasks]
    check([result.return_value for result in results], list(range(1, 51)))
    failed = await (await broken.kiq()).wait_result(timeout=PATIENCE_S, check_interval=0.02)
    check((failed.is_err, str(failed.error)), (True, "never works"))
    await own.shutdown()


async def schedules_of(kind):
    own, add, _ = make(kind)
    source = ListRedisScheduleSource(URL)
    await source.startup()
    at = datetime.now(timezone.utc) - timedelta(minutes=1)
    schedule = await add.schedule_by_time(source, at, 1, 2)
    every = await add.schedule_by_cron(source, "* * * * *", 1, 2)
    check({found.schedule_id for found in await source.get_schedules()}, {schedule.schedule_id, every.schedule_id})
    await source.delete_schedule(every.schedule_id)
    check([found.schedule_id for found in await source.get_schedules()], [schedule.schedule_id])


def tasks():
    asyncio.run(work(kind))


def schedules():
    asyncio.run(schedules_of("stream"))


if __name__ == "__main__":
    for kind in KINDS:
        words = ["-m", "taskiq", "worker", "taskiq_jobs:broker", "--workers", "1"]
        with Process.python(*words, REDIS_URL=URL, KIND=kind).wait_for("Listening started."):
            # A message published to nobody is lost.
            wait_until(lambda: kind != "pubsub" or store.pubsub_numsub("taskiq:pubsub")[0][1] == 1)
            run("taskiq-redis", [tasks], note=kind)
    run("taskiq-redis", [schedules])
    finish()
