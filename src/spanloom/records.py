"""The vocabulary: what is recorded, as bytes in the journal and as typed values everywhere else.

A *record* is one JSON object (UTF-8, no newline outside strings). Its field names are those of Lunary's envelope
(the first language) plus our own, so that the journal is readable by eye, `Collector` sends records unchanged, and a
dialect decodes only the envelope: user content stays ``msgspec.Raw``, bytes that nobody parses again.

    RunStart     a run opened                      event = "start"
    RunUpdate    usage known before the end        event = "update"   (so that a killed run can still be metered)
    RunPoint     a moment inside a run             event = "point"
    RunEnd       a run closed; self-contained      event = "end"      (status says how; error inside)
    Chat         one message of a conversation     event = "chat"
    Feedback     by run id or by the user's key    event = "feedback"
    UsageEvent   an action or an outcome           event = "action" | "outcome"
    LossReport   what a client lost, and why       event = "client_report"

Promises: decoding never runs code, names the path of what is wrong, and ignores fields it does not know.
"""

from __future__ import annotations

from typing import Literal

import msgspec
from msgspec import UNSET, Raw, UnsetType

from .errors import WireError

RUN_TYPES = ("agent", "tool", "llm", "chain", "embed", "retriever")
"""The run types that a user can open; ``thread`` and ``chat`` are made by conversations."""

Status = Literal["running", "ok", "error", "cancelled", "abandoned", "killed"]
STATUSES = ("running", "ok", "error", "cancelled", "abandoned", "killed")

Content = Raw | UnsetType
"""A user's value as JSON bytes, made by the encoder; UNSET when there is none (``null`` is a value)."""


