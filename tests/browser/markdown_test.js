// How the page shows the Markdown of an answer. The simulator echoes it, so it passes through the real chain.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { Site, ask, begin, lastAnswer, shows } from "./site.js";

let site, page;
before(async () => {
  site = await Site.start();
  page = await site.visit();
});
after(() => site.stop());

// The elements of the answer, without those that other tests cover.
const html = () => lastAnswer(page).evaluate(answer => {
  const copy = answer.cloneNode(true);
  for (const node of copy.querySelectorAll("*")) {
    for (const name of ["dir", "rel", "target", "tabindex", "role", "aria-label"]) node.removeAttribute(name);
  }
  for (const head of copy.querySelectorAll(".code-head")) head.replaceWith(head.firstChild.textContent);
  return copy.innerHTML;
});

async function rendered(markdown, piece = 1000) {
  await ask(page, `[[sim text=echo piece=${piece}]] ${markdown}`);
  return html();
}

const cases = {
  "paragraphs": ["one\ntwo\n\nthree", "<p>one<br>two</p><p>three</p>"],
  "emphasis": ["**a** *b* ***c*** ~~d~~ __e__ _f_ g_h_i 2 * 3 * 4", "<p><strong>a</strong> <em>b</em> <strong><em>c</em></strong> <del>d</del> <strong>e</strong> <em>f</em> g_h_i 2 * 3 * 4</p>"],
  "emphasis beside Chinese punctuation": ["**重点：**后面，这是**“引号”**吗", "<p><strong>重点：</strong>后面，这是<strong>“引号”</strong>吗</p>"],
  "emphasis that is never closed": ["**a *b", "<p>**a *b</p>"],
  "emphasis that overlaps": ["**a *b** c* **d _e** f", "<p>**a <em>b</em>* c* <strong>d _e</strong> f</p>"],
  "headings": ["# A\n## B #\n#### C\ntext", "<h3>A</h3><h4>B</h4><h6>C</h6><p>text</p>"],
  "hashes of other kinds": ["#tag\n\nC#", "<p>#tag</p><p>C#</p>"],
  "lists": ["- a\n- b\n  - c\n\n    d\n- e", "<ul><li><p>a</p></li><li><p>b</p><ul><li><p>c</p><p>d</p></li></ul></li><li><p>e</p></li></ul>"],
  "numbered lists": ["3. a\n4. b\n   ```\n   x\n   ```\n\n5. c", '<ol start="3"><li><p>a</p></li><li><p>b</p><div class="code"><pre><code>x</code></pre></div></li><li><p>c</p></li></ol>'],
  "a list and a paragraph": ["text\n- a\n\nmore", "<p>text</p><ul><li><p>a</p></li></ul><p>more</p>"],
  "tasks": ["- [ ] a\n- [x] b", "<ul><li><p>☐ a</p></li><li><p>☑ b</p></li></ul>"],
  "code": ["```js\nlet a = '<b>';\n\n  // x\n```\nafter `a  <b>` and ``a ` b``", `<div class="code">js<pre><code>let a = '&lt;b&gt;';\n\n  // x</code></pre></div><p>after <code>a  &lt;b&gt;</code> and <code>a \` b</code></p>`],
  "code that holds fences": ["~~~~\n```\nx\n```\n~~~\n~~~~\ny", '<div class="code"><pre><code>```\nx\n```\n~~~</code></pre></div><p>y</p>'],
  "code that is never closed": ["```\nx\n\n# y", '<div class="code"><pre><code>x\n\n# y</code></pre></div>'],
  "quotes": ["> a\nb\n>\n> - c\n\nd", "<blockquote><p>a<br>b</p><ul><li><p>c</p></li></ul></blockquote><p>d</p>"],
  "rules": ["a\n\n---\n* * *\nb", "<p>a</p><hr><hr><p>b</p>"],
  "tables": ["| a | b |\n|:--|--:|\n| 1 | x\\|y |\n| 2 |\n\nz", '<div class="scroll"><table><thead><tr><th scope="col">a</th><th class="end" scope="col">b</th></tr></thead><tbody><tr><td>1</td><td class="end">x|y</td></tr><tr><td>2</td></tr></tbody></table></div><p>z</p>'],
  "links of every kind": ["[a **b**](https://example.com/x_(y)?z=1 \"t\") <https://example.com/> mailto [m](mailto:a@example.com) [t](tel:+86-571-1)", '<p><a href="https://example.com/x_(y)?z=1">a <strong>b</strong></a> <a href="https://example.com/">https://example.com/</a> mailto <a href="mailto:a@example.com">m</a> <a href="tel:+86-571-1">t</a></p>'],
  "bare links": ["see https://example.com/a_b_c. (https://example.com/b) 见https://example.com/c。好", '<p>see <a href="https://example.com/a_b_c">https://example.com/a_b_c</a>. (<a href="https://example.com/b">https://example.com/b</a>) 见<a href="https://example.com/c">https://example.com/c</a>。好</p>'],
  "images, which are links": ["![cat](https://example.com/c.png)", '<p><a href="https://example.com/c.png">cat</a></p>'],
  "escapes and entities": ["\\*a\\* &lt;b&gt; &amp;amp; &#20320; &nope; \\n", "<p>*a* &lt;b&gt; &amp;amp; 你 &amp;nope; \\n</p>"],
  "line breaks": ["a<br>b", "<p>a<br>b</p>"],
  "citations by number": ["a<ref>[12]</ref>b", '<p>a<sup class="ref" data-index="12">[12]</sup>b</p>'],
  "HTML, which is text": ["<b>x</b> <script>1</script>", "<p>&lt;b&gt;x&lt;/b&gt; &lt;script&gt;1&lt;/script&gt;</p>"],
};

