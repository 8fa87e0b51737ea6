"""Between claims and the columns of the table ``runs``.

Theory of operation. A row keeps the winning value of each field in a column of its own, and in ``origins`` the rank and
time it won with, so that an event that comes later can be joined without reading the older ones again:
``0:1700000000000000 3:1700000001000000|aab.b…``, the distinct (rank, time) pairs, and for each field of FIELDS the
letter of its pair or a dot.

Promises: ``load(store(claims)) == claims`` for the fields of a list. FIELDS only ever grows at its end.
"""

from __future__ import annotations

from sqlite3 import Row
from typing import Any

import msgspec

from ..prices import Prices
from .merge import Claim, Claims
from .values import Run, Tokens

FIELDS = (
    "type", "name", "parent_id", "root_id", "status", "user_id", "thread_id", "customer", "user_key", "model",
    "response_id", "trace_id", "parent_span_id", "service", "runtime", "template_version_id", "sampled", "started_us",
    "ended_us", "first_item_us", "prompt_tokens", "completion_tokens", "cached_tokens", "reasoning_tokens",
    "total_tokens", "cost", "items", "error_type", "error_message",
)  # fmt: skip
COLUMNS = (*FIELDS, "tags", "duration_us", "origins")
"""What `store` writes, in order."""

_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
_tags_decoder = msgspec.json.Decoder(list[str])


def store(claims: Claims, prices: Prices | None = None) -> list[Any]:
    """The values of COLUMNS. The cost of a model call that nobody reported is what ``prices`` say of its tokens; it is
    no claim: `load` does not give it back, and it is worked out anew whenever the run is touched."""
    letter_of: dict[tuple[int, int], str] = {}
    letters = []
    row: list[Any] = []
    for field in FIELDS:
        claim = claims.get(field)
        if claim is None:
            letters.append(".")
            row.append(_cost(claims, prices) if field == "cost" and prices is not None else None)
            continue
        pair = claim[:2]
        letter = letter_of.get(pair)
        if letter is None:
            letter = letter_of[pair] = _LETTERS[len(letter_of)]
        letters.append(letter)
        row.append(claim[2])
    tags = sorted(field[5:] for field in claims if field.startswith("tags."))
    pairs = " ".join(f"{rank}:{time_us}" for rank, time_us in letter_of)
    row.append(msgspec.json.encode(tags).decode() if tags else None)
    row.append(_duration_us(claims))
    row.append(f"{pairs}|{''.join(letters)}")
    return row


def _cost(claims: Claims, prices: Prices) -> float | None:
    def said(field: str) -> Any:
        claim = claims.get(field)
        return None if claim is None else claim[2]

    if said("type") not in ("llm", "embed"):
        return None  # an agent's tokens are its calls' tokens
    return prices.cost(
        said("model") or said("name"), prompt=said("prompt_tokens"), completion=said("completion_tokens"),
        cached=said("cached_tokens"),
    )  # fmt: skip


def load(row: Row) -> Claims:
    """The claims of a row of ``runs``."""
    pairs, _, letters = row["origins"].partition("|")
    origins = [(int(rank), int(time_us)) for rank, _, time_us in (pair.partition(":") for pair in pairs.split())]
    claims: Claims = {}
    for field, letter in zip(FIELDS, letters, strict=False):  # an older row knows fewer
        if letter != ".":
            rank, time_us = origins[_LETTERS.index(letter)]
            value = row[field]
            claims[field] = (rank, time_us, bool(value) if field == "sampled" else value)
    for tag in _tags_decoder.decode(row["tags"]) if row["tags"] else ():
        claims[f"tags.{tag}"] = (0, 0, True)
    return claims


def run_of(row: Row, project: str) -> Run:
    """A row of ``runs`` as a value."""
    started, ended = row["started_us"], row["ended_us"]
    return Run(
        id=row["run_id"], project=project, seq=row["seq"], type=row["type"], name=row["name"], status=row["status"],
        parent_id=row["parent_id"], root_id=row["root_id"], user_id=row["user_id"], thread_id=row["thread_id"],
        customer=row["customer"], key=row["user_key"], model=row["model"], response_id=row["response_id"],
        trace_id=row["trace_id"], parent_span_id=row["parent_span_id"], service=row["service"],
        runtime=row["runtime"], template_version_id=row["template_version_id"], sampled=row["sampled"] != 0,
        started_us=started, ended_us=ended, first_item_us=row["first_item_us"], duration_us=row["duration_us"],
        skewed=started is not None and ended is not None and ended < started, received_us=row["received_us"],
        tokens=Tokens(prompt=row["prompt_tokens"], completion=row["completion_tokens"], cached=row["cached_tokens"],
                      reasoning=row["reasoning_tokens"], total=row["total_tokens"]),
        cost=row["cost"], items=row["items"], error_type=row["error_type"], error_message=row["error_message"],
        tags=_tags_decoder.decode(row["tags"]) if row["tags"] else [],
        feedback=msgspec.json.decode(row["feedback"], type=dict) if row["feedback"] else {},
    )  # fmt: skip


def _duration_us(claims: Claims) -> int | None:
    started: Claim | None = claims.get("started_us")
    ended: Claim | None = claims.get("ended_us")
    if started is None or ended is None:
        return None
    return max(0, int(ended[2]) - int(started[2]))
