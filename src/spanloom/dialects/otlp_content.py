"""What a span's attributes hold, by whichever convention: its input, its output, its parameters; and which attributes
were read, so that the others can be kept under their own names.

Promise: total. Must never: lose an attribute, or take a text for JSON that a later reader could not read.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import UNSET, Raw

from ..errors import WireError
from ..records import Content
from . import otlp_names as names
from .otlp_messages import from_openinference, from_parts, from_traceloop, json_or_text, unflatten
from .otlp_values import Attributes
from .otlp_writing import plain
from .strict_json import checked, clean

_INT64 = 1 << 63
_INPUT = (names.OI_INPUT, names.OI_INPUT_MIME)
_OUTPUT = (names.OI_OUTPUT, names.OI_OUTPUT_MIME)


class Taken:
    """A span's attributes, and which of them a run's own fields have taken."""

    def __init__(self, attributes: Attributes) -> None:
        self.all = attributes
        self.used: set[str] = set()

    def text(self, *wanted: str) -> str | None:
        """The first that is a text; what stands beside it under another of these names is taken with it."""
        found = self._first(wanted, lambda value: isinstance(value, str) and value != "")
        return None if found is None else str(found)

    def number(self, *wanted: str) -> Any:
        """The first that is a number."""
        return self._first(wanted, lambda value: isinstance(value, int | float) and not isinstance(value, bool))

    def count(self, *wanted: str) -> int | None:
        """The first that is a whole number from 0."""
        found = self._first(
            wanted, lambda value: isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _INT64
        )
        return None if found is None else int(found)

    def any(self, name: str) -> Any:
        """Whatever it is; None when it is not there."""
        self.used.add(name)
        return self.all.get(name)

    def _first(self, wanted: tuple[str, ...], fits: Callable[[Any], bool]) -> Any:
        found = None
        for name in wanted:
            value = self.all.get(name)
            if value is not None and fits(value):
                found = value if found is None else found
                if value == found:
                    self.used.add(name)
        return found

    def rest(self) -> Attributes:
        """What nobody has taken."""
        return {name: value for name, value in self.all.items() if name not in self.used}


def content_of(taken: Taken, run_type: str, ours: bool) -> tuple[Any, Any]:
    """(input, output): what we recorded ourselves, else messages, else the values; UNSET for none."""
    source, output = _said(taken, run_type, inward=True), _said(taken, run_type, inward=False)
    for value in (_INPUT, _OUTPUT):
        if value[0] in taken.all:
            taken.used.update(value)
    if ours:
        _documents(taken)
        taken.used.add(names.QUERY_TEXT)
        return _value(taken, *_INPUT), _value(taken, *_OUTPUT)
    if run_type == "tool":
        source = _decoded(taken, names.TOOL_ARGUMENTS) if source is UNSET else source
        output = _decoded(taken, names.TOOL_RESULT) if output is UNSET else output
    elif run_type == "retriever":
        documents = _documents(taken)
        source = _decoded(taken, names.QUERY_TEXT) if source is UNSET else source
        output = documents if documents else _decoded(taken, names.RETRIEVED)
    pair = []
    for found, value, other in ((source, _INPUT, names.TL_INPUT), (output, _OUTPUT, names.TL_OUTPUT)):
        taken.used.add(other)
        if found is UNSET:  # only then are the values looked into: they say the same, and more
            found = _value(taken, *value)
        pair.append(_decoded(taken, other) if found is UNSET else found)
    return pair[0], pair[1]


def _said(taken: Taken, run_type: str, *, inward: bool) -> Any:
    """The messages by whichever convention has them; all notations of them are taken."""
    role = "user" if inward else "assistant"
    genai, flat, old = (
        (names.INPUT_MESSAGES, names.OI_INPUT_MESSAGES, names.TL_PROMPT) if inward
        else (names.OUTPUT_MESSAGES, names.OI_OUTPUT_MESSAGES, names.TL_COMPLETION)
    )  # fmt: skip
    found = from_parts(json_or_text(taken.all.get(genai)), role)
    if found:
        taken.used.add(genai)
    flattened = from_openinference(unflatten(taken.all, flat, taken.used))
    older = from_traceloop(unflatten(taken.all, old, taken.used), role)
    messages = found or flattened or older
    if inward and messages:
        instructions = json_or_text(taken.any(names.SYSTEM_INSTRUCTIONS))
        if instructions:
            parts = instructions if isinstance(instructions, list) else [{"type": "text", "content": instructions}]
            messages = [*from_parts([{"role": "system", "parts": parts}], "system"), *messages]
    if not messages:
        return UNSET
    return messages if inward or len(messages) > 1 else messages[0]


def _documents(taken: Taken) -> list[Any]:
    found = unflatten(taken.all, names.OI_DOCUMENTS, taken.used)
    return [item.get("document", item) if isinstance(item, dict) else item for item in found]


def _value(taken: Taken, name: str, mime: str) -> Any:
    if name not in taken.all:
        return UNSET
    value = taken.any(name)
    kind = taken.any(mime)
    if isinstance(value, str) and kind != "text/plain":
        return _json(value) if kind == "application/json" else json_or_text(value)
    return value


def _decoded(taken: Taken, name: str) -> Any:
    if name not in taken.all:
        return UNSET
    value = taken.any(name)
    return _json(value) if isinstance(value, str) else value


def _json(text: str) -> Any:
    """A JSON text as the bytes it is, when it is one that every later reader can read; else the text."""
    try:
        raw = clean(text.encode("utf-8", "replace")).strip()
        checked(raw, "$")
    except WireError:
        return text
    return Raw(raw)


def raw(value: Any) -> Content:
    if value is UNSET or isinstance(value, Raw):
        return value
    try:
        return Raw(msgspec.json.encode(value, enc_hook=plain))
    except (TypeError, ValueError, RecursionError, OverflowError):
        return Raw(msgspec.json.encode(repr(value)[:1000]))


def json_object(taken: Taken, name: str) -> Content:
    value = _decoded(taken, name)
    if isinstance(value, Raw) and bytes(value)[:1] == b"{":
        return value
    return raw(value) if isinstance(value, dict) else UNSET


def params_of(taken: Taken) -> Content:
    ours = json_object(taken, names.PARAMS)
    found: dict[str, Any] = {}
    for name in list(taken.all):
        if name.startswith(names.REQUEST) and name != names.REQUEST_MODEL:
            found[name[len(names.REQUEST) :]] = taken.any(name)
    tools = [json_or_text((tool.get("tool") or {}).get("json_schema")) if isinstance(tool, dict) else tool
             for tool in unflatten(taken.all, names.OI_TOOLS, taken.used)]  # fmt: skip
    defined = json_or_text(taken.any(names.TOOL_DEFINITIONS))
    if tools or isinstance(defined, list):
        found["tools"] = tools or defined
    invocation = json_or_text(taken.any(names.OI_PARAMS))
    if isinstance(invocation, dict):
        found.update({name: value for name, value in invocation.items() if name not in ("model", "messages")})
    if ours is not UNSET:
        return ours
    return raw(found) if found else UNSET
