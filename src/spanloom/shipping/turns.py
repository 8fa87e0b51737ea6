"""Taking turns at the journal's lock, which an exception may leave locked and a signal handler may find held.

Promise: of the code in ``holders``, one thread at a time holds the current lock; nobody waits longer than some
milliseconds; a lock that was left locked is replaced by the next who wants it.

Theory of operation. Ctrl-C can come out of any line, also between taking the lock and the block that releases it. Such
a lock has no holder: no thread's stack is in one of the ``holders``, except where it merely waits, in `turn_came`. Who
finds that replaces the lock. But a thread may just have got the old one and not have left `turn_came` yet (with many
busy threads it stands there for 20 ms and more), or may have read the old one and be about to take it. So both sides
act first and look second: the one replaces the lock, then looks at the stacks, and takes it back if somebody holds it;
the other takes the lock, leaves `turn_came`, and then asks `is_current`. One of the two always sees the other.
"""

from __future__ import annotations

import sys
from _thread import LockType
from types import CodeType
from typing import ClassVar

from ..native import allocate_lock, get_ident

_TURN_SECONDS = 0.005
_TURNS = 4


class Turns:
    """The lock, for `journal.Journal`. ``_owner`` is the number of the thread that holds it, while it drains."""

    holders: ClassVar[frozenset[CodeType]]
    _lock: LockType
    _healing: LockType
    _owner: int

    def _begin_turns(self) -> None:
        self._lock = allocate_lock()
        self._healing = allocate_lock()
        self._owner = 0

    def turn_came(self) -> LockType | None:
        """Wait a little for the lock, and return it locked; None when the record is left to its holder."""
        me = get_ident()
        lock = self._lock
        for _ in range(_TURNS):
            if self._owner == me and self._someone_holds():  # else an exception kept the owner from signing off
                return None
            if lock.acquire(timeout=_TURN_SECONDS):
                return lock
        return self._replaced(lock) if self._healing.acquire(False) else None

    def is_current(self, lock: LockType) -> bool:
        """Whether a lock just taken is still the journal's; else it is released. For ``holders``, before all else."""
        if lock is self._lock:
            return True
        lock.release()
        return False

    def _replaced(self, lock: LockType) -> LockType | None:
        """A new lock, taken, in the place of one that nobody holds; None when somebody does."""
        try:
            if lock is not self._lock:
                return None
            fresh = allocate_lock()
            fresh.acquire(False)
            self._lock = fresh
            if not self._someone_holds():
                return fresh
            self._lock = lock
            fresh.release()
            return None
        finally:
            self._healing.release()

    def _someone_holds(self) -> bool:
        """Whether any thread is in one of the ``holders``, and not merely waiting there. Walks every stack."""
        waits = Turns.turn_came.__code__
        for frame in list(sys._current_frames().values()):
            below: object = None
            at = frame
            while at is not None:
                if at.f_code in self.holders and below is not waits:
                    return True
                below = at.f_code
                at = at.f_back  # type: ignore[assignment]
        return False
