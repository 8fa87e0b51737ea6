"""What a test program says about itself, one line a fact, each line in a single write.

Imported by programs that `children.Child` runs. Promise: works in signal handlers, finalisers, forked children and
many threads at once, because a line is one ``os.write`` to a file opened for appending: no lock, no buffer. Never
imports Spanloom until asked to.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import time
from typing import Any


def say(word: str, value: object = "") -> None:
    """One line: a word and a value."""
    os.write(1, f"{word} {value}\n".encode())


def accepted(mark: object) -> None:
    """The call that emitted the event with this mark has returned, so the event is accepted."""
    os.write(1, b"accepted %s\n" % str(mark).encode())


def leaving() -> None:
    """The program's last word; the time from here to the end of the process is the exit delay."""
    say("leaving", time.monotonic())


def say_health(word: str = "health") -> None:
    """Print ``spanloom.health()`` as the JSON that `balance.read` understands."""
    from support.balance import plain

    front_door: Any = importlib.import_module("spanloom")
    say(word, json.dumps(plain(front_door.health())))


def wait_for_children(pids: list[int], timeout_seconds: float) -> dict[str, int]:
    """Reap these processes; how many ended well, ended badly, or hung (and were killed)."""
    ends: dict[str, Any] = {"well": 0, "badly": 0, "hung": 0}
    deadline = time.monotonic() + timeout_seconds
    left = set(pids)
    while left and time.monotonic() < deadline:
        for pid in list(left):
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                left.discard(pid)
                ends["well" if status == 0 else "badly"] += 1
        time.sleep(0.005)
    for pid in left:
        os.kill(pid, signal.SIGUSR2)  # its stacks, on standard error
        time.sleep(0.2)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        ends["hung"] += 1
    return ends
