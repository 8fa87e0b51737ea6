"""What the weather agent sends to Lunary, caught on a real socket and held against the events guide's Step 3."""

from __future__ import annotations

import gzip
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent.parent
PUBLIC_KEY = "259d2d94-9446-478a-ae04-484de705b522"

# The demo's own agent, sent to Lunary by `configure`; the example names its destination by the environment instead.
DEMO_PROGRAM = f"""
import os, spanloom
from spanloom.demo.model_server import ModelServer
from spanloom.demo.weather import converse
spanloom.configure(destinations=[spanloom.Lunary(public_key="{PUBLIC_KEY}", url=os.environ["CATCHER_URL"])])
with ModelServer() as model:
    converse(model.base_url)
assert spanloom.flush(timeout_seconds=20), spanloom.health()
"""

QUESTION = "What's the weather in Boston?"
ANSWER = "The weather in Boston is sunny with a temperature of 72 degrees."
ANNOUNCEMENT = "I can get the weather forecast for you. Please wait a moment."
TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather_forecast",
        "description": "Get the weather forecast for a specific location.",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string", "description": "The city for which to get the weather forecast."}
            },
            "required": ["city"],
        },
    },
}
# One tool name throughout, where the guide has two.
CALL = {
    "id": "call_id",
    "type": "function",
    "function": {"name": "get_weather_forecast", "arguments": '{"city": "Boston"}'},
}
ASKED: list[dict[str, Any]] = [{"role": "user", "content": QUESTION}]
CALLED = {"role": "assistant", "content": ANNOUNCEMENT, "tool_calls": [CALL]}
RESULT = {"role": "tool", "content": '{"temperature": 72, "weather": "sunny"}'}

# Step 3, event by event, in the guide's order. `runId` and `parentRunId` are the guide's names for the ids.
GUIDE: list[dict[str, Any]] = [
    {"type": "thread", "event": "chat", "runId": "chat", "parentRunId": "thread",
     "message": {"role": "user", "content": QUESTION}},
    {"type": "agent", "event": "start", "runId": "agent", "parentRunId": "chat",
     "name": "my-super-agent", "input": QUESTION},
    {"type": "llm", "event": "start", "runId": "llm", "parentRunId": "agent",
     "name": "gpt-4o", "params": {"tools": [TOOL]}, "input": ASKED},
    {"type": "llm", "event": "end", "runId": "llm", "parentRunId": "agent", "output": CALLED},
    {"type": "tool", "event": "start", "runId": "tool", "parentRunId": "agent",
     "name": "get_weather_forecast", "input": {"city": "Boston"}},
    {"type": "tool", "event": "end", "runId": "tool", "parentRunId": "agent",
     "output": {"temperature": 72, "weather": "sunny"}},
    {"type": "llm", "event": "start", "runId": "llm-2", "parentRunId": "agent",
     "name": "gpt-4o", "input": [*ASKED, CALLED, RESULT]},
    {"type": "llm", "event": "end", "runId": "llm-2", "parentRunId": "agent",
     "output": {"role": "assistant", "content": ANSWER}},
    {"type": "agent", "event": "end", "runId": "agent", "output": ANSWER},
    {"type": "thread", "event": "chat", "runId": "chat", "parentRunId": "thread",
     "message": {"role": "assistant", "content": ANSWER}},
    {"type": "chat", "event": "feedback", "runId": "chat",
     "feedback": {"comment": "Great response!", "thumb": "up"}},
]  # fmt: skip
EXTRAS = {"timestamp", "parentRunId", "tokensUsage", "tool_call_id", "runtime", "metadata"}
IDS = ("runId", "parentRunId")


class Catcher(ThreadingHTTPServer):
    """Keeps every request as it came and answers as Lunary does: 200, results in the order of the timestamps."""

    daemon_threads = True

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []
        self.in_flight = self.most_in_flight = 0
        self.lock = threading.Lock()
        super().__init__(("127.0.0.1", 0), _Catch)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    @property
    def events(self) -> list[dict[str, Any]]:
        """All events, in the order in which they came."""
        return [event for request in self.requests for event in request["events"]]


class _Catch(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Catcher

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_POST(self) -> None:
        with self.server.lock:
            self.server.in_flight += 1
            self.server.most_in_flight = max(self.server.most_in_flight, self.server.in_flight)
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        events = json.loads(body, parse_constant=pytest.fail)["events"]
        self.server.requests.append({"path": self.path, "headers": dict(self.headers.items()), "events": events})
        ordered = sorted(events, key=lambda event: event["timestamp"])
        answer = json.dumps({"results": [{"id": event["runId"], "success": True} for event in ordered]}).encode()
        with self.server.lock:
            self.server.in_flight -= 1
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)


