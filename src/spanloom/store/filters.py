"""From a `RunFilter` to one query.

Promises: only fixed texts of this file are put together; every value is a parameter; an order is one of a list.
"""

from __future__ import annotations

from typing import Any

import msgspec

from . import search
from .merge import clean
from .values import RunFilter

_CONDITIONS = {
    "type": "runs.type = ?",
    "status": "runs.status = ?",
    "name": "runs.name = ?",
    "user_id": "runs.user_id = ?",
    "thread_id": "runs.thread_id = ?",
    "customer": "runs.customer = ?",
    "model": "runs.model = ?",
    "parent_id": "runs.parent_id = ?",
    "key": "runs.user_key = ?",
    "since_us": "runs.started_us >= ?",
    "until_us": "runs.started_us < ?",
    "min_duration_us": "runs.duration_us >= ?",
    "max_duration_us": "runs.duration_us <= ?",
    "min_cost": "runs.cost >= ?",
}
_ORDERS = {
    "received": "runs.seq",
    "started": "runs.started_us",
    "duration": "runs.duration_us",
    "tokens": "coalesce(runs.total_tokens, ifnull(runs.prompt_tokens, 0) + ifnull(runs.completion_tokens, 0))",
    "cost": "runs.cost",
}
_TOP = """runs.type is not 'thread' and (runs.parent_id is null or not exists (
    select 1 from runs p where p.project = runs.project and p.run_id = runs.parent_id and p.type is not 'thread'))"""
# Without an index: names, errors, and the payloads as they are, ASCII letters without regard to case.
_SCAN = """(runs.name like ? escape '\\' or runs.error_message like ? escape '\\' or exists (
    select 1 from events where events.run = runs.seq and cast(events.payload as text) like ? escape '\\'))"""


def runs_query(
    wanted: RunFilter,
    project_id: int,
    *,
    order: str,
    descending: bool,
    after: int | None,
    limit: int,
    offset: int,
    searchable: bool,
    beyond: int | None = None,
) -> tuple[str, list[Any]]:
    """The query and its values; of runs that arrived after ``beyond`` (a `Run.seq`). Raises KeyError for an order that
    is none."""
    where = ["runs.project = ?"]
    values: list[Any] = [project_id]
    for field, condition in _CONDITIONS.items():
        value = getattr(wanted, field)
        if value is not None:
            where.append(condition)
            values.append(clean(value) if isinstance(value, str) else value)
    if wanted.types is not None:
        where.append(f"runs.type in ({', '.join('?' * len(wanted.types))})")
        values += map(clean, wanted.types)
    if wanted.tag is not None:
        where.append("instr(runs.tags, ?)")
        values.append(msgspec.json.encode(clean(wanted.tag)).decode())
    if wanted.thumb is not None:
        where.append("instr(runs.feedback, ?)")
        values.append(f'"thumb":{msgspec.json.encode(clean(wanted.thumb)).decode()}')
    if wanted.top:
        where.append(_TOP)
    source, by = "runs", _ORDERS[order]
    if wanted.text is not None:
        expression = search.match_expression(wanted.text)
        if searchable and expression is not None:
            # The index first, newest first: it hands out rows in that order, so that a common word ends early.
            source = "run_text cross join runs on runs.seq = run_text.rowid"
            where.append("run_text match ?")
            values.append(expression)
            by = "run_text.rowid" if order == "received" else by
        else:
            where.append(_SCAN)
            values += [f"%{_escaped(clean(wanted.text))}%"] * 3
    if after is not None and order == "received":
        where.append(f"{by} {'<' if descending else '>'} ?")
        values.append(after)
    if beyond is not None:
        where.append(f"{'run_text.rowid' if source != 'runs' else 'runs.seq'} > ?")
        values.append(beyond)
    direction = "desc" if descending else "asc"
    ties = "" if order == "received" else f", runs.seq {direction}"
    query = f"select runs.* from {source} where {' and '.join(where)} order by {by} {direction}{ties} limit ? offset ?"
    return query, [*values, limit, offset]


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
