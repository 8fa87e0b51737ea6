"""OpenTelemetry spans as runs: a span processor that turns each finished span into the records of one run.

Theory of operation. A span that ends is copied to plain values, mapped by the OTLP dialect, and its content goes
through the recorder's own encoder, so that redaction and limits hold for it as for everything else; when ``on_end`` has
returned, its records are in the journal. What two layers see is one run: a model call inside an open ``llm`` or
``embed`` run of ours, or inside another model call's span, gives that one what it has not got (usage, response id,
model, output) and is no run of its own.

Promises: never raises into the host; what could not be mapped is counted as ``span_failed``. Must never: keep a span
after its end, or record one that the recorder's settings keep out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import msgspec
import orjson
from msgspec import UNSET, Raw
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace import SpanProcessor as _SpanProcessor

from ..dialects.otlp_reading import MODEL_TYPES, records_of, type_of
from ..dialects.otlp_values import INTERNAL, Span, SpanEvent, SpanLink
from ..recording.ambient import current_var
from ..recording.edge import OFF, failed
from ..recording.lineage import chosen
from ..recording.recorder import Recorder, live
from ..recording.run import Run
from ..records import RunEnd, RunPoint, RunStart, encode

if TYPE_CHECKING:
    from opentelemetry.context import Context

_MOST_OPEN = 4096
_CONTENT = ("input", "output", "params", "metadata", "user_props", "extra", "data")
_USAGE = {"prompt": "input", "completion": "output", "prompt_cached": "cached_input", "reasoning": "reasoning"}


class _Open:
    """A span that has not ended: whether it is a model call, the run that stands for it, and what an inner one told."""

    __slots__ = ("is_model_call", "off", "run", "sampled", "told")

    def __init__(self, is_model_call: bool, run: Run | None, off: bool, sampled: bool | None) -> None:
        self.is_model_call = is_model_call
        self.run = run
        self.off = off
        self.sampled = sampled  # as the run around it; None outside any
        self.told: RunEnd | None = None


class RunSpans(_SpanProcessor):
    """Makes runs of the spans of the provider that it is added to: ``provider.add_span_processor(RunSpans())``."""

    def __init__(self) -> None:
        self._open: dict[tuple[int, int], _Open] = {}

    def on_start(self, span: Any, parent_context: Context | None = None) -> None:
        """Note whose model call it may be."""
        try:
            found = current_var.get()
            run = found if isinstance(found, Run) and found.type in MODEL_TYPES else None
            sampled = found._trace.sampled if isinstance(found, Run) else None
            context = span.get_span_context()
            if len(self._open) >= _MOST_OPEN:  # spans that never end: the oldest is taken for one of its own
                self._open.pop(next(iter(self._open)), None)
            model_call = type_of(dict(span.attributes or {})) in MODEL_TYPES
            self._open[context.trace_id, context.span_id] = _Open(model_call, run, found is OFF, sampled)
        except Exception as error:  # a named door: inside the host's tracing
            failed("span_failed", error)

    def on_end(self, span: ReadableSpan) -> None:
        """Record it, or tell the run that stands for it."""
        try:
            context = span.get_span_context()
            noted = self._open.pop((context.trace_id, context.span_id), None) if context is not None else None
            recorder = live()
            if recorder is None or context is None or (noted is not None and noted.off):
                return
            copied = copy_of(span)
            records = records_of(copied)
            if type_of(copied.attributes) in MODEL_TYPES and self._absorbed(span, noted, records[-1]):
                return
            if noted is not None and noted.told is not None:
                records[-1] = _completed(cast(RunEnd, records[-1]), noted.told)
            model = cast(RunEnd, records[-1]).model if type_of(copied.attributes) in MODEL_TYPES else None
            sampled = noted.sampled if noted is not None else None
            if sampled is None:
                sampled = chosen(copied.trace_id, recorder.sample)
            if not sampled:  # only what is metered, as for a run of ours
                records = [msgspec.structs.replace(records[-1], sampled=False)]
            for record in records:  # a model call is named by its model, as one recorded by hand
                _append(recorder, msgspec.structs.replace(record, name=model) if model else record)
        except Exception as error:  # a named door: inside the host's tracing
            failed("span_failed", error)

    def shutdown(self) -> None:
        """Nothing is held back."""

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """True: every span that has ended is recorded."""
        return True

    def _absorbed(self, span: ReadableSpan, noted: _Open | None, end: Any) -> bool:
        """Whether an outer layer of the same model call has taken what this one knows."""
        outer = self._open.get((span.parent.trace_id, span.parent.span_id)) if span.parent is not None else None
        if outer is not None and outer.is_model_call:
            outer.told = end if outer.told is None else _completed(outer.told, end)
            return True
        run = noted.run if noted is not None else None
        if run is None or not hasattr(run, "_live"):
            return run is not None and run._late is not None and "tokensUsage" in run._late.reported
        _tell(run, end)
        return True


def _tell(run: Run, end: RunEnd) -> None:
    """Give a run what it has not got."""
    had = run._late
    known = had.reported if had is not None else {}
    given: dict[str, Any] = {}
    if end.tokens_usage is not None and "tokensUsage" not in known:
        usage = {ours: getattr(end.tokens_usage, name) for name, ours in _USAGE.items()}
        given["usage"] = {name: count for name, count in usage.items() if count is not None}
    if end.response_id and "responseId" not in known:
        given["response_id"] = end.response_id
    if end.model and "model" not in known:
        given["model"] = end.model
    if end.output is not UNSET and (had is None or had.output is None):
        given["output"] = orjson.loads(bytes(end.output))
    if given:
        run.set(**given)


def _completed(end: RunEnd, inner: RunEnd) -> RunEnd:
    """An end with what only the inner layer knew."""
    missing: dict[str, Any] = {}
    for name in ("tokens_usage", "model", "response_id", "cost"):
        if getattr(end, name) is None and getattr(inner, name) is not None:
            missing[name] = getattr(inner, name)
    if end.output is UNSET and inner.output is not UNSET:
        missing["output"] = inner.output
    return msgspec.structs.replace(end, **missing)


def _append(recorder: Recorder, record: Any) -> None:
    """Write a record as the recorder's settings want it: redacted and bounded, or without content."""
    changes: dict[str, Any] = {}
    for name in _CONTENT:
        content = getattr(record, name, UNSET)
        if content is not UNSET:
            wanted = recorder.capture_content and record.sampled
            kept = recorder.encoder.snapshot(orjson.loads(bytes(content)), (name,)) if wanted else b""
            changes[name] = Raw(kept) if kept else UNSET
    error = getattr(record, "error", None)
    if error is not None:
        text = {name: _redacted(recorder, getattr(error, name), name) for name in ("message", "stack")}
        changes["error"] = msgspec.structs.replace(error, **text)
    if recorder.service and record.service is None:
        changes["service"] = recorder.service
    if isinstance(record, (RunStart, RunEnd, RunPoint)):
        recorder.append(encode(msgspec.structs.replace(record, **changes)))


