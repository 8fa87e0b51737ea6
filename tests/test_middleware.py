"""Requests continue their caller's trace, in WSGI and ASGI servers on real sockets; one tree across processes."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

import httpx
import pytest
import uvicorn

import spanloom
from spanloom.middleware import Asgi, Wsgi
from spanloom.testing import capture
from stored import clean_environment, tree


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""


def wsgi_app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterator[bytes]:
    """Answers in two parts, each with a run, so that the body is made while the server reads it."""
    start_response("200 OK", [("content-type", "text/plain")])
    for part in (b"one ", b"two"):
        with spanloom.tool(f"part {part.decode().strip()}"):
            yield part


async def asgi_app(scope: dict[str, Any], receive: Callable[..., Any], send: Callable[..., Any]) -> None:
    with spanloom.tool("whole"):
        await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"whole"})


@pytest.fixture
def wsgi_url() -> Iterator[str]:
    """A WSGI server."""
    with make_server("127.0.0.1", 0, Wsgi(wsgi_app), handler_class=_Quiet) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
def asgi_url() -> Iterator[str]:
    """An ASGI server."""
    config = uvicorn.Config(Asgi(asgi_app), port=0, log_config=None, lifespan="off", ws="none")  # type: ignore[arg-type]
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + 10
    while not server.started and time.monotonic() < deadline:
        time.sleep(0.005)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join()


def ask(url: str, headers: dict[str, str]) -> str:
    return httpx.get(url, headers=headers, trust_env=False, timeout=10).text


def test_wsgi_continues_the_trace_also_while_the_body_is_read(wsgi_url: str) -> None:
    """Both parts hang below the caller's agent; a request without headers is a trace of its own."""
    with capture() as runs:
        headers: dict[str, str] = {}
        with spanloom.agent("caller") as caller:
            spanloom.inject(headers)
        assert ask(wsgi_url, headers) == "one two"
        assert ask(wsgi_url, {}) == "one two"
    parts = runs.all("tool")
    assert [run.parent_id for run in parts] == [caller.id, caller.id, None, None]


def test_asgi_continues_the_trace(asgi_url: str) -> None:
    """The run hangs below the caller's, with user and customer from the baggage."""
    with capture() as runs:
        headers: dict[str, str] = {}
        with spanloom.context(user="ada", customer="acme"), spanloom.agent("caller") as caller:
            spanloom.inject(headers)
        assert ask(asgi_url, headers) == "whole"
    whole = runs.one("tool", "whole")
    assert (whole.parent_id, whole.user, whole.customer) == (caller.id, "ada", "acme")


HOSTILE = {
    "traceparent": "00-" + "z" * 32 + "-1-1",
    "tracestate": "spanloom=" + "f" * 9000,
    "baggage": "spanloom.user=%00%0d%0aX: 1,SPANLOOM_COLLECTOR_URL=http://203.0.113.1",
    "spanloom-collector-url": "http://203.0.113.1",
    "spanloom-key": "stolen",
}


def test_headers_that_do_not_parse_change_nothing(asgi_url: str, wsgi_url: str) -> None:
    """Nonsense, and headers that name an endpoint or a key, leave the request as if they were not there."""
    with capture() as runs:
        assert ask(asgi_url, HOSTILE) == "whole" and ask(wsgi_url, HOSTILE) == "one two"
    assert all(run.parent_id is None for run in runs)


GRANDCHILD = """
import spanloom

@spanloom.tool
def grandchild():
    return "deep"

grandchild()
"""
CHILD = """
import subprocess, sys
import spanloom

@spanloom.agent
def child():
    command = [sys.executable, "-m", "spanloom", "exec", "--name", "second", "--", sys.executable, sys.argv[1]]
    return subprocess.run(command, env={**__import__("os").environ, **headers()}).returncode

def headers():
    found = {}
    spanloom.inject(found)
    return {name.upper(): value for name, value in found.items()}

print("child says hello")
child()
"""
PARENT = """
import subprocess, sys
import spanloom

@spanloom.agent
def request():
    found = {}
    spanloom.inject(found)
    import os
    environment = {**os.environ, **{name.upper(): value for name, value in found.items()}}
    command = [sys.executable, "-m", "spanloom", "exec", "--name", "first", "--", sys.executable, *sys.argv[1:]]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.stdout == "child says hello\\n", (done.stdout, done.stderr)
    return done.returncode

request()
"""


def test_one_tree_from_a_request_to_a_grandchild(home: Path, tmp_path: Path) -> None:
    """agent → spanloom exec → child Python → spanloom exec → grandchild: one tree, each command with its end."""
    programs = {"parent": PARENT, "child": CHILD, "grandchild": GRANDCHILD}
    paths = {name: tmp_path / f"{name}.py" for name in programs}
    for name, text in programs.items():
        paths[name].write_text(text)
    done = subprocess.run(
        [sys.executable, paths["parent"], paths["child"], paths["grandchild"]],
        env=clean_environment(home), capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    top = tree(home)
    assert top.shape() == ["agent request", ["tool first", ["agent child", ["tool second", "tool grandchild"]]]]
    assert top.one("tool", "first").output == {"exit_status": 0, "output": "child says hello\n"}
