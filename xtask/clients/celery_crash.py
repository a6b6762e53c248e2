"""Celery when worker and server are killed: `python celery_crash.py HOST PORT COMMAND…`, where COMMAND starts a server
there that keeps every change on disk. Nothing that was acknowledged may be lost; what was under way may run twice."""

import os
import sys

import redis
from checks import Process, check, finish, run, url, wait_until

os.environ |= {"REDIS_URL": url(), "VISIBILITY_TIMEOUT_S": "3"}
import celery_app  # noqa: E402
from celery_app import app, store  # noqa: E402

PATIENCE_S = 120


def answers():
    try:
        return redis.Redis.from_url(url()).ping()
    except redis.RedisError:
        return False


def server():
    started = Process(*sys.argv[3:])
    wait_until(answers)
    return started


def worker():
    words = ["-m", "celery", "-A", "celery_app", "worker", "--loglevel", "INFO", "--concurrency", "2"]
    return Process.python(*words).wait_for(" ready.")


def killed_worker():
    """A task taken by a worker that died is given again when its visibility timeout is over."""
    with server(), worker() as one:
        task = celery_app.held.delay("held")
        wait_until(lambda: store.get("held") == b"1")
        one.kill()
        check(store.hlen("unacked"), 1)
        with worker():
            check(task.get(timeout=PATIENCE_S), "second run")
            wait_until(lambda: store.hlen("unacked") == 0)


class Supervisor:
    """Starts a worker again that ended, as init systems do: Celery's may end when an acknowledgement meets a lost connection."""

    def __enter__(self):
        self.worker = worker()
        return self

    def __exit__(self, *error):
        self.worker.__exit__(*error)

    def wait_until(self, done):
        def looked():
            if self.worker.child.poll() is not None:
                self.worker = worker()
            return done()

        wait_until(looked)


def killed_server():
    """The server is killed in the middle of the work; worker and producer come back by themselves."""
    with server() as first, Supervisor() as supervisor:
        early = celery_app.add.delay(1, 2)
        check(early.get(timeout=PATIENCE_S), 3)
        celery_app.note.apply_async(("later", "x"), countdown=5)
        for number in range(40):
            celery_app.count.delay("numbers", number)
        wait_until(lambda: store.scard("numbers:done") >= 5)
        first.kill()
        with server():
            check(app.AsyncResult(early.id).result, 3)
            celery_app.count.delay("numbers", 40)
            supervisor.wait_until(lambda: store.scard("numbers:done") == 41)
            supervisor.wait_until(lambda: store.llen("later") >= 1)
            supervisor.wait_until(lambda: (store.llen("celery"), store.hlen("unacked")) == (0, 0))
            check(sorted(int(number) for number in store.smembers("numbers:done")), list(range(41)))


def waiting_tasks():
    """Tasks that no worker has taken yet wait for the next server; a clean end keeps them as well."""
    with server() as first:
        store.flushall()
        waiting = [celery_app.add.delay(number, 1) for number in range(20)]
        first.kill()
    with server() as second:
        check(store.llen("celery"), 20)
        check(second.stop(), 0)
    with server(), worker():
        check([task.get(timeout=PATIENCE_S) for task in waiting], list(range(1, 21)))


run("celery", [killed_worker, killed_server, waiting_tasks], note="crash")
finish()
