"""What was acknowledged is there: after kill -9 under load, on a full disk, on a disk that fails, at the end.

The kills are counted by ``SPANLOOM_FAULTS=full`` (1,000; else 20): ``SPANLOOM_FAULTS=full python -m pytest
tests/collector/test_safety_durability.py -k kill``.
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from support.serving import Serving
from support.volume import seed, volume

linux = pytest.mark.skipif(sys.platform != "linux", reason="namespaces, strace and /proc are Linux's")

# Everything is imported once; each collector is a fork of this, so that a kill and a restart take a tenth of a second.
NURSERY = """
import os, signal, sys
from spanloom.collector.server import serve
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
for line in sys.stdin:
    if os.fork() == 0:
        print(f"pid {os.getpid()}", flush=True)
        serve(port=0, store_path=line.strip())
        os._exit(0)
"""


class Nursery:
    """Collectors, one after the other, each a process."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", NURSERY],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def start(self, store: Path) -> tuple[int, str]:
        """A new collector's process id and URL."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(f"{store}\n")
        self.process.stdin.flush()
        pid = int(self.process.stdout.readline().removeprefix("pid "))
        return pid, re.search(r"http://\S+", self.process.stdout.readline())[0]  # type: ignore[index]


@pytest.fixture
def nursery() -> Iterator[Nursery]:
    made = Nursery()
    yield made
    made.process.kill()
    made.process.communicate(timeout=20)


class Load:
    """Threads that send batches without a pause and remember what was acknowledged."""

    def __init__(self, url: str, mark: str, threads: int = 3, size_bytes: int = 500) -> None:
        self.url, self.mark, self.size_bytes = url, mark, size_bytes
        self.acknowledged: list[str] = []
        self.refused: list[int] = []
        self.first = threading.Event()
        self.stopped = threading.Event()
        self._threads = [threading.Thread(target=self._send, args=(number,)) for number in range(threads)]
        for thread in self._threads:
            thread.start()

    def _send(self, number: int) -> None:
        with httpx.Client(base_url=self.url, timeout=30, trust_env=False) as client:
            for batch in range(100_000):
                if self.stopped.is_set():
                    return
                ids = [f"{self.mark}-{number}-{batch}-{item}" for item in range(20)]
                events = [{"event": "end", "runId": id, "type": "llm", "timestamp": "2026-01-31T12:00:00Z",
                           "output": "x" * self.size_bytes} for id in ids]  # fmt: skip
                try:
                    answer = client.post("/v1/runs/ingest", json={"events": events})
                except httpx.HTTPError:
                    return
                if answer.status_code == 200:
                    assert all(item["success"] for item in answer.json()["results"])
                    self.acknowledged += ids
                    self.first.set()
                else:
                    self.refused.append(answer.status_code)
                    self.first.set()
                    time.sleep(0.01)

    def join(self) -> None:
        self.stopped.set()
        for thread in self._threads:
            thread.join(60)


def stored(path: Path) -> set[str]:
    """The runs in a store, after its integrity was checked."""
    with contextlib.closing(sqlite3.connect(path)) as reading:
        assert reading.execute("pragma integrity_check").fetchall() == [("ok",)]
        return {row[0] for row in reading.execute("select run_id from runs")}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_kill_under_load_loses_nothing_that_was_acknowledged(nursery: Nursery, tmp_path: Path) -> None:
    """kill -9 at a random moment, and a new collector on the same file; every ten kills a new file (S19)."""
    chance = random.Random(seed())
    for kill in range(volume(20, 1000)):
        path = tmp_path / f"{kill // 10}.db"
        pid, url = nursery.start(path)
        load = Load(url, f"k{kill}")
        assert load.first.wait(60)
        time.sleep(chance.uniform(0.0, 0.15))
        os.kill(pid, signal.SIGKILL)
        load.join()
        assert set(load.acknowledged) <= stored(path), f"kill {kill}"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.parametrize("twice", [False, True])
def test_told_to_end_under_load(nursery: Nursery, tmp_path: Path, twice: bool) -> None:
    """SIGTERM, once or twice: what is in flight is finished or refused, what was acknowledged is there (S33)."""
    for again in range(volume(3, 50)):
        path = tmp_path / f"{again}.db"
        pid, url = nursery.start(path)
        load = Load(url, "t")
        assert load.first.wait(60)
        os.kill(pid, signal.SIGTERM)
        if twice:
            os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + 30
        while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, 0)
            raise AssertionError("it did not end")
        load.join()
        assert set(load.acknowledged) <= stored(path)


def namespaces() -> bool:
    """Whether a file system of one's own can be mounted here."""
    unshare = shutil.which("unshare")
    command = [unshare or "unshare", "-Urm", "true"]
    return unshare is not None and subprocess.run(command, capture_output=True, timeout=20).returncode == 0


# Without the watermark the disk itself has to say it.
TO_THE_END = """
import sys
from spanloom.collector.body import Limits
from spanloom.collector.server import Running
running = Running(sys.argv[1], limits=Limits(min_free_bytes=0))
print(running.url, flush=True)
running.run()
"""


