"""The tasks that Celery's workers run for `celery_jobs.py` and `celery_crash.py`; where the broker is says `REDIS_URL`."""

import os
import time

import redis
from celery import Celery
from redis.backoff import ConstantBackoff
from redis.retry import Retry

URL = os.environ["REDIS_URL"]
app = Celery("work", broker=URL, backend=URL)
app.conf.update(
    broker_connection_retry_on_startup=True,
    # What a worker took and did not finish is given again after this time; who looks for it, looks every second.
    broker_transport_options={
        "visibility_timeout": int(os.environ.get("VISIBILITY_TIMEOUT_S", "60")),
        "unacked_restore_interval": 1,
        "unacked_restore_throttle": 1,
    },
    task_queue_max_priority=9,
    task_send_sent_event=True,
    worker_send_task_events=True,
    task_track_started=True,
    result_extended=True,
    redbeat_redis_url=URL,
    redbeat_lock_timeout=5,
    beat_max_loop_interval=1,
)
# What the tasks keep waits for a server that is started again.
store = redis.Redis.from_url(URL, retry=Retry(ConstantBackoff(0.1), 100))


@app.task
def add(a, b):
    return a + b


@app.task
def total(numbers):
    return sum(numbers)


@app.task(bind=True, max_retries=3)
def flaky(self, key, failures):
    """Fails as often as it is told, counting its runs where the test can see them."""
    runs = store.incr(key)
    if runs <= failures:
        raise self.retry(countdown=0.05, exc=ValueError(f"run {runs}"))
    return runs


@app.task(autoretry_for=(KeyError,), retry_backoff=False, default_retry_delay=0.05, max_retries=2)
def stubborn():
    raise KeyError("never works")


@app.task(ignore_result=True)
def note(key, word):
    store.rpush(key, word)


@app.task
def long(key):
    """Runs until it is killed, and says that it runs."""
    store.set(key, "running")
    while True:
        time.sleep(0.1)


@app.task(acks_late=True, reject_on_worker_lost=True)
def count(key, number):
    """Notes that it was run; a run that was cut off is repeated, so a number may be noted twice."""
    store.rpush(f"{key}:begun", number)
    time.sleep(0.05)
    store.sadd(f"{key}:done", number)
    return number


@app.task(acks_late=True)
def held(key):
    """Waits in its first run until it is killed; the run that Celery gives again goes through."""
    if store.incr(key) == 1:
        while True:
            time.sleep(0.1)
    return "second run"


@app.task(bind=True)
def progress(self):
    self.update_state(state="PROGRESS", meta={"percent": 50})
    while not store.get("progress:go"):
        time.sleep(0.01)
    return "done"
