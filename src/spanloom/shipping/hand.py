"""The hand: the records of one lane that a shipper holds, oldest first, and how many of them go out together.

Promise: order is kept; one poisonous record among n is alone after at most log2(n) + 2 requests; pure bookkeeping
over a lane, so that the tests need no network. Never sleeps, never sends, never decides that a record is lost.

How a poison is found. A batch of n was refused as a whole, so the first n records in hand are suspect. The first half
of them goes out alone. If it passes, the poison is in the rest of the suspects; if not, in this half. Either way the
suspects halve, until one record is refused alone.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from ..native import breathe
from .destination import BatchPolicy, kind_of
from .lanes import Entry, Lane

_SIP_EVENTS = 128
"""What is taken in one go, in 0.5 ms: then whoever waits for the interpreter has it."""


class Item:
    """One record in hand. ``number`` counts what was taken from its lane, from 1; ``payload`` may be a shrunk copy.

    What follows is about failures, and on the class for the many that never fail."""

    failures = 0
    """How often in a row it failed for ``reason``."""
    alone = 0
    """How many of these failures it had for itself."""
    reason = ""
    passes_before = 0
    """How many batches had passed when these failures began; more by now means that others pass."""
    doubtful_since: float | None = None
    """Wall-clock seconds since which it may be stored there without our knowing; None: it is not."""

    def __init__(self, entry: Entry, number: int) -> None:
        self.entry = entry
        self.number = number
        self.payload = entry.payload
        if entry.attempted_at is not None:
            self.doubtful_since = entry.attempted_at

    def failed(self, reason: str, passes: int, *, alone: bool) -> None:
        """Count a failure; another reason begins a new row."""
        if reason != self.reason:
            self.reason, self.failures, self.alone, self.passes_before = reason, 0, 0, passes
        self.failures += 1
        self.alone += alone


class Hand:
    """Draws from a lane what the next batch needs, and no more."""

    def __init__(self, lane: Lane) -> None:
        self.lane = lane
        self.clear()

    def clear(self) -> None:
        """Hold nothing (in a forked child; the parent's records stay the parent's)."""
        self.items: deque[Item] = deque()
        self.taken = 0
        self.suspects = 0
        self.not_before = 0.0

    def give_back(self) -> None:
        """Return everything to the lane, to be taken again."""
        self.items.clear()
        self.suspects = 0
        self.lane.give_back(None)

    def fill(self, policy: BatchPolicy, max_bytes: int) -> None:
        """Take from the lane what still fits into a batch; nothing while what is in hand has failed."""
        if self.suspects or (self.items and self.items[0].failures):
            return
        self._take(policy.max_events - len(self.items), max_bytes - sum(len(item.payload) for item in self.items))

    def _take(self, events: int, size_bytes: int) -> None:
        if events <= 0 or (self.items and size_bytes <= 0):
            return
        wanted = min(events, _SIP_EVENTS)
        entries = self.lane.take(wanted, max(1, size_bytes))
        for entry in entries:
            self.taken += 1
            self.items.append(Item(entry, self.taken))
            size_bytes -= len(entry.payload)
        if len(entries) == wanted < events:
            breathe()
            self._take(events - wanted, size_bytes)

    def batch(self, policy: BatchPolicy, max_bytes: int) -> list[Item]:
        """The next records to send: half of the suspects, or what fits; always one if there is one."""
        limit = max(1, self.suspects // 2) if self.suspects else policy.max_events
        batch: list[Item] = []
        size_bytes = 0
        for item in self.items:
            size_bytes += len(item.payload)
            if batch and (len(batch) >= limit or size_bytes > max_bytes):
                break
            batch.append(item)
        return batch

    def bystander(self, suspect: Item) -> list[Item]:
        """One later record that depends on nothing before it, for finding out whether others pass: a usage event, or
        the start of another trace's root. Empty when there is none in reach."""
        if len(self.items) < 2:
            self._take(64, 1 << 18)
        for item in self.items:
            if item is suspect or item.alone:
                continue
            kind = kind_of(item.payload)
            if kind in (b"action", b"outcome") or (kind == b"start" and b'"parentRunId":' not in item.payload):
                return [item]
        return []

    def refused(self, batch: list[Item]) -> None:
        """These were refused together: one of them, at least, is poison."""
        self.suspects = len(batch) if len(batch) > 1 else 0

    def remove(self, gone: Iterable[Item]) -> None:
        """Let go of what was delivered or given up."""
        numbers = {item.number for item in gone}
        passed = sum(1 for _, item in zip(range(self.suspects), self.items, strict=False) if item.number in numbers)
        self.items = deque(item for item in self.items if item.number not in numbers)
        self.suspects = max(0, self.suspects - passed)
