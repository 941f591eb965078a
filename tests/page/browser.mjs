/* The page in a browser: `score --html`'s file and the page of `serve` (where the program has it) are opened in a headless
 * Chromium, a token is clicked, dials are dragged, and the numbers on the page are compared with `score`'s at those dials.
 *     node browser.mjs QADAPTER MODEL ADAPTER PAIRS.jsonl WORK [SHOTS]
 * WORK: a folder to write to. SHOTS: a folder for screenshots. $CHROMIUM names the browser. */
import { execFileSync, spawn } from "node:child_process";
import { readFileSync, writeFileSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { openBrowser } from "./chromium.mjs";

const [program, model, adapter, pairs, work, shots] = process.argv.slice(2), tolerance = 1e-4;
const run = (...args) => execFileSync(program, args, { stdio: ["ignore", "pipe", "inherit"], maxBuffer: 1 << 28 }).toString();
const scored = (data, ...more) => run("score", "--model", model, "--adapter", adapter, "--data", data, "--quiet", ...more).trim().split("\n").map(line => JSON.parse(line));
let checks = 0;
function check(good, what) { if (!good) throw new Error(what); checks++; }
const near = (found, expected, what) => check(Math.abs(found - expected) <= tolerance * Math.max(1, Math.abs(expected)), `${what}: the page has ${found}, the program ${expected}`);
const token = (side, t) => `.tok[data-side="${side}"][data-token="${t}"]`;
const dials = ["alpha_0", "alpha_tilde"].map(name => [name, "--" + name.replace("_", "-")]);

const browser = await openBrowser(process.env.CHROMIUM ?? "chromium");
const shoot = async name => { if (shots) { mkdirSync(shots, { recursive: true }); await browser.screenshot(join(shots, name + ".png")); } };
const dialled = async () => (await Promise.all(dials.map(async ([name, option]) => [option, await browser.read(`document.getElementById("number-${name}").value`)]))).flat();
const row = async names => Object.fromEntries(await Promise.all(names.map(async name => [name, await browser.number("#row-" + name)])));

/* The row of token t of the chosen response against a line of `score`. */
async function compareRow(line, t) {
  const found = await row(["log_pi1", "q", "v", "reward", "log_pi"]);
  for (const [name, value] of Object.entries(found)) near(value, line.chosen[name][t], `token ${t}, ${name}`);
}

async function offline() {
  const file = join(work, "pairs.html");
  run("score", "--model", model, "--adapter", adapter, "--data", pairs, "--max-pairs", "4", "--html", file, "--quiet");
  await browser.goTo("file://" + file);
  let line = scored(pairs, "--max-pairs", "4")[0];
  check(await browser.read("document.querySelectorAll('.tok').length") === line.chosen.q.length + line.rejected.q.length, "a token for every action");
  near(await browser.number("#margin"), line.logit, "margin");
  near(await browser.number("#loss"), line.loss, "loss");
  await browser.click(token(0, 3));
  await compareRow(line, 3);
  await shoot("pairs");
  await browser.key("ArrowRight");
  await browser.key("ArrowRight");
  await compareRow(line, 5);
  check(await browser.read(`document.activeElement.matches('${token(0, 5)}')`), "the arrow keys move the focus");

  await browser.drag("#dial-alpha_0", 0.8);
  await browser.drag("#dial-alpha_tilde", 0.5);
  const at = await dialled();
  check(Number(at[1]) > 2 && Number(at[3]) > 1.3 && Number(at[3]) < 1.7, `the dials were dragged to ${at}`);
  line = scored(pairs, "--max-pairs", "4", ...at)[0];
  near(await browser.number("#margin"), line.logit, "margin at " + at);
  near(await browser.number("#loss"), line.loss, "loss at " + at);
  await compareRow(line, 5);
  await shoot("dials");

  const reward = await browser.number("#row-reward");
  await browser.drag("#potential-dial", 1);
  near(await browser.number("#margin"), line.logit, "margin with another potential");
  near(await browser.number("#row-v"), 0, "V turned away");
  check(Math.abs(await browser.number("#row-reward") - reward) > 1e-3, "r2 turns with the potential");
  await browser.drag("#potential-dial", 0);
  await browser.click("#reset");
  await browser.click("#next");
  near(await browser.number("#margin"), scored(pairs, "--max-pairs", "4")[1].logit, "margin of the next pair");
  await browser.click("#colours label:nth-child(4)");
  check(await browser.read("document.querySelector('#scale').className === 'signed' && document.querySelectorAll('.tok.more, .tok.less').length > 4"), "tokens coloured by r2");
  check(await browser.read("[...document.querySelectorAll('input, select, button')].every(n => n.textContent || n.labels?.length || n.ariaLabel)"), "every control has a label");
}

/* Texts that would be markup; a script that is not the page's own does not run. */
async function hostile() {
  const data = join(work, "hostile.jsonl"), file = join(work, "hostile.html"), text = "</script><img src=x onerror=alert(1)><!-- <script>alert(2)</script> \u2028\u202e";
  const said = (role, content) => [{ role, content }];
  writeFileSync(data, JSON.stringify({ prompt: said("user", text), chosen: said("assistant", text), rejected: said("assistant", "\n" + text) }) + "\n");
  run("score", "--model", model, "--adapter", adapter, "--data", data, "--html", file, "--quiet");
  await browser.goTo("file://" + file);
  check(await browser.read("document.querySelectorAll('.tok').length") > 20, "the hostile pair is shown");
  check((await browser.text(".prompt")).includes("<img src=x onerror=alert(1)>"), "its text is text");
  check(await browser.read("document.images.length") === 0 && await browser.read("document.scripts.length") === 2, "and nothing else");
  await shoot("hostile");
  check(browser.problems.length === 0, "problems: " + browser.problems);
  const refused = act => browser.read(`(() => { try { ${act} } catch { /* refused */ } return window.ran === undefined && document.images.length === 0; })()`);
  check(await refused("const s = document.createElement('script'); s.append('window.ran = 1'); document.body.append(s);"), "the policy stops a script that is not the page's own");
  check(await refused("document.body.innerHTML = '<img src=x onerror=\\'window.ran = 1\\'>';"), "and text that would become markup");
  browser.problems.length = 0;
}

async function startServer() {
  const child = spawn(program, ["serve", "--model", model, "--adapter", adapter, "--port", "0"], { stdio: ["ignore", "ignore", "pipe"] });
  let said = "";
  const url = await new Promise((resolve, reject) => {
    child.stderr.on("data", data => { said += data; const found = /http:\/\/[^\s]+/.exec(said); if (found) resolve(found[0]); });
    child.on("exit", () => reject(new Error("serve ended: " + said)));
  }).catch(error => { if (!/libmicrohttpd/.test(said)) throw error; });
  if (!url) return null;
  return { child, url: url.replace(/\/*$/, "/"), said: () => said };
}

/* The two answers on the page as a pair of ids for `score`. */
async function pairOnPage(url, question) {
  const ids = side => browser.read(`[...document.querySelectorAll('.tok[data-side="${side}"]')].map(n => Number(/id (\\d+)$/.exec(n.title)[1]))`);
  const [base, custom] = [await ids(0), await ids(1)];
  const answer = await fetch(url + "inspect", { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ model: "base", messages: [{ role: "user", content: question }], answer_ids: base }) });
  const { prompt } = await answer.json(), file = join(work, "answers.jsonl");
  const ends = async side => !(await browser.text(`.card:nth-child(${side + 1}) .facts`)).includes("cut off");
  writeFileSync(file, JSON.stringify({ prompt_ids: prompt.ids, chosen_ids: custom, rejected_ids: base, chosen_terminal: await ends(1), rejected_terminal: await ends(0) }) + "\n");
  return file;
}

async function served() {
  const server = await startServer(), question = "Tell me about figs.";
  if (!server) return console.log("page: this program was built without libmicrohttpd; the page of serve is not looked at");
  try {
    await browser.goTo(server.url);
    await browser.click("#prompt");
    await browser.type(question);
    await browser.key("Enter");
    await browser.until("document.querySelectorAll('.tok[data-side=\"0\"]').length > 2 && document.querySelectorAll('.tok[data-side=\"1\"]').length > 2", 60);
    const file = await pairOnPage(server.url, question);
    near(await browser.number("#margin"), scored(file)[0].logit, "served margin");
    await browser.click(token(1, 2));
    await compareRow(scored(file)[0], 2);
    await shoot("served");
    const before = await browser.number("#margin");
    await browser.drag("#dial-alpha_0", 0.1);
    await browser.until(`Math.abs(Number(document.querySelector("#margin").dataset.value) - ${before}) > 1e-6`);
    const at = await dialled(), line = scored(file, ...at)[0];
    near(await browser.number("#margin"), line.logit, "served margin at " + at);
    await compareRow(line, 2);
    await browser.click("#prompt");
    await browser.type("</script><img src=x onerror=alert(1)>");
    await browser.key("Enter");
    await browser.until("document.querySelectorAll('.turn').length === 2 && document.querySelectorAll('.turn:last-child .tok').length > 2", 60);
    check(await browser.read("document.images.length") === 0, "what is said is text");
    await shoot("served-dials");
  } finally {
    server.child.kill("SIGTERM");
  }
}

let status = 0;
try {
  await offline();
  await hostile();
  await served();
  check(browser.problems.length === 0, "problems on the page: " + browser.problems.join("; "));
  console.log(`page: ${checks} checks in a browser`);
} catch (error) {
  console.error("page: " + error.message + (browser.problems.length ? "; problems: " + browser.problems.join("; ") : ""));
  await shoot("failed").catch(() => {});
  status = 1;
} finally {
  await browser.close();
}
process.exitCode = status;
