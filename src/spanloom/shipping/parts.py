"""What the parts of a journal (keeper, caps, adoption) see of the whole, so that none imports the one that makes it.

Promise: only names and types; nothing happens here.
"""

from __future__ import annotations

from _thread import LockType
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, Protocol

from .bell import Sleeper
from .bodies import Segment
from .mapping import Mapping
from .open_runs import OpenRuns
from .volume import Volume


@dataclass(frozen=True, slots=True)
class Limits:
    """Sizes in bytes, age in seconds. ``total_bytes`` and ``age_seconds`` are for all journals of the user together."""

    first_segment_bytes: int = 256 * 1024
    segment_bytes: int = 4 << 20
    heap_segment_bytes: int = 256 * 1024
    memory_bytes: int = 64 << 20
    record_bytes: int = 16 << 20
    total_bytes: int = 1 << 30
    age_seconds: float = 72 * 3600.0


@dataclass(frozen=True, slots=True)
class JournalState:
    """How the journal stands. ``mode``: records are on disk when the call returns (``disk``), within 50 ms
    (``background``), or in memory only (``memory``: by choice, or for the ``trouble`` named). ``appended`` counts all
    records kept, ``refused`` those that could not be (by reason), ``rejected`` those never made (by reason)."""

    mode: Literal["disk", "background", "memory", "closed"]
    path: str | None
    trouble: str | None
    appended: int
    unsaved: int
    kept_bytes: int
    refused: dict[str, int]
    rejected: dict[str, int]
    others_given_up: dict[str, int]
    """Records of dead processes for destinations that are not configured here, beyond the caps, by reason."""


class SharedKeeper(Protocol):
    """See `keeper.Keeper`."""

    def hurry(self) -> None: ...


class SharedAdoptions(Protocol):
    """See `adoption.Adoptions`."""

    asked: bool

    def scan_if_asked(self) -> None: ...

    def trim(self) -> None: ...

    def give_up(self, reason: str, *, age_seconds: float = 0.0) -> Iterator[int]: ...


class Shared(Protocol):
    """See `journal.Journal`, which documents each of these."""

    root: str
    durable: bool
    limits: Limits
    sleepers: list[Sleeper]
    volume: Volume | None
    spare: tuple[Mapping, str] | None
    trouble: str | None
    retry_at_seconds: float
    oldest: Segment
    active: Segment
    open_runs: OpenRuns
    retiring: LockType

    @property
    def adoptions(self) -> SharedAdoptions: ...

    @property
    def keeper(self) -> SharedKeeper: ...

    def drain_stragglers(self) -> None: ...

    def accepted_end(self, deadline: float) -> int | None: ...

    def opened_volume(self) -> Volume: ...

    def degrade(self, error: OSError) -> None: ...

    def recovered(self) -> None: ...

    def heap_bytes(self) -> int: ...

    def kept_bytes(self) -> int: ...

    def filled_bytes(self) -> int: ...

    def seal_active(self, timeout_seconds: float = 1.0) -> bool: ...

    def leave_volume(self, volume: Volume) -> None: ...

    def retire(self) -> None: ...

    def expire(self, age_seconds: float) -> None: ...

    def give_up_oldest(self, reason: str) -> int: ...