@pytest.fixture(scope="module", params=["example", "demo"])
def caught(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Catcher]:
    """The weather agent has run in its own process and exited; what it sent is in the catcher."""
    catcher = Catcher()
    threading.Thread(target=catcher.serve_forever, args=(0.02,), daemon=True).start()
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("SPANLOOM", "OPENAI", "LUNARY"))}
    environment = {**kept, "SPANLOOM_HOME": str(tmp_path_factory.mktemp("home")), "CATCHER_URL": catcher.url}
    program = ["-c", DEMO_PROGRAM]
    if request.param == "example":
        program = [str(ROOT / "examples" / "weather_agent.py")]
        environment |= {"LUNARY_PUBLIC_KEY": PUBLIC_KEY, "LUNARY_API_URL": catcher.url}
    ran = subprocess.run(
        [sys.executable, "-W", "error", *program], env=environment, capture_output=True, text=True, timeout=60
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stderr == ""
    yield catcher
    catcher.shutdown()
    catcher.server_close()


def in_order_of_time(catcher: Catcher) -> list[dict[str, Any]]:
    return sorted(catcher.events, key=lambda event: event["timestamp"])


def test_every_field_of_the_guide_is_sent_with_its_value(caught: Catcher) -> None:
    """Eleven events, the guide's fields with the guide's values; ids and times apart, extras from the agreed list."""
    events = in_order_of_time(caught)
    assert [(event["type"], event["event"]) for event in events] == [(e["type"], e["event"]) for e in GUIDE]
    for event, expected in zip(events, GUIDE, strict=True):
        assert set(event) - set(expected) <= EXTRAS, event
        assert set(expected) - set(event) == set(), event
        for name, value in expected.items():
            if name not in IDS:
                assert without_extras(event[name]) == value, (expected["runId"], name)


def without_extras(value: Any) -> Any:
    """The value without the tool_call_id that a tool's message carries beyond the guide's."""
    if isinstance(value, dict):
        return {name: without_extras(item) for name, item in value.items() if name != "tool_call_id"}
    return [without_extras(item) for item in value] if isinstance(value, list) else value


def test_the_ids_tie_the_events_together_as_in_the_guide(caught: Catcher) -> None:
    """Each of the guide's ids is one UUID of 36 characters throughout, and no two are the same."""
    ours: dict[str, str] = {}
    for event, expected in zip(in_order_of_time(caught), GUIDE, strict=True):
        for name in IDS:
            if name in expected:
                assert ours.setdefault(expected[name], event[name]) == event[name], (expected["runId"], name)
    assert len(set(ours.values())) == len(ours) == 6
    for run_id in ours.values():
        assert re.fullmatch(r"[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}", run_id), run_id


def test_one_tool_name_throughout(caught: Catcher) -> None:
    """The tool that is offered, called and run has one name."""
    assert "get_current_weather" not in json.dumps(caught.events)


def test_the_order_obeys_the_server(caught: Catcher) -> None:
    """A UTC timestamp with milliseconds on every event, never falling within a run; parents before their children and a
    run's start before its end, in arrival as well as in time; feedback after the run it is for."""
    events = caught.events
    assert events == in_order_of_time(caught)
    for event in events:
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", event["timestamp"]), event
    last: dict[str, str] = {}
    known = {events[0]["parentRunId"]}  # the thread, which a chat opens by itself
    for event in events:
        run_id = event["runId"]
        assert last.get(run_id, "") <= event["timestamp"], event
        last[run_id] = event["timestamp"]
        if event["event"] in ("start", "chat"):
            assert event["parentRunId"] in known, event
            assert event["event"] == "chat" or run_id not in known, event
            known.add(run_id)
        else:
            assert run_id in known, event
    starts = {event["runId"]: event["timestamp"] for event in events if event["event"] == "start"}
    for event in events:
        if event["event"] == "start" and event["parentRunId"] in starts:
            assert starts[event["parentRunId"]] <= event["timestamp"], event


def test_the_requests_are_what_the_server_takes(caught: Catcher) -> None:
    """The ingest path without a trailing slash, the key as a bearer, JSON, one request in flight, no hidden key."""
    assert {request["path"] for request in caught.requests} == {"/v1/runs/ingest"}
    for request in caught.requests:
        headers = {name.lower(): value for name, value in request["headers"].items()}
        assert headers["authorization"] == f"Bearer {PUBLIC_KEY}"
        assert headers["content-type"].startswith("application/json")
    assert caught.most_in_flight == 1
    assert PUBLIC_KEY not in json.dumps(caught.events)


def test_tokens_travel_where_the_server_reads_them(caught: Catcher) -> None:
    """Both model calls report prompt and completion tokens on their end events, and nowhere else."""
    usage = {event["runId"] + event["event"]: event["tokensUsage"] for event in caught.events if "tokensUsage" in event}
    ends = [event["runId"] + "end" for event in caught.events if (event["type"], event["event"]) == ("llm", "end")]
    assert list(usage) == ends
    assert all(tokens["prompt"] > 0 and tokens["completion"] > 0 for tokens in usage.values())
