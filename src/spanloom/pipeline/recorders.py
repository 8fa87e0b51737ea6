"""From settings to a recorder: the one place where encoder, redactor, clock and sink are put together.

Promise: `FirstUse` stands in until something is recorded, so that importing Spanloom reads no environment, and settings
that a program loads into its environment after the import still count.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..clock import Clock, Ids
from ..encoder import Encoder
from ..otel.joining import Joining
from ..recording.keys import KeyedRuns
from ..recording.lineage import Remote, remote_parent
from ..recording.propagation import from_baggage
from ..recording.recorder import Recorder, Sink
from ..redaction import Redactor
from ..settings import Settings
from .naming import usage_rules


def make(
    settings: Settings,
    sink: Sink,
    *,
    clock: Clock | None = None,
    ids: Ids | None = None,
    run_url: Callable[[str], str | None] | None = None,
    keyed_runs: KeyedRuns | None = None,
) -> Recorder:
    """The recorder that does what the settings say, into ``sink``."""
    mode = settings.join_otel
    joining = Joining(mode, _parent_of_process(settings)) if mode else None
    return Recorder(
        sink,
        Encoder(redactor=Redactor(settings.redact)),
        clock=clock,
        ids=ids,
        enabled=settings.enabled,
        capture_content=settings.capture_content,
        sample=settings.sample,
        strict=settings.strict,
        propagate_threads=settings.propagate_threads,
        propagate_processes=settings.propagate_processes,
        service=settings.service,
        origin=joining.origin if joining is not None else _origin(settings),
        host_spans=joining.live if joining is not None else (),
        run_url=run_url,
        keyed_runs=keyed_runs,
        surroundings=from_baggage(settings.baggage) if settings.baggage else None,
        usage_refusal=usage_rules(settings.destinations or ()) if settings.strict else None,
    )


def _origin(settings: Settings) -> Callable[[], Remote | None] | None:
    """The parent that ``TRACEPARENT`` names for everything in this process, or None."""
    remote = _parent_of_process(settings)
    return None if remote is None else lambda: remote


def _parent_of_process(settings: Settings) -> Remote | None:
    return remote_parent(settings.traceparent, settings.tracestate or "") if settings.traceparent else None


class NoSink:
    """Where the records of a recorder that is off go: nowhere."""

    def append(self, payload: bytes, /) -> None:
        """Forget it."""

    def reject(self, reason: str, /) -> None:
        """Forget it."""


class FirstUse(Recorder):
    """A recorder that is not there yet: whatever is asked of it, it has the real one made and answers with that one's.

    ``enabled`` is True, or nobody would ever ask; should the environment say otherwise, the real one's sink forgets.
    """

    __slots__ = ("_real",)

    def __init__(
        self, real: Callable[[], Recorder], *, propagate_threads: bool = False, propagate_processes: bool = False
    ) -> None:
        self._real = real
        self.enabled = True
        self.propagate_threads = propagate_threads
        self.propagate_processes = propagate_processes
        self.surroundings = {}  # until the environment is read


def _of_the_real_one(name: str) -> property:
    def get(self: Any) -> Any:
        return getattr(self._real(), name)

    return property(get)


for _name in Recorder.__slots__:
    if _name not in ("enabled", "propagate_threads", "propagate_processes", "surroundings"):
        setattr(FirstUse, _name, _of_the_real_one(_name))
