"""Destination: what a shipper thread drives, whatever stands behind it.

Promise: a seam of values and one small protocol; an endpoint's batch sizes, rate and patience belong to it, not to the
shipper. Never knows threads, lanes or ledgers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from ..wire import Verdict

NOT_KEPT = frozenset({"not_carried", "key_unsupported", "unreadable", "after_end", "feedback_not_taken"})
"""Reasons of a ``rejected`` verdict where a dead letter would be of no use, so that the record is only counted: our own
side gave it before anything was sent, or (the last) the endpoint has no place for such records at all. What an endpoint
refuses is kept as a dead letter."""

NEVER_SENT = frozenset({"refused", "dns", "tls", "proxy", "unsendable"})
"""Reasons of a `DeliveryError` that say that not a byte of the request can have been read."""


@dataclass(frozen=True, slots=True)
class BatchPolicy:
    """How a destination wants its records: sizes in events and bytes of record (uncompressed), times in seconds."""

    max_events: int = 200
    max_bytes: int = 1 << 20
    linger_seconds: float = 0.2
    """How long the first record after an idle time waits for company."""
    age_seconds: float = 1.0
    """How long a record waits for a full batch while the destination is busy."""
    min_interval_seconds: float = 0.0
    """Between two batches, for endpoints that limit requests; a quarter of it while someone waits in `flush`."""
    request_seconds: float = 15.0
    """The whole of one `deliver`, whatever the endpoint does."""
    dedupe_seconds: float | None = None
    """How long the endpoint knows a record again. None: as long as it has it, so that resending is always safe."""
    refusals_are_final: bool = False
    """Whether a 400 or 422 to one record alone speaks of that record, however many are refused in a row: then none of
    them holds up what comes after. Otherwise ten in a row are taken for the endpoint's trouble."""
    requests_at_once: int = 1
    """How many of a batch's requests may be in flight together, where no order is wanted between them."""
    inline_at_exit: bool = True
    """Whether `deliver` keeps its deadline on any thread, so that it may run on the caller's when ours never did."""


class Destination(Protocol):
    """Somewhere records go. All methods but ``takes`` and ``answers`` are called on one thread at a time."""

    name: str
    """As users know it: ``lunary``, ``collector``; unique among the destinations of a process."""
    dest_id: str
    """The same across restarts: see `destination_id`."""
    policy: BatchPolicy

    @property
    def answers(self) -> int:
        """Requests that were answered until now, whatever the answer; any thread reads it while one delivers, to know
        an endpoint that is slow from one that hangs."""
        ...

    def takes(self, payload: bytes) -> bool:
        """Whether a record belongs here. Pure, quick, by the record's first bytes; called for every record."""
        ...

    def prepare(self) -> None:
        """Import and build what the first `deliver` needs. May take 100 ms and more; may be called often."""
        ...

    def deliver(self, payloads: Sequence[bytes], deadline: float) -> list[Verdict]:
        """Hand records over, in order; one verdict for each. ``deadline`` is in monotonic seconds.

        Raises `DeliveryError` when the batch as a whole met no answer.
        """
        ...

    def shrink(self, payload: bytes) -> bytes | None:
        """A smaller version of a record that is too big alone; None when there is none."""
        ...

    def forget(self) -> None:
        """In a forked child: let go of sockets without closing or touching them."""
        ...

    def close(self) -> None:
        """Close connections. The next `deliver` opens new ones."""
        ...


def destination_id(kind: str, url: str, project: str = "") -> str:
    """16 hex digits that name a destination on disk and in adoption: by what it is and where, not by its key.

    ``project`` tells apart two projects behind one address (for Lunary its project id, which the hash hides).
    """
    text = "\n".join((kind, url.rstrip("/").lower(), project))
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:16]


def kind_of(payload: bytes) -> bytes:
    """The kind of a record from its first bytes: every record begins ``{"event":"<kind>",``. Empty when it does not."""
    if not payload.startswith(b'{"event":"'):
        return b""
    end = payload.find(b'"', 10, 42)
    return payload[10:end] if end > 0 else b""
