// The chosen run: why it failed, what it was asked and answered, its moments, feedback, facts and raw events.
import { html, useEffect, useState } from "../vendor/preact-htm.js";
import { one } from "./api.js";
import { Messages, Said } from "./content.js";
import { GiveFeedback } from "./feedback.js";
import { cost, count, duration, moment, title } from "./format.js";
import { Json } from "./json.js";
import { Copy, go, Status, threadUrl, traceUrl, Type } from "./ui.js";

export function Detail({ node, span, reload }) {
  const { run } = node;
  const [state, set] = useState({ data: null, error: null });
  const load = () => one("run", run.id).then((data) => set({ data, error: null }), (error) => set({ data: null, error }));
  useEffect(() => { load(); }, [run.id, run.ended_us]);
  const content = state.data && state.data.content;
  const compared = remembered();
  return html`<article class="detail">
    <header class="detail-head">
      <div class="title-line"><h2 class="cut">${title(run)}</h2><${Type} type=${run.type} /><${Status} status=${run.status} /></div>
      <div class="soft detail-facts num">
        ${run.duration_us !== undefined && html`<span>${duration(run.duration_us)}</span>`}
        <span>at +${duration(Math.max(0, node.start - span.from)) || "0"}</span>
        ${run.first_item_us !== undefined && html`<span>first item after ${duration(Math.max(0, run.first_item_us - node.start))}</span>`}
        ${run.model && html`<span>${run.model}</span>`}
        ${run.tokens && run.tokens.prompt !== undefined && html`<span>${count(run.tokens.prompt)} in${run.tokens.cached ? ` (${count(run.tokens.cached)} cached)` : ""}, ${count(run.tokens.completion || 0)} out</span>`}
        ${run.cost !== undefined && html`<span>${cost(run.cost)}</span>`}
      </div>
      <div class="detail-tools">
        <${Copy} text=${run.id} label="Copy id" />
        ${compared && compared !== run.id
          ? html`<button type="button" class="plain small" onClick=${() => go(`/diff?a=${encodeURIComponent(compared)}&b=${encodeURIComponent(run.id)}`)}>Compare with the marked run</button>`
          : html`<button type="button" class="plain small" onClick=${() => { remember(run.id); set({ ...state }); }}>${compared === run.id ? "Marked: choose another run" : "Compare…"}</button>`}
      </div>
    </header>
    ${state.error && html`<div class="notice bad" role="alert">${state.error.message}</div>`}
    ${(run.error_message !== undefined || run.error_type !== undefined) && html`<${Failed} run=${run} content=${content} />`}
    ${run.skewed && html`<p class="notice">The clocks had this run end before it began; its duration is unknown.</p>`}
    ${content && html`
      ${content.messages && content.messages.length > 0 && html`<section class="block"><header><h3>Messages</h3></header><${Messages} messages=${content.messages.map((each) => asMessage(each.message))} /></section>`}
      <${Said} label=${run.type === "tool" ? "Arguments" : "Input"} value=${content.input} />
      <${Said} label=${run.type === "tool" ? "Result" : "Output"} value=${content.output} />
      <${Points} points=${content.points} start=${node.start} />
      <${GiveFeedback} run=${state.data.run} given=${state.data.given} done=${() => { load(); reload(); }} />
      <${Parts} label="Parameters" parts=${content.params} /><${Parts} label="Metadata" parts=${content.metadata} />
      <${Parts} label="User" parts=${content.user_props} /><${Parts} label="Extra" parts=${content.extra} />
      ${content.omitted > 0 && html`<p class="notice">${count(content.omitted)} events of this run are too many or unreadable, and left out here.</p>`}
      <${Facts} run=${state.data.run} />
      <${Raw} id=${run.id} />`}
    ${!content && !state.error && html`<div class="loading" role="status">Loading…</div>`}
  </article>`;
}

const asMessage = (value) => (value !== null && typeof value === "object" && typeof value.role === "string" ? value : { role: "message", content: value });

function remember(id) { try { sessionStorage.setItem("spanloom-compare", id); } catch (error) { /* storage is switched off */ } }
function remembered() { try { return sessionStorage.getItem("spanloom-compare"); } catch (error) { return null; } }

function Failed({ run, content }) {
  const stack = content && content.error_stack;
  const message = (content && content.error_text) || run.error_message || "";
  return html`<section class="block error-block" aria-label="Error">
    <p class="error-line"><b>${run.error_type || "Error"}</b> ${message}</p>
    ${stack && html`<details open><summary>Stack</summary><div class="stack-tools"><${Copy} text=${stack} /></div><pre class="stack">${stack}</pre></details>`}
  </section>`;
}

function Points({ points, start }) {
  if (!points || !points.length) return null;
  return html`<section class="block"><header><h3>Moments</h3></header><ol class="points">${points.map((point) => html`<li>
    <span class="num soft">+${duration(Math.max(0, (point.time_us ?? start) - start)) || "0"}</span><div><b>${point.label}</b>${point.data !== undefined && html`<${Json} value=${point.data} />`}</div></li>`)}</ol></section>`;
}

function Parts({ label, parts }) {
  if (!parts || !Object.keys(parts).length) return null;
  return html`<section class="block"><header><h3>${label}</h3></header><${Json} value=${parts} name=${label} /></section>`;
}

function Facts({ run }) {
  const facts = [
    ["Id", run.id], ["Parent", run.parent_id], ["Root", run.root_id], ["Key", run.key], ["User", run.user_id], ["Customer", run.customer], ["Thread", run.thread_id],
    ["Service", run.service], ["Runtime", run.runtime], ["Template", run.template_version_id], ["Response id", run.response_id],
    ["Trace id", run.trace_id], ["Outer span", run.parent_span_id], ["Started", moment(run.started_us)], ["First item", moment(run.first_item_us)],
    ["Ended", moment(run.ended_us)], ["Received", moment(run.received_us)], ["Items", run.items],
    ["Reasoning tokens", run.tokens && run.tokens.reasoning],
  ].filter(([, value]) => value !== undefined && value !== null && value !== "");
  const link = (name, value) => {
    if (name === "Thread") return html`<a class="link" href=${threadUrl(value)}>${value}</a>`;
    if (name === "Parent" || name === "Root") return html`<a class="link" href=${traceUrl(value)}>${value}</a>`;
    return String(value);
  };
  return html`<section class="block"><header><h3>Facts</h3></header><dl class="facts">${facts.map(([name, value]) => html`<dt>${name}</dt><dd class=${/id|Id|Parent|Root|span/.test(name) ? "mono" : "num wrap"}>${link(name, value)}</dd>`)}</dl></section>`;
}

function Raw({ id }) {
  const [events, set] = useState(null);
  const load = (event) => { if (event.target.open && !events) one("events", id).then((data) => set(data.events), (error) => set([{ kind: "error", text: error.message }])); };
  return html`<details class="block raw" onToggle=${load}><summary>Events as received</summary>
    ${events && events.map((event) => html`<div class="raw-event"><div class="soft num">${event.kind} · ${moment(event.received_us)}</div>
      ${event.json !== undefined ? html`<${Json} value=${event.json} name=${event.kind} />` : html`<pre class="stack">${event.text}</pre>`}</div>`)}
  </details>`;
}
