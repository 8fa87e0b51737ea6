// Figures over time: runs and failures, tokens, cost, latency, outcomes; and the same by model, user, customer or name.
import { html, useMemo } from "../vendor/preact-htm.js";
import { Chart } from "./chart.js";
import { cost, count, duration, short, span as lasting } from "./format.js";
import { setQuery, useAnswer, Wait } from "./ui.js";

const SPANS = [["1h", "Hour", 3600, 60], ["24h", "Day", 86400, 3600], ["7d", "Week", 7 * 86400, 6 * 3600], ["30d", "Month", 30 * 86400, 86400]];
const GROUPS = [["model", "Model"], ["user", "User"], ["customer", "Customer"], ["name", "Name"], ["type", "Type"]];
const TYPES = [["", "All runs"], ["agent", "Agents"], ["llm", "Model calls"], ["tool", "Tools"]];
const HUES = ["--llm", "--agent", "--tool", "--retriever", "--embed", "--chain"];

export function Usage({ query }) {
  const [span, , seconds, width] = SPANS.find(([name]) => name === query.span) || SPANS[1];
  const by = GROUPS.some(([name]) => name === query.by) ? query.by : "model";
  const until = useMemo(() => Math.ceil(Date.now() / 1000 / width) * width * 1e6, [span]);
  const asked = { since_us: String(until - seconds * 1e6), until_us: String(until), width_us: String(width * 1e6), by };
  if (query.type) asked.type = query.type;
  const state = useAnswer("/view/usage", asked);
  const choice = (name, value, current, label) => html`<button type="button" aria-pressed=${value === current ? "true" : "false"} onClick=${() => setQuery({ [name]: value })}>${label}</button>`;
  return html`<div class="head"><h1>Usage</h1><div class="tools">
      <div class="segments" role="group" aria-label="Which runs">${TYPES.map(([value, label]) => choice("type", value, query.type || "", label))}</div>
      <div class="segments" role="group" aria-label="Time">${SPANS.map(([value, label]) => choice("span", value, span, label))}</div>
    </div></div>
    ${state.data ? html`<${Figures} data=${state.data} by=${by} choice=${choice} />` : html`<${Wait} state=${state} what="figures" />`}`;
}

function Figures({ data, by, choice }) {
  const drawn = useMemo(() => draw(data), [data]);
  const { all } = drawn;
  if (!all.runs && !data.usage.length) {
    return html`<div class="empty panel"><h2>Nothing ran in this time</h2><p>Choose a longer one.</p></div>`;
  }
  const failed = all.runs ? (100 * all.errors) / all.runs : 0;
  return html`
    <dl class="cards">
      <${Card} what="Runs" value=${count(all.runs)} />
      <${Card} what="Failed" value=${`${failed.toFixed(failed < 10 ? 1 : 0)}%`} more=${`${count(all.errors)} runs`} bad=${all.errors > 0} />
      <${Card} what="Tokens" value=${short(all.prompt + all.completion)} more=${`${short(all.prompt)} in, ${short(all.completion)} out`} />
      <${Card} what="Cost" value=${all.cost === null ? "–" : cost(all.cost)} more=${all.cost === null ? "no prices known" : ""} />
      ${drawn.outcomes.slice(0, 2).map((each) => html`<${Card} what=${each.label} value=${short(each.total)} more="outcomes" />`)}
    </dl>
    <div class="charts">
      <${Chart} title="Runs" times=${drawn.times} series=${drawn.runs} format=${short} bars=${true} />
      <${Chart} title="Tokens" times=${drawn.times} series=${drawn.tokens} format=${short} />
      <${Chart} title="Latency" times=${drawn.times} series=${drawn.latency} format=${lasting} />
      ${all.cost !== null && html`<${Chart} title="Cost" times=${drawn.times} series=${drawn.cost} format=${(dollars) => cost(dollars)} bars=${true} />`}
      ${drawn.outcomes.length > 0 && html`<${Chart} title="Outcomes" times=${drawn.times} series=${drawn.outcomes} format=${short} bars=${true} />`}
    </div>
    <div class="section"><h2>By</h2><div class="segments" role="group" aria-label="Grouped by">${GROUPS.map(([value, label]) => choice("by", value, by, label))}</div></div>
    <div class="panel figures" tabindex="0" role="region" aria-label=${`Figures by ${by}`}><table>
      <thead><tr><th scope="col">${GROUPS.find(([name]) => name === by)[1]}</th><th scope="col" class="right">Runs</th><th scope="col" class="right">Failed</th><th scope="col" class="right">Tokens in</th><th scope="col" class="right">Tokens out</th><th scope="col" class="right">Cost</th><th scope="col" class="right">Median</th><th scope="col" class="right">95%</th></tr></thead>
      <tbody>${data.groups.map((row) => html`<tr><td class="cut">${row.value ?? html`<span class="faint">none</span>`}</td><td class="num right">${count(row.runs)}</td>
        <td class=${`num right ${row.errors ? "s-error" : "soft"}`}>${row.errors ? `${((100 * row.errors) / row.runs).toFixed(1)}%` : "0"}</td>
        <td class="num right">${count(row.prompt)}</td><td class="num right">${count(row.completion)}</td><td class="num right">${cost(row.cost)}</td>
        <td class="num right">${duration(row.p50_us)}</td><td class="num right">${duration(row.p95_us)}</td></tr>`)}</tbody>
    </table></div>
    ${drawn.counted.length > 0 && html`<div class="section"><h2>Actions and outcomes</h2></div><div class="panel figures" tabindex="0" role="region" aria-label="Actions and outcomes"><table>
      <thead><tr><th scope="col">Name</th><th scope="col">Kind</th><th scope="col" class="right">Events</th><th scope="col" class="right">Value</th></tr></thead>
      <tbody>${drawn.counted.map((row) => html`<tr><td>${row.name}</td><td class="soft">${row.kind}</td><td class="num right">${count(row.count)}</td><td class="num right">${short(row.value)}</td></tr>`)}</tbody></table></div>`}`;
}

