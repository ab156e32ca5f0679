// <bailian-chat>: a chat with a Bailian application. README.md in this folder describes its use.
(() => {
"use strict";

// An element with a name, such as <img name="currentScript">, hides the document's own property of that name.
function own(name) {
  const value = Reflect.get(Document.prototype, name, document);
  return typeof value === "function" ? value.bind(document) : value;
}
const createElement = own("createElement");
const createElementNS = own("createElementNS");

// The script element that loads this file, or null.
const script = own("currentScript") instanceof HTMLScriptElement ? own("currentScript") : null;

// --- words ---

const WORDS = {
  en: {
    name: "Assistant", online: "Online", offline: "Offline", open: "Open chat", close: "Close chat", fresh: "New chat",
    greeting: "Hi! How can I help?", ask: "Ask something…", send: "Send", stop: "Stop", you: "You said", bot: "Answer",
    answering: "Answering…", thinking: "Thinking…", thought: "Thoughts", sources: "Sources", copy: "Copy", copied: "Copied",
    copyCode: "Copy code", code: "Code", table: "Table", retry: "Retry", stopped: "Stopped.", latest: "To the latest message",
    suggestions: "Suggested questions", conversation: "Conversation", wait: "Please wait {} s before you try again.",
    id: "Request id", ended: "Answer complete.",
    errors: {
      network: "The chat service cannot be reached. Check the connection and try again.",
      lost: "The connection broke before the answer was complete.",
      unreadable: "The chat service gave an answer that cannot be read.",
      invalid_request: "The chat service did not accept the question.",
      content_rejected: "The question or its answer was refused by the content check.",
      origin_not_allowed: "This site is not allowed to use the chat service.",
      not_found: "There is no chat service at this address.",
      method_not_allowed: "There is no chat service at this address.",
      too_large: "The question or the conversation is too long. Shorten it or start a new chat.",
      headers_too_large: "The browser sends too many cookies. Delete those of this site and try again.",
      rate_limited: "Too many questions at the moment.",
      overloaded: "The chat service is busy.",
      not_configured: "The chat service is not set up yet.",
      internal: "Something went wrong in the chat service.",
      upstream_auth: "The assistant refused the key of this site. Its operator has to look at it.",
      upstream_app: "The assistant was not found. The operator of this site has to look at it.",
      upstream_quota: "The quota of this site is used up. Its operator has to look at it.",
      upstream_timeout: "The assistant took too long to answer.",
      upstream_error: "The assistant failed to answer.",
      budget_used_up: "The assistant has answered all it can for now. Please come back later.",
      visitor_budget_used_up: "You have asked all you can for today. Please come back tomorrow.",
      budget_unknown: "The assistant cannot answer at the moment. Please come back later.",
      paused: "The chat is paused. Please come back later.",
      idempotency_in_progress: "This question is still being answered. Please ask it again in a moment.",
      idempotency_mismatch: "Another question was sent in the place of this one. Please ask again.",
    },
  },
  zh: {
    name: "智能助手", online: "在线", offline: "离线", open: "打开聊天", close: "关闭聊天", fresh: "新对话",
    greeting: "您好！有什么可以帮您？", ask: "请输入问题…", send: "发送", stop: "停止", you: "您说", bot: "回答",
    answering: "正在回答…", thinking: "正在思考…", thought: "思考过程", sources: "参考资料", copy: "复制", copied: "已复制",
    copyCode: "复制代码", code: "代码", table: "表格", retry: "重试", stopped: "已停止。", latest: "回到最新消息",
    suggestions: "推荐问题", conversation: "对话", wait: "请等待 {} 秒后再试。",
    id: "请求编号", ended: "回答完毕。",
    errors: {
      network: "无法连接聊天服务，请检查网络后重试。",
      lost: "连接中断，回答不完整。",
      unreadable: "聊天服务返回的内容无法识别。",
      invalid_request: "聊天服务没有接受这个问题。",
      content_rejected: "问题或回答没有通过内容安全检查。",
      origin_not_allowed: "本站未获准使用该聊天服务。",
      not_found: "这个地址没有聊天服务。",
      method_not_allowed: "这个地址没有聊天服务。",
      too_large: "问题或对话太长，请缩短，或开始新对话。",
      headers_too_large: "浏览器发送的 Cookie 太多，请清除本站的 Cookie 后重试。",
      rate_limited: "提问太频繁了。",
      overloaded: "聊天服务繁忙。",
      not_configured: "聊天服务尚未配置。",
      internal: "聊天服务内部出错。",
      upstream_auth: "助手拒绝了本站的密钥，请联系网站管理员。",
      upstream_app: "没有找到助手应用，请联系网站管理员。",
      upstream_quota: "本站的额度已用完，请联系网站管理员。",
      upstream_timeout: "助手太久没有回答。",
      upstream_error: "助手没能回答。",
      budget_used_up: "助手目前的回答额度已用完，请稍后再来。",
      visitor_budget_used_up: "您今天的提问额度已用完，请明天再来。",
      budget_unknown: "助手暂时无法回答，请稍后再来。",
      paused: "聊天已暂停，请稍后再来。",
      idempotency_in_progress: "这个问题还在回答中，请稍后再问。",
      idempotency_mismatch: "这个问题与之前发送的不一致，请重新提问。",
    },
  },
};

// --- DOM ---

function h(tag, attributes, ...children) {
  const element = createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value != null) element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

function icon(path) {
  const svg = createElementNS("http://www.w3.org/2000/svg", "svg");
  const shape = createElementNS("http://www.w3.org/2000/svg", "path");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true");
  shape.setAttribute("d", path);
  svg.append(shape);
  return svg;
}

const ICONS = {
  chat: "M5 17.5 4 21l4-1.3c1.2.5 2.6.8 4 .8 5 0 9-3.6 9-8s-4-8-9-8-9 3.6-9 8c0 1.9.7 3.6 2 5Z",
  close: "m6 6 12 12M18 6 6 18",
  fresh: "M12 5v14M5 12h14",
  send: "M12 19V5m-6 6 6-6 6 6",
  stop: "M7 7h10v10H7z",
  down: "M12 5v14m-6-6 6 6 6-6",
  user: "M12 12a4 4 0 1 0 0-8 4 4 0 0 0 0 8Zm-8 9a8 8 0 0 1 16 0",
  bot: "M12 8V4M5 8h14v11H5zM9.5 13v1.5M14.5 13v1.5M2.5 12v3M21.5 12v3",
  alert: "M12 8v5m0 3v.1M12 3 2.5 20h19z",
};

function avatar(url, fallback) {
  const drawn = h("span", { class: "avatar", "aria-hidden": "true" }, icon(ICONS[fallback]));
  const source = url && safeUrl(url, /^(https?|data):$/);
  if (!source) return drawn;
  const picture = h("img", { class: "avatar", alt: "", src: source, referrerpolicy: "no-referrer" });
  picture.addEventListener("error", () => picture.replaceWith(drawn));
  return picture;
}

// navigator.clipboard is missing on plain http.
async function copy(text, root) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = h("textarea", { class: "hidden" });
    area.value = text;
    root.append(area);
    area.select();
    own("execCommand")("copy");
    area.remove();
  }
}

// --- the service ---

class ChatError extends Error {
  // `mayHelpWithoutStream`: a proxy answered, not the service, so asking for the whole answer is not billed twice.
  constructor(code, { message = "", requestId = "", wait = 0, mayHelpWithoutStream = false } = {}) {
    super(message || code);
    Object.assign(this, { code, requestId, wait, mayHelpWithoutStream });
  }
}

