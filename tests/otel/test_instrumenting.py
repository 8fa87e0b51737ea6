"""`instrument("openai")` with the real client against the scripted server: runs as if recorded by hand."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from openai import APIStatusError, AsyncOpenAI, OpenAI

import spanloom
from spanloom import testing
from spanloom.demo.model_server import Fault, ModelServer
from spanloom.errors import UsageError
from spanloom.otel.instrumenting import uninstrument

QUESTION = [{"role": "user", "content": "What's the weather in Boston?"}]
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "get_weather_forecast",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
        },
    }
]


@pytest.fixture
def client(server: ModelServer) -> Iterator[OpenAI]:
    with OpenAI(base_url=server.base_url, api_key="x", max_retries=0) as made:
        yield made


@pytest.fixture
def runs() -> Iterator[testing.CapturedRuns]:
    with testing.capture() as captured:
        assert spanloom.instrument("openai") == ("openai",)
        yield captured
    uninstrument()


def the_call(runs: testing.CapturedRuns) -> testing.CapturedRun:
    """The one model call below the agent."""
    (call,) = runs.one("agent", "a").children
    assert call.type == "llm" and call.root_id == runs.one("agent", "a").id
    return call


def by_hand(client: OpenAI, **params: Any) -> testing.CapturedRun:
    """The same call recorded as the examples do it, with nothing turned on."""
    uninstrument()
    with testing.capture() as runs, spanloom.agent("a"):  # noqa: SIM117 - the call stands in its run, as in the examples
        with spanloom.llm("gpt-4o", input=QUESTION, params=params) as run:
            reply = client.chat.completions.create(model="gpt-4o", messages=QUESTION, **params)  # type: ignore[call-overload]
            usage = {"input": reply.usage.prompt_tokens, "output": reply.usage.completion_tokens}
            run.set(output=reply.choices[0].message.model_dump(exclude_none=True), usage=usage, response_id=reply.id)
    return the_call(runs)


def test_a_call_is_recorded_as_by_hand(client: OpenAI, runs: Any) -> None:
    """Name, messages, parameters, answer and tokens are those of the run recorded by hand."""
    with spanloom.agent("a"):
        reply = client.chat.completions.create(model="gpt-4o", messages=QUESTION, temperature=0)  # type: ignore[arg-type]
    call, hand = the_call(runs), by_hand(client, temperature=0)
    assert (call.name, call.status, call.input, call.params) == (hand.name, "ok", hand.input, hand.params)
    assert call.output == hand.output and call.response_id == reply.id
    assert {name: call.usage[name] for name in hand.usage} == hand.usage


def test_tool_calls_are_recorded_as_by_hand(client: OpenAI, runs: Any) -> None:
    """The model's wish to call a tool is in the output, with its arguments."""
    with spanloom.agent("a"):
        client.chat.completions.create(model="gpt-4o", messages=QUESTION, tools=TOOLS)  # type: ignore[arg-type]
    (wish,) = the_call(runs).output["tool_calls"]
    (hand,) = by_hand(client, tools=TOOLS).output["tool_calls"]
    assert wish["function"] == hand["function"] and wish["function"]["name"] == "get_weather_forecast"


@pytest.mark.parametrize("kind", ["sync stream", "async", "async stream"])
def test_the_other_ways_to_call(kind: str, server: ModelServer, client: OpenAI, runs: Any) -> None:
    """Streams and the async client give the answer and the tokens too, once."""
    streamed = {"stream": True, "stream_options": {"include_usage": True}} if "stream" in kind else {}

    async def call() -> None:
        async with AsyncOpenAI(base_url=server.base_url, api_key="x", max_retries=0) as other:
            reply: Any = await other.chat.completions.create(model="gpt-4o", messages=QUESTION, **streamed)  # type: ignore
            if streamed:
                async for _ in reply:
                    pass

    with spanloom.agent("a"):
        if kind.startswith("async"):
            asyncio.run(call())
        else:
            for _ in client.chat.completions.create(model="gpt-4o", messages=QUESTION, **streamed):  # type: ignore
                pass
    made, hand = the_call(runs), by_hand(client)
    assert made.output["content"] == hand.output["content"] and made.status == "ok"
    assert {name: made.usage[name] for name in hand.usage} == hand.usage


