/* A headless Chromium, driven over two pipes by its DevTools protocol: messages are JSON, each ended by a NUL. No more
 * than node itself is needed. */
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

export async function openBrowser(program, { width = 1366, height = 768 } = {}) {
  const profile = mkdtempSync(join(tmpdir(), "page-chromium-"));
  const child = spawn(program, ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
    "--hide-scrollbars", "--lang=en-US", "--remote-debugging-pipe", `--user-data-dir=${profile}`, `--window-size=${width},${height}`, "about:blank"],
    { stdio: ["ignore", "ignore", "ignore", "pipe", "pipe"], detached: true });
  const waiting = new Map(), problems = [], listeners = [];
  let number = 0, rest = "";
  const fail = why => { for (const { reject } of waiting.values()) reject(new Error(why)); waiting.clear(); };
  child.on("error", error => fail(error.message));
  child.on("exit", code => fail(`Chromium ended with status ${code}`));
  child.stdio[3].on("error", () => {});
  child.stdio[4].setEncoding("utf8");
  child.stdio[4].on("data", data => {
    const parts = (rest + data).split("\0");
    rest = parts.pop();
    for (const part of parts) {
      const message = JSON.parse(part);
      if (message.id !== undefined) {
        const { resolve, reject } = waiting.get(message.id) ?? {};
        waiting.delete(message.id);
        if (message.error) reject?.(new Error(message.error.message)); else resolve?.(message.result);
      } else for (const listener of [...listeners]) listener(message.method, message.params);
    }
  });
  const send = (method, params = {}, sessionId) => new Promise((resolve, reject) => {
    waiting.set(++number, { resolve, reject });
    child.stdio[3].write(JSON.stringify({ id: number, method, params, sessionId }) + "\0");
  });

  const { targetId } = await send("Target.createTarget", { url: "about:blank" });
  const { sessionId } = await send("Target.attachToTarget", { targetId, flatten: true });
  const ask = (method, params) => send(method, params, sessionId);
  listeners.push((method, params) => {
    if (method === "Runtime.exceptionThrown") problems.push(params.exceptionDetails.exception?.description ?? params.exceptionDetails.text);
    if (method === "Log.entryAdded" && params.entry.level === "error") problems.push(params.entry.text + " " + (params.entry.url ?? ""));
    if (method === "Page.javascriptDialogOpening") problems.push("a dialog: " + params.message);
  });
  for (const domain of ["Page", "Runtime", "Log", "DOM"]) await ask(domain + ".enable");
  await ask("Emulation.setDeviceMetricsOverride", { width, height, deviceScaleFactor: 1, mobile: false });

  const browser = {
    problems,
    async goTo(url) {
      const loaded = new Promise(resolve => {
        const listener = method => { if (method === "Page.loadEventFired") { listeners.splice(listeners.indexOf(listener), 1); resolve(); } };
        listeners.push(listener);
      });
      const { errorText } = await ask("Page.navigate", { url });
      if (errorText) throw new Error(`${url}: ${errorText}`);
      await loaded;
    },
    /* The value of an expression on the page. */
    async read(expression) {
      const { result, exceptionDetails } = await ask("Runtime.evaluate", { expression, returnByValue: true, awaitPromise: true });
      if (exceptionDetails) throw new Error(exceptionDetails.exception?.description ?? exceptionDetails.text);
      return result.value;
    },
    number: async selector => Number(await browser.read(`document.querySelector(${JSON.stringify(selector)})?.dataset.value ?? "none"`)),
    text: selector => browser.read(`document.querySelector(${JSON.stringify(selector)})?.textContent ?? null`),
    /* Waits until the expression is true. */
    async until(expression, seconds = 20) {
      for (const end = Date.now() + 1000 * seconds; Date.now() < end; await new Promise(resolve => setTimeout(resolve, 50)))
        if (await browser.read(expression)) return;
      throw new Error(`not so after ${seconds} s: ${expression}; the page says: ${await browser.text("[role=alert]")}`);
    },
    async box(selector) {
      const box = await browser.read(`(() => { const node = document.querySelector(${JSON.stringify(selector)}); if (!node) return null; node.scrollIntoView({block: "nearest"}); const b = node.getBoundingClientRect(); return {x: b.x, y: b.y, width: b.width, height: b.height}; })()`);
      if (!box) throw new Error(`the page has no ${selector}`);
      return box;
    },
    mouse: (type, x, y) => ask("Input.dispatchMouseEvent", { type, x, y, button: "left", buttons: type === "mouseReleased" ? 0 : 1, clickCount: 1 }),
    async click(selector) {
      const b = await browser.box(selector), x = b.x + b.width / 2, y = b.y + b.height / 2;
      await browser.mouse("mousePressed", x, y);
      await browser.mouse("mouseReleased", x, y);
    },
    /* Drags a slider's knob to a share of its way, in steps, as a hand would. */
    async drag(selector, share) {
      const b = await browser.box(selector), at = await browser.read(`(() => { const n = document.querySelector(${JSON.stringify(selector)}); return (n.value - n.min) / (n.max - n.min); })()`);
      const knob = 16, x = s => b.x + knob / 2 + s * (b.width - knob), y = b.y + b.height / 2;
      await browser.mouse("mousePressed", x(at), y);
      for (let k = 1; k <= 8; k++) await browser.mouse("mouseMoved", x(at + (share - at) * k / 8), y);
      await browser.mouse("mouseReleased", x(share), y);
    },
    async key(key) {
      const code = { Enter: 13, ArrowLeft: 37, ArrowRight: 39, ArrowUp: 38, ArrowDown: 40, Tab: 9 }[key];
      const text = key === "Enter" ? "\r" : undefined;
      await ask("Input.dispatchKeyEvent", { type: text ? "keyDown" : "rawKeyDown", key, code: key, windowsVirtualKeyCode: code, text });
      await ask("Input.dispatchKeyEvent", { type: "keyUp", key, code: key, windowsVirtualKeyCode: code });
    },
    type: text => ask("Input.insertText", { text }),
    async screenshot(path) {
      const { data } = await ask("Page.captureScreenshot", { format: "png" });
      writeFileSync(path, Buffer.from(data, "base64"));
    },
    media: features => ask("Emulation.setEmulatedMedia", { features }),
    size: (w, h) => ask("Emulation.setDeviceMetricsOverride", { width: w, height: h, deviceScaleFactor: 1, mobile: false }),
    async close() {
      const gone = new Promise(resolve => child.once("exit", resolve));
      await Promise.race([send("Browser.close").catch(() => {}), new Promise(resolve => setTimeout(resolve, 2000))]);
      const killer = setTimeout(() => { try { process.kill(-child.pid, "SIGKILL"); } catch { /* gone */ } }, 3000);
      if (child.exitCode === null && child.signalCode === null) await gone;
      clearTimeout(killer);
      rmSync(profile, { recursive: true, force: true, maxRetries: 5, retryDelay: 200 });
    },
  };
  return browser;
}
