// BullMQ when worker and server are killed: `node bullmq_crash.mjs MODULES HOST PORT COMMAND…`, where COMMAND starts a
// server there that keeps every change on disk. Every job is run, at least once, and completed once.

import { spawn } from "node:child_process";
import { check, finish, host, load, port, run, start, waitUntil, words } from "./checks.mjs";

const { FlowProducer, Queue } = load("bullmq");
const { Redis } = load("ioredis");
const connection = { host, port, maxRetriesPerRequest: null, retryStrategy: () => 50 };
const redis = new Redis(connection).on("error", () => {});

async function server() {
  const child = spawn(words[0], words.slice(1), { stdio: "ignore" });
  process.on("exit", () => child.kill("SIGKILL"));
  check(await redis.ping(), "PONG");
  return child;
}

function kill(child, signal = "SIGKILL") {
  return new Promise((resolve) => {
    child.once("exit", resolve);
    child.kill(signal);
  });
}

const numbers = (count) => Array.from({ length: count }, (_, number) => number);

async function killedInTheMiddle() {
  let own = await server();
  const queue = new Queue("crash", { connection }).on("error", () => {});
  const flow = new FlowProducer({ connection }).on("error", () => {});
  await queue.addBulk(numbers(300).map((number) => ({ name: "plain", data: { number } })));
  await queue.addBulk(numbers(20).map((number) => ({ name: "later", data: { number: 300 + number }, opts: { delay: 3_000 } })));
  await queue.addBulk(numbers(20).map((number) => ({ name: "ranked", data: { number: 320 + number }, opts: { priority: 1 + (number % 3) } })));
  const children = numbers(5).map((number) => ({ name: "child", queueName: "crash", data: { number: 340 + number } }));
  await flow.add({ name: "parent", queueName: "crash", data: { number: 345 }, children });
  const held = await queue.add("held", { number: 346 });
  await queue.upsertJobScheduler("nightly", { pattern: "0 3 * * *" }, { name: "nightly" });

  let worker = start("bullmq_worker.mjs", "crash");
  await waitUntil(async () => (await redis.scard("crash:done")) >= 50);
  await kill(own);
  own = await server();
  check((await redis.scard("crash:done")) >= 50, true);
  await waitUntil(async () => (await redis.get(`crash:runs:held:${held.id}`)) === "1" && (await redis.scard("crash:done")) >= 200);
  await kill(worker);
  worker = start("bullmq_worker.mjs", "crash");
  await waitUntil(async () => (await redis.scard("crash:done")) === 347);
  await waitUntil(async () => (await queue.getJobCountByTypes("active")) === 0);
  const counts = await queue.getJobCounts("completed", "failed", "waiting", "active", "waiting-children", "prioritized");
  check(counts, { completed: 347, failed: 0, waiting: 0, active: 0, "waiting-children": 0, prioritized: 0 });
  check([await queue.getDelayedCount(), (await queue.getJobScheduler("nightly")).pattern], [1, "0 3 * * *"]);

  await kill(worker);
  check(await kill(own, "SIGTERM"), 0);
  own = await server();
  check(await queue.getJobCounts("completed", "delayed"), { completed: 347, delayed: 1 });
  await kill(own);
}

await run("bullmq", [killedInTheMiddle], () => [], "crash");
finish();
