"""The OTLP dialect: both ends of ``POST /v1/traces`` and ``/v1/logs``, in protobuf and in JSON.

Facts, from the OTLP specification 1.9 (https://opentelemetry.io/docs/specs/otlp/):

- A request is answered in its own encoding. 200 is success, with ``partial_success`` where some items were rejected
  (how many and why, not which); it must not be sent again. An empty ``partial_success`` is full success; a message
  with 0 rejected is a warning.
- 400 means that the whole request is wrong and must not be sent again; 429, 502, 503 and 504 mean later, after
  ``Retry-After``. Errors carry a ``google.rpc.Status`` (code, message).
- JSON: ids in hex, 64-bit integers as text, unknown fields ignored.

How runs and spans correspond is in `otlp_writing` and `otlp_reading`, whose ids are those of `otlp_ids`; the values
between them are `otlp_values`, which whoever has spans of another kind can make.

    otlp_writing.span_of(end, start) -> Span        otlp_reading.records_of(span) -> [RunStart, RunPoint…, RunEnd]
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec

from ..errors import WireError
from ..records import AnyRecord
from ..wire import DELIVERED, Call, Request, Response, Verdict
from . import Received, Result, otlp_json, otlp_proto
from .otlp_reading import feedback_of, records_of
from .otlp_values import Bad, LogEvent, Span
from .otlp_writing import chat_span, ended_chat, evaluation_of, is_answer, span_of

TRACES_PATH = "/v1/traces"
LOGS_PATH = "/v1/logs"
PROTOBUF = "application/x-protobuf"
JSON = "application/json"
Encoding = Literal["protobuf", "json"]

__all__ = [
    "JSON", "LOGS_PATH", "PROTOBUF", "TRACES_PATH", "Encoding", "Options", "chat_span", "ended_chat", "evaluation_of",
    "feedback_of", "is_answer", "read_reply", "read_request", "records_of", "span_of", "write_error", "write_events",
    "write_reply", "write_spans",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Options:
    """``encoding`` of the requests; ``headers`` go with each; ``max_spans`` in one of them."""

    encoding: Encoding = "json"
    headers: dict[str, str] = field(default_factory=dict, repr=False)
    max_spans: int = 256


# -- the client's end ----------------------------------------------------------------------------------------------


def write_spans(spans: Sequence[tuple[int, Span]], options: Options) -> list[Call]:
    """Requests for spans, each with the place in the batch of the record that it was made of."""
    encode = otlp_proto.encode_traces if options.encoding == "protobuf" else otlp_json.encode_traces
    return _calls(TRACES_PATH, spans, encode, options)


def write_events(events: Sequence[tuple[int, LogEvent]], options: Options) -> list[Call]:
    """Requests for evaluation events, placed likewise."""
    encode = otlp_proto.encode_logs if options.encoding == "protobuf" else otlp_json.encode_logs
    return _calls(LOGS_PATH, events, encode, options)


def _calls(path: str, items: Sequence[tuple[int, Any]], encode: Any, options: Options) -> list[Call]:
    media = PROTOBUF if options.encoding == "protobuf" else JSON
    headers = {**options.headers, "content-type": media, "accept": media}
    calls = []
    for start in range(0, len(items), options.max_spans):
        part = items[start : start + options.max_spans]
        request = Request("POST", path, headers, encode([item for _, item in part]))
        calls.append(Call(request, tuple(index for index, _ in part)))
    return calls


class _Partial(msgspec.Struct, rename="camel"):
    rejected_spans: int | str | None = 0
    rejected_log_records: int | str | None = 0
    error_message: str | None = ""


class _Reply(msgspec.Struct, rename="camel"):
    partial_success: _Partial | None = None


def read_reply(call: Call, response: Response) -> list[Verdict]:
    """One verdict for each item of the call.

    OTLP says how many items it rejected, not which, and forbids sending any of them again: so many of the call's last
    are counted as rejected, with the endpoint's words. A web page, or what is no answer of this format, is no success.
    """
    count = len(call.indexes)
    if response.status in (400, 413, 422):
        return [Verdict("split", f"http_{response.status}")] * count
    if response.status in (404, 405, 410, 501) and call.request.path == LOGS_PATH:
        return [Verdict("rejected", "feedback_not_taken")] * count
    if not 200 <= response.status < 300:
        return [Verdict("retry", f"http_{response.status}")] * count
    try:
        rejected, words = _partial_success(response)
    except WireError:
        return [Verdict("retry", "unexpected_reply")] * count
    rejected = max(0, min(rejected, count))
    refused = Verdict("rejected", f"partial_success: {words[:200] or 'no reason given'}")
    return [DELIVERED] * (count - rejected) + [refused] * rejected


def _partial_success(response: Response) -> tuple[int, str]:
    """(how many were rejected, why). Raises WireError for a body that is no reply."""
    body = response.body.strip()
    media = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    if "html" in media or body[:1] == b"<":
        raise WireError("a web page is no acknowledgement")
    if not body:
        return 0, ""
    if media == PROTOBUF:
        return otlp_proto.read_partial_success(response.body)
    try:
        partial = msgspec.json.decode(body, type=_Reply).partial_success or _Partial()
        return int(partial.rejected_spans or 0) + int(partial.rejected_log_records or 0), partial.error_message or ""
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError):
        return 0, ""  # servers answer 200 with words of their own ("OK", null, {"status": …}): all of it was taken


# -- the server's end ----------------------------------------------------------------------------------------------


def media_of(request: Request) -> str:
    """The content type, without its parameters."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def read_request(request: Request) -> list[Received]:
    """The records of a ``POST …/v1/traces`` or ``…/v1/logs`` (by the path's end); a span gives several, each with its
    span's index. Raises WireError (400, 413, 415) for a body that is no request."""
    logs = request.path.partition("?")[0].rstrip("/").endswith(LOGS_PATH)
    if media_of(request) == PROTOBUF:
        if not otlp_proto.available():
            raise WireError(
                "protobuf is not read here: install spanloom[otlp] beside the collector, or send http/json",
                status_hint=415,
            )
        items: Sequence[Any] = (otlp_proto.decode_logs if logs else otlp_proto.decode_traces)(request.body)
    else:
        items = (otlp_json.decode_logs if logs else otlp_json.decode_traces)(request.body)
    found: list[Received] = []
    for index, item in enumerate(items):
        found += _received(index, item)
    return found


