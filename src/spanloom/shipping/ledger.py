"""The ledger: what became of every record, per destination, exact at any moment.

    created + adopted = rejected + delivered + dropped + pending + dead_lettered

Promises: the counts are the lanes' own, read under their locks, so that nothing is counted twice or in between; what
is added here (duplicates, shrunk records, errors, times) only explains them. An outage is one log line when it begins
and one when it ends. Must never: log from anywhere but a shipper's thread, or keep one entry per error text.
"""

from __future__ import annotations

import logging
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .lanes import Lane, LaneCounts

_MOST_REASONS = 40
_VARIABLE_PART = re.compile(r"[0-9a-f]{8}-[0-9a-f-]{27}|\d{4,}")


class Count(int):
    """A number of records, with its parts by reason: ``health["lunary"].dropped.by_reason``."""

    by_reason: dict[str, int]

    def __new__(cls, by_reason: Mapping[str, int] | None = None, total: int | None = None) -> Count:
        parts = {reason: number for reason, number in (by_reason or {}).items() if number}
        count = super().__new__(cls, sum(parts.values()) if total is None else total)
        count.by_reason = parts
        return count

    @property
    def total(self) -> int:
        """The number itself."""
        return int(self)

    def __repr__(self) -> str:
        if set(self.by_reason) <= {"stored"}:
            return str(int(self))
        return f"{int(self)} ({', '.join(f'{reason} {number}' for reason, number in self.by_reason.items())})"

    __str__ = __repr__

    def __reduce__(self) -> tuple[type[Count], tuple[dict[str, int], int]]:
        return Count, (self.by_reason, int(self))


@dataclass(frozen=True)
class DestinationHealth:
    """One destination's account and condition.

    ``state``: ok (sending), idle (nothing to send), retrying, open (five failures in a row: one probe every 30 s),
    paused (a person must act: wrong key, wrong address), degraded, closed. ``lag_seconds`` is the age of the oldest
    pending record, None when there is none. ``last_error`` is a sentence, ``last_success`` seconds since the epoch.
    """

    name: str
    state: str
    created: Count = field(default_factory=Count)
    adopted: Count = field(default_factory=Count)
    rejected: Count = field(default_factory=Count)
    delivered: Count = field(default_factory=Count)
    dropped: Count = field(default_factory=Count)
    pending: Count = field(default_factory=Count)
    dead_lettered: Count = field(default_factory=Count)
    lag_seconds: float | None = None
    last_error: str | None = None
    last_success: float | None = None
    requests: int = 0
    """Batches sent, retries included."""
    restarts: int = 0
    """How often the shipper's thread died and was started again."""

    def balance(self) -> int:
        """Zero: every record is accounted for."""
        gone = self.rejected + self.delivered + self.dropped + self.pending + self.dead_lettered
        return self.created + self.adopted - gone

    def __str__(self) -> str:
        columns = ("created", "adopted", "delivered", "pending", "rejected", "dropped", "dead_lettered")
        shown = [f"{name} {getattr(self, name)}" for name in columns if getattr(self, name) or name in _ALWAYS_SHOWN]
        text = f"{self.name}: {self.state} · {' · '.join(shown)}"
        if self.lag_seconds is not None:
            text += f" · oldest pending {self.lag_seconds:.1f} s"
        return text + (f"\n  last error: {self.last_error}" if self.last_error else "")


_ALWAYS_SHOWN = ("created", "delivered", "pending")


@dataclass(frozen=True)
class Health:
    """How the library is doing: ``health["lunary"].pending``, ``print(health)``.

    ``destinations`` by name; ``not_recorded`` counts what never became a record, by reason; ``journal`` says in a word
    or sentence where records are kept; ``problems`` are sentences about settings that could not be used.
    """

    destinations: dict[str, DestinationHealth] = field(default_factory=dict)
    not_recorded: Count = field(default_factory=Count)
    journal: str = ""
    problems: tuple[str, ...] = ()

    _WORST_FIRST = ("paused", "open", "retrying", "degraded", "ok", "idle", "closed")

    @property
    def state(self) -> str:
        """The worst of the destinations' states; ``idle`` without any."""
        states = {destination.state for destination in self.destinations.values()}
        return next((state for state in self._WORST_FIRST if state in states), "idle")

    def __getitem__(self, name: str) -> DestinationHealth:
        return self.destinations[name]

    def balance(self) -> int:
        """Zero: every record of every destination is accounted for."""
        return sum(abs(destination.balance()) for destination in self.destinations.values())

    def __str__(self) -> str:
        lines = [str(destination) for destination in self.destinations.values()] or ["no destination"]
        if self.not_recorded:
            lines.append(f"not recorded: {self.not_recorded}")
        if self.journal:
            lines.append(f"journal: {self.journal}")
        return "\n".join((*lines, *self.problems))


