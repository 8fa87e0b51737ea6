// What went in and came out of a run, the way it was meant: chat messages, tool calls, text, or JSON.
import { html, useState } from "../vendor/preact-htm.js";
import { Json, LongText } from "./json.js";
import { Copy } from "./ui.js";

const FEW = 6; // messages of a long prompt that are shown at once: the first and the last ones

export function Said({ label, value }) {
  if (value === undefined || value === null) return null;
  const messages = messagesIn(value);
  return html`<section class="block">
    <header><h3>${label}</h3><${Copy} text=${() => (typeof value === "string" ? value : JSON.stringify(value, null, 2))} /></header>
    ${messages ? html`<${Messages} messages=${messages} />` : html`<${Plain} value=${value} />`}
  </section>`;
}

export function messagesIn(value) {
  const list = Array.isArray(value) ? value : [value];
  const isMessage = (item) => item !== null && typeof item === "object" && typeof item.role === "string";
  return list.length && list.every(isMessage) ? list : null;
}

export function Messages({ messages }) {
  const [all, setAll] = useState(messages.length <= FEW);
  const shown = all ? messages : [messages[0], ...messages.slice(3 - FEW)];
  return html`<ol class="messages">${shown.map((message, at) => html`
    ${!all && at === 1 && html`<li><button type="button" class="small" onClick=${() => setAll(true)}>${messages.length - shown.length} messages between</button></li>`}
    <${Message} message=${message} />`)}</ol>`;
}

const ROLES = new Set(["user", "assistant", "system", "tool", "developer", "function"]);

export function Message({ message }) {
  const calls = message.tool_calls || message.toolCalls;
  const known = ["role", "content", "text", "tool_calls", "toolCalls", "name", "tool_call_id", "toolCallId"];
  const rest = Object.entries(message).filter(([name, value]) => !known.includes(name) && value !== null);
  const content = message.content ?? message.text;
  return html`<li class=${`message ${ROLES.has(message.role) ? `r-${message.role}` : ""}`}>
    <div class="role">${message.role}${message.name ? html` <span class="faint">${String(message.name)}</span>` : ""}</div>
    ${content !== undefined && content !== null && content !== "" && html`<${Content} content=${content} />`}
    ${Array.isArray(calls) && calls.map((call) => html`<${Call} call=${call} />`)}
    ${rest.length > 0 && html`<${Json} value=${Object.fromEntries(rest)} />`}
  </li>`;
}

function Content({ content }) {
  if (!Array.isArray(content)) return html`<${Plain} value=${content} />`;
  return content.map((part) => {
    if (part && typeof part === "object" && typeof part.text === "string") return html`<${Plain} value=${part.text} />`;
    return html`<${Json} value=${part} />`; // an image's address is shown, never loaded
  });
}

function Call({ call }) {
  const asked = (call && call.function) || call || {};
  const given = parsed(asked.arguments ?? asked.args ?? asked.input);
  return html`<div class="call"><div class="call-name"><span aria-hidden="true">→</span> calls <b>${String(asked.name ?? "a tool")}</b></div>
    ${given !== undefined && given !== null && html`<${Plain} value=${given} />`}</div>`;
}

export function Plain({ value }) {
  const shown = parsed(value);
  if (typeof shown === "string") return html`<div class="prose"><${LongText} text=${shown} /></div>`;
  if (shown !== null && typeof shown === "object") return html`<${Json} value=${shown} />`;
  return html`<div class="prose mono">${String(shown)}</div>`;
}

// Arguments and tool results are often JSON inside a string.
function parsed(value) {
  if (typeof value !== "string" || !/^\s*[[{]/.test(value) || value.length > 200_000) return value;
  try {
    const found = JSON.parse(value);
    return found !== null && typeof found === "object" ? found : value;
  } catch (error) {
    return value;
  }
}
