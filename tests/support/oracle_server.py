"""The oracle's process: an HTTP endpoint that writes down each event before it acknowledges it.

Theory of operation. One line of JSON per request is appended to the log and flushed *before* the reply is sent, as a
store commits before it answers; so a reply that is lost on the way leaves an event that is in the log, which is what
the tests on lost acknowledgements need. Rules, set over ``/-/rules``, change what is answered; the first rule that
applies to a request decides, and counts that it did. The process ends when its standard input closes, so that a test
that dies takes its oracle along.

Speaks Lunary's reply (``results`` sorted by timestamp, "already exists" for a start it knows) to events without an
event id, and our collector's (``duplicate: true``) to events with one. Never imports Spanloom.

    python oracle_server.py LOG_PATH payloads|ids|counts      (what is kept of each event)
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import sys
import threading
import time
import zlib
from dataclasses import asdict, dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Event = dict[str, Any]
ALREADY_EXISTS = "Run with this ID already exists in the database."


@dataclass
class Rule:
    """When it applies, and what is answered then. Conditions that are None hold always."""

    status: int = 200
    times: int | None = None
    """How often it applies before it is spent."""
    every: int = 1
    """Applies to each n-th request that meets its conditions, beginning with the first."""
    contains: str | None = None
    """Applies to a body that contains this text; with ``event_result``, to the single events that contain it."""
    larger_than_bytes: int | None = None
    """Applies to a body that is larger than this when decompressed."""
    unless_key: str | None = None
    """Applies to a request that does not carry this key (``Authorization: Bearer`` or ``x-api-key``)."""
    compressed: bool | None = None
    """Applies to a body with a ``Content-Encoding``, or to one without."""
    headers: dict[str, str] = field(default_factory=dict)
    body: str | None = None
    """The reply's body as it stands; None makes the reply that belongs to the status."""
    delay_seconds: float = 0.0
    commits: bool | None = None
    """Whether the events are stored; None means: if the status is 2xx."""
    event_result: dict[str, Any] | None = None
    """The result for each event that contains ``contains``; such an event is stored if this says success."""
    omit_result: bool = False
    """Leaves the result of each event that contains ``contains`` out of the reply."""
    before_body: bool = False
    """Answers, and closes the connection, without having read the body."""
    fired: int = 0
    met: int = 0

    @property
    def single_events(self) -> bool:
        return self.event_result is not None or self.omit_result

    def applies(self, request: Posted) -> bool:
        """Whether this rule decides the request; counts that it was met, and that it fired."""
        if self.times is not None and self.fired >= self.times:
            return False
        if self.contains is not None and self.contains.encode() not in request.body:
            return False
        if self.larger_than_bytes is not None and len(request.body) <= self.larger_than_bytes:
            return False
        if self.unless_key is not None and request.key == self.unless_key:
            return False
        if self.compressed is not None and bool(request.encoding) is not self.compressed:
            return False
        self.met += 1
        if (self.met - 1) % self.every:
            return False
        self.fired += 1
        return True


@dataclass
class Posted:
    """One request as received. ``body`` is decompressed."""

    path: str
    key: str | None
    encoding: str
    body: bytes
    wire_bytes: int
    user_agent: str = ""


class Notebook:
    """The append-only log, and what has been stored so far."""

    def __init__(self, path: str, keeps: str) -> None:
        self._file = open(path, "ab", buffering=0)  # noqa: SIM115 - closed with the process
        self._keeps = keeps
        self._lock = threading.Lock()
        self._stored: set[str] = set()
        self._number = 0
        self.rules: list[Rule] = []

    def rule_for(self, request: Posted, *, before_body: bool = False) -> Rule | None:
        """The first rule that applies."""
        with self._lock:
            for rule in self.rules:
                if rule.before_body is before_body and rule.applies(request):
                    return rule
        return None

    def write(self, request: Posted, status: int, entries: list[Event]) -> list[bool]:
        """Commit one request; says of each entry whether it was stored already."""
        with self._lock:
            known = [entry["id"] in self._stored for entry in entries]
            count = len(entries)
            if self._keeps == "counts":
                entries = []
            self._stored.update(entry["id"] for entry in entries if entry["stored"])
            line = {
                "request": self._number, "at": time.time(), "path": request.path, "status": status,
                "key": request.key, "encoding": request.encoding, "body_bytes": len(request.body),
                "wire_bytes": request.wire_bytes, "agent": request.user_agent, "count": count,
                "events": entries,
            }  # fmt: skip
            self._number += 1
            self._file.write(json.dumps(line).encode() + b"\n")
            return known

    def entry(self, event: Event, stored: bool) -> Event:
        """What the log keeps of one event."""
        text = json.dumps(event, sort_keys=True, separators=(",", ":"))
        sha = hashlib.sha256(text.encode()).hexdigest()
        entry = {"id": event_id(event, sha), "run": event.get("runId"), "event": event.get("event"),
                 "name": event.get("name"), "parent": event.get("parentRunId"), "status": event.get("status"),
                 "sha": sha, "stored": stored}  # fmt: skip
        if self._keeps == "payloads":
            entry["payload"] = event
        return entry


def event_id(event: Event, sha: str) -> str:
    """The event's own id, or what Lunary would know it by; where Lunary knows it by nothing, its content."""
    own = event.get("eventId")
    if isinstance(own, str):
        return own
    kind = event.get("event")
    if kind in ("start", "end", "error"):
        return f"{event.get('runId')}:{kind}"
    return f"{event.get('runId')}:{kind}:{sha[:16]}"


