// The chat as a visitor sees it, on the site's own page and on a page of another site.

import assert from "node:assert/strict";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import http from "node:http";
import path from "node:path";
import { after, before, beforeEach, test } from "node:test";
import vm from "node:vm";
import { Site, ask, begin, button, input, lastAnswer, lastTurn, profile, root, shows } from "./site.js";

let site;
before(async () => { site = await Site.start(); });
after(() => site.stop());
beforeEach(() => site.reset());

const visit = (t, ...args) => site.visit(...args).then(page => {
  t.after(() => page.context().close());
  return page;
});
async function visitForeign(t, options) {
  const page = await visit(t, site.foreignPage("shop", options));
  await button(page, "Open chat").click();
  return page;
}

async function firstTokenBeforeTheLast(page) {
  await begin(page, "[[sim events=3 hold=1]]");
  await shows(lastAnswer(page), "tok1");
  assert.equal((await site.control("stats")).completed, 0);
  await site.release();
  await shows(lastAnswer(page), "tok1 tok2 tok3");
}

test("the first token is seen before the last is sent", async t => firstTokenBeforeTheLast(await visit(t)));

test("the first token is seen before the last is sent, on another site too", async t =>
  firstTokenBeforeTheLast(await visitForeign(t)));

test("Chinese and emoji arrive whole", async t => {
  const page = await visit(t);
  const text = "杭州西湖 👨‍👩‍👧 很美 🌸";
  assert.equal(await ask(page, `[[sim text=echo piece=1]] ${text}`), text);
});

test("bytes may be cut anywhere", async t => {
  const page = await visit(t);
  const stream = "\ufeff: keep-alive\r\n\r\n" +
    'data: {"success":true,"content":"杭州 ","finished":false}\n\ndata:{"success":true,"content":"👨‍👩‍👧 ",\r\ndata:"finished":false}\n\n' +
    ': keep-alive\n\nevent: x\r\nid: 7\r\ndata: {"success":true,"content":"end","finished":false}\r\n\r\n' +
    'data: {"success":true,"content":"!","finished":false}\r\rdata: {"success":true,"finished":true,"message":"Stream completed"}\r\r';
  for (const size of [1, 2, 3, 5, 64, 10000]) {
    await page.evaluate(([text, step]) => {
      const bytes = new TextEncoder().encode(text);
      const real = window.fetch;
      window.fetch = async (url, options) => {
        if (!String(url).endsWith("/stream")) return real(url, options);
        window.fetch = real;
        const body = new ReadableStream({
          start(controller) {
            for (let at = 0; at < bytes.length; at += step) controller.enqueue(bytes.slice(at, at + step));
            controller.close();
          },
        });
        return new Response(body, { headers: { "Content-Type": "text/event-stream" } });
      };
    }, [stream, size]);
    assert.equal(await ask(page, "x"), "杭州 👨‍👩‍👧 end!", `in steps of ${size}`);
    assert.equal(await lastTurn(page).locator(".fault").count(), 0);
  }
});

test("stop ends the answer at the upstream and keeps what was said", async t => {
  const page = await visit(t);
  await begin(page, "[[sim events=3 hold=1]]");
  await shows(lastAnswer(page), "tok1");
  await button(page, "Stop").click();
  await site.reaches("cut", 1);
  await shows(lastTurn(page), "Stopped.");
  assert.equal(await lastAnswer(page).innerText(), "tok1");
  await button(page, "Retry").waitFor();
});

test("stop before the first token ends the answer at the upstream", async t => {
  const page = await visit(t);
  await begin(page, "[[sim hold=0]]");
  await site.reaches("held", 1);
  await button(page, "Stop").click();
  await site.reaches("cut", 1);
});

test("a closed tab ends the answer at the upstream", async t => {
  const page = await visit(t);
  await begin(page, "[[sim events=3 hold=1]]");
  await shows(lastAnswer(page), "tok1");
  await page.close();
  await site.reaches("cut", 1);
});

test("removing the element ends the answer at the upstream, moving it does not", async t => {
  const page = await visit(t);
  await begin(page, "[[sim events=3 hold=1]]");
  await shows(lastAnswer(page), "tok1");
  await page.evaluate(() => document.body.append(document.querySelector("bailian-chat")));
  await site.release();
  await lastTurn(page).locator(".actions").waitFor();
  assert.equal(await lastAnswer(page).innerText(), "tok1 tok2 tok3");
  await site.reset();
  await begin(page, "[[sim events=3 hold=1]]");
  await shows(lastAnswer(page), "tok1");
  await page.evaluate(() => document.querySelector("bailian-chat").remove());
  await site.reaches("cut", 1);
});

for (const [directive, words] of [
  ["status=401 code=InvalidApiKey", "The assistant refused the key of this site."],
  ["status=403 code=App.AccessDenied", "The assistant was not found."],
  ["status=400 code=DataInspectionFailed", "refused by the content check"],
  ["status=400 code=Arrearage", "The quota of this site is used up."],
  ["status=500 code=InternalError", "The assistant failed to answer."],
]) {
  test(`${directive} is told in words with the request id`, async t => {
    const page = await visit(t);
    const answers = [];
    page.on("response", response => /chat-bot(\/stream)?$/.test(response.url()) && answers.push(response));
    await ask(page, `[[sim ${directive}]]`);
    const fault = lastTurn(page).getByRole("alert");
    await shows(fault, words);
    await shows(fault, `Request id: ${answers.at(-1).headers()["x-request-id"]}`);
    assert.deepEqual(page.complaints, []);
  });
}

test("a question refused in words reads well in Chinese", async t => {
  const page = await visit(t, "/", { locale: "zh-CN" });
  await ask(page, "[[sim status=401 code=InvalidApiKey]]");
  await shows(lastTurn(page).getByRole("alert"), "助手拒绝了本站的密钥");
});

