"""Adoption: what a dead process left in its journal is delivered by the next one.

Promise: a journal has one owner at any moment, decided by its lock and never by a guess; a living owner is never
robbed, also when it is stopped, nor when a sweep of descriptors lost it the lock; nothing of a dead journal is deleted
before every destination that it was for has settled it. Bounded work per scan. Never raises.

Theory of operation. A scan lists the journals' directory, oldest first, and passes over what is not for our
destinations (``destinations.json``; absent: for anyone's). Whoever gets the lock on a fresh descriptor of
``owner.lock``, and finds that the path still leads to that file, owns the journal until it closes the descriptor or
dies. It reads every segment once, over damage, closes the runs that were left open with an extra segment (once: the
segment is marked), and puts one `Cursor` per destination over the chain, going on from the positions saved there. When
all its owed destinations are done the directory is deleted; when only ours are, it is left for others, and remembered.
"""

from __future__ import annotations

import os
import re
import time
from _thread import allocate_lock
from collections import Counter
from collections.abc import Iterable
from itertools import groupby, pairwise
from typing import NamedTuple

import msgspec

from . import places
from . import segment as form
from .bodies import FileBody, Segment
from .cursor import Cursor, Home, Position, read_position
from .lanes import Entry, LaneCounts
from .open_runs import OpenRuns, timestamp_of
from .parts import Shared
from .volume import DESTINATIONS, DRAFT_PREFIX, LOCK, OPEN_RUNS, owed_by, quarantine

_TRIES_PER_SCAN = 100
_SCAN_SECONDS = 60.0
_DRAFT_SECONDS = 3600.0
JOURNAL_NAME = re.compile(r"\d{8}T\d{6,12}-\d+-[0-9a-f]+")


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
    for frame in form.walk(data, at, 1):
        damaged += frame.end - form.frame_size(len(frame.payload)) - at
        at, last = frame.end, frame.sequence
        first = first or frame.sequence
        if runs is not None:
            runs.feed(frame.payload)
            stamp = timestamp_of(frame.payload)
            runs.last_timestamp = max(runs.last_timestamp, stamp or "")
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

    def discard_oldest(self, reason: str) -> int:
        """Give up the oldest segment; how many bytes that freed."""
        head = self.oldest
        if head.next is None:
            return 0
        for cursor in self.cursors.values():
            cursor.lose(head, reason)
        self.oldest = head.next
        size = head.body.size_bytes
        if head.body.path:
            places.remove(head.body.path)
        return size or self.discard_oldest(reason)

    def release(self) -> None:
        """Let go of the lock."""
        places.close(self._lock, self._lock_identity)
        self._lock_identity = None


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


class AdoptedLane:
    """A `lanes.Lane` over all journals adopted for one destination, oldest first."""

    def __init__(self, own: Cursor) -> None:
        self.own = own
        self.cursors: list[Cursor] = []
        self._past = LaneCounts()

    def take(self, max_events: int, max_bytes: int) -> list[Entry]:
        """See `lanes.Lane.take`."""
        for cursor in list(self.cursors):
            if entries := cursor.take(max_events, max_bytes):
                return entries
        return []

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

    def counts(self) -> LaneCounts:
        """See `lanes.Lane.counts`."""
        return _sum([self._past, *(cursor.counts() for cursor in list(self.cursors))])

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


