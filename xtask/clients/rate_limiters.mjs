// rate-limiter-flexible on ioredis and node-redis, and locks with redlock.

import { check, finish, host, load, port, run, url, waitUntil } from "./checks.mjs";

const { BurstyRateLimiter, RateLimiterRedis, RateLimiterUnion } = load("rate-limiter-flexible");
const { Redis } = load("ioredis");
const { createClient } = load("redis");
const { Redlock } = load("@sesamecare-oss/redlock");

const ioredis = new Redis({ host, port });
const nodeRedis = createClient({ url });
await nodeRedis.connect();
const CLIENTS = { ioredis: { storeClient: ioredis }, "node-redis": { storeClient: nodeRedis, useRedisPackage: true } };

async function take(limiter, key, points = 1) {
  return limiter.consume(key, points).then((taken) => taken.remainingPoints, (refused) => (refused instanceof Error ? Promise.reject(refused) : "refused"));
}

async function limits(options, name) {
  const limiter = new RateLimiterRedis({ ...options, points: 3, duration: 60, keyPrefix: `limit:${name}` });
  check([await take(limiter, "ana"), await take(limiter, "ana", 2), await take(limiter, "ana")], [2, 0, "refused"]);
  check([(await limiter.get("ana")).consumedPoints, await limiter.get("nobody")], [4, null]);
  check((await limiter.reward("ana", 2)).consumedPoints, 2);
  check((await limiter.penalty("ana", 1)).consumedPoints, 3);
  check([await limiter.delete("ana"), await take(limiter, "ana")], [true, 2]);
  check((await limiter.block("eva", 60)).msBeforeNext > 0, true);
  check(await take(limiter, "eva"), "refused");
  const many = await Promise.all(Array.from({ length: 50 }, () => take(limiter, "many")));
  check(many.filter((taken) => taken !== "refused").length, 3);
  const short = new RateLimiterRedis({ ...options, points: 1, duration: 1, keyPrefix: `short:${name}` });
  check([await take(short, "ana"), await take(short, "ana")], [0, "refused"]);
  await waitUntil(async () => (await take(short, "ana")) === 0);
}

async function combinations(options, name) {
  const make = (points, kind) => new RateLimiterRedis({ ...options, points, duration: 60, keyPrefix: `${kind}:${name}` });
  const bursty = new BurstyRateLimiter(make(2, "plain"), make(3, "burst"));
  const taken = [];
  for (let number = 0; number < 6; number += 1) taken.push((await take(bursty, "ana")) !== "refused");
  check(taken, [true, true, true, true, true, false]);
  const union = new RateLimiterUnion(make(1, "one"), make(5, "five"));
  await union.consume("ana");
  check(await union.consume("ana").then(() => "taken", (refused) => Object.keys(refused)), [`one:${name}`]);
}

async function redlock() {
  const locks = new Redlock([ioredis], { retryCount: 1_000, retryDelay: 2, retryJitter: 2 });
  let count = 0;
  await Promise.all(Array.from({ length: 10 }, () => locks.using(["guarded"], 30_000, async () => {
    const seen = count;
    await ioredis.ping();
    count = seen + 1;
  })));
  check(count, 10);
  const impatient = new Redlock([ioredis], { retryCount: 0 });
  const lock = await impatient.acquire(["a", "b"], 1_000);
  check(await impatient.acquire(["b"], 1_000).catch((error) => error.name), "ExecutionError");
  const longer = await lock.extend(60_000);
  check((await ioredis.pttl("a")) > 1_000, true);
  await longer.release();
  check(await ioredis.exists("a", "b"), 0);
}

for (const [name, options] of Object.entries(CLIENTS)) {
  await run("rate-limiter-flexible", [limits, combinations], () => [options, name], name);
}
await run("@sesamecare-oss/redlock", [redlock]);
finish();
