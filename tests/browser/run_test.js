// What `make run` shows a new user, with and without a key.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { chmodSync, cpSync, mkdtempSync, rmSync } from "node:fs";
import net from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { test } from "node:test";
import { chromium } from "playwright-core";
import { ask, build, root } from "./site.js";

async function freePort() {
  const server = net.createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address();
  server.close();
  return port;
}

// deploy/run.sh in a copy of the checkout, because only one can run in each.
async function run(t, settings) {
  const dir = mkdtempSync(path.join(tmpdir(), "bailian-run-"));
  chmodSync(dir, 0o755);
  for (const part of ["deploy", "nginx"]) cpSync(path.join(root, part), path.join(dir, part), { recursive: true });
  const port = await freePort();
  const { DASHSCOPE_API_KEY, DASHSCOPE_API_KEY_FILE, API_KEY, APP_ID, ...env } = process.env;
  const script = spawn(path.join(dir, "deploy/run.sh"), [build], { env: { ...env, HOST: "127.0.0.1", PORT: String(port), ...settings } });
  const ended = once(script, "close");
  let output = "";
  const ready = new Promise((resolve, reject) => {
    ended.then(([code]) => reject(new Error(`run.sh ended with ${code}\n${output}`)));
    const take = chunk => {
      output += chunk;
      if (output.includes("chat page")) resolve();
    };
    script.stdout.on("data", take);
    script.stderr.on("data", take);
  });
  const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: process.getuid() === 0 ? ["--no-sandbox"] : [] });
  t.after(async () => {
    await browser.close();
    script.kill("SIGTERM");
    await ended;
    rmSync(dir, { recursive: true, force: true });
  });
  await ready;
  const page = await browser.newPage({ locale: "en-US" });
  await page.goto(`http://127.0.0.1:${port}/`);
  return page;
}

test("make run without a key: a chat that says it is simulated", async t => {
  const page = await run(t, {});
  assert.equal(await page.locator(".badge").innerText(), "simulator");
  assert.equal(await page.locator("bailian-chat .status").innerText(), "Online");
  await page.locator("bailian-chat .suggestions button", { hasText: "What is SEO?" }).click();
  await page.locator("bailian-chat .turn .actions").waitFor();
  assert.match(await page.locator("bailian-chat .answer strong").innerText(), /simulator/);
});

test("make run with a key: no badge", async t => {
  const page = await run(t, { DASHSCOPE_API_KEY: "sk-0123456789abcdef", APP_ID: "app", DASHSCOPE_BASE_URL: "http://127.0.0.1:9/api/v1", UPSTREAM_RETRIES: "0" });
  assert.equal(await page.locator(".badge").isVisible(), false);
  await ask(page, "hello");
  await page.locator("bailian-chat .fault", { hasText: "The assistant failed to answer." }).waitFor();
});
