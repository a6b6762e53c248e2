// A browser at the feeds: `node browser_feeds.mjs MODULES HOST PORT COMMAND…`, where COMMAND starts our server there, with
// HTTP on a port that is chosen here. Chromium is driven by puppeteer-core; what listens is the page's own EventSource and
// WebSocket, on a page of the server's origin and on one of another.

import { spawn } from "node:child_process";
import { createServer } from "node:http";
import { setTimeout as pause } from "node:timers/promises";
import { check, finish, host, load, run, waitUntil, words } from "./checks.mjs";

const { default: puppeteer } = load("puppeteer-core");

/** Serves an empty page of another origin, and gives its port; with `free` it gives one that nobody listens on. */
async function otherOrigin(free = false) {
  const other = createServer((_, response) => response.setHeader("content-type", "text/html").end("<title>other</title>"));
  await new Promise((resolve) => other.listen(0, host, resolve));
  const { port } = other.address();
  if (free) await new Promise((resolve) => other.close(resolve));
  return port;
}

const httpPort = await otherOrigin(true);
const site = `http://${host}:${httpPort}`;
const command = [...words];
command[command.indexOf("--http-port") + 1] = String(httpPort);

async function startServer() {
  const child = spawn(command[0], command.slice(1), { stdio: "ignore" });
  process.on("exit", () => child.kill("SIGKILL"));
  await waitUntil(async () => (await fetch(`${site}/healthz`).catch(() => undefined))?.ok);
  return child;
}

function kill(child) {
  return new Promise((resolve) => {
    child.once("exit", resolve);
    child.kill("SIGKILL");
  });
}

const post = async (path, body) => {
  const response = await fetch(`${site}/v1/${path}`, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });
  check(response.ok, true);
  return response.json();
};
const publish = (channel, data) => post(`pubsub/channels/${channel}/publish`, { type: "test", data });
const append = (data) => post("streams/orders/publish", { source: "/test", type: "test", data });

let server = await startServer();
const browser = await puppeteer.launch({ executablePath: "/usr/bin/chromium", args: ["--no-sandbox", "--disable-gpu"] });
process.on("exit", () => browser.process()?.kill("SIGKILL"));

/** Opens a page, and has it collect what a feed sends in `window.heard`. */
async function pageAt(address) {
  const page = await browser.newPage();
  await page.goto(address);
  await page.evaluate(() => {
    window.heard = [];
    window.listen = (path, kinds) => {
      window.source = new EventSource(path);
      window.source.onerror = () => window.heard.push(["error", window.source.readyState]);
      for (const kind of kinds) {
        window.source.addEventListener(kind, (event) => window.heard.push([kind, JSON.parse(event.data), event.lastEventId]));
      }
    };
  });
  return page;
}

const heard = (page, kind) => page.evaluate((kind) => window.heard.filter((one) => one[0] === kind), kind);
const heardSo = (page, kind, count) => waitUntil(async () => ((await heard(page, kind)).length >= count ? heard(page, kind) : undefined));
const dataOf = (messages) => messages.map((one) => one[1].event.data);

async function anEventSourceHearsChannelsPatternsAndTopics() {
  const page = await pageAt(`${site}/healthz`);
  await page.evaluate(() => window.listen("/v1/pubsub/listen?channels=prices&patterns=alerts.*&topics=orders", ["ready", "message", "gap"]));
  await heardSo(page, "ready", 1);
  check((await publish("prices", 1)).receivers, 1);
  await publish("alerts.fire", "é");
  await publish("elsewhere", 0);
  await append({ of: 1 });
  const messages = await heardSo(page, "message", 3);
  check(dataOf(messages.filter((one) => one[1].channel !== "orders")), [1, "é"]);
  check(dataOf(messages.filter((one) => one[1].channel === "orders")), [{ of: 1 }]);
  await page.close();
  await waitUntil(async () => (await publish("prices", 2)).receivers === 0);
}

