"""A disk that forgets what was not synced: what a power cut leaves of a directory.

Theory of operation. `watch` makes the program's ``os.fsync`` and ``os.fdatasync`` note, before they do their work,
what from then on would survive: a file's bytes, or a directory's names. `after_cut` builds from the first of these
notes what a power cut leaves: every name that its directory was synced with, with the bytes of its last sync, or with
nothing. On demand it mixes in, page by page and at random, what a later sync found there, for written pages may reach
the disk by themselves. Must never: count a byte as safe because it was written.
"""

from __future__ import annotations

import os
import random
import stat
from collections.abc import Iterator
from pathlib import Path

_PAGE_BYTES = 4096


def watch(shadow: str) -> None:
    """From now on, note every sync of this process in the directory ``shadow``, in order."""
    os.makedirs(shadow, exist_ok=True)
    count = 0

    def noting(sync: object) -> object:
        def noted(descriptor: int) -> None:
            nonlocal count
            path = os.readlink(f"/proc/self/fd/{descriptor}")
            if stat.S_ISDIR(os.fstat(descriptor).st_mode):
                content = "\0".join(os.listdir(path)).encode()
            else:
                with open(path, "rb") as file:
                    content = file.read()
            sync(descriptor)  # type: ignore[operator]
            count += 1
            kind = "names" if os.path.isdir(path) else "bytes"
            with open(os.path.join(shadow, f"{count:06d}.{kind}"), "wb") as note:
                note.write(path.encode() + b"\n" + content)

        return noted

    os.fsync = noting(os.fsync)  # type: ignore[assignment]
    os.fdatasync = noting(os.fdatasync)  # type: ignore[assignment]


def notes(shadow: Path) -> int:
    """How many syncs there were."""
    return len(list(shadow.iterdir()))


def after_cut(shadow: Path, count: int, top: Path, into: Path, draw: random.Random | None = None) -> None:
    """Build in ``into`` what of ``top`` survives a power cut after the first ``count`` syncs. With ``draw``, pages that
    a later sync shows may be there already."""
    known: dict[str, bytes] = {}
    later: dict[str, bytes] = {}
    names: dict[str, list[str]] = {}
    for number, note in enumerate(sorted(shadow.iterdir()), 1):
        path, _, content = note.read_bytes().partition(b"\n")
        if note.suffix == ".names" and number <= count:
            names[path.decode()] = [name for name in content.decode().split("\0") if name]
        elif note.suffix == ".bytes":
            (known if number <= count else later)[path.decode()] = content
    for path in _reachable(str(top), names):
        target = into / Path(path).relative_to(top)
        if path in names or path == str(top):
            target.mkdir(parents=True, exist_ok=True, mode=0o700)
            continue
        synced = known.get(path, b"")
        target.write_bytes(_torn(synced, later.get(path, synced), draw) if draw else synced)
        target.chmod(0o600)


def _reachable(path: str, names: dict[str, list[str]]) -> Iterator[str]:
    yield path
    for name in names.get(path, []):
        yield from _reachable(os.path.join(path, name), names)


def _torn(synced: bytes, later: bytes, draw: random.Random) -> bytes:
    size = max(len(synced), len(later))
    old, new = synced.ljust(size, b"\0"), later.ljust(size, b"\0")
    pages = range(0, size, _PAGE_BYTES)
    return b"".join((new if draw.random() < 0.5 else old)[at : at + _PAGE_BYTES] for at in pages)
