"""An exception as text: message, stack and type.

Promises: bounded in frames and chain, reads no source file (blocking, and it may have changed), leaves our own frames
out, survives exceptions whose ``__str__`` raises, and keeps no reference to exception, frame or traceback.
"""

from __future__ import annotations

import os
import sys
from collections import deque
from types import CodeType, TracebackType

from ..records import Status

_OURS = os.path.dirname(__file__) + os.sep
_FIRST_FRAMES = 20
_LAST_FRAMES = 40
_MAX_FRAMES_WALKED = 100_000
_MAX_CHAIN = 5
_MAX_MESSAGE = 100_000  # characters; the encoder bounds and redacts it further


def status_of(error: BaseException) -> Status:
    """``cancelled`` for asyncio's (and trio's) cancellation, ``abandoned`` for GeneratorExit, else ``error``."""
    if isinstance(error, Exception):
        return "error"
    if isinstance(error, GeneratorExit):
        return "abandoned"
    asyncio = sys.modules.get("asyncio")  # not imported by us; when it is not there, nobody raised its exception
    if asyncio is not None and isinstance(error, asyncio.CancelledError):
        return "cancelled"
    kind = type(error)
    if kind.__name__ == "Cancelled" and kind.__module__.partition(".")[0] == "trio":
        return "cancelled"
    return "error"


def type_name(error: BaseException) -> str:
    """``ValueError``, ``package.module.Trouble``."""
    kind = type(error)
    return (
        kind.__qualname__ if kind.__module__ in ("builtins", "__main__") else f"{kind.__module__}.{kind.__qualname__}"
    )


def message_of(error: BaseException) -> str:
    """What the exception says of itself. Its own ``__str__`` is user code: what that raises as an Exception becomes a
    marker, and anything else is the host's."""
    try:
        text = str(error)
    except Exception as inner:
        return f"<unprintable {type(error).__name__}: {type(inner).__name__}>"
    return text if len(text) <= _MAX_MESSAGE else text[:_MAX_MESSAGE] + "…"


def stack_of(error: BaseException, message: str) -> str:
    """The traceback as Python prints it, without source lines; causes first, at most five."""
    parts: list[str] = []
    seen: set[int] = set()
    link: BaseException | None = error
    text = message
    while link is not None and id(link) not in seen and len(seen) < _MAX_CHAIN:
        seen.add(id(link))
        if link is not error:
            text = message_of(link)
        parts.append(_one(link, text))
        cause: BaseException | None = link.__cause__
        if cause is None and not link.__suppress_context__:
            cause = link.__context__
            joint = "During handling of the above exception, another exception occurred:"
        else:
            joint = "The above exception was the direct cause of the following exception:"
        if cause is not None and id(cause) not in seen:
            parts.append(joint)
        link = cause
    if len(parts) % 2 == 0:
        parts.pop()
    return "\n\n".join(reversed(parts))


def _one(error: BaseException, message: str) -> str:
    frames = _frames(error.__traceback__)
    said = f"{type_name(error)}: {message}" if message else type_name(error)
    return "\n".join(["Traceback (most recent call last):", *frames, said]) if frames else said


def _frames(traceback: TracebackType | None) -> list[str]:
    """One line for each frame; of a long traceback the first 20 and the last 40."""
    first: list[str] = []
    last: deque[tuple[CodeType, int]] = deque(maxlen=_LAST_FRAMES)
    beyond = 0
    while traceback is not None and beyond < _MAX_FRAMES_WALKED:
        code = traceback.tb_frame.f_code
        if not code.co_filename.startswith(_OURS):
            if len(first) < _FIRST_FRAMES:
                first.append(_line(code, traceback.tb_lineno))
            else:
                last.append((code, traceback.tb_lineno))
                beyond += 1
        traceback = traceback.tb_next
    if beyond > _LAST_FRAMES:
        first.append(f"  … {beyond - _LAST_FRAMES} frames …")
    return [*first, *(_line(code, number) for code, number in last)]


def _line(code: CodeType, number: int) -> str:
    return f'  File "{code.co_filename}", line {number}, in {code.co_name}'
