"""Connections that break in every way: what was accepted arrives once when the network is well again (C50-C55, C59).

The program emits while the fault is in force; the test heals the network when the fault has fired, and the same
process then delivers everything by itself, with nothing in the host's hooks, warnings and logs but the outage's two
lines.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from support import toxic as toxics
from support.balance import only, read
from support.children import Child
from support.oracle import Oracle
from support.toxic import Fault, Toxic

PROGRAM = """
import os, sys, time
import spanloom
from support.host_guard import host_guard
from support.program import accepted, say, say_health

url, healed = sys.argv[1:]
with host_guard() as host:
    spanloom.configure(destinations=[spanloom.Collector(url)])
    with spanloom.tool("first"):
        pass
    accepted("first")
    say("warm", spanloom.flush(timeout_seconds=20))
    open(healed + ".ready", "w").close()
    while not os.path.exists(healed + ".broken"):
        time.sleep(0.005)
    for number in range(100):
        with spanloom.tool(f"during-{number}"):
            pass
        accepted(f"during-{number}")
    say("emitted")
    while not os.path.exists(healed):
        time.sleep(0.005)
    say("flushed", spanloom.flush(timeout_seconds=50))
    spanloom.shutdown()
host.assert_silent(logs_allowed=2)
say_health()
"""

FAULTS = [
    toxics.refuse(),
    toxics.blackhole(),
    toxics.no_accept(),
    toxics.latency(0.05),
    toxics.bandwidth(50_000),
    toxics.slow_drip(1),
    toxics.reset_after(1),
    toxics.reset_after(600),
    toxics.half_close(),
    toxics.truncate_response(40),
    toxics.truncate_response(200),
    toxics.drop_response(),
    toxics.corrupt(),
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: f"{fault.kind} {fault.amount:g}")
def test_what_was_recorded_during_a_fault_arrives_after_it(home: Path, tmp_path: Path, fault: Fault) -> None:
    """The fault strikes a connection that had worked; after it is healed the same process delivers all, once."""
    healed = tmp_path / "healed"
    with Oracle() as oracle, Toxic(oracle.port) as toxic:
        with Child(PROGRAM, toxic.url, str(healed), home=home, timeout_seconds=90) as running:
            running.wait_for("warm")
            toxic.use(fault)
            healed.with_suffix(".broken").touch()
            running.wait_for("emitted")
            if fault.kind not in ("refuse", "no_accept"):
                running.wait_until(lambda: toxic.fired[fault.kind], "meet the fault")
            toxic.clear()
            healed.touch()
            done = running.finish().assert_clean()
        assert done.lines("warm") == done.lines("flushed") == ["True"]
        account = only(read(done.lines("health")[-1]))
        assert account["created"] == account["delivered"] == 202
        assert set(done.accepted) == oracle.log.names("start").keys() == oracle.log.names("end").keys()
        oracle.log.assert_clean()


def test_a_connection_closed_while_idle_is_no_failure(home: Path, tmp_path: Path) -> None:
    """A kept-alive connection that the server reset between two batches is replaced without a word (C55)."""
    healed = tmp_path / "healed"
    with Oracle() as oracle, Toxic(oracle.port) as toxic:
        with Child(PROGRAM, toxic.url, str(healed), home=home) as running:
            running.wait_for("warm")
            toxic.cut()
            healed.with_suffix(".broken").touch()
            healed.touch()
            done = running.finish().assert_clean()
        assert done.lines("flushed") == ["True"]
        assert set(done.accepted) == oracle.log.names("end").keys()
        oracle.log.assert_clean()
