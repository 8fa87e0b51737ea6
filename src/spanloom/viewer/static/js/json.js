// A JSON value as a tree that folds, with copy. Values are text nodes: what they contain is shown and never obeyed.
import { html, useState } from "../vendor/preact-htm.js";
import { Copy } from "./ui.js";

const OPEN_ITEMS = 24; // a list or object with more starts folded below the top
const PAGE_ITEMS = 100;
const LONG_TEXT = 1500;
const ENCODED_TEXT = 80; // of a picture's or file's bytes as base64, which nobody reads
const ENCODED = /^(data:[^,]{0,100},)?[A-Za-z0-9+/=_-]{256}/;

export function Json({ value, name = "value" }) {
  return html`<div class="json mono"><div class="json-tools"><${Copy} text=${() => JSON.stringify(value, null, 2)} label="Copy JSON" /></div><${Value} value=${value} depth=${0} name=${name} /></div>`;
}

function Value({ value, depth, name, label }) {
  if (value === null || typeof value !== "object") return html`<div class="json-line">${label}<${Leaf} value=${value} /></div>`;
  return html`<${Branch} value=${value} depth=${depth} name=${name} label=${label} />`;
}

function Branch({ value, depth, name, label }) {
  const isList = Array.isArray(value);
  const size = isList ? value.length : Object.keys(value).length;
  const [open, setOpen] = useState(depth === 0 || (depth < 3 && size <= OPEN_ITEMS));
  const [most, setMost] = useState(PAGE_ITEMS);
  if (size === 0) return html`<div class="json-line">${label}<span class="faint">${isList ? "[]" : "{}"}</span></div>`;
  const items = open ? (isList ? value.map((item, at) => [String(at), item]) : Object.entries(value)).slice(0, most) : [];
  return html`<div class="json-branch">
    <button type="button" class="json-fold" aria-expanded=${open ? "true" : "false"} aria-label=${`${name}, ${size} items`} onClick=${() => setOpen(!open)}>
      <span class=${`caret ${open ? "" : "shut"}`}></span>${label}<span class="faint">${isList ? `[ ${size} ]` : `{ ${size} }`}</span>
    </button>
    ${open && html`<div class="json-items">
      ${items.map(([key, item]) => html`<${Value} key=${key} value=${item} depth=${depth + 1} name=${key} label=${html`<span class="json-key">${key}</span>`} />`)}
      ${size > most && html`<button type="button" class="small" onClick=${() => setMost(most + 10 * PAGE_ITEMS)}>${size - most} more</button>`}
    </div>`}
  </div>`;
}

function Leaf({ value }) {
  if (typeof value === "string") return html`<span class="json-text"><${LongText} text=${value} most=${ENCODED.test(value) ? ENCODED_TEXT : LONG_TEXT} /></span>`;
  return html`<span class=${value === null ? "json-null" : "json-number"}>${String(value)}</span>`;
}

export function LongText({ text, most = LONG_TEXT }) {
  const [all, setAll] = useState(false);
  if (text.length <= most * 1.2 || all) return text;
  return html`${text.slice(0, most)}… <button type="button" class="small" onClick=${() => setAll(true)}>all ${text.length.toLocaleString("en-US")} characters</button>`;
}
