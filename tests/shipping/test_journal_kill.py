"""A process killed without warning: what its appends returned for is there, once."""

from __future__ import annotations

import random
import signal
import subprocess
from pathlib import Path

import pytest
from journal_cases import DEADLINE_SECONDS, FULL, inherit, run, script

LOAD = """
number = 0
journal = Journal(home, limits=SMALL)
lane = journal.lane("d1", everything)
journal.declare(["d1"])
lock = threading.Lock()
def work(offset):
    for number in range(offset, 10**6, 3):
        journal.append(start(number, number % 700))
        say(f"in run-{number}.s")
def ship():
    while True:
        lane.wait(None)
        entries = lane.take(20, 1 << 20)
        for one in ids(entries):
            say(f"out {one}")
        lane.settle(entries)
        journal.retire()
if len(sys.argv) > 2:
    threading.Thread(target=ship, daemon=True).start()
for offset in range(3):
    threading.Thread(target=work, args=(offset,)).start()
"""


@pytest.mark.parametrize("shipping", [False, True])
def test_killed_at_random_points_under_load(tmp_path: Path, shipping: bool) -> None:
    """SIGKILL while three threads emit, with and without a shipper that settles: every record that an append returned
    for was handed out before or is adopted after, and none is adopted twice (C74)."""
    seed = 7
    source = random.Random(seed)
    for round_number in range(500 if FULL else 8):
        home = tmp_path / str(round_number)
        child = subprocess.Popen(script(LOAD, home, *(["ship"] if shipping else [])), stdout=subprocess.PIPE)
        assert child.stdout is not None
        said = [child.stdout.readline().decode() for _ in range(source.randrange(1, 3000))]
        child.send_signal(signal.SIGKILL)
        said += child.stdout.read().decode().splitlines(keepends=True)
        child.wait(DEADLINE_SECONDS)
        child.stdout.close()
        words = [line.split() for line in said if line.endswith("\n")]
        returned = {word[1] for word in words if word[0] == "in"}
        out = {word[1] for word in words if word[0] == "out"}
        adopted = [one for one in inherit(home) if one.endswith(".s")]
        assert len(adopted) == len(set(adopted)), seed
        assert returned <= out | set(adopted), (seed, round_number, sorted(returned - out - set(adopted))[:5])


def test_killed_after_every_append_of_a_short_run(tmp_path: Path) -> None:
    """For each n: n appends, then SIGKILL at once; the next process finds exactly these n, and closes the runs."""
    body = """
journal = Journal(home, limits=SMALL)
for number in range(int(sys.argv[2])):
    journal.append(start(number, 900))
os.kill(os.getpid(), signal.SIGKILL)
"""
    for count in range(1, 60 if FULL else 14):
        home = tmp_path / str(count)
        run(body, home, str(count), code=-9)
        found = inherit(home)
        assert found[:count] == [f"run-{n}.s" for n in range(count)]
        assert sorted(found[count:]) == sorted(f"run-{n}.e" for n in range(count))
        assert inherit(home) == []


def test_ends_without_an_exit_handler(tmp_path: Path) -> None:
    """os._exit, abort and an unhandled SIGTERM lose nothing (C20)."""
    ways = {"os._exit(3)": 3, "os.abort()": -6, "os.kill(os.getpid(), signal.SIGTERM); time.sleep(30)": -15}
    for index, (way, code) in enumerate(ways.items()):
        body = "journal = Journal(home)\njournal.append(end(1))\nfaulthandler.disable()\n" + way
        run(body, tmp_path / str(index), code=code)
        assert inherit(tmp_path / str(index)) == ["run-1.e"]
