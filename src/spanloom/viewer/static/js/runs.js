// The list of traces: search, filters that live in the address, live tail, pages that stay put while runs come in.
import { html, useEffect, useRef, useState } from "../vendor/preact-htm.js";
import { ask, listen } from "./api.js";
import { Filters, question } from "./filters.js";
import { ago, cost, count, duration, moment, title, tokensOf } from "./format.js";
import { go, setQuery, Status, Thumb, traceUrl, Type, Wait } from "./ui.js";

const kept = new Map(); // what was loaded, by address: going back shows it where it was left

export function Runs({ query }) {
  const key = JSON.stringify({ ...query, live: undefined, focus: undefined });
  const [state, set] = useState(() => kept.get(key) || EMPTY);
  const [picked, pick] = useState([]);
  const live = query.live !== "off" && !query.sort;
  const current = useRef(key);
  current.current = key;
  const keep = (next) => {
    kept.set(key, next);
    if (kept.size > 12) kept.delete(kept.keys().next().value);
    if (current.current === key) set(next);
  };

  const first = (quiet) => {
    if (!quiet && !kept.has(key)) set(EMPTY);
    return ask("/view/runs", question(query)).then(
      (page) => keep(quiet ? joined(kept.get(key) || EMPTY, page) : { ...fresh(page) }),
      (error) => current.current === key && set({ ...(kept.get(key) || EMPTY), error, loading: false }),
    );
  };
  const more = () => {
    const { next, offset } = state;
    const further = next === null ? { offset } : { after: next };
    ask("/view/runs", { ...question(query), ...further }).then((page) => {
      const known = new Set(state.rows.map((row) => row.run.id));
      keep({ ...state, rows: [...state.rows, ...page.runs.filter((row) => !known.has(row.run.id))], next: page.next, offset: page.offset, looked: page.looked_to_us });
    }, (error) => set({ ...state, error }));
  };

  useEffect(() => { set(kept.get(key) || EMPTY); first(kept.has(key)); }, [key]);
  useEffect(() => (live ? listen(throttled(() => first(true))) : undefined), [key, live]);
  useEffect(() => rowKeys(), []);

  const toggle = (id) => pick(picked.includes(id) ? picked.filter((each) => each !== id) : [...picked, id].slice(-2));
  return html`
    <div class="head">
      <h1>Runs</h1>
      <div class="tools">
        ${picked.length > 0 && html`<button type="button" class=${picked.length === 2 ? "primary" : ""} disabled=${picked.length < 2}
          onClick=${() => go(`/diff?a=${encodeURIComponent(picked[0])}&b=${encodeURIComponent(picked[1])}`)}>Compare ${picked.length} of 2</button>`}
        <button type="button" class="live" aria-pressed=${live ? "true" : "false"} disabled=${!!query.sort} title="Runs appear as they come in"
          onClick=${() => setQuery({ live: live ? "off" : null }, true)}><span class="dot"></span>Live</button>
      </div>
    </div>
    <${Filters} query=${query} />
    ${state.among && html`<p class="soft bound">Sorted among the newest ${state.among} that are like this. <a class="link" href="#" onClick=${(event) => { event.preventDefault(); setQuery({ sort: null }); }}>All, newest first</a></p>`}
    ${state.error && state.rows.length > 0 && html`<div class="notice bad" role="alert">${state.error.message}</div>`}
    ${state.rows.length > 0 ? html`<${Table} rows=${state.rows} now=${state.now} picked=${picked} toggle=${toggle} />`
      : state.loading || state.error ? html`<${Wait} state=${state} what="runs" />`
      : state.next !== null ? html`<div class="empty panel"><h2>No run is like that, so far</h2><p>What arrived before ${moment(state.looked)} was not looked at yet.</p></div>`
      : filtered(query) ? html`<div class="empty panel"><h2>No run is like that</h2><p><a class="link" href="/">Without conditions</a> there may be more.</p></div>`
      : html`<${Wait} state=${{ error: { empty: true } }} />`}
    ${(state.next !== null || state.offset !== null) && html`<div class="more">
      ${state.looked && state.next !== null && state.rows.length > 0 && html`<p class="soft">What arrived before ${moment(state.looked)} was not looked at yet.</p>`}
      <button type="button" onClick=${more}>${state.looked && state.next !== null ? "Look further back" : query.sort ? "Show more runs" : "Show older runs"}</button></div>`}`;
}

const EMPTY = { rows: [], next: null, offset: null, looked: null, among: null, now: 0, error: null, loading: true };
const fresh = (page) => ({ rows: page.runs, next: page.next, offset: page.offset, looked: page.looked_to_us, among: page.among && `${count(page.among)} ${page.of}`, now: page.now_us, error: null, loading: false });
const filtered = (query) => Object.keys(query).some((name) => !["live", "focus", "view"].includes(name));

