"""The users' own names for runs, as far as this process has used them.

Promise: one dictionary write for a run that is named, a bounded memory of the latest 5,000 to 10,000 names, and no
lock: a race between threads may forget names early, and then feedback goes by its key alone, as from another process.
Must never: guess; a name that is not here is not here.
"""

from __future__ import annotations

_GENERATION = 5_000
"""About 1 MB with keys of 30 characters, both generations full."""


class KeyedRuns:
    """JSON strings (a key as `context` renders it) to the id of the latest run that carries it."""

    __slots__ = ("_older", "_recent")

    def __init__(self) -> None:
        self._recent: dict[str, str] = {}
        self._older: dict[str, str] = {}

    def remember(self, key: str, run_id: str) -> None:
        """This run carries the key."""
        recent = self._recent
        if len(recent) >= _GENERATION and recent is self._recent:
            self._older, self._recent = recent, {}
        self._recent[key] = run_id

    def find(self, key: str) -> str | None:
        """The run that carried the key last, or None when that is not known here."""
        return self._recent.get(key) or self._older.get(key)