// The body as JSON.
async function readJson(response) {
  const requestId = response.headers.get("X-Request-Id") || "";
  try {
    return await response.json() || {};
  } catch (error) {
    if (error.name === "AbortError") throw error;
    if (!(error instanceof SyntaxError)) throw new ChatError("lost", { requestId });
    throw new ChatError("unreadable", { requestId, mayHelpWithoutStream: !/json/i.test(response.headers.get("Content-Type")) });
  }
}

const kDefaultWait = { rate_limited: 10, overloaded: 5 }; // seconds, if Retry-After cannot be read
// Waiting a little does not help.
const kRefusals = ["budget_used_up", "visitor_budget_used_up", "budget_unknown", "paused"];
const kPaused = "The chat is paused"; // the message of the service if its owner has given none

// The id of a question: if it arrives twice, it is asked once. crypto.randomUUID is missing on plain http.
const newKey = () => [...crypto.getRandomValues(new Uint8Array(16))].map(byte => byte.toString(16).padStart(2, "0")).join("");

// The data of each server-sent event. A chunk may end anywhere, even within a character or between CR and LF.
async function readEvents(response, onData) {
  let unfinished = "", data = [], endsInCr = false;
  const take = text => {
    // An LF at the start belongs to the CR that ended the last chunk.
    const lines = (endsInCr && text[0] === "\n" ? text.slice(1) : text).split(/\r\n|\n|\r/);
    if (text) endsInCr = text.endsWith("\r");
    lines[0] = unfinished + lines[0];
    unfinished = lines.pop();
    for (const line of lines) {
      if (line === "") {
        if (data.length) onData(data.join("\n"));
        data = [];
      } else if (line.startsWith("data:")) {
        data.push(line.slice(line[5] === " " ? 6 : 5));
      }
    }
  };
  // A browser that cannot read streams gets all events at the end.
  if (!response.body) return take(await response.text());
  const reader = response.body.getReader();
  const decoder = new TextDecoder();
  try {
    for (let done = false, value; !done;) {
      ({ value, done } = await reader.read());
      take(done ? decoder.decode() : decoder.decode(value, { stream: true }));
    }
  } catch (error) {
    // Cancels a stream that is no longer read.
    reader.cancel().catch(() => {});
    throw error;
  }
}

function waitOf(code, response) {
  if (kRefusals.includes(code)) return 0;
  const seconds = Number(response && response.headers.get("Retry-After"));
  return seconds > 0 ? Math.min(Math.ceil(seconds), 600) : kDefaultWait[code] || 0;
}

class Service {
  constructor(endpoint) {
    this.endpoint = endpoint.replace(/\/+$/, "");
  }

  async profile() {
    const response = await fetch(this.endpoint + "/chat-bot-config");
    if (!response.ok) throw new Error(String(response.status));
    return response.json();
  }

  async post(path, body, headers, signal) {
    let response;
    try {
      response = await fetch(this.endpoint + path, {
        method: "POST", headers: { "Content-Type": "application/json", ...headers }, body: JSON.stringify(body), signal,
      });
    } catch (error) {
      throw error.name === "AbortError" ? error : new ChatError("network");
    }
    if (response.ok) return response;
    const byStatus = {
      404: "not_found", 405: "method_not_allowed", 413: "too_large", 429: "rate_limited", 503: "overloaded", 504: "upstream_timeout",
    };
    let isPage = false;
    const told = await readJson(response).catch(error => {
      if (error.code !== "unreadable") throw error;
      isPage = error.mayHelpWithoutStream;
      return {};
    });
    const code = typeof told.code === "string" ? told.code : byStatus[response.status] || "unreadable";
    throw new ChatError(code, {
      message: told.message, requestId: told.request_id || response.headers.get("X-Request-Id") || "", wait: waitOf(code, response),
      mayHelpWithoutStream: (isPage && code === "unreadable") || response.status === 404 || response.status === 405,
    });
  }

  // Resolves with the last event, or the whole answer: { citations, request_id, usage, ... }. `fresh`: an answer that the
  // service has kept will not do.
  async ask(body, fresh, signal, onText, onThought) {
    const headers = { "Idempotency-Key": newKey(), ...(fresh && { "Cache-Control": "no-cache" }) };
    let answer;
    try {
      const response = await this.post("/chat-bot/stream", body, headers, signal);
      if (isEventStream(response)) return await this.readStream(response, onText, onThought);
      answer = await this.wholeAnswer(response);
    } catch (error) {
      if (!error.mayHelpWithoutStream) throw error;
      answer = await this.wholeAnswer(await this.post("/chat-bot", body, headers, signal));
    }
    if (answer.thought) onThought(String(answer.thought));
    onText(String(answer.result || ""));
    return answer;
  }

  async wholeAnswer(response) {
    const answer = await readJson(response);
    if (!answer.success) throw this.told(answer);
    return answer;
  }

  readStream(response, onText, onThought) {
    const requestId = response.headers.get("X-Request-Id") || "";
    return new Promise((resolve, reject) => {
      readEvents(response, data => {
        const event = JSON.parse(data);
        if (!event.success) reject(this.told(event));
        else if (event.finished) resolve(event);
        else if (event.content) onText(event.content);
        else if (event.thought) onThought(event.thought);
      }).then(() => reject(new ChatError("lost", { requestId })), error => {
        if (error.name === "AbortError") reject(error);
        else reject(new ChatError(error instanceof SyntaxError ? "unreadable" : "lost", { requestId }));
      });
    });
  }

  told(event) {
    const code = event.code || "unreadable";
    return new ChatError(code, { message: event.message, requestId: event.request_id, wait: waitOf(code) });
  }
}

const isEventStream = response => /^text\/event-stream/i.test(response.headers.get("Content-Type") || "");

// --- Markdown ---

function safeUrl(text, protocols = /^(https?|mailto|tel):$/) {
  try {
    const url = new URL(text, own("baseURI"));
    return protocols.test(url.protocol) ? url.href : null;
  } catch {
    return null;
  }
}

function link(url, ...children) {
  return h("a", { href: url, target: "_blank", rel: "noopener noreferrer nofollow" }, ...children);
}