def _redacted(recorder: Recorder, text: str | None, name: str) -> str | None:
    if not text:
        return text
    if not recorder.capture_content:
        return "" if name == "message" else None
    found = orjson.loads(recorder.encoder.snapshot(text, ("error", name)))
    return found if isinstance(found, str) else ""


def copy_of(span: ReadableSpan) -> Span:
    """A finished span as plain values."""
    context, parent = span.get_span_context(), span.parent
    if context is None:
        raise ValueError("a span without a context")
    return Span(
        f"{context.trace_id:032x}",
        f"{context.span_id:016x}",
        span.name,
        span.start_time or 0,
        span.end_time or span.start_time or 0,
        parent_span_id=f"{parent.span_id:016x}" if parent is not None else "",
        trace_state=context.trace_state.to_header() if context.trace_state else "",
        kind=span.kind.value + 1 if span.kind is not None else INTERNAL,
        attributes=_plain(span.attributes),
        events=[SpanEvent(event.name, event.timestamp, _plain(event.attributes)) for event in span.events],
        links=[
            SpanLink(f"{link.context.trace_id:032x}", f"{link.context.span_id:016x}", _plain(link.attributes))
            for link in span.links
        ],
        status=span.status.status_code.value,
        status_message=span.status.description or "",
        resource=_plain(span.resource.attributes) if span.resource is not None else {},
        scope=span.instrumentation_scope.name if span.instrumentation_scope is not None else "",
    )


def _plain(attributes: Any) -> dict[str, Any]:
    return {str(key): list(value) if isinstance(value, tuple) else value for key, value in (attributes or {}).items()}


__all__ = ["RunSpans", "copy_of"]
