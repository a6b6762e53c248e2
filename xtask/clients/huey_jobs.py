"""huey: a real consumer on each of its Redis storages; schedules, retries, locks, priorities, pipelines."""

import os
from datetime import timedelta

from checks import PATIENCE_S, Process, check, check_error, finish, run, url, wait_until

os.environ["REDIS_URL"] = url()
from huey.exceptions import ResultTimeout, TaskException, TaskLockedException  # noqa: E402
from huey_app import STORAGES, Tasks  # noqa: E402


def consumer(kind):
    words = ["-m", "huey.bin.huey_consumer", "huey_app.huey", "--workers", "2", "--scheduler-interval", "1", "--delay", "0.05"]
    return Process.python(*words, REDIS_URL=url(), STORAGE=kind).wait_for("Huey consumer started")


def get(result):
    return result.get(blocking=True, timeout=PATIENCE_S, backoff=1.01)


def calls(tasks):
    check(get(tasks.add(2, 3)), 5)
    results = [tasks.add(number, 1) for number in range(50)]
    check([get(result) for result in results], list(range(1, 51)))
    check([get(result) for result in tasks.add.map([(1, 1), (2, 2)])], [2, 4])
    later = tasks.add.schedule((1, 1), delay=timedelta(seconds=1))
    check_error(lambda: later.get(blocking=True, timeout=0.1), "", ResultTimeout)
    check(get(later), 2)
    check_error(lambda: get(tasks.broken()), "ValueError('never works')", TaskException)
    tasks.flaky(f"{tasks.kind}:flaky", 2)
    wait_until(lambda: tasks.store.get(f"{tasks.kind}:flaky") == b"3")


def pipelines(tasks):
    many = tasks.huey.enqueue(tasks.add.s(1, 2).then(tasks.add, 10).then(tasks.add, 100))
    check([get(result) for result in many], [3, 13, 113])


def revoking(tasks):
    gone = tasks.note.schedule((f"{tasks.kind}:gone", "x"), delay=1)
    gone.revoke()
    check(gone.is_revoked(), True)
    after = tasks.add.schedule((1, 1), delay=2)
    check((get(after), tasks.store.exists(f"{tasks.kind}:gone")), (2, 0))
    tasks.note.revoke()
    check(tasks.note.is_revoked(), True)
    check(tasks.note.restore(), True)


def locks(tasks):
    lock = tasks.huey.lock_task("one at a time")
    with lock:
        check(lock.is_locked(), True)
        check_error(lock.acquire, "unable to acquire lock", TaskLockedException)
    check(lock.is_locked(), False)


def order(tasks):
    """No consumer runs meanwhile: what waits can be counted, flushed, and has an order."""
    tasks.note("flushed", "x")
    check(len(tasks.huey), 1)
    tasks.huey.flush()
    check((len(tasks.huey), tasks.huey.scheduled_count(), tasks.huey.result_count()), (0, 0, 0))
    key = f"{tasks.kind}:order"
    for word, priority in (("low", 1), ("high", 9), ("middle", 5)):
        tasks.note(key, word, **({"priority": priority} if tasks.kind == "priority" else {}))
    check(len(tasks.huey.pending()), 3)
    expected = [b"high", b"middle", b"low"] if tasks.kind == "priority" else [b"low", b"high", b"middle"]
    while task := tasks.huey.dequeue():
        tasks.huey.execute(task)
    check(tasks.store.lrange(key, 0, -1), expected)


if __name__ == "__main__":
    for kind in STORAGES:
        mine = Tasks(kind)
        run("huey", [order], lambda: (mine,), kind)
        with consumer(kind):
            run("huey", [calls, pipelines, revoking, locks], lambda: (mine,), kind)
    finish()
