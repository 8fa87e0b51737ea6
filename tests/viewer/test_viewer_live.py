"""The live tail over HTTP: what changed is told, slow listeners cost nothing, and nobody holds the server up."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx

from spanloom.cli.pages import mounts
from spanloom.clock import iso
from spanloom.collector.server import Running
from spanloom.records import RunStart
from spanloom.store import Incoming
from spanloom.viewer.live import MOST_LISTENERS


def start(run_id: str, root: str | None = None) -> Incoming:
    """A run that has begun."""
    return Incoming(
        RunStart(event_id=f"{run_id}.s", timestamp=iso(time.time_ns()), run_id=run_id, root_run_id=root, type="llm")
    )


def events(lines: Iterator[str]) -> Iterator[dict[str, Any]]:
    """The data of every `changed` event."""
    name = ""
    for line in lines:
        if line.startswith("event: "):
            name = line[7:]
        elif line.startswith("data: ") and name == "changed":
            yield json.loads(line[6:])


def test_changes_are_told_by_the_id_of_their_trace(tmp_path: Path) -> None:
    """Two runs of one trace are one id; nothing of their content is sent."""
    with (
        Running(tmp_path / "runs.db", mounts=mounts()) as server,
        httpx.stream("GET", f"{server.url}/view/live", timeout=20, trust_env=False) as stream,
    ):
        assert stream.headers["content-type"].startswith("text/event-stream")
        lines = stream.iter_lines()
        while next(lines) != "event: hello":
            pass
        server.store.write([start("one", "root"), start("two", "root")])
        assert next(events(lines)) == {"traces": ["root"], "missed": False}
        server.store.write([start("three", "other")])
        assert next(events(lines)) == {"traces": ["other"], "missed": False}


def test_what_came_in_just_before_is_told_first(tmp_path: Path) -> None:
    """A page asks for its list and then follows: nothing falls between the two."""
    with Running(tmp_path / "runs.db", mounts=mounts()) as server:
        before_us = time.time_ns() // 1000 - 1_000_000
        server.store.write([start("just-before")])
        url = f"{server.url}/view/live?since_us={before_us}"
        with httpx.stream("GET", url, timeout=20, trust_env=False) as stream:
            assert next(events(stream.iter_lines())) == {"traces": ["just-before"], "missed": False}
        assert httpx.get(f"{server.url}/view/live?since_us=soon", trust_env=False).status_code == 400


def test_listeners_that_never_read_do_not_delay_one_that_does(tmp_path: Path) -> None:
    """As many as are taken; one more is told so (S37)."""
    with Running(tmp_path / "runs.db", mounts=mounts()) as server, ExitStack() as stack:
        for _ in range(MOST_LISTENERS - 1):
            listener = stack.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=10))
            listener.sendall(b"GET /view/live HTTP/1.1\r\nhost: localhost\r\n\r\n")
        stream = stack.enter_context(httpx.stream("GET", f"{server.url}/view/live", timeout=20, trust_env=False))
        lines = stream.iter_lines()
        while next(lines) != "event: hello":
            pass
        server.store.write([start("seen")])
        assert next(events(lines))["traces"] == ["seen"]
        until_full = time.monotonic() + 10
        while True:
            with httpx.stream("GET", f"{server.url}/view/live", timeout=20, trust_env=False) as one_more:
                if one_more.status_code == 503:
                    break
            time.sleep(0.05)
            assert time.monotonic() < until_full, "more were taken than the limit says"
        assert httpx.get(f"{server.url}/view/runs", timeout=10, trust_env=False).status_code == 200


def test_a_server_that_stops_ends_the_tail(tmp_path: Path) -> None:
    """The stream ends by itself, well before the server would cut it off (S33)."""
    server = Running(tmp_path / "runs.db", mounts=mounts())
    with server, httpx.stream("GET", f"{server.url}/view/live", timeout=20, trust_env=False) as stream:
        lines = stream.iter_lines()
        next(lines)
        server.server.should_exit = True
        assert list(lines) is not None  # ends without an error: a connection that was cut would raise
