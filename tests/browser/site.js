// The real site for a browser: nginx as `make run` configures it, the responder, the simulator; and a page of
// another site with the widget's line of HTML.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import http from "node:http";
import net from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { createInterface } from "node:readline";
import { chromium } from "playwright-core";

export const root = path.resolve(import.meta.dirname ?? path.dirname(new URL(import.meta.url).pathname), "../..");
export const build = path.resolve(root, process.env.BUILD_DIR ?? "build/release");
const patience = 20000;
const key = "sk-0123456789abcdef";

export const profile = {
  botStatus: 1,
  StartUpMessage: "Hello from the **profile**",
  fontSize: "18",
  userAvatarURL: "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg'/%3E",
  botImageURL: "/missing.png",
  commonButtons: [{ buttonText: "A discount", buttonPrompt: "[[sim events=2]] I want a discount" }],
};

export const launchBrowser = () => chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: process.getuid() === 0 ? ["--no-sandbox"] : [],
});

class Program {
  constructor(command, args, options = {}) {
    this.process = spawn(command, args, { stdio: ["ignore", "pipe", "pipe"], ...options });
    this.ended = once(this.process, "close");
    this.output = "";
    for (const stream of [this.process.stdout, this.process.stderr]) {
      createInterface({ input: stream }).on("line", line => {
        this.output += line + "\n";
        this.process.emit("line", line);
      });
    }
  }

  // The first line that matches, already written or yet to come.
  line(pattern) {
    return new Promise((resolve, reject) => {
      const fail = why => reject(new Error(`${this.process.spawnargs[0]}: ${why}\n${this.output}`));
      const timer = setTimeout(fail, patience, `no line like ${pattern}`);
      const look = text => {
        const match = pattern.exec(text);
        if (!match) return;
        clearTimeout(timer);
        this.process.off("line", look);
        resolve(match);
      };
      this.process.once("error", fail);
      this.process.once("close", code => fail(`ended with ${code}`));
      this.process.on("line", look);
      for (const text of this.output.split("\n")) look(text);
    });
  }

  async stop(signal = "SIGTERM") {
    if (this.process.exitCode === null) this.process.kill(signal);
    await this.ended;
  }
}

export class Site {
  static async start() {
    const site = new Site();
    site.dir = mkdtempSync(path.join(tmpdir(), "bailian-browser-"));
    try {
      await site.startPrograms();
      return site;
    } catch (error) {
      await site.stop();
      throw error;
    }
  }

  async startPrograms() {
    this.simulator = new Program(path.join(build, "simulator"), [
      "--listen=127.0.0.1:0", `--api-key=${key}`, "--app-id=app", `--examples=${root}/tests/data`, "--interval=0", "--delay=0",
    ]);
    [, this.upstream] = await this.simulator.line(/^listening on (http:\/\/\S+)/);
    writeFileSync(path.join(this.dir, "profile.json"), JSON.stringify(profile));
    await this.startResponder();
    await this.startNginx();
    await this.startForeign();
    this.browser = await launchBrowser();
  }

  async startResponder() {
    this.responder = new Program(path.join(build, "bailian-fcgi"), [], {
      cwd: this.dir,
      env: {
        DASHSCOPE_API_KEY: key, APP_ID: "app", DASHSCOPE_BASE_URL: `${this.upstream}/api/v1`, FCGI_LISTEN: `${this.dir}/fcgi.sock`,
        DEBUG: "False", BOT_CONFIG_FILE: "profile.json", LOG_FORMAT: "text",
      },
    });
    await this.responder.line(/listening/);
  }

  // nginx does not accept port 0, but it accepts an open listening socket.
  async startNginx() {
    const listener = net.createServer().listen(0, "127.0.0.1");
    await once(listener, "listening");
    const { port } = listener.address();
    this.origin = `http://127.0.0.1:${port}`;
    const read = name => readFileSync(path.join(root, "nginx", name), "utf8");
    const write = (name, text) => writeFileSync(path.join(this.dir, name), text);
    for (const file of ["bailian-fcgi.conf", "bailian-fcgi-status.conf"])
      write(file, read(file).replace(/unix:[^;]*/, `unix:${this.dir}/fcgi.sock`));
    write("nginx.conf", read("dev.conf.in").replaceAll("@HOST@", "127.0.0.1").replaceAll("@PORT@", port)
      .replaceAll("@WWW@", `${root}/nginx/www`).replaceAll("@MODEL@", "simulator")
      .replaceAll("@USER@", "root").replace("include bailian-fcgi-http.conf;", "").replace("error_log nginx.log", "error_log stderr notice"));
    symlinkSync("/etc/nginx/fastcgi_params", path.join(this.dir, "fastcgi_params"));
    this.nginx = new Program("nginx", ["-e", "stderr", "-p", this.dir, "-c", "nginx.conf", "-g", "daemon off;"], {
      stdio: ["ignore", "pipe", "pipe", listener._handle.fd],
      env: { ...process.env, PATH: `${process.env.PATH}:/usr/sbin`, NGINX: "3;" },
    });
    await this.nginx.line(/start worker process /);
    listener.close();
  }

