"""A recorded JSON value in one line of text, the way a person would say it.

Promises: total, bounded (LONGEST characters), never raises for what is in a value.
"""

from __future__ import annotations

from typing import Any

import msgspec

from ..store import Content

LONGEST = 240
_any = msgspec.json.Decoder(Any)


def of(raw: msgspec.Raw | None) -> str:
    """A prompt's last message, a tool's arguments, a text."""
    if raw is None:
        return ""
    try:
        said = _said(_any.decode(raw))
    except (msgspec.DecodeError, RecursionError):
        said = bytes(raw[: 4 * LONGEST]).decode("utf-8", "replace")
    return _short(said)


def asked_and_answered(content: Content) -> tuple[str, str]:
    """What went into a run and what came out of it; for a chat the first message and the last."""
    if not content.messages:
        return of(content.input), of(content.output)
    answers = len(content.messages) > 1
    return of(content.messages[0].message), of(content.messages[-1].message) if answers else ""


def _short(text: str) -> str:
    line = " ".join(text[: 8 * LONGEST].split())
    return line if len(line) <= LONGEST else line[: LONGEST - 1] + "…"


def _said(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, list) and value and isinstance(value[-1], dict) and "role" in value[-1]:
        return _message(value[-1])
    if isinstance(value, dict):
        if "role" in value:
            return _message(value)
        return ", ".join(f"{name}: {item if isinstance(item, str) else _json(item)}" for name, item in value.items())
    return _json(value)


def _message(message: dict[str, Any]) -> str:
    parts = []
    calls = message.get("tool_calls") or message.get("toolCalls")
    for call in calls if isinstance(calls, list) else ():
        function = call.get("function") if isinstance(call, dict) else None
        if isinstance(function, dict):
            parts.append(f"→ {function.get('name')}({function.get('arguments')})")
    content = message.get("content", message.get("text"))
    if isinstance(content, list):
        content = " ".join(str(part.get("text", "")) if isinstance(part, dict) else str(part) for part in content)
    if content not in (None, ""):
        parts.append(content if isinstance(content, str) else _json(content))
    return " ".join(parts) or _json(message)


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode("utf-8", "replace")
