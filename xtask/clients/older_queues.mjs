// Bull, the elder of BullMQ, and Bee-Queue: jobs, delays, retries, repetition, events.

import { check, checkError, finish, host, load, once, port, run, url, waitUntil } from "./checks.mjs";

const Bull = load("bull");
const BeeQueue = load("bee-queue");

async function bull() {
  const queue = new Bull("bull-work", { redis: { host, port } });
  queue.process("*", 5, async (job) => {
    if (job.attemptsMade < (job.data.failures ?? 0)) throw new Error(`attempt ${job.attemptsMade}`);
    await job.progress(50);
    await job.log("ran");
    return job.data.n * 2;
  });
  const job = await queue.add("double", { n: 21 });
  check(await job.finished(), 42);
  const many = await queue.addBulk(Array.from({ length: 100 }, (_, n) => ({ name: "double", data: { n } })));
  check(await Promise.all(many.map((one) => one.finished())), Array.from({ length: 100 }, (_, n) => 2 * n));
  const begin = Date.now();
  check([await (await queue.add("double", { n: 1 }, { delay: 300, priority: 2 })).finished(), Date.now() - begin >= 300], [2, true]);
  check(await (await queue.add("double", { n: 1, failures: 2 }, { attempts: 5, backoff: 20 })).finished(), 2);
  const failed = await queue.add("double", { n: 1, failures: 9 }, { attempts: 2 });
  await checkError(failed.finished(), "attempt 1");
  check([(await queue.getJobCounts()).completed, await queue.getFailedCount(), (await queue.getJobLogs(job.id)).logs], [103, 1, ["ran"]]);
  const told = once(queue, "global:completed");
  await queue.add("double", { n: 3 }, { removeOnComplete: true });
  await told;
  await queue.add("double", { n: 4 }, { repeat: { every: 100, limit: 3 } });
  check((await queue.getRepeatableJobs()).length, 1);
  await waitUntil(async () => (await queue.getCompletedCount()) === 106);
  await queue.pause();
  check((await queue.isPaused()) && (await queue.getJobCounts()).paused === 0, true);
  await queue.resume();
  check((await queue.clean(0, "completed")).length, 106);
  await queue.obliterate({ force: true });
  await queue.close();
}

async function bullLimits() {
  const queue = new Bull("bull-limited", { redis: { host, port }, limiter: { max: 2, duration: 300 } });
  const begins = [];
  queue.process(async () => begins.push(Date.now()));
  const many = await queue.addBulk(Array.from({ length: 5 }, () => ({ data: {} })));
  await Promise.all(many.map((job) => job.finished()));
  check(begins.at(-1) - begins[0] >= 500, true);
  await queue.close();
}

async function beeQueue() {
  const queue = new BeeQueue("bee", { redis: { url }, activateDelayedJobs: true, getEvents: true });
  await queue.ready();
  let runs = 0;
  queue.process(5, async (job) => {
    runs += 1;
    if (job.data.failures && job.options.retries > 0) throw new Error("not yet");
    job.reportProgress(50);
    return job.data.n * 2;
  });
  const finished = (job) => new Promise((resolve, reject) => job.on("succeeded", resolve).on("failed", reject));
  const job = queue.createJob({ n: 21 });
  const [progress, result] = [once(job, "progress"), finished(job)];
  await job.save();
  check([await result, await progress], [42, 50]);
  const later = queue.createJob({ n: 1 }).delayUntil(Date.now() + 300);
  const [begin, late] = [Date.now(), finished(later)];
  await later.save();
  check([await late, Date.now() - begin >= 290], [2, true]);
  const flaky = queue.createJob({ n: 2, failures: true }).retries(2).backoff("fixed", 20);
  const worked = finished(flaky);
  await flaky.save();
  check([await worked, runs], [4, 5]);
  await waitUntil(async () => (await queue.checkHealth()).succeeded === 3);
  await queue.close();
}

await run("bull", [bull, bullLimits]);
await run("bee-queue", [beeQueue]);
finish();
