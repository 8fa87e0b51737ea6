"""Joining the host's trace: a run inside a live span is its child, a span inside a live run is the run's.

Promises: no OpenTelemetry token is ever made here, so none can be detached in another context; nothing is attached,
so nothing can be left attached by a generator that is closed late, by another task, or by garbage collection.
Costs nothing until ``opentelemetry.context`` is loaded by the host. Must never: import OpenTelemetry before the host,
start a span, or change what the host attached.

Theory of operation. OpenTelemetry asks one object for its current context. `_Joined` stands before that object and
answers from what it says and from our own current run, whichever is the inner one: each run remembers which span of
the host was live when it opened. While that is still the live one, the run is the inner one, and the answer is the
host's context with a span in it that stands for the run (it records nothing; spans started below it are its children,
with the host's sampled flag). When another span is live, it was started inside the run, and the answer is the host's.
``attach`` and ``detach`` go through to the host's object untouched.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from typing import Any, Literal

from ..recording.ambient import current_var
from ..recording.lineage import Remote, remote_parent, tracestate_entry
from ..recording.run import Run

_SAMPLED = 1
_random = random.SystemRandom()  # never the shared generator, whose sequence belongs to the host program

opened_below: list[Callable[[str, str], None]] = []
"""Told of each span of the host's (trace id and span id, in hex) that a run of ours becomes the child of."""


class Joining:
    """What a recorder asks about the host's trace. ``mode`` "link" makes our traces their own and names the host's
    span on the root; ``elsewhere`` is the parent that the process was started with."""

    def __init__(self, mode: Literal["child", "link"] = "child", elsewhere: Remote | None = None) -> None:
        self._mode = mode
        self._elsewhere = elsewhere
        self.live: list[Callable[[], int]] = []
        """Holds `span_id` once the host has OpenTelemetry; empty, and false, before."""

    def origin(self) -> Remote | None:
        """The parent of a run that opens outside any other: the host's live span, or the process's own parent."""
        if not self.live and "opentelemetry.trace" in sys.modules and join():
            self.live.append(span_id)
        if self.live and (found := _live_span()) is not None:
            if self._mode == "link" and not found.root_id:
                return self._linked(found)
            for told in opened_below:
                told(found.trace_id, found.span_id)
            return found
        return self._elsewhere

    def _linked(self, host: Remote) -> Remote:
        linked = self._elsewhere or Remote()
        return Remote(
            linked.run_id, linked.root_id, linked.trace_id, linked.span_id, linked.sampled,
            link=f"00-{host.trace_id}-{host.span_id}-01",
        )  # fmt: skip


def join() -> bool:
    """Stand before OpenTelemetry's runtime context; whether we do. May be called often."""
    try:
        from opentelemetry import context
    except ImportError:
        return False
    inner = getattr(context, "_RUNTIME_CONTEXT", None)
    if inner is None:  # a release that keeps it elsewhere: runs and spans then do not see each other
        return False
    if not isinstance(inner, _Joined):
        context._RUNTIME_CONTEXT = _Joined(inner)  # type: ignore[assignment,unused-ignore]
    return True


def span_id() -> int:
    """The id of the span that is live for the host itself, 0 for none."""
    try:
        from opentelemetry import context

        return int(_span_of(_raw(context._RUNTIME_CONTEXT)).span_id)
    except Exception:  # a named door: another's span may be anything
        return 0


class _Joined:
    """See the module's theory of operation. Whatever else the host's object has, it still has."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def attach(self, context: Any) -> Any:
        """The host's."""
        return self._inner.attach(context)

    def detach(self, token: Any) -> None:
        """The host's."""
        self._inner.detach(token)

    def get_current(self) -> Any:
        """The host's context, or that with our run's span in it when the run is the inner one."""
        context = self._inner.get_current()
        run = current_var.get()
        if not isinstance(run, Run) or not run.id:
            return context
        try:
            return _with_run(context, run)
        except Exception:  # a named door: inside the host's own tracing
            return context


def _raw(runtime: Any) -> Any:
    return (runtime._inner if isinstance(runtime, _Joined) else runtime).get_current()


def _span_of(context: Any) -> Any:
    """The span context of the live span."""
    from opentelemetry import trace

    return trace.get_current_span(context).get_span_context()


def _with_run(context: Any, run: Run) -> Any:
    from opentelemetry import trace

    host = _span_of(context)
    if host.span_id and host.span_id != run.host_span:
        return context
    trace_hex, run_hex = run._trace.hex_id(), run.traceparent.split("-")[2]
    flags = int(host.trace_flags) if host.span_id else int(_root_is_sampled(run))
    state = trace.TraceState.from_header([tracestate_entry(run.root_id, run.id)])
    for key, value in (host.trace_state or {}).items() if host.span_id else ():
        state = state.add(key, value) if key not in state else state
    standing = trace.SpanContext(
        int(trace_hex, 16), int(run_hex, 16), is_remote=False, trace_flags=trace.TraceFlags(flags), trace_state=state
    )
    return trace.set_span_in_context(trace.NonRecordingSpan(standing), context)


def _root_is_sampled(run: Run) -> bool:
    """What the host's sampler says of a root span, asked once for each trace, so that below our runs as many of the
    host's spans are kept as without us. It is asked with a random trace id: ratio samplers go by the low bits, and
    those of a run's id are not all random."""
    from opentelemetry import trace

    shared = run._trace
    if shared.host_sampled is None:
        sampler = getattr(trace.get_tracer_provider(), "sampler", None)
        if sampler is None:
            shared.host_sampled = shared.sampled
        else:
            answer = sampler.should_sample(None, _random.getrandbits(128), "spanloom")
            shared.host_sampled = bool(answer.decision.is_sampled())
    return shared.host_sampled


def _live_span() -> Remote | None:
    """The host's live span as a parent, or the run that it stands for."""
    try:
        from opentelemetry import context

        found = _span_of(_raw(context._RUNTIME_CONTEXT))
        if not found.is_valid:
            return None
        header = f"00-{found.trace_id:032x}-{found.span_id:016x}-{int(found.trace_flags) & _SAMPLED:02x}"
        state = ",".join(f"{key}={value}" for key, value in (found.trace_state or {}).items())
        return remote_parent(header, state)
    except Exception:  # a named door: another's span may be anything
        return None
