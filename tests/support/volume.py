"""How often a fault is tried: a few times in CI, many in a full run (``SPANLOOM_FAULTS=full``).

Promise: one place decides; every random test draws from `seed`, which a failing run prints.
"""

from __future__ import annotations

import os
import random

FULL = os.environ.get("SPANLOOM_FAULTS", "") == "full"
"""Whether this is a full run."""


def volume(ci: int, full: int) -> int:
    """The count for this run. ``SPANLOOM_FAULTS_SCALE`` (a float) scales it, to try a test out; never below 1."""
    return max(1, round((full if FULL else ci) * float(os.environ.get("SPANLOOM_FAULTS_SCALE", "1"))))


def seed() -> int:
    """``SPANLOOM_FAULTS_SEED``, or a new one; printed, so that pytest shows it when the test fails."""
    chosen = int(os.environ.get("SPANLOOM_FAULTS_SEED") or random.SystemRandom().randrange(1 << 32))
    print(f"SPANLOOM_FAULTS_SEED={chosen}")
    return chosen
