// One trace: what happened at the top, the tree with its waterfall on the left, the chosen run on the right.
import { html, useEffect, useMemo, useRef, useState } from "../vendor/preact-htm.js";
import { exported, linkHere, listen } from "./api.js";
import { Detail } from "./detail.js";
import { ago, cost, count, duration, moment, plural, title } from "./format.js";
import { Rows } from "./rows.js";
import { bad, pathTo, plant, rowsOf, survey } from "./tree.js";
import { copy, setQuery, Status, Thumb, threadUrl, Type, useAnswer, Wait } from "./ui.js";

export function Trace({ id, query }) {
  const state = useAnswer("/view/trace", query.whole ? { id, whole: "1" } : { id }, [id, query.whole]);
  useEffect(() => listen((news) => {
    const top = state.data && state.data.tree.roots[0].run;
    if (top && (news.missed || news.traces.some((trace) => [top.id, top.root_id, id].includes(trace)))) state.load();
  }), [id, state.data]);
  if (!state.data) return html`<div class="trace-wait"><${Wait} state=${state} what="the trace" /></div>`;
  return html`<${Whole} id=${id} query=${query} data=${state.data} reload=${state.load} />`;
}

function Whole({ id, query, data, reload }) {
  const { nodes, facts } = useMemo(() => {
    const nodes = plant(data.tree);
    return { nodes, facts: survey(nodes, data.now_us) };
  }, [data]);
  const byId = useMemo(() => new Map(nodes.map((node) => [node.id, node])), [nodes]);
  const [folded, fold] = useState(new Set());
  const [critical, setCritical] = useState(false);
  const top = nodes.find((node) => node.run.type !== "thread") || nodes[0];
  const chosen = byId.get(query.run) || (query.run ? null : facts.failure) || byId.get(id) || top;
  const rows = useMemo(() => rowsOf(nodes, folded), [nodes, folded]);
  const shell = useRef(null);

  const choose = (node, byHand) => {
    for (let at = node.parent; at; at = at.parent) {
      if (folded.has(at.id)) fold(without(folded, pathTo(node).map((each) => each.id)));
    }
    setQuery({ run: node.id }, true);
    if (byHand && shell.current) shell.current.dataset.open = "detail";
  };
  const toggle = (node, shut = !folded.has(node.id)) => fold(shut ? new Set([...folded, node.id]) : without(folded, [node.id]));
  useEffect(() => {
    const pressed = (event) => {
      if (event.metaKey || event.ctrlKey || event.altKey || /^(INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName)) return;
      if (event.key === "e" && facts.failure) choose(facts.failure, true);
      if (event.key === "c") setCritical((on) => !on);
      if (event.key === "Escape") delete shell.current.dataset.open;
    };
    addEventListener("keydown", pressed);
    return () => removeEventListener("keydown", pressed);
  }, [facts, folded]);

  return html`<div class="trace" ref=${shell}>
    <${Head} top=${top} nodes=${nodes} facts=${facts} data=${data} query=${query} choose=${choose} />
    <div class="halves">
      <section class="left" aria-label="Runs of this trace">
        <div class="left-tools">
          <span class="soft">${plural(nodes.length, "run")}</span>
          <button type="button" class="small plain" onClick=${() => fold(folded.size ? new Set() : new Set(nodes.filter((node) => node.children.length && node.parent).map((node) => node.id)))}>${folded.size ? "Unfold all" : "Fold all"}</button>
          <button type="button" class="small" aria-pressed=${critical ? "true" : "false"} title="What the whole waited for (c)" onClick=${() => setCritical(!critical)}>Critical path</button>
          ${facts.slowest && html`<button type="button" class="small plain hide-phone" onClick=${() => choose(facts.slowest, true)}>Slowest</button>`}
          ${facts.costliest && html`<button type="button" class="small plain hide-phone" onClick=${() => choose(facts.costliest, true)}>${facts.costliest.run.cost ? "Costliest" : "Most tokens"}</button>`}
        </div>
        <${Rows} rows=${rows} span=${facts.span} folded=${folded} chosen=${chosen} choose=${choose} toggle=${toggle} critical=${critical} />
      </section>
      <section class="right-half" aria-label="The chosen run">
        <button type="button" class="small close-detail" onClick=${() => delete shell.current.dataset.open}>← Back to the tree</button>
        <${Detail} key=${chosen.id} node=${chosen} span=${facts.span} reload=${reload} byId=${byId} choose=${choose} />
      </section>
    </div>
  </div>`;
}

