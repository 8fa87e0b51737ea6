"""Directories, files and locks on disk: private, absolute, and never through someone else's link.

Promise: directories are 0700 and ours, files 0600, created exclusively, never opened through a symbolic link in a
place that others could have prepared, never inherited by an exec. Must never follow, repair or delete what is not
ours: it raises OSError instead, and the caller degrades.
"""

from __future__ import annotations

import os
import secrets
import stat
import sys
import time
from dataclasses import dataclass

from ..clock import unhurried_seconds

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_NOFOLLOW: int = getattr(os, "O_NOFOLLOW", 0)
_CLOEXEC: int = getattr(os, "O_CLOEXEC", getattr(os, "O_NOINHERIT", 0))
_BINARY: int = getattr(os, "O_BINARY", 0)
_COMMON = _NOFOLLOW | _CLOEXEC | _BINARY

MAPPABLE = frozenset({"ext2", "ext3", "ext4", "xfs", "f2fs", "tmpfs", "overlay"})
"""File systems on which preallocated blocks stay preallocated, so that a mapped write cannot meet a full disk."""

_ZEROS = bytes(1 << 16)

Identity = tuple[int, int]
"""Device and inode: which file a descriptor or a path really is."""


def private_directory(path: str) -> str:
    """Make ``path`` (absolute; its parents exist or are made) a directory of mode 0700 that is ours, and return it.

    Raises OSError (NotADirectoryError, PermissionError) when it is a link, someone else's, or cannot be made.
    """
    try:
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        os.mkdir(path, 0o700)
    except FileExistsError:
        pass
    check_private(path)
    return path


def check_private(path: str) -> Identity:
    """That ``path`` is a directory, no link, ours, closed to others (which is repaired); its identity."""
    found = os.lstat(path)
    if not stat.S_ISDIR(found.st_mode):
        raise NotADirectoryError(20, "not a directory (links are refused)", path)
    if hasattr(os, "geteuid"):
        if found.st_uid != os.geteuid():
            raise PermissionError(13, f"belongs to uid {found.st_uid}, not to us", path)
        if found.st_mode & 0o077:
            os.chmod(path, 0o700)
    return found.st_dev, found.st_ino


def create(path: str) -> int:
    """A new file, open for reading and writing; FileExistsError when there is one."""
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | _COMMON, 0o600)


def open_to_append(path: str) -> int:
    """An existing or new file of ours, open for appending."""
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | _COMMON, 0o600)


def open_to_read(path: str, *, write: bool = False) -> int:
    """An existing regular file; OSError when it is a link or something else (a pipe would hang us)."""
    descriptor = os.open(path, (os.O_RDWR if write else os.O_RDONLY) | _COMMON | getattr(os, "O_NONBLOCK", 0))
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(22, "not a regular file", path)
    return descriptor


def read_file(path: str, limit_bytes: int = 1 << 24) -> bytes:
    """The whole of a small file, at most ``limit_bytes``."""
    descriptor = open_to_read(path)
    try:
        chunks, taken = [], 0
        while chunk := _read_at(descriptor, min(limit_bytes - taken, 1 << 20), taken):
            chunks.append(chunk)
            taken += len(chunk)
        return b"".join(chunks)
    finally:
        os.close(descriptor)


def _read_at(descriptor: int, size_bytes: int, offset: int) -> bytes:
    """Read without moving the descriptor's position: a child that a signal handler forks in the middle shares it, and
    would read its parent's part."""
    if hasattr(os, "pread"):
        return os.pread(descriptor, size_bytes, offset)
    os.lseek(descriptor, offset, os.SEEK_SET)  # Windows, where nothing forks
    return os.read(descriptor, size_bytes)


def filled_bytes(path: str) -> int:
    """How many bytes of a file come before the zeros at its end: what a file laid out in advance really holds."""
    descriptor = open_to_read(path)
    try:
        end = os.fstat(descriptor).st_size
        while end > 0:
            start = max(0, end - len(_ZEROS))
            chunk = _read_at(descriptor, end - start, start)
            if not _ZEROS.startswith(chunk):
                return start + len(chunk.rstrip(b"\0"))
            end = start
        return 0
    finally:
        os.close(descriptor)