// The newest page laid over what is shown: known runs are renewed in place, new ones come first, older ones stay.
function joined(old, page) {
  const newest = new Map(page.runs.map((row) => [row.run.id, row]));
  const known = new Set(old.rows.map((row) => row.run.id));
  if (!old.rows.length) return fresh(page);
  const added = page.runs.filter((row) => !known.has(row.run.id)).map((row) => ({ ...row, fresh: true }));
  return { ...old, rows: [...added, ...old.rows.map((row) => newest.get(row.run.id) || row)], now: page.now_us, error: null, loading: false };
}

function throttled(work) {
  let waiting = null;
  return () => {
    if (waiting) return;
    waiting = setTimeout(() => { waiting = null; work(); }, 400);
  };
}

function Table({ rows, now, picked, toggle }) {
  return html`<div class="panel list"><table class="runs">
    <thead><tr>
      <th scope="col" class="pick"><span class="hidden">compare</span></th><th scope="col">Run</th><th scope="col">User</th>
      <th scope="col" class="right">Took</th><th scope="col" class="right">Tokens</th><th scope="col" class="right">Cost</th>
      <th scope="col">Feedback</th><th scope="col" class="right">When</th>
    </tr></thead>
    <tbody>${rows.map((row) => html`<${Row} key=${row.run.id} row=${row} now=${now} picked=${picked.includes(row.run.id)} toggle=${toggle} />`)}</tbody>
  </table></div>`;
}

export function Row({ row, now, picked, toggle }) {
  const { run, trace } = row;
  const tokens = (trace && trace.tokens) ?? tokensOf(run);
  const dollars = (trace && trace.cost) ?? run.cost;
  const open = (event) => {
    if (event.target.closest("a, input, button, label") || String(getSelection())) return;
    go(traceUrl(run.id));
  };
  const failed = run.status === "error" || run.status === "killed";
  const inner = !failed && trace && trace.errors;
  return html`<tr class=${`${failed ? "failed" : ""} ${row.fresh ? "fresh" : ""}`} onClick=${open}>
    <td class="pick"><label><input type="checkbox" checked=${picked} onChange=${() => toggle(run.id)} /><span class="hidden">compare ${title(run)}</span></label></td>
    <td class="what">
      <div class="line"><${Status} status=${run.status}><span class="hidden">${run.status || ""}</span><//>
        <a class="name cut" data-row href=${traceUrl(run.id)}>${title(run)}</a><${Type} type=${run.type} />
        ${run.status === "running" && html`<span class="pill warn">running</span>`}
        ${["killed", "cancelled", "abandoned"].includes(run.status) && html`<span class="pill bad">${run.status}</span>`}
        ${inner ? html`<span class="pill warn">${count(trace.errors)} failed inside</span>` : null}
        ${run.parent_id && run.root_id && run.root_id !== run.id && run.type !== "chat" && html`<span class="faint hide-phone">inside a trace</span>`}
        ${(run.tags || []).slice(0, 4).map((tag) => html`<a class="pill hide-phone" href=${`/?tag=${encodeURIComponent(tag)}`}>${tag}</a>`)}
      </div>
      <div class="said cut">${row.asked && html`<span>${row.asked}</span>`}${row.answered && !failed && html`<span class="faint"> → ${row.answered}</span>`}</div>
      ${failed && (run.error_message || run.error_type) && html`<div class="why cut"><b>${run.error_type || "error"}</b> ${run.error_message || ""}</div>`}
    </td>
    <td class="user cut">${run.user_id ? html`<a href=${`/?user=${encodeURIComponent(run.user_id)}`}>${run.user_id}</a>` : html`<span class="faint">–</span>`}</td>
    <td class="num right took">${duration(run.duration_us)}</td>
    <td class="num right tokens">${count(tokens)}</td>
    <td class="num right cost">${cost(dollars)}</td>
    <td class="given"><${Thumb} feedback=${run.feedback} />${run.feedback && run.feedback.comment && html`<span class="cut comment" title=${run.feedback.comment}>${run.feedback.comment}</span>`}</td>
    <td class="num right when" title=${moment(run.started_us ?? run.received_us)}>${ago(run.started_us ?? run.received_us, now)}</td>
  </tr>`;
}

// j and k go from row to row.
function rowKeys() {
  const pressed = (event) => {
    if (event.metaKey || event.ctrlKey || event.altKey || /^(INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName)) return;
    const step = { j: 1, k: -1 }[event.key];
    if (!step) return;
    const links = [...document.querySelectorAll("a[data-row]")];
    const at = links.indexOf(document.activeElement);
    const next = links[Math.max(0, Math.min(links.length - 1, at + step))];
    if (next) { event.preventDefault(); next.focus(); next.scrollIntoView({ block: "nearest" }); }
  };
  addEventListener("keydown", pressed);
  return () => removeEventListener("keydown", pressed);
}
