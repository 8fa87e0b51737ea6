"""OTLP in protobuf, both ends, by the messages of ``opentelemetry-proto`` (the extra ``spanloom[otlp]``, and part of
``spanloom[serve]``).

Promise: imported only where protobuf is spoken; says by `available` whether it can be. Raises WireError for bytes that
are no request. Must never: be imported by a program that ships JSON or nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

from ..errors import WireError
from .otlp_json import MOST_ITEMS, checked_span, grouped
from .otlp_values import Attributes, Bad, LogEvent, Span, SpanEvent, SpanLink

_MOST_LEVELS = 32
_INT64 = 1 << 63


def available() -> bool:
    """Whether ``opentelemetry-proto`` is installed; looks without importing it."""
    try:
        return find_spec("opentelemetry.proto") is not None
    except (ImportError, ValueError):
        return False


# -- writing -------------------------------------------------------------------------------------------------------


def encode_traces(spans: Sequence[Span]) -> bytes:
    """An ``ExportTraceServiceRequest``."""
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    request = ExportTraceServiceRequest()
    for group in grouped(spans):
        outer = request.resource_spans.add()
        _put(outer.resource.attributes, group[0].resource)
        inner = outer.scope_spans.add()
        inner.scope.name, inner.scope.version = _text(group[0].scope), _text(group[0].scope_version)
        for span in group:
            _put_span(inner.spans.add(), span)
    return bytes(request.SerializeToString())


def encode_logs(events: Sequence[LogEvent]) -> bytes:
    """An ``ExportLogsServiceRequest``."""
    from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

    request = ExportLogsServiceRequest()
    for group in grouped(events):
        outer = request.resource_logs.add()
        _put(outer.resource.attributes, group[0].resource)
        inner = outer.scope_logs.add()
        inner.scope.name = _text(group[0].scope)
        for event in group:
            made = inner.log_records.add()
            made.time_unix_nano = made.observed_time_unix_nano = event.time_ns
            made.severity_number = 9
            made.event_name = _text(event.name)
            made.trace_id, made.span_id = bytes.fromhex(event.trace_id), bytes.fromhex(event.span_id)
            _put(made.attributes, event.attributes)
            if event.body is not None:
                _put_value(made.body, event.body)
    return bytes(request.SerializeToString())


def _put_span(made: Any, span: Span) -> None:
    made.trace_id, made.span_id = bytes.fromhex(span.trace_id), bytes.fromhex(span.span_id)
    made.parent_span_id = bytes.fromhex(span.parent_span_id)
    made.trace_state, made.name, made.kind, made.flags = _text(span.trace_state), _text(span.name), span.kind, 1
    made.start_time_unix_nano, made.end_time_unix_nano = span.start_ns, span.end_ns
    _put(made.attributes, span.attributes)
    for event in span.events:
        moment = made.events.add()
        moment.name, moment.time_unix_nano = _text(event.name), event.time_ns
        _put(moment.attributes, event.attributes)
    for link in span.links:
        other = made.links.add()
        other.trace_id, other.span_id = bytes.fromhex(link.trace_id), bytes.fromhex(link.span_id)
        _put(other.attributes, link.attributes)
    made.status.code, made.status.message = span.status, _text(span.status_message)


def _put(pairs: Any, attributes: Attributes) -> None:
    for name, value in attributes.items():
        pair = pairs.add()
        pair.key = _text(name)
        _put_value(pair.value, value)


def _put_value(made: Any, value: Any) -> None:
    if isinstance(value, bool):
        made.bool_value = value
    elif isinstance(value, int):
        if -_INT64 <= value < _INT64:
            made.int_value = value
        else:
            made.string_value = str(value)
    elif isinstance(value, float):
        made.double_value = value
    elif isinstance(value, str):
        made.string_value = _text(value)
    elif isinstance(value, bytes):
        made.bytes_value = value
    elif isinstance(value, list | tuple):
        made.array_value.SetInParent()
        for item in value:
            _put_value(made.array_value.values.add(), item)
    elif isinstance(value, dict):
        made.kvlist_value.SetInParent()
        _put(made.kvlist_value.values, value)


def _text(text: str) -> str:
    """Protobuf refuses lone surrogates."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace").decode()
    return text


# -- reading -------------------------------------------------------------------------------------------------------


