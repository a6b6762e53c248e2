// Express: sessions with connect-redis, rate limits with rate-limit-redis, on a running application.

import { check, checkError, finish, load, run, url, waitUntil } from "./checks.mjs";

const express = load("express");
const session = load("express-session");
const { RedisStore } = load("connect-redis");
const { rateLimit } = load("express-rate-limit");
const { RedisStore: RateStore } = load("rate-limit-redis");
const { createClient } = load("redis");

const redis = createClient({ url });
await redis.connect();
const store = new RedisStore({ client: redis, prefix: "shop:", ttl: 60 });

const app = express();
app.use(session({ store, secret: "key", resave: false, saveUninitialized: false, cookie: { maxAge: 60_000 } }));
app.get("/add/:item", (request, response) => {
  request.session.cart = [...(request.session.cart ?? []), request.params.item];
  response.json(request.session.cart);
});
app.get("/cart", (request, response) => response.json(request.session.cart ?? []));
app.get("/login", (request, response) => request.session.regenerate(() => response.json({ id: request.session.id })));
app.get("/logout", (request, response) => request.session.destroy(() => response.json({})));
const sendCommand = (...args) => redis.sendCommand(args);
const limited = rateLimit({ windowMs: 1_000, limit: 3, standardHeaders: "draft-8", store: new RateStore({ sendCommand }) });
app.get("/limited", limited, (request, response) => response.json({}));
const server = await new Promise((resolve) => {
  const listening = app.listen(0, "127.0.0.1", () => resolve(listening));
});

/** A browser: keeps the cookie. */
function browser() {
  let cookie = "";
  return async (path) => {
    const response = await fetch(`http://127.0.0.1:${server.address().port}${path}`, { headers: { cookie } });
    cookie = response.headers.get("set-cookie")?.split(";")[0] ?? cookie;
    return response.json();
  };
}

async function sessions() {
  const [ana, eva] = [browser(), browser()];
  check([await ana("/add/tea"), await ana("/add/pot"), await eva("/add/cup")], [["tea"], ["tea", "pot"], ["cup"]]);
  check([await ana("/cart"), await eva("/cart"), await browser()("/cart")], [["tea", "pot"], ["cup"], []]);
  const ids = await redis.keys("shop:*");
  const ttl = await redis.ttl(ids[0]);
  check([ids.length, ttl > 0 && ttl <= 60], [2, true]);
  const { id } = await ana("/login");
  check([await redis.exists(`shop:${id}`), await ana("/cart"), (await redis.keys("shop:*")).length], [1, [], 2]);
  await eva("/logout");
  check(await redis.keys("shop:*"), [`shop:${id}`]);
}

async function stores() {
  await redis.flushDb();
  const call = (name, ...args) => new Promise((resolve, reject) => store[name](...args, (error, value) => (error ? reject(error) : resolve(value))));
  for (let number = 0; number < 200; number += 1) await call("set", `s${number}`, { number, cookie: { originalMaxAge: 60_000 } });
  check([await call("length"), (await call("ids")).length, (await call("all")).length], [200, 200, 200]);
  check((await call("get", "s7")).number, 7);
  await redis.expire("shop:s7", 5);
  await call("touch", "s7", { cookie: { expires: new Date(Date.now() + 60_000) } });
  check((await redis.ttl("shop:s7")) > 5, true);
  await call("clear");
  check(await call("length"), 0);
}

async function rateLimits() {
  const address = `http://127.0.0.1:${server.address().port}/limited`;
  const statuses = [];
  for (let number = 0; number < 5; number += 1) statuses.push((await fetch(address)).status);
  check(statuses, [200, 200, 200, 429, 429]);
  await waitUntil(async () => (await fetch(address)).status === 200);
  await checkError(redis.sendCommand(["EVALSHA", "0".repeat(40), "0"]), "NOSCRIPT No matching script");
}

await run("connect-redis", [sessions, stores]);
await run("rate-limit-redis", [rateLimits]);
finish();
