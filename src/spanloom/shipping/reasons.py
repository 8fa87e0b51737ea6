"""Counts by reason, kept without a lock.

Promise: `count` is atomic under the interpreter lock, also when a signal handler interrupts it; nothing is lost.
"""

from __future__ import annotations

import itertools


class Reasons:
    """How often something happened, by reason."""

    __slots__ = ("_counters",)

    def __init__(self) -> None:
        self._counters: dict[str, itertools.count[int]] = {}

    def count(self, reason: str) -> None:
        """One more, for this reason."""
        counters = self._counters
        next(counters.get(reason) or counters.setdefault(reason, itertools.count()))  # atomic, unlike +=

    def read(self) -> dict[str, int]:
        """All of them as they are now."""
        return {reason: int(repr(counter)[6:-1]) for reason, counter in list(self._counters.items())}
