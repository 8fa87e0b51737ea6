"""`instrument("anthropic")` with the real client against the scripted server: runs as if recorded by hand."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest
from anthropic import Anthropic, APIStatusError, AsyncAnthropic

import spanloom
from spanloom import testing
from spanloom.demo.model_server import Fault, ModelServer
from spanloom.otel.instrumenting import uninstrument

QUESTION: Any = {"role": "user", "content": "What's the weather in Boston?"}
TOOLS: Any = [
    {
        "name": "get_weather_forecast",
        "description": "Get the weather forecast for a specific location.",
        "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    }
]
CALL: Any = {"model": "claude-scripted", "max_tokens": 100, "tools": TOOLS}


@pytest.fixture
def client(server: ModelServer) -> Iterator[Anthropic]:
    with Anthropic(base_url=server.origin, api_key="x", max_retries=0, timeout=10) as made:
        yield made


@pytest.fixture
def runs() -> Iterator[testing.CapturedRuns]:
    with testing.capture() as captured:
        assert spanloom.instrument("anthropic") == ("anthropic",)
        yield captured
    uninstrument()


@spanloom.tool
def get_weather_forecast(city: str) -> dict[str, Any]:
    return {"temperature": 72, "weather": "sunny"}


def answer_tools(content: Any) -> list[dict[str, Any]]:
    """What the agent says after the model's answer: that answer, and what the tools gave."""
    results = [
        {"type": "tool_result", "tool_use_id": block.id, "content": json.dumps(get_weather_forecast(**block.input))}
        for block in content
        if block.type == "tool_use"
    ]
    said = [block.model_dump(exclude_none=True) for block in content]
    return [{"role": "assistant", "content": said}, {"role": "user", "content": results}] if results else []


def converse(ask: Any) -> Any:
    """The weather example with ``ask(messages) -> Message`` as its model; its last message."""
    with spanloom.agent("my-super-agent", input=QUESTION["content"]) as agent:
        messages = [QUESTION]
        reply = ask(messages)
        while more := answer_tools(reply.content):
            messages += more
            reply = ask(messages)
        agent.set(output=reply.content[0].text)
    return reply


async def converse_async(ask: Any) -> Any:
    with spanloom.agent("my-super-agent", input=QUESTION["content"]) as agent:
        messages = [QUESTION]
        reply = await ask(messages)
        while more := answer_tools(reply.content):
            messages += more
            reply = await ask(messages)
        agent.set(output=reply.content[0].text)
    return reply


def by_hand(client: Anthropic) -> testing.CapturedRuns:
    """The same conversation with a decorated call and nothing turned on."""
    uninstrument()

    def ask(messages: Any) -> Any:
        with spanloom.llm(CALL["model"], params={"max_tokens": 100, "tools": TOOLS}) as run:
            reply = client.messages.create(messages=messages, **CALL)
            usage = {"input": reply.usage.input_tokens, "output": reply.usage.output_tokens}
            run.set(usage=usage, response_id=reply.id)
        return reply

    with testing.capture() as runs:
        converse(ask)
    return runs


def shape(runs: testing.CapturedRuns) -> list[Any]:
    """Type, name, status, usage and parameters of the agent's children, in order."""
    agent = runs.one("agent", "my-super-agent")
    return [
        (run.type, run.name, run.status, run.params.get("tools"), run.params.get("max_tokens"),
         run.usage.get("input"), run.usage.get("output"))
        for run in agent.children
    ]  # fmt: skip


def ways(client: Anthropic, other: AsyncAnthropic) -> dict[str, Any]:
    """Every way in which the client can be asked: a function of the messages, or a coroutine function."""

    def assembled(messages: Any) -> Any:
        with client.messages.stream(messages=messages, **CALL) as stream:
            return stream.get_final_message()

    async def asked(messages: Any) -> Any:
        return await other.messages.create(messages=messages, **CALL)

    async def assembled_async(messages: Any) -> Any:
        async with other.messages.stream(messages=messages, **CALL) as stream:
            return await stream.get_final_message()

    return {
        "sync": lambda messages: client.messages.create(messages=messages, **CALL),
        "sync stream": assembled,
        "async": asked,
        "async stream": assembled_async,
    }


