"""Carrying a run across threads, processes and hosts by hand: `carry`, `inject`, `extract`.

Promises: the wire form is W3C trace context (https://www.w3.org/TR/trace-context/) with our ids in full in
``tracestate``, and W3C baggage (https://www.w3.org/TR/baggage/) for user, thread and customer; other members of both
headers are kept. What comes in is bounded to 8 KiB a header and never becomes a header without being quoted.
Must never: let a header decide where anything is sent.
"""

from __future__ import annotations

import functools
import inspect
import json
from collections.abc import Callable, Iterable, Mapping, MutableMapping
from contextvars import copy_context
from types import TracebackType
from typing import Any, TypeVar, cast
from urllib.parse import quote, unquote

from ..errors import UsageError
from .ambient import ambient_var, current_var, set_current, set_variable
from .blocks import Block
from .edge import OFF, direct, nothing
from .late import shown
from .lineage import MAX_HEADER_BYTES, TRACESTATE_KEY, Remote, json_text, remote_parent, tracestate_entry
from .recorder import live
from .run import Run

F = TypeVar("F", bound=Callable[..., Any])

_BAGGAGE = {"spanloom.user": "user", "spanloom.thread": "thread", "spanloom.customer": "customer"}


def carry(function: F) -> F:
    """``function``, bound to the present context, for an executor or a thread; may be called often and concurrently.

    A coroutine function runs with the present run and ambient values; anything else runs in a copy of the whole
    present context, as `asyncio.to_thread` does it.
    """
    try:
        later = inspect.iscoroutinefunction(function)
    except Exception:  # a callable object whose attributes raise; it is the host's to call all the same
        later = False
    if later:
        return cast(F, _carry_coroutine(function))
    context = copy_context()

    def carried(*args: Any, **kwargs: Any) -> Any:
        return context.copy().run(function, *args, **kwargs)  # one context cannot be entered twice at once

    return cast(F, _passing_for(function, carried))


def _passing_for(function: Any, carried: Callable[..., Any]) -> Callable[..., Any]:
    """`functools.wraps`, for objects too whose attributes raise."""
    try:
        return functools.update_wrapper(carried, function)
    except Exception:
        return carried


def _carry_coroutine(function: Callable[..., Any]) -> Callable[..., Any]:
    run, ambient = current_var.get(), ambient_var.get()

    async def carried(*args: Any, **kwargs: Any) -> Any:
        run_before, ambient_before = current_var.get(), ambient_var.get()
        set_current(run)
        set_variable(ambient_var, ambient)
        try:
            return await function(*args, **kwargs)
        finally:
            if current_var.get() is run:
                set_current(run_before)
            if ambient_var.get() is ambient:
                set_variable(ambient_var, ambient_before)

    return _passing_for(function, carried)


@direct(nothing)
def inject(headers: MutableMapping[str, str]) -> None:
    """Write ``traceparent``, ``tracestate`` and ``baggage`` into a mapping, so that the receiver continues the trace.

    Outside any run only baggage is written; where nothing is recorded, nothing is.
    """
    if not hasattr(headers, "__setitem__") or isinstance(headers, list):
        raise UsageError(f"inject({shown(headers)}): must be a mapping to write to, such as a dict of headers")
    found = current_var.get()
    if live() is None or found is OFF:
        return
    root_id, run_id = "", ""
    if isinstance(found, Run):
        headers["traceparent"] = found.traceparent
        root_id, run_id = found.root_id, found.id
    elif isinstance(found, Remote) and found.trace_id and found.span_id:
        headers["traceparent"] = f"00-{found.trace_id}-{found.span_id}-{'00' if found.sampled is False else '01'}"
        root_id, run_id = found.root_id, found.run_id
    if root_id and run_id:
        headers["tracestate"] = _beside(headers, "tracestate", [tracestate_entry(root_id, run_id)], (TRACESTATE_KEY,))
    ambient = ambient_var.get()
    ours = [f"{key}={_quoted(getattr(ambient, name))}" for key, name in _BAGGAGE.items() if getattr(ambient, name)]
    if ours:
        headers["baggage"] = _beside(headers, "baggage", ours, tuple(_BAGGAGE))


