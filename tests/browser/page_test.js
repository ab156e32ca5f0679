// How the page and the widget look and work: by keyboard, with a screen reader, on a phone, in dark mode.

import assert from "node:assert/strict";
import { mkdirSync, readFileSync, readdirSync } from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import { after, before, beforeEach, test } from "node:test";
import { gzipSync } from "node:zlib";
import { Site, ask, begin, build, button, input, lastAnswer, lastTurn, root, shows } from "./site.js";

const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const shots = path.join(build, "..", "browser");

let site;
before(async () => {
  mkdirSync(shots, { recursive: true });
  site = await Site.start();
});
after(() => site.stop());
beforeEach(() => site.reset());

const visit = (t, ...args) => site.visit(...args).then(page => {
  t.after(() => page.context().close());
  return page;
});

async function expectAccessible(page) {
  await page.evaluate(axe);
  const { violations, passes } = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ["violations"] }));
  assert.ok(passes.length > 10);
  assert.deepEqual(violations.map(each => `${each.impact} ${each.id}: ${each.nodes.map(node => node.html).join(" ")}`), []);
}

// A conversation with everything that an answer can contain.
async function converse(page) {
  await ask(page, "[[sim text=echo]] # Title\n\nSome **bold** and `code`, [a link](https://example.com).\n\n- one\n- two\n\n> quote\n\n```js\nlet x = 1;\n```\n\n| a | b |\n|---|---|\n| 1 | 2 |");
  await ask(page, "[[sim example=12-stream-rag-references]]");
  await ask(page, "[[sim example=03-stream-thoughts]]");
  await ask(page, "[[sim status=401 code=InvalidApiKey]]");
}

const devices = {
  "light": {},
  "dark": { colorScheme: "dark" },
  "phone": { viewport: { width: 360, height: 640 }, isMobile: true, hasTouch: true, deviceScaleFactor: 2 },
  "dark phone in Chinese": { viewport: { width: 360, height: 640 }, isMobile: true, hasTouch: true, locale: "zh-CN", colorScheme: "dark" },
};

for (const [device, options] of Object.entries(devices)) {
  test(`axe-core finds no fault: page, ${device}`, async t => {
    const page = await visit(t, "/", options);
    await shows(page.locator("bailian-chat .log"), "Hello");
    await expectAccessible(page);
    await converse(page);
    await expectAccessible(page);
    await page.screenshot({ path: path.join(shots, `page ${device}.png`) });
    assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), "the page scrolls sideways");
    assert.deepEqual(page.complaints, []);
  });

  test(`axe-core finds no fault: widget, ${device}`, async t => {
    const page = await visit(t, "/?widget", options);
    await expectAccessible(page);
    await page.locator("bailian-chat .launcher").click();
    await converse(page);
    await expectAccessible(page);
    await page.screenshot({ path: path.join(shots, `widget ${device}.png`) });
    assert.deepEqual(page.complaints, []);
  });
}

test("dark and light follow the visitor, or the page's choice", async t => {
  const background = page => page.locator("bailian-chat .panel").evaluate(node => getComputedStyle(node).backgroundColor);
  assert.equal(await background(await visit(t)), "rgb(255, 255, 255)");
  const dark = await visit(t, "/", { colorScheme: "dark" });
  assert.equal(await background(dark), "rgb(22, 24, 29)");
  await dark.evaluate(() => document.querySelector("bailian-chat").setAttribute("theme", "light"));
  assert.equal(await background(dark), "rgb(255, 255, 255)");
  const line = site.line.replace(" defer", ' data-theme="dark" data-open defer');
  assert.equal(await background(await visit(t, site.foreignPage("dark", { body: line }))), "rgb(22, 24, 29)");
});

test("an answer is drawn at most once a frame", async t => {
  const page = await site.visit("about:blank");
  t.after(() => page.context().close());
  await page.addInitScript(() => {
    window.asked = 0;
    window.requestAnimationFrame = () => ++window.asked; // no frame comes
  });
  await page.goto(site.origin);
  await ask(page, "[[sim events=50]]");
  assert.equal(await page.evaluate(() => window.asked), 1);
});

test("the demo has the policy of its document", async () => {
  const document = readFileSync(path.join(root, "nginx/www/README.md"), "utf8");
  const policy = /^```\n(default-src .*?)```$/ms.exec(document)[1].trim().replace(/\s+/g, " ");
  const response = await fetch(site.origin);
  assert.equal(response.headers.get("Content-Security-Policy"), policy);
});

test("the page shows the line for one's own site", async t => {
  const page = await visit(t, "/?widget");
  assert.equal(await page.locator("#line").innerText(), site.line);
  await button(page, "Open chat").waitFor();
});

test("the widget fills a phone's screen", async t => {
  const page = await visit(t, "/?widget", devices.phone);
  await button(page, "Open chat").tap();
  await page.evaluate(() => Promise.all(document.querySelector("bailian-chat").shadowRoot.getAnimations().map(each => each.finished)));
  assert.deepEqual(await page.locator("bailian-chat .panel").boundingBox(), { x: 0, y: 0, width: 360, height: 640 });
  await button(page, "Close chat").tap();
  await button(page, "Open chat").waitFor();
});