for (const foreign of [false, true]) {
  test(`429 shows the wait, and retry waits for it${foreign ? ", on another site too" : ""}`, async t => {
    const page = await visit(t, foreign ? site.foreignPage("shop") : "/");
    await page.clock.install();
    if (foreign) await button(page, "Open chat").click();
    await ask(page, "[[sim status=429 code=Throttling times=2]] hello");
    await shows(lastTurn(page).getByRole("alert"), /Too many questions at the moment\. Please wait \d+ s/);
    const retry = lastTurn(page).locator(".retry");
    assert.match(await retry.innerText(), /^Retry \(\d+\)$/);
    assert.equal(await retry.isDisabled(), true);
    await page.clock.fastForward(11000);
    await button(page, "Retry").click();
    await shows(lastAnswer(page), "simulator");
  });
}

test("Retry-After is shown where it differs, read across origins", async t => {
  const page = await visit(t, site.foreignPage("shop"));
  await page.route("**/chat-bot/stream", async route => {
    if (route.request().method() !== "POST") return route.continue();
    const response = await route.fetch();
    return route.fulfill({ response, headers: { ...response.headers(), "retry-after": "77" } });
  });
  await button(page, "Open chat").click();
  await ask(page, "[[sim status=429 code=Throttling]]");
  await shows(lastTurn(page).getByRole("alert"), /wait 7\d s/);
});

test("a failure in mid-answer keeps the text and is told", async t => {
  const page = await visit(t);
  assert.equal(await ask(page, "[[sim events=5 after=2 status=400 code=DataInspectionFailed]]"), "tok1 tok2");
  await shows(lastTurn(page).getByRole("alert"), "refused by the content check");
});

test("a server gone in mid-answer is told, and retry asks again", async t => {
  const page = await visit(t);
  await begin(page, "[[sim events=3 hold=1]]");
  await shows(lastAnswer(page), "tok1");
  await site.responder.stop("SIGKILL");
  await shows(lastTurn(page).getByRole("alert"), "The connection broke before the answer was complete.");
  assert.equal(await lastAnswer(page).innerText(), "tok1");
  await button(page, "Retry").click();
  await shows(lastTurn(page).getByRole("alert"), "The assistant failed to answer.");
  await site.startResponder();
  await site.reset();
  await button(page, "Retry").click();
  await shows(lastAnswer(page), "tok1");
  await site.release();
  await shows(lastAnswer(page), "tok1 tok2 tok3");
});

test("a service that cannot be reached is told", async t => {
  const page = await visit(t);
  await page.context().setOffline(true);
  await ask(page, "hello");
  await shows(lastTurn(page).getByRole("alert"), "The chat service cannot be reached.");
});

// How many requests a page has sent to the service.
function countQuestions(page) {
  const counted = { questions: 0 };
  page.on("request", request => { counted.questions += request.method() === "POST" && /chat-bot(\/stream)?$/.test(request.url()); });
  return counted;
}

// "Retries" in nginx/api.md: once a question was sent to the model, its failure is final, for the widget too.
for (const [failure, directive] of [
  ["an internal error", "status=500 code=InternalError.Algo"],
  ["a timeout", "status=504 code=InternalError.Timeout"],
  ["an error event", "status=500 code=InternalError framing=sse200"],
  ["a connection closed before the answer", "fault=reset"],
  ["a connection closed in mid-answer", "fault=cut"],
  ["a connection closed among the thoughts", "mode=thoughts fault=cut after=1"],
  ["a page", "fault=html"],
  ["an empty answer", "fault=empty"],
  ["half an event", "fault=bad-json after=0"],
]) {
  test(`after ${failure} of the model nothing is asked again until the visitor does`, async t => {
    const page = await visit(t);
    const counted = countQuestions(page);
    await ask(page, `[[sim ${directive}]]`);
    await lastTurn(page).getByRole("alert").waitFor();
    assert.equal(counted.questions, 1);
    assert.equal((await site.control("stats")).requests, 1);
    await button(page, "Retry").click();
    await site.reaches("requests", 2);
  });
}

test("after a network that broke nothing is asked again", async t => {
  const page = await visit(t);
  const counted = countQuestions(page);
  await page.route("**/chat-bot/stream", route => route.abort("connectionreset"));
  await ask(page, "[[sim events=3]]");
  await shows(lastTurn(page).getByRole("alert"), "The chat service cannot be reached.");
  assert.equal(counted.questions, 1);
});

const page = body => ({ contentType: "text/html", body });
for (const [what, answer] of [
  ["a 502 page of a proxy", { status: 502, ...page("<h1>Bad Gateway</h1>") }],
  ["a 200 page of a proxy", { status: 200, ...page("<h1>Welcome</h1>") }],
  ["404", { status: 404, json: { code: "rest_no_route", message: "No route was found" } }],
  ["405", { status: 405, ...page("<h1>Not Allowed</h1>") }],
]) {
  test(`${what} in place of the stream is replaced by the whole answer`, async t => {
    const page = await visit(t);
    await page.route("**/chat-bot/stream", route => route.fulfill(answer));
    assert.equal(await ask(page, "[[sim events=3]]"), "tok1 tok2 tok3");
    assert.equal((await site.control("stats")).requests, 1);
  });
}

for (const [what, answer, words] of [
  ["502 of the service", { status: 502, json: { success: false, code: "upstream_error", message: "API Error" } }, "The assistant failed to answer."],
  ["500 of the service", { status: 500, json: { success: false, code: "internal", message: "Internal server error" } }, "Something went wrong"],
  ["a 504 page of a proxy", { status: 504, ...page("<h1>Gateway Time-out</h1>") }, "The assistant took too long to answer."],
  ["a 503 page of a proxy", { status: 503, ...page("<h1>Busy</h1>") }, "The chat service is busy."],
  ["a 413 page of a proxy", { status: 413, ...page("<h1>Too large</h1>") }, "The question or the conversation is too long."],
  ["a 429 page of a proxy", { status: 429, ...page("<h1>Slow down</h1>") }, /Too many questions at the moment\. Please wait (10|9) s/],
  ["a stream without a last event", { contentType: "text/event-stream", body: 'data: {"success":true,"content":"half","finished":false}\n\n' },
    "The connection broke before the answer was complete."],
  ["JSON that was cut off", { status: 200, contentType: "application/json", body: '{"success":true,"result":"ha' }, "cannot be read"],
]) {
  test(`${what} is told, and nothing is asked again`, async t => {
    const page = await visit(t);
    const counted = countQuestions(page);
    await page.route("**/chat-bot/stream", route => route.fulfill(answer));
    await ask(page, "hello");
    await shows(lastTurn(page).getByRole("alert"), words);
    assert.equal(counted.questions, 1);
  });
}

