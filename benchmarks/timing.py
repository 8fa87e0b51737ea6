"""What workloads measure with."""

from __future__ import annotations

import time
import timeit
from collections.abc import Callable
from typing import Any

from .subjects import Subject

Figures = dict[str, float]


def timed(action: Callable[[], Any]) -> float:
    """Seconds of one call."""
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def resident_mb() -> float:
    """The resident set of this process now, in MiB (Linux)."""
    with open("/proc/self/status") as status:
        line = next(line for line in status if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


def over_plain(subject: Subject) -> Figures:
    """Nanoseconds that a decorated call costs over the undecorated one, function and method (best of 25)."""

    def function(x: int) -> int:
        return x

    class Bare:
        def method(self, x: int) -> int:
            return x

    class Decorated:
        method = subject.decorator("tool")(Bare.method)

    decorated = subject.decorator("tool")(function)
    bare, traced = Bare(), Decorated()
    figures = {}
    for name, plain, ours in (
        ("function_ns", lambda: function(1), lambda: decorated(1)),
        ("method_ns", lambda: bare.method(1), lambda: traced.method(1)),
    ):
        pairs = [(timeit.timeit(ours, number=4000), timeit.timeit(plain, number=4000)) for _ in range(25)]
        figures[name] = (min(mine for mine, _ in pairs) - min(theirs for _, theirs in pairs)) / 4000 * 1e9
    return figures
