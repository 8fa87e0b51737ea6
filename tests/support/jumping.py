"""A program's clocks under a test's control, by libfaketime: the whole process sees the jump, as after a real one.

Promise: what a test sets is what the program's next reading says; the kernel's own clocks, timers and file times go on
as they are. ``clocks`` gives the environment for `children.Child`; the program itself calls `jump`.
"""

from __future__ import annotations

import os
import time
from glob import glob
from pathlib import Path


def library() -> str | None:
    """Where libfaketime is (Debian: package libfaketime); None when it is not installed."""
    places = ("/usr/lib/*", "/usr/lib", "/usr/lib64", "/usr/local/lib")
    found = [path for place in places for path in glob(f"{place}/faketime/libfaketimeMT.so.1")]
    return found[0] if found else None


def clocks(directory: Path, *, monotonic: bool = False) -> dict[str, str]:
    """The environment of a program whose wall clock can be set; ``monotonic``: its other clocks jump along."""
    path = library()
    assert path is not None
    steps = directory / "clock"
    steps.write_text("+0\n")
    environment = {
        "LD_PRELOAD": path,
        "FAKETIME_TIMESTAMP_FILE": str(steps),
        "FAKETIME_NO_CACHE": "1",
        "NO_FAKE_STAT": "1",
    }
    return environment if monotonic else {**environment, "FAKETIME_DONT_FAKE_MONOTONIC": "1"}


def jump(seconds: float) -> None:
    """In such a program: set its clocks this far from the real ones (absolutely, not from the last jump)."""
    before = time.time()
    path = os.environ["FAKETIME_TIMESTAMP_FILE"]
    with open(path + "~", "w") as draft:
        draft.write(f"{seconds:+.3f}\n")
    os.replace(path + "~", path)
    deadline = time.perf_counter() + 5
    while abs(time.time() - before) < 0.005 and time.perf_counter() < deadline:
        time.sleep(0.001)
