"""The next process: one that starts after others have died, and delivers what they left behind.

Promise: it behaves as a user's program does (configures, records one run, flushes), and stays until the test has seen
what it waits for, so that the test decides by the oracle's log and never by a sleep.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import count
from pathlib import Path

from .balance import Account, only, read
from .children import Child, Finished
from .oracle_log import OracleLog

_PROGRAM = """
import os, sys, time
import spanloom
from support.program import accepted, leaving, say, say_health

url, stop, mark = sys.argv[1:]
spanloom.configure(destinations=[spanloom.Collector(url)])
with spanloom.tool(mark):
    pass
accepted(mark)
while not os.path.exists(stop):
    spanloom.flush(timeout_seconds=0.5)
    say_health("waiting")
    time.sleep(0.02)
say("flushed", spanloom.flush(timeout_seconds=20))
say_health()
leaving()
"""
_numbers = count()


def succeed(
    home: Path, url: str, log: OracleLog, marks: Iterable[str], *, events: Sequence[str] = ("start", "end"),
    timeout_seconds: float = 60.0,
) -> tuple[Finished, Account]:  # fmt: skip
    """Run the next process until the oracle has every mark's events; its end and its balanced account.

    AssertionError names what is missing when the time is over.
    """
    stop = home / f"stop-{next(_numbers)}"
    mark = f"successor-{stop.name}"
    wanted = {*marks, mark}

    def complete() -> bool:
        return all(not wanted - log.names(event).keys() for event in events)

    with Child(_PROGRAM, url, str(stop), mark, home=home, timeout_seconds=timeout_seconds) as running:
        try:
            running.wait_until(complete, "deliver everything", interval_seconds=0.1)
        except AssertionError as error:
            lost = {event: sorted(wanted - log.names(event).keys()) for event in events}
            shown = {event: (len(names), names[:10]) for event, names in lost.items()}
            health = running.lines("waiting")[-1:]
            raise AssertionError(f"lost (how many, the first ten): {shown}\n{health}\n{error}") from None
        stop.touch()
        done = running.finish().assert_clean()
    assert done.lines("flushed") == ["True"]
    return done, only(read(done.lines("health")[-1]))
