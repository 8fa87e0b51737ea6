"""The bell that wakes a sleeping thread, rung from anywhere: also from signal handlers, finalisers and forks.

Promise: `ring` and `wake` never block and take no lock that a signal handler could find held; an idle thread does not
wake up by itself. `queue.Queue` and `threading.Event` deadlock when a signal handler re-enters them; the C
``SimpleQueue`` does not.

Ringing costs a system call, so an emitter rings only those who said that they sleep (the ``sleepers`` list). A sleeper
enters the list first and looks for work second; an emitter makes work first and looks at the list second; so one of
the two always sees the other.
"""

from __future__ import annotations

import time
from _queue import Empty, SimpleQueue
from collections.abc import Callable
from typing import Protocol

_RING, _WAKE = 0, 1


class Sleeper(Protocol):
    """Whoever an emitter rings: a bell, or someone who has yet to start a thread."""

    def ring(self) -> None:
        """There may be work. Never blocks."""
        ...


class Bell:
    """One sleeper's bell. ``sleepers`` is shared with those who ring."""

    __slots__ = ("_queue", "_sleepers")

    def __init__(self, sleepers: list[Sleeper]) -> None:
        self._sleepers = sleepers
        self._queue: SimpleQueue[int] = SimpleQueue()

    def renew(self) -> None:
        """Forget everything (in a forked child)."""
        self._queue = SimpleQueue()

    def ring(self) -> None:
        """There may be work: ends `wait`, not `rest`."""
        self._queue.put(_RING)

    def wake(self) -> None:
        """Ends `wait` and `rest`."""
        self._queue.put(_WAKE)

    def wait(self, timeout_seconds: float | None, ready: Callable[[], bool]) -> bool:
        """Sleep until ``ready()``, a ring, a wake, or the end of the time (False, unless ready then)."""
        if self._emptied() or ready():
            return True
        self._sleepers.append(self)
        try:
            if ready():
                return True
            self._queue.get(timeout=timeout_seconds)
            return True
        except Empty:
            return ready()
        finally:
            try:
                self._sleepers.remove(self)
            except ValueError:
                pass  # the one who rang took it out

    def rest(self, seconds: float) -> bool:
        """Sleep through rings; True when a wake ended it."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                if self._queue.get(timeout=max(0.0, deadline - time.monotonic())) == _WAKE:
                    return True
            except Empty:
                return False

    def _emptied(self) -> bool:
        """Take out what is in the queue; True when a wake was among it (old rings say nothing new)."""
        woken = False
        while True:
            try:
                woken |= self._queue.get_nowait() == _WAKE
            except Empty:
                return woken


def ring_sleepers(sleepers: list[Sleeper]) -> None:
    """Ring everyone who sleeps, once each; one who lies down again meanwhile is rung by the next emitter."""
    for _ in range(len(sleepers)):
        try:
            sleeper = sleepers.pop(0)
        except IndexError:
            return  # another emitter was quicker
        sleeper.ring()
