"""Figures over time: how many runs, failures, tokens, how much cost and latency, by slots of time and by values.

Theory of operation. Whole hours come from the sums that `hours` keeps behind the commits; everything else (the edges,
and hours that are stale) is counted from the runs themselves, so that the answer is the same at any moment. Durations
come by buckets of two leading digits, each with its sum: a percentile is the mean of the bucket that it falls into, so
that it is right in two digits, and exact where a bucket holds one value.

Promises: as `reader`. The only texts that are put into a query are those of `hours` and of this file.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any

import msgspec

from . import sql
from .hours import BUCKET, DIMS, GROUPS, HOUR_US, SUMS
from .merge import clean
from .reader import Reader, _project_id
from .values import DEFAULT_PROJECT

_HEAVY_SECONDS = 10.0
_Q = sql.queries("figures.sql")
_KEPT = (
    "sum(runs), sum(errors), sum(duration_us), sum(prompt), sum(completion), sum(cost) from figures "
    "where project = :project and dim = :dim and hour >= :first and hour < :last and hour in "
    "(select hour from hours where project = :project and hour >= :first and hour < :last and stale = 0)"
)
# One row for each key, its buckets in a text: for each row that Python takes it asks for the interpreter's
# lock, which was most of the time beside a busy intake.
_FOLDED = """with by_bucket (key, bucket, runs, errors, duration_us, prompt, completion, cost) as ({})
select key, sum(runs), sum(errors), sum(prompt), sum(completion), sum(cost),
       group_concat(bucket || ' ' || runs || ' ' || duration_us) from by_bucket group by key"""
_OF_TYPE = " and (:type is null or type = :type)"


class Figures(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Runs that started in one slot of time, or share one value: how many, how many failed, tokens, cost in US dollars,
    and the durations that half and 95 percent of them stayed within (us). ``slot`` counts from ``since_us``."""

    slot: int | None = None
    value: str | None = None
    runs: int = 0
    errors: int = 0
    prompt: int | None = None
    completion: int | None = None
    cost: float | None = None
    p50_us: int | None = None
    p95_us: int | None = None


def series(
    reader: Reader,
    *,
    since_us: int,
    until_us: int,
    width_us: int,
    type: str | None = None,
    project: str = DEFAULT_PROJECT,
) -> list[Figures]:
    """Figures by slots of ``width_us`` from ``since_us`` on; a slot without runs is left out. Whole hours that begin
    with an hour are answered at once, others from the runs."""
    width_us = max(1, width_us)
    with reader._connections.snapshot(_HEAVY_SECONDS) as connection:
        asked = _Asked(connection, project, since_us, until_us, type)
        found: list[Sequence[Any]] = []
        whole = since_us % HOUR_US == 0 and width_us % HOUR_US == 0
        if whole:
            found += asked.kept(DIMS["all"], f"(hour * {HOUR_US} - {since_us}) / {width_us}")
        found += asked.counted(f"(started_us - {since_us}) / {width_us}", all_of_it=not whole)
    return [msgspec.structs.replace(figures, slot=slot) for slot, figures in sorted(_folded(found).items())]


def groups(
    reader: Reader,
    by: str,
    *,
    since_us: int,
    until_us: int,
    type: str | None = None,
    limit: int = 50,
    project: str = DEFAULT_PROJECT,
) -> list[Figures]:
    """Figures by model, user, customer, name or type, the most frequent first. Raises KeyError for any other ``by``."""
    column = GROUPS[by]
    with reader._connections.snapshot(_HEAVY_SECONDS) as connection:
        asked = _Asked(connection, project, since_us, until_us, type)
        found = asked.kept(DIMS["all" if by == "type" else by], "type" if by == "type" else "value")
        found += asked.counted(column)
    folded = sorted(_folded(found).items(), key=lambda item: (-item[1].runs, item[0] is not None, item[0] or ""))
    return [msgspec.structs.replace(figures, value=value) for value, figures in folded[:limit]]


class _Asked:
    """One question: the hours that are summed, and the stretches of time that are not."""

    def __init__(
        self, connection: sqlite3.Connection, project: str, since_us: int, until_us: int, type: str | None
    ) -> None:
        self.connection = connection
        self.span = (since_us, until_us)
        self.values: dict[str, Any] = {
            "project": _project_id(connection, project),
            "type": None if type is None else clean(type),
        }
        first, last = -(-since_us // HOUR_US), until_us // HOUR_US
        summed = first < last and connection.execute("select user_version from pragma_user_version").fetchone()[0] > 1
        self.hours = (first, last) if summed else (0, 0)
        self.stretches = [(since_us, until_us)]
        if summed:
            stale = connection.execute(_Q["stale_between"], (self.values["project"], first, last))
            between = [(hour * HOUR_US, (hour + 1) * HOUR_US) for (hour,) in stale]
            self.stretches = _joined([(since_us, first * HOUR_US), *between, (last * HOUR_US, until_us)])

    def kept(self, dim: int, key: str) -> list[Sequence[Any]]:
        """From the sums: rows of `_FOLDED`."""
        first, last = self.hours
        if first >= last:
            return []
        values = {**self.values, "dim": dim, "first": first, "last": last}
        query = _FOLDED.format(f"select {key}, bucket, {_KEPT}{_OF_TYPE} group by 1, 2")
        return self.connection.execute(query, values).fetchall()

    def counted(self, key: str, *, all_of_it: bool = False) -> list[Sequence[Any]]:
        """The same from the runs."""
        found: list[Sequence[Any]] = []
        query = _FOLDED.format(f"select {key}, {BUCKET}, {SUMS}{_OF_TYPE} group by 1, 2")
        for since_us, until_us in [self.span] if all_of_it else self.stretches:
            values = {**self.values, "since_us": since_us, "until_us": until_us}
            found += self.connection.execute(query, values).fetchall()
        return found


def _joined(stretches: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Stretches of time in order, those that touch as one."""
    made: list[tuple[int, int]] = []
    for since_us, until_us in stretches:
        if since_us >= until_us:
            continue
        if made and made[-1][1] == since_us:
            made[-1] = (made[-1][0], until_us)
        else:
            made.append((since_us, until_us))
    return made


def _folded(rows: list[Sequence[Any]]) -> dict[Any, Figures]:
    """Figures by key, without ``slot`` and ``value``."""
    found: dict[Any, Figures] = {}
    buckets: dict[Any, dict[int, list[int]]] = {}
    for key, runs, errors, prompt, completion, cost, held in rows:
        figures = found.setdefault(key, Figures())
        figures.runs += runs
        figures.errors += errors
        figures.prompt = _sum(figures.prompt, prompt)
        figures.completion = _sum(figures.completion, completion)
        figures.cost = _sum(figures.cost, cost)
        for bucket, count, duration_us in (map(int, each.split()) for each in (held.split(",") if held else ())):
            both = buckets.setdefault(key, {}).setdefault(bucket, [0, 0])
            both[0] += count
            both[1] += duration_us
    for key, of_key in buckets.items():
        found[key].p50_us, found[key].p95_us = _percentile(of_key, 50), _percentile(of_key, 95)
    return found


def _sum(one: Any, other: Any) -> Any:
    return other if one is None else one if other is None else one + other


def _percentile(buckets: dict[int, list[int]], percent: int) -> int:
    rank = (sum(held[0] for held in buckets.values()) * percent + 99) // 100
    for _, (runs, duration_us) in sorted(buckets.items()):
        rank -= runs
        if rank <= 0:
            return duration_us // runs
    raise AssertionError("a percentile beyond all buckets")