@pytest.mark.parametrize("kind", ["sync", "sync stream", "async", "async stream"])
def test_the_weather_example_is_recorded_as_by_hand(
    kind: str, client: Anthropic, server: ModelServer, runs: testing.CapturedRuns
) -> None:
    """However the client is asked: agent, call, tool, call, as recorded by hand; the messages are those on the wire,
    and the tokens are the model's, once."""

    async def run_async() -> None:
        async with AsyncAnthropic(base_url=server.origin, api_key="x", max_retries=0, timeout=10) as other:
            way = ways(client, other)[kind]
            await converse_async(way) if kind.startswith("async") else converse(way)

    asyncio.run(run_async())
    first, second = [entry.message for entry in server.served]
    tokens = [(entry.usage["input_tokens"], entry.usage["output_tokens"]) for entry in server.served if entry.usage]
    calls = [run for run in runs if run.type == "llm"]
    assert [call.output for call in calls] == [first, second]
    assert [(call.usage["input"], call.usage["output"]) for call in calls] == tokens
    assert calls[0].input == [QUESTION]
    assert [message["role"] for message in calls[1].input] == ["user", "assistant", "tool"]
    assert json.loads(calls[1].input[2]["content"]) == {"temperature": 72, "weather": "sunny"}
    assert all(str(call.response_id).startswith("msg_") for call in calls)
    assert shape(runs) == shape(by_hand(client))


def test_a_stream_of_raw_events_is_recorded_whole(client: Anthropic, server: ModelServer, runs: Any) -> None:
    """``stream=True`` hands the host every event, and the run has the text, the tool call and the tokens."""
    with spanloom.agent("a"):
        kinds = [event.type for event in client.messages.create(messages=[QUESTION], stream=True, **CALL)]
    assert kinds[0] == "message_start" and kinds[-1] == "message_stop" and kinds.count("content_block_start") == 2
    (call,), (served,) = runs.one("agent", "a").children, server.served
    assert call.output == served.message and served.usage is not None
    assert (call.usage["input"], call.usage["output"]) == (served.usage["input_tokens"], served.usage["output_tokens"])


def test_an_error_is_the_runs_and_the_hosts(server: ModelServer, client: Anthropic, runs: Any) -> None:
    """The client's exception reaches the host unchanged, and the run ends with it."""
    server.fail_next(Fault(status=529))
    with pytest.raises(APIStatusError) as raised, spanloom.agent("a"):
        client.messages.create(messages=[QUESTION], **CALL)
    assert raised.value.status_code == 529
    (call,) = runs.one("agent", "a").children
    assert call.status == "error" and "scripted failure" in call.error["message"] and not call.usage


def test_a_stream_that_breaks_is_an_error_with_what_came(server: ModelServer, client: Anthropic, runs: Any) -> None:
    """A connection cut in the middle of the answer: the host gets the exception, the run says so."""
    server.fail_next(Fault(cut=True))
    with pytest.raises(Exception, match=r"(?i)incomplete|closed|peer"), spanloom.agent("a"):  # noqa: SIM117
        with client.messages.stream(messages=[QUESTION], **CALL) as stream:
            for _ in stream:
                pass
    (call,) = runs.one("agent", "a").children
    assert call.status == "error" and call.input == [QUESTION]


def test_two_layers_are_one_run(client: Anthropic, runs: Any) -> None:
    """A call that is recorded by hand and seen by the instrumentor is one run, and counts once."""
    with spanloom.agent("a"), spanloom.llm(CALL["model"], input=[QUESTION]):
        reply = client.messages.create(messages=[QUESTION], **CALL)
    (call,) = runs.one("agent", "a").children
    assert not call.children and call.response_id == reply.id and call.usage["input"] == reply.usage.input_tokens