async function itComesBackToATopicByItself() {
  const page = await pageAt(`${site}/healthz`);
  await page.evaluate(() => window.listen("/v1/pubsub/listen?topics=orders", ["ready", "message", "gap"]));
  await heardSo(page, "ready", 1);
  await append(1);
  await heardSo(page, "message", 1);
  await kill(server);
  await waitUntil(async () => (await heard(page, "error")).length > 0);
  server = await startServer();
  // Before the browser is back, which it is after some seconds, and after that.
  await append(2);
  await append(3);
  await heardSo(page, "message", 3);
  await append(4);
  await heardSo(page, "message", 4);
  await pause(100);
  check(dataOf(await heard(page, "message")), [1, 2, 3, 4]);
  check(await heard(page, "gap"), []);
  await page.close();
}

async function itHearsWhatBecomesOfJobs() {
  const page = await pageAt(`${site}/healthz`);
  await fetch(`${site}/v1/jobs/mail/events`, { method: "PUT", headers: { "content-type": "application/json" }, body: JSON.stringify({ max: 100 }) });
  await page.evaluate(() => window.listen("/v1/jobs/mail/events/watch", ["ready", "event", "message", "gap"]));
  await heardSo(page, "ready", 1);
  await post("jobs/mail/enqueue", { id: "a", name: "send" });
  await waitUntil(async () => page.evaluate(() => window.heard.some((one) => one[1]?.id === "a" && one[1]?.event === "added")));
  check(await page.evaluate(() => window.heard.filter((one) => one[1]?.id === "a").length), 1);
  await page.close();
}

async function aWebSocketChangesWhatItListensTo() {
  const page = await pageAt(`${site}/healthz`);
  await page.evaluate((address) => {
    window.socket = new WebSocket(address);
    window.socket.onmessage = (message) => window.heard.push([JSON.parse(message.data).kind, JSON.parse(message.data)]);
  }, `ws://${host}:${httpPort}/v1/pubsub/listen?channels=prices`);
  await waitUntil(async () => (await publish("prices", 1)).receivers === 1);
  await page.evaluate(() => window.socket.send(JSON.stringify({ id: 1, subscribe: { channels: ["news"] }, unsubscribe: { channels: ["prices"] } })));
  check((await heardSo(page, "reply", 1))[0][1].body, { done: true });
  check((await publish("prices", 2)).receivers, 0);
  await publish("news", 3);
  const messages = await waitUntil(async () => {
    const all = await heard(page, "message");
    return all.some((one) => one[1].body.event?.data === 3) ? all : undefined;
  });
  check(messages.map((one) => one[1].body.event.data).includes(2), false);
  await page.close();
}

async function aPageOfAnotherOriginGetsNothing() {
  const page = await pageAt(`http://${host}:${await otherOrigin()}/`);
  await page.evaluate((address) => window.listen(address, ["ready", "message"]), `${site}/v1/pubsub/listen?channels=prices`);
  await heardSo(page, "error", 1);
  const [socket, answer] = await page.evaluate(async (site) => {
    const socket = new WebSocket(`${site.replace("http", "ws")}/v1/pubsub/listen?channels=prices`);
    const end = await new Promise((resolve) => {
      socket.onopen = () => resolve("open");
      socket.onclose = () => resolve("closed");
    });
    // A request that needs no preflight: sent, whatever becomes of the answer.
    const answer = await fetch(`${site}/v1/pubsub/channels/prices/publish`, { method: "POST", mode: "no-cors", headers: { "content-type": "text/plain" }, body: '{"type": "test", "data": 1}' });
    return [end, answer.type];
  }, site);
  check([socket, answer], ["closed", "opaque"]);
  check((await publish("prices", 2)).receivers, 0);
  check(await heard(page, "message"), []);
  await page.close();
}

await run("puppeteer-core", [
  anEventSourceHearsChannelsPatternsAndTopics,
  itComesBackToATopicByItself,
  itHearsWhatBecomesOfJobs,
  aWebSocketChangesWhatItListensTo,
  aPageOfAnotherOriginGetsNothing,
], undefined, await browser.version());
finish();