class TokenUsage(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    """Token counts, all ints >= 0 or None when unknown. ``prompt``, ``completion`` and ``prompt_cached`` are Lunary's
    ``tokensUsage``; ``reasoning`` (part of completion) and ``total`` are ours."""

    prompt: int | None = None
    completion: int | None = None
    prompt_cached: int | None = None
    reasoning: int | None = None
    total: int | None = None


class ErrorInfo(msgspec.Struct, frozen=True, omit_defaults=True):
    """An error as text: ``message``, ``stack`` (the traceback), ``type`` (the exception's class name)."""

    message: str
    stack: str | None = None
    type: str | None = None


class Record(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """What every record has: ``event_id`` (unique, the idempotency key of the record itself) and ``timestamp``
    (ISO 8601, UTC, microseconds)."""

    event_id: str
    timestamp: str


class RunRecord(Record, frozen=True, kw_only=True):
    """What every record about a run has. ``root_run_id`` names the trace; ids are 36-character UUIDs when ours, and any
    text when foreign."""

    run_id: str
    type: str | None = None
    name: str | None = None
    parent_run_id: str | None = None
    root_run_id: str | None = None
    # Who and what for. Repeated on the end record, so that it can be metered by itself.
    user_id: str | None = None
    thread_id: str | None = None
    customer: str | None = None
    agent_key: str | None = None
    key: str | None = None
    # The host's trace, when joined: W3C trace id (32 hex) and the id (16 hex) of the parent span outside.
    trace_id: str | None = None
    link: str | None = None
    parent_span_id: str | None = None
    service: str | None = None
    runtime: str | None = None
    sampled: bool = True


class RunStart(RunRecord, tag_field="event", tag="start", frozen=True, kw_only=True):
    """A run opened. ``input``, ``params``, ``metadata``, ``user_props`` are JSON; ``tags`` strings."""

    input: Content = UNSET
    params: Content = UNSET
    metadata: Content = UNSET
    user_props: Content = UNSET
    tags: list[str] | None = None
    template_version_id: int | str | None = None


class Reported(RunRecord, frozen=True, kw_only=True):
    """What becomes known of a run while it works: usage, model, cost (US dollars), the provider's response id."""

    tokens_usage: TokenUsage | None = None
    model: str | None = None
    cost: float | None = None
    response_id: str | None = None


class RunUpdate(Reported, tag_field="event", tag="update", frozen=True, kw_only=True):
    """Usage became known before the end."""


class RunPoint(RunRecord, tag_field="event", tag="point", frozen=True, kw_only=True):
    """`Run.event`: ``label`` names the moment, ``data`` (a JSON object) describes it."""

    label: str
    data: Content = UNSET


class RunEnd(Reported, tag_field="event", tag="end", frozen=True, kw_only=True):
    """A run closed. ``started_at`` repeats the start's timestamp. ``first_item_at`` is when a stream's first item came.

    ``params``, ``metadata``, ``tags`` and ``extra`` hold only what was set after the start. ``late`` names what was
    said after the run had ended: such a record is that end once more, with this added, and ends nothing by itself.
    """

    status: Status = "ok"
    started_at: str | None = None
    first_item_at: str | None = None
    output: Content = UNSET
    error: ErrorInfo | None = None
    params: Content = UNSET
    metadata: Content = UNSET
    extra: Content = UNSET
    tags: list[str] | None = None
    items: int | None = None
    late: list[str] | None = None


class Chat(RunRecord, tag_field="event", tag="chat", frozen=True, kw_only=True):
    """One message of a conversation. ``run_id`` is the exchange's, shared by the user's message and the answer;
    ``parent_run_id`` is the thread's. ``message`` is JSON: ``{"role", "content", ...}``."""

    message: Content = UNSET
    user_props: Content = UNSET
    tags: list[str] | None = None
    metadata: Content = UNSET


class Feedback(Record, tag_field="event", tag="feedback", frozen=True, kw_only=True):
    """Feedback for ``run_id``, or for the run that carries the user's own ``key``. ``feedback`` is a JSON object, its
    keys among thumb ("up" | "down" | null), comment, score, label. ``overwrite`` replaces what was there."""

    run_id: str | None = None
    key: str | None = None
    feedback: Content = UNSET
    overwrite: bool = False


class UsageEvent(Record, frozen=True, kw_only=True):
    """Something that is counted or billed: ``name`` happened ``value`` times for ``customer``.

    ``properties`` and ``labels`` are JSON objects. ``idempotency_key`` is made once and never changes.
    ``agent_key`` is the agent it is counted for, where an endpoint tells agents apart. ``metered`` is the type of the
    run that this was made from, when it was not the user who called.
    """

    name: str
    idempotency_key: str
    customer: str | None = None
    value: int | float = 1
    properties: Content = UNSET
    labels: Content = UNSET
    run_id: str | None = None
    root_run_id: str | None = None
    user_id: str | None = None
    agent_key: str | None = None
    metered: str | None = None


class Action(UsageEvent, tag_field="event", tag="action", frozen=True, kw_only=True):
    """Work that was done, such as an LLM call."""


class Outcome(UsageEvent, tag_field="event", tag="outcome", frozen=True, kw_only=True):
    """A result that was reached, such as a ticket resolved."""


class LossReport(Record, tag_field="event", tag="client_report", frozen=True, kw_only=True):
    """What a client lost since its last report: ``lost`` maps a reason to a count."""

    destination: str
    lost: dict[str, int]
    process: str | None = None


AnyRecord = RunStart | RunUpdate | RunPoint | RunEnd | Chat | Feedback | Action | Outcome | LossReport

_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[AnyRecord] = msgspec.json.Decoder(AnyRecord)
_batch_decoder: msgspec.json.Decoder[list[AnyRecord]] = msgspec.json.Decoder(list[AnyRecord])


def encode(record: AnyRecord) -> bytes:
    """The record as it stands in the journal."""
    return _encoder.encode(record)


def decode(payload: bytes | memoryview) -> AnyRecord:
    """Read one record; raises WireError naming the path of what is wrong."""
    try:
        return _decoder.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise WireError(str(error)) from None


def decode_batch(payloads: list[bytes]) -> list[AnyRecord]:
    """Read many records in one pass of C code, so that the interpreter lock changes hands once."""
    try:
        return _batch_decoder.decode(b"[" + b",".join(payloads) + b"]")
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise WireError(str(error)) from None
