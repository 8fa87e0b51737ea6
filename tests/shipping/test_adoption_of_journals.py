"""Adoption: a dead process's records reach their destinations through exactly one other process."""

from __future__ import annotations

import os
import signal
import subprocess
from collections import Counter
from pathlib import Path

from journal_cases import (
    DEADLINE_SECONDS,
    FULL,
    drain,
    end,
    everything,
    ids,
    inherit,
    run,
    script,
    start,
)

from spanloom.records import RunEnd, TokenUsage, decode
from spanloom.shipping.journal import Journal

DIE = """
journal = Journal(home)
for number in range(int(sys.argv[2])):
    journal.append(end(number))
if len(sys.argv) > 3:
    journal.declare(sys.argv[3:])
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_open_runs_are_closed_as_killed_with_their_usage(tmp_path: Path) -> None:
    """A run without an end gets one: killed, at the time of the process's last record, with what was known (decision
    8)."""
    body = """
from spanloom.records import RunUpdate, TokenUsage
journal = Journal(home)
journal.append(start(1)); journal.append(start(2)); journal.append(end(2))
journal.append(encode(RunUpdate(event_id="run-1.u1", timestamp=stamp(3), run_id="run-1", model="m",
                                tokens_usage=TokenUsage(prompt=5))))
journal.append(end(40))
os.kill(os.getpid(), signal.SIGKILL)
"""
    run(body, tmp_path, code=-9)
    journal = Journal(tmp_path)
    journal.lane("d1", everything)
    lane = journal.adopted_lane("d1")
    journal.adopt()
    entries = lane.take(100, 1 << 20)
    last = decode(entries[-1].payload)
    assert isinstance(last, RunEnd)
    assert (last.event_id, last.status, last.model) == ("run-1.e", "killed", "m")
    assert last.tokens_usage == TokenUsage(prompt=5) and last.timestamp == decode(end(40)).timestamp
    assert last.started_at == decode(start(1)).timestamp and last.error is not None
    assert [decode(entry.payload).event_id for entry in entries].count("run-2.e") == 1
    journal.close()


def test_open_runs_are_closed_although_their_start_was_delivered_and_deleted(tmp_path: Path) -> None:
    """The start of an open run may be delivered, its segment gone: the end comes all the same, with usage."""
    body = """
journal = Journal(home, limits=SMALL)
lane = journal.lane("d1", everything)
journal.declare(["d1"])
journal.append(start(0))
journal.append(encode(RunUpdate(event_id="run-0.u1", timestamp=stamp(1), run_id="run-0", cost=0.5)))
for number in range(1, 300):
    journal.append(start(number)); journal.append(end(number))
drain(lane); journal.sync(10); journal.retire()
assert not (os.path.exists(os.path.join(journal.state().path, "000001.seg")))
os.kill(os.getpid(), signal.SIGKILL)
"""
    run(body.replace("journal = ", "from spanloom.records import RunUpdate\njournal = ", 1), tmp_path, code=-9)
    journal = Journal(tmp_path)
    journal.lane("d1", everything)
    lane = journal.adopted_lane("d1")
    journal.adopt()
    entries = lane.take(100, 1 << 20)
    assert ids(entries) == ["run-0.e"]
    (entry,) = entries
    last = decode(entry.payload)
    assert isinstance(last, RunEnd) and (last.run_id, last.status, last.cost) == ("run-0", "killed", 0.5)
    lane.settle([entry])
    journal.retire()
    assert not any(name.startswith("2") for name in os.listdir(tmp_path / "journal"))
    journal.close()


def test_a_run_that_ended_after_its_note_was_written_is_not_closed_again(tmp_path: Path) -> None:
    """The note of open runs is written anew when the run's end is deleted too: nobody closes it a second time."""
    body = """
journal = Journal(home, limits=SMALL)
lane = journal.lane("d1", everything)
journal.declare(["d1"])
note = lambda: open(os.path.join(journal.state().path, "open.json")).read()
def pass_by(numbers):
    for number in numbers:
        journal.append(start(number)); journal.append(end(number))
    drain(lane); journal.sync(10); journal.retire()
journal.append(start(0))
pass_by(range(1, 300))
assert "run-0\\"" in note()
journal.append(end(0))
journal.sync(10)
pass_by(range(300, 600))
assert "run-0\\"" not in note(), note()  # a run may lie across two segments, but not this one
os.kill(os.getpid(), signal.SIGKILL)
"""
    run(body, tmp_path, code=-9)
    journal = Journal(tmp_path)
    journal.lane("d1", everything)
    lane = journal.adopted_lane("d1")
    journal.adopt()
    assert ids(lane.take(100, 1 << 20)) == []
    journal.close()