def events_of(body: bytes) -> list[Event] | None:
    """The events in a body, or None when it is not the envelope."""
    try:
        events = json.loads(body)["events"]
    except (ValueError, KeyError, TypeError):
        return None
    events = events if isinstance(events, list) else [events]
    events = [event[0] if isinstance(event, list) and len(event) == 1 else event for event in events]
    return events if all(isinstance(event, dict) for event in events) else None


class Handler(BaseHTTPRequestHandler):
    """HTTP/1.1 with keep-alive; one thread for each connection."""

    protocol_version = "HTTP/1.1"
    server: OracleServer
    disable_nagle_algorithm = True

    def log_message(self, *_: object) -> None:
        """Silent: the log is the notebook."""

    def do_GET(self) -> None:
        if self.path == "/-/rules":
            self._reply(200, json.dumps([asdict(rule) for rule in self.server.notebook.rules]))
        else:
            self._reply(200, "{}")

    def do_DELETE(self) -> None:
        self.server.notebook.rules.clear()
        self._reply(200, "{}")

    def do_POST(self) -> None:
        if self.path == "/-/rules":
            rule = Rule(**json.loads(self._read_body()))
            self.server.notebook.rules.append(rule)
            self._reply(200, "{}")
            return
        head = Posted(self.path, self._key(), self.headers.get("Content-Encoding", ""), b"", 0,
                      self.headers.get("User-Agent", ""))  # fmt: skip
        early = self.server.notebook.rule_for(head, before_body=True)
        if early is not None:
            self.server.notebook.write(head, early.status, [])
            self.close_connection = True
            self._answer(early, "{}")
            return
        raw = self._read_body()
        head.wire_bytes = len(raw)
        try:
            head.body = gzip.decompress(raw) if head.encoding == "gzip" else raw
        except (OSError, EOFError, zlib.error):
            self.server.notebook.write(head, 400, [])
            self._reply(400, '{"message":"bad gzip"}')
            return
        self._ingest(head)

    def _ingest(self, request: Posted) -> None:
        rule = self.server.notebook.rule_for(request)
        events = events_of(request.body)
        if rule is None and events is None:
            self.server.notebook.write(request, 400, [])
            self._reply(400, '{"message":"$.events: missing"}')
            return
        rule = rule or Rule()
        stores = 200 <= rule.status < 300 if rule.commits is None else rule.commits
        touched = [rule.single_events and _contains(event, rule.contains) for event in events or []]
        notebook = self.server.notebook
        entries = [
            notebook.entry(event, stores and (not hit or bool((rule.event_result or {"success": True})["success"])))
            for event, hit in zip(events or [], touched, strict=True)
        ]
        known = notebook.write(request, rule.status, entries)
        self._answer(rule, _results(events or [], known, touched, rule))

    def _answer(self, rule: Rule, made: str) -> None:
        if rule.delay_seconds:
            time.sleep(rule.delay_seconds)
        if rule.body is None and rule.status >= 400:
            made = json.dumps({"message": f"scripted {rule.status}"})
        self._reply(rule.status, made if rule.body is None else rule.body, rule.headers)

    def _key(self) -> str | None:
        bearer = self.headers.get("Authorization", "")
        return bearer[7:] if bearer.startswith("Bearer ") else self.headers.get("x-api-key")

    def _read_body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        chunks = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(chunks)

    def _reply(self, status: int, text: str, headers: dict[str, str] | None = None) -> None:
        body = text.encode()
        try:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            if status != 204:
                self.send_header("Content-Length", str(len(body)))
            if self.close_connection:
                self.send_header("Connection", "close")
            self.end_headers()
            if status != 204:
                self.wfile.write(body)
        except OSError:
            self.close_connection = True


def _contains(event: Event, text: str | None) -> bool:
    return text is not None and text in json.dumps(event, ensure_ascii=False)


def _results(events: list[Event], known: list[bool], touched: list[bool], rule: Rule) -> str:
    """The reply to a batch: one result for each event, in the order of their timestamps."""
    results = []
    order = sorted(range(len(events)), key=lambda index: str(events[index].get("timestamp", "")))
    for index in order:
        event = events[index]
        if touched[index] and rule.omit_result:
            continue
        result: dict[str, Any] = {"id": event.get("runId") or event.get("eventId"), "success": True}
        if "eventId" in event:
            result["eventId"] = event["eventId"]
            if known[index]:
                result["duplicate"] = True
        elif known[index] and event.get("event") == "start":
            result.update(success=False, error=ALREADY_EXISTS)
        if touched[index] and rule.event_result is not None:
            result.update(rule.event_result)
        results.append(result)
    return json.dumps({"results": results})


class OracleServer(ThreadingHTTPServer):
    """The endpoint; connections die with the process."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, notebook: Notebook) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.notebook = notebook

    def handle_error(self, *_: object) -> None:
        """A connection that breaks is what this server is for."""


def _end_with_standard_input() -> None:
    while os.read(0, 4096):
        pass
    os._exit(0)


def main(arguments: list[str]) -> None:
    """Serve until standard input closes; says its port on the first line of standard output."""
    server = OracleServer(Notebook(arguments[0], arguments[1]))
    threading.Thread(target=_end_with_standard_input, daemon=True).start()
    print(server.server_address[1], flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main(sys.argv[1:])
