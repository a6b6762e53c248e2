// socket.io with its adapters on Redis: two servers, each with clients, as one room.

import { createServer } from "node:http";
import { check, finish, load, once, run, url, waitUntil } from "./checks.mjs";

const { Server } = load("socket.io");
const { io } = load("socket.io-client");
const { createAdapter, createShardedAdapter } = load("@socket.io/redis-adapter");
const { createAdapter: createStreamsAdapter } = load("@socket.io/redis-streams-adapter");
const { createClient } = load("redis");

async function connected() {
  const made = createClient({ url });
  made.on("error", () => {});
  await made.connect();
  return made;
}

const ADAPTERS = {
  "pub/sub": async () => createAdapter(await connected(), await connected()),
  sharded: async () => createShardedAdapter(await connected(), await connected()),
  streams: async () => createStreamsAdapter(await connected()),
};

/** Starts a server with an adapter of its own, and a client of it. */
async function pair(kind) {
  const http = createServer();
  const server = new Server(http, { adapter: await ADAPTERS[kind](), connectionStateRecovery: kind === "streams" ? {} : undefined });
  server.on("connection", (socket) => {
    socket.on("join", async (room, answer) => {
      await socket.join(room);
      answer();
    });
    socket.on("say", (room, words) => socket.to(room).emit("said", words));
  });
  server.on("sum", (a, b, answer) => answer(a + b));
  await new Promise((resolve) => http.listen(0, "127.0.0.1", resolve));
  const client = io(`http://127.0.0.1:${http.address().port}`, { transports: ["websocket"] });
  await once(client, "connect");
  return { server, client };
}

async function broadcasts(one, two) {
  const heard = [once(one.client, "news"), once(two.client, "news")];
  one.server.emit("news", { number: 7, bytes: Buffer.from([0, 255]) });
  const expected = { number: 7, bytes: Buffer.from([0, 255]) };
  check(await Promise.all(heard), [expected, expected]);
}

async function rooms(one, two) {
  await Promise.all([one, two].map(({ client }) => client.emitWithAck("join", "room")));
  // A room is known to the other server when its sockets are counted there.
  await waitUntil(async () => (await one.server.in("room").fetchSockets()).length === 2);
  const said = once(two.client, "said");
  one.client.emit("say", "room", "hello");
  check(await said, "hello");
  one.client.on("ask", (answer) => answer("one"));
  two.client.on("ask", (answer) => answer("two"));
  check((await two.server.to("room").timeout(30_000).emitWithAck("ask")).sort(), ["one", "two"]);
}

async function betweenServers(one, two) {
  check((await one.server.fetchSockets()).length, 2);
  check(await one.server.serverSideEmitWithAck("sum", 1, 2), [3]);
  two.server.in("room").socketsLeave("room");
  await waitUntil(async () => (await one.server.in("room").fetchSockets()).length === 0);
  const gone = once(two.client, "disconnect");
  one.server.in(two.client.id).disconnectSockets(true);
  check(await gone, "io server disconnect");
}

for (const kind of Object.keys(ADAPTERS)) {
  const both = [await pair(kind), await pair(kind)];
  // The servers find each other.
  await waitUntil(async () => (await both[0].server.of("/").adapter.serverCount()) === 2);
  await run(kind === "streams" ? "@socket.io/redis-streams-adapter" : "@socket.io/redis-adapter", [broadcasts, rooms, betweenServers], () => both, kind);
}
finish();
