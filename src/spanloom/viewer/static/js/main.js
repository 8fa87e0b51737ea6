// The shell: which page an address means, the bar, the keys that work everywhere.
import { html, render, useEffect, useRef, useState } from "../vendor/preact-htm.js";
import { ask, projectChosen, useKey, useProject } from "./api.js";
import { Delivery } from "./delivery.js";
import { Diff } from "./diff.js";
import { FeedbackPage } from "./feedback.js";
import { Health } from "./health.js";
import { Runs } from "./runs.js";
import { Thread, Threads } from "./threads.js";
import { Trace } from "./trace.js";
import { follow, go, Icon, Toast, useAddress } from "./ui.js";
import { Usage } from "./usage.js";

const TABS = [
  ["/", "Runs"], ["/threads", "Threads"], ["/feedback", "Feedback"], ["/usage", "Usage"], ["/delivery", "Delivery"], ["/health", "Health"],
];

const KEYS = [
  ["/", "search"], ["j k", "next and previous run"], ["Enter", "open"], ["← →", "fold and unfold"], ["e", "go to the failure"],
  ["c", "critical path"], ["b", "back to the runs"], ["g then r t f u d h", "go to a page"], ["?", "these keys"],
];

function pageOf(path, query) {
  const [, first, ...rest] = path.split("/");
  const id = rest.length ? decoded(rest.join("/")) : "";
  if (first === "") return ["Runs", html`<${Runs} query=${query} />`];
  if (first === "traces" && id) return ["Trace", html`<${Trace} key=${id + (query.whole || "")} id=${id} query=${query} />`, true];
  if (first === "threads" && id) return ["Thread", html`<${Thread} key=${id} id=${id} />`];
  if (first === "threads") return ["Threads", html`<${Threads} />`];
  if (first === "feedback") return ["Feedback", html`<${FeedbackPage} />`];
  if (first === "usage") return ["Usage", html`<${Usage} query=${query} />`];
  if (first === "delivery") return ["Delivery", html`<${Delivery} />`];
  if (first === "health") return ["Health", html`<${Health} />`];
  if (first === "diff") return ["Diff", html`<${Diff} query=${query} />`];
  return ["Not found", html`<div class="empty"><h2>There is no such page</h2><p><a href="/">All runs</a></p></div>`];
}

function decoded(text) {
  try { return decodeURIComponent(text); } catch (error) { return text; }
}

function App() {
  const { path, query } = useAddress();
  const [name, page, wide] = pageOf(path, query);
  const keys = useRef(null);
  const before = useRef(path);
  useEffect(() => { // a new page is begun from its top, by keyboards and screen readers too
    if (before.current !== path) document.getElementById("main").focus({ preventScroll: true });
    before.current = path;
  }, [path]);
  useEffect(() => { // where the pages are more than a phone shows at once
    const here = document.querySelector('.bar nav [aria-current="page"]');
    const { parentElement: nav } = here || {};
    if (here) nav.scrollLeft = here.offsetLeft - nav.offsetLeft - (nav.clientWidth - here.offsetWidth) / 2;
  }, [name]);
  useEffect(() => { document.title = `${name} · Spanloom`; }, [name]);
  useEffect(() => {
    const pressed = globalKeys(() => keys.current && keys.current.showModal());
    addEventListener("keydown", pressed);
    return () => removeEventListener("keydown", pressed);
  }, []);
  return html`
    <a class="skip" href="#main">To the content</a>
    <header class="bar">
      <a class="brand" href="/" aria-label="Spanloom, all runs"><${Mark} /><span>Spanloom</span></a>
      <nav aria-label="Pages">
        ${TABS.map(([href, label]) => html`<a href=${href} aria-current=${isAt(path, href) ? "page" : null}>${label}</a>`)}
      </nav>
      <div class="push">
        <${Project} />
        <button type="button" class="plain icon hide-phone" aria-label="Keys" title="Keys (?)" onClick=${() => keys.current.showModal()}><${Icon} name="keys" /></button>
        <${Theme} />
      </div>
    </header>
    <main id="main" tabindex="-1" class=${wide ? "wide" : ""}>${page}</main>
    <dialog ref=${keys} aria-label="Keys">
      <h2>Keys</h2>
      <dl>${KEYS.map(([key, does]) => html`<dt><kbd>${key}</kbd></dt><dd>${does}</dd>`)}</dl>
      <button type="button" onClick=${() => keys.current.close()}>Close</button>
    </dialog>
    <${KeyForm} />
    <${Toast} />`;
}