test("a browser that cannot read a stream shows its answer at the end, asked for once", async t => {
  const page = await visit(t, "about:blank");
  await page.addInitScript(() => Object.defineProperty(Response.prototype, "body", { value: null }));
  await page.goto(site.origin);
  assert.equal(await ask(page, "[[sim events=3]]"), "tok1 tok2 tok3");
  assert.equal((await site.control("stats")).requests, 1);
});

test("a stream that cannot be read is left, so that it does not go on unseen", { timeout: 20000 }, async t => {
  let isLeft;
  const left = new Promise(resolve => { isLeft = resolve; });
  const service = http.createServer((request, response) => {
    response.setHeader("Access-Control-Allow-Origin", "*").setHeader("Access-Control-Allow-Headers", "*");
    if (request.method !== "POST") return response.end();
    response.on("close", isLeft).writeHead(200, { "Content-Type": "text/event-stream" }).write("data: {half\n\n");
  }).listen(0, "127.0.0.1");
  await once(service, "listening");
  t.after(() => { service.closeAllConnections(); service.close(); });
  const shop = await visitForeign(t, { body: site.line.replace('"/myapi/v1"', `"http://127.0.0.1:${service.address().port}"`) });
  await ask(shop, "hello");
  await shows(lastTurn(shop).getByRole("alert"), "cannot be read");
  await left;
});

test("a second question waits for the answer to the first", async t => {
  const page = await visit(t);
  const counted = countQuestions(page);
  await begin(page, "[[sim events=3 hold=1]]");
  await shows(lastAnswer(page), "tok1");
  await begin(page, "[[sim events=1]]");
  await page.evaluate(() => document.querySelector("bailian-chat").ask("[[sim events=1]]"));
  assert.equal(await input(page).inputValue(), "[[sim events=1]]");
  await site.release();
  await lastTurn(page).locator(".actions").waitFor();
  assert.equal(await lastAnswer(page).innerText(), "tok1 tok2 tok3");
  assert.equal(await page.locator("bailian-chat .turn").count(), 1);
  assert.equal(counted.questions, 1);
});

test("what was refused is not asked again", async t => {
  const page = await visit(t);
  await ask(page, "[[sim status=400 code=DataInspectionFailed]]");
  assert.equal((await site.control("stats")).requests, 1);
});

test("a reload keeps the conversation, and the model hears of it", async t => {
  const page = await visit(t);
  await ask(page, "[[sim text=echo]] My name is 小明");
  await page.reload();
  assert.equal(await lastAnswer(page).innerText(), "My name is 小明");
  await ask(page, "[[sim events=1]] Who am I?");
  assert.deepEqual((await site.lastRequest()).input.messages, [
    { role: "user", content: "[[sim text=echo]] My name is 小明" },
    { role: "assistant", content: "My name is 小明" },
    { role: "user", content: "[[sim events=1]] Who am I?" },
  ]);
});

test("a reload in mid-answer keeps what was said", async t => {
  const page = await visit(t);
  await begin(page, "[[sim events=3 hold=1]]");
  await shows(lastAnswer(page), "tok1");
  await page.reload();
  await shows(lastTurn(page), "The connection broke before the answer was complete.");
  assert.equal(await lastAnswer(page).innerText(), "tok1");
});

// What this tab has stored; after a crash there is nothing else.
const stored = page => page.evaluate(() => JSON.parse(sessionStorage.getItem(`bailian-chat:${location.origin}/myapi/v1`)).turns);

test("what was said so far is stored when the page is left", async t => {
  const page = await visit(t);
  await begin(page, "[[sim events=3 hold=1]]");
  await shows(lastAnswer(page), "tok1");
  await page.evaluate(() => { dispatchEvent(new PageTransitionEvent("pagehide")); });
  assert.deepEqual((await stored(page)).map(each => each.answer), ["tok1 "]);
});

test("failed questions are no part of the history", async t => {
  const page = await visit(t);
  await ask(page, "[[sim status=400 code=DataInspectionFailed]]");
  await ask(page, "[[sim events=1]] next");
  assert.deepEqual((await site.lastRequest()).input, { prompt: "[[sim events=1]] next" });
});

test("the history is limited", async t => {
  const page = await visit(t, site.foreignPage("shop", { body: site.line.replace(" defer", ' data-history="4" defer') }));
  await button(page, "Open chat").click();
  for (let i = 0; i < 4; ++i) await ask(page, `[[sim events=1]] ${i}`);
  const { messages } = (await site.lastRequest()).input;
  assert.deepEqual(messages.filter(each => each.role === "user").map(each => each.content.at(-1)), ["1", "2", "3"]);
});

const turns = count => Array.from({ length: count }, (_, i) => ({ question: `question ${i}`, answer: `answer ${i}`, state: "done" }));

test("the newest 50 questions are kept, and 20 messages are sent", async t => {
  const page = await visit(t);
  await page.evaluate(kept => {
    sessionStorage.setItem(`bailian-chat:${location.origin}/myapi/v1`, JSON.stringify({ turns: kept }));
    document.querySelector("bailian-chat").remove();
    document.body.append(document.createElement("bailian-chat"));
  }, turns(50));
  await ask(page, "[[sim events=1]]");
  const { messages } = (await site.lastRequest()).input;
  assert.deepEqual(messages.map(each => each.content), [
    ...turns(50).slice(-10).flatMap(each => [each.question, each.answer]), "[[sim events=1]]",
  ]);
  await page.reload();
  const questions = await page.locator("bailian-chat .bubble").allInnerTexts();
  assert.deepEqual(questions, [...turns(50).slice(1).map(each => each.question), "[[sim events=1]]"]);
});

