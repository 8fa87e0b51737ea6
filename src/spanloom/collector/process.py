"""The process that `spanloom serve` has to itself, set up for a server.

Promises: as many connections as the system allows, and memory that is given back after a large request. Every step is
optional: where the system lacks it, nothing is changed. Must never: be called inside another program's process.
"""

from __future__ import annotations

import contextlib
import ctypes
import sys

_WANTED_FILES = 8192
_M_MMAP_THRESHOLD = -3
_M_ARENA_MAX = -8


def own_this_process() -> None:
    """Raise the limit of open files, and tell glibc's malloc two things: without them a body of 32 MB that was freed
    makes it take later ones from heaps that never shrink (sixteen bombs at once: 560 MB kept, against 150)."""
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft != resource.RLIM_INFINITY and soft < _WANTED_FILES:
            wanted = _WANTED_FILES if hard == resource.RLIM_INFINITY else min(hard, _WANTED_FILES)
            resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):  # musl has no mallopt
            libc = ctypes.CDLL(None)
            libc.mallopt(_M_MMAP_THRESHOLD, 256 << 10)
            libc.mallopt(_M_ARENA_MAX, 2)
