"""The embedded store as a destination: what runs go to when nobody has configured anything.

Promise: a delivered record is committed to disk. The store (and SQLite with it) is imported by the shipper's thread
at the first delivery, never with ``import spanloom``.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import SettingsError, WireError
from ..records import AnyRecord, decode, decode_batch
from ..settings import from_env
from ..shipping.destination import BatchPolicy, destination_id
from ..shipping.importing import import_unseen
from ..wire import DELIVERED, DUPLICATE, Verdict

if TYPE_CHECKING:
    from ..store import Store


@dataclass(frozen=True)
class Local:
    """The embedded store. ``path`` (text or Path): the SQLite file; by default ``local.db`` under ``SPANLOOM_HOME``.

    It prunes itself to ``max_bytes`` of file and runs of the last ``max_age_days``. Takes every kind of record.
    """

    path: str | Path | None = None
    max_bytes: int = 1 << 30
    max_age_days: float = 30.0

    @property
    def problems(self) -> tuple[str, ...]:
        """Sentences about what is allowed and probably not meant: none."""
        return ()

    def build(self) -> LocalDestination:
        """The destination as the shipper drives it. Raises SettingsError naming the value and the cure."""
        if self.path is not None and not isinstance(self.path, (str, Path)):
            raise SettingsError(f"Local(path={self.path!r}): give a file's path, or None for the default")
        for name, value in (("max_bytes", self.max_bytes), ("max_age_days", self.max_age_days)):
            if not isinstance(value, (int, float)) or not value > 0:
                raise SettingsError(f"Local({name}={value!r}): give a number above 0")
        path = Path(self.path).expanduser().absolute() if self.path is not None else from_env().local_store_path
        if path is None:
            raise SettingsError("Local(): this user has no home directory: set SPANLOOM_HOME, or give a path")
        return LocalDestination(path, int(self.max_bytes), float(self.max_age_days))


class LocalDestination:
    """A `destination.Destination` that is the store itself; nothing lies between."""

    name = "local"
    policy = BatchPolicy(max_events=500, max_bytes=4 << 20, linger_seconds=0.05)

    def __init__(self, path: Path, max_bytes: int, max_age_days: float) -> None:
        self.path = path
        self.dest_id = destination_id("local", str(path))
        self._max_bytes = max_bytes
        self._max_age_days = max_age_days
        self._store: Store | None = None

    def takes(self, payload: bytes) -> bool:
        """Everything: runs, chats, feedback, usage events, loss reports."""
        return True

    @property
    def answers(self) -> int:
        """Nothing is known of a commit before it is over."""
        return 0

    def prepare(self) -> None:
        """Import the store."""
        self._opened()

    def deliver(self, payloads: Sequence[bytes], deadline: float) -> list[Verdict]:
        """Commit the records in one transaction; a record that cannot be read is rejected by itself."""
        store = self._opened()
        from ..store import Incoming

        read = _read(payloads)
        batch = [Incoming(record) for record in read if record is not None]
        stored = iter(store.write(batch, timeout_seconds=max(0.05, deadline - time.monotonic())))
        return [
            Verdict("rejected", "unreadable") if record is None else DELIVERED if next(stored).new else DUPLICATE
            for record in read
        ]

    def shrink(self, payload: bytes) -> bytes | None:
        """Nothing is too big for it."""
        return None

    def forget(self) -> None:
        """In a forked child: the store sees to its connection itself."""

    def close(self) -> None:
        """Close the store; the next delivery opens it again."""
        store, self._store = self._store, None
        if store is not None:
            store.close()

    def _opened(self) -> Store:
        if self._store is None:
            import_unseen("sqlite3")  # a fork in the middle of these two would hang the child at its own import
            import_unseen("spanloom.store")
            from ..store import Retention, Store

            retention = Retention(max_bytes=self._max_bytes, max_age_seconds=self._max_age_days * 86400.0)
            self._store = Store(self.path, retention=retention)
        return self._store


def _read(payloads: Sequence[bytes]) -> list[AnyRecord | None]:
    """The records, all in one pass of C code; one by one only where one of them cannot be read (it is None)."""
    try:
        return list(decode_batch(list(payloads)))
    except WireError:
        return [_read_one(payload) for payload in payloads]


def _read_one(payload: bytes) -> AnyRecord | None:
    try:
        return decode(payload)
    except WireError:
        return None