  // Another site, whose pages are set by the tests.
  async startForeign() {
    this.pages = new Map();
    this.foreign = http.createServer((request, response) => {
      const page = this.pages.get(request.url);
      if (!page) return response.writeHead(404).end();
      response.writeHead(200, { "Content-Type": "text/html; charset=utf-8", ...page.headers }).end(page.html);
    }).listen(0, "127.0.0.1");
    await once(this.foreign, "listening");
    this.foreignOrigin = `http://127.0.0.1:${this.foreign.address().port}`;
  }

  get line() {
    return `<script src="${this.origin}/chat-widget.js" data-endpoint="/myapi/v1" defer></script>`;
  }

  // The address of a page of the other site that contains the line of HTML.
  foreignPage(name, { head = "", body = this.line, headers = {} } = {}) {
    const html = `<!DOCTYPE html><html lang="en"><head><title>Shop</title>${head}</head><body><main><h1>Shop</h1></main>${body}</body></html>`;
    this.pages.set(`/${name}`, { html, headers });
    return `${this.foreignOrigin}/${name}`;
  }

  async control(request, method = "GET") {
    const response = await fetch(`${this.upstream}/control/${request}`, { method });
    if (!response.ok) throw new Error(`${request}: ${response.status} ${await response.text()}`);
    return response.status === 204 ? null : response.json();
  }
  reset() {
    return this.control("reset", "POST");
  }
  release() {
    return this.control("release", "POST");
  }
  reaches(counter, number) {
    return this.control(`stats?wait=${counter}&at_least=${number}&timeout_ms=${patience / 2}`);
  }
  async lastRequest() {
    const { body } = await this.control("last-request");
    return typeof body === "string" ? JSON.parse(body) : body;
  }

  // A page of a new visitor. The browser's violation reports about the page's policy are in
  // `page.complaints`.
  async visit(address = "/", options = {}) {
    const context = await this.browser.newContext({ locale: "en-US", viewport: { width: 1100, height: 760 }, ...options });
    context.setDefaultTimeout(patience);
    const page = await context.newPage();
    page.complaints = [];
    page.hosts = new Set();
    page.on("console", message => /Content Security Policy|TrustedHTML|Trusted Type/i.test(message.text()) && page.complaints.push(message.text()));
    page.on("pageerror", error => page.complaints.push(String(error)));
    page.on("dialog", dialog => { page.complaints.push(`dialog ${dialog.message()}`); dialog.dismiss(); });
    page.on("request", request => !request.url().startsWith("data:") && page.hosts.add(new URL(request.url()).origin));
    await page.goto(new URL(address, this.origin).href);
    return page;
  }

  async stop() {
    await this.browser?.close();
    this.foreign?.closeAllConnections();
    this.foreign?.close();
    for (const program of [this.nginx, this.responder, this.simulator]) await program?.stop();
    rmSync(this.dir, { recursive: true, force: true });
  }
}

// --- a visitor's actions and views; a chat's shadow root is open to Playwright ---

export const input = page => page.locator("bailian-chat textarea");
export const lastTurn = page => page.locator("bailian-chat .turn:last-child");
export const lastAnswer = page => lastTurn(page).locator(".answer");
export const shows = (locator, text) => locator.filter({ hasText: text }).waitFor();
export const button = (page, name) => page.locator("bailian-chat").getByRole("button", { name, exact: true });

export async function begin(page, question) {
  await input(page).fill(question);
  await input(page).press("Enter");
}

export async function ask(page, question) {
  await begin(page, question);
  await lastTurn(page).locator(".actions").waitFor();
  return lastAnswer(page).innerText();
}
