"""Looking at the journals on disk: what lies there, whose it is, whom it is owed to, whether it can be read.

Promise: plain functions that return values, print nothing and change nothing; they may be called while processes write.
"""

from __future__ import annotations

import os
import time
from calendar import timegm
from dataclasses import dataclass

from . import places
from .adoption import JOURNAL_NAME, may_own
from .dead_journal import read_segment, segment_paths
from .position import read_position
from .volume import LOCK, owed_by


@dataclass(frozen=True, slots=True)
class JournalSummary:
    """One journal on disk. ``pending`` maps a destination's id to the records it has not settled; ``owed`` is None
    when the destinations were not decided. ``began_seconds`` is how long ago it was begun, by its name, and
    ``changed_seconds`` the age of the last change."""

    name: str
    path: str
    pid: int | None
    alive: bool
    size_bytes: int
    records: int
    damaged_bytes: int
    foreign_segments: int
    began_seconds: float
    changed_seconds: float
    owed: tuple[str, ...] | None
    pending: dict[str, int]


def root_of(home: str | os.PathLike[str]) -> str:
    """The directory of all journals under a Spanloom home."""
    return os.path.join(os.path.realpath(os.fspath(home)), "journal")


def ls(home: str | os.PathLike[str]) -> list[JournalSummary]:
    """All journals, oldest first, each read whole (1 GiB takes some seconds)."""
    return [summary(root_of(home), name) for name in names(root_of(home))]


def verify(home: str | os.PathLike[str]) -> list[JournalSummary]:
    """The journals in which something is damaged, or from a later version."""
    return [one for one in ls(home) if one.damaged_bytes or one.foreign_segments]


def listed(folder: str) -> list[str]:
    """What is in a directory, sorted; nothing when it cannot be read."""
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []


def names(root: str) -> list[str]:
    """The names of all journals, oldest first."""
    return [name for name in listed(root) if JOURNAL_NAME.fullmatch(name)]


def summary(root: str, name: str) -> JournalSummary:
    """One journal, read whole."""
    path = os.path.join(root, name)
    size = damaged = foreign = 0
    numbers: set[range] = set()
    for segment in segment_paths(path):
        try:
            size += os.lstat(segment).st_size
            one = read_segment(segment)
        except OSError:
            foreign += 1
            continue
        if one is not None:
            damaged += one.damaged_bytes
            foreign += one.foreign
            numbers.add(range(one.first, one.end))
    owed = owed_by(path)
    cursors = [file[: -len(".cursor")] for file in listed(path) if file.endswith(".cursor")]
    alive, pid = _owner(path)
    return JournalSummary(
        name=name,
        path=path,
        pid=pid,
        alive=alive,
        size_bytes=size,
        records=sum(len(span) for span in numbers),
        damaged_bytes=damaged,
        foreign_segments=foreign,
        began_seconds=_began_seconds(name),
        changed_seconds=places.unchanged_seconds(path) or 0.0,
        owed=owed,
        pending={dest_id: _pending(path, dest_id, numbers) for dest_id in sorted({*cursors, *(owed or ())})},
    )


def _began_seconds(name: str) -> float:
    try:
        return max(0.0, time.time() - timegm(time.strptime(name[:15], "%Y%m%dT%H%M%S")))
    except ValueError:
        return 0.0


def _pending(path: str, dest_id: str, numbers: set[range]) -> int:
    position = read_position(os.path.join(path, f"{dest_id}.cursor"))
    if position is None:
        return sum(len(span) for span in numbers)
    behind = sum(max(0, span.stop - max(span.start, position.next)) for span in numbers)
    return behind + sum(1 for number, _ in position.open if any(number in span for span in numbers))


def _owner(path: str) -> tuple[bool, int | None]:
    """Whether a journal is held, and the pid written in it."""
    try:
        lock = places.open_to_read(os.path.join(path, LOCK), write=True)
    except OSError:
        return False, None
    try:
        owner = places.read_owner(os.pread(lock, 4096, 0))
        return not may_own(path, lock), owner.pid if owner else None
    except OSError:
        return True, None
    finally:
        os.close(lock)
