"""One journal of a dead process, owned: its segments read once, over damage, and its open runs closed.

Promise: nothing of it is deleted before every destination that it was for has settled it, except to keep the caps, and
then counted; what cannot be read, or is from a later version, is kept. Never adopts by itself: `adoption` decides who
owns a journal.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterable
from itertools import groupby, pairwise
from typing import NamedTuple

from ..native import breathe
from . import places
from . import segment as form
from .bodies import FileBody, Segment
from .cursor import Cursor
from .open_runs import OpenRuns, timestamp_of
from .position import Home, Position, read_position
from .volume import OPEN_RUNS, owed_by, quarantine

_WORTH_TRIMMING_BYTES = 4096
_STRETCH_RECORDS = 128
"""Read in one go, in 0.5 ms: then whoever waits for the interpreter has it."""


class SegmentFile(NamedTuple):
    """What reading a whole segment file found. ``damaged_bytes`` lie between its good records or replace its header;
    ``foreign``: not ours, or from a later version: kept, never read."""

    path: str
    first: int
    end: int
    epitaph: bool
    damaged_bytes: int
    size_bytes: int
    foreign: bool


def read_segment(path: str, runs: OpenRuns | None = None) -> SegmentFile | None:
    """Go through one segment file; None when it holds no record. Raises OSError."""
    data = places.read_file(path, limit_bytes=1 << 30)
    if not data.strip(b"\0"):
        return None  # laid ready, never used
    head = form.read_header(data)
    if head is not None and head.version > form.VERSION:
        return SegmentFile(path, 0, 0, False, 0, len(data), True)
    first = last = damaged = 0
    at = form.HEADER_BYTES
    for count, frame in enumerate(form.walk(data, at, 1), 1):
        if count % _STRETCH_RECORDS == 0:
            breathe()
        damaged += frame.end - form.frame_size(len(frame.payload)) - at
        at, last = frame.end, frame.sequence
        first = first or frame.sequence
        if runs is not None:
            runs.feed(frame.payload)
            stamp = timestamp_of(frame.payload)
            runs.saw(stamp or "")
    if data[at : at + 8].strip(b"\0"):  # zeros: the clean tail of a record that was not committed
        damaged += len(data[at:].rstrip(b"\0"))
    if head is not None and head.first:
        first = min(first, head.first) if first else head.first
        last = max(last, head.first - 1)
    else:
        damaged += 0 if head is not None else form.HEADER_BYTES
    if not first:
        return SegmentFile(path, 0, 0, False, damaged, len(data), True) if damaged and len(data) else None
    return SegmentFile(path, first, last + 1, bool(head and head.flags & form.FLAG_EPITAPH), damaged, len(data), False)


class DeadJournal:
    """A journal that is ours now. ``oldest`` is its chain; ``owed`` the destinations it is for."""

    def __init__(self, root: str, name: str, lock: int, dest_ids: tuple[str, ...]) -> None:
        self.root = root
        self.name = name
        self.path = os.path.join(root, name)
        self._lock = lock
        self._lock_identity = places.identity(lock)
        self.owed = owed_by(self.path) or dest_ids
        self.cursors: dict[str, Cursor] = {}
        self.damaged_bytes = 0
        self.foreign = False
        self.oldest = self._read_chain()

    def _read_chain(self) -> Segment:
        runs = OpenRuns()
        try:
            runs.load(places.read_file(os.path.join(self.path, OPEN_RUNS)))
        except OSError:
            pass
        found: list[SegmentFile] = []
        for path in sorted(segment_paths(self.path), key=_first_number):  # names are in the order of making, not of use
            one = self._read_one(path, runs)
            if one is not None:
                found.append(one)
        found.sort(key=lambda one: one.first)
        if len(runs) and not any(one.epitaph for one in found):
            ends = [one.end for one in found] + [position.next for position in self._positions()]
            found += self._close_runs(runs, max(ends, default=1))
        return _chain(found)

    def _read_one(self, path: str, runs: OpenRuns) -> SegmentFile | None:
        try:
            one = read_segment(path, runs)
            if one is not None and one.damaged_bytes:
                self.damaged_bytes += one.damaged_bytes
                quarantine(self.root, self.name, path)
        except OSError:
            self.foreign = True  # unreadable: nothing is deleted
            return None
        if one is not None and one.foreign:
            self.foreign = self.foreign or not one.damaged_bytes
            return None
        return one

    def _positions(self) -> list[Position]:
        names = [name for name in os.listdir(self.path) if name.endswith(".cursor")]
        found = [read_position(os.path.join(self.path, name)) for name in names]
        return [position for position in found if position is not None]

    def _close_runs(self, runs: OpenRuns, first: int) -> list[SegmentFile]:
        """The extra segment with an end for every run that was left open; it appears at once or not at all."""
        records = runs.epitaphs()
        data = form.header(first, time.time_ns() // 1000, form.FLAG_EPITAPH)
        data += b"".join(form.frame(first + i, record) for i, record in enumerate(records))
        path = os.path.join(self.path, "epitaph.seg")
        try:
            places.replace_file(path, data)
        except OSError:
            return []  # a full disk: the next adopter tries again
        return [SegmentFile(path, first, first + len(records), True, 0, len(data), False)]

    def cursor(self, own: Cursor) -> Cursor:
        """A cursor for a destination, going on from where it was."""
        saved = read_position(os.path.join(self.path, f"{own.dest_id}.cursor"))
        home = Home(self.root, self.name, own.home.durable)
        cursor = Cursor(own.dest_id, own.takes, self.oldest, home, own.bell, saved)
        self.cursors[own.dest_id] = cursor
        return cursor

    def finish(self) -> bool:
        """If our destinations are done here: delete the journal, or leave it to others. Whether it was so."""
        if not all(cursor.finished() for cursor in self.cursors.values()):
            return False
        for cursor in self.cursors.values():
            cursor.save(done=True)
        if not self.foreign and all(self._done(dest_id) for dest_id in self.owed):
            places.remove_tree(self.path)
        self.release()
        return True

    def _done(self, dest_id: str) -> bool:
        position = read_position(os.path.join(self.path, f"{dest_id}.cursor"))
        return dest_id in self.cursors or (position is not None and position.done)

    def discard_oldest(self, reason: str, others: Counter[str]) -> int:
        """Give up the oldest segment; how many bytes that freed. What it held for destinations that are not configured
        here is counted in ``others``."""
        head = self.oldest
        if head.next is None:
            return 0
        for cursor in self.cursors.values():
            cursor.lose(head, reason)
        for dest_id in self.owed:
            if dest_id not in self.cursors:
                others[reason] += left_for(self.path, dest_id, head.first, head.end)
        self.oldest = head.next
        size = head.body.size_bytes
        if head.body.path:
            places.remove(head.body.path)
        return size or self.discard_oldest(reason, others)

    def release(self) -> None:
        """Let go of the lock."""
        places.close(self._lock, self._lock_identity)
        self._lock_identity = None


def left_for(folder: str, dest_id: str, first: int, end: int) -> int:
    """How many of the records from number ``first`` to before ``end`` a destination, as far as it wrote down, has not
    settled."""
    position = read_position(os.path.join(folder, f"{dest_id}.cursor")) or Position()
    still = sum(first <= number < min(end, position.next) for number, _ in position.open)
    return 0 if position.done else max(0, end - max(first, position.next)) + still


def trim(folder: str) -> None:
    """Give the disk back what a dead journal's files hold in advance and never used. The caller owns the journal.

    By copying: to a file that is cut short, whoever still has it mapped could not write without a bus error."""
    for path in segment_paths(folder):
        try:
            filled = places.filled_bytes(path)
            if not filled:
                places.remove(path)
            elif os.stat(path).st_size - filled > _WORTH_TRIMMING_BYTES:
                places.replace_file(path, places.read_file(path, limit_bytes=(filled + 7) & ~7))
        except OSError:
            continue  # a full disk has no room for the copy


def segment_paths(folder: str) -> list[str]:
    """The segment files of a journal."""
    try:
        return sorted(os.path.join(folder, name) for name in os.listdir(folder) if name.endswith(".seg"))
    except OSError:
        return []


def _first_number(path: str) -> int:
    """A segment's first sequence number; 0 when it has none."""
    try:
        head = form.read_header(places.read_file(path, limit_bytes=form.HEADER_BYTES))
        if head is not None and head.first:
            return head.first
        one = read_segment(path)
    except OSError:
        return 0
    return one.first if one is not None else 0


def _chain(found: Iterable[SegmentFile]) -> Segment:
    """A chain that ends in an empty segment, so that every real one is sealed. Of two with the same first number (a
    copy was being made when the process died) the longer one counts."""
    unique = [max(same, key=lambda one: one.end) for _, same in groupby(found, key=lambda one: one.first)]
    bodies = [FileBody(one.path, one.first, (one.size_bytes, one.end, None), one.size_bytes) for one in unique]
    end = bodies[-1].tail[1] if bodies else 1
    bodies.append(FileBody("", end, (0, end, None), 0))
    segments = [Segment(body, 0.0) for body in bodies]
    for segment, following in pairwise(segments):
        segment.next = following
    return segments[0]
