"""How far a destination is with a journal, as it is saved beside the journal's segments.

Promise: reading never raises, and a position that cannot be read or written costs redelivery only, which the records'
event ids make harmless.
"""

from __future__ import annotations

import os
from typing import NamedTuple

import msgspec

from . import places


class Position(msgspec.Struct, frozen=True):
    """A cursor as it is saved. ``open`` is a list of (sequence number, attempted at) below ``next``."""

    next: int = 1
    open: list[tuple[int, float | None]] = []
    done: bool = False


class Home(NamedTuple):
    """Where a journal is: ``root`` holds all journals and the dead letters (empty: memory only), ``name`` is this one's
    directory in it (empty: not made yet)."""

    root: str = ""
    name: str = ""
    durable: bool = False

    def path(self, file: str) -> str:
        return os.path.join(self.root, self.name, file)


def read_position(path: str) -> Position | None:
    """A saved cursor; None when there is none that can be read."""
    try:
        return msgspec.json.decode(places.read_file(path), type=Position)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return None


def save_position(home: Home, dest_id: str, position: Position) -> None:
    """Replace a destination's saved cursor."""
    try:
        places.replace_file(home.path(f"{dest_id}.cursor"), msgspec.json.encode(position), durable=home.durable)
    except OSError:
        pass
