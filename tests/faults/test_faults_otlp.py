"""SIGKILL beside an OTLP endpoint: spans whose start went with the process say so, and each is sent once (C74)."""

from __future__ import annotations

import gzip
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from spanloom.dialects import otlp_json
from spanloom.dialects.otlp_values import Span
from stored import clean_environment

DIES = """
import os, signal, sys, threading
import spanloom

spanloom.configure(destinations=[spanloom.Otlp(sys.argv[1], encoding="json")])
with spanloom.tool("early", input="asked early") as early:
    assert spanloom.flush(20)                       # its start is with the shipper, in memory
    open_still = spanloom.start(name="open", input="never answered")
    assert spanloom.flush(20)
    print("away", flush=True)
    sys.stdin.readline()                            # from here on the endpoint refuses
    with spanloom.tool("late", input="asked late") as late:
        late.set(output="answered late")
    early.set(output="answered early")
os.kill(os.getpid(), signal.SIGKILL)
"""
LIVES = """
import sys, time
import spanloom

spanloom.configure(destinations=[spanloom.Otlp(sys.argv[1], encoding="json")])
with spanloom.tool("next"):
    pass
assert spanloom.flush(30)
account = spanloom.health().destinations["otlp"]
while account.delivered < 5:                        # what the other left is adopted beside
    time.sleep(0.02)
    account = spanloom.health().destinations["otlp"]
print(account.created, int(account.adopted), account.delivered, account.pending, account.dropped)
"""


class Endpoint(ThreadingHTTPServer):
    """An OTLP endpoint that can be away; ``spans`` are those it acknowledged."""

    away = False
    spans: list[Span]


class _Answer(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        server: Any = self.server
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        if not server.away:
            server.spans += otlp_json.decode_traces(body)
        self.send_response(503 if server.away else 200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    """One on a real socket."""
    with Endpoint(("127.0.0.1", 0), _Answer) as server:
        server.spans = []
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join(5)


def test_after_a_kill_each_end_is_a_span_and_says_what_it_lacks(home: Path, endpoint: Endpoint) -> None:
    """A start that was settled before the kill leaves its span without input, and marked; what was not settled is sent
    whole by the next process; a run that never ended is no span."""
    url = f"http://127.0.0.1:{endpoint.server_port}"
    line = [sys.executable, "-c", DIES, url]
    with subprocess.Popen(
        line, env=clean_environment(home), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as dying:
        assert dying.stdout is not None and dying.stdin is not None
        assert dying.stdout.readline() == "away\n"
        endpoint.away = True
        dying.stdin.write("\n")
        dying.stdin.flush()
        assert dying.wait(60) == -9
    assert endpoint.spans == []
    endpoint.away = False
    done = subprocess.run(
        [sys.executable, "-c", LIVES, url],
        env=clean_environment(home), capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr, done.stdout) == (0, "", "2 3 5 0 0\n")
    spans = {span.name: span.attributes for span in endpoint.spans}
    assert sorted(span.name for span in endpoint.spans) == [
        "execute_tool early",
        "execute_tool late",
        "execute_tool next",
    ]
    early, late = spans["execute_tool early"], spans["execute_tool late"]
    assert early["spanloom.input_unknown"] is True and "input.value" not in early
    assert (early["output.value"], late["output.value"]) == ("answered early", "answered late")
    assert late["input.value"] == "asked late" and "spanloom.input_unknown" not in late
