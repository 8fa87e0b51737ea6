"""Where blocking work is done: a few threads for what is written, a few for what is read, one for large bodies.

Theory of operation. Writers wait for the disk together, so eight of them fill a commit; more would only hold more
memory. Readers have threads of their own, so that a store that is locked or full does not keep the pages from being
shown. A body that turns out to be large is put aside and begun again on the one thread for such: what is held of all
others stays below eight times `body.LARGE_BYTES`.

Promises: never more than ``max_waiting`` of each kind wait; the next is refused (503) at once. Must never: run on the
event loop what may block.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import anyio
import anyio.to_thread

from .body import LARGE_BYTES, Limits, Refused, TooLargeHere, work_on

_T = TypeVar("_T")
_WRITERS = 8
_READERS = 8
_MOST_LARGE = 8


class Desk:
    """The threads of one server, and who waits for them."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._limiters: tuple[anyio.CapacityLimiter, ...] | None = None
        self._waiting = [0, 0, 0]

    async def work(self, work: Callable[[str, bytes], _T], encoding: str, body: bytes) -> _T:
        """``work(encoding, body)`` among the writers. Raises Refused (503), and what ``work`` raises."""
        if len(body) <= LARGE_BYTES:
            try:
                return await self._on(0, lambda: work_on(work, encoding, body, alone=False))
            except TooLargeHere:
                pass
        return await self._on(2, lambda: work_on(work, encoding, body, alone=True))

    async def read(self, ask: Callable[[], _T]) -> _T:
        """``ask()`` among the readers. Raises Refused (503), and what ``ask`` raises."""
        return await self._on(1, ask)

    async def _on(self, kind: int, work: Callable[[], _T]) -> _T:
        if self._limiters is None:  # they belong to the loop that first works here
            self._limiters = tuple(anyio.CapacityLimiter(count) for count in (_WRITERS, _READERS, 1))
        most = _MOST_LARGE if kind == 2 else self._limits.max_waiting
        if self._waiting[kind] >= most:
            raise Refused(503, "too many requests are waiting: send it again later")
        self._waiting[kind] += 1
        try:
            return await anyio.to_thread.run_sync(work, limiter=self._limiters[kind])
        finally:
            self._waiting[kind] -= 1
