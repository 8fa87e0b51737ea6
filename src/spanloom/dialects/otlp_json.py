"""OTLP/JSON, both ends: lowerCamelCase names, ids in hex, 64-bit integers as text, bytes in base64, enums as numbers
(https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding, OTLP 1.9).

Promise: needs no protobuf; a span that is wrong spoils none of its neighbours. Raises WireError for a body that is no
request at all. Must never: believe a length or a depth that a stranger claims.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

import msgspec

from ..errors import WireError
from .otlp_ids import is_span_id, is_trace_id
from .otlp_values import Attributes, Bad, LogEvent, Span, SpanEvent, SpanLink
from .strict_json import checked, clean

MOST_ITEMS = 20_000
"""Spans or log records in one request; SDKs send 512."""
_MOST_NS = 1 << 63
_MOST_LEVELS = 32


# -- writing -------------------------------------------------------------------------------------------------------


def encode_traces(spans: Sequence[Span]) -> bytes:
    """An ``ExportTraceServiceRequest``."""
    groups = [
        {"resource": {"attributes": _pairs(group[0].resource)},
         "scopeSpans": [{"scope": _scope(group[0]), "spans": [_span(span) for span in group]}]}
        for group in grouped(spans)
    ]  # fmt: skip
    return msgspec.json.encode({"resourceSpans": groups})


def encode_logs(events: Sequence[LogEvent]) -> bytes:
    """An ``ExportLogsServiceRequest``."""
    groups = [
        {"resource": {"attributes": _pairs(group[0].resource)},
         "scopeLogs": [{"scope": {"name": group[0].scope}, "logRecords": [_log(event) for event in group]}]}
        for group in grouped(events)
    ]  # fmt: skip
    return msgspec.json.encode({"resourceLogs": groups})


def grouped(items: Sequence[Any]) -> Iterator[list[Any]]:
    """Neighbours of one resource and scope, together."""
    for _, group in groupby(items, key=lambda item: (item.resource, item.scope)):
        yield list(group)


def _scope(span: Span) -> dict[str, str]:
    return {"name": span.scope, "version": span.scope_version} if span.scope_version else {"name": span.scope}


def _span(span: Span) -> dict[str, Any]:
    made: dict[str, Any] = {
        "traceId": span.trace_id,
        "spanId": span.span_id,
        "name": span.name,
        "kind": span.kind,
        "startTimeUnixNano": str(span.start_ns),
        "endTimeUnixNano": str(span.end_ns),
        "attributes": _pairs(span.attributes),
        "events": [
            {"name": event.name, "timeUnixNano": str(event.time_ns), "attributes": _pairs(event.attributes)}
            for event in span.events
        ],
        "links": [
            {"traceId": link.trace_id, "spanId": link.span_id, "attributes": _pairs(link.attributes)}
            for link in span.links
        ],
        "status": {"code": span.status, "message": span.status_message},
        "flags": 1,
    }
    if span.parent_span_id:
        made["parentSpanId"] = span.parent_span_id
    if span.trace_state:
        made["traceState"] = span.trace_state
    return made


def _log(event: LogEvent) -> dict[str, Any]:
    made: dict[str, Any] = {
        "timeUnixNano": str(event.time_ns),
        "observedTimeUnixNano": str(event.time_ns),
        "severityNumber": 9,
        "eventName": event.name,
        "attributes": _pairs(event.attributes),
    }
    if event.body is not None:
        made["body"] = _any_value(event.body)
    if event.trace_id:
        made["traceId"] = event.trace_id
    if event.span_id:
        made["spanId"] = event.span_id
    return made


def _pairs(attributes: Attributes) -> list[dict[str, Any]]:
    return [{"key": name, "value": _any_value(value)} for name, value in attributes.items()]


def _any_value(value: Any) -> dict[str, Any]:
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)} if -_MOST_NS <= value < _MOST_NS else {"stringValue": str(value)}
    if isinstance(value, float):
        return {"doubleValue": value if value - value == 0 else str(value)}
    if isinstance(value, str):
        return {"stringValue": value}
    if isinstance(value, bytes):
        return {"bytesValue": base64.b64encode(value).decode()}
    if isinstance(value, list | tuple):
        return {"arrayValue": {"values": [_any_value(item) for item in value]}}
    if isinstance(value, dict):
        return {"kvlistValue": {"values": _pairs(value)}}
    return {}


# -- reading -------------------------------------------------------------------------------------------------------


def decode_traces(body: bytes) -> list[Span | Bad]:
    """The spans of an ``ExportTraceServiceRequest``. Raises WireError when the body is none."""
    return _items(body, "resourceSpans", "scopeSpans", "spans", _read_span)


def decode_logs(body: bytes) -> list[LogEvent | Bad]:
    """The log records of an ``ExportLogsServiceRequest``. Raises WireError when the body is none."""
    return _items(body, "resourceLogs", "scopeLogs", "logRecords", _read_log)


def _items(body: bytes, outer: str, middle: str, inner: str, read: Any) -> list[Any]:
    top = checked(clean(body).strip(), "$")
    if not isinstance(top, dict):
        raise WireError(f"send an object with {outer}", path="$")
    found: list[Any] = []
    for first, group in enumerate(_list(top, outer, "$")):
        where = f"$.{outer}[{first}]"
        resource = _attributes(_object(_object(group, where).get("resource"), where).get("attributes"), where, 0)
        for second, scoped in enumerate(_list(_object(group, where), middle, where)):
            inside = f"{where}.{middle}[{second}]"
            scope = _object(_object(scoped, inside).get("scope"), inside)
            for third, item in enumerate(_list(_object(scoped, inside), inner, inside)):
                place = f"{inside}.{inner}[{third}]"
                try:
                    found.append(read(_object(item, place), place, resource, scope))
                except WireError as error:
                    found.append(Bad(error.path, error.message))
                if len(found) > MOST_ITEMS:
                    raise WireError(f"more than {MOST_ITEMS} {inner} in one request", path=outer, status_hint=413)
    return found


def _read_span(item: dict[str, Any], path: str, resource: Attributes, scope: dict[str, Any]) -> Span:
    parent = _hex(item, "parentSpanId", path, needed=False)
    status = _object(item.get("status"), f"{path}.status")
    return checked_span(path, Span(
        trace_id=_hex(item, "traceId", path),
        span_id=_hex(item, "spanId", path),
        parent_span_id=parent if parent.strip("0") else "",
        trace_state=_text(item, "traceState", path),
        name=_text(item, "name", path),
        kind=_int(item, "kind", path),
        start_ns=_int(item, "startTimeUnixNano", path),
        end_ns=_int(item, "endTimeUnixNano", path),
        attributes=_attributes(item.get("attributes"), f"{path}.attributes", 0),
        events=[
            SpanEvent(_text(event, "name", path), _int(event, "timeUnixNano", path),
                      _attributes(event.get("attributes"), path, 0))
            for event in (_object(event, f"{path}.events") for event in _list(item, "events", path))
        ],
        links=[
            SpanLink(_text(link, "traceId", path), _text(link, "spanId", path),
                     _attributes(link.get("attributes"), path, 0))
            for link in (_object(link, f"{path}.links") for link in _list(item, "links", path))
        ],
        status=_int(status, "code", f"{path}.status"),
        status_message=_text(status, "message", f"{path}.status"),
        resource=resource,
        scope=_text(scope, "name", path),
        scope_version=_text(scope, "version", path),
    ))  # fmt: skip


def checked_span(path: str, span: Span) -> Span:
    """The span, when its ids and times can be ones; raises WireError naming what cannot."""
    if not is_trace_id(span.trace_id):
        raise WireError("traceId must be 16 bytes (32 hex digits), not all zero", path=f"{path}.traceId")
    if not is_span_id(span.span_id):
        raise WireError("spanId must be 8 bytes (16 hex digits), not all zero", path=f"{path}.spanId")
    if span.parent_span_id and not is_span_id(span.parent_span_id):
        raise WireError("parentSpanId must be 8 bytes (16 hex digits)", path=f"{path}.parentSpanId")
    if not 0 < span.start_ns < _MOST_NS or not 0 <= span.end_ns < _MOST_NS:
        raise WireError("startTimeUnixNano must be nanoseconds since 1970", path=f"{path}.startTimeUnixNano")
    return span


def _read_log(item: dict[str, Any], path: str, resource: Attributes, scope: dict[str, Any]) -> LogEvent:
    attributes = _attributes(item.get("attributes"), f"{path}.attributes", 0)
    name = _text(item, "eventName", path)
    old = attributes.get("event.name")
    if not name and isinstance(old, str):  # before OTLP 1.5
        name = old
    return LogEvent(
        name=name,
        time_ns=_int(item, "timeUnixNano", path) or _int(item, "observedTimeUnixNano", path),
        attributes=attributes,
        body=_value(item.get("body"), f"{path}.body", 0),
        trace_id=_hex(item, "traceId", path, needed=False),
        span_id=_hex(item, "spanId", path, needed=False),
        resource=resource,
        scope=_text(scope, "name", path),
    )


def _object(value: Any, path: str) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise WireError("send an object", path=path)
    return value


def _list(item: dict[str, Any], name: str, path: str) -> list[Any]:
    value = item.get(name)
    if value is None:
        return []
    if not isinstance(value, list):
        raise WireError("send a list", path=f"{path}.{name}")
    return value


def _text(item: dict[str, Any], name: str, path: str) -> str:
    value = item.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise WireError("send a text", path=f"{path}.{name}")
    return value


def _hex(item: dict[str, Any], name: str, path: str, *, needed: bool = True) -> str:
    text = _text(item, name, path).lower()
    if text or needed:
        return text
    return ""


def _int(item: dict[str, Any], name: str, path: str) -> int:
    """A whole number, or its digits as text."""
    value = item.get(name)
    if value is None or value == "":
        return 0
    if isinstance(value, str) and len(value) <= 20 and value.lstrip("-").isascii() and value.lstrip("-").isdigit():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not -_MOST_NS <= value < _MOST_NS:
        raise WireError("send a whole number of 64 bits", path=f"{path}.{name}")
    return value


def _attributes(pairs: Any, path: str, level: int) -> Attributes:
    found: Attributes = {}
    if pairs is None:
        return found
    if not isinstance(pairs, list):
        raise WireError("send a list of key and value", path=path)
    for pair in pairs:
        item = _object(pair, path)
        found[_text(item, "key", path)] = _value(item.get("value"), path, level)
    return found


def _value(value: Any, path: str, level: int) -> Any:
    if level > _MOST_LEVELS:
        raise WireError(f"values are nested deeper than {_MOST_LEVELS} levels", path=path)
    item = _object(value, path)
    if "stringValue" in item:
        return _text(item, "stringValue", path)
    if "boolValue" in item:
        return bool(item["boolValue"])
    if "intValue" in item:
        return _int(item, "intValue", path)
    if "doubleValue" in item:
        return _double(item["doubleValue"], path)
    if "arrayValue" in item:
        inner = _object(item["arrayValue"], path)
        return [_value(part, path, level + 1) for part in _list(inner, "values", path)]
    if "kvlistValue" in item:
        return _attributes(_object(item["kvlistValue"], path).get("values"), path, level + 1)
    if "bytesValue" in item:
        try:
            return base64.b64decode(_text(item, "bytesValue", path), validate=True)
        except (binascii.Error, ValueError):
            raise WireError("send base64", path=path) from None
    return None


def _double(value: Any, path: str) -> float | str:
    """Numbers that JSON does not know travel as text and stay so."""
    if value in ("NaN", "Infinity", "-Infinity"):
        return str(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise WireError("send a number", path=path)
    return float(value)