function Card({ what, value, more, bad }) {
  return html`<div class="panel card"><dt class="what">${what}</dt><dd class=${`value ${bad ? "bad" : ""}`}>${value}</dd>${more && html`<dd class="more-about">${more}</dd>`}</div>`;
}

// From slots to series: every slot of the time has a place, with 0 or nothing where there was no run.
function draw(data) {
  const slots = Math.ceil((data.until_us - data.since_us) / data.width_us);
  const times = Array.from({ length: slots }, (_, at) => (data.since_us + at * data.width_us) / 1e6);
  const found = new Map(data.series.map((row) => [row.slot ?? 0, row]));
  const values = (read, none) => times.map((_, at) => (found.has(at) ? read(found.get(at)) ?? none : none));
  const sum = (read) => data.series.reduce((total, row) => total + (read(row) || 0), 0);
  const dollars = data.series.some((row) => row.cost !== undefined) ? sum((row) => row.cost) : null;
  const all = { runs: sum((row) => row.runs), errors: sum((row) => row.errors), prompt: sum((row) => row.prompt), completion: sum((row) => row.completion), cost: dollars };
  const counted = new Map();
  for (const row of data.usage) {
    const key = `${row.kind} ${row.name}`;
    const entry = counted.get(key) || { kind: row.kind, name: row.name, count: 0, value: 0, slots: new Map() };
    entry.count += row.count;
    entry.value += row.value;
    entry.slots.set(row.slot, (entry.slots.get(row.slot) || 0) + row.value);
    counted.set(key, entry);
  }
  const outcomes = [...counted.values()].filter((entry) => entry.kind === "outcome").sort((a, b) => b.value - a.value).slice(0, HUES.length);
  return {
    times, all, counted: [...counted.values()].sort((a, b) => b.count - a.count),
    runs: [{ label: "runs", color: "--llm", values: values((row) => row.runs, 0), sum: count(all.runs) }, { label: "failed", color: "--error", values: values((row) => row.errors || null, null), sum: count(all.errors) }],
    tokens: [{ label: "in", color: "--agent", filled: true, values: values((row) => row.prompt, 0), sum: short(all.prompt) }, { label: "out", color: "--llm", filled: true, values: values((row) => row.completion, 0), sum: short(all.completion) }],
    latency: [{ label: "median", color: "--retriever", values: values((row) => row.p50_us, null) }, { label: "95%", color: "--tool", values: values((row) => row.p95_us, null) }],
    cost: [{ label: "dollars", color: "--embed", values: values((row) => row.cost, 0), sum: dollars === null ? "" : cost(dollars) }],
    outcomes: outcomes.map((entry, at) => ({ label: entry.name, total: entry.value, sum: short(entry.value), color: HUES[at], filled: true, values: times.map((_, slot) => entry.slots.get(slot) || 0) })),
  };
}
