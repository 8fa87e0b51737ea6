"""A program with a tracer provider of its own and our processor on it leaves: nothing is lost, and nothing waits."""

from __future__ import annotations

import gzip
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from spanloom.dialects import otlp
from spanloom.records import RunEnd
from spanloom.store import Reader
from spanloom.wire import Request

PROGRAM = """
import os, signal, sys, time
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
import spanloom
from spanloom.otel.spans import RunSpans

how, url, store, ours_first = sys.argv[1:]
provider = TracerProvider()
processors = [BatchSpanProcessor(OTLPSpanExporter(endpoint=url, timeout=2)), RunSpans()]
for processor in reversed(processors) if ours_first else processors:
    provider.add_span_processor(processor)
trace.set_tracer_provider(provider)
tracer = trace.get_tracer("host")
spanloom.configure(destinations=[spanloom.Local(store)])
call = {"openinference.span.kind": "LLM", "llm.model_name": "m", "llm.token_count.prompt": 3}
for number in range(50):
    with tracer.start_as_current_span("request"), spanloom.agent("agent"):
        with tracer.start_as_current_span("call", attributes=call):
            pass
with trace.use_span(tracer.start_span("never ended", attributes=call)):
    with tracer.start_as_current_span("call", attributes=call):
        pass                              # its end waits for that of the layer around it
if how == "sys.exit":
    sys.exit(3)
if how == "exception":
    raise ValueError("mine")
if how == "handled SIGTERM":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
os.kill(os.getpid(), signal.SIGTERM)
time.sleep(60)
"""

NEXT = """
import sys, time
import spanloom
spanloom.configure(destinations=[spanloom.Local(sys.argv[1])])
with spanloom.tool("next"):
    pass
until = time.monotonic() + 20
while not spanloom.health()["local"].adopted and time.monotonic() < until:
    time.sleep(0.01)
assert spanloom.flush(20)
"""


class HostsOwn:
    """The endpoint of the host's exporter: acknowledges, or takes the request and says nothing."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.silent = threading.Event()
        self.over = threading.Event()
        outside = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                if self.headers.get("content-encoding") == "gzip":
                    body = gzip.decompress(body)
                headers = {"content-type": self.headers["content-type"]}
                outside.requests.append(Request("POST", "/v1/traces", headers, body))
                if outside.silent.is_set():
                    outside.over.wait(60)
                    return
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *arguments: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1/traces"

    @property
    def spans(self) -> int:
        """How many have come."""
        found = [item.record for request in self.requests for item in otlp.read_request(request)]
        return sum(isinstance(record, RunEnd) for record in found)


@pytest.fixture
def hosts() -> Iterator[HostsOwn]:
    made = HostsOwn()
    serving = threading.Thread(target=made.server.serve_forever, args=(0.01,), daemon=True)
    serving.start()
    yield made
    made.over.set()
    made.server.shutdown()
    made.server.server_close()
    serving.join(5)


def leave(how: str, hosts: HostsOwn, store: Path, *, ours_first: bool = False) -> subprocess.CompletedProcess[str]:
    """Run the program; a hang ends the test."""
    command = [sys.executable, "-c", PROGRAM, how, hosts.url, str(store), "yes" if ours_first else ""]
    return subprocess.run(command, capture_output=True, text=True, timeout=40, check=False, env=dict(os.environ))


def stored(store: Path) -> Counter[tuple[str | None, str | None]]:
    """How many runs of each type and status."""
    with Reader(store) as reader:
        return Counter((run.type, run.status) for run in reader.runs(limit=1000).runs if run.name != "next")


ALL = Counter({("chain", "ok"): 50, ("agent", "ok"): 50, ("llm", "ok"): 51})


@pytest.mark.parametrize("ours_first", [False, True])
@pytest.mark.parametrize(("how", "status"), [("sys.exit", 3), ("exception", 1), ("handled SIGTERM", 0)])
def test_nothing_is_lost_at_an_exit(how: str, status: int, ours_first: bool, hosts: HostsOwn, tmp_path: Path) -> None:
    """C20: the host's exporter gets its spans and the store its runs, one whose end waited for a layer that never ended
    included; the host's traceback is all that is said."""
    done = leave(how, hosts, tmp_path / "s.db", ours_first=ours_first)
    assert done.returncode == status, done.stderr
    assert ("ValueError: mine" in done.stderr) if how == "exception" else done.stderr == ""
    assert stored(tmp_path / "s.db") == ALL and hosts.spans == 101


def test_a_killed_program_leaves_all_but_what_waited(hosts: HostsOwn, tmp_path: Path) -> None:
    """C20: SIGTERM without a handler: the host's spans are the host's loss, the runs are there by the next process; the
    one whose end waited has its tokens and is ``killed``."""
    assert leave("SIGTERM", hosts, tmp_path / "s.db").returncode == -signal.SIGTERM
    subprocess.run([sys.executable, "-c", NEXT, str(tmp_path / "s.db")], timeout=40, check=True)
    assert stored(tmp_path / "s.db") == ALL - Counter({("llm", "ok"): 1}) + Counter({("llm", "killed"): 1})
    with Reader(tmp_path / "s.db") as reader:
        assert {run.tokens.prompt for run in reader.runs(limit=1000).runs if run.type == "llm"} == {3}


def test_an_endpoint_of_the_hosts_that_hangs_costs_no_run(hosts: HostsOwn, tmp_path: Path) -> None:
    """The host's exporter waits for its own timeout (2 s here); ours has all its runs."""
    hosts.silent.set()
    assert leave("sys.exit", hosts, tmp_path / "s.db").returncode == 3
    assert stored(tmp_path / "s.db") == ALL
