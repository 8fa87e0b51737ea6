"""From the query of an address to a typed question.

Promises: a value that is none is a `BadQuestion` naming the field, the value and the cure; nothing here reads a store.
"""

from __future__ import annotations

from collections.abc import Mapping

from ..records import RUN_TYPES, STATUSES
from ..store import RunFilter
from ..store.reader import Order

MOST_RUNS = 200
_TYPES = (*RUN_TYPES, "chat", "thread")
_ORDERS: dict[str, Order] = {
    "newest": "received", "started": "started", "duration": "duration", "tokens": "tokens", "cost": "cost",
}  # fmt: skip


class BadQuestion(ValueError):
    """A query that means nothing; the message says what to give instead."""


def run_filter(query: Mapping[str, str]) -> RunFilter:
    """Which runs are wanted. ``view=traces`` keeps what traces begin with; without it, any search by what stands
    inside a trace (words, type, model) looks at all runs."""
    inside = any(query.get(name) for name in ("q", "type", "model", "tag", "name"))
    view = _one_of(query, "view", ("traces", "runs")) or ("runs" if inside else "traces")
    return RunFilter(
        type=_one_of(query, "type", _TYPES),
        status=_one_of(query, "status", STATUSES),
        thumb=_one_of(query, "thumb", ("up", "down")),
        since_us=number(query, "since_us"),
        until_us=number(query, "until_us"),
        min_duration_us=_scaled(query, "min_ms", 1000),
        max_duration_us=_scaled(query, "max_ms", 1000),
        min_cost=_decimal(query, "min_cost"),
        top=view == "traces",
        name=query.get("name") or None,
        user_id=query.get("user") or None,
        thread_id=query.get("thread") or None,
        customer=query.get("customer") or None,
        model=query.get("model") or None,
        tag=query.get("tag") or None,
        key=query.get("key") or None,
        text=query.get("q") or None,
    )


def order(query: Mapping[str, str]) -> Order:
    """How they are sorted."""
    return _ORDERS[_one_of(query, "sort", tuple(_ORDERS)) or "newest"]


def limit(query: Mapping[str, str], default: int = 50) -> int:
    """How many are wanted at once."""
    asked = number(query, "limit")
    return default if asked is None else max(1, min(asked, MOST_RUNS))


def number(query: Mapping[str, str], name: str) -> int | None:
    """A whole number of at most 18 digits, or None when there is none."""
    text = query.get(name, "")
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise BadQuestion(f"{name} is {text[:40]!r}: give a whole number")
    return int(text)


def _decimal(query: Mapping[str, str], name: str) -> float | None:
    text = query.get(name, "")
    if not text:
        return None
    whole, _, rest = text.partition(".")
    if not (whole + rest).isdigit() or not text.isascii() or len(text) > 18:
        raise BadQuestion(f"{name} is {text[:40]!r}: give a number such as 0.05")
    return float(text)


def _scaled(query: Mapping[str, str], name: str, factor: int) -> int | None:
    value = _decimal(query, name)
    return None if value is None else int(value * factor)


def one_of(query: Mapping[str, str], name: str, choices: tuple[str, ...], default: str) -> str:
    """One of some words."""
    return _one_of(query, name, choices) or default


def _one_of(query: Mapping[str, str], name: str, choices: tuple[str, ...]) -> str | None:
    text = query.get(name, "")
    if text and text not in choices:
        raise BadQuestion(f"{name} is {text[:40]!r}: give one of {', '.join(choices)}")
    return text or None