def write_all(descriptor: int, data: bytes) -> None:
    """Write every byte, or raise OSError."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def write_at(descriptor: int, data: bytes, offset: int) -> None:
    """Write every byte at ``offset``, or raise OSError. Should a signal handler fork in the middle, the child writes
    the same bytes to the same place once more."""
    if not hasattr(os, "pwrite"):
        os.lseek(descriptor, offset, os.SEEK_SET)
        write_all(descriptor, data)
        return
    view = memoryview(data)
    while view:
        written = os.pwrite(descriptor, view, offset)
        view, offset = view[written:], offset + written


def replace_file(path: str, data: bytes, *, durable: bool = False) -> None:
    """Put ``data`` in place of the file at once: a reader sees the old or the new, whenever we are killed."""
    draft = f"{path}.{secrets.token_hex(4)}~"
    descriptor = create(draft)
    try:
        try:
            write_all(descriptor, data)
            if durable:
                os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.replace(draft, path)
    except OSError:
        remove(draft)
        raise


def remove(path: str) -> bool:
    """Unlink, if it can be done; whether it was."""
    try:
        os.unlink(path)
        return True
    except OSError:
        return False


def remove_tree(path: str) -> bool:
    """Remove one of our flat directories and the files in it."""
    try:
        for name in sorted(os.listdir(path), key=lambda name: (name.endswith(".lock"), name)):
            os.unlink(os.path.join(path, name))  # the lock last: what is left without one is empty
        os.rmdir(path)
        return True
    except OSError:
        return False


def identity(descriptor: int) -> Identity | None:
    """Which file a descriptor is; None when it is closed."""
    try:
        found = os.fstat(descriptor)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def close(descriptor: int, known: Identity | None) -> None:
    """Close a descriptor if it is still the file that it was: during a slow call the host may have closed all numbers
    and opened its own."""
    if known is not None and identity(descriptor) == known:
        os.close(descriptor)


def identity_at(path: str) -> Identity | None:
    """Which file a path is, links not followed; None when there is none."""
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def unchanged_seconds(path: str) -> float | None:
    """How long ago a file or directory was changed, by `unhurried_seconds`; None when there is none."""
    try:
        return unhurried_seconds() - os.lstat(path).st_mtime
    except OSError:
        return None


def try_lock(descriptor: int) -> bool:
    """Take the file's lock for this open description without waiting; OSError where locks are unknown."""
    if fcntl is None:
        return _try_lock_windows(descriptor)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except BlockingIOError:
        return False


def _try_lock_windows(descriptor: int) -> bool:
    if sys.platform != "win32":
        raise OSError(38, "this platform has no file locks")
    import msvcrt

    try:
        os.lseek(descriptor, 1 << 30, os.SEEK_SET)  # beyond the text, which stays readable
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        return True
    except OSError:
        return False


def sync_data(descriptor: int) -> None:
    """Bytes to the disk (gives the interpreter lock away)."""
    getattr(os, "fdatasync", os.fsync)(descriptor)


def sync_directory(path: str) -> None:
    """Names to the disk."""
    if sys.platform == "win32":
        return
    descriptor = os.open(path, os.O_RDONLY | _CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def file_system(path: str) -> str:
    """The type of the file system that holds ``path`` (absolute); "" when unknown."""
    if sys.platform == "darwin":
        return "apfs"
    try:
        best, kind = -1, ""
        for line in read_file("/proc/self/mountinfo").decode("utf-8", "replace").rstrip("\n").split("\n"):
            left, _, right = line.partition(" - ")
            point = left.split(" ")[4].replace("\\040", " ")
            inside = path == point or path.startswith(point.rstrip("/") + "/")
            if inside and len(point) >= best:
                best, kind = len(point), right.split(" ", 1)[0]
        return kind
    except (OSError, IndexError):
        return ""


def mappable(path: str) -> bool:
    """Whether appends may go through a mapping there (see MAPPABLE)."""
    if sys.platform == "win32":
        return False
    return sys.platform == "darwin" or file_system(path) in MAPPABLE


@dataclass(frozen=True, slots=True)
class Owner:
    """Who made a journal: the process as the kernel knows it. Diagnostics, and a second guard beside the lock."""

    pid: int
    born: str
    where: str

    def text(self) -> bytes:
        return f"{self.pid}\n{self.born}\n{self.where}\n".encode()

    def alive_elsewhere(self) -> bool:
        """Whether that very process lives and is not this one (after an exec, this one may take its own again)."""
        if self.pid == os.getpid() or not self.born or self.where != _where():
            return False
        return _born(self.pid) == self.born


def this_process() -> Owner:
    """The calling process."""
    return Owner(os.getpid(), _born(os.getpid()), _where())


def read_owner(text: bytes) -> Owner | None:
    """An `Owner` from its text; None when it is not one (or was taken back at a clean close)."""
    lines = text.decode("utf-8", "replace").split("\n")
    if len(lines) < 3 or not lines[0].isdecimal():
        return None
    return Owner(int(lines[0]), lines[1], lines[2])


def _born(pid: int) -> str:
    """The kernel's start time of a process in ticks since boot; "" when unknown."""
    try:
        return read_file(f"/proc/{pid}/stat").rpartition(b")")[2].split()[19].decode()
    except (OSError, IndexError):
        return ""


def _where() -> str:
    """This boot and this pid namespace: where a pid means something."""
    try:
        # As bytes: a text file of another encoding than UTF-8 imports its codec, and a fork in the middle of an import
        # leaves the child waiting for it.
        return read_file("/proc/sys/kernel/random/boot_id").strip().decode() + "/" + os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


def new_name() -> str:
    """A name for a journal's directory; names sort by the time of making."""
    seconds, rest = divmod(time.time_ns(), 1_000_000_000)
    stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime(seconds))
    return f"{stamp}{rest // 1000:06d}-{os.getpid()}-{secrets.token_hex(4)}"
