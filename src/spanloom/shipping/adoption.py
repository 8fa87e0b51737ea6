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
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec

from ..native import allocate_lock
from . import places
from .adopted_lane import AdoptedLane
from .cursor import Cursor
from .dead_journal import DeadJournal, left_for, read_segment, segment_paths, trim
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
        self.given_up: Counter[str] = Counter()
        self._passed: set[str] = set()
        self._busy = allocate_lock()
        self._next_seconds = 0.0
        self._tried: set[str] = set()

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
            adopted = 0
            for name in self._next_candidates():
                dead = self._try(name)
                if dead is not None:
                    adopted += 1
                    self._take_in(dead)
            return adopted
        finally:
            self._busy.release()

    def _next_candidates(self) -> list[str]:
        """So many as one scan may try, oldest first. Where there are more, the next scan may come at once and goes on
        behind them: a host with a hundred living workers has its dead ones behind those."""
        wanted = [name for name in self._candidates() if name not in self._tried]
        names = wanted[:_TRIES_PER_SCAN]
        if len(wanted) > len(names):
            self._tried.update(names)
            self._next_seconds = 0.0
        else:
            self._tried.clear()
            self._next_seconds = time.monotonic() + _SCAN_SECONDS
        return names

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
        return sorted(name for name in names if JOURNAL_NAME.fullmatch(name) and name not in known)

    def _try(self, name: str) -> DeadJournal | None:
        """Own one journal, if it is dead, ours to deliver, and nobody else was quicker."""
        root = self._journal.root
        path = os.path.join(root, name)
        if not self._is_for_us(path):
            self._passed.add(name)
            return None
        lock = _own(path)
        if lock < 0:
            return None
        try:
            return DeadJournal(root, name, lock, tuple(self.lanes))
        except OSError:
            os.close(lock)  # gone meanwhile
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

    def trim(self) -> None:
        """Give the disk back what dead journals hold in advance and never used."""
        ours = {dead.name for dead in self.journals}
        for name in self._names():
            if name not in ours:
                with _owning(os.path.join(self._journal.root, name)) as mine:
                    if mine:
                        trim(os.path.join(self._journal.root, name))

    def give_up(self, reason: str, *, age_seconds: float = 0.0) -> Iterator[int]:
        """Give up what dead processes left and nothing has changed for ``age_seconds``: oldest first, a segment at a
        time, as long as the caller asks for more; each time the bytes that it freed. What is for a destination of ours
        is adopted first and counted there as dropped; the records of others are counted in ``given_up``."""
        if not self._busy.acquire(False):
            return
        try:
            for name in self._names():
                if _unchanged_seconds(os.path.join(self._journal.root, name)) >= age_seconds:
                    yield from self._given_up_of(name, reason)
        finally:
            self._busy.release()

    def _given_up_of(self, name: str, reason: str) -> Iterator[int]:
        path = os.path.join(self._journal.root, name)
        dead = next((each for each in self.journals if each.name == name), None)
        if dead is None and self._is_for_us(path):
            dead = self._try(name)
            if dead is None:
                return
            self._take_in(dead)
        if dead not in self.journals:  # for others only, or what was ours there is done
            yield from self._purge(path, reason)
            return
        while freed := dead.discard_oldest(reason, self.given_up):
            self._finish_one(dead)
            yield freed

    def _is_for_us(self, path: str) -> bool:
        owed = owed_by(path)
        return owed is None or any(dest_id in self.lanes for dest_id in owed)

    def _names(self) -> list[str]:
        """All journals but this process's own, oldest first."""
        own = self._journal.volume
        try:
            names = sorted(name for name in os.listdir(self._journal.root) if JOURNAL_NAME.fullmatch(name))
        except OSError:
            return []
        return [name for name in names if own is None or name != own.name]

    def _purge(self, path: str, reason: str) -> Iterator[int]:
        with _owning(path) as mine:
            if not mine:
                return
            try:
                found = [one for segment in segment_paths(path) if (one := read_segment(segment)) is not None]
            except OSError:
                return
            left = sum(left_for(path, dest_id, one.first, one.end) for one in found for dest_id in owed_by(path) or ())
            if places.remove_tree(path):
                self.given_up[reason] += left
                yield max(1, sum(one.size_bytes for one in found))

    def release(self) -> None:
        """At the end: what is not finished is the next process's."""
        for dead in list(self.journals):
            if not self._finish_one(dead):
                for cursor in dead.cursors.values():
                    cursor.save()
                dead.release()
        self.journals.clear()


def _own(path: str) -> int:
    """The descriptor of a dead journal's lock, which makes it ours until it is closed; -1 when it is not to be had."""
    lock, mine = -1, False
    try:
        places.check_private(path)
        lock = places.open_to_read(os.path.join(path, LOCK), write=True)
        mine = may_own(path, lock)
    except FileNotFoundError:
        if not segment_paths(path):
            places.remove_tree(path)  # someone died while deleting it
    except OSError:
        pass  # not ours, or gone meanwhile
    if lock >= 0 and not mine:
        os.close(lock)
    return lock if mine else -1


@contextmanager
def _owning(path: str) -> Iterator[bool]:
    """Own a dead journal for the block; whether it was to be had."""
    lock = _own(path)
    try:
        yield lock >= 0
    finally:
        if lock >= 0:
            os.close(lock)


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
    """How long no record has come to a journal (what is settled of it may be written down every day)."""
    paths = segment_paths(folder) or [folder]
    return min((age for path in paths if (age := places.unchanged_seconds(path)) is not None), default=0.0)


def _clear_draft(path: str) -> None:
    """A directory that a process was making when it died."""
    unchanged = places.unchanged_seconds(path)
    if unchanged is not None and unchanged > _DRAFT_SECONDS:
        places.remove_tree(path)
