"""Watches what a library must not touch: the host's hooks for lost exceptions, its warnings, and its logs.

    with host_guard() as host:
        ...
    host.assert_silent()          # or host.assert_silent(logs_allowed=1)

Promise: whatever our frames or loggers put there while the block ran is kept and shown. Never hides what is not ours:
that goes on to the hook that was there before.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any

_SPEC = find_spec("spanloom")
_PACKAGE = str(Path(_SPEC.origin).parent) + os.sep if _SPEC and _SPEC.origin else ""


@dataclass
class Host:
    """What reached the host. Each entry is text that names the hook."""

    intrusions: list[str] = field(default_factory=list)
    logs: list[logging.LogRecord] = field(default_factory=list)

    def assert_silent(self, logs_allowed: int = 0) -> None:
        """No exception or warning from our frames; at most this many lines in our logs, none with a traceback."""
        assert not self.intrusions, "\n".join(self.intrusions)
        said = [record.getMessage() for record in self.logs]
        assert len(said) <= logs_allowed, said
        assert not any(record.exc_info for record in self.logs), said


def ours(trace: TracebackType | None) -> bool:
    """Whether any frame of this traceback is Spanloom's."""
    return any(_is_ours(frame.filename) for frame in traceback.extract_tb(trace))


def _is_ours(filename: str) -> bool:
    return bool(_PACKAGE) and filename.startswith(_PACKAGE)


class _Keeper(logging.Handler):
    def __init__(self, host: Host) -> None:
        super().__init__(logging.DEBUG)
        self._host = host

    def emit(self, record: logging.LogRecord) -> None:
        if record.name.partition(".")[0] == "spanloom":
            self._host.logs.append(record)


@contextmanager
def host_guard() -> Iterator[Host]:
    """Listen at every hook while the block runs; puts all of them back."""
    host = Host()
    before = sys.excepthook, threading.excepthook, sys.unraisablehook
    keeper = _Keeper(host)

    def keep(hook: str, error: BaseException | None, trace: TracebackType | None) -> None:
        host.intrusions.append(f"{hook}: {''.join(traceback.format_exception(None, error, trace))}")

    def on_exception(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if ours(trace):
            keep("sys.excepthook", error, trace)
        else:
            before[0](kind, error, trace)

    def on_thread(args: Any) -> None:
        if ours(args.exc_traceback):
            keep("threading.excepthook", args.exc_value, args.exc_traceback)
        else:
            before[1](args)

    def on_unraisable(args: Any) -> None:
        if ours(args.exc_traceback) or _is_ours(getattr(getattr(args.object, "__code__", None), "co_filename", "")):
            keep(f"sys.unraisablehook ({args.object!r})", args.exc_value, args.exc_traceback)
        else:
            before[2](args)

    logging.getLogger().addHandler(keeper)
    sys.excepthook, threading.excepthook, sys.unraisablehook = on_exception, on_thread, on_unraisable
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            yield host
    finally:
        sys.excepthook, threading.excepthook, sys.unraisablehook = before
        logging.getLogger().removeHandler(keeper)
        for warning in caught:
            if _is_ours(warning.filename):
                host.intrusions.append(f"warning: {warning.category.__name__}: {warning.message} at {warning.filename}")
            else:
                warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
