// Tree and waterfall as one list of rows of equal height, of which only those in sight exist in the document.
import { Component, html, useEffect, useLayoutEffect, useMemo, useRef, useState } from "../vendor/preact-htm.js";
import { cost, count, duration, short, title } from "./format.js";
import { bad } from "./tree.js";
import { kind } from "./ui.js";

const HEIGHT = 30;
const OVERSCAN = 4;

export function Rows({ rows, span, folded, chosen, choose, toggle, critical }) {
  const box = useRef(null);
  const [range, setRange] = useState([0, 80]);
  const measure = () => {
    const { scrollTop, clientHeight } = box.current;
    const first = Math.max(0, Math.floor(scrollTop / HEIGHT) - OVERSCAN);
    const last = Math.ceil((scrollTop + clientHeight) / HEIGHT) + OVERSCAN;
    setRange((old) => (old[0] === first && old[1] === last ? old : [first, last]));
  };
  useLayoutEffect(measure, [rows.length]);
  useEffect(() => {
    const watching = new ResizeObserver(measure);
    watching.observe(box.current);
    return () => watching.disconnect();
  }, []);
  const deepest = useMemo(() => rows.reduce((most, node) => Math.max(most, node.depth), 1), [rows]); // spread throws at 100,000
  const at = rows.indexOf(chosen);
  useEffect(() => {
    if (at < 0) return;
    const { scrollTop, clientHeight } = box.current;
    const y = at * HEIGHT;
    if (y < scrollTop || y + HEIGHT > scrollTop + clientHeight) box.current.scrollTop = Math.max(0, y - clientHeight / 2);
  }, [chosen, rows]);

  const pressed = (event) => {
    const move = { ArrowDown: 1, j: 1, ArrowUp: -1, k: -1, PageDown: 12, PageUp: -12, Home: -rows.length, End: rows.length }[event.key];
    const node = rows[Math.max(0, at)];
    if (move) choose(rows[Math.max(0, Math.min(rows.length - 1, Math.max(0, at) + move))]);
    else if (event.key === "ArrowRight" && node.children.length) { if (folded.has(node.id)) toggle(node, false); else choose(node.children[0]); }
    else if (event.key === "ArrowLeft") { if (node.children.length && !folded.has(node.id)) toggle(node, true); else if (node.parent) choose(node.parent); }
    else if (event.key === "Enter") choose(node, true);
    else return;
    event.preventDefault();
    event.stopPropagation();
  };

  // One listener for all rows, so that a row is drawn again only when what it shows has changed.
  const clicked = (event) => {
    const line = event.target.closest("[data-at]");
    const node = line && rows[Number(line.dataset.at)];
    if (!node) return;
    if (event.target.closest(".caret") && node.children.length) toggle(node);
    else choose(node, true);
  };

  const seen = rows.slice(range[0], range[1]);
  const pool = Math.max(1, range[1] - range[0]); // elements are used again for other rows instead of being made anew
  return html`<div class="axis" aria-hidden="true"><div class="axis-ticks">${[0, 0.25, 0.5, 0.75].map((part) => html`<span style=${{ left: `${part * 100}%` }}>${duration(Math.round((span.to - span.from) * part)) || "0"}</span>`)}</div></div>
    <div class=${`rows ${critical ? "only-critical" : ""}`} ref=${box} role="tree" tabindex="0" aria-label="Runs, with their time" onScroll=${measure} onKeyDown=${pressed}
      aria-activedescendant=${at >= range[0] && at < range[1] ? `row-${chosen.index}` : null}>
      <div class="rows-all" role="presentation" onClick=${clicked} style=${`height: ${rows.length * HEIGHT}px; --deepest: ${deepest}`}>
        ${seen.map((node, offset) => html`<${Row} key=${(range[0] + offset) % pool} node=${node} at=${range[0] + offset} span=${span} shut=${folded.has(node.id)} isChosen=${node === chosen} />`)}
      </div>
    </div>`;
}

class Row extends Component {
  shouldComponentUpdate(next) {
    return ["node", "at", "span", "shut", "isChosen"].some((name) => next[name] !== this.props[name]);
  }

  render({ node, at, span, shut, isChosen }) {
    return drawn(node, at, span, shut, isChosen);
  }
}

function drawn(node, at, span, shut, isChosen) {
  const { run } = node;
  const state = bad(node) ? "is-bad" : run.status === "running" ? "is-running" : "";
  const tokens = node.tokens;
  return html`<div class=${`row k-${kind(run.type)} ${state} ${isChosen ? "chosen" : ""} ${node.critical ? "critical" : ""}`} id=${`row-${node.index}`} role="treeitem"
      aria-level=${node.depth + 1} aria-selected=${isChosen ? "true" : "false"} aria-expanded=${node.children.length ? String(!shut) : null}
      data-at=${at} style=${{ transform: `translateY(${at * HEIGHT}px)` }}>
    <div class="row-name" style=${`--depth: ${node.depth}`}>
      ${node.children.length
        ? html`<span class=${`caret ${shut ? "shut" : ""}`}></span>`
        : html`<span class="caret none"></span>`}
      <span class="swatch"></span><span class="hidden">${run.type || "run"}, ${run.status || ""}:</span><span class="cut label">${title(run)}</span>
      ${run.model && run.model !== run.name && !node.marks.length && html`<span class="cut faint model">${run.model}</span>`}
      ${node.parent && run.service && run.service !== node.parent.run.service && html`<span class="pill hide-phone" title="recorded by this service">${run.service}</span>`}
      ${shut && html`<span class="pill">${count(node.last - node.index)}</span>`}
      ${shut && node.errors > 0 && !bad(node) && html`<span class="pill bad">${count(node.errors)} failed</span>`}
      ${node.hidden > 0 && html`<span class="pill" title="left out here">+${count(node.hidden)}</span>`}
      ${node.orphan && html`<span class="pill warn" title="Its parent has not arrived">orphan</span>`}
      ${node.loop && html`<span class="pill warn" title="Its parents lead back to itself">loop</span>`}
      ${bad(node) && html`<span class="pill bad">${run.status === "killed" ? "killed" : run.error_type || "error"}</span>`}
      ${node.marks.map((mark) => html`<span class="pill mark">${mark}</span>`)}
    </div>
    <div class="row-figure num">${node.run.cost ? html`<span class="row-cost">${cost(node.run.cost)}</span>` : tokens !== null && tokens !== undefined ? html`<span class="row-tok">${tokens < 10000 ? count(tokens) : short(tokens)} tok</span>` : null}<span>${duration(run.duration_us)}</span></div>
    <${Bar} node=${node} span=${span} />
  </div>`;
}

function Bar({ node, span }) {
  const all = Math.max(1, span.to - span.from);
  const left = clamp(((node.start - span.from) / all) * 100);
  const width = node.end === null ? 0 : Math.min(100 - left, ((node.end - node.start) / all) * 100);
  const first = node.run.first_item_us;
  const wait = first !== undefined && node.end > node.start ? clamp(((first - node.start) / (node.end - node.start)) * 100) : null;
  return html`<div class="row-bar"><div class="bar-fill" style=${{ left: `min(${left}%, 100% - 3px)`, width: `max(3px, ${width}%)` }}>${wait !== null && html`<div class="bar-wait" style=${{ width: `${wait}%` }}></div>`}</div></div>`;
}

const clamp = (value) => Math.max(0, Math.min(99.6, value || 0));