for (const [name, [markdown, expected]] of Object.entries(cases)) {
  test(`Markdown: ${name}`, async () => assert.equal(await rendered(markdown), expected));
}

test("an answer is the same, in whatever pieces it comes", async () => {
  for (const pieces of [Object.values(cases).slice(0, 12), Object.values(cases).slice(12)]) {
    const all = pieces.map(([markdown]) => markdown.replace("```\nx\n\n# y", "y")).join("\n\n");
    const whole = await rendered(all, 100000);
    for (const piece of [1, 7]) assert.equal(await rendered(all, piece), whole, `in pieces of ${piece}`);
    await page.reload();
    assert.equal(await html(), whole, "after a reload");
  }
});

test("code shows line by line while it comes, markup as soon as it opens", async () => {
  await site.reset();
  await begin(page, "[[sim text=echo piece=4 hold=2]] **ab cd ef** gh ij kl mn");
  await shows(lastAnswer(page), "cd");
  assert.equal(await html(), "<p><strong>ab cd</strong></p>");
  await site.release();
  await lastAnswer(page).filter({ hasText: "mn" }).waitFor();
  await begin(page, "[[sim text=echo piece=4 hold=2]] a `b cd`");
  await shows(lastAnswer(page).locator("code"), "b c");
  await site.release();
  await shows(lastAnswer(page).locator("code"), "b cd");
  await begin(page, "[[sim text=echo piece=5 hold=4]] ```py\nline 1\nline 2\nline 3\n```");
  await shows(lastAnswer(page).locator("pre"), "line 1");
  await site.release();
  await shows(lastAnswer(page).locator("pre"), "line 3");
  await lastAnswer(page).locator("xpath=..").locator(".actions").waitFor();
  assert.equal(await html(), '<div class="code">py<pre><code>line 1\nline 2\nline 3</code></pre></div>');
});

test("half a mark is not shown while the answer grows", async () => {
  await site.reset();
  await begin(page, "[[sim text=echo piece=8 hold=1]] abcde<ref>[1]</ref>");
  await shows(lastAnswer(page), "abcde");
  assert.equal(await html(), "<p>abcde</p>");
  await site.release();
  await shows(lastAnswer(page).locator("sup"), "[1]");
});

test("what is complete is drawn once, however long the answer grows", async () => {
  await site.reset();
  const paragraphs = Array.from({ length: 200 }, (_, i) => `paragraph ${i} **bold**`).join("\n\n");
  await begin(page, `[[sim text=echo piece=20 hold=4]] ${paragraphs}`);
  await shows(lastAnswer(page), "paragraph 2");
  const first = await lastAnswer(page).locator("p").first().elementHandle();
  await site.release();
  await lastAnswer(page).locator("xpath=..").locator(".actions").waitFor();
  assert.equal(await lastAnswer(page).locator("p").count(), 200);
  assert.equal(await first.evaluate((node, answer) => node === answer.querySelector("p"), await lastAnswer(page).elementHandle()), true);
});

