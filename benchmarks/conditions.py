"""Workloads of circumstance rather than of load: an endpoint that is down, nothing to do, nowhere to send to."""

from __future__ import annotations

import resource
import socket
import time
from typing import Any

from .subjects import Subject
from .texts import prose
from .timing import Figures, over_plain, resident_mb


def closed_port() -> str:
    """A base URL at which every connection is refused."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{taken.getsockname()[1]}"


def endpoint_down(subject: Subject, runs: int = 20_000) -> Figures:
    """20,000 runs of 3 KB while every connection is refused: caller's time, and memory for each run that waits."""
    chat = [{"role": "user", "content": prose(2000, 1)}]
    answer = {"role": "assistant", "content": prose(1000, 2)}

    @subject.decorator("llm")
    def model(messages: Any) -> Any:
        return answer

    for _ in range(500):
        model(chat)
    time.sleep(0.5)
    before = resident_mb()
    wall = time.perf_counter()
    for _ in range(runs):
        model(chat)
    wall = time.perf_counter() - wall
    time.sleep(1.0)
    return {
        "caller_us_per_run": wall / runs * 1e6,
        "memory_bytes_per_waiting_run": max(0.0, resident_mb() - before) * (1 << 20) / runs,
    }


def host_span(subject: Subject, calls: int = 5_000) -> Figures:
    """A decorated call outside and inside a live OpenTelemetry span, and what a real span costs itself (all three in
    turn, so that a change of the machine's speed falls on each)."""
    from opentelemetry.sdk.trace import TracerProvider

    tracer = TracerProvider().get_tracer("benchmarks")

    @subject.decorator("tool")
    def nothing(x: int) -> int:
        return x

    spent = {"outside": 0.0, "inside": 0.0, "span": 0.0}
    for n in range(500):
        nothing(n)
    for _ in range(10):
        started = time.perf_counter()
        for n in range(calls // 10):
            nothing(n)
        between = time.perf_counter()
        spent["outside"] += between - started
        with tracer.start_as_current_span("request"):
            started = time.perf_counter()
            for n in range(calls // 10):
                nothing(n)
            between = time.perf_counter()
            spent["inside"] += between - started
            for _ in range(calls // 10):
                with tracer.start_as_current_span("inner") as span:
                    span.set_attribute("input.value", "1")
                    span.set_attribute("output.value", "1")
            spent["span"] += time.perf_counter() - between
    subject.close()
    return {
        "outside_us": spent["outside"] / calls * 1e6,
        "in_a_span_us": spent["inside"] / calls * 1e6,
        "sdk_span_us": spent["span"] / calls * 1e6,
    }


def idle(subject: Subject, seconds: float = 5.0) -> Figures:
    """With everything delivered, nothing recorded for 5 seconds: processor time, and how often a thread woke up."""

    @subject.decorator("tool")
    def nothing(x: int) -> int:
        return x

    for n in range(10):
        nothing(n)
    time.sleep(2.0)
    before = resource.getrusage(resource.RUSAGE_SELF)
    time.sleep(seconds)
    after = resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    wakes = after.ru_nvcsw - before.ru_nvcsw - 1  # our own sleep
    subject.close()
    return {"cpu_ms_per_minute": cpu * 1e3 * 60 / seconds, "wake_ups_per_minute": wakes * 60 / seconds}


def nowhere(subject: Subject) -> Figures:
    """What a decorated call costs over the undecorated one where no destination is configured."""
    figures = over_plain(subject)
    subject.close()
    return figures
