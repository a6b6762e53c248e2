"""Celery with Redis as broker and result backend: real workers run real tasks."""

import os
from datetime import datetime, timedelta, timezone

from checks import Process, check, check_error, finish, run, url, wait_until

os.environ["REDIS_URL"] = url()
import celery_app  # noqa: E402
from celery import chain, chord, group, signature  # noqa: E402
from celery.exceptions import TaskRevokedError, TimeoutError  # noqa: E402
from celery_app import app  # noqa: E402

PATIENCE_S = 60
store = celery_app.store


def worker(*words):
    """Starts a worker of two processes and waits until it takes tasks."""
    words = words or ("--concurrency", "2")
    started = Process.python("-m", "celery", "-A", "celery_app", "worker", "--loglevel", "INFO", *words, REDIS_URL=url())
    return started.wait_for(" ready.")


def calls():
    check(celery_app.add.delay(2, 3).get(timeout=PATIENCE_S), 5)
    results = [celery_app.add.delay(number, number) for number in range(50)]
    check([result.get(timeout=PATIENCE_S) for result in results], [2 * number for number in range(50)])
    late = celery_app.add.apply_async((1, 1), countdown=1)
    check_error(lambda: late.get(timeout=0.2), "The operation timed out", TimeoutError)
    check(late.get(timeout=PATIENCE_S), 2)
    at = datetime.now(timezone.utc) + timedelta(seconds=0.5)
    check(celery_app.add.apply_async((1, 2), eta=at).get(timeout=PATIENCE_S), 3)
    past = celery_app.add.apply_async((1, 2), expires=-1)
    check_error(lambda: past.get(timeout=PATIENCE_S), "expired", TaskRevokedError)


def results():
    result = celery_app.add.delay(20, 22)
    check(result.get(timeout=PATIENCE_S), 42)
    again = app.AsyncResult(result.id)
    check((again.state, again.result, again.name, again.args), ("SUCCESS", 42, "celery_app.add", [20, 22]))
    key = f"celery-task-meta-{result.id}"
    check(0 < store.ttl(key) <= 86_400, True)
    again.forget()
    check((store.exists(key), app.AsyncResult(result.id).state), (0, "PENDING"))
    bad = celery_app.add.delay(1, "x")
    check_error(lambda: bad.get(timeout=PATIENCE_S), "unsupported operand", TypeError)
    check((bad.state, "TypeError" in bad.traceback), ("FAILURE", True))
    quiet = celery_app.note.delay("notes", "a")
    wait_until(lambda: store.lrange("notes", 0, -1) == [b"a"])
    check(store.exists(f"celery-task-meta-{quiet.id}"), 0)
    slow = celery_app.progress.delay()
    wait_until(lambda: slow.state == "PROGRESS")
    check(slow.info, {"percent": 50})
    store.set("progress:go", 1)
    check(slow.get(timeout=PATIENCE_S), "done")


def retries():
    check(celery_app.flaky.delay("flaky", 2).get(timeout=PATIENCE_S), 3)
    tired = celery_app.flaky.delay("tired", 9)
    check_error(lambda: tired.get(timeout=PATIENCE_S), "run 4", ValueError)
    stubborn = celery_app.stubborn.delay()
    check_error(lambda: stubborn.get(timeout=PATIENCE_S), "'never works'", KeyError)


def canvas():
    add, total = celery_app.add, celery_app.total
    check(chain(add.s(1, 2), add.s(10), add.s(100))().get(timeout=PATIENCE_S), 113)
    many = group(add.s(number, 1) for number in range(20))()
    check(many.get(timeout=PATIENCE_S), list(range(1, 21)))
    check(many.completed_count(), 20)
    many.save()
    check([result.id for result in app.GroupResult.restore(many.id).results], [result.id for result in many.results])
    check(chord(add.s(number, number) for number in range(30))(total.s()).get(timeout=PATIENCE_S), 870)
    nested = chain(group(add.s(1, 1), add.s(2, 2)), total.s(), add.s(4))
    check(nested().get(timeout=PATIENCE_S), 10)
    broken = chord([add.s(1, 1), add.s(1, "x")])(total.s())
    wait_until(lambda: broken.state == "FAILURE")
    check("raised TypeError" in str(broken.result), True)
    check(add.chunks([(1, 1), (2, 2), (3, 3)], 2)().get(timeout=PATIENCE_S), [[2, 4], [6]])
    check(signature("celery_app.add", (1,)).clone((2,)).delay().get(timeout=PATIENCE_S), 3)


