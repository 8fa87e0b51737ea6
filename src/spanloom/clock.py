"""Time and identity: timestamps that never run backwards inside a trace, and run ids that sort by time.

Promises: `now_ns` costs one clock read; ids are UUIDv7 (RFC 9562) from a private generator, never from the
``random`` module's shared state, and are reseeded in a forked child. Never blocks, never raises.
"""

from __future__ import annotations

import os
import random
import time
import uuid
from collections.abc import Callable
from datetime import datetime, timezone

_LOW_62 = (1 << 62) - 1
_VARIANT = 1 << 63
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


class Clock:
    """Wall-clock nanoseconds advanced by the monotonic clock.

    ``offset_ns`` is wall minus monotonic time. A trace keeps the offset that its root took, so a step of the wall
    clock (NTP, a suspended machine) can never give a run a negative duration.
    """

    __slots__ = ("offset_ns",)

    _TOLERANCE_NS = 50_000_000

    def __init__(self) -> None:
        self.offset_ns = time.time_ns() - time.monotonic_ns()

    def now_ns(self) -> int:
        """Nanoseconds since the epoch, by the present offset."""
        return time.monotonic_ns() + self.offset_ns

    def root_now_ns(self) -> int:
        """As `now_ns`, first following the wall clock if the two have parted by more than 50 ms."""
        offset = time.time_ns() - time.monotonic_ns()
        if abs(offset - self.offset_ns) > self._TOLERANCE_NS:
            self.offset_ns = offset
        return time.monotonic_ns() + self.offset_ns


def _elapsed_seconds() -> float:
    """Seconds that only pass, those that the machine slept included where the system counts them (Linux)."""
    boot = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if boot is None else time.clock_gettime(boot)


_wall_less_elapsed = time.time() - _elapsed_seconds()


def unhurried_seconds() -> float:
    """Seconds since the epoch, for what is deleted by its age: the wall clock, unless it was set forward while this
    process ran. A clock that jumps ten years ahead makes nothing old."""
    return min(time.time(), _wall_less_elapsed + _elapsed_seconds())


class Ids:
    """Makes UUIDv7 text: 48 bits of milliseconds, 12 bits of the fraction, 62 random bits."""

    __slots__ = ("_bits", "_head")

    def __init__(self, seed: int | None = None) -> None:
        self._head: tuple[int, str] = (-1, "")  # the last millisecond, and how its ids begin
        self._bits: Callable[[int], int] = _generator(seed)
        if seed is None and hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self.reseed)

    def reseed(self) -> None:
        """Take a new seed (called in every forked child)."""
        self._bits = _generator(None)

    def new(self, at_ns: int) -> str:
        """A run id of 36 characters for a moment in nanoseconds since the epoch."""
        ms, rest = divmod(at_ns, 1_000_000)
        known, head = self._head
        if known != ms:
            head = f"{(ms >> 16) & 0xFFFFFFFF:08x}-{ms & 0xFFFF:04x}-7"
            self._head = (ms, head)
        low = _VARIANT | self._bits(62)
        return "%s%03x-%04x-%012x" % (head, rest * 4096 // 1_000_000, low >> 48, low & 0xFFFFFFFFFFFF)  # noqa: UP031 - twice as fast as the f-string here


def _generator(seed: int | None) -> Callable[[int], int]:
    if seed is None:
        # The process and the moment too: a host's tests may have os.urandom say always the same, in every child.
        moment = time.time_ns() << 64 | time.monotonic_ns()
        seed = int.from_bytes(os.urandom(32), "big") << 192 | (os.getpid() << 160) ^ moment
    return random.Random(seed).getrandbits


_second: tuple[int, str] = (-1, "")


def iso(at_ns: int) -> str:
    """Nanoseconds since the epoch as ISO 8601 in UTC with microseconds: ``2026-01-31T12:00:00.000001Z``."""
    global _second
    seconds, rest = divmod(at_ns, 1_000_000_000)
    known, prefix = _second  # one tuple, so that threads never pair one second with another's text
    if known != seconds:
        try:
            prefix = time.strftime("%Y-%m-%dT%H:%M:%S.", time.gmtime(seconds))
        except (OverflowError, ValueError, OSError):
            seconds, rest, prefix = 0, 0, "1970-01-01T00:00:00."
        _second = (seconds, prefix)
    return f"{prefix}{rest // 1000:06d}Z"


def parse_iso_us(text: str) -> int:
    """Microseconds since the epoch of an ISO 8601 timestamp; one without a zone is taken as UTC.

    Raises ValueError for anything else.
    """
    ours = len(text) == 27 and text[26] == "Z"
    moment = datetime.fromisoformat(text[:26] if ours else _plain_iso(text))
    delta = moment.replace(tzinfo=moment.tzinfo or timezone.utc) - _EPOCH
    return (delta.days * 86400 + delta.seconds) * 1_000_000 + delta.microseconds


def _plain_iso(text: str) -> str:
    """Python 3.10 reads neither ``Z`` nor a fraction of other than 3 or 6 digits."""
    text = text.strip().replace("z", "Z").replace("Z", "+00:00")
    head, dot, tail = text.partition(".")
    if not dot:
        return text
    digits = len(tail) - len(tail.lstrip("0123456789"))
    return f"{head}.{tail[:digits][:6].ljust(6, '0')}{tail[digits:]}"


def is_run_id(text: object) -> bool:
    """Whether this is the text of a UUID, which is what every run id is."""
    if type(text) is not str or len(text) != 36:
        return False
    try:
        return str(uuid.UUID(text)) == text.lower()
    except ValueError:
        return False
