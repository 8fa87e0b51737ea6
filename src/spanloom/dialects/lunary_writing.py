"""The client's end of the Lunary dialect: records to requests. Facts and their sources are in `lunary`.

Promise: what is written satisfies the server's rules on order and form, and user content passes as the bytes it is.
Must never: raise for a record that the recording room made.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
from msgspec import UNSET, Raw

from ..clock import iso, parse_iso_us
from ..records import AnyRecord, Chat, Content, ErrorInfo, Feedback, RunEnd, RunRecord, RunStart, RunUpdate, TokenUsage
from ..wire import Call, Request, Verdict
from .lunary_metadata import ON_END, ON_START, STATUS_WORDS, Flat, flat, members, text_of

KINDS = frozenset({"start", "end", "chat", "feedback"})
"""The kinds of record that go to Lunary; a destination takes no others."""

PATH = "/v1/runs/ingest"


@dataclass(frozen=True, slots=True)
class Options:
    """``public_key`` is the project's key (its UUID). A request is closed when its body would pass
    ``max_body_bytes`` (uncompressed; Lunary's own limit is 20 MB); one larger event travels alone."""

    public_key: str = field(default="", repr=False)
    max_body_bytes: int = 8_000_000


class _Event(msgspec.Struct, kw_only=True, omit_defaults=True, rename="camel"):
    """One event in the guide's fields, in the guide's order."""

    type: str
    event: str
    run_id: str
    parent_run_id: str | None = None
    name: str | None = None
    timestamp: str = ""
    input: Content = UNSET
    output: Content = UNSET
    message: Any = UNSET
    error: dict[str, str] | None = None
    feedback: Content = UNSET
    overwrite: bool = False
    user_id: str | None = None
    user_props: Content = UNSET
    tokens_usage: dict[str, int] | None = None
    params: Content = UNSET
    metadata: Any = UNSET
    tags: list[str] | None = None
    template_version_id: int | None = None
    runtime: str | None = None


_encode = msgspec.json.Encoder().encode
_NO_PROPS = Raw(b"{}")
_NOT_CARRIED = Verdict("rejected", "not_carried")


def refusal(record: AnyRecord) -> Verdict | None:
    """The verdict on a record that `write_request` puts into no call, or None when it carries it.

    Updates are ``delivered`` because the end record says all of it again; the others are ``rejected``, with the reason
    ``key_unsupported`` (feedback by a key that nobody here resolved) or ``not_carried`` (no place at Lunary).
    """
    if isinstance(record, RunStart | RunEnd):
        return None
    if isinstance(record, Chat):
        return None if record.parent_run_id or record.thread_id else _NOT_CARRIED
    if isinstance(record, Feedback):
        return None if record.run_id else Verdict("rejected", "key_unsupported")
    return Verdict("delivered", "not_carried") if isinstance(record, RunUpdate) else _NOT_CARRIED


def write_request(records: Sequence[AnyRecord], options: Options | None = None) -> list[Call]:
    """One or more requests, to be sent in order, for a batch of records in any order.

    ``indexes`` of a call has one entry for each event in its body: a record that becomes two events (a run that
    failed: ``end`` and ``error``) stands there twice, one that has no place at Lunary (`refusal`) nowhere.
    """
    options = options or Options()
    calls: list[Call] = []
    bodies: list[bytes] = []
    indexes: list[int] = []
    size_bytes = 0
    for index, record, stamp in _in_order(records):
        rendered = [_encode(event) for event in _events(record, stamp)]
        growth = sum(map(len, rendered)) + len(rendered)
        if bodies and size_bytes + growth > options.max_body_bytes:
            calls.append(_call(bodies, indexes, options))
            bodies, indexes, size_bytes = [], [], 0
        bodies += rendered
        indexes += [index] * len(rendered)
        size_bytes += growth
    if bodies:
        calls.append(_call(bodies, indexes, options))
    return calls


def _call(bodies: list[bytes], indexes: list[int], options: Options) -> Call:
    headers = {"content-type": "application/json"}
    if options.public_key:
        headers["authorization"] = f"Bearer {options.public_key}"
    body = b'{"events":[' + b",".join(bodies) + b"]}"
    return Call(Request("POST", PATH, headers, body), tuple(indexes))


# -- order ---------------------------------------------------------------------------------------------------------


def _in_order(records: Sequence[AnyRecord]) -> list[tuple[int, AnyRecord, str]]:
    """(place in the batch, record, timestamp in milliseconds), as the server must see them.

    By time in microseconds, which tells apart what happened in one millisecond (the server keeps the order of equal
    timestamps); on ties starts and chats before ends before feedback, and parents before children. A start that a
    skewed clock puts before its parent's is moved to it, or the server would stall 5 s and lose the link.
    """
    opened: dict[str, tuple[str, str | None]] = {}
    for record in records:
        if isinstance(record, RunStart | Chat):
            moment = _microseconds(record.timestamp)
            known = opened.get(record.run_id)
            if known is None or moment < known[0]:
                opened[record.run_id] = (moment, record.parent_run_id)
    rows = []
    for index, record in enumerate(records):
        if refusal(record) is not None:
            continue
        moment, depth = _placed(record, opened)
        phase = 0 if isinstance(record, RunStart | Chat) else 1 if isinstance(record, RunEnd) else 2
        rows.append((moment, phase, -depth if phase else depth, index))
    rows.sort()
    return [(index, records[index], moment[:23] + "Z") for moment, _, _, index in rows]


def _placed(record: AnyRecord, opened: dict[str, tuple[str, str | None]]) -> tuple[str, int]:
    """The record's time, not before its ancestors opened, and its depth below the oldest ancestor in the batch."""
    moment, depth = _microseconds(record.timestamp), 0
    above: str | None = record.run_id if isinstance(record, RunRecord | Feedback) else None
    seen: set[str] = set()
    while above is not None and above in opened and above not in seen:
        seen.add(above)
        opened_at, above = opened[above]
        moment, depth = max(moment, opened_at), depth + 1
    return moment, depth


def _microseconds(timestamp: str) -> str:
    """Our 27 characters as they are; anything else is read first (and a record is never lost to its timestamp)."""
    if len(timestamp) == 27 and timestamp[26] == "Z":
        return timestamp
    try:
        return iso(parse_iso_us(timestamp) * 1000)
    except ValueError:
        return iso(0)


# -- form ----------------------------------------------------------------------------------------------------------


def _events(record: AnyRecord, stamp: str) -> Iterator[_Event]:
    if isinstance(record, RunStart):
        yield _start(record, stamp)
    elif isinstance(record, RunEnd):
        yield _end(record, stamp)
        if record.status == "error" or (record.status == "killed" and record.error is not None):
            yield _error(record, stamp)
    elif isinstance(record, Chat):
        yield _chat(record, stamp)
    elif isinstance(record, Feedback):
        # "type": "chat" is the guide's; the server does not read it. run_id is there: refusal() saw to it.
        yield _Event(
            type="chat", event="feedback", run_id=record.run_id or "", timestamp=stamp,
            feedback=record.feedback, overwrite=record.overwrite,
        )  # fmt: skip


def _start(record: RunStart, stamp: str) -> _Event:
    version = record.template_version_id
    extra = _ours(record)
    if isinstance(version, str):  # as templateVersionId it would cost the whole event, in metadata too
        extra["templateVersion"] = version
    return _Event(
        type=record.type or "chain", event="start", run_id=record.run_id, parent_run_id=record.parent_run_id,
        name=record.name, timestamp=stamp, input=_not_boolean(record.input), params=record.params,
        metadata=_merged(record.metadata, extra), tags=record.tags or None,
        template_version_id=version if isinstance(version, int) else None,
        runtime=record.runtime, **_user(record.user_id, record.user_props),
    )  # fmt: skip


def _end(record: RunEnd, stamp: str) -> _Event:
    extra: Flat = {name: getattr(record, field) for name, (field, _) in ON_END.items()}
    if record.tokens_usage is not None:
        extra["reasoningTokens"] = record.tokens_usage.reasoning
        extra["totalTokens"] = record.tokens_usage.total
    if record.error is not None:
        extra["errorType"] = record.error.type
    if record.params is not UNSET:
        extra["params"] = text_of(record.params)
    if record.extra is not UNSET:
        extra["extra"] = text_of(record.extra)
    if record.tags:
        extra["tags"] = record.tags
    metadata = _merged(record.metadata, extra)
    if record.status in STATUS_WORDS:
        metadata = {**(flat(record.metadata) if metadata is record.metadata else metadata), "status": record.status}
    return _Event(
        type=record.type or "chain", event="end", run_id=record.run_id, parent_run_id=record.parent_run_id,
        timestamp=stamp, output=record.output, tokens_usage=_tokens(record.tokens_usage), metadata=metadata,
        runtime=record.runtime,
    )  # fmt: skip


def _error(record: RunEnd, stamp: str) -> _Event:
    found = record.error or ErrorInfo("unknown error")
    error = {"message": found.message}
    if found.stack is not None:
        error["stack"] = found.stack
    return _Event(
        type=record.type or "chain", event="error", run_id=record.run_id, parent_run_id=record.parent_run_id,
        timestamp=stamp, error=error, runtime=record.runtime,
    )  # fmt: skip


def _chat(record: Chat, stamp: str) -> _Event:
    """Lunary reads a chat's tags and metadata inside the message only, so there they go."""
    message: Any = record.message
    extra = _ours(record)
    extra.pop("threadId", None)  # the thread is the parent
    if record.tags or record.metadata is not UNSET or extra:
        inside: Flat = dict(members(record.message) or {})
        if record.tags:
            inside.setdefault("tags", record.tags)
        if record.metadata is not UNSET or extra:
            inside.setdefault("metadata", {**extra, **(members(record.metadata) or {})})
        message = inside
    return _Event(
        type="thread", event="chat", run_id=record.run_id, parent_run_id=record.parent_run_id or record.thread_id,
        timestamp=stamp, message=message, runtime=record.runtime, **_user(record.user_id, record.user_props),
    )  # fmt: skip


def _ours(record: RunRecord) -> Flat:
    """Our fields without a place at Lunary; thread and host trace once, on the outermost run."""
    inner = record.parent_run_id is not None
    outermost = ("thread_id", "trace_id", "parent_span_id")
    found = {
        name: getattr(record, field) for name, (field, _) in ON_START.items() if not (inner and field in outermost)
    }
    return {name: value for name, value in found.items() if value is not None}


def _merged(metadata: Content, extra: Flat) -> Any:
    """Metadata as Lunary keeps it with our own names added; passed through unread when there is nothing to do."""
    extra = {name: value for name, value in extra.items() if value is not None}
    if not extra and (metadata is UNSET or bytes(metadata).find(b"{", 1) == bytes(metadata).find(b"[") == -1):
        return metadata
    return {**extra, **flat(metadata)}


def _user(user_id: str | None, props: Content) -> dict[str, Any]:
    """userProps with every userId, or neither."""
    if user_id is None:
        return {}
    return {"user_id": user_id, "user_props": _NO_PROPS if props is UNSET else props}


def _tokens(usage: TokenUsage | None) -> dict[str, int] | None:
    if usage is None:
        return None
    found = {"prompt": usage.prompt, "completion": usage.completion, "promptCached": usage.prompt_cached}
    return {name: count for name, count in found.items() if count is not None} or None


def _not_boolean(content: Content) -> Content:
    """The server cannot store a bare boolean as input."""
    if content is not UNSET and len(bytes(content)) < 6 and bytes(content) in (b"true", b"false"):
        return Raw(b'"' + bytes(content) + b'"')
    return content
