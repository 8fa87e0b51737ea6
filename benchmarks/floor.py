"""The floor: the least work in pure CPython that still gives start and end events with parents, delivered.

FROZEN: every figure of this project is a ratio to it, so it never changes again. Its steps, for each run:

    1. a wrapt call                         5. two orjson encodes of plain dicts
    2. a ContextVar set and restore         6. two deque appends
    3. two clock reads                      and a background thread that joins, gzips (level 1)
    4. one random id                        and posts by httpx; nothing else.

No redaction, no journal, no limits, no retries, no error handling: it is no product, it is a yardstick.
"""

from __future__ import annotations

import gzip
import random
import threading
import time
from collections import deque
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import httpx
import orjson
import wrapt

STEPS = (
    "a wrapt call, a ContextVar set and restore, two clock reads, one random id, two orjson encodes of plain dicts, "
    "two deque appends; in the background: join, gzip level 1, post by httpx"
)

_current: ContextVar[str | None] = ContextVar("floor_current", default=None)
_bits = random.Random(7).getrandbits
_events: deque[bytes] = deque()
_append = _events.append


def traced(run_type: str) -> Callable[[Callable[..., Any]], Any]:
    """A decorator that records a start and an end event of the call, with their parent."""

    def decorate(function: Callable[..., Any]) -> Any:
        name = function.__name__

        @wrapt.decorator
        def wrapper(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
            parent = _current.get()
            run_id = f"{_bits(128):032x}"
            _append(
                orjson.dumps(
                    {
                        "type": run_type,
                        "event": "start",
                        "runId": run_id,
                        "parentRunId": parent,
                        "name": name,
                        "timestamp": time.time_ns(),
                        "input": args[0] if args else None,
                    }
                )
            )
            _current.set(run_id)
            try:
                output = wrapped(*args, **kwargs)
            finally:
                _current.set(parent)
            _append(
                orjson.dumps(
                    {
                        "type": run_type,
                        "event": "end",
                        "runId": run_id,
                        "parentRunId": parent,
                        "timestamp": time.time_ns(),
                        "output": output,
                    }
                )
            )
            return output

        return wrapper(function)

    return decorate


def traced_async(run_type: str) -> Callable[[Callable[..., Any]], Any]:
    """As `traced`, for coroutine functions."""

    def decorate(function: Callable[..., Any]) -> Any:
        name = function.__name__

        @wrapt.decorator
        async def wrapper(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
            parent = _current.get()
            run_id = f"{_bits(128):032x}"
            _append(
                orjson.dumps(
                    {
                        "type": run_type,
                        "event": "start",
                        "runId": run_id,
                        "parentRunId": parent,
                        "name": name,
                        "timestamp": time.time_ns(),
                        "input": args[0] if args else None,
                    }
                )
            )
            _current.set(run_id)
            try:
                output = await wrapped(*args, **kwargs)
            finally:
                _current.set(parent)
            _append(
                orjson.dumps(
                    {
                        "type": run_type,
                        "event": "end",
                        "runId": run_id,
                        "parentRunId": parent,
                        "timestamp": time.time_ns(),
                        "output": output,
                    }
                )
            )
            return output

        return wrapper(function)

    return decorate


class Sender:
    """The background thread: every ``linger_seconds`` it sends what has come, at most ``most`` events a request."""

    def __init__(self, url: str, *, most: int = 500, linger_seconds: float = 0.2) -> None:
        self._url = url
        self._most = most
        self._linger_seconds = linger_seconds
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Send all that is left, then stop."""
        self._closing.set()
        self._thread.join()

    def _run(self) -> None:
        with httpx.Client(timeout=30) as client:
            while True:
                closing = self._closing.wait(self._linger_seconds)
                while _events:
                    batch = [_events.popleft() for _ in range(min(self._most, len(_events)))]
                    body = gzip.compress(b'{"events":[' + b",".join(batch) + b"]}", 1)
                    headers = {"content-encoding": "gzip", "content-type": "application/json"}
                    client.post(self._url, content=body, headers=headers).raise_for_status()
                if closing:
                    return
