"""The scripted model in the shapes of Anthropic's Messages API: what was asked, the answer whole, the answer as events.

Shapes: docs.anthropic.com, "Messages" and "Streaming Messages". Promises: pure functions of the request; any JSON
object at all gets an answer or a reason why not. Never reads a clock or the network: ids are handed in.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from . import script


class Reply(NamedTuple):
    """``said`` is the answer as a chat message, ``whole`` the body of an answer at once, ``usage`` its token counts."""

    said: dict[str, Any]
    whole: dict[str, Any]
    usage: dict[str, int]


def reply_to(asked: dict[str, Any], message_id: str) -> Reply | str:
    """The answer to a request's body, or (text) what is wrong with it."""
    messages = asked.get("messages")
    if not isinstance(messages, list) or not messages:
        return "messages: expected a list with at least one message"
    if type(asked.get("max_tokens")) is not int:
        return f"max_tokens: expected an integer, not {asked.get('max_tokens')!r}"
    said = script.answer([each for message in messages for each in _as_chat(message)], _as_chat_tools(asked))
    calls = said.get("tool_calls", ())
    content: list[dict[str, Any]] = [{"type": "text", "text": said["content"]}] if said["content"] else []
    content += [
        {"type": "tool_use", "id": call["id"], "name": call["function"]["name"],
         "input": json.loads(call["function"]["arguments"])} for call in calls
    ]  # fmt: skip
    usage = {"input_tokens": script.tokens_in(messages), "output_tokens": script.tokens_in(content)}
    whole = {
        "id": message_id, "type": "message", "role": "assistant", "model": asked.get("model") or "claude",
        "content": content, "stop_reason": "tool_use" if calls else "end_turn", "stop_sequence": None, "usage": usage,
    }  # fmt: skip
    return Reply(said, whole, usage)


def events(reply: Reply) -> list[tuple[str, dict[str, Any]]]:
    """The answer as the events of a stream: (name, data). Text goes word by word, a tool's arguments in two pieces."""
    whole = reply.whole
    opening = {**whole, "content": [], "stop_reason": None, "usage": {**reply.usage, "output_tokens": 1}}
    found: list[dict[str, Any]] = [{"type": "message_start", "message": opening}]
    for index, block in enumerate(whole["content"]):
        if block["type"] == "text":
            empty: dict[str, Any] = {"type": "text", "text": ""}
            deltas = [{"type": "text_delta", "text": word} for word in block["text"].split(" ")]
            for delta in deltas[:-1]:
                delta["text"] += " "
        else:
            empty, text = {**block, "input": {}}, json.dumps(block["input"])
            halves = (text[: len(text) // 2], text[len(text) // 2 :])
            deltas = [{"type": "input_json_delta", "partial_json": half} for half in halves]
        found.append({"type": "content_block_start", "index": index, "content_block": empty})
        found += [{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas]
        found.append({"type": "content_block_stop", "index": index})
    ending = {"stop_reason": whole["stop_reason"], "stop_sequence": None}
    found.append({"type": "message_delta", "delta": ending, "usage": {"output_tokens": reply.usage["output_tokens"]}})
    found.append({"type": "message_stop"})
    return [(event["type"], event) for event in found]


def error(status: int, message: str) -> dict[str, Any]:
    """The body of a refusal."""
    kinds = {400: "invalid_request_error", 401: "authentication_error", 404: "not_found_error", 429: "rate_limit_error"}
    kind = kinds.get(status, "api_error" if status >= 500 else "invalid_request_error")
    return {"type": "error", "error": {"type": kind, "message": message}}


def _as_chat(message: Any) -> list[dict[str, Any]]:
    """One message with content blocks as the chat messages that the script reads."""
    if not isinstance(message, dict):
        return []
    content = message.get("content")
    if not isinstance(content, list):
        return [message]
    blocks = [block for block in content if isinstance(block, dict)]
    results = [
        {"role": "tool", "tool_call_id": block.get("tool_use_id"), "content": block.get("content")}
        for block in blocks if block.get("type") == "tool_result"
    ]  # fmt: skip
    if results:
        return results
    calls = [
        {"id": block.get("id"), "type": "function",
         "function": {"name": block.get("name"), "arguments": json.dumps(block.get("input"))}}
        for block in blocks if block.get("type") == "tool_use"
    ]  # fmt: skip
    chat: dict[str, Any] = {"role": message.get("role"), "content": blocks}
    return [{**chat, "tool_calls": calls} if calls else chat]


def _as_chat_tools(asked: dict[str, Any]) -> list[dict[str, Any]]:
    tools = asked.get("tools")
    named = (tool for tool in (tools if isinstance(tools, list) else ()) if isinstance(tool, dict))
    return [{"type": "function", "function": {"name": tool.get("name")}} for tool in named]
