"""Carrying the current run into threads and executors by themselves (``propagate_threads=True``).

Promises: patches `threading.Thread.start` and `ThreadPoolExecutor.submit` (which `run_in_executor` uses) only while
asked to, and puts the originals back. A pool's worker threads are left alone, so that no work inherits what another
submitted. Must never: copy a context when no run and no ambient value is there, or keep one after the work is done.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import thread as _pool
from contextvars import copy_context
from typing import Any

from .ambient import NOTHING, OUTSIDE, ambient_var, current_var

_Submit = Callable[..., "Future[Any]"]
_Start = Callable[[threading.Thread], None]


class _Patch:
    """What was there before, and whether we propagate now."""

    def __init__(self) -> None:
        self.active = False
        self.submit: _Submit | None = None
        self.start: _Start | None = None


_patch = _Patch()


def follow(wanted: bool) -> None:
    """Install the patches, or take them away. Someone who patched on top of ours keeps theirs; ours then only passes
    calls on."""
    if wanted == _patch.active:
        return
    _patch.active = wanted
    if wanted:
        if _patch.submit is None:
            _patch.submit = ThreadPoolExecutor.submit
            ThreadPoolExecutor.submit = _submit  # type: ignore[method-assign, assignment]
        if _patch.start is None:
            _patch.start = threading.Thread.start
            threading.Thread.start = _start  # type: ignore[method-assign]
        return
    if ThreadPoolExecutor.submit is _submit:
        ThreadPoolExecutor.submit = _patch.submit  # type: ignore[method-assign, assignment]
        _patch.submit = None
    if threading.Thread.start is _start:
        threading.Thread.start = _patch.start  # type: ignore[method-assign, assignment]
        _patch.start = None


def _surrounded() -> bool:
    return _patch.active and (current_var.get() is not OUTSIDE or ambient_var.get() is not NOTHING)


def _submit(self: ThreadPoolExecutor, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
    submit = _patch.submit or ThreadPoolExecutor.submit
    if _surrounded():
        return submit(self, copy_context().run, function, *args, **kwargs)
    return submit(self, function, *args, **kwargs)


def _start(self: threading.Thread) -> None:
    start = _patch.start or threading.Thread.start
    if not _surrounded() or getattr(self, "_target", None) is getattr(_pool, "_worker", None):
        start(self)
        return
    context = copy_context()
    run = self.run

    def run_in_context() -> None:
        self.__dict__.pop("run", None)
        context.run(run)

    self.run = run_in_context  # type: ignore[method-assign]
    try:
        start(self)
    except BaseException:
        self.__dict__.pop("run", None)
        raise
