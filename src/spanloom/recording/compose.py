"""Start, update, point and end records as bytes, by joining fragments that are JSON already.

Promises: what comes out is what `spanloom.records` decodes to the same values (the tests compare). Every argument is
JSON text or bytes made by the encoder or `lineage.json_text`, or ours alone. Must never: encode a user's value.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from .lineage import json_text
from .recorder import Recorder

MAX_MEMBERS = 256  # keys of one metadata, params or extra mapping
_MAX_LABELS = 1024
_labels: dict[tuple[str, str], Label] = {}


class Label:
    """A run's type and name, and the members that say so."""

    __slots__ = ("members", "name", "type")

    def __init__(self, type_: str, name: str) -> None:
        self.type = type_
        self.name = name
        self.members = f',"type":{json_text(type_)},"name":{json_text(name)}'


def label(type_: str, name: str) -> Label:
    """The label of a type and name; the same one for the same words."""
    found = _labels.get((type_, name))
    if found is None:
        if len(_labels) >= _MAX_LABELS:
            _labels.clear()
        found = _labels[type_, name] = Label(type_, name)
    return found


def start_record(run_id: str, at: str, common: str, members: str, content: bytes | None) -> bytes:
    """A RunStart; ``common`` are the members that its end will repeat, ``content`` the input's JSON."""
    head = f'{{"event":"start","eventId":"{run_id}.s","timestamp":"{at}"{common}{members}'
    if content is None:
        return (head + "}").encode()
    return b"".join((head.encode(), b',"input":', content, b"}"))


def end_record(run_id: str, at: str, common: str, members: str, output: bytes | None, suffix: str = "e") -> bytes:
    """A RunEnd; ``members`` begin with the status."""
    head = f'{{"event":"end","eventId":"{run_id}.{suffix}","timestamp":"{at}"{common}{members}'
    if output is None:
        return (head + "}").encode()
    return b"".join((head.encode(), b',"output":', output, b"}"))


def update_record(run_id: str, number: int, at: str, common: str, members: str) -> bytes:
    """A RunUpdate."""
    return f'{{"event":"update","eventId":"{run_id}.u{number}","timestamp":"{at}"{common}{members}}}'.encode()


def point_record(run_id: str, number: int, at: str, common: str, label_json: str, data: bytes | None) -> bytes:
    """A RunPoint; ``label_json`` is a JSON string, ``data`` a JSON object."""
    tail = b"" if data is None else b',"data":' + data
    head = f'{{"event":"point","eventId":"{run_id}.p{number}","timestamp":"{at}"{common},"label":{label_json}'
    return b"".join((head.encode(), tail, b"}"))


def members_of(recorder: Recorder, values: Mapping[Any, Any], where: str) -> dict[str, str]:
    """A user's mapping, key by key, as JSON members (``"key":value``), so that later values of a key can replace it.

    At most 256 keys; how many were left out is said under ``…``.
    """
    snapshot = recorder.encoder.snapshot
    members: dict[str, str] = {}
    for number, (key, value) in enumerate(list(dict(values).items())):
        if number >= MAX_MEMBERS:
            members["…"] = f'"…":"{len(values) - number} more keys"'
            break
        text = snapshot({key: value}, (where,)).decode()
        name = key if type(key) is str else type(key).__name__ + str(number)
        members[name] = text[1:-1] if text[:1] == "{" and len(text) > 2 else f"{json_text(name)}:{text}"
    return members


def object_of(members: Mapping[str, str]) -> str:
    """Members as a JSON object."""
    return "{" + ",".join(members.values()) + "}"


def texts_of(recorder: Recorder, values: Iterable[str], where: str) -> tuple[str, ...]:
    """Strings of the user's as JSON strings, redacted like all content."""
    snapshot = recorder.encoder.snapshot
    return tuple(snapshot(value, (where,)).decode() for value in values)