def extract(headers: Mapping[str, str] | Iterable[tuple[Any, Any]]) -> Continued:
    """A block that continues the trace of incoming headers (a mapping, or pairs of text or bytes, in any case).

    Headers that do not parse leave the block without effect.
    """
    return _continued(headers)


class Continued:
    """``with extract(headers):``; sync and async."""

    __slots__ = ("_blocks",)

    def __init__(self, parent: Remote | None = None, ambient: Mapping[str, str] | None = None) -> None:
        self._blocks: list[Block] = []
        if parent is not None:
            self._blocks.append(_Parent(parent))
        if ambient:
            self._blocks.append(_Ambient(ambient))

    def __enter__(self) -> None:
        for block in self._blocks:
            block.__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for block in reversed(self._blocks):
            block.__exit__(kind, error, traceback)

    async def __aenter__(self) -> None:
        self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, traceback)


class _Parent(Block):
    __slots__ = ("_parent",)

    def __init__(self, parent: Remote) -> None:
        super().__init__(current_var)
        self._parent = parent

    def _inner(self) -> Any:
        return OFF if current_var.get() is OFF else self._parent


class _Ambient(Block):
    __slots__ = ("_values",)

    def __init__(self, values: Mapping[str, str]) -> None:
        super().__init__(ambient_var)
        self._values = values

    def _inner(self) -> Any:
        return ambient_var.get().within(**self._values)


@direct(Continued)
def _continued(headers: Any) -> Continued:
    found = _our_headers(headers)
    if "traceparent" not in found and "baggage" not in found:
        return Continued()
    parent = remote_parent(found.get("traceparent", ""), found.get("tracestate", ""))
    return Continued(parent, _from_baggage(found.get("baggage", "")))


def _our_headers(headers: Any) -> dict[str, str]:
    """The three headers by their lower-case names; a header given twice is joined, one too long left out."""
    pairs = headers.items() if hasattr(headers, "items") else headers
    if isinstance(pairs, (str, bytes)) or not hasattr(pairs, "__iter__"):
        raise UsageError(f"extract({shown(headers)}): must be headers: a mapping, or pairs of name and value")
    found: dict[str, str] = {}
    for pair in pairs:
        name, value = (part.decode("latin-1") if isinstance(part, bytes) else part for part in pair)
        if not isinstance(name, str) or not isinstance(value, str):
            continue
        name = name.lower()
        if name in ("traceparent", "tracestate", "baggage") and len(value) <= MAX_HEADER_BYTES:
            found[name] = f"{found[name]},{value}" if name in found else value
    return found


def _from_baggage(baggage: str) -> dict[str, str]:
    values: dict[str, str] = {}
    for member in baggage.split(",")[:64]:
        key, _, value = member.partition(";")[0].partition("=")
        name = _BAGGAGE.get(key.strip())
        text = unquote(value.strip())
        if name and 0 < len(text) <= 512:
            values[name] = json_text(text)
    return values


def _quoted(json_string: str) -> str:
    """A JSON string's text, percent-encoded: no header can be broken by it."""
    return quote(json.loads(json_string), safe="")


def _beside(headers: MutableMapping[str, str], name: str, ours: list[str], keys: tuple[str, ...]) -> str:
    """Our members, then those of others that were there; within the size that everyone must carry on."""
    present = headers.get(name)
    members = [*ours]
    if isinstance(present, str):
        members += [m.strip() for m in present.split(",") if m.strip() and m.partition("=")[0].strip() not in keys]
    while len(members) > len(ours) and (len(members) > 32 or len(",".join(members)) > MAX_HEADER_BYTES):
        members.pop()
    return ",".join(members)
