"""Conversations with a model in four notations: OpenAI's (what users record), GenAI's parts, OpenInference's flattened
attributes, and OpenLLMetry's older flattened ones.

Promise: total; what is no message of a known shape is kept as content. Must never: raise for a user's or a stranger's
values.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
import orjson

Message = dict[str, Any]
_MOST_MESSAGES = 2000
"""More of one call than this stay in ``input.value`` alone."""


def messages_in(value: Any, role: str) -> list[Message]:
    """The messages that a recorded input or output holds: a list of them, one, ``{"messages": […]}``, or a text."""
    if isinstance(value, dict) and isinstance(value.get("messages"), list):
        value = value["messages"]
    if isinstance(value, str):
        return [{"role": role, "content": value}]
    items = value if isinstance(value, list) else [value]
    found = [item for item in items if isinstance(item, dict) and ("role" in item or "content" in item)]
    if not found or len(found) != len(items) or len(found) > _MOST_MESSAGES:
        return []
    return [{"role": role, **item} for item in found]


# -- GenAI parts ---------------------------------------------------------------------------------------------------


def to_parts(messages: Iterable[Message], *, output: bool) -> list[Message]:
    """As ``gen_ai.input.messages`` and ``gen_ai.output.messages`` want them."""
    found = []
    for message in messages:
        parts = _content_parts(message)
        if message.get("role") == "tool" and "tool_call_id" in message:
            parts = [{"type": "tool_call_response", "id": message["tool_call_id"], "response": message.get("content")}]
        parts += [_call_part(call) for call in _dicts(message.get("tool_calls"))]
        made: Message = {"role": str(message.get("role")), "parts": parts}
        if output:
            made["finish_reason"] = "tool_call" if message.get("tool_calls") else "stop"
        found.append(made)
    return found


def _content_parts(message: Message) -> list[Message]:
    content = message.get("content")
    if content is None:
        return []
    if isinstance(content, str):
        return [{"type": "text", "content": content}]
    parts = []
    for item in content if isinstance(content, list) else [content]:
        if isinstance(item, dict) and item.get("type") == "text" and isinstance(item.get("text"), str):
            parts.append({"type": "text", "content": item["text"]})
        elif isinstance(item, dict) and isinstance(item.get("type"), str):
            parts.append(item)
        else:
            parts.append({"type": "text", "content": item if isinstance(item, str) else text_of(item)})
    return parts


def _call_part(call: Message) -> Message:
    function = call.get("function") if isinstance(call.get("function"), dict) else call
    assert isinstance(function, dict)
    return {"type": "tool_call", "id": call.get("id"), "name": function.get("name"),
            "arguments": json_or_text(function.get("arguments"))}  # fmt: skip


def from_parts(value: Any, role: str) -> list[Message]:
    """GenAI messages as OpenAI's. A message without parts is taken as it is."""
    return [_from_parts(item, role) for item in _dicts(value)]


def _from_parts(message: Message, role: str) -> Message:
    if not isinstance(message.get("parts"), list):
        return {"role": role, **{name: part for name, part in message.items() if name != "finish_reason"}}
    made: Message = {"role": message.get("role") or role, "content": None}
    texts: list[Any] = []
    calls: list[Message] = []
    for part in message["parts"]:
        kind = part.get("type") if isinstance(part, dict) else None
        if kind == "text":
            texts.append(part.get("content"))
        elif kind == "tool_call":
            calls.append(_call(part.get("id"), part.get("name"), part.get("arguments")))
        elif kind == "tool_call_response":
            made["tool_call_id"] = part.get("id")
            texts.append(part.get("response", part.get("result")))
        else:
            texts.append(part)
    made["content"] = _joined(texts)
    if calls:
        made["tool_calls"] = calls
    return made


def _joined(texts: list[Any]) -> Any:
    if not texts:
        return None
    if all(isinstance(text, str) for text in texts):
        return "\n".join(texts)
    return texts[0] if len(texts) == 1 else [
        {"type": "text", "text": text} if isinstance(text, str) else text for text in texts
    ]  # fmt: skip


def _call(call_id: Any, name: Any, arguments: Any) -> Message:
    text = arguments if isinstance(arguments, str) else text_of({} if arguments is None else arguments)
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": text}}


# -- flattened attributes ------------------------------------------------------------------------------------------


