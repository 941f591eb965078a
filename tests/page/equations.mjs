/* The page's script, run without a page: its (M5) to (M11) against the program's, on a file that `score --html` wrote.
 *     node equations.mjs PAGE.html TOLERANCE LINES.jsonl [alpha_0 alpha_tilde gamma beta LINES.jsonl]...
 * The first lines are `score`'s at the file's own objective, the others at other dials. Ends with status 1 and a line for
 * the first number that differs. TOLERANCE is relative to the larger of 1 and the number. */
import { readFileSync } from "node:fs";
import vm from "node:vm";

const [pagePath, toleranceText, ...given] = process.argv.slice(2), tolerance = Number(toleranceText);
const html = readFileSync(pagePath, "utf8");
const between = (open, close) => { const at = html.indexOf(open) + open.length; return html.slice(at, html.indexOf(close, at)); };
const qadapter = vm.runInThisContext(between("<script>\n", "</script>") + ";qadapter");
const data = JSON.parse(between('<script id="data" type="application/json">', "</script>"));
const linesOf = path => readFileSync(path, "utf8").trim().split("\n").map(line => JSON.parse(line));

let worst = 0, compared = 0;
function near(found, expected, ...what) {
  if ((expected === null || Number.isNaN(expected)) && (found === null || Number.isNaN(found))) return;
  const off = Math.abs(found - expected) / Math.max(1, Math.abs(expected));
  if (!(off <= tolerance)) { console.error(`${what.join(" ")}: found ${found}, expected ${expected}, off by ${off}`); process.exit(1); }
  worst = Math.max(worst, off);
  compared++;
}

/* A pair at objective o against the line that the program wrote. */
function compare(pair, o, line, what) {
  const found = qadapter.scorePair(pair, o, data.vocab_size);
  if (!found.whole) { console.error(`${what}: without whole rows`); process.exit(1); }
  for (const key of ["logit", "pref", "reg", "loss"]) near(found[key], line[key], what, key);
  [line.chosen, line.rejected].forEach((side, i) => {
    const rows = found.rows[i].filter(row => row.counted);
    if (rows.length !== side.q.length) { console.error(`${what}: ${rows.length} counted rows, expected ${side.q.length}`); process.exit(1); }
    near(found.returns[i], side.return, what, "return", i);
    rows.forEach((row, t) => { for (const key of ["log_pi1", "q", "v", "reward", "log_pi"]) near(row[key], side[key][t], what, key, i, t); });
  });
  return found;
}

/* What the file itself says of every state, and the likeliest tokens in their order. */
function compareRecorded(pair, found, what) {
  [pair.chosen, pair.rejected].forEach((side, i) => found.rows[i].forEach((row, t) => {
    const token = t < side.ids.length ? side.tokens[t] : side.end;
    if (!token) return;
    for (const key of ["log_pi1", "q", "v", "v_next", "reward", "weight", "log_pi", "kl"]) if (key in token) near(row[key], token[key] ?? NaN, what, "recorded", key, i, t);
    const mine = row.candidates(token.base.length);
    for (const which of ["base", "custom"]) mine[which].forEach((c, k) => {
      if (c.id !== token[which][k].id) near(c.log_pi, token[which][k].log_pi, what, which, "in other order", k);
      for (const key of ["log_pi1", "q", "log_pi"]) near(c[key], token[which][k][key], what, which, key, k);
    });
  }));
}

/* Without its whole rows a pair is shown as it was written. */
function compareBare(pair, line, what) {
  const found = qadapter.scorePair({ ...pair, chosen: { ...pair.chosen, full: undefined }, rejected: { ...pair.rejected, full: undefined } }, data.objective, data.vocab_size);
  for (const key of ["logit", "pref", "reg", "loss"]) near(found[key], line[key], what, "as written", key);
  near(found.returns[0], line.chosen.return, what, "as written, return");
}

/* (M11) against the difference quotient of the loss: one Q-value of one state is moved. */
function compareGradient(pair, o, what) {
  const found = qadapter.scorePair(pair, o, data.vocab_size), h = 1e-5, size = data.vocab_size;
  ["chosen", "rejected"].forEach((name, i) => {
    const row = found.rows[i].filter(r => r.counted)[1] ?? found.rows[i].find(r => r.counted);
    if (!row) return;
    for (const a of [row.id, (row.id + 7) % size]) {
      const q = pair[name].full.q, at = row.state * size + a, before = q[at];
      const lossAt = x => { q[at] = x; return qadapter.scorePair(pair, o, size).loss; };
      const slope = (lossAt(before + h) - lossAt(before - h)) / (2 * h);
      q[at] = before;
      const p = Math.exp((before + o.alpha_0 * pair[name].full.log_pi1[at] - row.v) / o.alpha_tilde);
      const off = Math.abs((a === row.id ? row.g : 0) + row.value_gradient * p - slope);
      if (!(off <= 1e-7 * Math.max(1, Math.abs(slope)))) { console.error(`${what}: gradient off by ${off}, slope ${slope}`); process.exit(1); }
      compared++;
    }
  });
}

/* A potential leaves the margin of two finished answers to one prompt as it is, and at k = 0 everything. */
function compareTurned(pair, found, o, what) {
  const z = (kind, k) => { const r = found.rows.map(rows => qadapter.returnOf(rows.map(row => ({ ...row, reward: qadapter.turned(row, o, kind, k).reward })))); return r[0] - r[1]; };
  near(z("v", 0), found.logit, what, "turned by nothing");
  if (o.kind !== "theory" || o.length_normalisation || !pair.chosen.terminal || !pair.rejected.terminal) return;
  for (const kind of ["v", "mean", "constant"]) near(z(kind, 0.7), found.logit, what, "turned by", kind);
}

const own = linesOf(given[0]);
data.pairs.forEach((pair, i) => {
  qadapter.unpack(pair, data.precision);
  const found = compare(pair, data.objective, own[i], `pair ${i}`);
  near(found.logit, pair.logit, `pair ${i}`, "logit in the file");
  compareRecorded(pair, found, `pair ${i}`);
  compareBare(pair, own[i], `pair ${i}`);
  compareGradient(pair, data.objective, `pair ${i}`);
  compareTurned(pair, found, data.objective, `pair ${i}`);
});
for (let k = 1; k < given.length; k += 5) {
  const [alpha_0, alpha_tilde, gamma, beta] = given.slice(k, k + 4).map(Number), o = { ...data.objective, alpha_0, alpha_tilde, gamma, beta };
  const lines = linesOf(given[k + 4]);
  data.pairs.forEach((pair, i) => { compare(pair, o, lines[i], `pair ${i} at other dials`); compareGradient(pair, o, `pair ${i} at other dials`); });
}
console.log(`${compared} numbers agree, the worst to ${worst.toExponential(1)}`);
