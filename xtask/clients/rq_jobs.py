"""RQ: a real worker with its scheduler runs real jobs, each in a process of its own."""

import os
from datetime import timedelta

from checks import Process, check, finish, run, url, wait_until

os.environ["REDIS_URL"] = url()
import rq_app  # noqa: E402
from rq import Callback, Queue, Repeat, Retry, Worker  # noqa: E402
from rq.command import send_kill_horse_command, send_stop_job_command  # noqa: E402
from rq.job import Dependency, Job  # noqa: E402
from rq.registry import DeferredJobRegistry, FailedJobRegistry, FinishedJobRegistry, ScheduledJobRegistry  # noqa: E402

store = rq_app.store
queue = Queue(connection=store)
WORKER = ["-c", "from rq.cli import main; main()", "worker", "--with-scheduler", "--url", url(), "high", "default", "low"]


def worker():
    return Process.python(*WORKER, REDIS_URL=url()).wait_for("Listening on")


def finished(job):
    wait_until(lambda: job.get_status(refresh=True) in ("finished", "failed", "stopped"))
    return str(job.get_status().value)


def jobs():
    job = queue.enqueue(rq_app.add, 2, 3, description="sum", ttl=100, result_ttl=100)
    check((finished(job), job.return_value()), ("finished", 5))
    check(0 < store.ttl(job.key) <= 100, True)
    check(job.id in FinishedJobRegistry(queue=queue), True)
    many = queue.enqueue_many([Queue.prepare_data(rq_app.add, (number, 1)) for number in range(10)])
    check([finished(job) for job in many], ["finished"] * 10)
    check([job.return_value() for job in many], list(range(1, 11)))
    job = queue.enqueue(rq_app.progress)
    finished(job)
    check((job.return_value(), job.get_meta(refresh=True)), (job.id, {"percent": 50}))
    again = Job.fetch(job.id, connection=store)
    check((again.func_name, again.origin, again.latest_result().type.name), ("rq_app.progress", "default", "SUCCESSFUL"))
    job.delete()
    check(Job.exists(job.id, connection=store), False)


def failures():
    job = queue.enqueue(rq_app.add, 1, "x", on_failure=Callback(rq_app.failed))
    check(finished(job), "failed")
    check("TypeError" in job.latest_result().exc_string, True)
    registry = FailedJobRegistry(queue=queue)
    check(job.id in registry, True)
    registry.requeue(job.id)
    wait_until(lambda: len(job.results()) == 2)
    registry.remove(job.id, delete_job=True)
    check(registry.count, 0)
    job = queue.enqueue(rq_app.flaky, "flaky", 2, retry=Retry(max=3, interval=[0, 1]), on_success=Callback(rq_app.succeeded))
    wait_until(lambda: job.get_status(refresh=True) == "finished")
    check((job.return_value(), store.get("flaky")), ("worked", b"3"))
    wait_until(lambda: store.llen("callbacks") == 3)
    check(store.lrange("callbacks", 0, -1), [b"failed TypeError", b"failed TypeError", b"succeeded worked"])


def dependencies():
    first = queue.enqueue_in(timedelta(seconds=1), rq_app.note, "chain", "first")
    second = queue.enqueue(rq_app.note, "chain", "second", depends_on=first)
    third = queue.enqueue(rq_app.note, "chain", "third", depends_on=[first, second])
    check(second.id in DeferredJobRegistry(queue=queue), True)
    check((finished(first), finished(second), finished(third)), ("finished",) * 3)
    check(store.lrange("chain", 0, -1), [b"first", b"second", b"third"])
    bad = queue.enqueue(rq_app.add, 1, "x")
    anyway = queue.enqueue(rq_app.note, "chain", "anyway", depends_on=Dependency(jobs=[bad], allow_failure=True))
    check((finished(bad), finished(anyway)), ("failed", "finished"))


def scheduling():
    job = queue.enqueue_in(timedelta(seconds=1), rq_app.note, "later", "x")
    check((job.id in ScheduledJobRegistry(queue=queue), str(job.get_status().value)), (True, "scheduled"))
    check((finished(job), store.lrange("later", 0, -1)), ("finished", [b"x"]))
    gone = queue.enqueue_in(timedelta(hours=1), rq_app.note, "later", "y")
    gone.cancel()
    check((gone.get_status().value, ScheduledJobRegistry(queue=queue).count), ("canceled", 0))
    queue.enqueue(rq_app.note, "repeated", "r", repeat=Repeat(times=2, interval=1))
    wait_until(lambda: store.llen("repeated") == 3)


def commands():
    """Commands reach a worker by pub/sub while it works."""
    job = queue.enqueue(rq_app.long, "long")
    wait_until(lambda: store.get("long") == b"running")
    check([worker.get_current_job_id() for worker in Worker.all(connection=store)], [job.id])
    send_stop_job_command(store, job.id)
    check(finished(job), "stopped")
    store.delete("long")
    job = queue.enqueue(rq_app.long, "long")
    wait_until(lambda: store.get("long") == b"running")
    send_kill_horse_command(store, Worker.all(connection=store)[0].name)
    check(finished(job), "failed")
    check("Work-horse terminated unexpectedly" in job.latest_result().exc_string, True)


def order_of_queues():
    """No worker runs meanwhile; what waits is taken by the order of the queues and of the jobs."""
    high, low = Queue("high", connection=store), Queue("low", connection=store)
    low.enqueue(rq_app.note, "order", "low")
    queue.enqueue(rq_app.note, "order", "second")
    queue.enqueue(rq_app.note, "order", "first", at_front=True)
    high.enqueue(rq_app.note, "order", "high")
    check((queue.count, sorted(queue.name for queue in Queue.all(connection=store))), (2, ["default", "high", "low"]))
    words = [*WORKER[:3], "--burst", *WORKER[4:]]
    with Process.python(*words, REDIS_URL=url()) as burst:
        check(burst.child.wait(60), 0)
    check(store.lrange("order", 0, -1), [b"high", b"first", b"second", b"low"])
    check(Worker.all(connection=store), [])


def crashed_worker():
    """A job whose worker was killed is found by the next worker's housekeeping."""
    with worker() as one:
        job = queue.enqueue(rq_app.long, "crash", job_timeout=3600)
        wait_until(lambda: store.get("crash") == b"running")
        one.kill()
    # The heartbeat of the job is what tells; it is aged by hand, since it is given in minutes.
    store.zadd("rq:wip:default", {member: 1 for member in store.zrange("rq:wip:default", 0, -1)})
    with worker():
        wait_until(lambda: job.get_status(refresh=True) == "failed")
        check(job.id in FailedJobRegistry(queue=queue), True)


run("rq", [order_of_queues])
with worker():
    run("rq", [jobs, failures, dependencies, scheduling, commands])
run("rq", [crashed_worker])
finish()