def revoking():
    waiting = celery_app.add.apply_async((1, 1), countdown=PATIENCE_S)
    scheduled = lambda: [task for tasks in (app.control.inspect().scheduled() or {}).values() for task in tasks]
    wait_until(lambda: any(task["request"]["id"] == waiting.id for task in scheduled()))
    waiting.revoke()
    wait_until(lambda: waiting.id in sum((app.control.inspect().revoked() or {}).values(), []))
    running = celery_app.long.delay("long")
    wait_until(lambda: store.get("long") == b"running")
    running.revoke(terminate=True, signal="SIGKILL")
    check_error(lambda: running.get(timeout=PATIENCE_S), "terminated", TaskRevokedError)
    check(running.state, "REVOKED")
    check(celery_app.add.delay(1, 1).get(timeout=PATIENCE_S), 2)


def remote_control():
    pong = wait_until(lambda: app.control.ping(timeout=1))
    check([list(reply.values()) for reply in pong], [[{"ok": "pong"}]])
    check("celery_app.add" in list(app.control.inspect().registered().values())[0], True)
    check(list(app.control.inspect().stats().values())[0]["broker"]["transport"], "redis")
    check(app.control.rate_limit("celery_app.note", "100/s", reply=True, timeout=1)[0].popitem()[1]["ok"], "new rate limit set successfully")
    check(list(app.control.inspect().active_queues().values())[0][0]["name"], "celery")


def events():
    """Events are published, and a receiver sees a task through its life."""
    seen = []
    with app.connection() as connection:
        receiver = app.events.Receiver(connection, handlers={"*": lambda event: seen.append((event["type"], event.get("uuid")))})
        with receiver.consumer_context() as (connection, _, _):
            # What the worker says of itself every other second tells that we are subscribed.
            connection.drain_events(timeout=PATIENCE_S)
            result = celery_app.add.delay(1, 2)
            while ("task-succeeded", result.id) not in seen:
                connection.drain_events(timeout=PATIENCE_S)
    check([kind for kind, task in seen if task == result.id], ["task-sent", "task-received", "task-started", "task-succeeded"])


def queues():
    """Priorities within a queue, a queue nobody listens to, and purging; no worker runs meanwhile."""
    for priority in (0, 9, 3):
        celery_app.note.apply_async(("order", priority), priority=priority)
    celery_app.note.apply_async(("order", "elsewhere"), queue="aside")
    with app.connection() as connection:
        check(connection.default_channel.queue_declare("aside", passive=True).message_count, 1)
        check(app.control.purge(), 3)
    for priority in (9, 0, 3):
        celery_app.note.apply_async(("order", priority), priority=priority)
    with worker("--concurrency", "1", "--queues", "celery,aside", "--prefetch-multiplier", "1"):
        wait_until(lambda: store.llen("order") == 4)
    # Of Redis's priorities the lowest number comes first; the queue aside takes turns.
    check([word for word in store.lrange("order", 0, -1) if word != b"elsewhere"], [b"0", b"3", b"9"])


def stopping():
    """A worker that is asked to end finishes what it has and leaves nothing behind."""
    store.flushdb()
    with worker() as one:
        results = [celery_app.count.delay("stop", number) for number in range(4)]
        wait_until(lambda: store.llen("stop:begun") >= 2)
        check(one.stop(), 0)
    with worker():
        check(sorted(result.get(timeout=PATIENCE_S) for result in results), list(range(4)))
        # A late acknowledgement follows the result.
        wait_until(lambda: (store.hlen("unacked"), store.zcard("unacked_index")) == (0, 0))


def main():
    run("celery", [queues])
    with worker():
        run("celery", [calls, results, retries, canvas, revoking, remote_control, events])
    run("celery", [stopping])
    finish()


main()
