"""A request's body: read within a time, inflated within a size, refused as soon as it is clear that it must be.

Promises: never holds more than `Limits` allow, whatever lengths the headers claim; raises `Refused` and nothing else
for what a stranger sends. Must never: trust a Content-Length, or inflate further than the cap.
"""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TypeVar

import anyio
from starlette.requests import ClientDisconnect

_T = TypeVar("_T")
JSON_ONLY = frozenset({"application/json"})


LARGE_BYTES = (4 << 20) + (64 << 10)
"""Bodies of more are worked on one at a time: what our own client and Lunary's send is below."""

DENSE_VALUES = 60_000
"""Or of more commas than this: a short value takes twenty times its text when it is taken apart."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What is taken of a stranger.

    ``max_body_bytes`` as sent (Lunary's own limit is 20 MB), ``max_inflated_bytes`` after decompression.
    ``head_seconds`` for a request's head to arrive; ``body_seconds`` for its body, and one second more for each
    ``min_body_rate_bytes`` of it, with no pause longer than ``stall_seconds``; ``write_seconds`` for a client to take
    what was sent to it. ``max_pending_bytes`` of all bodies being held at once, ``max_waiting`` requests waiting to be
    worked on, ``max_connections`` open. Of a body that is refused, ``max_drained_bytes`` are read and dropped, for
    ``drain_seconds`` at most. ``max_target_bytes`` of path and query, ``max_headers`` lines.
    Nothing is taken while less than ``min_free_bytes`` are free on the store's disk.
    """

    max_body_bytes: int = 20 << 20
    max_inflated_bytes: int = 24 << 20
    head_seconds: float = 5.0
    body_seconds: float = 30.0
    min_body_rate_bytes: int = 64 << 10
    stall_seconds: float = 10.0
    write_seconds: float = 30.0
    max_pending_bytes: int = 48 << 20
    max_waiting: int = 256
    max_connections: int = 1000
    max_drained_bytes: int = 128 << 20
    drain_seconds: float = 5.0
    max_target_bytes: int = 8 << 10
    max_headers: int = 100
    min_free_bytes: int = 16 << 20


class Refused(Exception):
    """A request that is answered with ``status`` and ``message`` and not looked at further. ``close``: the rest of
    its body is not read, so the connection ends with the answer."""

    def __init__(self, status: int, message: str, *, path: str | None = None, close: bool = False) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.path = path
        self.close = close
        self.headers: dict[str, str] = {}
        self.retry_after_seconds: int | None = 1 if status == 503 else None


