// BullMQ: queues, workers, flows, schedulers and events, in one process and with a worker that is killed.

import { check, checkError, finish, host, load, once, port, run, start, waitUntil } from "./checks.mjs";

const { FlowProducer, Job, Queue, QueueEvents, UnrecoverableError, WaitingChildrenError, Worker } = load("bullmq");
const { Redis } = load("ioredis");
const redis = new Redis({ host, port });
const connection = { host, port, maxRetriesPerRequest: null };
let number = 0;

/** Gives an area a queue of its own with everything it asks for, all closed at its end. */
function withQueue(area) {
  const body = async () => {
    const open = [];
    const keep = (thing) => {
      open.push(thing);
      return thing;
    };
    const name = `${area.name}-${(number += 1)}`;
    const queue = keep(new Queue(name, { connection }));
    // From the first event on: what is sent before the reader asks for new ones would be missed.
    const events = keep(new QueueEvents(name, { connection, lastEventId: "0-0" }));
    await events.waitUntilReady();
    const worker = (work, options = {}) => keep(new Worker(name, work, { connection, ...options }));
    await area({ name, queue, events, worker, keep });
    await Promise.all(open.map((thing) => thing.close()));
  };
  Object.defineProperty(body, "name", { value: area.name });
  return body;
}

async function jobs({ queue, events, worker }) {
  worker(async (job) => {
    await job.updateProgress(50);
    await job.log(`adding ${job.data.a}`);
    return job.data.a + job.data.b;
  }, { concurrency: 5 });
  const progress = once(events, "progress");
  const job = await queue.add("add", { a: 2, b: 3 }, { jobId: "first" });
  check(await job.waitUntilFinished(events), 5);
  check((await progress).data, 50);
  const again = await Job.fromId(queue, "first");
  check([again.returnvalue, again.progress, await again.getState(), again.attemptsMade], [5, 50, "completed", 1]);
  check((await queue.getJobLogs("first")).logs, ["adding 2"]);
  const many = await queue.addBulk(Array.from({ length: 100 }, (_, a) => ({ name: "add", data: { a, b: 1 } })));
  check(await Promise.all(many.map((one) => one.waitUntilFinished(events))), Array.from({ length: 100 }, (_, a) => a + 1));
  check(await queue.getJobCounts("completed", "waiting", "active", "failed"), { completed: 101, waiting: 0, active: 0, failed: 0 });
  check((await queue.getCompleted(0, 4)).length, 5);
  const kept = await queue.add("add", { a: 1, b: 1 }, { removeOnComplete: true });
  await kept.waitUntilFinished(events);
  await waitUntil(async () => (await queue.getJob(kept.id)) === undefined);
  check((await queue.clean(0, 1_000, "completed")).length, 101);
}

async function delays({ queue, events, worker }) {
  worker(async () => Date.now());
  const begin = Date.now();
  const later = await queue.add("later", {}, { delay: 500 });
  check(await later.getState(), "delayed");
  check((await later.waitUntilFinished(events)) - begin >= 500, true);
  const far = await queue.add("far", {}, { delay: 3_600_000 });
  check(await queue.getDelayedCount(), 1);
  await far.promote();
  check((await far.waitUntilFinished(events)) - begin < 60_000, true);
  const changed = await queue.add("changed", {}, { delay: 3_600_000 });
  await changed.changeDelay(100);
  check((await changed.waitUntilFinished(events)) - begin < 60_000, true);
}

async function retries({ queue, events, worker }) {
  worker(async (job) => {
    if (job.name === "never") throw new UnrecoverableError("for good");
    if (job.attemptsMade < job.data.failures) throw new Error(`attempt ${job.attemptsMade}`);
    return job.attemptsMade;
  });
  const flaky = await queue.add("flaky", { failures: 2 }, { attempts: 5, backoff: { type: "exponential", delay: 20 } });
  check(await flaky.waitUntilFinished(events), 2);
  const tired = await queue.add("tired", { failures: 9 }, { attempts: 2, backoff: { type: "fixed", delay: 10 } });
  await checkError(tired.waitUntilFinished(events), "attempt 1");
  const never = await queue.add("never", {}, { attempts: 9 });
  await checkError(never.waitUntilFinished(events), "for good");
  check([await tired.getState(), (await queue.getFailed()).length, (await Job.fromId(queue, never.id)).attemptsMade], ["failed", 2, 1]);
  await (await Job.fromId(queue, tired.id)).updateData({ failures: 0 });
  await tired.retry();
  await waitUntil(async () => (await tired.getState()) === "completed");
}

async function order({ queue, worker }) {
  const seen = [];
  await queue.add("plain", {});
  await queue.add("last in", {}, { lifo: true });
  for (const priority of [10, 1, 5]) await queue.add(`priority ${priority}`, {}, { priority });
  check([await queue.getWaitingCount(), await queue.getPrioritizedCount()], [2, 3]);
  check(await queue.getCountsPerPriority([1, 5, 10]), { 1: 1, 5: 1, 10: 1 });
  worker(async (job) => seen.push(job.name));
  await waitUntil(() => seen.length === 5);
  check(seen, ["last in", "plain", "priority 1", "priority 5", "priority 10"]);
}

async function pausing({ queue, worker }) {
  const seen = [];
  await queue.pause();
  await queue.add("waits", {});
  worker(async (job) => seen.push(job.name));
  check([await queue.isPaused(), await queue.count(), seen], [true, 1, []]);
  await queue.resume();
  await waitUntil(() => seen.length === 1);
  await queue.drain();
  check(await queue.count(), 0);
}

