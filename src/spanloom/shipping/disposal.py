"""Doing to what lies on disk what a person asks for: send refused records again, or delete what was left behind.

Promise: what belongs to a living process is never touched; a record leaves its dead-letter file only after it stands in
a journal; lines that cannot be read, or are for somebody else, stay where they are. What is deleted is counted exactly,
by destination and reason. Prints nothing.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from dataclasses import dataclass, field

import msgspec

from . import dead_letters, inspection, places
from . import segment as form
from .adoption import may_own
from .volume import DESTINATIONS, LOCK, QUARANTINE, Volume, is_dest_id

_MOST_PER_SEGMENT = 10_000


@dataclass(slots=True)
class Purged:
    """What was deleted, or would be: ``journals`` of ended processes with so many ``records``, of which ``undelivered``
    says by destination (its id; "" where the destinations were not decided) how many had not been delivered;
    ``refused`` counts dead letters by destination and reason; ``damaged_copies``: files in the quarantine."""

    journals: int = 0
    records: int = 0
    undelivered: Counter[str] = field(default_factory=Counter)
    refused: Counter[tuple[str, str]] = field(default_factory=Counter)
    damaged_copies: int = 0


def replay(home: str | os.PathLike[str], dest_id: str | None = None) -> int:
    """Send dead letters again (one destination's, or all): they become a journal that the next process adopts, and
    leave their files. How many records. Raises OSError."""
    root = inspection.root_of(home)
    return sum(_replay_file(root, path, dest_id) for path in dead_letters.files(root))


def _replay_file(root: str, path: str, dest_id: str | None) -> int:
    if not any(dest_id in (None, letter.destination) for letter in dead_letters.read(path)):
        return 0
    taken = dead_letters.take(path)  # from here on its process puts new ones into a file of their own
    chosen: dict[str, list[bytes]] = {}
    rest: list[bytes] = []
    for line in dead_letters.lines(taken):
        letter = dead_letters.parse(line)
        if letter is not None and dest_id in (None, letter.destination) and is_dest_id(letter.destination):
            chosen.setdefault(letter.destination, []).append(letter.record)
        else:
            rest.append(line)
    for destination, records in chosen.items():
        _write_journal(root, destination, records)
    if rest:
        places.replace_file(taken, b"".join(line + b"\n" for line in rest), durable=True)
    else:
        places.remove(taken)
    return sum(len(records) for records in chosen.values())


def to_purge(home: str | os.PathLike[str]) -> Purged:
    """What `purge` would delete now."""
    return _purge(inspection.root_of(home), really=False)


def purge(home: str | os.PathLike[str]) -> Purged:
    """Delete what ended processes left, the dead letters and the quarantine; exactly what that was."""
    return _purge(inspection.root_of(home), really=True)


def _purge(root: str, *, really: bool) -> Purged:
    gone = Purged()
    for name in inspection.names(root):
        _purge_journal(root, name, gone, really=really)
    for path in dead_letters.files(root):
        file = dead_letters.take(path) if really else path
        gone.refused.update((letter.destination, letter.reason) for letter in dead_letters.read(file))
        if really:
            places.remove(file)
    for name in inspection.listed(os.path.join(root, QUARANTINE)):
        gone.damaged_copies += 1
        if really:
            places.remove(os.path.join(root, QUARANTINE, name))
    return gone


def _purge_journal(root: str, name: str, gone: Purged, *, really: bool) -> None:
    """Count, and remove, one journal if its process is dead; read while we own it, so that the count is what goes."""
    path = os.path.join(root, name)
    try:
        lock = places.open_to_read(os.path.join(path, LOCK), write=True)
    except OSError:
        return
    try:
        if not may_own(path, lock):
            return
        found = inspection.summary(root, name)
        if really and not places.remove_tree(path):
            return
        gone.journals += 1
        gone.records += found.records
        gone.undelivered.update(found.pending if found.pending else {"": found.records})
    except OSError:
        pass  # someone else's, or gone meanwhile
    finally:
        os.close(lock)


def _write_journal(root: str, destination: str, records: list[bytes]) -> None:
    volume = Volume.make(root)
    try:
        for first in range(1, len(records) + 1, _MOST_PER_SEGMENT):
            # The marking as an adopter's own segment keeps adopters from closing the runs in it.
            data = form.header(first, time.time_ns() // 1000, form.FLAG_EPITAPH)
            batch = records[first - 1 : first - 1 + _MOST_PER_SEGMENT]
            data += b"".join(form.frame(number, record) for number, record in enumerate(batch, first))
            places.replace_file(volume.new_path(), data, durable=True)
        places.replace_file(os.path.join(volume.path, DESTINATIONS), msgspec.json.encode([destination]), durable=True)
        volume.sync_names()
    except OSError:
        volume.remove()
        raise
    volume.release()
