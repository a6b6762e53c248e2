// Keyv and cache-manager on @keyv/redis.

import { check, finish, load, run, url, waitUntil } from "./checks.mjs";

const { Keyv } = load("keyv");
const { default: KeyvRedis, createKeyv } = load("@keyv/redis");
const { createCache } = load("cache-manager");

async function keyv() {
  const store = new Keyv(new KeyvRedis(url), { namespace: "one" });
  const other = new Keyv(new KeyvRedis(url), { namespace: "two" });
  check([await store.set("key", { list: [1, "ü"] }), await store.get("key"), await other.get("key")], [true, { list: [1, "ü"] }, undefined]);
  await store.setMany([{ key: "a", value: 1 }, { key: "b", value: 2 }]);
  check([await store.getMany(["a", "b", "c"]), await store.has("a"), await store.delete("a"), await store.has("a")], [[1, 2, undefined], true, true, false]);
  await store.set("soon", 1, 30);
  await waitUntil(async () => (await store.get("soon")) === undefined);
  const seen = [];
  for await (const [key] of store.iterator()) seen.push(key);
  check(seen.sort(), ["b", "key"]);
  await other.set("kept", 1);
  await store.clear();
  check([await store.get("b"), await other.get("kept")], [undefined, 1]);
}

async function cacheManager() {
  const cache = createCache({ stores: [createKeyv(url, { namespace: "manager" })], ttl: 60_000 });
  let calls = 0;
  const load = () => cache.wrap("answer", async () => (calls += 1) * 42);
  check(await Promise.all([load(), load(), load()]), [42, 42, 42]);
  check([await load(), calls], [42, 1]);
  await cache.mset([{ key: "a", value: 1 }, { key: "b", value: 2 }]);
  check([await cache.mget(["a", "b"]), (await cache.ttl("a")) > 0], [[1, 2], true]);
  await cache.clear();
  check((await cache.get("answer")) ?? null, null);
}

await run("@keyv/redis", [keyv]);
await run("cache-manager", [cacheManager]);
finish();
