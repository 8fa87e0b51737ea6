"""What all journals of a user may take together: bytes and age.

Promise: beyond the caps the oldest goes first, and what was not yet delivered is counted, under ``journal_full`` or
``expired``. Nothing of another living process is touched: it holds the same caps itself. The total passes the cap by
at most one segment for each process.
"""

from __future__ import annotations

import os
import time

from . import dead_letters, places
from .parts import Shared
from .volume import QUARANTINE

FULL, EXPIRED = "journal_full", "expired"
_MOST_DIRECTORIES = 2000


def used_bytes(root: str) -> int:
    """Disk space that everything under ``root`` takes (allocated blocks, as the disk sees it)."""
    total = 0
    try:
        with os.scandir(root) as folders:
            for folder, _ in zip(folders, range(_MOST_DIRECTORIES), strict=False):
                if folder.is_dir(follow_symlinks=False):
                    total += sum(size for _, size, _ in _files(folder.path))
    except OSError:
        pass
    return total


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
    now = time.time()
    age = journal.limits.age_seconds
    journal.expire(age)
    while journal.adoptions.discard_stranger(EXPIRED, age_seconds=age):
        pass
    used = used_bytes(journal.root)
    others = max(0, used - journal.kept_bytes())
    over = used - journal.limits.total_bytes
    aside = [file for name in (QUARANTINE, dead_letters.FOLDER) for file in _files(os.path.join(journal.root, name))]
    for path, size, changed in sorted(aside, key=lambda file: file[2]):
        if (over > 0 or now - changed > age) and places.remove(path):
            over -= size
            others -= size
    while over > 0:
        adoptions = journal.adoptions
        freed = adoptions.discard_stranger(FULL) or adoptions.discard_oldest(FULL)
        others -= freed
        freed = freed or journal.give_up_oldest(FULL)
        if not freed:
            break
        over -= freed
    return max(0, others)
