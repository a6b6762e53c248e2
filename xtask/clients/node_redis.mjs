// node-redis, on RESP2 and RESP3.

import { check, checkError, finish, host, load, port, run, waitUntil } from "./checks.mjs";

const { createClient, createClientPool, defineScript, ErrorReply, WatchError } = load("redis");
const open = [];

async function client(options = {}) {
  const made = createClient({ socket: { host, port }, ...options });
  // A lost connection is an area of its own; elsewhere the command that fails for it says so.
  made.on("error", () => {});
  open.push(made);
  await made.connect();
  return made;
}

async function connect(make) {
  const redis = await make({ name: "first", database: 1 });
  check([await redis.ping(), await redis.clientGetName()], ["PONG", "first"]);
  const info = await redis.clientInfo();
  check([info.name, info.db, info.libName === undefined || info.libName.startsWith("node-redis")], ["first", 1, true]);
  await redis.close();
}

async function values(make) {
  const redis = await make();
  check(await redis.set("key", "värde", { expiration: { type: "EX", value: 100 }, condition: "NX" }), "OK");
  check([await redis.get("key"), await redis.set("key", "x", { condition: "NX" }), await redis.get("missing")], ["värde", null, null]);
  check(await redis.mSet({ a: "1", b: "2" }), "OK");
  check(await redis.mGet(["a", "b", "c"]), ["1", "2", null]);
  check(await redis.hSet("user", { name: "Ana", age: "30" }), 2);
  check({ ...(await redis.hGetAll("user")) }, { name: "Ana", age: "30" });
  check([await redis.rPush("list", ["a", "b"]), await redis.lRange("list", 0, -1)], [2, ["a", "b"]]);
  check([await redis.sAdd("set", ["a", "b"]), (await redis.sMembers("set")).sort()], [2, ["a", "b"]]);
  check(await redis.zAdd("board", [{ value: "one", score: 1 }, { value: "two", score: 2.5 }]), 2);
  check(await redis.zRangeWithScores("board", 0, -1), [{ value: "one", score: 1 }, { value: "two", score: 2.5 }]);
  check([await redis.zScore("board", "two"), await redis.incrByFloat("a", 0.5)], [2.5, "1.5"]);
  check(await redis.geoAdd("places", { member: "Rome", longitude: 12.5, latitude: 41.9 }), 1);
  check(await redis.geoSearch("places", { longitude: 12, latitude: 42 }, { radius: 100, unit: "km" }), ["Rome"]);
  await checkError(redis.lPush("key", "x"), "WRONGTYPE Operation against a key holding the wrong kind of value");
  check(await redis.lPush("key", "x").catch((error) => error instanceof ErrorReply), true);
}

async function transactions(make) {
  const [redis, other] = [await make(), await make()];
  check(await redis.multi().set("a", "1").incr("a").get("a").exec(), ["OK", 2, "2"]);
  check(await redis.multi().set("p", "1").incr("p").execAsPipeline(), ["OK", 2]);
  await redis.watch("a");
  await other.set("a", "100");
  check(await redis.multi().set("a", "3").exec().catch((error) => error instanceof WatchError), true);
  check(await redis.get("a"), "100");
  const pool = createClientPool({ socket: { host, port } });
  await pool.connect();
  check(await Promise.all(Array.from({ length: 50 }, () => pool.incr("pooled"))).then((all) => Math.max(...all)), 50);
  pool.destroy();
  const many = await Promise.all(Array.from({ length: 10_000 }, (_, number) => redis.incrBy("sum", number)));
  check(many.at(-1), 49_995_000);
}

async function scripts(make) {
  const addTo = defineScript({
    NUMBER_OF_KEYS: 1,
    SCRIPT: "return redis.call('INCRBY', KEYS[1], ARGV[1])",
    parseCommand: (parser, key, number) => {
      parser.pushKey(key);
      parser.push(String(number));
    },
    transformReply: (reply) => reply,
  });
  const redis = await make({ scripts: { addTo } });
  check([await redis.addTo("n", 5), await redis.addTo("n", 6)], [5, 11]);
  check(await redis.multi().addTo("n", 1).get("n").exec(), [12, "12"]);
  await redis.functionLoad("#!lua name=mine\nredis.register_function('twice', function(keys, args) return args[1] * 2 end)", { REPLACE: true });
  check(await redis.fCall("twice", { keys: [], arguments: ["21"] }), 42);
  check(await redis.functionDelete("mine"), "OK");
}

