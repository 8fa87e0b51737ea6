"""A new file of fixed size, preallocated and mapped into memory, that never closes a descriptor it does not own.

Promise: once made, writing into it needs no system call, does not give the interpreter lock away, and cannot meet a
full disk. Before Python 3.13 an ``mmap`` object keeps a descriptor of its own and closes that *number* when it dies;
after a host has closed all descriptors (daemons do) the number may be the host's. So we learn the number at birth, and
a mapping whose descriptor is no longer ours is kept for ever rather than let go: an address range against a user's
file.

Must never meet SIGBUS by its own doing (nothing here truncates a mapped file) nor SIGXFSZ (the limit is asked first).
"""

from __future__ import annotations

import errno
import mmap
import os
import sys

from . import places

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

_TRACKS = sys.version_info < (3, 13)


def map_new_file(path: str, size_bytes: int) -> Mapping:
    """Create ``path`` exclusively with ``size_bytes`` preallocated zero bytes, and map it. Raises OSError."""
    check_size_limit(size_bytes)
    descriptor = places.create(path)
    identity = places.identity(descriptor)
    try:
        _allocate(descriptor, size_bytes)
        return Mapping(descriptor, size_bytes)
    except BaseException:
        places.remove(path)
        raise
    finally:
        places.close(descriptor, identity)


def check_size_limit(size_bytes: int) -> None:
    """OSError(EFBIG) when the process may not make a file of this size; asking avoids the signal that trying sends."""
    if resource is not None:
        soft, _hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        if soft != resource.RLIM_INFINITY and size_bytes > soft:
            raise OSError(errno.EFBIG, f"the process may not write files of {size_bytes} bytes (limit {soft})")


def _allocate(descriptor: int, size_bytes: int) -> None:
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, size_bytes)
        return
    places.write_all(descriptor, bytes(size_bytes))


class Mapping:
    """``memory`` is the mapping, ``words`` the same as unsigned 64-bit numbers, ``identity`` which file it is."""

    __slots__ = ("_own", "identity", "memory", "words")

    def __init__(self, descriptor: int, size_bytes: int) -> None:
        self._own: int | None = None
        found = os.fstat(descriptor)
        self.identity = (found.st_dev, found.st_ino)
        if _TRACKS:
            self.memory = mmap.mmap(descriptor, size_bytes)
            self._own = _find_copy(descriptor, self.identity)
        else:
            self.memory = mmap.mmap(descriptor, size_bytes, trackfd=False)  # type: ignore[call-arg,unused-ignore]
        self.words = memoryview(self.memory).cast("Q")

    def touch(self) -> None:
        """Bring every page in, writable, before anything is written (4 ms for 4 MiB, the interpreter lock given away).
        A first touch by the writer costs 3 us at the median and up to 7 ms."""
        try:
            zero = os.open("/dev/zero", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return
        try:
            os.readv(zero, [self.memory])
        except OSError:
            pass  # only slower
        finally:
            os.close(zero)

    def let_go_of_pages(self) -> None:
        """Take the pages out of this process's resident set; they stay in the page cache and come back when read (60 us
        for 4 MiB, the interpreter lock kept)."""
        try:
            self.memory.madvise(mmap.MADV_DONTNEED)  # of a shared mapping: loses nothing
        except (AttributeError, OSError, ValueError):
            pass  # only larger

    def swept(self) -> bool:
        """Whether someone closed our descriptor; then this mapping is made immortal."""
        if self._own is None or places.identity(self._own) == self.identity:
            return False
        self._own = None
        _immortalise(self.memory)
        return True

    def __del__(self) -> None:
        # A reader may have held this long after the journal let go of it; the mmap itself dies after this.
        if getattr(self, "_own", None) is not None:
            self.swept()


def _find_copy(descriptor: int, identity: places.Identity) -> int | None:
    """The number of the copy that mmap made: the lowest that was free, so it is usually near."""
    for number in range(descriptor + 1, descriptor + 33):
        if places.identity(number) == identity:
            return number
    try:
        numbers = [int(name) for name in os.listdir("/dev/fd")]
    except (OSError, ValueError):
        return None
    return next((n for n in numbers if n != descriptor and places.identity(n) == identity), None)


def _immortalise(thing: object) -> None:
    import ctypes  # only after a descriptor sweep: an object that must outlive even the interpreter's end

    ctypes.pythonapi.Py_IncRef(ctypes.py_object(thing))
