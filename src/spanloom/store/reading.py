"""Read-only connections, each query with a deadline.

Promises: a query that takes longer than its deadline is ended and raises StoreError ("timeout"); a connection is used
by one thread at a time and never across a fork; a store that was replaced on disk is read anew. Must never write.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .connection import identity, open_reader, translated

_MOST_IDLE = 8
_STEPS_BETWEEN_LOOKS = 20_000  # of SQLite's machine: well under a millisecond

_left_behind: list[sqlite3.Connection] = []


class Connections:
    """A few connections to one file, handed out one query at a time."""

    def __init__(self, path: Path, deadline_seconds: float) -> None:
        self.path = path
        self.deadline_seconds = deadline_seconds
        self._idle: deque[tuple[sqlite3.Connection, tuple[int, int] | None, int]] = deque()
        self._pid = os.getpid()

    @contextmanager
    def snapshot(self, deadline_seconds: float | None = None) -> Iterator[sqlite3.Connection]:
        """A connection inside one read transaction: all queries in the block see the same state."""
        seconds = self.deadline_seconds if deadline_seconds is None else deadline_seconds
        connection, opened = self._take()
        sound = False
        try:
            with translated(self.path):
                deadline = time.monotonic() + seconds
                connection.set_progress_handler(lambda: int(time.monotonic() > deadline), _STEPS_BETWEEN_LOOKS)
                connection.execute("begin")
                yield connection
                connection.execute("commit")
                connection.set_progress_handler(None, 0)
                sound = True
        finally:
            if sound and len(self._idle) < _MOST_IDLE:
                self._idle.append((connection, opened, os.getpid()))
            else:
                connection.set_progress_handler(None, 0)
                with suppress(sqlite3.Error):
                    connection.close()

    def _take(self) -> tuple[sqlite3.Connection, tuple[int, int] | None]:
        now = identity(self.path)
        while True:
            try:
                connection, opened, pid = self._idle.pop()
            except IndexError:
                return open_reader(self.path), now
            if pid != os.getpid():
                _left_behind.append(connection)  # the parent's: SQLite forbids even closing it here
            elif opened == now:
                return connection, opened
            else:
                connection.close()

    def close(self) -> None:
        """Close those that are idle; the object stays usable."""
        while self._idle:
            connection, _, pid = self._idle.pop()
            if pid == os.getpid():
                connection.close()
            else:
                _left_behind.append(connection)
