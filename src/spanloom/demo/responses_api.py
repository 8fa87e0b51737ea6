"""The scripted model in the shapes of OpenAI's Responses API: what was asked, the answer whole, the answer as events.

Shapes: platform.openai.com, "Responses" and "Streaming events". Promises: pure functions of the request; any JSON
object at all gets an answer or a reason why not. Never reads a clock or the network: ids and times are handed in.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from . import script


class Reply(NamedTuple):
    """``said`` is the answer as a chat message, ``whole`` the body of an answer at once, ``usage`` its token counts."""

    said: dict[str, Any]
    whole: dict[str, Any]
    usage: dict[str, Any]


def reply_to(asked: dict[str, Any], number: str, created_at: int) -> Reply | str:
    """The answer to a request's body, or (text) what is wrong with it. ``number`` makes its ids unique."""
    given = asked.get("input")
    items = [{"role": "user", "content": given}] if isinstance(given, str) else given
    if not isinstance(items, list) or not items:
        return "input: expected a string, or a list with at least one item"
    said = script.answer([_as_chat(item) for item in items], _as_chat_tools(asked))
    text = {"type": "output_text", "text": said["content"], "annotations": [], "logprobs": []}
    output: list[dict[str, Any]] = [
        {"id": f"msg_{number}", "type": "message", "role": "assistant", "status": "completed", "content": [text]}
    ]
    for at, call in enumerate(said.get("tool_calls", ())):
        output.append({
            "id": f"fc_{number}_{at}", "type": "function_call", "status": "completed", "call_id": call["id"],
            "name": call["function"]["name"], "arguments": call["function"]["arguments"],
        })  # fmt: skip
    read, written = script.tokens_in(items), script.tokens_in(said)
    usage: dict[str, Any] = {
        "input_tokens": read, "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": written, "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": read + written,
    }  # fmt: skip
    whole = {
        "id": f"resp_{number}", "object": "response", "created_at": created_at, "status": "completed", "error": None,
        "incomplete_details": None, "instructions": asked.get("instructions"), "metadata": {},
        "model": asked.get("model") or "gpt-4o", "output": output, "parallel_tool_calls": True, "temperature": 1.0,
        "tool_choice": asked.get("tool_choice", "auto"), "tools": asked.get("tools") or [], "top_p": 1.0,
        "usage": usage,
    }  # fmt: skip
    return Reply(said, whole, usage)


def events(reply: Reply) -> list[tuple[str, dict[str, Any]]]:
    """The answer as the events of a stream: (name, data). Text goes word by word, a call's arguments in one piece."""
    opening = {**reply.whole, "status": "in_progress", "output": [], "usage": None}
    found: list[dict[str, Any]] = [{"type": "response.created", "response": opening}]
    for at, item in enumerate(reply.whole["output"]):
        is_text = item["type"] == "message"
        empty = {**item, "status": "in_progress", **({"content": []} if is_text else {"arguments": ""})}
        found.append({"type": "response.output_item.added", "output_index": at, "item": empty})
        about = {"output_index": at, "item_id": item["id"]}
        found += _text_events(about, item["content"][0]) if is_text else _argument_events(about, item)
        found.append({"type": "response.output_item.done", "output_index": at, "item": item})
    found.append({"type": "response.completed", "response": reply.whole})
    return [(event["type"], {**event, "sequence_number": number}) for number, event in enumerate(found)]


def _text_events(about: dict[str, Any], part: dict[str, Any]) -> list[dict[str, Any]]:
    about = {**about, "content_index": 0}
    words = part["text"].split(" ")
    pieces = [f"{word} " for word in words[:-1]] + words[-1:]
    return [
        {"type": "response.content_part.added", **about, "part": {**part, "text": ""}},
        *({"type": "response.output_text.delta", **about, "delta": piece, "logprobs": []} for piece in pieces),
        {"type": "response.output_text.done", **about, "text": part["text"], "logprobs": []},
        {"type": "response.content_part.done", **about, "part": part},
    ]


def _argument_events(about: dict[str, Any], item: dict[str, Any]) -> list[dict[str, Any]]:
    name = "response.function_call_arguments"
    done = {"type": f"{name}.done", **about, "name": item["name"], "arguments": item["arguments"]}
    return [{"type": f"{name}.delta", **about, "delta": item["arguments"]}, done]


def _as_chat(item: Any) -> dict[str, Any]:
    """One input item as the chat message that the script reads."""
    if not isinstance(item, dict):
        return {}
    if item.get("type") == "function_call_output":
        return {"role": "tool", "tool_call_id": item.get("call_id"), "content": item.get("output")}
    if item.get("type") == "function_call":
        call = {"name": item.get("name"), "arguments": item.get("arguments")}
        return {"role": "assistant", "tool_calls": [{"id": item.get("call_id"), "type": "function", "function": call}]}
    return item


def _as_chat_tools(asked: dict[str, Any]) -> list[dict[str, Any]]:
    tools = asked.get("tools")
    named = (tool for tool in (tools if isinstance(tools, list) else ()) if isinstance(tool, dict))
    return [{"type": "function", "function": {"name": tool.get("name")}} for tool in named]
