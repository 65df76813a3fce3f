// The program and a browser, both real, for a test.

import { spawn } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { chromium } from "playwright-core";

const target = process.env.CARGO_TARGET_DIR ?? join(import.meta.dirname, "../../target");
const FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"];

/** A port that nobody listens at. */
async function freePort() {
  const server = createServer();
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  const { port } = server.address();
  await new Promise((done) => server.close(done));
  return port;
}

/** `openanomaly run --demo` with these files in its folder, and its address when it is up. */
export async function start(files = {}) {
  const address = `127.0.0.1:${await freePort()}`;
  const folder = await mkdtemp(join(tmpdir(), "openanomaly-page-"));
  for (const [name, text] of Object.entries(files)) await writeFile(join(folder, name), text);
  const arguments_ = ["run", "--demo", "--data", folder, "--listen", address];
  const child = spawn(join(target, "debug/openanomaly"), arguments_, { stdio: ["ignore", "ignore", "pipe"] });
  let log = "";
  child.stderr.on("data", (text) => (log += text));
  const url = `http://${address}`;
  for (let attempt = 0; attempt < 600; attempt++) {
    if (child.exitCode !== null) throw new Error(`the program has ended:\n${log}`);
    const answer = await fetch(`${url}/health/live`).catch(() => null);
    if (answer?.ok) break;
    await new Promise((done) => setTimeout(done, 200));
  }
  const stop = async () => {
    const ended = new Promise((done) => child.once("exit", done));
    child.kill("SIGTERM");
    await ended;
    await rm(folder, { recursive: true, force: true });
  };
  return { url, stop, log: () => log };
}

/** A browser. */
export const browser = () => chromium.launch({ executablePath: process.env.CHROMIUM, args: FLAGS });

/** A page of a browser, and all that went wrong in it or left the service's own address. */
export async function open(browser, url, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 860 }, ...options });
  const page = await context.newPage();
  const faults = [];
  page.on("console", (message) => message.type() === "error" && faults.push(`console: ${message.text()} ${message.location().url}`));
  page.on("pageerror", (error) => faults.push(`error: ${error.stack}`));
  page.on("request", (request) => {
    const asked = request.url();
    if (!asked.startsWith(`${url}/`) && asked !== "about:blank" && !asked.startsWith("data:") && !asked.startsWith("blob:")) faults.push(`another host: ${asked}`);
  });
  page.setDefaultTimeout(60_000);
  return { page, context, faults };
}