test("the conversation is kept for this tab alone, and for its endpoint", async t => {
  const page = await visit(t, site.foreignPage("shop"));
  await button(page, "Open chat").click();
  await ask(page, "[[sim events=1]]");
  assert.equal(await page.evaluate(() => localStorage.length + document.cookie.length), 0);
  const turnsOf = async tab => {
    await shows(tab.locator("bailian-chat .log"), "Hello from");
    return tab.locator("bailian-chat .turn").count();
  };
  await page.reload();
  assert.equal(await turnsOf(page), 1);
  const tab = await page.context().newPage();
  await tab.goto(site.foreignPage("shop"));
  await button(tab, "Open chat").click();
  assert.equal(await turnsOf(tab), 0);
  await page.goto(site.foreignPage("shop", { body: site.line.replace('"/myapi/v1"', '"/wp-json/myapi/v1"') }));
  await button(page, "Open chat").click();
  assert.equal(await turnsOf(page), 0);
});

test("a full storage keeps the newest questions", async t => {
  const page = await visit(t, "about:blank");
  await page.addInitScript(() => {
    const { setItem } = Storage.prototype;
    Storage.prototype.setItem = function(key, value) {
      if (value.length > 3000) throw new DOMException("full", "QuotaExceededError");
      setItem.call(this, key, value);
    };
  });
  await page.goto(site.origin);
  for (const letter of "abc") await ask(page, `[[sim text=echo]] ${letter.repeat(600)}`);
  await page.reload();
  assert.deepEqual(await page.locator("bailian-chat .turn .answer").allInnerTexts(), ["b".repeat(600), "c".repeat(600)]);
});

test("new chat forgets, also after a reload", async t => {
  const page = await visit(t);
  await ask(page, "[[sim events=1]]");
  await button(page, "New chat").click();
  assert.equal(await page.locator("bailian-chat .turn").count(), 0);
  assert.deepEqual(await stored(page), []);
  await page.reload();
  await shows(page.locator("bailian-chat .log"), "Hello from");
  assert.equal(await page.locator("bailian-chat .turn").count(), 0);
});

test("new chat in mid-answer ends the answer at the upstream", async t => {
  const page = await visit(t);
  await begin(page, "[[sim events=3 hold=1]]");
  await shows(lastAnswer(page), "tok1");
  await button(page, "New chat").click();
  await site.reaches("cut", 1);
  assert.equal(await ask(page, "[[sim events=2]]"), "tok1 tok2");
  assert.equal(await page.locator("bailian-chat .turn").count(), 1);
});

test("the profile gives greeting, buttons, font size and online state; a missing picture its fallback", async t => {
  const page = await visit(t);
  await shows(page.locator("bailian-chat .log"), "Hello from the profile");
  assert.equal(await page.locator("bailian-chat .log strong").innerText(), "profile");
  await shows(page.locator("bailian-chat .head"), "Online");
  await page.locator("bailian-chat .head span.avatar svg").waitFor();
  assert.equal(await page.locator("bailian-chat .log").evaluate(log => getComputedStyle(log).fontSize), "18px");
  await button(page, "A discount").click();
  await shows(lastAnswer(page), "tok1 tok2");
  assert.equal(await lastTurn(page).locator(".bubble").innerText(), profile.commonButtons[0].buttonPrompt);
  assert.equal(await lastTurn(page).locator("img.avatar").getAttribute("src"), profile.userAvatarURL);
  assert.equal(await button(page, "A discount").count(), 0);
});

test("a bot that is offline is shown so", async t => {
  const page = await site.visit("about:blank");
  t.after(() => page.context().close());
  await page.route("**/chat-bot-config", route => route.fulfill({ json: { ...profile, botStatus: 0 } }));
  await page.goto(site.origin);
  await shows(page.locator("bailian-chat .status"), "Offline");
});

test("an empty greeting and empty pictures are replaced", async t => {
  const page = await site.visit("about:blank");
  t.after(() => page.context().close());
  await page.route("**/chat-bot-config", route => route.fulfill({ json: { ...profile, StartUpMessage: "", userAvatarURL: "", botImageURL: "" } }));
  await page.goto(site.origin);
  await shows(page.locator("bailian-chat .log"), "Hi! How can I help?");
  await ask(page, "[[sim events=1]]");
  assert.equal(await page.locator("bailian-chat span.avatar svg").count(), 4);
  assert.equal(await page.locator("bailian-chat img.avatar").count(), 0);
});

test("no request is made until the chat is opened", async t => {
  const page = await visit(t, "about:blank");
  await page.addInitScript(() => {
    const plain = window.fetch;
    window.fetched = [];
    window.fetch = (url, ...rest) => { window.fetched.push(String(url)); return plain(url, ...rest); };
  });
  await page.goto(site.foreignPage("shop"));
  await button(page, "Open chat").waitFor();
  assert.deepEqual(await page.evaluate(() => window.fetched), []);
  await button(page, "Open chat").click();
  assert.deepEqual(await page.evaluate(() => window.fetched), [`${site.origin}/myapi/v1/chat-bot-config`]);
});

// The browser's default would tell the other host which site the visitor is on.
async function countPictures(page) {
  const seen = { pictures: 0, referrers: [] };
  await page.route("https://pictures.example/**", async route => {
    seen.pictures += 1;
    const { referer } = route.request().headers();
    if (referer) seen.referrers.push(referer);
    await route.fulfill({ contentType: "image/svg+xml", body: "<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>" });
  });
  return seen;
}

