// Talking to the server: JSON in, JSON out, one kind of error. Must never ask another origin.

export class Refusal extends Error {
  constructor(status, message, empty) {
    super(message);
    this.status = status;
    this.empty = empty;
  }
}

export async function ask(path, query, signal) {
  const text = query ? new URLSearchParams(query).toString() : "";
  return answer(fetch(text ? `${path}?${text}` : path, { signal, credentials: "same-origin" }));
}

export const one = (kind, id, query, signal) => ask(`/view/${kind}/${encodeURIComponent(id)}`, query, signal);

export async function giveFeedback(runId, feedback) {
  return answer(fetch(`/v1/runs/${encodeURIComponent(runId)}/feedback`, {
    method: "PATCH",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(feedback),
  }));
}

async function answer(pending) {
  let response;
  try {
    response = await pending;
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refusal(0, "the server does not answer: is spanloom still running?", false);
  }
  let body = null;
  try { body = await response.json(); } catch (error) { /* said below */ }
  if (!response.ok) {
    throw new Refusal(response.status, (body && body.message) || `the server answered ${response.status}`, !!(body && body.empty));
  }
  return body;
}

// The live tail. One connection for the whole page; `listen` returns how to stop.
const listeners = new Set();
let source = null;

export function listen(heard) {
  listeners.add(heard);
  if (!source) {
    source = new EventSource("/view/live");
    source.addEventListener("changed", (event) => {
      const news = JSON.parse(event.data);
      for (const each of [...listeners]) each(news);
    });
  }
  return () => {
    listeners.delete(heard);
    if (!listeners.size && source) {
      source.close();
      source = null;
    }
  };
}
