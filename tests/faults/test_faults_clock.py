"""Clocks that jump, and ids that must never meet (C85-C88).

The jumps are libfaketime's: the whole program reads the new time, as after a real step of the clock.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from spanloom.clock import parse_iso_us
from support import jumping
from support import toxic as toxics
from support.balance import only, read
from support.children import Child, child
from support.oracle import Oracle
from support.oracle_log import OracleLog
from support.toxic import Toxic
from support.volume import volume

needs_faketime = pytest.mark.skipif(jumping.library() is None, reason="needs libfaketime")
HOUR, YEAR = 3600.0, 31_557_600.0
JUMPS = {"-1 h": -HOUR, "+10 years": 10 * YEAR, "1970": -56 * YEAR, "a leap second": -1.0, "slewed": 0.02}

JUMPING = """
import json, sys
import spanloom
from support.jumping import jump
from support.program import accepted, leaving, say, say_health

url, jumps = sys.argv[1], json.loads(sys.argv[2])
spanloom.configure(destinations=[spanloom.Collector(url)])
for name, seconds in jumps.items():
    with spanloom.agent(f"root {name}"):
        with spanloom.tool(f"before {name}"):
            pass
        with spanloom.tool(f"across {name}"):
            jump(seconds)
        with spanloom.tool(f"after {name}"):
            jump(0.0)
        with spanloom.tool(f"back {name}"):
            pass
    for part in ("before", "across", "after", "back", "root"):
        accepted(f"{part} {name}")
    jump(seconds)
    with spanloom.tool(f"later {name}"):
        pass
    accepted(f"later {name}")
    say("flushed", spanloom.flush(timeout_seconds=20))
say_health()
leaving()
"""


def _times(log: OracleLog) -> dict[str, tuple[int, int]]:
    """The start and the end of each run in microseconds since the epoch, by its name."""
    found: dict[str, list[int]] = {}
    names = {seen.run_id: seen.name for seen in log.stored().values() if seen.name}
    for seen in log.stored().values():
        if seen.event in ("start", "end") and seen.payload is not None:
            found.setdefault(str(names[seen.run_id]), []).append(parse_iso_us(seen.payload["timestamp"]))
    return {name: (times[0], times[1]) for name, times in found.items()}


@needs_faketime
@pytest.mark.parametrize("monotonic", [False, True], ids=["the wall clock", "all clocks"])
def test_no_run_takes_less_than_nothing_or_as_long_as_the_jump(home: Path, tmp_path: Path, monotonic: bool) -> None:
    """The clock jumps inside runs and back, also the monotonic one, as after a machine's sleep (forward only): all
    arrives, in the order in which it was recorded, and durations and nesting hold (C85, C86, C88)."""
    jumps = {name: seconds for name, seconds in JUMPS.items() if not monotonic}
    program, allowed_us = JUMPING, 5e6
    if monotonic:
        jumps, program, allowed_us = {"asleep": HOUR}, JUMPING.replace("jump(0.0)", "pass"), (HOUR + 5) * 1e6
    with Oracle() as oracle:
        done = child(
            program, oracle.url, json.dumps(jumps),
            home=home, environment=jumping.clocks(tmp_path, monotonic=monotonic),
        )  # fmt: skip
        assert done.lines("flushed") == ["True"] * len(jumps)
        assert set(done.accepted) == oracle.log.names("end").keys()
        assert only(read(done.lines("health")[-1]))["delivered"] == 2 * len(done.accepted)
        oracle.log.assert_clean()
        ends = [seen.name for seen in oracle.log.received() if seen.event == "end"]
        assert ends == done.accepted, "one process is one order, whatever its clock says"
        times = _times(oracle.log)
    for name, (start, end) in times.items():
        assert 0 <= end - start < allowed_us, name
    for name in jumps:
        inside = [moment for part in ("before", "across", "after", "back") for moment in times[f"{part} {name}"]]
        assert inside == sorted(inside), name
        assert times[f"root {name}"][0] <= inside[0] and inside[-1] <= times[f"root {name}"][1]


RETRYING = """
import sys
import spanloom
from support.jumping import jump
from support.program import accepted, say, say_health

spanloom.configure(destinations=[spanloom.Collector(sys.argv[1])])
with spanloom.tool("first"):
    pass
accepted("first")
say("early", spanloom.flush(timeout_seconds=1.2))
jump(float(sys.argv[2]))
with spanloom.tool("second"):
    pass
