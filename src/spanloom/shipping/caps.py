"""What all journals of a user may take together: bytes and age.

Promise: beyond the caps the oldest goes first, and what was not yet delivered is counted, under ``journal_full`` or
``expired``. Room that was laid out in advance and never used counts for nothing: a hundred programs that were killed
after a few records have kept those few records. Nothing of another living process is touched: it holds the same caps
itself. The total passes the cap by at most two segments for each process.
"""

from __future__ import annotations

import os

from ..clock import unhurried_seconds
from . import dead_letters, places
from .parts import Shared
from .volume import QUARANTINE

FULL, EXPIRED = "journal_full", "expired"
_MOST_DIRECTORIES = 2000


def used_bytes(root: str, *, filled: bool = False) -> int:
    """What all files under ``root`` take, or with ``filled`` what they hold, which takes reading the ends of them."""
    total = 0
    try:
        with os.scandir(root) as folders:
            for folder, _ in zip(folders, range(_MOST_DIRECTORIES), strict=False):
                if folder.is_dir(follow_symlinks=False):
                    total += sum(_filled(path, size) if filled else size for path, size, _ in _files(folder.path))
    except OSError:
        pass
    return total


def _filled(path: str, size: int) -> int:
    try:
        return places.filled_bytes(path) if path.endswith(".seg") else size
    except OSError:
        return 0


def _files(folder: str) -> list[tuple[str, int, float]]:
    """Path, size in bytes and time of the last change of each file."""
    found = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                try:
                    stat = entry.stat(follow_symlinks=False)
                except OSError:
                    continue
                found.append((entry.path, stat.st_size, stat.st_mtime))
    except OSError:
        pass
    return found


def hold(journal: Shared) -> int:
    """Bring everything under the caps; the bytes that all journals but the caller's own take now."""
    now = unhurried_seconds()
    age = journal.limits.age_seconds
    journal.expire(age)
    for _ in journal.adoptions.give_up(EXPIRED, age_seconds=age):
        pass
    used, ours = used_bytes(journal.root), journal.kept_bytes()
    if used > journal.limits.total_bytes:
        journal.adoptions.trim()
        used, ours = used_bytes(journal.root, filled=True), journal.filled_bytes()
    others = max(0, used - ours)
    over = used - journal.limits.total_bytes
    aside = [file for name in (QUARANTINE, dead_letters.FOLDER) for file in _files(os.path.join(journal.root, name))]
    for path, size, changed in sorted(aside, key=lambda file: file[2]):
        if (over > 0 or now - changed > age) and places.remove(path):
            over -= size
            others -= size
    for freed in journal.adoptions.give_up(FULL) if over > 0 else ():
        over -= freed
        others -= freed
        if over <= 0:
            break
    while over > 0 and (freed := journal.give_up_oldest(FULL)):
        over -= freed
    return max(0, others)