test("pictures are fetched without a referrer", async t => {
  const page = await visit(t, "about:blank");
  const seen = await countPictures(page);
  await page.route("**/chat-bot-config", route => route.fulfill({
    headers: { "Access-Control-Allow-Origin": "*" },
    json: { ...profile, botImageURL: "https://pictures.example/bot.svg", userAvatarURL: "https://pictures.example/user.svg" },
  }));
  await page.goto(site.foreignPage("shop", { body: site.line.replace(" defer", " data-images data-open defer") }));
  await ask(page, "[[sim text=echo]] ![cat](https://pictures.example/cat.svg)");
  const loaded = page.locator("bailian-chat img");
  await page.waitForFunction(() => {
    const pictures = [...document.querySelector("bailian-chat").shadowRoot.querySelectorAll("img")];
    return pictures.length >= 4 && pictures.every(each => each.complete && each.naturalWidth > 0);
  });
  assert.deepEqual(new Set(await loaded.evaluateAll(all => all.map(each => new URL(each.src).pathname))), new Set(["/bot.svg", "/user.svg", "/cat.svg"]));
  assert.ok(seen.pictures >= 3);
  assert.deepEqual(seen.referrers, []);
});

test("without a profile the chat greets by itself and works", async t => {
  const page = await site.visit("about:blank");
  t.after(() => page.context().close());
  await page.route("**/chat-bot-config", route => route.abort());
  await page.goto(site.origin);
  await shows(page.locator("bailian-chat .log"), "Hi! How can I help?");
  assert.equal(await ask(page, "[[sim events=2]]"), "tok1 tok2");
});

test("the language is the browser's, and the page can choose another", async t => {
  const page = await visit(t, "/", { locale: "zh-CN" });
  assert.equal(await input(page).getAttribute("placeholder"), "请输入问题…");
  await shows(page.locator(".badge"), "模拟器");
  const english = await visit(t, site.foreignPage("shop", { body: site.line.replace(" defer", ' data-lang="en" defer') }), { locale: "zh-CN" });
  await button(english, "Open chat").waitFor();
});

test("without attributes the endpoint is /myapi/v1, the name Assistant, and the element is the only chat", async t => {
  const body = `<bailian-chat></bailian-chat>${site.line.replace(' data-endpoint="/myapi/v1"', "")}`;
  const page = await visit(t, site.foreignPage("shop", { body }));
  assert.equal(await ask(page, "[[sim events=2]]"), "tok1 tok2");
  assert.equal(await page.locator("bailian-chat .name").innerText(), "Assistant");
  assert.equal(await page.locator("bailian-chat").count(), 1);
  const chinese = await visit(t, site.foreignPage("shop", { body }), { locale: "zh-CN" });
  assert.equal(await chinese.locator("bailian-chat .name").innerText(), "智能助手");
});

test("attributes are those of the line, or of the element, which take precedence", async t => {
  const line = site.line.replace(" defer", ' data-name="Shop" data-lang="zh-TW" data-position="left" data-open defer');
  const page = await visit(t, site.foreignPage("shop", { body: line }));
  assert.equal(await page.locator("bailian-chat .name").innerText(), "Shop");
  assert.equal(await page.locator("bailian-chat .panel").isVisible(), true);
  assert.equal(await input(page).getAttribute("placeholder"), "请输入问题…");
  const left = selector => page.locator(`bailian-chat ${selector}`).evaluate(node => node.getBoundingClientRect().left);
  assert.deepEqual([await left(".launcher"), await left(".panel")], [20, 20]);
  const element = await visit(t, site.foreignPage("shop", { body: `<bailian-chat name="Books" lang="en"></bailian-chat>${line}` }));
  assert.equal(await element.locator("bailian-chat .name").innerText(), "Books");
  assert.equal(await input(element).getAttribute("placeholder"), "Ask something…");
});

test("every text of the chat is in both languages", () => {
  const source = readFileSync(path.join(root, "nginx/www/chat-widget.js"), "utf8");
  const { en, zh } = vm.runInNewContext(`(${/^const WORDS = (\{.*?^\});$/ms.exec(source)[1]})`);
  const flat = words => Object.fromEntries(Object.entries(words).flatMap(([name, text]) =>
    typeof text === "string" ? [[name, text]] : Object.entries(text).map(([inner, innerText]) => [`${name}.${inner}`, innerText])));
  assert.deepEqual(Object.keys(flat(zh)), Object.keys(flat(en)));
  for (const [name, text] of Object.entries(flat(zh))) assert.match(text, /\p{Script=Han}/u, name);
  for (const [name, text] of Object.entries(flat(en))) assert.match(text, /^[\x20-\x7e…]+$/, name);
});

test("every error has words in both languages, with the details of DEBUG=True", async t => {
  const table = /<!-- table: errors -->(.*?)<!-- \/table -->/s.exec(readFileSync(path.join(root, "nginx/api.md"), "utf8"))[1];
  const codes = new Set([...table.matchAll(/^\| \d+ \| `(\w+)`/gm)].map(([, code]) => code));
  assert.ok(codes.size > 10);
  for (const locale of ["en-US", "zh-CN"]) {
    const page = await visit(t, "/", { locale });
    let answer;
    await page.route("**/chat-bot/stream", route => route.fulfill({ status: 400, json: answer }));
    for (const code of codes) {
      // Other words of a pause are the owner's.
      const message = code === "paused" ? "The chat is paused" : "Words";
      answer = { success: false, message, code, result: "", request_id: "r" };
      await ask(page, "hello");
      const words = await lastTurn(page).locator(".fault div").evaluate(node => node.firstChild.data);
      assert.ok(words && words !== message, `${code} in ${locale}: ${words}`);
      assert.equal(/\p{Script=Han}/u.test(words), locale === "zh-CN", `${code} in ${locale}: ${words}`);
      const details = await lastTurn(page).locator(".fault small").allInnerTexts();
      assert.equal(details.includes("Words"), code === "not_configured", code);
    }
    answer = { success: false, message: "API Error: InternalError: why", code: "upstream_error", result: "", request_id: "r" };
    await ask(page, "hello");
    await shows(lastTurn(page).locator(".fault small").first(), "API Error: InternalError: why");
  }
});