const without = (set, ids) => { const left = new Set(set); for (const id of ids) left.delete(id); return left; };

function Head({ top, nodes, facts, data, query, choose }) {
  const { run } = top;
  const { failure } = facts;
  const more = data.tree.truncated;
  return html`<header class="trace-head">
    <div class="title-line">
      <a class="button plain small" href="/" aria-label="All runs" title="All runs (b)">←</a>
      <h1 class="cut">${title(run)}</h1><${Type} type=${run.type} /><${Status} status=${run.status} />
      <div class="tools">
        ${run.thread_id && html`<a class="button small" href=${threadUrl(run.thread_id)}>Thread</a>`}
        <button type="button" class="small" onClick=${() => copy(linkHere())}>Copy link</button>
        <button type="button" class="small" onClick=${() => exported(top.id)}>Export HTML</button>
      </div>
    </div>
    <dl class="stats">
      <div><dt>Took</dt><dd class="num">${duration(run.duration_us) || (run.status === "running" ? "running" : "–")}</dd></div>
      <div><dt>Runs</dt><dd class="num">${count(nodes.length)}${more ? "+" : ""}</dd></div>
      <div><dt>Tokens</dt><dd class="num">${facts.tokens === null ? "–" : count(facts.tokens)}</dd></div>
      <div><dt>Cost</dt><dd class="num">${facts.cost === null ? "–" : cost(facts.cost)}</dd></div>
      ${run.user_id && html`<div><dt>User</dt><dd class="cut"><a class="link" href=${`/?user=${encodeURIComponent(run.user_id)}`}>${run.user_id}</a></dd></div>`}
      ${run.customer && html`<div><dt>Customer</dt><dd class="cut">${run.customer}</dd></div>`}
      <div><dt>Started</dt><dd class="num" title=${moment(run.started_us)}>${ago(run.started_us ?? run.received_us, data.now_us)}</dd></div>
      ${run.feedback && html`<div><dt>Feedback</dt><dd class="cut"><${Thumb} feedback=${run.feedback} /> ${run.feedback.comment || ""}</dd></div>`}
      ${(run.tags || []).length > 0 && html`<div><dt>Tags</dt><dd class="tags">${run.tags.map((tag) => html`<span class="pill">${tag}</span>`)}</dd></div>`}
    </dl>
    ${failure && html`<${Failure} failure=${failure} whole=${bad(top)} errors=${facts.errors} choose=${choose} />`}
    ${more && html`<p class="notice">Only the first ${count(nodes.length)} runs are shown; those left out are counted at their parents.</p>`}
  </header>`;
}

function Failure({ failure, whole, errors, choose }) {
  const { run } = failure;
  const path = pathTo(failure).filter((node) => node.run.type !== "thread");
  return html`<div class=${`failure ${whole ? "whole" : "inner"}`} role="note">
    <div class="failure-main">
      <p class="failure-what"><b>${run.status === "killed" ? "Killed" : run.error_type || "Failed"}</b> ${run.status === "killed" ? "the process died before this run ended" : run.error_message || ""}</p>
      <p class="failure-where">${whole ? "began in " : "inside, and the trace went on: "}${path.map((node, at) => html`${at > 0 && html` <span aria-hidden="true">›</span> `}<span class=${at === path.length - 1 ? "here" : ""}>${title(node.run)}</span>`)}
        ${errors > 1 && html` <span class="soft">· ${plural(errors, "run")} failed</span>`}</p>
    </div>
    <button type="button" class="small" title="e" onClick=${() => choose(failure, true)}>Show it</button>
  </div>`;
}