async function scans(make) {
  const redis = await make();
  await redis.mSet(Object.fromEntries(Array.from({ length: 1_000 }, (_, number) => [`scan:${number}`, "x"])));
  const found = new Set();
  for await (const keys of redis.scanIterator({ MATCH: "scan:*", COUNT: 100 })) keys.forEach((key) => found.add(key));
  check(found.size, 1_000);
  await redis.hSet("hash", Object.fromEntries(Array.from({ length: 700 }, (_, number) => [`f${number}`, "x"])));
  let fields = 0;
  for await (const entries of redis.hScanIterator("hash")) fields += entries.length;
  check(fields, 700);
}

async function messages(make) {
  const [redis, subscriber] = [await make(), await make()];
  const heard = [];
  await subscriber.subscribe("news", (message, channel) => heard.push([channel, message]));
  await subscriber.pSubscribe("n*s", (message, channel) => heard.push([channel, `${message} by pattern`]));
  await subscriber.sSubscribe("shard", (message) => heard.push(["shard", message]));
  check([await redis.publish("news", "one"), await redis.sPublish("shard", "two")], [2, 1]);
  await waitUntil(() => heard.length === 3);
  check(heard.sort(), [["news", "one"], ["news", "one by pattern"], ["shard", "two"]]);
  await subscriber.unsubscribe();
  await subscriber.pUnsubscribe();
  check(await redis.publish("news", "three"), 0);
}

async function streams(make) {
  const [redis, blocked] = [await make(), await make()];
  check(await redis.xGroupCreate("log", "team", "0", { MKSTREAM: true }), "OK");
  const id = await redis.xAdd("log", "*", { event: "login", user: "ana" });
  const [read] = await redis.xReadGroup("team", "one", { key: "log", id: ">" }, { COUNT: 10 });
  check([read.name, read.messages.map((message) => ({ ...message.message }))], ["log", [{ event: "login", user: "ana" }]]);
  check([(await redis.xPending("log", "team")).pending, await redis.xAck("log", "team", id)], [1, 1]);
  const waiting = blocked.xRead({ key: "log", id: "$" }, { BLOCK: 60_000 });
  await waitUntil(async () => (await redis.info("clients")).includes("blocked_clients:1"));
  await redis.xAdd("log", "*", { event: "late" });
  check((await waiting)[0].messages[0].message.event, "late");
  const popped = blocked.blPop("queue", 60);
  await waitUntil(async () => (await redis.info("clients")).includes("blocked_clients:1"));
  await redis.rPush("queue", "job");
  check({ ...(await popped) }, { key: "queue", element: "job" });
}

async function clientSideCaching(make, protocol) {
  if (protocol !== 3) return;
  const [redis, other] = [await make({ clientSideCache: { ttl: 0, maxEntries: 0, evictPolicy: "LRU" } }), await make()];
  await other.set("cached", "1");
  const calls = async () => Number(/cmdstat_get:calls=(\d+)/.exec(await other.info("commandstats"))?.[1] ?? 0);
  check(await redis.get("cached"), "1");
  const before = await calls();
  check([await redis.get("cached"), await redis.get("cached"), (await calls()) - before], ["1", "1", 0]);
  await other.set("cached", "2");
  await waitUntil(async () => (await redis.get("cached")) === "2");
}

async function lostConnections(make) {
  const [redis, other] = [await make({ name: "victim" }), await make()];
  await redis.set("key", "x");
  const victim = (await other.clientList()).find((one) => one.name === "victim");
  check(await other.clientKill({ filter: "ID", id: victim.id }), 1);
  // A command that is on its way when the connection goes fails; those after it are sent on the next.
  await waitUntil(async () => (await redis.get("key").catch(() => null)) === "x");
  check(await redis.clientGetName(), "victim");
}

for (const protocol of [2, 3]) {
  const areas = [connect, values, transactions, scripts, scans, messages, streams, clientSideCaching, lostConnections];
  const make = (options) => client({ RESP: protocol, ...options });
  await run("redis", areas, async () => {
    open.splice(0).forEach((one) => one.isOpen && one.destroy());
    await (await client()).flushAll();
    return [make, protocol];
  }, `RESP${protocol}`);
}
finish();
