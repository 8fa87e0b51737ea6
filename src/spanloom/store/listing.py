"""Lists of runs within bounds: newest first for as long as one looks, or sorted among the newest.

Theory of operation. A condition without an index of its own, or two that seldom meet, can make a list look through
every run there is. `Lister.newest` therefore asks for stretches of arrival, from the newest back, each four times as
long as the one before, and stops between two when its time is over: what was found so far is a page, and the next page
goes on where it stopped. A condition with an index passes a million runs in some stretches within a millisecond.

Promises: no run of a stretch that was looked at is left out.
"""

from __future__ import annotations

import sqlite3
import time
from typing import Any

from . import search
from .filters import runs_query
from .values import RunFilter

_FIRST_RUNS = 10_000
_MOST_RUNS = 80_000  # in one stretch: about 30 ms where each is looked at


class Lister:
    """One list's questions on one connection: at most ``limit`` rows of what is ``wanted``."""

    def __init__(self, connection: sqlite3.Connection, wanted: RunFilter, project_id: int, limit: int) -> None:
        self.connection = connection
        self.wanted = wanted
        self.project_id = project_id
        self.limit = limit
        self.searchable = search.available(connection)

    def rows(
        self,
        *,
        order: str = "received",
        descending: bool = True,
        after: int | None = None,
        offset: int = 0,
        beyond: int | None = None,
        limit: int | None = None,
    ) -> list[sqlite3.Row]:
        """The rows, within these bounds (`filters.runs_query`)."""
        query, values = runs_query(
            self.wanted, self.project_id, order=order, descending=descending, after=after,
            limit=self.limit if limit is None else limit, offset=offset, searchable=self.searchable, beyond=beyond,
        )  # fmt: skip
        return self.connection.execute(query, values).fetchall()

    def newest(
        self, after: int | None, seconds: float, stretch: int = _FIRST_RUNS
    ) -> tuple[list[sqlite3.Row], int | None]:
        """Newest first, and the ``after`` to go on from when the time was over before the end. ``stretch``: of how many
        runs the first one is."""
        deadline = time.monotonic() + seconds
        last: Any = self.connection.execute("select max(seq) from runs").fetchone()[0]
        top = (last or 0) + 1 if after is None else min(after, (last or 0) + 1)
        found: list[sqlite3.Row] = []
        while top > 1:
            beyond = max(0, top - 1 - stretch)
            found += self.rows(after=top, beyond=beyond, limit=self.limit - len(found))
            if len(found) >= self.limit:
                return found, None
            top, stretch = beyond + 1, min(4 * stretch, _MOST_RUNS)
            if top > 1 and time.monotonic() > deadline:
                return found, top
        return found, None

    def arrival_us(self, seq: int) -> int | None:
        """When the first run from this place on arrived."""
        query = "select received_us from runs where seq >= ? order by seq limit 1"
        found = self.connection.execute(query, (seq,)).fetchone()
        return int(found[0]) if found else None

    def sorted_among(
        self, order: str, descending: bool, offset: int, among: int
    ) -> tuple[list[sqlite3.Row], int | None]:
        """By this order, and the place in the order of arrival beyond which was looked, None for everything."""
        newest = self.rows(limit=1)
        beyond = newest[0]["seq"] - among if newest else 0
        if beyond <= 0:
            return self.rows(order=order, descending=descending, offset=offset), None
        return self.rows(order=order, descending=descending, offset=offset, beyond=beyond), beyond