class Pending:
    """The bytes of all bodies that are held; a flood is refused instead of kept in memory."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self.held_bytes = 0

    def take(self, size_bytes: int) -> None:
        """Raises Refused (503) when that would be too many."""
        if self.held_bytes + size_bytes > self._limits.max_pending_bytes:
            raise Refused(503, "too much is being received at once: send it again later", close=True)
        self.held_bytes += size_bytes

    def give(self, size_bytes: int) -> None:
        self.held_bytes -= size_bytes


def check_headers(headers: Mapping[str, str], limits: Limits, media: Collection[str] = JSON_ONLY) -> str:
    """The body's encoding ("" or "gzip", "deflate"); raises Refused (415, 413) by the headers alone.

    ``media`` are the content types that are read; none of those that a page's form can send should be among them.
    """
    given = headers.get("content-type", "").partition(";")[0].strip().lower()
    if given not in media:
        shown = given or "none"
        raise Refused(415, f"content-type is {shown[:100]}: send {' or '.join(sorted(media))}", close=True)
    encoding = headers.get("content-encoding", "").strip().lower()
    if encoding not in ("", "identity", "gzip", "x-gzip", "deflate"):
        raise Refused(415, f"content-encoding {encoding[:100]!r} is not read: send gzip or none", close=True)
    claimed = headers.get("content-length", "")
    if claimed.isascii() and claimed.isdigit() and (len(claimed) > 12 or int(claimed) > limits.max_body_bytes):
        raise Refused(413, f"the body is larger than {limits.max_body_bytes} bytes: send smaller batches", close=True)
    return {"identity": "", "x-gzip": "gzip"}.get(encoding, encoding)


async def read(chunks: AsyncIterator[bytes], limits: Limits, pending: Pending) -> bytes:
    """All of a body, counted in ``pending``. Raises Refused: 413, 408 when it does not come, 503."""
    parts: list[bytes] = []
    held_bytes = 0
    began = anyio.current_time()
    try:
        with anyio.move_on_after(min(limits.body_seconds, limits.stall_seconds)) as patience:
            async for chunk in chunks:
                pending.take(len(chunk))
                held_bytes += len(chunk)
                parts.append(chunk)
                if held_bytes > limits.max_body_bytes:
                    message = f"the body is larger than {limits.max_body_bytes} bytes: send smaller batches"
                    raise Refused(413, message, close=True)
                last = began + limits.body_seconds + held_bytes / limits.min_body_rate_bytes
                patience.deadline = min(last, anyio.current_time() + limits.stall_seconds)
    except BaseException:
        pending.give(held_bytes)
        raise
    if patience.cancelled_caught:
        pending.give(held_bytes)
        raise Refused(408, f"the body did not arrive in time: {held_bytes} bytes of it did", close=True)
    return b"".join(parts)


def worth_draining(headers: Mapping[str, str], limits: Limits) -> bool:
    """Whether the rest of a refused body is read and dropped: not when the client waits for leave to send it, nor
    when it says that there is too much of it."""
    claimed = headers.get("content-length", "0")
    too_much = not claimed.isdigit() or len(claimed) > 12 or int(claimed) > limits.max_drained_bytes
    return not too_much and "expect" not in headers


_DRAIN_PAUSE_SECONDS = 0.5


async def drain(chunks: AsyncIterator[bytes], limits: Limits) -> None:
    """Read on and drop it: a client that is still sending sees the answer only then, not a broken connection."""

    left_bytes = limits.max_drained_bytes
    last = anyio.current_time() + limits.drain_seconds
    with anyio.move_on_after(_DRAIN_PAUSE_SECONDS) as patience:
        try:
            async for chunk in chunks:
                patience.deadline = min(last, anyio.current_time() + _DRAIN_PAUSE_SECONDS)
                left_bytes -= len(chunk)
                if left_bytes < 0:
                    return
        except ClientDisconnect:
            pass


class TooLargeHere(Exception):
    """The body inflates to more than may be worked on beside others: `mounts.Parts` begins anew, alone."""


_alone: ContextVar[bool] = ContextVar("alone", default=True)


def work_on(work: Callable[[str, bytes], _T], encoding: str, body: bytes, *, alone: bool) -> _T:
    """Call ``work``; unless ``alone``, `inflate` in it raises TooLargeHere past `LARGE_BYTES`."""
    token = _alone.set(alone)
    try:
        return work(encoding, body)
    except (Refused, TooLargeHere) as refused:
        refused.__context__ = None
        raise refused.with_traceback(None) from None  # its frames hold what was inflated, and the answer holds it
    finally:
        _alone.reset(token)


_STEP_BYTES = 64 << 10


def inflate(body: bytes, encoding: str, limits: Limits) -> bytes:
    """The body decompressed, all members of a gzip file. Raises Refused: 413 past the cap, 400 when it is damaged."""
    plain = _inflated(body, encoding, limits) if encoding else body
    if not _alone.get() and (len(plain) > LARGE_BYTES or plain.count(b",") > DENSE_VALUES):
        raise TooLargeHere
    return plain


def _inflated(body: bytes, encoding: str, limits: Limits) -> bytes:
    out = bytearray()
    rest = memoryview(body)
    try:
        while True:
            member = zlib.decompressobj(31 if encoding == "gzip" else 15)
            while not member.eof:
                if not rest:
                    raise Refused(400, f"the {encoding} body ends too early: send all of it")
                fed, rest = rest[:_STEP_BYTES], rest[_STEP_BYTES:]
                _inflate_step(member, fed, out, limits)
            left = len(member.unused_data)
            rest = memoryview(body)[len(body) - len(rest) - left :]
            if not rest:
                return bytes(out)
            if encoding != "gzip":
                raise Refused(400, "the deflate body is followed by something else")
    except zlib.error as error:
        raise Refused(400, f"the body is not {encoding}: {error}") from None


def _inflate_step(member: zlib._Decompress, fed: memoryview | bytes, out: bytearray, limits: Limits) -> None:
    while fed and not member.eof:
        out += member.decompress(fed, _STEP_BYTES * 4)
        fed = member.unconsumed_tail
        if len(out) > limits.max_inflated_bytes:
            message = f"the body inflates to more than {limits.max_inflated_bytes} bytes: send smaller batches"
            raise Refused(413, message)
        if len(out) > LARGE_BYTES and not _alone.get():
            raise TooLargeHere
