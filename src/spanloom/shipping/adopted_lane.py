"""A destination's second lane: over the journals of dead processes that this process has adopted, oldest first.

Promise: the lane's counts stay exact when a journal is finished and leaves it. Owns no file and no lock of its own:
each journal's `Cursor` does the work.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from .cursor import Cursor
from .lanes import Entry, LaneCounts


class AdoptedLane:
    """A `lanes.Lane` over all journals adopted for one destination, oldest first."""

    def __init__(self, own: Cursor) -> None:
        self.own = own
        self.cursors: list[Cursor] = []
        self._past = LaneCounts()

    def take(self, max_events: int, max_bytes: int) -> list[Entry]:
        """See `lanes.Lane.take`. From as many journals as it takes: a hundred workers that died leave a few records
        each, and one request for each journal, a second apart, would take minutes."""
        taken: list[Entry] = []
        for cursor in list(self.cursors):
            entries = cursor.take(max_events - len(taken), max_bytes)
            taken += entries
            max_bytes -= sum(len(entry.payload) for entry in entries)
            if len(taken) >= max_events or max_bytes <= 0:
                break
        return taken

    def settle(self, entries: Iterable[Entry]) -> None:
        """See `lanes.Lane.settle`."""
        for cursor, group in _by_source(entries):
            cursor.settle(group)

    def reject(self, entries: Iterable[Entry], reason: str) -> None:
        """See `lanes.Lane.reject`."""
        for cursor, group in _by_source(entries):
            cursor.reject(group, reason)

    def drop(self, entries: Iterable[Entry], reason: str) -> None:
        """See `lanes.Lane.drop`."""
        for cursor, group in _by_source(entries):
            cursor.drop(group, reason)

    def dead_letter(self, entry: Entry, reason: str) -> None:
        """See `lanes.Lane.dead_letter`."""
        for cursor, _ in _by_source([entry]):
            cursor.dead_letter(entry, reason)

    def give_back(self, entries: Iterable[Entry] | None = None) -> None:
        """See `lanes.Lane.give_back`."""
        if entries is None:
            for cursor in list(self.cursors):
                cursor.give_back()
            return
        for cursor, group in _by_source(entries):
            cursor.give_back(group)

    def mark_attempted(self, entries: Iterable[Entry]) -> None:
        """See `lanes.Lane.mark_attempted`."""
        for cursor, group in _by_source(entries):
            cursor.mark_attempted(group)

    def counts(self, *, ahead: bool = True) -> LaneCounts:
        """See `lanes.Lane.counts`."""
        return _sum([self._past, *(cursor.counts(ahead=ahead) for cursor in list(self.cursors))])

    def waiting(self) -> int:
        """See `lanes.Lane.waiting`."""
        return sum(cursor.waiting() for cursor in list(self.cursors))

    def oldest_pending_seconds(self) -> float | None:
        """See `lanes.Lane.oldest_pending_seconds`."""
        ages = [age for cursor in list(self.cursors) if (age := cursor.oldest_pending_seconds()) is not None]
        return max(ages, default=None)

    def ready(self) -> bool:
        """Whether `take` may have something."""
        return any(cursor.ready() for cursor in list(self.cursors))

    def wait(self, timeout_seconds: float | None) -> bool:
        """See `lanes.Lane.wait`."""
        return self.own.wait(timeout_seconds)

    def rest(self, seconds: float) -> bool:
        """See `lanes.Lane.rest`."""
        return self.own.rest(seconds)

    def wake(self) -> None:
        """See `lanes.Lane.wake`."""
        self.own.wake()

    def part(self, cursor: Cursor) -> None:
        """A journal is finished: its counts stay."""
        if cursor in self.cursors:
            self._past = _sum([self._past, cursor.counts()])
            self.cursors.remove(cursor)

    def forget(self) -> None:
        """Begin anew, with nothing counted (in a forked child)."""
        self.cursors = []
        self._past = LaneCounts()


def _by_source(entries: Iterable[Entry]) -> list[tuple[Cursor, list[Entry]]]:
    groups: dict[int, tuple[Cursor, list[Entry]]] = {}
    for entry in entries:
        if isinstance(entry.source, Cursor):
            groups.setdefault(id(entry.source), (entry.source, []))[1].append(entry)
    return list(groups.values())


def _sum(parts: list[LaneCounts]) -> LaneCounts:
    def added(dicts: Iterable[dict[str, int]]) -> dict[str, int]:
        total: Counter[str] = Counter()
        for one in dicts:
            total.update(one)
        return dict(total)

    return LaneCounts(
        seen=sum(part.seen for part in parts),
        delivered=sum(part.delivered for part in parts),
        pending=sum(part.pending for part in parts),
        rejected=added(part.rejected for part in parts),
        dropped=added(part.dropped for part in parts),
        dead_lettered=added(part.dead_lettered for part in parts),
    )
