// What the JavaScript scripts of this folder share: checks, areas, and the processes they start.
//
// A script is started as `node SCRIPT MODULES HOST PORT` with packages as users install them; MODULES is the folder
// that holds node_modules. Its areas are functions that say what they expect with `check`; one line is printed an area,
// and the exit status is 1 when one failed. Nothing here knows which server it talks to: what is expected was seen on
// redis-server 7.0.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { fileURLToPath } from "node:url";

export const [modules, host, portText, ...words] = process.argv.slice(2);
export const port = Number(portText);
export const url = `redis://${host}:${port}`;
/** Loads a package. */
export const load = createRequire(join(modules, "package.json"));

// How long anything may take; machines that also build are slow.
const PATIENCE_MS = 60_000;
let count = 0;
let failed = false;

/** Gives the version of a package; not every package lets its package.json be loaded. */
export function versionOf(name) {
  return JSON.parse(readFileSync(join(modules, "node_modules", name, "package.json"), "utf8")).version;
}

/** Holds a value against what it has to be. */
export function check(actual, expected) {
  count += 1;
  assert.deepEqual(actual, expected);
}

/** Holds the error of a rejected promise against the start of its text. */
export async function checkError(promise, text) {
  const reply = await promise.then((value) => value, (error) => error);
  assert.ok(reply instanceof Error, `${JSON.stringify(reply)} is no error`);
  check(reply.message.slice(0, text.length), text);
}

/** Asks again and again until something is so, and gives what it was. */
export async function waitUntil(done) {
  const end = Date.now() + PATIENCE_MS;
  for (;;) {
    const found = await done();
    if (found) return found;
    assert.ok(Date.now() < end, "it did not come to pass");
    await pause(5);
  }
}

/** Waits for an event of an emitter and gives its first value. */
export function once(emitter, event) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`no ${event} came`)), PATIENCE_MS);
    emitter.once(event, (value) => {
      clearTimeout(timer);
      resolve(value);
    });
  });
}

/** Starts a script of this folder as a process beside this one; it ends with us, or when killed. */
export function start(script, ...more) {
  const path = join(dirname(fileURLToPath(import.meta.url)), script);
  const child = spawn(process.execPath, [path, modules, host, portText, ...more], { stdio: ["pipe", "inherit", "inherit"] });
  process.on("exit", () => child.kill("SIGKILL"));
  return child;
}

/** Runs areas one after the other, each with what `make` gives, and prints how they went. */
export async function run(name, areas, make = () => [], note = "") {
  const label = `${name} ${versionOf(name)} ${note}`.trim();
  for (const area of areas) {
    const [before, begin] = [count, Date.now()];
    let word = "ok";
    try {
      await area(...(await make()));
    } catch (error) {
      [word, failed] = ["FAILED", true];
      console.log(error.stack);
    }
    const title = area.name.replace(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`);
    console.log(`${label}  ${title.padEnd(24)}${String(count - before).padStart(5)} checks ${String(Date.now() - begin).padStart(6)} ms  ${word}`);
  }
}

/** Ends the script at once; connections of libraries would keep it. */
export function finish() {
  process.exit(failed ? 1 : 0);
}
