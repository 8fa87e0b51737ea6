"""The files of the pages, read once from the package and served from memory.

Promises: only what is in the manifest is ever served, so that no path can lead elsewhere. Must never touch the disk
after the first request.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}


@dataclass(frozen=True, slots=True)
class Asset:
    """One file: its bytes, media type and entity tag."""

    body: bytes
    media_type: str
    etag: str


@cache
def manifest() -> dict[str, Asset]:
    """Every file that is served, by its path below ``static/``."""
    found: dict[str, Asset] = {}
    pending: list[tuple[str, Any]] = [  # Traversable, whose module Python 3.10 and 3.14 do not agree on
        ("", files(__package__) / "static")
    ]
    while pending:
        prefix, folder = pending.pop()
        for entry in folder.iterdir():
            if entry.is_dir():
                pending.append((f"{prefix}{entry.name}/", entry))
                continue
            media_type = _TYPES.get(entry.name[entry.name.rfind(".") :])
            if media_type is not None:
                body = entry.read_bytes()
                found[prefix + entry.name] = Asset(body, media_type, f'"{hashlib.sha256(body).hexdigest()[:20]}"')
    return found


def text(path: str) -> str:
    """A file of the manifest as text."""
    return manifest()[path].body.decode()
