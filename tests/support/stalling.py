"""A disk that stalls: every call that makes, changes or syncs a file does not return until the test says so.

Promise: the calls are the C library's own, delayed in the program under test by a small library that is compiled here
and preloaded; standard streams, sockets and reading are never delayed. A call waits at most `LONGEST_SECONDS`.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

LONGEST_SECONDS = 30
_SOURCE = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

static void stall(const char *what) {
    const char *sign = getenv("STALLING");
    struct timespec pause = {0, 10000000};
    if (!sign || access(sign, F_OK)) return;
    int said = open(getenv("STALLED"), O_WRONLY | O_CREAT | O_APPEND, 0600);
    for (const char *end = what; ; end++) if (!*end) { if (write(said, what, end - what) < 0) {} break; }
    if (write(said, "\n", 1) < 0) {}
    close(said);
    for (int turn = 0; turn < 3000 && !access(sign, F_OK); turn++) nanosleep(&pause, 0);
}
#define STALLS(type, name, parameters, arguments) \
    type name parameters { \
        static type (*real) parameters; \
        if (!real) real = (type (*) parameters)dlsym(RTLD_NEXT, #name); \
        stall(#name); \
        return real arguments; \
    }
STALLS(int, fsync, (int fd), (fd))
STALLS(int, fdatasync, (int fd), (fd))
STALLS(int, msync, (void *at, size_t size, int flags), (at, size, flags))
STALLS(int, ftruncate64, (int fd, off_t size), (fd, size))
STALLS(int, posix_fallocate64, (int fd, off_t at, off_t size), (fd, at, size))
STALLS(int, posix_fallocate, (int fd, off_t at, off_t size), (fd, at, size))
STALLS(ssize_t, pwrite64, (int fd, const void *from, size_t size, off_t at), (fd, from, size, at))
STALLS(int, rename, (const char *from, const char *to), (from, to))
STALLS(int, unlink, (const char *path), (path))
STALLS(int, rmdir, (const char *path), (path))
STALLS(int, mkdir, (const char *path, mode_t mode), (path, mode))
"""


def can_stall() -> bool:
    """Whether there is a compiler."""
    return shutil.which("gcc") is not None


class Stalling:
    """The disk of one program; ``environment`` is for `children.Child`."""

    def __init__(self, directory: Path) -> None:
        source, library = directory / "stall.c", directory / "stall.so"
        self._sign, self._log = directory / "stalling", directory / "stalled"
        source.write_text(_SOURCE)
        command = ["gcc", "-shared", "-fPIC", "-O1", "-o", str(library), str(source), "-ldl"]
        subprocess.run(command, check=True, capture_output=True, timeout=60)
        self.environment = {"LD_PRELOAD": str(library), "STALLING": str(self._sign), "STALLED": str(self._log)}

    def begin(self) -> None:
        """From now on nothing of the disk returns."""
        self._sign.touch()

    def end(self) -> None:
        """All that waits goes on."""
        self._sign.unlink(missing_ok=True)

    def stalled(self) -> list[str]:
        """The calls that were made to wait so far."""
        return self._log.read_text().split() if self._log.exists() else []
