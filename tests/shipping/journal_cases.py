"""What the journal's tests share: records, running a script as a process of its own, reading a dead journal."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from spanloom.records import RunEnd, RunStart, decode, encode
from spanloom.shipping.journal import Journal, Limits
from spanloom.shipping.lanes import Entry, Lane

SMALL = Limits(first_segment_bytes=8192, segment_bytes=16384, heap_segment_bytes=4096, memory_bytes=32768)
"""So small that a short test rolls many segments."""

DEADLINE_SECONDS = 60

FULL = bool(os.environ.get("SPANLOOM_FULL"))
"""Set SPANLOOM_FULL=1 for the full counts."""


def stamp(number: int) -> str:
    return f"2026-03-01T12:{number // 60 % 60:02d}:{number % 60:02d}.000000Z"


def start(number: int, padding: int = 0) -> bytes:
    run = f"run-{number}"
    name = "n" * padding or None
    return encode(RunStart(event_id=f"{run}.s", timestamp=stamp(number), run_id=run, type="llm", name=name))


def end(number: int) -> bytes:
    run = f"run-{number}"
    return encode(RunEnd(event_id=f"{run}.e", timestamp=stamp(number), run_id=run, type="llm", status="ok"))


def ids(entries: list[Entry]) -> list[str]:
    return [decode(entry.payload).event_id for entry in entries]


def everything(payload: bytes) -> bool:
    return True


def drain(lane: Lane, most: int = 50) -> list[str]:
    """Take and settle all, in small batches; the event ids in order."""
    found: list[str] = []
    while entries := lane.take(most, 1 << 20):
        found += ids(entries)
        lane.settle(entries)
    return found


def inherit(home: Path, dest_id: str = "d1", limits: Limits = SMALL) -> list[str]:
    """Be the next process: adopt everything for one destination, deliver it, and return the event ids."""
    journal = Journal(home, limits=limits)
    journal.lane(dest_id, everything)
    lane = journal.adopted_lane(dest_id)
    journal.declare([dest_id])
    found: list[str] = []
    while journal.adopt():
        found += drain(lane)
        journal.retire()
    assert lane.counts().balance() == 0
    assert lane.counts().pending == 0
    journal.close()
    return found


PRELUDE = """
import faulthandler, gc, os, signal, sys, threading, time
faulthandler.dump_traceback_later({deadline}, exit=True)
sys.path.insert(0, {here!r})
from journal_cases import *
home = sys.argv[1]
def say(text):
    os.write(1, (str(text) + "\\n").encode())
"""


def script(body: str, home: Path, *more: str) -> list[str]:
    """The command of a process that runs ``body`` after the prelude, with ``home`` as its first argument."""
    prelude = PRELUDE.format(deadline=DEADLINE_SECONDS, here=str(Path(__file__).parent))
    return [
        sys.executable,
        "-X",
        "faulthandler",
        "-W",
        "ignore::DeprecationWarning",
        "-c",
        prelude + body,
        str(home),
        *more,
    ]


def run(body: str, home: Path, *more: str, code: int = 0) -> list[str]:
    """Run it to its end under a hard deadline; the lines it printed. Its stderr must be empty."""
    done = subprocess.run(
        script(body, home, *more), capture_output=True, text=True, timeout=DEADLINE_SECONDS + 10, check=False
    )
    assert done.stderr == "", done.stderr
    assert done.returncode == code, (done.returncode, done.stdout)
    return done.stdout.splitlines()
