// A trace as a flat list of nodes with what the drawing needs: depth, span on the time axis, critical path, extremes.
// Pure and without recursion: a trace may have 20,000 runs and be 200 levels deep.
import { tokensOf } from "./format.js";

export function plant(tree) {
  const nodes = [];
  const pending = tree.roots.map((root) => ({ raw: root, parent: null, depth: 0 })).reverse();
  while (pending.length) {
    const { raw, parent, depth } = pending.pop();
    const node = {
      run: raw.run, id: raw.run.id, parent, depth, children: [], index: nodes.length, last: nodes.length,
      hidden: raw.hidden_children || 0, orphan: !!raw.missing_parent, loop: !!raw.loop,
      repeated: { tokens: !!raw.tokens_repeated, cost: !!raw.cost_repeated },
      start: raw.run.started_us ?? raw.run.received_us, end: null, errors: 0, critical: false, marks: [],
    };
    if (parent) parent.children.push(node);
    nodes.push(node);
    const children = raw.children || [];
    for (let at = children.length - 1; at >= 0; at--) pending.push({ raw: children[at], parent: node, depth: depth + 1 });
  }
  return nodes;
}

export function survey(nodes, now) {
  let from = Infinity, to = -Infinity;
  for (const node of nodes) {
    if (node.run.type === "thread") continue;
    const { run } = node;
    node.end = run.ended_us !== undefined ? Math.max(run.ended_us, node.start) : run.status === "running" ? Math.max(now, node.start) : node.start + (run.duration_us || 0);
    from = Math.min(from, node.start);
    to = Math.max(to, node.end);
  }
  for (let at = nodes.length - 1; at >= 0; at--) {
    const node = nodes[at];
    const { parent } = node;
    const own = tokensOf(node.run);
    node.tokens = node.below && node.below.tokens !== null ? node.below.tokens : node.repeated.tokens ? 0 : own;
    node.cost = node.below && node.below.cost !== null ? node.below.cost : node.repeated.cost ? 0 : node.run.cost ?? null;
    if (node.run.type === "thread") { node.start = Number.isFinite(from) ? from : node.start; node.end = Math.max(to, node.start); }
    if (!parent) continue;
    parent.last = Math.max(parent.last, node.last);
    parent.errors += node.errors + (bad(node) ? 1 : 0);
    if (node.tokens !== null || node.cost !== null) {
      const sum = parent.below || (parent.below = { tokens: null, cost: null });
      if (node.tokens !== null) sum.tokens = (sum.tokens || 0) + node.tokens;
      if (node.cost !== null) sum.cost = (sum.cost || 0) + node.cost;
    }
  }
  const span = { from: Number.isFinite(from) ? from : 0, to: Number.isFinite(to) ? to : 1 };
  markCritical(nodes);
  return { span, ...extremes(nodes), failure: failureOf(nodes), errors: nodes.filter(bad).length, ...totals(nodes) };
}

export const bad = (node) => node.run.status === "error" || node.run.status === "killed";

function totals(nodes) {
  let tokens = null, dollars = null;
  for (const node of nodes) {
    if (node.parent) continue;
    if (node.tokens !== null) tokens = (tokens || 0) + node.tokens;
    if (node.cost !== null) dollars = (dollars || 0) + node.cost;
  }
  return { tokens, cost: dollars };
}

// What the whole waited for: from the end of a run backwards, always the child that ended last before that moment.
function markCritical(nodes) {
  for (const root of nodes) {
    if (root.parent) continue;
    const pending = [root];
    while (pending.length) {
      const node = pending.pop();
      node.critical = true;
      let until = node.end ?? Infinity;
      const ended = node.children.filter((child) => child.end !== null).sort((a, b) => b.end - a.end || b.start - a.start);
      for (const child of ended) {
        if (child.end <= until + 1 && child.start <= until) {
          pending.push(child);
          until = child.start;
        }
      }
    }
  }
}

// The slowest by its own time (what its children do not account for) and the costliest, where that says anything.
function extremes(nodes) {
  if (nodes.length < 3) return {};
  let slowest = null, costliest = null, most = 0, dearest = 0;
  for (const node of nodes) {
    if (node.run.type === "thread" || node.run.type === "chat") continue;
    const own = ownTime(node);
    if (own > most) [slowest, most] = [node, own];
    const price = node.below ? 0 : node.run.cost || (node.cost === null ? (tokensOf(node.run) || 0) * 1e-9 : 0);
    if (price > dearest) [costliest, dearest] = [node, price];
  }
  if (slowest) slowest.marks.push("slowest");
  if (costliest) costliest.marks.push(costliest.run.cost ? "costliest" : "most tokens");
  return { slowest, costliest };
}

function ownTime(node) {
  if (node.end === null) return 0;
  let covered = 0, at = node.start;
  for (const child of node.children) {
    if (child.end === null || child.end <= at) continue;
    covered += child.end - Math.max(child.start, at);
    at = child.end;
  }
  return node.end - node.start - covered;
}

// Where it went wrong first: from a failed top downwards to the last failed child; else the first failed run anywhere.
function failureOf(nodes) {
  let node = nodes.find((each) => !each.parent && (bad(each) || (each.run.type !== "agent" && each.children.some(bad))));
  if (!node) return nodes.find((each) => bad(each) && !each.children.some(bad)) || null;
  for (;;) {
    const failed = node.children.filter(bad);
    if (!failed.length) return bad(node) ? node : null;
    node = failed[failed.length - 1];
  }
}

export function pathTo(node) {
  const path = [];
  for (let at = node; at; at = at.parent) path.unshift(at);
  return path;
}

// The rows that are to be seen, when some nodes are folded.
export function rowsOf(nodes, folded) {
  if (!folded.size) return nodes;
  const rows = [];
  for (let at = 0; at < nodes.length; at++) {
    rows.push(nodes[at]);
    if (folded.has(nodes[at].id)) at = nodes[at].last;
  }
  return rows;
}
