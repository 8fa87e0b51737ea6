"""The one writer of a process: many callers, one transaction.

Theory of operation. A caller of `write` puts its batch on a deque and takes the lock. Whoever has the lock commits
everything on the deque in one transaction and hands out the answers; the others find theirs ready when the lock comes
to them. So a commit's fsync is shared by all who came while the last one ran, and no thread of its own is needed.
Between processes SQLite's own lock decides; it is asked for again at short random pauses, for ``busy_seconds``.

Before each transaction the file at the path is compared with the one that is open: a store that was deleted or set
aside by another process is left, and the new one used. A forked child forgets the connection without closing it
(SQLite forbids both use and close there) and opens its own.

Promises: an answer is given after the commit, with ``synchronous=FULL``; a batch is stored whole or not at all; only
`StoreError` is raised. Must never hold the file's lock while it waits for anything else.
"""

from __future__ import annotations

import functools
import logging
import os
import sqlite3
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

from ..errors import SettingsError, StoreError
from ..prices import Prices
from . import hours, prune, search, sweeping
from .apply import Application, Prepared, prepare
from .connection import (
    identity,
    open_writer,
    quarantine,
    quick_check,
    reason_of,
    retry_busy,
    translated,
)
from .reading import Connections
from .values import Incoming, Pruned, Retention, Stored

_MOST_EVENTS = 2000  # in one transaction: about 40 ms of the file's lock
_PRUNE_EVERY_SECONDS = 60.0
_SUM_EVERY_SECONDS = 5.0
_SWEEP_BYTES = 8 << 20  # of records: a log of about 25 MB
_LONGEST_LOG_PAGES = 16_000  # 128 MB: then a commit carries it after all, should the thread not come to it
_SUM_SECONDS = 60.0  # for an hour's figures: some millions of runs
_GIVE_WAY_SECONDS = 0.02  # to writers: a lock that is taken again at once is never theirs

PRICES_FILE = "prices.json"
"""The name of a file beside the store whose prices are used before the bundled ones (see `prices`)."""

_log = logging.getLogger("spanloom")
_T = TypeVar("_T")


@dataclass(slots=True, eq=False)
class _Ticket:
    """One caller's batch, until when (monotonic seconds) its caller waits, and, once it is committed, the answer."""

    items: list[Prepared]
    deadline: float
    answer: list[Stored] | None = None