async function rateLimits({ queue, events, worker }) {
  const begins = [];
  worker(async () => begins.push(Date.now()), { concurrency: 10, limiter: { max: 2, duration: 300 } });
  const many = await queue.addBulk(Array.from({ length: 6 }, () => ({ name: "limited", data: {} })));
  await Promise.all(many.map((job) => job.waitUntilFinished(events)));
  check(begins.at(-1) - begins[0] >= 550, true);
  check(begins.length, 6);
}

async function limitsByHand({ queue, events, worker }) {
  let runs = 0;
  const own = worker(async () => {
    runs += 1;
    if (runs === 1) {
      await own.rateLimit(200);
      throw Worker.RateLimitError();
    }
    return runs;
  });
  const job = await queue.add("limited", {});
  check(await job.waitUntilFinished(events), 2);
  await queue.setGlobalConcurrency(1);
  check(await queue.getGlobalConcurrency(), 1);
}

async function deduplication({ queue, events, worker }) {
  const first = await queue.add("once", { n: 1 }, { deduplication: { id: "same", ttl: 60_000 } });
  const told = once(events, "deduplicated");
  const second = await queue.add("once", { n: 2 }, { deduplication: { id: "same", ttl: 60_000 } });
  check([second.id, await queue.count(), (await told).deduplicationId], [first.id, 1, "same"]);
  check(await queue.getDeduplicationJobId("same"), first.id);
  await queue.removeDeduplicationKey("same");
  const third = await queue.add("once", { n: 3 }, { deduplication: { id: "same" } });
  check(third.id === first.id, false);
  worker(async (job) => job.data.n);
  check(await third.waitUntilFinished(events), 3);
}

async function schedulers({ queue, worker }) {
  const seen = [];
  worker(async (job) => seen.push(job.name));
  await queue.upsertJobScheduler("often", { every: 200 }, { name: "often", data: { x: 1 } });
  await queue.upsertJobScheduler("nightly", { pattern: "0 3 * * *", tz: "Europe/Berlin" }, { name: "nightly" });
  check((await queue.getJobSchedulers()).map((one) => one.key).sort(), ["nightly", "often"]);
  await waitUntil(() => seen.length >= 4);
  check(new Set(seen), new Set(["often"]));
  check([await queue.removeJobScheduler("often"), await queue.getJobSchedulersCount()], [true, 1]);
  check((await queue.getJobScheduler("nightly")).pattern, "0 3 * * *");
}

async function flows({ name, queue, events, worker, keep }) {
  const children = keep(new Queue(`${name}-children`, { connection }));
  keep(new Worker(children.name, async (job) => {
    if (job.data.bad) throw new Error("bad child");
    return job.data.n * 10;
  }, { connection }));
  worker(async (job) => {
    const values = Object.values(await job.getChildrenValues());
    return values.reduce((sum, value) => sum + value, 0);
  });
  const flow = keep(new FlowProducer({ connection }));
  const child = (n) => ({ name: "child", queueName: children.name, data: { n } });
  const tree = await flow.add({ name: "parent", queueName: name, data: {}, children: [child(1), { ...child(2), children: [child(5)] }, child(3)] });
  check(await tree.job.waitUntilFinished(events), 60);
  check((await flow.getFlow({ id: tree.job.id, queueName: name })).children.length, 3);
  const lost = await flow.add({ name: "parent", queueName: name, children: [{ ...child(1), data: { bad: true }, opts: { failParentOnFailure: true } }] });
  await checkError(lost.job.waitUntilFinished(events), "child");
  const ignored = await flow.add({ name: "parent", queueName: name, children: [child(4), { ...child(1), data: { bad: true }, opts: { ignoreDependencyOnFailure: true } }] });
  check(await ignored.job.waitUntilFinished(events), 40);
  check((await queue.getJobCounts("completed", "failed")), { completed: 2, failed: 1 });
}

async function steps({ name, queue, events, worker, keep }) {
  const children = keep(new Queue(`${name}-children`, { connection }));
  keep(new Worker(children.name, async () => "child", { connection }));
  worker(async (job, token) => {
    if (job.data.step === undefined) {
      await children.add("child", {}, { parent: { id: job.id, queue: job.queueQualifiedName } });
      await job.updateData({ step: 1 });
      if (await job.moveToWaitingChildren(token)) throw new WaitingChildrenError();
    }
    return Object.values(await job.getChildrenValues());
  });
  const job = await queue.add("steps", {});
  check(await job.waitUntilFinished(events), ["child"]);
}

async function metrics({ queue, events, worker }) {
  worker(async () => {}, { metrics: { maxDataPoints: 10 } });
  const many = await queue.addBulk(Array.from({ length: 5 }, () => ({ name: "counted", data: {} })));
  await Promise.all(many.map((job) => job.waitUntilFinished(events)));
  check((await queue.getMetrics("completed")).meta.count, 5);
  await waitUntil(async () => (await queue.getWorkers()).length === 1);
  await queue.trimEvents(2);
  await queue.pause();
  await queue.obliterate({ force: true });
  check(await queue.getJobCounts("completed", "waiting"), { completed: 0, waiting: 0 });
}

async function stalledJobs({ name, queue, events }) {
  const held = await queue.add("held", {});
  const first = start("bullmq_worker.mjs", name);
  await waitUntil(async () => (await redis.get(`${name}:runs:held:${held.id}`)) === "1");
  const stalled = once(events, "stalled");
  first.kill("SIGKILL");
  const second = start("bullmq_worker.mjs", name);
  check((await stalled).jobId, held.id);
  check(await held.waitUntilFinished(events), 2);
  second.kill("SIGKILL");
}

await run("bullmq", [
  jobs, delays, retries, order, pausing, rateLimits, limitsByHand, deduplication, schedulers, flows, steps, metrics, stalledJobs,
].map(withQueue));
finish();
