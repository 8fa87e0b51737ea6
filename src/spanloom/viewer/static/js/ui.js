// What every page shares: the address as state, loading, small parts. All text reaches the document as text nodes.
import { html, useEffect, useRef, useState } from "../vendor/preact-htm.js";
import { ask } from "./api.js";

export { html };

// ---- the address

const watchers = new Set();

export function go(url, replace) {
  history[replace ? "replaceState" : "pushState"](null, "", url);
  for (const each of [...watchers]) each();
  if (!replace) scrollTo(0, 0);
}

addEventListener("popstate", () => { for (const each of [...watchers]) each(); });

export function useAddress() {
  const [address, set] = useState(location.pathname + location.search);
  useEffect(() => {
    const watch = () => set(location.pathname + location.search);
    watchers.add(watch);
    return () => watchers.delete(watch);
  }, []);
  const [path, search] = address.split(/\?(.*)/s);
  return { path, query: Object.fromEntries(new URLSearchParams(search || "")) };
}

export function setQuery(changes, replace) {
  const query = new URLSearchParams(location.search);
  for (const [name, value] of Object.entries(changes)) {
    if (value === null || value === undefined || value === "") query.delete(name);
    else query.set(name, value);
  }
  const text = query.toString();
  go(location.pathname + (text ? `?${text}` : ""), replace);
}

export const traceUrl = (id) => `/traces/${encodeURIComponent(id)}`;
export const threadUrl = (id) => `/threads/${encodeURIComponent(id)}`;

// Clicks on our own links stay in this document.
export function follow(event) {
  const link = event.target.closest && event.target.closest("a[href]");
  if (!link || event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
  if (link.origin !== location.origin || link.hasAttribute("download") || link.target || link.hash) return;
  event.preventDefault();
  go(link.pathname + link.search);
}

// ---- data

export function useAnswer(path, query, needs) {
  const [state, set] = useState({ data: null, error: null, loading: true });
  const asked = useRef(0);
  const load = () => {
    const mine = ++asked.current;
    set((old) => ({ ...old, loading: true }));
    return ask(path, query).then(
      (data) => mine === asked.current && set({ data, error: null, loading: false }),
      (error) => mine === asked.current && set((old) => ({ data: old.data, error, loading: false })),
    );
  };
  useEffect(() => {
    set({ data: null, error: null, loading: true });
    load();
  }, needs || [path, JSON.stringify(query || null)]);
  return { ...state, load };
}

export function Wait({ state, what }) {
  if (state.error && state.error.empty) return html`<${Nothing} />`;
  if (state.error) return html`<div class="notice bad" role="alert">${state.error.message}</div>`;
  return html`<div class="loading" role="status">Loading ${what}…</div>`;
}

export function Nothing() {
  return html`<div class="empty panel">
    <h2>Nothing has been recorded yet</h2>
    <p>Run the demo, or point a program at this address:</p>
    <pre>${`spanloom demo\nSPANLOOM_COLLECTOR_URL=${location.origin} python your_agent.py`}</pre>
  </div>`;
}

// ---- parts

export const Type = ({ type }) => html`<span class="type k-${kind(type)}">${type || "run"}</span>`;
export const Status = ({ status, children }) => html`<span class="status s-${word(status)}">${children || status || "unknown"}</span>`;

const KINDS = new Set(["agent", "llm", "tool", "chain", "embed", "retriever", "chat", "thread"]);
const STATUSES = new Set(["ok", "error", "running", "killed", "cancelled", "abandoned"]);
export const kind = (type) => (KINDS.has(type) ? type : "chain");
const word = (status) => (STATUSES.has(status) ? status : "unknown");

let showToast = () => {};
export const toast = (text) => showToast(text);

export function Toast() {
  const [text, set] = useState("");
  useEffect(() => {
    let timer;
    showToast = (said) => {
      set(said);
      clearTimeout(timer);
      timer = setTimeout(() => set(""), 2200);
    };
  }, []);
  return html`<div role="status" aria-live="polite">${text && html`<div class="toast">${text}</div>`}</div>`;
}

export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    toast("Copied");
  } catch (error) {
    toast("This browser does not allow copying here");
  }
}

export const Copy = ({ text, label = "Copy" }) => html`<button type="button" class="plain small" onClick=${() => copy(typeof text === "function" ? text() : text)}>${label}</button>`;

export function Icon({ name }) {
  return html`<svg width="16" height="16" viewBox="0 0 16 16" fill="none" stroke="currentColor" stroke-width="1.6" stroke-linecap="round" stroke-linejoin="round" aria-hidden="true"><path d=${ICONS[name]} /></svg>`;
}

const ICONS = {
  sun: "M8 1.5v1.2M8 13.3v1.2M1.5 8h1.2M13.3 8h1.2M3.4 3.4l.9.9M11.7 11.7l.9.9M3.4 12.6l.9-.9M11.7 4.3l.9-.9M8 5a3 3 0 1 0 0 6 3 3 0 0 0 0-6Z",
  moon: "M13.2 9.6A5.6 5.6 0 0 1 6.4 2.8a5.6 5.6 0 1 0 6.8 6.8Z",
  keys: "M1.8 4h12.4v8H1.8ZM4.3 6.6h.01M6.8 6.6h.01M9.3 6.6h.01M11.8 6.6h.01M5 9.5h6",
  down: "M4 6l4 4 4-4",
  right: "M6 4l4 4-4 4",
  left: "M10 4L6 8l4 4",
  up: "M5 7.2V14H2.6V7.2ZM5 7.2 7.6 2c1 0 1.8.8 1.8 1.8v2.4h3.2c.9 0 1.6.8 1.4 1.7l-.9 4.7c-.1.8-.8 1.4-1.6 1.4H5",
  thumbdown: "M11 8.8V2h2.4v6.8ZM11 8.8 8.4 14c-1 0-1.8-.8-1.8-1.8V9.8H3.4c-.9 0-1.6-.8-1.4-1.7l.9-4.7C3 2.6 3.7 2 4.5 2H11",
  close: "M4 4l8 8M12 4l-8 8",
  search: "M7 2.5a4.5 4.5 0 1 0 0 9 4.5 4.5 0 0 0 0-9ZM10.3 10.3 14 14",
};

export function Thumb({ feedback }) {
  if (!feedback || !feedback.thumb) return null;
  return feedback.thumb === "up"
    ? html`<span class="thumb up" title="thumb up"><${Icon} name="up" /><span class="hidden">thumb up</span></span>`
    : html`<span class="thumb down" title="thumb down"><${Icon} name="thumbdown" /><span class="hidden">thumb down</span></span>`;
}
