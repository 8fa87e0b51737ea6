"""HTTP clients that are followed, and the environment of programs that are started: what leaves a run carries it."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
import requests

import spanloom
from spanloom import outgoing
from spanloom.testing import capture
from stored import clean_environment, tree

Headers = list[tuple[str, str]]


class Listener(ThreadingHTTPServer):
    """Keeps the headers of every request; ``/moved`` sends on to ``/here``."""

    seen: list[Headers]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def last(self, name: str) -> list[str]:
        """The values of a header in the last request."""
        return [value for key, value in self.seen[-1] if key.lower() == name]


class _Answer(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.server.seen.append(self.headers.items())  # type: ignore[attr-defined]
        moved = self.path == "/moved"
        self.send_response(302 if moved else 200)
        if moved:
            self.send_header("location", "/here")
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""


@pytest.fixture
def listener() -> Iterator[Listener]:
    """A server that keeps what it was sent."""
    with Listener(("127.0.0.1", 0), _Answer) as server:
        server.seen = []
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def by_httpx(url: str, baggage: bool = False, twice: bool = False, **headers: str) -> None:
    with httpx.Client(trust_env=False, follow_redirects=True) as client:
        assert outgoing.follow(client, baggage=baggage) is client
        if twice:
            outgoing.follow(client, baggage=baggage)
        assert len(client.event_hooks["request"]) == 1
        client.get(url, headers=headers)


def by_async_httpx(url: str, baggage: bool = False, twice: bool = False, **headers: str) -> None:
    async def ask() -> None:
        async with httpx.AsyncClient(trust_env=False, follow_redirects=True) as client:
            for _ in range(2 if twice else 1):
                outgoing.follow(client, baggage=baggage)
            await client.get(url, headers=headers)

    asyncio.run(ask())


def by_requests(url: str, baggage: bool = False, twice: bool = False, **headers: str) -> None:
    with requests.Session() as session:
        session.trust_env = False
        for _ in range(2 if twice else 1):
            outgoing.follow(session, baggage=baggage)
        session.get(url, headers=headers)


CLIENTS = [by_httpx, by_async_httpx, by_requests]


@pytest.mark.parametrize("ask", CLIENTS)
@pytest.mark.parametrize("twice", [False, True])
def test_a_followed_client_carries_the_run(listener: Listener, ask: Any, twice: bool) -> None:
    """One traceparent, the run's own, through redirects too; outside any run none; no baggage unasked."""
    with capture(), spanloom.context(user="ada"):
        with spanloom.agent("caller") as caller:
            ask(f"{listener.url}/moved", twice=twice)
        assert len(listener.seen) == 2
        assert listener.last("traceparent") == [caller.traceparent] and len(listener.last("tracestate")) == 1
        assert listener.last("baggage") == []
        ask(listener.url)
        assert listener.last("traceparent") == []


@pytest.mark.parametrize("ask", CLIENTS)
def test_a_parent_that_the_caller_names_stays(listener: Listener, ask: Any) -> None:
    """A request's own traceparent is the host's to choose."""
    named = "00-" + "1" * 32 + "-" + "2" * 16 + "-01"
    with capture(), spanloom.agent("caller"):
        ask(listener.url, traceparent=named)
    assert listener.last("traceparent") == [named] and listener.last("tracestate") == []


@pytest.mark.parametrize("ask", CLIENTS)
def test_baggage_goes_where_it_was_asked_for(listener: Listener, ask: Any) -> None:
    """User and tags, beside the members of others, and read back on the other side."""
    with capture() as runs:
        with spanloom.context(user="ada", tags=["a,b", "ü;=%"]), spanloom.agent("caller"):
            ask(listener.url, baggage=True, **{"baggage-of": "x"})
        with spanloom.extract(listener.seen[-1]), spanloom.tool("callee"):
            pass
    callee = runs.one("tool", "callee")
    assert (callee.user, list(callee.tags)) == ("ada", ["a,b", "ü;=%"])
    assert callee.parent_id == runs.one("agent", "caller").id


