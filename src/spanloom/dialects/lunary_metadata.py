"""What of ours has no field at Lunary and travels in an event's flat ``metadata``, by which name; for both ends.

Promise: a user's own metadata is never overwritten, except that a run's unusual ``status`` (cancelled, abandoned,
killed) is always said. Must never: look into values deeper than their first byte, unless they are lists.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import UNSET, Raw

from ..records import Content

# metadata name -> field of the record, and the JSON types that are lifted back out of it
ON_START: dict[str, tuple[str, tuple[type, ...]]] = {
    "customer": ("customer", (str,)),
    "key": ("key", (str,)),
    "service": ("service", (str,)),
    "threadId": ("thread_id", (str,)),
    "traceId": ("trace_id", (str,)),
    "parentSpanId": ("parent_span_id", (str,)),
}
ON_END: dict[str, tuple[str, tuple[type, ...]]] = {
    "model": ("model", (str,)),
    "cost": ("cost", (int, float)),
    "responseId": ("response_id", (str,)),
    "firstItemAt": ("first_item_at", (str,)),
    "items": ("items", (int,)),
}
STATUS_WORDS = ("cancelled", "abandoned", "killed")
"""The statuses that Lunary does not know; they travel as metadata ``status``."""

Flat = dict[str, Any]

_members: msgspec.json.Decoder[dict[str, Raw]] = msgspec.json.Decoder(dict[str, Raw])
_elements: msgspec.json.Decoder[list[Raw]] = msgspec.json.Decoder(list[Raw])


def members(content: Content) -> dict[str, Raw] | None:
    """The members of a JSON object, their values unread; None for anything else."""
    if content is UNSET:
        return None
    try:
        return _members.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def flat(content: Content) -> Flat:
    """A JSON object as Lunary keeps it: nested values as JSON text, the others as they are."""
    if content is UNSET:
        return {}
    found = members(content)
    if found is None:
        return {"value": text_of(content)}
    return {name: text_of(value) if _is_nested(value) else value for name, value in found.items()}


def text_of(content: Content) -> str:
    """The JSON text of a value."""
    return "" if content is UNSET else str(bytes(content), "utf-8", "replace")


def lifted(metadata: object, table: dict[str, tuple[str, tuple[type, ...]]]) -> dict[str, Any]:
    """The record's fields found in a received event's metadata, those of the right JSON type only."""
    if not isinstance(metadata, dict):
        return {}
    return {
        field: metadata[name]
        for name, (field, types) in table.items()
        if name in metadata and isinstance(metadata[name], types) and not isinstance(metadata[name], bool)
    }


def _is_nested(value: Raw) -> bool:
    first = bytes(value)[:1]
    if first == b"[":
        return any(bytes(item)[:1] in (b"{", b"[", b"n") for item in _elements.decode(value))
    return first == b"{"