// Shown where there are several projects to choose among.
function Project() {
  const [known, set] = useState({ shown: "", projects: [] });
  useEffect(() => {
    ask("/view/projects").then((found) => {
      if (projectChosen() && !found.projects.includes(projectChosen())) { // of another store that stood at this address
        useProject(null);
        if (found.projects.length) location.reload();
      }
      set(found);
    }, () => { /* an empty store, or a key that is asked for */ });
  }, []);
  if (known.projects.length < 2) return null;
  const change = (event) => {
    useProject(event.target.value);
    location.assign("/");
  };
  return html`<label class="project"><span class="hidden">Project</span><select value=${known.shown} onChange=${change}>
    ${known.projects.map((name) => html`<option value=${name} selected=${name === known.shown}>${name}</option>`)}
  </select></label>`;
}

// A collector with keys shows nothing without one.
function KeyForm() {
  const box = useRef(null);
  useEffect(() => {
    const needed = () => { if (!box.current.open) box.current.showModal(); };
    addEventListener("needkey", needed);
    return () => removeEventListener("needkey", needed);
  }, []);
  const submit = (event) => {
    useKey(event.target.elements.key.value.trim());
    location.reload();
  };
  return html`<dialog ref=${box} aria-label="Key">
    <h2>This collector asks for a key</h2>
    <p class="soft">It decides whose runs are shown, and is kept for this tab only.</p>
    <form class="key-form" onSubmit=${(event) => { event.preventDefault(); submit(event); }}>
      <label><span class="hidden">Key</span><input name="key" type="password" autocomplete="off" required placeholder="Key" /></label>
      <button type="submit" class="primary">Show the runs</button>
    </form></dialog>`;
}

function isAt(path, href) {
  if (href === "/") return path === "/" || path.startsWith("/traces/") || path === "/diff";
  return path === href || path.startsWith(href + "/");
}

const Mark = () => html`<svg viewBox="0 0 32 32" aria-hidden="true"><rect width="32" height="32" rx="7" fill="var(--accent)" /><g stroke="#fff" stroke-width="2.6" stroke-linecap="round"><path d="M7 9h18" /><path d="M11 16h12" /><path d="M15 23h5" /></g></svg>`;

function Theme() {
  const root = document.documentElement;
  const dark = () => (root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches);
  const [isDark, set] = useState(dark());
  const change = () => {
    root.dataset.theme = isDark ? "light" : "dark";
    try { localStorage.setItem("spanloom-theme", root.dataset.theme); } catch (error) { /* storage is switched off */ }
    set(!isDark);
    dispatchEvent(new Event("themechange"));
  };
  return html`<button type="button" class="plain icon" aria-label=${isDark ? "Light theme" : "Dark theme"} title="Theme" onClick=${change}><${Icon} name=${isDark ? "sun" : "moon"} /></button>`;
}

// "g" waits for the letter of a page; everything else belongs to the page.
function globalKeys(showKeys) {
  const pages = { r: "/", t: "/threads", f: "/feedback", u: "/usage", d: "/delivery", h: "/health" };
  let going = 0;
  return (event) => {
    if (event.metaKey || event.ctrlKey || event.altKey || isTyping(event.target)) return;
    if (event.key === "?") showKeys();
    else if (event.key === "g") { going = Date.now(); return; }
    else if (Date.now() - going < 1200 && pages[event.key]) { event.preventDefault(); event.stopImmediatePropagation(); go(pages[event.key]); }
    else if (event.key === "/") {
      const search = document.querySelector("input[type=search]");
      event.preventDefault();
      if (search) search.focus(); else go("/?focus=search");
    } else if (event.key === "b") go("/");
    going = 0;
  };
}

const isTyping = (target) => target instanceof HTMLElement && (target.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName));

document.addEventListener("click", follow);
render(html`<${App} />`, document.getElementById("app"));
