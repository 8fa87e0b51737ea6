// Talking to the server: JSON in, JSON out, one kind of error. Must never ask another origin.

export class Refusal extends Error {
  constructor(status, message, empty) {
    super(message);
    this.status = status;
    this.empty = empty;
  }
}

export async function ask(path, query) {
  const text = query ? new URLSearchParams(query).toString() : "";
  const response = await call(text ? `${path}?${text}` : path);
  return response.json();
}

export const one = (kind, id, query) => ask(`/view/${kind}`, { ...query, id });

export async function giveFeedback(runId, feedback) {
  const response = await call(`/v1/runs/${encodeURIComponent(runId)}/feedback`, {
    method: "PATCH", headers: { "content-type": "application/json" }, body: JSON.stringify(feedback),
  });
  return response.json();
}

// One trace as a file to keep.
export async function exported(id) {
  const response = await call(`/view/export?id=${encodeURIComponent(id)}`);
  const named = /filename="([\w.-]+)"/.exec(response.headers.get("content-disposition") || "");
  const link = document.createElement("a");
  link.href = URL.createObjectURL(await response.blob());
  link.download = named ? named[1] : "trace.html";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

// A collector with keys is asked with one; it is kept for this tab only.
let key = null;
try { key = sessionStorage.getItem("spanloom-key"); } catch (error) { /* storage is switched off */ }

export function useKey(given) {
  key = given || null;
  try { sessionStorage.setItem("spanloom-key", given); } catch (error) { /* storage is switched off */ }
}

// Whoever looks at a file of their own chooses among its projects; a key, where there are keys, says which it is.
let project = null;
try {
  const asked = new URLSearchParams(location.search);
  project = asked.get("project") || sessionStorage.getItem("spanloom-project") || localStorage.getItem("spanloom-project");
  if (asked.has("project")) {
    sessionStorage.setItem("spanloom-project", project);
    asked.delete("project");
    history.replaceState(null, "", location.pathname + (asked.toString() ? `?${asked}` : ""));
  }
} catch (error) { /* storage is switched off */ }

export const projectChosen = () => project;

export function useProject(name) {
  project = name;
  for (const storage of ["sessionStorage", "localStorage"]) {
    try { if (name) window[storage].setItem("spanloom-project", name); else window[storage].removeItem("spanloom-project"); } catch (error) { /* storage is switched off */ }
  }
}

// The address of this page for somebody else, who may not have chosen the same project.
export function linkHere() {
  const link = new URL(location.href);
  if (project) link.searchParams.set("project", project);
  return link.href;
}

const named = () => ({ ...(key ? { authorization: `Bearer ${key}` } : {}), ...(project ? { "x-spanloom-project": encodeURIComponent(project) } : {}) });

async function call(url, options = {}) {
  let response;
  try {
    response = await fetch(url, { ...options, credentials: "same-origin", headers: { ...options.headers, ...named() } });
  } catch (error) {
    throw new Refusal(0, "The server does not answer: is spanloom still running?", false);
  }
  if (response.ok) return response;
  let body = null;
  try { body = await response.json(); } catch (error) { /* said below */ }
  if (response.status === 401) dispatchEvent(new Event("needkey"));
  throw new Refusal(response.status, (body && body.message) || `The server answered ${response.status}`, !!(body && body.empty));
}

// The live tail: one stream for the whole page while anyone listens; `listen` returns how to stop. Read by fetch and
// not by EventSource, which cannot carry a key.
const listeners = new Set();
let stream = null;

export function listen(heard) {
  listeners.add(heard);
  if (!stream) {
    stream = new AbortController();
    follow(stream.signal);
  }
  return () => {
    listeners.delete(heard);
    if (!listeners.size && stream) {
      stream.abort();
      stream = null;
    }
  };
}

async function follow(signal) {
  for (let pause = 1000; !signal.aborted; pause = Math.min(pause * 2, 30_000)) {
    try {
      // What came in while the list was being asked for, and this stream was not there yet, is told first.
      const response = await fetch(`/view/live?since_us=${(Date.now() - 3000) * 1000}`, { signal, headers: named() });
      if (response.ok) {
        pause = 500;
        await read(response.body.getReader());
        for (const each of [...listeners]) each({ traces: [], missed: true }); // what was missed in between
      }
    } catch (error) { /* gone for now: come back later */ }
    await new Promise((done) => setTimeout(done, pause));
  }
}

async function read(reader) {
  const decoder = new TextDecoder();
  let text = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    text += decoder.decode(value, { stream: true });
    const events = text.split("\n\n");
    text = events.pop();
    for (const event of events) {
      const data = /^event: changed\ndata: (.*)$/m.exec(event);
      if (data) for (const each of [...listeners]) each(JSON.parse(data[1]));
    }
  }
}
