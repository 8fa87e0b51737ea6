"""The live tail: server-sent events that say which traces changed.

Theory of operation. One task for each project looks at the store twice a second while anyone listens, and puts what
changed into a short ring. A listener holds a number, its place in the ring, and no queue: one that reads slowly misses
entries and is told only that something changed. Streams end by themselves after STREAM_SECONDS and the browser comes
back, so that a server which is stopping is not held up.

Promises: memory does not grow with listeners that do not read; the store is asked on a worker thread. Must never send
content: an event names trace ids, and the page asks for what it shows.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

import anyio.to_thread
import msgspec

from ..errors import StoreError
from ..store import Reader, views

STREAM_SECONDS = 300.0
MOST_LISTENERS = 200
_LOOK_SECONDS = 0.5
_QUIET_SECONDS = 10.0  # a comment line, so that a listener that went away is noticed
_RING = 64


@dataclass(slots=True)
class _Tail:
    """What is known of one project's changes: the last of them are ``ring``, ``count`` were there in all. ``since_us``
    is None until the store was first looked at."""

    since_us: int | None = None
    ring: list[list[str]] = field(default_factory=list)
    count: int = 0
    listeners: int = 0
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None


class Live:
    """The tails of all projects of one store. ``stopping`` says that the server wants to end."""

    def __init__(self, reader: Reader, stopping: Callable[[], bool]) -> None:
        self._reader = reader
        self._stopping = stopping
        self._tails: dict[str, _Tail] = {}

    @property
    def full(self) -> bool:
        """Whether no more listeners are taken."""
        return sum(tail.listeners for tail in self._tails.values()) >= MOST_LISTENERS

    async def stream(self, project: str, since_us: int | None = None) -> AsyncIterator[bytes]:
        """The events for one listener; first what changed after ``since_us`` (received time), if that is given."""
        tail = self._tails.get(project)
        if tail is None:
            tail = self._tails[project] = _Tail()
        tail.listeners += 1
        if tail.task is None or tail.task.done():
            tail.task = asyncio.create_task(self._watch(project, tail))
        try:
            async for event in self._follow(tail):
                yield event
                if since_us is not None:  # after the greeting: from there on nothing is missed
                    earlier = await self._since(since_us, project)
                    since_us = None
                    if earlier:
                        yield _changed(earlier, missed=False)
        finally:
            tail.listeners -= 1
            if tail.listeners == 0:
                if tail.task is not None:
                    tail.task.cancel()
                self._tails.pop(project, None)

    async def _follow(self, tail: _Tail) -> AsyncIterator[bytes]:
        place, end, quiet_since = tail.count, time.monotonic() + STREAM_SECONDS, time.monotonic()
        while tail.since_us is None and not self._stopping():
            await asyncio.sleep(0.01)
        yield b"retry: 1000\nevent: hello\ndata: {}\n\n"
        while time.monotonic() < end and not self._stopping():
            if tail.count == place:
                try:
                    await asyncio.wait_for(tail.changed.wait(), _LOOK_SECONDS)
                except asyncio.TimeoutError:
                    pass
            if tail.count > place:
                missed = tail.count - place > len(tail.ring)
                news = tail.ring[-(tail.count - place) :]
                place, quiet_since = tail.count, time.monotonic()
                traces = list(dict.fromkeys(trace for ids in news for trace in ids))
                yield _changed(traces, missed=missed)
            elif time.monotonic() - quiet_since > _QUIET_SECONDS:
                quiet_since = time.monotonic()
                yield b": quiet\n\n"

    async def _watch(self, project: str, tail: _Tail) -> None:
        tail.since_us = await anyio.to_thread.run_sync(self._now_us)
        while not self._stopping():
            await asyncio.sleep(_LOOK_SECONDS)
            try:
                since_us, traces = await anyio.to_thread.run_sync(self._look, tail.since_us, project)
            except StoreError:  # busy, or set aside and made anew: look again
                continue
            tail.since_us = since_us
            if traces:
                tail.ring = [*tail.ring, traces][-_RING:]
                tail.count += 1
                changed, tail.changed = tail.changed, asyncio.Event()
                changed.set()

    async def _since(self, since_us: int, project: str) -> list[str]:
        try:
            return (await anyio.to_thread.run_sync(self._look, since_us, project))[1]
        except StoreError:
            return []

    def _look(self, since_us: int, project: str) -> tuple[int, list[str]]:
        return views.touched_since(self._reader, since_us, project=project)

    def _now_us(self) -> int:
        try:
            return views.last_touch(self._reader)
        except StoreError:
            return 0


def _changed(traces: list[str], *, missed: bool) -> bytes:
    return b"event: changed\ndata: " + msgspec.json.encode({"traces": traces, "missed": missed}) + b"\n\n"
