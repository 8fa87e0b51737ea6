"""One trace with the host's: runs inside spans, spans inside runs, and never a token in the wrong context."""

# ruff: noqa: SIM117 - which block is inside which is what these tests are about
from __future__ import annotations

import asyncio
import gc
import logging
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry import baggage, context, trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased

import spanloom
from spanloom.recording.run import Run
from spanloom.records import RunStart
from spanloom.testing import capture


@pytest.fixture
def spans() -> Iterator[InMemorySpanExporter]:
    """The host's own SDK; `tracer` uses it."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    global tracer
    tracer = provider.get_tracer("host")
    yield exporter
    provider.shutdown()


tracer: trace.Tracer


def by_name(exporter: InMemorySpanExporter) -> dict[str, ReadableSpan]:
    return {span.name: span for span in exporter.get_finished_spans()}


def ids(run: Run) -> tuple[str, str]:
    """Trace and span id of a run, as W3C has them."""
    _, trace_id, span_id, _ = run.traceparent.split("-")
    return trace_id, span_id


def parent_ids(span: ReadableSpan) -> tuple[str, str]:
    assert span.parent is not None
    return f"{span.parent.trace_id:032x}", f"{span.parent.span_id:016x}"


def test_a_run_inside_a_span_is_its_child_and_a_span_inside_a_run_is_the_runs(spans: InMemorySpanExporter) -> None:
    """host span > agent > host span > tool > host span: one trace, each the child of the one around it."""
    with capture() as runs, tracer.start_as_current_span("request") as request:
        with spanloom.agent("answer") as agent, tracer.start_as_current_span("inner") as inner:
            with spanloom.tool("search") as tool, tracer.start_as_current_span("innermost"):
                pass
        outer_after = trace.get_current_span()
    assert outer_after is request
    found = by_name(spans)
    trace_id = f"{request.get_span_context().trace_id:032x}"
    assert ids(agent)[0] == ids(tool)[0] == trace_id
    assert parent_ids(found["inner"]) == ids(agent)
    assert parent_ids(found["innermost"]) == ids(tool)
    records = {record.run_id: record for record in runs.records if isinstance(record, RunStart)}
    assert records[agent.id].trace_id == trace_id
    assert records[agent.id].parent_span_id == f"{request.get_span_context().span_id:016x}"
    assert records[tool.id].parent_run_id == agent.id
    assert records[tool.id].parent_span_id == f"{inner.get_span_context().span_id:016x}"


def test_without_a_host_span_inner_spans_are_in_our_own_trace(spans: InMemorySpanExporter) -> None:
    """The trace id is the root run's id, and the inner span's context carries both ids in full."""
    with capture(), spanloom.agent("answer") as agent, tracer.start_as_current_span("inner"):
        pass
    assert parent_ids(by_name(spans)["inner"]) == ids(agent)
    assert ids(agent)[0] == agent.id.replace("-", "")


def test_the_sampled_flag_is_the_hosts(spans: InMemorySpanExporter) -> None:
    """In a trace that the host does not sample, spans below our runs are not sampled either."""
    quiet = TracerProvider(sampler=ParentBased(ALWAYS_OFF))
    quiet.add_span_processor(SimpleSpanProcessor(spans))
    with capture() as runs, quiet.get_tracer("q").start_as_current_span("unsampled"):
        with spanloom.agent("answer"), tracer.start_as_current_span("below"):
            assert not trace.get_current_span().get_span_context().trace_flags.sampled
    assert spans.get_finished_spans() == ()
    assert runs.one("agent", "answer")


def test_link_keeps_a_trace_of_our_own(spans: InMemorySpanExporter) -> None:
    """``join_otel="link"``: the root names the host's span, its trace id is its own."""
    with capture(join_otel="link") as runs, tracer.start_as_current_span("request") as request:
        with spanloom.agent("answer") as agent:
            pass
    there = request.get_span_context()
    (start,) = [record for record in runs.records if isinstance(record, RunStart)]
    assert ids(agent)[0] == agent.id.replace("-", "") and start.parent_span_id is None
    assert str(start.link).startswith(f"00-{there.trace_id:032x}-{there.span_id:016x}")


def test_false_leaves_the_host_alone(spans: InMemorySpanExporter) -> None:
    """``join_otel=False``: neither sees the other's ids."""
    with capture(join_otel=False) as runs, tracer.start_as_current_span("request") as request:
        with spanloom.agent("answer") as agent:
            pass
    assert ids(agent)[0] != f"{request.get_span_context().trace_id:032x}"
    assert all(record.trace_id is None for record in runs.records if isinstance(record, RunStart))


def test_what_the_host_attaches_stays_the_hosts(spans: InMemorySpanExporter) -> None:
    """Baggage attached and detached around and inside runs is as without us."""
    token = context.attach(baggage.set_baggage("tenant", "t1"))
    with capture(), spanloom.agent("answer"):
        assert baggage.get_baggage("tenant") == "t1"
        inner = context.attach(baggage.set_baggage("step", "2"))
        assert baggage.get_all() == {"tenant": "t1", "step": "2"}
        context.detach(inner)
        assert baggage.get_all() == {"tenant": "t1"}
    context.detach(token)
    assert baggage.get_all() == {}


