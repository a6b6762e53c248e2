// A worker of BullMQ as a process of its own, for `bullmq_jobs.mjs` and `bullmq_crash.mjs`, which kill it.
//
// A job called `held` waits in its first run until the process is killed; the others note that they ran.

import { host, load, port, words } from "./checks.mjs";

const { Worker } = load("bullmq");
const { Redis } = load("ioredis");
const [queue] = words;
const connection = { host, port, maxRetriesPerRequest: null };

// The process that started us ends our input when it ends, however it does.
process.stdin.on("end", () => process.exit(0)).resume();

// A lost connection is what the test is about; worker and client come back by themselves.
const redis = new Redis(connection).on("error", () => {});
const worker = new Worker(
  queue,
  async (job) => {
    const runs = await redis.incr(`${queue}:runs:${job.name}:${job.id}`);
    if (job.name === "held" && runs === 1) await new Promise(() => {});
    await redis.sadd(`${queue}:done`, String(job.data.number ?? job.id));
    return runs;
  },
  { connection, concurrency: 4, lockDuration: 1_000, stalledInterval: 500, maxStalledCount: 5 },
);
worker.on("error", () => {});
