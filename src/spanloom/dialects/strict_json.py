"""Strict reading of JSON from strangers: what is accepted is valid for every later reader, and cheap to refuse.

Promises: `clean` and `checked` end in time linear in the bytes, raise `errors.WireError` and nothing else, and never
recurse deeper than the C parsers' own limits. What they let through is UTF-8, without NUL and lone surrogates (both
become U+FFFD), without NaN, infinities and numbers that a double cannot hold; single events are at most about
`MAX_DEPTH` levels deep.
"""

from __future__ import annotations

import codecs
import re
from typing import Any

import msgspec
import orjson

from ..errors import WireError

MAX_VALUES = 300_000
"""Commas in one body: 300,000 of them cost about 0.1 s and 50 MB to take apart; 8,000 events have 100,000."""

MAX_EVENTS = 10_000
"""Events in one body: our own client and Lunary's send 500."""

MAX_DEPTH = 250
"""Levels of one event, so that no later reader, deep in its own stack, fails on what was accepted here."""

MAX_EVENT_BYTES = 8 << 20
"""Of one event: read as text it may take four times as much, and our own client's largest is below 1 MB."""

_STEP_BYTES = 1 << 20
_SUSPECT_ESCAPE = re.compile(rb"\\u(?:[dD][89a-fA-F]|0000)")
_ESCAPE = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|u[dD][89a-fA-F][0-9a-fA-F]{2}|u0000|.)", re.DOTALL
)
_REPLACEMENT = b"\\ufffd"
_AT = re.compile(r"^(?P<message>.*?) - at `(?P<path>[^`]*)`$", re.DOTALL)


def clean(body: bytes) -> bytes:
    """The body as strict UTF-8 text without NUL and lone surrogates; raises WireError (400, or 413 for a body of
    more than `MAX_VALUES` values)."""
    _check_utf8(body)
    if body.count(b",") > MAX_VALUES:
        raise WireError(f"the body holds more than {MAX_VALUES} values: send smaller batches", status_hint=413)
    if _SUSPECT_ESCAPE.search(body):
        body = _ESCAPE.sub(_safe_escape, body)
    return body


def _check_utf8(body: bytes) -> None:
    """In steps, because text of one astral character takes four bytes for each of its ASCII ones."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        for start in range(0, len(body), _STEP_BYTES):
            decoder.decode(body[start : start + _STEP_BYTES])
        decoder.decode(b"", True)
    except UnicodeDecodeError:
        try:
            body.decode("utf-8")
        except UnicodeDecodeError as error:
            raise WireError(f"the body is not UTF-8 at byte {error.start}: send JSON encoded as UTF-8") from None


def _safe_escape(found: re.Match[bytes]) -> bytes:
    text: bytes = found[0]
    lone = len(text) == 6 and text[1:2] == b"u" and (text[2:] == b"0000" or text[2:3] in b"dD")
    return _REPLACEMENT if lone else text


def decoded(body: bytes | msgspec.Raw, decoder: msgspec.json.Decoder[Any], path: str = "$") -> Any:
    """Decode by type; raises WireError with the path below ``path`` of what is wrong."""
    try:
        return decoder.decode(body)
    except RecursionError:
        raise WireError("nested too deeply: at most about 1000 levels are read", path=path) from None
    except (msgspec.DecodeError, ValueError) as error:
        raise wire_error(str(error), path) from None


def checked(raw: bytes | msgspec.Raw, path: str) -> Any:
    """The Python value of one JSON value, after every number and string in it was looked at, and its depth."""
    text = bytes(raw)
    if len(text) > MAX_EVENT_BYTES:
        raise WireError(f"larger than {MAX_EVENT_BYTES} bytes: send less in one event", path=path)
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise WireError(f"{error.msg}: send strict JSON (RFC 8259)", path=path) from None
    if text.count(b"[") + text.count(b"{") > MAX_DEPTH:
        try:
            orjson.dumps(value)  # the one cheap measure of depth: it ends at its own limit, 254
        except TypeError:
            raise WireError(f"nested deeper than {MAX_DEPTH} levels", path=path) from None
    return value


def wire_error(message: str, path: str = "$") -> WireError:
    """The decoder's message with its place, ``Expected `str`, got `int` - at `$.name```, as a WireError below path."""
    found = _AT.match(message)
    if found is None:
        return WireError(message, path=path)
    return WireError(found["message"], path=path + found["path"].removeprefix("$"))
