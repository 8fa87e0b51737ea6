"""Carrying a run to other processes and hosts by headers: `inject`, `extract`.

Promises: the wire form is W3C trace context (https://www.w3.org/TR/trace-context/) with our ids in full in
``tracestate``, and W3C baggage (https://www.w3.org/TR/baggage/) for user, thread, customer and tags; other members of
both headers are kept. What comes in is bounded to 8 KiB a header and never becomes a header without being quoted.
Must never: let a header decide where anything is sent.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, MutableMapping
from types import TracebackType
from typing import Any
from urllib.parse import quote, unquote

from ..errors import UsageError
from .ambient import Ambient, ambient_var, current_var
from .blocks import Block
from .edge import OFF, direct, nothing
from .late import shown
from .lineage import MAX_HEADER_BYTES, TRACESTATE_KEY, Remote, json_text, remote_parent, tracestate_entry
from .recorder import live
from .run import Run

_BAGGAGE = {"spanloom.user": "user", "spanloom.thread": "thread", "spanloom.customer": "customer"}
_TAGS = "spanloom.tags"  # each tag percent-encoded, joined by commas, and the whole encoded once more
_MAX_TAGS = 64


@direct(nothing)
def inject(headers: MutableMapping[str, str]) -> None:
    """Write ``traceparent``, ``tracestate`` and ``baggage`` into a mapping, so that the receiver continues the trace.

    ``baggage`` holds the user, thread, customer and tags of the surrounding `context`. Outside any run only that is
    written; where nothing is recorded, nothing is.
    """
    if not hasattr(headers, "__setitem__") or isinstance(headers, list):
        raise UsageError(f"inject({shown(headers)}): must be a mapping to write to, such as a dict of headers")
    write(headers)


def write(headers: MutableMapping[str, str], baggage: bool = True) -> None:
    """As `inject`, for a mapping; ``baggage`` False leaves that header as it is."""
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
    ours = _baggage_of(ambient_var.get()) if baggage else []
    if ours:
        headers["baggage"] = _beside(headers, "baggage", ours, (*_BAGGAGE, _TAGS))


def _baggage_of(ambient: Ambient) -> list[str]:
    """The members, as many as a header has room for; the tags come last, and as many of them as fit."""
    members = [f"{key}={_quoted(getattr(ambient, name))}" for key, name in _BAGGAGE.items() if getattr(ambient, name)]
    while len(",".join(members)) > MAX_HEADER_BYTES:
        members.pop()
    room = MAX_HEADER_BYTES - len(",".join(members)) - len(f",{_TAGS}=")
    tags = ""
    for tag in ambient.tags[:_MAX_TAGS]:
        more = quote(f"{',' if tags else ''}{_quoted(tag)}", safe="")
        if len(tags) + len(more) > room:
            break
        tags += more
    return [*members, f"{_TAGS}={tags}"] if tags else members


def extract(headers: Mapping[str, str] | Iterable[tuple[Any, Any]]) -> Continued:
    """A block that continues the trace of incoming headers (a mapping, or pairs of text or bytes, in any case).

    Headers that do not parse leave the block without effect.
    """
    return _continued(headers)


class Continued:
    """``with extract(headers):``; sync and async."""

    __slots__ = ("_blocks",)

    def __init__(self, parent: Remote | None = None, ambient: Mapping[str, Any] | None = None) -> None:
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

    def __init__(self, values: Mapping[str, Any]) -> None:
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
    return Continued(parent, from_baggage(found.get("baggage", "")))


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


def from_baggage(baggage: str) -> dict[str, Any]:
    """The values of `Ambient` in a ``baggage`` header; what is too long or not ours is left out."""
    values: dict[str, Any] = {}
    if len(baggage) > MAX_HEADER_BYTES:  # given in several headers, each of them short enough
        return values
    for member in baggage.split(",")[:64]:
        key, _, value = member.partition(";")[0].partition("=")
        text = unquote(value.strip())
        name = _BAGGAGE.get(key.strip())
        if name and 0 < len(text) <= 512:
            values[name] = json_text(text)
        elif key.strip() == _TAGS:
            tags = [unquote(tag) for tag in text.split(",")[:_MAX_TAGS]]
            values["tags"] = tuple(json_text(tag) for tag in tags if 0 < len(tag) <= 512)
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
