"""Two guards that only a rare moment needs: an append interrupted is not written twice; the living are not adopted."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import get_ident
from types import CodeType, FrameType
from typing import Any

import pytest
from journal_cases import SMALL, drain, end, everything, inherit, script, start

from spanloom.shipping import adoption, disposal, inspection, volume
from spanloom.shipping.journal import Journal, Limits

ROOM = os.path.dirname(inspection.__file__)


class Stop(Exception):
    """What a signal handler may raise, anywhere."""


@contextmanager
def stopping_at(count: int) -> Iterator[list[int]]:
    """Raise `Stop` before the ``count``-th instruction of the shipping room; the list's number is how many ran."""
    ran, me = [0], get_ident()

    def instruction() -> None:
        ran[0] += 1
        if ran[0] == count:
            raise Stop

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        if not frame.f_code.co_filename.startswith(ROOM):
            return None
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        if event == "opcode":
            instruction()
        return trace

    def monitor(code: CodeType, offset: int) -> None:
        if get_ident() == me and code.co_filename.startswith(ROOM):
            instruction()

    if sys.version_info < (3, 12):
        before = sys.gettrace()
        sys.settrace(trace)
        try:
            yield ran
        finally:
            sys.settrace(before)
    else:
        monitoring, tool = sys.monitoring, sys.monitoring.DEBUGGER_ID
        monitoring.use_tool_id(tool, "stopping_at")
        monitoring.register_callback(tool, monitoring.events.INSTRUCTION, monitor)
        monitoring.set_events(tool, monitoring.events.INSTRUCTION)
        try:
            yield ran
        finally:
            monitoring.set_events(tool, 0)
            monitoring.free_tool_id(tool)


def append_stopped(journal: Journal, record: bytes, count: int) -> tuple[bool, int]:
    """Append with a `Stop` at an instruction; whether the append returned, and how many instructions ran."""
    gc.disable()  # a finaliser of an earlier test's journal would swallow the Stop
    try:
        with stopping_at(count) as ran:
            journal.append(record)
    except Stop:
        return False, ran[0]
    finally:
        gc.enable()
    return True, ran[0]


def test_an_append_interrupted_at_any_instruction_is_written_once_at_most(tmp_path: Path) -> None:
    """An exception out of every single instruction of an append in turn: its record is there once at most, and once if
    the call returned; those before and after are there once (C20, C39)."""
    journal = Journal(tmp_path, limits=Limits(first_segment_bytes=4 << 20))
    lane = journal.lane("d1", everything)
    journal.declare(["d1"])
    journal.append(end(0))
    returned, at, done = ["run-0.e"], 0, False
    while not done:
        at += 1
        done, _ = append_stopped(journal, end(2 * at), at)
        journal.append(end(2 * at + 1))
        returned += [f"run-{2 * at + 1}.e"] + ([f"run-{2 * at}.e"] if done else [])
    assert at > 40, "the append was hardly interrupted"
    found = Counter(drain(lane))
    assert set(found.values()) == {1}, found.most_common(3)
    assert set(returned) <= found.keys()
    assert len(found) > len(returned), "no interrupted append had written its record: the guard was never needed"
    assert lane.counts().balance() == 0
    journal.close()


@pytest.mark.filterwarnings("ignore")  # files that `open` had opened when it was interrupted
def test_a_roll_to_a_new_segment_interrupted_anywhere_loses_and_doubles_nothing(tmp_path: Path) -> None:
    """The same where the append makes room first: a new mapping, or the first directory of the process (C20)."""
    stride, at, done = 29, 3, False
    while not done:
        home = tmp_path / str(at)
        journal = Journal(home, limits=SMALL)
        lane = journal.lane("d1", everything)
        journal.declare(["d1"])
        returned = []
        if at % 2:
            journal.append(start(0, 3000))
            returned = ["run-0.s"]
        done, _ = append_stopped(journal, start(1, 7000), at)
        journal.append(start(2))
        returned += ["run-2.s"] + (["run-1.s"] if done else [])
        found = Counter(drain(lane))
        assert set(found.values()) == {1} and set(returned) <= found.keys(), (at, found, returned)
        assert lane.counts().balance() == 0 and not journal.state().refused, (at, journal.state())
        journal.close()
        assert not [one for one in inherit(home) if one.endswith(".s")], at  # the runs left open are closed, no more
        at += stride
    assert at > 300, "no room was made"


SWEPT = """
journal = Journal(home)
journal.append(end(1))
journal.sync(10)
os.closerange(3, 1024)
say("swept")
os.kill(os.getpid(), signal.SIGSTOP)
journal.append(end(2))
say("going on")
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(not os.path.exists("/proc/self/stat"), reason="the second guard reads /proc")
def test_a_living_process_that_lost_its_lock_is_not_robbed(tmp_path: Path) -> None:
    """A host closed all descriptors, the lock's too, and stands still: nobody adopts, lists as dead, purges or gives up
    its journal; when it is dead, the next process has all of it (C79, C30)."""
    process = subprocess.Popen(script(SWEPT, tmp_path), stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None and process.stdout.readline() == "swept\n"
        os.waitid(os.P_PID, process.pid, os.WSTOPPED)
        assert inherit(tmp_path) == []
        assert [one.alive for one in inspection.ls(tmp_path)] == [True]
        assert disposal.purge(tmp_path).journals == 0
        thief = Journal(tmp_path)
        thief.lane("d2", everything)
        assert list(thief.adoptions.give_up("expired")) == []
        thief.close()
        process.send_signal(signal.SIGCONT)
        assert process.stdout.readline() == "going on\n"
        assert process.wait(30) == -signal.SIGKILL
    finally:
        process.kill()
        process.wait(30)
        process.stdout.close()
    assert inherit(tmp_path) == ["run-1.e", "run-2.e"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_what_waits_for_its_turn_at_a_fork_is_the_parents(tmp_path: Path) -> None:
    """C24: a record that another thread was about to write when the process forked is written by the parent, and not
    by the child too."""
    journal = Journal(tmp_path, limits=SMALL)
    lane = journal.lane("d1", everything)
    journal.append(end(1))
    journal._pending.append((end(2),))  # as an append has it between its first two lines
    child = os.fork()
    if child == 0:
        journal.append(end(3))
        os._exit(0 if drain(lane) == ["run-3.e"] else 7)
    _, status = os.waitpid(child, 0)
    journal.drain_stragglers()
    assert os.waitstatus_to_exitcode(status) == 0
    assert drain(lane) == ["run-1.e", "run-2.e"]
    journal.close()


def test_a_lock_file_that_was_replaced_is_no_title(tmp_path: Path) -> None:
    """C78: who opened the lock of a journal that another one finished and deleted meanwhile owns nothing, though it can
    be locked."""
    path = tmp_path / volume.LOCK
    path.touch(mode=0o600)
    opened = os.open(path, os.O_RDWR)
    try:
        path.unlink()
        assert not adoption.may_own(str(tmp_path), opened)
        path.touch(mode=0o600)
        assert not adoption.may_own(str(tmp_path), opened)
    finally:
        os.close(opened)
    opened = os.open(path, os.O_RDWR)
    try:
        assert adoption.may_own(str(tmp_path), opened)
    finally:
        os.close(opened)
