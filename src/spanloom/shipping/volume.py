"""The directory of one process's journal on disk.

Promise: it appears in one step, already locked, so that no adopter ever meets it half made; it is private; and it
knows when it has been deleted, replaced, or has lost its lock to a sweep of descriptors. Raises OSError to its callers
in this room, who degrade.

    <root>/<stamp>-<pid>-<random>/   owner.lock           locked as long as the process lives; text for diagnostics
                                     000001.seg ...       segments, in the order of their first sequence numbers
                                     <dest_id>.cursor     what is settled for a destination
                                     destinations.json    to whom this process owed its records; absent: undecided
                                     open.json            runs left open in segments that are gone
    <root>/dead-letters/             see dead_letters
    <root>/quarantine/               copies of damaged segments
"""

from __future__ import annotations

import os
import re
import secrets
import time

import msgspec

from . import places
from .bodies import MappedBody
from .mapping import Mapping, map_new_file

LOCK = "owner.lock"
DESTINATIONS = "destinations.json"
OPEN_RUNS = "open.json"
DRAFT_PREFIX = ".new-"
QUARANTINE = "quarantine"

_TRIES = 3
_DEST_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


def is_dest_id(text: str) -> bool:
    """Whether a destination's id can be part of a file name."""
    return _DEST_ID.fullmatch(text) is not None


class Volume:
    """``mappable`` says whether appends may go through a mapping; else the keeper writes them behind."""

    def __init__(self, root: str, name: str, lock: int, *, mappable: bool) -> None:
        self.root = root
        self.name = name
        self.path = os.path.join(root, name)
        self.mappable = mappable
        self._lock = lock
        self._lock_identity = places.identity(lock)
        self._identity = places.identity_at(self.path)
        self._last = 0
        self._parents_synced = False

    @classmethod
    def make(cls, root: str, *, mappable: bool | None = None) -> Volume:
        """A new journal directory of this process. Raises OSError."""
        places.private_directory(root)
        for _ in range(_TRIES):
            try:
                return cls._make_once(root, mappable)
            except (FileExistsError, FileNotFoundError):
                continue  # a child, forked by a signal handler in the middle, had a hand in it
        return cls._make_once(root, mappable)

    @classmethod
    def _make_once(cls, root: str, mappable: bool | None) -> Volume:
        maker = os.getpid()
        name = places.new_name()
        draft = os.path.join(root, DRAFT_PREFIX + name)
        os.mkdir(draft, 0o700)
        lock = -1
        try:
            lock = places.create(os.path.join(draft, LOCK))
            places.write_all(lock, places.this_process().text())
            if not places.try_lock(lock):
                raise OSError(11, "the file system's locks do not work", draft)
            if os.getpid() != maker:
                raise OSError(10, "forked by a signal handler while making the journal", draft)
            os.rename(draft, os.path.join(root, name))
        except BaseException:
            if lock >= 0:
                os.close(lock)
            if os.getpid() == maker:
                places.remove_tree(draft)
            raise
        return cls(root, name, lock, mappable=places.mappable(root) if mappable is None else mappable)

    def new_path(self) -> str:
        """A path for the next segment."""
        self._last += 1
        return os.path.join(self.path, f"{self._last:06d}.seg")

    def new_mapping(self, size_bytes: int) -> tuple[Mapping, str]:
        """A new segment file, mapped, and its path."""
        while True:
            path = self.new_path()
            try:
                return map_new_file(path, (size_bytes + 4095) & ~4095), path
            except FileExistsError:
                continue  # an exception, or a fork in a signal handler, came between making it and using it

    @staticmethod
    def start(mapping: Mapping, path: str, first: int) -> MappedBody:
        """Begin to use a mapped file."""
        return MappedBody(mapping, path, first, time.time_ns() // 1000)

    def sync_names(self) -> None:
        """The names of our files to the disk, and once those of the directories above, which may be as new. Raises
        OSError."""
        places.sync_directory(self.path)
        if not self._parents_synced:
            places.sync_directory(self.root)
            above = os.path.dirname(self.root)
            while above != os.path.dirname(above):
                try:
                    places.sync_directory(above)
                except PermissionError:
                    break  # no place of ours, so it is older than we are
                above = os.path.dirname(above)
            self._parents_synced = True

    def in_place(self) -> bool:
        """Whether our directory is still ours and at its path."""
        return self._identity is not None and places.identity_at(self.path) == self._identity

    def holds_lock(self) -> bool:
        """Whether our lock still stands; taken again if only our descriptor was closed by someone else."""
        if self._lock_identity is not None and places.identity(self._lock) == self._lock_identity:
            return True
        try:
            lock = places.open_to_read(os.path.join(self.path, LOCK), write=True)
        except OSError:
            return False
        if places.identity(lock) == self._lock_identity and places.try_lock(lock):
            self._lock = lock
            return True
        os.close(lock)
        return False

    def owe(self, dest_ids: tuple[str, ...]) -> None:
        """Write down whom the records are for."""
        places.replace_file(os.path.join(self.path, DESTINATIONS), msgspec.json.encode(dest_ids))

    def release(self) -> None:
        """Let others have it: take back our name, then the lock."""
        if places.identity(self._lock) == self._lock_identity:
            try:
                os.ftruncate(self._lock, 0)
            except OSError:
                pass  # the next one waits for the process to end
        self.forget()

    def forget(self) -> None:
        """Close the lock's descriptor if it is still ours (all that a forked child does)."""
        places.close(self._lock, self._lock_identity)
        self._lock_identity = None

    def remove(self) -> bool:
        """Delete it with all that is in it."""
        gone = self.in_place() and places.remove_tree(self.path)
        self.forget()
        return gone


def owed_by(path: str) -> tuple[str, ...] | None:
    """The destinations that a journal's records are for; None when that was not decided or cannot be read."""
    try:
        found = msgspec.json.decode(places.read_file(os.path.join(path, DESTINATIONS)), type=tuple[str, ...])
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return None
    return tuple(dest_id for dest_id in found if is_dest_id(dest_id)) or None


def quarantine(root: str, journal: str, path: str) -> None:
    """Keep a copy of a damaged segment (a second name for it, where the file system can)."""
    folder = places.private_directory(os.path.join(root, QUARANTINE))
    copy = os.path.join(folder, f"{journal}-{os.path.basename(path)}")
    try:
        os.link(path, copy, follow_symlinks=False)
    except FileExistsError:
        pass
    except OSError:
        places.replace_file(f"{copy}-{secrets.token_hex(2)}", places.read_file(path, limit_bytes=1 << 30))
