"""Records that a destination refused for good: one JSON Lines file per destination and journal, kept to be looked at.

Promise: what is put here survives the journal it came from, readable only by its owner. Each line is
``{"reason": ..., "at": seconds, "destination": ..., "record": {...}}``. Must never be read by a shipper: only
`spanloom journal replay` sends dead letters again, because a person said so.
"""

from __future__ import annotations

import json
import os
import secrets
import time
from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from . import places

FOLDER = "dead-letters"


class DeadLetter(NamedTuple):
    """One refused record."""

    destination: str
    reason: str
    at: float
    record: bytes


class _Line(msgspec.Struct):
    record: msgspec.Raw
    destination: str = ""
    reason: str = ""
    at: float = 0.0


def bury(root: str, journal: str, dest_id: str, payload: bytes, reason: str) -> None:
    """Append one record to the destination's file under ``root`` (the journals' directory). Raises OSError."""
    folder = places.private_directory(os.path.join(root, FOLDER))
    head = json.dumps({"reason": reason, "at": round(time.time(), 3), "destination": dest_id})
    line = head[:-1].encode() + b', "record": ' + payload + b"}\n"
    descriptor = places.open_to_append(os.path.join(folder, f"{dest_id}.{journal}.jsonl"))
    try:
        places.write_all(descriptor, line)  # one write: lines of several threads do not mix
    finally:
        os.close(descriptor)


def files(root: str) -> list[str]:
    """Paths of all dead-letter files."""
    folder = os.path.join(root, FOLDER)
    try:
        return sorted(os.path.join(folder, name) for name in os.listdir(folder) if name.endswith(".jsonl"))
    except OSError:
        return []


def take(path: str) -> str:
    """Set a file aside for whoever deals with its letters, under a name that `files` still finds; the new path. Its
    process begins another at its next letter. Raises OSError."""
    aside = f"{path[: -len('.jsonl')]}.{secrets.token_hex(4)}.jsonl"
    os.rename(path, aside)
    return aside


def lines(path: str) -> list[bytes]:
    """The lines of one file, whatever is in them."""
    return places.read_file(path, limit_bytes=1 << 30).splitlines()


def parse(line: bytes) -> DeadLetter | None:
    """The dead letter on a line; None when it cannot be read."""
    try:
        found = msgspec.json.decode(line, type=_Line)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return DeadLetter(found.destination, found.reason, found.at, bytes(found.record))


def read(path: str) -> Iterator[DeadLetter]:
    """The readable letters of one file; a line cut off by a full disk is passed over."""
    for line in lines(path):
        if (letter := parse(line)) is not None:
            yield letter
