"""How a run ends: exactly once, in the process that opened it, with what is known of it.

Promises: of all who try to end a run one succeeds, without a lock (deleting a slot is atomic); in a forked child an
inherited run ends silently. Must never: hold an exception, a frame, or a value of the user's.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from ..clock import iso
from . import failure
from .compose import end_record
from .edge import failed
from .lineage import json_text
from .recorder import Recorder

if TYPE_CHECKING:
    from .run import Run

IGNORED_KEY = "ignored_exception"


class _Process:
    """``token`` is one object for each process; a fork makes a new one (no getpid on the hot path: 344 ns)."""

    __slots__ = ("token",)

    def __init__(self) -> None:
        self.token = object()

    def forked(self) -> None:
        self.token = object()


process = _Process()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=process.forked)


def close(run: Run, status: str, output: bytes | None = None, members: str = "") -> str:
    """Write the end record; returns its time, "" when the run has been ended before, or in another process.
    ``members`` are more of the record's."""
    try:
        token = run._live
        del run._live
    except AttributeError:
        return ""
    run._status = status
    if token is not process.token:
        return ""
    recorder = run._recorder
    trace = run._trace
    at = iso(recorder.monotonic_ns() + trace.offset_ns)
    late = run._late
    if late is not None:
        members += late.members(recorder.capture_content and trace.sampled)
        if late.output is not None:
            output = late.output  # what was set by hand is meant
    if not trace.sampled:
        members += ',"sampled":false'
        output = None
    recorder.append(
        end_record(run.id, at, run._common, f',"status":"{status}","startedAt":"{run._started}"{members}', output)
    )
    return at


def close_failed(run: Run, error: BaseException, ignore: tuple[type[BaseException], ...] = (), more: str = "") -> str:
    """End the run for an exception, which goes on to the host. Kinds in ``ignore`` are no errors."""
    if ignore and isinstance(error, ignore):
        return close(run, "ok", None, f'{more},"metadata":{{"{IGNORED_KEY}":{json_text(failure.type_name(error))}}}')
    status = failure.status_of(error)
    if status == "abandoned":
        return close(run, status, None, more)
    recorder = run._recorder
    pending: BaseException | None = None
    try:
        message, stack = "", None
        if recorder.capture_content and run._trace.sampled:
            message = failure.message_of(error)
            stack = failure.stack_of(error, message)
    except Exception as inner:
        failed("describing_error", inner)
    except BaseException as inner:  # raised by the exception's own __str__: the host's, once the run has ended
        pending = inner
    try:
        ended = close(run, status, None, more + error_members(recorder, message, stack, failure.type_name(error)))
        if pending is not None:
            raise pending
        return ended
    finally:
        pending = None  # its traceback refers to this frame


def error_members(recorder: Recorder, message: str, stack: str | None, kind: str) -> str:
    """The end record's ``error``; message and stack are redacted as content is."""
    snapshot: Any = recorder.encoder.snapshot
    text = snapshot(message, ("error", "message")).decode() if message else '""'
    members = f'"message":{text}'
    if stack:
        members += f',"stack":{snapshot(stack, ("error", "stack")).decode()}'
    if kind:
        members += f',"type":{json_text(kind)}'
    return f',"error":{{{members}}}'
