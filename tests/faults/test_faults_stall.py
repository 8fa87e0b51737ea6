"""A disk that stalls: what makes, changes or syncs a file does not come back for as long as the test likes (C81)."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from support import toxic as toxics
from support.balance import only, read
from support.children import Child
from support.oracle import Oracle
from support.stalling import Stalling, can_stall
from support.successor import succeed
from support.toxic import Toxic
from support.volume import FULL

pytestmark = pytest.mark.skipif(not can_stall(), reason="needs gcc")

PROGRAM = """
import os, sys, time
import spanloom
from support.program import accepted, say, say_health

url, go = sys.argv[1:]
spanloom.configure(destinations=[spanloom.Collector(url)])

def emit(prefix, count):
    for number in range(count):
        with spanloom.tool(f"{prefix}-{number}"):
            pass
        accepted(f"{prefix}-{number}")

def until(name):
    say("reached", name)
    while not os.path.exists(f"{go}.{name}"):
        time.sleep(0.005)

emit("before", 20)
spanloom.flush(timeout_seconds=10)
until("stalled")
emit("during", 100)
say("early", spanloom.flush(timeout_seconds=2.0))
until("well")
say("flushed", spanloom.flush(timeout_seconds=30))
say_health()
"""


FILLING = """
import logging, os, sys, time
import spanloom
from support.program import accepted, leaving, say, say_health

if sys.argv[5] == "leaves":
    logging.basicConfig()
url, go, mode, size, way = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), sys.argv[5]
spanloom.configure(destinations=[spanloom.Collector(url)], journal_sync=mode)

def emit(prefix, count):
    for number in range(count):
        with spanloom.tool(f"{prefix}-{number}", input="x" * size):
            pass
        accepted(f"{prefix}-{number}")

def until(name):
    say("reached", name)
    while not os.path.exists(f"{go}.{name}"):
        time.sleep(0.005)

emit("well", 20)
until("stalled")
emit("first", 1)
time.sleep(1.6)  # the keeper's rest and the second after which waiting for a sync counts as a stall
emit("during", 1499)
say("early", spanloom.flush(timeout_seconds=0.5))
if way == "leaves":
    leaving()
    sys.exit()
until("well")
emit("after", 20)
say("flushed", spanloom.flush(timeout_seconds=30))
say_health()
leaving()
"""


def test_recording_and_flushing_go_on(home: Path, tmp_path: Path) -> None:
    """The shipper stands in writing its position down and the keeper in a sync: what fits the file that is laid ready
    is recorded, and `flush` ends in its time; when the disk is back, all is delivered (C81)."""
    disk, go = Stalling(tmp_path), tmp_path / "go"
    with Oracle() as oracle:
        with Child(
            PROGRAM, oracle.url, str(go), home=home, environment=disk.environment, timeout_seconds=20
        ) as running:
            running.wait_for("reached", 1)
            disk.begin()
            go.with_name("go.stalled").touch()
            running.wait_for("reached", 2)
            assert {"rename", "fdatasync"} & set(disk.stalled()), "nothing was made to wait"
            disk.end()
            go.with_name("go.well").touch()
            done = running.finish().assert_clean()
        assert len(done.lines("early")) == 1 and done.lines("flushed") == ["True"]
        assert set(done.accepted) == oracle.log.names("end").keys()
        assert only(read(done.lines("health")[-1]))["delivered"] == 2 * len(done.accepted)
        oracle.log.assert_clean()


@pytest.mark.parametrize("mode", ["process", "power"] if FULL else ["power"])
def test_the_host_records_on(home: Path, tmp_path: Path, mode: str) -> None:
    """1,500 runs of 10 KB, more than any file laid ready holds, return while the disk stands still, and `flush` gives
    up in its time; when the disk is back all of them arrive (C81)."""
    disk, go = Stalling(tmp_path), tmp_path / "go"
    with Oracle(keeps="ids") as oracle, Toxic(oracle.port) as toxic:
        toxic.use(toxics.refuse())
        with Child(
            FILLING, toxic.url, str(go), mode, "10000", "stays",
            home=home, environment=disk.environment, timeout_seconds=25,
        ) as running:  # fmt: skip
            running.wait_for("reached", 1)
            disk.begin()
            go.with_name("go.stalled").touch()
            running.wait_for("reached", 2)
            assert disk.stalled(), "nothing was made to wait"
            disk.end()
            toxic.clear()
            go.with_name("go.well").touch()
            done = running.finish().assert_clean()
        assert done.lines("early") == ["False"] and done.lines("flushed") == ["True"]
        assert len(done.accepted) == 1540
        assert set(done.accepted) == oracle.log.names("end").keys()
        assert only(read(done.lines("health")[-1]))["delivered"] == 2 * 1540
        oracle.log.assert_clean()


@pytest.mark.parametrize("endpoint", ["healthy", "refused"] if FULL else ["healthy"])
def test_the_exit_keeps_its_deadline(home: Path, tmp_path: Path, endpoint: str) -> None:
    """The program ends while the disk stands still, and does not wait for it; what was on the disk is delivered by the
    next process, once (C81)."""
    disk, go = Stalling(tmp_path), tmp_path / "go"
    with Oracle(keeps="ids") as oracle, Toxic(oracle.port) as toxic:
        toxic.use(toxics.refuse())
        with Child(
            FILLING, toxic.url, str(go), "process", "10", "leaves",
            home=home, environment=disk.environment, timeout_seconds=20,
        ) as running:  # fmt: skip
            running.wait_for("reached", 1)
            if endpoint == "healthy":
                toxic.clear()
            disk.begin()
            go.with_name("go.stalled").touch()
            done = running.finish()
            assert disk.stalled(), "nothing was made to wait"
        assert done.returncode == 0 and "Traceback" not in done.stderr
        toxic.clear()
        lost = re.findall(r": (\d+) records that were only in memory are lost", done.stderr)
        succeed(home, toxic.url, oracle.log, [m for m in done.accepted if m.startswith(("well", "first"))])
        ends = oracle.log.names("end").keys()
        starts = oracle.log.names("start").keys()
        missing = sum(2 - (mark in ends) - (mark in starts) for mark in done.accepted)
        assert [str(missing)] == lost, done.stderr
        oracle.log.assert_clean()
