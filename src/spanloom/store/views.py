"""What pages ask of a store beyond single runs and lists: sums of traces, threads, feedback, what was counted.

Promises: as `reader`: one project, values as parameters, a deadline for each question. `figures` answers over time.
"""

from __future__ import annotations

import sqlite3
from typing import Any

import msgspec

from . import sql
from .columns import run_of
from .reader import Reader, _feedback_entry, _project_id
from .values import DEFAULT_PROJECT, FeedbackEntry, Run

_Q = sql.queries("viewing.sql")
_MOST = 10_000


class TraceSum(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A trace as a whole: how many runs and errors, tokens and cost (US dollars), each counted once."""

    runs: int
    errors: int = 0
    tokens: int | None = None
    cost: float | None = None


class ThreadSum(msgspec.Struct, kw_only=True):
    """A thread and how many runs name it. ``newest`` is the cursor for the page after it."""

    id: str
    newest: int
    runs: int


class FeedbackGiven(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Feedback as it was given, with its run when that has arrived. ``seq`` is the cursor for the page after it."""

    seq: int
    entry: FeedbackEntry
    run: Run | None = None


class UsageSlot(msgspec.Struct, kw_only=True):
    """Actions or outcomes of one name in one slot of time."""

    slot: int
    kind: str
    name: str
    count: int
    value: float


def tops(reader: Reader, runs: list[Run], *, project: str = DEFAULT_PROJECT) -> set[str]:
    """Those of these runs that a trace begins with, by id: its root, and what hangs below nothing that has arrived."""
    found = {run.id for run in runs if run.parent_id is None or run.root_id in (None, run.id)}
    others = [run for run in runs if run.id not in found]
    if others:
        with reader._connections.snapshot() as connection:
            ids = msgspec.json.encode([run.parent_id for run in others]).decode()
            values = {"project": _project_id(connection, project), "ids": ids}
            there = {row["run_id"] for row in connection.execute(_Q["there"], values)}
        found |= {run.id for run in others if run.parent_id not in there}
    return found


def trace_sums(reader: Reader, root_ids: list[str], *, project: str = DEFAULT_PROJECT) -> dict[str, TraceSum]:
    """What the traces of these roots add up to, by root id: with all that hangs below, whatever root that names."""
    with reader._connections.snapshot() as connection:
        values = {"project": _project_id(connection, project), "roots": msgspec.json.encode(root_ids).decode()}
        rows = connection.execute(_Q["trace_sums"], values).fetchall()
    return {
        row["root_id"]: TraceSum(
            runs=row["runs"], errors=row["errors"] or 0, tokens=row["tokens"] or None, cost=row["cost"]
        )
        for row in rows
    }


def threads(
    reader: Reader, *, before: int | None = None, limit: int = 50, project: str = DEFAULT_PROJECT
) -> list[ThreadSum]:
    """Threads, the one that was spoken in last first; ``before`` is the `ThreadSum.newest` that the page follows."""
    with reader._connections.snapshot() as connection:
        values = {**_page(connection, project, before, limit)}
        rows = connection.execute(_Q["threads"], values).fetchall()
    return [ThreadSum(id=row["thread_id"], newest=row["newest"], runs=row["runs"]) for row in rows]


def newest_feedback(
    reader: Reader, *, before: int | None = None, limit: int = 50, project: str = DEFAULT_PROJECT
) -> list[FeedbackGiven]:
    """Feedback in the reverse order of its arrival, each with the run it is for."""
    with reader._connections.snapshot() as connection:
        rows = connection.execute(_Q["newest_feedback"], _page(connection, project, before, limit)).fetchall()
        return [
            FeedbackGiven(seq=row["seq"], entry=_feedback_entry(row), run=_run_for(connection, row, project))
            for row in rows
        ]


def touched_since(
    reader: Reader, since_us: int, *, limit: int = 200, project: str = DEFAULT_PROJECT
) -> tuple[int, list[str]]:
    """The ids of the traces that were heard of after this moment (received time), and the moment to ask from next."""
    with reader._connections.snapshot() as connection:
        values = {"project": _project_id(connection, project), "since_us": since_us, "most": limit}
        rows = connection.execute(_Q["touched_since"], values).fetchall()
    return (rows[-1]["touched_us"] if rows else since_us), list(dict.fromkeys(row["trace"] for row in rows))


def last_touch(reader: Reader) -> int:
    """When the store last heard of any run (received time, us); 0 for an empty one."""
    with reader._connections.snapshot() as connection:
        return connection.execute(_Q["last_touch"]).fetchone()["touched_us"] or 0


def usage_series(
    reader: Reader, *, since_us: int, until_us: int, width_us: int, project: str = DEFAULT_PROJECT
) -> list[UsageSlot]:
    """Actions and outcomes by slots of time and name."""
    with reader._connections.snapshot(_HEAVY_SECONDS) as connection:
        values = {"project": _project_id(connection, project), "since_us": since_us, "until_us": until_us,
                  "width_us": max(1, width_us), "most": _MOST}  # fmt: skip
        return [UsageSlot(**dict(row)) for row in connection.execute(_Q["usage_series"], values)]


_HEAVY_SECONDS = 10.0


def _page(connection: sqlite3.Connection, project: str, before: int | None, limit: int) -> dict[str, Any]:
    return {"project": _project_id(connection, project), "before": (1 << 62) if before is None else before,
            "most": max(1, min(limit, _MOST))}  # fmt: skip


def _run_for(connection: sqlite3.Connection, feedback: sqlite3.Row, project: str) -> Run | None:
    project_id = _project_id(connection, project)
    row = None
    if feedback["run_id"] is not None:
        row = connection.execute(_RUN, (project_id, feedback["run_id"])).fetchone()
    if row is None and feedback["user_key"] is not None:
        row = connection.execute(_Q["run_by_key"], (project_id, feedback["user_key"])).fetchone()
    return None if row is None else run_of(row, project)


_RUN = sql.queries("reading.sql")["run"]
