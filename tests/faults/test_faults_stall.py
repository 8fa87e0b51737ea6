"""A disk that stalls: what makes, changes or syncs a file does not come back for as long as the test likes (C81)."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.balance import only, read
from support.children import Child
from support.oracle import Oracle
from support.stalling import Stalling, can_stall

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


@pytest.mark.skipif(not can_stall(), reason="needs gcc")
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
