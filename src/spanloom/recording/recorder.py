"""The one object that recording reads at each call, and the sink behind it.

Promises: `install` swaps the whole recorder in one assignment, so that a call sees the old one or the new one, never
a mixture. Must never: know what stands behind the sink, read the environment, or raise into the host.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from ..clock import Clock, Ids
from . import threads
from .ambient import NOTHING, OUTSIDE, watch_collections
from .keys import KeyedRuns

if TYPE_CHECKING:
    from .lineage import Remote

logger = logging.getLogger("spanloom")

_LOG_EVERY_SECONDS = 60.0
_MAX_REASONS = 256  # of reasons remembered for the rate limit


class Sink(Protocol):
    """Where records go. Neither method raises, blocks, or calls user code."""

    def append(self, payload: bytes, /) -> object:
        """Accept one record: a JSON object that begins with ``{"event":"<kind>",``."""

    def reject(self, reason: str, /) -> object:
        """Count one record, or one piece of a record, that was not made."""


class Snapshots(Protocol):
    """What recording needs of `spanloom.encoder.Encoder`: total, bounded, strict JSON."""

    def snapshot(self, value: Any, path: tuple[str | int, ...] = ()) -> bytes:
        """The value as it is now, as UTF-8 JSON."""


class Recorder:
    """How to record. Made once per configuration and never changed afterwards.

    ``sample`` is the share of traces (0 to 1) that are recorded with content; the others keep their end records for
    metering. ``origin`` is asked for a parent elsewhere (the host's trace, ``TRACEPARENT``) whenever a run opens
    outside any other; ``host_spans`` holds a function that says which span of the host is live, when there may be one
    (0: none); ``run_url`` gives the address at which a run can be looked at; ``usage_refusal`` says why an
    action or outcome would be refused where it is to go (asked when ``strict``). ``keyed_runs`` are the users' own
    names for runs, shared by the recorders of a process. ``surroundings`` are the values of `Ambient` that hold for the
    whole process. ``clock`` may have a ``monotonic_ns`` method of its own, for
    tests.
    """

    __slots__ = (
        "append",
        "capture_content",
        "clock",
        "enabled",
        "encoder",
        "host_spans",
        "ids",
        "keyed_runs",
        "monotonic_ns",
        "origin",
        "propagate_processes",
        "propagate_threads",
        "run_url",
        "sample",
        "service",
        "sink",
        "strict",
        "surroundings",
        "usage_refusal",
    )  # fmt: skip

    def __init__(
        self,
        sink: Sink,
        encoder: Snapshots,
        *,
        clock: Clock | None = None,
        ids: Ids | None = None,
        enabled: bool = True,
        capture_content: bool = True,
        sample: float = 1.0,
        strict: bool = False,
        propagate_threads: bool = False,
        propagate_processes: bool = False,
        service: str | None = None,
        origin: Callable[[], Remote | None] | None = None,
        host_spans: Sequence[Callable[[], int]] = (),
        run_url: Callable[[str], str | None] | None = None,
        usage_refusal: Callable[[bytes], str | None] | None = None,
        keyed_runs: KeyedRuns | None = None,
        surroundings: Mapping[str, Any] | None = None,
    ) -> None:
        self.sink = sink
        self.append = sink.append
        self.encoder = encoder
        self.clock = clock or Clock()
        self.ids = ids or Ids()
        self.enabled = enabled
        self.capture_content = capture_content
        self.sample = sample
        self.strict = strict
        self.propagate_threads = propagate_threads
        self.propagate_processes = propagate_processes
        self.service = service
        self.origin = origin
        self.host_spans = host_spans
        self.run_url = run_url
        self.usage_refusal = usage_refusal
        self.keyed_runs = keyed_runs or KeyedRuns()
        self.surroundings = surroundings or {}
        self.monotonic_ns: Callable[[], int] = getattr(self.clock, "monotonic_ns", time.monotonic_ns)


class _Seat:
    """Where the installed recorder sits. ``live`` is None while there is none, or it is off; ``starter`` is called
    once, when something is to be recorded and nobody has installed a recorder yet."""

    __slots__ = ("installed", "live", "starter")

    def __init__(self) -> None:
        self.installed: Recorder | None = None
        self.live: Recorder | None = None
        self.starter: Callable[[], object] | None = None


seat = _Seat()


def install(recorder: Recorder | None) -> Recorder | None:
    """Make this the recorder of every call from now on (None: record nothing); returns the one before.

    Runs that are open end in the recorder that they began with.
    """
    before = seat.installed
    live = recorder if recorder is not None and recorder.enabled else None
    seat.starter = None
    seat.installed = recorder
    seat.live = live
    watch_collections()
    if live is not None:
        NOTHING.become(live.surroundings)
    OUTSIDE[:] = [True] if live is not None else []
    threads.follow(live is not None and live.propagate_threads)
    for told in _told:
        told(live)
    return before


_told: list[Callable[[Recorder | None], object]] = []


def on_install(told: Callable[[Recorder | None], object]) -> None:
    """Have ``told`` called with each recorder that is installed and on, or None (it must not raise)."""
    _told.append(told)


before_closing: list[Callable[[], object]] = []
"""Called when the program leaves or shuts Spanloom down, while records are still taken, for those who hold some back.
They must not raise."""


def on_first_use(starter: Callable[[], object]) -> None:
    """Have ``starter`` called (it should `install` a recorder) when the first record is about to be made."""
    if seat.installed is None:
        seat.starter = starter
        OUTSIDE[:] = [True]


def live() -> Recorder | None:
    """The recorder, when there is one and it is on; starts the first one."""
    recorder = seat.live
    if recorder is None and seat.starter is not None:
        starter, seat.starter = seat.starter, None
        starter()
        recorder = seat.live
    return recorder


def current() -> Recorder | None:
    """The installed recorder, or None."""
    return seat.installed


_said: dict[str, float] = {}


def problem(recorder: Recorder, reason: str, message: str) -> None:
    """Count one loss under ``reason`` and say it in the log, at most once a minute for each reason."""
    recorder.sink.reject(reason)
    now = time.monotonic()
    if now - _said.get(reason, -_LOG_EVERY_SECONDS) < _LOG_EVERY_SECONDS:
        return
    if len(_said) >= _MAX_REASONS:
        _said.clear()
    _said[reason] = now  # before logging: a log handler that records comes back here
    try:
        logger.warning("%s (counted as %s; said at most once a minute)", message, reason)
    except Exception:  # the host's log handlers are not ours to trust
        recorder.sink.reject("log_failed")
