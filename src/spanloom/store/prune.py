"""Keeping the file within its bounds, by when a run was last heard of, in steps that hold the lock for milliseconds.

Promises: never removes what is newer than ``max_age_seconds`` unless the file is over ``max_bytes``, and then the
oldest first; goes by the time of arrival, never by the clocks of clients. A run goes with all its events, its feedback
and its text. Usage events, and feedback whose run never came, go when everything as old has gone.
"""

from __future__ import annotations

import sqlite3

from . import hours, sql
from .values import Pruned, Retention

_STEP_RUNS = 50
_STEP_EVENTS = 2000
_STEP_PAGES = 200
_Q = sql.queries("pruning.sql")
_LOOSE = {"feedback": "forget_loose_feedback", "action": "forget_loose_usage", "outcome": "forget_loose_usage",
          "client_report": "forget_loose_losses"}  # fmt: skip


def step(connection: sqlite3.Connection, keep: Retention, now_us: int, searchable: bool) -> Pruned:
    """One step inside the caller's transaction; nothing was removed when there is nothing left to remove."""
    runs = events = 0
    if keep.max_age_seconds is not None:
        cutoff_us = now_us - int(keep.max_age_seconds * 1_000_000)
        runs, events = _forget_runs(connection, _Q["runs_older"], (cutoff_us, _STEP_RUNS), searchable, now_us)
        events += _forget_loose(connection, cutoff_us)
    if not runs and not events and keep.max_bytes is not None and live_bytes(connection) > keep.max_bytes:
        runs, events = _forget_runs(connection, _Q["runs_oldest"], (_STEP_RUNS,), searchable, now_us)
        oldest_us = connection.execute(_Q["oldest_touch"]).fetchone()[0]
        events += _forget_loose(connection, now_us + 1 if oldest_us is None else oldest_us)
    return Pruned(runs, events, live_bytes(connection))


def _forget_runs(
    connection: sqlite3.Connection, query: str, values: tuple[int, ...], searchable: bool, now_us: int
) -> tuple[int, int]:
    """How many runs and events were removed: until a step is full, whatever the runs are like."""
    runs = events = 0
    for row in connection.execute(query, values).fetchall():
        gone, count = _forget_run(connection, row, searchable)
        runs, events = runs + gone, events + count
        if gone and row["started_us"] is not None:
            hours.mark(connection, [(row["project"], row["started_us"] // hours.HOUR_US)], now_us)
        if events >= _STEP_EVENTS:
            break
    return runs, events


def _forget_run(connection: sqlite3.Connection, row: sqlite3.Row, searchable: bool) -> tuple[int, int]:
    """How many runs (0 when it has too many events for one step) and events were removed."""
    events = connection.execute(_Q["forget_events"], (row["seq"], _STEP_EVENTS)).rowcount
    if events == _STEP_EVENTS:
        return 0, events
    for given in connection.execute(_Q["feedback_of_run"], (row["project"], row["run_id"])).fetchall():
        events += connection.execute(_Q["forget_event_by_id"], (row["project"], given["event_id"])).rowcount
        connection.execute(_Q["forget_feedback"], (given["seq"],))
    if searchable:
        connection.execute(_Q["forget_text"], (row["seq"],))
    connection.execute(_Q["forget_run"], (row["seq"],))
    return 1, events


def _forget_loose(connection: sqlite3.Connection, before_us: int) -> int:
    rows = connection.execute(_Q["loose_older"], (before_us, _STEP_EVENTS // 10)).fetchall()
    for row in rows:
        if row["kind"] in _LOOSE:
            connection.execute(_Q[_LOOSE[row["kind"]]], (row["project"], row["event_id"]))
        connection.execute(_Q["forget_event"], (row["seq"],))
    return len(rows)


def live_bytes(connection: sqlite3.Connection) -> int:
    """The size of what is in use, in bytes, without pages that wait to be given back."""
    pages = connection.execute("pragma page_count").fetchone()[0]
    free = connection.execute("pragma freelist_count").fetchone()[0]
    size = connection.execute("pragma page_size").fetchone()[0]
    return int((pages - free) * size)


def give_back(connection: sqlite3.Connection) -> int:
    """Give some free pages back to the disk, outside a transaction of the caller's; returns how many are left."""
    if connection.execute("pragma freelist_count").fetchone()[0]:
        # By executescript, because execute ends this statement after its first page.
        connection.executescript(f"pragma incremental_vacuum({_STEP_PAGES});")
    return int(connection.execute("pragma freelist_count").fetchone()[0])
