"""The scripted model's Messages and Responses APIs, asked by the official clients."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import anthropic
import httpx
import openai
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spanloom.demo import messages_api, responses_api
from spanloom.demo.model_server import Fault, ModelServer

QUESTION: Any = {"role": "user", "content": "What's the weather in Boston?"}
TOOL: Any = {"name": "get_weather_forecast", "input_schema": {"type": "object"}}
FUNCTION: Any = {"type": "function", "name": "get_weather_forecast", "parameters": {}}


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with ModelServer() as running:
        yield running


@pytest.fixture
def claude(server: ModelServer) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=server.origin, api_key="any", max_retries=0, timeout=10) as opened:
        yield opened


@pytest.fixture
def client(server: ModelServer) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=server.base_url, api_key="any", max_retries=0, timeout=10) as opened:
        yield opened


def test_a_messages_stream_puts_together_what_a_whole_answer_says(claude: anthropic.Anthropic) -> None:
    """Text, tool call, stop reason and tokens of the client's own accumulator are those of the unstreamed answer."""
    asked: Any = {"model": "m", "max_tokens": 9, "messages": [QUESTION], "tools": [TOOL]}
    whole = claude.messages.create(**asked)
    with claude.messages.stream(**asked) as stream:
        streamed = stream.get_final_message()
    assert whole.stop_reason == "tool_use" and [block.type for block in whole.content] == ["text", "tool_use"]
    without = {"id", "parsed_output"}
    assert streamed.model_dump(exclude=without, exclude_none=True)["content"] == [
        block.model_dump(exclude_none=True) for block in whole.content
    ]
    assert (streamed.stop_reason, streamed.usage) == (whole.stop_reason, whole.usage)


def test_a_tools_result_is_answered(claude: anthropic.Anthropic) -> None:
    """The script reads Anthropic's tool results as it reads OpenAI's."""
    first = claude.messages.create(model="m", max_tokens=9, messages=[QUESTION], tools=[TOOL])
    forecast = json.dumps({"weather": "sunny", "temperature": 72})
    result: Any = {"type": "tool_result", "tool_use_id": "call_id", "content": forecast}
    history: Any = [QUESTION, {"role": "assistant", "content": first.content}, {"role": "user", "content": [result]}]
    second = claude.messages.create(model="m", max_tokens=9, messages=history)
    assert second.content[0].to_dict()["text"] == "The weather in Boston is sunny with a temperature of 72 degrees."


def test_a_response_streams_what_it_says_whole(client: openai.OpenAI) -> None:
    """The events are numbered, the text deltas join to the text, and the last event has the whole response."""
    whole = client.responses.create(model="m", input=[QUESTION], tools=[FUNCTION])
    events = list(client.responses.create(model="m", input=[QUESTION], tools=[FUNCTION], stream=True))
    assert [event.sequence_number for event in events] == list(range(len(events)))
    text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert text == whole.output_text
    last = events[-1]
    assert last.type == "response.completed" and last.response.output_text == text
    assert last.response.usage == whole.usage
    assert [item.type for item in whole.output] == ["message", "function_call"]


def test_refusals_are_in_each_apis_own_words(
    server: ModelServer, claude: anthropic.Anthropic, client: openai.OpenAI
) -> None:
    """Scripted faults and bad requests become the exception that the official client has for them."""
    server.fail_next(Fault(status=429), Fault(status=500))
    with pytest.raises(anthropic.RateLimitError, match="scripted failure"):
        claude.messages.create(model="m", max_tokens=9, messages=[QUESTION])
    with pytest.raises(openai.InternalServerError, match="scripted failure"):
        client.responses.create(model="m", input="hello")
    for path, body, word in (
        ("messages", {"messages": [QUESTION]}, "max_tokens"),
        ("responses", {"input": []}, "item"),
    ):
        refused = httpx.post(f"{server.base_url}/{path}", json=body, trust_env=False)
        assert refused.status_code == 400 and word in refused.json()["error"]["message"]


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["role", "content", "type", "text", "input", "id", "name", "arguments", "output"])
            | st.text(),
            inner | st.sampled_from(["user", "tool_use", "tool_result", "function_call", "function_call_output"]),
            max_size=4,
        )
    ),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None)
@given(anything, anything)
def test_any_json_gets_an_answer_or_a_reason(content: Any, tools: Any) -> None:
    """Whatever stands in messages, items and tools: no exception, and the events end as a stream must."""
    messages = messages_api.reply_to({"messages": content, "max_tokens": 1, "tools": tools}, "msg_1")
    if not isinstance(messages, str):
        assert messages_api.events(messages)[-1][0] == "message_stop"
    answer = responses_api.reply_to({"input": content, "tools": tools}, "1", 0)
    if not isinstance(answer, str):
        assert responses_api.events(answer)[-1][0] == "response.completed"