def test_a_carried_thread_keeps_the_run_although_the_host_does_not(spans: InMemorySpanExporter) -> None:
    """In a thread where only our context went, spans are still the run's."""
    seen: list[Any] = []

    def work() -> None:
        with tracer.start_as_current_span("in a thread"):
            seen.append(spanloom.current_run())

    with capture(propagate_threads=True), tracer.start_as_current_span("request"):
        with spanloom.agent("answer") as agent:
            thread = threading.Thread(target=work)
            thread.start()
            thread.join()
    assert seen == [agent]
    assert parent_ids(by_name(spans)["in a thread"]) == ids(agent)


@spanloom.tool
def numbers() -> Iterator[int]:
    for number in range(3):
        with tracer.start_as_current_span(f"step {number}"):
            yield number


@spanloom.tool
async def async_numbers() -> Any:
    for number in range(3):
        with tracer.start_as_current_span(f"step {number}"):
            yield number


def test_generators_closed_in_every_way(spans: InMemorySpanExporter, caplog: pytest.LogCaptureFixture) -> None:
    """Exhausted, closed early, dropped to the collector: our part attaches nothing, so OpenTelemetry logs no failed
    detach of ours; steps are the run's, the consumer's spans are the consumer's."""
    with caplog.at_level(logging.DEBUG), capture() as runs, tracer.start_as_current_span("request") as request:
        for _ in numbers():
            with tracer.start_as_current_span("consumer"):
                pass
        early = numbers()
        next(early)
        early.close()
        dropped = numbers()
        next(dropped)
        del dropped
        gc.collect()
    assert "Failed to detach" not in caplog.text
    assert len(runs.all("tool")) == 3
    first = runs.all("tool")[0]
    steps = [span for span in spans.get_finished_spans() if span.name.startswith("step")]
    assert {parent_ids(span)[0] for span in steps} == {f"{request.get_span_context().trace_id:032x}"}
    assert sum(parent_ids(span)[1] == first.id.replace("-", "")[16:] for span in steps) == 3


def test_async_generators_closed_from_another_task(caplog: pytest.LogCaptureFixture, spans: Any) -> None:
    """A run's own part of an async generator closed early, by another task, or at the loop's end never holds a token;
    without spans of the host inside the generator nothing at all is logged."""

    @spanloom.tool
    async def plain() -> Any:
        for number in range(3):
            yield number

    async def main() -> None:
        with tracer.start_as_current_span("request"):
            early = plain()
            await anext(early)
            await early.aclose()
            other = plain()
            await anext(other)
            await asyncio.create_task(other.aclose())
            left = plain()
            await anext(left)
            with tracer.start_as_current_span("after"):
                pass

    with caplog.at_level(logging.DEBUG, "opentelemetry"), capture() as runs:
        asyncio.run(main())
        gc.collect()
    assert "detach" not in caplog.text
    assert len(runs.all("tool")) == 3
    assert by_name(spans)["after"].parent is not None


PROGRAM = """
import sys
import spanloom
from spanloom.testing import capture

@spanloom.tool
def work():
    return 1

with capture() as runs:
    work()
    assert not any(name.startswith("opentelemetry") for name in sys.modules)
    from opentelemetry import trace           # the host loads it later
    from opentelemetry.sdk.trace import TracerProvider
    trace.set_tracer_provider(TracerProvider())
    with trace.get_tracer("t").start_as_current_span("request") as span:
        with spanloom.agent("late") as run:
            pass
    assert run.traceparent.split("-")[1] == f"{span.get_span_context().trace_id:032x}"
print("ok")
"""


def test_a_host_without_opentelemetry_never_loads_it() -> None:
    """Nothing is imported by us; a host that loads it later is joined from then on."""
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.stderr) == ("ok\n", "")


def test_only_the_outermost_run_names_the_hosts_span(spans: InMemorySpanExporter) -> None:
    """In an exported trace the host's span is the parent of the outermost run alone; the runs inside keep theirs."""
    with capture() as runs, tracer.start_as_current_span("host") as host:
        with spanloom.agent("outer") as outer, spanloom.tool("inner"):
            pass
    above = f"{host.get_span_context().span_id:016x}"
    found = {(record.name, record.parent_span_id, record.parent_run_id) for record in runs.records}
    assert found == {("outer", above, None), ("inner", None, outer.id)}


SAMPLED = """
import sys
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, ParentBased, TraceIdRatioBased
import spanloom
from spanloom.testing import capture

root = {"off": ALWAYS_OFF, "on": ALWAYS_ON, "half": TraceIdRatioBased(0.5)}[sys.argv[1]]
exporter, provider = InMemorySpanExporter(), TracerProvider(sampler=ParentBased(root))
provider.add_span_processor(SimpleSpanProcessor(exporter))
trace.set_tracer_provider(provider)
with capture():
    for _ in range(400):
        with spanloom.agent("answer"), trace.get_tracer("t").start_as_current_span("inner"):
            pass
print(len(exporter.get_finished_spans()))
"""


@pytest.mark.parametrize(("sampler", "least", "most"), [("off", 0, 0), ("on", 400, 400), ("half", 130, 270)])
def test_the_hosts_sampler_decides_about_its_spans(sampler: str, least: int, most: int) -> None:
    """Outside any span of its own the host samples roots; below our runs it keeps the same share (half: 7 sigma)."""
    command = [sys.executable, "-c", SAMPLED, sampler]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert least <= int(done.stdout) <= most
