"""Looking at the journals on disk, and doing to them what a person asks for: list, verify, replay, purge.

Promise: plain functions that return values and print nothing; listing and verifying change nothing and may be done
while processes write. What belongs to a living process is never replayed or purged.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass

import msgspec

from . import dead_letters, places
from . import segment as form
from .adoption import JOURNAL_NAME, may_own
from .dead_journal import read_segment, segment_paths
from .position import read_position
from .volume import DESTINATIONS, LOCK, QUARANTINE, Volume, owed_by


@dataclass(frozen=True, slots=True)
class JournalSummary:
    """One journal on disk. ``pending`` maps a destination's id to the records it has not settled; ``owed`` is None
    when the destinations were not decided. ``changed_seconds`` is the age of the last change."""

    name: str
    path: str
    pid: int | None
    alive: bool
    size_bytes: int
    records: int
    damaged_bytes: int
    foreign_segments: int
    changed_seconds: float
    owed: tuple[str, ...] | None
    pending: dict[str, int]


def root_of(home: str | os.PathLike[str]) -> str:
    """The directory of all journals under a Spanloom home."""
    return os.path.join(os.path.realpath(os.fspath(home)), "journal")


def ls(home: str | os.PathLike[str]) -> list[JournalSummary]:
    """All journals, oldest first, each read whole (1 GiB takes some seconds)."""
    return [_summary(root_of(home), name) for name in _names(root_of(home))]


def verify(home: str | os.PathLike[str]) -> list[JournalSummary]:
    """The journals in which something is damaged, or from a later version."""
    return [one for one in ls(home) if one.damaged_bytes or one.foreign_segments]


def replay(home: str | os.PathLike[str], dest_id: str | None = None) -> int:
    """Send dead letters again (one destination's, or all): they become a journal that the next process adopts, and
    their files go. How many records. Raises OSError."""
    root = root_of(home)
    by_destination: dict[str, list[bytes]] = {}
    files: dict[str, list[str]] = {}
    for path in dead_letters.files(root):
        for letter in dead_letters.read(path):
            if dest_id in (None, letter.destination):
                by_destination.setdefault(letter.destination, []).append(letter.record)
                if path not in files.setdefault(letter.destination, []):
                    files[letter.destination].append(path)
    for destination, records in by_destination.items():
        _write_journal(root, destination, records)
        for path in files[destination]:
            places.remove(path)
    return sum(len(records) for records in by_destination.values())


def purge(home: str | os.PathLike[str]) -> int:
    """Delete what dead processes left, the dead letters and the quarantine; how many records that were."""
    root = root_of(home)
    gone = 0
    for name in _names(root):
        path = os.path.join(root, name)
        records = _summary(root, name).records
        if _own_and(path):
            gone += records
    for path in dead_letters.files(root):
        gone += sum(1 for _ in dead_letters.read(path))
        places.remove(path)
    for name in _listed(os.path.join(root, QUARANTINE)):
        places.remove(os.path.join(root, QUARANTINE, name))
    return gone


def _listed(folder: str) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []


def _names(root: str) -> list[str]:
    return [name for name in _listed(root) if JOURNAL_NAME.fullmatch(name)]


def _summary(root: str, name: str) -> JournalSummary:
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
    cursors = [file[: -len(".cursor")] for file in _listed(path) if file.endswith(".cursor")]
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
        changed_seconds=places.unchanged_seconds(path) or 0.0,
        owed=owed,
        pending={dest_id: _pending(path, dest_id, numbers) for dest_id in sorted({*cursors, *(owed or ())})},
    )


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


def _own_and(path: str) -> bool:
    """Remove a dead journal; False when it is not dead."""
    try:
        lock = places.open_to_read(os.path.join(path, LOCK), write=True)
    except OSError:
        return False
    try:
        return may_own(path, lock) and places.remove_tree(path)
    except OSError:
        return False
    finally:
        os.close(lock)


def _write_journal(root: str, destination: str, records: list[bytes]) -> None:
    volume = Volume.make(root)
    try:
        data = form.header(1, time.time_ns() // 1000, form.FLAG_EPITAPH)  # the marking keeps adopters from closing runs
        data += b"".join(form.frame(number, record) for number, record in enumerate(records, 1))
        places.replace_file(volume.new_path(), data)
        places.replace_file(os.path.join(volume.path, DESTINATIONS), msgspec.json.encode([destination]))
    except OSError:
        volume.remove()
        raise
    volume.release()