def test_an_error_is_the_runs_and_the_hosts(server: ModelServer, client: OpenAI, runs: Any) -> None:
    """The client's exception reaches the host, and the run ends with it."""
    server.fail_next(Fault(status=500))
    with pytest.raises(APIStatusError), spanloom.agent("a"):
        client.chat.completions.create(model="gpt-4o", messages=QUESTION)  # type: ignore[arg-type]
    call = the_call(runs)
    assert call.status == "error" and "InternalServerError" in str(call.error)


def test_two_layers_are_one_run(client: OpenAI, runs: Any) -> None:
    """A call that is recorded by hand and seen by the instrumentor is one run; what the hand left out is filled in."""
    with spanloom.agent("a"), spanloom.llm("gpt-4o", input=QUESTION):
        reply = client.chat.completions.create(model="gpt-4o", messages=QUESTION)  # type: ignore[arg-type]
    call = the_call(runs)
    assert call.usage["input"] == reply.usage.prompt_tokens and call.response_id == reply.id
    assert call.output["content"] == reply.choices[0].message.content
    with spanloom.agent("b"), spanloom.llm("gpt-4o", input=QUESTION) as run:
        client.chat.completions.create(model="gpt-4o", messages=QUESTION)  # type: ignore[arg-type]
        run.set(usage={"input": 1, "output": 2}, output="mine")
    (told,) = runs.one("agent", "b").children
    assert told.output == "mine" and told.usage == {"input": 1, "output": 2}


def test_settings_hold_for_spans_too(client: OpenAI) -> None:
    """Redaction, ``capture_content`` and ``disabled`` apply to what instrumentors report."""
    spanloom.instrument("openai")
    secret = [{"role": "user", "content": "my key is sk-abcdefghijklmnopqrstuvwxyz0123456789ABCDEFGHIJKL"}]
    with testing.capture() as runs:
        client.chat.completions.create(model="gpt-4o", messages=secret)  # type: ignore[arg-type]
        with spanloom.disabled():
            client.chat.completions.create(model="gpt-4o", messages=QUESTION)  # type: ignore[arg-type]
    assert "abcdefghijklmnop" not in str([run.input for run in runs]) and len(list(runs)) == 1
    with testing.capture(capture_content=False) as bare:
        client.chat.completions.create(model="gpt-4o", messages=secret)  # type: ignore[arg-type]
    (call,) = bare
    assert call.input is None and call.output is None and call.usage["input"] > 0
    with testing.capture(sample=0.0) as metered, spanloom.agent("a"):
        client.chat.completions.create(model="gpt-4o", messages=QUESTION)  # type: ignore[arg-type]
    counted = next(run for run in metered if run.type == "llm")
    assert not counted.sampled and counted.output is None and counted.usage["input"] > 0
    uninstrument()


def test_twice_is_once_and_what_is_missing_is_named(client: OpenAI, caplog: pytest.LogCaptureFixture) -> None:
    """Turned on twice, a call is one run; a name that is not there is a warning with its cure, or UsageError when
    strict; the others are turned on."""
    with testing.capture() as runs, caplog.at_level(logging.WARNING):
        assert spanloom.instrument("openai", "google-genai") == ("openai",) == spanloom.instrument("openai")
        client.chat.completions.create(model="gpt-4o", messages=QUESTION)  # type: ignore[arg-type]
    assert len(list(runs)) == 1 and "pip install 'spanloom[google-genai]'" in caplog.text
    with testing.capture(strict=True), pytest.raises(UsageError, match="no instrumentor of that name"):
        spanloom.instrument("nothing-of-the-kind")
    uninstrument()
