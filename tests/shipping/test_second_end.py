"""A run that is ended more than once, at every kind of destination: one span, one action, one run with all of it."""

from __future__ import annotations

import base64
import gzip
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import orjson
import pytest
from usage_cases import DIALECTS, SECRET

from spanloom.dialects import otlp
from spanloom.records import RunEnd
from spanloom.store import Reader, views
from spanloom.wire import Request
from support.usage_server import UsageServer

PROGRAM = """
import json, sys
import spanloom
urls, secret, store = json.loads(sys.argv[1]), sys.argv[2], sys.argv[3]
meter = {"llm"}
spanloom.configure(destinations=[
    spanloom.Lunary("3f2504e0-4f89-41d3-9a0c-0305e82c3301", url=urls["runs"]),
    spanloom.Otlp(urls["runs"]),
    spanloom.Vluna("realm", "vluna-key", secret, url=urls["vluna"], meter=meter),
    spanloom.Valmi("valmi-key", "agent_abc", url=urls["valmi"], meter=meter),
    spanloom.Atlas("atlas-key", url=urls["atlas"], meter=meter),
    spanloom.Lumen("lumen-key", url=urls["lumen"], meter=meter),
    spanloom.Local(store),
])
usage, more = {"input": 3, "output": 4}, {"input": 30, "output": 40}
apart = sys.argv[4] == "apart"
flushed = []
with spanloom.context(customer="acme"):
    run = spanloom.start("llm", name="gpt-4o", input="hi")
    %s
flushed.append(spanloom.flush(30))
health = spanloom.health()
print(json.dumps({
    "flushed": flushed, "balance": health.balance(), "status": run.status,
    "rejected": {name: found.rejected.by_reason for name, found in health.destinations.items()},
    "not_recorded": health.not_recorded.by_reason,
}))
"""

BLOCK = """
    with run:
        run.set(usage=usage, response_id="resp_1", metadata={"step": 1})
    if apart:
        flushed.append(spanloom.flush(30))
"""


class RunsServer:
    """An endpoint for Lunary's and OTLP's requests that acknowledges everything; ``bodies`` are by path."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> RunsServer:
        self._thread.start()
        return self

    def __exit__(self, *failure: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)

    def _handler(server) -> type[BaseHTTPRequestHandler]:
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                if self.headers.get("content-encoding") == "gzip":
                    body = gzip.decompress(body)
                server.requests.append(Request("POST", self.path, {"content-type": self.headers["content-type"]}, body))
                told = orjson.loads(body)["events"] if "ingest" in self.path else []
                answer = orjson.dumps({"results": [{"id": event["runId"], "success": True} for event in told]})
                if not told:
                    answer = b""
                self.send_response(200)
                self.send_header("content-type", "application/json" if told else "application/x-protobuf")
                self.send_header("content-length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *arguments: object) -> None:
                """Nothing on standard error."""

        return Handler

    @property
    def spans(self) -> list[RunEnd]:
        """The ends that the spans which came speak of."""
        found = [item.record for request in self.requests if "traces" in request.path
                 for item in otlp.read_request(request)]  # fmt: skip
        return [record for record in found if isinstance(record, RunEnd)]

    @property
    def ends(self) -> list[dict[str, Any]]:
        """Lunary's events of the kind ``end``."""
        events = [event for request in self.requests if "ingest" in request.path
                  for event in orjson.loads(request.body)["events"]]  # fmt: skip
        return [event for event in events if event["event"] == "end"]


