// Conversations: the list, and one as it was spoken, with each answer's trace beside it.
import { html, useEffect, useState } from "../vendor/preact-htm.js";
import { ask, listen } from "./api.js";
import { messagesIn, Plain } from "./content.js";
import { ago, cost, count, duration, plural, title } from "./format.js";
import { Status, Thumb, threadUrl, traceUrl, useAnswer, Wait } from "./ui.js";

export function Threads() {
  const state = useAnswer("/view/threads", null);
  const [older, setOlder] = useState([]);
  if (!state.data) return html`<div class="head"><h1>Threads</h1></div><${Wait} state=${state} what="threads" />`;
  const pages = [state.data, ...older];
  const { next } = pages[pages.length - 1];
  const seen = new Map(pages.flatMap((page) => page.threads).map((thread) => [thread.id, thread]));
  const more = () => ask("/view/threads", { before: next }).then((page) => setOlder([...older, page]));
  return html`<div class="head"><h1>Threads</h1></div>
    ${seen.size === 0
      ? html`<div class="empty panel"><h2>No conversations yet</h2><p>They appear when a program opens one:</p><pre>${'thread = spanloom.thread("with-ada")\nwith thread.chat("Hello?") as chat:\n    chat.reply(answer("Hello?"))'}</pre></div>`
      : html`<ul class="panel thread-list">${[...seen.values()].map((thread) => html`<${ThreadRow} key=${thread.id} thread=${thread} now=${state.data.now_us} />`)}</ul>`}
    ${next !== null && html`<div class="more"><button type="button" onClick=${more}>Show older threads</button></div>`}`;
}

function ThreadRow({ thread, now }) {
  const { last } = thread;
  return html`<li><a href=${threadUrl(thread.id)} data-row>
    <span class="cut"><span class="id">${thread.id}</span> <span class="soft">${last && last.run.user_id ? `· ${last.run.user_id}` : ""}</span></span>
    <span class="num soft">${last ? ago(last.run.started_us ?? last.run.received_us, now) : ""}</span>
    <span class="cut soft">${last ? html`${last.asked}<span class="faint">${last.answered ? ` → ${last.answered}` : ""}</span>` : ""}</span>
    <span class="num soft">${plural(thread.exchanges, "exchange")} <${Thumb} feedback=${last && last.run.feedback} />${last && last.run.status === "error" ? html`<${Status} status="error" />` : ""}</span>
  </a></li>`;
}

export function Thread({ id }) {
  const state = useAnswer("/view/thread", { id });
  const [later, setLater] = useState([]);
  useEffect(() => listen(() => state.load()), [id]);
  if (!state.data) return html`<div class="head"><h1 class="cut">${id}</h1></div><${Wait} state=${state} what="the conversation" />`;
  const pages = [state.data, ...later];
  const exchanges = pages.flatMap((page) => page.exchanges);
  const { next } = pages[pages.length - 1];
  const more = () => ask("/view/thread", { id, after: next }).then((page) => setLater([...later, page]));
  const user = exchanges.map(({ run }) => run.user_id).find(Boolean);
  return html`<div class="head"><a class="button plain small" href="/threads" aria-label="All threads">←</a><h1 class="cut">${id}</h1>
      <span class="soft">${user ? `${user} · ` : ""}${next === null ? plural(exchanges.length, "exchange") : `the first ${exchanges.length} exchanges`}</span></div>
    <ol class="talk">${exchanges.map((exchange) => html`<${Exchange} key=${exchange.run.id} exchange=${exchange} now=${state.data.now_us} />`)}</ol>
    ${next !== null && html`<div class="more"><button type="button" onClick=${more}>Show what came after</button></div>`}`;
}

function Exchange({ exchange, now }) {
  const { run, content, trace } = exchange;
  const said = spoken(content);
  const failed = run.status === "error";
  return html`<li class="exchange">
    <div class="bubbles">
      ${said.map(({ role, value }) => html`<div class=${`bubble ${role === "user" ? "mine" : "theirs"}`}><span class="who">${role}</span><${Plain} value=${value} /></div>`)}
      ${failed && html`<div class="bubble theirs bad"><span class="who">no answer</span>${run.error_type || "error"} ${run.error_message || ""}</div>`}
    </div>
    <aside class="panel beside" aria-label="The trace of this exchange">
      <div class="title-line"><a class="link" href=${traceUrl(run.id)} data-row>${title(run)}</a><${Status} status=${run.status} /></div>
      <dl>
        <dt>When</dt><dd class="num">${ago(run.started_us ?? run.received_us, now)}</dd>
        ${run.duration_us !== undefined && html`<dt>Took</dt><dd class="num">${duration(run.duration_us)}</dd>`}
        ${trace && html`<dt>Runs</dt><dd class="num named" data-unit=${trace.runs === 1 ? "run" : "runs"}>${count(trace.runs)}${trace.errors ? `, ${count(trace.errors)} failed` : ""}</dd>`}
        ${trace && trace.tokens !== undefined && html`<dt>Tokens</dt><dd class="num named" data-unit="tokens">${count(trace.tokens)}</dd>`}
        ${trace && trace.cost !== undefined && html`<dt>Cost</dt><dd class="num">${cost(trace.cost)}</dd>`}
        ${run.feedback && html`<dt>Feedback</dt><dd><${Thumb} feedback=${run.feedback} /> ${run.feedback.comment || ""}</dd>`}
      </dl>
    </aside>
  </li>`;
}

// A chat's messages; for any other run its input and output as the two sides.
function spoken(content) {
  const messages = (content.messages || []).map(({ message }) => message);
  if (messages.length) {
    return messages.map((message) => (messagesIn(message)
      ? { role: message.role, value: message.content ?? message.text ?? message }
      : { role: "message", value: message }));
  }
  const sides = [];
  if (content.input !== undefined && content.input !== null) sides.push({ role: "user", value: last(content.input) });
  if (content.output !== undefined && content.output !== null) sides.push({ role: "assistant", value: last(content.output) });
  return sides;
}

function last(value) {
  const messages = messagesIn(value);
  if (!messages) return value;
  const message = messages[messages.length - 1];
  return message.content ?? message.text ?? message;
}
