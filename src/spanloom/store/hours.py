"""The sums of `figures`, kept by the hour in which runs started.

Theory of operation. A commit marks the hours in which its runs started as stale (`mark`), which costs it a statement.
Behind the commits, `sum_hour` adds up an hour that is over and was left alone for a minute, through a reading
connection; `keep` then writes the sums in small steps, and the hour is fresh unless it was marked again meanwhile.

Promises: the sums of a fresh hour equal those over its runs. Must never hold the file's lock while it adds up.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from typing import Any

import msgspec

from . import sql

HOUR_US = 3_600_000_000
GROUPS = {"model": "model", "user": "user_id", "customer": "customer", "name": "name", "type": "type"}
"""What runs can be grouped by in `figures.groups`, and the column it stands in."""
DIMS = {"all": 0, "model": 1, "user": 2, "customer": 3, "name": 4}
"""What is summed by, and the number that stands for it."""
BUCKET = "length(duration_us) * 100 + substr(duration_us, 1, 2)"
"""How many digits a duration has, and the first two of them."""
SUMS = (
    "count(*), sum(status is 'error'), sum(duration_us), sum(prompt_tokens), sum(completion_tokens), sum(cost) "
    "from runs where project = :project and started_us >= :since_us and started_us < :until_us"
)
_ALONE_US = 60_000_000
_STEP_ROWS = 1000  # about 10 ms of the file's lock
_Q = sql.queries("figures.sql")


def hour_of(time_us: int | None) -> int | None:
    """The hour since the epoch, None for no time."""
    return None if time_us is None else time_us // HOUR_US


def mark(connection: sqlite3.Connection, hours: Iterable[tuple[int, int]], now_us: int) -> None:
    """These hours (project, hour) are to be summed anew. Inside the caller's transaction."""
    connection.executemany(_Q["mark"], [(project, hour, now_us) for project, hour in sorted(hours)])


class HourSums(msgspec.Struct, frozen=True):
    """What `sum_hour` found: the rows that `keep` writes, and the state of the hour they are of."""

    project: int
    hour: int
    touched_us: int
    rows: list[tuple[Any, ...]]


def sum_hour(connection: sqlite3.Connection, now_us: int) -> HourSums | None:
    """Add up the newest stale hour that is over and left alone; None when there is none."""
    found = connection.execute(_Q["next_stale"], (now_us - _ALONE_US, now_us // HOUR_US)).fetchone()
    if found is None:
        return None
    project, hour, touched_us = found
    values = {"project": project, "since_us": hour * HOUR_US, "until_us": (hour + 1) * HOUR_US}
    rows: list[tuple[Any, ...]] = []
    for name, dim in DIMS.items():
        column = "null" if name == "all" else GROUPS[name]
        query = f"select {column}, type, {BUCKET}, {SUMS} group by 1, 2, 3"
        rows += [(project, dim, hour, *row) for row in connection.execute(query, values)]
    return HourSums(project, hour, touched_us, rows)


def keep(connection: sqlite3.Connection, sums: HourSums, at: int) -> int | None:
    """Write some rows, those from ``at`` on, inside the caller's transaction: where to go on, None when it is done or
    the hour was marked again."""
    values = {"project": sums.project, "hour": sums.hour, "touched_us": sums.touched_us}
    if connection.execute(_Q["unchanged"], values).fetchone() is None:
        return None
    if at == 0:
        for dim in DIMS.values():
            connection.execute(_Q["forget"], {**values, "dim": dim})
    connection.executemany(_Q["keep"], sums.rows[at : at + _STEP_ROWS])
    if at + _STEP_ROWS < len(sums.rows):
        return at + _STEP_ROWS
    connection.execute(_Q["fresh" if sums.rows else "gone"], values)
    return None
