// The state of the store: how much is in it, how far the search index is, what was set aside.
import { html } from "../vendor/preact-htm.js";
import { bytes, count } from "./format.js";
import { Status, Type, useAnswer, Wait } from "./ui.js";

export function Health() {
  const state = useAnswer("/view/health", null);
  if (!state.data) return html`<div class="head"><h1>Health</h1></div><${Wait} state=${state} what="the store's state" />`;
  const { stats, counts } = state.data;
  const index = stats.search === "fts5" ? (stats.search_lag ? `${count(stats.search_lag)} runs behind` : "up to date") : "none: this SQLite has no FTS5, searches read everything";
  return html`<div class="head"><h1>Health</h1></div>
    ${stats.quarantined.length > 0 && html`<div class="notice bad" role="alert">A corrupt store was set aside, and nothing in it was deleted: ${stats.quarantined.join(", ")}</div>`}
    <dl class="cards">
      ${[["Runs", count(stats.runs)], ["Events", count(stats.events)], ["Feedback", count(stats.feedback)], ["Actions and outcomes", count(stats.usage_events)], ["File", bytes(stats.size_bytes), `${bytes(stats.wal_bytes)} in the log before it`]]
        .map(([what, value, more]) => html`<div class="panel card"><dt class="what">${what}</dt><dd class="value">${value}</dd>${more && html`<dd class="more-about">${more}</dd>`}</div>`)}
    </dl>
    <div class="panel card"><dl class="facts"><dt>Store</dt><dd class="mono">${stats.path}</dd><dt>Schema</dt><dd>version ${stats.schema_version}</dd><dt>Search index</dt><dd>${index}</dd></dl></div>
    <div class="section"><h2>Runs by type and status</h2></div>
    <div class="panel figures" tabindex="0" role="region" aria-label="Runs by type and status"><table class="few">
      <thead><tr><th scope="col">Type</th><th scope="col">Status</th><th scope="col" class="right">Runs</th></tr></thead>
      <tbody>${counts.map((row) => html`<tr><td><${Type} type=${row.type} /></td><td>${row.status ? html`<${Status} status=${row.status} />` : html`<span class="faint">–</span>`}</td><td class="num right">${count(row.count)}</td></tr>`)}</tbody>
    </table></div>`;
}
