"""The server as a process: where it listens, how it ends, what it does not do."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from spanloom.collector.body import Limits
from spanloom.collector.server import Running, bind
from spanloom.errors import SettingsError, StoreError

PROGRAM = "import sys; from spanloom.collector.server import serve; serve(port=0, store_path=sys.argv[1])"


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGTERM")
@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGINT])
def test_it_serves_until_it_is_told_to_stop(end: signal.Signals, tmp_path: Path) -> None:
    """The first line says where; a signal ends it cleanly, and what was acknowledged is there for the next one."""
    path = tmp_path / "runs.db"
    serving = subprocess.Popen(
        [sys.executable, "-W", "error", "-c", PROGRAM, str(path)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert serving.stdout is not None
        said = serving.stdout.readline()
        url = re.search(r"http://127\.0\.0\.1:\d+", said)
        assert url is not None, said
        event = {"event": "start", "type": "agent", "runId": "kept"}
        for _ in range(100):  # the address is bound when it is printed; the first request may wait for the loop
            answer = httpx.post(f"{url[0]}/v1/runs/ingest", json={"events": event}, timeout=20, trust_env=False)
            if answer.status_code == 200:
                break
        serving.send_signal(end)
        _, complaints = serving.communicate(timeout=20)
    finally:
        serving.kill()
        serving.wait(10)
    assert complaints == ""
    assert serving.returncode in (0, -end)
    with Running(path) as again:
        assert httpx.get(f"{again.url}/v1/runs/kept", trust_env=False).json()["type"] == "agent"


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.com", ""])
def test_it_never_listens_beyond_this_machine(host: str) -> None:
    """Without keys there is nobody to tell apart: the error names the address and the cure (S17)."""
    with pytest.raises(SettingsError, match=r"127\.0\.0\.1"):
        bind(host, 0)


def test_a_port_in_use_is_named() -> None:
    """The error says which, and what to do."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(SettingsError, match=rf"127\.0\.0\.1:{port}.*another port"):
            bind("127.0.0.1", port)


def test_a_store_that_cannot_be_opened_frees_the_port(tmp_path: Path) -> None:
    """What is wrong with the store is known before the first request."""
    (tmp_path / "runs.db").mkdir()
    with pytest.raises(StoreError):
        Running(tmp_path / "runs.db")


def test_a_second_server_in_one_program_has_its_own_store(tmp_path: Path) -> None:
    """Nothing is shared between two collectors."""
    with Running(tmp_path / "a.db") as one, Running(tmp_path / "b.db") as two:
        event = {"events": {"event": "start", "type": "agent", "runId": "r"}}
        assert httpx.post(f"{one.url}/v1/runs/ingest", json=event, trust_env=False).status_code == 200
        assert httpx.get(f"{one.url}/v1/runs/r", trust_env=False).status_code == 200
        assert httpx.get(f"{two.url}/v1/runs/r", trust_env=False).status_code == 404


def test_other_names_are_answered_when_they_are_allowed(tmp_path: Path) -> None:
    """A name for this machine that its owner chose."""
    with Running(tmp_path / "a.db", hosts=["Traces.internal"]) as running:
        for host, status in (("traces.internal", 200), ("traces.internal:80", 200), ("evil.internal", 421)):
            assert httpx.get(f"{running.url}/v1/health", headers={"host": host}, trust_env=False).status_code == status


def test_a_head_that_does_not_come_ends_the_connection(tmp_path: Path) -> None:
    """Silent connections and heads that drip in are closed, first and later requests alike, and nobody waits (S06)."""
    whole = b"GET /v1/health HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with Running(tmp_path / "a.db", limits=Limits(head_seconds=0.3)) as running:
        for sent in (b"", b"GET /v1/health HTTP/1.1\r\nHost: loc", whole + b"GET /v1"):
            with socket.create_connection(("127.0.0.1", running.port), timeout=20) as talking:
                talking.sendall(sent)
                answer = b""
                while chunk := talking.recv(65536):
                    answer += chunk
            assert answer.count(b"HTTP/1.1 200 OK") == (1 if sent.startswith(whole) else 0)
        with httpx.Client(base_url=running.url, trust_env=False) as client:
            assert [client.get("/v1/health").status_code for _ in range(3)] == [200, 200, 200]


@pytest.mark.parametrize(
    "noise", [b"\x16\x03\x01\x02\x00hello", b"GET\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n", b"G" * 70_000]
)
def test_what_is_no_http_is_answered_400(noise: bytes, tmp_path: Path) -> None:
    """TLS by mistake, half a request line, no Host, an endless head: JSON, and the connection closed (S40)."""
    with Running(tmp_path / "a.db") as running:
        with socket.create_connection(("127.0.0.1", running.port), timeout=20) as talking:
            talking.sendall(noise)
            answer = b""
            with contextlib.suppress(ConnectionResetError):
                while chunk := talking.recv(65536):
                    answer += chunk
        assert answer.startswith(b"HTTP/1.1 400 ")
        assert answer.partition(b"\r\n\r\n")[2].startswith(b'{"message":')
        assert httpx.get(f"{running.url}/v1/health", trust_env=False).status_code == 200
