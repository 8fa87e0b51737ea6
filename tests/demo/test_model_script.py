"""The scripted model's answers: pure, total, and those of the guide's Step 3."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from spanloom.demo import script, weather

QUESTION = {"role": "user", "content": "What's the weather in Boston?"}

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)
odd_messages = st.lists(
    json_values
    | st.fixed_dictionaries(
        {"role": st.sampled_from(["user", "assistant", "tool", "system"])},
        optional={"content": json_values, "tool_calls": json_values},
    ),
    max_size=6,
)


def test_asked_for_the_weather_the_model_calls_the_tool() -> None:
    """The first answer announces the call and makes it, with the city that was asked for."""
    reply = script.answer([QUESTION], weather.TOOLS)
    assert reply == {
        "role": "assistant",
        "content": "I can get the weather forecast for you. Please wait a moment.",
        "tool_calls": [
            {
                "id": "call_id",
                "type": "function",
                "function": {"name": "get_weather_forecast", "arguments": '{"city": "Boston"}'},
            }
        ],
    }


def test_without_the_tool_no_call_is_made() -> None:
    """A model that was offered no tool cannot call one."""
    assert "tool_calls" not in script.answer([QUESTION])


def test_given_the_forecast_the_model_says_it() -> None:
    """The second answer is the guide's sentence, told from the tool's own result."""
    call = script.answer([QUESTION], weather.TOOLS)
    result = {"role": "tool", "tool_call_id": "call_id", "content": json.dumps(weather.get_weather_forecast("Boston"))}
    assert script.answer([QUESTION, call, result]) == {
        "role": "assistant",
        "content": "The weather in Boston is sunny with a temperature of 72 degrees.",
    }


def test_another_city_and_other_weather_give_another_sentence() -> None:
    """The answer depends on the messages, not on the example."""
    ask = {"role": "user", "content": [{"type": "text", "text": "How is the weather in New York today?"}]}
    call = script.answer([ask], weather.TOOLS)
    assert json.loads(call["tool_calls"][0]["function"]["arguments"]) == {"city": "New York"}
    result = {"role": "tool", "content": '{"temperature": 40, "weather": "grey"}'}
    assert script.answer([ask, call, result])["content"] == (
        "The weather in New York is grey with a temperature of 40 degrees."
    )


def test_later_calls_in_one_conversation_have_their_own_ids() -> None:
    """A second tool call does not reuse the first one's id, or their results could not be told apart."""
    call = script.answer([QUESTION], weather.TOOLS)
    again = script.answer([QUESTION, call, QUESTION], weather.TOOLS)
    assert call["tool_calls"][0]["id"] != again["tool_calls"][0]["id"]


def test_a_stream_joins_to_the_whole_reply() -> None:
    """The deltas of a stream, put together, are the reply that would have come at once."""
    reply = script.answer([QUESTION], weather.TOOLS)
    pieces = script.deltas(reply)
    assert "".join(piece.get("content", "") for piece in pieces) == reply["content"]
    calls = [piece["tool_calls"][0]["function"] for piece in pieces if "tool_calls" in piece]
    assert len(calls) == 2
    assert "".join(call["arguments"] for call in calls) == '{"city": "Boston"}'


@given(odd_messages, json_values)
def test_any_json_gets_the_same_answer_twice(messages: list[Any], tools: Any) -> None:
    """Odd roles, contents and tools never raise, and the answer is a function of the messages."""
    offered = tools if isinstance(tools, list) else []
    reply = script.answer(messages, offered)
    assert reply == script.answer(messages, offered)
    assert reply["role"] == "assistant"
    assert isinstance(reply["content"], str)
    assert all(count >= 0 for count in script.usage_of(messages, reply).values())


@given(st.text(max_size=50), st.integers(1, 100))
def test_a_vector_is_told_from_its_text(text: str, dimensions: int) -> None:
    """An embedding has the asked length, lies in [-1, 1), and is the same each time."""
    vector = script.embedding(text, dimensions)
    assert len(vector) == dimensions
    assert all(-1 <= value < 1 for value in vector)
    assert vector == script.embedding(text, dimensions)
