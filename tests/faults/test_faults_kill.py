"""SIGKILL at any point loses nothing that was accepted, shows nothing twice, and the next start succeeds (C74, C78).

Must show 1. A program emits runs as fast as it can and says each mark after the call returned; it is killed at a
random moment, again and again on one home, sometimes with the endpoint away; the last process then delivers it all.
"""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from support import toxic as toxics
from support.children import Child, child
from support.oracle import Oracle
from support.successor import succeed
from support.toxic import Toxic
from support.volume import seed, volume

LOAD = """
import itertools, sys, threading
import spanloom
from support.program import accepted, say

url, prefix, size = sys.argv[1], sys.argv[2], int(sys.argv[3])
spanloom.configure(destinations=[spanloom.Collector(url)])

def emit(thread):
    for number in itertools.count():
        mark = f"{prefix}-{thread}-{number}"
        with spanloom.tool(mark, input="x" * (size * (number % 7)) ):
            pass
        accepted(mark)

say("ready")
threading.Thread(target=emit, args=(1,), daemon=True).start()
emit(0)
"""

_KILLS_BETWEEN_DELIVERIES = 100
"""So many killed programs leave about half of the 1 GiB that journals may take together."""


def test_sigkill_at_random_points_under_load(home: Path) -> None:
    """Every run whose call had returned is stored once, its start and its end, whenever the kill came (C74)."""
    draw = random.Random(seed())
    marks: set[str] = set()
    adopted = 0
    with Oracle(keeps="ids") as oracle, Toxic(oracle.port) as toxic:
        kills = volume(ci=30, full=1000)
        for kill in range(kills):
            toxic.use(toxics.refuse()) if draw.random() < 0.4 else toxic.clear()
            size = draw.choice([20, 400, 9000])
            with Child(LOAD, toxic.url, f"kill{kill}", str(size), home=home) as running:
                running.wait_for("ready")
                time.sleep(draw.uniform(0, 0.12))
                done = running.kill()
            assert done.stderr == ""
            marks.update(done.accepted)
            if (kill + 1) % _KILLS_BETWEEN_DELIVERIES == 0 or kill + 1 == kills:
                toxic.clear()
                adopted += delivered_by_the_next(home, toxic.url, oracle, marks)
        assert len(marks) > kills, "hardly anything was accepted: the kills came too early to prove anything"
        oracle.log.assert_clean()
        print(f"{kills} kills, {len(marks)} runs accepted, {adopted} records adopted")


def delivered_by_the_next(home: Path, url: str, oracle: Oracle, marks: set[str]) -> int:
    """The next process delivers all that there is, and its account says so; how many records it adopted."""
    _, account = succeed(home, url, oracle.log, marks, timeout_seconds=60 + len(marks) / 1000)
    assert account["dropped"] == account["dead_lettered"] == account["pending"] == 0
    return account["adopted"]


# One short run through every kind of append. Each line that returned says so; the program kills itself after step N.
STEPS = """
import os, signal, sys
import spanloom
from support.program import accepted

url, prefix, last = sys.argv[1], sys.argv[2], int(sys.argv[3])
spanloom.configure(destinations=[spanloom.Collector(url)])
step = 0

def returned(mark):
    global step
    accepted(mark)
    step += 1
    if step == last:
        os.kill(os.getpid(), signal.SIGKILL)

with spanloom.agent(f"{prefix}-agent") as outer:
    returned(f"start {prefix}-agent")
    with spanloom.llm(f"{prefix}-llm", input="q") as inner:
        returned(f"start {prefix}-llm")
        inner.set(usage={"input": 1, "output": 2})
        returned(f"usage {prefix}-llm")
        inner.event("first token")
        returned(f"point {prefix}-llm")
    returned(f"end {prefix}-llm")
    spanloom.feedback(inner.id, thumb="up")
    returned(f"feedback {inner.id}")
returned(f"end {prefix}-agent")
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("endpoint", ["away", "there"])
def test_sigkill_after_every_single_append(home: Path, endpoint: str) -> None:
    """Killed straight after each append in turn, all that had returned is stored and every open run is closed."""
    accepted: list[str] = []
    with Oracle() as oracle, Toxic(oracle.port) as toxic:
        if endpoint == "away":
            toxic.use(toxics.refuse())
        for step in range(1, 8):
            with Child(STEPS, toxic.url, f"step{step}", str(step), home=home) as running:
                done = running.finish()
            assert done.returncode == -9, done.stderr
            assert len(done.accepted) == step
            accepted += done.accepted
        toxic.clear()
        starts = [mark.split()[1] for mark in accepted if mark.startswith("start ")]
        succeed(home, toxic.url, oracle.log, starts)  # their ends too: what was left open is closed as killed
        stored = oracle.log.stored().values()
        feedback = {seen.run_id for seen in stored if seen.event == "feedback"}
        assert {mark.split()[1] for mark in accepted if mark.startswith("feedback ")} <= feedback
        for kind, event in (("point", "point"), ("usage", "update")):
            found = {seen.run_id for seen in stored if seen.event == event}
            assert len([mark for mark in accepted if mark.startswith(kind)]) <= len(found)
        ends = {seen.name: seen.status for seen in stored if seen.event == "end"}
        returned = {mark.split()[1] for mark in accepted if mark.startswith("end ")}
        assert all(ends[name] in (None, "ok") for name in returned)
        open_runs = set(starts) - returned
        assert {ends[name] for name in open_runs} == {"killed"}
        oracle.log.assert_clean()


# Kills itself at the N-th line of our own code that runs while one run is recorded: between any two statements of
# the append, the roll to a new segment included.
AT_LINE = """
import os, signal, sys
import httpx  # here, so that not every forked child imports it again
import spanloom
from support.program import accepted, say