const attacks = [
  "<script>window.hacked = 1</script>",
  "<img src=x onerror='window.hacked = 1'>",
  "<svg/onload=window.hacked=1><iframe srcdoc='<script>parent.hacked=1</script>'>",
  "[x](javascript:window.hacked=1) [y](JaVaScRiPt:window.hacked=1) [z](java\tscript:window.hacked=1) [w](&#106;avascript:window.hacked=1)",
  "[x](<javascript:window.hacked=1>) <javascript:window.hacked=1> [d](data:text/html,<script>window.hacked=1</script>) [v](vbscript:x)",
  "![x](javascript:window.hacked=1) ![x](x\" onerror=\"window.hacked=1) ![a](https://example.com/\"onerror=window.hacked=1)",
  "[x](https://example.com/\" onmouseover=\"window.hacked=1) https://example.com/\"onmouseover=window.hacked=1",
  "```\"><script>window.hacked=1</script>\n</code></pre><script>window.hacked=1</script>\n```",
  "| <img src=x onerror=window.hacked=1> | b |\n|---|---|\n| </td><script>window.hacked=1</script> | [x](javascript:window.hacked=1) |",
  "</div></template></bailian-chat><script>window.hacked=1</script><style>*{display:none}</style><!-- <b",
  "<a href='javascript:window.hacked=1'>x</a><form action=javascript:window.hacked=1><button>x</button><ref>[<script>]</ref>",
  "&lt;script&gt;window.hacked=1&lt;/script&gt; \\<script>window.hacked=1</script> &#60;script&#62;",
];
const elements = new Set("P BR STRONG EM DEL CODE PRE DIV SPAN A UL OL LI TABLE THEAD TBODY TR TH TD BLOCKQUOTE HR SUP BUTTON H3 H4 H5 H6".split(" "));
const attributes = new Set(["dir", "class", "href", "target", "rel", "tabindex", "role", "aria-label", "scope", "start", "data-index", "type"]);

test("attacks in an answer are inert, on a page without any policy", async t => {
  const shop = await site.visit(site.foreignPage("shop"));
  t.after(() => shop.context().close());
  await shop.locator("bailian-chat .launcher").click();
  for (const attack of [...attacks, attacks.join("\n\n"), attacks.join(" ")]) {
    for (const piece of [1000, 3]) {
      await ask(shop, `[[sim text=echo piece=${piece}]] ${attack}`);
      const found = await lastAnswer(shop).evaluate(answer => [...answer.querySelectorAll("*")].map(node =>
        ({ name: node.tagName, attributes: [...node.attributes].map(each => each.name), href: node.getAttribute("href"), rel: node.rel })));
      for (const node of found) {
        assert.ok(elements.has(node.name), `<${node.name}> from ${attack}`);
        for (const name of node.attributes) assert.ok(attributes.has(name), `${name}= from ${attack}`);
        if (node.href !== null) {
          assert.match(node.href, /^(https?|mailto):/, attack);
          assert.match(node.rel, /noopener/);
        }
      }
      for (const anchor of await lastAnswer(shop).locator("a").all()) await anchor.dispatchEvent("mouseover");
    }
  }
  assert.equal(await shop.evaluate(() => window.hacked), undefined);
  assert.deepEqual(shop.complaints, []);
});

test("attacks in the question, the profile, thoughts and citations are inert", async t => {
  const shop = await site.visit(site.foreignPage("shop"));
  t.after(() => shop.context().close());
  const attack = "<img src=x onerror='window.hacked = 1'>";
  await shop.route("**/chat-bot-config", route => route.fulfill({
    headers: { "Access-Control-Allow-Origin": "*" },
    json: { botStatus: attack, StartUpMessage: attack, fontSize: "16px;} *{display:none", userAvatarURL: "javascript:window.hacked=1", botImageURL: `x" onerror="window.hacked=1`,
      commonButtons: [{ buttonText: attack, buttonPrompt: attack }, null, 7, { buttonText: 5 }] },
  }));
  const event = data => `data: ${JSON.stringify(data)}\n\n`;
  await shop.route("**/chat-bot/stream", route => route.fulfill({
    headers: { "Access-Control-Allow-Origin": "*", "Access-Control-Allow-Headers": "*" }, contentType: "text/event-stream",
    body: event({ success: true, thought: attack, finished: false }) + event({ success: true, content: "a<ref>[1]</ref>", finished: false }) +
      event({ success: true, finished: true, citations: [{ index: 1, title: attack, url: "javascript:window.hacked=1" }, null, { index: attack }] }),
  }));
  await shop.locator("bailian-chat .launcher").click();
  await shop.locator("bailian-chat .suggestions button", { hasText: attack }).click();
  await lastAnswer(shop).locator("xpath=..").locator(".sources", { hasText: attack }).waitFor();
  assert.equal(await shop.locator("bailian-chat .bubble").innerText(), attack);
  assert.equal(await shop.locator("bailian-chat img[src=x]").count(), 0);
  assert.equal(await shop.locator("bailian-chat a").count(), 0);
  assert.equal(await shop.evaluate(() => window.hacked), undefined);
});

test("hostile Markdown does not hang the page", async () => {
  for (const unit of ["[", "![[", "**a ", "`", "`` ` ", "> ", "- ", "<ref>[", "[a](", "[a](b\n", "||", "*_", "~~~\n", "&#", "((", "https://a.b/((", "1. a\n   "]) {
    const prompt = `[[sim text=echo piece=1000]] x ${unit.repeat(20000 / unit.length)} end`;
    await page.evaluate(question => document.querySelector("bailian-chat").ask(question), prompt);
    await shows(lastAnswer(page), "end");
  }
});

