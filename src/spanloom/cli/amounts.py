"""Ages and sizes as a person types them: ``30d``, ``10GB``."""

from __future__ import annotations

import argparse
import re

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_BYTES = {"": 1, "K": 1000, "M": 1000**2, "G": 1000**3, "T": 1000**4}


def age_seconds(text: str) -> float:
    """An argument's type: seconds from 90s, 30m, 6h, 30d or 4w."""
    found = re.fullmatch(r"(\d{1,9}(?:\.\d+)?)([smhdw])", text.strip())
    if found is None or float(found[1]) <= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no age: give 90s, 30m, 6h, 30d or 4w")
    return float(found[1]) * _SECONDS[found[2]]


def size_bytes(text: str) -> int:
    """An argument's type: bytes from 500MB, 10GB or 1000000."""
    found = re.fullmatch(r"(\d{1,15}(?:\.\d+)?)\s*([KMGT]?)B?", text.strip().upper())
    if found is None or float(found[1]) <= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no size: give 500MB, 10GB or a number of bytes")
    return int(float(found[1]) * _BYTES[found[2]])