def decode_traces(body: bytes) -> list[Span | Bad]:
    """The spans of an ``ExportTraceServiceRequest``. Raises WireError when the body is none."""
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    found: list[Span | Bad] = []
    for first, group in enumerate(_parsed(ExportTraceServiceRequest, body).resource_spans):
        resource = _attributes(group.resource.attributes)
        for second, scoped in enumerate(group.scope_spans):
            for third, item in enumerate(scoped.spans):
                path = f"$.resourceSpans[{first}].scopeSpans[{second}].spans[{third}]"
                try:
                    found.append(checked_span(path, _span(item, resource, scoped.scope)))
                except WireError as error:
                    found.append(Bad(error.path, error.message))
                _check_count(found)
    return found


def decode_logs(body: bytes) -> list[LogEvent | Bad]:
    """The log records of an ``ExportLogsServiceRequest``. Raises WireError when the body is none."""
    from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

    found: list[LogEvent | Bad] = []
    for group in _parsed(ExportLogsServiceRequest, body).resource_logs:
        resource = _attributes(group.resource.attributes)
        for scoped in group.scope_logs:
            for item in scoped.log_records:
                attributes = _attributes(item.attributes)
                old = attributes.get("event.name")
                found.append(LogEvent(
                    name=item.event_name or (old if isinstance(old, str) else ""),
                    time_ns=min(item.time_unix_nano or item.observed_time_unix_nano, _INT64 - 1),
                    attributes=attributes, body=_value(item.body, 0),
                    trace_id=item.trace_id.hex(), span_id=item.span_id.hex(),
                    resource=resource, scope=scoped.scope.name,
                ))  # fmt: skip
                _check_count(found)
    return found


def _check_count(found: Sequence[Any]) -> None:
    if len(found) > MOST_ITEMS:
        raise WireError(f"more than {MOST_ITEMS} items in one request", status_hint=413)


def _parsed(kind: Any, body: bytes) -> Any:
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped,import-not-found,unused-ignore]

    request = kind()
    try:
        request.ParseFromString(body)
    except (DecodeError, ValueError, RecursionError) as error:
        raise WireError(f"the body is no {kind.DESCRIPTOR.name} in protobuf ({type(error).__name__})") from None
    return request


def _span(item: Any, resource: Attributes, scope: Any) -> Span:
    parent = item.parent_span_id.hex()
    return Span(
        trace_id=item.trace_id.hex(),
        span_id=item.span_id.hex(),
        parent_span_id=parent if parent.strip("0") else "",
        trace_state=item.trace_state,
        name=item.name,
        kind=item.kind,
        start_ns=item.start_time_unix_nano,
        end_ns=item.end_time_unix_nano,
        attributes=_attributes(item.attributes),
        events=[SpanEvent(event.name, min(event.time_unix_nano, _INT64 - 1), _attributes(event.attributes))
                for event in item.events],
        links=[SpanLink(link.trace_id.hex(), link.span_id.hex(), _attributes(link.attributes)) for link in item.links],
        status=item.status.code,
        status_message=item.status.message,
        resource=resource,
        scope=scope.name,
        scope_version=scope.version,
    )  # fmt: skip


def _attributes(pairs: Any, level: int = 0) -> Attributes:
    return {pair.key: _value(pair.value, level) for pair in pairs}


def _value(value: Any, level: int) -> Any:
    kind = value.WhichOneof("value")
    if kind is None or level > _MOST_LEVELS:
        return None
    if kind == "array_value":
        return [_value(item, level + 1) for item in value.array_value.values]
    if kind == "kvlist_value":
        return _attributes(value.kvlist_value.values, level + 1)
    found = getattr(value, kind)
    return str(found) if isinstance(found, float) and not math.isfinite(found) else found


# -- answers: two fields each, by hand, so that they need no protobuf package --------------------------------------


def partial_success(rejected: int, words: str) -> bytes:
    """An export response; empty for full success. ``rejected`` is field 1 and the message field 2 of field 1, for spans
    and log records alike."""
    if not rejected:
        return b""
    inner = b"\x08" + _varint(rejected) + _field_2(words)
    return b"\x0a" + _varint(len(inner)) + inner


def read_partial_success(body: bytes) -> tuple[int, str]:
    """(how many were rejected, why) of an export response. Raises WireError for what is none."""
    if not available():
        return 0, ""
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

    partial = _parsed(ExportTraceServiceResponse, body).partial_success
    return int(partial.rejected_spans), str(partial.error_message)


def status_bytes(code: int, message: str) -> bytes:
    """A ``google.rpc.Status``."""
    return b"\x08" + _varint(code) + _field_2(message)


def _field_2(text: str) -> bytes:
    data = text.encode("utf-8", "replace")
    return b"\x12" + _varint(len(data)) + data


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)
