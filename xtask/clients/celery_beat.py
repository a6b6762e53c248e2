"""celery-redbeat: a schedule kept in Redis, and one of two beats that holds its lock."""

import os
from datetime import timedelta

from checks import Process, check, finish, run, url, wait_until

os.environ["REDIS_URL"] = url()
import celery_app  # noqa: E402
from celery.schedules import crontab, schedule  # noqa: E402
from celery_app import app, store  # noqa: E402
from redbeat import RedBeatSchedulerEntry  # noqa: E402


def beat():
    words = ["-m", "celery", "-A", "celery_app", "beat", "--scheduler", "redbeat.RedBeatScheduler", "--loglevel", "INFO"]
    return Process.python(*words, REDIS_URL=url())


def worker():
    words = ["-m", "celery", "-A", "celery_app", "worker", "--pool", "solo", "--loglevel", "INFO"]
    return Process.python(*words, REDIS_URL=url()).wait_for(" ready.")


def entries():
    """Entries are written, found by their key, changed and deleted."""
    entry = RedBeatSchedulerEntry("hourly", "celery_app.note", crontab(minute=7), args=["hours", "x"], app=app)
    entry.save()
    read = RedBeatSchedulerEntry.from_key(entry.key, app=app)
    check((read.name, read.task, read.args, read.schedule), ("hourly", "celery_app.note", ["hours", "x"], crontab(minute=7)))
    check(store.zscore("redbeat::schedule", entry.key) > 0, True)
    read.enabled = False
    read.save()
    check(RedBeatSchedulerEntry.from_key(entry.key, app=app).enabled, False)
    read.delete()
    check((store.exists(entry.key), store.zcard("redbeat::schedule")), (0, 0))


def firing():
    """Of two beats one fires; when it is killed the other takes over once the lock has run out."""
    every = schedule(timedelta(seconds=0.5), app=app)
    RedBeatSchedulerEntry("often", "celery_app.note", every, args=["ticks", "t"], app=app).save()
    with worker(), beat() as first:
        wait_until(lambda: store.llen("ticks") >= 3)
        check(store.exists("redbeat::lock"), 1)
        with beat() as second:
            second.wait_for("beat: Starting")
            first.kill()
            store.delete("ticks")
            wait_until(lambda: store.llen("ticks") >= 3)
            check("Acquired lock" in second.text(), True)


run("celery-redbeat", [entries, firing])
finish()
