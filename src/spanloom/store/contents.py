"""A run's content, folded from its events by the same merge that made its row.

Promises: never raises for what is in an event; what it cannot read, or will not because there is too much, is counted
in `Content.omitted`.
"""

from __future__ import annotations

import sqlite3
from typing import Any

from msgspec import Raw

from ..errors import WireError
from ..records import decode
from . import sql
from .merge import NO_TIME_US, Claim, Claims, claims_of, join
from .values import Content, Message, Point

_MOST_EVENTS = 5000
_Q = sql.queries("reading.sql")


def content_of(connection: sqlite3.Connection, seq: int) -> Content:
    """What the run with this ``seq`` carries."""
    rows = connection.execute(_Q["run_events"], (seq, _MOST_EVENTS)).fetchall()
    omitted = 0
    if len(rows) == _MOST_EVENTS:
        omitted = connection.execute(_Q["count_run_events"], (seq,)).fetchone()[0] - _MOST_EVENTS
    claims: Claims = {}
    for row in rows:
        try:
            said = claims_of(decode(row["payload"]), content=True)
        except WireError:  # written by a later version
            omitted += 1
            continue
        if said:
            join(claims, said[0][1])  # the first run is the one that the event belongs to
    return _content(claims, omitted)


def _content(claims: Claims, omitted: int) -> Content:
    def value(field: str) -> Any:
        claim = claims.get(field)
        return claim[2] if claim else None

    parts = _by_field(claims)
    return Content(
        input=value("input"),
        output=value("output"),
        error_text=value("error_text"),
        error_stack=value("error_stack"),
        params=_named(parts, "params"),
        metadata=_named(parts, "metadata"),
        extra=_named(parts, "extra"),
        user_props=_named(parts, "user_props"),
        messages=[Message(time_us=time_us, message=message) for time_us, message in _in_order(parts, "messages")],
        points=[Point(time_us=time_us, label=said[0], data=said[1]) for time_us, said in _in_order(parts, "points")],
        omitted=omitted,
    )


_Parts = dict[str, list[tuple[str, Claim]]]


def _by_field(claims: Claims) -> _Parts:
    """The claims about a part of a field (``metadata.region``), by the field, in one pass."""
    parts: _Parts = {}
    for name, claim in claims.items():
        field, dot, part = name.partition(".")
        if dot:
            parts.setdefault(field, []).append((part, claim))
    return parts


def _named(parts: _Parts, field: str) -> dict[str, Raw]:
    return {part: claim[2] for part, claim in parts.get(field, ())}


def _in_order(parts: _Parts, field: str) -> list[tuple[int | None, Any]]:
    """The things of a set by time; those of one moment in the order of their event ids, which grow with time."""
    found = sorted((claim[1], part, claim[2]) for part, claim in parts.get(field, ()))
    return [(None if time_us == NO_TIME_US else time_us, said) for time_us, _, said in found]