test("a question and its fallback have one key; retry has another, and wants a new answer", async t => {
  const page = await visit(t);
  const sent = [];
  await page.route(/chat-bot(\/stream)?$/, async route => {
    const { "idempotency-key": key, "cache-control": cache } = await route.request().allHeaders();
    sent.push({ key, cache });
    // A proxy's page: the widget falls back to the whole answer, which fails.
    if (sent.length === 1) return route.fulfill({ status: 502, contentType: "text/html", body: "<html>" });
    if (sent.length === 2) return route.fulfill({ status: 502, json: { success: false, code: "upstream_error", message: "", request_id: "r" } });
    return route.continue();
  });
  await ask(page, "[[sim events=2]]");
  await button(page, "Retry").click();
  await shows(lastAnswer(page), "tok1 tok2");
  await ask(page, "[[sim events=3]]");
  assert.equal(sent.length, 4);
  const [stream, fallback, retry, next] = sent;
  assert.match(stream.key, /^[0-9a-f]{32}$/);
  assert.equal(fallback.key, stream.key);
  assert.equal(new Set([stream, retry, next].map(each => each.key)).size, 3);
  assert.deepEqual(sent.map(each => each.cache === "no-cache"), [false, false, true, false]);
});

test("a fallback whose stream is still being answered is told in words, and asked once", async t => {
  const page = await visit(t);
  const counted = countQuestions(page);
  await page.route(/chat-bot(\/stream)?$/, route => /stream$/.test(route.request().url())
    ? route.fulfill({ status: 502, contentType: "text/html", body: "<html>" })
    : route.fulfill({
      status: 409, headers: { "Retry-After": "1" },
      json: { success: false, code: "idempotency_in_progress", message: "The question with this Idempotency-Key is being answered", request_id: "r" },
    }));
  await ask(page, "hello");
  await shows(lastTurn(page).getByRole("alert"), "still being answered");
  await page.waitForFunction(button => !button.disabled, await lastTurn(page).locator(".retry").elementHandle());
  assert.equal(counted.questions, 2);
});

test("the answer to a button is kept for the next visitor, and Retry asks again", async t => {
  const first = await visit(t);
  await button(first, "A discount").click();
  await shows(lastAnswer(first), "tok1 tok2");
  const second = await visit(t);
  await button(second, "A discount").click();
  await shows(lastAnswer(second), "tok1 tok2");
  const { requests } = await site.control("stats");
  assert.ok(requests <= 1, `${requests}`);
  await lastTurn(second).locator(".retry").click();
  await site.reaches("requests", requests + 1);
});

for (const [code, message, words] of [
  ["budget_used_up", "The budget is used up", "answered all it can for now"],
  ["visitor_budget_used_up", "Your budget for today is used up", "asked all you can for today"],
  ["budget_unknown", "The budget cannot be checked", "cannot answer at the moment"],
  ["paused", "The chat is paused", "The chat is paused. Please come back later."],
  ["paused", "Back on Monday: 9 am", "Back on Monday: 9 am"],
]) {
  test(`${code} is told in words, and asked once (${message})`, async t => {
    const page = await visit(t);
    const counted = countQuestions(page);
    await page.route("**/chat-bot/stream", route => route.fulfill({
      status: code === "paused" ? 503 : 429, headers: { "Retry-After": "7200", "x-should-retry": "false" },
      json: { success: false, code, message, result: "", request_id: "r" },
    }));
    await ask(page, "hello");
    const fault = lastTurn(page).getByRole("alert");
    await shows(fault, words);
    assert.doesNotMatch(await fault.innerText(), /Please wait/);
    assert.equal(await lastTurn(page).locator(".retry").isDisabled(), false);
    assert.equal(counted.questions, 1);
  });
}

test("citations are marks in the text and a list of sources", async t => {
  const page = await visit(t);
  await ask(page, "[[sim example=12-stream-rag-references]]");
  assert.equal(await lastAnswer(page).innerText(), "七天内可以退货[1]，运费自付[2]。");
  assert.equal(await lastAnswer(page).locator("sup").first().getAttribute("title"), "售后手册");
  assert.deepEqual(await lastTurn(page).locator(".sources li").allInnerTexts(), ["[1] 售后手册", "[2] 运费说明"]);
  await page.reload();
  assert.equal(await lastTurn(page).locator(".sources li").count(), 2);
});

test("a source with an address is a link, in the list and in the text", async t => {
  const page = await visit(t);
  const last = { success: true, finished: true, citations: [{ index: 1, title: "Returns", url: "https://example.com/returns" }] };
  await page.route("**/chat-bot/stream", route => route.fulfill({
    contentType: "text/event-stream",
    body: `data: {"success":true,"content":"yes<ref>[1]</ref>","finished":false}\n\ndata: ${JSON.stringify(last)}\n\n`,
  }));
  await ask(page, "x");
  const links = lastTurn(page).locator("a");
  assert.deepEqual(await links.evaluateAll(all => all.map(each => [each.textContent, each.href, each.rel])), [
    ["[1]", "https://example.com/returns", "noopener noreferrer nofollow"],
    ["Returns", "https://example.com/returns", "noopener noreferrer nofollow"],
  ]);
});

test("thoughts are folded away above the answer", async t => {
  const page = await visit(t);
  assert.equal(await ask(page, "[[sim example=03-stream-thoughts]]"), "1+1 = 2 ✅");
  await lastTurn(page).locator("summary", { hasText: "Thoughts" }).click();
  assert.equal(await lastTurn(page).locator(".thought").innerText(), "嗯，这是基础加法。");
});