test("the keyboard is enough", async t => {
  const page = await visit(t, site.foreignPage("shop"));
  await page.locator("bailian-chat .launcher").waitFor();
  const focused = () => page.evaluate(() => {
    const node = document.activeElement.shadowRoot?.activeElement;
    return node?.getAttribute("aria-label") ?? node?.textContent;
  });
  await page.keyboard.press("Tab");
  assert.equal(await focused(), "Open chat");
  await page.keyboard.press("Enter");
  assert.equal(await focused(), "Ask something…");
  await shows(page.locator("bailian-chat .log"), "Hello");
  await page.keyboard.type("[[sim events=3 hold=1]]");
  await page.keyboard.press("Shift+Enter");
  await page.keyboard.type("second line");
  await page.keyboard.press("Enter");
  await shows(lastAnswer(page), "tok1");
  assert.equal(await lastTurn(page).locator(".bubble").innerText(), "[[sim events=3 hold=1]]\nsecond line");
  assert.equal(await focused(), "Ask something…");
  await page.keyboard.press("Tab");
  assert.equal(await focused(), "Stop");
  await page.keyboard.press("Enter");
  await site.reaches("cut", 1);
  await shows(lastTurn(page), "Stopped.");
  await button(page, "Send").waitFor();
  const order = [];
  for (let i = 0; i < 6; ++i) {
    await page.keyboard.press("Shift+Tab");
    order.unshift(await focused());
  }
  assert.deepEqual(order, ["New chat", "Close chat", "Conversation", "Copy", "Retry", "Ask something…"]);
  await page.keyboard.press("Escape");
  assert.equal(await focused(), "Open chat");
});

test("Escape stops an answer before it closes the chat", async t => {
  const page = await visit(t, "/?widget");
  await button(page, "Open chat").click();
  await begin(page, "[[sim events=3 hold=1]]");
  await shows(lastAnswer(page), "tok1");
  await page.keyboard.press("Escape");
  await site.reaches("cut", 1);
  await shows(lastTurn(page), "Stopped.");
  await page.keyboard.press("Escape");
  await button(page, "Open chat").waitFor();
});

test("Enter that belongs to an input method sends nothing", async t => {
  const page = await visit(t);
  await input(page).fill("ni hao");
  await input(page).dispatchEvent("keydown", { key: "Enter", isComposing: true, bubbles: true });
  await input(page).dispatchEvent("keydown", { key: "Enter", keyCode: 229, bubbles: true });
  assert.equal(await input(page).inputValue(), "ni hao");
  await input(page).press("Enter");
  assert.equal(await input(page).inputValue(), "");
});

test("a screen reader hears the whole answer once, and faults at once", async t => {
  const page = await visit(t);
  const status = page.locator("bailian-chat").getByRole("status");
  await begin(page, "[[sim events=3 hold=1]]");
  await shows(status, "Answering…");
  await shows(lastAnswer(page), "tok1");
  assert.equal(await status.innerText(), "Answering…");
  assert.equal(await page.locator("bailian-chat").getByRole("log").getAttribute("aria-live"), "off");
  await site.release();
  await shows(status, "Answer complete. tok1 tok2 tok3");
  await ask(page, "[[sim status=401]]");
  await lastTurn(page).getByRole("alert").waitFor();
});

test("who wants no motion gets none", async t => {
  const page = await visit(t, "/", { reducedMotion: "reduce" });
  await begin(page, "[[sim hold=0]]");
  const dot = lastTurn(page).locator(".dots i").first();
  await dot.waitFor();
  assert.equal(await dot.evaluate(node => getComputedStyle(node).animationName), "none");
  const moving = await visit(t);
  await begin(moving, "[[sim hold=0]]");
  assert.equal(await lastTurn(moving).locator(".dots i").first().evaluate(node => getComputedStyle(node).animationName), "blink");
});

test("right-to-left answers run right to left, the rest does not", async t => {
  const page = await visit(t);
  await ask(page, "[[sim text=echo]] مرحبا SEO\n\n- عنصر\n\nEnglish\n\n`code`");
  const directions = await lastAnswer(page).evaluate(answer => [...answer.children].map(node => [node.tagName, getComputedStyle(node).direction]));
  assert.deepEqual(directions, [["P", "rtl"], ["UL", "rtl"], ["P", "ltr"], ["P", "ltr"]]);
  assert.equal(await page.locator("bailian-chat .panel").evaluate(node => getComputedStyle(node).direction), "ltr");
  await page.screenshot({ path: path.join(shots, "page right to left.png") });
});

test("the first paint is the last layout", async t => {
  const page = await site.visit("about:blank");
  t.after(() => page.context().close());
  await page.addInitScript(() => {
    window.shifts = [];
    new PerformanceObserver(list => window.shifts.push(...list.getEntries().map(each => each.value))).observe({ type: "layout-shift", buffered: true });
  });
  await page.goto(site.origin);
  await button(page, "A discount").waitFor();
  await page.evaluate(() => new Promise(resolve => requestAnimationFrame(() => requestAnimationFrame(resolve))));
  assert.deepEqual(await page.evaluate(() => window.shifts), []);
});

test("all files together are smaller than 40 KiB", () => {
  const files = readdirSync(path.join(root, "nginx/www")).filter(name => /\.(html|css|js)$/.test(name));
  assert.ok(files.includes("chat-widget.js"));
  const bytes = files.reduce((sum, name) => sum + gzipSync(readFileSync(path.join(root, "nginx/www", name))).length, 0);
  assert.ok(bytes < 40 * 1024, `${bytes} bytes`);
});
