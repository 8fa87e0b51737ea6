// Feedback: what was given, and giving it.
import { html, useState } from "../vendor/preact-htm.js";
import { ask, giveFeedback } from "./api.js";
import { ago, moment, title } from "./format.js";
import { Icon, Thumb, toast, traceUrl, Type, useAnswer, Wait } from "./ui.js";

export function GiveFeedback({ run, given, done }) {
  const now = run.feedback || {};
  const [comment, setComment] = useState(null);
  const [score, setScore] = useState(null);
  const [busy, setBusy] = useState(false);
  const send = (feedback, said) => {
    setBusy(true);
    return giveFeedback(run.id, feedback).then(
      () => { toast(said); setComment(null); setScore(null); done(); },
      (error) => toast(error.message),
    ).finally(() => setBusy(false));
  };
  const thumb = (which) => send({ thumb: now.thumb === which ? null : which }, now.thumb === which ? "Taken back" : "Feedback kept");
  const submit = (event) => {
    event.preventDefault();
    const feedback = {};
    if (comment !== null) feedback.comment = comment.trim() || null;
    if (score !== null) feedback.score = score === "" || !Number.isFinite(Number(score)) ? null : Number(score);
    if (Object.keys(feedback).length) send(feedback, "Feedback kept");
  };
  const changed = comment !== null || score !== null;
  return html`<section class="block feedback" aria-label="Feedback">
    <header><h3>Feedback</h3>${now.label && html`<span class="pill">${String(now.label)}</span>`}</header>
    <form onSubmit=${submit}>
      <div class="thumbs">
        <button type="button" disabled=${busy} aria-pressed=${now.thumb === "up" ? "true" : "false"} onClick=${() => thumb("up")}><${Icon} name="up" /> Good</button>
        <button type="button" disabled=${busy} aria-pressed=${now.thumb === "down" ? "true" : "false"} onClick=${() => thumb("down")}><${Icon} name="thumbdown" /> Bad</button>
        <label class="score"><span class="soft">Score</span><input inputmode="decimal" size="5" autocomplete="off" value=${score ?? (now.score === undefined || now.score === null ? "" : String(now.score))} onInput=${(event) => setScore(event.target.value)} /></label>
      </div>
      <label><span class="hidden">Comment</span><textarea placeholder="What was good or bad about it?" value=${comment ?? (typeof now.comment === "string" ? now.comment : "")} onInput=${(event) => setComment(event.target.value)}></textarea></label>
      ${changed && html`<button type="submit" class="primary small" disabled=${busy}>Keep</button>`}
    </form>
    ${given && given.length > 1 && html`<details><summary>${given.length} times given</summary><ol class="points">${given.map((entry) => html`<li><span class="num soft">${moment(entry.time_us ?? entry.received_us)}</span><div>${JSON.stringify(entry.feedback || {})}${entry.key ? ` by key ${entry.key}` : ""}</div></li>`)}</ol></details>`}
  </section>`;
}

export function FeedbackPage() {
  const state = useAnswer("/view/feedback", null);
  const [older, setOlder] = useState([]);
  if (!state.data) return html`<div class="head"><h1>Feedback</h1></div><${Wait} state=${state} what="feedback" />`;
  const pages = [state.data, ...older];
  const all = pages.flatMap((page) => page.feedback);
  const { next } = pages[pages.length - 1];
  const more = () => ask("/view/feedback", { before: next }).then((page) => setOlder([...older, page]));
  return html`<div class="head"><h1>Feedback</h1></div>
    ${all.length === 0
      ? html`<div class="empty panel"><h2>No feedback yet</h2><p>Give it on a run's page, or in code:</p><pre>spanloom.feedback(run.id, thumb="up", comment="Great")</pre></div>`
      : html`<ul class="panel feedback-list">${all.map((item) => html`<${Given} key=${item.seq} item=${item} now=${state.data.now_us} />`)}</ul>`}
    ${next !== null && html`<div class="more"><button type="button" onClick=${more}>Show older feedback</button></div>`}`;
}

function Given({ item, now }) {
  const { entry, row } = item;
  const said = entry.feedback || {};
  const rest = Object.entries(said).filter(([name, value]) => !["thumb", "comment"].includes(name) && value !== null);
  return html`<li>
    <span>${said.thumb ? html`<${Thumb} feedback=${said} />` : html`<span class="faint">·</span>`}</span>
    <div class="words">${said.comment ? String(said.comment) : said.thumb ? `thumb ${said.thumb}` : "feedback"} ${rest.map(([name, value]) => html`<span class="pill">${name} ${typeof value === "string" ? value : JSON.stringify(value)}</span> `)}</div>
    <span class="num soft" title=${moment(entry.time_us ?? entry.received_us)}>${ago(entry.time_us ?? entry.received_us, now)}</span>
    <div class="about">${row
      ? html`<a class="link" href=${traceUrl(row.run.id)}>${title(row.run)}</a><${Type} type=${row.run.type} /><span class="cut">${row.asked}</span>`
      : html`<span>${entry.key ? html`for the key <b>${entry.key}</b>, which no run carries yet` : html`for the run <span class="mono">${entry.run_id}</span>, which has not arrived`}</span>`}</div>
  </li>`;
}
