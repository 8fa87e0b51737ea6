// What clients reported as lost, and why.
import { html } from "../vendor/preact-htm.js";
import { ago, count, moment, plural } from "./format.js";
import { useAnswer, Wait } from "./ui.js";

export function Delivery() {
  const state = useAnswer("/view/delivery", null);
  if (!state.data) return html`<div class="head"><h1>Delivery</h1></div><${Wait} state=${state} what="reports" />`;
  const { losses, now_us: now } = state.data;
  const total = losses.reduce((sum, loss) => sum + loss.count, 0);
  return html`<div class="head"><h1>Delivery</h1></div>
    <p class="soft lead">Every client counts what it accepted and what became of it. What could not be delivered is reported here with its reason.</p>
    ${losses.length === 0
      ? html`<div class="empty panel"><h2>Nothing was reported lost</h2><p>The counts of this machine's own programs: <code>spanloom doctor</code>.</p></div>`
      : html`<p class="notice bad">${plural(total, "record")} lost in all.</p>
        <div class="panel figures" tabindex="0" role="region" aria-label="Losses"><table class="few">
        <thead><tr><th scope="col">Destination</th><th scope="col">Reason</th><th scope="col">Process</th><th scope="col" class="right">Records</th><th scope="col" class="right minor">Last</th></tr></thead>
        <tbody>${losses.map((loss) => html`<tr><td>${loss.destination}</td><td>${loss.reason}</td><td class="soft">${loss.process || ""}</td><td class="num right">${count(loss.count)}</td>
          <td class="num right minor" title=${moment(loss.last_us)}>${ago(loss.last_us, now)}</td></tr>`)}</tbody></table></div>`}`;
}
