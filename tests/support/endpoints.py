"""The states an endpoint can be in when a program wants to leave, and how long its exit may take in each.

Promise: one table for the tests and for `benchmarks/exit_delay.py`, so that what is measured is what is tested.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from . import toxic as toxics
from .oracle import Oracle
from .toxic import Toxic

ANSWERING_SECONDS = 0.3
HANGING_SECONDS = 1.0


@dataclass(frozen=True)
class State:
    """One state: ``enter`` puts the oracle and its proxy into it; the exit may take ``bound_seconds``."""

    bound_seconds: float
    enter: Callable[[Oracle, Toxic], None]

    def leave(self, oracle: Oracle, toxic: Toxic) -> None:
        """Be healthy again."""
        oracle.recover()
        toxic.clear()


STATES = {
    "refused": State(ANSWERING_SECONDS, lambda _, toxic: toxic.use(toxics.refuse())),
    "500": State(ANSWERING_SECONDS, lambda oracle, _: oracle.answer(500)),
    "401": State(ANSWERING_SECONDS, lambda oracle, _: oracle.answer(401)),
    "503 with Retry-After": State(
        ANSWERING_SECONDS, lambda oracle, _: oracle.answer(503, headers={"Retry-After": "30"})
    ),
    "reset": State(ANSWERING_SECONDS, lambda _, toxic: toxic.use(toxics.reset_after(1))),
    "blackhole": State(HANGING_SECONDS, lambda _, toxic: toxic.use(toxics.blackhole())),
    "not accepting": State(HANGING_SECONDS, lambda _, toxic: toxic.use(toxics.no_accept())),
    "one byte a second": State(HANGING_SECONDS, lambda _, toxic: toxic.use(toxics.slow_drip(1))),
}

LEAVING_PROGRAM = """
import sys
import spanloom
from support.program import accepted, leaving

url, prefix, journal = sys.argv[1:]
spanloom.configure(destinations=[spanloom.Collector(url)], journal="default" if journal == "on" else None)
for number in range(250):
    mark = f"{prefix}-{number}"
    with spanloom.tool(mark):
        pass
    accepted(mark)
leaving()
"""
"""Leaves with 500 records pending. Arguments: the endpoint's URL, a prefix for the marks, ``on`` or ``off``."""