// Each is repeated. If time grows with the square of the length, four times the text takes 16 times as long.
const hostile = {
  "blanks in a link": ["[a](", " ", "x"], "blanks in a reference": ["<ref>", " ", "x"], "blanks in a line break": ["<br", " ", "x"],
  "blanks after a fence": ["```", " ", "`"], "blanks in a heading": ["# ", " ", "\u2028"], "blanks in a list item": ["- ", " ", "\u2028"],
  "blanks in a delimiter row": ["a|b\n:-", " ", "x"], "blanks in delimiter cells": ["a|b\n", "|-       ", "x"],
  "code that begins with a blank": ["` ", "a", "`"], "backticks of each length": [n => Array.from({ length: Math.sqrt(2 * n) }, (_, i) => "`".repeat(i)).join("a")],
  "blank lines in a list item": ["- a", "\n", "  b"], "blank lines between items": ["", "- a\n\n\n"],
  "dots after an address": ["", "https://a.b/" + ".".repeat(1900) + "x "], "brackets after an address": ["", "https://a.b/" + ")".repeat(1900) + " "],
  "brackets": ["", "["], "brackets in brackets": ["", "[[a]"], "labels": ["", "[a]"], "links that stay open": ["", "[a](b"], "links with half a title": ["", "[a](b \"c"],
  "addresses that stay open": ["", "<https://a"], "addresses in addresses": ["", "https://"], "references that stay open": ["", "<ref>1"],
  "stars": ["", "*"], "words between stars": ["", "*a "], "words in stars": ["", "*a*b"], "stars and underscores": ["", "*a _b*"], "strikes": ["", "~~a "],
  "code that stays open": ["", "`a ``b "], "entities": ["", "&#"], "escapes": ["", "\\"], "hashes": ["# ", " #", "x"],
  "rules that are none": ["", "* ", "x"], "quotes": ["", "> "], "quotes of lines": ["", "> a\n"], "lists in lists": ["", "- "], "items": ["", "- a\n"],
  "kinds of items": ["", "- a\n1. b\n"], "fences that stay open": ["", "~~~\na\n"], "cells": ["", "|"], "rows": ["a|b\n-|-\n", "a|b\n"], "delimiters": ["a|b\n", "-|"],
  "lines": ["", "a\n"], "citations": ["", "<ref>[1]</ref>"],
};
for (const [name, [before, unit, after = ""]] of Object.entries(hostile)) {
  test(`the time for ${name} grows with the length only`, async () => {
    const profiler = await page.context().newCDPSession(page);
    await profiler.send("Performance.enable", { timeDomain: "threadTicks" }); // other processes do not count
    const busy = async () => (await profiler.send("Performance.getMetrics")).metrics.find(each => each.name === "ScriptDuration").value;
    // Renders an answer that this tab has stored.
    const draw = async length => {
      const answer = typeof before === "function" ? before(length) : before + unit.repeat(length / unit.length) + after;
      const start = await busy();
      await page.evaluate(text => {
        sessionStorage.setItem(`bailian-chat:${location.origin}/drawing`, JSON.stringify({ turns: [{ question: "q", answer: text, state: "done" }] }));
        const chat = document.createElement("bailian-chat");
        chat.setAttribute("endpoint", "/drawing");
        document.body.append(chat);
        chat.remove();
      }, answer);
      return await busy() - start;
    };
    try {
      await draw(1000);
      const times = [];
      for (let attempt = 0; attempt < 3; ++attempt) {
        const [short, long] = [await draw(15000), await draw(60000)];
        times.push(`${short.toFixed(3)} s, then ${long.toFixed(3)} s`);
        if (long < Math.max(0.1, 9 * short)) return;
      }
      assert.fail(times.join("; "));
    } finally {
      await profiler.detach();
    }
  });
}

test("images are shown where the page allows them", async t => {
  const shop = await site.visit(site.foreignPage("shop", { body: site.line.replace(" defer", " data-images defer") }));
  t.after(() => shop.context().close());
  await shop.route("https://example.com/**", route => route.abort());
  await shop.locator("bailian-chat .launcher").click();
  await ask(shop, "[[sim text=echo]] ![cat](https://example.com/c.png) ![x](data:image/png,x) ![y](http://example.com/y.png)");
  assert.deepEqual(await lastAnswer(shop).locator("img").evaluateAll(all => all.map(each => [each.alt, each.src])), [["cat", "https://example.com/c.png"]]);
  assert.deepEqual(await lastAnswer(shop).locator("a").evaluateAll(all => all.map(each => each.href)), ["http://example.com/y.png"]);
});