test("a whole answer has its thought", async t => {
  const page = await visit(t);
  await page.route("**/chat-bot/stream", route => route.fulfill({ status: 405, contentType: "text/html", body: "<h1>Not Allowed</h1>" }));
  await page.route("**/chat-bot", route => route.fulfill({ json: { success: true, result: "2", response: "2", thought: "1+1", session_id: "s" } }));
  assert.equal(await ask(page, "x"), "2");
  await lastTurn(page).locator("summary", { hasText: "Thoughts" }).click();
  assert.equal(await lastTurn(page).locator(".thought").innerText(), "1+1");
});

test("answers and code are copied as they were written", async t => {
  const page = await visit(t, "/", { permissions: ["clipboard-read", "clipboard-write"] });
  await ask(page, "[[sim text=echo]] **Run**\n\n```sh\nmake run\n\n  make test\n```");
  await button(page, "Copy code").click();
  await shows(lastTurn(page), "Copied");
  assert.equal(await page.evaluate(() => navigator.clipboard.readText()), "make run\n\n  make test");
  await lastTurn(page).locator(".actions").getByRole("button", { name: "Copy" }).click();
  await shows(lastTurn(page).locator(".actions"), "Copied");
  assert.equal(await page.evaluate(() => navigator.clipboard.readText()), "**Run**\n\n```sh\nmake run\n\n  make test\n```");
});

test("who reads further up is not moved, and finds the way back", async t => {
  const page = await visit(t);
  await ask(page, `[[sim text=echo]] ${"line\n\n".repeat(60)}`);
  await begin(page, "[[sim events=30 hold=1]]");
  await shows(lastAnswer(page), "tok1");
  await page.locator("bailian-chat .log").evaluate(log => { log.scrollTop = 0; });
  await button(page, "To the latest message").waitFor();
  await site.release();
  await shows(lastAnswer(page), "tok30");
  assert.equal(await page.locator("bailian-chat .log").evaluate(log => log.scrollTop), 0);
  await button(page, "To the latest message").click();
  await button(page, "To the latest message").waitFor({ state: "hidden" });
});

test("a page's style sheet does not reach the chat, nor the chat's the page", async t => {
  const head = "<style>* { color: red !important; font-size: 40px !important; display: inline !important; position: static !important; opacity: 1; float: left !important; " +
    "letter-spacing: 1em !important; text-transform: uppercase !important; text-indent: 3em !important } " +
    "html { font-size: 62.5% } button, textarea, div { width: 3px !important; background: lime !important }</style>";
  const page = await visit(t, site.foreignPage("shop", { head }));
  const launcher = button(page, "Open chat");
  const box = await launcher.boundingBox();
  assert.deepEqual([box.width, box.height], [56, 56]);
  assert.deepEqual([box.x + box.width, box.y + box.height], [1100 - 20, 760 - 20]);
  await launcher.click();
  await ask(page, "[[sim events=2]]");
  const look = await lastAnswer(page).evaluate(node => [getComputedStyle(node)].map(style =>
    [style.fontSize, style.color, style.letterSpacing, style.textTransform, style.textIndent]));
  assert.deepEqual(look, [["18px", "rgb(27, 31, 39)", "normal", "none", "0px"]]);
  assert.equal(await page.locator("h1").evaluate(node => getComputedStyle(node).fontSize), "40px");
});

test("CSS custom properties theme the chat", async t => {
  const properties = {
    accent: "rgb(1, 2, 3)", "on-accent": "rgb(1, 2, 4)", background: "rgb(1, 2, 5)", surface: "rgb(1, 2, 6)", text: "rgb(1, 2, 7)",
    muted: "rgb(1, 2, 8)", border: "rgb(1, 2, 9)", error: "rgb(1, 2, 10)", font: "monospace", "font-size": "20px",
    radius: "3px", width: "300px", height: "500px", offset: "30px", "z-index": "7",
  };
  const head = `<style>bailian-chat { ${Object.entries(properties).map(([name, value]) => `--bailian-${name}: ${value};`).join(" ")} }</style>`;
  const page = await visitForeign(t, { head });
  await shows(page.locator("bailian-chat .log"), "Hello from");
  await ask(page, "[[sim text=echo]] `code`");
  await ask(page, "[[sim status=401]]");
  const style = (selector, name) => page.locator(`bailian-chat ${selector}`).first().evaluate((node, of) => getComputedStyle(node)[of], name);
  const found = {
    accent: await style(".launcher", "backgroundColor"), "on-accent": await style(".bubble", "color"),
    background: await style(".panel", "backgroundColor"), surface: await style(".answer code", "backgroundColor"),
    text: await style(".answer", "color"), muted: await style(".status", "color"), border: await style(".panel", "borderTopColor"),
    error: await style(".fault", "color"), font: await style(".answer", "fontFamily"), "font-size": await style(".answer", "fontSize"),
    radius: await style(".panel", "borderTopLeftRadius"), width: await style(".panel", "width"), height: await style(".panel", "height"),
    offset: await style(".launcher", "right"), "z-index": await page.locator("bailian-chat").evaluate(node => getComputedStyle(node).zIndex),
  };
  assert.deepEqual(found, properties);
  const listed = readFileSync(path.join(root, "nginx/www/README.md"), "utf8").match(/(?<=`--bailian-)[\w-]+(?=`)/g);
  assert.deepEqual(new Set(listed), new Set(Object.keys(properties)));
});

test("a strict policy of the page is enough", async t => {
  const policy = `default-src 'none'; script-src ${site.origin}; connect-src ${site.origin}; img-src data:; require-trusted-types-for 'script'`;
  const page = await visitForeign(t, { headers: { "Content-Security-Policy": policy } });
  assert.equal(await ask(page, "[[sim events=2]] **x**"), "tok1 tok2");
  assert.equal(await page.locator("bailian-chat .panel").evaluate(node => getComputedStyle(node).position), "fixed");
  // The profile's picture is on the page's host, which the policy does not list.
  assert.deepEqual(page.complaints.filter(each => !each.includes("missing.png")), []);
});