class Store:
    """A store that can be written.

    ``retention``: what `prune` keeps, and write itself prunes by it once a minute (None: keep everything).
    ``on_corrupt``: "quarantine" sets a corrupt file aside and begins a new one; "refuse" raises StoreError.
    ``check_seconds``: how long to look for corruption at opening (0: not at all). ``busy_seconds``: how long to wait
    for other processes. ``background``: keep a thread that fills the search index and prunes behind the commits.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        retention: Retention | None = None,
        on_corrupt: Literal["quarantine", "refuse"] = "quarantine",
        check_seconds: float = 0.0,
        busy_seconds: float = 10.0,
        background: bool = False,
    ) -> None:
        self.path = Path(path).expanduser().absolute()
        self.retention = retention
        self.set_aside: list[Path] = []
        self._on_corrupt = on_corrupt
        self._check_seconds = check_seconds
        self._busy_seconds = busy_seconds
        self._background = background
        # Received times follow the clock as it stood at opening, so that no later step of it can age what is here.
        self._clock_us = time.time_ns() // 1000 - time.monotonic_ns() // 1000
        self._prices: Prices | None = None
        self._summing = Connections(self.path, _SUM_SECONDS)
        self._closed = False
        self._forget()
        _stores.add(self)

    def _forget(self) -> None:
        """Begin anew, as in a forked child."""
        self._lock = threading.Lock()
        self._waiting: deque[_Ticket] = deque()
        self._connection: sqlite3.Connection | None = None
        self._identity: tuple[int, int] | None = None
        self._projects: dict[str, int] = {}
        self._searchable = False
        self._durable = True
        self._unswept_bytes = 0
        self._next_prune = time.monotonic() + _PRUNE_EVERY_SECONDS
        self._next_sum = 0.0
        self._work = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def open(self) -> Store:
        """Open the file now, so that what is wrong with it is known now. Raises StoreError."""
        with self._lock:
            self._ready()
            self._tend_if_due()
        return self

    def write(self, batch: Sequence[Incoming], *, timeout_seconds: float | None = None) -> list[Stored]:
        """Commit a batch; what became of each record, in order. Raises StoreError when nothing was stored.

        ``timeout_seconds`` bounds the wait for other threads and processes (default: ``busy_seconds``).
        """
        if not batch:
            return []
        patience = self._busy_seconds if timeout_seconds is None else max(0.0, timeout_seconds)
        ticket = _Ticket([prepare(incoming) for incoming in batch], time.monotonic() + patience)
        self._waiting.append(ticket)
        try:
            if not self._lock.acquire(timeout=patience):
                raise StoreError(f"the store {self.path} is busy: try again", reason="busy")
            try:
                while ticket.answer is None:
                    self._commit(ticket)
                self._tend_if_due()
            finally:
                self._lock.release()
        except BaseException:
            with suppress(ValueError):
                self._waiting.remove(ticket)
            raise
        return ticket.answer

    def _commit(self, own: _Ticket) -> None:
        """Commit what waits, the own batch among it. When that fails the others are left to their own callers, and the
        own batch is tried alone, so that nobody suffers for another's patience or content."""
        tickets = self._next_tickets()
        try:
            answers = self._transact([ticket.items for ticket in tickets], own.deadline)
        except BaseException as error:
            self._waiting.extend(ticket for ticket in tickets if ticket is not own)
            if own not in tickets:
                return
            if len(tickets) == 1 or not isinstance(error, Exception):
                raise
            tickets, answers = [own], self._transact([own.items], own.deadline)
        for ticket, answer in zip(tickets, answers, strict=True):
            ticket.answer = answer

    def _next_tickets(self) -> list[_Ticket]:
        tickets = [self._waiting.popleft()]
        size = len(tickets[0].items)
        while self._waiting and size + len(self._waiting[0].items) <= _MOST_EVENTS:
            tickets.append(self._waiting.popleft())
            size += len(tickets[-1].items)
        return tickets

    def _transact(self, batches: list[list[Prepared]], deadline: float) -> list[list[Stored]]:
        with translated(self.path):
            try:
                return self._apply(batches, deadline)
            except sqlite3.DatabaseError as error:
                if reason_of(error) != "corrupt" or self._on_corrupt == "refuse":
                    raise
                self._set_aside()
                return self._apply(batches, deadline)

    def _apply(self, batches: list[list[Prepared]], deadline: float) -> list[list[Stored]]:
        made: dict[str, int] = {}

        def store_all(connection: sqlite3.Connection) -> list[list[Stored]]:
            work = Application(connection, self._projects, made, self._now_us(), self._priced())
            answers = [[work.take(item) for item in items] for items in batches]
            work.finish()
            return answers

        answers = self._in_transaction(store_all, deadline - time.monotonic())
        self._projects.update(made)  # only now are they sure to exist
        self._unswept_bytes += sum(len(item.payload) for items in batches for item in items)
        return answers

    def _priced(self) -> Prices:
        if self._prices is None:
            try:
                self._prices = Prices.with_overrides(self.path.with_name(PRICES_FILE))
            except SettingsError as error:
                _log.warning("%s; the prices that come with Spanloom are used", error)
                self._prices = Prices.bundled()
        return self._prices

    def _ready(self) -> sqlite3.Connection:
        """The connection to the file that is at the path now."""
        if self._closed:
            raise StoreError(f"the store {self.path} is closed: open another Store", reason="closed")
        if self._connection is not None and identity(self.path) == self._identity:
            return self._connection
        self._close_connection()
        connection = self._open_or_quarantine()
        self._connection, self._identity, self._projects, self._durable = connection, identity(self.path), {}, True
        with translated(self.path):
            self._searchable = retry_busy(lambda: search.prepare(connection), self._busy_seconds)
            if self._background:
                connection.execute(f"pragma wal_autocheckpoint = {_LONGEST_LOG_PAGES}")
        return connection

    def _open_or_quarantine(self) -> sqlite3.Connection:
        try:
            connection = open_writer(self.path, busy_seconds=self._busy_seconds)
        except StoreError as error:
            if error.reason != "corrupt" or self._on_corrupt == "refuse":
                raise
        else:
            if self._check_seconds <= 0 or quick_check(connection, self._check_seconds):
                return connection
            connection.close()
            if self._on_corrupt == "refuse":
                raise StoreError(f"the store {self.path} is corrupt: move it away to begin anew", reason="corrupt")
        self._set_aside()
        return open_writer(self.path, busy_seconds=self._busy_seconds)

    def _set_aside(self) -> None:
        broken = self._identity if self._connection is not None else identity(self.path)
        self._close_connection()
        with translated(self.path):
            self.set_aside += quarantine(self.path, broken)

    def _close_connection(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(sqlite3.Error):
                connection.close()

    def _now_us(self) -> int:
        return time.monotonic_ns() // 1000 + self._clock_us

    # Behind the commits

    def _tend_if_due(self) -> None:
        """After a commit: wake the thread, or, without one, prune a little once a minute."""
        if self._background:
            if self._thread is None:
                self._thread = threading.Thread(target=self._tend, name="spanloom-store", daemon=True)
                self._thread.start()
            self._work.set()
        elif self.retention is not None and time.monotonic() >= self._next_prune and self._connection is not None:
            with suppress(StoreError):  # the batch is stored; pruning can wait
                step, free_pages = self._prune_step(self.retention)
                more = step.runs or step.events or free_pages
                self._next_prune = time.monotonic() + (1.0 if more else _PRUNE_EVERY_SECONDS)

    def _tend(self) -> None:
        while not self._closed:
            self._work.wait(_PRUNE_EVERY_SECONDS if self.retention else None)
            self._work.clear()
            try:
                self._sweep_if_due()
                while not self._closed and self._index_step():
                    self._sweep_if_due()
                    time.sleep(_GIVE_WAY_SECONDS if self._waiting else 0.001)
                if self.retention is not None and time.monotonic() >= self._next_prune:
                    self._next_prune = time.monotonic() + _PRUNE_EVERY_SECONDS
                    self.prune()
                if time.monotonic() >= self._next_sum:
                    if self._sum_step():
                        self._work.set()  # once more round: there may be more hours
                        time.sleep(_GIVE_WAY_SECONDS if self._waiting else 0.001)
                    else:
                        self._next_sum = time.monotonic() + _SUM_EVERY_SECONDS
            except StoreError as error:
                if error.reason == "closed":
                    return
                _log.warning("the store's search index and pruning wait: %s", error)
                time.sleep(1.0)

    def _sweep_if_due(self) -> None:
        if self._unswept_bytes < _SWEEP_BYTES:
            return
        self._unswept_bytes = 0
        try:
            sweeping.carry(self.path)
            with self._lock:
                sweeping.finish(self._ready())
        except sqlite3.Error as error:  # it stays in the log, and a commit carries it in the end
            _log.debug("the log of %s was not carried into it: %s", self.path, error)

    def index_pending(self, seconds: float = 10.0) -> int:
        """Fill the search index for at most about this long; returns how many runs are still to be done.

        0 as well when this SQLite has no FTS5. Raises StoreError.
        """
        deadline = time.monotonic() + seconds
        while self._index_step() and time.monotonic() < deadline:
            time.sleep(0)  # let a waiting writer have the lock
        with self._lock, translated(self.path):
            connection = self._ready()
            return search.lag(connection) if self._searchable else 0

    def _index_step(self) -> bool:
        """Whether there may be more to index."""
        with self._lock, translated(self.path):
            self._ready()
            return self._searchable and self._in_transaction(search.index_step, self._busy_seconds, durable=False)

    def sum_pending(self) -> None:
        """Sum up the hours that are over and were left alone for a minute (`figures`). Raises StoreError."""
        while self._sum_step():
            time.sleep(0)

    def _sum_step(self) -> bool:
        """Sum up one such hour; whether there was one. It is added up without the lock, and written in steps."""
        if self._closed:
            return False
        with self._lock:
            self._ready()
        with self._summing.snapshot() as connection:
            sums = hours.sum_hour(connection, self._now_us())
        at: int | None = None if sums is None else 0
        while sums is not None and at is not None:
            with self._lock, translated(self.path):
                at = self._in_transaction(
                    functools.partial(hours.keep, sums=sums, at=at), self._busy_seconds, durable=False
                )
            time.sleep(0)
        return sums is not None

    def prune(self, retention: Retention | None = None) -> Pruned:
        """Remove what ``retention`` (or the store's own) does not keep, in small steps. Raises StoreError."""
        keep = retention or self.retention or Retention()
        runs = events = 0
        while True:
            began = time.monotonic()
            with self._lock:
                step, free_pages = self._prune_step(keep)
            runs, events = runs + step.runs, events + step.events
            if not step.runs and not step.events and not free_pages:
                return Pruned(runs, events, step.size_bytes)
            # Two thirds of the time belong to others: other processes ask for the file's lock only now and then.
            time.sleep(max(0.001, 2 * (time.monotonic() - began)))

    def _prune_step(self, keep: Retention) -> tuple[Pruned, int]:
        """What one step removed, and how many pages are still to be given back to the disk."""
        with translated(self.path):
            self._ready()
            now_us, searchable = self._now_us(), self._searchable
            step = self._in_transaction(
                lambda connection: prune.step(connection, keep, now_us, searchable), self._busy_seconds, durable=False
            )
            return step, retry_busy(lambda: prune.give_back(self._ready()), self._busy_seconds)

    def _in_transaction(
        self, action: Callable[[sqlite3.Connection], _T], patience_seconds: float, *, durable: bool = True
    ) -> _T:
        """``durable=False`` is for what can be done again: the next commit's fsync takes it along, in order."""
        connection = self._ready()
        if durable != self._durable:
            connection.execute(f"pragma synchronous = {'full' if durable else 'normal'}")
            self._durable = durable
        retry_busy(lambda: connection.execute("begin immediate"), patience_seconds)
        try:
            result = action(connection)
            connection.execute("commit")
        except BaseException:
            with suppress(sqlite3.Error):
                connection.execute("rollback")
            raise
        return result

    def close(self) -> None:
        """Close the file; idempotent. Later calls raise StoreError ("closed")."""
        with self._lock:
            self._closed = True
            self._work.set()
            self._summing.close()  # first: who closes last carries the log into the file, and a reader cannot
            self._close_connection()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout=5.0)


_stores: weakref.WeakSet[Store] = weakref.WeakSet()
_left_behind: list[sqlite3.Connection] = []


def _after_fork_in_child() -> None:
    for store in list(_stores):
        if store._connection is not None:
            _left_behind.append(store._connection)
        store._forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
