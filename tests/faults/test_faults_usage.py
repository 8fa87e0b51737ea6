"""Usage events through a network that fails: nothing lost, nothing counted twice, in each of the four dialects."""

from __future__ import annotations

from pathlib import Path

import pytest

from spanloom.collector.keys import Keyed, KeyRing
from spanloom.collector.server import Running
from support import toxic as toxics
from support.balance import only, read
from support.children import Child
from support.toxic import Fault, Toxic

PROGRAM = """
import sys
import spanloom
from support.program import accepted, leaving, say, say_health

base, kind, key, secret = sys.argv[1:]
made = {
    "vluna": lambda: spanloom.Vluna("realm", key, secret, url=base + "/vluna/mgt/v1", meter={"llm"}),
    "valmi": lambda: spanloom.Valmi(key, "agent-1", url=base + "/valmi/v1", meter={"llm"}),
    "atlas": lambda: spanloom.Atlas(key, url=base + "/atlas", meter={"llm"}),
    "lumen": lambda: spanloom.Lumen(key, url=base + "/lumen", meter={"llm"}),
}[kind]()
spanloom.configure(destinations=[made])
with spanloom.context(customer="acme"):
    for number in range(30):
        with spanloom.agent("resolve"):
            with spanloom.llm("gpt-4o") as run:
                run.set(usage={"input": 1000, "output": 200}, response_id=f"resp-{number}")
            with spanloom.llm("gpt-4o") as again:  # another layer reports the same response
                again.set(usage={"input": 1000, "output": 200}, response_id=f"resp-{number}")
            spanloom.action("lookup", idempotency_key=f"lookup-{number}")
            spanloom.outcome("resolved", value=2.5, idempotency_key=f"ticket-{number}")
        accepted(number)
say("flushed", spanloom.flush(timeout_seconds=40))
say_health()
leaving()
"""


LOST, CUT, TORN = toxics.drop_response(times=2), toxics.reset_after(200, times=2), toxics.truncate_response(20, times=2)


@pytest.mark.parametrize(
    ("kind", "fault"),
    [("vluna", LOST), ("valmi", LOST), ("atlas", LOST), ("lumen", LOST), ("lumen", CUT), ("vluna", TORN)],
    ids=lambda value: getattr(value, "kind", value),
)
def test_each_event_counts_once_through_faults(home: Path, tmp_path: Path, kind: str, fault: Fault) -> None:
    """Answers lost after the commit, requests cut, answers cut: every event is stored once, and the books balance
    (D-rows; keys checked, signatures too)."""
    store = tmp_path / "collector" / "runs.db"
    ring = KeyRing(store)
    _, given = ring.add(kind, "default")
    key, secret = given.get("key_id") or given["key"], given.get("secret", "")
    with Running(store, access=Keyed(ring)) as collector, Toxic(collector.port) as toxic:
        toxic.use(fault)
        with Child(PROGRAM, toxic.url, kind, key, secret, home=home, timeout_seconds=60) as child:
            done = child.finish()
        assert done.returncode == 0, done.stderr
        assert toxic.fired[fault.kind] == fault.times
        assert done.lines("flushed") == ["True"], done.stdout + done.stderr
        account = only(read(done.lines("health")[-1]))
        assert account["created"] == account["delivered"] == 4 * 30, account
        rows = collector.reader.usage_events(limit=1000)
        keys = sorted(row.idempotency_key for row in rows)
        wanted = [f"{name}-{number}" for name in ("resp", "lookup", "ticket") for number in range(30)]
        if kind == "vluna":  # a batch's items are known by their event ids there
            assert len(keys) == len(wanted)
        else:
            assert keys == sorted(wanted)
        assert sum(row.value for row in rows if row.kind == "outcome") == 2.5 * 30
        assert {row.customer for row in rows} == {"acme"}
