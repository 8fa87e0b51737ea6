"""Ten tickets, three model calls each, one outcome each, to two destinations at once; killed in the middle.

The numbers are held against the scripted model's own log: one action for every response that had arrived, none twice.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from spanloom.collector.keys import Keyed, KeyRing
from spanloom.collector.server import Running
from stored import clean_environment

EXAMPLE = Path(__file__).parent.parent.parent / "examples" / "outcome_billing.py"


class Model(ThreadingHTTPServer):
    """Answers every call with 1,000 and 200 tokens and an id of its own; one call, named by its text, hangs."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answered: list[str] = []
        self.hang_on: tuple[str, str] | None = ("[ticket-6]", "Draft")
        self.hanging = threading.Event()
        self.url = f"http://127.0.0.1:{self.server_address[1]}/v1"
        threading.Thread(target=self.serve_forever, daemon=True).start()


class _Handler(BaseHTTPRequestHandler):
    server: Model
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""

    def do_POST(self) -> None:
        text = json.loads(self.rfile.read(int(self.headers["content-length"])))["messages"][0]["content"]
        if self.server.hang_on and all(word in text for word in self.server.hang_on):
            self.server.hanging.set()
            self.rfile.read(1)  # until the caller is gone
            self.close_connection = True
            return
        name = f"chatcmpl-{len(self.server.answered)}"
        body = json.dumps({
            "id": name, "object": "chat.completion", "created": 1, "model": "gpt-4o",
            "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Fine."}}],
            "usage": {"prompt_tokens": 1000, "completion_tokens": 200, "total_tokens": 1200},
        }).encode()  # fmt: skip
        self.server.answered.append(name)
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def model() -> Iterator[Model]:
    """The scripted model."""
    server = Model()
    yield server
    server.shutdown()
    server.server_close()


def cloud_events(home: Path, store: Path) -> list[dict[str, Any]]:
    """What ``spanloom usage --cloudevents`` says of a destination's own records."""
    command = [sys.executable, "-m", "spanloom", "usage", "--cloudevents", "--store", str(store)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=clean_environment(home), check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def wait_for_outcomes(collector: Running, count: int) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if len(collector.reader.usage_events(kind="outcome", limit=1000)) >= count:
            return
        time.sleep(0.05)


def test_killed_in_the_middle_bills_nothing_twice(home: Path, tmp_path: Path, model: Model) -> None:
    """SIGKILL in the sixth ticket's second call, then the tickets without an outcome: 10 outcomes, 31 calls, each once
    in both destinations' own records, and in the store on this machine."""
    with ExitStack() as stack:
        there: dict[str, Running] = {}
        keys: dict[str, str] = {}
        for kind in ("lumen", "valmi"):
            ring = KeyRing(tmp_path / kind / "runs.db")
            keys[kind] = ring.add(kind)[1]["key"]
            there[kind] = stack.enter_context(Running(tmp_path / kind / "runs.db", access=Keyed(ring)))
        environment = {
            **clean_environment(home), "OUTCOME_BILLING_DIR": str(tmp_path / "work"),
            "OPENAI_BASE_URL": model.url, "OPENAI_API_KEY": "none",
            "LUMEN_API_KEY": keys["lumen"], "SPANLOOM_LUMEN_URL": f"{there['lumen'].url}/lumen",
            "VALMI_API_KEY": keys["valmi"], "VALMI_AGENT_KEY": "agent-1",
            "SPANLOOM_VALMI_URL": f"{there['valmi'].url}/valmi/v1",
        }  # fmt: skip
        first = subprocess.Popen([sys.executable, EXAMPLE], env=environment, stderr=subprocess.DEVNULL)
        assert model.hanging.wait(60), "the sixth ticket's second call never came"
        os.kill(first.pid, signal.SIGKILL)
        assert first.wait(20) == -signal.SIGKILL
        model.hang_on = None
        assert len(model.answered) == 5 * 3 + 1

        second = subprocess.run([sys.executable, EXAMPLE], env=environment, capture_output=True, text=True, timeout=90,
                                check=False)  # fmt: skip
        assert second.returncode == 0, second.stderr
        assert len(model.answered) == 5 * 3 + 1 + 5 * 3
        for collector in there.values():
            wait_for_outcomes(collector, 10)
    stores = [*(tmp_path / kind / "runs.db" for kind in there), home / "local.db"]
    for store in stores:
        events = cloud_events(home, store)
        outcomes = Counter(event["id"] for event in events if event["type"] == "spanloom.outcome.ticket_resolved")
        assert outcomes == Counter({f"ticket-{number}": 1 for number in range(1, 11)}), store
        calls = Counter(event["id"] for event in events if event["type"] == "spanloom.action.llm_call")
        if store.parent != home:  # metering is the destinations'; the store here has the runs themselves
            assert calls == Counter(dict.fromkeys(model.answered, 1)), store
            for event in events:
                if event["id"] in calls:
                    assert event["data"]["properties"]["input_tokens"] == 1000
                    assert event["data"]["properties"]["output_tokens"] == 200


def test_it_runs_alone(home: Path, tmp_path: Path) -> None:
    """With nothing set it resolves ten tickets against a scripted model and two collectors, and once only."""
    environment = {**clean_environment(home), "OUTCOME_BILLING_DIR": str(tmp_path / "work")}
    for _ in range(2):
        done = subprocess.run([sys.executable, EXAMPLE], env=environment, capture_output=True, text=True, timeout=90,
                              check=False)  # fmt: skip
        assert done.returncode == 0, done.stderr
    for kind in ("lumen", "valmi"):
        events = cloud_events(home, tmp_path / "work" / kind / "runs.db")
        assert Counter(event["type"] for event in events) == {
            "spanloom.outcome.ticket_resolved": 10, "spanloom.action.llm_call": 30,
        }  # fmt: skip