def test_eight_adopters_race_for_many_journals(tmp_path: Path) -> None:
    """Of eight processes that adopt at once, exactly one delivers each record (C78)."""
    adopter = """
journal = Journal(home)
journal.lane("d1", everything)
lane = journal.adopted_lane("d1")
journal.declare(["d1"])
sys.stdin.readline()
for turn in range(5):
    journal.adopt()
    for one in drain(lane, 3):
        say(one)
    journal.retire()
journal.close()
"""
    journals = 60 if FULL else 12
    for _ in range(journals):
        run(DIE, tmp_path, "7", code=-9)
    children = [
        subprocess.Popen(script(adopter, tmp_path), stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(8)
    ]
    for child in children:
        assert child.stdin is not None
        child.stdin.write(b"go\n")
        child.stdin.flush()
    found: Counter[str] = Counter()
    for child in children:
        out, _ = child.communicate(timeout=DEADLINE_SECONDS)
        assert child.returncode == 0
        found.update(out.decode().split())
    assert found == {f"run-{n}.e": journals for n in range(7)}
    assert [name for name in os.listdir(tmp_path / "journal") if name[0] == "2"] == []


def test_a_stopped_owner_is_not_robbed(tmp_path: Path) -> None:
    """A process that is alive but stopped keeps its journal; it is adopted once it is dead (C78)."""
    body = "journal = Journal(home)\njournal.append(end(1))\nsay('in')\ntime.sleep(60)\n"
    child = subprocess.Popen(script(body, tmp_path), stdout=subprocess.PIPE)
    assert child.stdout is not None
    child.stdout.readline()
    child.send_signal(signal.SIGSTOP)
    try:
        assert inherit(tmp_path) == []
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait(DEADLINE_SECONDS)
        child.stdout.close()
    assert inherit(tmp_path) == ["run-1.e"]


def test_a_journal_is_only_for_those_it_is_owed_to(tmp_path: Path) -> None:
    """Each owed destination gets every record once, others none; the directory goes with the last."""
    run(DIE, tmp_path, "3", "d1", "d2", code=-9)
    wanted = ["run-0.e", "run-1.e", "run-2.e"]
    assert inherit(tmp_path, "d3") == []
    assert inherit(tmp_path, "d1") == wanted
    assert inherit(tmp_path, "d1") == []
    assert inherit(tmp_path, "d2") == wanted
    assert [name for name in os.listdir(tmp_path / "journal") if name[0] == "2"] == []


def test_an_undecided_journal_is_for_anyone(tmp_path: Path) -> None:
    """Records of a process that never got to know its destinations go to the adopter's."""
    run(DIE, tmp_path, "2", code=-9)
    assert inherit(tmp_path, "d9") == ["run-0.e", "run-1.e"]


def test_an_adopter_killed_in_the_middle_is_followed_by_another(tmp_path: Path) -> None:
    """What the first adopter settled is not delivered again; the rest is."""
    run(DIE, tmp_path, "10", code=-9)
    body = """
journal = Journal(home)
journal.lane("d1", everything)
lane = journal.adopted_lane("d1")
journal.adopt()
entries = lane.take(6, 1 << 20)
lane.settle(entries[:2] + entries[3:4])
os.kill(os.getpid(), signal.SIGKILL)
"""
    run(body, tmp_path, code=-9)
    assert inherit(tmp_path) == [f"run-{n}.e" for n in (2, 4, 5, 6, 7, 8, 9)]


def test_thousands_of_dead_journals_are_taken_in_portions(tmp_path: Path) -> None:
    """One scan does bounded work however many directories there are (C83)."""
    run(DIE, tmp_path, "1", code=-9)
    (first,) = (tmp_path / "journal").iterdir()
    for number in range(150):
        other = first.parent / f"20260101T000000-1-{number:08x}"
        other.mkdir(0o700)
        for file in first.iterdir():
            (other / file.name).write_bytes(file.read_bytes())
    journal = Journal(tmp_path)
    journal.lane("d1", everything)
    lane = journal.adopted_lane("d1")
    assert journal.adopt() == 100
    assert journal.adopt() == 51
    assert len(drain(lane)) == 151
    journal.retire()
    assert lane.counts().balance() == 0 and lane.counts().seen == 151
    journal.close()
    assert [name for name in os.listdir(tmp_path / "journal") if name[0] == "2"] == []


def test_a_restarted_program_takes_its_own_after_an_exec(tmp_path: Path) -> None:
    """A process that replaces itself by exec adopts what it left before (same pid, same start time)."""
    body = """
journal = Journal(home)
if len(sys.argv) == 2:
    journal.append(end(5))
    os.execv(sys.executable, [*sys.orig_argv, "again"])
journal.lane("d1", everything)
lane = journal.adopted_lane("d1")
journal.adopt()
say(drain(lane))
journal.close()
"""
    assert run(body, tmp_path) == ["['run-5.e']"]


def test_a_new_destination_gets_a_lane_over_what_is_adopted_already(tmp_path: Path) -> None:
    """A destination configured after the adoption still receives what it is owed."""
    run(DIE, tmp_path, "2", "d1", "d2", code=-9)
    journal = Journal(tmp_path)
    journal.lane("d1", everything)
    lane = journal.adopted_lane("d1")
    assert journal.adopt() == 1
    journal.lane("d2", everything)
    second = journal.adopted_lane("d2")
    assert drain(second) == drain(lane) == ["run-0.e", "run-1.e"]
    journal.retire()
    journal.close()
    assert [name for name in os.listdir(tmp_path / "journal") if name[0] == "2"] == []


def test_small_journals_are_taken_together(tmp_path: Path) -> None:
    """Many dead journals with a few records each fill one batch, oldest first, within both limits (C27)."""
    for _ in range(3):
        run(DIE, tmp_path, "2", "d1", code=-9)
    journal = Journal(tmp_path)
    journal.lane("d1", everything)
    lane = journal.adopted_lane("d1")
    assert journal.adopt() == 3
    five = lane.take(5, 1 << 20)
    assert len(five) == 5 and len({id(entry.source) for entry in five}) == 3
    lane.give_back(five)
    size_bytes = len(five[0].payload)
    assert len(lane.take(100, size_bytes * 3)) in (3, 4)  # about as many bytes
    lane.give_back()
    everyone = lane.take(100, 1 << 20)
    lane.settle(everyone)
    assert len(everyone) == 6 and lane.counts().delivered == 6 and lane.counts().pending == 0
    journal.close()


def test_more_dead_than_one_scan_takes_need_no_waiting(tmp_path: Path) -> None:
    """A hundred workers live, one that came later has died: the scan that met only the living is followed at once by
    another, which finds the dead one; then there is a minute's rest (C78)."""
    living = [Journal(tmp_path) for _ in range(101)]
    for journal in living:
        journal.opened_volume()
    run(DIE, tmp_path, "3", "d1", code=-9)
    journal = Journal(tmp_path)
    journal.lane("d1", everything)
    lane = journal.adopted_lane("d1")
    assert journal.adopt() == 0
    journal.adoptions.ask()
    assert journal.adoptions.asked
    journal.adoptions.scan_if_asked()
    assert drain(lane) == ["run-0.e", "run-1.e", "run-2.e"]
    journal.adoptions.ask()
    assert not journal.adoptions.asked
    for each in [journal, *living]:
        each.close()
