// ioredis: every area is given a way to make clients and runs once on RESP2 and once on RESP3, on an empty server.

import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { check, checkError, finish, host, load, modules, port, run, waitUntil } from "./checks.mjs";

const { Redis } = load("ioredis");
const open = [];

/** Collects what a scan stream finds. */
async function collect(stream) {
  const found = [];
  for await (const batch of stream) found.push(...batch);
  return found;
}

/** Turns [field, value, field, value, …] into an object. */
function pairs(flat) {
  const object = {};
  for (let index = 0; index < flat.length; index += 2) object[flat[index]] = flat[index + 1];
  return object;
}

async function connect(client) {
  const redis = client({ connectionName: "first-client", db: 1, lazyConnect: true });
  check(redis.status, "wait");
  await redis.connect();
  check(redis.status, "ready");
  check(await redis.ping(), "PONG");
  check(await redis.client("GETNAME"), "first-client");
  const own = (await redis.client("LIST")).split("\n").find((line) => line.includes(`id=${redis.clientId} `) || line.includes(" name=first-client "));
  check(own.includes(" db=1 "), true);
  check(await redis.quit(), "OK");
}

async function libraryName(client) {
  // Servers before 7.2 refuse CLIENT SETINFO, which the client must bear; newer ones keep it.
  const info = await client().client("INFO");
  const name = /lib-name=(\S*)/.exec(info);
  check(name === null || name[1].startsWith("ioredis"), true);
}

async function strings(client) {
  const redis = client();
  check(await redis.set("key", "värde"), "OK");
  check(await redis.get("key"), "värde");
  check(await redis.set("bytes", Buffer.from([0, 255, 13, 10])), "OK");
  check(await redis.getBuffer("bytes"), Buffer.from([0, 255, 13, 10]));
  check(await redis.set("key", "x", "EX", 100, "NX"), null);
  check(await redis.set("key", "x", "PX", 100_000, "GET"), "värde");
  const ttl = await redis.ttl("key");
  check(ttl > 98 && ttl <= 100, true);
  check(await redis.mset({ a: "1", b: "2" }), "OK");
  check(await redis.mset(new Map([["c", "3"]])), "OK");
  check(await redis.mget("a", "b", "c", "missing"), ["1", "2", "3", null]);
  check(await redis.incrbyfloat("a", 0.5), "1.5");
  check(await redis.del("a", "b", "c", "missing"), 3);
  check(await redis.psetex("soon", 20, "gone"), "OK");
  await waitUntil(async () => (await redis.get("soon")) === null);
  check(await redis.exists("soon"), 0);
}

async function collections(client) {
  const redis = client();
  check(await redis.hset("user", { name: "Ana", age: 30 }), 2);
  check({ ...(await redis.hgetall("user")) }, { name: "Ana", age: "30" });
  check(await redis.hmget("user", "name", "missing"), ["Ana", null]);
  check(await redis.rpush("list", 1, 2, 3), 3);
  check(await redis.lrange("list", 0, -1), ["1", "2", "3"]);
  check(await redis.lmove("list", "done", "LEFT", "RIGHT"), "1");
  check(await redis.sadd("set", "a", "b"), 2);
  check((await redis.smembers("set")).sort(), ["a", "b"]);
  check(await redis.smismember("set", "a", "z"), [1, 0]);
  check(await redis.zadd("board", 1, "one", 2.5, "two"), 2);
  check(await redis.zrange("board", 0, -1), ["one", "two"]);
  check(Number(await redis.zscore("board", "two")), 2.5);
  check(await redis.zrangebyscore("board", "(1", "+inf"), ["two"]);
  check(await redis.type("board"), "zset");
}

async function pipelines(client) {
  const redis = client();
  const pipeline = redis.pipeline();
  for (let number = 0; number < 10_000; number += 1) pipeline.incrby("sum", number);
  const replies = await pipeline.exec();
  check([replies.length, replies.at(-1)], [10_000, [null, 49_995_000]]);
  const [set, failed, got] = await redis.pipeline().set("word", "x").incr("word").get("word").exec();
  check([set, failed[0].message, got], [[null, "OK"], "ERR value is not an integer or out of range", [null, "x"]]);
  check(await redis.pipeline([["set", "a", "1"], ["get", "a"]]).exec(), [[null, "OK"], [null, "1"]]);
}

async function transactions(client) {
  const [redis, other] = [client(), client()];
  check(await redis.multi().set("a", 1).incr("a").exec(), [[null, "OK"], [null, 2]]);
  await redis.watch("a");
  await other.set("a", 100);
  check(await redis.multi().set("a", 3).exec(), null);
  check(await redis.get("a"), "100");
  const [, failed] = await redis.multi().set("word", "x").incr("word").exec();
  check(failed[0].message, "ERR value is not an integer or out of range");
  await checkError(redis.multi().set("never", 1).call("NOSUCHCOMMAND").exec(), "EXECABORT Transaction discarded");
  check(await redis.get("never"), null);
  check(await redis.multi({ pipeline: false }), "OK");
  check(await redis.set("b", 1), "QUEUED");
  check(await redis.exec(), [[null, "OK"]]);
  check(await redis.multi({ pipeline: false }), "OK");
  check(await redis.discard(), "OK");
}