accepted("second")
say("flushed", spanloom.flush(timeout_seconds=20))
say_health()
"""


@needs_faketime
@pytest.mark.parametrize("jump", ["-1 h", "+10 years"])
def test_waiting_for_an_endpoint_does_not_go_by_the_wall_clock(home: Path, tmp_path: Path, jump: str) -> None:
    """The clock jumps while the endpoint refuses: what waits is neither stuck nor sent without a pause (C85)."""
    with Oracle() as oracle:
        oracle.answer(503, headers={"Retry-After": "2"}, times=1)
        done = child(
            RETRYING, oracle.url, str(JUMPS[jump]), home=home, environment=jumping.clocks(tmp_path)
        )  # fmt: skip
        assert done.lines("early") == ["False"] and done.lines("flushed") == ["True"]
        assert set(done.accepted) == oracle.log.names("end").keys()
        first, second = oracle.log.exchanges()[:2]
        assert first.status == 503 and second.at_seconds - first.at_seconds >= 1.9
        assert only(read(done.lines("health")[-1]))["dropped"] == 0


LEFT = """
import os, signal, sys
import spanloom
from support.program import accepted
spanloom.configure(destinations=[spanloom.Collector(sys.argv[1])])
with spanloom.tool(sys.argv[2]):
    pass
accepted(sys.argv[2])
os.kill(os.getpid(), signal.SIGKILL)
"""
HEIR = """
import sys
import spanloom
from support.jumping import jump
from support.program import accepted, say, say_health

spanloom.configure(destinations=[spanloom.Collector(sys.argv[1])])
jump(float(sys.argv[2]))
with spanloom.tool("heir"):
    pass
accepted("heir")
say("flushed", spanloom.flush(timeout_seconds=20))
say_health()
say("journal", spanloom.health().journal)
"""


@needs_faketime
def test_a_jump_of_ten_years_makes_nothing_old(home: Path, tmp_path: Path) -> None:
    """The clock jumps ahead before the caps are looked at: what a dead process left, for us and for others, a dead
    letter and what was put aside are all still there (C85, C82)."""
    with Oracle() as oracle, Oracle() as other:
        with Toxic(other.port) as toxic:
            toxic.use(toxics.refuse())
            for url, mark in ((toxic.url, "theirs"), (oracle.url, "ours")):
                with Child(LEFT, url, mark, home=home) as running:
                    assert running.finish().accepted == [mark]
            for folder in ("dead-letters", "quarantine"):
                (home / "journal" / folder).mkdir(mode=0o700, exist_ok=True)
                (home / "journal" / folder / "kept.jsonl").write_text("kept")
            theirs, _ours = sorted((home / "journal").glob("2*"))
            done = child(
                HEIR, oracle.url, str(10 * YEAR), home=home, environment=jumping.clocks(tmp_path), timeout_seconds=40
            )  # fmt: skip
        assert done.lines("flushed") == ["True"] and oracle.log.names("end").keys() == {"ours", "heir"}
        assert "given up" not in done.lines("journal")[0] and theirs.is_dir()
        assert len(list((home / "journal").rglob("kept.jsonl"))) == 2


IDS = """
import os, random, sys, time
time.time_ns = time.monotonic_ns = lambda: 1_800_000_000_000_000_000  # so that chance alone tells two ids apart
import spanloom
from spanloom.clock import Ids
from support.program import accepted, say, wait_for_children

how, children, count, folder = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
spanloom.configure(destinations=[spanloom.Collector("http://127.0.0.1:9")], journal=None)
if how == "frozen urandom":
    with spanloom.tool("before"):
        pass
    os.urandom = lambda size: b"\\0" * size
state = random.getstate()
own = Ids()  # one that nobody replaces in a child

def make(number):
    with open(os.path.join(folder, str(number)), "w") as out:
        for _ in range(count):
            if how == "seeded":
                random.seed(0)
            with spanloom.tool("t") as run:
                out.write(run.id + "\\n" + own.new(0) + "\\n")

with spanloom.tool("warm"):
    pass
pids = []
for number in range(children):
    pid = os.fork()
    if pid == 0:
        make(number)
        os._exit(0)
    pids.append(pid)
make("parent")
say("ends", wait_for_children(pids, 60)["well"])
say("untouched", how == "seeded" or random.getstate() == state)
"""


@pytest.mark.parametrize("how", ["plain", "seeded", "frozen urandom"])
def test_ids_never_meet(home: Path, tmp_path: Path, how: str) -> None:
    """Forked children, a host that seeds `random` before every run, an ``os.urandom`` that always says the same: no id
    is made twice, and the host's own generator is not touched (C87)."""
    children, count = volume(ci=12, full=100), volume(ci=300, full=100_000)
    done = child(IDS, how, str(children), str(count), str(tmp_path), home=home, timeout_seconds=600)
    assert done.lines("ends") == [str(children)] and done.lines("untouched") == ["True"]
    seen: set[bytes] = set()
    for file in [*map(str, range(children)), "parent"]:
        ids = (tmp_path / file).read_bytes().split()
        assert len(ids) == 2 * count
        assert len(seen) + 2 * count == len(seen := seen | set(ids)), f"{file} made an id that another has made"