class Adoptions:
    """All journals that this process has adopted, and the second lanes over them."""

    def __init__(self, journal: Shared) -> None:
        self._journal = journal
        self._begin()

    def _begin(self) -> None:
        self.lanes: dict[str, AdoptedLane] = {}
        self.journals: list[DeadJournal] = []
        self.asked = False
        self.damaged_bytes = 0
        self.purged: Counter[str] = Counter()
        self._passed: set[str] = set()
        self._busy = allocate_lock()
        self._next_seconds = 0.0

    def reset_in_child(self) -> None:
        """After a fork: the adopted journals are the parent's; the lanes stay, empty."""
        lanes, journals = self.lanes, self.journals
        self._begin()
        self.lanes = lanes
        for lane in lanes.values():
            lane.forget()
        for journal in journals:
            journal.release()

    def lane(self, own: Cursor) -> AdoptedLane:
        """The second lane of a destination."""
        lane = self.lanes.get(own.dest_id)
        if lane is None:
            lane = self.lanes[own.dest_id] = AdoptedLane(own)
            self._passed.clear()
            for dead in list(self.journals):
                if own.dest_id in dead.owed:
                    lane.cursors.append(dead.cursor(own))
        return lane

    def ask(self) -> None:
        """Have the keeper scan, unless it did within the last minute."""
        if self._journal.root and not self.asked and time.monotonic() >= self._next_seconds:
            self.asked = True
            self._journal.keeper.hurry()

    def scan_if_asked(self) -> None:
        """For the keeper."""
        if self.asked:
            self.asked = False
            self.scan()

    def scan(self) -> int:
        """Take over what dead processes left; how many journals that were. At most one scan at a time."""
        if not self._journal.root or not self.lanes or not self._busy.acquire(False):
            return 0
        try:
            self._next_seconds = time.monotonic() + _SCAN_SECONDS
            adopted = 0
            for name in self._candidates():
                dead = self._try(name)
                if dead is not None:
                    adopted += 1
                    self._take_in(dead)
            return adopted
        finally:
            self._busy.release()

    def _candidates(self) -> list[str]:
        journal = self._journal
        known = self._passed | {dead.name for dead in self.journals}
        if journal.volume is not None:
            known.add(journal.volume.name)
        try:
            names = os.listdir(journal.root)
        except OSError:
            return []
        for name in [name for name in names if name.startswith(DRAFT_PREFIX)][:_TRIES_PER_SCAN]:
            _clear_draft(os.path.join(journal.root, name))
        wanted = sorted(name for name in names if JOURNAL_NAME.fullmatch(name) and name not in known)
        return wanted[:_TRIES_PER_SCAN]

    def _try(self, name: str) -> DeadJournal | None:
        """Own one journal, if it is dead, ours to deliver, and nobody else was quicker."""
        root = self._journal.root
        path = os.path.join(root, name)
        owed = owed_by(path)
        if owed is not None and not any(dest_id in self.lanes for dest_id in owed):
            self._passed.add(name)
            return None
        lock = -1
        try:
            places.check_private(path)
            lock = places.open_to_read(os.path.join(path, LOCK), write=True)
            if may_own(path, lock):
                dead = DeadJournal(root, name, lock, tuple(self.lanes))
                lock = -1
                return dead
        except FileNotFoundError:
            if not segment_paths(path):
                places.remove_tree(path)  # someone died while deleting it
        except OSError:
            pass  # not ours, or gone meanwhile
        finally:
            if lock >= 0:
                os.close(lock)
        return None

    def _take_in(self, dead: DeadJournal) -> None:
        self.damaged_bytes += dead.damaged_bytes
        if owed_by(dead.path) is None:
            _write_owed(dead)
        for dest_id, lane in list(self.lanes.items()):
            if dest_id in dead.owed:
                lane.cursors.append(dead.cursor(lane.own))
        self.journals.append(dead)
        if not self._finish_one(dead):
            for cursor in dead.cursors.values():
                cursor.bell.ring()

    def finish(self) -> None:
        """Delete or leave what is done."""
        for dead in list(self.journals):
            self._finish_one(dead)

    def _finish_one(self, dead: DeadJournal) -> bool:
        if dead not in self.journals or any(cursor.ready() for cursor in dead.cursors.values()):
            return False
        if not dead.finish():
            return False
        for dest_id, cursor in dead.cursors.items():
            self.lanes[dest_id].part(cursor)
        self._passed.add(dead.name)
        self.journals.remove(dead)
        return True

    def discard_oldest(self, reason: str) -> int:
        """Give up the oldest segment of the oldest adopted journal; the bytes freed."""
        for dead in list(self.journals):
            if freed := dead.discard_oldest(reason):
                return freed
        return 0

    def discard_stranger(self, reason: str, *, age_seconds: float = 0.0) -> int:
        """Delete the oldest dead journal that nobody here delivers and that has not changed for ``age_seconds``; the
        bytes freed. Its records are counted in ``purged``."""
        root = self._journal.root
        ours = {dead.name for dead in self.journals}
        try:
            names = sorted(name for name in os.listdir(root) if JOURNAL_NAME.fullmatch(name) and name not in ours)
        except OSError:
            return 0
        for name in names[:_TRIES_PER_SCAN]:
            path = os.path.join(root, name)
            if _unchanged_seconds(path) >= age_seconds and (freed := self._purge(path, reason)):
                return freed
        return 0

    def _purge(self, path: str, reason: str) -> int:
        lock = -1
        try:
            places.check_private(path)
            lock = places.open_to_read(os.path.join(path, LOCK), write=True)
            if not may_own(path, lock):
                return 0
            found = [one for segment in segment_paths(path) if (one := read_segment(segment)) is not None]
            size = sum(one.size_bytes for one in found)
            if places.remove_tree(path):
                self.purged[reason] += sum(one.end - one.first for one in found)
                return max(1, size)
        except OSError:
            pass
        finally:
            if lock >= 0:
                os.close(lock)
        return 0

    def release(self) -> None:
        """At the end: what is not finished is the next process's."""
        for dead in list(self.journals):
            if not self._finish_one(dead):
                for cursor in dead.cursors.values():
                    cursor.save()
                dead.release()
        self.journals.clear()


def may_own(path: str, lock: int) -> bool:
    """Whether a journal is ours from now on, by the lock on this freshly opened descriptor of its lock file."""
    if not places.try_lock(lock):
        return False
    if places.identity_at(os.path.join(path, LOCK)) != places.identity(lock):
        return False
    os.lseek(lock, 0, os.SEEK_SET)
    owner = places.read_owner(os.read(lock, 4096))
    return owner is None or not owner.alive_elsewhere()


def _write_owed(dead: DeadJournal) -> None:
    try:
        places.replace_file(os.path.join(dead.path, DESTINATIONS), msgspec.json.encode(dead.owed))
    except OSError:
        pass


def _unchanged_seconds(folder: str) -> float:
    """How long nothing in a journal has changed."""
    paths = [folder, *segment_paths(folder)]
    return min((age for path in paths if (age := places.unchanged_seconds(path)) is not None), default=0.0)


def _clear_draft(path: str) -> None:
    """A directory that a process was making when it died."""
    unchanged = places.unchanged_seconds(path)
    if unchanged is not None and unchanged > _DRAFT_SECONDS:
        places.remove_tree(path)
