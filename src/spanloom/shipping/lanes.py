"""Lanes: how a shipper draws records from a journal and says what became of each.

Promise: every record that a lane has counted as seen ends under exactly one word (delivered, rejected, dropped,
dead-lettered) or is pending. A lane never raises into the shipper for reasons of disk, and never loses a record
silently.

A destination has two lanes with the same interface: its *own* one over this process's journal (first in, first out),
and the *adopted* one over the journals of dead processes. One thread takes and settles; any thread may read `counts`
or call `wake`.

A record's life in a lane::

    waiting --take--> in hand --settle / reject / drop / dead_letter--> terminal
                         ^  |
                         |  give_back (it is handed out again, before anything newer)
                         +--+
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

Takes = Callable[[bytes], bool]
"""Whether a destination takes a record; pure, quick, looks at the record's first bytes. May be asked twice."""


class Entry(NamedTuple):
    """One record in hand.

    ``position`` is its sequence number in its journal (dense, from 1); ``payload`` the record's bytes;
    ``attempted_at`` the wall-clock seconds at which it was first marked attempted for this destination, in this
    process or in the one that died, else None; ``source`` says which journal it came from (opaque).
    """

    position: int
    payload: bytes
    attempted_at: float | None = None
    source: object = None


@dataclass(frozen=True, slots=True)
class LaneCounts:
    """What became of the records of one lane; exact: ``seen`` is the sum of all the others.

    ``seen`` is created (own lane) or adopted (adopted lane); a record that the destination does not take is not in it.
    """

    seen: int = 0
    delivered: int = 0
    pending: int = 0
    rejected: dict[str, int] = field(default_factory=dict)
    dropped: dict[str, int] = field(default_factory=dict)
    dead_lettered: dict[str, int] = field(default_factory=dict)

    def balance(self) -> int:
        """Zero when no record is unaccounted for."""
        terminal = sum(self.rejected.values()) + sum(self.dropped.values()) + sum(self.dead_lettered.values())
        return self.seen - self.delivered - self.pending - terminal


class Lane(Protocol):
    """What a shipper thread holds for one destination. See the module's drawing for a record's life."""

    def take(self, max_events: int, max_bytes: int) -> list[Entry]:
        """Hand out the next records, oldest first, at most ``max_events`` and about ``max_bytes`` of payload, but
        always one if there is one. Empty when nothing waits. Never blocks for new records."""
        ...

    def settle(self, entries: Iterable[Entry]) -> None:
        """These were delivered (in any order; an entry that is not in hand is ignored)."""
        ...

    def reject(self, entries: Iterable[Entry], reason: str) -> None:
        """These can never be delivered there (such as ``key_unsupported``) and are not kept."""
        ...

    def drop(self, entries: Iterable[Entry], reason: str) -> None:
        """These are given up for ``reason``."""
        ...

    def dead_letter(self, entry: Entry, reason: str) -> None:
        """Put this one aside in the destination's dead-letter file, with the reason. Counted as dropped under
        ``dead_letter_unwritable`` when the file cannot be written."""
        ...

    def give_back(self, entries: Iterable[Entry] | None = None) -> None:
        """Put these back to be taken again, in their order and before anything newer. None: everything in hand
        (after the thread that held them died)."""
        ...

    def mark_attempted(self, entries: Iterable[Entry]) -> None:
        """Write down, before the request is sent, that these were attempted now; it survives the process."""
        ...

    def counts(self, *, ahead: bool = True) -> LaneCounts:
        """Exact counts at this moment; looks at records that nobody has taken yet, each once. ``ahead`` False does not
        look, and leaves those out of ``seen`` and ``pending``."""
        ...

    def waiting(self) -> int:
        """A quick upper bound of the records not yet taken (some may not be for this destination)."""
        ...

    def oldest_pending_seconds(self) -> float | None:
        """Age in seconds, by the wall clock, of the oldest record that is not terminal; None when there is none."""
        ...

    def wait(self, timeout_seconds: float | None) -> bool:
        """Sleep until a record may be waiting here or in the destination's other lane (True), `wake` is called
        (True), or the time is over (False). None waits without end and without waking up."""
        ...

    def rest(self, seconds: float) -> bool:
        """Sleep although records wait (to linger, or to back off); True when `wake` cut it short."""
        ...

    def wake(self) -> None:
        """End a `wait` or `rest` from any thread, also from a signal handler. Never blocks."""
        ...


class OwnLane(Lane, Protocol):
    """The lane over this process's journal, where positions say how far it is."""

    @property
    def last(self) -> int:
        """The position of the last record that the journal has accepted; 0 before the first."""
        ...

    @property
    def floor(self) -> int:
        """The lowest position that is still needed: every record below it is terminal, or not for this destination."""
        ...

    def finished(self) -> bool:
        """Whether every record of the journal as it stands is terminal here. False also where it cannot be told, to a
        signal handler that interrupted this lane's own counting."""
        ...