spanloom.tool, spanloom.configure, spanloom.Collector
url, first, step, count = sys.argv[1], *map(int, sys.argv[2:5])
ours = os.path.dirname(spanloom.__file__) + os.sep

def child(at):
    spanloom.configure(destinations=[spanloom.Collector(url)])
    left = at

    def trace(frame, event, argument):
        nonlocal left
        if not frame.f_code.co_filename.startswith(ours):
            return None
        left -= 1
        if left <= 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return trace

    with spanloom.tool(f"line{at}-before"):
        pass
    accepted(f"line{at}-before")
    for number in range(3):
        mark = f"line{at}-{number}"
        sys.settrace(trace)
        with spanloom.tool(mark, input="x" * 5000):
            pass
        sys.settrace(None)
        accepted(mark)
    os._exit(7)

at, survived = first, 0
while survived < 3 and at < first + step * count:
    pid = os.fork()
    if not pid:
        child(at)
    _, status = os.waitpid(pid, 0)
    survived += status != signal.SIGKILL
    at += step
say("killed", (at - first) // step - survived)
"""


def test_sigkill_at_every_line_of_an_append(home: Path) -> None:
    """Killed at the N-th line that our code runs while recording, for many N: nothing that had returned is lost."""
    draw = random.Random(seed())
    step = volume(ci=23, full=1) if volume(1, 2) == 1 else 1
    with Oracle() as oracle, Toxic(oracle.port) as toxic:
        toxic.use(toxics.refuse())
        done = child(
            AT_LINE, toxic.url, str(draw.randint(1, step)), str(step), str(volume(ci=30, full=5000)),
            home=home, timeout_seconds=volume(ci=60, full=1200),
        )  # fmt: skip
        assert int(done.lines("killed")[0]) >= 5
        toxic.clear()
        succeed(home, toxic.url, oracle.log, done.accepted)
        oracle.log.assert_clean()
        print(f"killed at {done.lines('killed')[0]} lines; {len(done.accepted)} runs accepted")


def test_eight_adopters_race_for_one_orphan(home: Path) -> None:
    """A dead process's journal goes to exactly one of eight processes that start at once; nothing twice (C78)."""
    race = """
    import os, sys, time
    import spanloom
    from support.program import accepted, say_health
    url, start, mark = sys.argv[1:]
    while not os.path.exists(start):
        time.sleep(0.001)
    spanloom.configure(destinations=[spanloom.Collector(url)])
    with spanloom.tool(mark):
        pass
    accepted(mark)
    spanloom.flush(timeout_seconds=10)
    say_health()
    """
    with Oracle() as oracle, Toxic(oracle.port) as toxic:
        marks: set[str] = set()
        for turn in range(volume(ci=2, full=200)):
            toxic.use(toxics.refuse())
            with Child(LOAD, toxic.url, f"orphan{turn}", "50", home=home) as running:
                running.wait_for("accepted", 20)
                marks.update(running.kill().accepted)
            toxic.clear()
            start = home / f"start{turn}"
            racers = [Child(race, toxic.url, str(start), f"racer{turn}-{n}", home=home) for n in range(8)]
            start.touch()
            for racer in racers:
                marks.update(racer.finish().assert_clean().accepted)
                racer.close()
        succeed(home, toxic.url, oracle.log, marks)
        oracle.log.assert_clean()
