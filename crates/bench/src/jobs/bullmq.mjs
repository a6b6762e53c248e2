// A queue of BullMQ, driven by lines on standard input: `add N`, `work N`. Each is answered by one line of JSON with the seconds and the
// processor seconds it took.
//
// Its documented settings for speed: jobs in bulk, removed when they are completed, and nothing kept of its events.
import { createRequire } from "node:module";
import { createInterface } from "node:readline";

const [packages, url, concurrency, batch] = process.argv.slice(2);
const require = createRequire(`${packages}/bullmq/package.json`);
const { Queue, Worker } = require("bullmq");
const Redis = require("ioredis");

const connect = () => new Redis(url, { maxRetriesPerRequest: null });
const queue = new Queue("bench", {
  connection: connect(),
  defaultJobOptions: { removeOnComplete: true, removeOnFail: true },
  streams: { events: { maxLen: 0 } },
});
await queue.waitUntilReady();

async function add(count) {
  for (let first = 0; first < count; first += Number(batch)) {
    const jobs = [];
    for (let number = first; number < Math.min(count, first + Number(batch)); number++) {
      jobs.push({ name: "noop", data: { number } });
    }
    await queue.addBulk(jobs);
  }
}

async function work(count) {
  const worker = new Worker("bench", async () => {}, {
    connection: connect(),
    concurrency: Number(concurrency),
    autorun: false,
    removeOnComplete: { count: 0 },
  });
  await worker.waitUntilReady();
  let done = 0;
  const all = new Promise((resolve, reject) => {
    worker.on("completed", () => { if (++done === count) resolve(); });
    worker.on("failed", (_, error) => reject(error));
    worker.on("error", reject);
  });
  worker.run();
  await all;
  return worker;
}

for await (const line of createInterface({ input: process.stdin })) {
  const [verb, count] = line.split(" ");
  const [begun, cpu] = [process.hrtime.bigint(), process.cpuUsage()];
  const worker = await (verb === "add" ? add : work)(Number(count));
  const used = process.cpuUsage(cpu);
  const seconds = Number(process.hrtime.bigint() - begun) / 1e9;
  console.log(JSON.stringify({ seconds, cpu_seconds: (used.user + used.system) / 1e6 }));
  await worker?.close();
}
process.exit(0);