@linux
@pytest.mark.parametrize(("program", "size", "ballast"), [("", "64M", 24_000_000), (TO_THE_END, "24M", 6_000_000)])
def test_a_full_disk(tmp_path: Path, program: str, size: str, ballast: int) -> None:
    """A small disk fills up: refused with 507 or 503, all that was acknowledged is there, pages are served, and when
    there is room again batches are taken without anybody's help; with the watermark and without (S23)."""
    if not namespaces():
        pytest.skip("no mount namespaces here")
    disk = tmp_path / "disk"
    disk.mkdir()
    script = f'mount -t tmpfs -o size={size} none {disk} && head -c {ballast} /dev/zero > {disk}/ballast && exec "$@"'
    with Serving(disk / "s.db", wrapper=("unshare", "-Urm", "sh", "-c", script, "sh"), program=program) as serving:
        load = Load(serving.url, "f", threads=2, size_bytes=20_000)
        deadline = time.monotonic() + 60
        while len(load.refused) < 20 and time.monotonic() < deadline:
            time.sleep(0.01)
        load.join()
        assert set(load.refused) <= {503, 507} and 507 in load.refused
        assert len(load.acknowledged) > 100
        assert serving.client.get("/v1/runs").status_code == 200
        last = load.acknowledged[-1]
        assert serving.client.get(f"/v1/runs/{last}").json()["id"] == last
        os.unlink(f"/proc/{serving.process.pid}/root{disk}/ballast")
        deadline = time.monotonic() + 60
        answer = None
        while time.monotonic() < deadline:
            body = {"events": {"event": "start", "type": "llm", "runId": "after"}}
            answer = serving.client.post("/v1/runs/ingest", json=body)
            if answer.status_code == 200:
                break
            time.sleep(0.1)
        assert answer is not None and answer.status_code == 200, answer
        copy = tmp_path / "copy.db"
        for ending in ("", "-wal"):
            shutil.copy(f"/proc/{serving.process.pid}/root{disk}/s.db{ending}", f"{copy}{ending}")
        assert {*load.acknowledged, "after"} <= stored(copy)


@linux
def test_a_disk_that_fails(tmp_path: Path) -> None:
    """fsync says EIO for a while: those batches are refused, not acknowledged, and then it goes on (S24)."""
    if shutil.which("strace") is None:
        pytest.skip("no strace here")
    path = tmp_path / "s.db"
    with Serving(path) as serving:
        serving.good_batch()
        serving.stop()
    trace = ("strace", "-f", "-qq", "-o", str(tmp_path / "trace"), "-e", "trace=fdatasync,fsync", "-e",
             "inject=fdatasync,fsync:error=EIO:when=6..25")  # fmt: skip
    with Serving(path, wrapper=trace) as serving:
        load = Load(serving.url, "e", threads=1)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and not (load.refused and len(load.acknowledged) > 300):
            time.sleep(0.01)
        load.join()
        assert load.refused and set(load.refused) == {503}
        assert (tmp_path / "trace").read_text().count("INJECTED") > 0
        serving.good_batch()
    assert set(load.acknowledged) <= stored(path)


def spoil(path: Path, what: str) -> None:
    """Break a store that holds something, in one of several ways."""
    if what == "later":
        with contextlib.closing(sqlite3.connect(path)) as changing:
            changing.execute("pragma user_version = 99")
    else:
        content = bytearray(path.read_bytes())
        content[: 4096 if what == "header" else len(content)] = b"\xa5" * (4096 if what == "header" else len(content))
        path.write_bytes(content)


@pytest.mark.parametrize("what", ["header", "everything"])
def test_a_corrupt_store_is_set_aside_loudly(tmp_path: Path, what: str) -> None:
    """The server starts on a new one and says so first thing; the old one is there, byte for byte (S22)."""
    path = tmp_path / "s.db"
    with Serving(path) as serving:
        serving.good_batch()
        serving.stop()
    spoil(path, what)
    broken = path.read_bytes()
    with Serving(path) as serving:
        assert serving.process.stdout is not None
        assert serving.process.stdout.readline().startswith("THE STORE WAS CORRUPT: it was set aside as ")
        serving.good_batch()
        assert len(serving.client.get("/v1/runs").json()["data"]) == 1
    (aside,) = [found for found in tmp_path.glob("s.db.corrupt-*") if not found.name.endswith(("-wal", "-shm"))]
    assert aside.read_bytes() == broken


@pytest.mark.parametrize(("what", "said"), [("header", "corrupt"), ("later", "later Spanloom")])
def test_a_store_that_is_refused_is_left_as_it_is(tmp_path: Path, what: str, said: str) -> None:
    """With --refuse-corrupt, or written by a later version: exit code 1, one sentence, the file untouched (S22)."""
    path = tmp_path / "s.db"
    with Serving(path) as serving:
        serving.good_batch()
        serving.stop()
    spoil(path, what)
    broken = path.read_bytes()
    done = subprocess.run(
        [sys.executable, "-m", "spanloom", "serve", "--port", "0", "--store", str(path), "--refuse-corrupt"],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (1, "")
    assert said in done.stderr and "Traceback" not in done.stderr
    assert path.read_bytes() == broken
    assert list(tmp_path.glob("*.corrupt-*")) == []


def test_many_clients_readers_and_pruning_at_once(tmp_path: Path) -> None:
    """Sixteen clients, pages and pruning on one file: nobody is told that it is locked (S18, S30)."""
    from spanloom.collector.server import Running
    from spanloom.store import Retention

    with Running(tmp_path / "s.db") as running:
        answers: list[int] = []

        def talk(number: int) -> None:
            with httpx.Client(base_url=running.url, timeout=60, trust_env=False) as client:
                for batch in range(10):
                    events = [{"event": "end", "runId": f"{number}-{batch}-{item}", "type": "llm", "output": "x" * 2000}
                              for item in range(20)]  # fmt: skip
                    answers.append(client.post("/v1/runs/ingest", json={"events": events}).status_code)
                    answers.append(client.get("/v1/runs?status=ok&limit=20").status_code)

        threads = [threading.Thread(target=talk, args=(number,)) for number in range(16)]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            running.store.prune(Retention(max_bytes=2_000_000, max_age_seconds=None))
        for thread in threads:
            thread.join(60)
        assert answers == [200] * 320
        assert httpx.get(f"{running.url}/v1/health", trust_env=False).json()["runs"] < 3200
