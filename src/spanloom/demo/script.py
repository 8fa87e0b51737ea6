"""What the scripted model says: the same answer for the same messages, every time.

Promises: pure functions of the request, in the shapes of the OpenAI chat and embeddings API; any JSON at all gets an
answer. Never reads a clock, a random number or the network, so that a test can compare what was recorded with it.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import struct
from collections.abc import Sequence
from typing import Any

WEATHER_TOOL = "get_weather_forecast"
ANNOUNCEMENT = "I can get the weather forecast for you. Please wait a moment."

_CITY = re.compile(r"\bin ([A-Z][\w'’-]*(?: [A-Z][\w'’-]*)*)")
_TOPIC = re.compile(r"\babout ([^?.!\n]+)", re.IGNORECASE)
_CHARACTERS_PER_TOKEN = 4


def answer(messages: Sequence[Any], tools: Sequence[Any] = ()) -> dict[str, Any]:
    """The assistant's message (``{"role", "content"}`` and perhaps ``"tool_calls"``) for a list of chat messages.

    After a tool's result: one sentence about it. Asked for the weather with the weather tool at hand: a call of it.
    Asked about something: one sentence about that. Otherwise the question is repeated.
    """
    last = _at(messages, -1)
    question = text_of(_last_of(messages, "user"))
    if last.get("role") == "tool":
        return _says(_sentence_from(text_of(last), _city_asked(messages)))
    if "weather" in question.lower() and WEATHER_TOOL in _tool_names(tools):
        return _calls_weather(messages, question)
    topic = _TOPIC.search(question)
    if topic is not None:
        return _says(f"What matters about {topic[1].strip()} is that it can be measured, kept and looked at again.")
    return _says(f"You asked: {question}" if question else "I did not hear a question.")


def text_of(message: dict[str, Any]) -> str:
    """A message's text, whether its content is a string or a list of ``{"type": "text", "text"}`` parts."""
    content = message.get("content")
    if isinstance(content, list):
        parts = [part.get("text") for part in content if isinstance(part, dict)]
        return "".join(part for part in parts if isinstance(part, str))
    return content if isinstance(content, str) else ""


def tokens_in(value: object) -> int:
    """About how many tokens (int >= 0) a JSON value takes: four characters of its compact JSON each."""
    size = len(json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str))
    return -(-size // _CHARACTERS_PER_TOKEN)


def usage_of(messages: Sequence[Any], reply: dict[str, Any]) -> dict[str, int]:
    """The reply's ``usage`` object: prompt, completion and total tokens (ints)."""
    prompt, completion = tokens_in(list(messages)), tokens_in(reply)
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


def deltas(reply: dict[str, Any], words_per_chunk: int = 2) -> list[dict[str, Any]]:
    """The reply cut into the ``delta`` objects of a stream: role first, then text, then tool calls in two pieces."""
    pieces: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
    words = re.findall(r"\S+\s*", reply["content"] or "")
    for at in range(0, len(words), words_per_chunk):
        pieces.append({"content": "".join(words[at : at + words_per_chunk])})
    for index, call in enumerate(reply.get("tool_calls", ())):
        name, arguments = call["function"]["name"], call["function"]["arguments"]
        half = len(arguments) // 2
        opening = {"index": index, "id": call["id"], "type": "function"}
        pieces.append({"tool_calls": [{**opening, "function": {"name": name, "arguments": arguments[:half]}}]})
        pieces.append({"tool_calls": [{"index": index, "function": {"arguments": arguments[half:]}}]})
    return pieces


def embedding(text: str, dimensions: int = 8) -> list[float]:
    """A vector of floats in [-1, 1), told from the text alone."""
    values: list[float] = []
    block = 0
    while len(values) < dimensions:
        digest = hashlib.sha256(f"{block}:{text}".encode("utf-8", "replace")).digest()
        values.extend((word - 0x8000) / 0x8000 for word in struct.unpack(">16H", digest))
        block += 1
    return values[:dimensions]


def packed(vector: Sequence[float]) -> str:
    """A vector as base64 of little-endian 32-bit floats, which is what the official client asks for."""
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode("ascii")


def _says(content: str) -> dict[str, Any]:
    return {"role": "assistant", "content": content}


def _calls_weather(messages: Sequence[Any], question: str) -> dict[str, Any]:
    earlier = sum(1 for message in messages if _object(message).get("tool_calls"))
    city = _CITY.search(question)
    call = {
        "id": "call_id" if not earlier else f"call_id_{earlier + 1}",
        "type": "function",
        "function": {"name": WEATHER_TOOL, "arguments": json.dumps({"city": city[1] if city else "Boston"})},
    }
    return {"role": "assistant", "content": ANNOUNCEMENT, "tool_calls": [call]}


def _sentence_from(result: str, city: str) -> str:
    forecast = _parsed(result)
    weather, temperature = forecast.get("weather"), forecast.get("temperature")
    if weather is not None and temperature is not None:
        return f"The weather in {city} is {weather} with a temperature of {temperature} degrees."
    return f"The tool answered: {result}"


def _city_asked(messages: Sequence[Any]) -> str:
    calls = _last_of(messages, "assistant").get("tool_calls")
    call = _object(calls[0]) if isinstance(calls, list) and calls else {}
    city = _parsed(_object(call.get("function")).get("arguments")).get("city")
    return city if isinstance(city, str) else "the city"


def _tool_names(tools: Sequence[Any]) -> set[Any]:
    names = (_object(_object(tool).get("function")).get("name") for tool in tools)
    return {name for name in names if isinstance(name, str)}


def _last_of(messages: Sequence[Any], role: str) -> dict[str, Any]:
    found = (message for message in map(_object, reversed(messages)) if message.get("role") == role)
    return next(found, {})


def _at(messages: Sequence[Any], index: int) -> dict[str, Any]:
    return _object(messages[index]) if messages else {}


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _parsed(text: Any) -> dict[str, Any]:
    try:
        return _object(json.loads(text))
    except (TypeError, ValueError, RecursionError):
        return {}
