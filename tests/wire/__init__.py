"""Documented examples of each vendor's wire format, one file each, named ``<vendor>_<number>_<what>.json``; of OTLP, a
request of a stock exporter.

A file begins with lines of ``//``: where the example stands, and each repair that made JSON of it. `load` strips them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
LUNARY = sorted(path.stem for path in HERE.glob("lunary_*.json"))


def text(name: str) -> str:
    """The example's JSON text, without its header."""
    lines = (HERE / f"{name}.json").read_text("utf-8").splitlines(keepends=True)
    return "".join(line for line in lines if not line.startswith("//"))


def load(name: str) -> Any:
    """The example as a Python value."""
    return json.loads(text(name))
