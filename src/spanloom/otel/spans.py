"""OpenTelemetry spans as runs: a span processor that turns each finished span into the records of one run.

Theory of operation. A span that ends is copied to plain values, mapped by the OTLP dialect, and its content goes
through the recorder's own encoder, so that redaction and limits hold for it as for everything else; when ``on_end`` has
returned, its records are in the journal. What two layers see is one run: a model call inside an open ``llm`` or
``embed`` run of ours gives that run what it has not got (usage, response id, model, output) and is no run of its own;
of two spans that are one call, see `layers`.

Promises: never raises into the host; what could not be mapped is counted as ``span_failed``. Must never: keep a span
after its end, or record one that the recorder's settings keep out.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

import msgspec
import orjson
from msgspec import UNSET, Raw
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace import SpanProcessor as _SpanProcessor

from ..dialects.otlp_names import OI_KIND, OI_MODEL
from ..dialects.otlp_reading import MODEL_TYPES, records_of, type_of
from ..dialects.otlp_values import INTERNAL, Span, SpanEvent, SpanLink
from ..recording.ambient import current_var
from ..recording.edge import OFF, failed
from ..recording.lineage import chosen
from ..recording.recorder import Recorder, before_closing, live
from ..recording.run import Run
from ..records import RunEnd, RunPoint, RunStart, RunUpdate, encode
from .joining import opened_below
from .layers import HELD_SECONDS, Counted, Held, merged, repeats, same_call, without_usage

if TYPE_CHECKING:
    from opentelemetry.context import Context

DETACHED = ("openinference.instrumentation.langchain",)
"""Instrumentors that do not make their spans the current ones: what is called inside hangs beside them."""

_MOST_OPEN = 4096
_LOOK_BACK = 256
_DEEPEST = 64
_MOST_LAYERS = 8
_CONTENT = ("input", "output", "params", "metadata", "user_props", "extra", "data")
_USAGE = {"prompt": "input", "completion": "output", "prompt_cached": "cached_input", "reasoning": "reasoning"}


class _Open:
    """A span that has not ended: where it stands, the run that stands for it, and what came of the calls inside it."""

    __slots__ = ("calls", "children", "counted", "held", "inside", "off", "owner", "parent", "run", "sampled", "span")

    def __init__(self, span: Any, inside: object) -> None:
        self.span = span  # until its end
        self.parent = _key(span.parent)
        self.owner = _owner()
        self.inside = inside  # the current run, or what stands for none
        self.run = inside if isinstance(inside, Run) and inside.type in MODEL_TYPES else None
        self.off = inside is OFF
        self.sampled = inside._trace.sampled if isinstance(inside, Run) else None  # None outside any
        self.children = 0
        self.calls = 0  # model calls that ended inside it
        self.counted: set[tuple[str | None, str | None]] = set()  # type and response id of those with tokens
        self.held: Held | None = None


_Layer = tuple[tuple[int, int], _Open]
"""An open span and its key."""


class RunSpans(_SpanProcessor):
    """Makes runs of the spans of the provider that it is added to: ``provider.add_span_processor(RunSpans())``."""

    def __init__(self) -> None:
        self._open: dict[tuple[int, int], _Open] = {}
        self._waiting: dict[tuple[int, int], _Open] = {}  # those that hold an inner layer's end
        self._counted = Counted()
        self._detached = False
        opened_below.append(self._run_opened)
        before_closing.append(self.shutdown)

    def on_start(self, span: Any, parent_context: Context | None = None) -> None:
        """Note where it stands, and whose model call it may be."""
        try:
            if len(self._open) >= _MOST_OPEN:  # spans that never end: the oldest is taken for one of its own
                self._open.pop(next(iter(self._open)), None)
            noted = _Open(span, current_var.get())
            outer = self._open.get(noted.parent) if noted.parent is not None else None
            if outer is not None:
                outer.children += 1
            context = span.get_span_context()
            self._open[context.trace_id, context.span_id] = noted
            self._detached = self._detached or _scope(span) in DETACHED
        except Exception as error:  # a named door: inside the host's tracing
            failed("span_failed", error)

    def on_end(self, span: ReadableSpan) -> None:
        """Record it, or tell the run that stands for it."""
        try:
            key = _key(span.get_span_context())
            noted = self._open.pop(key, None) if key is not None else None
            recorder = live()
            if recorder is None or key is None or (noted is not None and noted.off):
                return
            self._release_old(recorder)
            copied = copy_of(span)
            if type_of(copied.attributes) in MODEL_TYPES:
                self._model_call(recorder, key, copied, noted)
                return
            self._release(recorder, key, noted)
            sampled = _sampled(recorder, copied, noted)
            for record in _kept(records_of(copied), sampled):
                _append(recorder, record)
        except Exception as error:  # a named door: inside the host's tracing
            failed("span_failed", error)

    def shutdown(self) -> None:
        """Record the ends that wait for an outer layer."""
        try:
            recorder = live() if self._waiting else None
            for key, noted in list(self._waiting.items()) if recorder is not None else ():
                self._release(cast(Recorder, recorder), key, noted)
        except Exception as error:  # a named door: inside the host's tracing, or its exit
            failed("span_failed", error)

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """Record the ends that wait for an outer layer; True: every span that has ended is recorded."""
        self.shutdown()
        return True

    def _run_opened(self, trace_hex: str, span_hex: str) -> None:
        """A run of ours began directly inside this span, which therefore stays a run: it is the parent of that one."""
        noted = self._open.get((int(trace_hex, 16), int(span_hex, 16)))
        if noted is not None:
            noted.children += 1

    def _model_call(self, recorder: Recorder, key: tuple[int, int], span: Span, noted: _Open | None) -> None:
        """A call to a model: of a run of ours, of an outer layer, of an inner one, or by itself."""
        layers = self._layers(noted)
        if layers:
            _move(span, layers[-1][1])
        start, *points, end = cast("list[Any]", records_of(span))
        if noted is not None and noted.run is not None and _absorbed(noted.run, end):
            if end.tokens_usage is not None:  # the run's trace and the span that it is in
                around = self._open.get((int(noted.run._trace.hex_id(), 16), noted.run.host_span))
                self._note_counted(around, [around] if around is not None else [], (end.type, end.response_id))
            return
        sampled = _sampled(recorder, span, noted)
        if end.model:  # a model call is named by its model, as one recorded by hand
            start, *points, end = (msgspec.structs.replace(each, name=end.model) for each in (start, *points, end))
        held = noted.held if noted is not None and noted.children <= 1 else None
        if noted is not None and held is not None and same_call(end, held.end):
            noted.held = None
            self._waiting.pop(key, None)
            *points, end = cast("list[Any]", merged(held, start, end, points) if sampled else [held.end])
            held = Held(held.start, end, time.monotonic())
            for record in points if self._is_held(recorder, layers, held) else [*points, end]:
                _append(recorder, record)
            return
        self._release(recorder, key, noted)
        if (noted is not None and repeats(end, noted.counted)) or self._counted.has(
            span.start_ns, span.end_ns, span.scope, end
        ):
            start, *points, end = without_usage([start, *points, end])
        self._counted.add(span.start_ns, span.end_ns, span.scope, end)
        held = Held(start, msgspec.structs.replace(end, sampled=sampled), time.monotonic())
        if self._is_held(recorder, layers, held):
            records = [*held.now(), *points] if sampled else []
        else:
            records = _kept([start, *points, end], sampled)
        if end.tokens_usage is not None:
            self._note_counted(noted, [layer for _, layer in layers], (end.type, end.response_id))
        for record in records:
            _append(recorder, record)

    def _layers(self, noted: _Open | None) -> list[_Layer]:
        """The open spans that may be layers around this call, the nearest first."""
        found: list[_Layer] = []
        while noted is not None and len(found) < _MOST_LAYERS:
            key = self._outer_layer(noted, 1 if found or noted.held is not None else 0)
            noted = self._open.get(key) if key is not None else None
            if key is not None and noted is not None:
                found.append((key, noted))
        return found

    def _outer_layer(self, noted: _Open, inside: int) -> tuple[int, int] | None:
        """The open span that may be an outer layer of this call, which has at most so many spans inside: the model call
        around it; or the one that the same task began last with an instrumentor of `DETACHED`, if there is nothing in
        it yet."""
        if noted.run is not None:
            return None
        around = self._open.get(noted.parent) if noted.parent is not None else None
        if around is not None and _is_model_call(around.span.attributes or {}):
            return noted.parent
        if not self._detached:
            return None
        beside = [
            (key, other)
            for key, other in list(self._open.items())[: -_LOOK_BACK - 1 : -1]
            if _scope(other.span) in DETACHED
            and other is not noted
            and key != noted.parent
            and other.inside is noted.inside
        ]
        same = next(((key, other) for key, other in beside if other.owner == noted.owner), None)
        # An async call's span is begun on a thread of LangChain's own: then it must be the only one it can be.
        free = [same] if same is not None else [(key, other) for key, other in beside if not other.calls]
        free = [
            (key, other)
            for key, other in free
            if not other.children and (other.span.start_time or 0) <= (noted.span.start_time or 0)
        ]
        if len(free) != 1 or noted.children > inside or _scope(free[0][1].span) == _scope(noted.span):
            return None
        return free[0][0]

    def _is_held(self, recorder: Recorder, layers: list[_Layer], held: Held) -> bool:
        """Whether the layer around a call holds its end: it does if that is the first call inside. With a second one,
        the first is one of its own."""
        if not layers:
            return False
        key, outer = layers[0]
        outer.calls += 1
        if outer.calls > 1:
            self._release(recorder, key, outer)
            return False
        outer.held = held
        self._waiting[key] = outer
        return True

    def _note_counted(self, noted: _Open | None, layers: list[_Open], call: tuple[str | None, str | None]) -> None:
        """Tell the spans around a call that its tokens are counted."""
        for layer in layers:
            layer.counted.add(call)
        for _ in range(_DEEPEST):
            noted = self._open.get(noted.parent) if noted is not None and noted.parent is not None else None
            if noted is None:
                return
            noted.counted.add(call)

    def _release(self, recorder: Recorder, key: tuple[int, int], noted: _Open | None) -> None:
        """Record the end that this span holds: it is a run of its own."""
        self._waiting.pop(key, None)
        if noted is not None and noted.held is not None:
            held, noted.held = noted.held, None
            _append(recorder, held.end)

    def _release_old(self, recorder: Recorder) -> None:
        if self._waiting:
            for key, noted in list(self._waiting.items()):
                if noted.held is None or time.monotonic() - noted.held.since_seconds > HELD_SECONDS:
                    self._release(recorder, key, noted)


def _key(context: Any) -> tuple[int, int] | None:
    return (context.trace_id, context.span_id) if context is not None else None


def _owner() -> object:
    """The task, or the thread outside any, as a number."""
    try:
        task = asyncio.current_task()
    except RuntimeError:
        task = None
    return id(task) if task is not None else -threading.get_ident()


def _scope(span: Any) -> str:
    return span.instrumentation_scope.name if span.instrumentation_scope is not None else ""


def _is_model_call(attributes: Mapping[str, Any]) -> bool:
    """Whether an open span is one, as far as it says: OpenInference's tracer tells a span's kind when it ends, and the
    model before that."""
    return type_of(dict(attributes)) in MODEL_TYPES or (OI_MODEL in attributes and OI_KIND not in attributes)


def _move(span: Span, outer: _Open) -> None:
    """Give a call the place in the tree of the layer around it."""
    context = outer.span.get_span_context()
    span.trace_id = f"{context.trace_id:032x}"
    span.trace_state = context.trace_state.to_header() if context.trace_state else ""
    span.parent_span_id = f"{outer.parent[1]:016x}" if outer.parent is not None else ""


def _sampled(recorder: Recorder, span: Span, noted: _Open | None) -> bool:
    sampled = noted.sampled if noted is not None else None
    return chosen(span.trace_id, recorder.sample) if sampled is None else sampled


def _kept(records: list[Any], sampled: bool) -> list[Any]:
    """The records, or, of a run that is not sampled, only what is metered, as for a run of ours."""
    return records if sampled else [msgspec.structs.replace(records[-1], sampled=False)]


def _absorbed(run: Run, end: RunEnd) -> bool:
    """Whether a run recorded by hand has taken what this call's span knows."""
    if not hasattr(run, "_live"):
        return run._late is not None and "tokensUsage" in run._late.reported
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
    if isinstance(record, (RunStart, RunUpdate, RunEnd, RunPoint)):
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
        resource=_resource(span.resource),
        scope=span.instrumentation_scope.name if span.instrumentation_scope is not None else "",
    )


def _plain(attributes: Any) -> dict[str, Any]:
    if not attributes:
        return {}
    # The SDK's own copy: its mapping takes a lock for each key that is asked for (24 attributes: 8 us against 3).
    plain: dict[str, Any] = attributes.copy() if hasattr(attributes, "copy") else dict(attributes)
    for key, value in plain.items():
        if type(value) is tuple:
            plain[key] = list(value)
    return plain


_last_resource: tuple[Any, dict[str, Any]] = (None, {})


def _resource(resource: Any) -> dict[str, Any]:
    """A provider has one resource, the same object on each of its spans."""
    global _last_resource
    known, plain = _last_resource
    if resource is not known:
        plain = _plain(resource.attributes)
        _last_resource = (resource, plain)
    return plain


__all__ = ["RunSpans", "copy_of"]
