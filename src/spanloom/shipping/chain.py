"""The chain of a journal's segments: which there are, and how the oldest are deleted.

Promise: a segment goes when every destination has settled it, or is given up and what was not settled is counted by
reason. Only sealed segments are deleted, oldest first, by one thread at a time.
"""

from __future__ import annotations

import time
from _thread import LockType
from typing import TYPE_CHECKING

from . import places
from .bodies import HeapBody, Segment
from .cursor import Cursor
from .reasons import Reasons
from .volume import Volume

if TYPE_CHECKING:
    from .adoption import Adoptions
    from .keeper import Keeper


class Chain:
    """The segments of one journal, for `journal.Journal`, which sets these."""

    oldest: Segment
    active: Segment
    lanes: dict[str, Cursor]
    owed: tuple[str, ...] | None
    volume: Volume | None
    retiring: LockType
    keeper: Keeper
    adoptions: Adoptions
    _refused: Reasons

    def segments(self) -> list[Segment]:
        """The chain as it is now, oldest first."""
        found = [self.oldest]
        while (following := found[-1].next) is not None:
            found.append(following)
        return found

    def heap_bytes(self) -> int:
        """What is held in memory."""
        return sum(s.body.size_bytes for s in self.segments() if isinstance(s.body, HeapBody))

    def kept_bytes(self) -> int:
        """What our own segments take, on disk or in memory."""
        return sum(s.body.size_bytes for s in self.segments())

    def filled_bytes(self) -> int:
        """What our own segments hold of that."""
        return sum(s.body.tail[0] for s in self.segments())

    def retire(self) -> None:
        """Delete what every destination has settled. For shippers and the keeper, after settling."""
        if not self.retiring.acquire(False):
            return
        try:
            while (head := self.oldest).next is not None and self._settled(head):
                self.discard_oldest()
        finally:
            self.retiring.release()
        self.adoptions.finish()

    def _settled(self, segment: Segment) -> bool:
        if self.owed is None or any(dest_id not in self.lanes for dest_id in self.owed):
            return False
        return all(lane.floor >= segment.end for lane in list(self.lanes.values()))

    def discard_oldest(self) -> None:
        """Delete the oldest segment, after taking note of the runs it leaves open. For the holder of ``retiring``."""
        head = self.oldest
        assert head.next is not None
        if self.volume is not None:
            self.keeper.note_open_runs(head, self.volume)
        self.oldest = head.next
        if head.body.path:
            places.remove(head.body.path)

    def expire(self, age_seconds: float) -> None:
        """Give up sealed segments that were begun longer ago, by the monotonic clock."""
        while self.oldest.next is not None and time.monotonic() - self.oldest.born_seconds > age_seconds:
            if not self.give_up_oldest("expired"):
                return

    def give_up_oldest(self, reason: str) -> int:
        """Delete the oldest sealed segment whether settled or not; what was not is counted. The bytes freed."""
        if not self.retiring.acquire(False):
            return 0
        try:
            while (head := self.oldest).next is not None:
                if not self.lanes:
                    for _ in range(head.end - head.first):
                        self._refused.count(reason)
                for lane in list(self.lanes.values()):
                    lane.lose(head, reason)
                size = head.body.size_bytes
                self.discard_oldest()
                if size:
                    return size
            return 0
        finally:
            self.retiring.release()