class Endpoints:
    """One of each, and the program that sends to them."""

    def __init__(self, runs: RunsServer, usage: dict[str, UsageServer], store: Path) -> None:
        self.runs = runs
        self.usage = usage
        self._store = store

    def run(self, lines: str, when: str = "at once") -> Any:
        """Run the program with these lines; what it says."""
        urls = {"runs": self.runs.url, **{name: server.url for name, server in self.usage.items()}}
        secret = base64.b64encode(SECRET).decode()
        command = [sys.executable, "-c", PROGRAM % lines.strip(), json.dumps(urls), secret, str(self._store), when]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        said = json.loads(done.stdout)
        assert all(said["flushed"]) and said["balance"] == 0
        return said

    @property
    def stored(self) -> tuple[Any, Any, Any]:
        """The one run in the store, its content, and the sums of its trace."""
        with Reader(self._store) as reader:
            (run,) = reader.runs().runs
            return run, reader.details([run])[0].content, views.trace_sums(reader, [run.id])[run.id]


@pytest.fixture
def endpoints(tmp_path: Path) -> Iterator[Endpoints]:
    with ExitStack() as stack:
        usage = {
            name: stack.enter_context(UsageServer(dialect, secret=SECRET if name == "vluna" else b""))
            for name, dialect in DIALECTS.items()
        }
        yield Endpoints(stack.enter_context(RunsServer()), usage, tmp_path / "s.db")


def actions(endpoints: Endpoints) -> dict[str, int]:
    """How many actions each usage endpoint was sent, counted or not."""
    return {name: sum(server.seen.values()) for name, server in endpoints.usage.items()}


@pytest.mark.parametrize("when", ["at once", "apart"])
def test_what_is_said_after_the_block_adds_to_the_run(when: str, endpoints: Endpoints) -> None:
    """``with run: …`` and then ``run.end(output=…)``: one span, one action and one run, which has both; where the span
    had been sent before, the account says what did not reach it."""
    said = endpoints.run(BLOCK + '    run.end(output="done", usage=more, response_id="resp_2", tags=["late"])\n', when)
    assert actions(endpoints) == dict.fromkeys(DIALECTS, 1)
    (span,) = endpoints.runs.spans
    assert span.tokens_usage is not None and span.tokens_usage.prompt == 3 and span.response_id == "resp_1"
    assert bool(span.output) == (when == "at once")
    assert said["rejected"]["otlp"] == ({} if when == "at once" else {"after_end": 1})
    last = endpoints.runs.ends[-1]
    assert (last["output"], last["tokensUsage"]) == ("done", {"prompt": 3, "completion": 4})
    assert len({end["timestamp"] for end in endpoints.runs.ends}) == 1
    run, content, sums = endpoints.stored
    assert (run.status, run.tokens.prompt, run.response_id, run.tags) == ("ok", 3, "resp_1", ["late"])
    assert bytes(content.output) == b'"done"' and list(content.metadata) == ["step"]
    assert (sums.runs, sums.tokens) == (1, 7)


def test_usage_that_comes_after_the_block_is_not_metered_and_said_so(endpoints: Endpoints) -> None:
    """The action of a run that has ended has gone out; what is told then is in the store, and counted as rejected where
    it is metered."""
    said = endpoints.run('with run:\n        pass\n    run.end(usage=usage, response_id="resp_1")\n')
    assert actions(endpoints) == dict.fromkeys(DIALECTS, 1)
    assert {said["rejected"][name].get("after_end") for name in DIALECTS} == {1}
    run, _, sums = endpoints.stored
    assert (run.tokens.prompt, run.response_id, sums.tokens) == (3, "resp_1", 7)


def test_a_second_end_by_hand_is_counted_and_changes_nothing(endpoints: Endpoints) -> None:
    """C17: ``end`` and then ``end``, or ``fail``: at every destination the first one is what there is."""
    again = ['run.end(output="two", usage=more)', 'run.fail(ValueError("late"))', "run.end()"]
    said = endpoints.run("\n    ".join(['run.end(output="one", usage=usage)', *again]))
    assert said["not_recorded"] == {"run_ended": 3} and said["status"] == "ok"
    assert actions(endpoints) == dict.fromkeys(DIALECTS, 1)
    assert len(endpoints.runs.spans) == len(endpoints.runs.ends) == 1
    run, content, sums = endpoints.stored
    assert (run.status, bytes(content.output), sums.tokens) == ("ok", b'"one"', 7)