class Ledger:
    """One destination's books. The shipper's thread writes, any thread reads."""

    def __init__(self, name: str, own: Lane, adopted: Lane | None = None) -> None:
        self.name = name
        self.lanes = (own,) if adopted is None else (own, adopted)
        self.outage = Outage(name)
        self.clear()

    def clear(self) -> None:
        """Begin anew (in a forked child, where the lanes do likewise)."""
        self.duplicates = 0
        self.shrunk = 0
        self.requests = 0
        self.restarts = 0
        self.last_error: str | None = None
        self.last_success: float | None = None
        self._reasons: set[str] = set()
        self._reported: Counter[str] = Counter()
        self.outage.clear()

    def reason(self, text: str) -> str:
        """The word to count under: an error text without the parts that differ each time; "other" when there are
        too many."""
        word = _VARIABLE_PART.sub("…", " ".join(text.split()))[:120]
        if word not in self._reasons:
            if len(self._reasons) >= _MOST_REASONS:
                return "other"
            self._reasons.add(word)
        return word

    def pending(self) -> int:
        """Records that are neither delivered nor given up, of both lanes."""
        return sum(lane.counts().pending for lane in self.lanes)

    def lost(self) -> Counter[str]:
        """What was given up so far, by reason: rejected, dropped and dead-lettered."""
        lost: Counter[str] = Counter()
        for lane in self.lanes:
            counts = lane.counts(ahead=False)  # asked with every batch: what nobody has taken was not given up
            for part in (counts.rejected, counts.dropped, counts.dead_lettered):
                lost.update(part)
        return lost

    def unreported(self) -> Counter[str]:
        """What was given up and has not been told to the destination yet."""
        return self.lost() - self._reported

    def reported(self, lost: Mapping[str, int]) -> None:
        """The destination has taken note of these."""
        self._reported.update(lost)

    def health(self, state: str) -> DestinationHealth:
        """The account at this moment. ``state`` is the shipper's word; ``ok`` becomes ``idle`` with nothing to do."""
        duplicates, shrunk = self.duplicates, self.shrunk
        counts = self._counts()
        delivered = sum(each.delivered for each in counts)
        duplicates = min(duplicates, delivered)
        shrunk = min(shrunk, delivered - duplicates)
        parts = {"stored": delivered - duplicates - shrunk, "duplicate": duplicates, "content_removed": shrunk}
        pending = sum(each.pending for each in counts)
        ages = [age for lane in self.lanes if (age := lane.oldest_pending_seconds()) is not None] if pending else []
        return DestinationHealth(
            name=self.name,
            state="idle" if state == "ok" and not pending else state,
            created=Count(total=counts[0].seen),
            adopted=Count(total=sum(each.seen for each in counts[1:])),
            rejected=_together(each.rejected for each in counts),
            delivered=Count(parts),
            dropped=_together(each.dropped for each in counts),
            pending=Count(total=pending),
            dead_lettered=_together(each.dead_lettered for each in counts),
            lag_seconds=max(ages, default=None),
            last_error=self.last_error,
            last_success=self.last_success,
            requests=self.requests,
            restarts=self.restarts,
        )

    def _counts(self) -> list[LaneCounts]:
        return [lane.counts() for lane in self.lanes]


def _together(parts: Iterable[Mapping[str, int]]) -> Count:
    total: Counter[str] = Counter()
    for part in parts:
        total.update(part)
    return Count(total)


class Outage:
    """Says once that an outage begins and once that it is over. Called on the shipper's thread only."""

    def __init__(self, name: str) -> None:
        self._name = name
        self.clear()

    def clear(self) -> None:
        """No outage."""
        self.began_at: float | None = None
        self.failures = 0

    def failed(self, message: str, pending: Callable[[], int], *, at_once: bool) -> None:
        """A request failed. The second failure in a row is an outage; ``at_once``: this one already is."""
        self.failures += 1
        if self.began_at is None and (at_once or self.failures >= 2):
            self.began_at = time.monotonic()
            _log().warning(
                "spanloom: %s is not taking records: %s. %d are kept and will be sent again.",
                self._name, message, pending(),
            )  # fmt: skip

    def succeeded(self, pending: Callable[[], int]) -> None:
        """A request was answered. ``pending`` is asked only when there is something to say: it reads all that has not
        been taken yet, and with every batch that would be as much work again as sending it."""
        if self.began_at is not None:
            _log().warning(
                "spanloom: %s is taking records again, after %.1f s and %d failed requests; %d records to go.",
                self._name, time.monotonic() - self.began_at, self.failures, pending(),
            )  # fmt: skip
        self.clear()


def _log() -> logging.Logger:
    """Our logger; silent in a program that has not set up logging."""
    logger = logging.getLogger("spanloom")
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())
    return logger


def warn(message: str, *arguments: Any) -> None:
    """One line in the log "spanloom", from a shipper's thread."""
    _log().warning(message, *arguments)