// Answers are hostile. To avoid quadratic time, no two adjacent repetitions match the same character, and every
// repetition that may fail late is bounded.
const INLINE = new RegExp([
  /\\([!-/:-@[-`{-~])/,                                                  // 1 an escape
  /(`+)/,                                                                // 2 code
  /<ref>\s{0,9}\[?(\d{1,4})\]?\s{0,9}<\/ref>/,                           // 3 a citation
  /(<br\s{0,9}\/?>|\n)/,                                                 // 4
  /<((?:https?:\/\/|mailto:)[^\s<>]{1,2000})>/,                          // 5
  /(?<![\w/])(https?:\/\/[^\s<>"`|\\，。；：！？、（）【】《》“”‘’「」]{1,2000})/, // 6
  /(!?)\[((?:[^[\]\\]|\\.|\[[^[\]]{0,200}\]){0,1000})\]\(\s{0,9}(?:<([^<>\n]{0,2000})>|((?:[^\s<>()]|\([^\s<>()]{0,200}\)){0,2000}))(?:\s{1,9}(?:"[^"\n]{0,500}"|'[^'\n]{0,500}'))?\s{0,9}\)/, // 7-10
  /(\*{1,3}|_{1,3}|~~)/,                                                 // 11
  /&(#\d{1,7}|#x[\da-f]{1,6}|\w{2,8});/,                                 // 12
].map(part => part.source).join("|"), "gi");

const ENTITIES = { amp: "&", lt: "<", gt: ">", quot: '"', apos: "'", nbsp: "\u00a0", copy: "©", hellip: "…", mdash: "—", ndash: "–" };

function entity(name) {
  if (name[0] !== "#") return ENTITIES[name.toLowerCase()];
  const code = /^#x/i.test(name) ? parseInt(name.slice(2), 16) : parseInt(name.slice(1), 10);
  return code > 31 && code < 0x110000 && (code < 0xd800 || code > 0xdfff) ? String.fromCodePoint(code) : undefined;
}

// Removes the punctuation that follows an address in a sentence.
function trimAddress(address) {
  let end = address.length, unopened = 0;
  while (".,;:!?'*_~".includes(address[end - 1])) --end;
  for (let i = 0; i < end; ++i) unopened += address[i] === ")" ? 1 : address[i] === "(" ? -1 : 0;
  for (; unopened > 0 && address[end - 1] === ")"; --unopened) --end;
  return address.slice(0, end);
}

// The positions of the runs of backticks, by length, last one first.
function backticksOf(text) {
  const runs = new Map();
  for (const { 0: run, index } of text.matchAll(/`+/g)) {
    if (!runs.has(run.length)) runs.set(run.length, []);
    runs.get(run.length).push(index);
  }
  for (const begins of runs.values()) begins.reverse();
  return runs;
}

const WORD = /[\p{L}\p{N}]/u;
const kMaxDepth = 8;
const ELEMENT_OF = { "*": "em", _: "em", "**": "strong", __: "strong", "~~": "del" };

// Appends the inline content of `text`. `open`: the text is incomplete, so open markup counts as closed.
function inlines(text, parent, options, open, depth = 0) {
  const frames = [{ node: parent, mark: "" }];
  const top = () => frames[frames.length - 1];
  let held = ""; // text that is not in the page yet, for one node
  const flush = () => {
    if (held) top().node.append(held);
    held = "";
  };
  const put = what => {
    if (typeof what === "string") {
      held += what;
    } else {
      flush();
      top().node.append(what);
    }
  };
  let backticks;
  // Elements that were never closed become text.
  const flatten = to => {
    flush();
    while (frames.length > to) {
      const { node, mark } = frames.pop();
      node.before(mark);
      while (node.firstChild) node.before(node.firstChild);
      node.remove();
    }
  };
  let at = 0;
  const pattern = new RegExp(INLINE);
  for (let match; (match = pattern.exec(text));) {
    const [all, escaped, ticks, cited, newline, angled, bare, bang, label, wrapped, plain, marks, named] = match;
    if (match.index > at) put(text.slice(at, match.index));
    at = match.index + all.length;
    if (escaped) {
      put(escaped);
    } else if (ticks) {
      backticks = backticks || backticksOf(text);
      const closers = backticks.get(ticks.length) || [];
      while (closers.length && closers[closers.length - 1] < at) closers.pop();
      let end = closers.length ? closers[closers.length - 1] : -1;
      if (end < 0 && open && text.length - at < 100) end = text.length;
      if (end < 0) {
        put(ticks);
        continue;
      }
      const code = text.slice(at, end).replace(/\n/g, " ");
      put(h("code", { dir: "ltr" }, code.startsWith(" ") && code.endsWith(" ") && !isBlank(code) ? code.slice(1, -1) : code));
      pattern.lastIndex = at = end + ticks.length;
    } else if (cited) {
      put(h("sup", { class: "ref", "data-index": cited }, `[${cited}]`));
    } else if (newline) {
      put(h("br"));
    } else if (angled) {
      const url = safeUrl(angled);
      put(url ? link(url, angled) : all);
    } else if (bare) {
      const address = trimAddress(bare);
      const url = safeUrl(address);
      put(url ? link(url, address) : address);
      pattern.lastIndex = at = match.index + address.length;
    } else if (label !== undefined) {
      const url = safeUrl(wrapped !== undefined ? wrapped : plain);
      if (bang && url && options.images && /^https:/.test(url)) {
        put(h("img", { src: url, alt: label, loading: "lazy", referrerpolicy: "no-referrer" }));
      } else if (depth < kMaxDepth) {
        const node = url ? link(url) : h("span");
        inlines(label || url || "", node, options, false, depth + 1);
        put(node);
      } else {
        put(label);
      }
    } else if (marks) {
      mark(marks, text[match.index - 1] || " ", text[at] || " ");
    } else {
      put(entity(named) || all);
    }
  }
  if (at < text.length) put(text.slice(at));
  flush();
  if (!open) flatten(1);
  else while (frames.length > 1) if (frames.pop().node.childNodes.length === 0) top().node.lastChild.remove();

  function mark(run, before, after) {
    const inWord = run[0] === "_" && WORD.test(before) && WORD.test(after);
    let left = run;
    if (/\S/.test(before) && !inWord) {
      for (let i = frames.length - 1; i > 0 && left; --i) {
        if (!left.startsWith(frames[i].mark)) continue;
        flatten(i + 1);
        if (!frames[i].node.childNodes.length) continue;
        left = left.slice(frames.pop().mark.length);
        i = frames.length;
      }
    }
    while (left && /\S/.test(after) && !inWord && frames.length <= kMaxDepth) {
      const one = left.length > 1 ? left.slice(0, 2) : left;
      const node = h(ELEMENT_OF[one]);
      put(node);
      frames.push({ node, mark: one });
      left = left.slice(one.length);
    }
    if (left) put(left);
  }
}

const FENCE = /^( *)(`{3,}|~{3,})([^`\n]*)$/;
const HEADING = /^ {0,3}(#{1,6})(?:[ \t]+(.*))?$/s;
const RULE = /^ {0,3}(?:(?:\*[ \t]*){3,}|(?:-[ \t]*){3,}|(?:_[ \t]*){3,})$/;
const QUOTE = /^ {0,3}>/;
const ITEM = /^( *)([-*+]|\d{1,9}[.)])(?:([ \t]+)(.*)|)$/s;
const DELIMITERS = /^(?: {0,3}\|)?[ \t]*:?-+:?[ \t]*(?:\|[ \t]*:?-+:?[ \t]*)*(?:\|[ \t]*)?$/;
const isBlank = line => /^\s*$/.test(line);
const skipBlank = (lines, i) => {
  while (i < lines.length && isBlank(lines[i])) ++i;
  return i;
};
const indentOf = line => /^ */.exec(line)[0].length;
const isItem = line => ITEM.test(line) && !RULE.test(line);
const closes = (line, fence) => indentOf(line) < 4 && line.trim().length >= fence.length && line.trim() === fence[0].repeat(line.trim().length);
const isTable = (line, next) => line.includes("|") && next !== undefined && next.includes("-") && (next.includes("|") || next.includes(":")) && DELIMITERS.test(next);
const startsBlock = line => FENCE.test(line) || HEADING.test(line) || RULE.test(line) || QUOTE.test(line) || ITEM.test(line);

function codeBlock(language, options) {
  const text = new Text();
  const button = h("button", { type: "button", class: "quiet", "aria-label": options.words.copyCode }, options.words.copy);
  button.addEventListener("click", () => options.copy(text.data, button));
  const block = h("div", { class: "code", dir: "ltr" },
    h("div", { class: "code-head" }, h("span", null, language), button),
    h("pre", { tabindex: "0", role: "group", "aria-label": `${options.words.code} ${language}`.trim() }, h("code", null, text)));
  return { block, text };
}

function cellsOf(row) {
  const cells = row.trim().replace(/^\|/, "").split(/(?<!\\)\|/);
  if (cells.length > 1 && isBlank(cells[cells.length - 1])) cells.pop();
  return cells.map(cell => cell.trim().replace(/\\\|/g, "|"));
}

function table(rows, parent, options, open) {
  const sides = cellsOf(rows[1]).map(cell => cell.endsWith(":") ? (cell.startsWith(":") ? "center" : "end") : null);
  const appendRow = (part, row, tag, isOpen) => {
    const line = h("tr");
    cellsOf(row).slice(0, sides.length).forEach((text, column) => {
      const cell = h(tag, { class: sides[column], scope: tag === "th" ? "col" : null });
      inlines(text, cell, options, isOpen);
      line.append(cell);
    });
    part.append(line);
  };
  const head = h("thead"), body = h("tbody");
  appendRow(head, rows[0], "th", false);
  for (let i = 2; i < rows.length; ++i) appendRow(body, rows[i], "td", open && i === rows.length - 1);
  const all = h("table", null, head, body);
  all.dir = "auto";
  parent.append(h("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": options.words.table }, all));
}

// Appends the blocks of `lines`; `open` as for inlines. The outermost blocks get their direction from their first
// words. A nested `dir` would hide those words, so there CSS does the same line by line. It is set after a block
// is filled, because Chromium checks all children of an element with `dir=auto` whenever one is added.
function blocks(lines, parent, options, open, depth = 0) {
  const append = node => {
    if (!depth) node.dir = "auto";
    parent.append(node);
  };
  const ends = i => open && i >= lines.length;
  for (let i = 0; i < lines.length;) {
    const line = lines[i];
    if (isBlank(line)) {
      ++i;
      continue;
    }
    let match;
    if ((match = FENCE.exec(line))) {
      const [, indent, fence, info] = match;
      const { block, text } = codeBlock(info.trim().split(/\s/)[0], options);
      const start = ++i;
      while (i < lines.length && !closes(lines[i], fence)) ++i;
      const strip = new RegExp(`^ {0,${Math.min(indent.length, 99)}}`);
      text.data = lines.slice(start, i++).map(each => each.replace(strip, "")).join("\n");
      parent.append(block);
    } else if ((match = HEADING.exec(line))) {
      const node = h("h" + Math.min(match[1].length + 2, 6));
      inlines((match[2] || "").trim().replace(/(^|[ \t])#+$/, ""), node, options, ends(++i));
      append(node);
    } else if (RULE.test(line)) {
      parent.append(h("hr"));
      ++i;
    } else if (QUOTE.test(line) && depth < kMaxDepth) {
      const start = i;
      while (i < lines.length && !isBlank(lines[i]) && (QUOTE.test(lines[i]) || !startsBlock(lines[i]))) ++i;
      const node = h("blockquote");
      blocks(lines.slice(start, i).map(each => each.replace(/^ {0,3}> ?/, "")), node, options, ends(i), depth + 1);
      append(node);
    } else if (isItem(line) && depth < kMaxDepth) {
      i = list(lines, i, append, options, open, depth);
    } else if (isTable(line, lines[i + 1])) {
      const start = i;
      i += 2;
      while (i < lines.length && !isBlank(lines[i]) && lines[i].includes("|")) ++i;
      table(lines.slice(start, i), parent, options, ends(i));
    } else {
      const start = i++;
      while (i < lines.length && !isBlank(lines[i]) && (depth >= kMaxDepth || !startsBlock(lines[i])) && !isTable(lines[i], lines[i + 1])) ++i;
      const node = h("p");
      inlines(lines.slice(start, i).map(each => each.trim()).join("\n"), node, options, ends(i));
      append(node);
    }
  }
}

function list(lines, i, append, options, open, depth) {
  const [, indent, marker] = ITEM.exec(lines[i]);
  const isOrdered = text => /\d/.test(text);
  const ordered = isOrdered(marker);
  const node = h(ordered ? "ol" : "ul", { start: ordered && parseInt(marker, 10) !== 1 ? parseInt(marker, 10) : null });
  const isSibling = line => {
    const match = ITEM.exec(line);
    return match && !RULE.test(line) && match[1].length < indent.length + 2 && isOrdered(match[2]) === ordered;
  };
  while (i < lines.length && isSibling(lines[i])) {
    const [, before, sign, gap = " ", first = ""] = ITEM.exec(lines[i]);
    const offset = before.length + sign.length + (gap.length > 4 ? 1 : gap.length);
    const own = [first.replace(/^\[( |x)\] /i, (_, done) => (done === " " ? "☐ " : "☑ "))];
    let fence = (FENCE.exec(first) || [])[2];
    let next = 0; // the line after the blank ones at i
    for (++i; i < lines.length; ++i) {
      const line = lines[i];
      const inside = indentOf(line) >= before.length + 2;
      if (isBlank(line)) {
        if (next <= i) next = skipBlank(lines, i);
        if (next === lines.length || indentOf(lines[next]) < before.length + 2) break;
      } else if (!fence && !inside && (startsBlock(line) || isBlank(lines[i - 1]))) {
        break;
      }
      const text = line.slice(Math.min(indentOf(line), offset));
      own.push(text);
      fence = fence ? (closes(text, fence) ? null : fence) : (FENCE.exec(text) || [])[2];
    }
    next = skipBlank(lines, i);
    if (next < lines.length && isSibling(lines[next])) i = next;
    const item = h("li");
    blocks(own, item, options, open && i >= lines.length, depth + 1);
    node.append(item);
  }
  append(node);
  return i;
}

// Renders an answer while it grows. Complete blocks stay in the page; only the last block is rendered again, and of a
// code block only the new text is added.
class MarkdownStream {
  constructor(root, options) {
    Object.assign(this, { root, options, tail: "", scanned: 0, fence: null, kind: "text", afterBlank: true, drawn: [], code: null });
  }

  push(text) {
    this.tail += text;
  }

  render(last) {
    this.settle();
    if (!last && this.kind === "fence" && this.fence) return this.growCode();
    this.clear();
    if (!this.tail) return;
    const text = last ? this.tail : this.tail.replace(/<(?:r|re|ref(?:>[^<]{0,8}(?:<(?:\/(?:r(?:e(?:f)?)?)?)?)?)?)?$/i, "");
    this.drawn = this.make(text, !last);
  }

  make(text, open) {
    const fragment = new DocumentFragment();
    blocks(text.replace(/\t/g, "    ").split(/\r\n|\n|\r/), fragment, this.options, open);
    const nodes = [...fragment.childNodes];
    this.root.append(fragment);
    return nodes;
  }

  clear() {
    for (const node of this.drawn) node.remove();
    this.drawn = [];
    this.code = null;
  }

  growCode() {
    const start = this.tail.indexOf("\n") + 1;
    if (!this.code) {
      this.clear();
      const language = FENCE.exec(this.tail.slice(0, start - 1).replace(/\r$/, ""))[3].trim().split(/\s/)[0];
      const { block, text } = codeBlock(language, this.options);
      this.code = { text, at: start };
      this.root.append(block);
      this.drawn = [block];
    }
    // The last line may become the closing fence; then the line end before it is not part of the code.
    const end = this.tail.lastIndexOf("\n");
    if (end > this.code.at) {
      this.code.text.appendData(this.tail.slice(this.code.at, end));
      this.code.at = end;
    }
  }

  // Renders the complete blocks for the last time.
  settle() {
    let boundary = 0;
    for (let end; (end = this.tail.indexOf("\n", this.scanned)) >= 0; this.scanned = end + 1) {
      const line = this.tail.slice(this.scanned, end).replace(/\r$/, "");
      if (this.fence) {
        if (!closes(line.trimStart(), this.fence)) continue;
        this.fence = null;
        if (this.kind === "fence") {
          boundary = end + 1;
          this.kind = "text";
        }
        continue;
      }
      if (isBlank(line)) {
        this.afterBlank = true;
        continue;
      }
      const [, , fence] = FENCE.exec(line) || [];
      const outside = indentOf(line) < 2;
      const continues = this.kind === "list" && isItem(line);
      if (outside && ((this.afterBlank && !continues) || fence)) {
        boundary = this.scanned;
        this.kind = fence ? "fence" : "text";
      }
      if (outside && isItem(line)) this.kind = "list";
      this.fence = fence || null;
      this.afterBlank = false;
    }
    if (!boundary) return;
    this.clear();
    this.make(this.tail.slice(0, boundary), false);
    this.tail = this.tail.slice(boundary);
    this.scanned -= boundary;
  }
}

// --- style ---

const DARK = `
  --accent: var(--bailian-accent, #7c9cff); --on-accent: var(--bailian-on-accent, #0d1326);
  --background: var(--bailian-background, #16181d); --surface: var(--bailian-surface, #22252c);
  --text: var(--bailian-text, #e8eaee); --muted: var(--bailian-muted, #a2a8b4); --border: var(--bailian-border, #343842);
  --error: var(--bailian-error, #ff9a94); --shadow: 0 12px 40px #0009; color-scheme: dark;`;
const STYLE = `
:host { all: initial !important; display: block !important; width: 100% !important; height: 100% !important; min-height: 0 !important; }
:host([floating]) { position: fixed !important; inset: auto 0 0 auto !important; width: 0 !important; height: 0 !important;
  z-index: var(--bailian-z-index, 2147483000) !important; }
:host([hidden]) { display: none !important; }
* { box-sizing: border-box; }
[hidden] { display: none !important; }
.root {
  --accent: var(--bailian-accent, #2b5fd9); --on-accent: var(--bailian-on-accent, #fff);
  --background: var(--bailian-background, #fff); --surface: var(--bailian-surface, #f2f4f7);
  --text: var(--bailian-text, #1b1f27); --muted: var(--bailian-muted, #5b6371); --border: var(--bailian-border, #dfe3e9);
  --error: var(--bailian-error, #b3261e); --radius: var(--bailian-radius, 16px); --shadow: 0 12px 40px #1b1f2733;
  color-scheme: light; height: 100%; direction: ltr; text-align: start; color: var(--text);
  font: 400 var(--bailian-font-size, var(--size, 16px))/1.6 var(--bailian-font, system-ui, -apple-system, "Segoe UI", Roboto,
    "PingFang SC", "Microsoft YaHei", "Noto Sans CJK SC", "Noto Sans", sans-serif);
  -webkit-text-size-adjust: 100%; -webkit-tap-highlight-color: transparent;
}
@media (prefers-color-scheme: dark) { .root:not([data-theme=light]) { ${DARK} } }
.root[data-theme=dark] { ${DARK} }
button, textarea { font: inherit; color: inherit; margin: 0; }
button { border: 0; padding: 0; background: none; cursor: pointer; border-radius: 8px; }
button:disabled { cursor: default; }
svg { width: 20px; height: 20px; fill: none; stroke: currentColor; stroke-width: 2; stroke-linecap: round; stroke-linejoin: round; }
:focus { outline: none; }
:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
.hidden { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }

.launcher { position: fixed; inset: auto var(--bailian-offset, 20px) calc(var(--bailian-offset, 20px) + env(safe-area-inset-bottom)) auto;
  width: 56px; height: 56px; border-radius: 50%; display: grid; place-items: center; background: var(--accent); color: var(--on-accent);
  box-shadow: 0 4px 16px #0004; transition: transform .15s; }
.launcher:hover { transform: scale(1.05); }
.launcher svg { width: 26px; height: 26px; }
.left .launcher { inset: auto auto calc(var(--bailian-offset, 20px) + env(safe-area-inset-bottom)) var(--bailian-offset, 20px); }

.panel { position: relative; display: flex; flex-direction: column; height: 100%; min-height: 0; overflow: hidden; background: var(--background); }
.floating .panel { position: fixed; inset: auto var(--bailian-offset, 20px) calc(var(--bailian-offset, 20px) + 68px) auto;
  width: min(var(--bailian-width, 400px), calc(100vw - 2 * var(--bailian-offset, 20px)));
  height: min(var(--bailian-height, 640px), calc(100dvh - 2 * var(--bailian-offset, 20px) - 68px));
  border: 1px solid var(--border); border-radius: var(--radius); box-shadow: var(--shadow); animation: rise .18s ease-out; }
.left .panel { inset: auto auto calc(var(--bailian-offset, 20px) + 68px) var(--bailian-offset, 20px); }
@keyframes rise { from { opacity: 0; transform: translateY(12px); } }

.head { display: flex; align-items: center; gap: 10px; padding: 10px 12px 10px 16px; border-bottom: 1px solid var(--border); }
.head .title { flex: 1; min-width: 0; line-height: 1.25; }
.name { margin: 0; font-size: 1em; font-weight: 600; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.status { font-size: .8em; color: var(--muted); display: flex; align-items: center; gap: 6px; min-height: 1.25em; }
.status[data-online]::before { content: ""; width: 8px; height: 8px; border-radius: 50%; background: #8a93a1; }
.status[data-online=true]::before { background: #1f9d55; }
.tool { width: 40px; height: 40px; display: grid; place-items: center; color: var(--muted); }
.tool:hover { background: var(--surface); color: var(--text); }
.avatar { flex: none; width: 32px; height: 32px; border-radius: 50%; object-fit: cover; }
span.avatar { display: grid; place-items: center; background: var(--surface); color: var(--muted); }
span.avatar svg { width: 18px; height: 18px; }

.log { flex: 1; min-height: 0; overflow-y: auto; overscroll-behavior: contain; padding: 16px; scrollbar-width: thin; scrollbar-color: var(--border) transparent; }
.log:focus-visible { outline-offset: -3px; }
.message { display: flex; gap: 10px; margin: 0 0 16px; }
.turn:last-child > .bot { margin: 0; }
.message > .body { min-width: 0; max-width: 100%; }
.user { flex-direction: row-reverse; }
.user .bubble { max-width: 100%; padding: 8px 14px; border: 1px solid transparent; border-radius: 14px 14px 4px 14px; background: var(--accent); color: var(--on-accent);
  white-space: pre-wrap; overflow-wrap: anywhere; }
.user .body { max-width: 85%; }
.bot .body { flex: 1; padding-top: 3px; }
li, li p, blockquote p, th, td { unicode-bidi: plaintext; }
.answer { overflow-wrap: anywhere; }
.answer > :first-child { margin-top: 0; }
.answer > :last-child { margin-bottom: 0; }
p, ul, ol, pre, blockquote, table, .code, .scroll, h3, h4, h5, h6 { margin: 0 0 .7em; }
h3, h4, h5, h6 { line-height: 1.3; margin-top: 1em; font-size: 1em; font-weight: 650; }
h3 { font-size: 1.2em; }
h4 { font-size: 1.08em; }
ul, ol { padding-inline-start: 1.5em; }
li { margin: .2em 0; }
li > p { margin: 0; }
li > ul, li > ol { margin: .2em 0; }
hr { border: 0; border-top: 1px solid var(--border); margin: 1em 0; }
blockquote { border-inline-start: 3px solid var(--border); padding-inline-start: .8em; color: var(--muted); }
blockquote > :last-child { margin-bottom: 0; }
a { color: var(--accent); text-decoration: underline; text-underline-offset: 2px; }
code { font: .9em/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, "Noto Sans Mono", monospace; }
:not(pre) > code { padding: .1em .35em; border-radius: 5px; background: var(--surface); }
.code { border: 1px solid var(--border); border-radius: 10px; overflow: hidden; background: var(--surface); }
.code-head { display: flex; justify-content: space-between; align-items: center; padding: 2px 4px 2px 12px; border-bottom: 1px solid var(--border); font-size: .8em; color: var(--muted); }
pre { margin: 0; padding: 10px 12px; overflow-x: auto; text-align: left; }
pre:focus-visible, .scroll:focus-visible { outline-offset: -2px; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; margin: 0; font-size: .95em; }
th, td { border: 1px solid var(--border); padding: .35em .7em; text-align: start; overflow-wrap: normal; }
th { background: var(--surface); font-weight: 600; }
.center { text-align: center; }
.end { text-align: end; }
img { max-width: 100%; border-radius: 8px; }
.ref { font-size: .75em; line-height: 0; }
.ref a { text-decoration: none; }

details { margin: 0 0 .7em; font-size: .9em; color: var(--muted); }
summary { cursor: pointer; width: fit-content; border-radius: 6px; }
.thought { margin-top: .4em; padding-inline-start: .8em; border-inline-start: 2px solid var(--border); white-space: pre-wrap; overflow-wrap: anywhere; max-height: 16em; overflow-y: auto; }
.sources { margin-top: .8em; font-size: .85em; color: var(--muted); }
.sources ul { list-style: none; padding: 0; margin: .2em 0 0; }
.dots { display: inline-flex; gap: 5px; padding: .55em 0; }
.dots i { width: 7px; height: 7px; border-radius: 50%; background: var(--muted); animation: blink 1.2s infinite; }
.dots i:nth-child(2) { animation-delay: .2s; }
.dots i:nth-child(3) { animation-delay: .4s; }
@keyframes blink { 0%, 60%, 100% { opacity: .25; } 30% { opacity: 1; } }
.note { margin-top: .5em; font-size: .85em; color: var(--muted); }
.fault { display: flex; gap: 8px; margin-top: .5em; padding: 8px 12px; border: 1px solid var(--error); border-radius: 10px; color: var(--error); font-size: .92em; }
.fault svg { flex: none; margin-top: 2px; }
.fault div { min-width: 0; overflow-wrap: anywhere; }
.fault small { display: block; font-size: .85em; color: var(--muted); }
.actions { display: flex; gap: 4px; margin: 6px 0 0 -8px; }
.quiet { padding: 4px 8px; font-size: .82em; color: var(--muted); min-height: 28px; }
.code-head .quiet { font-size: 1em; }
.turn:not(:last-child) .retry { display: none; }
.quiet:hover:not(:disabled) { background: var(--surface); color: var(--text); }
.suggestions { display: flex; flex-wrap: wrap; gap: 8px; padding: 0 0 0 42px; margin: 0; list-style: none; }
.suggestions li { margin: 0; }
.suggestions button { padding: 6px 14px; border: 1px solid var(--border); border-radius: 18px; font-size: .92em; text-align: start; }
.suggestions button:hover { border-color: var(--accent); color: var(--accent); }
.latest { position: absolute; left: calc(50% - 18px); bottom: calc(100% + 8px); width: 36px; height: 36px; border-radius: 50%; display: grid; place-items: center;
  background: var(--background); border: 1px solid var(--border); box-shadow: 0 2px 8px #0003; }

form { position: relative; display: flex; align-items: flex-end; gap: 8px; margin: 0 12px calc(12px + env(safe-area-inset-bottom)); padding: 5px 5px 5px 14px;
  border: 1px solid var(--border); border-radius: 24px; background: var(--background); }
form:focus-within { border-color: var(--accent); box-shadow: 0 0 0 1px var(--accent); }
textarea { flex: 1; min-width: 0; resize: none; border: 0; padding: 5px 0; background: none; font-size: max(1em, 16px); line-height: 1.5; max-height: 8.5em; overflow-y: auto; }
textarea:focus-visible { outline: none; }
textarea::placeholder { color: var(--muted); opacity: 1; }
.send { flex: none; width: 38px; height: 38px; border-radius: 50%; display: grid; place-items: center; background: var(--accent); color: var(--on-accent); }
.send:disabled { background: var(--surface); color: var(--muted); }
.send[data-stop] svg { fill: currentColor; }

@media (max-width: 480px) {
  .floating .panel { inset: 0; width: 100%; height: var(--visible, 100dvh); border: 0; border-radius: 0; }
  .floating[data-open] .launcher { display: none; }
}
@media (prefers-reduced-motion: reduce) { *, *::before { animation: none !important; transition: none !important; } }
@media print { :host([floating]) { display: none !important; } }
`;

// --- the conversation ---

const kMaxTurns = 50;
const kMaxHistoryChars = 100000;

// Kept for this tab, also after a reload.
class Conversation {
  constructor(endpoint) {
    this.key = "bailian-chat:" + endpoint;
    this.turns = [];
    this.open = false;
    try {
      const kept = JSON.parse(sessionStorage.getItem(this.key)) || {};
      this.open = kept.open === true;
      if (Array.isArray(kept.turns)) this.turns = kept.turns.filter(turn => turn && typeof turn.question === "string" && typeof turn.answer === "string");
    } catch { /* No storage here, or nothing readable in it. */ }
    for (const turn of this.turns) {
      if (turn.state === "answering") Object.assign(turn, { state: "failed", fault: { code: "lost" } });
    }
  }

  save() {
    while (this.turns.length > kMaxTurns) this.turns.shift();
    for (let turns = this.turns; ; turns = turns.slice(1)) {
      try {
        return sessionStorage.setItem(this.key, JSON.stringify({ open: this.open, turns }));
      } catch {
        if (!turns.length) return;
      }
    }
  }

  // The history sent with the question of `turn`: the newest messages, in whole turns.
  history(turn, most) {
    const messages = [];
    let chars = 0;
    for (const one of this.turns.slice(0, this.turns.indexOf(turn)).reverse()) {
      if (!one.answer.trim()) continue;
      chars += one.question.length + one.answer.length;
      if (messages.length + 2 > most || chars > kMaxHistoryChars) break;
      messages.unshift({ role: "user", content: one.question }, { role: "assistant", content: one.answer });
    }
    return messages;
  }
}

// --- the element ---

let sheet;

class BailianChat extends HTMLElement {
  static observedAttributes = ["theme", "name", "position"];

  connectedCallback() {
    if (this.shadowRoot) return;
    const from = script ? script.src : own("baseURI");
    this.service = new Service(new URL(this.option("endpoint") || "/myapi/v1", from).href);
    this.language = /^zh/i.test(this.option("lang") || navigator.language) ? "zh" : "en";
    this.words = WORDS[this.language];
    this.conversation = new Conversation(this.service.endpoint);
    this.floating = this.hasAttribute("floating");
    this.profile = {};
    this.build();
    this.attributeChangedCallback();
    if (!this.floating || this.option("open") !== null || this.conversation.open) this.show();
    addEventListener("pagehide", () => this.shown && this.conversation.save());
  }

  disconnectedCallback() {
    queueMicrotask(() => this.isConnected || this.stop());
  }

  attributeChangedCallback() {
    if (!this.root) return;
    this.root.dataset.theme = this.option("theme") || "auto";
    this.root.classList.toggle("left", this.option("position") === "left");
    const name = this.option("name") || this.words.name;
    this.nameLine.textContent = name;
    this.panel.setAttribute("aria-label", name);
  }

  build() {
    const { words } = this;
    if (!sheet) {
      sheet = new CSSStyleSheet();
      sheet.replaceSync(STYLE);
    }
    const shadow = this.attachShadow({ mode: "open" });
    shadow.adoptedStyleSheets = [sheet];
    const button = (className, label, shape, onClick) =>
      h("button", { type: "button", class: className, "aria-label": label, title: label, click: onClick }, icon(ICONS[shape]));

    this.nameLine = h("h2", { class: "name", dir: "auto" });
    this.status = h("div", { class: "status" });
    this.face = avatar("", "bot");
    this.log = h("div", { class: "log", role: "log", "aria-live": "off", "aria-label": words.conversation, tabindex: "0", scroll: () => this.onScroll() });
    this.input = h("textarea", { rows: "1", dir: "auto", "aria-label": words.ask, placeholder: words.ask, enterkeyhint: "send",
      input: () => this.onInput(), keydown: event => this.onKey(event) });
    this.send = h("button", { type: "submit", class: "send" });
    this.latest = button("latest", words.latest, "down", () => this.toEnd());
    this.latest.hidden = true;
    this.spoken = h("div", { class: "hidden", role: "status" });
    const form = h("form", { submit: event => { event.preventDefault(); this.onSubmit(); } }, this.latest, this.input, this.send);
    this.panel = h("section", { class: "panel", role: this.floating ? "dialog" : "region", keydown: event => this.onPanelKey(event) },
      h("div", { class: "head" }, this.face, h("div", { class: "title" }, this.nameLine, this.status),
        button("tool", words.fresh, "fresh", () => this.clear()),
        ...(this.floating ? [button("tool", words.close, "close", () => this.close())] : [])),
      this.log, form, this.spoken);
    this.root = h("div", { class: this.floating ? "root floating" : "root", lang: this.language === "zh" ? "zh-CN" : "en" }, this.panel);
    if (this.floating) {
      this.panel.hidden = true;
      this.launcher = button("launcher", words.open, "chat", () => (this.panel.hidden ? this.open() : this.close()));
      this.launcher.setAttribute("aria-expanded", "false");
      this.root.prepend(this.launcher);
    }
    // Keys typed here must not trigger shortcuts of the page.
    for (const type of ["keydown", "keyup", "keypress"]) this.root.addEventListener(type, event => event.stopPropagation());
    shadow.append(this.root);
    this.setBusy(false);
  }

  // From the element, else from the script tag.
  option(name) {
    const own = this.getAttribute(name);
    return own === null && script && name in script.dataset ? script.dataset[name] : own;
  }

  // --- methods for the page ---

  focus() {
    this.input.focus();
  }

  open() {
    this.show();
    this.input.focus();
  }

  close() {
    if (!this.floating || this.panel.hidden) return;
    this.panel.hidden = true;
    this.noteOpen(false);
    this.launcher.focus();
  }

  clear() {
    this.stop();
    this.conversation.turns = [];
    this.conversation.save();
    this.log.replaceChildren();
    this.greet();
    this.input.focus();
    this.tell("clear");
  }

  stop() {
    if (this.controller) this.controller.abort();
  }

  ask(question) {
    question = String(question);
    if (this.controller || !question.trim()) return;
    this.show();
    const turn = { question, answer: "", thought: "", citations: [], state: "answering" };
    this.conversation.turns.push(turn);
    if (this.suggestions) this.suggestions.remove();
    this.tell("question", { question });
    return this.answer(turn);
  }

  // ---

  tell(type, detail = {}) {
    this.dispatchEvent(new CustomEvent("bailian-" + type, { bubbles: true, composed: true, detail }));
  }

  noteOpen(open) {
    this.root.toggleAttribute("data-open", open);
    this.launcher.setAttribute("aria-expanded", String(open));
    this.launcher.setAttribute("aria-label", open ? this.words.close : this.words.open);
    this.launcher.replaceChildren(icon(ICONS[open ? "close" : "chat"]));
    this.conversation.open = open;
    this.conversation.save();
    this.tell(open ? "open" : "close");
  }

  // The profile is fetched when it is first needed, so a page whose chat is never opened makes no request.
  show() {
    if (this.floating && this.panel.hidden) {
      this.panel.hidden = false;
      this.noteOpen(true);
      this.followKeyboard();
    }
    if (this.shown) return;
    this.shown = true;
    for (const turn of this.conversation.turns) this.draw(turn);
    this.toEnd();
    this.service.profile().catch(() => ({})).then(profile => this.take(profile));
  }

  // The keyboard of a phone covers part of the page; the panel gets the height that stays visible.
  followKeyboard() {
    if (!window.visualViewport || this.follows) return;
    this.follows = true;
    const fit = () => this.root.style.setProperty("--visible", `${visualViewport.height * visualViewport.scale}px`);
    visualViewport.addEventListener("resize", fit);
    fit();
  }

  take(profile) {
    this.profile = profile || {};
    const size = parseFloat(this.profile.fontSize);
    if (size >= 10 && size <= 32) this.root.style.setProperty("--size", `${size}px`);
    if (this.profile.botStatus === 0 || this.profile.botStatus === 1) {
      const online = this.profile.botStatus === 1;
      this.status.dataset.online = String(online);
      this.status.textContent = online ? this.words.online : this.words.offline;
    }
    const face = avatar(this.profile.botImageURL, "bot");
    this.face.replaceWith(face);
    this.face = face;
    for (const old of this.log.querySelectorAll(".message > .avatar")) {
      const isUser = old.parentNode.classList.contains("user");
      old.replaceWith(isUser ? avatar(this.profile.userAvatarURL, "user") : avatar(this.profile.botImageURL, "bot"));
    }
    this.greet();
  }

  greet() {
    if (this.greeting) this.greeting.remove();
    if (this.suggestions) this.suggestions.remove();
    const text = this.profile.StartUpMessage || this.words.greeting;
    const answer = h("div", { class: "answer" });
    blocks(String(text).split("\n"), answer, this.markdownOptions(), false);
    this.greeting = h("div", { class: "message bot" }, avatar(this.profile.botImageURL, "bot"), h("div", { class: "body" }, answer));
    const buttons = Array.isArray(this.profile.commonButtons) ? this.profile.commonButtons : [];
    this.suggestions = h("ul", { class: "suggestions", "aria-label": this.words.suggestions }, ...buttons
      .filter(each => each && each.buttonText && each.buttonPrompt)
      .map(each => h("li", null, h("button", { type: "button", dir: "auto", click: () => { this.input.focus(); this.ask(each.buttonPrompt); } }, String(each.buttonText)))));
    this.log.prepend(this.greeting);
    if (!this.conversation.turns.length && buttons.length) this.greeting.after(this.suggestions);
  }

  markdownOptions() {
    return { words: this.words, images: this.option("images") !== null, copy: (text, button) => this.copy(text, button) };
  }

  async copy(text, button) {
    await copy(text, this.root);
    button.textContent = this.words.copied;
    this.spoken.textContent = this.words.copied;
    setTimeout(() => { button.textContent = this.words.copy; }, 2000);
  }

  // Renders a turn and returns the parts that change while it is answered.
  draw(turn) {
    const { words } = this;
    const view = { answer: h("div", { class: "answer" }), tail: h("div") };
    view.thought = h("div", { class: "thought", dir: "auto", tabindex: "0", role: "group", "aria-label": words.thought });
    view.summary = h("summary", null, words.thought);
    view.details = h("details", { hidden: !turn.thought }, view.summary, view.thought);
    view.thoughtText = new Text(turn.thought || "");
    view.thought.append(view.thoughtText);
    view.markdown = new MarkdownStream(view.answer, this.markdownOptions());
    view.markdown.push(turn.answer);
    view.markdown.render(turn.state !== "answering");
    view.node = h("div", { class: "turn" },
      h("div", { class: "message user" }, avatar(this.profile.userAvatarURL, "user"),
        h("div", { class: "body" }, h("span", { class: "hidden" }, words.you), h("div", { class: "bubble", dir: "auto" }, turn.question))),
      h("div", { class: "message bot" }, avatar(this.profile.botImageURL, "bot"),
        h("div", { class: "body" }, h("span", { class: "hidden" }, words.bot), view.details, view.answer, view.tail)));
    if (turn.node && turn.node.isConnected) turn.node.replaceWith(view.node);
    else this.log.append(view.node);
    // Not stored with the conversation.
    Object.defineProperty(turn, "node", { value: view.node, configurable: true, enumerable: false });
    if (turn.state !== "answering") this.conclude(turn, view);
    return view;
  }

  async answer(turn, fresh = false) {
    const { words } = this;
    const controller = this.controller = new AbortController();
    Object.assign(turn, { answer: "", thought: "", citations: [], state: "answering" });
    delete turn.fault;
    this.conversation.save();
    const view = this.draw(turn);
    view.tail.append(h("div", { class: "dots" }, h("i"), h("i"), h("i")));
    this.setBusy(true);
    this.toEnd();
    this.spoken.textContent = words.answering;
    const paint = paced(() => {
      if (turn.state !== "answering") return;
      if (turn.answer) view.tail.replaceChildren();
      view.summary.textContent = turn.answer ? words.thought : words.thinking;
      if (view.thoughtText.length !== turn.thought.length) view.thoughtText.data = turn.thought;
      view.markdown.render(false);
      this.follow();
    });
    const body = {
      last_prompt: turn.question, conversation_history: this.conversation.history(turn, Number(this.option("history") || 20)),
      include_thoughts: true,
    };
    try {
      const last = await this.service.ask(body, fresh, controller.signal, text => {
        turn.answer += text;
        view.markdown.push(text);
        paint();
      }, thought => {
        turn.thought += thought;
        view.details.hidden = false;
        paint();
      });
      if (Array.isArray(last.citations)) turn.citations = last.citations;
      turn.state = "done";
    } catch (error) {
      if (error.name === "AbortError") {
        turn.state = "stopped";
      } else {
        if (!(error instanceof ChatError)) console.error(error);
        const { code = "unreadable", message, requestId, wait = 0 } = error;
        turn.state = "failed";
        turn.fault = { code, message, requestId, until: wait && Date.now() + wait * 1000 };
      }
    }
    view.thoughtText.data = turn.thought;
    view.markdown.render(true);
    this.conclude(turn, view);
    this.conversation.save();
    this.follow();
    if (this.controller === controller) {
      this.controller = null;
      this.setBusy(false);
    }
    if (turn.state === "failed") return this.tell("error", { question: turn.question, ...turn.fault });
    this.spoken.textContent = turn.state === "done" ? `${words.ended} ${view.answer.textContent.slice(0, 2000)}` : words.stopped;
    this.tell("answer", { question: turn.question, answer: turn.answer, stopped: turn.state === "stopped" });
  }

  // Adds the parts below a complete answer: citations, notes, buttons.
  conclude(turn, view) {
    const { words } = this;
    view.summary.textContent = words.thought;
    const citations = (turn.citations || []).filter(each => each && Number.isInteger(each.index));
    const byIndex = new Map(citations.map(each => [String(each.index), each]));
    for (const mark of view.answer.querySelectorAll(".ref")) {
      const cited = byIndex.get(mark.dataset.index);
      if (!cited) continue;
      mark.title = cited.title || "";
      const url = cited.url && safeUrl(cited.url);
      if (url) mark.replaceChildren(link(url, mark.textContent));
    }
    view.tail.replaceChildren();
    if (citations.length) {
      view.tail.append(h("div", { class: "sources" }, words.sources, h("ul", null, ...citations.map(each => {
        const url = each.url && safeUrl(each.url);
        const title = String(each.title || each.url || "");
        return h("li", { dir: "auto" }, `[${each.index}] `, url ? link(url, title) : title);
      }))));
    }
    if (turn.state === "stopped") view.tail.append(h("div", { class: "note" }, words.stopped));
    if (turn.fault) view.tail.append(this.fault(turn.fault));
    const actions = h("div", { class: "actions" });
    if (turn.answer) {
      const button = h("button", { type: "button", class: "quiet", click: () => this.copy(turn.answer, button) }, words.copy);
      actions.append(button);
    }
    actions.append(this.retryButton(turn));
    view.tail.append(actions);
  }

  fault({ code, message = "", requestId, until }) {
    const { words } = this;
    const ofOwner = code === "paused" && message !== kPaused && message;
    const box = h("div", null, ofOwner || words.errors[code] || message || words.errors.upstream_error);
    const seconds = Math.ceil((until - Date.now()) / 1000);
    if (seconds > 0) box.append(" ", words.wait.replace("{}", seconds));
    // The service adds details to its message only with DEBUG=True.
    if ((message.includes(": ") && !ofOwner) || code === "not_configured") box.append(h("small", null, message));
    if (requestId) box.append(h("small", null, `${words.id}: ${requestId}`));
    return h("div", { class: "fault", role: "alert" }, icon(ICONS.alert), box);
  }

  retryButton(turn) {
    const button = h("button", { type: "button", class: "quiet retry", click: () => this.retry(turn) });
    const count = () => {
      const seconds = Math.ceil(((turn.fault && turn.fault.until || 0) - Date.now()) / 1000);
      button.disabled = seconds > 0;
      button.textContent = seconds > 0 ? `${this.words.retry} (${seconds})` : this.words.retry;
      if (seconds > 0) setTimeout(count, 1000);
    };
    count();
    return button;
  }

  retry(turn) {
    if (this.controller) return;
    this.input.focus();
    this.answer(turn, true);
  }

  // --- input ---

  setBusy(busy) {
    this.log.setAttribute("aria-busy", String(busy));
    const label = busy ? this.words.stop : this.words.send;
    this.send.replaceChildren(icon(ICONS[busy ? "stop" : "send"]));
    this.send.setAttribute("aria-label", label);
    this.send.title = label;
    this.send.toggleAttribute("data-stop", busy);
    this.onInput();
  }

  onInput() {
    this.send.disabled = !this.controller && !this.input.value.trim();
    this.input.style.height = "auto";
    if (this.input.scrollHeight) this.input.style.height = `${this.input.scrollHeight}px`;
  }

  onKey(event) {
    // While an input method composes, Enter belongs to it; Safari shows this only by the key code.
    if (event.key !== "Enter" || event.shiftKey || event.isComposing || event.keyCode === 229) return;
    event.preventDefault();
    if (!this.controller) this.onSubmit();
  }

  onPanelKey(event) {
    if (event.key !== "Escape" || event.isComposing) return;
    if (this.controller) this.stop();
    else this.close();
  }

  onSubmit() {
    if (this.controller) return this.stop();
    const question = this.input.value;
    if (!question.trim()) return;
    this.input.value = "";
    this.onInput();
    this.ask(question);
  }

  // --- scrolling ---

  onScroll() {
    const { scrollHeight, scrollTop, clientHeight } = this.log;
    this.leftEnd = scrollHeight - scrollTop - clientHeight > 60;
    this.latest.hidden = !this.leftEnd;
  }

  follow() {
    if (!this.leftEnd) this.log.scrollTop = this.log.scrollHeight;
  }

  toEnd() {
    this.leftEnd = false;
    this.follow();
  }
}

// Renders at most once a frame, and uses at most a quarter of the time, however long the answer.
function paced(draw) {
  let busy = false, again = false;
  return function paint() {
    again = busy;
    if (busy) return;
    busy = true;
    requestAnimationFrame(() => {
      const start = performance.now();
      draw();
      setTimeout(() => {
        busy = false;
        if (again) paint();
      }, 3 * (performance.now() - start));
    });
  };
}

if (customElements.get("bailian-chat")) return;
customElements.define("bailian-chat", BailianChat);

function addFloating() {
  if (!own("querySelector")("bailian-chat")) own("body").append(h("bailian-chat", { floating: true }));
}
if (own("body") && own("readyState") !== "loading") addFloating();
else addEventListener("DOMContentLoaded", addFloating);
})();
