"""Merging: what the events of a run say together, whatever order, however often and however late they come.

Theory of operation. An event makes *claims*: of a run and a field, a value with a rank and a time. Two sets of claims
are joined field by field; the least of (rank, event time, content hash) stands. Taking the least is commutative,
associative and idempotent, and so is the join: a run is a function of the set of its events. Everything else here only
chooses ranks:

    who, what, where from   the start says it; any other event only when the start is missing; a run without a parent
                            that began below a span of the host's hangs below the run which that span is
    output, error, usage    an end says it; among several ends the stronger status, then the earliest; an update only
                            until an end has come, and then the latest update
    params, metadata, …     key by key: what was set during the run (it is on the end) over what the start brought
    status                  error, cancelled, abandoned, ok, killed, running: the first of them that anyone says.
                            ``killed`` is a survivor's guess, so a real end, arriving late, corrects it
    chat                    its messages are a set; an answer closes it; the thread it names exists by that

Feedback merges key by key of its object; there the latest event wins, and ``overwrite`` wipes what is older.

Promises: pure; never raises for any decoded record. Must never look at arrival order or at the clock.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable
from typing import Any

import msgspec
from msgspec import Raw

from ..clock import parse_iso_us
from ..dialects.otlp_ids import is_span_id, is_trace_id, run_id_of_parent
from ..records import AnyRecord, Chat, RunEnd, RunPoint, RunRecord, RunStart, RunUpdate, TokenUsage

Claim = tuple[int, int, Any]
"""Rank, time in microseconds (negated where the latest wins), value. Less is stronger."""

Claims = dict[str, Claim]
"""By field. Fields with a dot are parts of one (``metadata.region``, ``tags.prod``, ``messages.<event id>``)."""

STATUS_ORDER = ("error", "cancelled", "abandoned", "ok", "killed", "running")
NO_TIME_US = 1 << 62
"""The time of an event that carries none: it loses to every other."""

# Ranks below an end's own, which are the places in STATUS_ORDER (0 to 5).
_FIRST, _SECOND, _HEARSAY = 0, 1, 2
_ANSWER = 6
_UPDATE = 10
_BROUGHT = 20  # by the start, of what the end may replace

_MAX_TEXT = 2000
_INT64 = 1 << 63
_WHO_AND_WHERE = (
    ("name", "name"),
    ("parent_id", "parent_run_id"),
    ("root_id", "root_run_id"),
    ("user_id", "user_id"),
    ("thread_id", "thread_id"),
    ("customer", "customer"),
    ("user_key", "key"),
    ("trace_id", "trace_id"),
    ("parent_span_id", "parent_span_id"),
    ("service", "service"),
    ("runtime", "runtime"),
)


class _Role(msgspec.Struct):
    role: str | None = None


_role_decoder = msgspec.json.Decoder(_Role)
_object_decoder: msgspec.json.Decoder[dict[str, Raw]] = msgspec.json.Decoder(dict[str, Raw])


def join(known: Claims, new: Claims) -> Claims:
    """``known`` with ``new`` joined into it (in place)."""
    for field, claim in new.items():
        other = known.get(field)
        if other is None or claim[:2] < other[:2] or (claim[:2] == other[:2] and _digest(claim) < _digest(other)):
            known[field] = claim
    return known


def claims_of(record: AnyRecord, *, content: bool = False) -> list[tuple[str, Claims]]:
    """What a record claims, by run id; a chat speaks of two runs, feedback and usage events of none.

    Without ``content`` only the columns of a list: no input, output, metadata or messages.
    """
    if not isinstance(record, RunRecord):
        return []
    time_us = event_time_us(record.timestamp)
    claims: Claims = {}
    if isinstance(record, RunStart):
        _claim_identity(claims, record, _FIRST, time_us)
        _claim_time(claims, "started_us", _FIRST, time_us)
        claims["status"] = (STATUS_ORDER.index("running"), 0, "running")
        if record.template_version_id is not None:
            claims["template_version_id"] = (_FIRST, time_us, clean(str(record.template_version_id)))
        _claim_tags(claims, record.tags)
        if content:
            _claim_start_content(claims, record, time_us)
    elif isinstance(record, RunEnd):
        _claim_identity(claims, record, _SECOND, time_us)
        _claim_end(claims, record, time_us, content)
    elif isinstance(record, RunUpdate):
        _claim_identity(claims, record, _SECOND, time_us)
        _claim_usage(claims, record, _UPDATE, -time_us)
    elif isinstance(record, RunPoint):
        _claim_identity(claims, record, _SECOND, time_us)
        if content:
            claims[f"points.{record.event_id}"] = (_FIRST, time_us, (clean(record.label), _raw(record.data)))
    else:
        return _chat_claims(record, time_us, content)
    return [(clean(record.run_id), claims)]


def _claim_identity(claims: Claims, record: RunRecord, rank: int, time_us: int) -> None:
    for field, attribute in _WHO_AND_WHERE:
        value = getattr(record, attribute)
        if value is not None:
            claims[field] = (rank, time_us, clean(value))
    if "parent_id" not in claims and (above := _host_parent(record)) is not None:
        claims["parent_id"] = (_HEARSAY, time_us, above)
    if record.type is not None:
        claims["type"] = (rank, time_us, clean(record.type))
    if not record.sampled:
        claims["sampled"] = (rank, time_us, False)


def _host_parent(record: RunRecord) -> str | None:
    """The run that the host's span above a run without a parent is, if the host sends its spans here too: the same id
    whichever of the two arrives first."""
    trace_id, span_id = record.trace_id, record.parent_span_id
    if not (is_trace_id(trace_id) and is_span_id(span_id)):
        return None
    above = run_id_of_parent(trace_id or "", span_id or "", "")
    return above if above != record.run_id else None


def _claim_end(claims: Claims, record: RunEnd, time_us: int, content: bool) -> None:
    rank = STATUS_ORDER.index(record.status)
    claims["status"] = (rank, 0, record.status)
    if record.status != "running":
        _claim_time(claims, "ended_us", rank, time_us)
    if record.started_at is not None:
        _claim_time(claims, "started_us", _SECOND, event_time_us(record.started_at))
    if record.first_item_at is not None:
        _claim_time(claims, "first_item_us", rank, event_time_us(record.first_item_at))
    _claim_usage(claims, record, rank, time_us)
    _claim_count(claims, "items", rank, time_us, record.items)
    _claim_tags(claims, record.tags)
    if record.error is not None:
        claims["error_message"] = (rank, time_us, clean(record.error.message)[:_MAX_TEXT])
        if record.error.type is not None:
            claims["error_type"] = (rank, time_us, clean(record.error.type)[:_MAX_TEXT])
        if content:
            claims["error_text"] = (rank, time_us, clean(record.error.message))
            if record.error.stack is not None:
                claims["error_stack"] = (rank, time_us, clean(record.error.stack))
    if content:
        _claim_raw(claims, "output", rank, time_us, record.output)
        for field in ("params", "metadata", "extra"):
            _claim_parts(claims, field, rank, time_us, getattr(record, field))


def _claim_start_content(claims: Claims, record: RunStart, time_us: int) -> None:
    _claim_raw(claims, "input", _FIRST, time_us, record.input)
    for field in ("params", "metadata", "user_props"):
        _claim_parts(claims, field, _BROUGHT, time_us, getattr(record, field))


def _claim_usage(claims: Claims, record: RunUpdate | RunEnd, rank: int, time_us: int) -> None:
    usage = record.tokens_usage or TokenUsage()
    for field, value in (
        ("prompt_tokens", usage.prompt),
        ("completion_tokens", usage.completion),
        ("cached_tokens", usage.prompt_cached),
        ("reasoning_tokens", usage.reasoning),
        ("total_tokens", usage.total),
    ):
        _claim_count(claims, field, rank, time_us, value)
    if record.model is not None:
        claims["model"] = (rank, time_us, clean(record.model))
    if record.response_id is not None:
        claims["response_id"] = (rank, time_us, clean(record.response_id))
    if record.cost is not None and math.isfinite(record.cost):
        claims["cost"] = (rank, time_us, float(record.cost))


def _chat_claims(record: Chat, time_us: int, content: bool) -> list[tuple[str, Claims]]:
    claims: Claims = {}
    _claim_identity(claims, record, _SECOND, time_us)
    claims["type"] = (_FIRST, 0, "chat")
    _claim_time(claims, "started_us", _FIRST, time_us)
    _claim_tags(claims, record.tags)
    if _is_answer(record):
        claims["status"] = (STATUS_ORDER.index("ok"), 0, "ok")
        if time_us != NO_TIME_US:
            claims["ended_us"] = (_ANSWER, -time_us, time_us)
    else:
        claims["status"] = (STATUS_ORDER.index("running"), 0, "running")
    if content:
        for field in ("metadata", "user_props"):
            _claim_parts(claims, field, _BROUGHT, time_us, getattr(record, field))
        if isinstance(record.message, Raw):
            claims[f"messages.{record.event_id}"] = (_FIRST, time_us, record.message)
    made = [(clean(record.run_id), claims)]
    thread = record.parent_run_id or record.thread_id
    if thread is not None:
        claims.setdefault("thread_id", (_HEARSAY, time_us, clean(thread)))
        if thread != record.run_id:
            made.append((clean(thread), _thread_claims(record, time_us)))
    return made


def _thread_claims(record: Chat, time_us: int) -> Claims:
    claims: Claims = {"type": (_HEARSAY, 0, "thread")}
    _claim_time(claims, "started_us", _HEARSAY, time_us)
    for field, value in (("user_id", record.user_id), ("customer", record.customer), ("service", record.service)):
        if value is not None:
            claims[field] = (_HEARSAY, time_us, clean(value))
    return claims


def _is_answer(record: Chat) -> bool:
    if not isinstance(record.message, Raw):
        return False
    try:
        return _role_decoder.decode(record.message).role in ("assistant", "tool", "bot")
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False


def _claim_time(claims: Claims, field: str, rank: int, time_us: int) -> None:
    if time_us != NO_TIME_US:
        claims[field] = (rank, time_us, time_us)


def _claim_count(claims: Claims, field: str, rank: int, time_us: int, value: int | None) -> None:
    if value is not None and 0 <= value < _INT64:
        claims[field] = (rank, time_us, int(value))


def _claim_tags(claims: Claims, tags: list[str] | None) -> None:
    for tag in tags or ():
        claims[f"tags.{clean(tag)}"] = (0, 0, True)


def _claim_raw(claims: Claims, field: str, rank: int, time_us: int, value: object) -> None:
    if isinstance(value, Raw):
        claims[field] = (rank, time_us, value)


def _claim_parts(claims: Claims, field: str, rank: int, time_us: int, value: object) -> None:
    if not isinstance(value, Raw):
        return
    try:
        parts = _object_decoder.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError):
        parts = {"value": value} if bytes(value) != b"null" else {}  # not an object: kept all the same
    for key, part in parts.items():
        claims[f"{field}.{key}"] = (rank, time_us, part)


def _raw(value: object) -> Raw | None:
    return value if isinstance(value, Raw) else None


def _digest(claim: Claim) -> bytes:
    return content_hash(msgspec.json.encode(claim[2]))


def content_hash(content: bytes) -> bytes:
    """Eight bytes that stand for a content when two events carry the same time."""
    return hashlib.blake2b(content, digest_size=8).digest()


def event_time_us(timestamp: str) -> int:
    """Microseconds since the epoch; NO_TIME_US for what is no timestamp."""
    try:
        return parse_iso_us(timestamp)
    except (ValueError, OverflowError):
        return NO_TIME_US


def clean(text: str) -> str:
    """Text that SQLite and every terminal can hold: NUL is shown as U+2400, lone surrogates become U+FFFD."""
    if "\0" in text:
        text = text.replace("\0", "\u2400")
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return "".join("\ufffd" if "\ud800" <= char <= "\udfff" else char for char in text)
    return text


FeedbackEvent = tuple[int, bytes, bool, dict[str, Any]]
"""Time in microseconds, content hash, overwrite, the feedback object."""


def merge_feedback(events: Iterable[FeedbackEvent]) -> dict[str, Any]:
    """The feedback that stands after all of these, in whatever order they are given.

    An event without a time counts as the oldest. A key that was last set to null is gone.
    """
    merged: dict[str, Any] = {}
    for _, _, overwrite, values in sorted(events, key=_feedback_order):
        if overwrite:
            merged = {}
        merged.update(values)
    return {key: merged[key] for key in sorted(merged) if merged[key] is not None}


def _feedback_order(event: FeedbackEvent) -> tuple[int, bool, bytes]:
    time_us, digest, overwrite, _ = event
    return (-1 if time_us == NO_TIME_US else time_us, not overwrite, digest)