def flatten(prefix: str, messages: Iterable[Message]) -> dict[str, Any]:
    """OpenInference's ``llm.input_messages.0.message.role`` and so on."""
    flat: dict[str, Any] = {}
    for index, message in enumerate(messages):
        head = f"{prefix}.{index}.message."
        flat[f"{head}role"] = str(message.get("role"))
        content = message.get("content")
        if isinstance(content, list):
            for number, item in enumerate(content):
                text = item.get("text") if isinstance(item, dict) else item
                flat[f"{head}contents.{number}.message_content.type"] = "text"
                flat[f"{head}contents.{number}.message_content.text"] = text if isinstance(text, str) else text_of(item)
        elif content is not None:
            flat[f"{head}content"] = content if isinstance(content, str) else text_of(content)
        for name in ("tool_call_id", "name"):
            if isinstance(message.get(name), str):
                flat[head + name] = message[name]
        for number, call in enumerate(_dicts(message.get("tool_calls"))):
            part = _call_part(call)
            where = f"{head}tool_calls.{number}.tool_call."
            flat[f"{where}id"] = str(part["id"])
            flat[f"{where}function.name"] = str(part["name"])
            arguments = part["arguments"]
            flat[f"{where}function.arguments"] = arguments if isinstance(arguments, str) else text_of(arguments)
    return flat


def unflatten(attributes: dict[str, Any], prefix: str, used: set[str]) -> list[Any]:
    """The list under ``prefix`` (``prefix.0.a.b``) as nested dicts and lists; the names it took are added to
    ``used``."""
    head = prefix + "."
    names = [name for name in attributes if name.startswith(head)]
    if not names:
        return []
    top: dict[str, Any] = {}
    for name in names:
        *way, last = name[len(head) :].split(".")
        if not (way or [last])[0].isdigit() or len(way) > 12:
            continue
        node = top
        for step in way:
            inner = node.setdefault(step, {})
            if not isinstance(inner, dict):
                break
            node = inner
        else:
            node[last] = attributes[name]
            used.add(name)
    nested = _listed(top)
    return nested if isinstance(nested, list) else []


def _listed(node: Any) -> Any:
    if not isinstance(node, dict):
        return node
    if node and next(iter(node)).isdigit() and all(key.isdigit() and len(key) < 7 for key in node):
        return [_listed(node[key]) for key in sorted(node, key=int)]
    return {key: _listed(value) if type(value) is dict else value for key, value in node.items()}


def from_openinference(items: list[Any]) -> list[Message]:
    """Unflattened ``llm.input_messages`` as OpenAI's."""
    return [_from_openinference(item["message"]) for item in _dicts(items) if isinstance(item.get("message"), dict)]


def _from_openinference(message: Message) -> Message:
    made: Message = {"role": message.get("role"), "content": message.get("content")}
    parts = [part.get("message_content") for part in _dicts(message.get("contents"))]
    if message.get("tool_calls"):  # Anthropic's order of blocks: a mark where each call stood, which says no more
        parts = [part for part in parts if part != {"type": "tool_use"}]
    if parts:
        texts = [part.get("text") if isinstance(part, dict) and part.get("type") == "text" else part for part in parts]
        made["content"] = _joined(texts)
    calls = [call["tool_call"] for call in _dicts(message.get("tool_calls")) if isinstance(call.get("tool_call"), dict)]
    if calls:
        functions = [call.get("function") if isinstance(call.get("function"), dict) else {} for call in calls]
        made["tool_calls"] = [
            _call(call.get("id"), (function or {}).get("name"), (function or {}).get("arguments"))
            for call, function in zip(calls, functions, strict=True)
        ]
    for name in ("tool_call_id", "name"):
        if name in message:
            made[name] = message[name]
    return made


def from_traceloop(items: list[Any], role: str) -> list[Message]:
    """Unflattened ``gen_ai.prompt`` and ``gen_ai.completion`` as OpenAI's."""
    found = []
    for item in _dicts(items):
        made: Message = {"role": item.get("role") or role, "content": json_or_text(item.get("content"))}
        calls = [_call(call.get("id"), call.get("name"), call.get("arguments"))
                 for call in _dicts(item.get("tool_calls"))]  # fmt: skip
        if calls:
            made["tool_calls"] = calls
        if "tool_call_id" in item:
            made["tool_call_id"] = item["tool_call_id"]
        found.append(made)
    return found


def _dicts(value: Any) -> list[Message]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def json_or_text(value: Any) -> Any:
    """A text that is a JSON object or list as that; anything else as it is."""
    if isinstance(value, str) and value[:1] in ("{", "["):
        try:
            return orjson.loads(value)
        except ValueError:
            return value
    return value


def text_of(value: Any) -> str:
    """A value as JSON text."""
    try:
        return msgspec.json.encode(value).decode()
    except (TypeError, ValueError, RecursionError):
        return str(type(value).__name__)