def test_a_request_that_is_sent_again_goes_with_the_run_of_the_moment(listener: Listener) -> None:
    """A prepared request may live longer than the run in which it was first sent."""
    with capture(), requests.Session() as session, httpx.Client(trust_env=False) as client:
        session.trust_env = False
        outgoing.follow(session)
        outgoing.follow(client)
        prepared = session.prepare_request(requests.Request("GET", listener.url))
        built = client.build_request("GET", listener.url)
        for name in ("first", "second"):
            with spanloom.agent(name) as run:
                session.send(prepared)
                assert listener.last("traceparent") == [run.traceparent]
                client.send(built)
                assert listener.last("traceparent") == [run.traceparent]


OTEL = """
import sys
import httpx, requests
from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor
from opentelemetry.instrumentation.requests import RequestsInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import set_tracer_provider
import spanloom

set_tracer_provider(TracerProvider())
HTTPXClientInstrumentor().instrument()
RequestsInstrumentor().instrument()
with spanloom.agent("caller") as run, httpx.Client(trust_env=False) as client, requests.Session() as session:
    session.trust_env = False
    spanloom.outgoing.follow(client).get(sys.argv[1])
    spanloom.outgoing.follow(session).get(sys.argv[1])
    print(run.traceparent)
"""


def test_beside_opentelemetrys_instrumentors_there_is_one_header(listener: Listener, home: Path) -> None:
    """The host's instrumentor has the last word: its span, in the run's trace, with the run's root in tracestate."""
    done = subprocess.run(
        [sys.executable, "-c", OTEL, listener.url],
        env=clean_environment(home), capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    _, trace, span, _ = done.stdout.strip().split("-")
    assert len(listener.seen) == 2
    for headers in listener.seen:
        values = [value.split("-") for key, value in headers if key.lower() == "traceparent"]
        assert len(values) == 1 and values[0][1] == trace and values[0][2] != span
        assert len([key for key, _ in headers if key.lower() == "tracestate"]) == 1


def test_what_is_no_client_is_left_and_said() -> None:
    """Whatever it is comes back as it was; with strict the cure is named."""
    for wrong in (None, 3, httpx, object()):
        with capture():
            assert outgoing.follow(wrong) is wrong
    with capture(strict=True), pytest.raises(spanloom.UsageError, match=r"requests\.Session"):
        outgoing.follow(3)


def test_the_environment_is_a_copy_with_the_run() -> None:
    """os.environ is not written; outside any run a process's own parent stays; a stale TRACESTATE goes."""
    before = dict(os.environ)
    base = {"A": "1", "TRACEPARENT": "old", "TRACESTATE": "spanloom=old", "BAGGAGE": "other=1"}
    with capture():
        assert outgoing.environment(base) == base
        with spanloom.context(user="ada"), spanloom.agent("caller") as run:
            ours = outgoing.environment(base)
            assert outgoing.environment(base, baggage=True)["BAGGAGE"] == "spanloom.user=ada,other=1"
            assert outgoing.environment()["TRACEPARENT"] == run.traceparent
        with spanloom.disabled():
            assert outgoing.environment(base) == base
        foreign = "00-" + "1" * 32 + "-" + "2" * 16 + "-01"
        with spanloom.extract({"traceparent": foreign}):
            assert outgoing.environment(base) == {"A": "1", "TRACEPARENT": foreign, "BAGGAGE": "other=1"}
    assert ours == {**base, "TRACEPARENT": run.traceparent, "TRACESTATE": ours["TRACESTATE"]}
    assert "old" not in ours["TRACESTATE"]
    assert dict(os.environ) == before


PARENT = """
import subprocess, sys
import spanloom

with spanloom.agent("parent"):
    child = "import spanloom\\nwith spanloom.tool('child'): pass"
    subprocess.run([sys.executable, "-c", child], env=spanloom.outgoing.environment(), check=True, timeout=50)
"""


def test_a_program_that_is_started_hangs_below_the_run(home: Path) -> None:
    """Two processes, one tree."""
    done = subprocess.run(
        [sys.executable, "-c", PARENT],
        env=clean_environment(home), capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert tree(home).shape() == ["agent parent", "tool child"]
