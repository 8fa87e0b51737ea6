"""How much room is left on the store's disk, asked at most once a second.

Promise: what is sent is refused (507) while the room is short, before the disk is full: reading goes on, pruning can
still work, and other programs on the disk do not fail because of us.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from .body import Limits, Refused

_ASK_EVERY_SECONDS = 1.0


class Disk:
    """The disk that a store lies on."""

    def __init__(self, store_path: Path, limits: Limits) -> None:
        self._directory = store_path.parent
        self._least_bytes = limits.min_free_bytes
        self._asked = float("-inf")
        self._free_bytes: int | None = None

    def check(self) -> None:
        """Raises Refused (507) while less than `Limits.min_free_bytes` are free."""
        now = time.monotonic()
        if now - self._asked >= _ASK_EVERY_SECONDS:
            self._asked, self._free_bytes = now, _free_bytes(self._directory)
        if self._free_bytes is not None and self._free_bytes < self._least_bytes:
            refused = Refused(507, f"{self._free_bytes >> 20} MB are free on the store's disk: make room there")
            refused.retry_after_seconds = 30
            raise refused


def _free_bytes(directory: Path) -> int | None:
    """None where the system does not tell."""
    try:
        found = os.statvfs(directory)
    except (OSError, AttributeError):
        return None
    return found.f_bavail * found.f_frsize
