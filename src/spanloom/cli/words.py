"""Recorded values as words for a terminal.

Promises: total; every text that comes out of a record passes `printable`, so that nothing recorded can move the
cursor, colour the screen, reorder a line or hide a character.
"""

from __future__ import annotations

import json
import re
import time
from typing import Any

from msgspec import Raw

# Controls (the escape character among them), and what is invisible or reorders: bidi marks, zero widths, line
# separators, tags and the byte order mark. Line feed and tab are kept here and dealt with by the caller.
_unsafe = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff"
    "\U000e0000-\U000e007f]"
)


def printable(text: str) -> str:
    """The text with what a terminal would obey shown as escapes (``\\x1b``)."""
    return _unsafe.sub(lambda found: found[0].encode("unicode_escape", "surrogatepass").decode(), text)


def one_line(text: str) -> str:
    """The text on one line, safe to print."""
    return printable(" ".join(text.split()))


def shorten(text: str, width: int) -> str:
    """At most this many characters, the cut shown."""
    return text if len(text) <= width else text[: max(0, width - 1)] + "…"


def duration(microseconds: int | None) -> str:
    """A duration in the unit that fits it: ``85 us``, ``12 ms``, ``3.4 s``, ``2 min 5 s``, ``1 h 3 min``."""
    if microseconds is None:
        return ""
    if microseconds < 1000:
        return f"{microseconds} us"
    if microseconds < 10_000:
        return f"{microseconds / 1000:.1f} ms"
    if microseconds < 999_500:
        return f"{microseconds / 1000:.0f} ms"
    if microseconds < 59_950_000:
        return f"{microseconds / 1_000_000:.1f} s"
    seconds = round(microseconds / 1_000_000)
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60} min"


def when(microseconds: int | None, now_seconds: float) -> str:
    """A moment in local time: the time alone when it was today, the year only when it was another."""
    if microseconds is None:
        return ""
    try:
        then, now = time.localtime(microseconds / 1_000_000), time.localtime(now_seconds)
        if then[:3] == now[:3]:
            return time.strftime("%H:%M:%S", then)
        return time.strftime("%m-%d %H:%M" if then[0] == now[0] else "%Y-%m-%d", then)
    except (OverflowError, ValueError, OSError):  # a client's clock far outside of what this machine can name
        return "?"


def count(number: int | None) -> str:
    """A count, thousands apart."""
    return "" if number is None else f"{number:,}"


def cost(dollars: float | None) -> str:
    """US dollars, with as many digits as a cheap call needs."""
    if dollars is None:
        return ""
    return f"${dollars:.2f}" if dollars >= 1 or dollars == 0 else f"${dollars:.4g}"


def feedback(given: dict[str, object]) -> str:
    """The merged feedback on one line: ``thumb up, "Great response!"``."""
    parts = []
    for key in sorted(given, key=lambda name: (name != "thumb", name)):
        value = given[key]
        if key == "thumb":
            parts.append(f"thumb {one_line(str(value))}")
        elif key == "comment":
            parts.append(f'"{one_line(str(value))}"')
        else:
            parts.append(f"{one_line(key)} {one_line(value if isinstance(value, str) else _json(value))}")
    return ", ".join(parts)


def glance(value: Raw | None) -> str:
    """A JSON value on one line, the way a person would say it: the last message of a prompt, a tool's arguments."""
    return "" if value is None else one_line(_said(_decoded(value)))


def pretty(value: Raw) -> str:
    """A JSON value in full, on as many lines as it takes."""
    decoded = _decoded(value)
    text = decoded if isinstance(decoded, str) else json.dumps(decoded, ensure_ascii=False, indent=2)
    return printable(text.expandtabs(4))


def message(value: Raw, *, full: bool) -> tuple[str, str]:
    """Who said it, and what, of one chat message."""
    decoded = _decoded(value)
    if not isinstance(decoded, dict):
        return "message", pretty(value) if full else glance(value)
    role = shorten(one_line(str(decoded.get("role", "message"))), 12)
    text = _message(decoded)
    return role, printable(text) if full else one_line(text)


def _decoded(value: Raw) -> Any:
    try:
        return json.loads(bytes(value))
    except (ValueError, RecursionError):
        return bytes(value).decode("utf-8", "replace")


def _said(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, list) and value and all(isinstance(item, dict) and "role" in item for item in value):
        earlier = f"({len(value) - 1} before) " if len(value) > 1 else ""
        return earlier + _message(value[-1])
    if isinstance(value, dict) and "role" in value:
        return _message(value)
    if isinstance(value, dict) and value:
        return ", ".join(f"{key}={_json(item)}" for key, item in value.items())
    return _json(value)


def _message(message: dict[str, Any]) -> str:
    """What a chat message says: the calls it asks for, then its text."""
    content = message.get("content", message.get("text"))
    parts = []
    calls = message.get("tool_calls") or message.get("toolCalls")
    for call in calls if isinstance(calls, list) else ():
        function = call.get("function") if isinstance(call, dict) else None
        if isinstance(function, dict):
            parts.append(f"→ {function.get('name')}({_arguments(function.get('arguments'))})")
    if content not in (None, "", []):
        parts.append(_content(content))
    return " ".join(parts) or _json(message)


def _content(content: Any) -> str:
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return " ".join(
            part["text"] if isinstance(part, dict) and isinstance(part.get("text"), str) else _json(part)
            for part in content
        )
    return _json(content)


def _arguments(arguments: Any) -> str:
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments)
        except (ValueError, RecursionError):
            return str(arguments)
    return _said(arguments)


def _json(value: Any) -> str:
    try:
        return json.dumps(value, ensure_ascii=False)
    except (ValueError, RecursionError):
        return str(type(value).__name__)
