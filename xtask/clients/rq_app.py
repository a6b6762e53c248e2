"""The jobs that RQ's workers run for `rq_jobs.py`."""

import os
import time

import redis
from rq import get_current_job

store = redis.Redis.from_url(os.environ["REDIS_URL"])


def add(a, b):
    return a + b


def note(key, word):
    store.rpush(key, word)


def flaky(key, failures):
    if store.incr(key) <= failures:
        raise ValueError("not yet")
    return "worked"


def long(key):
    store.set(key, "running")
    while True:
        time.sleep(0.05)


def progress():
    job = get_current_job()
    job.meta["percent"] = 50
    job.save_meta()
    return job.id


def succeeded(job, connection, result):
    connection.rpush("callbacks", f"succeeded {result}")


def failed(job, connection, kind, value, trace):
    connection.rpush("callbacks", f"failed {kind.__name__}")
