"""What ``journal_sync="power"`` promises: what a sync that said True covers survives the loss of power (C75)."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
from pathlib import Path

import power
import pytest
from journal_cases import FULL, inherit, run, script

WRITER = """
import random
import power
shadow, seed = sys.argv[2], int(sys.argv[3])
draw = random.Random(seed)
power.watch(shadow)
journal = Journal(home, sync="power", limits=SMALL)
lane = journal.lane("d1", everything)
journal.declare(["d1"])
appended = 0
other = 10_000
def beside():
    global other
    while other:
        journal.append(start(other)); other += 1
        time.sleep(0.0005)
threading.Thread(target=beside, daemon=True).start()
for turn in range(int(sys.argv[4])):
    for _ in range(draw.randint(1, 40)):
        journal.append(start(appended, draw.choice([0, 50, 3000])))
        appended += 1
    through = other
    assert journal.sync(10)
    say(f"{len(os.listdir(shadow))} {appended} {through}")
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(not os.path.exists("/proc/self/fd"), reason="the model reads /proc")
@pytest.mark.parametrize("seed", range(40 if FULL else 2))
def test_a_power_cut_loses_nothing_that_a_sync_covered(tmp_path: Path, seed: int) -> None:
    """In every state that a power cut may leave, all records appended before the last sync that said True are there,
    once and in order, whichever unsynced pages had reached the disk (C75)."""
    home, shadow = tmp_path / "new" / "home", tmp_path / "shadow"
    turns = 40 if FULL else 12
    lines = run(WRITER, home, str(shadow), str(seed), str(turns), code=-9)
    covered = [tuple(map(int, line.split())) for line in lines]
    assert len(covered) == turns
    draw = random.Random(seed)
    checked = 0
    for at, appended, through in covered:
        for torn in (None, draw):
            power.after_cut(shadow, at, tmp_path / "new", tmp_path / "cut", torn)
            found = inherit(tmp_path / "cut" / "home")
            starts = [int(one[4:-2]) for one in found if one.endswith(".s")]
            mine = [number for number in starts if number < 10_000]
            beside = [number for number in starts if number >= 10_000]
            assert mine[:appended] == list(range(appended)), f"after {at} syncs"
            assert set(range(10_000, through)) <= set(beside)
            assert len(set(found)) == len(found)
            shutil.rmtree(tmp_path / "cut")
            checked += 1
    assert checked == 2 * turns


SYNCED_OR_NOT = """
journal = Journal(home, sync=sys.argv[2], limits=SMALL)
journal.lane("d1", everything)
for number in range(40):
    journal.append(start(number))
    if number % 10 == 0:
        say(journal.sync(1))
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace makes the system calls fail")
@pytest.mark.parametrize("call", ["fsync", "fdatasync"])
@pytest.mark.parametrize("mode", ["power", "process"])
def test_sync_is_false_when_the_disk_says_no(tmp_path: Path, call: str, mode: str) -> None:
    """Neither unsynced bytes (fdatasync) nor unsynced names (fsync of the directory) are ever reported as safe."""
    log = tmp_path / "strace"
    inject = ["strace", "-f", "-qq", "-o", str(log), "-e", f"trace={call}", "-e", f"inject={call}:error=EIO"]
    done = subprocess.run(
        inject + script(SYNCED_OR_NOT, tmp_path / "home", mode),
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == -9, done.stderr
    assert done.stdout.split() == ["False"] * 4
    assert "(INJECTED)" in log.read_text()
    if call == "fsync":  # only names were at stake, and a killed process loses none; else it went on in memory
        assert inherit(tmp_path / "home")[:40] == [f"run-{n}.s" for n in range(40)]


def test_sync_without_a_disk_is_false(tmp_path: Path) -> None:
    """Memory survives no power cut; before the first record there is nothing to lose."""
    body = """
journal = Journal(None, sync="power")
say(journal.sync(5))
journal.append(start(1))
say(journal.sync(5))
"""
    assert run(body, tmp_path) == ["True", "False"]


def test_sync_in_a_signal_handler_that_interrupts_an_append_says_no(tmp_path: Path) -> None:
    """The interrupted record may be accepted and not yet written: a sync that cannot know says False, and at once."""
    body = """
import itertools
journal = Journal(home, sync="power", limits=SMALL)
said = []
def trace(frame, event, argument):
    if frame.f_code.co_name == "_drain" and not said:
        said.append(None)
        said[0] = journal.sync(5)
    return trace
journal.append(start(0))
sys.settrace(trace)
journal.append(start(1))
sys.settrace(None)
say(said)
say(journal.sync(5))
"""
    assert run(body, tmp_path / "home") == ["[False]", "True"]