test("the endpoint may be WordPress's, and absolute", async t => {
  const page = await visit(t, site.foreignPage("shop", { body: site.line.replace('"/myapi/v1"', '"/wp-json/myapi/v1"') }));
  await button(page, "Open chat").click();
  assert.equal(await ask(page, "[[sim events=2]]"), "tok1 tok2");
  const absolute = await visit(t, site.foreignPage("shop", { body: site.line.replace('"/myapi/v1"', `"${site.origin}/wp-json/myapi/v1/"`) }));
  await button(absolute, "Open chat").click();
  assert.equal(await ask(absolute, "[[sim events=2]]"), "tok1 tok2");
});

test("the line pasted twice gives one chat", async t => {
  const page = await visitForeign(t, { body: site.line + site.line });
  assert.equal(await page.locator("bailian-chat").count(), 1);
  assert.deepEqual(page.complaints, []);
  assert.equal(await ask(page, "[[sim events=2]]"), "tok1 tok2");
});

test("an open chat is open after the next page", async t => {
  const page = await visitForeign(t);
  await ask(page, "[[sim events=2]]");
  await page.goto(site.foreignPage("next"));
  await shows(lastAnswer(page), "tok1 tok2");
  await button(page, "Close chat").first().click();
  await page.reload();
  await button(page, "Open chat").waitFor();
});

test("keys typed in the chat do not reach the page's shortcuts", async t => {
  const page = await visitForeign(t);
  await page.evaluate(() => {
    window.keys = [];
    addEventListener("keydown", event => window.keys.push(event.key));
  });
  await input(page).press("s");
  await page.locator("h1").click();
  await page.keyboard.press("z");
  assert.deepEqual(await page.evaluate(() => window.keys), ["z"]);
});

test("the page hears of questions, answers and errors", async t => {
  const page = await visitForeign(t);
  await page.evaluate(() => {
    window.heard = [];
    for (const name of ["open", "close", "question", "answer", "error", "clear"]) {
      document.addEventListener(`bailian-${name}`, event => window.heard.push([name, event.detail.question, event.detail.answer ?? event.detail.code].filter(Boolean)));
    }
  });
  await page.evaluate(() => document.querySelector("bailian-chat").ask("[[sim events=1]]"));
  await ask(page, "[[sim status=401]]");
  await page.evaluate(() => document.querySelector("bailian-chat").close());
  assert.deepEqual(await page.evaluate(() => window.heard), [
    ["question", "[[sim events=1]]"], ["answer", "[[sim events=1]]", "tok1 "],
    ["question", "[[sim status=401]]"], ["error", "[[sim status=401]]", "upstream_auth"], ["close"],
  ]);
});

test("the page hears of an answer that was stopped, and of a new chat", async t => {
  const page = await visitForeign(t);
  await page.evaluate(() => {
    window.heard = [];
    for (const name of ["answer", "clear"]) document.addEventListener(`bailian-${name}`, event => window.heard.push([name, event.detail]));
  });
  await ask(page, "[[sim events=1]]");
  await begin(page, "[[sim events=3 hold=1]]");
  await shows(lastAnswer(page), "tok1");
  await page.evaluate(() => document.querySelector("bailian-chat").stop());
  await shows(lastTurn(page), "Stopped.");
  await page.evaluate(() => document.querySelector("bailian-chat").clear());
  assert.deepEqual(await page.evaluate(() => window.heard), [
    ["answer", { question: "[[sim events=1]]", answer: "tok1 ", stopped: false }],
    ["answer", { question: "[[sim events=3 hold=1]]", answer: "tok1 ", stopped: true }], ["clear", {}],
  ]);
});

test("nothing is asked of any other host", async t => {
  const page = await visitForeign(t);
  await ask(page, "[[sim text=echo]] ![x](https://example.com/x.png) <img src=https://example.com/y.png>");
  assert.deepEqual([...page.hosts].sort(), [site.origin, site.foreignOrigin].sort());
});

// Many filters of user content allow names on images, and those hide properties of the document.
for (const name of ["currentScript", "baseURI", "body", "createElement", "createElementNS", "querySelector", "readyState"]) {
  test(`a named image does not stand in for document.${name}`, async t => {
    const other = "http://other.example";
    const page = await visit(t, "about:blank");
    await page.route(`${other}/**`, route => route.fulfill({ status: 404 }));
    await page.goto(site.foreignPage("shop", { body: `<img name="${name}" src="${other}/x.png" data-endpoint="/myapi/v1" data-open>${site.line}` }));
    await page.waitForFunction(() => Document.prototype.querySelector.call(document, "bailian-chat"));
    const answered = page.waitForResponse(response => response.url().startsWith(`${site.origin}/myapi/v1/`) && response.request().method() === "POST");
    await page.evaluate(() => { Document.prototype.querySelector.call(document, "bailian-chat").ask("[[sim events=1]]"); });
    assert.equal((await answered).status(), 200);
    assert.deepEqual([...page.hosts].filter(host => host === other).length, 1, "only the image is fetched from there");
  });
}

// The header that browser tracing adds to each fetch of a page.
const tracing = `<script>
  const plain = window.fetch;
  window.fetch = (input, init = {}) => {
    const headers = new Headers(init.headers || (input instanceof Request ? input.headers : undefined));
    headers.set("baggage", "environment=shop");
    headers.set("sentry-trace", "0123456789abcdef0123456789abcdef-0123456789abcdef-1");
    headers.set("traceparent", "00-0123456789abcdef0123456789abcdef-0123456789abcdef-01");
    return plain(input, { ...init, headers });
  };
</script>`;

test("another site's page that adds headers is told of a service that is down", async t => {
  const page = await visitForeign(t, { head: tracing });
  await site.responder.stop();
  t.after(() => site.startResponder());
  await ask(page, "hello");
  await shows(lastTurn(page).getByRole("alert"), "The assistant failed to answer.");
});
test("another site's page may add headers to its requests", async t => {
  const page = await visitForeign(t, { head: tracing });
  assert.equal(await ask(page, "[[sim events=2]]"), "tok1 tok2");
});

