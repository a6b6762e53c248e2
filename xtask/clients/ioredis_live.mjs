// ioredis where something waits or comes unasked: pub/sub, blocking commands, streams, MONITOR.

import { check, finish, host, load, once, port, run, waitUntil } from "./checks.mjs";

const { Redis } = load("ioredis");
const open = [];

async function publishAndSubscribe(client) {
  const [redis, subscriber, heard] = [client(), client(), []];
  subscriber.on("message", (channel, message) => heard.push([channel, message]));
  subscriber.on("pmessage", (pattern, channel, message) => heard.push([pattern, channel, message]));
  subscriber.on("smessage", (channel, message) => heard.push([channel, message]));
  check([await subscriber.subscribe("news", "more"), await subscriber.psubscribe("n?ws"), await subscriber.ssubscribe("shard")], [2, 3, 1]);
  check([await redis.publish("news", "one"), await redis.spublish("shard", "two"), await redis.pubsub("NUMSUB", "news")], [2, 1, ["news", 1]]);
  await waitUntil(() => heard.length === 3);
  check(heard.map((parts) => parts.join(" ")).sort(), ["n?ws news one", "news one", "shard two"]);
  check([await subscriber.unsubscribe("news", "more"), await subscriber.punsubscribe(), await subscriber.sunsubscribe()], [1, 0, 0]);
  check([await redis.publish("news", "x"), await subscriber.ping()], [0, "PONG"]);
}

async function subscriptionsAfterALoss(client) {
  const [redis, subscriber] = [client(), client({ connectionName: "listener", retryStrategy: () => 1 })];
  await subscriber.subscribe("news");
  const ready = new Promise((resolve) => subscriber.once("close", () => subscriber.once("ready", resolve)));
  const victim = (await redis.client("LIST")).split("\n").find((line) => line.includes(" name=listener "));
  check(await redis.client("KILL", "ID", /id=(\d+)/.exec(victim)[1]), 1);
  await ready;
  const message = once(subscriber, "message");
  await waitUntil(async () => (await redis.publish("news", "back")) === 1);
  check(await message, "news");
}

async function blocking(client) {
  const [redis, waiting] = [client(), client()];
  const blocked = () => waitUntil(async () => (await redis.info("clients")).includes("blocked_clients:1"));
  const popped = waiting.blpop("a", "b", 60);
  await blocked();
  await redis.rpush("b", "x");
  check(await popped, ["b", "x"]);
  const least = waiting.bzpopmin("board", 60);
  await blocked();
  await redis.zadd("board", 1, "low");
  check((await least).map(String), ["board", "low", "1"]);
  check([await waiting.brpop("nothing", 0.05), await waiting.blmove("nothing", "b", "LEFT", "LEFT", 0.05)], [null, null]);
}

async function streams(client) {
  const [redis, waiting] = [client(), client()];
  check(await redis.xgroup("CREATE", "log", "team", "$", "MKSTREAM"), "OK");
  const read = waiting.xread("BLOCK", 60_000, "STREAMS", "log", "$");
  await waitUntil(async () => (await redis.info("clients")).includes("blocked_clients:1"));
  const id = await redis.xadd("log", "*", "event", "login");
  check(JSON.stringify(await read).includes(id), true);
  check(JSON.stringify(await redis.xreadgroup("GROUP", "team", "one", "COUNT", 10, "STREAMS", "log", ">")).includes(id), true);
  check([(await redis.xpending("log", "team"))[0], await redis.xack("log", "team", id), await redis.xlen("log")], [1, 1, 1]);
}

async function monitor(client) {
  const [redis, seen] = [client(), []];
  const watching = await client().monitor();
  watching.on("monitor", (time, args) => seen.push(args.join(" ")));
  await redis.set("key", "a b");
  await redis.eval("return redis.call('GET', KEYS[1])", 1, "key");
  await waitUntil(() => seen.some((line) => line === "GET key"));
  check(seen.filter((line) => line.startsWith("set ")), ["set key a b"]);
  watching.disconnect();
}

for (const protocol of [2, 3]) {
  const client = (options = {}) => {
    const redis = new Redis({ host, port, protocol, ...options });
    redis.on("error", () => {});
    open.push(redis);
    return redis;
  };
  await run("ioredis", [publishAndSubscribe, subscriptionsAfterALoss, blocking, streams, monitor], async () => {
    open.splice(0).forEach((one) => one.disconnect());
    await client().flushall();
    return [client];
  }, `RESP${protocol}`);
}
finish();
