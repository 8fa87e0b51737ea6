"""OTLP as plain values: spans and log records, whichever encoding they travel in and whoever made them.

Promise: what the rest of the dialect, and the span processor, speak; ids are lower-case hex, times nanoseconds since
the epoch. Must never: import protobuf or the OpenTelemetry SDK.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

INTERNAL, SERVER, CLIENT, PRODUCER, CONSUMER = 1, 2, 3, 4, 5
KIND_NAMES = {0: "UNSPECIFIED", 1: "INTERNAL", 2: "SERVER", 3: "CLIENT", 4: "PRODUCER", 5: "CONSUMER"}
UNSET, OK, ERROR = 0, 1, 2

Attributes = dict[str, Any]
"""Values are str, bool, int, float, None, bytes, and lists and dicts of these."""


@dataclass(slots=True)
class SpanEvent:
    """A moment in a span; ``time_ns`` since the epoch."""

    name: str
    time_ns: int
    attributes: Attributes = field(default_factory=dict)


@dataclass(slots=True)
class SpanLink:
    """Another span that this one has to do with."""

    trace_id: str
    span_id: str
    attributes: Attributes = field(default_factory=dict)


@dataclass(slots=True)
class Span:
    """One finished span. ``trace_id`` is 32 hex digits, ``span_id`` and ``parent_span_id`` 16 ("" for none);
    ``status`` is UNSET, OK or ERROR; ``resource`` the attributes of the process that made it."""

    trace_id: str
    span_id: str
    name: str
    start_ns: int
    end_ns: int
    parent_span_id: str = ""
    trace_state: str = ""
    kind: int = INTERNAL
    attributes: Attributes = field(default_factory=dict)
    events: list[SpanEvent] = field(default_factory=list)
    links: list[SpanLink] = field(default_factory=list)
    status: int = UNSET
    status_message: str = ""
    resource: Attributes = field(default_factory=dict)
    scope: str = ""
    scope_version: str = ""


@dataclass(slots=True)
class LogEvent:
    """One log record; ``name`` is its event name ("" for plain logs). Ids are "" when it belongs to no span."""

    name: str
    time_ns: int
    attributes: Attributes = field(default_factory=dict)
    body: Any = None
    trace_id: str = ""
    span_id: str = ""
    resource: Attributes = field(default_factory=dict)
    scope: str = ""


@dataclass(frozen=True, slots=True)
class Bad:
    """A span or log record that could not be read, and why; ``path`` such as ``$.resourceSpans[0].scopeSpans[0]…``."""

    path: str
    reason: str
