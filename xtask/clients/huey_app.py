"""The tasks that huey's consumers run for `huey_jobs.py`; `STORAGE` says on which of its Redis storages."""

import os

from huey import PriorityRedisHuey, RedisExpireHuey, RedisHuey, crontab

URL = os.environ["REDIS_URL"]
STORAGES = {"plain": RedisHuey, "priority": PriorityRedisHuey, "expire": RedisExpireHuey}


class Tasks:
    """The tasks of one storage; the consumer and the script make the same."""

    def __init__(self, kind):
        self.kind = kind
        self.huey = huey = STORAGES[kind](kind, url=URL)
        store = huey.storage.conn

        @huey.task()
        def add(a, b):
            return a + b

        @huey.task(retries=3, retry_delay=0)
        def flaky(key, failures):
            if store.incr(key) <= failures:
                raise ValueError("not yet")
            return "worked"

        @huey.task()
        def broken():
            raise ValueError("never works")

        @huey.task()
        def note(key, word):
            store.rpush(key, word)

        @huey.periodic_task(crontab(minute="*"))
        def periodic():
            store.incr(f"{kind}:periodic")

        self.add, self.flaky, self.broken, self.note, self.store = add, flaky, broken, note, store


huey = Tasks(os.environ.get("STORAGE", "plain")).huey