async function scripts(client) {
  const redis = client();
  redis.defineCommand("addTo", { numberOfKeys: 1, lua: "return redis.call('INCRBY', KEYS[1], ARGV[1])" });
  redis.defineCommand("several", { lua: "return {KEYS[1], KEYS[2], ARGV[1], false, 3.9}" });
  check([await redis.addTo("n", 5), await redis.addTo("n", 6)], [5, 11]);
  check(await redis.script("FLUSH"), "OK");
  check(await redis.addTo("n", 1), 12);
  check(await redis.several(2, "a", "b", "ü"), ["a", "b", "ü", null, 3]);
  check(await redis.pipeline().addTo("n", 10).get("n").exec(), [[null, 22], [null, "22"]]);
  check(await redis.multi().addTo("n", 1).get("n").exec(), [[null, 23], [null, "23"]]);
  check(await redis.addToBuffer("n", 0), 23);
  await checkError(redis.eval("return redis.call('HGET', KEYS[1], 'f')", 1, "n"), "WRONGTYPE Operation against a key");
  await checkError(redis.eval("return redis.error_reply('MINE all mine')", 0), "MINE all mine");
}

async function autoPipelining(client) {
  const redis = client({ enableAutoPipelining: true });
  await Promise.all(Array.from({ length: 1_000 }, (_, number) => redis.set(`auto:${number}`, number)));
  const replies = await Promise.all(Array.from({ length: 1_000 }, (_, number) => redis.get(`auto:${number}`)));
  check(replies, Array.from({ length: 1_000 }, (_, number) => String(number)));
  const [wrong, right] = await Promise.allSettled([redis.lpush("auto:1", "x"), redis.get("auto:2")]);
  check([wrong.status, right.value], ["rejected", "2"]);
}

async function scanStreams(client) {
  const redis = client();
  const fill = redis.pipeline();
  for (let number = 0; number < 1_000; number += 1) fill.set(`scan:${number}`, number);
  for (let number = 0; number < 700; number += 1) fill.hset("hash", `f${number}`, number).sadd("set", number).zadd("zset", number, number);
  check((await fill.exec()).every(([error]) => error === null), true);
  check(new Set(await collect(redis.scanStream())).size, 1_003);
  check(new Set(await collect(redis.scanStream({ match: "scan:99?", count: 100 }))).size, 10);
  check(await collect(redis.scanStream({ type: "hash" })), ["hash"]);
  check(Object.keys(pairs(await collect(redis.hscanStream("hash")))).length, 700);
  check(new Set(await collect(redis.sscanStream("set", { match: "69?" }))).size, 10);
  check(pairs(await collect(redis.zscanStream("zset")))["699"], "699");
}

async function keyPrefixes(client) {
  const redis = client({ keyPrefix: "app:" });
  check(await redis.set("key", "x"), "OK");
  check(await client().get("app:key"), "x");
  check(await redis.eval("return KEYS[1]", 1, "key"), "app:key");
  check(await redis.mget("key", "other"), ["x", null]);
}

async function lostConnections(client) {
  const [redis, other] = [client({ connectionName: "victim", retryStrategy: () => 1 }), client()];
  check(await redis.set("key", "x"), "OK");
  const ready = new Promise((resolve) => redis.once("close", () => redis.once("ready", resolve)));
  const victim = (await other.client("LIST")).split("\n").find((line) => line.includes(" name=victim "));
  check(await other.client("KILL", "ID", /id=(\d+)/.exec(victim)[1]), 1);
  await ready;
  check(await redis.get("key"), "x");
  check(await redis.client("GETNAME"), "victim");
}

async function introspection(client) {
  const redis = client();
  await redis.set("key", "value");
  check(/\r\nredis_version:\d+\.\d+\.\d+/.test(await redis.info()), true);
  check(/used_memory:[1-9]\d*\r\n/.test(await redis.info("memory")), true);
  check(/db0:keys=1,/.test(await redis.info("keyspace")), true);
  check((await redis.command("COUNT")) > 100, true);
  check((await redis.command("INFO", "get"))[0][1], 2);
  check(await redis.command("GETKEYS", "MSET", "a", "1", "b", "2"), ["a", "b"]);
  check(await redis.object("ENCODING", "key"), "embstr");
  check((await redis.memory("USAGE", "key")) > 8, true);
  check(await redis.dbsize(), 1);
  check((await redis.time()).length, 2);
}

async function errors(client) {
  const redis = client();
  await redis.set("word", "x");
  await checkError(redis.lpush("word", 1), "WRONGTYPE Operation against a key holding the wrong kind of value");
  await checkError(redis.call("NOSUCHCOMMAND", "a"), "ERR unknown command 'NOSUCHCOMMAND', with args beginning with: 'a' ");
  await checkError(redis.call("GET"), "ERR wrong number of arguments for 'get' command");
  check(await redis.get("word"), "x");
}

async function readme(client) {
  // What the README shows; where the server listens is all that differs.
  const blocks = readFileSync(new URL("../../README.md", import.meta.url), "utf8").match(/^```js\n[^]*?^```/gm);
  check([blocks.length, blocks[0].includes("new Redis(6379)")], [1, true]);
  const path = join(modules, "readme.mjs");
  writeFileSync(path, blocks[0].replace(/^```.*\n?/gm, "").replace("6379", String(port)));
  // Each protocol's turn runs it anew.
  await import(`${path}?${Date.now()}`);
  check(await client().exists("greeting"), 1);
}

const AREAS = [
  connect, libraryName, strings, collections, pipelines, transactions, scripts, autoPipelining, scanStreams,
  keyPrefixes, lostConnections, introspection, errors, readme,
];

for (const protocol of [2, 3]) {
  const client = (options = {}) => {
    const redis = new Redis({ host, port, protocol, ...options });
    // A lost connection is an area of its own; elsewhere the command that fails for it says so.
    redis.on("error", () => {});
    open.push(redis);
    return redis;
  };
  await run("ioredis", AREAS, async () => {
    open.splice(0).forEach((one) => one.disconnect());
    await client().flushall();
    return [client];
  }, `RESP${protocol}`);
}
finish();
