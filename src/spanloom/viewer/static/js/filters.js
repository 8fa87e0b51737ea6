// Search and filters, kept in the address and nowhere else.
import { html, useEffect, useRef, useState } from "../vendor/preact-htm.js";
import { Icon, setQuery } from "./ui.js";

const TYPES = ["agent", "llm", "tool", "chain", "retriever", "embed", "chat", "thread"];
const STATUSES = ["ok", "error", "running", "killed", "cancelled", "abandoned"];
const SPANS = [["1h", "last hour"], ["24h", "last 24 hours"], ["7d", "last 7 days"], ["30d", "last 30 days"]];
const SORTS = [["duration", "slowest"], ["tokens", "most tokens"], ["cost", "costliest"], ["started", "by start"]];
const FIELDS = [
  ["name", "Name"], ["user", "User"], ["customer", "Customer"], ["model", "Model"], ["tag", "Tag"], ["thread", "Thread"], ["key", "Key"],
  ["min_ms", "Took at least, ms"], ["max_ms", "Took at most, ms"], ["min_cost", "Cost at least, $"],
];
const SENT = ["q", "type", "status", "thumb", "sort", "view", ...FIELDS.map(([name]) => name)];
const UNIT = { h: 3600e6, d: 86400e6 };

// The address as a question to the server.
export function question(query) {
  const asked = Object.fromEntries(SENT.filter((name) => query[name]).map((name) => [name, query[name]]));
  if (/^\d{1,4}[hd]$/.test(query.since || "")) {
    asked.since_us = String(Math.round(Date.now() * 1000 - parseInt(query.since, 10) * UNIT[query.since.slice(-1)]));
  }
  return asked;
}

export function Filters({ query }) {
  const extra = FIELDS.filter(([name]) => query[name]);
  const [open, setOpen] = useState(false);
  const inside = ["q", "type", "model", "tag", "name"].some((name) => query[name]);
  const view = query.view || (inside ? "runs" : "traces");
  const set = (name) => (event) => setQuery({ [name]: event.target.value });
  return html`<section class=${`filters ${open ? "open" : ""}`} aria-label="Search and filters">
    <div class="filter-line">
      <${Search} query=${query} />
      <div class="segments" role="group" aria-label="What is listed">
        <button type="button" aria-pressed=${view === "traces" ? "true" : "false"} onClick=${() => setQuery({ view: inside ? "traces" : null })}>Traces</button>
        <button type="button" aria-pressed=${view === "runs" ? "true" : "false"} onClick=${() => setQuery({ view: inside ? null : "runs" })}>All runs</button>
      </div>
      <${Choice} label="Type" value=${query.type} all="Any type" options=${TYPES.map((type) => [type, type])} change=${set("type")} />
      <${Choice} label="Status" value=${query.status} all="Any status" options=${STATUSES.map((status) => [status, status])} change=${set("status")} />
      <${Choice} label="Time" value=${query.since} all="Any time" options=${SPANS} change=${set("since")} />
      <${Choice} label="Feedback" value=${query.thumb} all="Any feedback" options=${[["up", "thumb up"], ["down", "thumb down"]]} change=${set("thumb")} />
      <${Choice} label="Order" value=${query.sort} all="Newest first" options=${SORTS} change=${set("sort")} />
      <button type="button" aria-expanded=${open ? "true" : "false"} onClick=${() => setOpen(!open)}>${open ? "Fewer filters" : "More filters"}</button>
    </div>
    ${open && html`<form class="filter-grid panel" onSubmit=${(event) => { event.preventDefault(); apply(event.target); }}>
      ${FIELDS.map(([name, label]) => html`<label><span>${label}</span><input name=${name} value=${query[name] || ""} inputmode=${/^m(in|ax)_/.test(name) ? "decimal" : null} autocomplete="off" /></label>`)}
      <div class="filter-end"><button type="submit" class="primary">Apply</button><button type="button" class="plain" onClick=${() => setQuery(Object.fromEntries(FIELDS.map(([name]) => [name, null])))}>Clear</button></div>
    </form>`}
    ${extra.length > 0 && html`<ul class="chips" aria-label="Conditions">${extra.map(([name, label]) => html`<li>
      <button type="button" class="small" onClick=${() => setQuery({ [name]: null })} aria-label=${`Without ${label} ${query[name]}`}>
        <span class="soft">${label}</span> <b class="cut">${query[name]}</b> <${Icon} name="close" /></button></li>`)}</ul>`}
  </section>`;
}

function apply(form) {
  setQuery(Object.fromEntries(FIELDS.map(([name]) => [name, form.elements[name].value.trim()])));
}

function Search({ query }) {
  const field = useRef(null);
  const timer = useRef(0);
  useEffect(() => { if (field.current && document.activeElement !== field.current) field.current.value = query.q || ""; }, [query.q]);
  useEffect(() => { if (query.focus === "search") { field.current.focus(); setQuery({ focus: null }, true); } }, []);
  const typed = (event) => {
    clearTimeout(timer.current);
    const text = event.target.value.trim();
    timer.current = setTimeout(() => setQuery({ q: text }, true), 250);
  };
  return html`<label class="search"><${Icon} name="search" /><span class="hidden">Search names, inputs, outputs and errors</span>
    <input ref=${field} type="search" placeholder="Search names, inputs, outputs, errors" onInput=${typed} autocomplete="off" spellcheck="false" /><kbd class="hide-phone" aria-hidden="true">/</kbd></label>`;
}

function Choice({ label, value, all, options, change }) {
  return html`<label class="choice"><span class="hidden">${label}</span>
    <select onChange=${change} class=${value ? "set" : ""} value=${value || ""}>
      <option value="">${all}</option>${options.map(([name, text]) => html`<option value=${name} selected=${value === name}>${text}</option>`)}
    </select></label>`;
}
