// Two runs side by side: what differs in their figures, inputs and outputs, line by line.
import { html, useMemo } from "../vendor/preact-htm.js";
import { cost, count, duration, moment, title, tokensOf } from "./format.js";
import { Status, traceUrl, Type, useAnswer, Wait } from "./ui.js";

const MOST_CELLS = 4_000_000; // of the table that finds the common lines; beyond it the middle is shown as replaced
const PARTS = [["Input", "input"], ["Output", "output"], ["Messages", "messages"], ["Parameters", "params"], ["Metadata", "metadata"], ["Error", "error_text"], ["Stack", "error_stack"]];

export function Diff({ query }) {
  const left = useAnswer("/view/run", { id: query.a || "" });
  const right = useAnswer("/view/run", { id: query.b || "" });
  if (!left.data || !right.data) return html`<div class="head"><h1>Compare two runs</h1></div><${Wait} state=${left.error ? left : right} what="both runs" />`;
  return html`<div class="head"><h1>Compare two runs</h1></div><${Both} a=${left.data} b=${right.data} />`;
}

function Both({ a, b }) {
  const parts = PARTS.map(([label, name]) => [label, text(a.content[name]), text(b.content[name])]).filter(([, one, two]) => one || two);
  const same = parts.filter(([, one, two]) => one === two).map(([label]) => label.toLowerCase());
  return html`<div class="diff-heads"><${Side} run=${a.run} other=${b.run} /><${Side} run=${b.run} other=${a.run} /></div>
    ${parts.filter(([, one, two]) => one !== two).map(([label, one, two]) => html`<div class="section"><h2>${label}</h2></div><${Lines} one=${one} two=${two} label=${label} />`)}
    ${same.length > 0 && html`<p class="soft">The same in both: ${same.join(", ")}.</p>`}`;
}

function Side({ run, other }) {
  const facts = [["Took", duration(run.duration_us), duration(other.duration_us)], ["Tokens", count(tokensOf(run)), count(tokensOf(other))], ["Cost", cost(run.cost), cost(other.cost)], ["Model", run.model, other.model], ["Started", moment(run.started_us), null]];
  return html`<div class="panel"><div class="title-line"><a class="link cut" href=${traceUrl(run.id)}>${title(run)}</a><${Type} type=${run.type} /><${Status} status=${run.status} /></div>
    <dl class="facts">${facts.filter(([, value]) => value).map(([name, value, theirs]) => html`<dt>${name}</dt><dd class="num">${value !== theirs && theirs !== null ? html`<b>${value}</b>` : value}</dd>`)}</dl></div>`;
}

function Lines({ one, two, label }) {
  const rows = useMemo(() => pairs(linesOf(one), linesOf(two)), [one, two]);
  return html`<div class="panel diff" tabindex="0" role="region" aria-label=${`${label}, both runs`}><table><tbody>${rows.map(([left, right]) => html`<tr>
    <td class=${left !== right && left !== null ? "del" : ""}>${left ?? ""}</td><td class=${left !== right && right !== null ? "add" : ""}>${right ?? ""}</td></tr>`)}</tbody></table></div>`;
}

const linesOf = (said) => (said === "" ? [] : said.split("\n"));

function text(value) {
  if (value === undefined || value === null) return "";
  if (typeof value === "string") return value;
  const said = JSON.stringify(value, null, 2);
  return said === "{}" || said === "[]" ? "" : said;
}

// Lines beside each other: common ones together (longest common subsequence), the others alone or paired in order.
export function pairs(a, b) {
  let head = 0;
  while (head < a.length && head < b.length && a[head] === b[head]) head += 1;
  let tail = 0;
  while (tail < a.length - head && tail < b.length - head && a[a.length - 1 - tail] === b[b.length - 1 - tail]) tail += 1;
  const one = a.slice(head, a.length - tail), two = b.slice(head, b.length - tail);
  const middle = one.length * two.length <= MOST_CELLS ? common(one, two) : beside(one, two);
  const twice = (line) => [line, line];
  return [...a.slice(0, head).map(twice), ...middle, ...a.slice(a.length - tail).map(twice)];
}

function common(a, b) {
  const width = b.length + 1;
  const best = new Uint32Array((a.length + 1) * width);
  for (let i = a.length - 1; i >= 0; i--) {
    for (let j = b.length - 1; j >= 0; j--) {
      best[i * width + j] = a[i] === b[j] ? best[(i + 1) * width + j + 1] + 1 : Math.max(best[(i + 1) * width + j], best[i * width + j + 1]);
    }
  }
  const rows = [];
  let gone = [], come = [], i = 0, j = 0;
  const flush = () => { rows.push(...beside(gone, come)); gone = []; come = []; };
  while (i < a.length || j < b.length) {
    if (i < a.length && j < b.length && a[i] === b[j]) { flush(); rows.push([a[i], b[j]]); i += 1; j += 1; }
    else if (j >= b.length || (i < a.length && best[(i + 1) * width + j] >= best[i * width + j + 1])) { gone.push(a[i]); i += 1; }
    else { come.push(b[j]); j += 1; }
  }
  flush();
  return rows;
}

const beside = (a, b) => Array.from({ length: Math.max(a.length, b.length) }, (_, at) => [a[at] ?? null, b[at] ?? null]);
