"""Connections of clients that are slow, silent, too many, or that were inherited by a forked child."""

from __future__ import annotations

import os
import socket
import sqlite3
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from spanloom.collector.access import AnyName
from spanloom.collector.body import Limits, Refused
from spanloom.collector.server import Running, bind

WHOLE = b"GET /v1/health HTTP/1.1\r\nHost: localhost\r\n\r\n"
HEAD = b"POST /v1/runs/ingest HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


@contextmanager
def connected(running: Running, sent: bytes = b"") -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", running.port), timeout=20) as talking:
        talking.sendall(sent)
        yield talking


def rest_of(talking: socket.socket) -> bytes:
    answer = b""
    try:
        while chunk := talking.recv(1 << 20):
            answer += chunk
    except ConnectionResetError:
        pass
    return answer


def status_of(talking: socket.socket) -> bytes:
    """The status of the next answer, read to the end of its head."""
    answer = b""
    while b"\r\n\r\n" not in answer:
        chunk = talking.recv(1)
        if not chunk:
            break
        answer += chunk
    return answer.split(b" ", 2)[1] if answer else b""


def test_the_oldest_debtor_makes_room(tmp_path: Path) -> None:
    """When all places are taken, whoever has owed a head for longest is cut off, and the new client is served (S06)."""
    limits = Limits(max_connections=3, head_seconds=60)
    with (
        Running(tmp_path / "a.db", limits=limits) as running,
        connected(running) as first,
        connected(running) as second,
        connected(running) as third,
    ):
        third.sendall(WHOLE)
        assert status_of(third) == b"200"  # now it is younger than the others
        with connected(running, WHOLE) as fourth:
            assert status_of(fourth) == b"200"
            assert rest_of(first) == b""
            second.sendall(WHOLE)
            assert status_of(second) == b"200"


def test_those_being_served_are_never_cut_off(tmp_path: Path) -> None:
    """When every connection is being worked on, the new one is told to come back (S06, S31)."""
    limits = Limits(max_connections=1, body_seconds=60, stall_seconds=60)
    with Running(tmp_path / "a.db", limits=limits, busy_seconds=20) as running:
        holder = sqlite3.connect(running.store.path, isolation_level=None)
        holder.execute("begin exclusive")
        body = b'{"events":[{"event":"start","runId":"r","type":"llm"}]}'
        with connected(running, HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body) as working:
            while not running.server.server_state.tasks:  # until then it is a debtor itself
                time.sleep(0.001)
            with connected(running) as other:
                answer = rest_of(other)
            assert answer.startswith(b"HTTP/1.1 503 ")
            assert b"retry-after: 1" in answer
            holder.rollback()
            holder.close()
            assert status_of(working) == b"200"


def test_a_client_that_does_not_read_is_let_go(tmp_path: Path) -> None:
    """Whoever asks for much and reads nothing is cut off after a while; his memory is given back (S06, S37)."""
    limits = Limits(write_seconds=0.3)
    with Running(tmp_path / "a.db", limits=limits) as running:
        big = {"events": [{"event": "end", "runId": "big", "type": "llm", "output": "x" * (7 << 20)}]}
        assert httpx.post(f"{running.url}/v1/runs/ingest", json=big, trust_env=False, timeout=20).status_code == 200
        with socket.socket() as talking:
            talking.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            talking.settimeout(20)
            talking.connect(("127.0.0.1", running.port))
            talking.sendall(b"GET /v1/runs/big HTTP/1.1\r\nHost: localhost\r\n\r\n")
            came = False  # before it came, "no connection" does not mean that it was let go
            for _ in range(5000):
                there = bool(running.server.server_state.connections)
                if came and not there:
                    break
                came = came or there
                httpx.get(f"{running.url}/v1/health", trust_env=False, timeout=20)
            assert len(rest_of(talking)) < 7 << 20


def test_a_body_that_stalls_is_given_up(tmp_path: Path) -> None:
    """Bytes that drip in do not keep a request alive beyond its time, and a pause ends it (S06)."""
    for limits in (Limits(stall_seconds=0.2), Limits(body_seconds=0.3)):
        with (
            Running(tmp_path / "a.db", limits=limits) as running,
            connected(running, HEAD + b"Content-Length: 1000\r\n\r\n{") as talking,
        ):
            assert status_of(talking) == b"408"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_child_holds_neither_port_nor_clients(tmp_path: Path) -> None:
    """A host program that forks: the server in its parent can end, and the port is free at once (S34)."""
    ready, done = os.pipe(), os.pipe()
    with Running(tmp_path / "a.db") as running, connected(running, WHOLE) as talking:
        assert status_of(talking) == b"200"
        child = os.fork()
        if child == 0:
            os.write(ready[1], b"x")
            os.read(done[0], 1)
            os._exit(0)
        os.read(ready[0], 1)
        port = running.port
    try:
        with connected_again(port) as refused:
            assert refused
        bind("127.0.0.1", port).close()
        talking.close()
    finally:
        os.write(done[1], b"x")
        os.waitpid(child, 0)
        for end in (*ready, *done):
            os.close(end)


@contextmanager
def connected_again(port: int) -> Iterator[bool]:
    """Whether nobody listens there any more."""
    with socket.socket() as trying:
        trying.settimeout(20)
        yield trying.connect_ex(("127.0.0.1", port)) != 0


@pytest.mark.skipif(sys.platform == "win32", reason="the address is Linux's and macOS's")
def test_with_keys_it_may_listen_further(tmp_path: Path) -> None:
    """What asks for keys may be bound to any address (S17)."""
    bind("0.0.0.0", 0, keyed=True).close()


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"host": "traces.example"}, None), ({"host": "traces.example", "origin": "https://traces.example"}, None),
        ({"host": "t", "sec-fetch-site": "same-origin"}, None), ({}, 400),
        ({"host": "t", "origin": "https://evil.example"}, 403), ({"host": "t", "origin": "null"}, 403),
        ({"host": "t:1", "origin": "https://t:2"}, 403), ({"host": "t", "sec-fetch-site": "same-site"}, 403),
    ],
)  # fmt: skip
def test_with_keys_any_name_but_no_other_origin(headers: dict[str, str], status: int | None) -> None:
    """A server that others reach does not know its names; a page of another origin is refused all the same (S16)."""
    if status is None:
        AnyName().admit(headers)
        return
    with pytest.raises(Refused) as refused:
        AnyName().admit(headers)
    assert refused.value.status == status
