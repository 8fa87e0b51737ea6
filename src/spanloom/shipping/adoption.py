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
from collections import Counter

import msgspec

from ..native import allocate_lock
from . import places
from .adopted_lane import AdoptedLane
from .cursor import Cursor
from .dead_journal import DeadJournal, read_segment, segment_paths
from .parts import Shared
from .volume import DESTINATIONS, DRAFT_PREFIX, LOCK, owed_by

_TRIES_PER_SCAN = 100
_SCAN_SECONDS = 60.0
_DRAFT_SECONDS = 3600.0
JOURNAL_NAME = re.compile(r"\d{8}T\d{6,12}-\d+-[0-9a-f]+")


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

    def scan_before_end(self, timeout_seconds: float) -> None:
        """For a shipper whose process is leaving and whose endpoint takes records: a program that never lives longer
        than its first request would otherwise never deliver what its predecessors left. At most once a minute."""
        if not self._busy.acquire(timeout=max(0.0, timeout_seconds)):  # the keeper's scan, begun a moment ago
            return
        self._busy.release()
        if self.asked or time.monotonic() >= self._next_seconds:
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