def _received(index: int, item: Span | LogEvent | Bad) -> list[Received]:
    if isinstance(item, Bad):
        return [Received(index, "", None, reason=item.reason, path=item.path)]
    records: list[AnyRecord]
    if isinstance(item, Span):
        records = records_of(item)
    else:
        feedback = feedback_of(item)
        if feedback is None:
            reason = "only gen_ai.evaluation.result events that name a span are kept, no other log records"
            return [Received(index, "", None, reason=reason)]
        records = [feedback]
    return [Received(index, record.event_id, record, event_id=record.event_id) for record in records]


def write_reply(request: Request, results: Sequence[Result]) -> Response:
    """200, with the number of spans or log records that were refused and the first reason."""
    refused = {result.index: result for result in results if result.malformed}
    logs = request.path.partition("?")[0].rstrip("/").endswith(LOGS_PATH)
    words = next((f"{result.path}: {result.reason}" if result.path else result.reason
                  for result in refused.values()), "")  # fmt: skip
    if media_of(request) == PROTOBUF:
        body = otlp_proto.partial_success(len(refused), words)
        return Response(200, {"content-type": PROTOBUF}, body)
    name = "rejectedLogRecords" if logs else "rejectedSpans"
    said = {"partialSuccess": {name: str(len(refused)), "errorMessage": words}} if refused else {}
    return Response(200, {"content-type": JSON}, msgspec.json.encode(said))


def write_error(media: str, status: int, message: str) -> Response:
    """A ``google.rpc.Status`` in the request's encoding."""
    code = {400: 3, 401: 16, 403: 7, 404: 5, 413: 8, 415: 3, 429: 8, 503: 14, 504: 4}.get(status, 13)
    if media == PROTOBUF:
        return Response(status, {"content-type": PROTOBUF}, otlp_proto.status_bytes(code, message))
    return Response(status, {"content-type": JSON}, msgspec.json.encode({"code": code, "message": message}))
