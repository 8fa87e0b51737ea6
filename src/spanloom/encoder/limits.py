"""How much of one value is kept, and what is said of the rest."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import Protocol

Path = tuple["str | int", ...]


@dataclass(frozen=True)
class Limits:
    """Bounds on one snapshot.

    ``depth`` of nesting; ``nodes``: values in all, keys apart; ``string_bytes`` of UTF-8 for one string;
    ``value_bytes`` of content for the whole value (markers and punctuation come on top, at most 128 bytes a node);
    ``key_bytes`` for one key.
    """

    depth: int = 64
    nodes: int = 10_000
    string_bytes: int = 64 * 1024
    value_bytes: int = 1024 * 1024
    key_bytes: int = 1024


class Redacting(Protocol):
    """What the encoder asks of a redactor (`spanloom.redaction.Redactor` is one)."""

    plain_keys: set[str]
    clean: set[str]

    @property
    def hook(self) -> object: ...
    def key_label(self, name: str) -> str | None: ...
    def suspects(self, texts: list[str], joined: str) -> bool: ...
    def text(self, text: str) -> str: ...
    def joined(self, parts: list[str]) -> str | None: ...
    def ask_hook(self, path: Path, text: str) -> str: ...


def truncation(size: int, unit: str, kept: int, kept_unit: str, content: bytes) -> str:
    """The marker of a cut: the original size, what was kept, and the SHA-256 of what was kept."""
    return f"[truncated: size={size} {unit} kept={kept} {kept_unit} sha256={sha256(content).hexdigest()}]"


def json_safe(text: str) -> str:
    """NUL becomes U+2400 and a lone surrogate U+FFFD, for all destinations at once: databases refuse the one, strict
    parsers the other. Two surrogates that make a pair become their character."""
    if "\0" in text:
        text = text.replace("\0", "\u2400")
    try:
        text.encode()
    except UnicodeEncodeError:
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")  # "-le" would import a codec
    return text
